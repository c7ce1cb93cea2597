"""What the loader is told by its environment: where rows and photos go, and how hard it works."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from dotenv import dotenv_values

from headrace import databases
from headrace.databases import MalformedUrl, Named, UnusableDatabase
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.storing import FOLDER

#: Whose recognitions they are where nobody says: a team that loads its own data alone.
DEFAULT_TENANT = UUID("00000000-0000-4000-8000-000000000001")
BUCKET = "recognitions"
KINDS = ("local", "s3", "supabase")
SUPABASE = ("NEXT_PUBLIC_SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY")
MOST_FOLDER = 128  # characters, so that keys below it fit their columns
T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Supabase:
    """Storage of a Supabase project."""

    url: str
    key: str = field(repr=False)
    bucket: str


@dataclass(frozen=True, slots=True)
class S3:
    """A bucket of S3, or of a server that speaks it at `endpoint`."""

    bucket: str
    endpoint: str
    region: str
    access_key: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Local:
    """A folder of this machine."""

    root: Path


Place = Local | S3 | Supabase


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a command needs. Times are seconds."""

    environment: str
    database: Named
    role: str
    tenant: UUID
    place: Place
    folder: str
    source: Path | None
    threads: int
    group_size: int
    attempts: int
    factor: float
    connections: int
    grace: float


def read(environ: Mapping[str, str], working: Path, *, production: bool) -> Settings:
    """The settings of `.env.local` or `.env.production` in the working folder, and the environment.

    What `.env.production` says wins over the environment, because it was asked for by its name; the
    environment wins over `.env.local`. Raises Stop.
    """
    file = ".env.production" if production else ".env.local"
    # What is meant for production must not land in a folder of this machine without a word.
    is_elsewhere = production and not (working / file).exists()
    said = _said(working / file)
    known = _merged(environ, said) if production else _merged(said, environ)
    environment = "production" if production else "local"
    return _settings(_Environ(known, file), environment, is_elsewhere)


def _said(file: Path) -> dict[str, str]:
    """Raises Stop."""
    try:
        return {name: value for name, value in dotenv_values(file).items() if value}
    except UnicodeDecodeError as error:
        text = f"{file}, byte {error.start}: expected UTF-8"
        raise Stop("bad_setting", text, USAGE) from error
    except OSError as error:
        text = f"{file}: {error.strerror}; let the loader read it"
        raise Stop("bad_setting", text, USAGE) from error


def _merged(weaker: Mapping[str, str], stronger: Mapping[str, str]) -> dict[str, str]:
    """A database that the stronger names by its parts is not another one's URL in the weaker."""
    is_named = bool(stronger.get("DB_ENGINE")) and not stronger.get("DATABASE_URL")
    hidden = {"DATABASE_URL"} if is_named else set()
    return {**{name: weaker[name] for name in weaker.keys() - hidden}, **stronger}


def photos_of(environ: Mapping[str, str]) -> tuple[Place, str]:
    """Where photos are, and their folder there, as the environment alone says. Raises Stop."""
    known = _Environ(environ, ".env")
    place = _place(known)
    known.check()
    return place, _folder(known)


def tenant_of(text: str) -> UUID:
    """A tenant's id. Raises Stop."""
    try:
        return UUID(text)
    except ValueError as error:
        raise Stop("bad_setting", f"{text!r} is not the id of a tenant: a UUID", USAGE) from error


class _Environ:
    """Variables by name; those that are empty are not set. `file` is where a person sets them."""

    def __init__(self, known: Mapping[str, str], file: str) -> None:
        self.known = {name: value for name, value in known.items() if value}
        self._file = file
        self._missing: list[str] = []

    def get(self, name: str, usual: str = "") -> str:
        return self.known.get(name, usual)

    def needed(self, name: str) -> str:
        """The variable; one that is not set is told by `check`, with all others."""
        if name not in self.known:
            self._missing.append(name)
        return self.known.get(name, "")

    def word(self, name: str) -> str:
        """One that is needed and sent as it is; it may be secret. Raises Stop."""
        text = self.needed(name)
        if not re.fullmatch("[!-~]*", text):
            raise Stop("bad_setting", f"{name}: expected ASCII letters, digits and signs", USAGE)
        return text

    def address(self, name: str, text: str) -> str:
        """What the variable says, where it says something. Raises Stop."""
        try:
            parts = urlsplit(text)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_one = False
        if text and not (is_one and text.isascii()):
            expected = "expected an address such as https://host or http://host:9000"
            raise Stop("bad_setting", f"{name} is {text!r}; {expected}", USAGE)
        return text.rstrip("/")

    def number(self, name: str, kind: Callable[[str], T], usual: T, least: T) -> T:
        """Raises Stop unless it is a number from `least`."""
        text = self.known.get(name, str(usual))
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not number >= least:
            raise Stop("bad_setting", f"{name} is {text!r}; expected a number from {least}", USAGE)
        return number

    def check(self) -> None:
        """Raises Stop where something that was needed is not set."""
        if self._missing:
            names = " and ".join(self._missing)
            text = f"set {names} in {self._file} or in the environment (docs/recognitions.md)"
            raise Stop("setting_missing", text, USAGE)


def _settings(environ: _Environ, environment: str, is_elsewhere: bool) -> Settings:
    place = _place(environ, is_elsewhere)
    named = _database(environ, place)
    environ.check()
    source = environ.get("HEADRACE_RECOGNITIONS_SOURCE")
    return Settings(
        environment=environment,
        database=named,
        role=environ.get("HEADRACE_DB_ROLE", "headrace_app"),
        tenant=tenant_of(environ.get("HEADRACE_RECOGNITIONS_TENANT", str(DEFAULT_TENANT))),
        place=place,
        folder=_folder(environ),
        source=Path(source) if source else None,
        threads=environ.number("HEADRACE_RECOGNITIONS_THREADS", int, 16, 1),
        group_size=environ.number("HEADRACE_RECOGNITIONS_BATCH_SIZE", int, 100, 1),
        attempts=environ.number("HEADRACE_RECOGNITIONS_ATTEMPTS", int, 3, 1),
        factor=environ.number("HEADRACE_RECOGNITIONS_BACKOFF", float, 2.0, 1.0),
        connections=environ.number("HEADRACE_RECOGNITIONS_CONNECTIONS", int, 10, 2),
        grace=environ.number("HEADRACE_RECOGNITIONS_GRACE_SECONDS", float, 3600.0, 0.0),
    )


def _place(environ: _Environ, is_elsewhere: bool = False) -> Place:
    """Where photos go: as it is said, or Supabase if it is set up or they are to go elsewhere, or a
    local folder.
    """
    is_supabase = is_elsewhere or any(map(environ.get, SUPABASE))
    kind = environ.get("HEADRACE_RECOGNITIONS_STORE", "supabase" if is_supabase else "local")
    endpoint = environ.get("HEADRACE_RECOGNITIONS_ENDPOINT")
    if endpoint:
        environ.needed("HEADRACE_RECOGNITIONS_STORE")
    bucket = environ.get("HEADRACE_RECOGNITIONS_BUCKET", BUCKET)
    match kind:
        case "supabase":
            url = environ.needed("NEXT_PUBLIC_SUPABASE_URL")
            return Supabase(
                environ.address("NEXT_PUBLIC_SUPABASE_URL", url),
                environ.word("SUPABASE_SERVICE_ROLE_KEY"),
                bucket,
            )
        case "s3":
            return S3(
                bucket,
                endpoint=environ.address("HEADRACE_RECOGNITIONS_ENDPOINT", endpoint),
                region=environ.get("AWS_REGION", "us-east-1"),
                access_key=environ.word("AWS_ACCESS_KEY_ID"),
                secret=environ.word("AWS_SECRET_ACCESS_KEY"),
            )
        case "local":
            return Local(_home(environ) / "objects")
    text = f"HEADRACE_RECOGNITIONS_STORE is {kind!r}; expected one of {', '.join(KINDS)}"
    raise Stop("bad_setting", text, USAGE)


def _database(environ: _Environ, place: Place) -> Named:
    """With photos elsewhere the database must be named; alone, it is the embedded one."""
    if not isinstance(place, Local) and not environ.get("DB_ENGINE"):
        environ.needed("DATABASE_URL")
    try:
        return databases.from_environment(environ.known, _home(environ))
    except MalformedUrl as error:
        raise Stop("bad_setting", str(error), USAGE) from error
    except UnusableDatabase as error:
        raise Stop("database_unsupported", str(error), USAGE) from error


def _home(environ: _Environ) -> Path:
    return Path(environ.get("HEADRACE_HOME", ".headrace")).resolve()


def _folder(environ: _Environ) -> str:
    """The folder of the store that all tenants' photos are below. Raises Stop."""
    folder = environ.get("HEADRACE_RECOGNITIONS_FOLDER", FOLDER).removesuffix("/")
    if len(folder) > MOST_FOLDER or not {"", ".", ".."}.isdisjoint(folder.split("/")):
        text = (
            f"HEADRACE_RECOGNITIONS_FOLDER is {folder!r}; expected names with / between, such as"
            f" team/photos, of at most {MOST_FOLDER} characters"
        )
        raise Stop("bad_setting", text, USAGE)
    return folder

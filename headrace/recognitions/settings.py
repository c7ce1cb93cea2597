"""What the loader is told by its environment: where rows and photos go, and how hard it works."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from dotenv import dotenv_values

from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.storing import FOLDER

#: Whose recognitions they are where nobody says: a team that loads its own data alone.
DEFAULT_TENANT = UUID("00000000-0000-4000-8000-000000000001")
BUCKET = "recognitions"
KINDS = ("local", "s3", "supabase")
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
    """Everything that a command needs. Times are seconds; the URL may hold a password."""

    environment: str
    database_url: str = field(repr=False)
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
    name = ".env.production" if production else ".env.local"
    said = {key: value for key, value in dotenv_values(working / name).items() if value}
    known = {**environ, **said} if production else {**said, **environ}
    return _Reader({key: value for key, value in known.items() if value}, name).settings(production)


def photos_of(environ: Mapping[str, str]) -> tuple[Place, str]:
    """Where photos are, and their folder there, as the environment alone says. Raises Stop."""
    reader = _Reader({key: value for key, value in environ.items() if value}, ".env")
    return reader.place(), reader.folder()


class _Reader:
    def __init__(self, known: dict[str, str], file: str) -> None:
        self._known = known
        self._file = file

    def settings(self, production: bool) -> Settings:
        place = self.place()
        source = self._known.get("HEADRACE_RECOGNITIONS_SOURCE")
        return Settings(
            environment="production" if production else "local",
            database_url=self._database_url(place),
            role=self._known.get("HEADRACE_DB_ROLE", "headrace_app"),
            tenant=tenant_of(self._known.get("HEADRACE_RECOGNITIONS_TENANT", DEFAULT_TENANT.hex)),
            place=place,
            folder=self.folder(),
            source=Path(source) if source else None,
            threads=self._number("HEADRACE_RECOGNITIONS_THREADS", int, 16, 1),
            group_size=self._number("HEADRACE_RECOGNITIONS_BATCH_SIZE", int, 100, 1),
            attempts=self._number("HEADRACE_RECOGNITIONS_ATTEMPTS", int, 3, 1),
            factor=self._number("HEADRACE_RECOGNITIONS_BACKOFF", float, 2.0, 1.0),
            connections=self._number("HEADRACE_RECOGNITIONS_CONNECTIONS", int, 10, 2),
            grace=self._number("HEADRACE_RECOGNITIONS_GRACE_SECONDS", float, 3600.0, 0.0),
        )

    def place(self) -> Place:
        """Where photos go: as it is said, or Supabase if it is set up, or a local folder."""
        usual = "supabase" if "NEXT_PUBLIC_SUPABASE_URL" in self._known else "local"
        kind = self._known.get("HEADRACE_RECOGNITIONS_STORE", usual)
        bucket = self._known.get("HEADRACE_RECOGNITIONS_BUCKET", BUCKET)
        match kind:
            case "supabase":
                url, key = self._needed("NEXT_PUBLIC_SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY")
                return Supabase(url.rstrip("/"), key, bucket)
            case "s3":
                key, secret = self._needed("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
                endpoint = self._known.get("HEADRACE_S3_ENDPOINT", "")
                return S3(bucket, endpoint, self._known.get("AWS_REGION", "us-east-1"), key, secret)
            case "local":
                return Local(self._home() / "objects")
        listed = ", ".join(KINDS)
        text = f"HEADRACE_RECOGNITIONS_STORE is {kind!r}; expected one of {listed}"
        raise Stop("bad_setting", text, USAGE)

    def folder(self) -> str:
        """The folder of the store that all tenants' photos are below."""
        return self._known.get("HEADRACE_RECOGNITIONS_FOLDER", FOLDER).strip("/")

    def _database_url(self, place: Place) -> str:
        """With photos elsewhere the database must be named; alone, it is the embedded one."""
        if isinstance(place, Local) and "DATABASE_URL" not in self._known:
            return f"sqlite:///{self._home() / 'headrace.sqlite3'}"
        (url,) = self._needed("DATABASE_URL")
        return url

    def _home(self) -> Path:
        return Path(self._known.get("HEADRACE_HOME", ".headrace")).resolve()

    def _needed(self, *names: str) -> list[str]:
        missing = [name for name in names if name not in self._known]
        if missing:
            text = f"{' and '.join(missing)} must be set, in {self._file} or in the environment"
            raise Stop("setting_missing", text, USAGE)
        return [self._known[name] for name in names]

    def _number(self, name: str, kind: Callable[[str], T], usual: T, least: T) -> T:
        text = self._known.get(name, str(usual))
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not number >= least:
            raise Stop("bad_setting", f"{name} is {text!r}; expected a number from {least}", USAGE)
        return number


def tenant_of(text: str) -> UUID:
    """A tenant's id. Raises Stop."""
    try:
        return UUID(text)
    except ValueError as error:
        raise Stop("bad_setting", f"{text!r} is not the id of a tenant: a UUID", USAGE) from error

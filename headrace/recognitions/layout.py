"""Where a dataset is, and what one of its folders holds.

Layouts vary: folders `recognition_100024` or `100024`, at any depth below the dataset's; photos in
`photos/` or beside, `.jpg` or `.jpeg`; menus `*_AM.json` or `AM.json`; checks
`*_correct_dishes.json` or `CD.json`; a date in the names of the files, or none.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from operator import attrgetter
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from headrace.recognitions import files, keys, photos
from headrace.recognitions.errors import USAGE, Code, Refused, Reject, Stop
from headrace.recognitions.photos import Photo
from headrace.recognitions.schema import Role

#: Where a dataset is looked for when none is named, in this order, from the working folder on.
SEARCHED = (
    *("RRS_Dataset", "data/RRS_Dataset", "dataset", "data/dataset"),
    *("data/recognitions", "recognitions", "../RRS_Dataset", "../data/RRS_Dataset"),
)
DEPTH = 4  # folders above a recognition's, from the dataset's on
MOST_JSON_BYTES = 8 * 1024 * 1024
_FOLDER = re.compile(r"(?:recognition_)?([0-9]{1,18})", re.IGNORECASE)
_ID = re.compile(r"(?:recognition_([0-9]{1,18}))|(?:^([0-9]{1,18})_recognition)", re.IGNORECASE)
_DATE = re.compile(r"(?<![0-9])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")
_MENU = re.compile(r"(?:.*_)?AM\.json", re.IGNORECASE)
_CHECK = re.compile(r"(?:.*_correct_dishes|CD|.*_CD|correct_dishes)\.json", re.IGNORECASE)
_PHOTO = {role: re.compile(rf"(?:.*_)?{role}\.(?:jpe?g|png|webp)", re.IGNORECASE) for role in Role}

_Words = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=255)]
_Id = (
    Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", min_length=1, max_length=64)]
    | Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # longer ones SQLite rounds
)


class Dish(msgspec.Struct, rename="pascal"):
    """A dish of a menu, or on a check."""

    name: _Words
    external_id: _Id


class Line(msgspec.Struct, rename="pascal"):
    """A line of a check: so many of one of these dishes."""

    count: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    dishes: Annotated[list[Dish], msgspec.Meta(min_length=1)]


_MENUS = msgspec.json.Decoder(list[Dish])
_CHECKS = msgspec.json.Decoder(list[Line])
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Folder:
    """A recognition's folder; `name` is it from the dataset's folder on."""

    recognition_id: int
    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class File:
    """A file: its place, its own name, and the same from the dataset's folder on."""

    path: str
    own_name: str
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """A file of JSON, as it came."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Recognition:
    """What a folder holds, checked. `remarks` are for people; they refuse nothing."""

    name: str
    recognition_id: int
    recognized_on: date | None
    photos: dict[Role, Photo]
    menu: Document
    check: Document
    remarks: list[Reject] = field(default_factory=list)


def find(source: Path | None, working: Path) -> Path:
    """The dataset's folder: `source`, or the first of SEARCHED. Raises Stop."""
    if source is not None:
        if not source.is_dir():
            raise Stop("source_missing", f"{source} is not a folder; name it by --source", USAGE)
        return source
    for place in SEARCHED:
        if (working / place).is_dir() and next(folders(working / place), None) is not None:
            return working / place
    listed = ", ".join(SEARCHED)
    raise Stop("source_missing", f"no dataset in {listed} of {working}; name it by --source", USAGE)


def folders(dataset: Path) -> Iterator[Folder]:
    """The folders of recognitions below a dataset's, in the order of their names. Raises Stop."""
    try:
        yield from _folders(dataset, dataset, DEPTH)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}; let the loader read it"
        raise Stop("source_unreadable", text, USAGE) from error


def _folders(dataset: Path, place: Path, depth: int) -> Iterator[Folder]:
    # A link leads to what is found by itself, to where it came from, or out of the dataset.
    with os.scandir(place) as entries:
        below = sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    for path in map(Path, below):
        if named := _FOLDER.fullmatch(path.name):
            yield Folder(int(named[1]), path, shown(path.relative_to(dataset)))
        elif depth:
            yield from _folders(dataset, path, depth - 1)


def shown(path: str | Path) -> str:
    """A path as text that any database takes: bytes of a name that are no UTF-8 are replaced."""
    return os.fsencode(path).decode("utf-8", "replace")


def read(folder: Folder) -> Recognition:
    """What a folder holds. Raises Refused with the first fault."""
    held = _files(folder)
    found = _photo_files(folder, held)
    menu = _only(folder, held, _MENU, "AM.json")
    check = _only(folder, held, _CHECK, "correct_dishes.json")
    chosen = [*found.values(), menu, check]
    _check_ids(folder, chosen)
    recognized_on, remarks = _date(folder, chosen)
    menu_text, dishes = _document(menu, _MENUS)
    check_text, lines = _document(check, _CHECKS)
    _check_dishes(check_text.name, lines, dishes)
    looked = {role: photos.look_at(one.path, one.name) for role, one in found.items()}
    return Recognition(
        name=folder.name,
        recognition_id=folder.recognition_id,
        recognized_on=recognized_on,
        photos=looked,
        menu=menu_text,
        check=check_text,
        remarks=remarks,
    )


def photo_files(folder: Folder) -> dict[Role, File]:
    """The files of a folder's photos. Raises Refused unless there is one of each."""
    return _photo_files(folder, _files(folder))


def _photo_files(folder: Folder, held: list[File]) -> dict[Role, File]:
    return {role: _only(folder, held, pattern, role) for role, pattern in _PHOTO.items()}


def photo_of(path: str) -> tuple[int, Role] | None:
    """Which photo a path of an annotation names, or None."""
    name = path.replace("\\", "/").rpartition("/")[2]
    role = next((role for role, pattern in _PHOTO.items() if pattern.fullmatch(name)), None)
    number = _named_id(name) or _folder_id(path)
    return None if role is None or number is None else (number, role)


def _folder_id(path: str) -> int | None:
    """The number of the innermost folder of a path that bears one."""
    for part in reversed(path.replace("\\", "/").split("/")[:-1]):
        if named := _FOLDER.fullmatch(part):
            return int(named[1])
    return None


def _named_id(name: str) -> int | None:
    named = _ID.search(name)
    return int(named[1] or named[2]) if named else None


def _files(folder: Folder) -> list[File]:
    """Its files and those of its folder `photos`, but none that a system hides."""
    try:
        own = _listed(folder.path)
        inner = [one for one in own if one.name.lower() == "photos" and one.is_dir()]
        found = [_file(folder, one) for one in own if _is_shown(one)]
        for place in inner:
            below = filter(_is_shown, _listed(place))
            found += [_file(folder, one, f"{place.name}/") for one in below]
    except OSError as error:
        text = error.strerror or "unreadable"
        raise Refused(folder.name, "", Code.FILE_UNREADABLE, text) from error
    return found


def _listed(place: os.PathLike[str]) -> list[os.DirEntry[str]]:
    with os.scandir(place) as entries:
        return sorted(entries, key=attrgetter("name"))


def _is_shown(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and not entry.name.startswith(".")
    except OSError:  # a link that leads back to itself
        return False


def _file(folder: Folder, entry: os.DirEntry[str], inside: str = "") -> File:
    return File(entry.path, entry.name, f"{folder.name}/{shown(inside + entry.name)}")


def _only(folder: Folder, held: list[File], pattern: re.Pattern[str], what: str) -> File:
    found = [file for file in held if pattern.fullmatch(file.own_name)]
    if not found:
        text = f"expected a file {what!s}, found none"
        raise Refused(folder.name, "", Code.FILE_MISSING, text)
    if len(found) > 1:
        names = ", ".join(file.own_name for file in found)
        raise Refused(folder.name, "", Code.FILE_AMBIGUOUS, f"expected one {what!s}, found {names}")
    return found[0]


def _check_ids(folder: Folder, chosen: list[File]) -> None:
    for file in chosen:
        named = _named_id(file.own_name)
        if named not in (None, folder.recognition_id):
            text = f"expected a file of {folder.recognition_id}, its name says {named}"
            raise Refused(file.name, "", Code.ID_DIFFERS, text)


def _date(folder: Folder, chosen: list[File]) -> tuple[date | None, list[Reject]]:
    """The day that the names say; without one there is a remark, and no date is invented."""
    days = {day for file in chosen for day in _days(file.own_name)}
    if len(days) > 1:
        listed = ", ".join(sorted(map(str, days)))
        raise Refused(folder.name, "", Code.DATES_DIFFER, f"expected one day, found {listed}")
    if days:
        return days.pop(), []
    return None, [Reject(folder.name, "", Code.DATE_MISSING, "no name holds a date")]


def _days(name: str) -> Iterator[date]:
    for parts in _DATE.findall(name):
        try:
            yield date(*map(int, parts))
        except ValueError:  # a day that no calendar has is none
            continue


def _document(file: File, decoder: msgspec.json.Decoder[T]) -> tuple[Document, T]:
    text = read_text(file.path, file.name, MOST_JSON_BYTES)
    decoded = decode(text, file.name, decoder)
    keys.check(text, file.name)
    return Document(file.name, text), decoded


def read_text(path: str | Path, name: str, most: int) -> str:
    """A file as text, of so many bytes at most. Raises Refused."""
    data = files.read(path, name, most)
    if len(data) > most:
        raise Refused(name, "", Code.FILE_UNREADABLE, f"expected at most {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = f"byte {error.start}"
        raise Refused(name, place, Code.BAD_JSON, "expected UTF-8") from error


def decode(text: str | bytes, name: str, decoder: msgspec.json.Decoder[T]) -> T:
    """What the text says, typed. Raises Refused with the place of the first fault."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        raise Refused(name, place.rstrip("`") or "$", Code.BAD_JSON, message) from error
    except msgspec.DecodeError as error:
        raise Refused(name, "", Code.BAD_JSON, str(error)) from error
    except RecursionError as error:
        raise Refused(name, "", Code.BAD_JSON, "expected fewer levels of nesting") from error


def _check_dishes(name: str, lines: list[Line], menu: list[Dish]) -> None:
    offered = {str(dish.external_id) for dish in menu}
    for number, line in enumerate(lines):
        for choice, dish in enumerate(line.dishes):
            if str(dish.external_id) not in offered:
                place = f"$[{number}].Dishes[{choice}]"
                text = f"expected a dish of the menu, got {dish.external_id} {dish.name!r}"
                raise Refused(name, place, Code.DISH_UNKNOWN, text)

"""`qwen_annotations.json`: what a model detected in each photo, by the photo's path.

The file is read as a whole, up to MOST_BYTES; of its entries each is decoded by itself, so that one
that is wrong refuses nothing but itself, and of an entry each box.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec

from headrace.recognitions import keys, layout
from headrace.recognitions.errors import USAGE, Code, Refused, Reject, Stop
from headrace.recognitions.keys import Repeats
from headrace.recognitions.schema import Role

NAME = "qwen_annotations.json"
MOST_BYTES = 512 * 1024 * 1024
_PARTS = ("dishes", "plates")


class _Boxes(msgspec.Struct):
    qwen_detections: list[msgspec.Raw] = []


class _Entry(msgspec.Struct):
    dishes: _Boxes = msgspec.field(default_factory=_Boxes)
    plates: _Boxes = msgspec.field(default_factory=_Boxes)


class _Detection(msgspec.Struct):
    bbox_2d: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]
    label: Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$", max_length=255)]


_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(_Entry)
_DETECTION = msgspec.json.Decoder(_Detection)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the file says of one photo: the text as it came, and its boxes by part, undecoded."""

    path: str
    recognition_id: int
    role: Role
    payload: str
    boxes: dict[str, list[msgspec.Raw]]

    @property
    def count(self) -> int:
        """How many boxes."""
        return sum(map(len, self.boxes.values()))


@dataclass(slots=True)
class Held:
    """An annotation held against its photo: places in it that are refused, and why."""

    annotation: Annotation
    width: int
    height: int
    refused: list[str] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    @property
    def refused_text(self) -> str:
        """The places as they are stored."""
        return json.dumps(self.refused)


def find(file: Path | None, source: Path | None, working: Path) -> Path:
    """The file: as named, or in the dataset's folder, or beside it, or where a dataset would be.

    Raises Stop.
    """
    if file is not None:
        if not file.is_file():
            raise Stop("source_missing", f"{file} is not a file; name it by --file", USAGE)
        return file
    folders = [source] if source else [working, *(working / place for place in layout.SEARCHED)]
    for folder in folders:
        for place in (folder / NAME, folder.parent / NAME):
            if place.is_file():
                return place
    listed = ", ".join(map(str, folders))
    raise Stop("source_missing", f"no {NAME} in or beside {listed}; name it by --file", USAGE)


def read(file: Path) -> Iterator[Annotation | Reject]:
    """Every entry, checked as far as it goes without its photo. Raises Stop if there is no file of
    entries at all.
    """
    try:
        text = layout.read_text(file, file.name, MOST_BYTES)
        is_suspect = _check_top(text, file.name).anywhere
        entries = layout.decode(text, file.name, _ENTRIES)
    except Refused as refused:
        raise Stop("bad_file", f"{file}: {refused}", USAGE) from refused
    first: dict[tuple[int, Role], str] = {}
    for path, raw in entries.items():
        try:
            found = _annotation(path, bytes(raw), is_suspect)
            known = first.setdefault((found.recognition_id, found.role), path)
            if known != path:
                raise Refused(path, "", Code.REPEATED, f"the same photo as {known}")
            yield found
        except Refused as refused:
            yield refused.reject


def _check_top(text: str, name: str) -> Repeats:
    """A photo that comes twice would be lost without a word. What repeats in the file; raises
    Refused if its own keys do.
    """
    try:
        found = keys.scan(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise Refused(name, place, Code.BAD_JSON, error.msg) from error
    except RecursionError as error:
        raise Refused(name, "", Code.BAD_JSON, "expected fewer levels of nesting") from error
    if found.of_last and text.lstrip().startswith("{"):
        raise Refused(name, repr(found.of_last[0]), Code.KEY_REPEATED, "the key comes twice")
    return found


def _annotation(path: str, raw: bytes, is_suspect: bool) -> Annotation:
    """Raises Refused. `is_suspect` if keys come twice somewhere in the file."""
    named = layout.photo_of(path)
    if named is None:
        text = "expected the path of a photo: …/recognition_100024/…_Main.jpg"
        raise Refused(path, "", Code.PHOTO_UNKNOWN, text)
    entry = layout.decode(raw, path, _ENTRY)
    payload = raw.decode()
    if is_suspect or "\\" in payload:
        keys.check_places(payload, path)
    boxes = {part: getattr(entry, part).qwen_detections for part in _PARTS}
    return Annotation(path, *named, payload, boxes)


def hold(annotation: Annotation, width: int, height: int) -> Held:
    """Hold an annotation against its photo's width and height, in pixels."""
    held = Held(annotation, width, height)
    for part, boxes in annotation.boxes.items():
        for position, raw in enumerate(boxes):
            place = f"$.{part}.qwen_detections[{position}]"
            try:
                _check_box(annotation.path, place, bytes(raw), width, height)
            except Refused as refused:
                held.refused.append(f"{part}/{position}")
                held.rejects.append(refused.reject)
    return held


def count_held(payload: str, refused_text: str) -> int:
    """How many boxes of a stored annotation, which was held, were not refused."""
    entry = _ENTRY.decode(payload)
    boxes = sum(len(getattr(entry, part).qwen_detections) for part in _PARTS)
    return boxes - len(json.loads(refused_text))


def _check_box(path: str, place: str, raw: bytes, width: int, height: int) -> None:
    try:
        box = layout.decode(raw, path, _DETECTION).bbox_2d
    except Refused as refused:
        inner = refused.reject.place.removeprefix("$")
        raise Refused(path, place + inner, Code.BAD_JSON, refused.reject.message) from refused
    left, top, right, bottom = box
    if not all(edge.is_integer() for edge in box):
        raise Refused(path, f"{place}.bbox_2d", Code.BOX_OUTSIDE, "expected whole numbers")
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        spelled = ", ".join(f"{edge:.0f}" for edge in box)
        text = f"expected a box within {width} x {height}, got {spelled}"
        raise Refused(path, f"{place}.bbox_2d", Code.BOX_OUTSIDE, text)

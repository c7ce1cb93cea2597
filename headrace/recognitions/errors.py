"""Why a recognition is refused, and why a load stops: stable codes, each with what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Why something of a dataset was refused or, where it says "loaded", only remarked."""

    advice: str

    FILE_MISSING = "file_missing", "put the file where the message says, and load again"
    FILE_AMBIGUOUS = "file_ambiguous", "leave one of the files that the message names"
    FILE_UNREADABLE = "file_unreadable", "let the loader read it: rights, disk, size"
    BAD_JSON = "bad_json", "mend the document at the place that the message names"
    KEY_REPEATED = "key_repeated", "leave one of the two keys at that place"
    REPEATED = "repeated", "leave one of the two; the first was loaded"
    ID_DIFFERS = "id_differs", "a file of another recognition is in this folder: move it"
    DATES_DIFFER = "dates_differ", "names of one recognition say one day"
    DATE_MISSING = "date_missing", "loaded without a date; names should hold one, YYYY-MM-DD"
    NOT_A_PHOTO = "not_a_photo", "send JPEG, PNG or WebP"
    PHOTO_TRUNCATED = "photo_truncated", "copy the photo once more from where it is whole"
    PHOTO_TOO_LARGE = "photo_too_large", "make it smaller: fewer pixels, fewer bytes"
    SIZE_CHANGED = "size_changed", "loaded without its detections: run load-qwen again"
    PHOTO_CHANGED = "photo_changed", "the file is not the one that was loaded: use --force"
    DISH_UNKNOWN = "dish_unknown", "add the dish to the menu, or take it from the check"
    ROW_REFUSED = "row_refused", "the database does not take it; please report what is special"
    ROW_CHANGED = "row_changed", "another command changed it meanwhile: load again"
    PHOTO_UNKNOWN = "photo_unknown", "load the recognition first, then the annotations again"
    BOX_OUTSIDE = "box_outside", "boxes are x1, y1, x2, y2 in pixels of the photo"

    def __new__(cls, value: str, advice: str) -> "Code":
        member = str.__new__(cls, value)
        member._value_ = value
        member.advice = advice
        return member


@dataclass(frozen=True, slots=True)
class Reject:
    """Something refused, and where: a file of the dataset, and a place in it or an empty text."""

    path: str
    place: str
    code: Code
    message: str

    def __str__(self) -> str:
        where = f"{self.path}, {self.place}" if self.place else self.path
        return f"{where}: {self.message} ({self.code}: {self.code.advice})"


class Refused(Exception):
    """One recognition, or one photo's annotations, cannot be loaded."""

    def __init__(self, path: object, place: str, code: Code, message: str) -> None:
        self.reject = Reject(str(path), place, code, message)
        super().__init__(str(self.reject))


class Stop(Exception):
    """The command ends: what happened and what to do next. `exit_code` is one of those below."""

    def __init__(self, code: str, message: str, exit_code: int = 2) -> None:
        self.code = code
        self.exit_code = exit_code
        super().__init__(message)


USAGE, CANNOT_CONNECT, INTERRUPTED = 2, 3, 130

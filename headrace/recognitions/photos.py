"""What a photo is, by its bytes: never by its name, and never unpacked."""

import hashlib
import warnings
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from headrace.recognitions import files
from headrace.recognitions.errors import Code, Refused

MOST_BYTES = 32 * 1024 * 1024
KEPT_BYTES = 256 * 1024  # of each photo of two groups: 100 MiB with the usual sizes
MOST_PIXELS = 80_000_000  # a bomb of a few kilobytes claims more than that
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
#: What Pillow calls a JPEG of several pictures, as telephones take them; the first is the photo.
_SEVERAL_JPEGS = "MPO"
_END_OF_JPEG = b"\xff\xd9"

# Pixels are counted below, before anything is unpacked.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo's facts; `path` is its file, `name` the same from the dataset's folder on.

    `data` is its bytes if they are few: they need not be read and hashed again to be stored.
    """

    path: str | Path
    name: str
    sha256: str
    size: int
    width: int
    height: int
    media_type: str
    data: bytes | None = field(default=None, repr=False, compare=False)


def look_at(path: str | Path, name: str) -> Photo:
    """The facts of a photo. Raises Refused."""
    data = read(path, name)
    media_type, width, height = _measured(data, name)
    kept = data if len(data) <= KEPT_BYTES else None
    return Photo(path, name, digest(data), len(data), width, height, media_type, kept)


def bytes_of(photo: Photo) -> bytes:
    """The bytes that the photo's facts are of. Raises Refused if the file has others by now."""
    if photo.data is not None:
        return photo.data
    data = read(photo.path, photo.name)
    if digest(data) != photo.sha256:
        raise Refused(photo.name, "", Code.PHOTO_CHANGED, "it changed while it was loaded")
    return data


def read(path: str | Path, name: str) -> bytes:
    """The file's bytes. Raises Refused if there are too many, or none can be read."""
    data = files.read(path, name, MOST_BYTES)
    if len(data) > MOST_BYTES:
        text = f"expected at most {MOST_BYTES:,} bytes"
        raise Refused(name, "", Code.PHOTO_TOO_LARGE, text)
    return data


def digest(data: bytes) -> str:
    """What identifies a photo: the SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _measured(data: bytes, name: str) -> tuple[str, int, int]:
    """Media type, width, height. Raises Refused."""
    try:
        with Image.open(BytesIO(data), formats=tuple(MEDIA_TYPES)) as image:
            kind, (width, height) = _kind(image), image.size
            if width * height <= MOST_PIXELS and kind == "PNG":
                image.verify()  # its checksums
    except Image.DecompressionBombError as error:
        raise _too_large(name, "more") from error
    except UnidentifiedImageError as error:
        raise _not_a_photo(name) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise _truncated(name) from error
    if kind not in MEDIA_TYPES:
        raise _not_a_photo(name)
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width:,} x {height:,}")
    if not _has_its_end(kind, data):
        raise _truncated(name)
    return MEDIA_TYPES[kind], width, height


def _kind(image: Image.Image) -> str:
    return "JPEG" if image.format == _SEVERAL_JPEGS else str(image.format)


def _not_a_photo(name: str) -> Refused:
    text = "expected the bytes of a JPEG, PNG or WebP"
    return Refused(name, "", Code.NOT_A_PHOTO, text)


def _too_large(name: str, found: str) -> Refused:
    text = f"expected at most {MOST_PIXELS:,} pixels, got {found}"
    return Refused(name, "", Code.PHOTO_TOO_LARGE, text)


def _truncated(name: str) -> Refused:
    return Refused(name, "", Code.PHOTO_TRUNCATED, "the photo's end is missing")


def _has_its_end(kind: str, data: bytes) -> bool:
    """Whether the bytes reach to the end that the format marks or announces.

    A thumbnail inside of a JPEG has an end too, in the first half of it.
    """
    match kind:
        case "JPEG":
            return data.rfind(_END_OF_JPEG, len(data) // 2) >= 0
        case "WEBP":
            return len(data) >= int.from_bytes(data[4:8], "little") + 8
    return True

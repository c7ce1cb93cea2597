"""All recognitions of a tenant in one file: the data set that they came from, to be loaded again.

It is a tar of the files as they came, under the names that they came by, with what models said in
one file of annotations. Each recognition is told whole, as one load brought it. A photo that the
store has lost is left out, and the last file says so.
"""

import json
import tarfile
from collections.abc import Iterator
from datetime import datetime
from tempfile import TemporaryFile
from typing import Any, BinaryIO, NamedTuple
from uuid import UUID

from apps.core import objects
from apps.core.isolation import tenant_part, tenant_reading
from apps.recognitions import photos
from apps.recognitions.models import (
    CorrectDishes,
    DishCatalog,
    QwenAnnotation,
    Recognition,
    RecognitionFile,
)
from apps.recognitions.selectors import GROUP, settled
from headrace.pipeline.errors import Retryable
from headrace.reading.documents import Block
from headrace.recognitions.annotations import NAME as ANNOTATIONS
from headrace.storage.base import StoreRefused, StoreUnavailable

NAME = "recognitions"
LOST = "photos_that_are_lost.json"
COPIED = 1 << 18  # bytes at once
_END = bytes(2 * tarfile.BLOCKSIZE)


class Tray(NamedTuple):
    """The files of a recognition: rows of the raw layer."""

    loaded_at: datetime
    documents: list[Any]
    photos: list[Any]


def count(tenant: UUID) -> int:
    """How many recognitions the tenant has."""
    with tenant_part(tenant):
        return int(Recognition.objects.count())


def blocks(tenant: UUID) -> Iterator[Block]:
    """The tar. Raises Retryable."""
    lost: list[dict[str, str]] = []
    for tray in _trays(tenant):
        for document in tray.documents:
            data = document.payload.encode()
            yield _header(document.path, len(data), tray.loaded_at)
            yield _padded(data)
        for photo in tray.photos:
            if _is_there(photo):
                yield _header(photo.path, photo.bytes, tray.loaded_at)
                yield from _bytes(photo)
            else:
                lost.append({"path": photo.path, "sha256": photo.sha256})
        yield Block(b"", 1)
    with TemporaryFile() as file:
        if _write_annotations(tenant, file):
            yield from _copied(file)
    if lost:
        data = json.dumps(lost, indent=2).encode()
        yield _header(LOST, len(data))
        yield _padded(data)
    yield Block(_END, 0)


def _trays(tenant: UUID) -> Iterator[Tray]:
    last = -1
    while ids := _numbers(tenant, Recognition, last):
        last = ids[-1]
        yield from _group(tenant, ids)


def _numbers(tenant: UUID, model: Any, last: int) -> list[int]:
    """The next recognitions that have rows of the model, behind the last one."""
    with tenant_reading(tenant):
        behind = model.objects.filter(recognition_id__gt=last).order_by("recognition_id")
        return list(behind.values_list("recognition_id", flat=True).distinct()[:GROUP])


def _group(tenant: UUID, ids: list[int]) -> list[Tray]:
    """Those of these recognitions that are there, in this order."""
    models = (DishCatalog, CorrectDishes, RecognitionFile)
    with tenant_reading(tenant):
        rows, found = settled(ids, lambda: [_rows(model, ids) for model in models])
    menus, checks, files = found
    return [
        Tray(rows[number]["loaded_at"], [*menus[number], *checks[number]], files[number])
        for number in ids
        if number in rows
    ]


def _rows(model: Any, ids: list[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {number: [] for number in ids}
    for row in model.objects.filter(recognition_id__in=ids).order_by("path"):
        found[row.recognition_id].append(row)
    return found


def _is_there(photo: Any) -> bool:
    """Raises Retryable."""
    try:
        return bool(photos.store().size(photo.object_key) == photo.bytes)
    except (StoreUnavailable, StoreRefused) as error:
        raise Retryable("the store of photos does not answer") from error


def _bytes(photo: Any) -> Iterator[Block]:
    """Raises Retryable."""
    try:
        for data in objects.blocks(photos.store(), photo.object_key, 0, photo.bytes):
            yield Block(data, 0)
    except (StoreUnavailable, StoreRefused) as error:
        raise Retryable("the store of photos does not answer") from error
    yield Block(_padding(photo.bytes), 0)


def _write_annotations(tenant: UUID, file: BinaryIO) -> int:
    """What models said of photos, as one object by their names; how many there are.

    It goes into a file first, since a tar tells the length of what follows.
    """
    number, last = 0, -1
    while ids := _numbers(tenant, QwenAnnotation, last):
        last = ids[-1]
        for row in _annotations(tenant, ids):
            file.write(b",\n" if number else b"{")
            file.write(f"{json.dumps(row.path)}: {row.payload}".encode())
            number += 1
    file.write(b"}\n")
    return number


def _annotations(tenant: UUID, ids: list[int]) -> list[Any]:
    with tenant_reading(tenant):
        rows = QwenAnnotation.objects.filter(recognition_id__in=ids)
        return list(rows.order_by("recognition_id", "role"))


def _copied(file: BinaryIO) -> Iterator[Block]:
    size = file.tell()
    yield _header(ANNOTATIONS, size)
    file.seek(0)
    while data := file.read(COPIED):
        yield Block(data, 0)
    yield Block(_padding(size), 0)


def _header(name: str, size: int, changed: datetime | None = None) -> Block:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mtime = int(changed.timestamp()) if changed else 0
    return Block(info.tobuf(tarfile.PAX_FORMAT), 0)


def _padded(data: bytes) -> Block:
    return Block(data + _padding(len(data)), 0)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)

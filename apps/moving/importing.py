"""The second half of a move: files down the whole road, and both sides compared at its end."""

import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from django.db import IntegrityError, transaction

from apps.core import objects, worker
from apps.core.snapshots import snapshot
from apps.ingestions import processing, services, sources
from apps.ingestions.models import ENDED, Chunk, Upload
from apps.moving import exporting, folder, rows
from apps.moving.digests import Digest
from apps.moving.folder import Tell
from apps.tenants.models import MissingParent
from headrace.entities import ENTITIES
from headrace.pipeline.formats import NDJSON
from headrace.reading.forms import Form
from headrace.reading.selection import Selection, columns_of
from headrace.schema import Entity

BLOCK = 1 << 20
IDLE_SECONDS = 0.1
_NAMES = UUID("6f0d8d1a-5a0e-4b9c-9f57-1c8ac0f5d3b2")


class NotMoved(Exception):
    """Rows did not land, or are not what they were; its text says which."""


def read_all(source: Path, tell: Tell) -> list[dict[str, Any]]:
    """Land every file that has not landed, and compare. Raises NotMoved.

    The answer has a row for each tenant and entity: its rows, and the digests of both sides.
    """
    rows.read_control(source / folder.CONTROL, is_over=False)
    told = [told for tenant in folder.tenants(source) for told in _read(source, tenant, tell)]
    rows.read_control(source / folder.CONTROL, is_over=True)
    folder.write(source / folder.LANDED, [objects.identity()])
    return told


def _read(source: Path, tenant: UUID, tell: Tell) -> Iterator[dict[str, Any]]:
    manifest = folder.manifest(source, tenant)
    assert manifest is not None
    for entity in ENTITIES:
        expected = manifest["entities"][entity.name]
        if expected["rows"]:
            _land(_received(source, tenant, entity, expected), expected["rows"])
        told = _compared(tenant, entity, expected)
        tell(f"{tenant} {entity.name}: {told['rows']:,} rows are equal")
        yield told
    found = rows.read_own(source / str(tenant) / folder.OWN, tenant)
    if found != manifest["own"]:
        raise NotMoved(
            f"{found:,} of {manifest['own']:,} price events of tenant {tenant} are there"
        )


def _received(source: Path, tenant: UUID, entity: Entity, expected: dict[str, Any]) -> Chunk:
    """The chunk of a file: received once, and once more for each time that not all of it landed."""
    for attempt in count():
        key = uuid5(_NAMES, f"{tenant} {entity.name} {expected['sha256']} {attempt}")
        found = Chunk.objects.defer("outcomes").filter(pk=key).first()
        if found is None:
            with suppress(IntegrityError):  # who else imports the folder was quicker
                _receive(source, tenant, entity, key, expected["sha256"])
            return Chunk.objects.get(pk=key)
        if found.state not in ENDED or _landed(found) == expected["rows"]:
            return found
    raise AssertionError("numbers do not end")


def _receive(source: Path, tenant: UUID, entity: Entity, key: UUID, sha256: str) -> None:
    path = exporting.path_of(source, tenant, entity.name)
    stored = f"{sources.FOLDER}/{tenant}/{key}"
    size = objects.store().put(stored, _blocks(path))
    with transaction.atomic():
        chunk = Chunk(
            id=key,
            upload=_upload(tenant),
            tenant_id=tenant,
            **services.next_place(tenant)._asdict(),
            entity=entity.name,
            filename=path.name,
            compression="",
            format=NDJSON,
            source=stored,
            bytes=size,
            sha256=sha256,
        )
        chunk.save(force_insert=True)
        processing.queue(chunk)


def _upload(tenant: UUID) -> Upload:
    """What a tenant's files of the move belong to. Nothing waits: every parent has moved before."""
    key = uuid5(_NAMES, str(tenant))
    facts = {"tenant_id": tenant, "on_missing_parent": MissingParent.REJECT}
    return Upload.objects.get_or_create(pk=key, defaults={"token": f"move_{key.hex}", **facts})[0]


def _land(chunk: Chunk, expected: int) -> None:
    """Work at the job table until the chunk has ended. Raises NotMoved unless all has landed."""
    turns = worker.Turns()
    while not Chunk.objects.filter(pk=chunk.pk, state__in=ENDED).exists():
        if turns.take() is None:
            time.sleep(IDLE_SECONDS)
    chunk = Chunk.objects.defer("outcomes").get(pk=chunk.pk)
    if (landed := _landed(chunk)) != expected:
        raise NotMoved(
            f"of {expected:,} {chunk.entity} of tenant {chunk.tenant_id} {landed:,} landed and"
            f" {chunk.rejected:,} were rejected ({chunk.state} {chunk.code}); the upload"
            f" {chunk.upload.token} has the rejects"
        )


def _landed(chunk: Chunk) -> int:
    return chunk.inserted + chunk.updated + chunk.unchanged


def _compared(tenant: UUID, entity: Entity, expected: dict[str, Any]) -> dict[str, Any]:
    digest = Digest(entity)
    selection = Selection(entity, columns_of(entity))
    with snapshot(tenant) as state:
        lines = state.reader.lines(state.connection, state.tenant, selection, Form.NDJSON)
        for _ in digest.seen(lines):
            pass
    found, wanted = digest.told, {name: expected[name] for name in ("rows", "digest")}
    if found != wanted:
        raise NotMoved(f"{entity.name} of tenant {tenant}: {found} is there, not {wanted}")
    return {"tenant": str(tenant), "entity": entity.name, **found}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block

"""The first half of a move: every tenant's rows into files, from one state of the database each."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from apps.core import objects
from apps.core.snapshots import Snapshot, snapshot
from apps.moving import folder, rows
from apps.moving.digests import Digest
from apps.moving.folder import Tell
from apps.tenants.models import Tenant
from headrace.entities import ENTITIES
from headrace.reading import documents
from headrace.reading.forms import Form
from headrace.reading.selection import Selection, columns_of
from headrace.schema import Entity, Field


def write_all(target: Path, tell: Tell) -> None:
    """Write what is not there yet. A tenant whose files are whole is not read again.

    Raises OtherFolder.
    """
    folder.claim(target, objects.identity().decode())
    rows.write_control(target / folder.CONTROL)
    for tenant in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        if folder.manifest(target, tenant) is None:
            _write_tenant(target, tenant, tell)


def path_of(target: Path, tenant: UUID, entity: str) -> Path:
    """The file of an entity's rows."""
    return target / str(tenant) / f"{entity}.ndjson"


def _write_tenant(target: Path, tenant: UUID, tell: Tell) -> None:
    own = rows.write_own(target / str(tenant) / folder.OWN, tenant)
    with snapshot(tenant) as state:
        told = {entity.name: _write(target, state, entity, tell) for entity in ENTITIES}
    folder.write_json(target / str(tenant) / folder.MANIFEST, {"entities": told, "own": own})


def _write(target: Path, state: Snapshot, entity: Entity, tell: Tell) -> dict[str, Any]:
    digest, sha256 = Digest(entity), hashlib.sha256()
    lines = digest.seen(_lines(state, entity))
    blocks = documents.document(lines, "ndjson", columns_of(entity))
    # Plain: how far a file may be unpacked is limited on its way in.
    data = _hashed((block.data for block in blocks), sha256)
    folder.write(path_of(target, state.tenant, entity.name), data)
    tell(f"{state.tenant} {entity.name}: {digest.rows:,} rows read")
    return {**digest.told, "sha256": sha256.hexdigest()}


def _lines(state: Snapshot, entity: Entity) -> Iterator[bytes]:
    selection = Selection(entity, columns_of(entity), order=_order(entity))
    return state.reader.lines(state.connection, state.tenant, selection, Form.NDJSON)


def _order(entity: Entity) -> tuple[Field, ...]:
    """Movements come in the order of their numbers, so that they get the same ones again."""
    if entity.levels is None:
        return ()
    return entity.field(entity.levels.owner), entity.field(entity.levels.number)


def _hashed(blocks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    for block in blocks:
        digest.update(block)
        yield block

"""A file on its way in: admitted, stored, queued, all of it once for its idempotency key."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.core import idempotency, logs, metrics
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.ingestions import admission, processing, sessions, sources
from apps.ingestions.bodies import Body, check_size
from apps.ingestions.models import Chunk, ChunkState, Upload
from apps.ingestions.readings import LONGEST_MAGIC, Reading, Signs, reading_of
from apps.tenants.models import Tenant
from headrace.entities import BY_NAME, entity_of_file
from headrace.pipeline.formats import CSV
from headrace.storage.base import StoreFull

LOOK_BYTES = 16 << 20  # how often the room on the disk is looked at while a body comes in


@dataclass(frozen=True)
class Delivery:
    """A file on its way in, as its sender describes it.

    What the body says of itself (its name, a field `entity`) is known once it has been read.
    `length` is its announced length in bytes, 0 if there is none.
    """

    tenant: UUID
    key: Key
    token: str | None
    encoding: str
    length: int
    body: Body

    @property
    def filename(self) -> str:
        return self.body.filename

    @property
    def entity(self) -> str | None:
        return self.body.option("entity")

    @property
    def options(self) -> tuple[str, ...]:
        """How the sender wants the file to be read, where that is said."""
        wanted = self.body.option("format")
        return (f"format={wanted}",) if wanted else ()


class Reception:
    """Takes in one body: hashes, counts and limits it on its way to the store."""

    def __init__(self) -> None:
        self.id = uuid4()
        self.bytes = 0
        self.beginning = b""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def store(self, tenant: UUID, blocks: Iterable[bytes]) -> str:
        """Keep the blocks; returns the object's key. Raises Problem; nothing is kept then."""
        key = f"{sources.FOLDER}/{tenant}/{self.id}"
        try:
            sources.store().put(key, self._watched(blocks))
        except StoreFull:
            raise Problem("store_full", "Try again later, or ask the operator for room.") from None
        return key

    def skim(self, blocks: Iterable[bytes]) -> None:
        """Only hash and count."""
        for _ in self._watched(blocks):
            pass

    def _watched(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.bytes += len(block)
            check_size(self.bytes)
            if self.bytes // LOOK_BYTES > (self.bytes - len(block)) // LOOK_BYTES:
                admission.check_room(0)
            self._digest.update(block)
            if len(self.beginning) < LONGEST_MAGIC:
                self.beginning = (self.beginning + block)[:LONGEST_MAGIC]
            yield block


def receive(delivery: Delivery) -> Answer:
    """Store a file and queue it, once for its idempotency key. Raises Problem."""
    reception = Reception()
    if idempotency.is_known(delivery.key):
        reception.skim(delivery.body.blocks())
        return idempotency.replay(delivery.key, _fingerprint(delivery, reception))
    admission.check_tenant(delivery.tenant, delivery.token, delivery.length)
    admission.check_room(delivery.length)
    source = reception.store(delivery.tenant, delivery.body.blocks())
    try:
        return _accept(delivery, reception, source)
    except IntegrityError:
        sources.store().delete(source)
        return idempotency.replay(delivery.key, _fingerprint(delivery, reception))
    except Problem:
        sources.store().delete(source)
        if idempotency.is_known(delivery.key):  # the same request was quicker
            return idempotency.replay(delivery.key, _fingerprint(delivery, reception))
        raise
    # After any other error the object stays: a commit whose acknowledgement was lost may have
    # succeeded, and then the object is a chunk's source.


def _accept(delivery: Delivery, reception: Reception, source: str) -> Answer:
    """Chunk, job and idempotency key in one transaction: all of them or none."""
    entity = _entity(delivery)
    reading = _reading(delivery, reception)
    with transaction.atomic():
        number = _next_number(delivery.tenant)
        admission.check_tenant(delivery.tenant, delivery.token, reception.bytes)
        upload = _joined(delivery)
        chunk = Chunk(
            id=reception.id,
            upload=upload,
            tenant_id=delivery.tenant,
            number=number,
            entity=entity,
            filename=delivery.filename,
            **reading._asdict(),
            source=source,
            bytes=reception.bytes,
            sha256=reception.sha256,
        )
        chunk.save(force_insert=True)
        processing.queue(chunk)
        metrics.count_file(entity, chunk.bytes)
        logs.bind(upload=upload.id, chunk=chunk.id)
        answer = sessions.answered(upload, _described(chunk))
        idempotency.keep(delivery.key, _fingerprint(delivery, reception), answer)
    return answer


def _fingerprint(delivery: Delivery, reception: Reception) -> str:
    """The file and what is to be done with it; multipart boundaries differ per retry."""
    told = (delivery.token or "", delivery.encoding, *_how_to_read(delivery, reception))
    return idempotency.fingerprint("file", reception.sha256, _entity(delivery), *told)


def _how_to_read(delivery: Delivery, reception: Reception) -> tuple[str, ...]:
    """What is to be done with the bytes, if that is not what is done with JSON by itself."""
    try:
        reading = _reading(delivery, reception)
    except Problem:
        return ("unreadable",)
    return (CSV, reading.delimiter) if reading.format == CSV else delivery.options


def _joined(delivery: Delivery) -> Upload:
    if delivery.token is None:
        upload = sessions.new(delivery.tenant, sessions.Options())
        upload.save(force_insert=True)
        return upload
    found = Upload.objects.filter(tenant_id=delivery.tenant, token=delivery.token).first()
    if found is None:
        raise Problem("not_found", "Open an upload with POST /api/v1/ingest/sessions/.")
    sessions.join(found)
    return found


def _next_number(tenant: UUID) -> int:
    """The file's place among the tenant's. It holds the tenant's row until the commit."""
    Tenant.objects.filter(pk=tenant).update(last_number=F("last_number") + 1)
    return Tenant.objects.values_list("last_number", flat=True).get(pk=tenant)


def _entity(delivery: Delivery) -> str:
    named, label = delivery.entity, delivery.filename
    known = BY_NAME.get(named) if named else entity_of_file(label)
    if known is None:
        raise Problem(
            "unknown_entity",
            f"Name the record type: ?entity= with one of {', '.join(BY_NAME)},"
            " or a file name that begins with it.",
        )
    return known.name


def _reading(delivery: Delivery, reception: Reception) -> Reading:
    body = delivery.body
    return reading_of(
        Signs(
            beginning=reception.beginning,
            filename=delivery.filename,
            content_type=body.content_type,
            encoding=delivery.encoding,
            format=body.option("format") or None,
            delimiter=body.option("delimiter") or None,
        )
    )


def _described(chunk: Chunk) -> dict[str, object]:
    return {
        "chunk_id": str(chunk.id),
        "entity": chunk.entity,
        "filename": chunk.filename,
        "format": chunk.format,
        "bytes": chunk.bytes,
        "sha256": chunk.sha256,
        "status": ChunkState.RECEIVED.value,
    }

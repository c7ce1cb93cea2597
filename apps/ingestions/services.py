"""A file on its way in: admitted, stored, queued, all of it once for its idempotency key."""

import hashlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction
from django.db.models import F

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import idempotency, logs, metrics, objects
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.ingestions import admission, processing, sessions, sources
from apps.ingestions.bodies import Body, check_size
from apps.ingestions.models import Chunk, ChunkState, Upload
from apps.ingestions.readings import LONGEST_MAGIC, Reading, Signs, reading_of
from apps.tenants import doors, keys, quotas
from apps.tenants.models import Tenant
from headrace.entities import BY_NAME, entity_of_file
from headrace.pipeline.formats import CSV, FORMATS
from headrace.storage.base import StoreFull

LOOK_BYTES = 16 << 20  # how often the room on the disk is looked at while a body comes in
LOOK_SECONDS = 1.0  # and whether its tenant may still send


class Door(NamedTuple):
    """A way in: the record type of all that comes by it, if it is not the sender's to say; the
    formats that it takes; the status of its answer; whether the idempotency key names the events
    that have no id, and those of one owner land together (load.Load).
    """

    entity: str | None
    formats: tuple[str, ...]
    status: int
    names_events: bool = False


ANY_FILE = Door(None, FORMATS, 201)


@dataclass(frozen=True)
class Delivery:
    """A file on its way in, as its sender describes it.

    What the body says of itself (its name, a field `entity`) is known once it has been read.
    `length` is its announced length in bytes, 0 if there is none.
    """

    tenant: UUID
    key: Key | None
    token: str | None
    encoding: str
    length: int
    body: Body
    door: Door = ANY_FILE

    @property
    def filename(self) -> str:
        return self.body.filename

    @property
    def entity(self) -> str | None:
        return self.door.entity or self.body.option("entity")

    @property
    def options(self) -> tuple[str, ...]:
        """How the sender wants the file to be read, where that is said."""
        wanted = self.body.option("format")
        return (f"format={wanted}",) if wanted else ()


class Reception:
    """Takes in one body: hashes, counts and limits it on its way to the store."""

    def __init__(self, body: Body, tenant: UUID) -> None:
        self.id = uuid4()
        self.bytes = 0
        self._tenant = tenant
        self._token: str | None = None
        self._is_kept = False
        self._next_look = time.monotonic() + LOOK_SECONDS
        self.beginning = b""
        self._digest = hashlib.sha256()
        self._held: list[bytes] = []
        self._rest = self._watched(body.blocks())

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def hold(self, most: int) -> bytes | None:
        """The whole body in memory; None if it has more than `most` bytes, of which some are held
        until the body is stored or skimmed.
        """
        for block in self._rest:
            self._held.append(block)
            if self.bytes > most:
                return None
        return b"".join(self._held)

    def store(self, token: str | None) -> str:
        """Keep the body as a file of an upload, or of a new one; returns the object's key.

        Raises Problem; nothing is kept then.
        """
        self._token, self._is_kept = token, True
        key = f"{sources.FOLDER}/{self._tenant}/{self.id}"
        try:
            objects.store().put(key, chain(self._held, self._rest))
        except StoreFull:
            raise Problem("store_full", "Try again later, or ask the operator for room.") from None
        return key

    def skim(self) -> None:
        """Only hash and count."""
        for _ in self._rest:
            pass

    def _watched(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.bytes += len(block)
            check_size(self.bytes)
            if self.bytes // LOOK_BYTES > (self.bytes - len(block)) // LOOK_BYTES:
                admission.check_room(0)
            if time.monotonic() >= self._next_look:
                self._next_look = time.monotonic() + LOOK_SECONDS
                self._look_again()
            self._digest.update(block)
            if len(self.beginning) < LONGEST_MAGIC:
                self.beginning = (self.beginning + block)[:LONGEST_MAGIC]
            yield block

    def _look_again(self) -> None:
        """Raises Problem if who sends may not any more, or has sent more than may be kept."""
        keys.check_caller()
        if self._is_kept:
            admission.check_tenant(self._tenant, self._token, self.bytes)
        else:
            doors.check_writing(self._tenant)


def receive(delivery: Delivery) -> Answer:
    """Store a file and queue it, once for its idempotency key. Raises Problem."""
    required_key(delivery)
    return take_in(delivery, Reception(delivery.body, delivery.tenant))


def required_key(delivery: Delivery) -> Key:
    """The idempotency key. Raises Problem for a delivery without one."""
    if delivery.key is None:
        raise Problem("idempotency_key_required", "Send an Idempotency-Key header.")
    return delivery.key


def take_in(delivery: Delivery, reception: Reception) -> Answer:
    """Store a body and queue it, however much of it is held already. Raises Problem."""
    key = required_key(delivery)
    check_size(delivery.length)
    if idempotency.is_known(key):
        reception.skim()
        return idempotency.replay(key, fingerprint(delivery, reception))
    admission.check_tenant(delivery.tenant, delivery.token, delivery.length)
    quotas.check_day(delivery.tenant)
    admission.check_room(delivery.length)
    source = reception.store(delivery.token)
    try:
        return _accept(delivery, key, reception, source)
    except IntegrityError:
        objects.store().delete(source)
        return idempotency.replay(key, fingerprint(delivery, reception))
    except Problem:
        objects.store().delete(source)
        if idempotency.is_known(key):  # the same request was quicker
            return idempotency.replay(key, fingerprint(delivery, reception))
        raise
    # After any other error the object stays: a commit whose acknowledgement was lost may have
    # succeeded, and then the object is a chunk's source.


def _accept(delivery: Delivery, key: Key, reception: Reception, source: str) -> Answer:
    """Chunk, job and idempotency key in one transaction: all of them or none."""
    entity = _entity(delivery)
    reading = reading_for(delivery, reception)
    with transaction.atomic():
        place = next_place(delivery.tenant)
        keys.check_caller()
        admission.check_tenant(delivery.tenant, delivery.token, reception.bytes)
        upload = _joined(delivery)
        chunk = Chunk(
            id=reception.id,
            upload=upload,
            tenant_id=delivery.tenant,
            **place._asdict(),
            entity=entity,
            filename=delivery.filename,
            **reading._asdict(),
            event_key=key.text if delivery.door.names_events else "",
            source=source,
            bytes=reception.bytes,
            sha256=reception.sha256,
        )
        chunk.save(force_insert=True)
        processing.queue(chunk)
        metrics.count_file(entity, chunk.bytes)
        logs.bind(upload=upload.id, chunk=chunk.id)
        answer = sessions.answered(upload, _described(chunk), delivery.door.status)
        idempotency.keep(key, fingerprint(delivery, reception), answer)
        _record(chunk)
    return answer


def _record(chunk: Chunk) -> None:
    facts = {name: getattr(chunk, name) for name in ("entity", "filename", "bytes", "sha256")}
    told = {"upload": chunk.upload.token_begins, **facts}
    audit.record(chunk.tenant_id, Action.FILE_RECEIVED, chunk.pk, **told)


def fingerprint(delivery: Delivery, reception: Reception) -> str:
    """The file and what is to be done with it; multipart boundaries differ per retry."""
    told = (delivery.token or "", delivery.encoding, *_how_to_read(delivery, reception))
    return idempotency.fingerprint("file", reception.sha256, _entity(delivery), *told)


def _how_to_read(delivery: Delivery, reception: Reception) -> tuple[str, ...]:
    """What is to be done with the bytes, if that is not what is done with JSON by itself."""
    try:
        reading = reading_for(delivery, reception)
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


class Place(NamedTuple):
    """A file's number among the tenant's, and the zone of its naive times.

    The zone is that of the moment in which the file came: whenever it is read again, it is read
    alike.
    """

    number: int
    time_zone: str


def next_place(tenant: UUID) -> Place:
    """The place of a file that has come. It holds the tenant's row until the commit.

    Raises Problem if the tenant has been erased since.
    """
    if not Tenant.objects.filter(pk=tenant).update(last_number=F("last_number") + 1):
        raise doors.absent()
    return Place(*Tenant.objects.values_list("last_number", "time_zone").get(pk=tenant))


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


def reading_for(delivery: Delivery, reception: Reception) -> Reading:
    """How a body that has been read is to be understood. Raises Problem."""
    body = delivery.body
    reading = reading_of(
        Signs(
            beginning=reception.beginning,
            filename=delivery.filename,
            content_type=body.content_type,
            encoding=delivery.encoding,
            format=body.option("format") or None,
            delimiter=body.option("delimiter") or None,
        )
    )
    if reading.format not in delivery.door.formats:
        accepted = " or ".join(delivery.door.formats)
        raise Problem("unsupported_format", f"Send {accepted} here, not {reading.format}.")
    return reading


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

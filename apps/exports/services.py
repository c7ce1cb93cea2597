"""What a caller does with exports: ask for one, stop one."""

import json
from collections.abc import Generator
from contextlib import closing
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.audit.models import Action
from apps.audit.sparingly import Sparingly
from apps.core import idempotency, jobs, origins
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.core.snapshots import snapshot
from apps.exports import asked, writing
from apps.exports.asked import Asked
from apps.exports.models import ACTIVE, Export
from apps.tenants import doors, quotas
from apps.tenants.models import Tenant
from headrace.reading import packing

_downloads = Sparingly()


def order(tenant: UUID, wanted: Asked, key: Key | None) -> Answer:
    """Queue an export; the answer says where its status is. Raises Problem."""
    export = wanted.export()
    export.tenant_id = tenant
    answer = _answered(export)
    print_ = idempotency.fingerprint("export", json.dumps(vars(wanted), sort_keys=True))
    try:
        if key and (found := idempotency.kept(key)):
            return found.answer(print_)
        with transaction.atomic():
            own = doors.hold(tenant)
            doors.check_reading(own.state)
            # Whoever had the row until now may have been the same request.
            if key and (found := idempotency.kept(key)):
                return found.answer(print_)
            check_room(own)
            queue(export)
            if key:
                idempotency.keep(key, print_, answer)
            _record(Action.EXPORT_ORDERED, export)
    except IntegrityError:
        if key is None:
            raise
        return idempotency.replay(key, print_)
    return answer


def stream(tenant: UUID, wanted: Asked) -> tuple[Export, Generator[bytes, None, None]]:
    """The bytes of an export that no job makes and nobody keeps, and what it is."""
    export = wanted.export()
    export.tenant_id = tenant
    _record(Action.EXPORT_STREAMED, export)
    return export, _packed(export)


def _packed(export: Export) -> Generator[bytes, None, None]:
    """To close it closes the connection that it reads by."""
    with closing(_read(export)) as blocks:
        yield from packing.packed(blocks, writing.packing_of(export))


def _read(export: Export) -> Generator[bytes, None, None]:
    wanted = asked.selection(export, doors.zone_of(export.tenant_id))
    with snapshot(export.tenant_id) as state:
        for block in writing.blocks(export, state, wanted):
            yield block.data


def note_download(export: Export, wanted: str | None) -> None:
    """Record that bytes of an export were asked for, all or a range: of one caller and export once
    a minute and process, with how often it was, since a download may be continued often.
    """
    times = _downloads.count((export.pk, origins.current().actor))
    if times:
        told = {"entity": export.entity, "range": wanted, "times": times}
        audit.record(export.tenant_id, Action.EXPORT_DOWNLOADED, export.pk, **told)


def cancel(export: Export) -> None:
    """Ask an export to stop; it does before it writes on. One that has ended stays as it is."""
    waiting = Export.objects.filter(pk=export.pk, state__in=ACTIVE, cancelled_at=None)
    with transaction.atomic():
        if waiting.update(cancelled_at=Now()):
            audit.record(export.tenant_id, Action.EXPORT_CANCELLED, export.pk)


def _record(action: Action, export: Export) -> None:
    facts = {name: getattr(export, name) for name in ("entity", "format", "columns", "filters")}
    audit.record(export.tenant_id, action, export.pk, **facts)


def check_room(tenant: Tenant, number: int = 1, *, is_operators: bool = False) -> None:
    """Raises Problem if the tenant may not order so many more. Its row must be held: orders that
    come at once would all find the same room. An operator's may be kept beyond its quota of bytes.

    Where none waits there is room for those of a takeout, however few may wait.
    """
    waiting = Export.objects.filter(tenant_id=tenant.pk, state__in=ACTIVE).count()
    if waiting and waiting + number > settings.HEADRACE_MAX_ACTIVE_EXPORTS:
        raise Problem("queue_full", f"{waiting} exports are at work; wait for one of them to end.")
    if not is_operators:
        quotas.check_bytes(tenant, 1)


def queue(export: Export) -> None:
    """Have an export made, as part of the caller's transaction."""
    export.save(force_insert=True)
    jobs.enqueue(writing.EXPORT, export.pk, export.tenant_id)


def _answered(export: Export) -> Answer:
    location = export.address
    content = {
        "export_id": str(export.pk),
        "entity": export.entity,
        "format": export.format,
        "compression": export.compression,
        "status": export.state,
        "status_url": location,
    }
    return Answer(202, json.dumps(content), location)

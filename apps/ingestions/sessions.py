"""What a sender does with an upload besides sending files: open, close, cancel, resume it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import idempotency
from apps.core.idempotency import Answer, Key
from apps.core.isolation import tenant_transaction
from apps.core.problems import Problem
from apps.ingestions import admission, processing
from apps.ingestions.models import (
    BROKEN,
    Chunk,
    ChunkState,
    ErrorPolicy,
    RejectRows,
    Segment,
    Upload,
)
from apps.tenants import doors
from apps.tenants.models import MissingParent, Tenant
from headrace.pipeline.report import Outcome


@dataclass(frozen=True)
class Options:
    """How an upload treats its files. Without a choice a missing parent is the tenant's matter."""

    on_missing_parent: MissingParent | None = None
    error_policy: ErrorPolicy = ErrorPolicy.REJECT_FAILED
    max_errors: int | None = None
    max_error_rate: float | None = None


def open_upload(tenant: UUID, options: Options, key: Key | None) -> Answer:
    """Open an upload that files can join. Raises Problem."""
    upload = new(tenant, options)
    answer = answered(upload, {"status": "open"})
    print_ = idempotency.fingerprint("upload", *_choices(upload))
    try:
        with transaction.atomic():
            own = doors.hold(tenant)
            doors.check_state(own.state)
            if key and (found := idempotency.kept(key)):
                return found.answer(print_)
            _check_empty(own)
            upload.save(force_insert=True)
            if key:
                idempotency.keep(key, print_, answer)
            _record(Action.UPLOAD_OPENED, upload)
    except IntegrityError:
        if key is None:
            raise
        return idempotency.replay(key, print_)
    return answer


def _check_empty(tenant: Tenant) -> None:
    """Raises Problem if as many uploads wait for their first file as may be at work.

    It holds under concurrency in the transaction that holds the tenant's row.
    """
    files = Chunk.objects.filter(upload=OuterRef("pk"))
    empty = Upload.objects.filter(takes_files(), ~Exists(files), tenant_id=tenant.pk)
    most = admission.most_uploads(tenant)
    if empty.count() >= most:
        raise Problem("queue_full", f"Send files to the {most:,} uploads that are open and empty.")


def _choices(upload: Upload) -> list[str]:
    limits = (str(upload.max_errors), str(upload.max_error_rate))
    return [upload.on_missing_parent, upload.error_policy, *limits]


def answered(upload: Upload, facts: dict[str, object], status: int = 201) -> Answer:
    """The answer to whoever opened the upload or sent a file to it."""
    location = f"/api/v1/ingest/sessions/{upload.token}/status/"
    content = {"upload_token": upload.token, **facts, "status_url": location}
    return Answer(status, json.dumps(content), location)


def new(tenant: UUID, options: Options) -> Upload:
    """An upload that is not saved yet. Raises Problem for options that exclude each other."""
    is_whole = options.error_policy == ErrorPolicy.REJECT_ALL
    if is_whole and options.on_missing_parent == MissingParent.PARK:
        raise Problem(
            "invalid_request",
            "Leave on_missing_parent out: a file that lands whole cannot leave lines waiting.",
        )
    return Upload(
        tenant_id=tenant,
        on_missing_parent=options.on_missing_parent or _usual_choice(tenant),
        error_policy=options.error_policy,
        max_errors=options.max_errors,
        max_error_rate=options.max_error_rate,
        expires_at=_expiry(),
    )


def _usual_choice(tenant: UUID) -> str:
    """What the tenant's uploads do on a missing parent unless they say otherwise."""
    return Tenant.objects.values_list("on_missing_parent", flat=True).get(pk=tenant)


def _expiry() -> CombinedExpression:
    """When an upload that gets no more files stops taking them, on the database's clock."""
    return Now() + Value(timedelta(hours=settings.HEADRACE_UPLOAD_HOURS))


def takes_files() -> Q:
    """The uploads that files may join now."""
    is_alive = Q(expires_at=None) | Q(expires_at__gt=Now())
    return is_alive & Q(closed_at=None, cancelled_at=None)


def join(upload: Upload) -> None:
    """Keep the upload open for one more file, in the transaction that brings it.

    Raises Problem if it takes no more. A complete or cancel at the same time waits for us.
    """
    if not Upload.objects.filter(takes_files(), pk=upload.pk).update(expires_at=_expiry()):
        raise Problem("upload_closed", "Open a new upload; this one takes no more files.")


def complete(upload: Upload) -> None:
    """No more files will come. Saying it again changes nothing."""
    with transaction.atomic():
        if Upload.objects.filter(pk=upload.pk, closed_at=None).update(closed_at=Now()):
            _record(Action.UPLOAD_COMPLETED, upload)


def cancel(upload: Upload) -> None:
    """Take no more files; what is queued or running stops at its next segment."""
    with transaction.atomic():
        if Upload.objects.filter(pk=upload.pk, cancelled_at=None).update(cancelled_at=Now()):
            _record(Action.UPLOAD_CANCELLED, upload)


def resume(upload: Upload, limits: Mapping[str, Any]) -> int:
    """Queue the upload's broken files again, under new limits if given; how many they are.

    Raises Problem unless the tenant may write.
    """
    with tenant_transaction(upload.tenant_id):
        doors.check_state(doors.hold(upload.tenant_id).state)
        is_changed = _change(upload, {"cancelled_at": None, **limits})
        broken = Chunk.objects.filter(upload=upload, state__in=BROKEN).order_by("number")
        files = sum(_resume_chunk(chunk) for chunk in broken.defer("outcomes"))
        if files or is_changed:
            _record(Action.UPLOAD_RESUMED, upload, files=files, **limits)
    return files


def _change(upload: Upload, facts: Mapping[str, Any]) -> bool:
    """Whether any of it was something else before."""
    rows = Upload.objects.filter(pk=upload.pk)
    before = rows.select_for_update().values(*facts).first()
    rows.update(**facts)
    return before is not None and before != dict(facts)


def _record(action: Action, upload: Upload, **details: object) -> None:
    audit.record(upload.tenant_id, action, upload.pk, upload=upload.token_begins, **details)


def retry(chunk: UUID) -> bool:
    """Queue a file again for an operator. False if it is not broken, not there, or its upload is
    cancelled, which its sender takes back with a resume.
    """
    found = Chunk.objects.filter(pk=chunk, upload__cancelled_at=None).defer("outcomes").first()
    return found is not None and resume_chunk(found)


def resume_chunk(chunk: Chunk) -> bool:
    """Queue a broken file again: from where it stopped, or anew if nothing of it has landed.

    False if it is not broken any more, or its stored bytes are gone, or retention is dropping its
    details right now.
    """
    with tenant_transaction(chunk.tenant_id):
        return _resume_chunk(chunk)


def _resume_chunk(chunk: Chunk) -> bool:
    half_dropped = Q(is_planned=True, outcomes=b"", details_dropped_at=None)
    rows = Chunk.objects.filter(~half_dropped, pk=chunk.pk, state__in=BROKEN)
    rows = rows.exclude(source="")
    if not rows.update(state=ChunkState.RECEIVED, **_ONGOING):
        return False
    if not Segment.objects.filter(chunk=chunk).exclude(report=None).exists():
        _forget(chunk)
    processing.queue(chunk)
    return True


_ONGOING: dict[str, Any] = {"code": "", "message": "", "ended_at": None, "settled_at": None}


def _forget(chunk: Chunk) -> None:
    """Nothing has landed: what was found out about the lines is found out anew."""
    Segment.objects.filter(chunk=chunk).delete()
    RejectRows.objects.filter(chunk=chunk).delete()
    Chunk.objects.filter(pk=chunk.pk).update(
        is_planned=False,
        counted_on=None,
        outcomes=b"",
        lines_received=0,
        reject_groups=[],
        unknown_keys={},
        level_mismatches=0,
        details_dropped_at=None,
        started_at=None,
        **{outcome.value: 0 for outcome in Outcome},
    )

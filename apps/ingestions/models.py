"""Uploads, their chunks and segments, and what became of every line."""

import secrets
from uuid import uuid4

from django.db import models
from django.db.models.functions import Now

from apps.core.entity_models import TenantManager
from apps.tenants.models import MissingParent
from headrace.pipeline.formats import NDJSON
from headrace.pipeline.report import Counts, Outcome


class ChunkState(models.TextChoices):
    RECEIVED = "received", "stored and queued"
    VERIFYING = "verifying", "pass A reads every line; nothing has landed"
    PROMOTING = "promoting", "segments are landing"
    COMPLETED = "completed", "every line has its outcome and none was rejected"
    COMPLETED_WITH_REJECTS = "completed_with_rejects", "every line has its outcome"
    CORRUPT = "corrupt", "the file is damaged; nothing of it landed"
    FAILED = "failed", "ended early; the rest is unprocessed"
    CANCELLED = "cancelled", "stopped on request; the rest is unprocessed"


LANDED = (ChunkState.COMPLETED, ChunkState.COMPLETED_WITH_REJECTS)
BROKEN = (ChunkState.CORRUPT, ChunkState.FAILED, ChunkState.CANCELLED)
ENDED = (*LANDED, *BROKEN)


class ErrorPolicy(models.TextChoices):
    REJECT_FAILED = "reject_failed", "sound lines land, the others are rejected"
    REJECT_ALL = "reject_all", "a file lands whole, in one transaction, or not at all"


def _token() -> str:
    return f"up_{secrets.token_urlsafe(24)}"


class Upload(models.Model):
    """What belongs together: the files that a client sends under one token.

    It takes files until it is closed, by its sender or by a cancel, or expires. `max_errors` and
    `max_error_rate` are the most rejected lines that one of its files may have.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    token = models.CharField(max_length=64, unique=True, default=_token)
    tenant_id = models.UUIDField()
    on_missing_parent = models.CharField(
        max_length=10, choices=MissingParent, default=MissingParent.PARK
    )
    error_policy = models.CharField(
        max_length=16, choices=ErrorPolicy, default=ErrorPolicy.REJECT_FAILED
    )
    max_errors = models.BigIntegerField(null=True)
    max_error_rate = models.FloatField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "uploads"
        indexes = [models.Index(fields=["tenant_id", "created_at"], name="uploads_tenant_idx")]

    @property
    def token_begins(self) -> str:
        """What tells a token from others and opens nothing, as logs and histories show it."""
        return f"{self.token[:11]}…"

    def __str__(self) -> str:
        return self.token_begins


class Counters(models.Model):
    """How many lines have each outcome."""

    inserted = models.BigIntegerField(default=0)
    updated = models.BigIntegerField(default=0)
    unchanged = models.BigIntegerField(default=0)
    superseded = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    parked = models.BigIntegerField(default=0)
    unprocessed = models.BigIntegerField(default=0)

    class Meta:
        abstract = True

    @property
    def counts(self) -> Counts:
        return {outcome: getattr(self, outcome) for outcome in Outcome}


class Chunk(Counters):
    """One received file. `number` orders the tenant's files; later ones win.

    `outcomes` is the compact form of report.LineOutcomes, complete once the chunk has ended.
    `settled_at` is when a line last got its outcome. Retention drops the outcomes and rejects
    (`details_dropped_at`) and later the stored file (an empty `source`); the counters stay.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    upload = models.ForeignKey(Upload, on_delete=models.CASCADE, related_name="chunks")
    tenant_id = models.UUIDField()
    number = models.BigIntegerField()
    time_zone = models.CharField(
        max_length=64,
        default="",
        db_default="",
        help_text="of its naive times: the tenant's when it came; empty: the tenant's now",
    )
    entity = models.CharField(max_length=40)
    filename = models.CharField(max_length=255)
    compression = models.CharField(max_length=10)
    format = models.CharField(max_length=10, default=NDJSON)
    delimiter = models.CharField(max_length=1, default=",")
    event_key = models.CharField(
        max_length=255,
        default="",
        help_text="idempotency key of a stock call, which names events without an id",
    )
    source = models.CharField(max_length=255, help_text="key in the object store")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    state = models.CharField(max_length=24, choices=ChunkState, default=ChunkState.RECEIVED)
    code = models.CharField(max_length=40, default="")
    message = models.TextField(default="")
    lines_received = models.BigIntegerField(default=0)
    is_planned = models.BooleanField(default=False)
    counted_on = models.DateField(null=True, help_text="the day whose quota has its rows")
    outcomes = models.BinaryField(default=b"")
    unknown_keys = models.JSONField(default=dict)
    level_mismatches = models.BigIntegerField(
        default=0, help_text="landed movements that claim another level than ours"
    )
    reject_groups = models.JSONField(default=list, help_text="report.Group, by code and field")
    received_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    settled_at = models.DateTimeField(null=True)
    details_dropped_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "chunks"
        indexes = [
            models.Index(fields=["upload", "number"], name="chunks_upload_idx"),
            models.Index(fields=["tenant_id", "entity", "number"], name="chunks_entity_idx"),
            models.Index(
                fields=["tenant_id"], name="chunks_parked_idx", condition=models.Q(parked__gt=0)
            ),
            models.Index(
                fields=["tenant_id"],
                name="chunks_unended_idx",
                condition=models.Q(ended_at__isnull=True),
            ),
            models.Index(  # what retention has still to drop something of
                fields=["settled_at"],
                name="chunks_kept_idx",
                condition=~models.Q(source="") | models.Q(details_dropped_at__isnull=True),
            ),
        ]
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "number"], name="chunks_number_key"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.filename} ({self.state})"


class Segment(models.Model):
    """A range of segment keys of a chunk, landed in one transaction."""

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE, related_name="segments")
    number = models.PositiveIntegerField()
    low = models.CharField(max_length=36)
    high = models.CharField(max_length=36)
    digests = models.BinaryField(null=True, help_text="what older.pack has of its keys")
    report = models.BinaryField(null=True, help_text="report.SegmentReport, once landed")

    class Meta:
        db_table = "segments"
        constraints = [
            models.UniqueConstraint(fields=["chunk", "number"], name="segments_number_key"),
        ]

    def __str__(self) -> str:
        return f"segment {self.number}"


class RejectRows(models.Model):
    """A page of rejects (report.RejectPage), guarded by tenant: they quote the tenant's data."""

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE)
    tenant_id = models.UUIDField()
    first_line = models.BigIntegerField()
    rows = models.PositiveIntegerField()
    codes = models.JSONField()
    blob = models.BinaryField()

    objects = TenantManager()

    class Meta:
        db_table = "rejects"
        indexes = [models.Index(fields=["chunk", "first_line"], name="rejects_chunk_idx")]

    def __str__(self) -> str:
        return f"{self.rows} rejects from line {self.first_line}"


class ParkedLine(models.Model):
    """A line that waits for row `key` of `entity`; guarded by tenant."""

    chunk = models.ForeignKey(Chunk, on_delete=models.CASCADE)
    tenant_id = models.UUIDField()
    line = models.BigIntegerField()
    offset = models.BigIntegerField()
    field = models.CharField(max_length=63)
    entity = models.CharField(max_length=40)
    key = models.UUIDField()
    expires_at = models.DateTimeField()

    objects = TenantManager()

    class Meta:
        db_table = "parked"
        constraints = [
            models.UniqueConstraint(fields=["chunk", "line"], name="parked_line_key"),
        ]
        indexes = [
            models.Index(fields=["tenant_id", "entity", "key"], name="parked_key_idx"),
            models.Index(fields=["tenant_id", "expires_at"], name="parked_expiry_idx"),
        ]

    def __str__(self) -> str:
        return f"line {self.line} waits for {self.entity} {self.key}"

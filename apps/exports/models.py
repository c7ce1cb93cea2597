"""Exports: what was asked for, how far its job is, and the parts that it has made."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now

from headrace.pipeline.formats import CSV, JSON, NDJSON
from headrace.pipeline.formats.compression import ENDINGS
from headrace.reading.parquet import PARQUET

FORMATS = (CSV, JSON, NDJSON, PARQUET)
TAR = "tar"  #: the format of bundles, which nobody chooses
COMPRESSIONS = ("none", *ENDINGS)


class ExportState(models.TextChoices):
    QUEUED = "queued", "waits for a worker"
    RUNNING = "running", "rows are being written"
    COMPLETED = "completed", "whole, and ready to be downloaded"
    FAILED = "failed", "ended early; nothing can be downloaded"
    CANCELLED = "cancelled", "stopped on request; nothing can be downloaded"
    EXPIRED = "expired", "kept no longer"


ACTIVE = (ExportState.QUEUED, ExportState.RUNNING)


class Export(models.Model):
    """One export. `parts` are those of the claim that completed it, and empty before.

    `filters` is what was asked for, in the words of headrace.reading.filters. `rows_expected` is
    what the snapshot has; `rows` and `bytes` are what has been written of it so far.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    entity = models.CharField(max_length=40)
    format = models.CharField(max_length=10)
    compression = models.CharField(max_length=10, default="none")
    columns = models.JSONField()
    filters = models.JSONField(default=dict)
    is_safe = models.BooleanField(default=False, help_text="cells that no spreadsheet evaluates")
    is_operators = models.BooleanField(
        default=False, db_default=False, help_text="passes by the tenant's quota of bytes"
    )
    state = models.CharField(max_length=12, choices=ExportState, default=ExportState.QUEUED)
    code = models.CharField(max_length=40, default="")
    message = models.TextField(default="")
    rows_expected = models.BigIntegerField(null=True)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    parts = models.JSONField(default=list)
    sha256 = models.CharField(max_length=64, default="")
    created_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True, help_text="when it was asked to stop")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "exports"
        indexes = [
            models.Index(fields=["tenant_id", "created_at"], name="exports_tenant_idx"),
            models.Index(fields=["ended_at"], name="exports_ended_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.format} {self.id}"

    @property
    def address(self) -> str:
        """Where its status is."""
        return f"/api/v1/tenants/{self.tenant_id}/reports/export/{self.pk}/"


class Takeout(models.Model):
    """Everything of a tenant, ordered at once: an export of each record type, in the load order,
    and of what else it has.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    format = models.CharField(max_length=10)
    compression = models.CharField(max_length=10)
    exports = models.JSONField(help_text="the ids of its exports")
    asked_by = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "takeouts"
        indexes = [
            models.Index(fields=["tenant_id", "created_at"], name="takeouts_tenant_idx"),
            models.Index(fields=["created_at"], name="takeouts_age_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.format} {self.id}"

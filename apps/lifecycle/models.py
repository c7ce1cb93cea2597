"""Erasures: that a tenant has been erased, with the counts that prove it."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now


class ErasureState(models.TextChoices):
    QUEUED = "queued", "waits for its time, or for a worker"
    RUNNING = "running", "rows and objects are being removed"
    DONE = "done", "nothing is left, as `after` proves"
    FAILED = "failed", "stopped early; asked for again it goes on"


ACTIVE = (ErasureState.QUEUED, ErasureState.RUNNING)


class Erasure(models.Model):
    """One erasure, and its proof. It refers to no row, and outlives the tenant.

    `before` is what was there once nothing moved any more, `after` what was found by counting
    anew when all was removed. `asked_by` is the id of an operator's key, or the command.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    state = models.CharField(max_length=10, choices=ErasureState, default=ErasureState.QUEUED)
    asked_by = models.CharField(max_length=100)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    code = models.CharField(max_length=40, default="")
    message = models.TextField(default="")
    requested_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "erasures"
        indexes = [
            models.Index(fields=["tenant_id", "requested_at"], name="erasures_tenant_idx"),
            models.Index(fields=["requested_at"], name="erasures_age_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} ({self.state})"

"""The service's own rows that every app uses: jobs, idempotency keys, buckets of quotas."""

from django.db import models
from django.db.models.functions import Now


class JobState(models.TextChoices):
    QUEUED = "queued", "waits for a worker"
    RUNNING = "running", "a worker holds its lease"
    DONE = "done", "ended well"
    FAILED = "failed", "ended with a permanent error"
    QUARANTINED = "quarantined", "was claimed too often without progress"
    CANCELLED = "cancelled", "stopped on request"


class Priority(models.IntegerChoices):
    HIGH = 0, "price and stock"
    NORMAL = 1, "ingestion and exports"
    LOW = 2, "metrics and cleanup"


class Job(models.Model):
    """Work for one worker at a time. A claim raises the epoch; an effect of an older one is void.

    Jobs of one `group` wait for those of a lower `rank` in it.
    """

    kind = models.CharField(max_length=40)
    subject = models.UUIDField()
    tenant_id = models.UUIDField()
    group = models.UUIDField(null=True)
    rank = models.PositiveSmallIntegerField(default=0)
    priority = models.PositiveSmallIntegerField(choices=Priority, default=Priority.NORMAL)
    state = models.CharField(max_length=12, choices=JobState, default=JobState.QUEUED)
    epoch = models.PositiveIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="claims since progress")
    troubles = models.PositiveSmallIntegerField(
        default=0, help_text="passing errors since progress"
    )
    lease_expires = models.DateTimeField(null=True)
    run_after = models.DateTimeField(db_default=Now())
    worker = models.CharField(max_length=100, default="")
    error = models.TextField(default="")
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "jobs"
        indexes = [
            models.Index(fields=["state", "priority", "tenant_id", "id"], name="jobs_queue_idx"),
            models.Index(fields=["group", "rank", "state"], name="jobs_group_idx"),
            models.Index(fields=["subject", "kind", "state"], name="jobs_subject_idx"),
            models.Index(fields=["ended_at"], name="jobs_ended_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} ({self.state})"


class IdempotencyKey(models.Model):
    """The answer to a request that had an effect, kept in the effect's transaction."""

    tenant_id = models.UUIDField()
    scope = models.CharField(max_length=40)
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    location = models.CharField(max_length=255)
    body = models.TextField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_keys"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "scope", "key"], name="idempotency_keys_key"
            ),
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotency_keys_age_idx")]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class RateLimit(models.Model):
    """A bucket of `apps.core.buckets`: `full_at` is the database's time in microseconds.

    `table_buckets` has the SQL that moves it.
    """

    pk = models.CompositePrimaryKey("tenant_id", "product_id")
    tenant_id = models.UUIDField()
    product_id = models.UUIDField(help_text="zeros for all calls of the tenant")
    full_at = models.BigIntegerField()  # without an index, so that PostgreSQL updates in place

    class Meta:
        db_table = "rate_limits"

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.product_id}"

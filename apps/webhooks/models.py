"""Webhooks: where a tenant wants to be told, what happened, and what became of telling it.

What is the tenant's own (addresses, what was told, what receivers answered) is guarded. What a
worker must find for all tenants is in two control tables without any of that: lanes and deliveries.
"""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now

from apps.core.entity_models import TenantManager


class DeliveryState(models.TextChoices):
    PENDING = "pending", "to be sent, or sent again"
    DELIVERED = "delivered", "the receiver took it"
    FAILED = "failed", "given up; it can be replayed"


class Endpoint(models.Model):
    """An address that a tenant wants to be told at. Its secrets are derived: see `signing`."""

    endpoint_id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    url = models.CharField(max_length=2_048)
    description = models.CharField(max_length=255, default="")
    salt = models.CharField(max_length=32)
    old_salt = models.CharField(max_length=32, default="", help_text="before the last rotation")
    old_until = models.DateTimeField(null=True, help_text="until when the old secret signs too")
    created_at = models.DateTimeField(db_default=Now())

    objects = TenantManager()

    class Meta:
        db_table = "webhook_endpoints"
        indexes = [models.Index(fields=["tenant_id"], name="webhook_endpoints_tenant_idx")]

    def __str__(self) -> str:
        return str(self.endpoint_id)


class Lane(models.Model):
    """The way to an endpoint: which events take it, and whether anything is sent now.

    After a failure or a slow answer the whole lane waits until `held_until`: an endpoint that is
    down is asked now and then, not once for every event. Of those that wait for nothing the one
    goes first that was served longest ago.
    """

    endpoint_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    events = models.JSONField(help_text="names of types")
    is_open = models.BooleanField(default=True)
    closed_because = models.CharField(max_length=20, default="")
    failures = models.PositiveIntegerField(default=0, help_text="since the last success")
    held_until = models.DateTimeField(null=True)
    served_at = models.DateTimeField(db_default=Now(), help_text="when the last sending ended")
    milliseconds = models.PositiveIntegerField(default=0, help_text="that it took")

    class Meta:
        db_table = "webhook_lanes"
        indexes = [models.Index(fields=["tenant_id"], name="webhook_lanes_tenant_idx")]

    def __str__(self) -> str:
        return str(self.endpoint_id)


class Event(models.Model):
    """What happened, as the bytes that every receiver gets; written with what happened."""

    event_id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    type = models.CharField(max_length=40)
    subject = models.UUIDField(null=True, help_text="what it happened to")
    body = models.TextField()
    created_at = models.DateTimeField(help_text="as the event says it")

    objects = TenantManager()

    class Meta:
        db_table = "webhook_events"
        indexes = [
            models.Index(
                fields=["tenant_id", "subject", "created_at"], name="webhook_events_subject_idx"
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"


class Delivery(models.Model):
    """An event on its way to an endpoint; `attempts` counts since it was made or replayed."""

    delivery_id = models.UUIDField(primary_key=True, default=uuid4)
    tenant_id = models.UUIDField()
    endpoint_id = models.UUIDField()
    event_id = models.UUIDField()
    type = models.CharField(max_length=40)
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(help_text="as the event says it")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "webhook_deliveries"
        indexes = [
            models.Index(
                # With the key: after a replay of many all are due at the same time.
                fields=["endpoint_id", "state", "due_at", "delivery_id"],
                name="webhook_deliveries_next_idx",
            ),
            models.Index(
                fields=["endpoint_id", "created_at", "delivery_id"],
                name="webhook_deliveries_log_idx",
            ),
            models.Index(fields=["event_id"], name="webhook_deliveries_event_idx"),
            models.Index(fields=["state", "ended_at"], name="webhook_deliveries_ended_idx"),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.delivery_id} ({self.state})"


class Attempt(models.Model):
    """One sending of a delivery, and what came of it. `status` is null where no answer came."""

    tenant_id = models.UUIDField()
    delivery_id = models.UUIDField()
    at = models.DateTimeField(db_default=Now())
    status = models.PositiveSmallIntegerField(null=True)
    milliseconds = models.PositiveIntegerField()
    error = models.CharField(max_length=24, default="")
    answer = models.TextField(default="", help_text="how the answer's body begins")

    objects = TenantManager()

    class Meta:
        db_table = "webhook_attempts"
        indexes = [models.Index(fields=["delivery_id"], name="webhook_attempts_log_idx")]

    def __str__(self) -> str:
        return f"{self.delivery_id} {self.status or self.error}"

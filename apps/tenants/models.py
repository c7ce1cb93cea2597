"""Merchants and their keys. Control tables: they are read before a tenant is known."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now


class MissingParent(models.TextChoices):
    PARK = "park", "a line waits for the row it refers to"
    REJECT = "reject", "a line whose reference has no row is rejected at once"


class Tenant(models.Model):
    """A merchant. `last_number` counts the files it sent; they are ordered by it.

    `on_missing_parent` is what its uploads do unless they say otherwise; limits that are null
    are those of the settings.
    """

    tenant_id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=255)
    time_zone = models.CharField(max_length=64, default="UTC")
    on_missing_parent = models.CharField(
        max_length=10, choices=MissingParent, default=MissingParent.PARK
    )
    max_queued_bytes = models.BigIntegerField(null=True)
    max_active_uploads = models.PositiveIntegerField(null=True)
    last_number = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "tenants"

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key of a tenant: the public id, and a keyed hash of the whole.

    A demo key is guessable from the tenant's id and works only while HEADRACE_DEMO_KEYS is on.
    """

    key_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="keys")
    secret_hash = models.CharField(max_length=64)
    is_demo = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "api_keys"

    def __str__(self) -> str:
        return self.key_id

"""Merchants and their keys. Control tables: they are read before a tenant is known."""

from uuid import uuid4

from django.db import models
from django.db.models.functions import Now


class Tenant(models.Model):
    """A merchant. `last_number` counts the files it sent; they are ordered by it."""

    tenant_id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=255)
    time_zone = models.CharField(max_length=64, default="UTC")
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

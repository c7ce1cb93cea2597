"""Merchants and their keys. Control tables: they are read before a tenant is known."""

from uuid import UUID, uuid4

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from apps.tenants.scopes import Scope, unpack


class MissingParent(models.TextChoices):
    PARK = "park", "a line waits for the row it refers to"
    REJECT = "reject", "a line whose reference has no row is rejected at once"


class NegativeLevels(models.TextChoices):
    REJECT = "reject", "a movement that takes more than is there is refused"
    ALLOW = "allow", "levels may fall below 0"


class TenantState(models.TextChoices):
    """What its keys may do. Work that was accepted before ends as ever."""

    ACTIVE = "active", "all that their scopes allow"
    READ_ONLY = "read_only", "read and export, and what only looks"
    SUSPENDED = "suspended", "nothing but ask who they are"


class KeyStatus(models.TextChoices):
    """Told of a key, and kept nowhere: it follows from its times."""

    VALID = "valid", "it works"
    EXPIRED = "expired", "its time, or that of its overlap, is over"
    REVOKED = "revoked", "it was ended by hand"


NOBODY = UUID(int=0)  #: whose jobs and log are those of the service itself; no merchant's


class Tenant(models.Model):
    """A merchant. `last_number` counts the files it sent; they are ordered by it.

    `on_missing_parent` is what its uploads do unless they say otherwise; limits that are null
    are those of the settings. Of calls a minute, stored bytes and rows a day, 0 is no limit.
    """

    tenant_id = models.UUIDField(primary_key=True, default=uuid4)
    name = models.CharField(max_length=255)
    time_zone = models.CharField(max_length=64, default="UTC")
    state = models.CharField(max_length=10, choices=TenantState, default=TenantState.ACTIVE)
    on_missing_parent = models.CharField(
        max_length=10, choices=MissingParent, default=MissingParent.PARK
    )
    negative_levels = models.CharField(
        max_length=10, choices=NegativeLevels, default=NegativeLevels.REJECT
    )
    max_queued_bytes = models.BigIntegerField(null=True)
    max_active_uploads = models.PositiveIntegerField(null=True)
    max_calls_per_minute = models.PositiveIntegerField(null=True)
    max_product_calls_per_minute = models.PositiveIntegerField(null=True)
    max_stored_bytes = models.BigIntegerField(null=True)
    max_rows_per_day = models.BigIntegerField(null=True)
    last_number = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "tenants"
        constraints = (
            models.CheckConstraint(name="tenants_somebody", condition=~Q(tenant_id=NOBODY)),
        )

    def __str__(self) -> str:
        return self.name


class TenantDay(models.Model):
    """How many rows of a tenant were taken on a day of UTC; `quotas` has the rules."""

    pk = models.CompositePrimaryKey("tenant_id", "day")
    tenant_id = models.UUIDField()
    day = models.DateField()
    rows = models.BigIntegerField(default=0)

    class Meta:
        db_table = "tenant_days"
        indexes = [models.Index(fields=["day"], name="tenant_days_age_idx")]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.day}: {self.rows}"


class ApiKey(models.Model):
    """A key: the public id, a keyed hash of the whole, and what it may do.

    Without a tenant it is an operator's. A demo key is guessable from the tenant's id and works
    only while HEADRACE_DEMO_KEYS is on. A key that was rotated names the key that came after it.
    `bucket` is the key in whose bucket its calls are counted, "" for its own: who has a limit makes
    no key by which it would call more often.
    """

    key_id = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="keys", null=True)
    secret_hash = models.CharField(max_length=64)
    is_demo = models.BooleanField(default=False)
    scopes = models.CharField(max_length=100)  # words, as `pack` writes them
    label = models.CharField(max_length=100, default="")
    max_calls_per_minute = models.PositiveIntegerField(null=True)
    bucket = models.CharField(max_length=64, default="", db_default="")
    replaced_by = models.CharField(max_length=64, null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "api_keys"
        constraints = (
            models.CheckConstraint(
                name="api_keys_operator",
                condition=Q(tenant=None, scopes=Scope.OPERATOR)
                | Q(tenant__isnull=False) & ~Q(scopes=Scope.OPERATOR),
            ),
        )

    def __str__(self) -> str:
        return self.key_id

    @property
    def may(self) -> tuple[str, ...]:
        """Its scopes."""
        return unpack(self.scopes)

    @property
    def counts_for(self) -> str:
        """The id of the key in whose bucket its calls are counted."""
        return self.bucket or self.key_id

"""What prices did: an event a call, and the feed of those that were anomalies."""

from django.db import models
from django.db.models import Q

from apps.core.entity_models import ScaledDecimalField, TenantManager


class PriceEvent(models.Model):
    """A price as a caller sent it, and what was said of the change.

    `old_price` is what the product cost here, `claimed_old_price` what the caller thought it did.
    Numbers that are only shown are texts: `pct_change`, and `reasons` and `metadata`, which are
    JSON. `feed_number` is the place among the tenant's anomalies; events that are none have none.
    """

    event_id = models.UUIDField(primary_key=True)
    tenant_id = models.UUIDField()
    product_id = models.UUIDField()
    old_price = ScaledDecimalField(max_digits=19, decimal_places=4)
    new_price = ScaledDecimalField(max_digits=19, decimal_places=4)
    claimed_old_price = ScaledDecimalField(max_digits=19, decimal_places=4, null=True)
    pct_change = models.CharField(max_length=40, null=True)
    severity = models.CharField(max_length=12)
    reasons = models.TextField()
    source = models.CharField(max_length=50)
    metadata = models.TextField(null=True)
    status = models.CharField(max_length=10)
    processed_at = models.DateTimeField()
    feed_number = models.BigIntegerField(null=True)

    objects = TenantManager()

    class Meta:
        db_table = "price_events"
        indexes = [
            models.Index(
                fields=["tenant_id", "feed_number"],
                condition=Q(feed_number__isnull=False),
                name="price_events_feed_idx",
            ),
            models.Index(
                fields=["tenant_id", "product_id", "processed_at", "feed_number"],
                condition=Q(feed_number__isnull=False),
                name="price_events_anomalies_idx",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.product_id} {self.old_price} → {self.new_price} ({self.severity})"


class PriceFeed(models.Model):
    """How many anomalies a tenant has. Its row is locked from the number to the commit."""

    tenant_id = models.UUIDField(primary_key=True)
    last_number = models.BigIntegerField()

    objects = TenantManager()

    class Meta:
        db_table = "price_feeds"

    def __str__(self) -> str:
        return f"{self.tenant_id}: {self.last_number}"

"""Sales by hour and day, kept from orders and their lines; docs/metrics.md defines them.

All tables are guarded by tenant. Whoever recomputes holds the tenant's row of `sales_rollups`.
"""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from apps.core.entity_models import ScaledDecimalField, TenantManager


def _money() -> Any:
    return ScaledDecimalField(max_digits=25, decimal_places=4)


class SalesRollup(models.Model):
    """What a tenant's figures were computed with, and how often some of them were."""

    tenant_id = models.UUIDField(primary_key=True)
    version = models.BigIntegerField(default=0)
    statuses = models.CharField(max_length=255, default="")
    customers = models.BigIntegerField(default=0, help_text="how many have a number")
    rolled_at = models.DateTimeField(db_default=Now())

    objects = TenantManager()

    class Meta:
        db_table = "sales_rollups"

    def __str__(self) -> str:
        return f"{self.tenant_id}: version {self.version}"


class DirtyDay(models.Model):
    """A day whose rows a load has changed; a row for each time. The engine makes the table."""

    id = models.BigIntegerField(primary_key=True)
    tenant_id = models.UUIDField()
    day = models.DateField()

    objects = TenantManager()

    class Meta:
        managed = False
        db_table = "dirty_days"

    def __str__(self) -> str:
        return f"{self.day}"


class CustomerNumber(models.Model):
    """A small number for each customer of a tenant, so that sets of them are small."""

    pk = models.CompositePrimaryKey("tenant_id", "customer_id")
    tenant_id = models.UUIDField()
    customer_id = models.UUIDField()
    number = models.BigIntegerField(help_text="from 1, without gaps")

    objects = TenantManager()

    class Meta:
        db_table = "customer_numbers"

    def __str__(self) -> str:
        return f"{self.customer_id} is {self.number}"


class Figures(models.Model):
    """What is counted of the orders of a bucket in one currency."""

    tenant_id = models.UUIDField()
    metric_date = models.DateField()
    currency = models.CharField(max_length=3)
    order_count = models.BigIntegerField()
    total_revenue = _money()
    gross_sales = _money()
    return_count = models.BigIntegerField()
    returned_amount = _money()
    adjustment_count = models.BigIntegerField()
    adjusted_amount = _money()
    item_count = models.BigIntegerField()
    returned_items = models.BigIntegerField()
    line_revenue = _money()
    unique_customers = models.BigIntegerField()

    objects = TenantManager()

    class Meta:
        abstract = True


class HourlyMetrics(Figures):
    pk = models.CompositePrimaryKey("tenant_id", "metric_date", "hour", "currency")
    hour = models.PositiveSmallIntegerField()

    class Meta:
        db_table = "tenant_hourly_metrics"

    def __str__(self) -> str:
        return f"{self.metric_date} {self.hour}:00 {self.currency}"


class DailyMetrics(Figures):
    """The documented table; `customers` is a set of customer numbers (customer_sets)."""

    pk = models.CompositePrimaryKey("tenant_id", "metric_date", "currency")
    avg_order_value = ScaledDecimalField(max_digits=25, decimal_places=4, null=True)
    customers = models.BinaryField()

    class Meta:
        db_table = "tenant_daily_metrics"

    def __str__(self) -> str:
        return f"{self.metric_date} {self.currency}"

"""Two indexes of orders by date become one, which has all that a search chooses by."""

from django.db import migrations

from apps.core.operations import AlignTable, DropIndexes


class Migration(migrations.Migration):
    dependencies = [("catalog", "0004_levels")]
    operations = [
        AlignTable("orders"),
        DropIndexes(
            "orders",
            "orders_tenant_date_status_idx",
            "orders_summary_covering_idx",
            "orders_customer_idx",
        ),
    ]

"""What tells rows that were inserted from those that were updated, also in partitions."""

from django.db import migrations

from apps.core.operations import AlignTable


class Migration(migrations.Migration):
    dependencies = [("catalog", "0002_settings")]
    operations = [
        AlignTable("customers"),
        AlignTable("products"),
        AlignTable("orders"),
        AlignTable("order_items"),
        AlignTable("price_history"),
        AlignTable("stock_events"),
    ]

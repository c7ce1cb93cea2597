"""Settings of the target tables that a declaration does not show."""

from django.db import migrations

from apps.core.operations import AlignTable


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [
        AlignTable("customers"),
        AlignTable("products"),
        AlignTable("orders"),
        AlignTable("order_items"),
        AlignTable("price_history"),
        AlignTable("stock_events"),
    ]

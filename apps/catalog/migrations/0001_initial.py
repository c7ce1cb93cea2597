from django.db import migrations

from apps.core.operations import AlignTable


class Migration(migrations.Migration):
    dependencies = []
    operations = [
        AlignTable("customers"),
        AlignTable("products"),
        AlignTable("orders"),
        AlignTable("order_items"),
        AlignTable("price_history"),
        AlignTable("stock_events"),
    ]

"""The days whose orders or lines have changed, and what tells which they were of before."""

from django.db import migrations

from apps.core.operations import AlignTable, MakeDayTable


class Migration(migrations.Migration):
    dependencies = [("catalog", "0005_search")]
    operations = [
        AlignTable("orders"),
        AlignTable("order_items"),
        MakeDayTable("dirty_days"),
    ]

"""Stock events become movements: numbered by product, each with the level it led to."""

from django.db import migrations

from apps.core.operations import AlignTable, NumberMovements


class Migration(migrations.Migration):
    dependencies = [("catalog", "0003_rewritten")]
    operations = [
        AlignTable("stock_levels"),
        AlignTable("stock_events"),
        NumberMovements("stock_events"),
    ]

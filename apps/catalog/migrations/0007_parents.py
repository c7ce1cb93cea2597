"""Deletions of what others refer to wait for loads, which then look at references once."""

from django.db import migrations

from apps.core.operations import AlignTable


class Migration(migrations.Migration):
    dependencies = [("catalog", "0006_dirty_days")]
    operations = [
        AlignTable("customers"),
        AlignTable("products"),
        AlignTable("orders"),
    ]

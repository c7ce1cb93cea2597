from typing import Any

from django.db import migrations

from apps.core import table_buckets


def prepare(apps: Any, schema_editor: Any) -> None:
    for statement in table_buckets.preparation(schema_editor.connection.vendor):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    """Replaces the function: it took a bucket that another call had just made for an empty one."""

    dependencies = [("core", "0003_rate_limits")]

    operations = [migrations.RunPython(prepare, migrations.RunPython.noop)]

"""PostgreSQL's guards of the log fire in sessions without triggers too."""

from typing import Any

from django.db import migrations

from apps.audit import guards


def fire_always(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for statement in guards.always():
            schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunPython(fire_always, migrations.RunPython.noop)]

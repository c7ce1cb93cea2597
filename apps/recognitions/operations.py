"""The migration operation that makes a declared table, guarded by tenant."""

from typing import Any

from django.apps import apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from apps.core import dialect
from headrace.recognitions import ddl
from headrace.recognitions.schema import BY_NAME


class MakeTable(Operation):
    """Make a table as it is declared, unless it is there."""

    reversible = True

    def __init__(self, table: str, model: str) -> None:
        self.table = table
        self.model = model

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (type(self).__name__, [self.table, self.model], {})

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        state.add_model(ModelState.from_model(apps.get_model(app_label, self.model)))

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for statement in _missing(schema_editor.connection, self.table):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        schema_editor.execute(f"DROP TABLE IF EXISTS {self.table}")

    def describe(self) -> str:
        return f"Make table {self.table}"


def _missing(connection: Any, name: str) -> list[str]:
    """The table and its guards; where DDL commits by itself a migration may have been cut short."""
    with connection.cursor() as cursor:
        is_there = name in connection.introspection.table_names(cursor)
    if is_there and connection.features.can_rollback_ddl:
        return []
    database = dialect.current(connection.alias)
    made = ddl.statements(BY_NAME[name], database.name, database.collation)
    guards = database.guard_statements(name)
    return [*([] if is_there else made), *guards]

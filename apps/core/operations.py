"""Migration operations: target tables by the dialect's own DDL, and guards for other tables.

Django's schema editor would rebuild an SQLite table on AddField and silently drop what plain
SQL had added to it: foreign keys, STRICT, triggers. So it never touches a target table.
"""

from typing import Any

from django.apps import apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from apps.core import dialect, partitions
from apps.core.entity_models import model_name
from headrace.entities import BY_NAME
from headrace.pipeline import dialects
from headrace.schema import Entity


class AlignTable(Operation):
    """Make an entity's table what its declaration says: create it, or add what is missing.

    A new table has as many partitions as its siblings; HEADRACE_PARTITIONS decides for the first.

    The declaration is today's, also in an old migration: a fresh database gets the table whole
    at once, and a later AlignTable finds nothing to do there.
    """

    reversible = True

    def __init__(self, entity: str) -> None:
        self.entity = entity

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (type(self).__name__, [self.entity], {})

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        registered = apps.get_model(app_label, model_name(BY_NAME[self.entity]))
        model = ModelState.from_model(registered)
        if (app_label, model.name_lower) in state.models:
            state.remove_model(app_label, model.name_lower)
        state.add_model(model)

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for statement in _missing(schema_editor.connection, BY_NAME[self.entity]):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        schema_editor.execute(f"DROP TABLE IF EXISTS {BY_NAME[self.entity].name}")

    def describe(self) -> str:
        return f"Align table {self.entity} with its declaration"


def _missing(connection: Any, entity: Entity) -> list[str]:
    name = dialect.current(connection.alias).name
    database = dialects.dialect(name, partitions.of_a_new_table())
    inspector = connection.introspection
    with connection.cursor() as cursor:
        if entity.name not in inspector.table_names(cursor):
            return database.table_statements(entity)
        columns = {column.name for column in inspector.get_table_description(cursor, entity.name)}
        indexes = inspector.get_constraints(cursor, entity.name)
    additions = [
        database.column_statement(entity, name)
        for name in entity.field_names
        if name not in columns
    ]
    additions += [
        database.index_statement(entity, index.name)
        for index in entity.indexes
        if not index.optional and index.name not in indexes
    ]
    return additions + database.setting_statements(entity)


class GuardTable(Operation):
    """Bind a table of ours that has a `tenant_id` to the transaction's tenant."""

    reversible = True

    def __init__(self, table: str) -> None:
        self.table = table

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (type(self).__name__, [self.table], {})

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Guards are not part of the models' state."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        database = dialect.current(schema_editor.connection.alias)
        for statement in database.guard_statements(self.table):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """The table goes with its model, and its guards with it."""

    def describe(self) -> str:
        return f"Guard table {self.table} by tenant"

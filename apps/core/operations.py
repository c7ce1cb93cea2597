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
from headrace.entities import TABLES
from headrace.pipeline import dialects
from headrace.pipeline.dialects import tables
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
        registered = apps.get_model(app_label, model_name(TABLES[self.entity]))
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
        for statement in _missing(schema_editor.connection, TABLES[self.entity]):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        schema_editor.execute(f"DROP TABLE IF EXISTS {TABLES[self.entity].name}")

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
        for name in (column.name for column in entity.columns)
        if name not in columns
    ]
    additions += [
        database.index_statement(entity, index.name)
        for index in entity.indexes
        if not index.optional and index.name not in indexes
    ]
    return additions + database.setting_statements(entity)


class _Addition(Operation):
    """What is added to one table that the models' state knows nothing of, by SQL of the dialect."""

    reversible = True

    def __init__(self, table: str) -> None:
        self.table = table

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (type(self).__name__, [self.table], {})

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The state does not change."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        for statement in self._statements(schema_editor.connection):
            schema_editor.execute(statement, params=None)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """It goes with its table, or stays where nothing asks for it."""

    def _statements(self, connection: Any) -> list[str]:
        raise NotImplementedError


class MakeDayTable(_Addition):
    """Make the table in which promotion lists days whose rows have changed."""

    def describe(self) -> str:
        return f"Make table {self.table}"

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        schema_editor.execute(f"DROP TABLE IF EXISTS {self.table}")

    def _statements(self, connection: Any) -> list[str]:
        """Where DDL commits by itself a table that is there may still lack its guards."""
        with connection.cursor() as cursor:
            is_there = self.table in connection.introspection.table_names(cursor)
        if is_there and connection.features.can_rollback_ddl:
            return []
        return dialect.current(connection.alias).day_table_statements(self.table)


class NumberMovements(_Addition):
    """Give an older table of movements its numbers and levels; a new one has them."""

    def describe(self) -> str:
        return f"Number the movements of {self.table}"

    def _statements(self, connection: Any) -> list[str]:
        entity = TABLES[self.table]
        with connection.cursor() as cursor:
            keys = connection.introspection.get_constraints(cursor, entity.name)
        if tables.number_key(entity) in keys:
            return []
        return dialect.current(connection.alias).numbering_statements(entity)


class DropIndexes(_Addition):
    """Drop indexes of an older table that are declared no longer; a new one has none of them.

    Those that replace them must be there before: a reference may need one.
    """

    def __init__(self, table: str, *names: str) -> None:
        super().__init__(table)
        self.names = names

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return (type(self).__name__, [self.table, *self.names], {})

    def describe(self) -> str:
        return f"Drop {', '.join(self.names)}"

    def _statements(self, connection: Any) -> list[str]:
        with connection.cursor() as cursor:
            there = connection.introspection.get_constraints(cursor, self.table)
        database = dialect.current(connection.alias)
        return [database.index_removal(self.table, name) for name in self.names if name in there]


class GuardTable(_Addition):
    """Bind a table of ours that has a `tenant_id` to the transaction's tenant."""

    def describe(self) -> str:
        return f"Guard table {self.table} by tenant"

    def _statements(self, connection: Any) -> list[str]:
        return dialect.current(connection.alias).guard_statements(self.table)

"""The declared tables as statements of each database."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headrace.recognitions.schema import (
    TABLES,
    Column,
    ColumnType,
    Day,
    Document,
    Layer,
    Long,
    Table,
)
from headrace.schema import Integer, ServerNow, Text, Timestamp, Uuid

TENANT = "tenant_id"
Name = Callable[[Table], str]


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a database spells types; `{}` is a text's length. `ending` follows a table's columns.

    `keeps_indexes` where each statement commits: a table that a kill leaves then has its indexes.
    """

    types: Mapping[type, str]
    now: str
    ending: str = ""
    checks_length: bool = False
    keeps_indexes: bool = False


POSTGRESQL = Spelling(
    {
        Uuid: "uuid",
        Text: "varchar({})",
        Integer: "integer",
        Long: "bigint",
        Day: "date",
        Document: "text",
        Timestamp: "timestamptz",
    },
    now="CURRENT_TIMESTAMP",
)
SQLITE = Spelling(
    {
        Uuid: "TEXT",
        Text: "TEXT",
        Integer: "INTEGER",
        Long: "INTEGER",
        Day: "TEXT",
        Document: "TEXT",
        Timestamp: "TEXT",
    },
    now="(strftime('%Y-%m-%d %H:%M:%f', 'now'))",
    ending=" STRICT",
    checks_length=True,
)
MARIADB = Spelling(
    {
        Uuid: "varchar(32)",
        Text: "varchar({})",
        Integer: "integer",
        Long: "bigint",
        Day: "date",
        Document: "longtext",
        Timestamp: "datetime(6)",
    },
    now="(UTC_TIMESTAMP(6))",
    ending=" ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation}",
    keeps_indexes=True,
)
SPELLINGS = {"postgresql": POSTGRESQL, "sqlite": SQLITE, "mariadb": MARIADB, "mysql": MARIADB}


def flat(table: Table) -> str:
    """The table's name where both layers share one schema."""
    return table.flat_name


def in_schemas(table: Table) -> str:
    """The table's name where the raw layer has a schema of its own, and the domain layer `public`.

    Both are written, whatever the session's search path is.
    """
    return f"{'raw' if table.layer is Layer.RAW else 'public'}.{table.name}"


def statements(table: Table, database: str, collation: str = "", name: Name = flat) -> list[str]:
    """The table and its indexes; `database` as in SPELLINGS. Raises KeyError for others.

    `collation` is that of texts, which only MariaDB and MySQL are told.
    """
    spelling = SPELLINGS[database]
    indexes = {
        _index_name(table, columns): ", ".join((TENANT, *columns)) for columns in table.indexes
    }
    parts = [*_parts(table, spelling, name)]
    if spelling.keeps_indexes:
        parts += (f"KEY {index} ({columns})" for index, columns in indexes.items())
        indexes = {}
    body, ending = ",\n    ".join(parts), spelling.ending.format(collation=collation)
    return [
        f"CREATE TABLE {name(table)} (\n    {body}\n){ending}",
        *(f"CREATE INDEX {index} ON {name(table)} ({of})" for index, of in indexes.items()),
    ]


def _parts(table: Table, spelling: Spelling, name: Name) -> Iterator[str]:
    yield f"{TENANT} {spelling.types[Uuid]} NOT NULL"
    for column in table.columns:
        yield _column(column, spelling)
    yield f"CONSTRAINT {table.flat_name}_pkey PRIMARY KEY ({', '.join((TENANT, *table.key))})"
    if table.parent is not None:
        columns = ", ".join((TENANT, *table.parent.columns))
        parent = next(one for one in TABLES if one.name == table.parent.table)
        yield (
            f"CONSTRAINT {table.flat_name}_parent_fkey FOREIGN KEY ({columns})"
            f" REFERENCES {name(parent)} ({columns}) ON DELETE CASCADE"
        )
    for less, more in table.increasing:
        yield f"CONSTRAINT {table.flat_name}_{more}_check CHECK ({less} < {more})"


def _column(column: Column, spelling: Spelling) -> str:
    parts = [column.name, _type(column.type, spelling)]
    parts += [] if column.null else ["NOT NULL"]
    if isinstance(column.default, ServerNow):
        parts.append(f"DEFAULT {spelling.now}")
    parts += [f"CHECK ({check})" for check in _checks(column, spelling)]
    return " ".join(parts)


def _type(kind: ColumnType, spelling: Spelling) -> str:
    length = kind.max_length if isinstance(kind, Text) else ""
    return spelling.types[type(kind)].format(length)


def _checks(column: Column, spelling: Spelling) -> Iterator[str]:
    if column.minimum is not None:
        yield f"{column.name} >= {column.minimum}"
    if isinstance(column.type, Text):
        if column.type.choices:
            yield f"{column.name} IN ({_listed(column.type.choices)})"
        elif spelling.checks_length:
            yield f"length({column.name}) <= {column.type.max_length}"


def _index_name(table: Table, columns: tuple[str, ...]) -> str:
    return f"{table.flat_name}_{columns[0]}_idx"


def _listed(choices: tuple[str, ...]) -> str:
    return ", ".join(map(_quoted, choices))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def supabase_migration() -> str:
    """The tables for a database of Supabase, or any PostgreSQL that is not Headrace's own.

    Row-level security is on and there is no policy: whoever comes through Supabase's API sees
    nothing, while the service role and the tables' owner are not bound by it.
    """
    made = [
        "CREATE SCHEMA IF NOT EXISTS raw",
        *(
            statement
            for table in TABLES
            for statement in (
                *statements(table, "postgresql", name=in_schemas),
                f"ALTER TABLE {in_schemas(table)} ENABLE ROW LEVEL SECURITY",
                f"COMMENT ON TABLE {in_schemas(table)} IS {_quoted(table.about)}",
            )
        ),
    ]
    return ";\n\n".join(made) + ";"

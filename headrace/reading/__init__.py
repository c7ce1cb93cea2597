"""Rows on their way out: what is asked for, checked, and told in the words they came in."""

from headrace.reading.base import Reader


def reader(name: str) -> Reader:
    """The reader of the database that the dialect of this name is for. Raises KeyError."""
    return _LOADERS[name](name)


def _postgresql(name: str) -> Reader:
    # Imported when asked for: the embedded default needs no PostgreSQL driver.
    from headrace.reading.postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL()


def _sqlite(name: str) -> Reader:
    from headrace.reading.sqlite import SQLite  # noqa: PLC0415

    return SQLite()


def _mysql(name: str) -> Reader:
    from headrace.reading.mysql import MySQL  # noqa: PLC0415

    return MySQL(name)


_LOADERS = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "mariadb": _mysql,
    "mysql": _mysql,
}

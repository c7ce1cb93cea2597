"""The databases that Headrace lands rows in, by the names that their drivers' hosts use."""

from headrace.entities import ENTITIES
from headrace.pipeline.dialects.base import Dialect

CAN_PARTITION = frozenset({"postgresql"})


def dialect(name: str, partitions: int = 0) -> Dialect:
    """The dialect called "postgresql", "sqlite", "mariadb" or "mysql". Raises KeyError for others.

    These are the names that Django displays for its databases, in lower case. Where the database
    can (CAN_PARTITION), new target tables have so many partitions by tenant.
    """
    if partitions and name in CAN_PARTITION:
        return _postgresql(partitions)
    return _LOADERS[name]()


def _postgresql(partitions: int = 0) -> Dialect:
    # Imported when asked for: the embedded default needs no PostgreSQL driver.
    from headrace.pipeline.dialects.postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL(_PARENTS, partitions)


def _sqlite() -> Dialect:
    from headrace.pipeline.dialects.sqlite import SQLite  # noqa: PLC0415

    return SQLite(_PARENTS)


def _mariadb() -> Dialect:
    from headrace.pipeline.dialects.mysql import MySQL  # noqa: PLC0415
    from headrace.pipeline.dialects.mysql_tables import MARIADB  # noqa: PLC0415

    return MySQL(MARIADB, _PARENTS)


def _mysql() -> Dialect:
    from headrace.pipeline.dialects.mysql import MySQL  # noqa: PLC0415
    from headrace.pipeline.dialects.mysql_tables import MYSQL  # noqa: PLC0415

    return MySQL(MYSQL, _PARENTS)


_REFERRED = {reference.entity for entity in ENTITIES for reference in entity.references}
_PARENTS = {entity.name: entity.key for entity in ENTITIES if entity.name in _REFERRED}
_LOADERS = {
    "postgresql": _postgresql,
    "sqlite": _sqlite,
    "mariadb": _mariadb,
    "mysql": _mysql,
}

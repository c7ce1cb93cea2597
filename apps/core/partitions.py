"""How the target tables of this database are cut: whole, or into partitions by tenant.

The first `migrate` decides by HEADRACE_PARTITIONS. Later ones follow what the database has, so
that all tables are of one kind, whatever the setting says by then.
"""

from django.conf import settings
from django.db import connection

from headrace.entities import BY_NAME
from headrace.pipeline.dialects import CAN_PARTITION


def of_a_new_table() -> int:
    """How many partitions a target table gets that is made now; 0 for none."""
    if connection.vendor not in CAN_PARTITION:
        return 0
    found = counts()
    return max(found.values()) if found else settings.HEADRACE_PARTITIONS


def counts() -> dict[str, int]:
    """The partitions of each target table that is there, by its name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.relname, count(i.inhrelid) FROM pg_class t"
            " LEFT JOIN pg_inherits i ON i.inhparent = t.oid"
            " WHERE t.oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) name)"
            " GROUP BY t.relname",
            [list(BY_NAME)],
        )
        return dict(cursor.fetchall())


def described() -> str:
    """What the database has, for people."""
    if connection.vendor not in CAN_PARTITION:
        return f"target tables are whole, {connection.display_name} has no partitions by tenant"
    found = counts()
    kinds = {"whole" if not number else f"in {number} partitions" for number in found.values()}
    return f"target tables are {' or '.join(sorted(kinds))}" if found else "no target tables yet"


def is_as_configured() -> bool:
    """Whether HEADRACE_PARTITIONS, where it is set, says what the database has."""
    wanted = settings.HEADRACE_PARTITIONS
    if not wanted:
        return True
    return connection.vendor in CAN_PARTITION and set(counts().values()) <= {wanted}

"""PostgreSQL's log of our database: the images of pages in it, compressed.

After each checkpoint the first change of a page writes it to the log as a whole. Ids that are
random change another page with almost every row, so that in a large table these images are most of
what a load writes, bring the next checkpoint nearer, and with it the next images.
"""

from contextlib import suppress

from django.db import IntegrityError, InternalError, ProgrammingError, connection, transaction

PARAMETER = "wal_compression"
METHOD = "lz4"  #: pglz, which every server has, takes more processor time
#: Whether the server has the method, and nobody has decided, be it for all or for this database.
_UNDECIDED = """
SELECT EXISTS (SELECT FROM pg_settings
               WHERE name = %s AND setting = 'off' AND source = 'default' AND %s = ANY(enumvals))"""

#: We may not; or another was first, which the server finds out at its own tables.
_NOT_OURS = (ProgrammingError, IntegrityError, InternalError)


def statement() -> str:
    """What an administrator runs: the connections of this database compress from then on."""
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    return f"ALTER DATABASE {database} SET {PARAMETER} = {METHOD}"


def compress() -> None:
    """Run it where our user may, and nobody has decided, be it at the same moment."""
    with suppress(*_NOT_OURS), transaction.atomic():
        if is_undecided():
            with connection.cursor() as cursor:
                cursor.execute(statement())


def is_undecided() -> bool:
    """Whether the server can, and nobody has said whether it is to."""
    with connection.cursor() as cursor:
        cursor.execute(_UNDECIDED, [PARAMETER, METHOD])
        [found] = cursor.fetchone()
    return bool(found)

"""PostgreSQL's log of our database: the images of pages in it, compressed.

After each checkpoint the first change of a page writes it to the log as a whole. Ids that are
random change another page with almost every row, so that in a large table these images are most of
what a load writes, bring the next checkpoint nearer, and with it the next images.
"""

from django.db import connection, transaction

PARAMETER = "wal_compression"
METHOD = "lz4"  #: pglz, which every server has, takes more processor time than it saves


def statement() -> str:
    """What an administrator runs: the connections of this database compress from then on."""
    database = connection.ops.quote_name(connection.settings_dict["NAME"])
    return f"ALTER DATABASE {database} SET {PARAMETER} = {METHOD}"


def compress() -> None:
    """Run it where we may, unless the server or somebody for this database has decided."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"""
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_settings
               WHERE name = '{PARAMETER}' AND setting = 'off' AND '{METHOD}' = ANY(enumvals))
       AND NOT EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) AS decided
                       WHERE setdatabase = (SELECT oid FROM pg_database
                                            WHERE datname = current_database())
                       AND setrole = 0 AND decided LIKE '{PARAMETER}=%')
    THEN
        {statement()};
    END IF;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;
END $$""")

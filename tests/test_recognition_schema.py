"""The migration for Supabase makes what is declared, and stands alone."""

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from headrace.recognitions import ddl, status
from headrace.recognitions.schema import TABLES, Layer
from tests import servers
from tests.service import ROOT

(MIGRATION,) = (ROOT / "supabase" / "migrations").glob("*.sql")


@pytest.fixture
def bare(postgresql_server):
    """A database of PostgreSQL that knows nothing of Headrace, with the migration applied."""
    with servers.new_database(postgresql_server) as url, psycopg.connect(url) as connection:
        connection.execute(MIGRATION.read_text())
        yield connection


def test_the_migration_is_written_from_the_declaration():
    assert ddl.supabase_migration() in Path(MIGRATION).read_text()


@pytest.mark.skipif(not shutil.which("supabase"), reason="NO SUPABASE COMMAND LINE on the PATH")
def test_the_command_line_of_supabase_applies_it_once(postgresql_server, tmp_path):
    shutil.copytree(ROOT / "supabase", tmp_path / "supabase")
    with servers.new_database(postgresql_server) as url:
        for word in ("Applying migration", "up to date"):
            done = subprocess.run(
                ["supabase", "db", "push", "--db-url", url, "--workdir", tmp_path, "--yes"],
                env={**os.environ, "DO_NOT_TRACK": "1"},
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            assert word in done.stdout + done.stderr
        with psycopg.connect(url) as connection:
            (version,) = connection.execute(
                "SELECT version FROM supabase_migrations.schema_migrations"
            ).fetchone()
        assert version == MIGRATION.name.partition("_")[0] == status.MIGRATION


def test_the_migration_makes_the_declared_tables_in_two_schemas(bare):
    columns = bare.execute(
        "SELECT table_schema || '.' || table_name, column_name FROM information_schema.columns"
        " WHERE table_schema IN ('raw', 'public') ORDER BY ordinal_position"
    ).fetchall()
    found: dict[str, list[str]] = {}
    for table, column in columns:
        found.setdefault(table, []).append(column)
    assert found == {ddl.in_schemas(table): ["tenant_id", *table.column_names] for table in TABLES}
    assert {table.name for table in TABLES if table.layer is Layer.RAW} == {
        *("recognition_files", "correct_dishes", "dish_catalog", "qwen_annotations")
    }


def test_who_comes_through_the_api_of_supabase_sees_no_rows(bare):
    """There every table of `public` is served to strangers unless row-level security is on."""
    rows = bare.execute(
        "SELECT relnamespace::regnamespace::text || '.' || relname FROM pg_class"
        " WHERE relkind = 'r' AND relrowsecurity"
        " AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)"
    ).fetchall()
    assert {name for (name,) in rows} == {ddl.in_schemas(table) for table in TABLES}


def test_every_key_begins_with_the_tenant(bare):
    keys = bare.execute(
        "SELECT DISTINCT a.attname FROM pg_index x"
        " JOIN pg_class c ON c.oid = x.indrelid"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]"
        " WHERE c.relnamespace IN ('raw'::regnamespace, 'public'::regnamespace)"
    ).fetchall()
    assert keys == [("tenant_id",)]

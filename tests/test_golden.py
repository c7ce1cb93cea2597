"""The rendered SQL of an entity of each kind, kept whole and compared with what is rendered.

`python -m tests.test_golden` writes tests/golden/<dialect>_<entity>.sql anew; read the difference
before you commit it. The files are for reading and are never executed.
"""

from pathlib import Path

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline import dialects

FOLDER = Path(__file__).parent / "golden"
DIALECTS = ("mariadb", "mysql", "postgresql", "sqlite")
SHOWN = ("orders", "price_history", "stock_events")


def rendered(dialect: str, entity: str) -> str:
    statements = dialects.dialect(dialect).golden_statements(BY_NAME[entity])
    return "\n\n".join(f"-- {name}\n{text.strip()};" for name, text in statements.items()) + "\n"


def path_of(dialect: str, entity: str) -> Path:
    return FOLDER / f"{dialect}_{entity}.sql"


@pytest.mark.parametrize("entity", SHOWN)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_rendered_sql_is_the_sql_that_was_read_and_kept(dialect: str, entity: str):
    assert rendered(dialect, entity) == path_of(dialect, entity).read_text("utf-8")


def test_no_golden_file_is_left_over():
    wanted = {path_of(dialect, entity) for dialect in DIALECTS for entity in SHOWN}
    assert set(FOLDER.glob("*.sql")) == wanted


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dialect in DIALECTS:
        for entity in SHOWN:
            path_of(dialect, entity).write_text(rendered(dialect, entity), "utf-8")


if __name__ == "__main__":
    write()

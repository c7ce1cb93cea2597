"""Plans of PostgreSQL for lists and searches: which index, and nothing sorted whole.

Two tenants; the larger has so many rows that to read them all would be worse than any index.
"""

from collections.abc import Iterator
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest

from headrace.entities import TABLES
from headrace.reading import filters
from headrace.reading.forms import Form
from headrace.reading.postgresql import PROMPT, SPELLING, select
from headrace.reading.selection import Selection, columns_of, enters_index, key_order
from headrace.reading.statements import Statement
from tests import road

ROWS, FEW = 20_000, 2_000
MINE, THEIRS = UUID(int=1 << 100), UUID(int=2 << 100)
ONE = str(UUID(int=7))
NEWEST = ("order_date", "order_id")

# What rows are made of, by table: columns and expressions over a number `n`.
_KEY = "lpad(to_hex(n), 32, '0')::uuid"
_SOME = "lpad(to_hex(n % 500), 32, '0')::uuid"
_TIME = "timestamptz '2024-01-01' + n * interval '1 minute'"
MADE = {
    "customers": {"customer_id": _KEY},
    "products": {"product_id": _KEY, "sku": "'S' || n", "name": "'Tea'", "price": "1"},
    "orders": {
        "order_id": _KEY,
        "external_order_id": "'A' || n",
        "customer_id": _SOME,
        "total_amount": "n",
        "order_status": "CASE WHEN n % 9 = 0 THEN 'paid' ELSE 'shipped' END",
        "order_date": "timestamptz '2024-01-01' + n * 7919 % 20000 * interval '1 minute'",
    },
    "order_items": {
        "order_item_id": _KEY,
        "order_id": _KEY,
        "product_id": _SOME,
        "quantity": "1",
        "unit_price": "1",
        "line_total": "1",
    },
    "price_history": {
        "id": _KEY,
        "product_id": _SOME,
        "price": "1",
        "effective_from": _TIME,
        "effective_to": f"{_TIME} + interval '1 second'",
    },
    "stock_levels": {"product_id": _KEY, "level": "n", "sequence": "n"},
    "stock_events": {
        "stock_event_id": _KEY,
        "product_id": _SOME,
        "delta": "1",
        "resulting_level": "n",
        "sequence": "n",
    },
}


@pytest.fixture(scope="module")
def stored(postgresql_server: str) -> Iterator[road.Database]:
    with road.postgresql_database(postgresql_server) as database:
        for tenant, number in ((MINE, ROWS), (THEIRS, FEW)):
            database.tenant = tenant
            with database.transaction() as connection:
                for table, columns in MADE.items():
                    connection.execute(_insertion(tenant, table, columns, number))
        database.tenant = MINE
        for table in MADE:
            database.connection.execute(f"VACUUM ANALYZE {table}")
        yield database


def _insertion(tenant: UUID, table: str, columns: dict[str, str], number: int) -> str:
    names = ", ".join(("tenant_id", "source_sequence", *columns))
    values = ", ".join((f"'{tenant}'", "0", *columns.values()))
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM generate_series(0, {number - 1}) n"


def plan(database: road.Database, selection: Selection) -> list[dict]:
    """The nodes of the plan that the reader's statement gets."""
    statement = Statement(SPELLING, database.tenant, selection)
    with database.transaction() as connection, psycopg.ClientCursor(connection) as cursor:
        if selection.prompt:
            cursor.execute(PROMPT)
        text = select(statement, selection, Form.NDJSON)
        cursor.execute(f"EXPLAIN (FORMAT JSON) {text}", statement.parameters)
        [[[found]]] = cursor.fetchall()
    return list(_nodes(found["Plan"]))


def _nodes(node: dict) -> Iterator[dict]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def indexes(nodes: list[dict]) -> list[str]:
    return [node["Index Name"] for node in nodes if "Index Name" in node]


def kinds(nodes: list[dict]) -> set[str]:
    return {node["Node Type"] for node in nodes}


def most_sorted(nodes: list[dict]) -> int:
    """The most rows that a sort of the plan is thought to take in."""
    sorts = (node for node in nodes if "Sort" in node["Node Type"])
    return max((node["Plans"][0]["Plan Rows"] for node in sorts), default=0)


def searched(asked: dict, **more) -> Selection:
    orders = TABLES["orders"]
    found = filters.conditions(orders, asked, ZoneInfo("UTC"))
    order = columns_of(orders, NEWEST)
    return Selection(orders, columns_of(orders), found, order, True, prompt=True, **more)


WEEK = {"order_date": {"from": "2024-01-03", "before": "2024-01-10"}}
BY_DATE, BY_CUSTOMER = "orders_search_idx", "orders_customer_search_idx"
AFTER = ("2024-01-09 10:00:00", ONE)
SEARCHES = [
    ({}, (), [BY_DATE]),
    ({}, AFTER, [BY_DATE]),
    (WEEK, (), [BY_DATE]),
    (WEEK, AFTER, [BY_DATE]),
    ({"customer_id": ONE}, (), [BY_CUSTOMER]),
    ({"customer_id": ONE, **WEEK}, (), [BY_CUSTOMER]),
    ({"customer_id": ONE, "order_status": ["paid", "shipped"]}, AFTER, [BY_CUSTOMER]),
    # Chosen by what the index says, and only then looked up.
    ({"order_status": "paid"}, (), [BY_DATE, "orders_pkey"]),
    ({"order_status": ["paid", "refunded"], **WEEK}, AFTER, [BY_DATE, "orders_pkey"]),
    ({"total_amount": {"from": "10", "to": "20"}}, (), [BY_DATE, "orders_pkey"]),
    ({"currency": "EUR", "kind": "return"}, (), [BY_DATE, "orders_pkey"]),
    ({"external_order_id": {"contains": "77"}}, (), [BY_DATE, "orders_pkey"]),
]


@pytest.mark.parametrize("limit", [None, 101])
@pytest.mark.parametrize(("asked", "after", "used"), SEARCHES)
def test_a_search_enters_an_index_and_sorts_nothing(asked, after, used, limit, stored):
    nodes = plan(stored, searched(asked, after=after, limit=limit))
    assert indexes(nodes) == used
    scans = {"Index Scan"} if len(used) == 1 else {"Index Only Scan", "Index Scan", "Nested Loop"}
    assert kinds(nodes) - {"Result", "Limit"} == scans
    entered = nodes[-1] if len(used) == 1 else next(n for n in nodes if "Only" in n["Node Type"])
    for column in {*asked, *(["order_date"] if after else [])} & {"customer_id", "order_date"}:
        assert column in entered["Index Cond"]


def test_a_search_that_did_not_ask_for_the_first_rows_at_once_would_sort(stored):
    asked = searched({})
    patient = Selection(asked.entity, asked.columns, (), asked.order, True)
    assert "Sort" in kinds(plan(stored, patient))


LISTS = [
    *((name, {}, f"{name}_pkey") for name in TABLES),
    ("orders", {"order_status": ["paid", "refunded"]}, "orders_pkey"),
    ("products", {"name": {"contains": "77"}}, "products_pkey"),
    ("orders", {"external_order_id": "A7"}, "orders_external_order_id_key"),
    ("orders", {"customer_id": ONE}, BY_CUSTOMER),
    ("orders", WEEK, "orders_pkey"),
    ("products", {"sku": "S7"}, "products_sku_key"),
    ("order_items", {"order_id": ONE}, "order_items_order_idx"),
    ("order_items", {"product_id": ONE}, "order_items_product_idx"),
    ("price_history", {"product_id": ONE}, "price_history_start_key"),
    ("stock_events", {"product_id": ONE}, "stock_events_sequence_key"),
]


@pytest.mark.parametrize("is_behind", [False, True])
@pytest.mark.parametrize(("name", "asked", "used"), LISTS)
def test_a_list_enters_an_index_and_sorts_a_few_rows_at_most(name, asked, used, is_behind, stored):
    entity = TABLES[name]
    found = filters.conditions(entity, asked, ZoneInfo("UTC"))
    after = (ONE.replace("7", "5"),) if is_behind else ()
    order = key_order(entity)
    prompt = not enters_index(entity, found)
    wanted = Selection(
        entity, columns_of(entity), found, order, after=after, limit=101, prompt=prompt
    )
    nodes = plan(stored, wanted)
    assert indexes(nodes) == [used]
    assert "Seq Scan" not in kinds(nodes)
    assert most_sorted(nodes) <= ROWS // 100


def test_every_index_of_orders_has_a_search_that_needs_it():
    declared = {index.name for index in TABLES["orders"].indexes if not index.optional}
    assert declared == {used[0] for _, _, used in SEARCHES}

"""The search of orders: the newest first, a line each, to its end or as far as somebody reads."""

import json
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import httpx2
import pytest

from apps.core import blocks
from tests import records
from tests.conftest import DIALECTS, on_every_database, server_of
from tests.reading import ask, search
from tests.road import ndjson
from tests.service import Merchant, Service, running
from tests.shop import customer, order
from tests.test_price_storms import MOST_GROWTH, growth, servers_of
from tests.test_reading_http import number_of

MANY = 60_000
FOUND = [
    ({}, range(25)),
    ({"start_date": "2024-01-01T20:00:00Z"}, range(20, 25)),
    ({"end_date": "2024-01-01T02:00:00Z"}, range(2)),
    ({"end_date": "2024-01-01"}, range(24)),
    ({"start_date": "2024-01-02", "end_date": "2024-01-02"}, [24]),
    ({"end_date": "2023-12-31"}, []),
    ({"status": "paid,shipped"}, [3, 4, 13, 14, 23, 24]),
    ({"status": ["paid", "shipped"], "start_date": "2024-01-02"}, [24]),
    ({"customer_id": records.key("customers", 5)}, [5]),
    ({"customer_id": str(uuid4())}, []),
    ({"min_amount": "30.0001", "max_amount": "32.0001"}, [20, 21, 22]),
    ({"min_amount": "33.0002"}, [24]),
    ({"currency": "3 c"}, [3]),
    ({"kind": "return", "end_date": "2024-01-01T08:00:00Z"}, [1, 4, 7]),
    ({"q": "4 ext"}, [4, 14, 24]),
    ({"q": "_"}, range(25)),
    ({"q": "%"}, []),
    ({"q": "EXT"}, []),
    ({"q": "5", "status": "delivered", "min_amount": "16"}, [15]),
]


@on_every_database
@pytest.mark.parametrize(("asked", "numbers"), FOUND)
def test_orders_are_found_and_the_newest_come_first(asked, numbers, stocked):
    lines, about = search(stocked, **asked)
    assert list(map(number_of, lines)) == sorted(numbers, reverse=True)
    expected = {"count": len(numbers), "limit": None, "truncated": False, "next_cursor": None}
    assert about == expected


@on_every_database
def test_moments_are_in_the_order_of_time_and_ties_in_that_of_ids(merchant):
    moments = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00.499999Z"]
    moments += ["2024-01-01T00:00:01Z"] * 3 + ["2023-12-31T23:59:59.999999Z"]
    merchant.load("orders.ndjson", ndjson(*(order(order_date=moment) for moment in moments)))
    lines, _ = search(merchant)
    told = [line["order_date"] for line in lines]
    in_order = [moments[at] for at in (3, 4, 5, 1, 2, 0, 6)]
    assert list(map(_padded, told)) == list(map(_padded, in_order))
    ties = [line["order_id"] for line in lines[:3]]
    assert ties == sorted(ties, reverse=True)
    assert _walked(merchant, 2) == lines


def _padded(moment: str) -> str:
    """A time with all six decimals."""
    whole, _, decimals = moment.removesuffix("Z").partition(".")
    return f"{whole}.{decimals:0<6}"


def _walked(merchant: Merchant, limit: int, **asked) -> list[dict]:
    """All orders, so many at a time."""
    found, after = [], {}
    while True:
        lines, about = search(merchant, limit=limit, **after, **asked)
        found += lines
        assert about["truncated"] is (about["next_cursor"] is not None)
        assert (about["count"], about["limit"]) == (len(lines), limit)
        if not about["truncated"]:
            return found
        after = {"after": about["next_cursor"]}


@on_every_database
@pytest.mark.parametrize("limit", [1, 7, 25, 26])
def test_parts_of_a_search_have_every_order_once(limit, stocked):
    assert _walked(stocked, limit) == search(stocked)[0]
    asked = {"q": "1", "fields": "total_amount"}
    assert _walked(stocked, limit, **asked) == search(stocked, **asked)[0]


def test_who_saw_no_last_line_goes_on_behind_the_last_order(stocked):
    lines, _ = search(stocked)
    last = lines[9]
    assert search(stocked, after=f"{last['order_date']}~{last['order_id']}")[0] == lines[10:]


def test_every_line_has_what_one_can_go_on_by(stocked):
    lines, _ = search(stocked, fields="total_amount,kind", limit=1)
    assert list(lines[0]) == ["order_date", "order_id", "total_amount", "kind"]
    lines, _ = search(stocked, fields="kind,order_id", limit=1)
    assert list(lines[0]) == ["order_date", "kind", "order_id"]


def test_the_first_line_goes_at_once_and_what_comes_slowly_does_not_wait():
    def lines():
        yield from (b"a\n", b"b\n", b"c\n")
        time.sleep(2 * blocks.PATIENCE)
        yield from (b"d\n", b"e\n")

    assert list(blocks.joined(lines())) == [b"a\n", b"b\nc\nd\n", b"e\n"]
    many = list(blocks.joined(b"x" * 999 + b"\n" for _ in range(200)))
    assert max(map(len, many)) < blocks.BLOCK + 1_000
    assert sum(map(len, many)) == 200_000


WRONG = [
    {"colour": "red"},
    {"cursor": f"orders~{uuid4()}"},
    {"order_status": "paid"},
    {"status": "lost"},
    {"start_date": "yesterday"},
    {"start_date": ["2024-01-01", "2024-01-02"]},
    {"start_date": "2024-01-02", "end_date": "2024-01-01"},
    {"start_date": "2024-01-02T00:00:00Z", "end_date": "2024-01-01T00:00:00Z"},
    {"end_date": "2024-02-30"},
    {"end_date": "9999-12-31"},
    {"customer_id": f"{uuid4()},{uuid4()}"},
    {"min_amount": "NaN"},
    {"min_amount": "1e400"},
    {"max_amount": ""},
    {"currency": "EURO"},
    {"kind": "gift"},
    {"q": "nul\x00"},
    {"q": "x" * 101},
    {"fields": "tenant_id"},
    {"fields": "order_id;"},
    {"limit": "0"},
    {"limit": "-1"},
    {"limit": ["1", "2"]},
    {"after": ""},
    {"after": f"orders~{uuid4()}"},
    {"after": str(uuid4())},
    {"after": f"2024-01-01T00:00:00Z~{uuid4()}~1"},
]


@pytest.mark.parametrize("asked", WRONG, ids=lambda asked: "&".join(asked))
def test_what_cannot_be_searched_is_refused(asked, stocked):
    answer = ask(stocked, "orders/search", **asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@on_every_database
def test_a_search_finds_orders_of_its_tenant_only(merchant, stranger):
    buyer = customer()
    for caller, snapshot in ((merchant, "Ada"), (stranger, "Bob")):
        rows = [
            order(
                order_id=f"{at:08d}-0000-4000-8000-000000000000",
                external_order_id=f"A{at}",
                customer_id=buyer["customer_id"],
                customer_name_snapshot=snapshot,
            )
            for at in range(3)
        ]
        caller.load("customers.ndjson", ndjson(buyer))
        caller.load("orders.ndjson", ndjson(*rows))
    cursor = search(merchant, limit=1)[1]["next_cursor"]
    for asked in ({}, {"q": "A"}, {"customer_id": buyer["customer_id"]}, {"after": cursor}):
        names = {line["customer_name_snapshot"] for line in search(stranger, **asked)[0]}
        assert names == {"Bob"}


@pytest.fixture(params=DIALECTS)
def large(request: pytest.FixtureRequest, tmp_path) -> Merchant:
    """A shop with more orders than fit between a server and its reader."""
    with running(tmp_path, server_of(request, request.param), workers=1) as opened:
        shop = opened.add_tenant()
        insert_orders(shop, MANY)
        yield shop


def insert_orders(shop: Merchant, number: int) -> None:
    """Past the service, which would take a while."""
    own = shop.service
    mark = "?" if own.dialect == "sqlite" else "%s"
    spell: Callable = str if own.dialect == "postgresql" else (lambda key: UUID(str(key)).hex)
    payload = json.dumps({"text": "x" * 500})
    columns = (
        "tenant_id, order_id, external_order_id, kind, total_amount, currency, order_status,"
        " order_date, raw_payload, created_at, source_sequence"
    )
    rows = [
        (
            *(spell(shop.tenant), spell(uuid4()), f"A{at}", "sale", at, "USD", "paid"),
            *(f"2024-01-{1 + at % 28:02} {at % 24:02}:00:00", payload, "2024-01-01 00:00:00", 0),
        )
        for at in range(number)
    ]
    statement = f"INSERT INTO orders ({columns}) VALUES ({', '.join([mark] * 11)})"
    with own.owner() as connection:
        connection.cursor().execute("BEGIN")
        connection.cursor().executemany(statement, rows)
        connection.cursor().execute("COMMIT")


# Connections that are in the middle of reading orders.
BUSY = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND (state <> 'idle' OR wait_event = 'ClientWrite')"
    " AND query LIKE '%%orders%%' AND backend_type = 'client backend'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE()"
    " AND info LIKE '%%FROM orders%%' AND id <> CONNECTION_ID()",
}


def busy(own: Service) -> int:
    """How many connections are reading orders."""
    if own.dialect == "sqlite":  # what is written behind a reader's back is not moved
        own.ask("UPDATE tenants SET name = name || '.'")
        [(_, written, moved)] = own.ask("PRAGMA wal_checkpoint(PASSIVE)")
        return int(moved < written)
    [(number,)] = own.ask(BUSY[own.dialect].replace("%%", "%"))
    return number


def opened_search(shop: Merchant):
    path = f"{shop.service.url}/api/v1/tenants/{shop.tenant}/orders/search"
    return httpx2.stream("GET", path, headers={"X-API-Key": shop.key}, timeout=60)


@pytest.mark.slow
def test_a_search_takes_no_memory_and_who_leaves_it_frees_its_connection(large):
    own = large.service
    assert search(large, limit=10)[1]["count"] == 10
    before = {process.pid: process.memory_info().rss for process in servers_of(own)}
    highest, ends, last = 0, 0, b""
    with opened_search(large) as stream:
        for number, block in enumerate(stream.iter_bytes()):
            ends += block.count(b"\n")
            last = block
            if number % 50 == 0:
                highest = max(highest, growth(own, before))
    assert ends == MANY + 1
    assert json.loads(last.splitlines()[-1])["_meta"]["count"] == MANY
    assert highest < MOST_GROWTH[own.dialect]
    for _ in range(20):  # more than there are seats
        with opened_search(large) as stream:
            read = stream.iter_bytes()
            next(read)
            assert busy(own) == 1
        wait_until_idle(own)
    assert search(large, limit=1)[1]["count"] == 1


def wait_until_idle(own: Service, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while busy(own):
        assert time.monotonic() < end
        time.sleep(0.02)


def read_until_it_breaks(shop: Merchant, lines: list[bytes]) -> None:
    """Gather whole lines of a search that the database ends in the middle."""
    end_all = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
        " current_database() AND pid <> pg_backend_pid() AND state = 'active'"
    )
    rest = b""
    with opened_search(shop) as stream:
        for number, block in enumerate(stream.iter_bytes()):
            *some, rest = (rest + block).split(b"\n")
            lines += some
            if number == 20:
                shop.service.ask(end_all)


@pytest.mark.slow
@pytest.mark.parametrize("large", ["postgresql"], indirect=True)
def test_a_search_that_breaks_off_has_no_last_line_and_can_be_continued(large):
    whole = [line["order_id"] for line in search(large, fields="order_id")[0]]
    lines: list[bytes] = []
    with pytest.raises(httpx2.TransportError):
        read_until_it_breaks(large, lines)
    assert 0 < len(lines) < MANY
    read = [json.loads(line) for line in lines]
    after = f"{read[-1]['order_date']}~{read[-1]['order_id']}"
    more, _ = search(large, fields="order_id", after=after)
    assert [line["order_id"] for line in (*read, *more)] == whole


@pytest.mark.slow
@pytest.mark.parametrize("large", ["postgresql"], indirect=True)
def test_what_fails_before_the_first_line_is_answered_as_an_error(large):
    large.service.ask("ALTER TABLE orders RENAME TO orders_away")
    answer = ask(large, "orders/search")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert answer.json()["code"] == "internal"

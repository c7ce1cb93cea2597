"""Sales metrics over HTTP and in the database: figures equal to a count of the rows, and fresh."""

import json
import time
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from tests import sales
from tests.conftest import on_every_database
from tests.road import ndjson
from tests.service import Merchant
from tests.shop import customer, order, order_item, product


def ask_sales(merchant: Merchant, **asked: Any) -> dict[str, Any]:
    """The answer, its numbers as decimals."""
    response = merchant.request("GET", f"/tenants/{merchant.tenant}/metrics/sales", params=asked)
    assert response.status_code == 200, response.text
    return json.loads(response.content, parse_float=Decimal)


def wait_for_figures(merchant: Merchant, seconds: float = 120) -> None:
    """Until no day is listed as changed."""
    end = time.monotonic() + seconds
    while sales.listed_days(merchant.service, merchant.tenant):
        assert time.monotonic() < end, merchant.service.log()[-4000:]
        time.sleep(0.1)


KEPT = ("day", "hour")
GROUPS = (*KEPT, "product", "category")
SPRING = {"start_date": "2025-03-01", "end_date": "2025-03-31"}


class Books:
    """A small shop's records, sent as files."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.buyers = [customer() for _ in range(3)]
        self.goods = [product(category_id=str(uuid4())) for _ in range(3)]
        merchant.load("customers.ndjson", ndjson(*self.buyers))
        merchant.load("products.ndjson", ndjson(*self.goods))
        self.orders = [
            self._order(0, "10.10", "2025-03-01T10:59:59.999999Z"),
            self._order(0, "0.0001", "2025-03-01T11:00:00Z"),
            self._order(1, "20", "2025-03-01T23:59:59Z", order_status="shipped"),
            self._order(0, "5.5", "2025-03-02T00:00:00Z", currency="EUR"),
            self._order(None, "7", "2025-03-02T00:00:01Z"),
            self._order(2, "1000", "2025-03-02T09:00:00Z", order_status="cancelled"),
            self._order(1, "-3.25", "2025-03-03T09:00:00Z", kind="return", order_status="returned"),
            self._order(1, "2", "2025-03-03T10:00:00Z", kind="return", order_status="refunded"),
            self._order(2, "-1", "2025-03-04T10:00:00Z", kind="adjustment"),
            self._order(0, "9", "2025-04-01T00:00:00Z"),
        ]
        self.items = [
            order_item(
                self.orders[at]["order_id"],
                self.goods[what]["product_id"],
                quantity=pieces,
                line_total=total,
            )
            for at, what, pieces, total in (
                (0, 0, 2, "6.10"),
                (0, 1, 1, "4"),
                (0, 0, 1, "3.05"),
                (2, 1, 5, "20"),
                (3, 2, 1, "5.5"),
                (5, 2, 100, "1000"),
                (6, 0, -1, "-3.25"),
                (7, 1, 1, "2"),
            )
        ]
        merchant.load("orders.ndjson", ndjson(*self.orders))
        merchant.load("order_items.ndjson", ndjson(*self.items))

    def _order(self, buyer: int | None, total: str, date: str, **more: Any) -> dict[str, Any]:
        whose = None if buyer is None else self.buyers[buyer]["customer_id"]
        placed = {"total_amount": total, "order_date": date, "order_status": "delivered"}
        return order(customer_id=whose, **{**placed, **more})


@pytest.fixture(scope="module")
def books(running_service) -> Books:
    opened = Books(running_service.add_tenant())
    wait_for_figures(opened.merchant)
    return opened


@on_every_database
def test_what_is_kept_is_what_a_count_of_the_rows_gives(books):
    sales.assert_kept_figures_are_those_of_the_rows(books.merchant)


@on_every_database
def test_days_are_told_by_currency_with_every_digit(books):
    told = ask_sales(books.merchant, group_by="day", **SPRING)
    assert told["pending_days"] == 0
    assert (told["method"], told["precision"]) == ("exact_rollup", "exact")
    expected = sales.buckets(sales.orders(books.merchant.service, books.merchant.tenant), sales.day)
    assert {(row["date"], row["currency"]): figures(row) for row in told["data"]} == {
        (str(day), currency): values
        for (day, currency), values in expected.items()
        if day.month == 3
    }
    first = told["data"][0]
    assert first["total_revenue"] == Decimal("30.1001")
    assert first["avg_order_value"] == Decimal("10.0334")  # 10.03336…
    assert first["unique_customers"] == 2


def figures(row: dict[str, Any]) -> tuple:
    return (*(Decimal(row[name]) for name in sales.FIGURES), row["unique_customers"])


@on_every_database
def test_hours_are_told_and_a_page_follows_the_other(books):
    expected = sales.buckets(
        sales.orders(books.merchant.service, books.merchant.tenant), sales.hour
    )
    rows = pages(books.merchant, group_by="hour", limit=2, **SPRING)
    assert {(row["hour"], row["currency"]): figures(row) for row in rows} == {
        (f"{day}T{hour:02}:00:00Z", currency): values
        for ((day, hour), currency), values in expected.items()
        if day.month == 3
    }


def pages(merchant: Merchant, limit: int, **asked: Any) -> list[dict[str, Any]]:
    """The rows of all pages."""
    rows, cursor = [], {}
    while cursor is not None:
        told = ask_sales(merchant, limit=limit, **asked, **cursor)
        assert len(told["data"]) <= limit
        rows += told["data"]
        cursor = {"cursor": told["next_cursor"]} if told["next_cursor"] else None
    return rows


@on_every_database
@pytest.mark.parametrize("group", GROUPS)
def test_pages_are_of_one_state_or_told_to_be_outdated(running_service, group):
    books = Books(running_service.add_tenant())
    merchant = books.merchant
    wait_for_figures(merchant)
    asked = {"group_by": group, "limit": 1, **SPRING}
    whole = ask_sales(merchant, **{**asked, "limit": 50})["data"]
    assert pages(merchant, **asked) == whole
    first = ask_sales(merchant, **asked)
    merchant.load("order_items.ndjson", ndjson(*books.items))  # changes nothing
    running_service.add_tenant().load("products.ndjson", ndjson(product()))  # nor does another's
    following = {**asked, "cursor": first["next_cursor"]}
    assert ask_sales(merchant, **following)["data"] == whole[1:2]
    assert ask_sales(merchant, **{**following, "limit": 2})["data"] == whole[1:3]
    books.items[3]["line_total"] = "0.01"  # the second product becomes the last one
    merchant.load("order_items.ndjson", ndjson(*books.items))
    if group in KEPT:
        wait_for_figures(merchant)
    assert_outdated(merchant, following)
    wait_for_figures(merchant)
    assert_outdated(merchant, following)
    assert pages(merchant, **asked) == ask_sales(merchant, **{**asked, "limit": 50})["data"]
    first = ask_sales(merchant, **asked)
    assert_outdated(merchant, {**asked, "end_date": "2025-03-30", "cursor": first["next_cursor"]})


def assert_outdated(merchant: Merchant, asked: dict[str, Any]) -> None:
    response = merchant.request("GET", f"/tenants/{merchant.tenant}/metrics/sales", params=asked)
    assert (response.status_code, response.json()["code"]) == (409, "cursor_outdated")


@on_every_database
def test_a_customer_of_several_days_is_one_customer_of_the_range(books):
    told = ask_sales(books.merchant, **SPRING)
    by_currency = {row["currency"]: row["unique_customers"] for row in told["totals"]}
    assert by_currency == {"EUR": 1, "USD": 2}
    assert told["unique_customers"] == 2
    assert sum(row["unique_customers"] for row in told["data"]) == 3


@on_every_database
def test_returns_lower_the_sum_and_are_counted_apart(books):
    told = ask_sales(books.merchant, start_date="2025-03-03", end_date="2025-03-04")
    [total] = told["totals"]
    assert total["order_count"] == 0
    assert total["avg_order_value"] is None
    assert (total["return_count"], total["returned_amount"]) == (2, Decimal("5.25"))
    assert (total["adjustment_count"], total["adjusted_amount"]) == (1, -1)
    assert total["total_revenue"] == Decimal("-6.25")
    assert total["returned_items"] == 2


@on_every_database
def test_products_and_categories_are_counted_by_their_lines(books):
    tea, cup, _ = books.goods
    told = ask_sales(books.merchant, group_by="product", currency="USD", **SPRING)
    rows = {row["product_id"]: row for row in told["data"]}
    assert set(rows) == {tea["product_id"], cup["product_id"]}
    assert rows[tea["product_id"]]["gross_sales"] == Decimal("9.15")
    assert rows[tea["product_id"]]["returned_amount"] == Decimal("3.25")
    assert rows[tea["product_id"]]["total_revenue"] == Decimal("5.9")
    assert rows[tea["product_id"]]["order_count"] == 1
    assert rows[tea["product_id"]]["line_count"] == 3
    assert rows[cup["product_id"]]["total_revenue"] == 22  # 4 + 20 - 2
    assert rows[cup["product_id"]]["unique_customers"] == 2
    told = ask_sales(books.merchant, group_by="category", currency="USD", **SPRING)
    by_category = {row["category_id"]: row["total_revenue"] for row in told["data"]}
    assert by_category == {tea["category_id"]: Decimal("5.9"), cup["category_id"]: 22}


@on_every_database
def test_the_documented_table_has_the_documented_columns(books):
    service = books.merchant.service
    [row] = service.ask(
        "SELECT tenant_id, metric_date, order_count, total_revenue, avg_order_value,"
        " unique_customers FROM tenant_daily_metrics WHERE currency = 'EUR'"
        f" AND tenant_id = {service.spelled(books.merchant.tenant)}"
    )
    scale = 10_000 if service.dialect == "sqlite" else 1
    assert str(row[1]) == "2025-03-02"
    assert row[2:] == (1, Decimal("5.5") * scale, Decimal("5.5") * scale, 1)


MOST = Decimal("922337203685477.5807")  # that an amount may be


@on_every_database
def test_sums_of_the_largest_amounts_are_exact(running_service):
    merchant = running_service.add_tenant()
    goods = product(category_id=str(uuid4()))
    dated = {"order_date": "2025-03-01T10:00:00Z", "order_status": "delivered"}
    bought = [order(total_amount=str(MOST), **dated) for _ in range(3)]
    back = order(total_amount=str(-MOST), **dated, kind="return")
    merchant.load("products.ndjson", ndjson(goods))
    merchant.load("orders.ndjson", ndjson(*bought, back))
    lines = [
        order_item(one["order_id"], goods["product_id"], line_total=one["total_amount"])
        for one in (*bought, back)
    ]
    merchant.load("order_items.ndjson", ndjson(*lines))
    wait_for_figures(merchant)
    sales.assert_kept_figures_are_those_of_the_rows(merchant)
    for group in GROUPS:
        (row,) = ask_sales(merchant, group_by=group, **SPRING)["data"]
        assert (row["gross_sales"], row["total_revenue"]) == (3 * MOST, 2 * MOST)
        assert row["returned_amount"] == MOST
        if group in KEPT:
            assert (row["avg_order_value"], row["line_revenue"]) == (MOST, 2 * MOST)


@on_every_database
def test_a_change_is_told_at_once_and_moves_what_it_moves(running_service):
    books = Books(running_service.add_tenant())
    merchant = books.merchant
    wait_for_figures(merchant)
    before = ask_sales(merchant, **SPRING)
    books.orders[0]["order_date"] = "2025-03-20T10:00:00Z"
    books.orders[2]["order_status"] = "cancelled"
    merchant.load("orders.ndjson", ndjson(*books.orders))
    books.items[3]["order_id"] = books.orders[4]["order_id"]
    merchant.load("order_items.ndjson", ndjson(*books.items))
    wait_for_figures(merchant)
    after = ask_sales(merchant, **SPRING)
    assert after["version"] > before["version"]
    sales.assert_kept_figures_are_those_of_the_rows(merchant)
    assert {row["date"] for row in after["data"]} >= {"2025-03-20"}


def test_a_file_does_not_wait_for_figures(running_service):
    """One worker does both: it turns to a file after the days that it is at."""
    merchant, other = running_service.add_tenant(), running_service.add_tenant()
    first = date(2000, 1, 1)
    dates = (f"{first + timedelta(days=day)}T10:00:00Z" for day in range(3_000))
    merchant.load("orders.ndjson", ndjson(*(order(order_date=when) for when in dates)))
    other.load("customers.ndjson", ndjson(customer()))
    left = sales.listed_days(running_service, merchant.tenant)
    assert left > 1_000
    other.load("customers.ndjson", ndjson(customer()))
    assert 0 < sales.listed_days(running_service, merchant.tenant) <= left


@on_every_database
def test_the_same_files_again_change_nothing(running_service):
    books = Books(running_service.add_tenant())
    wait_for_figures(books.merchant)
    version = ask_sales(books.merchant)["version"]
    for name, records in (("orders", books.orders), ("order_items", books.items)):
        status = books.merchant.load(f"{name}.ndjson", ndjson(*records))
        assert status["outcomes"]["unchanged"] == len(records)
        assert sales.listed_days(books.merchant.service, books.merchant.tenant) == 0
    assert ask_sales(books.merchant)["version"] == version


@pytest.mark.parametrize("currency", ["€", "Kč", "R $", "usd"])
def test_a_currency_is_asked_for_as_orders_have_it(merchant, currency):
    day = "2025-03-01"
    sent = {"order_date": day, "order_status": "shipped"}
    sold = [order(currency=one, **sent) for one in (currency, "X")]
    merchant.load("orders.ndjson", ndjson(*sold))
    wait_for_figures(merchant)
    told = ask_sales(merchant, currency=currency, start_date=day, end_date=day)
    assert [(row["currency"], row["order_count"]) for row in told["data"]] == [(currency, 1)]


def test_a_tenant_without_orders_is_told_of_none(merchant):
    told = ask_sales(merchant, group_by="product")
    assert (told["totals"], told["data"], told["unique_customers"]) == ([], [], 0)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"group_by": "week"}, "invalid_value"),
        ({"start_date": "yesterday"}, "invalid_value"),
        ({"start_date": "20250301"}, "invalid_value"),
        ({"start_date": "2025-02-30"}, "invalid_value"),
        ({"end_date": "1969-12-31"}, "invalid_value"),
        ({"start_date": "2025-03-02", "end_date": "2025-03-01"}, "invalid_value"),
        ({"precision": "wild"}, "invalid_value"),
        ({"currency": "EURO"}, "invalid_value"),
        ({"currency": ""}, "invalid_value"),
        ({"limit": "0"}, "invalid_value"),
        ({"limit": "1e3"}, "invalid_value"),
        ({"limit": "5001"}, "invalid_value"),
        ({"limit": "0000000000019999"}, "invalid_value"),
        ({"cursor": "9" * 20}, "invalid_value"),
        ({"cursor": "0" * 400}, "invalid_value"),
        ({"currency": "\0"}, "invalid_value"),
        ({"cursor": "-1"}, "invalid_value"),
        ({"cursor": "1"}, "invalid_value"),
        ({"cursor": "1~" + "g" * 16}, "invalid_value"),
        ({"from": "2025-03-01"}, "invalid_request"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(merchant, asked, code):
    path = f"/tenants/{merchant.tenant}/metrics/sales"
    response = merchant.request("GET", path, params=asked)
    assert (response.status_code, response.json()["code"]) == (400, code)
    name = next(iter(asked))
    assert name in response.json()["detail"]


def test_metrics_of_another_tenant_are_not_there(merchant, stranger):
    path = f"/tenants/{merchant.tenant}/metrics/sales"
    assert stranger.request("GET", path).status_code == 404

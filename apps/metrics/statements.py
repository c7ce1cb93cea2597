"""The SQL that counts orders and their lines; docs/metrics.md has the definitions in words.

Names are constants, values are parameters. Aliases: o is an order, c one that counts, i a line,
n a customer's number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

#: A correction counts once it is closed, whatever the statuses of sales are.
CLOSED = ("completed", "returned", "refunded")
DAY = timedelta(days=1)
PART = 10**9  #: what SQLite divides money by, to add up both parts without an overflow


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a database cuts a time, adds up money, lists small numbers in one value, and reads most
    of a tenant.
    """

    day: str
    hour: str
    numbers: str
    total: str = "SUM({})"
    rank: str = "SUM({})"
    twice: str = ""  #: what lets a part of a statement that is named twice be planned in each place
    settings_for_most: tuple[str, ...] = ()


_SPELLINGS = {
    "postgresql": Spelling(
        day="CAST(o.order_date AT TIME ZONE 'UTC' AS date)",
        hour="date_trunc('hour', o.order_date AT TIME ZONE 'UTC')",
        numbers="string_agg(int4send(CAST({} AS integer)), '')",
        # Kept apart, orders would be joined as if they were few: all lines hashed, then sorted.
        twice="NOT MATERIALIZED ",
        # The planner thinks that every tenant has a 200th of the rows: it would look up the lines
        # of each order, four times as much work where the orders are most of the tenant's.
        settings_for_most=(
            "SET LOCAL enable_nestloop = off",
            "SET LOCAL work_mem = '128MB'",
            "SET LOCAL jit = off",
            "SET LOCAL parallel_setup_cost = 0",
            "SET LOCAL parallel_tuple_cost = 0",
        ),
    ),
    "sqlite": Spelling(
        day="substr(o.order_date, 1, 10)",
        hour="substr(o.order_date, 1, 13)",
        numbers="group_concat({})",
        # Its SUM of integers fails beyond 2**63, which two orders of the most that an order may
        # come to are. TOTAL does not, and is a float: it puts in order only.
        total=f"printf('%%d,%%d', SUM(({{0}}) / {PART}), SUM(({{0}}) %% {PART}))",
        rank="TOTAL({})",
    ),
    "mysql": Spelling(
        day="DATE(o.order_date)",
        hour="LEFT(o.order_date, 13)",
        numbers="GROUP_CONCAT({})",
    ),
}
# A return may be told as a positive amount: it is what was given back.
_SIGN = "CASE WHEN o.kind = 'return' AND o.total_amount > 0 THEN -1 ELSE 1 END"


@dataclass(frozen=True, slots=True)
class Statement:
    text: str
    values: tuple[Any, ...]


def spelling() -> Spelling:
    """That of the configured database."""
    return _SPELLINGS[connection.vendor]


def ranges(days: Sequence[date]) -> list[tuple[date, date]]:
    """Ascending days as few half-open ranges: from a day to the one behind the last."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], day + DAY)
        else:
            found.append((day, day + DAY))
    return found


def within(column: str, spans: Sequence[tuple[date, date]]) -> Statement:
    """The condition that a column is within one of these ranges."""
    text = " OR ".join(f"({column} >= %s AND {column} < %s)" for _ in spans)
    return Statement(f"({text})", tuple(str(end) for span in spans for end in span))


def condition(tenant: Any, spans: Sequence[tuple[date, date]]) -> Statement:
    """The condition that an order is of these days, and counts."""
    dated = within("o.order_date", spans)
    sales = settings.HEADRACE_SALES_STATUSES
    closed = tuple(dict.fromkeys((*sales, *CLOSED)))
    return Statement(
        f"o.tenant_id = %s AND {dated.text}"
        f" AND (o.kind = 'sale' AND o.order_status IN ({_marks(sales)})"
        f" OR o.kind <> 'sale' AND o.order_status IN ({_marks(closed)}))",
        (tenant, *dated.values, *sales, *closed),
    )


def _marks(values: Sequence[str]) -> str:
    return ", ".join(["%s"] * len(values))


def new_customers(tenant: Any, spans: Sequence[tuple[date, date]], known: int) -> Statement:
    """Number the customers of orders that have none yet."""
    counts = condition(tenant, spans)
    return Statement(
        f"""
INSERT INTO customer_numbers (tenant_id, customer_id, number)
SELECT %s, customer_id, %s + ROW_NUMBER() OVER (ORDER BY customer_id)
FROM (SELECT DISTINCT o.customer_id
      FROM orders o
      LEFT JOIN customer_numbers n ON n.tenant_id = o.tenant_id AND n.customer_id = o.customer_id
      WHERE {counts.text} AND o.customer_id IS NOT NULL AND n.customer_id IS NULL) fresh""",
        (tenant, known, *counts.values),
    )


def hours(tenant: Any, spans: Sequence[tuple[date, date]]) -> Statement:
    """By hour, currency, kind and sign: of orders how many, what they come to and the numbers of
    their customers; of lines how many pieces and what they come to.

    One statement, so that both are of one moment.
    """
    counts, how = condition(tenant, spans), spelling()
    return Statement(
        f"""
WITH counted AS {how.twice}(
    SELECT o.order_id, {how.hour} AS hour, o.currency, o.kind, {_SIGN} AS sign, o.total_amount,
           o.customer_id
    FROM orders o
    WHERE {counts.text}
)
SELECT 'orders', c.hour, c.currency, c.kind, c.sign, COUNT(*), {how.total.format("c.total_amount")},
       {how.numbers.format("n.number")}
FROM counted c
LEFT JOIN customer_numbers n ON n.tenant_id = %s AND n.customer_id = c.customer_id
GROUP BY c.hour, c.currency, c.kind, c.sign
UNION ALL
SELECT 'lines', c.hour, c.currency, c.kind, c.sign, SUM(i.quantity),
       {how.total.format("i.line_total")}, NULL
FROM counted c
JOIN order_items i ON i.tenant_id = %s AND i.order_id = c.order_id
GROUP BY c.hour, c.currency, c.kind, c.sign""",
        (*counts.values, tenant, tenant),
    )


def mark_all(tenant: Any) -> Statement:
    """List every day that has orders or figures as changed."""
    return Statement(
        f"""
INSERT INTO dirty_days (tenant_id, day)
SELECT %s, day
FROM (SELECT {spelling().day} AS day FROM orders o WHERE o.tenant_id = %s
      UNION SELECT metric_date FROM tenant_daily_metrics WHERE tenant_id = %s) known""",
        (tenant, tenant, tenant),
    )


@dataclass(frozen=True, slots=True)
class Group:
    """What lines are put together by: columns, and the joins that give them."""

    columns: tuple[str, ...]
    joins: str = ""


_PRODUCT = "LEFT JOIN products p ON p.tenant_id = i.tenant_id AND p.product_id = i.product_id"
GROUPS = {
    "product": Group(("i.product_id", "p.sku", "p.name"), _PRODUCT),
    "category": Group(("p.category_id",), _PRODUCT),
}


def lines(
    tenant: Any,
    spans: Sequence[tuple[date, date]],
    group: str,
    currency: str,
    page: tuple[int, int],
) -> Statement:
    """By product or category and currency, the best sold first: orders, lines, pieces sold and
    given back, sales, returns, their sum, customers. `page` is a limit and an offset.
    """
    counts, by = condition(tenant, spans), GROUPS[group]
    of_currency = " AND o.currency = %s" if currency else ""
    columns = ", ".join((*by.columns, "o.currency"))
    sale, back = "o.kind = 'sale'", "o.kind = 'return'"
    amount, how = f"i.line_total * {_SIGN}", spelling()
    return Statement(
        f"""
SELECT {columns},
       COUNT(DISTINCT CASE WHEN {sale} THEN o.order_id END), COUNT(*),
       {_sum(sale, "i.quantity")}, {_sum(back, f"-i.quantity * {_SIGN}")},
       {_total(sale, "i.line_total")}, {_total(back, f"-{amount}")}, {how.total.format(amount)},
       COUNT(DISTINCT CASE WHEN {sale} THEN o.customer_id END)
FROM orders o
JOIN order_items i ON i.tenant_id = o.tenant_id AND i.order_id = o.order_id
{by.joins}
WHERE {counts.text}{of_currency}
GROUP BY {columns}
ORDER BY o.currency, {how.rank.format(amount)} DESC, {by.columns[0]}
LIMIT %s OFFSET %s""",
        (*counts.values, *([currency] if currency else []), *page),
    )


def _sum(when: str, value: str) -> str:
    return f"SUM({_where(when, value)})"


def _total(when: str, value: str) -> str:
    """Of money."""
    return spelling().total.format(_where(when, value))


def _where(when: str, value: str) -> str:
    return f"CASE WHEN {when} THEN {value} ELSE 0 END"

"""What is in stock, and the movements that led to it, page by page in the order of an index."""

from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import F, TextField
from django.db.models.functions import Cast

from apps.catalog.models import MODELS
from apps.core import pages, wire
from apps.core.isolation import tenant_reading
from headrace.entities.stock_events import STOCK_EVENTS

SCANNED = 5_000  # movements that a page looks at where it chooses among them
Page = tuple[list[dict[str, Any]], str | None]  #: rows, and the cursor of the next page


class Levels(NamedTuple):
    """Which levels: `below` a number, of `products`; behind the one that `after` tells. `mark` is
    that of the list (pages.mark_of).
    """

    below: int | None
    products: list[str]
    after: list[str] | None
    limit: int
    mark: str


class Events(NamedTuple):
    """Which movements: of a `product`, `since` an event time, with a wrong claim; `after` one."""

    product: str | None
    since: str | None
    is_mismatch: bool
    after: str | None
    limit: int
    mark: str


def levels(tenant: UUID, asked: Levels) -> Page:
    """A page of levels by product; the lowest first where those below a number are asked for."""
    order = ("product_id",) if asked.below is None else ("level", "product_id")
    with tenant_reading(tenant):
        assert STOCK_EVENTS.levels is not None
        rows = MODELS[STOCK_EVENTS.levels.table].objects.order_by(*order)
        if asked.below is not None:
            rows = rows.filter(level__lt=asked.below)
        if asked.products:
            rows = rows.filter(product_id__in=asked.products)
        if asked.after:
            rows = rows.filter(pages.behind(order, asked.after))
        names = ("product_id", "level", "sequence", "changed_at")
        found = list(rows.values(*names)[: asked.limit + 1])
    page, cursor = found[: asked.limit], None
    if len(found) > asked.limit:
        cursor = pages.cursor_behind(*(page[-1][name] for name in order), mark=asked.mark)
    for row in page:
        row["changed_at"] = wire.instant(row["changed_at"])
    return page, cursor


def events(tenant: UUID, asked: Events) -> Page:
    """A page of movements: of one product by their sequence, of all by their ids.

    Where it chooses among them it looks at SCANNED movements at most, so a page may have fewer
    rows than its limit, or none, and yet a cursor of the next one.
    """
    order = "sequence" if asked.product else "stock_event_id"
    with tenant_reading(tenant):
        rows = MODELS[STOCK_EVENTS.name].objects.order_by(order)
        if asked.product:
            rows = rows.filter(product_id=asked.product)
        if asked.after:
            rows = rows.filter(**{f"{order}__gt": asked.after})
        end = None
        if asked.since or asked.is_mismatch:
            end = rows.values_list(order, flat=True)[SCANNED - 1 : SCANNED].first()
            rows = _chosen(rows, asked, order, end)
        found = list(_told(rows)[: asked.limit + 1])
    page = found[: asked.limit]
    last = page[-1][order] if len(found) > asked.limit else end
    for row in page:
        row["meta"] = msgspec.Raw(row.pop("meta_text").encode())
        row["event_time"] = wire.instant(row["event_time"])
    return page, None if last is None else pages.cursor_behind(last, mark=asked.mark)


def _chosen(rows: Any, asked: Events, order: str, end: object) -> Any:
    if end is not None:
        rows = rows.filter(**{f"{order}__lte": end})
    if asked.since:
        rows = rows.filter(event_time__gte=datetime.fromisoformat(asked.since).replace(tzinfo=UTC))
    if asked.is_mismatch:
        rows = rows.exclude(claimed_level=None).exclude(claimed_level=F("resulting_level"))
    return rows


def _told(rows: Any) -> Any:
    names = ("stock_event_id", "product_id", "sequence", "delta", "resulting_level")
    more = ("claimed_level", "event_time", "source")
    # As text: a decoded number would lose digits.
    return rows.values(*names, *more, meta_text=Cast("meta", TextField()))

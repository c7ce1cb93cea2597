"""Rows that are of no record type, as a bundle: each a line of NDJSON.

Columns are those of the model, so one that comes later is told without a word here. Pages go by
the primary key, and the transaction of a page ends before it is handed on: whoever writes it does
others' work in between.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import Model, QuerySet

from apps.core.isolation import tenant_reading
from apps.exports.bundles import Bundle
from headrace.pipeline.formats import NDJSON
from headrace.reading.documents import Block

Row = dict[str, Any]
PAGE = 500  # rows
_encode = msgspec.json.Encoder(decimal_format="number").encode  # every digit, as in other exports


def _as_it_is(row: Row) -> Row:
    return row


class Rows(NamedTuple):
    """The tenant's rows of a model with a `tenant_id`, by its table's name.

    Nobody is told the columns that are `hidden`. Those of `json` are texts that are JSON
    themselves. `tell` has the last word about a row.
    """

    model: type[Model]
    hidden: tuple[str, ...] = ()
    json: tuple[str, ...] = ()
    scope: str | None = None
    tell: Callable[[Row], Row] = _as_it_is

    @property
    def name(self) -> str:
        return self.model._meta.db_table

    @property
    def columns(self) -> list[str]:
        """Those that are told."""
        names = (field.attname for field in self.model._meta.concrete_fields)
        return [name for name in names if name not in self.hidden]


def bundle(rows: Rows) -> Bundle:
    """The rows as what a takeout has, though there be none of them."""
    made = partial(_count, rows), partial(_blocks, rows)
    return Bundle(*made, format=NDJSON, scope=rows.scope, is_always=True)


def _count(rows: Rows, tenant: UUID) -> int:
    with tenant_reading(tenant):
        return _own(rows, tenant).count()


def _blocks(rows: Rows, tenant: UUID) -> Iterator[Block]:
    last = None
    while page := _page(rows, tenant, last):
        last = page[-1][_key(rows)]
        yield Block(b"".join(_line(rows, row) for row in page), len(page))


def _page(rows: Rows, tenant: UUID, last: object) -> list[Row]:
    """The next rows behind the last one."""
    with tenant_reading(tenant):
        found = _own(rows, tenant).order_by("pk").values(*rows.columns)
        return list((found if last is None else found.filter(pk__gt=last))[:PAGE])


def _own(rows: Rows, tenant: UUID) -> QuerySet[Model]:
    # Of control tables no policy and no manager hides what is another's.
    return rows.model._default_manager.filter(tenant_id=tenant)


def _key(rows: Rows) -> str:
    return rows.model._meta.pk.attname


def _line(rows: Rows, row: Row) -> bytes:
    for name in rows.json:
        if row[name] is not None:
            row[name] = msgspec.Raw(row[name].encode())
    return _encode(rows.tell(row)) + b"\n"

"""What belongs to a recognition, and how each row of it is told."""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from apps.core import wire
from apps.recognitions import links
from apps.recognitions.links import Link
from apps.recognitions.models import CheckLine, Detection, MenuItem, Photo

Row = dict[str, Any]
BOX = ("x_min", "y_min", "x_max", "y_max")


def _as_it_is(tenant: UUID, recognition_id: int, row: Row) -> Row:
    return row


def _with_link(tenant: UUID, recognition_id: int, row: Row) -> Row:
    expires = links.expiry()
    link = Link(tenant, recognition_id, row["role"], row["sha256"], expires)
    return {**row, "url": link.address, "url_expires_at": wire.instant(link.end)}


def _with_box(tenant: UUID, recognition_id: int, row: Row) -> Row:
    box = {name: row[name] for name in BOX}
    return {"type": row["kind"], "role": row["role"], "label": row["label"], "box": box}


class Part(NamedTuple):
    """Rows of a model: which columns are read, in which order, and what is told of them."""

    model: Any
    columns: tuple[str, ...]
    order: tuple[str, ...]
    tell: Callable[[UUID, int, Row], Row] = _as_it_is

    def of(self, tenant: UUID, ids: list[int]) -> dict[int, list[Row]]:
        """The rows of these recognitions, by recognition; in a transaction of the tenant."""
        found: dict[int, list[Row]] = {number: [] for number in ids}
        rows = self.model.objects.filter(recognition_id__in=ids).order_by(*self.order)
        for row in rows.values("recognition_id", *self.columns):
            number = row.pop("recognition_id")
            found[number].append(self.tell(tenant, number, row))
        return found


PARTS = {
    "photos": Part(
        Photo,
        ("role", "width", "height", "sha256", "bytes", "media_type"),
        ("role",),
        _with_link,
    ),
    "menu_items": Part(MenuItem, ("external_id", "name"), ("position",)),
    "check_lines": Part(
        CheckLine, ("line", "choice", "quantity", "external_id", "name"), ("line", "choice")
    ),
    "detections": Part(
        Detection, ("role", "kind", "label", *BOX), ("role", "kind", "position"), _with_box
    ),
}

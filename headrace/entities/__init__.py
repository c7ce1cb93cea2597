"""Every record type that Headrace lands, in load order. A new one is one file and one line here."""

from headrace.entities.customers import CUSTOMERS
from headrace.entities.order_items import ORDER_ITEMS
from headrace.entities.orders import ORDERS
from headrace.entities.price_history import PRICE_HISTORY
from headrace.entities.products import PRODUCTS
from headrace.entities.stock_events import STOCK_EVENTS
from headrace.schema import Entity, load_order

ENTITIES: tuple[Entity, ...] = tuple(
    load_order((CUSTOMERS, PRODUCTS, ORDERS, ORDER_ITEMS, PRICE_HISTORY, STOCK_EVENTS))
)
BY_NAME: dict[str, Entity] = {entity.name: entity for entity in ENTITIES}
#: Every target table: those that records are sent to, and those of levels.
TABLES: dict[str, Entity] = BY_NAME | {
    entity.level_table.name: entity.level_table for entity in ENTITIES if entity.level_table
}
#: The tables in which promotion lists days whose rows have changed.
DAY_TABLES: tuple[str, ...] = tuple(
    dict.fromkeys(entity.days.table for entity in ENTITIES if entity.days)
)


def entity_of_file(filename: str) -> Entity | None:
    """The entity whose name begins the file's name, the longest such name; None if there is none.

    `order_items_x.ndjson` is order_items and not orders.
    """
    label = filename.replace("\\", "/").rsplit("/", 1)[-1].lower()
    matches = [entity for name, entity in BY_NAME.items() if _begins(label, name)]
    return max(matches, key=lambda entity: len(entity.name), default=None)


def _begins(label: str, name: str) -> bool:
    rest = label.removeprefix(name)
    return rest != label and (not rest or not rest[0].isalnum())

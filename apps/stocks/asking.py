"""What lists of stock are asked besides what every list is (apps/core/pages.py)."""

from django.http import QueryDict

from apps.core import pages
from apps.core.problems import Problem
from headrace.entities.stock_events import STOCK_EVENTS

MOST_PRODUCTS = 100
EVENT = STOCK_EVENTS.field("stock_event_id")
PRODUCT = STOCK_EVENTS.field("product_id")
TIME = STOCK_EVENTS.field("event_time")


def products(asked: QueryDict) -> list[str]:
    """Ids, each in a parameter of its own or several with commas between them. Raises Problem."""
    texts = [text for given in asked.getlist("product_id") for text in given.split(",")]
    if len(texts) > MOST_PRODUCTS:
        raise Problem("invalid_request", f"Ask for at most {MOST_PRODUCTS} products at once.")
    return [pages.read(PRODUCT, text, "product_id") for text in texts]

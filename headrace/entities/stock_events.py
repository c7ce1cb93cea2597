from headrace.schema import (
    Entity,
    Field,
    Index,
    Integer,
    JsonObject,
    Promotion,
    Reference,
    Text,
    Timestamp,
    Uuid,
)

STOCK_EVENTS = Entity(
    name="stock_events",
    about="Movements of stock: what came in and what went out. Never changed once they landed.",
    key="stock_event_id",
    fields=(
        Field("stock_event_id", Uuid(), "identity within the tenant", required=True),
        Field("product_id", Uuid(), "what moved", required=True),
        Field("delta", Integer(), "pieces in (positive) or out (negative)", required=True),
        Field("resulting_level", Integer(), "the level the sender saw afterwards", null=True),
        Field("event_time", Timestamp(), "when it moved", required=True),
        Field("source", Text(50), "what caused it", default="system"),
        Field("meta", JsonObject(), "anything else about it", default="{}"),
    ),
    promotion=Promotion.APPEND,
    references=(Reference("product_id", "products"),),
    indexes=(Index("stock_events_product_time_idx", ("product_id", "event_time")),),
)

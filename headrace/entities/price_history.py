from headrace.schema import (
    Before,
    Entity,
    Field,
    Interval,
    Money,
    Promotion,
    Reference,
    Timestamp,
    Uuid,
)

PRICE_HISTORY = Entity(
    name="price_history",
    about="What a product cost from when to when. Intervals of a product never overlap.",
    key="id",
    fields=(
        Field("id", Uuid(), "identity within the tenant", required=True),
        Field("product_id", Uuid(), "whose price", required=True),
        Field("price", Money(minimum=0), "list price during the interval", required=True),
        Field("effective_from", Timestamp(), "first instant of the interval", required=True),
        Field("effective_to", Timestamp(), "first instant after it; null while open", null=True),
    ),
    promotion=Promotion.INTERVAL,
    references=(Reference("product_id", "products"),),
    checks=(Before("effective_from", "effective_to"),),
    interval=Interval(owner="product_id", start="effective_from", end="effective_to"),
    cluster_by="product_id",
)

from headrace.schema import Days, Entity, Field, Index, Integer, Money, Reference, Uuid

ORDER_ITEMS = Entity(
    name="order_items",
    about="The lines of an order. Returns and write-offs have negative quantities.",
    key="order_item_id",
    fields=(
        Field("order_item_id", Uuid(), "identity within the tenant", required=True),
        Field("order_id", Uuid(), "the order it belongs to", required=True),
        Field("product_id", Uuid(), "what was sold", required=True),
        Field("quantity", Integer(nonzero=True), "pieces; negative when given back", required=True),
        Field("unit_price", Money(), "price of one piece", required=True),
        Field("line_total", Money(), "what the line comes to", required=True),
    ),
    references=(Reference("order_id", "orders"), Reference("product_id", "products")),
    indexes=(
        Index("order_items_order_idx", ("order_id",)),
        Index("order_items_product_idx", ("product_id",)),
    ),
    days=Days("order_date", parent="order_id"),
)

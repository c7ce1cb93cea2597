from headrace.schema import (
    SERVER_NOW,
    Boolean,
    Entity,
    Field,
    Index,
    Money,
    Text,
    Timestamp,
    Uuid,
)

PRODUCTS = Entity(
    name="products",
    about="What a merchant sells.",
    key="product_id",
    fields=(
        Field("product_id", Uuid(), "identity within the tenant", required=True),
        Field("sku", Text(100), "the merchant's article number, case-sensitive", required=True),
        Field("name", Text(255), "what the customer reads", required=True),
        Field("price", Money(minimum=0), "current list price", required=True),
        Field("category_id", Uuid(), "category, if any", null=True),
        Field("active", Boolean(), "whether it is on sale", default=True),
        Field("created_at", Timestamp(), "when the merchant made it", default=SERVER_NOW),
    ),
    natural_keys=("sku",),
    indexes=(Index("products_active_idx", ("sku",), where_true="active"),),
)

from headrace.schema import (
    SERVER_NOW,
    Days,
    Entity,
    Field,
    Index,
    JsonObject,
    MinimumWhen,
    Money,
    Reference,
    Text,
    Timestamp,
    Uuid,
)

KINDS = ("sale", "return", "adjustment")
STATUSES = (
    "pending",
    "confirmed",
    "processing",
    "paid",
    "shipped",
    "delivered",
    "completed",
    "cancelled",
    "refunded",
    "returned",
)

ORDERS = Entity(
    name="orders",
    about="Sales, and the returns and adjustments that correct them.",
    key="order_id",
    fields=(
        Field("order_id", Uuid(), "identity within the tenant", required=True),
        Field("external_order_id", Text(100), "the merchant's order number", required=True),
        Field(
            "kind",
            Text(20, KINDS),
            "only a sale must not have a negative total",
            default="sale",
        ),
        Field("customer_id", Uuid(), "who ordered, if known", null=True),
        Field("customer_name_snapshot", Text(255), "name at the time of the order", null=True),
        Field("customer_email_snapshot", Text(255), "e-mail at the time of the order", null=True),
        Field("total_amount", Money(), "what the order comes to", required=True),
        Field("currency", Text(3), "ISO 4217 code", default="USD"),
        Field("order_status", Text(20, STATUSES), "where the order stands", default="pending"),
        Field("order_date", Timestamp(), "when it was placed", required=True),
        Field("raw_payload", JsonObject(), "the shop's own record", default="{}"),
        Field("created_at", Timestamp(), "when the merchant made it", default=SERVER_NOW),
    ),
    references=(Reference("customer_id", "customers"),),
    natural_keys=("external_order_id",),
    indexes=(
        Index(
            "orders_search_idx",
            ("order_date", "order_id", "order_status"),
            include=("total_amount", "currency", "kind", "external_order_id"),
        ),
        Index(
            "orders_customer_search_idx",
            ("customer_id", "order_date", "order_id"),
            where_present="customer_id",
        ),
        Index("orders_raw_payload_gin_idx", ("raw_payload",), method="gin", optional=True),
    ),
    checks=(MinimumWhen("total_amount", 0, when="kind", equals="sale"),),
    days=Days("order_date"),
)

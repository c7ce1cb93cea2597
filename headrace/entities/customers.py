from headrace.schema import SERVER_NOW, Entity, Field, JsonObject, Text, Timestamp, Uuid

CUSTOMERS = Entity(
    name="customers",
    about="People and companies who buy. An e-mail address is not a key: merchants repeat it.",
    key="customer_id",
    fields=(
        Field("customer_id", Uuid(), "identity within the tenant", required=True),
        Field("name", Text(255), "full name", null=True),
        Field("email", Text(255), "address as the merchant sent it, not unique", null=True),
        Field("metadata", JsonObject(), "anything else the merchant knows", default="{}"),
        Field("created_at", Timestamp(), "when the merchant made it", default=SERVER_NOW),
    ),
)

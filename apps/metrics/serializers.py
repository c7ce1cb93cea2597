"""Shapes on the wire, for the OpenAPI document."""

from rest_framework import serializers


def _money(about: str = "") -> serializers.FloatField:
    return serializers.FloatField(help_text=about or "a number with all its digits")


class OrderFigures(serializers.Serializer):
    currency = serializers.CharField()
    order_count = serializers.IntegerField(help_text="sales")
    total_revenue = _money("sales less returns, with adjustments")
    gross_sales = _money("what the sales come to")
    return_count = serializers.IntegerField()
    returned_amount = _money("what was given back")
    adjustment_count = serializers.IntegerField()
    adjusted_amount = _money()
    item_count = serializers.IntegerField(help_text="pieces of the lines of sales")
    returned_items = serializers.IntegerField()
    line_revenue = _money("what the lines of all these orders come to")
    avg_order_value = serializers.FloatField(
        allow_null=True, help_text="gross_sales by order_count, to four decimals"
    )
    unique_customers = serializers.IntegerField(help_text="of sales, each once")


class SalesRow(OrderFigures):
    """Of a day, an hour, a product or a category; those of lines lack figures of whole orders."""

    date = serializers.DateField(required=False)
    hour = serializers.DateTimeField(required=False)
    product_id = serializers.UUIDField(required=False)
    sku = serializers.CharField(required=False, allow_null=True)
    name = serializers.CharField(required=False, allow_null=True)
    category_id = serializers.UUIDField(required=False, allow_null=True)
    line_count = serializers.IntegerField(required=False)

    def get_fields(self) -> dict[str, serializers.Field]:
        fields = super().get_fields()
        for name in _OF_ORDERS:
            fields[name].required = False
        return fields


_OF_ORDERS = (
    *("return_count", "adjustment_count", "adjusted_amount", "line_revenue", "avg_order_value"),
)


class SalesMetrics(serializers.Serializer):
    group_by = serializers.ChoiceField(["day", "hour", "product", "category"])
    start_date = serializers.DateField()
    end_date = serializers.DateField(help_text="included")
    time_zone = serializers.CharField()
    method = serializers.ChoiceField(["exact_rollup", "exact_lines"])
    precision = serializers.ChoiceField(["exact"])
    statuses = serializers.ListField(child=serializers.CharField(), help_text="that count as sales")
    version = serializers.IntegerField(help_text="higher whenever figures were computed anew")
    as_of = serializers.DateTimeField(allow_null=True)
    pending_days = serializers.IntegerField(
        help_text="days of the range with changes that these figures do not have yet"
    )
    totals = OrderFigures(many=True, help_text="of the range, by currency")
    unique_customers = serializers.IntegerField(help_text="of the range, whatever their currency")
    data = SalesRow(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)

"""Shapes on the wire, for the OpenAPI document."""

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from headrace.pricing.detection import Severity

_SEVERITIES = [severity.value for severity in Severity]


@extend_schema_field(
    {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12, "multipleOf": 0.0001}
)
class Price(serializers.FloatField):
    """An amount as price_requests takes it."""


class PriceCall(serializers.Serializer):
    """The body of a price call. It is checked by price_requests, whose numbers are exact."""

    new_price = Price(help_text="exact; a text of digits will do")
    old_price = Price(required=False, allow_null=True, help_text="what the caller believes it cost")
    source = serializers.CharField(max_length=50, default="api")  # type: ignore[assignment]
    metadata = serializers.DictField(required=False, allow_null=True)
    strict = serializers.BooleanField(
        default=False, help_text="answer 409, and do nothing, if old_price is not ours"
    )


class PriceReason(serializers.Serializer):
    code = serializers.CharField()
    message = serializers.CharField()
    numbers = serializers.DictField(help_text="what led to it")
    severity = serializers.ChoiceField(_SEVERITIES)


class PriceEvent(serializers.Serializer):
    event_id = serializers.UUIDField()
    product_id = serializers.UUIDField()
    old_price = serializers.FloatField(help_text="ours, read under lock")
    new_price = serializers.FloatField()
    claimed_old_price = serializers.FloatField(allow_null=True, help_text="the caller's")
    pct_change = serializers.FloatField(allow_null=True, help_text="null from a price of 0")
    anomaly_detected = serializers.BooleanField()
    anomaly_reason = serializers.CharField(allow_null=True, help_text="the gravest, in words")
    reasons = PriceReason(many=True)
    severity = serializers.ChoiceField(_SEVERITIES)
    status = serializers.ChoiceField(["processed", "unchanged"])
    source = serializers.CharField()  # type: ignore[assignment]
    processed_at = serializers.DateTimeField()


class PriceAnomaly(PriceEvent):
    metadata = serializers.DictField(allow_null=True)
    cursor = serializers.CharField(help_text="where to follow on behind it")


PriceAnomalyPage = type(
    "PriceAnomalyPage",
    (serializers.Serializer,),
    {"data": PriceAnomaly(many=True), "next_cursor": serializers.CharField()},
)

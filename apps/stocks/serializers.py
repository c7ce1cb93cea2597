"""Shapes on the wire, for the OpenAPI document."""

from rest_framework import serializers

from headrace.pipeline.report import Outcome


class StockEvent(serializers.Serializer):
    product_id = serializers.UUIDField()
    delta = serializers.IntegerField(
        required=False, help_text="pieces in (positive) or out; either this or `set`"
    )
    set = serializers.IntegerField(required=False, help_text="how many there are")
    expected = serializers.IntegerField(
        required=False, help_text="with `set`: how many there must be before"
    )
    event_time = serializers.DateTimeField(required=False, help_text="without it: now")
    source = serializers.CharField(default="system")  # type: ignore[assignment]
    meta = serializers.DictField(required=False)
    stock_event_id = serializers.UUIDField(
        required=False, help_text="its identity; without it an Idempotency-Key is needed"
    )


class AppliedProduct(serializers.Serializer):
    product_id = serializers.UUIDField()
    events_processed = serializers.IntegerField(
        help_text="events that count now, those included that counted before"
    )
    final_level = serializers.IntegerField()


class StockFault(serializers.Serializer):
    code = serializers.CharField()
    line = serializers.IntegerField(help_text="line of the file or element of the array, from 1")
    field = serializers.CharField()
    value = serializers.CharField()
    message = serializers.CharField()


class StockConflict(serializers.Serializer):
    product_id = serializers.UUIDField(
        allow_null=True, help_text="null where the event does not tell it"
    )
    reason = serializers.CharField()
    code = serializers.CharField()
    line = serializers.IntegerField(help_text="of the first event at fault")
    field = serializers.CharField()
    value = serializers.CharField()
    events_refused = serializers.IntegerField(help_text="those refused along with it included")
    faults = StockFault(many=True, help_text="the first events at fault themselves")
    more_faults = serializers.IntegerField(help_text="events at fault that are not listed")


StockOutcomes = type(
    "StockOutcomes",
    (serializers.Serializer,),
    {
        outcome.value: serializers.IntegerField(help_text=outcome.about)
        for outcome in (Outcome.INSERTED, Outcome.UNCHANGED, Outcome.REJECTED)
    },
)


class StockUpdate(serializers.Serializer):
    status = serializers.ChoiceField(["success", "partial_success"])
    applied = AppliedProduct(many=True)
    conflicts = StockConflict(many=True)
    total_events_processed = serializers.IntegerField()
    events_received = serializers.IntegerField(help_text="processed and refused ones")
    outcomes = StockOutcomes()
    level_mismatches = serializers.IntegerField(
        help_text="events that claim another resulting_level than ours"
    )
    unknown_keys = serializers.DictField(child=serializers.IntegerField())


class StockLevel(serializers.Serializer):
    product_id = serializers.UUIDField()
    level = serializers.IntegerField(help_text="the sum of all its movements")
    sequence = serializers.IntegerField(help_text="how many movements there are")
    changed_at = serializers.DateTimeField(help_text="when it last moved")


class StockMovement(serializers.Serializer):
    stock_event_id = serializers.UUIDField()
    product_id = serializers.UUIDField()
    sequence = serializers.IntegerField(help_text="place among its product's movements, from 1")
    delta = serializers.IntegerField()
    resulting_level = serializers.IntegerField(help_text="what it led to")
    claimed_level = serializers.IntegerField(
        allow_null=True, help_text="what its sender said that it led to"
    )
    event_time = serializers.DateTimeField()
    source = serializers.CharField()  # type: ignore[assignment]
    meta = serializers.DictField()


def _page(name: str, row: type[serializers.Serializer]) -> type[serializers.Serializer]:
    cursor = serializers.CharField(allow_null=True)
    return type(name, (serializers.Serializer,), {"data": row(many=True), "next_cursor": cursor})


LevelPage = _page("LevelPage", StockLevel)
EventPage = _page("EventPage", StockMovement)

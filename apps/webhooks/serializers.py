"""Shapes on the wire: what is asked, checked by them, and what is told."""

from rest_framework import serializers

from apps.webhooks import addresses, services
from apps.webhooks.kinds import KINDS
from apps.webhooks.models import DeliveryState

_EVENTS = [(name, about) for name, about in KINDS.items()]


class WebhookChanges(serializers.Serializer):
    url = serializers.CharField(
        min_length=1,
        max_length=addresses.MOST_CHARACTERS,
        required=False,
        help_text="https, without redirects",
    )
    events = serializers.ListField(
        child=serializers.ChoiceField(_EVENTS),
        min_length=1,
        required=False,
        help_text="all there are without it",
    )
    description = serializers.CharField(max_length=255, allow_blank=True, required=False)
    enabled = serializers.BooleanField(required=False)


class NewWebhook(WebhookChanges):
    url = serializers.CharField(
        min_length=1, max_length=addresses.MOST_CHARACTERS, help_text="https, without redirects"
    )
    enabled = None  # type: ignore[assignment]  # it is, at first


class Webhook(serializers.Serializer):
    endpoint_id = serializers.UUIDField()
    url = serializers.CharField()
    description = serializers.CharField()
    events = serializers.ListField(child=serializers.ChoiceField(_EVENTS))
    enabled = serializers.BooleanField()
    disabled_because = serializers.CharField(
        allow_null=True, help_text="`gone` after an answer 410, or `by request`"
    )
    failures = serializers.IntegerField(help_text="attempts that failed since one that did not")
    held_until = serializers.DateTimeField(
        allow_null=True, help_text="nothing is sent before: the last attempt failed"
    )
    old_secret_until = serializers.DateTimeField(
        allow_null=True, help_text="until then the secret before the last rotation signs too"
    )
    created_at = serializers.DateTimeField()


class WebhookWithSecret(Webhook):
    secret = serializers.CharField(help_text="`whsec_…`; it is not shown again")


class WebhookPage(serializers.Serializer):
    data = Webhook(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True, help_text="there is one page")


class SecretRotation(serializers.Serializer):
    overlap_hours = serializers.IntegerField(
        default=services.OVERLAP_HOURS,
        min_value=0,
        max_value=services.MOST_OVERLAP_HOURS,
        help_text="for which the old secret signs too",
    )


class QueuedDelivery(serializers.Serializer):
    delivery_id = serializers.UUIDField()


class ReplaySince(serializers.Serializer):
    since = serializers.DateTimeField(help_text="of events; what failed is sent again")


class Replayed(serializers.Serializer):
    replayed = serializers.IntegerField()


class WebhookAttempt(serializers.Serializer):
    at = serializers.DateTimeField()
    status = serializers.IntegerField(allow_null=True)
    duration_ms = serializers.IntegerField()
    error = serializers.CharField(allow_null=True, help_text="a short code; null if it was taken")
    answer = serializers.CharField(help_text="how the answer's body begins")


class WebhookDelivery(serializers.Serializer):
    delivery_id = serializers.UUIDField()
    webhook_id = serializers.CharField(help_text="the header of that name")
    type = serializers.CharField()
    state = serializers.ChoiceField(DeliveryState.choices)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    next_attempt_at = serializers.DateTimeField(allow_null=True)
    attempts_left = serializers.IntegerField()
    attempts = WebhookAttempt(many=True)


class WebhookDeliveryPage(serializers.Serializer):
    data = WebhookDelivery(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)

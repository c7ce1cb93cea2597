"""The shapes of the audit log, for the OpenAPI document."""

from rest_framework import serializers

from apps.audit.models import Action
from apps.core.origins import Kind


class Entry(serializers.Serializer):
    id = serializers.UUIDField(help_text="in the order of time")
    recorded_at = serializers.DateTimeField()
    action = serializers.ChoiceField(Action.choices)
    actor_kind = serializers.ChoiceField(Kind.choices)
    actor = serializers.CharField(help_text="the id of a key, a user, a command or a job")
    address = serializers.CharField(
        help_text="IP address of a call with a key; empty of the operator's"
    )
    request_id = serializers.CharField(help_text="X-Request-Id of the answer; empty without one")
    subject = serializers.CharField(help_text="the id of what it was done to")
    details = serializers.DictField(help_text="what else is worth knowing; differs by action")


class EntryPage(serializers.Serializer):
    data = Entry(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)

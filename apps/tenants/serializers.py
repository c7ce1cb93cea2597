"""Shapes of keys on the wire."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.utils import timezone
from rest_framework import serializers

from apps.tenants import issuing
from apps.tenants.models import KeyStatus
from apps.tenants.scopes import OF_TENANTS, Scope, pack, unpack

_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_SCOPES = [(scope.value, scope.label) for scope in OF_TENANTS]


def _scopes(*, required: bool) -> Any:
    return serializers.MultipleChoiceField(
        choices=_SCOPES,
        required=required,
        allow_empty=False,
        help_text="none that the key which asks has not",
    )


class KeyChanges(serializers.Serializer):
    """The terms of a key. Those that are not sent stay as they are."""

    scopes = _scopes(required=False)
    label = serializers.CharField(  # type: ignore[assignment]
        required=False, allow_blank=True, max_length=100, help_text="what it is for"
    )
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="from then on it is refused; never without it"
    )
    max_calls_per_minute = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=settings.MOST_PER_MINUTE,
        help_text="of this key alone, whatever it calls",
    )

    def validate_scopes(self, scopes: set[str]) -> tuple[str, ...]:
        """In the order of their declaration."""
        return unpack(pack(scopes))

    def validate_label(self, label: str) -> str:
        """It is shown in terminals."""
        if not label.isprintable():
            raise serializers.ValidationError("Send printable characters.")
        return label

    def validate_expires_at(self, time: datetime | None) -> datetime | None:
        """A key that never worked would only be a riddle."""
        if time is not None and not timezone.now() < time < _LATEST:
            raise serializers.ValidationError("Send a time to come, before 2200.")
        return time


class NewKey(KeyChanges):
    """What is not sent is as it is without a rule: no label, no end, no limit."""

    scopes = _scopes(required=True)


class Rotation(serializers.Serializer):
    overlap_seconds = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=int(issuing.MOST_OVERLAP.total_seconds()),
        default=int(issuing.OVERLAP.total_seconds()),
        help_text="for which the old key works on",
    )


class Key(serializers.Serializer):
    key_id = serializers.CharField(help_text="the part of a key that is no secret")
    label = serializers.CharField()  # type: ignore[assignment]
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    status = serializers.ChoiceField(KeyStatus.choices)
    max_calls_per_minute = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="to the minute")
    replaced_by = serializers.CharField(
        allow_null=True, help_text="the key_id of the key that it was rotated to"
    )


class ShownKey(Key):
    key = serializers.CharField(
        allow_null=True, help_text="shown here and never again; null where the answer is a replay"
    )


class KeyPage(serializers.Serializer):
    data = Key(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)

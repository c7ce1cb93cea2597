"""Shapes on the wire: what an operator may send, checked, and what comes back.

The command checks its options by the same shapes.
"""

from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from rest_framework import serializers

from apps.lifecycle.models import ErasureState
from apps.lifecycle.selectors import QUOTAS
from apps.tenants.models import MissingParent, NegativeLevels, TenantState

_MOST_BYTES, _MOST_UPLOADS = 2**62, 2**31 - 1
_PER_MINUTE = settings.MOST_PER_MINUTE


def _quota(most: int, about: str) -> Any:
    return serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=most,
        help_text=f"{about}; null: the setting of the service",
    )


class Quotas(serializers.Serializer):
    """Those that are not sent stay as they are."""

    max_stored_bytes = _quota(_MOST_BYTES, "received files and exports that are kept; 0: no limit")
    max_rows_per_day = _quota(_MOST_BYTES, "rows that may land on a day of UTC; 0: no limit")
    max_active_uploads = _quota(_MOST_UPLOADS, "uploads at work at once")
    max_queued_bytes = _quota(_MOST_BYTES, "bytes that may wait")
    max_calls_per_minute = _quota(_PER_MINUTE, "stock and price calls; 0: no limit")
    max_product_calls_per_minute = _quota(_PER_MINUTE, "those of one product; 0: no limit")


class TenantChanges(Quotas):
    name = serializers.CharField(required=False, max_length=255)
    time_zone = serializers.CharField(required=False, help_text="UTC without it")
    on_missing_parent = serializers.ChoiceField(MissingParent.choices, required=False)
    negative_levels = serializers.ChoiceField(NegativeLevels.choices, required=False)

    def validate_name(self, name: str) -> str:
        if not name.isprintable():
            raise serializers.ValidationError("Send printable characters: terminals show it.")
        return name

    def validate_time_zone(self, name: str) -> str:
        try:
            return ZoneInfo(name).key
        except (ValueError, KeyError, OSError):
            raise serializers.ValidationError("Send a time zone, such as Europe/Berlin.") from None


class NewTenant(TenantChanges):
    tenant_id = serializers.UUIDField(required=False, help_text="without it one is made")
    name = serializers.CharField(max_length=255)


class Suspension(serializers.Serializer):
    state = serializers.ChoiceField(
        [TenantState.READ_ONLY, TenantState.SUSPENDED],
        default=TenantState.SUSPENDED,
        help_text="read_only: it may read and export; suspended: nothing",
    )


class ErasureRequest(serializers.Serializer):
    confirm = serializers.CharField(
        max_length=255, trim_whitespace=False, help_text="the tenant's name or its id"
    )


class ListedTenant(serializers.Serializer):
    tenant_id = serializers.UUIDField()
    name = serializers.CharField()
    state = serializers.ChoiceField(TenantState.choices)
    time_zone = serializers.CharField()
    on_missing_parent = serializers.ChoiceField(MissingParent.choices)
    negative_levels = serializers.ChoiceField(NegativeLevels.choices)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class TenantPage(serializers.Serializer):
    data = ListedTenant(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)


class CreatedTenant(ListedTenant):
    api_key = serializers.CharField(help_text="shown this once")


OwnQuotas = type(
    "OwnQuotas",
    (serializers.Serializer,),
    {name: serializers.IntegerField(allow_null=True) for name in QUOTAS},
)
Limits = type(
    "TenantLimits",
    (serializers.Serializer,),
    {name: serializers.IntegerField() for name in QUOTAS},
)


class Used(serializers.Serializer):
    stored_bytes = serializers.IntegerField()
    rows_today = serializers.IntegerField()
    active_uploads = serializers.IntegerField()
    queued_bytes = serializers.IntegerField()


class TenantFacts(ListedTenant):
    quotas = OwnQuotas(help_text="those of the tenant's own row")
    limits = Limits(help_text="what holds")
    used = Used()
    keys = serializers.IntegerField(help_text="how many are not revoked")
    erasure_id = serializers.UUIDField(allow_null=True)


class Proof(serializers.Serializer):
    erasure_id = serializers.UUIDField()
    tenant_id = serializers.UUIDField()
    status = serializers.ChoiceField(ErasureState.choices)
    asked_by = serializers.CharField(help_text="the id of a key, or the command")
    requested_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    code = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)
    before = serializers.DictField(allow_null=True, help_text="rows by table, objects, the rest")
    after = serializers.DictField(allow_null=True, help_text="the same, counted anew at the end")


class ProofPage(serializers.Serializer):
    data = Proof(many=True)  # type: ignore[assignment]
    next_cursor = serializers.CharField(allow_null=True)

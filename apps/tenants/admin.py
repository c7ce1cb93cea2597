from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core.administration import Looking
from apps.tenants import keys
from apps.tenants.models import ApiKey, Tenant


class TenantForm(forms.ModelForm):
    max_queued_bytes = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**62,
        help_text="empty: HEADRACE_MAX_QUEUED_BYTES",
    )
    max_active_uploads = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**31 - 1,
        help_text="empty: HEADRACE_MAX_ACTIVE_UPLOADS",
    )
    max_calls_per_minute = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=settings.MOST_PER_MINUTE,
        help_text="stock and price calls; empty: HEADRACE_TENANT_PER_MINUTE, 0: no limit",
    )
    max_product_calls_per_minute = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=settings.MOST_PER_MINUTE,
        help_text="those of one product; empty: HEADRACE_PRODUCT_PER_MINUTE, 0: no limit",
    )
    max_stored_bytes = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**62,
        help_text="files, exports and photos; empty: HEADRACE_MAX_STORED_BYTES, 0: no limit",
    )
    max_rows_per_day = forms.IntegerField(
        required=False,
        min_value=0,
        max_value=2**62,
        help_text="rows that land on a day; empty: HEADRACE_MAX_ROWS_PER_DAY, 0: no limit",
    )

    class Meta:
        model = Tenant
        fields = (
            *("name", "time_zone", "on_missing_parent", "negative_levels"),
            *("max_queued_bytes", "max_active_uploads"),
            *("max_calls_per_minute", "max_product_calls_per_minute"),
            *("max_stored_bytes", "max_rows_per_day"),
        )

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.isprintable():
            raise ValidationError("Give printable characters: terminals show them.")
        return name

    def clean_time_zone(self) -> str:
        try:
            return ZoneInfo(self.cleaned_data["time_zone"]).key
        except (ValueError, KeyError, OSError):
            raise ValidationError("Give a time zone, such as Europe/Berlin.") from None


@admin.register(Tenant)
class TenantAdmin(Looking):
    """New tenants come from `load_tenants`, which gives them a key too."""

    form = TenantForm
    list_display = ("name", "tenant_id", "time_zone", "on_missing_parent", "created_at")
    list_filter = ("on_missing_parent",)
    ordering = ("name", "tenant_id")
    search_fields = ("name",)
    search_help_text = "A part of a name, or the id of a tenant"
    readonly_fields = ("tenant_id", "last_number", "created_at", "updated_at")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """What was edited and nothing else: files that came meanwhile have raised `last_number`."""
        obj.save(update_fields=[*form.changed_data, "updated_at"])
        after = {name: form.cleaned_data[name] for name in form.changed_data}
        changed = audit.changes(form.initial, after)
        audit.record(obj.pk, Action.TENANT_CHANGED, obj.pk, **changed)


@admin.register(ApiKey)
class ApiKeyAdmin(Looking):
    """Keys are made where they can be shown once: by `keys mint` or by a tenant. Here they end."""

    hidden = ("secret_hash",)
    list_display = (
        *("key_id", "tenant", "label", "scopes", "is_demo"),
        *("created_at", "last_used_at", "expires_at", "revoked_at"),
    )
    list_filter = (
        "is_demo",
        ("tenant", admin.EmptyFieldListFilter),
        ("revoked_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("tenant",)
    ordering = ("-id",)
    search_fields = ("key_id__startswith", "tenant__name")
    search_help_text = "How the id of a key begins, or a tenant's name or id"
    ids = ("tenant_id",)
    actions = ("revoke",)

    @admin.action(description="Revoke: they never work again", permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[ApiKey]) -> None:
        self.act(request, rows, keys.revoke, keys.AlreadyRevoked)

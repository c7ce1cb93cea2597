from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest

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

    class Meta:
        model = Tenant
        fields = (
            *("name", "time_zone", "on_missing_parent"),
            *("max_queued_bytes", "max_active_uploads"),
        )

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


@admin.register(ApiKey)
class ApiKeyAdmin(Looking):
    """Keys are made by `load_tenants`, which can show one once; here they end."""

    hidden = ("secret_hash",)
    list_display = ("key_id", "tenant", "is_demo", "created_at", "revoked_at")
    list_filter = ("is_demo", ("revoked_at", admin.EmptyFieldListFilter))
    list_select_related = ("tenant",)
    ordering = ("-id",)
    search_fields = ("key_id__startswith", "tenant__name")
    search_help_text = "How the id of a key begins, or a tenant's name or id"
    ids = ("tenant_id",)
    actions = ("revoke",)

    @admin.action(description="Revoke: they never work again", permissions=["operate"])
    def revoke(self, request: HttpRequest, rows: QuerySet[ApiKey]) -> None:
        self.act(request, rows, keys.revoke, keys.AlreadyRevoked)

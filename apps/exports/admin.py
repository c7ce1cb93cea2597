from django.contrib import admin

from apps.exports.models import Export
from apps.tenants.administration import EntityFilter, OfTenants


@admin.register(Export)
class ExportAdmin(OfTenants):
    """Without the filters, which quote what a merchant looks for in its records."""

    hidden = ("filters",)
    list_display = (
        *("id", "entity", "format", "compression", "state", "code", "tenant"),
        *("rows", "rows_expected", "bytes", "created_at", "started_at", "ended_at"),
    )
    list_filter = ("state", EntityFilter, "format")
    ordering = ("-created_at", "-id")
    search_fields = ("code__exact",)
    search_help_text = "A code, the id of an export, or the name or id of a tenant"
    ids = ("pk", "tenant_id")

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from apps.core.administration import Looking
from apps.core.problems import Problem
from apps.ingestions import sessions
from apps.ingestions.models import Chunk, Upload
from apps.tenants.models import Tenant
from headrace.entities import ENTITIES


class OfTenants(Looking):
    """Rows with a tenant's id and no reference to it: its name comes in the same query."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        names = Tenant.objects.filter(pk=OuterRef("tenant_id")).values("name")
        rows: QuerySet[Any] = super().get_queryset(request)
        named: QuerySet[Any] = rows.annotate(tenant_name=Subquery(names))
        return named

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, repeats = super().get_search_results(request, queryset, search_term)
        if term := search_term.strip():
            named = Tenant.objects.filter(name__icontains=term).values("pk")
            found = found | queryset.filter(tenant_id__in=named)
        return found, repeats

    @admin.display(description="tenant")
    def tenant(self, row: Any) -> str:
        return row.tenant_name or "(unknown)"


class EntityFilter(admin.SimpleListFilter):
    """By the declared record types, which asks the table nothing."""

    title, parameter_name = "record type", "entity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(entity.name, entity.name) for entity in ENTITIES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(entity=self.value()) if self.value() else queryset


@admin.register(Upload)
class UploadAdmin(OfTenants):
    list_display = ("token", "tenant", "created_at", "expires_at", "closed_at", "cancelled_at")
    list_filter = (
        ("closed_at", admin.EmptyFieldListFilter),
        ("cancelled_at", admin.EmptyFieldListFilter),
        "error_policy",
        "on_missing_parent",
    )
    ordering = ("-created_at", "-id")
    search_fields = ("token__exact",)
    search_help_text = "A whole token, the name or id of a tenant, or the id of an upload"
    ids = ("pk", "tenant_id")
    actions = ("cancel", "resume")

    @admin.action(description="Cancel: what is not landed stays out", permissions=["operate"])
    def cancel(self, request: HttpRequest, rows: QuerySet[Upload]) -> None:
        self.act(request, rows, _cancel, Problem)

    @admin.action(description="Resume: queue broken files again", permissions=["operate"])
    def resume(self, request: HttpRequest, rows: QuerySet[Upload]) -> None:
        self.act(request, rows, _resume, Problem)


def _cancel(upload: Upload) -> str:
    sessions.cancel(upload)
    return "cancelled; files at work stop at their next segment"


def _resume(upload: Upload) -> str:
    return f"resumed; {sessions.resume(upload, {})} broken files are queued again"


@admin.register(Chunk)
class ChunkAdmin(OfTenants):
    """Without what quotes records: samples of rejects, and names of keys that nobody knows."""

    hidden = ("outcomes", "reject_groups", "unknown_keys")
    list_display = (
        *("filename", "entity", "state", "code", "tenant", "number", "lines_received"),
        *("inserted", "updated", "unchanged", "superseded", "rejected", "parked", "unprocessed"),
        "received_at",
    )
    list_filter = ("state", EntityFilter)
    list_select_related = ("upload",)
    ordering = ("-received_at", "-id")
    search_fields = ("filename", "upload__token__exact", "code__exact")
    search_help_text = (
        "A part of a file's name, a code, an upload's token, or the name or id of a tenant"
    )
    ids = ("pk", "tenant_id", "upload_id")

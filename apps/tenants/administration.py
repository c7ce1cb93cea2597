"""What the pages of `/admin/` share that show rows of tenants: their names, and record types."""

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from apps.core.administration import Looking
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

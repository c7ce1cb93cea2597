"""What the pages of `/admin/` share: they look, and act through the services only.

A row of a control table is a promise that other rows keep: a counter is a sum, a state has its
job, a number is given once. So nothing is added, changed or deleted by hand unless a page says
so, and what quotes a merchant's records is not shown.
"""

from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

admin.site.site_header = admin.site.site_title = "Headrace"
admin.site.index_title = "Administration"
admin.site.enable_nav_sidebar = False


class FewPages(Paginator):
    """Counts no further than MOST rows: a list of millions is searched, not leafed through."""

    MOST = 10_000

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows[: self.MOST].count()


class Looking(admin.ModelAdmin):
    """Rows to look at. Whoever may change them may also run the page's actions."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = FewPages
    list_per_page = 50
    hidden: tuple[str, ...] = ()  # columns that are neither read nor shown
    ids: tuple[str, ...] = ("pk",)  # what a UUID that is searched for may be

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.hidden)

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.hidden

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """For actions: the right that changing by hand would need."""
        return super().has_change_permission(request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A UUID is looked up by index; any other text goes through `search_fields`."""
        try:
            wanted = UUID(search_term.strip())
        except ValueError:
            return super().get_search_results(request, queryset, search_term)
        found = Q()
        for name in self.ids:
            found |= Q(**{name: wanted})
        return queryset.filter(found), False

    def act(
        self,
        request: HttpRequest,
        rows: Iterable[Model],
        service: Callable[[Any], str],
        refusal: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        """Call a service for each row, keep in the row's history what it did, and show it."""
        for row in rows:
            try:
                done, level = service(row), messages.SUCCESS
                self.log_change(request, row, done)
            except refusal as reason:
                done, level = f"nothing changed: {reason}", messages.WARNING
            self.message_user(request, f"{row}: {done}", level)

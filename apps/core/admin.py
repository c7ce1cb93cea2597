import logging
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpRequest

from apps.core import interventions, jobs
from apps.core.administration import Looking
from apps.core.models import Job

log = logging.getLogger(__name__)


@receiver(post_save, sender=LogEntry)
def tell(instance: LogEntry, **_: Any) -> None:
    """The history of a row is in the database; who reads logs sees it too."""
    row = f"{instance.content_type} {instance.object_id}"
    fields = {"user": instance.user_id, "row": row, "done": instance.get_change_message()}
    log.info("changed in the admin", extra=fields)


class KindFilter(admin.SimpleListFilter):
    """By the kinds that this release knows, which asks the table nothing."""

    title = parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind, kind) for kind in sorted(jobs.HANDLERS)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(Looking):
    list_display = (
        *("id", "kind", "state", "priority", "tenant_id", "subject"),
        *("epoch", "attempts", "worker", "run_after", "ended_at"),
    )
    list_filter = ("state", KindFilter, "priority")
    ordering = ("-id",)
    search_fields = ("id__exact", "worker__startswith")
    search_help_text = "A job's number, the id of a tenant or a subject, or how a worker begins"
    ids = ("tenant_id", "subject", "group")
    actions = ("retry", "quarantine", "release")

    @admin.action(description="Retry: queue what they worked on again", permissions=["operate"])
    def retry(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self.act(request, rows, interventions.retry, interventions.NothingChanged)

    @admin.action(description="Quarantine: take them out for good", permissions=["operate"])
    def quarantine(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self.act(request, rows, interventions.quarantine, interventions.NothingChanged)

    @admin.action(description="Release: end the lease of a dead worker", permissions=["operate"])
    def release(self, request: HttpRequest, rows: QuerySet[Job]) -> None:
        self.act(request, rows, interventions.release, interventions.NothingChanged)

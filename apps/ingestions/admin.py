from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.problems import Problem
from apps.ingestions import sessions
from apps.ingestions.models import Chunk, Upload
from apps.tenants.administration import EntityFilter, OfTenants


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

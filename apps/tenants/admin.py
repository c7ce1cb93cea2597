import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core.administration import Looking
from apps.core.idempotency import Answer
from apps.core.problems import Problem
from apps.tenants import issuing, keys
from apps.tenants.forms import NewKeyForm, OnceForm, RotationForm
from apps.tenants.issuing import Terms
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
    """Keys to look at, to end, and to make: the answer to the form that makes one shows it, once.

    So it is in no message, session, history or address, and a form that is sent again makes none.
    """

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

    def get_urls(self) -> list[URLPattern]:
        rotate = self.admin_site.admin_view(self.rotate_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_rotate"
        return [path("<path:object_id>/rotate/", rotate, name=name), *super().get_urls()]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """A key to look at, with the way to its rotation."""
        told = {**(extra_context or {}), "may_operate": self.has_operate_permission(request)}
        return super().change_view(request, object_id, form_url, told)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        self._check_may(request)
        form = NewKeyForm(_posted(request), initial={"tenant": request.GET.get("tenant")})

        def make() -> Answer:
            asked = form.cleaned_data
            return issuing.make_by_form(asked["tenant"], Terms(**form.asked), asked["once"])

        return self._answer(request, form, make, "Make a key")

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        self._check_may(request)
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        form = RotationForm(_posted(request))

        def rotate() -> Answer:
            overlap = timedelta(seconds=form.asked["overlap_seconds"])
            answer = issuing.rotate_by_form(row, overlap, form.cleaned_data["once"])
            if not answer.replayed:
                self.log_change(request, row, f"rotated, with an overlap of {overlap}")
            return answer

        return self._answer(request, form, rotate, f"Rotate {row}")

    def _check_may(self, request: HttpRequest) -> None:
        if not self.has_operate_permission(request):
            raise PermissionDenied

    def _answer(
        self, request: HttpRequest, form: OnceForm, effect: Callable[[], Answer], title: str
    ) -> HttpResponse:
        """The form, or what came of it."""
        if form.is_valid():
            try:
                return self._shown(request, effect, title)
            except Problem as problem:
                form.add_error(None, problem.detail)
        names = [field.name for field in form.visible_fields()]
        lines = AdminForm(cast(Any, form), [(None, {"fields": names})], {})
        media = self.media + form.media
        return self._page(request, "ask", title=title, form=form, adminform=lines, media=media)

    def _shown(
        self, request: HttpRequest, effect: Callable[[], Answer], title: str
    ) -> HttpResponse:
        """A key that was made, in this answer and nowhere else. Raises Problem."""
        with transaction.atomic():
            answer = effect()
            facts = json.loads(answer.body)
            row = ApiKey.objects.get(key_id=facts["key_id"])
            if not answer.replayed:
                self.log_addition(request, row, [{"added": {}}])
        return self._page(request, "shown", title=title, key=facts["key"], row=row)

    def _page(self, request: HttpRequest, name: str, **told: Any) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "opts": self.opts, **told}
        return TemplateResponse(request, f"admin/tenants/apikey/{name}.html", context)


def _posted(request: HttpRequest) -> Any:
    return request.POST if request.method == "POST" else None

"""Forms of `/admin/` by which keys are made. What a key may have the API's shapes say for both."""

from typing import Any
from uuid import uuid4

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.widgets import ForeignKeyRawIdWidget
from django.core import signing
from django.core.exceptions import ValidationError
from rest_framework.serializers import Serializer

from apps.tenants import serializers as shapes
from apps.tenants.models import ApiKey, Tenant


def _fields(shape: type[Serializer]) -> Any:
    return shape().fields


_NEW, _ROTATION = _fields(shapes.NewKey), _fields(shapes.Rotation)


_SALT = "apps.tenants.forms.once"  # no other signed text is the name of a form


def _new_name() -> str:
    return signing.dumps(uuid4().hex, salt=_SALT)


class OnceForm(forms.Form):
    """A form that has its effect once, however often a browser sends it: it has a name, which is
    no older than what names are remembered for.
    """

    once = forms.CharField(widget=forms.HiddenInput, initial=_new_name)
    shape: type[Serializer]
    asked: dict[str, Any]  #: what the shape makes of the fields that it has, once they are clean

    def clean_once(self) -> str:
        try:
            seconds = settings.HEADRACE_IDEMPOTENCY_HOURS * 3600
            return str(signing.loads(self.cleaned_data["once"], salt=_SALT, max_age=seconds))
        except signing.BadSignature:
            raise ValidationError("This form is too old: open the page anew.") from None

    def clean(self) -> None:
        given = {name: self.cleaned_data.get(name) for name in _fields(self.shape)}
        checked = self.shape(data=given)
        if checked.is_valid():
            self.asked = checked.validated_data
        for name in checked.errors.keys() & self.cleaned_data.keys():
            self.add_error(name, [str(told) for told in checked.errors[name]])


class NewKeyForm(OnceForm):
    shape = shapes.NewKey
    tenant = forms.ModelChoiceField(
        Tenant.objects.all(),
        widget=ForeignKeyRawIdWidget(ApiKey._meta.get_field("tenant").remote_field, admin.site),
        help_text="its id; keys of operators are made by the command",
    )
    scopes = forms.MultipleChoiceField(
        choices=[(name, f"{name}: {about}") for name, about in _NEW["scopes"].choices.items()],
        widget=forms.CheckboxSelectMultiple,
    )
    label = forms.CharField(required=False, help_text=_NEW["label"].help_text)
    expires_at = forms.DateTimeField(
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text=f"in UTC; {_NEW['expires_at'].help_text}",
    )
    max_calls_per_minute = forms.IntegerField(
        required=False, help_text=f"{_NEW['max_calls_per_minute'].help_text}; no limit without it"
    )


class RotationForm(OnceForm):
    shape = shapes.Rotation
    overlap_seconds = forms.IntegerField(
        initial=_ROTATION["overlap_seconds"].default,
        help_text=f"{_ROTATION['overlap_seconds'].help_text}; 0: for not at all",
    )

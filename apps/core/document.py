"""The OpenAPI document as it is served: made once by each process, for whoever asks."""

import threading
from functools import cache

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer

from apps.core import problems, wire
from apps.core.health import METHODS

_RENDERERS = {"json": OpenApiJsonRenderer, "yaml": OpenApiYamlRenderer}
_lock = threading.Lock()


@csrf_exempt  # it changes nothing, whatever the method
def document(request: HttpRequest) -> HttpResponse:
    """In YAML, or in JSON for `?format=json` or an `Accept` that names it.

    It takes a second to make, and nothing else that a caller sends changes it.
    """
    if request.method not in METHODS:
        return problems.not_allowed(request, *METHODS)
    usual = "json" if "json" in request.headers.get("Accept", "") else "yaml"
    kind = request.GET.get("format", usual)
    if kind not in _RENDERERS:
        told = f"Send format as one of {', '.join(_RENDERERS)}."
        return problems.plain(request, "invalid_request", told)
    with _lock:  # those who come first wait for one of them
        text = _rendered(kind)
    return wire.tagged(request, text, f"{_RENDERERS[kind].media_type}; charset=utf-8")


@cache
def _rendered(kind: str) -> bytes:
    made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    text: bytes = _RENDERERS[kind]().render(made, renderer_context={})
    return text

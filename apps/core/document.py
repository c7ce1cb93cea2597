"""The OpenAPI document as it is served: made once by each process, for whoever asks."""

import threading
from functools import cache

from django.http import HttpResponse
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from apps.core import wire

_lock = threading.Lock()


class Document(SpectacularAPIView):
    """In YAML or JSON. It takes a second to make, and nothing that a caller sends changes it."""

    @extend_schema(exclude=True)
    def get(self, request: Request) -> HttpResponse:
        renderer = request.accepted_renderer
        with _lock:  # those who come first wait for one of them
            text = _rendered(type(renderer))
        return wire.tagged(request, text, f"{renderer.media_type}; charset=utf-8")


@cache
def _rendered(renderer: type[BaseRenderer]) -> bytes:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    rendered: bytes = renderer().render(document, renderer_context={})
    return rendered

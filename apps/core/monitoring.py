"""The page that Prometheus scrapes."""

from hmac import compare_digest

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client.exposition import choose_encoder
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request

from apps.core import metrics
from apps.core.health import METHODS
from apps.core.problems import Problem


@extend_schema(
    description="Figures of the whole service for Prometheus. Production needs the header"
    " `Authorization: Bearer <HEADRACE_METRICS_TOKEN>`, and has no such page without that token.",
    responses={(200, "text/plain"): str, 401: OpenApiTypes.OBJECT, 404: OpenApiTypes.OBJECT},
)
@api_view(METHODS)
@authentication_classes([])
@permission_classes([AllowAny])
def scrape(request: Request) -> HttpResponse:
    """Counters of all processes of this host, and what the database has at this instant."""
    _require_token(request)
    encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(metrics.registry()), content_type=content_type)


def _require_token(request: Request) -> None:
    if not settings.PRODUCTION:
        return
    if not settings.HEADRACE_METRICS_TOKEN:
        raise Problem("not_found", "Set HEADRACE_METRICS_TOKEN to have metrics here.")
    expected = f"Bearer {settings.HEADRACE_METRICS_TOKEN}"
    given = request.headers.get("Authorization", "")
    if not compare_digest(given.encode(), expected.encode()):
        raise Problem("unauthenticated", "Send Authorization: Bearer <HEADRACE_METRICS_TOKEN>.")

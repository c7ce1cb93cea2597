"""Every address of the service. What is not here, and in the OpenAPI document, is not there."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular import views as openapi

from apps.core import health, monitoring, problems

handler404 = problems.not_found
handler500 = problems.server_error

urlpatterns = [
    path("", health.home),
    path("health/", health.ready),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", monitoring.scrape),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/v1/ingest/", include("apps.ingestions.urls")),
    path("api/schema/", openapi.SpectacularAPIView.as_view(), name="schema"),
    path("api/schema/swagger-ui/", openapi.SpectacularSwaggerView.as_view(url_name="schema")),
    path("api/docs/", openapi.SpectacularSwaggerView.as_view(url_name="schema")),
    path("api/redoc/", openapi.SpectacularRedocView.as_view(url_name="schema")),
]

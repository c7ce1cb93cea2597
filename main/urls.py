"""Every address of the service. What is not here, and in the OpenAPI document, is not there."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular import views as openapi

from apps.core import health, monitoring, problems
from apps.core.document import document
from apps.recognitions.views import Photo
from apps.tenants.views import WhoAmI

handler400 = problems.bad_request
handler404 = problems.not_found
handler500 = problems.server_error

urlpatterns = [
    # First those that are asked most often: the list is tried from its beginning.
    path("api/v1/tenants/<id:tenant_id>/", include("apps.analytics.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.stocks.urls")),
    path("", health.home),
    path("health/", health.ready),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", monitoring.scrape),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
    path("api/v1/whoami/", WhoAmI.as_view()),
    path("api/v1/operator/", include("apps.lifecycle.urls")),
    path("api/v1/ingest/", include("apps.ingestions.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.exports.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.metrics.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.audit.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.tenants.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.webhooks.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.recognitions.urls")),
    path("api/v1/tenants/<id:tenant_id>/", include("apps.catalog.urls")),
    path("api/v1/photos/<str:link>", Photo.as_view()),
    path("api/schema/", document, name="schema"),
    path("api/schema/swagger-ui/", openapi.SpectacularSwaggerSplitView.as_view(url_name="schema")),
    path("api/docs/", openapi.SpectacularSwaggerSplitView.as_view(url_name="schema")),
    path("api/redoc/", openapi.SpectacularRedocView.as_view(url_name="schema")),
]

from django.urls import path

from apps.lifecycle import views

_TAKEOUT = "tenants/<uuid:tenant_id>/takeouts/<uuid:takeout_id>"

urlpatterns = [
    path("tenants/", views.Tenants.as_view()),
    path("tenants/<uuid:tenant_id>/", views.OneTenant.as_view()),
    path("tenants/<uuid:tenant_id>/suspend/", views.Suspend.as_view()),
    path("tenants/<uuid:tenant_id>/resume/", views.Resume.as_view()),
    path("tenants/<uuid:tenant_id>/takeouts/", views.Takeouts.as_view()),
    path(f"{_TAKEOUT}/", views.TakeoutStatus.as_view()),
    path(f"{_TAKEOUT}/<uuid:export_id>/download", views.TakeoutDownload.as_view()),
    path("tenants/<uuid:tenant_id>/erase/", views.Erase.as_view()),
    path("erasures/", views.Erasures.as_view()),
    path("erasures/<uuid:erasure_id>/", views.OneErasure.as_view()),
]

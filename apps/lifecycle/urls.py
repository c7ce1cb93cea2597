from django.urls import path

from apps.lifecycle import views

_TAKEOUT = "tenants/<id:tenant_id>/takeouts/<id:takeout_id>"

urlpatterns = [
    path("tenants/", views.Tenants.as_view()),
    path("tenants/<id:tenant_id>/", views.OneTenant.as_view()),
    path("tenants/<id:tenant_id>/suspend/", views.Suspend.as_view()),
    path("tenants/<id:tenant_id>/resume/", views.Resume.as_view()),
    path("tenants/<id:tenant_id>/takeouts/", views.Takeouts.as_view()),
    path(f"{_TAKEOUT}/", views.TakeoutStatus.as_view()),
    path(f"{_TAKEOUT}/<id:export_id>/download", views.TakeoutDownload.as_view()),
    path("tenants/<id:tenant_id>/erase/", views.Erase.as_view()),
    path("erasures/", views.Erasures.as_view()),
    path("erasures/<id:erasure_id>/", views.OneErasure.as_view()),
]

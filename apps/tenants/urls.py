from django.urls import path

from apps.tenants import views

urlpatterns = [
    path("keys/", views.Keys.as_view()),
    path("keys/<slug:key_id>/", views.OneKey.as_view()),
    path("keys/<slug:key_id>/rotate/", views.RotateKey.as_view()),
    path("keys/<slug:key_id>/revoke/", views.RevokeKey.as_view()),
]

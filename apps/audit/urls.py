from django.urls import path

from apps.audit import views

urlpatterns = [path("audit/", views.Audit.as_view())]

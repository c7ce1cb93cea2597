from django.urls import path

from apps.metrics import views

urlpatterns = [path("metrics/sales", views.Sales.as_view())]

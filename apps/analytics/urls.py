from django.urls import path

from apps.analytics import views

urlpatterns = [
    path("products/<id:product_id>/price-event/", views.PriceEvents.as_view()),
    path("products/<id:product_id>/price-anomalies/", views.ProductAnomalies.as_view()),
    path("price-anomalies/", views.TenantAnomalies.as_view()),
]

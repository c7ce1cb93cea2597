from django.urls import path

from apps.catalog import views
from headrace.entities import TABLES

urlpatterns = [
    path("orders/search", views.Search.as_view()),
    *(path(f"{name}/", views.rows_of(entity).as_view()) for name, entity in TABLES.items()),
    *(
        path(f"{name}/<id:row_id>/", views.row_of(entity).as_view())
        for name, entity in TABLES.items()
    ),
]

from django.urls import path

from apps.stocks import views

urlpatterns = [
    path("stock/bulk_update", views.BulkUpdate.as_view()),
    path("stock/levels", views.Levels.as_view()),
    path("stock/events", views.Events.as_view()),
]

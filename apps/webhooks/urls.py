from django.urls import path

from apps.webhooks import views

urlpatterns = [
    path("webhooks/", views.Webhooks.as_view()),
    path("webhooks/<id:endpoint_id>/", views.Webhook.as_view()),
    path("webhooks/<id:endpoint_id>/rotate/", views.Rotate.as_view()),
    path("webhooks/<id:endpoint_id>/test/", views.Test.as_view()),
    path("webhooks/<id:endpoint_id>/replay/", views.ReplayFailed.as_view()),
    path("webhooks/<id:endpoint_id>/deliveries/", views.Deliveries.as_view()),
    path("webhooks/<id:endpoint_id>/deliveries/<id:delivery_id>/replay/", views.Replay.as_view()),
]

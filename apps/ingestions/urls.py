from django.urls import path

from apps.ingestions import views

urlpatterns = [
    path("comprehensive/", views.Files.as_view()),
    path("orders/", views.Files.as_view()),
    path("sessions/", views.Uploads.as_view()),
    path("sessions/<str:token>/status/", views.UploadStatus.as_view()),
    path("sessions/<str:token>/complete/", views.complete),
    path("sessions/<str:token>/cancel/", views.cancel),
    path("sessions/<str:token>/resume/", views.Resume.as_view()),
    path("sessions/<str:token>/rejects/", views.Rejects.as_view()),
]

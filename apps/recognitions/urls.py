from django.urls import path

from apps.recognitions import views

urlpatterns = [
    path("recognitions/", views.Recognitions.as_view()),
    path("recognitions/<int:recognition_id>/", views.Recognition.as_view()),
]

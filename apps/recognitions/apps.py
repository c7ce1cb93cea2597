from django.apps import AppConfig


class Recognitions(AppConfig):
    name = "apps.recognitions"

from django.apps import AppConfig


class Moving(AppConfig):
    name = "apps.moving"

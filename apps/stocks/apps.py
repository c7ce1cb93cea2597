from django.apps import AppConfig


class Stocks(AppConfig):
    name = "apps.stocks"

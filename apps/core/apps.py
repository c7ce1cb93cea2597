from django.apps import AppConfig
from django.db.backends.signals import connection_created


class CoreConfig(AppConfig):
    name = "apps.core"

    def ready(self) -> None:
        from apps.core import isolation  # noqa: PLC0415 - models must not load before the apps

        connection_created.connect(isolation.prepare_connection)

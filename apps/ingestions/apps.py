from django.apps import AppConfig


class IngestionsConfig(AppConfig):
    name = "apps.ingestions"

    def ready(self) -> None:
        from apps.core import jobs  # noqa: PLC0415 - models must not load before the apps
        from apps.ingestions import parking, processing, services  # noqa: PLC0415

        jobs.HANDLERS[services.INGEST] = jobs.Handler(processing.process, processing.give_up)
        jobs.HANDLERS[parking.WAKE] = jobs.Handler(parking.process, parking.give_up)
        jobs.SWEEPS.append(parking.sweep)

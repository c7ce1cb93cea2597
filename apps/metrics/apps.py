from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "apps.metrics"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs  # noqa: PLC0415
        from apps.ingestions import ledger  # noqa: PLC0415
        from apps.metrics import jobs as rollups  # noqa: PLC0415

        jobs.HANDLERS[rollups.ROLLUP] = jobs.Handler(rollups.process, rollups.give_up)
        jobs.SWEEPS.append(rollups.sweep)
        ledger.AFTER_LANDING.append(rollups.queue_after)

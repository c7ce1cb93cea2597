from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.urls import register_converter

from apps.core import converters


class CoreConfig(AppConfig):
    name = "apps.core"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import backlog, isolation, jobs, metrics, retention  # noqa: PLC0415

        register_converter(converters.Id, "id")
        connection_created.connect(isolation.prepare_connection)
        metrics.READERS[metrics.JOBS] = backlog.depth
        metrics.READERS[metrics.QUEUE_LAG] = backlog.lag
        jobs.HANDLERS[retention.CLEANUP] = jobs.Handler(retention.process, retention.give_up)
        jobs.SWEEPS.append(retention.sweep)
        retention.add_steps(retention.remove_idempotency_keys, retention.remove_jobs)
        retention.add_steps(retention.remove_sessions, retention.remove_rate_limits)

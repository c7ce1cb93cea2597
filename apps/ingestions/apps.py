from django.apps import AppConfig


class IngestionsConfig(AppConfig):
    name = "apps.ingestions"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs, metrics  # noqa: PLC0415
        from apps.core.retention import add_steps  # noqa: PLC0415
        from apps.ingestions import (  # noqa: PLC0415
            leftovers,
            measures,
            parking,
            processing,
            retention,
            sessions,
        )
        from apps.tenants import quotas  # noqa: PLC0415

        jobs.HANDLERS[processing.INGEST] = jobs.Handler(
            processing.process, processing.give_up, sessions.retry
        )
        jobs.HANDLERS[parking.WAKE] = jobs.Handler(parking.process, parking.give_up)
        jobs.SWEEPS.append(parking.sweep)
        quotas.KEPT.append(measures.kept_bytes)
        metrics.READERS[metrics.PARKED_LINES] = measures.parked_lines
        metrics.READERS[metrics.QUEUED_BYTES] = measures.queued_bytes
        add_steps(retention.drop_details, retention.drop_sources, retention.remove_uploads)
        add_steps(leftovers.remove_orphans, leftovers.remove_scratch)

from django.apps import AppConfig


class Exports(AppConfig):
    name = "apps.exports"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs  # noqa: PLC0415
        from apps.core.retention import add_steps  # noqa: PLC0415
        from apps.exports import retention, takeouts, writing  # noqa: PLC0415
        from apps.tenants import quotas  # noqa: PLC0415

        jobs.HANDLERS[writing.EXPORT] = jobs.Handler(
            writing.process, writing.give_up, is_whole=True
        )
        add_steps(retention.expire, retention.remove_orphans, retention.remove_exports)
        add_steps(takeouts.remove_old)
        quotas.KEPT.append(retention.kept_bytes)

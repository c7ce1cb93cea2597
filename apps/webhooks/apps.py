from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "apps.webhooks"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs  # noqa: PLC0415
        from apps.core.retention import add_steps  # noqa: PLC0415
        from apps.webhooks import delivery, outbox, retention  # noqa: PLC0415

        jobs.HANDLERS[outbox.DELIVER] = jobs.Handler(delivery.process, delivery.give_up)
        jobs.SWEEPS.append(delivery.sweep)
        add_steps(retention.expire, retention.remove_deliveries)

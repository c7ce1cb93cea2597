from django.apps import AppConfig


class Lifecycle(AppConfig):
    name = "apps.lifecycle"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs, retention  # noqa: PLC0415
        from apps.exports import bundles  # noqa: PLC0415
        from apps.lifecycle import erasing, services, taken  # noqa: PLC0415
        from apps.tenants import doors  # noqa: PLC0415

        bundles.BUNDLES.update(taken.bundles())
        doors.ERASING.append(services.is_erasing)
        retention.add_steps(services.remove_days)
        jobs.HANDLERS[erasing.ERASE] = jobs.Handler(
            erasing.process, erasing.give_up, services.take_up
        )

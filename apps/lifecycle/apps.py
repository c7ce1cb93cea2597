from django.apps import AppConfig


class Lifecycle(AppConfig):
    name = "apps.lifecycle"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.core import jobs, retention  # noqa: PLC0415
        from apps.lifecycle import erasing, services  # noqa: PLC0415
        from apps.tenants import doors  # noqa: PLC0415

        doors.ERASING.append(services.is_erasing)
        retention.add_steps(services.remove_days)
        jobs.HANDLERS[erasing.ERASE] = jobs.Handler(
            erasing.process, erasing.give_up, services.take_up
        )

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "apps.audit"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.audit import guards  # noqa: PLC0415
        from apps.audit import retention as own  # noqa: PLC0415
        from apps.core import retention  # noqa: PLC0415
        from apps.lifecycle import tables  # noqa: PLC0415

        retention.add_steps(own.remove_old)
        tables.REMOVERS[guards.LOG] = own.erase
        tables.PROOFS.add(guards.ERASURES)

from django.apps import AppConfig


class Recognitions(AppConfig):
    name = "apps.recognitions"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.lifecycle import erasing  # noqa: PLC0415
        from apps.recognitions import photos  # noqa: PLC0415

        erasing.STORED.append((photos.store, photos.folder()))

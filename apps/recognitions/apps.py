from django.apps import AppConfig


class Recognitions(AppConfig):
    name = "apps.recognitions"

    def ready(self) -> None:
        # Models must not load before the apps.
        from apps.exports.bundles import BUNDLES, Bundle  # noqa: PLC0415
        from apps.lifecycle import erasing  # noqa: PLC0415
        from apps.recognitions import dataset, photos  # noqa: PLC0415
        from apps.tenants import quotas  # noqa: PLC0415

        BUNDLES[dataset.NAME] = Bundle(dataset.count, dataset.blocks)
        quotas.KEPT.append(photos.kept_bytes)
        erasing.STORED.append(erasing.Stored(photos.store, photos.folder(), photos.is_ours))

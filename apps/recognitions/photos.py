"""Where the photos of recognitions are: what the loader is told, the service is told too."""

import os
import sys
from functools import cache
from uuid import UUID

from django.db.models import Max, Sum

from apps.core.isolation import tenant_part
from apps.recognitions.models import Photo
from apps.recognitions.models import Store as Owner
from headrace.recognitions import assembly, settings
from headrace.recognitions.errors import Stop
from headrace.recognitions.storing import Store
from headrace.recognitions.sweeping import OWNER
from headrace.storage.base import ObjectMissing


@cache
def store() -> Store:
    """The store of photos. Raises Stop where its client is not installed."""
    place, _ = _configured()
    return assembly.store_of(place)


def folder() -> str:
    """The folder of that store that all tenants' photos are below."""
    _, name = _configured()
    return name


def is_ours(tenant: UUID) -> bool:
    """Whether the tenant's photos there are this database's: another may use the same bucket.

    Raises StoreUnavailable, StoreRefused.
    """
    try:
        with store().open(f"{folder()}/{tenant}/{OWNER}") as file:
            owner = file.read()
    except ObjectMissing:
        return True
    with tenant_part(tenant):
        own = Owner.objects.values_list("store_id", flat=True)
        return owner in {one.hex.encode() for one in own}


def kept_bytes(tenant: UUID) -> int:
    """The photos of a tenant; one that several recognitions have is kept once."""
    with tenant_part(tenant):
        once = Photo.objects.values("object_key").annotate(size=Max("bytes"))
        return int(once.aggregate(bytes=Sum("size", default=0))["bytes"])


@cache
def _configured() -> tuple[settings.Place, str]:
    try:
        return settings.photos_of(os.environ)
    except Stop as stop:
        sys.exit(str(stop))

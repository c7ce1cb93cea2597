"""Where the photos of recognitions are: what the loader is told, the service is told too."""

import os
import sys
from functools import cache

from headrace.recognitions import assembly, settings
from headrace.recognitions.errors import Stop
from headrace.recognitions.storing import Store


@cache
def store() -> Store:
    """The store of photos. Raises Stop where its client is not installed."""
    place, _ = _configured()
    return assembly.store_of(place)


def folder() -> str:
    """The folder of that store that all tenants' photos are below."""
    _, name = _configured()
    return name


@cache
def _configured() -> tuple[settings.Place, str]:
    try:
        return settings.photos_of(os.environ)
    except Stop as stop:
        sys.exit(str(stop))

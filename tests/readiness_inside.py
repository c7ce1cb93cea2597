"""What test_readiness.py has looked at inside of a process that has Django set up."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles import finders

from apps.core import readiness


def _static() -> Path:
    """A folder of an app that Django gives out, which is not called so."""
    [first, *_] = finders.AppDirectoriesFinder().storages.values()
    return Path(first.location)


def unwell(**changes: Any) -> list[str]:
    for name, value in changes.items():
        setattr(settings, name, value)
    return [finding.name for finding in readiness.of_settings() if not finding.is_well]


def each_fault() -> Any:
    """The findings that are not well after each change alone."""
    settings.PRODUCTION = True
    good = {
        "DEBUG": False,
        "SECRET_KEY": "q8Zr-0vTn3Wm_5Kc2Yh7Lx9Pd4Jg6Sb1",
        "ALLOWED_HOSTS": ["shop.example"],
        "HEADRACE_DEMO_KEYS": False,
        "HEADRACE_HOME": Path("/srv/headrace"),
        "MEDIA_ROOT": "",
    }
    faults = {
        "nothing": {},
        "debug": {"DEBUG": True},
        "short": {"SECRET_KEY": "q8Zr-0vTn3Wm_5Kc2Yh7Lx9Pd4Jg6Sb"},
        "dull": {"SECRET_KEY": "abcabc" * 20},
        "example": {"SECRET_KEY": "change-me-q8Zr-0vTn3Wm_5Kc2Yh7Lx9"},
        "guessable keys": {"HEADRACE_DEMO_KEYS": True},
        "any host": {"ALLOWED_HOSTS": ["shop.example", "*"]},
        "web root": {"HEADRACE_HOME": Path("/var/www/shop/headrace")},
        "in media": {"MEDIA_ROOT": "/srv"},
        "media in it": {"MEDIA_ROOT": "/srv/headrace/objects"},
        "static": {"HEADRACE_HOME": _static() / "objects"},
    }
    return {name: unwell(**{**good, **fault}) for name, fault in faults.items()}


def in_development() -> Any:
    return unwell(DEBUG=True, SECRET_KEY="x", ALLOWED_HOSTS=["*"], MEDIA_ROOT="/")

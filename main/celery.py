"""The application that `celery -A main …` finds."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")

from apps.core.broker import app

__all__ = ["app"]

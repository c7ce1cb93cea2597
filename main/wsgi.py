"""The WSGI application that gunicorn serves."""

import gc
import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
application = get_wsgi_application()

from django.db import connections  # noqa: E402 - the apps are loaded by now
from django.urls import get_resolver  # noqa: E402

from apps.core import readiness  # noqa: E402

readiness.refuse_to_start()
get_resolver().url_patterns  # noqa: B018 - imports all views before the first request needs one
connections.close_all()  # gunicorn may fork from here
# What is there now stays: to look through it again and again took 3 % of a small call.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)

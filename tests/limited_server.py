"""A server of our settings whose views count the call and do nothing else.

    gunicorn tests.limited_server:application

`POST /<tenant>/` and `POST /<tenant>/<product>/`; with `?refuse` the answer is a problem that was
found after the call was counted; with `?own=<bucket>:<calls>` its key has a quota of its own.
Redis has TEST_REDIS_PATIENCE seconds to answer, by default so many that chance does not choose who
counts.
"""

import os
from types import SimpleNamespace
from uuid import UUID

import django
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django is set up first
from django.urls import path  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402

from apps.core import redis_buckets  # noqa: E402
from apps.core.buckets import Own  # noqa: E402
from apps.core.limited import Limited  # noqa: E402
from apps.core.problems import Problem  # noqa: E402


class Holder(BaseAuthentication):
    """Whoever names a bucket and a number of calls has a key with that quota."""

    def authenticate(self, request: Request) -> tuple[SimpleNamespace, None] | None:
        named = request.query_params.get("own")
        if named is None:
            return None
        bucket, _, calls = named.partition(":")
        return SimpleNamespace(quota=Own(UUID(bucket), int(calls))), None


class Counted(Limited):
    authentication_classes = (Holder,)
    permission_classes = ()

    def post(self, request: Request, tenant: UUID, product: UUID | None = None) -> Response:
        self.count(tenant, product)
        if "refuse" in request.query_params:
            raise Problem("not_found", "There is nothing here.")
        return Response({})


urlpatterns = [
    path("<uuid:tenant>/", Counted.as_view()),
    path("<uuid:tenant>/<uuid:product>/", Counted.as_view()),
]
settings.ROOT_URLCONF = "tests.limited_server"
redis_buckets.PATIENCE_SECONDS = float(os.environ.get("TEST_REDIS_PATIENCE", 10))
application = get_wsgi_application()

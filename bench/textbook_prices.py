"""The price call of the textbooks: a serializer, `select_for_update`, `save()`.

    gunicorn bench.textbook_prices:application

Plain Django and DRF on the project's own tables, as their owner (row-level security does not
apply), a key looked up through its model, no middleware. It keeps no history, knows no anomalies,
counts nothing, and applies a retry twice.
"""

import hmac
import os
from typing import Any
from uuid import UUID

import django
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django is set up first
from django.db import transaction  # noqa: E402
from django.db.backends.signals import connection_created  # noqa: E402
from django.shortcuts import get_object_or_404  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import exceptions, serializers  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.permissions import IsAuthenticated  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

from apps.catalog.models import MODELS  # noqa: E402
from apps.core import isolation  # noqa: E402
from apps.tenants import keys  # noqa: E402
from apps.tenants.models import ApiKey  # noqa: E402

Product = MODELS["products"]
connection_created.disconnect(isolation.prepare_connection)  # stay the owner


class KeyOwner:
    is_authenticated = True


class KeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[KeyOwner, None]:
        key = request.headers["X-API-Key"]
        row = ApiKey.objects.filter(key_id=keys._key_id(key), revoked_at=None).first()
        if row is None or not hmac.compare_digest(row.secret_hash, keys._hash(key)):
            raise exceptions.AuthenticationFailed
        return KeyOwner(), None


class PriceSerializer(serializers.Serializer):
    price = serializers.DecimalField(max_digits=19, decimal_places=4, min_value=0)


class PriceView(APIView):
    authentication_classes = (KeyAuthentication,)
    permission_classes = (IsAuthenticated,)

    def post(self, request: Request, tenant: UUID, key: UUID) -> Response:
        asked = PriceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        with transaction.atomic():
            locked = Product._base_manager.select_for_update()
            found: Any = get_object_or_404(locked, tenant_id=tenant, product_id=key)
            old, found.price = found.price, asked.validated_data["price"]
            found.save()
        return Response({"old_price": old, "new_price": found.price})


urlpatterns = [path("tenants/<uuid:tenant>/products/<uuid:key>/price/", PriceView.as_view())]
settings.ROOT_URLCONF = "bench.textbook_prices"
settings.MIDDLEWARE = []
application = get_wsgi_application()

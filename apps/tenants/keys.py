"""API keys: `hr_<keyid>_<secret>_<crc>`, and the documented demo form `api_key_<tenant id>`.

Only a keyed hash is stored, and it is no credential: what a caller sends is hashed with the
server's secret before it is compared, in constant time. The checksum refuses mistyped keys
before the database is asked.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.tenants.models import ApiKey, Tenant

_KEY = re.compile(r"hr_([0-9a-f]{12})_([A-Za-z0-9]{40})_([0-9a-f]{8})")
_DEMO = re.compile(r"api_key_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def mint(tenant: Tenant) -> str:
    """Make a key and return it; it cannot be shown again."""
    key_id = secrets.token_hex(6)
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    key = _with_checksum(f"hr_{key_id}_{secret}")
    ApiKey.objects.create(key_id=key_id, tenant=tenant, secret_hash=_hash(key))
    return key


def allow_demo_key(tenant: Tenant) -> str:
    """Let the documented key of the tenant work while demo keys are on, and return it."""
    key = f"api_key_{tenant.tenant_id}"
    ApiKey.objects.get_or_create(
        key_id=str(tenant.tenant_id),
        defaults={"tenant": tenant, "secret_hash": _hash(key), "is_demo": True},
    )
    return key


class AlreadyRevoked(Exception):
    """The key did not work any more."""


def revoke(key: ApiKey) -> str:
    """Let the key never work again. Raises AlreadyRevoked."""
    if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now()):
        raise AlreadyRevoked("it was revoked before")
    return "it is revoked"


def has_key(tenant: Tenant) -> bool:
    """Whether a real key of the tenant is valid."""
    return _valid().filter(tenant=tenant, is_demo=False).exists()


def tenant_of(key: str) -> UUID | None:
    """The tenant whose valid key this is; None for any other text."""
    key_id = _key_id(key)
    if key_id is None:
        return None
    row = _valid().filter(key_id=key_id).first()
    expected = row.secret_hash if row else ""
    matches = hmac.compare_digest(_hash(key), expected)
    return row.tenant_id if row and matches else None


def _key_id(key: str) -> str | None:
    if (match := _KEY.fullmatch(key)) and _with_checksum(key.rpartition("_")[0]) == key:
        return match[1]
    if settings.HEADRACE_DEMO_KEYS and (match := _DEMO.fullmatch(key)):
        return match[1]
    return None


def _valid() -> QuerySet[ApiKey]:
    kinds = {} if settings.HEADRACE_DEMO_KEYS else {"is_demo": False}
    return ApiKey.objects.filter(revoked_at=None, **kinds)


def _with_checksum(key: str) -> str:
    return f"{key}_{zlib.crc32(key.encode()):08x}"


def _hash(key: str) -> str:
    return hmac.digest(settings.SECRET_KEY.encode(), key.encode(), hashlib.sha256).hex()

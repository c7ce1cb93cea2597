"""API keys: `hr_<keyid>_<secret>_<crc>`, and the documented demo form `api_key_<tenant id>`.

Only a keyed hash is stored, and it is no credential: what a caller sends is hashed with the
server's secret before it is compared, in constant time. The checksum refuses mistyped keys
before the database is asked.

What the database said of a key is remembered by its hash, in each process, for less than a second:
with a busy caller it is a fifth of the work of a small call. A revoked key stops within that time,
and so does whatever the state of its tenant or its scopes do not allow any more.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import origins
from apps.core.briefly import Briefly
from apps.core.buckets import Own
from apps.core.origins import Kind
from apps.core.problems import Problem
from apps.tenants import doors, scopes, usage
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.scopes import Scope


class Known(NamedTuple):
    """What there is to know of a valid key. `tenant` and `state` are None of an operator's.

    `opens` is what a view may need of it: no word in a row makes a tenant an operator, or the other
    way round.
    """

    key_id: str
    tenant: UUID | None
    scopes: tuple[str, ...]
    opens: frozenset[str]
    state: str | None
    quota: Own | None


_KEY = re.compile(r"hr_([0-9a-f]{12})_([A-Za-z0-9]{40})_([0-9a-f]{8})")
_DEMO = re.compile(r"api_key_([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_known: Briefly[str, Known | None] = Briefly(seconds=0.9)  #: by the hash of a valid key
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def mint(tenant: Tenant, may: Iterable[str] = scopes.OF_TENANTS) -> str:
    """Make a key of a tenant and return it; it cannot be shown again."""
    return make(tenant, set(may) & set(scopes.OF_TENANTS))[1]


def mint_operator() -> str:
    """Make a key of an operator and return it; it cannot be shown again."""
    return make(None, [Scope.OPERATOR])[1]


def make(
    tenant: Tenant | None, may: Iterable[str], bucket: str = "", **terms: Any
) -> tuple[ApiKey, str]:
    """A new key: its row with these further columns, and the text that is stored nowhere.

    Raises Problem for a tenant that is being erased.
    """
    key_id = secrets.token_hex(6)
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(40))
    key = _with_checksum(f"hr_{key_id}_{secret}")
    columns = {"secret_hash": _hash(key), "scopes": scopes.pack(may), **terms}
    with transaction.atomic():
        if tenant is not None:
            doors.check_stays(tenant.pk)
        row = ApiKey.objects.create(key_id=key_id, tenant=tenant, bucket=bucket, **columns)
        record(Action.KEY_MINTED, row, scopes=row.scopes, **terms)
    return row, key


def record(action: Action, row: ApiKey, **details: object) -> None:
    """In the log of the key's tenant; what is done with an operator's is in that of nobody."""
    audit.record(row.tenant_id or audit.NOBODY, action, row.key_id, **details)


def allow_demo_key(tenant: Tenant) -> str:
    """Let the documented key of the tenant work while demo keys are on, and return it."""
    key = f"api_key_{tenant.tenant_id}"
    row, is_new = ApiKey.objects.get_or_create(
        key_id=str(tenant.tenant_id),
        defaults={
            "tenant": tenant,
            "secret_hash": _hash(key),
            "is_demo": True,
            "scopes": scopes.ALL,
        },
    )
    if is_new:
        record(Action.KEY_MINTED, row, scopes=row.scopes, is_demo=True)
    return key


class AlreadyRevoked(Exception):
    """The key did not work any more."""


def revoke(key: ApiKey) -> str:
    """Let the key never work again. Raises AlreadyRevoked."""
    with transaction.atomic():
        if not end(key):
            raise AlreadyRevoked("it was revoked before")
    forget()
    return "it is revoked"


def end(key: ApiKey) -> bool:
    """The same inside of a transaction, after whose commit `forget` is due; False if it was."""
    ended = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=Now())
    if ended:
        record(Action.KEY_REVOKED, key)
    return bool(ended)


def kinds() -> list[bool]:
    """Whether keys may be demo keys (True), others (False), or both."""
    return [False, True] if settings.HEADRACE_DEMO_KEYS else [False]


def valid() -> QuerySet[ApiKey]:
    """The keys that work now."""
    return ApiKey.objects.filter(_is_alive(), is_demo__in=kinds())


def check_caller() -> None:
    """Look again at the key of the request in this thread, if there is one: it was let in by what
    was known then, and may have waited or sent for an hour. Raises Problem if the key has ended.
    """
    who = origins.current()
    if who.kind is Kind.KEY and not valid().filter(key_id=who.actor).exists():
        raise Problem("unauthenticated", "Send a valid key in X-API-Key.")


def forget() -> None:
    """Look every key up anew: one of them has changed."""
    _known.forget()


def end_all(tenant: UUID) -> None:
    """Let no key of a tenant that is erased work again; nobody is told, there will be nobody."""
    ApiKey.objects.filter(tenant_id=tenant, revoked_at=None).update(revoked_at=Now())


def has_key(tenant: Tenant) -> bool:
    """Whether a real key of the tenant is valid."""
    return valid().filter(tenant=tenant, is_demo=False).exists()


def known(key: str) -> Known | None:
    """What there is to know of a valid key; None for any other text."""
    key_id = _key_id(key)
    if key_id is None:
        return None
    return _known.get_or_look_up(_hash(key), lambda given: _looked_up(key_id, given))


def _looked_up(key_id: str, given: str) -> Known | None:
    """The valid key with this id and this hash."""
    # Not through the models, which take five times as long.
    with connection.cursor() as cursor:
        cursor.execute(_look_up(), [key_id])
        expected, is_demo, *found = cursor.fetchone() or ("", False)
    if not hmac.compare_digest(given, expected) or (is_demo and not settings.HEADRACE_DEMO_KEYS):
        return None
    usage.note(key_id)
    return _known_of(key_id, *found)


def _known_of(
    key_id: str,
    tenant: UUID | str | None,
    words: str,
    calls: int | None,
    bucket: str,
    state: str | None,
) -> Known:
    if isinstance(tenant, str):
        tenant = UUID(tenant)
    quota = Own(uuid5(tenant, f"key {bucket or key_id}"), calls) if tenant and calls else None
    may = scopes.unpack(words)
    kind = {Scope.OPERATOR.value} if tenant is None else set(scopes.OF_TENANTS)
    opens = kind.intersection(may) | {scopes.ANY_KEY}
    return Known(key_id, tenant, may, frozenset(opens), state, quota)


@cache
def _look_up() -> str:
    """The statement that looks a key up by its id, in the words of the database."""
    rows = ApiKey.objects.filter(_is_alive(), key_id="")
    columns = ("secret_hash", "is_demo", "tenant_id", "scopes", "max_calls_per_minute", "bucket")
    statement, parameters = rows.values_list(*columns, "tenant__state").query.sql_with_params()
    assert parameters == ("",), "the id is its only parameter"
    return str(statement)


def _is_alive() -> Q:
    """Neither revoked nor expired."""
    return Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def _key_id(key: str) -> str | None:
    if (match := _KEY.fullmatch(key)) and _with_checksum(key.rpartition("_")[0]) == key:
        return match[1]
    if settings.HEADRACE_DEMO_KEYS and (match := _DEMO.fullmatch(key)):
        return match[1]
    return None


def _with_checksum(key: str) -> str:
    return f"{key}_{zlib.crc32(key.encode()):08x}"


def _hash(key: str) -> str:
    return hmac.digest(settings.SECRET_KEY.encode(), key.encode(), hashlib.sha256).hex()

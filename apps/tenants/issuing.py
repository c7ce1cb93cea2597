"""What a tenant, or the operator, does with its keys: ask for one, rotate one, end one.

A key is shown in the answer that made it and never again. So what an Idempotency-Key keeps of that
answer has null in its place, and whoever lost the answer rotates the key that it names.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q, Value
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone
from rest_framework.utils.encoders import JSONEncoder

from apps.audit.models import Action
from apps.core import idempotency
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.tenants import doors, keys, selectors
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.scopes import Scope

MOST_KEYS = 100  # of a tenant that are valid at once
OVERLAP = timedelta(days=1)  # for which a rotated key works on
MOST_OVERLAP = timedelta(days=30)


class Terms(NamedTuple):
    """What a new key may do, and how long and how often.

    Its calls are counted in its own bucket, or in that of another key, whose limit they share.
    """

    scopes: tuple[str, ...]
    label: str = ""
    expires_at: datetime | None = None
    max_calls_per_minute: int | None = None
    bucket: str = ""


Made = tuple[ApiKey, str]  #: the row of a new key, and the text that cannot be shown again


def make(tenant: Tenant | None, terms: Terms) -> Made:
    """A key of a tenant, or of an operator. Raises Problem where a tenant has too many."""
    with transaction.atomic():
        if tenant is not None:
            _check_room(doors.hold(tenant.pk))
        return _made(tenant, terms)


def rotate(row: ApiKey, overlap: timedelta = OVERLAP) -> Made:
    """A key in the place of another, which works on for so long.

    If the old one was made to expire, the new one lives as long as that was to. Raises Problem.
    """
    terms = _like(row)
    with transaction.atomic():
        if row.tenant is not None:
            _check_room(doors.hold(row.tenant.pk))
        made = _made(row.tenant, terms)
        _replace(row, made[0], overlap)
    keys.forget()
    return made


def _like(row: ApiKey) -> Terms:
    """Those of the key that comes after another."""
    lifetime = row.expires_at - row.created_at if row.expires_at else None
    return Terms(
        scopes=row.may,
        label=row.label,
        expires_at=None if lifetime is None else timezone.now() + lifetime,
        max_calls_per_minute=row.max_calls_per_minute,
        bucket=row.counts_for if row.max_calls_per_minute else "",
    )


def revoke_for_tenant(tenant: UUID, asker: str, row: ApiKey) -> None:
    """Let a key never work again, at its tenant's own wish; what was revoked stays so.

    Raises Problem for the last key by which the tenant could make another.
    """
    with transaction.atomic():
        # One at a time: two keys that end at once would each find the other one.
        doors.check_state(doors.hold(tenant).state)
        _asking(tenant, asker)
        if _is_last(tenant, row):
            raise Problem("last_admin_key", "Make another key with the scope admin first.")
        keys.end(row)
    keys.forget()


def ask_for(tenant: UUID, asker: str, terms: Terms, key: Key | None) -> Answer:
    """Make a key at the wish of another of the tenant, `asker`. Raises Problem."""
    print_ = idempotency.fingerprint("key", json.dumps(terms, cls=JSONEncoder))

    def effect(own: ApiKey) -> Made:
        _check_within(own, terms)
        bucket = own.counts_for if own.max_calls_per_minute else ""
        return make(own.tenant, terms._replace(bucket=bucket))

    return _once(tenant, asker, key, print_, effect)


def ask_to_rotate(
    tenant: UUID, asker: str, row: ApiKey, overlap: timedelta, key: Key | None
) -> Answer:
    """Rotate a key at the wish of a tenant's own one; the answer shows the new one.

    A key may renew itself, for as long as it was made to live. Raises Problem.
    """
    print_ = idempotency.fingerprint("rotate", row.key_id, str(overlap))

    def effect(own: ApiKey) -> Made:
        if own.pk != row.pk:
            _check_within(own, _like(row))
        return rotate(row, overlap)

    return _once(tenant, asker, key, print_, effect)


def _asking(tenant: UUID, asker: str) -> ApiKey:
    """The key that asks, looked at again while its tenant's row is held: the body may have taken
    an hour to come. Raises Problem.
    """
    found = keys.valid().filter(tenant_id=tenant, key_id=asker).select_related("tenant").first()
    if found is None:
        raise Problem("unauthenticated", "Send a valid key in X-API-Key.")
    return found


def _check_within(own: ApiKey, terms: Terms) -> None:
    """Raises Problem for a key that would work longer or more often than the one that asks."""
    end, most = own.expires_at, own.max_calls_per_minute
    if end is not None and (terms.expires_at is None or terms.expires_at > end):
        raise Problem("forbidden", f"The key that asks ends at {end.isoformat()}: none may later.")
    given = terms.max_calls_per_minute
    if most is not None and (given is None or given > most):
        raise Problem("forbidden", f"The key that asks may call {most} times a minute: none more.")


def _once(
    tenant: UUID, asker: str, key: Key | None, print_: str, effect: Callable[[ApiKey], Made]
) -> Answer:
    try:
        if key and (found := idempotency.kept(key)):
            return found.answer(print_)
        with transaction.atomic():
            doors.check_state(doors.hold(tenant).state)
            # Whoever had the row until now may have been the same request.
            if key and (found := idempotency.kept(key)):
                return found.answer(print_)
            row, text = effect(_asking(tenant, asker))
            facts = selectors.facts(selectors.key_of(row.tenant_id, row.key_id))
            if key:
                idempotency.keep(key, print_, _answer(facts, shown=None))
    except IntegrityError:
        if key is None:
            raise
        return idempotency.replay(key, print_)
    return _answer(facts, shown=text)


def _answer(facts: dict[str, Any], shown: str | None) -> Answer:
    return Answer(201, json.dumps({"key": shown, **facts}, cls=JSONEncoder), location="")


def _made(tenant: Tenant | None, terms: Terms) -> Made:
    columns = terms._asdict()
    return keys.make(tenant, columns.pop("scopes"), **columns)


def _replace(row: ApiKey, successor: ApiKey, overlap: timedelta) -> None:
    """Raises Problem for a key that has ended, or has a successor."""
    end = ExpressionWrapper(Now() + Value(overlap), output_field=DateTimeField())
    current = keys.valid().filter(pk=row.pk, replaced_by=None)
    ends = Least(Coalesce("expires_at", end), end)
    if not current.update(replaced_by=successor.key_id, expires_at=ends):
        raise Problem("key_ended", "It was revoked, rotated or has expired: make a new key.")
    keys.record(Action.KEY_ROTATED, row, successor=successor.key_id, overlap=str(overlap))


def _check_room(tenant: Tenant) -> None:
    """Raises Problem. The row must be held: keys made at once would all find the same room."""
    if keys.valid().filter(tenant_id=tenant.pk).count() >= MOST_KEYS:
        raise Problem("too_many_keys", f"Revoke one of the {MOST_KEYS} that are valid first.")


def _is_last(tenant: UUID, row: ApiKey) -> bool:
    """Whether the key is valid, and no other one of its tenant can make keys and stays as long."""
    admins = keys.valid().filter(tenant_id=tenant, scopes__contains=Scope.ADMIN)
    others = admins.filter(replaced_by=None).exclude(pk=row.pk)
    stay = Q(expires_at=None) | (Q(expires_at__gte=row.expires_at) if row.expires_at else Q())
    return admins.filter(pk=row.pk).exists() and not others.filter(stay).exists()

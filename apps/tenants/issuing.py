"""What a tenant, or the operator, does with its keys: ask for one, rotate, change or end one.

A key is shown in the answer that made it and never again. So what an Idempotency-Key keeps of that
answer has null in its place, and whoever lost the answer rotates the key that it names.

A tenant's key gives what it has, which is looked at when the body is there and the tenant's row is
held: scopes may have been taken from it, or from what it asks about, meanwhile.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import DateTimeField, ExpressionWrapper, Q, Value
from django.db.models.functions import Coalesce, Least, Now
from django.utils import timezone
from rest_framework.utils.encoders import JSONEncoder

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import idempotency
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.tenants import doors, keys, scopes, selectors
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.scopes import Scope

MOST_KEYS = 100  # of a tenant that are valid at once
OVERLAP = timedelta(days=1)  # for which a rotated key works on
MOST_OVERLAP = timedelta(days=30)


class Terms(NamedTuple):
    """What a key may do, and how long and how often.

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


def rotate(row: ApiKey, overlap: timedelta = OVERLAP, bucket: str = "") -> Made:
    """A key in the place of another, which works on for so long.

    If the old one was made to expire, the new one lives as long as that was to. If it had a limit,
    they share its calls, or those of a bucket that is named. Raises Problem.
    """
    with transaction.atomic():
        if row.tenant is not None:
            _check_room(doors.hold(row.tenant.pk))
        current = _current(row)
        terms = _like(current)
        made = _made(row.tenant, terms._replace(bucket=bucket or terms.bucket))
        _replace(current, made[0], overlap)
    keys.forget()
    return made


def change(row: ApiKey, changes: Mapping[str, Any]) -> None:
    """Set these terms of a key and leave the others, at the operator's wish. Raises Problem."""
    with transaction.atomic():
        if row.tenant is not None:
            doors.check_stays(doors.hold(row.tenant.pk).pk)
        current = _current(row)
        _set(current, _terms(current)._replace(**changes))
    keys.forget()


def change_for_tenant(tenant: UUID, asker: str, row: ApiKey, changes: Mapping[str, Any]) -> None:
    """The same at the wish of a tenant's own key. Raises Problem, also where no key would be left
    by which the tenant could make another.
    """
    with transaction.atomic():
        own = _asking(tenant, asker)
        current = _current(row)
        wanted = _terms(current)._replace(**changes)
        _check_gives(own, current, wanted)
        is_less = Scope.ADMIN not in wanted.scopes
        if is_less or _is_beyond(current.expires_at, wanted.expires_at):
            _check_not_last(tenant, current)
        _set(current, wanted)
    keys.forget()


def _terms(row: ApiKey) -> Terms:
    return Terms(row.may, row.label, row.expires_at, row.max_calls_per_minute, row.bucket)


def _like(row: ApiKey) -> Terms:
    """Those of the key that comes after another."""
    lifetime = row.expires_at - row.created_at if row.expires_at else None
    return _terms(row)._replace(
        expires_at=None if lifetime is None else timezone.now() + lifetime,
        bucket=row.counts_for if row.max_calls_per_minute else "",
    )


def _set(row: ApiKey, wanted: Terms) -> None:
    changed = audit.changes(_columns(_terms(row)), _columns(wanted))
    if changed:
        after = {name: value for name, (_, value) in changed.items()}
        ApiKey.objects.filter(pk=row.pk).update(**after)
        keys.record(Action.KEY_CHANGED, row, **changed)


def _columns(terms: Terms) -> dict[str, Any]:
    return {**terms._asdict(), "scopes": scopes.pack(terms.scopes)}


def revoke_for_tenant(tenant: UUID, asker: str, row: ApiKey) -> None:
    """Let a key never work again, at its tenant's own wish; what was revoked stays so.

    Raises Problem for the last key by which the tenant could make another.
    """
    with transaction.atomic():
        _asking(tenant, asker)
        _check_not_last(tenant, row)
        keys.end(row)
    keys.forget()


def ask_for(tenant: UUID, asker: str, terms: Terms, key: Key | None) -> Answer:
    """Make a key at the wish of another of the tenant, `asker`. Raises Problem."""
    print_ = idempotency.fingerprint("key", json.dumps(terms, cls=JSONEncoder))

    def effect() -> Made:
        own = _asking(tenant, asker)
        _check_within(own, terms)
        return make(own.tenant, terms._replace(bucket=_shared(own)))

    return _once(tenant, key, print_, effect)


def ask_to_rotate(
    tenant: UUID, asker: str, row: ApiKey, overlap: timedelta, key: Key | None
) -> Answer:
    """Rotate a key at the wish of a tenant's own one; the answer shows the new one.

    A key may renew itself, for as long as it was made to live. Raises Problem.
    """
    print_ = idempotency.fingerprint("rotate", row.key_id, str(overlap))

    def effect() -> Made:
        own = _asking(tenant, asker)
        if own.pk != row.pk:
            _check_within(own, _like(_current(row)))
        return rotate(row, overlap, _shared(own))

    return _once(tenant, key, print_, effect)


def make_by_form(tenant: Tenant, terms: Terms, form: str) -> Answer:
    """Make a key at the operator's wish, one for a form however often that is sent, and by what
    is in it the first time. Raises Problem.
    """
    return _once(tenant.pk, _sent(tenant, form), form, lambda: make(tenant, terms))


def rotate_by_form(row: ApiKey, overlap: timedelta, form: str) -> Answer:
    """The same of a rotation."""
    if row.tenant is None:
        raise Problem("forbidden", "Keys of operators are made by `headrace keys` only.")
    return _once(row.tenant.pk, _sent(row.tenant, form), form, lambda: rotate(row, overlap))


def _sent(tenant: Tenant, form: str) -> Key:
    return Key(tenant.pk, "form", form)


def _shared(own: ApiKey) -> str:
    """The bucket of all keys that one with a limit makes; "" of one without."""
    return own.counts_for if own.max_calls_per_minute else ""


def _asking(tenant: UUID, asker: str) -> ApiKey:
    """The key that asks, looked at again with its tenant's row held: the body may have taken an
    hour to come. Raises Problem.
    """
    doors.check_state(doors.hold(tenant).state)
    found = keys.valid().filter(tenant_id=tenant, key_id=asker).select_related("tenant").first()
    if found is None:
        raise Problem("unauthenticated", "Send a valid key in X-API-Key.")
    if Scope.ADMIN not in found.may:
        raise scopes.refusal(Scope.ADMIN.value, found.may)
    return found


def _current(row: ApiKey) -> ApiKey:
    """The key as it is now, its row held. Raises Problem for one that has ended or was rotated."""
    found = keys.valid().select_for_update().filter(pk=row.pk, replaced_by=None).first()
    if found is None:
        raise _ended()
    return found


def _check_gives(own: ApiKey, row: ApiKey, wanted: Terms) -> None:
    """Raises Problem for a change by which a key gets what the one that asks could not give.

    To take from a key is always allowed, as to end it is.
    """
    if _excess(_terms(row), wanted) is None:
        return
    _check_within(own, wanted)
    is_raised = _is_beyond(wanted.max_calls_per_minute, row.max_calls_per_minute)
    if is_raised and own.max_calls_per_minute and own.counts_for != row.counts_for:
        # One that it makes shares its calls; this one would bring it some of its own by a rotation.
        raise Problem("forbidden", "The key that asks has a limit, in which these calls are not.")


def _check_within(own: ApiKey, terms: Terms) -> None:
    """Raises Problem for terms that go beyond those of the key that asks."""
    if (excess := _excess(_terms(own), terms)) is not None:
        raise excess


def _excess(most: Terms, wanted: Terms) -> Problem | None:
    """In what these terms go beyond others, as the key that has those is told; None in nothing."""
    if lacking := [scope for scope in wanted.scopes if scope not in most.scopes]:
        detail = f"A key gives what it has itself; this one lacks {', '.join(lacking)}."
        return Problem("wrong_scope", detail, needed=lacking[0], scopes=list(most.scopes))
    end, calls = most.expires_at, most.max_calls_per_minute
    if end is not None and _is_beyond(wanted.expires_at, end):
        return Problem("forbidden", f"The key that asks ends at {end.isoformat()}: none may later.")
    if _is_beyond(wanted.max_calls_per_minute, calls):
        told = f"The key that asks may call {calls} times a minute: none more."
        return Problem("forbidden", told)
    return None


def _is_beyond(given: Any, most: Any) -> bool:
    """Whether an end or a limit is beyond another; None is none."""
    return most is not None and (given is None or given > most)


def _once(tenant: UUID, key: Key | None, print_: str, effect: Callable[[], Made]) -> Answer:
    try:
        if key and (found := idempotency.kept(key)):
            return found.answer(print_)
        with transaction.atomic():
            doors.hold(tenant)
            # Whoever had the row until now may have been the same request.
            if key and (found := idempotency.kept(key)):
                return found.answer(print_)
            row, text = effect()
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
        raise _ended()
    keys.record(Action.KEY_ROTATED, row, successor=successor.key_id, overlap=str(overlap))


def _ended() -> Problem:
    return Problem("key_ended", "It was revoked, rotated or has expired: make a new key.")


def _check_room(tenant: Tenant) -> None:
    """Raises Problem. The row must be held: keys made at once would all find the same room."""
    if keys.valid().filter(tenant_id=tenant.pk).count() >= MOST_KEYS:
        raise Problem("too_many_keys", f"Revoke one of the {MOST_KEYS} that are valid first.")


def _check_not_last(tenant: UUID, row: ApiKey) -> None:
    """Raises Problem for a valid key if no other of its tenant can make keys and stays as long.

    The tenant's row must be held: two keys that end at once would each find the other one.
    """
    admins = keys.valid().filter(tenant_id=tenant, scopes__contains=Scope.ADMIN)
    found = admins.filter(pk=row.pk).first()
    if found is None:
        return
    stay = Q(expires_at=None) | (Q(expires_at__gte=found.expires_at) if found.expires_at else Q())
    if not admins.filter(stay, replaced_by=None).exclude(pk=row.pk).exists():
        raise Problem("last_admin_key", "Make another key with the scope admin first.")

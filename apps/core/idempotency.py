"""One effect per key, and the same answer to every repetition.

The key's row commits with the effect. Two requests at once meet at its unique constraint: the
loser waits there for the winner's commit, rolls back, and answers what the winner answered.
"""

import hashlib
import re
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from apps.core.models import IdempotencyKey
from apps.core.problems import Problem

_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


class Answer(NamedTuple):
    """A response as it goes out: `body` is the JSON text."""

    status: int
    body: str
    location: str
    replayed: bool = False


class Kept(NamedTuple):
    """A stored answer and the fingerprint of the request that had it."""

    fingerprint: str
    status: int
    body: str
    location: str

    def answer(self, print_: str) -> Answer:
        """The answer to the same request again. Raises Problem for another one."""
        if self.fingerprint != print_:
            raise Problem("idempotency_mismatch", "Use a new key for a new request.")
        return Answer(self.status, self.body, self.location, replayed=True)


class Key(NamedTuple):
    """A caller's key within a tenant and a kind of request."""

    tenant: UUID
    scope: str
    text: str


def read_key(tenant: UUID, scope: str, header: str | None) -> Key | None:
    """The key of an Idempotency-Key header, quoted or bare; None without one. Raises Problem."""
    if header is None:
        return None
    text = header.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not _PRINTABLE.fullmatch(text):
        raise Problem(
            "idempotency_key_required", "Send Idempotency-Key with 1 to 255 printable characters."
        )
    return Key(tenant, scope, text)


def fingerprint(*parts: str) -> str:
    """The digest of what a request asks for."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_known(key: Key) -> bool:
    return _rows(key).exists()


def keep(key: Key, print_: str, answer: Answer) -> None:
    """Store the answer, in the effect's transaction. Raises IntegrityError if the key has one."""
    _rows(key, live=False).delete()
    IdempotencyKey.objects.create(
        tenant_id=key.tenant,
        scope=key.scope,
        key=key.text,
        fingerprint=print_,
        status=answer.status,
        location=answer.location,
        body=answer.body,
    )


def kept(key: Key) -> Kept | None:
    """What is stored for the key."""
    row = _rows(key).values_list(*Kept._fields).first()
    return Kept(*row) if row else None


def replay(key: Key, print_: str) -> Answer:
    """The stored answer. Raises Problem for another request, or if there is none after all."""
    found = kept(key)
    if found is None:
        raise Problem("idempotency_in_flight", "Send the same request again in a moment.")
    return found.answer(print_)


def _rows(key: Key, *, live: bool = True) -> QuerySet[IdempotencyKey]:
    cutoff = Now() - Value(timedelta(hours=settings.HEADRACE_IDEMPOTENCY_HOURS))
    age = {"created_at__gte" if live else "created_at__lt": cutoff}
    return IdempotencyKey.objects.filter(tenant_id=key.tenant, scope=key.scope, key=key.text, **age)

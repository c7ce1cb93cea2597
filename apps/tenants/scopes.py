"""What a key may do: its scopes, and which of them a view needs.

A view says it of each of its methods, `needs = {"GET": Scope.READ}`, and nothing passes that
it has not named. Where any valid key will do, it says so with ANY_KEY.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db import models

from apps.core.problems import Problem


class Scope(models.TextChoices):
    INGEST = "ingest", "send files, follow and steer uploads, fetch what was refused"
    READ = "read", "lists, rows, search, metrics, stock levels and price anomalies"
    STOCK = "stock", "stock calls"
    PRICE = "price", "price calls"
    EXPORT = "export", "order, list, download and cancel exports"
    ADMIN = "admin", "the tenant's own keys, webhooks and audit log"
    OPERATOR = "operator", "look after all tenants; of a key that has no tenant, and no other scope"


ANY_KEY: Final = "any key"
OF_TENANTS: Final = tuple(scope for scope in Scope if scope != Scope.OPERATOR)
#: What may be asked of a tenant that is only read: these, and any GET.
READING: Final = frozenset({Scope.READ, Scope.EXPORT, Scope.OPERATOR, ANY_KEY})


def needed(view: Any, method: str | None) -> str | None:
    """The scope that a view's method needs; None where the view does not say.

    HEAD is a GET, and OPTIONS needs what the first of the view's methods does.
    """
    needs: dict[str, str] = getattr(view, "needs", {})
    if method == "OPTIONS":
        return next(iter(needs.values()), None)
    return needs.get("GET" if method == "HEAD" else method or "")


def refusal(need: str, has: Sequence[str]) -> Problem:
    """What is told to whom a scope is missing."""
    told = ", ".join(has) or "none"
    detail = f"Use a key with the scope {need}; the scopes of this one: {told}."
    return Problem("wrong_scope", detail, needed=need, scopes=list(has))


def pack(scopes: Iterable[str]) -> str:
    """Scopes as a key's row has them: words, in the order of their declaration."""
    given = set(scopes)
    return " ".join(scope.value for scope in Scope if scope in given)


def unpack(words: str) -> tuple[str, ...]:
    """The scopes of a key's row."""
    return tuple(words.split())


ALL: Final = pack(OF_TENANTS)

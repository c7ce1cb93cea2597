"""API keys in the operator's hands."""

import json
import logging
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from django.utils import timezone
from rich.console import Console
from rich.table import Table
from rich.text import Text

from apps.core.problems import Problem
from apps.tenants import issuing, keys, scopes, selectors
from apps.tenants.issuing import Made, Terms
from apps.tenants.models import ApiKey, Tenant
from apps.tenants.scopes import Scope

log = logging.getLogger(__name__)
_UNCHANGED, _WRONG_USAGE, _NO_DATABASE = 1, 2, 3
_WIDE = 300  # columns of what is piped: nothing is cut
_MOST_DAYS = 36_500


class Command(BaseCommand):
    help = (
        "Look after API keys, of tenants and of operators. Exit code 0 when everything asked for"
        " was done, 1 when something was not, 2 for wrong usage, 3 when the database cannot be"
        " reached."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for name, (about, describe) in _ACTIONS.items():
            action = actions.add_parser(name, help=about, description=about)
            describe(action)
            action.add_argument("--json", action="store_true", help="as JSON, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except Problem as problem:
            raise CommandError(problem.detail, returncode=_UNCHANGED) from None
        except Error:
            log.exception("the database did not do it")
            raise CommandError(
                "The database is away or has no tables yet: `headrace doctor` says which.",
                returncode=_NO_DATABASE,
            ) from None

    def _mint(self, options: dict[str, Any]) -> None:
        tenant = _tenant(options["tenant"])
        if tenant is None and options["max_calls_per_minute"]:
            raise CommandError("calls of operators are not counted", returncode=_WRONG_USAGE)
        own = {} if tenant else {"scopes": (Scope.OPERATOR.value,)}
        terms = Terms(**{**_said(options), **own})
        self._show(issuing.make(tenant, terms), options)

    def _list(self, options: dict[str, Any]) -> None:
        tenant = _tenant(options["tenant"])
        found = [selectors.facts(row) for row in selectors.listed(tenant.pk if tenant else None)]
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2, default=str))
        else:
            Console(width=None if sys.stdout.isatty() else _WIDE).print(_table(found))

    def _rotate(self, options: dict[str, Any]) -> None:
        overlap = timedelta(seconds=options["overlap_seconds"])
        self._show(issuing.rotate(_key(options["id"]), overlap), options)

    def _change(self, options: dict[str, Any]) -> None:
        row, changes = _key(options["id"]), _said(options)
        if not changes:
            raise CommandError("say what to change: --help has it", returncode=_WRONG_USAGE)
        if row.tenant is None and not changes.keys() <= {"label", "expires_at"}:
            told = "of an operator's key the label and the end are changed"
            raise CommandError(told, returncode=_WRONG_USAGE)
        issuing.change(row, changes)
        if options["json"]:
            self.stdout.write(json.dumps(_facts(row), indent=2, default=str))
        else:
            self.stderr.write(f"key {row.key_id}: it is changed")

    def _revoke(self, options: dict[str, Any]) -> None:
        ended = [key_id for key_id in options["ids"] if self._end(key_id)]
        if options["json"]:
            self.stdout.write(json.dumps({"revoked": ended}))
        if unchanged := len(options["ids"]) - len(ended):
            told = f"{unchanged} of {len(options['ids'])} unchanged"
            raise CommandError(told, returncode=_UNCHANGED)

    def _end(self, key_id: str) -> bool:
        row = ApiKey.objects.filter(key_id=key_id).first()
        if row is None:
            self.stderr.write(f"key {key_id}: there is none; `headrace keys list` shows them")
            return False
        try:
            self.stderr.write(f"key {key_id}: {keys.revoke(row)}")
        except keys.AlreadyRevoked as reason:
            self.stderr.write(f"key {key_id}: nothing changed: {reason}")
            return False
        return True

    def _show(self, made: Made, options: dict[str, Any]) -> None:
        """The key alone, so that a script may take it as it is."""
        row, text = made
        told = {"key": text, **_facts(row)}
        self.stdout.write(json.dumps(told, indent=2, default=str) if options["json"] else text)


def _describe_mint(parser: ArgumentParser) -> None:
    _describe_whose(parser)
    _describe_terms(parser)
    parser.set_defaults(scopes=scopes.OF_TENANTS)


def _describe_change(parser: ArgumentParser) -> None:
    _describe_key(parser)
    _describe_terms(parser)


def _describe_terms(parser: ArgumentParser) -> None:
    """The terms of a key, each None where it is not said."""
    known = ", ".join(scopes.OF_TENANTS)
    told = f"what it may do, with commas; a new key may without it: {known}"
    parser.add_argument("--scopes", type=_scopes, help=told)
    parser.add_argument("--label", type=_label, help="what it is for")
    parser.add_argument(
        "--expires-days",
        type=_or_empty(_whole(1, _MOST_DAYS)),
        help="days it works for, from now; empty: no end",
    )
    parser.add_argument(
        "--max-calls-per-minute",
        type=_or_empty(_whole(1, settings.MOST_PER_MINUTE)),
        help="of this key alone, whatever it calls; empty: no limit",
    )


def _describe_whose(parser: ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--tenant", type=UUID, metavar="ID", help="keys of this tenant")
    whose.add_argument("--operator", action="store_true", help="keys for all of the service")


def _describe_key(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="KEY_ID", help="the part of the key behind hr_")


def _describe_rotate(parser: ArgumentParser) -> None:
    _describe_key(parser)
    parser.add_argument(
        "--overlap-seconds",
        type=_whole(0, int(issuing.MOST_OVERLAP.total_seconds())),
        default=int(issuing.OVERLAP.total_seconds()),
        help="for which the old key works on (default %(default)s)",
    )


def _describe_revoke(parser: ArgumentParser) -> None:
    parser.add_argument("ids", metavar="KEY_ID", nargs="+", help="the part of a key behind hr_")


_ACTIONS: dict[str, tuple[str, Callable[[ArgumentParser], None]]] = {
    "mint": ("Make a key and show it, once.", _describe_mint),
    "list": ("Show keys, the newest first, and never the keys themselves.", _describe_whose),
    "rotate": ("Make a key in the place of another, which works on for a while.", _describe_rotate),
    "change": (
        "Change the terms of a key, whose text stays; also of the last one of a tenant.",
        _describe_change,
    ),
    "revoke": ("End keys, also the last one of a tenant.", _describe_revoke),
}


def _scopes(text: str) -> list[str]:
    given = [word.strip() for word in text.split(",")]
    if not set(given) <= set(scopes.OF_TENANTS):
        raise ArgumentTypeError(f"must be some of {', '.join(scopes.OF_TENANTS)}")
    return given


def _label(text: str) -> str:
    if not text.isprintable() or len(text) > 100:
        raise ArgumentTypeError("must be up to 100 printable characters")
    return text


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parsed(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"must be a whole number from {least} to {most:,}")
        return int(text)

    return parsed


def _or_empty(parsed: Callable[[str], int]) -> Callable[[str], int | str]:
    return lambda text: parsed(text) if text else text


def _said(options: dict[str, Any]) -> dict[str, Any]:
    """The terms that are said. An end or a limit that is empty is none."""
    names = ("scopes", "label", "expires_days", "max_calls_per_minute")
    said = {name: options[name] for name in names if options[name] is not None}
    if "expires_days" in said:
        said["expires_at"] = _in_days(said.pop("expires_days"))
    if said.get("max_calls_per_minute") == "":
        said["max_calls_per_minute"] = None
    return said


def _in_days(days: int | str) -> datetime | None:
    return timezone.now() + timedelta(days=days) if isinstance(days, int) else None


def _tenant(key: UUID | None) -> Tenant | None:
    """Raises CommandError for a tenant that is not there; None is the operator."""
    tenant = None if key is None else Tenant.objects.filter(pk=key).first()
    if tenant is None and key is not None:
        raise CommandError(f"there is no tenant {key}; the admin lists them", returncode=_UNCHANGED)
    return tenant


def _key(key_id: str) -> ApiKey:
    row = ApiKey.objects.filter(key_id=key_id).first()
    if row is None:
        told = f"there is no key {key_id}; `headrace keys list` shows them"
        raise CommandError(told, returncode=_UNCHANGED)
    return row


def _facts(row: ApiKey) -> dict[str, Any]:
    return selectors.facts(selectors.key_of(row.tenant_id, row.key_id))


def _table(found: list[dict[str, Any]]) -> Table:
    shown = ("key_id", "label", "scopes", "status", "created_at", "last_used_at", "expires_at")
    table = Table(*shown, box=None)
    for facts in found:
        table.add_row(*(Text(_cell(facts[name])) for name in shown))
    return table


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return " ".join(value)
        case datetime():
            return f"{value:%Y-%m-%d %H:%M}"
    return str(value)

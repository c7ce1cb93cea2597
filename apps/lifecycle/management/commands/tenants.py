"""Tenants in the operator's hands, on the machine of the service."""

import hashlib
import json
import logging
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from rest_framework.serializers import Serializer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from apps.core.problems import Problem
from apps.exports import selectors as exports
from apps.exports import serializers as export_shapes
from apps.exports import takeouts
from apps.exports.models import COMPRESSIONS, FORMATS, Export, ExportState, Takeout
from apps.exports.services import note_download
from apps.exports.takeouts import USUAL_FORMAT
from apps.lifecycle import selectors, services
from apps.lifecycle import serializers as shapes
from apps.lifecycle.models import ACTIVE as ERASING
from apps.lifecycle.models import ErasureState
from apps.lifecycle.selectors import QUOTAS
from apps.moving import folder
from apps.tenants.models import MissingParent, NegativeLevels, TenantState

log = logging.getLogger(__name__)
COMMAND = "command"  #: who asked, where it was no key
USAGE, REFUSED, NO_DATABASE = 2, 1, 3
LOOK_SECONDS = 0.5
MOST = 1_000_000
_WIDE = 300  # columns of what is piped: nothing is cut
_AT_WORK = (ExportState.QUEUED, ExportState.RUNNING)


class Command(BaseCommand):
    help = (
        "Make, suspend and limit tenants, take everything of one out, erase one. Exit code 0 when"
        " it is done, 1 when it is refused or came to nothing, 2 for wrong usage, 3 when the"
        " database cannot be reached."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        for name, (about, describe, _) in _ACTIONS.items():
            action = actions.add_parser(name, help=about, description=about)
            describe(action)
            action.add_argument("--json", action="store_true", help="the same, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        act = _ACTIONS[options["action"]][2]
        try:
            act(self, options)
        except Problem as problem:
            told = f"{problem.code}: {problem.detail}"
            raise CommandError(told, returncode=REFUSED) from None
        except Error:
            log.exception("the database did not do it")
            raise CommandError(
                "The database is away or has no tables yet: `headrace doctor` says which.",
                returncode=NO_DATABASE,
            ) from None

    def create(self, options: dict[str, Any]) -> None:
        made = services.create(_checked(shapes.NewTenant, options))
        self._tell(options, {**selectors.listed(made.tenant), "api_key": made.key})

    def list_all(self, options: dict[str, Any]) -> None:
        rows, _ = selectors.tenants(None, MOST)
        self._tell_rows(options, rows)

    def show(self, options: dict[str, Any]) -> None:
        self._tell(options, selectors.tenant(options["tenant"]))

    def suspend(self, options: dict[str, Any]) -> None:
        state = TenantState.READ_ONLY if options["read_only"] else TenantState.SUSPENDED
        self._tell(options, selectors.listed(services.suspend(options["tenant"], state)))

    def resume(self, options: dict[str, Any]) -> None:
        self._tell(options, selectors.listed(services.resume(options["tenant"])))

    def quota(self, options: dict[str, Any]) -> None:
        wanted = _checked(shapes.Quotas, options)
        if wanted:
            services.change(options["tenant"], wanted)
        found = selectors.tenant(options["tenant"])
        self._tell(options, {name: found[name] for name in ("quotas", "limits", "used")})

    def export(self, options: dict[str, Any]) -> None:
        wanted = _checked(export_shapes.TakeoutRequest, options)
        takeout = services.take_out(options["tenant"], **wanted, asked_by=COMMAND)
        if options["out"]:
            _wait_for(lambda: takeouts.manifest(takeout)["status"] in _AT_WORK)
            _fetch(takeout, options["out"])
        self._tell(options, takeouts.manifest(takeout))

    def erase(self, options: dict[str, Any]) -> None:
        asked = services.erase(options["tenant"], options["confirm"], COMMAND)
        if options["wait"]:
            _wait_for(lambda: selectors.erasure(asked.pk)["status"] in ERASING)
        found = selectors.erasure(asked.pk)
        self._tell(options, found)
        if found["status"] == ErasureState.FAILED:
            raise CommandError("It failed; the same command takes it up.", returncode=REFUSED)

    def erasures(self, options: dict[str, Any]) -> None:
        if options["erasure"]:
            self._tell(options, selectors.erasure(options["erasure"]))
        else:
            rows, _ = selectors.erasures(None, MOST)
            brief = ("erasure_id", "tenant_id", "status", "asked_by", "requested_at", "ended_at")
            shown = [{name: row[name] for name in brief} for row in rows]
            self._tell_rows(options, rows if options["json"] else shown)

    def _tell(self, options: dict[str, Any], facts: dict[str, Any]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(facts, indent=2, default=str))
        else:
            self.stdout.writelines(f"{name:<20} {_shown(value)}\n" for name, value in facts.items())

    def _tell_rows(self, options: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        if options["json"]:
            self.stdout.write(json.dumps(rows, indent=2, default=str))
        elif rows:
            table = Table(*rows[0], box=None)
            for row in rows:
                table.add_row(*(Text(_shown(value)) for value in row.values()))
            Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, default=str)
    return "" if value is None else str(value)


def _checked(shape: type[Serializer], options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, checked like the request of an operator."""
    names = [name for name in map(str, shape().fields) if options.get(name) is not None]
    given = {name: options[name] for name in names}
    asked = shape(data={name: None if value == "" else value for name, value in given.items()})
    if not asked.is_valid():
        told = " ".join(f"{name}: {texts[0]}" for name, texts in asked.errors.items())
        raise CommandError(told, returncode=USAGE)
    return dict(asked.validated_data)


def _wait_for(is_at_work: Callable[[], bool]) -> None:
    while is_at_work():
        time.sleep(LOOK_SECONDS)


def _fetch(takeout: Takeout, target: Path) -> None:
    """The files of a takeout and its manifest into a folder, each whole or not there."""
    manifest = takeouts.manifest(takeout)
    if manifest["status"] != ExportState.COMPLETED:
        broken = [file for file in manifest["files"] if file["status"] != ExportState.COMPLETED]
        told = f"{broken[0]['entity']}: {broken[0]['message']}" if broken else "it is not there"
        raise CommandError(f"It is {manifest['status']}: {told}", returncode=REFUSED)
    for export in takeouts.exports_of(takeout):
        folder.write(target / exports.filename(export), _compared(export))
    text = json.dumps(manifest, indent=2, default=str)
    folder.write(target / folder.MANIFEST, [f"{text}\n".encode()])


def _compared(export: Export) -> Iterator[bytes]:
    """The bytes of an export; they must be those that its digest names."""
    note_download(export, None)
    digest = hashlib.sha256()
    for block in exports.content(export).blocks(0):
        digest.update(block)
        yield block
    if digest.hexdigest() != export.sha256:
        raise CommandError(f"{export.entity} is damaged in the store", returncode=REFUSED)


def _describe_facts(parser: ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="1 to 255 characters")
    parser.add_argument("--tenant-id", type=UUID, help="without it one is made")
    parser.add_argument("--time-zone", help="of times without one; UTC without it")
    parser.add_argument("--on-missing-parent", choices=MissingParent.values)
    parser.add_argument("--negative-levels", choices=NegativeLevels.values)
    _describe_quotas(parser)


def _describe_quotas(parser: ArgumentParser) -> None:
    for name, setting in QUOTAS.items():
        about = f"a number; empty: {setting}"
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=about)


def _describe_tenant(parser: ArgumentParser) -> None:
    parser.add_argument("tenant", metavar="TENANT", type=UUID, help="its id")


def _describe_suspension(parser: ArgumentParser) -> None:
    _describe_tenant(parser)
    parser.add_argument("--read-only", action="store_true", help="it may still read and export")


def _describe_quota(parser: ArgumentParser) -> None:
    _describe_tenant(parser)
    _describe_quotas(parser)


def _describe_takeout(parser: ArgumentParser) -> None:
    _describe_tenant(parser)
    parser.add_argument("--format", choices=FORMATS, default=USUAL_FORMAT)
    parser.add_argument("--compression", choices=COMPRESSIONS, default="none")
    parser.add_argument("--out", type=Path, help="wait, and copy the files into this folder")


def _describe_erasure(parser: ArgumentParser) -> None:
    _describe_tenant(parser)
    parser.add_argument("--confirm", required=True, help="the tenant's name or id, once more")
    parser.add_argument("--wait", action="store_true", help="until nothing is left, or it failed")


def _describe_erasures(parser: ArgumentParser) -> None:
    parser.add_argument("erasure", metavar="ERASURE", type=UUID, nargs="?", help="its id")


def _describe_nothing(parser: ArgumentParser) -> None:
    pass


_Action = tuple[str, Callable[[ArgumentParser], None], Callable[[Command, dict[str, Any]], None]]
_ACTIONS: dict[str, _Action] = {
    "create": (
        "Make a tenant, and show its key, once.",
        _describe_facts,
        Command.create,
    ),
    "list": ("Show all tenants.", _describe_nothing, Command.list_all),
    "show": (
        "Show a tenant, its quotas and what is used of them.",
        _describe_tenant,
        Command.show,
    ),
    "suspend": (
        "Let a tenant do nothing, or only read.",
        _describe_suspension,
        Command.suspend,
    ),
    "resume": ("Let a tenant do everything again.", _describe_tenant, Command.resume),
    "quota": (
        "Set quotas of a tenant, or show them.",
        _describe_quota,
        Command.quota,
    ),
    "export": (
        "Export every record type of a tenant.",
        _describe_takeout,
        Command.export,
    ),
    "erase": (
        "Erase everything of a suspended tenant, for good.",
        _describe_erasure,
        Command.erase,
    ),
    "erasures": (
        "Show erasures, or the proof of one.",
        _describe_erasures,
        Command.erasures,
    ),
}

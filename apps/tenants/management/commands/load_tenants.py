"""Tenants of a tenants.csv into the database, with the keys to ingest as them."""

import csv
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core.problems import Problem
from apps.tenants import doors, keys
from apps.tenants.models import MissingParent, NegativeLevels, Tenant

Values = dict[str, Any]  #: fields of a tenant by name
_REQUIRED = {"tenant_id", "name"}


class Command(BaseCommand):
    help = (
        "Create or update the tenants of a CSV file with the columns tenant_id and name (and, if"
        " you like, time_zone, on_missing_parent, negative_levels, max_queued_bytes,"
        " max_active_uploads, max_calls_per_minute, max_product_calls_per_minute,"
        " max_stored_bytes, max_rows_per_day), and show their"
        " API keys: the documented demo keys while HEADRACE_DEMO_KEYS is on, else a new key, once,"
        " for each tenant that has none. Hashes in the file are no keys."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", required=True, type=Path, help="path of tenants.csv")
        parser.add_argument("--keys-out", type=Path, help="write tenant_id,name,api_key here too")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = _read(options["file"])
        self.stdout.write(f"Loading tenants from: {options['file']}")
        self.stdout.write(f"Found {len(rows)} tenants in CSV file")
        try:
            with transaction.atomic():
                counts, shown = self._load(rows)
        except Problem as problem:
            raise CommandError(f"{problem.code}: {problem.detail}") from None
        self.stdout.write(
            f"Successfully processed tenants: {counts['created']} created,"
            f" {counts['updated']} updated, {counts['skipped']} skipped"
        )
        self._show(shown)
        if options["keys_out"]:
            _add_keys(options["keys_out"], shown)

    def _load(
        self, rows: list[tuple[UUID, Values]]
    ) -> tuple[dict[str, int], list[tuple[Tenant, str]]]:
        counts = {"created": 0, "updated": 0, "skipped": 0}
        shown = []
        for tenant_id, values in rows:
            tenant, outcome = _save(tenant_id, values)
            counts[outcome] += 1
            if key := _key_to_show(tenant):
                shown.append((tenant, key))
        return counts, shown

    def _show(self, shown: list[tuple[Tenant, str]]) -> None:
        if not shown:
            self.stdout.write("Every tenant already has a key; keys are shown only once.")
            return
        self.stdout.write("\n" + "=" * 80)
        self.stdout.write("TENANT API KEYS FOR INGESTION")
        self.stdout.write("=" * 80)
        for tenant, key in shown:
            self.stdout.write(f"Tenant: {tenant.name}\nAPI Key: {key}\n{'-' * 80}")


def _read(path: Path) -> list[tuple[UUID, Values]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if missing := _REQUIRED - set(reader.fieldnames or ()):
                raise CommandError(f"{path} has no column {', '.join(sorted(missing))}")
            return [_tenant(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None


def _tenant(path: Path, line: int, row: dict[str, str]) -> tuple[UUID, Values]:
    try:
        tenant = UUID(row["tenant_id"])
    except ValueError:
        raise CommandError(f"{path}, line {line}: tenant_id is not a UUID") from None
    return tenant, {
        name: _value(path, line, name, row[name])
        for name in ("name", *_CHOICES)
        if row.get(name) is not None
    }


def _value(path: Path, line: int, name: str, text: str) -> Any:
    try:
        return _CHOICES.get(name, _name)(text.strip())
    except (ValueError, KeyError, OSError):
        raise CommandError(f"{path}, line {line}: {name} {_EXPECTED[name]}") from None


def _name(text: str) -> str:
    if not (0 < len(text) <= 255 and text.isprintable()):
        raise ValueError
    return text


def _limit(most: int, text: str) -> int | None:
    number = int(text) if text else None
    if number is not None and not 0 <= number <= most:
        raise ValueError
    return number


# Columns that may be there. An empty limit is that of the settings.
_CHOICES: dict[str, Callable[[str], Any]] = {
    "time_zone": lambda text: ZoneInfo(text).key,
    "on_missing_parent": MissingParent,
    "negative_levels": NegativeLevels,
    "max_queued_bytes": partial(_limit, 2**62),
    "max_active_uploads": partial(_limit, 2**31 - 1),
    "max_calls_per_minute": partial(_limit, settings.MOST_PER_MINUTE),
    "max_product_calls_per_minute": partial(_limit, settings.MOST_PER_MINUTE),
    "max_stored_bytes": partial(_limit, 2**62),
    "max_rows_per_day": partial(_limit, 2**62),
}
_EXPECTED = {
    "name": "must have 1 to 255 printable characters",
    "time_zone": "must be a time zone, such as Europe/Berlin",
    "on_missing_parent": "must be park or reject",
    "negative_levels": "must be reject or allow",
    "max_queued_bytes": "must be a number of bytes, or empty",
    "max_active_uploads": "must be a number, or empty",
    "max_calls_per_minute": "must be a number, 0 for no limit, or empty",
    "max_product_calls_per_minute": "must be a number, 0 for no limit, or empty",
    "max_stored_bytes": "must be a number of bytes, 0 for no limit, or empty",
    "max_rows_per_day": "must be a number, 0 for no limit, or empty",
}


def _save(tenant_id: UUID, values: Values) -> tuple[Tenant, str]:
    doors.check_new(tenant_id)
    tenant, created = Tenant.objects.get_or_create(tenant_id=tenant_id, defaults=values)
    if created:
        audit.record(tenant_id, Action.TENANT_CREATED, tenant_id, **values)
        return tenant, "created"
    if all(getattr(tenant, name) == value for name, value in values.items()):
        return tenant, "skipped"
    before = {name: getattr(tenant, name) for name in values}
    audit.record(tenant_id, Action.TENANT_CHANGED, tenant_id, **audit.changes(before, values))
    for name, value in values.items():
        setattr(tenant, name, value)
    tenant.save(update_fields=[*values, "updated_at"])
    return tenant, "updated"


def _key_to_show(tenant: Tenant) -> str | None:
    if settings.HEADRACE_DEMO_KEYS:
        return keys.allow_demo_key(tenant)
    return None if keys.has_key(tenant) else keys.mint(tenant)


def _add_keys(path: Path, shown: list[tuple[Tenant, str]]) -> None:
    """Add keys to the file; those of an earlier run stay, nobody could show them again."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    with path.open(newline="", encoding="utf-8") as file:
        known = {row["api_key"] for row in csv.DictReader(file)}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not file.tell():
            writer.writerow(("tenant_id", "name", "api_key"))
        fresh = [(tenant.tenant_id, tenant.name, key) for tenant, key in shown if key not in known]
        writer.writerows(fresh)

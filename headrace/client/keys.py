"""Which API key speaks for which tenant."""

import csv
from collections.abc import Sequence
from pathlib import Path

from headrace.client.plan import PlanError

_KEY_COLUMNS = ("api_key", "key")


def demo_key(tenant_id: str) -> str:
    """The key that a development server takes for a tenant of generated data."""
    return f"api_key_{tenant_id}"


def choose(
    tenant_ids: Sequence[str], api_key: str | None, keys_file: Path | None
) -> dict[str, str]:
    """Tenant id to key: the given one, the file's, or the demo key where there is neither.

    Raises PlanError if both are given, if one key is given for several tenants (a key belongs
    to one), or if the file cannot be read.
    """
    if api_key and keys_file:
        raise PlanError("give either --api-key or --keys")
    if api_key and len(tenant_ids) > 1:
        raise PlanError(
            f"a key belongs to one tenant, and there is data of {len(tenant_ids)}: "
            "choose one with --tenant-id, or give --keys FILE"
        )
    if api_key:
        return dict.fromkeys(tenant_ids, api_key.strip())
    known = read(keys_file) if keys_file else {}
    return {tenant: known.get(tenant) or demo_key(tenant) for tenant in tenant_ids}


def read(path: Path) -> dict[str, str]:
    """Tenant id to key, from lines `tenant_id,key` or a CSV with columns tenant_id and api_key.

    Raises PlanError if the file cannot be read or a line has no key.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"cannot read keys from {path}: {error}") from error
    tenant_column, key_column = 0, 1
    if rows and "tenant_id" in rows[0]:
        tenant_column, key_column = _columns(rows.pop(0), path)
    try:
        return {row[tenant_column].strip().lower(): row[key_column].strip() for row in rows}
    except IndexError:
        raise PlanError(f"{path}: every line must be tenant_id,key") from None


def _columns(header: list[str], path: Path) -> tuple[int, int]:
    for name in _KEY_COLUMNS:
        if name in header:
            return header.index("tenant_id"), header.index(name)
    raise PlanError(f"{path} has a header without a column {' or '.join(_KEY_COLUMNS)}")

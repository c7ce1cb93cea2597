"""Invariant 9: no key anywhere, and nothing of a tenant where another or an operator reads it."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tests.chaos.evidence import CONTROL, Evidence, broken


def check(
    evidence: Evidence, secrets: Collection[str], canaries: Mapping[str, str]
) -> Iterator[str]:
    """`secrets` are API keys; `canaries` are texts by the id of the only tenant that sent them."""
    demo_keys = {f"api_key_{_dashed(row['tenant_id'])}" for row in evidence.table("tenants")}
    secrets = {*secrets, *demo_keys}
    owners = {text: tenant.replace("-", "") for tenant, text in canaries.items()}
    for path in evidence.logs():
        text = path.read_text(errors="replace")
        for leak in (word for word in (*secrets, *owners) if word in text):
            yield broken(9, f"log {path.name}", "no key and no tenant's data", _hidden(leak))
    for table in CONTROL:
        for row in evidence.table(table):
            text = " ".join(map(_text, row.values()))
            others = [word for word, owner in owners.items() if owner != row.get("tenant_id")]
            for leak in (word for word in (*secrets, *others) if word in text):
                where = f"{table}, row {row.get('id', row['tenant_id'])}"
                yield broken(9, where, "no key and nothing of another tenant", _hidden(leak))


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return zlib.decompress(value).decode(errors="replace")
    except zlib.error:
        return value.decode(errors="replace")


def _hidden(text: str) -> str:
    """Enough to find it by; the sentence itself goes into logs."""
    return f"{text[:12]}…"


def _dashed(digits: str) -> str:
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return "-".join(parts)

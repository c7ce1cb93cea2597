"""Invariants 6 and 7: one effect a key, every answer true, every object there and no other."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos import exports
from tests.chaos.evidence import Evidence, Row, broken, digest, label, moment

KEPT = timedelta(hours=23)  # an hour less than keys are kept


def keys(evidence: Evidence) -> Iterator[str]:
    known = Known(evidence)
    named = defaultdict(list)
    texts: dict[tuple[str, str, str], str] = {}
    for row in evidence.table("idempotency_keys"):
        where = f"key {row['key']!r} ({row['scope']}) of tenant {row['tenant_id']}"
        identity = (row["tenant_id"], row["scope"], row["key"])
        if identity in texts:
            yield broken(6, where, "one answer", "two")
        texts[identity] = row["body"]
        body = json.loads(row["body"])
        yield from known.faults(where, body, row["tenant_id"])
        if row["scope"] in ("file", "stock"):
            named[_hex(body.get("chunk_id", ""))].append(row["key"])
        if row["scope"] == "price":
            named[_hex(body.get("event_id", ""))].append(row["key"])
    yield from _one_key_a_chunk(evidence, named)
    yield from _one_key_a_price(evidence, named)
    yield from _journal(evidence, known)


class Known:
    """What there is for an answer to be true of."""

    def __init__(self, evidence: Evidence) -> None:
        self._chunks = evidence.chunks
        self._price_events = {
            (tenant, row["event_id"])
            for row in evidence.table("price_events")
            for tenant in (row["tenant_id"], None)
        }
        self._uploads = {row["token"]: row["tenant_id"] for row in evidence.table("uploads")}

    def faults(self, where: str, body: Row, tenant: str | None) -> Iterator[str]:
        """What an answer says and is not so."""
        if "event_id" in body and (tenant, _hex(body["event_id"])) not in self._price_events:
            yield broken(6, where, f"price event {body['event_id']}", "none")
        token = body.get("upload_token")
        if token and self._uploads.get(token) not in ({tenant} if tenant else self._tenants()):
            yield broken(6, where, f"upload {token}", "none")
        if "chunk_id" not in body:
            return
        chunk = self._chunks.get(_hex(body["chunk_id"]))
        if chunk is None or (tenant and chunk["tenant_id"] != tenant):
            yield broken(6, where, f"chunk {body['chunk_id']}", "none")
            return
        for name in ("sha256", "bytes", "entity"):
            if name in body and body[name] != chunk[name]:
                yield broken(6, where, f"{name} {body[name]}", f"{chunk[name]} of {label(chunk)}")

    def _tenants(self) -> set[str]:
        return set(self._uploads.values())


def _one_key_a_chunk(evidence: Evidence, named: dict[str, list[str]]) -> Iterator[str]:
    since = datetime.now(UTC) - KEPT
    for chunk in evidence.chunks.values():
        own = named[chunk["id"]]
        if len(own) > 1 or (not own and moment(chunk["received_at"]) > since):
            yield broken(6, label(chunk), "one idempotency key", own or "none")


def _one_key_a_price(evidence: Evidence, named: dict[str, list[str]]) -> Iterator[str]:
    since = datetime.now(UTC) - KEPT
    for event in evidence.table("price_events"):
        own = named[event["event_id"]]
        if len(own) > 1 or (not own and moment(event["processed_at"]) > since):
            where = f"price event {event['event_id']} of tenant {event['tenant_id']}"
            yield broken(6, where, "one idempotency key", own or "none")


def _journal(evidence: Evidence, known: Known) -> Iterator[str]:
    first: dict[tuple[str, str], Any] = {}
    stored = defaultdict(set)
    for row in evidence.table("idempotency_keys"):
        stored[row["key"]].add(row["body"])
    for answer in evidence.answers:
        if not 200 <= answer["status"] < 300:
            continue
        where = f"journal, key {answer['key']!r}"
        text = answer["body"] if isinstance(answer["body"], str) else json.dumps(answer["body"])
        body = json.loads(text)
        tenant = answer.get("tenant")
        yield from known.faults(where, body, _hex(tenant) if tenant else None)
        if first.setdefault((tenant or "", answer["key"]), text) != text:
            yield broken(6, where, "the same answer to the same key", "two")
        if stored[answer["key"]] and text not in stored[answer["key"]]:
            yield broken(6, where, "the answer that was stored", "another")


def _hex(uuid: str) -> str:
    return uuid.replace("-", "")


def objects(evidence: Evidence, grace_seconds: float) -> Iterator[str]:
    referenced = set()
    for chunk in evidence.chunks.values():
        if not chunk["source"]:
            continue
        referenced.add(chunk["source"])
        path = evidence.objects.get(chunk["source"])
        if path is None:
            yield broken(7, label(chunk), f"object {chunk['source']}", "none")
            continue
        found = (path.stat().st_size, digest(path))
        if found != (chunk["bytes"], chunk["sha256"]):
            expected = f"{chunk['bytes']} bytes of digest {chunk['sha256'][:12]}"
            yield broken(7, label(chunk), expected, f"{found[0]} bytes of digest {found[1][:12]}")
    for key, path in evidence.objects.items():
        age = time.time() - path.stat().st_mtime
        is_ours = not key.startswith(exports.FOLDER)
        if is_ours and key not in referenced and age > grace_seconds:
            found = f"{age:.0f} s of age"
            yield broken(7, f"object {key}", f"a chunk, or less than {grace_seconds} s", found)


def files(evidence: Evidence) -> Iterator[str]:
    """Every file that was sent has its chunk; only asked where the files were given."""
    received = {chunk["sha256"] for chunk in evidence.chunks.values()}
    for sha256, path in evidence.sent.items():
        if sha256 not in received:
            yield broken(6, f"accepted file {path.name}", f"a chunk of digest {sha256}", "none")

"""Looks at the database from outside, past the service, and turns back what it is asked to."""

import sqlite3
import zlib
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from headrace.pipeline.report import Outcome, unpack_segment
from tests.protocol.model import PARENTS, PRODUCT, Content

NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
PAST = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')"
TOMORROW = "strftime('%Y-%m-%d', 'now', '+2 days')"
CLEARED = ("segments", "parked", "rejects", "chunks", "uploads", "jobs", "idempotency_keys")
COUNTERS = ", ".join(Outcome)
CONTENT = {
    "customers": "customer_id, NULL, name",
    "orders": "order_id, customer_id, total_amount / 10000",
    "order_items": "order_item_id, order_id, quantity",
}


class Job(NamedTuple):
    id: int
    kind: str
    subject: str
    state: str
    epoch: int
    attempts: int
    group: str | None
    rank: int
    is_due: bool
    is_expired: bool

    @property
    def is_active(self) -> bool:
        return self.state in ("queued", "running")

    @property
    def is_claimable(self) -> bool:
        return self.is_due if self.state == "queued" else self.is_expired and self.is_active


class Chunk(NamedTuple):
    id: str
    state: str
    code: str
    is_planned: bool
    received: int
    counts: dict[str, int]
    letters: str
    parked: frozenset[int]


class Segment(NamedTuple):
    low: str
    high: str
    landed: dict[int, str] | None


class Sight(NamedTuple):
    """All that matters, at one instant."""

    jobs: dict[int, Job]
    chunks: dict[str, Chunk]
    segments: dict[tuple[str, int], Segment]
    rows: dict[str, dict[UUID, Content]]


class Observer:
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=60)
        # Triggers of target tables would ask for it; this is the owner's.
        self._connection.create_function("headrace_tenant", 0, lambda: "*")
        self._ask("PRAGMA synchronous = OFF")

    def clear(self) -> None:
        """Forget everything."""
        self._ask("BEGIN IMMEDIATE")
        for table in (*CLEARED, *reversed(PARENTS), "products", "tenants"):
            self._ask(f"DELETE FROM {table}")
        self._ask("COMMIT")

    def stock(self, tenant: UUID) -> None:
        """Give the tenant the one product that it sells."""
        self._ask(
            "INSERT INTO products (tenant_id, product_id, sku, name, price, source_sequence)"
            " VALUES (?, ?, '1', 'Tea', 1, 0)",
            tenant.hex,
            PRODUCT.hex,
        )

    def look(self) -> Sight:
        self._stop_the_clock()
        self._ask("BEGIN")
        try:
            return Sight(self._jobs(), self._chunks(), self._segments(), self._rows())
        finally:
            self._ask("COMMIT")

    def _stop_the_clock(self) -> None:
        """Jobs that wait for a time wait until they are told that it has passed."""
        self._ask(
            f"UPDATE jobs SET run_after = {TOMORROW}"
            f" WHERE state = 'queued' AND run_after > {NOW} AND run_after < {TOMORROW}"
        )

    def expire_lease(self, job: int) -> None:
        self._ask(f"UPDATE jobs SET lease_expires = {PAST} WHERE id = ? AND state = 'running'", job)

    def make_due(self) -> None:
        """Let the time pass that queued jobs wait for."""
        self._ask(f"UPDATE jobs SET run_after = {PAST} WHERE state = 'queued'")

    def expire_parked(self, chunk: str) -> None:
        # Further back than any worker's clock is off.
        past = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-2 hours')"
        self._ask(f"UPDATE parked SET expires_at = {past} WHERE chunk_id = ?", chunk)

    def refuse_orphans(self, chunk: str) -> None:
        """Let the chunk's upload reject lines that miss their parent."""
        self._ask(
            "UPDATE uploads SET on_missing_parent = 'reject'"
            " WHERE id = (SELECT upload_id FROM chunks WHERE id = ?)",
            chunk,
        )

    def _ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _jobs(self) -> dict[int, Job]:
        rows = self._ask(
            'SELECT id, kind, subject, state, epoch, attempts, "group", rank,'
            f" run_after <= {NOW}, coalesce(lease_expires < {NOW}, 0) FROM jobs"
        )
        return {row[0]: Job(*row[:8], bool(row[8]), bool(row[9])) for row in rows}

    def _chunks(self) -> dict[str, Chunk]:
        parked: dict[str, set[int]] = {}
        for chunk, line in self._ask("SELECT chunk_id, line FROM parked"):
            parked.setdefault(chunk, set()).add(line)
        rows = self._ask(
            f"SELECT id, state, code, is_planned, lines_received, outcomes, {COUNTERS} FROM chunks"
        )
        return {row[0]: _chunk(row, parked.get(row[0], set())) for row in rows}

    def _segments(self) -> dict[tuple[str, int], Segment]:
        rows = self._ask("SELECT chunk_id, number, low, high, report FROM segments ORDER BY number")
        return {(row[0], row[1]): Segment(row[2], row[3], _landed(row[4])) for row in rows}

    def _rows(self) -> dict[str, dict[UUID, Content]]:
        return {
            entity: {
                UUID(key): Content(parent and UUID(parent), int(version))
                for key, parent, version in self._ask(f"SELECT {columns} FROM {entity}")
            }
            for entity, columns in CONTENT.items()
        }


def _chunk(row: tuple[Any, ...], parked: set[int]) -> Chunk:
    id_, state, code, is_planned, received, outcomes, *counters = row
    counts = {
        chr(outcome.letter): number for outcome, number in zip(Outcome, counters, strict=True)
    }
    letters = zlib.decompress(outcomes).decode() if outcomes else ""
    return Chunk(id_, state, code, bool(is_planned), received, counts, letters, frozenset(parked))


def _landed(report: bytes | None) -> dict[int, str] | None:
    if report is None:
        return None
    return {
        line: chr(outcome.letter)
        for outcome, lines in unpack_segment(report)
        for line in lines.tolist()
    }

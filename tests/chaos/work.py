"""Invariant 3: when it is quiet everything has ended, and no job was tried for ever."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from headrace.entities import BY_NAME
from tests.chaos.accounts import BROKEN, ENDED, LANDED
from tests.chaos.evidence import ACTIVE, HOUSEKEEPING, Evidence, Row, broken, label, moment

RETAKEN_WITHIN = timedelta(minutes=1)
MOST_ATTEMPTS = 6  # five without progress, and the claim that quarantines it


def check(evidence: Evidence) -> Iterator[str]:
    jobs = defaultdict(list)
    for job in sorted(evidence.table("jobs"), key=lambda job: job["id"]):
        jobs[job["subject"]].append(job)
        yield from _job(job)
    for chunk in evidence.chunks.values():
        yield from _chunk(chunk, [job for job in jobs[chunk["id"]] if job["kind"] == "ingest"])
    yield from _sleepers(evidence, jobs)


def _job(job: Row) -> Iterator[str]:
    where = f"job {job['id']} ({job['kind']} {job['subject']})"
    if job["state"] in ACTIVE and not _is_due_housekeeping(job):
        yield broken(3, where, "an ended job", f"{job['state']} at epoch {job['epoch']}")
    if job["state"] not in (*ACTIVE, "cancelled") and not job["epoch"]:
        yield broken(3, where, "a claim before its end", f"{job['state']} at epoch 0")
    if not 0 <= job["attempts"] <= MOST_ATTEMPTS:
        yield broken(3, where, f"at most {MOST_ATTEMPTS} attempts", job["attempts"])


def _is_due_housekeeping(job: Row) -> bool:
    """A job that comes again and again is no unrest, unless its worker has left it."""
    lease = job["lease_expires"]
    is_held = lease is not None and moment(lease) > datetime.now(UTC) - RETAKEN_WITHIN
    return job["kind"] in HOUSEKEEPING and (job["state"] == "queued" or is_held)


def _chunk(chunk: Row, jobs: list[Row]) -> Iterator[str]:
    states = [job["state"] for job in jobs]
    active = [state for state in states if state in ACTIVE]
    if chunk["state"] not in ENDED:
        found = f"{chunk['state']} with jobs {states}" if active else f"{chunk['state']} for ever"
        yield broken(3, label(chunk), "an ended chunk", found)
    elif active:
        yield broken(3, label(chunk), "no job of an ended chunk", active)
    if (chunk["state"] in ENDED) != (chunk["ended_at"] is not None):
        yield broken(3, label(chunk), f"an end that fits {chunk['state']}", chunk["ended_at"])
    yield from _last_job(chunk, states)


def _last_job(chunk: Row, states: list[str]) -> Iterator[str]:
    """Ended jobs may have been cleaned up; the newest that is left says how it went."""
    fitting = {
        "done": (*LANDED, "cancelled"),
        "failed": BROKEN,
        "quarantined": ("failed",),
        "cancelled": ("cancelled",),
    }
    if states and states[-1] in fitting and chunk["state"] not in fitting[states[-1]]:
        expected = f"one of {fitting[states[-1]]} after a job that is {states[-1]}"
        yield broken(3, label(chunk), expected, chunk["state"])


def _sleepers(evidence: Evidence, jobs: dict[str, list[Row]]) -> Iterator[str]:
    """Parked lines whose row is there; a chunk whose last wake was given up may have some."""
    there = {
        name: {(row["tenant_id"], row[BY_NAME[name].key]) for row in evidence.table(name)}
        for name in {row["entity"] for row in evidence.table("parked")}
    }
    for row in evidence.table("parked"):
        wakes = [job["state"] for job in jobs[row["chunk_id"]] if job["kind"] == "wake"]
        is_given_up = wakes[-1:] in (["failed"], ["quarantined"])
        if (row["tenant_id"], row["key"]) in there[row["entity"]] and not is_given_up:
            where = f"line {row['line']} of chunk {row['chunk_id']}"
            found = f"it asleep beside {row['entity']} {row['key']}"
            yield broken(3, where, "no parked line whose row is there", found)

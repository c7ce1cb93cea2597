"""Watches every transaction and says whether the protocol allowed it."""

from collections import Counter
from uuid import UUID

from apps.core.jobs import MAX_ATTEMPTS, Lease
from tests.protocol import model
from tests.protocol.model import File, Shop
from tests.protocol.observer import Chunk, Job, Observer, Segment, Sight

LANDED = {"completed", "completed_with_rejects"}
BROKEN = {"corrupt", "failed", "cancelled"}
ENDED = LANDED | BROKEN
MOVES = {
    "received": {"verifying", "promoting", *ENDED},
    "verifying": {"promoting", *ENDED},
    "promoting": ENDED,
    "completed": {"completed_with_rejects"},
    **{state: {"received"} for state in BROKEN},
}


class Referee:
    """Knows the model and what the database said last.

    `changes` counts what it has witnessed. `claims` are a job's since it last progressed, `woken`
    the record types of lines that woke.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.shop = Shop()
        self.files: dict[str, File] = {}
        self.claims: Counter[int] = Counter()
        self.seen = observer.look()
        self.changes = 0
        self.has_given_up = False
        self.woken: set[str] = set()

    def add(self, chunk: UUID, file: File) -> None:
        self.files[chunk.hex] = file

    def look_again(self) -> None:
        """The observer itself has turned something back."""
        self.seen = self._observer.look()
        self.changes += 1

    def witness(self, who: str, lease: Lease | None = None, *, claims: bool = False) -> None:
        """Check what has changed since the last look: one transaction of a holder of a lease."""
        before, self.seen = self.seen, self._observer.look()
        if before == self.seen:
            return
        self.changes += 1
        for chunk in self.seen.chunks.values():
            self._check_resumed(before.chunks.get(chunk.id), chunk, who)
        touched = [chunk.id for chunk in self.seen.chunks.values() if self._check(before, chunk)]
        for chunk in touched:
            self._check_holder(before, chunk, who, lease)
        for job in before.jobs.keys() | self.seen.jobs.keys():
            self._check_job(before, job, who, lease, claims)
        if touched and lease:
            self._check_progress(lease)
        self._check_tables()

    def _check_tables(self) -> None:
        for entity, rows in self.shop.rows.items():
            ought = {key: row.content for key, row in rows.items()}
            assert self.seen.rows[entity] == ought, f"{entity}: {self.seen.rows[entity]} != {ought}"

    def _check(self, before: Sight, now: Chunk) -> bool:
        """Whether the chunk has felt an effect; what it was must have been right."""
        file, was = self.files[now.id], before.chunks.get(now.id)
        felt = self._check_plan(now, file)
        for place, segment in self._segments(self.seen, now):
            has_broken = now.state in BROKEN
            felt |= self._check_segment(before.segments.get(place), segment, file, has_broken)
        if was is not None:
            felt |= self._check_settled(was, now, file)
            felt |= self._check_move(was, now, file)
            if now.state not in ENDED and was.state not in BROKEN:
                gone = dict(self._segments(before, now)).keys() - self.seen.segments.keys()
                assert not gone, "segments of a running chunk have gone"
        self._check_counters(now, file)
        return felt

    def _check_resumed(self, was: Chunk | None, now: Chunk, who: str) -> None:
        if was and was.state in BROKEN and now.state not in BROKEN:
            assert who == "the sender", f"{who} moved a chunk on from {was.state} to {now.state}"
            file = self.files[now.id]
            if was.is_planned and not now.is_planned:
                written = file.with_outcome(model.PARKED, *model.WRITTEN)
                assert not written, "what has landed was forgotten"
                file.forget()

    def _check_plan(self, now: Chunk, file: File) -> bool:
        assert now.is_planned >= file.is_planned, "a plan was forgotten"
        if file.is_planned or not now.is_planned:
            return False
        file.plan()
        dealt = [
            line for _, segment in self._segments(self.seen, now) for line in _lines(segment, file)
        ]
        assert sorted(dealt) == file.records, "segments do not share the lines out"
        return True

    def _check_segment(
        self, was: Segment | None, now: Segment, file: File, has_broken: bool
    ) -> bool:
        if was and was.landed is not None:
            is_taken_over = has_broken and now.landed == {}
            assert was == now or is_taken_over, "a segment landed twice"
        if now.landed is None or (was and was.landed is not None):
            return False
        assert sorted(now.landed) == _lines(now, file), "a segment landed other lines than its own"
        undecided = file.with_outcome(model.UNPROCESSED)
        assert undecided >= set(now.landed), "lines landed a second time"
        ought = self.shop.land(file, sorted(now.landed))
        assert now.landed == ought, f"{file.entity} {file.number} landed as {now.landed} != {ought}"
        return True

    def _check_settled(self, was: Chunk, now: Chunk, file: File) -> bool:
        lines = sorted(was.parked - now.parked)
        if not lines:
            return False
        found = {line: now.letters[line - 1] for line in lines}
        if file.expired >= set(lines) and set(found.values()) == {model.REJECTED}:
            file.outcomes |= found
        else:
            self.woken.add(file.entity)
            ought = self.shop.land(file, lines)
            assert found == ought, f"{file.entity} {file.number} woke as {found} != {ought}"
        return True

    def _check_move(self, was: Chunk, now: Chunk, file: File) -> bool:
        if was.state == now.state:
            return False
        assert now.state in MOVES[was.state], f"chunk moved from {was.state} to {now.state}"
        if now.state in LANDED:
            assert not file.with_outcome(model.UNPROCESSED), "a chunk ended before all its lines"
        if now.state in BROKEN:  # for the files are sound
            assert now.code in ("quarantined", "cancelled"), f"a chunk failed with {now.code}"
        return now.state in ENDED

    def _check_counters(self, now: Chunk, file: File) -> None:
        assert sum(now.counts.values()) == now.received, f"{now.counts} are not {now.received}"
        if not file.is_planned:
            return
        ought = {letter: len(file.with_outcome(letter)) for letter in now.counts}
        assert (now.received, now.counts) == (file.received, ought), f"{now} != {ought}"
        assert now.parked == file.with_outcome(model.PARKED), "parked lines are not the outcomes"
        if now.state in ENDED:
            assert now.letters == "".join(file.outcomes.values()), "outcomes by line are wrong"
        if now.state in LANDED:
            is_clean = not ought[model.REJECTED]
            assert (now.state == "completed") == is_clean, "the state does not fit the rejects"

    def _check_holder(self, before: Sight, chunk: str, who: str, lease: Lease | None) -> None:
        assert lease, f"{who} had an effect on a chunk without a lease"
        job = before.jobs[lease.job]
        assert job.subject == chunk, f"{who} had an effect on another job's chunk"
        assert (job.state, job.epoch) == ("running", lease.epoch), f"{who}: effect of an old epoch"

    def _check_job(
        self, before: Sight, number: int, who: str, lease: Lease | None, claims: bool
    ) -> None:
        was, now = before.jobs.get(number), self.seen.jobs.get(number)
        assert now, "a job has gone"
        if was is None:
            assert (now.state, now.epoch) == ("queued", 0), "a job did not begin queued"
        elif now.epoch != was.epoch:
            assert claims, f"{who} raised an epoch without claiming"
            self._check_claim(was, now)
        elif (now.state, now.attempts) != (was.state, was.attempts):
            assert lease, f"{who} changed a job without a lease"
            assert lease.job == number, f"{who} changed another's job"
            assert (was.state, was.epoch) == ("running", lease.epoch), f"{who} has lost the job"
            self._check_end(now, lease)

    def _check_claim(self, was: Job, now: Job) -> None:
        assert now.epoch == was.epoch + 1, "an epoch did not rise by one"
        assert now.state == "running", f"a claimed job is {now.state}"
        is_free = now.is_due if was.state == "queued" else was.is_expired
        assert is_free, f"a job was claimed that is {was.state}"
        self.claims[now.id] += 1

    def _check_end(self, now: Job, lease: Lease) -> None:
        if now.state == "quarantined":
            fruitless = self.claims[now.id]
            assert fruitless > MAX_ATTEMPTS, f"quarantined after {fruitless} claims"
        if now.state == "queued" and now.attempts < lease.attempts:  # no fault of the job's
            self.claims[now.id] = max(0, self.claims[now.id] - 1)
        self.has_given_up |= now.state in ("quarantined", "failed", "cancelled")

    def _check_progress(self, lease: Lease) -> None:
        is_poison = self.claims[lease.job] > MAX_ATTEMPTS
        is_quarantined = self.seen.jobs[lease.job].state == "quarantined"
        assert is_poison == is_quarantined, f"{self.claims[lease.job]} claims: {is_quarantined=}"
        self.claims[lease.job] = 0

    def _segments(self, sight: Sight, chunk: Chunk) -> list[tuple[tuple[str, int], Segment]]:
        return [(place, found) for place, found in sight.segments.items() if place[0] == chunk.id]


def _lines(segment: Segment, file: File) -> list[int]:
    """The lines whose key is the segment's."""
    keys = {line: str(file.key(line)) for line in file.records}
    return [
        line
        for line, key in keys.items()
        if segment.low <= key and (not segment.high or key < segment.high)
    ]

"""Two who work at once, taken through every order of their steps."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import combinations
from typing import Any

import psycopg

Pause = Callable[[], None]


def orders(one: int, other: int) -> Iterator[str]:
    """Every order of so many steps of A and of B."""
    for places in combinations(range(one + other), one):
        yield "".join("A" if at in places else "B" for at in range(one + other))


class Actor:
    """Work on one connection, in a thread of its own, that pauses between its steps.

    A step may wait for a lock. Its turn then passes, and it ends when whoever holds the lock lets
    go; steps that are released meanwhile follow it.
    """

    def __init__(self, connection: psycopg.Connection, work: Callable[[Pause], Any]) -> None:
        self.has_waited = False
        self._pid = connection.info.backend_pid
        self._turns = threading.Semaphore(0)
        self._released = self._ended = 0
        self._pool = ThreadPoolExecutor(1)
        self._end: Future[Any] = self._pool.submit(self._run, work)

    def _run(self, work: Callable[[Pause], Any]) -> Any:
        self._turns.acquire()
        return work(self._pause)

    def _pause(self) -> None:
        self._ended += 1
        self._turns.acquire()

    def release(self) -> None:
        self._released += 1
        self._turns.release()

    def rests(self, observer: psycopg.Connection) -> bool:
        """Whether it has come to the end of what was released, or waits for a lock."""
        if self._end.done() or self._ended >= self._released:
            return True
        [waits] = observer.execute(
            "SELECT cardinality(pg_blocking_pids(%s)) > 0", [self._pid]
        ).fetchone()
        self.has_waited |= waits
        return bool(waits)

    def result(self) -> Any:
        """What the work gave. Raises what it raised."""
        try:
            return self._end.result(60)
        finally:
            self._pool.shutdown()


def play(order: str, actors: dict[str, Actor], observer: psycopg.Connection) -> None:
    """Let the actors take their steps in this order."""
    for name in order:
        actors[name].release()
        end = time.monotonic() + 60
        while not all(actor.rests(observer) for actor in actors.values()):
            assert time.monotonic() < end, f"{order}: a step does not end"

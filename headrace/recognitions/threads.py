"""Threads that share work among them."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Generic, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Threads:
    """So many threads. What is asked of them at once by several is done in the order of asking."""

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._pool = ThreadPoolExecutor(number, thread_name_prefix=name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do it with every item. Raises what one of the failures raised.

        When one fails those that wait are not begun, and those on their way are waited for.
        """
        turns = _Turns(work, items)
        takers = min(self._number, turns.number)
        futures = [self._pool.submit(turns.take) for _ in range(takers)]
        try:
            wait(futures)
        except BaseException:  # who waited was interrupted
            turns.stop()
            wait(futures)
            raise
        for future in futures:
            future.result()
        return [turns.found[at] for at in range(turns.number)]

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


class _Turns(Generic[T, R]):
    """Items that threads take one by one: a future for each would cost more than some work does."""

    def __init__(self, work: Callable[[T], R], items: Iterable[T]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._left = list(enumerate(items))[::-1]
        self.number = len(self._left)
        self.found: dict[int, R] = {}

    def take(self) -> None:
        """Do what is left, until nothing is."""
        while (turn := self._next()) is not None:
            at, item = turn
            try:
                self.found[at] = self._work(item)
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Leave what has not begun."""
        with self._lock:
            self._left.clear()

    def _next(self) -> tuple[int, T] | None:
        with self._lock:
            return self._left.pop() if self._left else None

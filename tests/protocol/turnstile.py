"""Workers that stop before everything they ask of the database, and go on when they are told.

A worker is a thread with a connection of its own, and only one of them runs at a time. It stops
before every statement outside of a transaction and before every transaction: within one, nobody
else could write anyway. How it goes on is told: as ever, or with a mishap.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.db import connections
from django.utils import timezone

PATIENCE = 90  # seconds
_thread = threading.local()


class Order(Enum):
    GO = "goes on"
    DIE = "dies"
    DIE_INSIDE = "dies before the commit"
    FAIL = "is refused by a busy database"
    BREAK = "runs into a defect"
    LOSE = "does not hear of its commit"


class Died(BaseException):
    """The worker's process is no more."""


class Defect(RuntimeError):
    """Something that nobody foresaw."""


class Stepped:
    """A worker that is stepped. `at` is the statement that it stands before, None if it is idle.

    `skew` is how many seconds its own clock is ahead.
    """

    def __init__(self, name: str, skew: float = 0) -> None:
        self.name = name
        self.skew = skew
        self.at: str | None = None
        self.failure: Exception | None = None
        self._task: Callable[[], None] | None = None
        self._order = Order.GO
        self._at_commit = Order.GO
        self._may_go = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        threading.Thread(target=self._live, name=name, daemon=True).start()

    def start(self, task: Callable[[], None]) -> None:
        """Begin, up to the first stop."""
        self._task, self.failure = task, None
        self._resume()

    def step(self, order: Order = Order.GO) -> None:
        """Pass the turnstile, up to the next stop or the end of the task."""
        self._order = order
        self._resume()

    def stop_here(self, statement: str) -> Order:
        self.at = statement
        self._has_stopped.release()
        self._may_go.acquire()
        return self._order

    def _resume(self) -> None:
        self._may_go.release()
        if not self._has_stopped.acquire(timeout=PATIENCE):
            raise AssertionError(f"{self.name} is stuck after {self.at}")

    def _live(self) -> None:
        _thread.worker = self
        self._watch(connections["default"])
        while True:
            self._may_go.acquire()
            assert self._task is not None
            try:
                self._task()
            except Died:
                pass
            except Exception as error:
                self.failure = error
            self.at = None
            self._has_stopped.release()

    def _watch(self, connection: Any) -> None:
        commit = connection._commit

        def watched_commit() -> None:
            order, self._at_commit = self._at_commit, Order.GO
            if order in (Order.DIE_INSIDE, Order.FAIL):
                connection._rollback()
            else:
                commit()
            self._befall(order, connection)

        connection._commit = watched_commit
        connection.execute_wrappers.append(self._around)

    def _around(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        connection = context["connection"]
        if connection.in_atomic_block:
            return execute(sql, params, many, context)
        order = self.stop_here(sql)
        if sql.startswith("BEGIN") and order not in (Order.DIE, Order.BREAK):
            self._at_commit = order
            return execute(sql, params, many, context)
        if order is not Order.LOSE:
            self._befall(order, connection)
        result = execute(sql, params, many, context)
        self._befall(order, connection)
        return result

    def _befall(self, order: Order, connection: Any) -> None:
        if order in (Order.DIE, Order.DIE_INSIDE):
            raise Died
        if order is Order.BREAK:
            raise Defect("a defect")
        if order in (Order.FAIL, Order.LOSE):
            with connection.wrap_database_errors:
                raise _io_error()


def _io_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = "SQLITE_IOERR"
    return error


def skew_clocks() -> None:
    """Let every stepped worker see the time of its own clock, and sleep no time at all."""
    real_time, real_sleep, real_now = time.time, time.sleep, timezone.now

    def skew() -> float:
        worker = getattr(_thread, "worker", None)
        return worker.skew if worker else 0

    def sleep(seconds: float) -> None:
        if not hasattr(_thread, "worker"):
            real_sleep(seconds)

    def now() -> datetime:
        return real_now() + timedelta(seconds=skew())

    time.time = lambda: real_time() + skew()
    time.sleep = sleep
    timezone.now = now

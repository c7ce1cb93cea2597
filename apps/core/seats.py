"""The threads of a process that bodies and downloads may hold at once, and who holds them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, StreamingHttpResponse

from apps.core.problems import Problem

# Threads that stay free for status, health and small calls while bodies stream.
FREE_THREADS = 3


class _Seats:
    """The threads of this process that bodies and downloads may hold; two thirds for a tenant."""

    def __init__(self) -> None:
        self._all = max(1, settings.HEADRACE_THREADS - FREE_THREADS)
        self._of_one = max(1, self._all * 2 // 3)
        self._taken: Counter[UUID] = Counter()
        self._lock = threading.Lock()

    def take(self, tenant: UUID) -> bool:
        with self._lock:
            is_free = self._taken.total() < self._all and self._taken[tenant] < self._of_one
            self._taken[tenant] += is_free
            return is_free

    def give_back(self, tenant: UUID) -> None:
        with self._lock:
            self._taken[tenant] -= 1
            self._taken += Counter()  # forgets those without


_seats = _Seats()


class Seat:
    """One of the threads of this process, held until it is left. Raises Problem without one."""

    def __init__(self, tenant: UUID) -> None:
        if not _seats.take(tenant):
            raise Problem("busy", "Send the same request again in a moment.")
        self._tenant = tenant
        self._is_held = True

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        if self._is_held:
            self._is_held = False
            _seats.give_back(self._tenant)


def seated(
    request: HttpRequest, tenant: UUID, answer: Callable[[], StreamingHttpResponse]
) -> StreamingHttpResponse:
    """A download that holds a seat until it ends or is closed, begun or not. Raises Problem.

    A reader who takes no block for HEADRACE_BODY_SILENCE_SECONDS loses the connection.
    """
    seat = Seat(tenant)
    try:
        response = answer()
    except BaseException:
        seat.leave()
        raise
    response.streaming_content = _Seated(iter(response), seat)
    if socket := request.META.get("gunicorn.socket"):
        socket.settimeout(settings.HEADRACE_BODY_SILENCE_SECONDS)
    return response


class _Seated:
    """The server closes a response in any case, but a generator only if it was begun."""

    def __init__(self, blocks: Iterable[bytes], seat: Seat) -> None:
        self._blocks = blocks
        self._seat = seat

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._blocks)

    def close(self) -> None:
        self._seat.leave()

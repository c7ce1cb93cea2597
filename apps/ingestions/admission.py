"""Who may bring how much at once: refused before a body is read, not when the disk is full."""

import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, StreamingHttpResponse

from apps.core.problems import Problem
from apps.ingestions.models import Chunk
from apps.tenants.models import Tenant

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


def check_tenant(tenant: UUID, token: str | None, size: int) -> None:
    """Raises Problem if the tenant has too much waiting to take in `size` bytes more.

    It holds under concurrency in the transaction that holds the tenant's row; before a body is
    read it is a first look.
    """
    others = Count("upload", distinct=True, filter=~Q(upload__token=token or ""))
    waiting = Chunk.objects.filter(tenant_id=tenant, ended_at=None).aggregate(
        bytes=Sum("bytes", default=0), uploads=others
    )
    own = Tenant.objects.get(pk=tenant)
    most_bytes = _limit(own.max_queued_bytes, settings.HEADRACE_MAX_QUEUED_BYTES)
    if waiting["bytes"] and waiting["bytes"] + size > most_bytes:
        raise Problem("queue_full", f"Wait until less than {most_bytes:,} bytes are queued.")
    most_uploads = _limit(own.max_active_uploads, settings.HEADRACE_MAX_ACTIVE_UPLOADS)
    if waiting["uploads"] >= most_uploads:
        raise Problem("queue_full", f"Wait until fewer than {most_uploads:,} uploads are at work.")


def _limit(own: int | None, usual: int) -> int:
    return usual if own is None else own


def check_room(size: int) -> None:
    """Raises Problem if `size` bytes more would eat into the reserve of the disk."""
    free = shutil.disk_usage(settings.HEADRACE_HOME).free
    if free - size < settings.HEADRACE_DISK_RESERVE_BYTES:
        raise Problem("store_full", "Try again later, or ask the operator for room.")

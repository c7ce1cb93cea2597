"""When keys were last used: written by a thread beside the requests, once a minute a key.

A request that wrote would wait for the database, on SQLite even for a load that is at work. So
who looks a key up leaves a note, and the thread writes what has been noted a second later.
"""

import logging
import threading
import time

from django.db import Error, connection
from django.db.models.functions import Now

from apps.tenants.models import ApiKey

log = logging.getLogger(__name__)


class _Uses:
    EVERY_SECONDS = 60.0  # a key and process
    DELAY_SECONDS = 1.0

    def __init__(self) -> None:
        self._due: dict[str, float] = {}  #: by key id: from when on its use is written again
        self._seen: set[str] = set()
        self._has_seen = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, key_id: str) -> None:
        """The key was used just now."""
        now = time.monotonic()
        if now < self._due.get(key_id, 0.0):
            return
        with self._lock:
            self._due[key_id] = now + self.EVERY_SECONDS
            self._seen.add(key_id)
            self._has_seen.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while self._has_seen.wait():
            time.sleep(self.DELAY_SECONDS)
            for key_id in self._taken():
                self._write(key_id)
            connection.close()  # a minute is long: it would count against what the server allows

    def _taken(self) -> set[str]:
        with self._lock:
            seen, self._seen = self._seen, set()
            self._has_seen.clear()
            now = time.monotonic()
            self._due = {key_id: due for key_id, due in self._due.items() if now < due}
        return seen

    def _write(self, key_id: str) -> None:
        """One key a transaction, so that processes which write at once lock no two rows."""
        try:
            ApiKey.objects.filter(key_id=key_id).update(last_used_at=Now())
        except Error:
            log.warning("the last use of a key was not written", exc_info=True)


note = _Uses().note

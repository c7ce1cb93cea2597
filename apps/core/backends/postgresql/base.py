"""Django's backend of PostgreSQL, which looks at a connection instead of asking it.

A connection is tried before its first use in a request. Django's way is a statement, a whole turn
to the server and back. But a server that ended a connection has said so, and what it said waits
to be read. Only after a longer silence, in which a network may have dropped it without a word, is
the statement worth its turn.
"""

import select
import time

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    SILENCE_SECONDS = 30.0

    _last_tried = 0.0

    def is_usable(self) -> bool:
        now = time.monotonic()
        is_fresh = now - self._last_tried < self.SILENCE_SECONDS
        self._last_tried = now
        if is_fresh and self.connection is not None and not self.connection.closed:
            poll = select.poll()
            poll.register(self.connection.pgconn.socket, select.POLLIN)
            if not poll.poll(0):
                return True
        return bool(super().is_usable())

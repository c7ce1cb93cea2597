"""A road to a server that is narrow, breaks, and is closed at times: bytes through real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

BLOCK = 16 << 10


class NarrowRoad:
    """Hands bytes on to `port` and back. What comes back comes at `rate` bytes a second (0: as
    fast as it can), and is cut off each time that as many bytes have come in all as one of `cuts`.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.rate = 0
        self.cuts: list[int] = []
        self.came = 0
        self.is_closed = False
        threading.Thread(target=self._welcome, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._door.getsockname()[1]}"

    def close(self) -> None:
        """Break what is open; who comes now is sent away."""
        self.is_closed = True
        with self._lock:
            for end in self._open:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def open(self) -> None:
        self.is_closed = False

    def end(self) -> None:
        self.close()
        self._door.close()

    def _welcome(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            threading.Thread(target=self._travel, args=(client,), daemon=True).start()

    def _travel(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.is_closed:
                return
            with socket.create_connection(("127.0.0.1", self._port)) as server:
                with self._lock:
                    self._open |= {client, server}
                there = threading.Thread(target=_forward, args=(client, server), daemon=True)
                there.start()
                self._back(server, client)
        with self._lock:
            self._open -= {client, server}

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        while block := server.recv(BLOCK):
            if self.rate:
                time.sleep(len(block) / self.rate)
            is_cut = bool(self.cuts) and self.came + len(block) >= self.cuts[0]
            part = block[: self.cuts.pop(0) - self.came] if is_cut else block
            client.sendall(part)
            self.came += len(part)
            if is_cut:
                client.shutdown(socket.SHUT_RDWR)
                server.shutdown(socket.SHUT_RDWR)
                return


def _forward(client: socket.socket, server: socket.socket) -> None:
    with suppress(OSError):
        while block := client.recv(BLOCK):
            server.sendall(block)
        server.shutdown(socket.SHUT_WR)


@contextmanager
def road_to(port: int) -> Iterator[NarrowRoad]:
    road = NarrowRoad(port)
    try:
        yield road
    finally:
        road.end()

"""`\\copy` of ready-made rows into the project's own tables, over one connection or two.

A program of its own, so that its CPU is its own: `python -m bench.copying URL FOLDER N` prints
the seconds of each step as JSON. The clock stands still while the text is read into memory and
while statistics are refreshed after each step, parents before children; ours pays for both.
"""

import json
import sys
import threading
import time
from pathlib import Path

import psycopg

from bench.dataset import ENTITIES, columns

BLOCK = 1 << 20
#: What is copied at once. Two connections take a table each, or a half each of one table.
STEPS = {1: [(entity,) for entity in ENTITIES], 2: [ENTITIES[:2], *((e,) for e in ENTITIES[2:])]}


def load(url: str, folder: Path, connections: int) -> dict[str, float]:
    """Copy all entities; the seconds of each step, by the names of its entities."""
    pool = [psycopg.connect(url, autocommit=True) for _ in range(connections)]
    for connection in pool:
        connection.execute("SET TimeZone = 'UTC'")
    seconds = {}
    for step in STEPS[connections]:
        parts = [
            (entity, part)
            for entity in step
            for part in _divided(folder / "copy" / f"{entity}.txt", connections // len(step))
        ]
        started = time.monotonic()
        _copy_at_once(pool, parts)
        seconds["+".join(step)] = time.monotonic() - started
        for entity in step:
            pool[0].execute(f"ANALYZE {entity}")
    return seconds


def _divided(path: Path, parts: int) -> list[memoryview]:
    """The text of a file in so many parts, each of whole lines."""
    text = path.read_bytes()
    ends = [text.index(b"\n", len(text) * part // parts - 1) + 1 for part in range(1, parts + 1)]
    return [memoryview(text)[at:end] for at, end in zip([0, *ends], ends, strict=False)]


def _copy_at_once(pool: list[psycopg.Connection], parts: list[tuple[str, memoryview]]) -> None:
    threads = [
        threading.Thread(target=_copy, args=(connection, entity, text))
        for connection, (entity, text) in zip(pool, parts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _copy(connection: psycopg.Connection, entity: str, text: memoryview) -> None:
    statement = f"COPY {entity} ({columns(entity)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, len(text), BLOCK):
            copy.write(text[start : start + BLOCK])


if __name__ == "__main__":
    print(json.dumps(load(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))

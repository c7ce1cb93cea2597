"""dlt as a user who knows it would set it up: the loader that people take before they write one.

It runs in a venv of its own (requirements-bench.txt) and therefore imports nothing of ours:
`python bench/dlt_loader.py ORDER` reads from the JSON file ORDER where the files are, what types
their columns have and what their keys are, and prints the seconds of its steps as JSON.

All tables go through one pipeline, so that dlt may work on them side by side: merge with strategy
"upsert" on the primary key, types by hints (nothing is guessed), two processes normalize, as many
threads load as dlt likes. `WAYS` are its file formats; the caller takes the fastest.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dlt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

LINES_A_PART = 50_000
#: What dlt reads from the environment; files are bounded, so that two processes have work.
SETTINGS = {
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": str(LINES_A_PART),
    "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": str(LINES_A_PART),
}
ANY_PASSWORD = {"CREDENTIALS__PASSWORD": "-"}
Table = dict[str, Any]


def load(order: dict[str, Any]) -> dict[str, float]:
    """Load all tables; the seconds of dlt's three steps, which it takes for all tables at once."""
    os.environ.update(SETTINGS)
    if urlsplit(order["url"]).password is None:  # dlt wants one where the server does not
        os.environ.update(ANY_PASSWORD)
    read, file_format = WAYS[order["way"]]
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=order["home"],
        destination=dlt.destinations.postgres(credentials=order["url"]),
        dataset_name=order["schema"],
    )
    resources = [_resource(table, read) for table in order["tables"]]
    seconds = {
        "extract": _seconds(lambda: pipeline.extract(resources, loader_file_format=file_format)),
        "normalize": _seconds(pipeline.normalize),
    }
    _create_indexes(pipeline, order["indexes"])  # while the clock stands
    return {**seconds, "load": _seconds(lambda: pipeline.load().raise_on_failed_jobs())}


def _create_indexes(pipeline: dlt.Pipeline, statements: list[str]) -> None:
    """Have dlt make its tables, and give them what it does not."""
    pipeline.sync_schema()
    with pipeline.sql_client() as client:
        for statement in statements:
            client.execute_sql(statement)


def _seconds(step: Callable[[], object]) -> float:
    started = time.monotonic()
    step()
    return time.monotonic() - started


def _resource(table: Table, read: Callable[[Path, Table], Any]) -> Any:
    return dlt.resource(
        (read(Path(path), table) for path in table["files"]),
        name=table["name"],
        primary_key=table["key"],
        columns=table["columns"],
        write_disposition={"disposition": "merge", "strategy": "upsert"},
        max_table_nesting=0,
    )


def _records(path: Path, _: Table) -> list[Any]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _arrow(path: Path, table: Table) -> pa.Table:
    """The lines as columns: what no JSON type says (decimals, documents) is cast afterwards."""
    found = arrow_json.read_json(path)
    for at, name in enumerate(found.column_names):
        column = found.column(name)
        hint = table["columns"][name]
        found = found.set_column(at, name, _CASTS.get(hint["data_type"], _as_it_is)(column, hint))
    return found


def _as_it_is(column: pa.ChunkedArray, _: Table) -> pa.ChunkedArray:
    return column


def _decimals(column: pa.ChunkedArray, hint: Table) -> pa.ChunkedArray:
    return pc.cast(column, pa.decimal128(hint["precision"], hint["scale"]))


def _instants(column: pa.ChunkedArray, _: Table) -> pa.ChunkedArray:
    return pc.cast(column, pa.timestamp("us", "UTC"))


def _documents(column: pa.ChunkedArray, _: Table) -> pa.Array:
    return pa.array([orjson.dumps(document).decode() for document in _each(column)])


def _each(column: pa.ChunkedArray) -> Iterator[Any]:
    for chunk in column.chunks:
        yield from chunk.to_pylist()


_CASTS = {"decimal": _decimals, "timestamp": _instants, "json": _documents}
#: How the lines are read, and the file format in which dlt hands them to PostgreSQL.
WAYS: dict[str, tuple[Callable[[Path, Table], Any], str]] = {
    "dictionaries, INSERT of many values": (_records, "insert_values"),
    "pyarrow tables, CSV by COPY": (_arrow, "csv"),
    "pyarrow tables, Parquet by ADBC": (_arrow, "parquet"),
}


if __name__ == "__main__":
    print(json.dumps(load(json.loads(Path(sys.argv[1]).read_text()))))

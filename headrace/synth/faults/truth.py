"""The truth file: for every line with a fault, or behind one, what the road must say."""

from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson

from headrace.synth.faults.kinds import Answer
from headrace.synth.files import GrowingFile

TRUTH = "truth.ndjson"


class Truth:
    """The truth file of a dataset as it grows; `counts` has how many lines each fault hit.

    One JSON object a line: `file`, `line` (physical, from 1), `fault`, `outcome` (null for a
    blank line, which is no line), `code`, `field`; for a parked line also `parent` and `key`.
    A context manager: the file gets its name when that is left without an exception.
    """

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._file = GrowingFile(folder / TRUTH)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.finish()
        else:
            self._file.discard()

    def note(self, file: str, line: int, fault: str, answer: Answer) -> None:
        """Keep what the road must answer to a line."""
        self.counts[fault] += 1
        told = {
            "file": file,
            "line": line,
            "fault": fault,
            "outcome": answer.outcome,
            "code": answer.code,
            "field": answer.field,
        }
        if answer.parent:
            told |= {"parent": answer.parent, "key": answer.key}
        self._file.write(orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE))

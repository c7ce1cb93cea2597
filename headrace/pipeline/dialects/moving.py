"""What every database is asked alike about staged movements."""

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from headrace.pipeline.dialects import level_statements
from headrace.pipeline.dialects.base import Connection, Known, Move
from headrace.pipeline.dialects.statements import Spelling
from headrace.pipeline.load import Load
from headrace.pipeline.report import Lines
from headrace.schema import Field


class Moving(ABC):
    """A part of a dialect, which gives its spellings and how it runs a statement."""

    _spelling: Spelling

    @abstractmethod
    def _default_of(self, field: Field) -> str | None:
        """The SQL of a field's default."""

    @abstractmethod
    def _asked(self, connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement that takes the load's parameters."""

    @property
    def wary(self) -> Self:
        return self

    def fitting(self, rows: int) -> Self:
        return self

    def known_events(self, connection: Connection, load: Load) -> list[Known]:
        statement = level_statements.known(self._spelling, load.entity)
        rows = self._asked(connection, load, statement)
        return [Known(line, bool(is_equal)) for line, is_equal in rows]

    def repeated_events(self, connection: Connection, load: Load) -> list[Known]:
        statement = level_statements.repeated(self._spelling, load.entity, self._default_of)
        rows = self._asked(connection, load, statement)
        return [Known(line, bool(is_equal)) for line, is_equal in rows]

    def still_events(self, connection: Connection, load: Load) -> Lines:
        statement = level_statements.still(self._spelling, load.entity)
        return np.array([line for (line,) in self._asked(connection, load, statement)], np.int64)

    def impossible_moves(self, connection: Connection, load: Load) -> list[Move]:
        statement = level_statements.impossible(
            self._spelling, load.entity, may_be_negative=load.may_be_negative
        )
        rows = self._asked(connection, load, statement)  # MariaDB's sums are decimals
        return [Move(line, int(found), int(led_to), wanted) for line, found, led_to, wanted in rows]

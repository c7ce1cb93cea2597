"""What the engine asks of a database: the same operations, by the same names, on each.

A dialect works on a raw DB-API connection inside a transaction that the caller has begun and
will end. It stages rows in a table that only this connection sees.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import numpy as np

from headrace.pipeline.errors import HeadraceError
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import NO_LINES, Fall, Lines
from headrace.schema import Entity, Reference

Connection = Any  #: a DB-API connection of the dialect's driver


class Unresolved(NamedTuple):
    """A staged line whose reference `key` has no row."""

    line: int
    key: str


class Taken(NamedTuple):
    """A staged line whose natural key `value` belongs to the row `holder`."""

    line: int
    value: str
    holder: str


class Written(NamedTuple):
    """The lines whose rows were written, as the database tells it, and those of rows that were
    found equal before any was, where that was asked.

    `days` are those, as ISO dates, that the written rows belong to or belonged to before, where the
    entity declares days.
    """

    inserted: Lines = NO_LINES
    updated: Lines = NO_LINES
    days: frozenset[str] = frozenset()
    equal: Lines = NO_LINES

    def plus(self, other: "Written") -> "Written":
        """What both say together."""
        return Written(
            np.concatenate((self.inserted, other.inserted)),
            np.concatenate((self.updated, other.updated)),
            self.days | other.days,
            np.concatenate((self.equal, other.equal)),
        )


class Replaced(NamedTuple):
    """The staged lines whose stored row is newer, and how many would begin an older interval
    elsewhere than it begins."""

    stale: Lines
    moving: int


class Known(NamedTuple):
    """A staged line whose event is there already; `is_equal` if it says nothing else."""

    line: int
    is_equal: bool


class Move(NamedTuple):
    """A staged line that finds a level and leads to another; `expected` is the one it names."""

    line: int
    found: int
    led_to: int
    expected: int | None


class Moved(NamedTuple):
    """How many movements were written and levels raised, as the database tells it; the lines of
    those whose claim is wrong, and of those that changed nothing.
    """

    written: int
    raised: int
    mismatched: Lines
    still: Lines


class Span(NamedTuple):
    """An interval: staged under `line`, or stored (line 0). Times compare among themselves."""

    line: int
    id: Any
    owner: Any
    start: Any
    end: Any


class Dialect(Protocol):
    """One database. Lines are physical line numbers; `mask` says which fields rows have.

    `segment_rows` is how many rows a transaction promotes, `pause_seconds` how long to leave
    the database to others between two of them. `hides_rows` says that a transaction sees its
    tenant's rows only; elsewhere the database refuses writes and its readers must choose.
    `unbind_statement` ends what `bind_statement` began; either is empty where none is needed.
    `unbind_early_statement` does where the transaction goes on and would end it by itself.
    `collation` compares texts byte for byte; it is empty where every database does that.
    """

    name: str
    segment_rows: int
    pause_seconds: float
    hides_rows: bool
    unbind_statement: str
    unbind_early_statement: str
    collation: str

    def bind_statement(self, tenant: UUID | None) -> str:
        """The statement that binds the transaction to a tenant; None is the owner of all."""

    def table_statements(self, entity: Entity) -> list[str]:
        """The DDL that makes the target table with its keys, checks and indexes."""

    def setting_statements(self, entity: Entity) -> list[str]:
        """The DDL that sets what a target table may be given again at any time."""

    def guard_statements(self, table: str) -> list[str]:
        """The DDL that binds a table with a tenant to the tenant of the transaction."""

    def numbering_statements(self, entity: Entity) -> list[str]:
        """What makes an older table one of movements: number them, and write down the levels."""

    def index_statement(self, entity: Entity, name: str) -> str:
        """The DDL that makes one declared index. Raises KeyError if there is none."""

    def index_removal(self, table: str, name: str) -> str:
        """The DDL that drops an index that is there, and is declared no longer."""

    def removal_statement(self, table: str) -> str:
        """What removes at most `most` rows of the tenant `tenant` from a table that has tenants."""

    def own_tables(self, entity: Entity) -> list[str]:
        """The tables with tenants that this database has beside the entity's, for itself."""

    def column_statement(self, entity: Entity, field: str) -> str:
        """The DDL that adds one declared field's column to an older table."""

    def day_table_statements(self, table: str) -> list[str]:
        """The DDL that makes a table of days whose rows have changed, guarded by tenant.

        Each change adds a row, and no two of them are in each other's way.
        """

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        """All statements that promote the entity, by operation."""

    def stage(self, connection: Connection, entity: Entity, rows: ReadyRows) -> None:
        """Make these rows the only ones in the entity's staging table."""

    def hold_parents(self, connection: Connection, load: Load) -> AbstractContextManager[None]:
        """Before references are looked at: let nobody delete what they refer to until the end of
        our transaction, if the rows can then be written without looking again.

        The context to write them in; nothing but target rows may be written there.
        """

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        """The staged lines whose reference has no row in the parent's table."""

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        """The staged lines whose natural key a stored row of another id has."""

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        """The staged lines whose natural key an earlier staged line of another id has."""

    def replaced(self, connection: Connection, load: Load) -> Replaced:
        """What staged intervals would do to the stored ones of their keys."""

    def repeated(self, connection: Connection, load: Load) -> Lines:
        """The staged lines whose key a later staged line has too."""

    def spans(self, connection: Connection, load: Load) -> list[Span]:
        """All spans, staged and stored, of the owners whose staged spans overlap another."""

    def drop(self, connection: Connection, entity: Entity, lines: Lines) -> None:
        """Take lines out of staging."""

    def set_aside(self, connection: Connection, load: Load) -> int:
        """Begin the stored intervals that staged ones move, and whose start others take, before all
        that records may name, until they are written. So none is in another's way, whatever the
        order of writing.

        How many there are.
        """

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        """Promote the staged rows of one mask: insert, and update what is older and differs."""

    def mark_days(self, connection: Connection, load: Load, days: Sequence[str]) -> None:
        """List days whose rows the transaction has changed."""

    def equal(self, connection: Connection, load: Load, mask: int) -> Lines:
        """The staged lines of one mask whose stored row, not written by them, is equal."""

    def renew(self, connection: Connection, load: Load) -> None:
        """Give stored rows that equal their staged ones the newer sequence."""

    def serialize(self, connection: Connection, load: Load) -> None:
        """Let no other transaction promote this entity of this tenant until the end of ours."""

    def serialize_shared(self, connection: Connection, tenant: UUID, entity: Entity) -> None:
        """Let no load promote this entity of this tenant until the end of our transaction.

        Others who ask for the same go on beside us.
        """

    @property
    def wary(self) -> "Dialect":
        """What to promote by after a race: a dialect that no neighbour can spoil by inserting."""

    def fitting(self, rows: int) -> "Dialect":
        """The dialect to promote so many movements by: this one, or one with less work to do."""

    def lock_levels(self, connection: Connection, load: Load) -> None:
        """Hold the levels of the staged owners to the end of the transaction, in key order."""

    def known_events(self, connection: Connection, load: Load) -> list[Known]:
        """The staged lines whose event is stored."""

    def repeated_events(self, connection: Connection, load: Load) -> list[Known]:
        """The staged lines whose event an earlier staged line has."""

    def still_events(self, connection: Connection, load: Load) -> Lines:
        """The staged lines whose change is 0 by what they say."""

    def impossible_moves(self, connection: Connection, load: Load) -> list[Move]:
        """The staged lines that find or lead to a level that they must not, by ascending line."""

    def move(self, connection: Connection, load: Load) -> Moved:
        """Write the staged movements, and raise the levels of their owners."""

    def fallen(self, connection: Connection, load: Load) -> list[Fall]:
        """The levels that the staged movements, just written, took below 0."""

    def refresh_statistics(self, connection: Connection, entity: Entity) -> None:
        """Let the planner know the target table, if what it knows is out of date."""

    def translated(self, error: Exception) -> HeadraceError | None:
        """A driver's exception as one of ours; None if it is a defect."""

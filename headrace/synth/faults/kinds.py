"""What a kind of fault is, what it is given and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.pipeline.report import Outcome
from headrace.schema import Entity, Field, FieldType, Reference, Text
from headrace.synth.cells import text_of, uuids
from headrace.synth.formats import Format
from headrace.synth.records import Record

WHOLE_LINE = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the road must say of a line: outcome, code and field of a reject, or the field and the
    missing parent of a parked line. No outcome: the line is blank, which is no line at all."""

    outcome: Outcome | None
    code: str = ""
    field: str = ""
    parent: str = ""
    key: str = ""

    @classmethod
    def rejected(cls, code: str, field: str = WHOLE_LINE) -> "Answer":
        return cls(Outcome.REJECTED, code, field)

    @classmethod
    def parked(cls, reference: Reference, key: str) -> "Answer":
        return cls(Outcome.PARKED, "", reference.field, reference.entity, key)


@dataclass(frozen=True, slots=True)
class Line:
    """A physical line with its line feed. Without an answer the road must insert it."""

    text: bytes
    answer: Answer | None = None

    @property
    def is_record(self) -> bool:
        return self.answer is None or self.answer.outcome is not None

    @property
    def lands(self) -> bool:
        return self.answer is None or self.answer.outcome is Outcome.INSERTED


@dataclass(frozen=True, slots=True)
class Target:
    """A record to spoil at `place`, a field or the whole line.

    `sound_above(distance)` is the record that many rows further up in the same file, or None if
    there is none or not one that will be inserted as it is; `row` says how many rows there are.
    """

    entity: Entity
    format: Format
    rng: np.random.Generator
    record: Record
    row: int
    sound_above: Callable[[int], Record | None]
    place: str = WHOLE_LINE

    @property
    def field(self) -> Field:
        return self.entity.field(self.place)

    @property
    def value(self) -> bytes:
        return self.record[self.place]

    def pick(self, *choices: bytes) -> bytes:
        """One of the choices, by chance."""
        return choices[int(self.rng.integers(len(choices)))]

    def new_id(self) -> bytes:
        """The JSON spelling of an id that no row has."""
        return b'"%s"' % text_of(uuids(self.rng, 1))

    def line(self, changes: Mapping[str, bytes], answer: Answer | None = None) -> Line:
        """The record with other values as a line."""
        return Line(self.format.line(self.entity, {**self.record, **changes}), answer)


Places = Callable[[Entity], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault; `about` says what it is in a few words.

    `places` are the fields that it can hit, none if it cannot hit the entity. `lines` gives what
    stands in the record's place, or None if this very record cannot be spoilt so; a line of the
    record itself that still lands is among them, or the record is lost. `codes` are the reject
    codes or outcomes in the answers: one, or NDJSON's and CSV's. A `rare` kind hits once a dataset.
    """

    name: str
    about: str
    places: Places
    lines: Callable[[Target], list[Line] | None]
    codes: tuple[str, ...]
    rare: bool = False


def whole_line(entity: Entity) -> Sequence[str]:
    """The place of faults that hit no field in particular."""
    return (WHOLE_LINE,)


def every_field(entity: Entity) -> Sequence[str]:
    """All fields that generated records have."""
    return [field.name for field in entity.kept]


def fields_where(condition: Callable[[Field], bool]) -> Places:
    """The fields that fulfil a condition."""
    return lambda entity: [field.name for field in entity.kept if condition(field)]


def fields_of(*types: type[FieldType]) -> Places:
    """The fields of these types."""
    return fields_where(lambda field: isinstance(field.type, types))


def is_free_text(field: Field) -> bool:
    """Whether the field takes any text that is short enough."""
    return isinstance(field.type, Text) and not field.type.choices

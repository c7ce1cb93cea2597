"""Faults of one value: the same value, and the same answer, in every format."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import orjson

from headrace.pipeline.errors import RejectCode
from headrace.schema import (
    Before,
    Boolean,
    Entity,
    Field,
    Integer,
    JsonObject,
    MinimumWhen,
    Money,
    OneOf,
    Text,
    Timestamp,
    Uuid,
)
from headrace.synth.faults.kinds import (
    Answer,
    Kind,
    Line,
    Places,
    Target,
    fields_of,
    fields_where,
    is_free_text,
)
from headrace.synth.records import TENANT

Spelling = Callable[[Target], bytes | None]  #: the JSON spelling to put in the place of a value


def _kind(name: str, about: str, code: RejectCode, places: Places, spelling: Spelling) -> Kind:
    def lines(target: Target) -> list[Line] | None:
        value = spelling(target)
        if value is None:
            return None
        return [target.line({target.place: value}, Answer.rejected(code, target.place))]

    return Kind(name, about, places, lines, (code,))


def _any_of(*spellings: bytes) -> Spelling:
    return lambda target: target.pick(*spellings)


def _by_type(spelling: Callable[[Any], bytes]) -> Spelling:
    return lambda target: spelling(target.field.type)


def _left_out(code: RejectCode) -> Callable[[Target], list[Line]]:
    def lines(target: Target) -> list[Line]:
        rest = {name: value for name, value in target.record.items() if name != target.place}
        answer = Answer.rejected(code, target.place)
        return [Line(target.format.line(target.entity, rest), answer)]

    return lines


def _one_of_two(entity: Entity) -> list[str]:
    return [check.one for check in entity.checks if isinstance(check, OneOf)]


def _undashed(target: Target) -> bytes | None:
    return None if target.value == b"null" else target.value.replace(b"-", b"")


def _too_large(kind: Money | Integer) -> bytes:
    match kind:
        case Money(digits=digits, scale=scale):
            return b"1" + b"0" * (digits - scale)
        case Integer(maximum=maximum):
            return b"%d" % (maximum + 1)


def _has_choices(field: Field) -> bool:
    return isinstance(field.type, Text) and bool(field.type.choices)


def _not_a_choice(target: Target) -> bytes:
    return orjson.dumps(f"{orjson.loads(target.value)}?")


def _over_long(target: Target) -> bytes:
    assert isinstance(target.field.type, Text)
    return orjson.dumps(
        target.pick(b"x", "é".encode()).decode() * (target.field.type.max_length + 1)
    )


def _has_minimum(field: Field) -> bool:
    return isinstance(field.type, Money) and field.type.minimum is not None


def _minimum_checks(entity: Entity) -> Iterator[MinimumWhen]:
    return (check for check in entity.checks if isinstance(check, MinimumWhen))


def _below_minimum_when(target: Target) -> bytes | None:
    for check in _minimum_checks(target.entity):
        if check.field == target.place and orjson.loads(target.record[check.when]) == check.equals:
            return str(Decimal(check.minimum) - Decimal("0.01")).encode()
    return None


def _order_checks(entity: Entity) -> Iterator[Before]:
    return (check for check in entity.checks if isinstance(check, Before))


def _not_after(target: Target) -> bytes:
    earlier = next(c.earlier for c in _order_checks(target.entity) if c.later == target.place)
    return target.record[earlier]


NUMBERS = fields_of(Money, Integer)
KINDS = (
    Kind(
        "missing",
        "a required field is left out",
        fields_where(lambda field: field.required),
        _left_out(RejectCode.REQUIRED),
        (RejectCode.REQUIRED,),
    ),
    Kind(
        "neither",
        "of two fields that can be given, none is",
        _one_of_two,
        _left_out(RejectCode.ONE_OF),
        (RejectCode.ONE_OF,),
    ),
    _kind(
        "null",
        "null where that is not allowed",
        RejectCode.REQUIRED,
        fields_where(lambda field: not field.null),
        _any_of(b"null"),
    ),
    _kind(
        "id_without_dashes",
        "an id of 32 hexadecimal digits",
        RejectCode.BAD_UUID,
        fields_of(Uuid),
        _undashed,
    ),
    _kind(
        "not_finite",
        "NaN or an infinity",
        RejectCode.BAD_NUMBER,
        NUMBERS,
        _any_of(b"NaN", b"Infinity", b"-Infinity"),
    ),
    _kind(
        "not_a_number",
        "a text or true for a number",
        RejectCode.BAD_NUMBER,
        NUMBERS,
        _any_of(b'"abc"', b'"1_0"', b"true"),
    ),
    _kind(
        "huge_exponent",
        "a number such as 1e400",
        RejectCode.BAD_NUMBER,
        NUMBERS,
        _any_of(b"1e400", b"1e999999999"),
    ),
    _kind(
        "too_large",
        "a number beyond the digits of its type",
        RejectCode.BAD_NUMBER,
        NUMBERS,
        _by_type(_too_large),
    ),
    _kind(
        "too_many_decimals",
        "a decimal more than the type has",
        RejectCode.BAD_NUMBER,
        fields_of(Money),
        _by_type(lambda money: b"0." + b"1" * (money.scale + 1)),
    ),
    _kind(
        "fraction",
        "1.9 for a whole number",
        RejectCode.BAD_NUMBER,
        fields_of(Integer),
        _any_of(b"1.9"),
    ),
    _kind(
        "zero",
        "0 where it is refused",
        RejectCode.BAD_NUMBER,
        fields_where(lambda field: isinstance(field.type, Integer) and field.type.nonzero),
        _any_of(b"0"),
    ),
    _kind(
        "below_minimum",
        "a number below the type's minimum",
        RejectCode.BAD_NUMBER,
        fields_where(_has_minimum),
        _by_type(lambda money: b"%d" % (money.minimum - 1)),
    ),
    _kind(
        "below_minimum_when",
        "a number below the minimum of a check",
        RejectCode.BAD_NUMBER,
        lambda entity: [check.field for check in _minimum_checks(entity)],
        _below_minimum_when,
    ),
    _kind(
        "not_a_time",
        "a day that no year has, or not ISO 8601",
        RejectCode.BAD_TIMESTAMP,
        fields_of(Timestamp),
        _any_of(b'"2023-02-30T12:00:00"', b'"31/12/2023"', b'"yesterday"', b"1700000000"),
    ),
    _kind(
        "time_out_of_range",
        "a time before 1970 or after 2200",
        RejectCode.BAD_TIMESTAMP,
        fields_of(Timestamp),
        _any_of(b'"1969-12-31T23:59:59"', b'"2201-01-01T00:00:00"'),
    ),
    _kind(
        "not_a_choice",
        "a text that is none of the choices",
        RejectCode.BAD_CHOICE,
        fields_where(_has_choices),
        _not_a_choice,
    ),
    _kind(
        "too_long",
        "a character too many",
        RejectCode.TOO_LONG,
        fields_where(is_free_text),
        _over_long,
    ),
    _kind(
        "ends_as_it_starts",
        "an end that is not after its start",
        RejectCode.BAD_ORDER,
        lambda entity: [check.later for check in _order_checks(entity)],
        _not_after,
    ),
    _kind(
        "not_a_boolean",
        "a text or number for true or false",
        RejectCode.BAD_TYPE,
        fields_of(Boolean),
        _any_of(b'"yes"', b"1"),
    ),
    _kind(
        "surrogate_in_object",
        "half a surrogate pair inside an object",
        RejectCode.BAD_ENCODING,
        fields_of(JsonObject),
        _any_of(rb'{"note":"\ud800"}'),
    ),
    _kind(
        "foreign_tenant",
        "the id of another tenant",
        RejectCode.FOREIGN_TENANT,
        lambda entity: (TENANT,),
        Target.new_id,
    ),
)

"""What each field type accepts, and the one text that a value travels in.

A checked value travels as text that every database reads without loss: dashed lower-case
UUIDs, plain decimals, `YYYY-MM-DD HH:MM:SS[.ffffff]` in UTC, canonical JSON, `t` and `f`.
`clean_pattern` describes spellings that already are such text (a sufficient condition, used by
the fast path of validate.py); `parse` accepts every spelling that is allowed and says precisely
what is wrong with the others.
"""

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import msgspec

from headrace.pipeline.errors import RejectCode
from headrace.schema import (
    Boolean,
    Field,
    FieldType,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)

MAX_DEPTH = 64
MAX_EXPONENT = 400
MAX_DIGITS = 1000
MAX_ZEROS = 40
MAX_UNITS = 2**63 - 1
NO_SPELLING = r"(?!)"  #: bounds that a pattern does not know: `parse` looks at every value
SHOWN = 200


class Refused(Exception):
    """A value is not acceptable: `code`, and what was expected instead."""

    def __init__(self, code: RejectCode, expected: str) -> None:
        super().__init__(expected)
        self.code = code
        self.expected = expected


class JsonNumber(str):
    """The spelling of a number in a JSON text, so that no digit is lost."""

    __slots__ = ()


# ASCII throughout: \\d would match the digits of every script.
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})?", re.ASCII)
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:(\.\d{1,6})0*)?)?"
    # Hours alone, as PostgreSQL writes an offset, only behind a time: 2025-01-01-05 is no date.
    r"(Z|[+-]\d\d:?\d\d|(?(2)[+-]\d\d|(?!)))?",
    re.ASCII,
)
_EXACT = Context(prec=2 * MAX_DIGITS)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2201, 1, 1, tzinfo=UTC)
_CANONICAL = msgspec.json.Encoder(order="sorted", decimal_format="number")

# Every day that each year has; 29 February is left to `parse`.
_DAY = r"(?:(?:0[13-9]|1[0-2])-(?:0[1-9]|[12]\d|30)|(?:0[13578]|1[02])-31|02-(?:0[1-9]|1\d|2[0-8]))"
_CLEAN_TIMESTAMP = (
    rf"(?:19[789]\d|20\d\d|21\d\d)-{_DAY}[T ](?:[01]\d|2[0-3])(?::[0-5]\d){{2}}(?:\.\d{{1,6}})?"
)


def clean_pattern(kind: FieldType, zone: ZoneInfo) -> str:
    """A regular expression of spellings that need no change; `zone` is that of naive times."""
    match kind:
        case Uuid():
            return r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
        case Text(choices=choices) if choices:
            return "|".join(map(re.escape, choices))
        case Text(max_length=length):
            return rf"[^\t\n\r\\\x00\"]{{0,{length}}}"
        case Money(minimum=minimum) if minimum is not None and minimum != 0:
            return NO_SPELLING
        case Money(digits=digits, scale=scale, minimum=minimum):
            sign = "" if minimum is not None else "-?"
            whole = min(digits, len(str(MAX_UNITS)) - 1) - scale
            return rf"{sign}(?:0|[1-9]\d{{0,{whole - 1}}})(?:\.\d{{1,{scale}}})?"
        case Integer() if is_narrow(kind):
            return NO_SPELLING
        case Integer(nonzero=nonzero):
            return r"-?[1-9]\d{0,8}" + ("" if nonzero else "|0")
        case Boolean():
            return "[tf]"
        case Timestamp():
            return _CLEAN_TIMESTAMP + ("Z?" if zone.key == "UTC" else "Z")
        case JsonObject():
            return r"\{[^\t\n\r\\\x00]*\}"


def is_narrow(kind: Integer) -> bool:
    """Whether numbers of nine digits may be out of its bounds, which no pattern tells."""
    return kind.minimum > -(10**9) or kind.maximum < 10**9


def parse(field: Field, value: Any, zone: ZoneInfo) -> str | None:
    """The travelling text of a decoded JSON value, None for null. Raises Refused.

    Numbers arrive as JsonNumber. A naive timestamp is taken to be in `zone`.
    """
    if value is None:
        _check_null(field)
        return None
    match field.type:
        case Uuid():
            return _uuid(value)
        case Text() as kind:
            return _text(kind, value)
        case Money() as kind:
            return _money(kind, value)
        case Integer() as kind:
            return _integer(kind, value)
        case Boolean():
            return _boolean(value)
        case Timestamp():
            return _timestamp(value, zone)
        case JsonObject():
            return _object(value)


def dashed(digits: str) -> str:
    """An id that a database keeps as 32 digits, as it is written."""
    return "-".join(digits[start:end] for start, end in pairwise((0, 8, 12, 16, 20, 32)))


def shown(value: Any) -> str:
    """A value as a reject quotes it: its JSON, cut to 200 characters."""
    text = str(value) if isinstance(value, JsonNumber) else _as_json(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def shown_key(key: str) -> str:
    """A key that a sender chose, short and without what a database cannot keep."""
    return shown(key).removeprefix('"').removesuffix('"')


def canonical_json(value: Any) -> str:
    """The one spelling of a JSON value: sorted keys, no blanks, numbers without waste.

    Raises Refused for numbers beyond 1e±400 and for text that UTF-8 cannot hold.
    """
    return encode_canonical(_normal(value))


def encode_canonical(value: Any) -> str:
    """The canonical spelling of a value whose numbers went through `number_of`."""
    return _CANONICAL.encode(value).decode()


def number_of(spelling: str) -> int | Decimal:
    """The exact value of a JSON number. Raises Refused beyond 1e±400."""
    number = _read_number(spelling)
    if number is None or not number.is_finite() or _is_far_off(number):
        raise Refused(
            RejectCode.BAD_NUMBER,
            f"expected a number within 1e±{MAX_EXPONENT} of at most {MAX_DIGITS} digits",
        )
    number = _EXACT.normalize(number)
    exponent = int(number.as_tuple().exponent)
    # Written out, 1e400 takes 401 bytes: a line of such would grow sixtyfold.
    return int(number) if 0 <= exponent <= MAX_ZEROS else number


def _read_number(spelling: str) -> Decimal | None:
    """None for too many digits, and for an exponent that even Decimal cannot hold."""
    try:
        return Decimal(spelling) if len(spelling) <= MAX_DIGITS else None
    except InvalidOperation:
        return None


def _is_far_off(number: Decimal) -> bool:
    return bool(number) and abs(number.adjusted()) > MAX_EXPONENT


def _as_json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=_as_spelled).decode()
    except (UnicodeError, RecursionError, msgspec.MsgspecError):
        return ascii(value)[:SHOWN]


def _as_spelled(number: Any) -> msgspec.Raw:
    return msgspec.Raw(str(number).encode())


def _check_null(field: Field) -> None:
    if not field.null:
        raise Refused(RejectCode.REQUIRED, f"expected {expectation(field.type)}, not null")


def expectation(kind: FieldType) -> str:
    """What a field type accepts, in words."""
    match kind:
        case Uuid():
            return "a dashed UUID"
        case Text(choices=choices) if choices:
            return "one of " + ", ".join(choices)
        case Text(max_length=length):
            return f"text of at most {length} characters"
        case Money(scale=scale, minimum=minimum):
            bound = "" if minimum is None else f" ≥ {minimum}"
            return f"a number{bound} within ±{_largest(kind):,} with at most {scale} decimals"
        case Integer(minimum=minimum, maximum=maximum, nonzero=nonzero):
            other = ", other than 0" if nonzero else ""
            return f"a whole number from {minimum} to {maximum}{other}"
        case Boolean():
            return "true or false"
        case Timestamp():
            return (
                "an ISO 8601 time between 1970 and 2200, to the microsecond, such as"
                " 2025-03-01T09:30:00+01:00"
            )
        case JsonObject():
            return "a JSON object"


def _refuse(code: RejectCode, kind: FieldType) -> NoReturn:
    raise Refused(code, f"expected {expectation(kind)}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, JsonNumber)


def _uuid(value: Any) -> str:
    if not _is_text(value) or not _UUID.fullmatch(value):
        _refuse(RejectCode.BAD_UUID, Uuid())
    return str(value.lower())


def _text(kind: Text, value: Any) -> str:
    if not _is_text(value):
        _refuse(RejectCode.BAD_TYPE, kind)
    check_characters(value)
    if kind.choices and value not in kind.choices:
        _refuse(RejectCode.BAD_CHOICE, kind)
    if len(value) > kind.max_length:
        _refuse(RejectCode.TOO_LONG, kind)
    return str(value)


def check_characters(text: str) -> None:
    """Raises Refused for NUL and for half of a surrogate pair: no database keeps them."""
    if "\x00" in text:
        raise Refused(RejectCode.BAD_ENCODING, "expected text without NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(RejectCode.BAD_ENCODING, "expected no lone surrogates") from None


def _decimal(kind: Money | Integer, value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str) or not _NUMBER.fullmatch(value):
        _refuse(RejectCode.BAD_NUMBER, kind)
    return Decimal(value)


def _money(kind: Money, value: Any) -> str:
    number = _decimal(kind, value)
    cut = number.quantize(Decimal(1).scaleb(-kind.scale)) if _fits(kind, number) else None
    if cut != number or (kind.minimum is not None and number < kind.minimum):
        _refuse(RejectCode.BAD_NUMBER, kind)
    return f"{cut if cut else abs(cut):f}"


def _fits(kind: Money, number: Decimal) -> bool:
    # Asked first: the product of a number with thousands of digits is never made.
    if number and number.adjusted() >= kind.digits - kind.scale:
        return False
    return abs(number) <= _largest(kind)


def _largest(kind: Money) -> Decimal:
    """SQLite keeps money as a 64-bit integer; what one database refuses, all refuse."""
    return min(Decimal(10**kind.digits - 1), Decimal(MAX_UNITS)).scaleb(-kind.scale)


def _integer(kind: Integer, value: Any) -> str:
    number = _decimal(kind, value)
    if _is_far_off(number) or not kind.minimum <= number <= kind.maximum:
        _refuse(RejectCode.BAD_NUMBER, kind)
    if number != number.to_integral_value() or (kind.nonzero and not number):
        _refuse(RejectCode.BAD_NUMBER, kind)
    return str(int(number))


def _boolean(value: Any) -> str:
    if not isinstance(value, bool):
        _refuse(RejectCode.BAD_TYPE, Boolean())
    return "t" if value else "f"


def _timestamp(value: Any, zone: ZoneInfo) -> str:
    match = _TIMESTAMP.fullmatch(value) if _is_text(value) else None
    if match is None:
        _refuse(RejectCode.BAD_TIMESTAMP, Timestamp())
    day, time, fraction, offset = (part or "" for part in match.groups())
    try:
        moment = datetime.fromisoformat(f"{day}T{time or '00:00'}{fraction}{offset}")
        instant = _in_utc(moment, zone)
        is_skipped = bool(time) and not moment.tzinfo and _is_skipped(moment, instant, zone)
    except (ValueError, OverflowError):
        _refuse(RejectCode.BAD_TIMESTAMP, Timestamp())
    if not _EARLIEST <= instant < _LATEST:
        _refuse(RejectCode.BAD_TIMESTAMP, Timestamp())
    if is_skipped:
        told = f"expected a time that there is: clocks of {zone.key} skip this one; say the offset"
        raise Refused(RejectCode.BAD_TIMESTAMP, told)
    return instant.replace(tzinfo=None).isoformat(" ")


def _in_utc(moment: datetime, zone: ZoneInfo) -> datetime:
    offset = moment.utcoffset()
    if offset is not None and abs(offset) > timedelta(hours=18):
        raise ValueError("no place on Earth is that far from Greenwich")
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _is_skipped(moment: datetime, instant: datetime, zone: ZoneInfo) -> bool:
    """Whether the clocks of a zone never show a moment. One that they show twice is the earlier.

    A date alone is not asked: where clocks skip midnight its day begins with what they show next.
    """
    return instant.astimezone(zone).replace(tzinfo=None) != moment


def _object(value: Any) -> str:
    if not isinstance(value, dict):
        _refuse(RejectCode.BAD_TYPE, JsonObject())
    return canonical_json(value)


def _normal(value: Any) -> Any:
    if isinstance(value, JsonNumber):
        return number_of(value)
    if isinstance(value, str):
        check_characters(value)
        return value
    if isinstance(value, dict):
        return {_normal(key): _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    return value

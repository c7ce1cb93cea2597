"""`make docs`: what says the same as the declarations of the code, written from them: pages of
docs/ and the migration for databases of Supabase.

`--check` writes nothing and exits with 1 if a file is not what the code says today.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
settings.configure()  # the catalogue of problems needs a framework, and no database

from apps.core.problems import PROBLEMS  # noqa: E402 - the path and the settings come first
from headrace.client import command, export_command, summary  # noqa: E402
from headrace.client import errors as client_errors  # noqa: E402
from headrace.entities import ENTITIES  # noqa: E402
from headrace.pipeline import values  # noqa: E402
from headrace.pipeline.errors import FailureCode, RejectCode  # noqa: E402
from headrace.pipeline.report import Outcome  # noqa: E402
from headrace.recognitions import ddl  # noqa: E402
from headrace.recognitions.errors import Code  # noqa: E402
from headrace.schema import (  # noqa: E402
    SERVER_NOW,
    Before,
    Check,
    Entity,
    Field,
    Index,
    Levels,
    MinimumWhen,
    OneOf,
    OnlyWith,
    Promotion,
    load_ranks,
)
from headrace.synth.faults.inject import KINDS  # noqa: E402
from headrace.synth.faults.kinds import Kind  # noqa: E402

NOTE = "<!-- Written by `make docs` from the declarations: do not edit. -->"
Lines = Iterator[str]

_ENTITIES_INTRO = """\
What a file may hold. A file holds one record type; its name begins with it
(`order_items_2024.ndjson` is `order_items`), or `?entity=` says so. Every line is one JSON object.

- Every row belongs to the tenant of the API key. A record may repeat `tenant_id`; another
  tenant's is rejected with `foreign_tenant`.
- A field that is left out keeps the stored value; in a new row it takes what the column "left
  out" says. A required one must always be there. An explicit null clears the field where "null"
  is yes, and is a reject elsewhere.
- Keys that begin with `_` are ignored, except `_op`, which may only be `upsert`. Other keys that
  no field has are ignored too and counted in the status of the upload as `unknown_keys`.
- Indexes and unique keys begin with the tenant, which the tables below leave out. An optional
  index is made on request, by `manage.py optional_index` (docs/discussions.md has its cost)."""

_ERRORS_INTRO = """\
Codes are stable: match them in programs. Messages are for people and may change."""


def main() -> int:
    """Write the pages, or check them. 1 if a check finds a stale one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    checks = parser.parse_args().check
    stale = [name for name, page in PAGES.items() if not _is_current(name, _text(page()))]
    for name in stale:
        if checks:
            print(f"{name} is stale: run `make docs`", file=sys.stderr)
        else:
            (ROOT / name).write_text(_text(PAGES[name]()), encoding="utf-8")
            print(f"wrote {name}")
    return int(checks and bool(stale))


def _is_current(name: str, text: str) -> bool:
    path = ROOT / name
    return path.exists() and path.read_text(encoding="utf-8") == text


def _text(lines: Lines) -> str:
    return "\n".join(lines) + "\n"


def entities_page() -> Lines:
    """docs/entities.md."""
    yield from ("# Record types", "", NOTE, "", _ENTITIES_INTRO)
    yield from ("", "## Load order", "")
    yield "In an upload, the types of one step load side by side, after those of earlier steps."
    yield ""
    yield from _table(("step", "record types"), _steps())
    yield from ("", "## Ways of landing", "")
    yield from _table(("promotion", "what it does"), _promotions().items())
    for entity in ENTITIES:
        yield ""
        yield from _entity(entity)


def _steps() -> Iterator[tuple[str, str]]:
    ranks = load_ranks(ENTITIES)
    for step in sorted(set(ranks.values())):
        names = (f"[{entity.name}](#{entity.name})" for entity in ENTITIES)
        of_step = [
            name for name, entity in zip(names, ENTITIES, strict=True) if ranks[entity.name] == step
        ]
        yield str(step + 1), ", ".join(of_step)


def _promotions() -> dict[str, str]:
    """Each promotion with the sentence behind it in the source."""
    found = dict(re.findall(r'= "(\w+)"  #: (.+)', inspect.getsource(Promotion)))
    return {_code(promotion.value): found[promotion.value] for promotion in Promotion}


def _entity(entity: Entity) -> Lines:
    yield from (f"## {entity.name}", "", entity.about, "")
    yield from _table(
        ("field", "accepts", "required", "null", "left out", "meaning"),
        [_field(entity, field) for field in entity.fields],
    )
    yield ""
    yield f"- Identity: `tenant_id` with {_code(entity.key)}"
    if entity.natural_keys:
        yield f"- Unique in a tenant: {_codes(entity.natural_keys)}"
    for reference in entity.references:
        yield f"- Reference: {_code(reference.field)} to [{reference.entity}](#{reference.entity})"
    yield f"- Promotion: {_code(entity.promotion.value)}"
    if interval := entity.interval:
        span = f"from {_code(interval.start)}, included, to {_code(interval.end)}, excluded"
        yield f"- Interval: {span}; no two of a {_code(interval.owner)} overlap"
    if levels := entity.levels:
        yield f"- Levels: {_levels(levels)}"
    for check in entity.checks:
        yield f"- Check: {_check(check)}"
    yield f"- Segments: cut by {_code(entity.segment_field)}"
    for index in entity.indexes:
        yield f"- Index: {_index(index)}"


def _levels(levels: Levels) -> str:
    columns = "; ".join(f"{_code(field.name)}, {field.about}" for field in levels.columns)
    summed = f"{_code(levels.level)} is the sum of {_code(levels.change)} by {_code(levels.owner)}"
    return f"{summed}, as is the level in {_code(levels.table)}; stored besides: {columns}"


def _field(entity: Entity, field: Field) -> Sequence[str]:
    return (
        _code(field.name),
        values.expectation(field.type),
        _yes_no(field.required),
        _yes_no(field.null),
        _left_out(entity, field),
        field.about,
    )


def _left_out(entity: Entity, field: Field) -> str:
    if field.required:
        return "reject"
    for check in entity.checks:
        if isinstance(check, OneOf) and field.name == check.one:
            return f"{_code(check.other)} is needed"
    if field.transient:
        return "nothing"
    if field.default is SERVER_NOW:
        return "the database's time"
    if isinstance(field.default, bool):
        return _code(str(field.default).lower())
    return "null" if field.default is None else _code(str(field.default))


def _check(check: Check) -> str:
    match check:
        case MinimumWhen(field, minimum, when, equals):
            return f"{_code(field)} is at least {minimum} where {_code(when)} is {_code(equals)}"
        case Before(earlier, later):
            return f"{_code(earlier)} is before {_code(later)}, where that is given"
        case OneOf(one, other):
            return f"either {_code(one)} or {_code(other)} is given, not both"
        case OnlyWith(field, other):
            return f"{_code(field)} is given only with {_code(other)}"


def _index(index: Index) -> str:
    words = [f"{_code(index.name)} on {_codes(index.columns)}"]
    if index.include:
        words.append(f"covers {_codes(index.include)}")
    if index.where_true:
        words.append(f"only rows where {_code(index.where_true)} is true")
    if index.where_present:
        words.append(f"only rows that have {_code(index.where_present)}")
    if index.method != "btree":
        words.append(f"method {index.method}, PostgreSQL only")
    if index.optional:
        words.append("optional")
    return "; ".join(words)


def errors_page() -> Lines:
    """docs/errors.md."""
    yield from ("# Outcomes, codes and errors", "", NOTE, "", _ERRORS_INTRO)
    yield from ("", "## Outcomes", "", "Every line that was received has exactly one.", "")
    yield from _table(
        ("outcome", "meaning", "letter"),
        [(_code(one.value), one.about, _code(chr(one.letter))) for one in Outcome],
    )
    yield from ("", "## Reject codes", "", "Why a line was refused.", "")
    yield from _table(
        ("code", "what to do"), [(_code(one.value), one.advice) for one in RejectCode]
    )
    yield from ("", "## Failure codes", "", "Why a whole chunk ended before all its lines landed.")
    yield ""
    yield from _table(
        ("code", "what to do"), [(_code(one.value), one.advice) for one in FailureCode]
    )
    yield from ("", "## Problem codes", "", "The `code` of an `application/problem+json` answer.")
    yield ""
    yield from _table(
        ("code", "status", "title"),
        [(_code(code), str(status), title) for code, (status, title) in PROBLEMS.items()],
    )
    yield from (
        "",
        "## Codes of recognitions",
        "",
        "Why `headrace recognitions` refuses something.",
        "",
    )
    yield from _table(("code", "what to do"), [(_code(one.value), one.advice) for one in Code])
    for program in (command.ingest, export_command.export):
        yield from ("", f"## Exit codes of `headrace {program.__name__}`", "")
        yield from _table(("code", "meaning"), _exit_codes(program))
    yield from ("", "## Exceptions of the client library", "")
    yield from _table(("exception", "retryable", "meaning"), _exceptions())


def _exit_codes(program: Callable[..., None]) -> list[tuple[str, str]]:
    """The command's own sentence on exit codes, which must name each code there is."""
    text = " ".join((program.__doc__ or "").partition("Exit codes:")[2].split())
    found = re.findall(r"(\d+) ([^;.]+)", text)
    names = ("LANDED", "NOT_ALL", "USAGE", "CANNOT_CONNECT", "KEY_REFUSED", "INTERRUPTED")
    if {int(code) for code, _ in found} != {getattr(summary, name) for name in names}:
        raise SystemExit(f"the help of `headrace {program.__name__}` does not list its exit codes")
    return [(_code(code), meaning) for code, meaning in found]


def _exceptions() -> Iterator[tuple[str, str, str]]:
    base = client_errors.HeadraceError
    for name, kind in vars(client_errors).items():
        if inspect.isclass(kind) and issubclass(kind, base) and kind is not base:
            about = " ".join((kind.__doc__ or "").split())
            yield _code(name), _yes_no(kind.retryable), about


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    for row in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |"


def _yes_no(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _code(text: str) -> str:
    return f"`{text}`"


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(map(_code, texts))


_FAULTS_INTRO = """\
What `headrace generate --faults` does to lines ([DATA_GENERATION.md](DATA_GENERATION.md)). Where
two codes are named, the first is that of NDJSON and the second that of CSV."""


def faults_page() -> Lines:
    """docs/faults.md."""
    yield from ("# Faults on purpose", "", NOTE, "", _FAULTS_INTRO, "")
    yield from _table(
        ("fault", "what it is", "answer", "record types"),
        [
            (_code(kind.name), kind.about, _codes(kind.codes) or "none", _hit(kind))
            for kind in KINDS
        ],
    )


def _hit(kind: Kind) -> str:
    names = [entity.name for entity in ENTITIES if kind.places(entity)]
    return "all" if len(names) == len(ENTITIES) else ", ".join(names)


def supabase_migration() -> Lines:
    """The tables of recognitions, for `npx supabase migration up`."""
    yield "-- Written by `make docs` from headrace/recognitions/schema.py: do not edit."
    yield "-- For a database of Supabase, or any PostgreSQL that is not Headrace's own."
    yield ""
    yield ddl.supabase_migration()


PAGES: dict[str, Callable[[], Lines]] = {
    "docs/entities.md": entities_page,
    "docs/errors.md": errors_page,
    "docs/faults.md": faults_page,
    "supabase/migrations/20251118120000_recognitions.sql": supabase_migration,
}

if __name__ == "__main__":
    sys.exit(main())

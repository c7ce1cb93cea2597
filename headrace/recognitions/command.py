"""`headrace recognitions …`: load, load-qwen, reset, status, sweep."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import stamina.instrumentation
import typer

from headrace.recognitions import (
    annotations,
    assembly,
    batches,
    layout,
    loading,
    progress,
    resetting,
    settings,
)
from headrace.recognitions import status as statuses
from headrace.recognitions.annotating import Annotating
from headrace.recognitions.assembly import Parts
from headrace.recognitions.database import RowsRefused, Unavailable
from headrace.recognitions.errors import USAGE, Reject, Stop
from headrace.recognitions.loading import Account, Loading, Outcome
from headrace.recognitions.measures import Measures
from headrace.recognitions.settings import Settings
from headrace.recognitions.transaction import STORE_FAILURES

ALL, NOT_ALL = 0, 1
SUCCESS = logging.INFO + 5  #: the level of the line that says that all is there
DETECTIONS = ("loaded", "skipped", "rejected")
SHOWN = 20  # rejects that people are shown without --verbose
log = logging.getLogger("headrace.recognitions")

app = typer.Typer(
    name="recognitions",
    help="Load datasets of recognitions: photos and rows as one transaction.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals hold keys
)

Production = Annotated[
    bool, typer.Option("--production", help="Take .env.production, not .env.local.")
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", metavar="ID", help="Whose they are, if not the default's.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Tell what happened as JSON on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Tell of every step and every reject.")]
BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@app.command()
def load(
    source: Annotated[
        Path | None, typer.Option(help="Dataset directory; looked for if it is not named.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many recognitions.")
    ] = None,
    batch_id: Annotated[
        str | None, typer.Option("--batch-id", metavar="ID", help="Name of this load.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Load also what is there already.")
    ] = False,
    production: Production = False,
    tenant: Tenant = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Load recognitions: photos into storage and rows into the database, together or not at all.

    What is there already is skipped; a photo that storage has lost is put there again.

    Exit codes: 0 all is there; 1 some were rejected; 2 usage or settings; 3 storage or database
    failed, the rest is unprocessed; 130 interrupted.
    """
    with _told(verbose, as_json):
        chosen = _settings(production, tenant)
        _check_batch_id(batch_id)
        dataset = layout.find(source or chosen.source, Path.cwd())
        _tell_beginning(f"Loading dataset from {dataset.resolve()}", chosen)
        found = list(layout.folders(dataset))[:limit]
        if not found:
            text = f"no folder below {dataset} is called recognition_100024, or 100024"
            raise Stop("source_empty", text, USAGE)
        with assembly.assembled(chosen) as parts:
            assembly.check(parts)
            parts.sweeper.tidy()
            with batches.named(parts, batch_id) as name, progress.shown(len(found)) as shown:
                work = Loading(
                    parts.database,
                    parts.storing,
                    parts.transactions(name),
                    chosen.tenant,
                    shown,
                    group_size=chosen.group_size,
                    force=force,
                )
                account = work.run(found)
            _settle(parts, account)
        _show(account, name, chosen, parts.measures, verbose, as_json)
        raise typer.Exit(_exit_code(account))


@app.command(name="load-qwen")
def load_qwen(
    file: Annotated[
        Path | None, typer.Option(help="The file of annotations; looked for if it is not named.")
    ] = None,
    batch_id: Annotated[
        str | None, typer.Option("--batch-id", metavar="ID", help="Name of this load.")
    ] = None,
    production: Production = False,
    tenant: Tenant = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Load what a model detected in photos that are loaded: qwen_annotations.json.

    Exit codes are those of load.
    """
    with _told(verbose, as_json):
        chosen = _settings(production, tenant)
        _check_batch_id(batch_id)
        found = annotations.find(file, chosen.source, Path.cwd())
        _tell_beginning(f"Loading annotations from {found.resolve()}", chosen)
        entries = list(annotations.read(found))
        with assembly.assembled(chosen) as parts:
            assembly.check(parts)
            with batches.named(parts, batch_id) as name, progress.shown(len(entries)) as shown:
                work = Annotating(
                    parts.database,
                    chosen.tenant,
                    name,
                    shown,
                    parts.measures,
                    parts.storing.patience,
                )
                account = work.run(entries)
        more = {"detections": {one: work.detections[one] for one in DETECTIONS}}
        counts = ", ".join(f"{one} {work.detections[one]:,}" for one in DETECTIONS)
        log.info("Detections: %s", counts)
        _show(account, name, chosen, parts.measures, verbose, as_json, **more)
        raise typer.Exit(_exit_code(account))


@app.command()
def reset(
    batch_id: Annotated[str, typer.Option("--batch-id", metavar="ID", help="The batch to delete.")],
    confirm: Annotated[bool, typer.Option("--confirm", help="Do not ask.")] = False,
    production: Production = False,
    tenant: Tenant = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Delete the rows and photos of one batch; photos that another batch has too stay.

    Exit codes: 0 deleted; 2 usage, no such batch, or not confirmed; 3 storage or database failed.
    """
    with _told(verbose, as_json):
        chosen = _settings(production, tenant)
        with assembly.assembled(chosen) as parts:
            assembly.check(parts)
            _confirm(parts, batch_id, confirm)
            with parts.database.transaction(chosen.tenant) as session:
                gone = resetting.remove(session, batch_id)
            objects, _ = parts.sweeper.settle()
        counts = ", ".join(f"{table} {rows:,}" for table, rows in gone.items())
        log.info("Batch %s deleted: %s; objects %s", batch_id, counts, f"{objects:,}")
        if as_json:
            _write({"batch_id": batch_id, "rows": gone, "objects": objects})


def _confirm(parts: Parts, batch_id: str, is_confirmed: bool) -> None:
    with parts.database.transaction(parts.settings.tenant) as session:
        counts = resetting.counted(session, batch_id)
    if not counts:
        text = f"there is no batch {batch_id!r} of tenant {parts.settings.tenant}"
        raise Stop("batch_unknown", text, USAGE)
    listed = ", ".join(f"{table} {rows:,}" for table, rows in counts.items())
    where = f"{parts.settings.environment.upper()}, {parts.database.place}"
    question = f"Delete batch {batch_id} ({where}): {listed}?"
    if not is_confirmed and not _agreed(question):
        raise Stop("not_confirmed", "nothing was deleted; --confirm skips the question", USAGE)
    log.info("Deleting batch %s (%s): %s", batch_id, where, listed)


def _agreed(question: str) -> bool:
    """Silence, as where nobody is asked, is a no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


@app.command()
def status(
    production: Production = False,
    tenant: Tenant = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Check storage, bucket, database, schema and migrations, and count what is there.

    Exit codes: 0 all is as it should be; 1 something has to be done; 2 settings; 3 no database.
    """
    with _told(verbose, as_json):
        chosen = _settings(production, tenant)
        found = statuses.report(chosen)
        for one in found.checks:
            mark = "OK" if one.is_fine else f"WRONG, {one.remedy}"
            print(f"{one.name}: {one.text}: {mark}", file=sys.stderr)
        for table, rows in found.rows.items():
            print(f"  {table}: {rows:,}", file=sys.stderr)
        if as_json:
            checks = [{**asdict(one), "is_fine": one.is_fine} for one in found.checks]
            told = {"is_fine": found.is_fine, "checks": checks, "rows": found.rows}
            _write({**told, "error": _error(found.stopped)})
        if found.stopped is not None:
            raise typer.Exit(found.stopped.exit_code)
        raise typer.Exit(ALL if found.is_fine else NOT_ALL)


@app.command()
def sweep(
    production: Production = False,
    tenant: Tenant = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Remove stored photos that no row names, once they are older than the grace.

    Every load removes what an earlier one left; this looks through all of the tenant's objects.

    Exit codes: 0 done; 2 usage or settings; 3 storage or database failed.
    """
    with _told(verbose, as_json):
        chosen = _settings(production, tenant)
        with assembly.assembled(chosen) as parts:
            assembly.check(parts)
            gone = {
                "settled": parts.sweeper.settle().objects,
                "orphans": parts.sweeper.remove_orphans(),
            }
        log.info("Objects removed: settled %s, orphans %s", gone["settled"], gone["orphans"])
        if as_json:
            _write({"objects": gone})


def _settle(parts: Parts, account: Account) -> None:
    """What cannot be removed now a later load removes; the account is told in any case."""
    try:
        parts.sweeper.settle()
    except (Unavailable, RowsRefused, *STORE_FAILURES) as error:
        account.stopped = account.stopped or loading.stop_of(error)
    except KeyboardInterrupt:
        account.stopped = account.stopped or loading.interrupted()


def _exit_code(account: Account) -> int:
    if account.stopped is not None:
        return account.stopped.exit_code
    is_whole = not account.rejects and not account.outcomes[Outcome.UNPROCESSED]
    return ALL if is_whole else NOT_ALL


@contextmanager
def _told(verbose: bool, as_json: bool) -> Iterator[None]:
    """Logs go to stderr; what ends the command is told there, or as JSON on stdout."""
    # The default hook would write retries to stdout.
    stamina.instrumentation.set_on_retry_hooks(())
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="[%(levelname)s] %(message)s",
        stream=sys.stderr,
        force=True,
    )
    logging.addLevelName(SUCCESS, "SUCCESS")
    for chatty in ("psycopg.pool", "PIL", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        yield
    except (Stop, Unavailable, RowsRefused, *STORE_FAILURES) as error:
        stop = loading.stop_of(error)
        _tell_stop(stop, as_json)
        raise typer.Exit(stop.exit_code) from None
    except KeyboardInterrupt:
        stop = loading.interrupted()
        _tell_stop(stop, as_json)
        raise typer.Exit(stop.exit_code) from None


def _tell_stop(stop: Stop, as_json: bool) -> None:
    if as_json:
        _write({"error": _error(stop)})
    log.error("%s (%s)", stop, stop.code)


def _error(stop: Stop | None) -> dict[str, str] | None:
    return {"code": stop.code, "message": str(stop)} if stop is not None else None


def _settings(production: bool, tenant: str | None) -> Settings:
    found = settings.read(os.environ, Path.cwd(), production=production)
    return replace(found, tenant=settings.tenant_of(tenant)) if tenant else found


def _check_batch_id(given: str | None) -> None:
    if given is not None and BATCH_ID.fullmatch(given) is None:
        text = f"batch id {given!r}: expected 1 to 64 letters, digits, and _ . - between them"
        raise Stop("bad_batch_id", text, USAGE)


def _tell_beginning(first: str, chosen: Settings) -> None:
    log.info(first)
    log.info("Environment: %s", chosen.environment.upper())
    log.info(
        "Config: threads=%s, batch_size=%s, retry=%s",
        chosen.threads,
        chosen.group_size,
        chosen.attempts,
    )


def _show(
    account: Account,
    batch_id: str,
    chosen: Settings,
    measures: Measures,
    verbose: bool,
    as_json: bool,
    **more: object,
) -> None:
    if as_json:
        _write(
            {
                "batch_id": batch_id,
                "environment": chosen.environment,
                "tenant": str(chosen.tenant),
                "found": account.found,
                "outcomes": {one.value: account.outcomes[one] for one in Outcome},
                "rejects": [asdict(one) for one in account.rejects],
                "remarks": [asdict(one) for one in account.remarks],
                "error": _error(account.stopped),
                **more,
                "metrics": measures.told(),
            }
        )
    _show_rejects("rejected", account.rejects, verbose)
    _show_rejects("loaded, but", account.remarks, verbose)
    counts = ", ".join(f"{one.value} {account.outcomes[one]:,}" for one in Outcome)
    log.info("Batch %s: found %s; %s", batch_id, f"{account.found:,}", counts)
    if account.stopped is not None:
        log.error("%s (%s)", account.stopped, account.stopped.code)
    elif account.rejects:
        log.info("Load completed, with rejects")
    else:
        log.log(SUCCESS, "Load completed successfully")
    for line in measures.lines():
        print(line, file=sys.stderr)


def _show_rejects(what: str, found: list[Reject], verbose: bool) -> None:
    shown = found if verbose else found[:SHOWN]
    for one in shown:
        log.warning("%s: %s", what, one)
    if len(found) > len(shown):
        log.warning("… and %s more; --verbose or --json has all", len(found) - len(shown))


def _write(told: dict[str, Any]) -> None:
    print(json.dumps(told, indent=2, default=str))

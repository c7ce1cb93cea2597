"""`headrace recognitions …`: load, load-qwen, reset, status, sweep."""

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import stamina.instrumentation
import typer

from headrace.recognitions import assembly, layout, progress, settings
from headrace.recognitions.errors import USAGE, Reject, Stop
from headrace.recognitions.loading import Account, Loading, Outcome
from headrace.recognitions.measures import Measures
from headrace.recognitions.settings import Settings

ALL, NOT_ALL, INTERRUPTED = 0, 1, 130
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
        name = _batch_id(batch_id)
        dataset = layout.find(source or chosen.source, Path.cwd())
        _tell_beginning(f"Loading dataset from {dataset.resolve()}", chosen)
        found = list(layout.folders(dataset))[:limit]
        with assembly.assembled(chosen) as parts, progress.shown(len(found)) as shown:
            assembly.check(parts)
            parts.sweeper.settle()
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
            parts.sweeper.settle()
        _show(account, name, chosen, parts.measures, verbose, as_json)
        raise typer.Exit(_exit_code(account))


def _exit_code(account: Account) -> int:
    if account.interrupted:
        return INTERRUPTED
    if account.stopped is not None:
        return account.stopped.exit_code
    return NOT_ALL if account.rejects else ALL


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
    for chatty in ("psycopg.pool", "PIL", "httpx2", "httpcore2"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        yield
    except Stop as stop:
        _tell_stop(stop, as_json)
        raise typer.Exit(stop.exit_code) from None
    except KeyboardInterrupt:
        log.error("interrupted; the same command again goes on where this one stopped")
        raise typer.Exit(INTERRUPTED) from None


def _tell_stop(stop: Stop, as_json: bool) -> None:
    if as_json:
        _write({"error": {"code": stop.code, "message": str(stop)}})
    log.error("%s (%s)", stop, stop.code)


def _settings(production: bool, tenant: str | None) -> Settings:
    found = settings.read(os.environ, Path.cwd(), production=production)
    return replace(found, tenant=settings.tenant_of(tenant)) if tenant else found


def _batch_id(given: str | None) -> str:
    if given is None:
        return f"batch_{datetime.now(UTC):%Y%m%d_%H%M%S}"
    if BATCH_ID.fullmatch(given) is None:
        text = f"batch id {given!r}: expected 1 to 64 letters, digits, and _ . - between them"
        raise Stop("bad_batch_id", text, USAGE)
    return given


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
                "error": account.stopped
                and {"code": account.stopped.code, "message": str(account.stopped)},
                "metrics": measures.told(),
            }
        )
    _show_rejects("rejected", account.rejects, verbose)
    _show_rejects("loaded, but", account.remarks, verbose)
    counts = ", ".join(f"{one.value} {account.outcomes[one]:,}" for one in Outcome)
    log.info("Batch %s: found %s; %s", batch_id, f"{account.found:,}", counts)
    if account.stopped is not None:
        log.error("%s (%s)", account.stopped, account.stopped.code)
    else:
        log.info("Load completed%s", "" if not account.rejects else ", with rejects")
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

"""`headrace ingest`: send a folder of data files, and see that every line is accounted for."""

import sys
from pathlib import Path
from typing import Annotated

import httpx2
import stamina.instrumentation
import typer

from headrace.client import http, journal, keys, plan, summary, tables
from headrace.client.bars import Bars
from headrace.client.ingestion import Ingestion, Options
from headrace.client.options import LOCAL, ApiKey, ApiUrl, AsJson, KeysFile
from headrace.client.progress import Progress
from headrace.pipeline.formats import DELIMITERS


def ingest(
    data_dir: Annotated[
        Path, typer.Option(help="The folder with the data files.", show_default=True)
    ] = Path("generated_data"),
    api_url: ApiUrl = LOCAL,
    tenant_id: Annotated[str | None, typer.Option(help="Send only this tenant's files.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be sent; send nothing.")
    ] = False,
    wait_for_completion: Annotated[
        bool,
        typer.Option("--wait-for-completion", help="Wait until every line has its outcome."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Tell of every file and every retry.")
    ] = False,
    api_key: ApiKey = None,
    keys_file: KeysFile = None,
    as_json: AsJson = False,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Files to send at once.")] = 2,
    retry_for: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long one request is tried again."),
    ] = http.RETRY_FOR,
    parked_grace: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="How long to watch parked lines that no longer wake."
        ),
    ] = 10.0,
    delimiter: Annotated[
        str,
        typer.Option(metavar="CHARACTER", help="Of CSV files: , ; | or tab (the usual for .tsv)."),
    ] = "",
    rejects_out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Wait, and write the rejected lines there, to be mended and sent again.",
        ),
    ] = None,
) -> None:
    """Send a folder of data files to a Headrace server.

    Files are named <entity>_<tenant-uuid>[_chunk_NNNN].<format>, where the format is ndjson,
    jsonl, json, csv or tsv, alone or followed by .gz or .zst.

    Each tenant's files make one upload. A run that was interrupted
    continues when the same command is given again, and sends nothing twice.

    With --rejects-out each file that had rejected lines leaves
    <its name>.rejects.ndjson (or .csv) there. Mend it and give its folder as --data-dir.

    Exit codes: 0 all landed (or, without waiting, accepted);
    1 lines rejected or parked, or a file failed; 2 usage, or nothing to send;
    3 cannot connect; 4 key refused; 130 interrupted.
    """
    check_url(api_url)
    _check_delimiter(delimiter)
    waits = wait_for_completion or rejects_out is not None
    options = Options(api_url, waits, jobs, retry_for, parked_grace, rejects_out, delimiter)
    try:
        to_send = plan.read(data_dir, tenant_id)
        _check_rejects_folder(rejects_out, data_dir)
        chosen = keys.choose([one.tenant_id for one in to_send.tenants], api_key, keys_file)
        _tell(*tables.skipped_lines(to_send.skipped))
        if dry_run:
            _show_plan(to_send, as_json)
        else:
            code = _run(to_send, chosen, options, verbose, as_json)
    except (plan.PlanError, journal.JournalError) as error:
        _tell(f"Error: {error}")
        raise typer.Exit(summary.USAGE) from error
    if not dry_run:
        raise typer.Exit(code)


def _run(
    to_send: plan.Plan, chosen: dict[str, str], options: Options, verbose: bool, as_json: bool
) -> int:
    # Our own progress tells of retries. The default hook would write them to stdout.
    stamina.instrumentation.set_on_retry_hooks(())
    journals = _journal_folder(to_send.data_dir)
    progress = Bars(verbose) if sys.stderr.isatty() else Progress(verbose)
    ingestion = Ingestion(to_send, chosen, journals, options, progress)
    try:
        with ingestion:
            ingestion.run()
            account = summary.account(ingestion)
    except KeyboardInterrupt:
        progress.close()
        _tell_interrupted(ingestion, journals)
        raise typer.Exit(summary.INTERRUPTED) from None
    finally:
        progress.close()
    if as_json:
        summary.write_json(account)
    else:
        tables.show_account(account)
    if ingestion.halted is not None:
        _tell_halted(ingestion)
    return account.exit_code


def _journal_folder(data_dir: Path) -> Path:
    folder = journal.choose_folder(data_dir)
    if folder.parent != data_dir:
        _tell(f"{data_dir} cannot be written; the journal is kept in {folder}")
    return folder


def _show_plan(to_send: plan.Plan, as_json: bool) -> None:
    if as_json:
        summary.write_json(summary.dry_run(to_send))
    else:
        tables.show_plan(to_send)


def _tell_interrupted(ingestion: Ingestion, journals: Path) -> None:
    accepted = sum(run.accepted for run in ingestion.runs)
    _tell(
        f"Interrupted: {accepted} of {len(ingestion.plan.files)} files are accepted, as noted in "
        f"{journals}. Give the same command again to continue."
    )


def _tell_halted(ingestion: Ingestion) -> None:
    error = ingestion.halted
    assert error is not None
    _tell(
        f"Error: cannot reach a Headrace at {ingestion.options.api_url}: {error.detail}. "
        "Is it running? Give the same command again to continue."
    )


def check_url(api_url: str) -> None:
    """Raises BadParameter unless it is the URL of a server."""
    try:
        url = httpx2.URL(api_url)
    except httpx2.InvalidURL as error:
        raise typer.BadParameter(f"{api_url}: {error}", param_hint="--api-url") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise typer.BadParameter(
            f"{api_url} is not of the form http://host:port", param_hint="--api-url"
        )


def _check_delimiter(delimiter: str) -> None:
    if delimiter and delimiter not in DELIMITERS:
        raise typer.BadParameter("expected , ; | or tab", param_hint="--delimiter")


def _check_rejects_folder(folder: Path | None, data_dir: Path) -> None:
    """Make the folder. Raises PlanError before anything is sent."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise plan.PlanError(f"cannot make the folder {folder}: {error}") from error
    if folder.resolve() == data_dir.resolve():
        raise plan.PlanError("--rejects-out needs another folder than --data-dir")


def _tell(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr, flush=True)

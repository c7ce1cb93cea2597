"""`headrace export`: order an export, wait for it, and bring it home whole."""

import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import msgspec
import stamina.instrumentation
import typer

from headrace.client import asked, command, errors, http, keys, plan, summary
from headrace.client.export_progress import Bar, Lines
from headrace.client.exporting import Exporting, Fetched, Place, PlaceError, Wanted
from headrace.client.options import LOCAL, ApiKey, ApiUrl, AsJson, KeysFile
from headrace.client.progress import megabytes

STDOUT = Path("-")


class Account(msgspec.Struct):
    """What `--json` prints. `seconds` is this run's wall clock, `bytes_before` came in others."""

    api_url: str
    tenant_id: str
    file: str
    export_id: str
    exit_code: int
    error: dict[str, str] | None
    seconds: float
    entity: str = ""
    format: str = ""
    compression: str = ""
    rows: int = 0
    bytes: int = 0
    sha256: str = ""
    continued: bool = False
    bytes_before: int = 0


def export(
    tenant_id: Annotated[str, typer.Option(help="The tenant whose rows are exported.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to; - is stdout, which is never resumed.")
    ],
    api_url: ApiUrl = LOCAL,
    api_key: ApiKey = None,
    keys_file: KeysFile = None,
    entity: Annotated[str, typer.Option(help="The record type.")] = "orders",
    file_format: Annotated[
        str, typer.Option("--format", help="csv, json, ndjson or parquet.")
    ] = "csv",
    columns: Annotated[
        str, typer.Option(metavar="A,B", help="In this order; without it all that a record has.")
    ] = "",
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="TEXT",
            help="column=a,b or column>=a or column<b or column~text; column= is null."
            " Several must hold at once.",
        ),
    ] = None,
    compression: Annotated[str, typer.Option(help="none, gzip or zstd.")] = "none",
    spreadsheet_safe: Annotated[
        bool,
        typer.Option(
            "--spreadsheet-safe", help="csv: an apostrophe before what looks like a formula."
        ),
    ] = False,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Forget what earlier runs left, order anew, replace the file."
        ),
    ] = False,
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Tell of every retry.")] = False,
    retry_for: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long one request is tried again."),
    ] = http.RETRY_FOR,
) -> None:
    """Export rows of a record type from a Headrace server into a file.

    The export is ordered once. The command waits for it, fetches it into FILE.part, compares its
    SHA-256, and renames it to FILE.

    A run that was interrupted, however it was, continues when the same command is given again: it
    orders nothing twice, and fetches only what is missing.

    Exit codes: 0 the file is there, whole;
    1 the export failed, was cancelled, is kept no longer or is damaged, or the disk is full;
    2 usage, or the file is there already;
    3 cannot connect, or the server stays busy; 4 key refused; 130 interrupted.
    """
    command.check_url(api_url)
    tenant_id = _tenant(tenant_id)
    if as_json and out == STDOUT:
        raise typer.BadParameter("the rows go to stdout already", param_hint="--json")
    request: dict[str, Any] = {"entity": entity, "format": file_format, "compression": compression}
    try:
        request |= {"columns": asked.names(columns)} if columns else {}
        request |= {"filters": asked.filters(entity, filters)} if filters else {}
        request |= {"spreadsheet_safe": True} if spreadsheet_safe else {}
        key = keys.choose([tenant_id], api_key, keys_file)[tenant_id]
    except (asked.BadFilter, plan.PlanError) as error:
        _tell(f"Error: {error}")
        raise typer.Exit(summary.USAGE) from error
    run = _Run(Wanted(http.base_url(api_url), tenant_id, request), out, restart, as_json)
    raise typer.Exit(run.run(key, retry_for, verbose))


def _tenant(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no UUID", param_hint="--tenant-id") from None


class _Run:
    """One run of the command: what it does, and what it tells of it."""

    def __init__(self, wanted: Wanted, out: Path, restart: bool, as_json: bool) -> None:
        self._wanted = wanted
        self._out = out
        self._restart = restart
        self._as_json = as_json
        self._began = time.monotonic()
        self._export_id = ""

    def run(self, key: str, retry_for: float, verbose: bool) -> int:
        # Our own progress tells of retries. The default hook would write them to stdout.
        stamina.instrumentation.set_on_retry_hooks(())
        progress = Bar(verbose) if sys.stderr.isatty() else Lines(verbose)
        try:
            with http.HeadraceClient(
                self._wanted.api_url, key, retry_for=retry_for, on_retry=progress.retrying
            ) as client:
                fetched = self._fetch(Exporting(client, self._wanted, progress))
        except BaseException as error:
            progress.close()
            return self._failed(error)
        progress.close()
        return self._done(fetched)

    def _fetch(self, exporting: Exporting) -> Fetched:
        try:
            if self._out == STDOUT:
                return exporting.to_stdout(sys.stdout.buffer)
            return exporting.to_file(Place(self._out), restart=self._restart)
        finally:
            self._export_id = exporting.export_id

    def _done(self, fetched: Fetched) -> int:
        status = fetched.status
        account = self._account(
            summary.LANDED,
            None,
            entity=status.entity,
            format=status.format,
            compression=status.compression,
            rows=status.rows,
            bytes=status.bytes,
            sha256=status.sha256,
            continued=fetched.continued,
            bytes_before=fetched.bytes_before,
        )
        if self._as_json:
            summary.write_json(account)
        else:
            out = sys.stderr if self._out == STDOUT else sys.stdout
            print(_closing(account), file=out, flush=True)
        return summary.LANDED

    def _failed(self, error: BaseException) -> int:
        """Say what went wrong and what to do about it; the exit code. Raises what is a bug."""
        match error:
            case KeyboardInterrupt():
                _tell(f"Interrupted: {self._came()}{self._again()}")
                return summary.INTERRUPTED
            case PlaceError():
                _tell(f"Error: {error}")
                return summary.USAGE
            case errors.HeadraceError():
                code = exit_code(error)
                self._tell_refusal(error, code)
            case BrokenPipeError() if self._out == STDOUT:
                _silence_stdout()
                code = summary.NOT_ALL
            case OSError():
                code = summary.NOT_ALL
                _tell(f"Error: cannot write {self._out}: {error}. {self._again()}")
            case _:
                raise error
        if self._as_json:
            told = {"code": getattr(error, "code", "cannot_write"), "message": str(error)}
            summary.write_json(self._account(code, told))
        return code

    def _tell_refusal(self, error: errors.HeadraceError, code: int) -> None:
        server = self._wanted.api_url.removesuffix(http.API_PATH)
        why = f"{error.code}: {error.detail.rstrip('.')}."
        if code == summary.CANNOT_CONNECT:
            _tell(
                f"Error: cannot reach a Headrace at {server}: {why} Is it running? {self._again()}"
            )
        elif code == summary.KEY_REFUSED:
            tenant = self._wanted.tenant_id
            _tell(f"Error: the server at {server} does not take this key for {tenant}: {why}")
        elif code == summary.NOT_ALL:
            _tell(f"Error: {why} {self._anew()}")
        else:
            _tell(f"Error: {why}")

    def _came(self) -> str:
        part = Place(self._out).part
        if self._out == STDOUT or not part.exists():
            return ""
        return f"{megabytes(part.stat().st_size)} are in {part}. "

    def _again(self) -> str:
        if self._out == STDOUT:
            return "The same command begins anew."
        return "Give the same command again to continue."

    def _anew(self) -> str:
        if self._out == STDOUT:
            return self._again()
        return "Give the same command with --restart to order a new one."

    def _account(self, code: int, error: dict[str, str] | None, **facts: Any) -> Account:
        return Account(
            api_url=self._wanted.api_url.removesuffix(http.API_PATH),
            tenant_id=self._wanted.tenant_id,
            file=str(self._out),
            export_id=self._export_id,
            exit_code=code,
            error=error,
            seconds=round(time.monotonic() - self._began, 3),
            **facts,
        )


def exit_code(error: errors.HeadraceError) -> int:
    """What the command ends with after this error."""
    if isinstance(error, errors.NotExported):
        return summary.NOT_ALL
    # Another tenant's address is as absent as any unknown one.
    if isinstance(error, errors.KeyRefused) or error.code == "not_found":
        return summary.KEY_REFUSED
    is_strange = isinstance(error, errors.BadAnswer | errors.UploadClosed)
    return summary.CANNOT_CONNECT if error.retryable or is_strange else summary.USAGE


def _closing(account: Account) -> str:
    before = f", {megabytes(account.bytes_before)} of it before" if account.bytes_before else ""
    return (
        f"{account.file}: {account.rows:,} {account.entity}, {megabytes(account.bytes)} in"
        f" {account.seconds:.1f} s{before}; sha256 {account.sha256}"
    )


def _silence_stdout() -> None:
    """Nobody reads it any more: what is flushed at the end of the process goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)

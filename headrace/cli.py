"""`headrace …`: the generator, the client, and the way to the service on this machine."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

import headrace
from headrace.client import summary
from headrace.client.command import ingest
from headrace.client.export_command import export
from headrace.recognitions.command import app as recognitions
from headrace.synth.command import Command
from headrace.synth.files import TENANTS


def _upload(folder: Path, api_url: str, api_key: str | None, verbose: bool, as_json: bool) -> None:
    """Send what was generated, and end as `headrace ingest` does."""
    try:
        ingest(
            data_dir=folder,
            api_url=api_url,
            api_key=api_key,
            wait_for_completion=True,
            verbose=verbose,
            as_json=as_json,
        )
    except typer.Exit as end:
        if end.exit_code == summary.KEY_REFUSED:
            _tell(
                f"The server at {api_url} does not know these tenants, or not these keys. Run"
                f" `manage.py load_tenants --file {folder / TENANTS}` there first; then"
                f" `headrace ingest --data-dir {folder} --api-url {api_url} --wait-for-completion`"
                " sends what was generated."
            )
        raise


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


generate = Command(_upload).generate
app = typer.Typer(
    name="headrace",
    help="Multi-tenant e-commerce data ingestion that accounts for every line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold API keys
)
app.command()(generate)
app.command()(ingest)
app.command()(export)
app.add_typer(recognitions)

# Their options are the service's own; `--help` is handed on too.
_HANDED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


@app.command(context_settings=_HANDED_ON)
def doctor(context: typer.Context) -> None:
    """Say what of the service on this machine is configured, reachable and missing."""
    _hand_on("doctor", context.args)


@app.command(context_settings=_HANDED_ON)
def jobs(context: typer.Context) -> None:
    """Look at the jobs of the service on this machine: list, retry, quarantine, release."""
    _hand_on("jobs", context.args)


@app.command(context_settings=_HANDED_ON)
def tenants(context: typer.Context) -> None:
    """Look after tenants of the service on this machine: create, suspend, limit, export, erase."""
    _hand_on("tenants", context.args)


@app.command(context_settings=_HANDED_ON)
def keys(context: typer.Context) -> None:
    """Look after API keys of the service on this machine: mint, list, rotate, change, revoke."""
    _hand_on("keys", context.args)


@app.command(context_settings=_HANDED_ON)
def migrate_data(context: typer.Context) -> None:
    """Move all tenants from one database to another: SOURCE_URL TARGET_URL."""
    _hand_on("migrate_data", context.args)


def _hand_on(command: str, arguments: list[str]) -> None:
    """Let the service do it: the library does not know its host."""
    program = _manage()
    if program is None:
        _tell(
            f"headrace {command} needs the service, and only the library is installed here:"
            " run it in a checkout, where manage.py is beside the folder headrace"
        )
        raise typer.Exit(2)
    # In the service's folder, which relative settings (HEADRACE_HOME) refer to.
    done = subprocess.run([sys.executable, program, command, *arguments], cwd=program.parent)
    raise typer.Exit(done.returncode)


def _manage() -> Path | None:
    """`manage.py` of the checkout at hand, or of the one that this library is part of."""
    for checkout in (Path.cwd(), Path(headrace.__file__).resolve().parent.parent):
        if (checkout / "manage.py").is_file() and (checkout / "headrace").is_dir():
            return checkout / "manage.py"
    return None


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"headrace {headrace.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the console script `headrace`."""
    app()

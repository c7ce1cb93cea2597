"""`headrace generate` in this process, and what it wrote."""

from pathlib import Path

import typer
from typer.testing import CliRunner, Result

from headrace.cli import generate

TINY = {
    "--tenants": 2,
    "--products-per-tenant": 300,
    "--orders-per-tenant": 700,
    "--customers-per-tenant": 90,
    "--chunk-size": 250,
}


def run(folder: Path, *flags: str, **changes: object) -> Result:
    app = typer.Typer()
    app.command()(generate)
    options = TINY | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    words = [str(word) for option in options.items() for word in option]
    return CliRunner().invoke(app, [*words, "--output-dir", str(folder), *flags])


def made(folder: Path, *flags: str, **changes: object) -> Path:
    result = run(folder, *flags, **changes)
    assert result.exit_code == 0, result.stderr
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """The data files of a folder by name; the hidden manifest is not one of them."""
    paths = (path for path in folder.iterdir() if not path.name.startswith("."))
    return {path.name: path.read_bytes() for path in paths}

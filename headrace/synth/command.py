"""`headrace generate`: the data generator on the command line."""

import dataclasses
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Protocol

import orjson
import typer

from headrace.synth import dataset
from headrace.synth.faults.truth import TRUTH
from headrace.synth.folder import FolderError
from headrace.synth.progress import Progress, Summary
from headrace.synth.settings import PRESETS, Compression, FormatName, Preset, Settings, Sizes

_USUAL = Sizes()
EARLIEST, LATEST = datetime(1980, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001
_UPLOAD = "Upload"
_SIZE = "Data size (a flag goes before the preset)"


def _count(least: int, usual: int, about: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        min=least, show_default=str(usual), help=about, rich_help_panel=_SIZE
    )
    return option


class Send(Protocol):
    """Sends a folder's data files to a server, as `headrace ingest` does."""

    def __call__(
        self, folder: Path, api_url: str, api_key: str | None, verbose: bool, as_json: bool
    ) -> None:
        """Raises typer.Exit with that command's exit code."""


class Command:
    """The command; the client that uploads is a sibling of the generator, and handed in."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def generate(
        self,
        preset: Annotated[
            Preset | None,
            typer.Option(
                help="small: 2 tenants with 1,000 products, 5,000 orders, 100 customers each; "
                "medium: 5 with 50,000, 100,000, 1,000; large: 10 with 500,000, 2,000,000, 10,000.",
                rich_help_panel=_SIZE,
            ),
        ] = None,
        tenants: Annotated[int | None, _count(1, _USUAL.tenants, "How many tenants.")] = None,
        products_per_tenant: Annotated[
            int | None, _count(1, _USUAL.products, "Products of each tenant.")
        ] = None,
        orders_per_tenant: Annotated[
            int | None, _count(0, _USUAL.orders, "Orders of each tenant.")
        ] = None,
        customers_per_tenant: Annotated[
            int | None, _count(1, _USUAL.customers, "Customers of each tenant.")
        ] = None,
        stock_events_per_product: Annotated[
            int,
            typer.Option(
                min=0, max=10_000, help="Stock events of each product.", rich_help_panel=_SIZE
            ),
        ] = _USUAL.stock_events_per_product,
        price_intervals_per_product: Annotated[
            int,
            typer.Option(
                min=1, max=10_000, help="Price intervals of each product.", rich_help_panel=_SIZE
            ),
        ] = _USUAL.price_intervals_per_product,
        items_per_order: Annotated[
            float,
            typer.Option(
                min=1, max=100, help="Mean number of lines of an order.", rich_help_panel=_SIZE
            ),
        ] = _USUAL.items_per_order,
        format: Annotated[
            FormatName, typer.Option(help="How records are written.")
        ] = FormatName.NDJSON,
        compress: Annotated[
            bool, typer.Option("--compress", help="The same as --compression gzip.")
        ] = False,
        compression: Annotated[
            Compression | None,
            typer.Option(help="How files are compressed.", show_default="none"),
        ] = None,
        chunk_size: Annotated[int, typer.Option(min=1, help="Records a file.")] = 10_000,
        faults: Annotated[
            float,
            typer.Option(
                min=0,
                max=1,
                metavar="RATE",
                help="The share of records to spoil, such as 0.01; truth.ndjson tells which, "
                "and how each must be answered.",
            ),
        ] = 0,
        output_dir: Annotated[
            Path,
            typer.Option(
                file_okay=False,
                help="Where files go. An earlier dataset of this generator there is removed; "
                "a folder with other data files is refused.",
            ),
        ] = Path("generated_data"),
        upload: Annotated[
            bool,
            typer.Option(
                "--upload",
                help="Send everything to a server as `headrace ingest` does, and wait.",
                rich_help_panel=_UPLOAD,
            ),
        ] = False,
        api_url: Annotated[
            str,
            typer.Option(envvar="HEADRACE_API_URL", help="The server.", rich_help_panel=_UPLOAD),
        ] = "http://localhost:8000",
        api_key: Annotated[
            str | None,
            typer.Option(
                envvar="HEADRACE_API_KEY",
                help="The key of the one tenant. Without it: api_key_<tenant-id>.",
                rich_help_panel=_UPLOAD,
            ),
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 42,
        until: Annotated[
            datetime,
            typer.Option(
                formats=["%Y-%m-%d"],
                show_default="2024-01-01",
                help="Orders fill the two years before this day (1980 … 2200).",
            ),
        ] = datetime(2024, 1, 1),  # noqa: DTZ001
        verbose: Annotated[bool, typer.Option("--verbose", help="Name every file.")] = False,
        json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    ) -> None:
        """Make realistic e-commerce data: the same bytes for the same seed.

        Progress goes to standard error.

        Exit codes: 0 done, 1 the disk refused, 2 usage, 130 interrupted;
        with --upload then those of `headrace ingest`. It adds a second
        document to --json.
        """
        _check_day(until)
        sizes = _sizes(
            preset,
            tenants=tenants,
            products=products_per_tenant,
            orders=orders_per_tenant,
            customers=customers_per_tenant,
            stock_events_per_product=stock_events_per_product,
            price_intervals_per_product=price_intervals_per_product,
            items_per_order=items_per_order,
        )
        if upload and api_key and sizes.tenants > 1:
            raise _one_key_for_many(sizes.tenants)
        settings = Settings(
            output_dir,
            sizes,
            seed,
            until.date(),
            chunk_size,
            _compression(compress, compression),
            format,
            faults,
        )
        progress = Progress(verbose)
        summary = _run(settings, progress)
        _report(settings, summary, progress, json)
        if upload:
            self._send(settings.folder, api_url, api_key, verbose, json)


def _one_key_for_many(tenants: int) -> typer.BadParameter:
    return typer.BadParameter(
        f"a key belongs to one tenant, and this makes {tenants}: add --tenants 1, or leave the "
        "key out (a development server takes api_key_<tenant-id>)",
        param_hint="--api-key",
    )


def _check_day(until: datetime) -> None:
    if not EARLIEST <= until <= LATEST:
        expected = f"expected a day from {EARLIEST:%Y-%m-%d} to {LATEST:%Y-%m-%d}"
        raise typer.BadParameter(expected, param_hint="--until")


def _compression(compress: bool, named: Compression | None) -> Compression:
    if compress and named not in (None, Compression.GZIP):
        raise typer.BadParameter("--compress means gzip", param_hint="--compression")
    return named or (Compression.GZIP if compress else Compression.NONE)


def _sizes(preset: Preset | None, **explicit: float | None) -> Sizes:
    """The preset's sizes, or else the usual ones, with what was given explicitly."""
    base = PRESETS[preset] if preset else _USUAL
    given = {name: value for name, value in explicit.items() if value is not None}
    return dataclasses.replace(base, **given)  # type: ignore[arg-type]


def _run(settings: Settings, progress: Progress) -> Summary:
    try:
        return dataset.generate(settings, progress)
    except FolderError as error:
        progress.say(f"error: {error}")
        raise typer.Exit(2) from error
    except OSError as error:
        progress.say(f"error: {error}")
        raise typer.Exit(1) from error
    except KeyboardInterrupt as interrupt:
        progress.say("interrupted; the same command starts anew and clears what is there")
        raise typer.Exit(130) from interrupt


def _report(settings: Settings, summary: Summary, progress: Progress, json: bool) -> None:
    for entity, rows in summary.rows.items():
        progress.say(f"{entity:>14} {rows:>14,} rows")
    progress.say(
        f"{summary.total_rows:,} rows in {summary.files:,} files, {summary.bytes:,} bytes, "
        f"{summary.seconds:,.1f} s ({summary.cpu_seconds:,.1f} s CPU): "
        f"{summary.rows_per_second:,.0f} rows/s ({summary.rows_per_cpu_second:,.0f} a CPU second)"
    )
    progress.say(f"in {settings.folder}")
    if settings.faults:
        lines = sum(summary.faults.values())
        progress.say(
            f"{lines:,} lines are not as they should be; {settings.folder / TRUTH} says what "
            "must become of each"
        )
    if json:
        sys.stdout.write(_as_json(settings, summary))


def _as_json(settings: Settings, summary: Summary) -> str:
    facts = dataclasses.asdict(summary) | {
        "total_rows": summary.total_rows,
        "rows_per_second": round(summary.rows_per_second),
        "rows_per_cpu_second": round(summary.rows_per_cpu_second),
        "folder": str(settings.folder),
        "seed": settings.seed,
    }
    return orjson.dumps(facts).decode() + "\n"

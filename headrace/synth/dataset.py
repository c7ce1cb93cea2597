"""A whole dataset: every tenant, every entity, file by file."""

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np

import headrace
from headrace.entities.customers import CUSTOMERS
from headrace.entities.order_items import ORDER_ITEMS
from headrace.entities.orders import ORDERS
from headrace.entities.price_history import PRICE_HISTORY
from headrace.entities.products import PRODUCTS
from headrace.entities.stock_events import STOCK_EVENTS
from headrace.schema import Entity
from headrace.synth import customers, folder, orders, price_history, products, stock_events
from headrace.synth.cells import text_of, timestamps
from headrace.synth.faults.inject import KINDS, Faults
from headrace.synth.faults.kinds import Kind
from headrace.synth.faults.truth import Truth
from headrace.synth.files import TENANTS, FileName, Pen, PlainPen, RecordFiles, write_whole
from headrace.synth.formats import FORMATS
from headrace.synth.plan import Plan, plans
from headrace.synth.progress import Progress, Summary
from headrace.synth.records import Records
from headrace.synth.settings import Settings

TENANT_COLUMNS = ("tenant_id", "name", "api_key_hash", "created_at")


def generate(settings: Settings, progress: Progress, kinds: Sequence[Kind] = KINDS) -> Summary:
    """Writes the dataset that the settings describe into their folder, with faults of `kinds`.

    The same settings give the same bytes (with the same releases of numpy, Faker and zlib).
    Raises FolderError if the folder holds data files of anybody else, OSError if it cannot be
    written to.
    """
    tenants = list(plans(settings))
    _announce(settings, folder.clear(settings.folder), progress)
    folder.write_manifest(settings.folder, _manifest(settings, tenants, complete=False))
    progress.wrote("tenants", len(tenants))
    size = write_whole(settings.folder / TENANTS, _tenants_csv(tenants))
    progress.finished(TENANTS, size, len(tenants))
    if settings.faults:
        _write_with_faults(settings, tenants, progress, kinds)
    else:
        for plan in tenants:
            _write_tenant(settings, plan, progress, lambda entity: PlainPen())
    folder.write_manifest(settings.folder, _manifest(settings, tenants, complete=True))
    return progress.summary()


def _write_with_faults(
    settings: Settings, tenants: Sequence[Plan], progress: Progress, kinds: Sequence[Kind]
) -> None:
    with Truth(settings.folder) as truth:
        faults = Faults(settings.faults, FORMATS[settings.format], truth, kinds)
        for plan in tenants:
            _write_tenant(settings, plan, progress, faults.of_tenant(plan).pen)
    progress.spoilt(truth.counts)


def _announce(settings: Settings, cleared: folder.Cleared | None, progress: Progress) -> None:
    if cleared and cleared.files:
        progress.say(
            f"removed the {cleared.files} files of the dataset that was in {settings.folder}; "
            f"it was made from {cleared.settings}"
        )


def _manifest(settings: Settings, tenants: Sequence[Plan], complete: bool) -> folder.Manifest:
    made_from = asdict(settings)
    del made_from["folder"]
    return folder.Manifest(
        made_by=f"headrace generate {headrace.__version__}",
        settings=made_from,
        tenants=[plan.tenant_id for plan in tenants],
        complete=complete,
    )


def _tenants_csv(tenants: Sequence[Plan]) -> bytes:
    """The documented file. A key is `api_key_<tenant_id>`; only its hash is written."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(TENANT_COLUMNS)
    for plan in tenants:
        key_hash = hashlib.sha256(f"api_key_{plan.tenant_id}".encode()).hexdigest()
        created = text_of(timestamps(np.array([plan.created_at]))).decode()
        lines.writerow((plan.tenant_id, plan.name, key_hash, created))
    return text.getvalue().encode()


def _write_tenant(
    settings: Settings, plan: Plan, progress: Progress, pen: Callable[[Entity], Pen]
) -> None:
    def files(entity: Entity, chunked: bool = True) -> RecordFiles:
        chunk_size = settings.chunk_size if chunked else None
        name = FileName(entity, plan.tenant_id, FORMATS[settings.format], settings.compression)
        return RecordFiles(settings.folder, name, chunk_size, progress, pen(entity))

    buyers, goods = customers.draw(plan), products.draw(plan)
    _write(files(CUSTOMERS, chunked=False), customers.blocks(plan, buyers))
    _write(files(PRODUCTS), products.blocks(plan, goods))
    _write(files(PRICE_HISTORY), price_history.blocks(plan, goods))
    _write(files(STOCK_EVENTS), stock_events.blocks(plan, goods))
    with files(ORDERS) as order_files, files(ORDER_ITEMS) as item_files:
        for order_records, item_records in orders.blocks(plan, buyers, goods):
            order_files.write(order_records)
            item_files.write(item_records)


def _write(files: RecordFiles, blocks: Iterable[Records]) -> None:
    with files:
        for records in blocks:
            files.write(records)

"""A small data set of every record type through HTTP, in the wrong order and in the right one.

A program of its own, from the root, from tests/ or inside the container `web`:

    python tests/test_comprehensive_ingestion.py [--api-url URL] [--api-key KEY | --tenant-id ID]

It uses the server at --api-url (HEADRACE_API_URL), else the one at localhost and PORT, else it
starts one of its own, on a database of its own, and removes both. Without a key it makes a tenant
with `manage.py load_tenants`. It prints what landed, and exits with 0 if all that was sent did,
else with 1.

pytest runs the same functions against the services of the other tests.
"""

import argparse
import csv
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx2  # noqa: E402 - the path comes first

from headrace.client import errors  # noqa: E402
from headrace.client.answers import Outcomes, UploadStatus  # noqa: E402
from headrace.client.http import HeadraceClient  # noqa: E402
from headrace.client.keys import demo_key, read  # noqa: E402
from headrace.entities import ENTITIES  # noqa: E402
from headrace.pipeline.report import Outcome  # noqa: E402
from headrace.schema import Entity, Integer, Money  # noqa: E402
from tests import service  # noqa: E402
from tests.inside import INSIDE  # noqa: E402

SIZES = {"tenants": 2, "products-per-tenant": 20, "customers-per-tenant": 10}
SIZES |= {"orders-per-tenant": 40}
PATIENCE_SECONDS = 120
ANOTHER_DATABASE = (
    "The server at {url} does not know the tenant that `manage.py load_tenants` has just made here,"
    " so it works on another database than this checkout. Give the key of a tenant that it knows"
    " (--api-key KEY), or start this with the server's DATABASE_URL or DB_* and HEADRACE_HOME."
)
NO_TENANT = (
    "`manage.py load_tenants` could not make a tenant here:\n{output}\nIf the server at {url} works"
    " on another database, give the key of a tenant that it knows (--api-key KEY); if it works on"
    " this one, run `manage.py migrate` first."
)


class Trouble(Exception):
    """The check cannot go on; the message says what to do."""


class Shop(NamedTuple):
    """A tenant at a server; `environment` is that of a program which sees its database."""

    url: str
    key: str
    tenant: str | None = None
    environment: Mapping[str, str] | None = None


class File(NamedTuple):
    """What is sent of one record type."""

    entity: Entity
    path: Path
    records: list[dict[str, Any]]


class Landed(NamedTuple):
    """A record type's outcomes: at the first look after it was sent, and in the end."""

    file: File
    first: Outcomes
    last: Outcomes
    rejects: Mapping[str, int]


Sums = dict[str, str]  #: rows, and the sum of each field with numbers


def main() -> int:
    """Run the check. 0 if everything landed, else 1."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-check-") as home:
        try:
            with _server(options.api_url, Path(home)) as (url, environment):
                shop = _shop(options, url, environment, Path(home))
                problems = check(shop, Path(home))
        except (Trouble, errors.HeadraceError) as trouble:
            print(f"Error: {trouble}", file=sys.stderr)
            return 1
    print("\n".join(problems) or "Every line landed once, in either order.")
    return int(bool(problems))


def check(shop: Shop, folder: Path) -> list[str]:
    """Send both data sets, print what landed, and return what is wrong."""
    problems = []
    ways = (
        ("Children first, each file an upload of its own", in_the_wrong_order),
        ("In load order, in one upload", in_the_right_order),
    )
    for (title, send), files in zip(ways, generate(folder / "data"), strict=True):
        landed = send(shop, files)
        sums = look(shop, landed, folder)
        _show(title, landed, sums)
        problems += [*not_landed(landed), *not_stored(landed, sums)]
    return problems


def generate(folder: Path) -> list[list[File]]:
    """Two data sets: a file a record type, in load order, with keys that nobody has yet."""
    command = [sys.executable, "-m", "headrace", "generate", "--output-dir", str(folder)]
    command += [word for name, size in SIZES.items() for word in (f"--{name}", str(size))]
    command += ["--seed", str(secrets.randbelow(2**31))]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if made.returncode:
        raise Trouble(f"no data could be generated: {made.stderr}")
    tenants = sorted(read_tenants(folder / "tenants.csv"))
    return [[_rewritten(entity, folder, tenant) for entity in ENTITIES] for tenant in tenants]


def read_tenants(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return [row["tenant_id"] for row in csv.DictReader(file)]


def _rewritten(entity: Entity, folder: Path, tenant: str) -> File:
    """Without the tenant: whose key sends them decides. Natural keys get a mark of this run."""
    lines = [
        line
        for path in sorted(folder.glob(f"{entity.name}_{tenant}*"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    records = [json.loads(line, parse_float=Decimal) for line in lines]
    for record in records:
        del record["tenant_id"]
        record.update({name: f"{record[name]}-{tenant[:8]}" for name in entity.natural_keys})
    path = folder / tenant / f"{entity.name}.ndjson"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(one, default=str) + "\n" for one in records))
    return File(entity, path, records)


def in_the_right_order(shop: Shop, files: list[File]) -> list[Landed]:
    """Parents first, in one upload; the status is read when all of it has ended."""
    with HeadraceClient(shop.url, shop.key) as client:
        token = _open(shop)
        for file in files:
            client.send_file(file.path, token)
        status = _wait(client, token)
    of = {name: entity.outcomes for name, entity in status.entities.items()}
    return [
        Landed(file, of[file.entity.name], of[file.entity.name], status.reject_codes)
        for file in files
    ]


def in_the_wrong_order(shop: Shop, files: list[File]) -> list[Landed]:
    """Children first, each in an upload of its own, the next one when the last has ended."""
    with HeadraceClient(shop.url, shop.key) as client:
        first = {}
        for file in reversed(files):
            token = _open(shop)
            client.send_file(file.path, token)
            first[token] = _wait(client, token).outcomes
        tokens = list(reversed(first))
        last = [_wait(client, token, parked=False) for token in tokens]
    return [
        Landed(file, first[token], status.outcomes, status.reject_codes)
        for file, token, status in zip(files, tokens, last, strict=True)
    ]


def _open(shop: Shop) -> str:
    """A new upload whose lines wait for their parents, whatever is usual for the tenant."""
    response = httpx2.post(
        f"{shop.url}/api/v1/ingest/sessions/",
        headers={"X-API-Key": shop.key},
        json={"on_missing_parent": "park"},
    )
    if not response.is_success:
        raise errors.of_answer(response)
    token: str = response.json()["upload_token"]
    return token


def _wait(client: HeadraceClient, token: str, *, parked: bool = True) -> UploadStatus:
    """The status once nothing is at work; `parked=False` waits for parked lines as well."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        status = client.status(token)
        if status.finished and (parked or not status.outcomes.parked):
            return status
        if time.monotonic() > end:
            raise Trouble(
                f"after {PATIENCE_SECONDS} s the upload has not ended: {status.outcomes} of"
                f" {status.lines_received} lines. Does a worker run? `headrace doctor` knows."
            )
        time.sleep(0.1)


def look(shop: Shop, landed: list[Landed], folder: Path) -> dict[str, Sums] | None:
    """What the tables hold of the records that were sent; None if we cannot see them."""
    if shop.environment is None:
        return None
    keys = {one.file.entity.name: _keys(one.file) for one in landed}
    path = folder / "keys.json"
    path.write_text(json.dumps(keys))
    done = subprocess.run(
        [sys.executable, "-c", INSIDE, Path(__file__).stem, "stored", str(shop.tenant), str(path)],
        cwd=ROOT,
        env={**shop.environment, "DJANGO_SETTINGS_MODULE": "main.settings"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise Trouble(f"the tables cannot be read: {done.stderr}")
    found: dict[str, dict[str, Sums]] = json.loads(done.stdout)
    return found


def stored(tenant: str, path: str) -> dict[str, Sums]:
    """Rows and sums of the tenant's rows with these keys, where Django is set up."""
    from django.db.models import Count, Sum  # noqa: PLC0415

    from apps.catalog.models import MODELS  # noqa: PLC0415
    from apps.core.isolation import tenant_reading  # noqa: PLC0415

    found = {}
    with tenant_reading(UUID(tenant)):
        for name, keys in json.loads(Path(path).read_text()).items():
            entity = next(one for one in ENTITIES if one.name == name)
            rows = MODELS[name].objects.filter(**{f"{entity.key}__in": keys})
            asked = {f"sum_{field}": Sum(field) for field in numbers(entity)}
            answer = rows.aggregate(rows=Count(entity.key), **asked)
            totals = {field: answer[f"sum_{field}"] for field in numbers(entity)}
            found[name] = _sums(answer["rows"], totals)
    return found


def numbers(entity: Entity) -> list[str]:
    """The fields that can be summed."""
    return [field.name for field in entity.as_sent if isinstance(field.type, Money | Integer)]


def sent(file: File) -> Sums:
    """Rows and sums of the records of a file."""
    totals = {
        field: sum(Decimal(record[field] or 0) for record in file.records)
        for field in numbers(file.entity)
    }
    return _sums(len(file.records), totals)


def _sums(rows: int, totals: Mapping[str, Any]) -> Sums:
    return {"rows": str(rows), **{field: _plain(total) for field, total in totals.items()}}


def _plain(number: Decimal | int | None) -> str:
    """The number without zeros at its end: 5 and 5.0000 are equal sums."""
    return format(Decimal(number or 0).normalize(), "f")


def _keys(file: File) -> list[str]:
    return [record[file.entity.key] for record in file.records]


def not_landed(landed: list[Landed]) -> list[str]:
    """Record types of which not every line was inserted."""
    return [
        f"{one.file.entity.name}: {len(one.file.records)} lines were sent, and they ended as"
        f" {one.last}; rejects: {dict(one.rejects)}"
        for one in landed
        if one.last != Outcomes(inserted=len(one.file.records))
    ]


def not_stored(landed: list[Landed], sums: dict[str, Sums] | None) -> list[str]:
    """Record types whose rows or sums in the tables are not those that were sent."""
    pairs = [] if sums is None else [(one.file, sums[one.file.entity.name]) for one in landed]
    return [
        f"{file.entity.name}: {sent(file)} was sent, the table has {found}"
        for file, found in pairs
        if sent(file) != found
    ]


def _show(title: str, landed: list[Landed], sums: dict[str, Sums] | None) -> None:
    names = [outcome.value for outcome in Outcome]
    print(f"\n{title}\n{_line('', 'lines', 'waited', *names)}  in the table")
    for one in landed:
        name = one.file.entity.name
        figures = [getattr(one.last, outcome) for outcome in names]
        table = "?" if sums is None else ", ".join(f"{k} {v}" for k, v in sums[name].items())
        print(f"{_line(name, len(one.file.records), one.first.parked, *figures)}  {table}")
    if sums is None:
        print("?: with a key that was given, nothing is known of the server's database")


def _line(name: str, *cells: object) -> str:
    return f"{name:<13}" + "".join(f"{cell!s:>12}" for cell in cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--api-url", default=os.environ.get("HEADRACE_API_URL"))
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--api-key", default=os.environ.get("HEADRACE_API_KEY"))
    whose.add_argument("--tenant-id", help="a tenant that is there, with its demo key")
    return parser.parse_args()


@contextmanager
def _server(url: str | None, home: Path) -> Iterator[tuple[str, Mapping[str, str]]]:
    """A server, and the environment in which manage.py may see its database."""
    local = f"http://localhost:{os.environ.get('PORT', 8000)}"
    if url and not _is_headrace(url):
        raise Trouble(f"no Headrace answers at {url}: start it, or leave --api-url out")
    if url or _is_headrace(local):
        print(f"The server at {url or local}")
        yield (url or local).rstrip("/"), os.environ
        return
    print(f"No server at {local}: one of its own, with a database in a temporary folder")
    with service.running(home / "own") as own:
        yield own.url, own.environment


def _is_headrace(url: str) -> bool:
    try:
        return "database" in httpx2.get(f"{url.rstrip('/')}/health/ready", timeout=5).text
    except (httpx2.TransportError, httpx2.InvalidURL):
        return False


def _shop(
    options: argparse.Namespace, url: str, environment: Mapping[str, str], home: Path
) -> Shop:
    """The tenant that was named, or a new one. Raises Trouble if the server does not know it."""
    if options.api_key:
        return Shop(url, options.api_key)
    if options.tenant_id:
        return Shop(url, demo_key(options.tenant_id))
    shop = _new_shop(url, environment, home)
    try:
        _open(shop)
    except errors.KeyRefused:
        raise Trouble(ANOTHER_DATABASE.format(url=url)) from None
    print(f"Tenant {shop.tenant}, made for this check")
    return shop


def _new_shop(url: str, environment: Mapping[str, str], home: Path) -> Shop:
    tenant, tenants, keys = str(uuid4()), home / "tenants.csv", home / "keys.csv"
    tenants.write_text(f"tenant_id,name\n{tenant},Comprehensive check\n")
    done = subprocess.run(
        [sys.executable, "manage.py", "load_tenants", "--file", tenants, "--keys-out", keys],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-1:])
        raise Trouble(NO_TENANT.format(output=last, url=url))
    return Shop(url, read(keys)[tenant], tenant, environment)


def shop_of(merchant: service.Merchant) -> Shop:
    """A merchant of the tests as the program sees it."""
    own = merchant.service
    return Shop(own.url, merchant.key, str(merchant.tenant), own.environment)


def test_in_load_order_every_line_lands_at_once(merchant, tmp_path):
    files, _ = generate(tmp_path / "data")
    landed = in_the_right_order(shop_of(merchant), files)
    assert not_landed(landed) == []
    assert not_stored(landed, look(shop_of(merchant), landed, tmp_path)) == []


def test_children_that_come_first_wait_and_land_when_their_parents_come(merchant, tmp_path):
    files, _ = generate(tmp_path / "data")
    landed = in_the_wrong_order(shop_of(merchant), files)
    waited = {one.file.entity.name for one in landed if one.first.parked == len(one.file.records)}
    assert waited == {entity.name for entity in ENTITIES if entity.references}
    assert not_landed(landed) == []
    assert not_stored(landed, look(shop_of(merchant), landed, tmp_path)) == []


if __name__ == "__main__":
    sys.exit(main())

"""Series of prices to score the detector on: generated files, and honest but awkward series."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson

from headrace.client import plan
from headrace.pipeline.report import Outcome
from headrace.synth.faults.prices import FACTORS
from headrace.synth.faults.truth import TRUTH

PRICES = 61  #: of a product of an awkward series
FAULTY = 0.02  #: the share of the prices of an awkward series that are spoilt for its recall


class Price(NamedTuple):
    """A price from `at` on; `fault` names the kind that spoilt it, empty where it is honest."""

    at: str
    tenant: str
    category: str
    product: str
    price: Decimal
    fault: str = ""


def generated(folder: Path) -> list[Price]:
    """The prices of a generated dataset that land, in order of time."""
    told = _told(folder)
    found = []
    for tenant in plan.read(folder).tenants:
        files = [file for file in tenant.files if file.entity in ("products", "price_history")]
        categories: dict[str, str] = {}
        for file in files:  # in load order: products first
            for fault, row in _landed(file.path, told.get(file.name, {})):
                product = row["product_id"]
                if file.entity == "products":
                    categories[product] = row["category_id"]
                    continue
                found.append(
                    Price(
                        row["effective_from"],
                        tenant.tenant_id,
                        categories[product],
                        product,
                        Decimal(str(row["price"])),
                        fault,
                    )
                )
    return sorted(found)


def _told(folder: Path) -> dict[str, dict[int, dict[str, str]]]:
    """By file and line what the truth says; nothing in a dataset without faults."""
    told: dict[str, dict[int, dict[str, str]]] = {}
    if (folder / TRUTH).exists():
        for line in (folder / TRUTH).read_bytes().splitlines():
            entry = orjson.loads(line)
            told.setdefault(entry["file"], {})[entry["line"]] = entry
    return told


def _landed(path: Path, told: dict[int, dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """The rows that a file leaves in its table, with their fault."""
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        entry = told.get(number, {"outcome": Outcome.INSERTED, "fault": ""})
        if line and entry["outcome"] == Outcome.INSERTED:
            yield entry["fault"], orjson.loads(line)


# --- honest and awkward -------------------------------------------------------------------------

Factors = Callable[[np.random.Generator, int], np.ndarray]  #: each price divided by the one before


def _calm(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(0.91, 1.09, count)


def _lively(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(rng.normal(0, 0.08, count))


def _heavy_tailed(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.exp(rng.laplace(0, 0.02, count))


def _drift(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform(1.002, 1.03, count)


def _sales(rng: np.random.Generator, count: int) -> np.ndarray:
    """Every sixth price is 20 to 30 % off, and the next one is without that."""
    factors = rng.uniform(0.98, 1.03, count)
    start = int(rng.integers(6))
    off = rng.uniform(0.7, 0.8, len(factors[start:-1:6]))
    factors[start:-1:6] *= off
    factors[start + 1 :: 6] /= off
    return factors


def _walk(rng: np.random.Generator, first: float, factors: Factors, decimals: int) -> list[Decimal]:
    steps = first * np.cumprod(factors(rng, PRICES))
    return [Decimal(f"{price:.{decimals}f}") for price in steps]


def _cents(rng: np.random.Generator) -> list[Decimal]:
    """0.05 to 0.10, a cent up or down or none: 10 to 20 % at a time, because there is no less."""
    cents = 5 + np.abs((np.cumsum(rng.integers(-1, 2, PRICES)) + 5) % 10 - 5)
    return [Decimal(int(number)).scaleb(-2) for number in cents]


AWKWARD: dict[str, Callable[[np.random.Generator], list[Decimal]]] = {
    "list prices within 9 %": lambda rng: _walk(rng, rng.uniform(5, 500), _calm, 2),
    "normal, deviation 8 %": lambda rng: _walk(rng, rng.uniform(5, 500), _lively, 2),
    "heavy-tailed, Laplace of 2 %": lambda rng: _walk(rng, rng.uniform(5, 500), _heavy_tailed, 2),
    "inflation, 0.2 to 3 % a time": lambda rng: _walk(rng, rng.uniform(5, 500), _drift, 2),
    "sales, 20 to 30 % off and back": lambda rng: _walk(rng, rng.uniform(5, 500), _sales, 2),
    "cents, 0.05 to 0.10": _cents,
    "huge, around 10^11": lambda rng: _walk(rng, 1e11, _calm, 4),
    "a single price": lambda rng: [Decimal("19.99")],
}


def awkward(name: str, seed: int, products: int, faulty: float = 0) -> list[Price]:
    """A tenant with one category of so many such products, in order of time; some prices spoilt."""
    rng = np.random.default_rng(seed)
    found = []
    for product in range(products):
        for number, price in enumerate(AWKWARD[name](rng)):
            fault = str(rng.choice(list(FACTORS))) if number and rng.random() < faulty else ""
            spoilt = (price * FACTORS.get(fault, Decimal(1))).quantize(Decimal("0.0001"))
            at = f"{number:04d}"
            found.append(Price(at, "tenant", "category", str(product), spoilt, fault))
    return sorted(found)

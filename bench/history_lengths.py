"""How many changes make a scale, and what the floor is for: `python -m bench.history_lengths`.

For changes of several distributions: the share, in percent, of honest changes beyond the threshold
of the robust score, by the number of changes that median and MAD come from.
"""

import argparse
from collections.abc import Callable

import numpy as np

from headrace.pricing import detection

LENGTHS = (5, 8, 12, 20, 30, 59)
FLOORS = (0.0, 0.01, detection.MAD_FLOOR)
TRIALS = 50_000

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
CHANGES: dict[str, Draw] = {
    "generated, -9 to +14 %": lambda rng, shape: -np.log(rng.uniform(0.88, 1.10, shape)),
    "normal, deviation 3 %": lambda rng, shape: rng.normal(0.01, 0.03, shape),
    "normal, deviation 8 %": lambda rng, shape: rng.normal(0.01, 0.08, shape),
    "Laplace of 2 %": lambda rng, shape: rng.laplace(0.01, 0.02, shape),
    "Student's t of 2 %, 3 degrees": lambda rng, shape: 0.02 * rng.standard_t(3, shape),
}


def false_alarms(rng: np.random.Generator, draw: Draw, length: int, floor: float) -> float:
    """The share of changes beyond the threshold of a scale of `length` others like them."""
    history, change = np.split(draw(rng, (TRIALS, length + 1)), [length], axis=1)
    middle = np.median(history, axis=1, keepdims=True)
    mad = np.median(np.abs(history - middle), axis=1, keepdims=True)
    spread = np.maximum(mad, floor and np.maximum(floor, np.abs(middle)))
    return float(np.mean(0.6745 * np.abs(change - middle) > detection.Z_THRESHOLD * spread))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.history_lengths", description=__doc__)
    parser.add_argument("--seed", type=int, default=42)
    rng = np.random.default_rng(parser.parse_args().seed)
    print(f"{'changes':<32}{'floor':>6}" + "".join(f"{length:>7}" for length in LENGTHS))
    for name, draw in CHANGES.items():
        for floor in FLOORS:
            shares = (false_alarms(rng, draw, length, floor) for length in LENGTHS)
            print(f"{name:<32}{floor:>6}" + "".join(f"{100 * share:>7.2f}" for share in shares))


if __name__ == "__main__":
    main()

"""The generator alone, in one process: `python -m bench.generating ROWS` prints what it took.

One tenant in the default proportions of `headrace generate`, stock events and price histories
with the rest, written to a folder that is thrown away.
"""

import json
import sys
import tempfile
from pathlib import Path

from headrace.synth import dataset
from headrace.synth.progress import Progress
from headrace.synth.settings import Settings, Sizes

A_PRODUCT = 39  #: rows for each product of the sizes below


def generate(rows: int) -> dict[str, float]:
    """Rows, seconds and processor seconds of about so many rows."""
    products = rows // A_PRODUCT
    sizes = Sizes(tenants=1, products=products, orders=4 * products, customers=products // 50)
    with tempfile.TemporaryDirectory() as folder:
        made = dataset.generate(Settings(Path(folder), sizes), Progress())
    return {"rows": made.total_rows, "seconds": made.seconds, "cpu": made.cpu_seconds}


if __name__ == "__main__":
    print(json.dumps(generate(int(sys.argv[1]))))

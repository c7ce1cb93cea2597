"""The documented `python scripts/gen_dataset.py …`: runs the launcher in the folder above."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    runpy.run_path(str(ROOT / "gen_dataset.py"), run_name="__main__")

"""Write all tenants of an SQLite database into a folder: the first half of a move.

`manage.py export_data` does it, for any database.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", type=Path, default=Path("db.sqlite3"))
    parser.add_argument("--out", type=Path, default=Path("export"), help="the folder")
    options = parser.parse_args()
    if not options.database.is_file():
        parser.error(f"there is no {options.database}; name the file with --database")
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{options.database.resolve()}"}
    command = [sys.executable, str(ROOT / "manage.py"), "export_data", str(options.out.resolve())]
    return subprocess.run(command, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())

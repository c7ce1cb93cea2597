"""Land a folder of export_sqlite.py in another database: the second half of a move.

`manage.py import_data` does it, for any database.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database-url", default=os.environ.get("DATABASE_URL"))
    parser.add_argument("--folder", type=Path, default=Path("export"))
    options = parser.parse_args()
    if not options.database_url:
        parser.error("name the database with --database-url or in DATABASE_URL")
    environment = {**os.environ, "DATABASE_URL": options.database_url}
    for command in (["migrate", "--verbosity", "0"], ["import_data", options.folder.resolve()]):
        arguments = [sys.executable, str(ROOT / "manage.py"), *map(str, command)]
        if code := subprocess.run(arguments, env=environment).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())

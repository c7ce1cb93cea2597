"""The health check of a container: 0 if the server on this machine can take files, else 1."""

import os
import sys
import urllib.request


def main() -> int:
    """Ask the server's own probe; what it says is for whoever reads the container's state."""
    url = f"http://127.0.0.1:{os.environ.get('PORT', 8000)}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=4) as answer:
            print(answer.read().decode())
            return 0
    except OSError as error:  # refused, timed out, or an answer that is not 2xx
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

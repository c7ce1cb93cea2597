"""A real server of S3 for the tests."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headrace.storage.base import StoreRefused, StoreUnavailable
from headrace.storage.s3 import S3Store
from tests.servers import free_port

ACCESS_KEY, SECRET, BUCKET = "a-key", "a-secret", "recognitions"
WEED = Path(sys.executable).parent / "weed"
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """A SeaweedFS of our own with an empty bucket; the environment of who uses it."""
    with tempfile.TemporaryDirectory(prefix="headrace-s3-") as home:
        config = Path(home) / "s3.json"
        config.write_text(json.dumps({"identities": [_IDENTITY]}))
        port = free_port()
        with (Path(home) / "log").open("wb") as log:
            process = subprocess.Popen(_command(home, config, port), stdout=log, stderr=log)
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait_for_bucket(endpoint, Path(home) / "log")
            yield {
                "HEADRACE_RECOGNITIONS_STORE": "s3",
                "HEADRACE_RECOGNITIONS_BUCKET": BUCKET,
                "HEADRACE_RECOGNITIONS_ENDPOINT": endpoint,
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
            }
        finally:
            process.kill()
            process.wait()


def _command(home: str, config: Path, port: int) -> list[str]:
    """It would listen at many ports, and report itself to its makers."""
    ports = [
        f"-{name}={free_port()}"
        for name in (
            *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
            *("filer.port", "filer.port.grpc", "s3.port.grpc"),
        )
    ]
    return [
        *(str(WEED), "server", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(*ports, "-s3", f"-s3.port={port}", f"-s3.config={config}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=256", "-volume.max=20"),
    ]


def _wait_for_bucket(endpoint: str, log: Path) -> None:
    store = S3Store(BUCKET, endpoint, "us-east-1", ACCESS_KEY, SECRET)
    for _ in range(600):
        with suppress(StoreUnavailable, StoreRefused):
            store.put("probe", [b"there"])  # it makes the bucket
            store.delete("probe")
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])

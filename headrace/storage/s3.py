"""Objects in a bucket of S3, or of any server that speaks it (the extra `s3`).

Operator's note: an object is put by one request, which the server takes whole or not at all, and it
is in memory meanwhile: this store is for photos, not for files of gigabytes. Nothing is tried again
here; who calls knows how patient it is. The bucket must be there.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import BinaryIO

import obstore
from obstore.exceptions import (
    BaseError,
    GenericError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store as Bucket

from headrace.storage import media
from headrace.storage.base import ObjectMissing, StoreRefused, StoreUnavailable

SECONDS = 60  # that one request may take
CONNECT_SECONDS = 10
#: Of what a server answers, what the same request may not meet again.
_PASSING = ("429", "500", "502", "503", "504", "slowdown", "internalerror", "timeout", "timed out")


class S3Store:
    """A bucket. `endpoint` is empty for AWS itself."""

    def __init__(
        self, bucket: str, endpoint: str, region: str, access_key: str, secret: str
    ) -> None:
        self._bucket = bucket
        self._store = Bucket(
            bucket,
            endpoint=endpoint or None,
            region=region,
            access_key_id=access_key,
            secret_access_key=secret,
            virtual_hosted_style_request=not endpoint,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "timeout": f"{SECONDS}s",
                "connect_timeout": f"{CONNECT_SECONDS}s",
            },
            retry_config={"max_retries": 0},
        )

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        data = b"".join(blocks)
        with self._told():
            obstore.put(
                self._store,
                key,
                data,
                attributes={"Content-Type": media.type_of(data)},
                use_multipart=False,
            )
        return len(data)

    def open(self, key: str) -> BinaryIO:
        with self._told(key):
            return BytesIO(bytes(obstore.get(self._store, key).bytes()))

    def delete(self, key: str) -> None:
        with self._told():
            try:
                obstore.delete(self._store, key)
            except (NotFoundError, FileNotFoundError):  # one that is not there is fine
                return

    def aged(self, folder: str, older_than_seconds: float) -> Iterator[str]:
        """In the order of their names, which is the only one that S3 has."""
        limit = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        for page in self._pages(folder):
            yield from (key for key, _, changed in page if changed < limit)

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        for page in self._pages(folder):
            yield from ((key, size) for key, size, _ in page)

    def prune(self, folder: str) -> None:
        """There are no folders that could be empty."""

    def size(self, key: str) -> int | None:
        try:
            with self._told(key):
                return int(obstore.head(self._store, key)["size"])
        except ObjectMissing:
            return None

    def signed_url(self, key: str, seconds: int) -> str:
        """Made here; whether the object is there is seen by who follows it."""
        return str(obstore.sign(self._store, "GET", key, timedelta(seconds=seconds)))

    def _pages(self, folder: str) -> Iterator[list[tuple[str, int, datetime]]]:
        pages = iter(obstore.list(self._store, f"{folder}/", chunk_size=1_000))
        while True:
            with self._told():
                page = next(pages, None)
            if page is None:
                return
            yield [(str(one["path"]), int(one["size"]), one["last_modified"]) for one in page]

    @contextmanager
    def _told(self, key: str = "") -> Iterator[None]:
        """What the library raises, in words of ours; `key` is an object that may be missing."""
        try:
            yield
        except (NotFoundError, FileNotFoundError) as error:
            if key:
                raise ObjectMissing(key) from error
            raise StoreRefused(f"there is no bucket {self._bucket}") from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            text = f"the key may not do that in the bucket {self._bucket}"
            raise StoreRefused(text) from error
        except BaseError as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseError) -> Exception:
        said = str(error).lower()
        answered = "status" in said or "<error>" in said
        if isinstance(error, GenericError) and answered and not any(w in said for w in _PASSING):
            return StoreRefused(f"the server of the bucket {self._bucket} refused the request")
        return StoreUnavailable(f"the server of the bucket {self._bucket} does not answer")

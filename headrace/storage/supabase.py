"""Objects in a bucket of Supabase Storage, through the few addresses of its HTTP interface.

Operator's note: its own client, storage3, brings pydantic, yarl and pyiceberg for seven requests.
An object is put by one request and is in memory meanwhile: this store is for photos. Nothing is
tried again here. The key is the project's service role key, which no policy binds. The server says
in the body what it means by a 400.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx2

from headrace.storage import media
from headrace.storage.base import ObjectMissing, StoreRefused, StoreUnavailable

SECONDS = 60.0  # that a request may wait for bytes
CONNECT_SECONDS = 10.0
CONNECTIONS = 64  # more than threads use them
_PAGE = 1_000
_MISSING = 404
# 423 is an object that another request has locked, 544 its database's timeout.
_PASSING = {408, 423, 425, 429, 500, 502, 503, 504, 544}


class SupabaseStore:
    """A bucket of the project at `url`."""

    def __init__(self, url: str, key: str, bucket: str) -> None:
        self._url = f"{url.rstrip('/')}/storage/v1"
        self._bucket = bucket
        self._http = httpx2.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {key}", "apikey": key},
            timeout=httpx2.Timeout(SECONDS, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS
            ),
        )

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        data = b"".join(blocks)
        headers = {"x-upsert": "true", "Content-Type": media.type_of(data)}
        self._ask("POST", self._object(key), content=data, headers=headers)
        return len(data)

    def open(self, key: str) -> BinaryIO:
        path = f"/object/authenticated/{self._bucket}/{quote(key)}"
        return BytesIO(self._ask("GET", path, key=key).content)

    def delete(self, key: str) -> None:
        self._ask("DELETE", f"/object/{self._bucket}", json={"prefixes": [key]})

    def aged(self, folder: str, older_than_seconds: float) -> Iterator[str]:
        """Folder by folder; a folder is listed before the first key of it is given."""
        limit = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        for key, one in self._listed(folder):
            if datetime.fromisoformat(one["updated_at"]) < limit:
                yield key

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        return ((key, int(one["metadata"]["size"])) for key, one in self._listed(folder))

    def prune(self, folder: str) -> None:
        """There are no folders that could be empty."""

    def size(self, key: str) -> int | None:
        """By GET: a HEAD that is refused has no body that would say what is meant."""
        path = f"/object/info/authenticated/{self._bucket}/{quote(key)}"
        try:
            return int(self._ask("GET", path, key=key).json()["size"])
        except ObjectMissing:
            return None

    def signed_url(self, key: str, seconds: int) -> str:
        """Made by the server. Raises ObjectMissing."""
        path = f"/object/sign/{self._bucket}/{quote(key)}"
        answer = self._ask("POST", path, key=key, json={"expiresIn": seconds})
        return f"{self._url}{answer.json()['signedURL']}"

    def _object(self, key: str) -> str:
        return f"/object/{self._bucket}/{quote(key)}"

    def _listed(self, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for one in self._entries(folder):
            place = f"{folder}/{one['name']}"
            if one["id"] is None:  # a folder
                yield from self._listed(place)
            else:
                yield place, one

    def _entries(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) % _PAGE == 0:
            asked = {"prefix": folder, "limit": _PAGE, "offset": len(found)}
            answer = self._ask("POST", f"/object/list/{self._bucket}", json=asked)
            page = answer.json()
            if not page:
                break
            found += page
        if not found:  # which is all that is said of a bucket that is not there
            self._ask("GET", f"/bucket/{self._bucket}")
        return found

    def _ask(self, method: str, path: str, key: str = "", **content: Any) -> httpx2.Response:
        """The answer; `key` is an object that may be missing."""
        try:
            answer = self._http.request(method, path, **content)
        except httpx2.TransportError as error:
            raise StoreUnavailable("Supabase Storage does not answer") from error
        if not answer.is_success:
            raise self._failure(answer, key)
        return answer

    def _failure(self, answer: httpx2.Response, key: str) -> Exception:
        status, message = _said(answer)
        if status in _PASSING:
            return StoreUnavailable(f"Supabase Storage answers {status}")
        if key and status == _MISSING and "bucket" not in message.lower():
            return ObjectMissing(key)
        return StoreRefused(f"bucket {self._bucket}: Supabase Storage answers {status} {message}")


def _said(answer: httpx2.Response) -> tuple[int, str]:
    """Status and message: those of the body, where it has some."""
    try:
        body = answer.json()
        return int(body["statusCode"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return answer.status_code, answer.reason_phrase

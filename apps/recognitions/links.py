"""Links that show one photo to whoever has them, for a while, without a key.

A link says whose photo it is, which one and until when, and is signed with the service's secret:
nothing about it is stored. It names the bytes by their digest, so that it never shows those of
another photo that has taken the place. What it takes besides is asked when it is used: a tenant
that may read, and a row that names the photo.

The links of a photo are all the same for a third of their life. So what tells them has an ETag that
lasts, and a browser that has a photo does not fetch it again.
"""

import time
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.core import signing

from apps.core.problems import Problem

SALT = "headrace.recognitions.photo"
ADDRESS = "/api/v1/photos/"
FORM = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"


class Link(NamedTuple):
    """A photo, named by its digest, that may be seen until `expires`, a Unix time in seconds."""

    tenant: UUID
    recognition_id: int
    role: str
    sha256: str
    expires: int

    @property
    def address(self) -> str:
        """Where it leads, with its signature."""
        said = [self.tenant.hex, self.recognition_id, self.role, self.sha256, self.expires]
        return f"{ADDRESS}{_signer().sign_object(said)}"

    @property
    def end(self) -> datetime:
        """When it expires."""
        return datetime.fromtimestamp(self.expires, UTC)

    @property
    def seconds_left(self) -> int:
        return self.expires - int(time.time())


def expiry() -> int:
    """Until when links that are made now can be used: for two thirds of their life at least."""
    life = settings.HEADRACE_PHOTO_LINK_SECONDS
    step = max(1, life // 3)
    return int(time.time()) // step * step + life


def read(text: str) -> Link:
    """What a link says. Raises Problem unless we have signed it, and it has not expired."""
    try:
        tenant, *said = _signer().unsign_object(text)
    except signing.BadSignature:
        told = "Take the link as it was told, or ask for the recognition again."
        raise Problem("link_invalid", told) from None
    link = Link(UUID(tenant), *said)
    if link.seconds_left <= 0:
        raise Problem("link_expired", "Ask for the recognition again: it has new links.")
    return link


def _signer() -> signing.Signer:
    return signing.Signer(sep=".", salt=SALT)

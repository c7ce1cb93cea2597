"""Secrets of endpoints and signatures by them, as Standard Webhooks has both.

A secret is derived from DJANGO_SECRET_KEY, the endpoint's id and a random salt. The database has
the salt only, so who reads it cannot sign; a new DJANGO_SECRET_KEY makes all secrets new.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings

PREFIX = "whsec_"
_PURPOSE = b"headrace.webhooks.1"


def new_salt() -> str:
    """What makes a secret anew."""
    return secrets.token_hex(16)


def secret_of(endpoint: UUID, salt: str) -> str:
    """The secret that the receiver has too: `whsec_` and 32 bytes in base64."""
    return PREFIX + base64.b64encode(_key(endpoint, salt)).decode()


def headers(
    endpoint: UUID, salts: Iterable[str], event: UUID, moment: int, body: bytes
) -> dict[str, str]:
    """What a receiver verifies: one signature a salt, for a moment in seconds since 1970."""
    message = message_id(event)
    signed = f"{message}.{moment}.".encode() + body
    signatures = (hmac.digest(_key(endpoint, salt), signed, hashlib.sha256) for salt in salts)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(moment),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def message_id(event: UUID) -> str:
    """The webhook-id of an event: the same each time that it is sent."""
    return f"msg_{event.hex}"


def _key(endpoint: UUID, salt: str) -> bytes:
    root = hmac.digest(settings.SECRET_KEY.encode(), _PURPOSE, hashlib.sha256)
    return hmac.digest(root, endpoint.bytes + bytes.fromhex(salt), hashlib.sha256)

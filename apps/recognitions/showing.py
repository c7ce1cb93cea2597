"""What a link shows: the bytes of a photo, or where its store shows them."""

import logging
from collections.abc import Callable
from typing import TypeVar

from django.conf import settings

from apps.core import objects
from apps.core.problems import Problem
from apps.core.ranges import Content
from apps.recognitions import photos
from apps.recognitions.links import Link
from apps.recognitions.models import Photo
from headrace.recognitions.errors import Stop
from headrace.recognitions.photos import MEDIA_TYPES
from headrace.storage.base import ObjectMissing, Signing, StoreRefused, StoreUnavailable

log = logging.getLogger(__name__)
KINDS = tuple(MEDIA_TYPES.values())
MOST_AWAY = 60  # seconds that a link of the store itself is good for: it is followed at once
T = TypeVar("T")


def content(link: Link, photo: Photo) -> Content:
    """What a link shows. Raises Problem where the store does not have it."""
    if _answered(photo, lambda: photos.store().size(photo.object_key)) != photo.bytes:
        raise _missing(photo)
    return Content(
        f'"{photo.sha256}"',
        {
            "Content-Type": photo.media_type,
            "Content-Disposition": f'inline; filename="{_filename(photo)}"',
            "Cache-Control": f"private, max-age={link.seconds_left}, immutable",
            # The link is what admits; a page of another origin may show what it was given.
            "Cross-Origin-Resource-Policy": "cross-origin",
        },
        lambda start: objects.blocks(photos.store(), photo.object_key, start, photo.bytes),
        photo.bytes,
    )


def elsewhere(link: Link, photo: Photo) -> str | None:
    """A link of the store itself, where it makes some and readers reach it. Raises Problem."""
    own = photos.store()
    if not settings.HEADRACE_PHOTO_REDIRECTS or not isinstance(own, Signing):
        return None
    seconds = max(1, min(link.seconds_left, MOST_AWAY))
    return _answered(photo, lambda: own.signed_url(photo.object_key, seconds))


def _answered(photo: Photo, ask: Callable[[], T]) -> T:
    """What the store answers. Raises Problem."""
    try:
        return ask()
    except ObjectMissing:
        raise _missing(photo) from None
    except (StoreUnavailable, StoreRefused, Stop) as error:
        log.error("the store of photos did not answer", exc_info=error)
        told = "The store of photos does not answer: try again in a moment."
        raise Problem("unavailable", told) from None


def _missing(photo: Photo) -> Problem:
    told = f"Load recognition {photo.recognition_id} again, which puts the photo there anew."
    return Problem("photo_missing", told)


def _filename(photo: Photo) -> str:
    return f"{photo.recognition_id}_{photo.role}.{photo.media_type.partition('/')[2]}"

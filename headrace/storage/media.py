"""What an object is, by its first bytes: servers hand the type on to browsers."""

_SIGNS = (
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"WEBP", 8, "image/webp"),
)
UNKNOWN = "application/octet-stream"


def type_of(data: bytes) -> str:
    """The media type of a photo's bytes; UNKNOWN for anything else."""
    for sign, place, media_type in _SIGNS:
        if data[place : place + len(sign)] == sign:
            return media_type
    return UNKNOWN

"""Logs: one JSON object a line, with what is known of the request or the job, without keys.

Modules log with `logging` as ever; who knows an id binds it, and every line of that thread has it.
"""

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any

import structlog
from structlog.contextvars import (
    bind_contextvars,
    clear_contextvars,
    get_contextvars,
    merge_contextvars,
)

# What `extra=` may add to a line; Django's own records carry whole requests there.
FIELDS = ("status", "duration_ms", "bytes_in", "seconds", "user", "row", "done")
_SECRET = re.compile(
    r"(?P<key>hr_[0-9a-f]{12}_\w+|api_key_[0-9a-f-]{32,36})"
    r"|(?P<webhook>whsec_[\w+/=-]+)"
    r"|(?P<upload>(?:(?<![a-z0-9])|(?<=\\n))up_[\w-]{16,})"
    r'|(?P<photo>(?<=/photos/)[^\s"/]+)'
    r'|(?P<bearer>bearer +[^\s"\\]+)'
    r'|(?P<password>(?<=://)[^\s"/]*:[^\s"]*(?=@))',
    re.IGNORECASE | re.ASCII,
)
_SIGNS = (
    "hr_",
    "api_key_",
    "up_",
    "whsec_",
    "/photos/",
    "bearer",
    "://",
)  #: each secret has one of them


def bind(**ids: object) -> None:
    """Put ids into every further line of this request or job."""
    bind_contextvars(**{name: str(value) for name, value in ids.items()})


@contextmanager
def context(**ids: object) -> Iterator[None]:
    """A request or a job: its lines have these ids and those bound on the way, and no others.

    A job in the midst of another one gives that one its ids back.
    """
    outer = get_contextvars()
    clear_contextvars()
    bind(**ids)
    try:
        yield
    finally:
        clear_contextvars()
        bind_contextvars(**outer)


def redacted(text: str) -> str:
    """The text with the kind of each secret in its place.

    API keys, secrets of webhooks, upload tokens, passwords.
    """
    small = text.lower()
    if not any(sign in small for sign in _SIGNS):  # a thirtieth of the time of a search
        return text
    return _SECRET.sub(lambda found: f"[{found.lastgroup}]", text)


class Redacting(logging.Formatter):
    """Plain lines without secrets, for terminals."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _redact(logger: Any, method: str, line: Any) -> str:
    # The last step, on the whole line: no field and no traceback gets around it.
    return redacted(line)


def formatter() -> logging.Formatter:
    """Renders a record as one line of JSON."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            merge_contextvars,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(FIELDS),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            _redact,
        ],
    )


class SharedFile(WatchedFileHandler):
    """A file that several processes append to; one write a line keeps their lines whole.

    It may be moved or removed at any time: the next line makes it anew.
    """

    def _open(self) -> io.TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        return io.TextIOWrapper(path.open("ab", buffering=0), "utf-8", write_through=True)


def configuration(folder: Path, level: str, *, console: bool) -> dict[str, Any]:
    """Django's LOGGING: everything goes to django.log in the folder, and to the console if asked.

    The console is standard error: what a command prints stays what it is.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "apps.core.logs.formatter"}},
        "handlers": {
            "file": {
                "()": "apps.core.logs.SharedFile",
                "filename": folder / "django.log",
                "formatter": "json",
                "delay": True,
            },
            "console": {"class": "logging.StreamHandler", "formatter": "json"},
        },
        "root": {"handlers": ["file", "console"] if console else ["file"], "level": level},
    }

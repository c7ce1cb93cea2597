"""Who is at work in this thread, and from where: a key, somebody in the admin, a command, a job.

Middleware binds the request; nothing of it is looked at until somebody asks, because stock and
price calls never do.
"""

import getpass
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import NamedTuple

from django.db import models
from django.http import HttpRequest

from apps.core import addresses

REQUEST_ID = "headrace.request_id"  #: in a request's META


class Kind(models.TextChoices):
    KEY = "key", "a call with an API key; the actor is its id"
    OPERATOR = "operator", "a call with an operator's key; the actor is its id"
    ADMIN = "admin", "a page of /admin/; the actor is the name of the user"
    COMMAND = "command", "a command; the actor is the command and the user of the machine"
    JOB = "job", "work of the service itself; the actor is the kind of the job"
    NOBODY = "nobody", "a call without a valid key"


class Origin(NamedTuple):
    """Who, and from where: an IP address, or the name of the host of a command or a job."""

    kind: Kind
    actor: str
    address: str
    request_id: str = ""


_request: ContextVar[HttpRequest | None] = ContextVar("request", default=None)
_job: ContextVar[str | None] = ContextVar("job", default=None)


@contextmanager
def of_request(request: HttpRequest) -> Iterator[None]:
    """What happens inside comes from this request."""
    token = _request.set(request)
    try:
        yield
    finally:
        _request.reset(token)


@contextmanager
def of_job(kind: str) -> Iterator[None]:
    """What happens inside is done by a job of this kind."""
    token = _job.set(kind)
    try:
        yield
    finally:
        _job.reset(token)


def current() -> Origin:
    """Who is at work in this thread."""
    if (request := _request.get()) is not None:
        return Origin(*_who(request), addresses.of(request), request.META.get(REQUEST_ID, ""))
    if (kind := _job.get()) is not None:
        return Origin(Kind.JOB, kind, socket.gethostname())
    return Origin(Kind.COMMAND, _command(), socket.gethostname())


def _who(request: HttpRequest) -> tuple[Kind, str]:
    """Django's request has the caller, once a view has asked who it is, or the admin's user."""
    user = getattr(request, "user", None)
    if (key_id := getattr(user, "key_id", None)) is not None:
        is_operators = getattr(user, "tenant", None) is None
        return (Kind.OPERATOR if is_operators else Kind.KEY), str(key_id)
    if user is not None and user.is_authenticated and hasattr(user, "get_username"):
        return Kind.ADMIN, str(user.get_username())
    return Kind.NOBODY, ""


@cache
def _command() -> str:
    words = [Path(sys.argv[0]).name, *sys.argv[1:2]]
    name = words[-1] if words[0] in ("manage.py", "__main__.py") else words[0]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in containers
        user = str(os.getuid())
    return f"{name} by {user}"

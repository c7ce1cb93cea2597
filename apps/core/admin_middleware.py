"""Django's middleware of accounts, for the pages of `/admin/`: calls of the API pass it by."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.signals import user_login_failed
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from apps.core import bodies, problems, strangers
from apps.core.problems import PEOPLES, Problem

LOGIN = f"{PEOPLES}login/"


class _ForPeople:
    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(PEOPLES):
            return super().__call__(request)  # type: ignore[misc]  # of the class beside this one
        return self.get_response(request)


class Forms:
    """A form is read before anything looks at it: whole, soon, and no more than MOST bytes."""

    MOST = 1 << 20

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path_info.startswith(PEOPLES):
            try:
                # Where Django looks first. Left to itself it would wait for each byte anew.
                request._body = bodies.read(request, self.MOST)
            except Problem as problem:
                return problems.page(problem.code)
        return self._get_response(request)


class Sessions(_ForPeople, SessionMiddleware):
    pass


class Authentication(_ForPeople, AuthenticationMiddleware):
    pass


class Logins:
    """Logins that fail are counted by address like bad keys: a password costs far more to check."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method == "POST" and request.path_info == LOGIN:
            try:
                strangers.check(request, "")
            except Problem as problem:
                response = problems.page(problem.code)
                for name, value in problem.headers.items():
                    response[name] = value
                return response
        return self._get_response(request)


@receiver(user_login_failed)
def count_failure(request: HttpRequest | None = None, **_: Any) -> None:
    """Django tells of each login that failed."""
    if request is not None:
        strangers.count(request)


class Messages(_ForPeople, MessageMiddleware):
    pass

"""What an answer is in: each operation has its format, and `Accept` refuses nothing."""

from collections.abc import Iterable
from typing import Any

from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class OneFormat(DefaultContentNegotiation):
    """A stream of lines, a table and a photo are asked for by their own types, which the renderer
    of everything else is not; and a parameter `format` is the operation's own.
    """

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], *_: Any
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type

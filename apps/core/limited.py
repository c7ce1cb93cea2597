"""Views whose calls are counted against several quotas at once."""

from typing import Any
from uuid import UUID

from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import limits


class Limited(APIView):
    """A view whose answers, problems too, say what its caller has left once it was counted."""

    counts_calls = True  # of a key with its own quota too, so nobody else need
    _standing = limits.Standing()

    def count(self, tenant: UUID, product: UUID | None = None) -> None:
        """Count this call. Raises QuotaExceeded, and RuntimeError inside of a transaction."""
        own = getattr(self.request.user, "quota", None)
        self._standing = limits.check(tenant, product, own)

    def finalize_response(self, *given: Any, **more: Any) -> Response:
        response = super().finalize_response(*given, **more)
        for name, value in self._standing.headers().items():
            response[name] = value
        return response

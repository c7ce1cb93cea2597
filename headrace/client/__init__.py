"""The client side of the HTTP interface: a library for integrators, and `headrace ingest`."""

from headrace.client.errors import HeadraceError
from headrace.client.http import HeadraceClient

__all__ = ["HeadraceClient", "HeadraceError"]

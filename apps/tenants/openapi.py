"""How a caller authenticates and what its key must be allowed, for the OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from apps.tenants import scopes


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """drf-spectacular finds this class by its being defined."""

    target_class = "apps.tenants.authentication.KeyAuthentication"
    name = ["key", "bearer"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer"},
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """The scope, as OpenAPI 3.1 has roles: a list of those that are needed."""
        need = scopes.needed(auto_schema.view, auto_schema.method)
        roles = [] if need in (None, scopes.ANY_KEY) else [str(need)]
        return [{name: roles} for name in self.name]


def add_scopes(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: what an operation needs, in words."""
    for operation, need in _scoped(result):
        about = operation.get("description", "")
        operation["description"] = f"{about}\n\nNeeds the scope `{need}`.".strip()
    return result


def _scoped(result: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Operations that need a scope, and which."""
    for item in result["paths"].values():
        for operation in item.values():
            for roles in operation.get("security", [{}])[0].values():
                yield from ((operation, role) for role in roles)

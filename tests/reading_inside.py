"""What test_reading_http.py has done inside a process that Django is set up in."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import QueryDict

from apps.catalog import asking, selectors
from apps.core.problems import PROBLEMS, Problem
from headrace.entities import BY_NAME


def look_for_rare_rows(tenant: str, asked: str) -> dict[str, Any]:
    """A page without and with enough time, one after the other on one connection."""
    wanted = asking.page(UUID(tenant), BY_NAME["customers"], QueryDict(asked))
    settings.HEADRACE_LIST_SECONDS = 0.001
    try:
        selectors.page(UUID(tenant), wanted, "")
        told = ""
    except Problem as problem:
        told = f"{PROBLEMS[problem.code][0]} {problem.code}: {problem.detail}"
    settings.HEADRACE_LIST_SECONDS = 20
    return {"at first": told, "then": selectors.page(UUID(tenant), wanted, "").decode()}

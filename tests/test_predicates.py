"""Predicates that keep tenants apart, and the tests that fail when they are taken out.

predicates.csv has the verdicts that `python -m tests.mutation_run --write` found. Here some are
taken out again, with HEADRACE_TESTS=full all.
"""

import ast
from pathlib import Path

import pytest

from tests import sizes
from tests.mutation_run import failing_by, keyed, verdicts
from tests.service import ROOT

AGAIN = "run `python -m tests.mutation_run --write --only PATH:LINE`"
MISSED = sorted(verdict for verdict in verdicts().values() if verdict.failing)


def test_every_verdict_is_of_a_predicate():
    assert set(verdicts()) <= set(keyed()), AGAIN


def test_what_stays_whole_without_a_predicate_is_known_why():
    unknown = [one for one in verdicts().values() if not one.failing and not one.reason]
    assert not unknown, "a gap of the tests, or another predicate stands behind it: say which"


@pytest.mark.parametrize("path", sorted({one.failing.partition("::")[0] for one in MISSED}))
def test_the_tests_that_fail_are_there(path: str):
    named = {
        one.failing.partition("::")[2].partition("[")[0]
        for one in MISSED
        if one.failing.startswith(f"{path}::")
    }
    defined = {
        node.name
        for node in ast.walk(ast.parse(Path(ROOT, path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert named <= defined, AGAIN


@pytest.mark.slow
@pytest.mark.parametrize(
    "verdict", MISSED[:: sizes.of(1, 40)], ids=lambda one: f"{one.path}-{one.within}-{one.number}"
)
def test_without_a_predicate_its_test_fails(verdict):
    assert failing_by(keyed()[verdict.key], verdict.failing, ROOT), AGAIN

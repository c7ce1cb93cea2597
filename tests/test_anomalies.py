"""The scorer of the price watch, and what it must find: on generated data and on awkward series."""

import dataclasses
from collections import Counter
from decimal import Decimal

import pytest

from bench import anomalies, price_series
from bench.price_series import AWKWARD, Price
from headrace.pricing.detection import MINIMUM_CHANGES, Severity, Verdict
from headrace.synth.faults.prices import FACTORS
from tests import truth
from tests.test_faults import Sizes, faulty

CALM = [name for name in AWKWARD if name.startswith(("list", "inflation", "cents", "huge"))]

PRODUCTS = 40  #: of an awkward series, 60 changes each


@pytest.fixture(scope="module", params=[4, 41])
def score(request: pytest.FixtureRequest) -> anomalies.Score:
    """2,400 changes with every kind of fault, in short histories and in long ones."""
    return anomalies.generated(7, 2_400 // (request.param - 1), request.param, faults=0.2)


def test_slipped_points_are_found_and_honest_changes_are_left_alone(score):
    assert len(score.faults) > 40
    assert score.recall() >= 0.99
    assert score.precision("decimal_shift") >= 0.99
    assert {one.verdict.severity for one in score.faults} == {Severity.EXTREME}
    assert len(score.honest) > 1_000
    assert score.by_severity["significant+"] <= 0.01
    assert score.by_reason["robust_score"] <= 0.01
    assert score.by_reason["decimal_shift"] == score.by_severity["extreme"] == 0


def test_all_that_honest_changes_have_beyond_one_percent_is_asked_for_by_the_documents(score):
    noted = [one for one in score.honest if one.verdict.severity == Severity.NOTABLE]
    asked = [one for one in noted if one.has("percent_change")]
    assert score.by_severity["any"] > 0.01
    assert (len(noted) - len(asked)) / len(score.honest) <= 0.01
    for one in asked:
        assert one.before.price > 100
        assert abs(one.after.price - one.before.price) * 10 >= one.before.price


def test_the_price_that_was_meant_is_told(score):
    for one in score.faults:
        [reason] = [reason for reason in one.verdict.reasons if reason.code == "decimal_shift"]
        meant = one.after.price / FACTORS[one.after.fault]
        assert Decimal(reason.numbers["suspected_price"]) == meant


def test_the_way_back_is_a_shift_too_and_counted_apart(score):
    assert len(score.returns) > 40
    assert all(one.has("decimal_shift") for one in score.returns)
    assert not any(one.after.fault for one in score.honest + score.returns)


@pytest.mark.parametrize("name", CALM)
def test_calm_series_of_any_size_give_no_alarm(name):
    honest = anomalies.score(price_series.awkward(name, 3, PRODUCTS))
    assert len(honest.honest) > 2_000
    assert honest.by_severity["any"] <= 0.01


@pytest.mark.parametrize("name", [name for name in AWKWARD if "single" not in name])
def test_slipped_points_are_found_in_awkward_series(name):
    spoilt = anomalies.score(price_series.awkward(name, 3, PRODUCTS, faulty=0.02))
    assert len(spoilt.faults) > 40
    assert spoilt.recall() >= 0.99
    assert spoilt.precision("decimal_shift") >= 0.99


def test_sales_are_no_slipped_points():
    honest = anomalies.score(price_series.awkward("sales, 20 to 30 % off and back", 3, PRODUCTS))
    assert honest.by_severity["any"] > 0.2  # a fall of 25 % is significant, as documented
    assert honest.by_severity["extreme"] == honest.by_reason["decimal_shift"] == 0


def test_a_single_price_is_no_change():
    assert anomalies.score(price_series.awkward("a single price", 3, PRODUCTS)) == anomalies.Score()


def test_a_replay_knows_what_was_before_a_change_and_nothing_after_it():
    steps = [("1.00", "1.02"), ("5.00", "5.10")]
    prices = [
        Price(f"{number:03}", "t", "c", product, Decimal(pair[number % 2]))
        for number in range(62)
        for product, pair in zip("ab", steps, strict=True)
    ]
    levels = [one.level for one in anomalies.replay(prices)]
    own, wider = MINIMUM_CHANGES["product"], MINIMUM_CHANGES["category"]
    assert own < wider < 2 * own  # two products fill their category before themselves
    assert levels == [""] * wider + ["category"] * (2 * own - wider) + ["product"] * (122 - 2 * own)


def test_only_prices_that_land_are_replayed(tmp_path):
    folder = faulty(tmp_path, Sizes(2, 60, 10, 10, 1), seed=5)
    prices = price_series.generated(folder)
    told = [e for e in truth.entries(folder) if e["file"].startswith("price_history_")]
    faults = Counter(price.fault for price in prices)
    sound = faults.pop("")
    assert faults == Counter(e["fault"] for e in told if e["outcome"] == "inserted")
    assert set(faults) == set(FACTORS)
    assert sound <= 480 - faults.total()
    assert [price.at for price in prices] == sorted(price.at for price in prices)


def test_the_page_has_every_figure_and_is_the_same_for_a_seed():
    page = list(anomalies.page(seed=1, changes=900))
    assert page == list(anomalies.page(seed=1, changes=900))
    assert page != list(anomalies.page(seed=2, changes=900))
    text = "\n".join(page)
    for expected in ("seed 1", "times 0.01", "recall 1.0000", "precision", "ways back", *AWKWARD):
        assert expected in text


def test_a_missed_fault_and_a_false_alarm_are_counted():
    found = anomalies.generated(7, 200, 4, faults=0.2)
    faults, honest = len(found.faults), len(found.honest)
    missed = found.faults[0]._replace(verdict=Verdict(Decimal(0), Severity.NONE, ()))
    assert dataclasses.replace(found, faults=[*found.faults, missed]).recall() == (
        pytest.approx(faults / (faults + 1))
    )
    wrong = dataclasses.replace(found, honest=[*found.honest, found.faults[0]])
    assert wrong.by_severity["extreme"] == pytest.approx(1 / (honest + 1))
    assert wrong.by_reason["decimal_shift"] == pytest.approx(1 / (honest + 1))
    assert wrong.precision("decimal_shift") == pytest.approx(faults / (faults + 1))

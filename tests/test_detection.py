"""What is said of a change of a price: thresholds to the digit, a robust score, slipped points."""

import json
import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.pricing import detection
from headrace.pricing.detection import MINIMUM_CHANGES, Scale, Severity, judge

CALM = Scale("product", 20, 0.01, 0.02)
SCALES = st.none() | st.builds(
    Scale,
    st.sampled_from(sorted(MINIMUM_CHANGES)),
    st.integers(20, 60),
    st.floats(-1, 1),
    st.floats(0, 3),
)


def prices(least: int = 0, most: int = 10**16) -> st.SearchStrategy[Decimal]:
    """0 to 10^12, four decimals."""
    return st.integers(least, most).map(lambda steps: Decimal(steps).scaleb(-4))


def codes(verdict: detection.Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


def judged(old: str, new: str, scale: Scale | None = None) -> detection.Verdict:
    return judge(Decimal(old), Decimal(new), scale)


# --- thresholds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "severity"),
    [
        ("80", "120", Severity.EXTREME),  # exactly 50 %
        ("80", "119.9999", Severity.SIGNIFICANT),
        ("80", "40", Severity.EXTREME),
        ("80", "40.0001", Severity.SIGNIFICANT),
        ("80", "100", Severity.SIGNIFICANT),  # exactly 25 %
        ("80", "99.9999", Severity.NONE),
        ("80", "60", Severity.SIGNIFICANT),
        ("80", "60.0001", Severity.NONE),
        ("200", "220", Severity.NOTABLE),  # exactly 10 %, over 100
        ("200", "219.9999", Severity.NONE),
        ("200", "180", Severity.NOTABLE),
        ("200", "180.0001", Severity.NONE),
        ("100", "110", Severity.NONE),  # 100 is not over 100
        ("100.0001", "110.0002", Severity.NOTABLE),
        ("100.01", "110.01", Severity.NONE),  # 9.999 %
        ("0.03", "0.045", Severity.EXTREME),  # in floats 0.045 / 0.03 is below 1.5
        ("922337203685477.5806", "461168601842738.7903", Severity.EXTREME),
    ],
)
def test_thresholds_are_held_to_the_last_digit(old, new, severity):
    assert judged(old, new).severity == severity


def test_a_percentage_is_signed_and_rounded_to_four_decimals():
    assert judged("3", "4").pct_change == Decimal("33.3333")
    assert judged("3", "2").pct_change == Decimal("-33.3333")
    assert judged("0.0001", "922337203685477.5807").pct_change == Decimal("922337203685477580600")


def test_a_percent_change_tells_its_numbers():
    (reason,) = judged("200.0000", "222.2000").reasons
    assert reason == detection.Reason(
        "percent_change",
        "the price rose by 11.10 %; the threshold is 10 % for prices over 100",
        {"percent": "11.1000", "threshold": 10, "old_price": "200", "over": 100},
        Severity.NOTABLE,
    )


def test_a_price_that_stays_is_no_change_whatever_is_usual():
    rising = Scale("product", 59, 0.5, 0.0)
    assert judged("5", "5.00", rising) == detection.Verdict(Decimal(0), Severity.NONE, ())
    assert not judged("0", "0.0000", rising).is_anomaly


def test_from_zero_there_is_no_percentage_and_to_zero_it_is_a_hundred():
    verdict = judged("0", "5", CALM)
    assert verdict.pct_change is None
    assert (codes(verdict), verdict.severity) == (["from_zero"], Severity.EXTREME)
    assert verdict.reasons[0].numbers == {"old_price": "0", "new_price": "5"}
    verdict = judged("5", "0", CALM)
    assert verdict.pct_change == -100
    assert (codes(verdict), verdict.severity) == (["percent_change"], Severity.EXTREME)


# --- the robust score ---------------------------------------------------------------------------


def test_an_outlier_below_the_thresholds_is_notable_and_tells_its_numbers():
    verdict = judged("50", "60", CALM)  # 20 %: below the thresholds for a price of 50
    assert verdict.severity == Severity.NOTABLE
    assert verdict.reasons[0].numbers == {
        "z": 5.8115,
        "threshold": 3.5,
        "log_change": 0.182322,
        "median": 0.01,
        "mad": 0.02,
        "mad_used": 0.02,
        "changes": 20,
        "level": "product",
    }
    assert verdict.reasons[0].message == (
        "the change is unusual for the product: its modified z-score by 20 earlier changes is "
        "5.81; the threshold is 3.5"
    )
    assert judged("50", "55", CALM).severity == Severity.NONE


def test_the_gravest_reason_decides_and_comes_first():
    verdict = judged("50", "500", CALM)
    assert codes(verdict) == ["decimal_shift", "percent_change", "robust_score"]
    assert [reason.severity for reason in verdict.reasons] == ["extreme", "extreme", "notable"]
    assert verdict.severity == Severity.EXTREME


def test_median_and_mad_are_those_of_the_changes():
    changes = [0.01 * number for number in range(21)]
    scale = detection.scale_of("product", changes)
    assert scale is not None
    assert scale._replace(median=0, mad=0) == ("product", 21, 0, 0)
    assert (scale.median, scale.mad) == (pytest.approx(0.1), pytest.approx(0.05))


@pytest.mark.parametrize("level", MINIMUM_CHANGES)
def test_a_short_history_gives_no_scale(level):
    least = MINIMUM_CHANGES[level]
    assert detection.scale_of(level, [0.1] * (least - 1)) is None
    assert detection.scale_of(level, [0.1] * least) == Scale(level, least, 0.1, 0.0)


def test_the_nearest_level_with_a_history_counts_and_further_ones_are_not_asked():
    def samples():
        yield "product", [0.1] * 3
        yield "category", [0.2] * 30
        raise AssertionError("the tenant was asked")

    assert detection.nearest_scale(samples()) == Scale("category", 30, 0.2, 0.0)
    assert detection.nearest_scale([("product", []), ("tenant", [0.1])]) is None


def test_where_all_changes_were_alike_a_cent_is_no_outlier():
    fixed = Scale("product", 59, 0.0, 0.0)
    assert judged("50", "50.01", fixed).severity == Severity.NONE
    assert judged("50", "55", fixed).severity == Severity.NONE  # 10 %
    assert codes(judged("50", "55.60", fixed)) == ["robust_score"]


def test_falls_are_no_outliers_where_prices_go_up_and_down_by_like_steps():
    cents = [Decimal(cents).scaleb(-2) for cents in (5, 6, 7, 8, 9, 10, 9, 8, 7, 6) * 3]
    scale = detection.scale_of("product", detection.log_changes([*cents, *cents[:5]]))
    assert scale is not None
    assert scale.median > 0.1  # a few more rises: the median is one of them
    assert judged("0.06", "0.05", scale).severity == Severity.NONE
    assert judged("0.06", "0.03", scale).severity == Severity.EXTREME  # 50 %


def test_faults_in_the_history_do_not_hide_the_next():
    honest = [Decimal(100 + number % 5) for number in range(40)]
    faulty = [price * (10 if number % 9 == 8 else 1) for number, price in enumerate(honest)]
    scale = detection.scale_of("product", detection.log_changes(faulty))
    assert "robust_score" in codes(judge(Decimal(50), Decimal(500), scale))
    assert "decimal_shift" in codes(judge(Decimal(50), Decimal(500), scale))


def test_zeros_and_repeated_prices_are_no_changes():
    found = detection.log_changes([Decimal(text) for text in ("1", "0", "2", "2.00", "2", "1")])
    assert found == [math.log(2), math.log(0.5)]
    assert detection.log_changes([]) == detection.log_changes([Decimal(1)]) == []


# --- slipped points -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "factor", "suspected"),
    [
        ("12.90", "129.00", "10", "12.9"),
        ("12.90", "1350.00", "100", "13.5"),
        ("12.9000", "1.3100", "0.1", "13.1"),
        ("12.90", "0.1199", "0.01", "11.99"),
        ("0.05", "0.5", "10", "0.05"),
        ("1000000000000", "10000000000", "0.01", "1000000000000"),
    ],
)
def test_a_slipped_point_names_its_factor_and_the_price_that_was_meant(old, new, factor, suspected):
    for scale in (None, CALM):
        verdict = judged(old, new, scale)
        reason = next(reason for reason in verdict.reasons if reason.code == "decimal_shift")
        assert verdict.severity == Severity.EXTREME
        assert (reason.numbers["factor"], reason.numbers["suspected_price"]) == (factor, suspected)
        assert f"about {factor} times" in reason.message
        assert suspected in reason.message


def test_a_shift_is_told_as_far_from_ten_as_changes_of_the_product_go():
    for scale in (None, CALM):
        assert "decimal_shift" in codes(judged("10", "149", scale))
        assert "decimal_shift" in codes(judged("10", "67", scale))
        assert "decimal_shift" not in codes(judged("10", "151", scale))
        assert "decimal_shift" not in codes(judged("10", "66", scale))
    lively = Scale("product", 20, 0.0, 0.1)
    assert "decimal_shift" in codes(judged("10", "160", lively))
    wild = Scale("product", 20, 0.0, 5.0)
    assert "decimal_shift" not in codes(judged("10", "49", wild))
    assert "decimal_shift" not in codes(judged("10", "15", wild))


# --- whatever the prices ------------------------------------------------------------------------


@given(old=prices(), new=prices(), scale=SCALES)
def test_every_pair_of_prices_has_a_verdict_that_goes_into_json(old, new, scale):
    verdict = judge(old, new, scale)
    assert verdict.is_anomaly == bool(verdict.reasons)
    for reason in verdict.reasons:
        told = json.dumps(reason.numbers, allow_nan=False)
        assert json.loads(told) == reason.numbers
        assert "E" not in told
    assert (verdict.pct_change is None) == (old == 0 < new)


@given(old=prices(1), new=prices(1), scale=SCALES)
def test_no_severity_is_below_one_of_the_reasons(old, new, scale):
    verdict = judge(old, new, scale)
    ranks = [list(Severity).index(reason.severity) for reason in verdict.reasons]
    assert list(Severity).index(verdict.severity) == max(ranks, default=0)
    assert ranks == sorted(ranks, reverse=True)


@given(
    old=prices(1, 10**9),
    new=prices(1, 10**9),
    times=st.integers(1, 10**6).map(Decimal),
    scale=SCALES,
)
def test_the_score_does_not_depend_on_the_unit(old, new, times, scale):
    def scores(verdict):
        return [r.numbers["z"] for r in verdict.reasons if r.code == "robust_score"]

    assert scores(judge(old * times, new * times, scale)) == scores(judge(old, new, scale))
    assert detection.log_changes([old * times, new * times]) == detection.log_changes([old, new])


@given(old=prices(1), new=prices(1), scale=SCALES)
def test_a_rise_scores_as_far_as_the_fall_that_undoes_it(old, new, scale):
    def seen(verdict):
        return {r.code: abs(r.numbers["z"]) if "z" in r.numbers else 1 for r in verdict.reasons}

    edges = (math.log(factor) + turn * math.log(1.5) for factor in (10, 100) for turn in (-1, 1))
    assume(all(abs(abs(math.log(new / old)) - edge) > 1e-9 for edge in edges))
    assume(scale is None or abs(_score(old, new, scale) - detection.Z_THRESHOLD) > 1e-6)
    mirrored = scale and scale._replace(median=-scale.median)
    there, back = seen(judge(old, new, scale)), seen(judge(new, old, mirrored))
    there.pop("percent_change", None)  # +100 % and -50 % are each other's way back
    back.pop("percent_change", None)
    assert there == pytest.approx(back, abs=2e-4)


def _score(old: Decimal, new: Decimal, scale: Scale) -> float:
    change = math.log(new) - math.log(old)
    return abs(0.6745 * (change - scale.median) / max(scale.mad, abs(scale.median), 0.02))


@given(history=st.lists(prices(), max_size=60), level=st.sampled_from(sorted(MINIMUM_CHANGES)))
def test_every_history_gives_finite_changes_and_scales(history, level):
    changes = detection.log_changes(history)
    assert all(math.isfinite(change) and change for change in changes)
    scale = detection.scale_of(level, changes)
    assert scale is None or (scale.mad >= 0 and math.isfinite(scale.median))

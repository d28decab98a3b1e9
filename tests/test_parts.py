"""Coverage, sharpness and slope by part: worlds whose answers are known, and the error that one coverage over all months cannot see."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from dualflux.metrics.parts import (
    COVERAGES,
    PARTS,
    PartValues,
    calibration_slope,
    coverage_by_group,
    effective_cases,
    interval_score,
    intraclass_correlation,
    part_scores,
    part_values,
    split_months,
)
from dualflux.metrics.probability import LEVELS

SERIES, YEARS, MEMBERS = 150, 6, 100
MEANS = {"offset": 3.0, "trend": 0.3, "cycle": 2.0, "anomaly": 1.0}


def months(random: np.random.Generator, sizes: dict[str, float], shape: tuple[int, ...]) -> np.ndarray:
    """Series of `shape` with a normal offset, trend, cycle and anomaly of these standard deviations, (*shape, year, 12)."""
    year = np.arange(YEARS) - (YEARS - 1) / 2
    offset, trend = (s * random.normal(size=(*shape, 1, 1)) for s in (sizes["offset"], sizes["trend"] / 12))
    cycle, anomaly = sizes["cycle"] * random.normal(size=(*shape, 1, 12)), sizes["anomaly"] * random.normal(size=(*shape, YEARS, 12))
    return offset + trend * year[:, None] + cycle + anomaly


def drawn(claimed: dict[str, float], true: dict[str, float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Members (member, series, year, 12) and a truth about the same means, each with errors of its own sizes."""
    random = np.random.default_rng(seed)
    centre = months(random, MEANS, (SERIES,))
    return centre + months(random, claimed, (MEMBERS, SERIES)), centre + months(random, true, (SERIES,))


ERRORS = {"offset": 0.5, "trend": 0.1, "cycle": 0.4, "anomaly": 0.3}


def scores(members: np.ndarray, truth: np.ndarray) -> dict[tuple[str, str], float]:
    return part_scores(part_values(members, truth)).set_index(["part", "metric"])["value"].to_dict()


# Splitting --------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(3, 8))
def test_offset_cycle_and_anomaly_are_orthogonal_and_sum_to_the_month(seed: int, years: int) -> None:
    values = np.random.default_rng(seed).normal(size=(2, years, 12))
    parts = split_months(values)
    cycle, anomaly = np.broadcast_to(parts["cycle"][:, None], values.shape), parts["anomaly"].reshape(values.shape)
    np.testing.assert_allclose(parts["offset"][:, None] + cycle + anomaly, values, atol=1e-12)
    np.testing.assert_allclose([cycle.sum(), anomaly.sum(), (cycle * anomaly).sum()], 0, atol=1e-10)
    np.testing.assert_allclose(parts["annual"], values.sum(axis=-1) - values.sum(axis=-1).mean(axis=-1, keepdims=True), atol=1e-12)
    slope = [np.polyfit(np.arange(years), v.sum(axis=-1), 1)[0] for v in values]
    np.testing.assert_allclose(parts["trend"][:, 0], slope, atol=1e-10)


def test_parts_of_a_series_by_hand() -> None:
    """2 + season + 0.5 a year later: the annual sum grows by 6; as flux densities the annual mean grows by 0.5."""
    season = np.arange(12) - 5.5
    values = 2 + season + 0.5 * np.array([[-1.0], [0], [1]])
    parts = split_months(values)
    assert parts["offset"] == pytest.approx([2]) and parts["trend"] == pytest.approx([6]) and parts["cycle"] == pytest.approx(season)
    assert parts["anomaly"] == pytest.approx(np.repeat([-0.5, 0, 0.5], 12)) and parts["annual"] == pytest.approx([-6, 0, 6])
    densities = split_months(values, year_sum=1.0)
    assert densities["annual"] == pytest.approx([-0.5, 0, 0.5]) and densities["trend"] == pytest.approx([0.5])
    assert "trend" not in split_months(values[:2])


# Coverage ---------------------------------------------------------------------------------------------------------------


def test_members_like_the_truth_hold_what_they_say() -> None:
    """In every part, within the binomial limits (99.9 %) of its effective cases; the truth follows the product one to one."""
    table = part_scores(part_values(*drawn(ERRORS, ERRORS)))
    assert list(dict.fromkeys(table["part"])) == list(PARTS)
    rows = table[table["metric"].isin(COVERAGES)]
    level = rows["metric"].map(dict(zip(COVERAGES, LEVELS, strict=True)))
    low, high = (binom.ppf(q, rows["cases"].round(), level) / rows["cases"].round() for q in (0.0005, 0.9995))
    assert ((low <= rows["value"]) & (rows["value"] <= high)).all()
    slope = table[table["metric"] == "slope"].set_index("part")["value"]
    assert slope.to_dict() == pytest.approx(dict.fromkeys(PARTS, 1.0), abs=0.15)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_sd_gives_the_coverage_that_follows_from_it(factor: float) -> None:
    """The central interval of sd `factor` times the right one holds 2 Phi(z factor) - 1."""
    found = scores(*drawn({k: factor * v for k, v in ERRORS.items()}, ERRORS))
    for part in PARTS:
        for name, level in zip(COVERAGES, LEVELS, strict=True):
            wanted = 2 * norm.cdf(factor * norm.ppf((1 + level) / 2)) - 1
            assert found[part, name] == pytest.approx(wanted, abs=3.5 * 0.5 / np.sqrt(SERIES)), (part, name)


def test_a_wrong_offset_shows_in_the_offset_only() -> None:
    members, truth = drawn(ERRORS, ERRORS)
    before, after = scores(members, truth), scores(members, truth + 100.0)
    assert all(after["offset", name] == 0 for name in COVERAGES) and after["offset", "interval_score"] > 1000
    others = [key for key in before if key[0] != "offset"]
    assert {k: after[k] for k in others} == pytest.approx({k: before[k] for k in others}, rel=1e-9)
    assert after["offset", "slope"] == pytest.approx(before["offset", "slope"]), "a common offset is no wrong slope"


def test_errors_that_cancel_over_all_months_are_seen_by_part() -> None:
    """Offsets claimed twice as wide as they are, anomalies half as wide, the sd of a month right: all months look nominal."""
    true = {"offset": 0.5, "trend": 0.0, "cycle": 0.0, "anomaly": 1.0}
    claimed = {"offset": 1.0, "trend": 0.0, "cycle": 0.0, "anomaly": 0.5}
    members, truth = drawn(claimed, true)
    mean, sd = members.mean(axis=0), members.std(axis=0, ddof=1)
    for level in LEVELS:
        month = float((np.abs(truth - mean) <= norm.ppf((1 + level) / 2) * sd).mean())
        assert month == pytest.approx(level, abs=0.03), "one number says that all is well"
    found = scores(members, truth)
    assert found["offset", "coverage_50"] > 0.7 and found["offset", "coverage_68"] > 0.85
    for part in ("anomaly", "annual"):
        assert found[part, "coverage_50"] < 0.35 and found[part, "coverage_90"] < 0.7


def test_without_a_spread_nothing_is_claimed() -> None:
    """Members that differ in their offset alone; one member alone still has a slope."""
    truth = np.random.default_rng(0).normal(size=(4, 3, 12))
    found = scores(truth + np.array([-1.0, 1.0])[:, None, None, None], truth)
    assert found["offset", "coverage_50"] == 1 and np.isnan(found["cycle", "coverage_50"]) and np.isnan(found["annual", "crps"])
    alone = scores(truth[None], truth)
    assert np.isnan(alone["offset", "coverage_50"]) and alone["annual", "slope"] == pytest.approx(1)


def test_variance_that_lasts_belongs_to_the_offset() -> None:
    members, truth = drawn(ERRORS, ERRORS)
    plain, wider = (part_values(members, truth, lasting_variance=v) for v in (np.zeros(SERIES), np.full(SERIES, 4.0)))
    np.testing.assert_allclose(wider["offset"].sd ** 2, plain["offset"].sd ** 2 + 4)
    for part in PARTS[1:]:
        np.testing.assert_array_equal(wider[part].sd, plain[part].sd)


def test_variance_that_passes_belongs_to_anomalies_and_averages_out_in_a_year() -> None:
    """Twelve months of variance 4: a year's sum has 48 more."""
    members, truth = drawn(ERRORS, ERRORS)
    plain, wider = (part_values(members, truth, passing_variance=v) for v in (0.0, 4.0))
    for part, more in {"offset": 0, "trend": 0, "cycle": 0, "anomaly": 4, "annual": 48}.items():
        np.testing.assert_allclose(wider[part].sd ** 2, plain[part].sd ** 2 + more)


def test_values_count_by_weight_and_groups_have_their_own_coverage() -> None:
    """Group 0 (weight 3) is inside, group 1 (weight 1) far outside."""
    v = PartValues(np.array([0.0, 9.0]), np.zeros(2), np.ones(2), np.array([3.0, 1.0]), np.arange(2), np.arange(2))
    assert part_scores({"offset": v}).set_index("metric")["value"][list(COVERAGES)].tolist() == [0.75] * 3
    table = coverage_by_group({"offset": v})
    assert table[table["home"] == 0][["value", "share"]].to_numpy().tolist() == [[1, 0.75]] * 3
    assert table[table["home"] == 1][["value", "share"]].to_numpy().tolist() == [[0, 0.25]] * 3


# Sharpness and slope ----------------------------------------------------------------------------------------------------


def test_interval_score_by_hand() -> None:
    """Width 2; missed by 0.5 below and by 3 above at 90 %: 2 / 0.1 times that on top."""
    found = interval_score(np.array([0.0, -1.5, 4.0]), np.full(3, -1.0), np.full(3, 1.0), 0.9)
    assert found == pytest.approx([2, 2 + 20 * 0.5, 2 + 20 * 3])


def test_the_right_interval_has_the_best_score() -> None:
    truth, z = np.random.default_rng(1).normal(size=100_000), norm.ppf(0.95)
    mean = [interval_score(truth, -z * f, z * f, 0.9).mean() for f in (0.7, 1.0, 1.4)]
    assert mean[1] < mean[0] and mean[1] < mean[2]
    assert mean[1] == pytest.approx(2 * norm.pdf(z) / 0.05, rel=0.01)  # of N(0, 1): 2 phi(z) / (alpha / 2)


def test_slope_of_truth_on_product() -> None:
    """A product that swings half as much as the truth has a slope of 2, whatever its offset; one that does not vary has none."""
    truth = np.random.default_rng(2).normal(size=50)
    assert calibration_slope(truth, 5 + truth / 2, np.ones(50)) == pytest.approx(2)
    assert np.isnan(calibration_slope(truth, np.full(50, 0.1), np.ones(50)))
    weight = np.array([1.0, 1, 0])
    assert calibration_slope(np.array([0.0, 1, 9]), np.array([0.0, 1, 1]), weight) == pytest.approx(1)


# Effective cases --------------------------------------------------------------------------------------------------------


def test_groups_that_are_one_case_each_count_once() -> None:
    inside = np.repeat(np.random.default_rng(3).random((1, 50)) < 0.68, 12, axis=1)
    assert effective_cases(inside, np.repeat(np.arange(50), 12), np.ones(600)) == pytest.approx(50)


def test_values_that_are_independent_count_each() -> None:
    inside = np.random.default_rng(4).random((3, 12_000)) < 0.68
    assert effective_cases(inside, np.repeat(np.arange(1000), 12), np.ones(12_000)) == pytest.approx(12_000, rel=0.1)
    assert effective_cases(inside[:, :18], np.arange(18), np.ones(18)) == 18, "an offset of 18 regions: 18 cases"


@given(st.integers(2, 30), st.integers(2, 12), st.integers(0, 10_000), st.floats(0, 1))
def test_cases_lie_between_groups_and_values(groups: int, each: int, seed: int, share: float) -> None:
    """And are n / (1 + (m - 1) rho) for groups of one size."""
    inside = np.random.default_rng(seed).random((2, groups * each)) < share
    group = np.repeat(np.arange(groups), each)
    cases = effective_cases(inside, group, np.ones(groups * each))
    assert groups - 1e-6 <= cases <= groups * each + 1e-6
    assert cases == pytest.approx(groups * each / (1 + (each - 1) * intraclass_correlation(inside, group)))


def test_the_correlation_within_groups_is_found() -> None:
    """Pairs and groups of five whose values are correlated by 0.3; one group, or values that are all alike, are taken for one case."""
    random = np.random.default_rng(8)
    group = np.concatenate([np.repeat(np.arange(10_000), 2), np.repeat(np.arange(10_000, 12_000), 5)])
    values = np.sqrt(0.3) * random.normal(size=12_000)[group] + np.sqrt(0.7) * random.normal(size=group.size)
    assert intraclass_correlation(values[None, :20_000], group[:20_000]) == pytest.approx(0.3, abs=0.03)
    assert intraclass_correlation(values[None], group) == pytest.approx(0.3, abs=0.03)
    assert intraclass_correlation(values[None, :9], np.zeros(9, int)) == intraclass_correlation(np.ones((1, 8)), np.arange(8) // 2) == 1
    assert effective_cases(np.ones((3, 8), bool), np.arange(8) // 2, np.ones(8)) == 4


def test_effective_cases_make_the_scatter_of_the_coverage() -> None:
    """20 groups of 10 normal errors, correlated by 0.6 within a group: over 600 worlds, p (1 - p) / variance of the coverage is the mean
    of the cases, weights of 1 to 3 included."""
    random, group = np.random.default_rng(5), np.repeat(np.arange(20), 10)
    weight = np.tile(np.linspace(1, 3, 10), 20)
    error = np.sqrt(0.6) * random.normal(size=(600, 20))[:, group] + np.sqrt(0.4) * random.normal(size=(600, 200))
    inside = np.abs(error) <= norm.ppf(0.84)
    coverage = inside @ weight / weight.sum()
    wanted = 0.68 * 0.32 / coverage.var(ddof=1)
    found = 1 / np.mean([1 / effective_cases(one[None], group, weight) for one in inside])
    assert found == pytest.approx(wanted, rel=0.12)


def test_anomalies_hang_together_within_a_region_and_a_year() -> None:
    """Errors that are one number per series and year: as many cases as series and years, though there are 12 times as many values."""
    random = np.random.default_rng(6)
    members = random.normal(size=(40, 30, YEARS, 1)) * np.ones(12)
    truth = random.normal(size=(30, YEARS, 1)) * np.ones(12)
    table = part_scores(part_values(members, truth)).set_index(["part", "metric"])
    row = table.loc[("anomaly", "coverage_68")]
    assert row["n"] == 30 * YEARS * 12 and row["cases"] == pytest.approx(30 * YEARS)

"""Evaluation against hand-drawn worlds, independent implementations and analytic intervals."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scores
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from dualflux import metrics as evaluation
from dualflux import units
from dualflux.errors import InputError
from dualflux.metrics import PairStatistics, paired, sites, statistics
from dualflux.metrics.regions import comparison_metrics, trend

# ------------------------------------------------------------------ additive statistics


def pairs(seed: int, count: int = 60, level: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    observed = rng.normal(level, 2, count)
    return observed, 0.7 * observed + 0.3 * level + rng.normal(0.2, 1, count)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 60), max_size=6), st.sampled_from([-3.0, 1e4]))
def test_chunks_cannot_change_a_metric(seed: int, cuts: list[int], level: float) -> None:
    observed, predicted = pairs(seed, level=level)
    edges = [0, *sorted(cuts), 60]
    total = PairStatistics.zero()
    for a, b in itertools.pairwise(edges):
        total = total + PairStatistics.of(observed[a:b], predicted[a:b])
    direct = PairStatistics.of(observed, predicted)
    for name, metric in statistics.METRICS.items():
        assert metric(total) == pytest.approx(metric(direct), rel=1e-12, abs=1e-12), name


def test_adding_commutes_and_zero_is_neutral() -> None:
    a, b = (PairStatistics.of(*pairs(s)) for s in (1, 2))
    for field in ("count", "mean_observed", "mean_error", "ss_observed", "ss_predicted", "ss_error"):
        assert getattr(a + b, field) == pytest.approx(getattr(b + a, field), rel=1e-13)
        assert getattr(a + PairStatistics.zero(), field) == pytest.approx(getattr(a, field), rel=1e-15)
    empty = PairStatistics.zero() + PairStatistics.zero()
    assert empty.count == 0 and all(np.isnan(metric(empty)) for metric in statistics.METRICS.values())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_are_repetitions(seed: int) -> None:
    """Pooling groups with whole weights equals repeating their rows, for all draws at once."""
    observed, predicted = pairs(seed)
    group = np.random.default_rng(seed).integers(0, 5, 60)
    weight = np.random.default_rng(seed + 1).integers(0, 4, (7, 5))
    weight[:, group[0]] += 1  # never empty
    pooled = PairStatistics.by_group(observed, predicted, group, 5).combine(weight)
    for i, row in enumerate(weight):
        rows = np.repeat(np.arange(60), row[group])
        direct = PairStatistics.of(observed[rows], predicted[rows])
        for metric in statistics.METRICS.values():
            assert metric(pooled)[i] == pytest.approx(metric(direct), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_against_other_implementations(seed: int) -> None:
    observed, predicted = pairs(seed, level=-0.8)
    s = PairStatistics.of(observed, predicted)
    o, p = xr.DataArray(observed, dims="t"), xr.DataArray(predicted, dims="t")
    assert statistics.nse(s) == pytest.approx(float(scores.continuous.nse(p, o)), rel=1e-12)
    assert statistics.rmse(s) == pytest.approx(float(scores.continuous.rmse(p, o)), rel=1e-12)
    assert statistics.bias(s) == pytest.approx(float(scores.continuous.mean_error(p, o)), rel=1e-11)
    assert statistics.kge(s) == pytest.approx(float(scores.continuous.kge(p, o)), rel=1e-12)
    assert statistics.correlation(s) == pytest.approx(stats.pearsonr(observed, predicted).statistic, rel=1e-12)
    assert statistics.r2(s) == pytest.approx(stats.linregress(observed, predicted).rvalue ** 2, rel=1e-12)


def test_metrics_by_hand() -> None:
    """o = 0, 2, 4; p = 1, 3, 5: bias 1, RMSE 1, NSE 1 - 3/8, r 1, KGE 1 - |3/2 - 1|."""
    s = PairStatistics.of(np.array([0.0, 2, 4]), np.array([1.0, 3, 5]))
    found = {name: float(metric(s)) for name, metric in statistics.METRICS.items()}
    assert found == pytest.approx({"nse": 0.625, "r2": 1, "rmse": 1, "bias": 1, "kge": 0.5})
    perfect = PairStatistics.of(np.array([-1.0, 2]), np.array([-1.0, 2]))
    assert [float(m(perfect)) for m in statistics.METRICS.values()] == [1, 1, 0, 0, 1]
    flat = PairStatistics.of(np.array([3.0, 3]), np.array([1.0, 2]))
    assert np.isnan(statistics.nse(flat)) and np.isnan(statistics.r2(flat)) and statistics.rmse(flat) == pytest.approx(np.sqrt(2.5))


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="without missing values"):
        PairStatistics.of(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


# ------------------------------------------------------------------ time scales and sites


def rows(time: pd.DatetimeIndex, observed: np.ndarray, predicted: np.ndarray | None = None, site: str = "A") -> pd.DataFrame:
    predicted = np.asarray(observed) + 1.0 if predicted is None else predicted
    return pd.DataFrame({"site": site, "time": time, "observed": np.asarray(observed, float), "predicted": np.asarray(predicted, float)})


def table(*parts: pd.DataFrame, product: str = "dual", groups: list[int] | None = None) -> pd.DataFrame:
    """Predictions from rows of each site: tower_like = landscape, no site effect."""
    named = [p.assign(group=i if groups is None else groups[i]) for i, p in enumerate(parts)]
    out = pd.concat(named, ignore_index=True).rename(columns={"predicted": "landscape"})
    return out.assign(product=product, tower_like=out["landscape"], site_effect=np.nan)


def test_weeks_need_six_of_seven_days() -> None:
    """2024-01-01 is a Monday: week 1 whole (0..6, mean 3), week 2 with six days, week 3 with five: dropped."""
    time = pd.date_range("2024-01-01", periods=21).delete([13, 19, 20])
    weeks = sites.at_scale(rows(time, np.arange(18)), "weekly", "daily")
    assert weeks["observed"].tolist() == [3.0, 9.5] and weeks["predicted"].tolist() == [4.0, 10.5]


@pytest.mark.parametrize(("present", "kept"), [(24, True), (23, False)])
def test_months_of_days_need_80_percent(present: int, kept: bool) -> None:
    """29 days in February 2024: 80 % are 23.2."""
    months = sites.at_scale(rows(pd.date_range("2024-02-01", periods=present), np.ones(present)), "monthly", "daily")
    assert len(months) == kept


@pytest.mark.parametrize(("months", "kept"), [(10, True), (9, False)])
def test_years_of_months_need_ten(months: int, kept: bool) -> None:
    time = pd.date_range("2001-01-01", periods=12 + months, freq="MS")
    years = sites.at_scale(rows(time, np.r_[np.ones(12), np.full(months, 5.0)]), "yearly", "monthly")
    assert years["observed"].tolist() == ([1.0, 5.0] if kept else [1.0])


@pytest.mark.parametrize(("year", "days", "kept"), [(2001, 292, True), (2001, 291, False), (2004, 293, True), (2004, 292, False)])
def test_years_of_days_need_80_percent(year: int, days: int, kept: bool) -> None:
    years = sites.at_scale(rows(pd.date_range(f"{year}-01-01", periods=days), np.ones(days)), "yearly", "daily")
    assert len(years) == kept


def test_seasonal_cycle_anomaly_and_site_mean_by_hand() -> None:
    """January 1 and 3, February 5 (once): cycle 2, 5; anomalies -1, +1 (February has one year: none); mean 3."""
    world = rows(pd.to_datetime(["2001-01-01", "2002-01-01", "2002-02-01"]), [1, 3, 5], [0, 4, 5])
    cycle = sites.at_scale(world, "seasonal_cycle", "monthly")
    assert cycle["observed"].tolist() == [2, 5] and cycle["predicted"].tolist() == [2, 5]
    anomaly = sites.at_scale(world, "anomaly", "monthly")
    assert anomaly["observed"].tolist() == [-1, 1] and anomaly["predicted"].tolist() == [-2, 2]
    assert sites.at_scale(world, "site_mean", "monthly")[["observed", "predicted"]].to_numpy().tolist() == [[3, 3]]


def test_cycle_plus_anomaly_is_monthly() -> None:
    rng = np.random.default_rng(0)
    world = rows(pd.date_range("2001-01-01", periods=36, freq="MS"), rng.normal(size=36), rng.normal(size=36))
    cycle, anomaly = (sites.at_scale(world, s, "monthly") for s in ("seasonal_cycle", "anomaly"))
    for side in ("observed", "predicted"):
        np.testing.assert_allclose(np.tile(cycle[side], 3) + anomaly[side].to_numpy(), world[side], atol=1e-14)


def two_sites() -> pd.DataFrame:
    time = pd.date_range("2001-01-01", periods=24, freq="MS")
    rng = np.random.default_rng(3)
    return table(*(rows(time, level + rng.normal(size=24), level + rng.normal(size=24), s) for s, level in (("A", -1.0), ("B", 4.0))))


def test_site_metrics_against_scores() -> None:
    predictions = two_sites()
    found = evaluation.site_metrics(predictions, "monthly").set_index(["prediction", "site", "scale", "metric"])["value"]
    for site, part in [("pooled", predictions), *predictions.groupby("site")]:
        o, p = (xr.DataArray(part[c].to_numpy()) for c in ("observed", "landscape"))
        assert found["landscape", site, "monthly", "nse"] == pytest.approx(float(scores.continuous.nse(p, o)), rel=1e-12)
        assert found["landscape", site, "monthly", "rmse"] == pytest.approx(float(scores.continuous.rmse(p, o)), rel=1e-12)
    both = [found["tower_like", s, "monthly", "nse"] for s in "AB"]
    assert found["tower_like", "median", "monthly", "nse"] == pytest.approx(np.median(both))
    assert found["tower_like", "q90", "monthly", "nse"] == pytest.approx(np.quantile(both, 0.9))


def test_site_metrics_columns_words_and_counts() -> None:
    found = evaluation.site_metrics(two_sites(), "monthly")
    assert found.columns.tolist() == ["product", "prediction", "site", "scale", "metric", "value", "n", "unit"]
    assert set(found["scale"]) == {"monthly", "seasonal_cycle", "anomaly", "yearly", "site_mean"}
    assert set(found["prediction"]) == {"landscape", "tower_like"}, "a product without site effects has no such rows"
    assert set(found["site"]) == {"A", "B", "pooled", "median", "q90"}
    n = found[(found["metric"] == "nse") & (found["prediction"] == "landscape")].set_index(["site", "scale"])["n"]
    assert n["pooled", "monthly"] == 48 and n["A", "seasonal_cycle"] == 12 and n["pooled", "yearly"] == 4 and n["median", "monthly"] == 2
    assert n["median", "site_mean"] == 0, "the NSE of one value is not defined"
    assert set(found[found["metric"] == "rmse"]["unit"]) == {"gC m-2 d-1"} and set(found[found["metric"] == "nse"]["unit"]) == {"1"}


def test_daily_studies_have_all_scales() -> None:
    time = pd.date_range("2001-01-01", periods=730)
    daily = table(rows(time, np.sin(np.arange(730) / 58)))
    assert set(evaluation.site_metrics(daily, "daily")["scale"]) == set(sites.SCALES)


def test_site_effects_are_scored_on_the_rows_they_have() -> None:
    predictions = two_sites()
    predictions["site_effect"] = np.where(predictions["site"] == "A", predictions["observed"], np.nan)
    found = evaluation.site_metrics(predictions, "monthly")
    row = found[
        (found["prediction"] == "site_effect") & (found["site"] == "pooled") & (found["scale"] == "monthly") & (found["metric"] == "nse")
    ]
    assert row["n"].tolist() == [24] and row["value"].tolist() == [1.0]


def test_bad_predictions_are_named() -> None:
    good = two_sites()
    with pytest.raises(InputError, match="no column group"):
        evaluation.site_metrics(good.drop(columns="group"), "monthly")
    with pytest.raises(InputError, match=r"'landscape': 48"):
        evaluation.site_metrics(good.assign(landscape=np.nan), "monthly")
    with pytest.raises(InputError, match="48 rows repeat"):
        evaluation.site_metrics(pd.concat([good, good]), "monthly")
    with pytest.raises(InputError, match="time step `hourly`; allowed: daily, monthly"):
        evaluation.site_metrics(good, "hourly")


@settings(max_examples=20, deadline=None)
@given(st.floats(-50, 50), st.floats(-50, 50))
def test_centred_nse_is_blind_to_site_bias(first: float, second: float) -> None:
    good = two_sites()
    moved = good.assign(landscape=good["landscape"] + np.where(good["site"] == "A", first, second))
    for statistic in ("pooled", "median"):
        before, after = (evaluation.centred_nse(t, "dual", "landscape", "monthly", statistic=statistic) for t in (good, moved))
        assert after == pytest.approx(before, abs=1e-10)


def test_centred_nse_by_hand() -> None:
    """Site A: o -1, 1 and p 0, 2 (perfect but for its bias); B: o -2, 2 and p flat: 1 - 8 / (2 + 8)."""
    time = pd.date_range("2001-01-01", periods=2, freq="MS")
    world = table(rows(time, np.array([-1, 1]), np.array([0, 2]), "A"), rows(time, np.array([-2, 2]), np.array([7, 7]), "B"))
    assert evaluation.centred_nse(world, "dual", "landscape", "monthly") == pytest.approx(0.2)
    assert evaluation.centred_nse(world, "dual", "landscape", "monthly", statistic="median") == pytest.approx(0.5)


# ------------------------------------------------------------------ paired bootstrap


def two_products(seed: int, count: int, shift: float = 0.0) -> pd.DataFrame:
    """`count` sites, two per group, where product b differs from a by a random bias per group."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2001-01-01", periods=6, freq="MS")
    parts, moved = [], []
    for i in range(count):
        observed, noise = rng.normal(size=6), rng.normal(size=6)
        off = np.random.default_rng(1000 * seed + i // 2).normal(shift, 1)
        parts.append(rows(time, observed, observed + noise, f"s{i:03d}"))
        moved.append(rows(time, observed, observed + noise + off, f"s{i:03d}"))
    groups = [i // 2 for i in range(count)]
    return pd.concat([table(*parts, product="a", groups=groups), table(*moved, product="b", groups=groups)])


@pytest.mark.parametrize("metric", ["nse", "rmse", "kge", "centred_nse"])
@pytest.mark.parametrize("statistic", ["pooled", "median"])
def test_bootstrap_equals_a_plain_loop(metric: str, statistic: str) -> None:
    """The vectorised bootstrap equals copying the rows of the drawn groups, draw by draw."""
    predictions, repeats = two_products(5, 12), 40
    found = evaluation.paired_difference(predictions, ("b", "landscape"), ("a", "landscape"), metric, statistic, repeats, seed=9)
    draws = np.random.default_rng(9).multinomial(6, np.full(6, 1 / 6), size=repeats)
    differences = [_slow(predictions, row, "b", metric, statistic) - _slow(predictions, row, "a", metric, statistic) for row in draws]
    assert (found.lower, found.upper) == pytest.approx(tuple(np.percentile(differences, [2.5, 97.5])), rel=1e-9, abs=1e-9)
    whole = np.ones(6, dtype=int)
    assert found.estimate == pytest.approx(
        _slow(predictions, whole, "b", metric, statistic) - _slow(predictions, whole, "a", metric, statistic)
    )
    assert (found.rows, found.sites, found.groups) == (72, 12, 6)


def _slow(predictions: pd.DataFrame, draw: np.ndarray, product: str, metric: str, statistic: str) -> float:
    part = predictions[predictions["product"] == product]
    if metric == "centred_nse":
        part = part.assign(**{c: part[c] - part.groupby("site")[c].transform("mean") for c in ("observed", "landscape")})
    one = {
        "nse": scores.continuous.nse,
        "centred_nse": scores.continuous.nse,
        "rmse": scores.continuous.rmse,
        "kge": scores.continuous.kge,
    }[metric]

    def value(t: pd.DataFrame) -> float:
        return float(one(xr.DataArray(t["landscape"].to_numpy()), xr.DataArray(t["observed"].to_numpy())))

    chosen = [part[part["group"] == g] for g, times in enumerate(draw) for _ in range(times)]
    if statistic == "pooled":
        return value(pd.concat(chosen))
    return float(np.median([value(t) for group in chosen for _, t in group.groupby("site")]))


def test_bootstrap_interval_is_the_standard_error_of_groups() -> None:
    """A bias that differs between n groups: half width 1.96 sd / sqrt(n), not that of the sites or rows."""
    predictions = two_products(2, 200, shift=0.4)
    found = evaluation.paired_difference(predictions, ("b", "landscape"), ("a", "landscape"), "bias", repeats=4000)
    bias = predictions.pivot_table(index="group", columns="product", values="landscape", aggfunc="mean")
    offset = bias["b"] - bias["a"]
    assert found.estimate == pytest.approx(offset.mean())
    assert (found.upper - found.lower) / 2 == pytest.approx(1.96 * offset.std(ddof=0) / 10, rel=0.05)


def test_bootstrap_is_paired_and_signed() -> None:
    predictions = two_products(4, 20)
    same = evaluation.paired_difference(predictions, ("a", "landscape"), ("a", "tower_like"))
    assert (same.estimate, same.lower, same.upper) == (0, 0, 0), "shared noise cancels"
    one = evaluation.paired_difference(predictions, ("a", "landscape"), ("b", "landscape"))
    two = evaluation.paired_difference(predictions, ("b", "landscape"), ("a", "landscape"))
    assert (one.estimate, one.lower, one.upper) == pytest.approx((-two.estimate, -two.upper, -two.lower))


def test_bootstrap_compares_common_rows_only() -> None:
    predictions = two_products(4, 20)
    late = predictions[(predictions["product"] == "a") | (predictions["time"] >= "2001-04-01")]
    assert evaluation.paired_difference(late, ("a", "landscape"), ("b", "landscape")).rows == 60


def test_bad_comparisons_are_named() -> None:
    predictions = two_products(4, 4)
    with pytest.raises(InputError, match=r"metric `mae`.*allowed: nse, r2"):
        evaluation.paired_difference(predictions, ("a", "landscape"), ("b", "landscape"), "mae")
    with pytest.raises(InputError, match="no rows of product `c`"):
        evaluation.paired_difference(predictions, ("c", "landscape"), ("b", "landscape"))
    with pytest.raises(InputError, match="no rows of product `a` with site_effect"):
        evaluation.paired_difference(predictions, ("a", "site_effect"), ("b", "landscape"))
    with pytest.raises(InputError, match="1 group of sites"):
        evaluation.paired_difference(predictions[predictions["group"] == 0], ("a", "landscape"), ("b", "landscape"))
    apart = predictions[(predictions["product"] == "a") == (predictions["time"] < "2001-04-01")]
    with pytest.raises(InputError, match="share no site and time"):
        evaluation.paired_difference(apart, ("a", "landscape"), ("b", "landscape"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 4)), min_size=1, max_size=12).filter(lambda x: any(w for _, w in x)))
def test_weighted_median_is_the_median_of_repetitions(world: list[tuple[float, int]]) -> None:
    values, weight = (np.array(x) for x in zip(*world, strict=True))
    assert paired.weighted_median(values, weight[None])[0] == pytest.approx(np.median(np.repeat(values, weight)))


# ------------------------------------------------------------------ regions


def monthly(values: np.ndarray, product: str, start: str = "2001-01-01", region: str = "global", member: object = None) -> pd.DataFrame:
    time = pd.date_range(start, periods=len(values), freq="MS")
    return pd.DataFrame(
        {"product": product, "member": member, "region": region, "time": time, "value": values, "std": np.nan, "unit": "PgC month-1"}
    )


def value_of(summary: pd.DataFrame, product: str, metric: str, region: str = "global") -> float:
    row = summary[(summary["product"] == product) & (summary["metric"] == metric) & (summary["region"] == region)]
    assert len(row) == 1, f"{len(row)} rows of {product}, {region}, {metric}"
    return float(row["value"].iloc[0])


def drawn_regions() -> pd.DataFrame:
    """Target: cycle cos, years -3, -4, -2, -5. Dual: cycle twice as large, years 0.5 higher with half the deviations."""
    cycle = np.cos(np.arange(12) * np.pi / 6)
    years = np.array([-3.0, -4, -2, -5])
    target = np.concatenate([cycle + y / 12 for y in years])
    dual = np.concatenate([2 * cycle + (-3.5 + 0.5 + 0.5 * (y + 3.5)) / 12 for y in years])
    return pd.concat([monthly(target, "target"), monthly(dual, "dual"), monthly(target, "CAMS")])


def test_regional_summary_by_hand() -> None:
    found = evaluation.regional_summary(drawn_regions())
    wanted = {
        "mean_annual": -3.0,
        "bias": 0.5,
        "years": 4,
        "years_incomplete": 0,
        "cycle_rmse": np.sqrt(0.5 + (0.5 / 12) ** 2),
        "cycle_rmse_centred": np.sqrt(0.5),
        "cycle_r": 1.0,
        "annual_r": 1.0,
        "annual_sd_ratio": 0.5,
        "rmse_annual": np.sqrt(0.5**2 + 0.25 * 1.25),
        "trend": 0.5 * stats.linregress(range(4), [-3, -4, -2, -5]).slope,
    }
    for metric, value in wanted.items():
        assert value_of(found, "dual", metric) == pytest.approx(value, abs=1e-12), metric
    assert value_of(found, "dual", "cycle_rmse_vs_CAMS") == pytest.approx(value_of(found, "dual", "cycle_rmse"))
    assert value_of(found, "CAMS", "bias") == 0 and value_of(found, "target", "mean_annual") == pytest.approx(-3.5)
    unit = found.drop_duplicates("metric").set_index("metric")["unit"]
    assert unit["trend"] == "PgC yr-2" and unit["cycle_rmse_vs_CAMS"] == "PgC month-1" and unit["bias"] == "PgC yr-1" and unit.notna().all()
    assert found.columns.tolist() == ["product", "region", "metric", "value", "unit"]


def test_incomplete_years_are_dropped_and_counted() -> None:
    """A half year of huge values at the end changes nothing but its count."""
    whole = drawn_regions()
    extra = pd.concat([whole, monthly(np.full(6, 99.0), "dual", "2005-01-01")])
    before, after = (evaluation.regional_summary(t) for t in (whole, extra))
    assert value_of(after, "dual", "years_incomplete") == 1 and value_of(before, "dual", "years_incomplete") == 0
    rest = lambda t: t[t["metric"] != "years_incomplete"].reset_index(drop=True)  # noqa: E731
    pd.testing.assert_frame_equal(rest(before), rest(after))


def test_comparisons_use_the_years_of_both() -> None:
    """Dual agrees with an inversion that starts two years later, and is off before."""
    inversion, early = np.random.default_rng(0).normal(size=36), np.full(24, 7.0)
    world = pd.concat(
        [monthly(np.r_[early, inversion], "dual"), monthly(inversion, "late", "2003-01-01"), monthly(np.r_[early, inversion] + 1, "target")]
    )
    found = evaluation.regional_summary(world)
    assert value_of(found, "dual", "rmse_annual_vs_late") == pytest.approx(0, abs=1e-12)
    assert value_of(found, "dual", "bias") == pytest.approx(-12)


def test_spread_of_members() -> None:
    members = [monthly(np.full(24, x / 12), "dual", member=m) for m, x in enumerate((-1.0, -2.0, -3.0))]
    found = evaluation.regional_summary(
        pd.concat([monthly(np.full(24, -2 / 12), "dual"), monthly(np.full(24, -2.5 / 12), "target"), *members])
    )
    assert value_of(found, "dual", "mean_annual_sd") == pytest.approx(1.0)
    assert value_of(found, "dual", "mean_annual") == pytest.approx(-2.0), "members do not enter the mean twice"
    assert "mean_annual_sd" not in set(found[found["product"] == "target"]["metric"])
    assert np.isnan(value_of(found, "dual", "annual_r")), "two years give no correlation"


def test_no_common_year_is_not_a_number() -> None:
    time = pd.date_range("2001-01-01", periods=24, freq="MS")
    found = comparison_metrics(pd.Series(np.ones(24), time), pd.Series(np.ones(24), time + pd.DateOffset(years=5)))
    assert all(np.isnan(v) for v in found.values())


def test_a_climatology_has_no_year_to_year_correlation() -> None:
    """The same twelve numbers every year: their annual sums differ by rounding at most, which is no variability."""
    time = pd.date_range("2001-01-01", periods=60, freq="MS")
    climatology = pd.Series(np.tile(np.linspace(-0.3, 0.1, 12) / 3, 5), time)
    truth = pd.Series(np.random.default_rng(0).normal(size=60), time)
    assert np.isnan(comparison_metrics(climatology, truth)["annual_r"]) and np.isnan(comparison_metrics(truth, climatology)["annual_r"])


def test_trend_against_scipy() -> None:
    annual = pd.Series(np.random.default_rng(0).normal(size=9), range(2001, 2010))
    assert trend(annual) == pytest.approx(stats.linregress(annual.index, annual.to_numpy()).slope)
    assert np.isnan(trend(annual[:2]))


def test_tables_of_years_and_cycles_agree_with_the_series() -> None:
    """Both ways to the same numbers; an incomplete year is in neither; the spread is that of the members."""
    values = np.random.default_rng(0).normal(size=30)
    members = [monthly(values + off, "dual", member=m) for m, off in enumerate((-1.0, 0.0, 1.0))]
    world = pd.concat([monthly(values, "dual"), *members], ignore_index=True)
    series = world[world["member"].isna()].set_index("time")["value"]
    annual, cycle = evaluation.annual_table(world), evaluation.cycle_table(world)
    np.testing.assert_allclose(annual["value"], evaluation.complete_annual(series))
    np.testing.assert_allclose(cycle["value"], evaluation.mean_cycle(series))
    assert annual["year"].tolist() == [2001, 2002] and cycle["month"].tolist() == list(range(1, 13))
    np.testing.assert_allclose(annual["sd"], 12.0)
    np.testing.assert_allclose(cycle["sd"], 1.0)


def test_bad_regional_tables_are_named() -> None:
    with pytest.raises(InputError, match="no product `target`"):
        evaluation.regional_summary(monthly(np.ones(12), "dual"))
    with pytest.raises(InputError, match="12 values are missing and 12 rows repeat"):
        evaluation.regional_summary(pd.concat([monthly(np.ones(12), "target"), monthly(np.full(12, np.nan), "target")]))
    with pytest.raises(InputError, match="no column region"):
        evaluation.regional_summary(monthly(np.ones(12), "target").drop(columns="region"))


def test_real_target_has_the_published_means(shared_data: Path) -> None:
    """Mean of the inversions minus fire, 2001-2012: -3.89 PgC/yr, of it -2.05 north of 30N, -1.76 tropics, -0.08 south."""
    rate = pd.read_csv(shared_data / "real/inversions_latbands_monthly.csv", parse_dates=["time"])
    rate["value"] = units.integral_to_monthly(rate["value"].to_numpy(), "PgC yr-1", rate["time"].to_numpy())
    target = rate.groupby(["region", "time"])["value"].mean().reset_index()
    fire = pd.read_csv(shared_data / "real/fire_latbands_annual.csv").set_index(["region", "year"])["value"]
    annual = fire.reindex(list(zip(target["region"], target["time"].dt.year, strict=True))).to_numpy()
    target["value"] -= units.annual_to_monthly(annual, "PgC yr-1", target["time"].to_numpy())
    found = evaluation.regional_summary(target.assign(product="target", member=np.nan))
    means = [value_of(found, "target", "mean_annual", r) for r in ("north_of_30N", "tropics", "south_of_30S")]
    assert means == pytest.approx([-2.05, -1.76, -0.08], abs=0.01) and sum(means) == pytest.approx(-3.89, abs=0.01)


# ------------------------------------------------------------------ probability


def test_crps_of_ensembles_against_scores() -> None:
    rng = np.random.default_rng(0)
    members, observed = rng.normal(size=(7, 30)), rng.normal(size=30)
    wanted = scores.probability.crps_for_ensemble(
        xr.DataArray(members, dims=("m", "t")), xr.DataArray(observed, dims="t"), "m", method="ecdf", preserve_dims="all"
    )
    np.testing.assert_allclose(evaluation.crps_ensemble(observed, members), wanted, rtol=1e-12)


def test_crps_of_one_member_is_the_absolute_error() -> None:
    np.testing.assert_allclose(evaluation.crps_ensemble(np.array([1.0, -2.0]), np.array([[3.0, 1.0]])), [2.0, 3.0])


@pytest.mark.parametrize(("observed", "mean", "std"), [(0.3, 0.0, 1.0), (-4.0, 1.0, 2.5), (2.0, 2.0, 0.1)])
def test_crps_of_normals_against_its_definition(observed: float, mean: float, std: float) -> None:
    """CRPS = integral of (F(x) - 1{x >= y})^2."""
    below = integrate.quad(lambda x: stats.norm.cdf(x, mean, std) ** 2, -30, observed, points=[mean])[0]
    above = integrate.quad(lambda x: stats.norm.sf(x, mean, std) ** 2, observed, 30, points=[mean])[0]
    assert evaluation.crps_gaussian(np.array(observed), np.array(mean), np.array(std)) == pytest.approx(below + above, rel=1e-7)


def test_ensemble_score_tends_to_the_normal_one() -> None:
    members = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    observed = np.array([0.7])
    assert evaluation.crps_ensemble(observed, members)[0] == pytest.approx(
        evaluation.crps_gaussian(observed, np.zeros(1), np.ones(1))[0], rel=1e-3
    )


def test_coverage_by_hand() -> None:
    """Members 0..100: the central half is 25 to 75, ends included."""
    members = np.tile(np.arange(101.0)[:, None], (1, 4))
    assert evaluation.interval_coverage(np.array([25, 24.9, 50, 76]), members, 0.5) == 0.5
    one, two = np.full(4, 1.0), np.full(4, 2.0)
    assert evaluation.interval_coverage_gaussian(np.array([1, 2.9, 3.1, -5]), one, two, 0.68) == 0.5


@pytest.mark.parametrize("level", [0.5, 0.68, 0.9])
def test_honest_predictions_cover_their_level(level: float) -> None:
    rng = np.random.default_rng(0)
    centre, size = rng.normal(size=20_000), 20_000
    observed = centre + rng.normal(size=size)
    within = 4 * np.sqrt(level * (1 - level) / size)
    assert evaluation.interval_coverage_gaussian(observed, centre, np.ones(size), level) == pytest.approx(level, abs=within)
    assert evaluation.interval_coverage(observed, centre + rng.normal(size=(400, size)), level) == pytest.approx(level, abs=within + 0.005)


def test_probability_summary_by_hand() -> None:
    """Value 0, std 1 against 0, 0.5, 0.9, 3: inside 50 % (0.67), 68 % (0.99), 90 % (1.64): 2, 3 and 3 of 4."""
    world = pd.concat(
        [monthly(np.zeros(4), "dual").assign(std=1.0), monthly(np.array([0, 0.5, 0.9, 3.0]), "target"), monthly(np.ones(4), "CAMS")]
    )
    found = evaluation.probability_summary(world)
    assert set(found["product"]) == {"dual"}, "a product without a std has no such rows"
    assert [value_of(found, "dual", f"coverage_{p}") for p in (50, 68, 90)] == [0.5, 0.75, 0.75]
    assert value_of(found, "dual", "crps") == pytest.approx(
        evaluation.crps_gaussian(np.array([0, 0.5, 0.9, 3.0]), np.zeros(4), np.ones(4)).mean()
    )
    with pytest.raises(InputError, match="no product `truth`"):
        evaluation.probability_summary(world, "truth")
    with pytest.raises(ValueError, match="above 0"):
        evaluation.crps_gaussian(np.zeros(1), np.zeros(1), np.zeros(1))

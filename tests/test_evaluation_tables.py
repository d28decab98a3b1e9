"""Tables of classes, differences, intervals, diagrams and budgets against worlds known by hand and other implementations."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from dualflux import metrics as evaluation
from dualflux.errors import InputError
from dualflux.metrics import PairStatistics, cells, statistics
from dualflux.metrics.budget import BudgetSettings, annual_adjustments, budget_summary, read_budget, read_budgets
from dualflux.metrics.diagrams import taylor_table
from dualflux.metrics.paired import centred_nse
from dualflux.metrics.regions import annual_comparison, variability

MONTHS = pd.date_range("2001-01-01", periods=24, freq="MS")


def predictions(errors: dict[str, np.ndarray], observed: np.ndarray, group: list[int] | None = None) -> pd.DataFrame:
    """Rows of products whose error is (site, month); all sites share the months."""
    parts = []
    for product, error in errors.items():
        for s in range(len(observed)):
            columns = {"product": product, "site": f"S{s}", "group": s if group is None else group[s], "time": MONTHS[: observed.shape[1]]}
            flux = observed[s] + error[s]
            parts.append(pd.DataFrame({**columns, "observed": observed[s], "landscape": flux, "tower_like": flux, "site_effect": np.nan}))
    return pd.concat(parts, ignore_index=True)


# ------------------------------------------------------------------ classes of sites


def test_distance_to_the_nearest_site_of_another_fold() -> None:
    """On the equator a degree is 111.195 km: A and B share a fold, so both look to C, and C to B; D at the pole is 10 000 km off."""
    sites = pd.DataFrame({"lat": [0.0, 0, 0, 90], "lon": [179.0, -180, -178, 0], "fold": [0, 0, 1, 0]}, index=list("ABCD"))
    degree = np.pi / 180 * 6371.0072
    np.testing.assert_allclose(evaluation.distance_to_training(sites), np.array([3, 2, 2, 90]) * degree, rtol=1e-12)
    assert evaluation.distance_to_training(sites.assign(fold=0)).isna().all()
    words = evaluation.distance_class(pd.Series([np.nan, 199.9, 500, 1e4]))
    assert words.astype(object).fillna("").tolist() == ["", "below 200 km", "500 to 1000 km", "1000 km or more"]


def test_class_table_scores_each_class_alone() -> None:
    """Sites 0, 1 (ENF) are 1 too high, site 2 (GRA) 3 too low: bias 1, -3 and, with all, -1/3."""
    observed = np.random.default_rng(0).normal(size=(3, 24))
    table = predictions({"dual": np.array([1.0, 1, -3])[:, None] * np.ones((3, 24))}, observed)
    classes = pd.DataFrame({"igbp": ["ENF", "ENF", "GRA"]}, index=["S0", "S1", "S2"])
    found = evaluation.class_table(table, classes, "monthly", repeats=50)
    own = found.query("metric == 'bias' and scale == 'monthly' and prediction == 'landscape' and statistic == 'pooled'").set_index("class")
    assert own["value"].to_dict() == pytest.approx({"all": -1 / 3, "ENF": 1, "GRA": -3})
    assert own["n"].to_dict() == {"all": 72, "ENF": 48, "GRA": 24} and own["sites"].to_dict() == {"all": 3, "ENF": 2, "GRA": 1}
    assert own.loc["ENF", ["lower", "upper"]].tolist() == pytest.approx([1, 1]), "both groups have the same error"
    assert np.isnan(own.loc["GRA", "lower"]), "one group has no interval"
    everything = evaluation.site_metrics(table, "monthly").set_index(["prediction", "scale", "metric", "site"])["value"]
    for row in found[found["grouping"] == "all"].itertuples():
        assert row.value == pytest.approx(everything[row.prediction, row.scale, row.metric, row.statistic], nan_ok=True)


def test_interval_of_a_mean_is_that_of_the_central_limit() -> None:
    """The bias of 200 groups with one row each is a mean: its bootstrap interval has the half width 1.96 s / sqrt(200)."""
    error = np.random.default_rng(1).normal(0, 2, (200, 1))
    found = evaluation.class_table(predictions({"dual": error}, np.zeros((200, 1))), pd.DataFrame(index=[]), "monthly", repeats=4000)
    row = found.query("metric == 'bias' and scale == 'monthly' and statistic == 'pooled' and prediction == 'landscape'").iloc[0]
    half = 1.96 * error.std() / np.sqrt(200)
    assert row["value"] == pytest.approx(error.mean())
    assert [row["upper"] - row["value"], row["value"] - row["lower"]] == pytest.approx([half, half], rel=0.08)


# ------------------------------------------------------------------ differences between products


def test_differences_are_those_of_single_calls_and_variants_come_last() -> None:
    rng = np.random.default_rng(2)
    table = predictions({p: rng.normal(0, s, (6, 24)) for p, s in (("dual", 0.5), ("towers", 0.8), ("X", 1.0))}, rng.normal(size=(6, 24)))
    found = evaluation.difference_table(table, "monthly", seed=3, repeats=200)
    assert [tuple(x) for x in found[["first", "second"]].drop_duplicates().to_numpy()] == [
        ("towers", "X"),
        ("dual", "X"),
        ("dual", "towers"),
    ]
    row = found.query("first == 'dual' and second == 'towers' and prediction == 'tower_like' and scale == 'yearly' and metric == 'rmse'")
    for statistic in ("pooled", "median", "median_of_differences"):
        one = evaluation.paired_difference(
            table, ("dual", "tower_like"), ("towers", "tower_like"), "rmse", statistic, 200, 3, "monthly", "yearly"
        )
        got = row[row["statistic"] == statistic].iloc[0]
        assert (got["value"], got["lower"], got["upper"], got["n"]) == pytest.approx((one.estimate, one.lower, one.upper, one.rows))


def test_a_product_against_its_copy_differs_by_nothing() -> None:
    error = np.random.default_rng(4).normal(size=(5, 24))
    found = evaluation.difference_table(predictions({"towers": error, "dual": error}, error * 2), "monthly", repeats=50)
    assert (found[["value", "lower", "upper"]].fillna(0).abs() < 1e-12).all().all() and len(found)


def test_one_group_and_no_common_rows_give_no_difference() -> None:
    error = np.ones((2, 24))
    one = predictions({"towers": error, "dual": error}, error * 2, group=[0, 0])
    assert evaluation.difference_table(one, "monthly").empty
    apart = predictions({"towers": error, "dual": error}, error * 2)
    apart.loc[apart["product"] == "dual", "time"] += pd.DateOffset(years=10)
    assert evaluation.difference_table(apart, "monthly").empty
    with pytest.raises(InputError, match="share no site and time"):
        evaluation.paired_difference(apart, ("dual", "landscape"), ("towers", "landscape"))


def test_centred_nse_by_hand() -> None:
    """Observed -1, 1 about 5, predicted -1, 2 about 0: errors about their mean -0.5, 0.5, so 1 - 0.5 / 2."""
    table = predictions({"dual": np.array([[-4.5, -4.5 + 1]])}, np.array([[4.0, 6.0]]))
    assert centred_nse(table, "dual", "landscape", "monthly") == pytest.approx(0.75)


# ------------------------------------------------------------------ years


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 30))
def test_detrended_years_against_scipy(seed: int, years: int) -> None:
    rng = np.random.default_rng(seed)
    one, two = (pd.Series(rng.normal(size=years) + 0.3 * np.arange(years), np.arange(2001, 2001 + years)) for _ in range(2))
    found = annual_comparison(one, two)
    flat = [signal.detrend(x.to_numpy()) for x in (one, two)]
    assert found["annual_r_detrended"] == pytest.approx(stats.pearsonr(*flat).statistic, abs=1e-9)
    assert variability(one) == pytest.approx(np.sqrt((flat[0] ** 2).sum() / (years - 2)), rel=1e-9)
    assert found["annual_r"] == pytest.approx(stats.pearsonr(one, two).statistic, abs=1e-9)


def test_a_straight_line_has_no_variability() -> None:
    line = pd.Series([1.0, 2, 3, 4], [2001, 2002, 2003, 2004])
    assert variability(line) == pytest.approx(0, abs=1e-12) and np.isnan(variability(line[:2]))
    assert np.isnan(annual_comparison(line, line * 2)["annual_r_detrended"])


# ------------------------------------------------------------------ diagrams


def test_taylor_points_obey_the_law_of_cosines() -> None:
    """Centred RMSE^2 = 1 + s^2 - 2 s r in units of the reference's standard deviation."""
    rng = np.random.default_rng(6)
    observed, error = rng.normal(size=(4, 24)), rng.normal(0, 0.7, (4, 24))
    table = predictions({"dual": error}, observed)
    found = taylor_table(table, pd.DataFrame(columns=["product", "member", "region", "time", "value"]), "monthly")
    row = found.query("where == 'monthly' and prediction == 'landscape'").iloc[0]
    centred = error.std() / observed.std()
    assert 1 + row["sd_ratio"] ** 2 - 2 * row["sd_ratio"] * row["r"] == pytest.approx(centred**2, rel=1e-12)
    assert row["r"] == pytest.approx(np.corrcoef(observed.ravel(), (observed + error).ravel())[0, 1], rel=1e-12)


# ------------------------------------------------------------------ cells


def fields(seed: int, steps: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    one, two = rng.normal(5, 2, (2, steps, 3, 4))
    one[rng.random(one.shape) < 0.2] = np.nan
    return one, two


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_streamed_cell_is_its_time_series(seed: int, block: int) -> None:
    """Whatever the block, each cell's statistics are those of its own pairs, to 1e-12."""
    reference, product = fields(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "BLOCK_BYTES", block * 8 * 12)
        tally = cells.CellTally((3, 4))
        for one, two in zip(reference, product, strict=True):
            tally.add(two, one, 1.0)
        tally.close()
    for index in np.ndindex(3, 4):
        there = np.isfinite(reference[(slice(None), *index)])
        if not there.any():
            assert tally.pairs.count[index] == 0
            continue
        direct = PairStatistics.of(reference[(slice(None), *index)][there], product[(slice(None), *index)][there])
        for name, metric in statistics.METRICS.items():
            assert metric(tally.pairs)[index] == pytest.approx(metric(direct), rel=1e-11, abs=1e-11, nan_ok=True), name
    np.testing.assert_allclose(tally.mean(), product.mean(axis=0), rtol=1e-12)


def test_steps_are_matched_by_time() -> None:
    day = pd.date_range("2001-01-01", periods=4)
    product = [cells.Step(t, np.full((1, 1), i)) for i, t in enumerate(day)]
    reference = [cells.Step(t, np.full((1, 1), 10.0)) for t in (pd.Timestamp("2000-12-31"), day[1], day[3])]
    assert [other is not None for _, other in cells.together(product, reference, "x")] == [False, True, False, True]
    with pytest.raises(InputError, match="x: 2001-01-01 comes after 2001-01-02; list its files in the order of time"):
        list(cells.together([product[1], product[0]], [], "x"))


# ------------------------------------------------------------------ budgets


def budget(tmp_path: Path, **changes: object) -> BudgetSettings:
    rows = "Year,land sink,land use\n2000,3,1\n2001,2,1\n2002,2,1.5\n2003,4,1\n2004,,1\n"
    (tmp_path / "budget.csv").write_text(rows)
    values = {"name": "B", "path": "budget.csv", "units": "GtC yr-1", "terms": {"land sink": -1, "land use": 1}}
    return BudgetSettings.model_validate({**values, "constants": {"rivers": -0.65}, **changes})


def test_budget_like_with_like_by_hand(tmp_path: Path) -> None:
    """2001-2003: -(2, 2, 4) + (1, 1.5, 1) - 0.65 - fire (2, 2, 2.3); the terms' contributions sum to its mean."""
    fire = annual_adjustments({"fire": np.repeat([2.0, 2.0, 2.3], 12) / 12}, pd.date_range("2001-01-01", periods=36, freq="MS"))
    (found,) = read_budgets([budget(tmp_path)], tmp_path, fire)
    assert found.annual.to_dict() == pytest.approx({2001: -3.65, 2002: -3.15, 2003: -5.95})
    terms = found.terms.set_index("term")["contribution"]
    assert terms.drop("sum").sum() == pytest.approx(terms["sum"]) and terms["sum"] == pytest.approx(found.annual.mean())
    assert terms["fire"] == pytest.approx(-2.1)


def test_products_against_a_budget(tmp_path: Path) -> None:
    """A product 1 PgC/yr above the budget in every year: bias 1, correlation 1."""
    none = pd.DataFrame(index=[2001, 2002, 2003])
    (found,) = read_budgets([budget(tmp_path)], tmp_path, none)
    months = pd.date_range("2001-01-01", periods=36, freq="MS")
    value = np.repeat((found.annual + 1).to_numpy() / 12, 12)
    table = pd.DataFrame({"product": "dual", "member": "", "region": "global", "time": months, "value": value})
    scores = budget_summary([found], table).set_index(["product", "metric"])["value"]
    assert scores["dual", "bias_vs_B"] == pytest.approx(1) and scores["dual", "annual_r_vs_B"] == pytest.approx(1)
    assert scores["B", "mean_annual"] == pytest.approx(found.annual.mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "no.csv"}, "independent `B`: no.csv: no such file"),
        ({"terms": {"sink": 1}}, "no column sink; it has Year, land sink, land use"),
        ({"units": "ppm yr-1"}, "unit `ppm yr-1`; allowed: PgC yr-1, GtC yr-1, TgC yr-1"),
        ({"year": "land use"}, "must hold whole years, each once"),
    ],
)
def test_bad_budgets_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_budget(budget(tmp_path, **changes), tmp_path)


def test_budgets_need_years_of_the_study_and_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"its years 2000 to 2003 have none in common with the study's 2010 to 2010"):
        read_budgets([budget(tmp_path)], tmp_path, pd.DataFrame(index=[2010]))
    with pytest.raises(InputError, match="`B` stands twice"):
        read_budgets([budget(tmp_path)] * 2, tmp_path, pd.DataFrame(index=[2001]))


def test_teragrams_are_a_thousandth(tmp_path: Path) -> None:
    one = read_budget(budget(tmp_path), tmp_path)
    np.testing.assert_allclose(read_budget(budget(tmp_path, units="TgC yr-1"), tmp_path), one / 1e3)

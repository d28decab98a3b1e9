"""What is learnt from fitting again without something: by hand, by dense algebra, and by drawing products whose error is known."""

import numpy as np
import pandas as pd
import pytest

from dualflux.constraints.inversions.ensemble_mean import to_year_month
from dualflux.constraints.inversions.observations import HoldoutSettings
from dualflux.evaluation.left_out import attribution, left_out_coverage, left_out_predictions, left_out_table
from small_world import dense_covariance
from test_covariance import AMPLIFIED
from test_results import MAKE, MONTHS, PREPARED, REGIONS, by_metric, member_table

NAMES = [*REGIONS, "global"]


def test_left_out_years_are_scored_where_they_lie() -> None:
    """2003 left out: a variant that is the truth plus 0.15 a month has a bias of 1.8; the other years' mean cycle is the climatology."""
    members = member_table({"dual": 0.1}, run="without_2003_2003")
    found = by_metric(left_out_table(members, MAKE, HoldoutSettings(years=(2003, 2003)), PREPARED.cells.region_names))
    values, years = to_year_month(PREPARED.target.integral.transpose("product", "region", "time"))
    mean = values.mean(axis=0)
    for place, region in enumerate(REGIONS):
        assert found["dual", region, "bias"] == pytest.approx(1.8, rel=1e-6)
        assert found["dual", region, "cycle_rmse_centred"] == pytest.approx(0, abs=1e-9)
        climatology = mean[place, years != 2003].mean(axis=0)
        off = climatology - mean[place, years == 2003][0]
        assert found["climatology", region, "bias"] == pytest.approx(off.sum(), rel=1e-6)
        assert found["climatology", region, "cycle_rmse_centred"] == pytest.approx(off.std(), rel=1e-6)


def test_a_left_out_product_is_the_truth_of_its_experiment() -> None:
    """Fitted without P1: scored against P1 itself, and the climatology is that of the mean of P0 and P2."""
    members = member_table({"dual": 0.1}, run="without_P1")
    found = by_metric(left_out_table(members, MAKE, HoldoutSettings(inversions=True), PREPARED.cells.region_names))
    values, _ = to_year_month(PREPARED.target.integral.transpose("product", "region", "time"))
    for place, region in enumerate(REGIONS):
        off = values.mean(axis=0)[place] + 0.15 - values[1, place]
        assert found["dual", region, "bias"] == pytest.approx(off.sum() / 4, rel=1e-6)
        rest = values[[0, 2], place].mean(axis=(0, 1)) - values[1, place].mean(axis=0)
        assert found["climatology", region, "cycle_rmse"] == pytest.approx(np.sqrt((rest**2).mean()), rel=1e-6)


# Predictions with intervals


def test_a_left_out_product_is_predicted_part_by_part() -> None:
    """Members 0.1 and 0.2 above the mean of all: 1.8 above it a year, an sd of 0.6 as a pair; cycle and years are not moved."""
    found = left_out_predictions(member_table({"dual": 0.1}, run="without_P1"), MAKE, REGIONS)
    values, _ = to_year_month(PREPARED.target.integral.transpose("product", "region", "time"))
    values = np.concatenate([values, values.sum(axis=1, keepdims=True)], axis=1)
    table = found.set_index(["part", "region"]).sort_index(kind="stable")
    for place, region in enumerate(REGIONS):
        row = table.loc[[("mean_annual", region)]].iloc[0]
        assert row.observed == pytest.approx(values[1, place].sum() / 4)
        assert row.predicted == pytest.approx(values[:, place].sum() / 12 + 1.8)
        assert row.sd_members == pytest.approx(1.2 / 2)
        cycle = values[:, place].mean(axis=1)
        np.testing.assert_allclose(table.loc[("cycle", region)].observed, cycle[1] - cycle[1].mean(), atol=1e-12)
        np.testing.assert_allclose(table.loc[("cycle", region)].predicted, cycle.mean(axis=0) - cycle.mean(), atol=1e-12)
        years = values[1, place].sum(axis=-1)
        np.testing.assert_allclose(table.loc[("annual_anomaly", region)].observed, years - years.mean(), atol=1e-12)
    np.testing.assert_allclose(table.loc[["cycle", "annual_anomaly"]].sd_members, 0, atol=1e-12)
    assert set(found.unit[found.part == "cycle"]) == {"PgC month-1"} and (found.sd > found.sd_members).all()


def test_a_products_error_is_that_of_dense_algebra() -> None:
    """Without spread of members: variances L (O + C) L' of mean, cycle and annual anomalies, dense, of regions and of their sum.

    The scale of a Student's t is less than its sd by the root of nu / (nu - 2); adjustments (0.01 a month, all months as one) are in C.
    """
    found = left_out_predictions(member_table({"dual": 0.0}, run="without_P1"), MAKE, REGIONS).set_index(["part", "region"]).sort_index()
    years, regions = 4, len(REGIONS)
    drawn = MAKE("P1", None).drawn
    assert drawn is not None
    own, common = drawn.of_product()
    np.testing.assert_allclose(common.anomaly, 0.49 * own.anomaly)
    np.testing.assert_allclose((common.mean - 0.49 * own.mean)[0, :, 0], 0.01)
    dense = dense_covariance(own.plus(common), years).reshape(regions, 12 * years, regions, 12 * years)
    whole = np.kron(np.ones(years), np.ones(12)) / years
    cycle = np.kron(np.ones(years) / years, np.eye(12) - 1 / 12)
    anomaly = np.kron(np.eye(years) - 1 / years, np.ones(12))
    inflation = found.degrees_of_freedom / (found.degrees_of_freedom - 2)
    for place, region in enumerate(NAMES):
        error = dense[place, :, place] if place < regions else dense.sum(axis=(0, 2))
        variance = found.sd**2 * inflation
        assert variance["mean_annual", region].item() == pytest.approx(whole @ error @ whole, rel=1e-9)
        np.testing.assert_allclose(variance["cycle", region], np.diag(cycle @ error @ cycle.T), rtol=1e-9)
        np.testing.assert_allclose(variance["annual_anomaly", region], np.diag(anomaly @ error @ anomaly.T), rtol=1e-9)


def test_the_sum_of_regions_has_the_variance_of_the_dense_whole() -> None:
    dense = dense_covariance(AMPLIFIED, 3).reshape(3, 36, 3, 36).sum(axis=(0, 2))
    offset, cycle, anomaly = AMPLIFIED.marginals_of_total()
    across = np.kron(np.eye(3) - 1 / 3, anomaly[0])
    np.testing.assert_allclose(
        across, dense - np.kron(np.full((3, 3), 1 / 9), sum(np.split(sum(np.split(dense, 3)), 3, axis=1))), atol=1e-10
    )
    months = np.kron(np.full(3, 1 / 3), np.eye(12))
    np.testing.assert_allclose(months @ dense @ months.T, offset[0] + cycle[0], atol=1e-10)


def test_intervals_cover_what_has_their_distribution() -> None:
    """20000 values drawn from the stated Student's t: coverage within four binomial standard errors; the globe does not count."""
    random, count = np.random.default_rng(0), 20000
    sd = random.uniform(0.1, 2, count)
    table = pd.DataFrame({
        "product": "dual", "part": "mean_annual", "region": np.where(np.arange(count) % 4, "a", "global"), "predicted": 1.0, "sd": sd,
        "degrees_of_freedom": 5.0, "experiment": np.arange(count) // 4,
    })  # fmt: skip
    table["observed"] = np.where(table.region == "a", 1 + sd * random.standard_t(5, count), 1e9)
    found = left_out_coverage(table)
    assert (found.n == 15000).all() and list(found.level) == [0.5, 0.68, 0.9] * 2 and list(found.region) == ["all"] * 3 + ["a"] * 3
    assert ((found.cases > 0.9 * 15000) & (found.cases <= 15000)).all()
    assert (np.abs(found.coverage - found.level) < 4 * np.sqrt(found.level * (1 - found.level) / 15000)).all()


def test_a_left_out_product_whose_year_is_missed_as_a_whole_is_one_case() -> None:
    """Two products in two bands, six values each, that are inside or outside together: four cases, two in each band."""
    rows = [(e, r, o) for e in "AB" for r in ("north", "south") for o in [5.0 if (e, r) == ("A", "north") else 0.0] * 6]
    table = pd.DataFrame(rows, columns=["experiment", "region", "observed"])
    table = table.assign(product="dual", part="annual_anomaly", predicted=0.0, sd=1.0, degrees_of_freedom=1e9)
    found = left_out_coverage(table).set_index(["region", "level"])
    assert found.cases["all", 0.9] == pytest.approx(4) and found.cases["north", 0.9] == pytest.approx(2)
    assert found.coverage["all"].tolist() == [0.75] * 3 and found.coverage["south"].tolist() == [1] * 3
    width = 2 * 1.6448536
    assert found.interval_score["south", 0.9] == pytest.approx(width)
    assert found.interval_score["north", 0.9] == pytest.approx(width + 0.5 * 20 * (5 - width / 2))


# Who moves the answer


def test_leaving_out_moves_the_answer_by_hand() -> None:
    """Member 0 has not seen fold 0, member 1 not fold 1; means 1.2 and 2.4 PgC/yr above: -1.2 and 1.2; without P1, 3.6 less 1.8."""
    own, without = member_table({"dual": 0.1}), member_table({"dual": 0.2}, run="without_P1")
    found = attribution(pd.concat([own, without]), {"dual": np.array([0, 1])}).set_index(["left_out", "region", "metric"])
    assert set(found.index.unique("left_out")) == {"towers of fold 0", "towers of fold 1", "without_P1"}
    for region in NAMES:
        assert found.value["towers of fold 0", region, "mean_annual"] == pytest.approx(-1.2)
        assert found.value["towers of fold 1", region, "mean_annual"] == pytest.approx(1.2)
        assert found.value["without_P1", region, "mean_annual"] == pytest.approx(1.8)
        sd = np.sqrt(1.2**2 / 2 / 2 + 2.4**2 / 2 / 2)  # each mean of two members 1.2 and 2.4 apart
        assert found.sd["without_P1", region, "mean_annual"] == pytest.approx(sd)
        for metric in ("cycle_amplitude", "annual_sd"):
            assert found.value["without_P1", region, metric] == pytest.approx(0, abs=1e-12)
    assert found.unit["without_P1", "global", "cycle_amplitude"] == "PgC month-1"


def test_an_amplitude_and_a_year_to_year_scatter_are_compared() -> None:
    """Members without P1 have one and a half times the flux: so their amplitude and their annual sd."""
    own = member_table({"dual": 0.0})
    without = own.assign(run="without_P1", value=1.5 * own.value)
    found = attribution(pd.concat([own, without]), {"dual": np.array([-1, -1])}).set_index(["region", "metric"])
    assert (found.left_out == "without_P1").all()
    for region in NAMES:
        series = own[(own.region == region) & (own.member == 0)].set_index("time").value.reindex(MONTHS)
        cycle = series.groupby(series.index.month).mean()
        assert found.value[region, "cycle_amplitude"] == pytest.approx((cycle.max() - cycle.min()) / 2)
        assert found.value[region, "annual_sd"] == pytest.approx(series.groupby(series.index.year).sum().std() / 2)


def test_nothing_left_out_gives_empty_tables() -> None:
    members = member_table({"dual": 0.1})
    assert left_out_predictions(members, MAKE, REGIONS).empty
    assert left_out_coverage(left_out_predictions(members, MAKE, REGIONS)).empty
    assert attribution(members, {"dual": np.array([-1, -1])}).empty

"""Scores against truth on drawn worlds whose answers are known by hand; rivals; the paired table."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from dualflux.errors import InputError
from dualflux.fitting.training import TrainingSettings
from dualflux.grid import Grid, LandCells, Regions
from dualflux.metrics import PairStatistics, crps_gaussian
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.model.spatial_effect import SpatialBasis
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prediction.netcdf_product import ProductWriter
from dualflux.prepared import Prepared, load
from dualflux.stages.evaluate import twin_case
from dualflux.stages.prepare import prepare
from dualflux.study.settings import load_study
from dualflux.twin import WorldSettings, build_world, write_world
from dualflux.twin.scoring.boosted_trees import BoostedTrees
from dualflux.twin.scoring.by_part import NAME, cell_parts, home_regions, part_keys, part_unit, regional_parts, sampled_cells
from dualflux.twin.scoring.cell_scores import cell_scores, map_robustness, site_scores, tally
from dualflux.twin.scoring.comparison import COLUMNS, Case, compare, compare_boosted_trees, compare_oracle, field_months, headline
from dualflux.twin.scoring.paired import loss, mean_table, paired_table, paired_text, targets
from dualflux.twin.scoring.rivals import (
    activity_field,
    monthly_cube,
    oracle_constraint,
    predicted_difference,
    regional_shift,
    shifted,
    train_oracle,
)
from dualflux.twin.scoring.scores import (
    KEYS,
    UNITS,
    each_region,
    effective_cases,
    interval_scores,
    regional_interval_scores,
    regional_scores,
    seasonal_shift,
    tropical_regions,
)
from dualflux.units import PETAGRAM, days_in_month
from small_world import CELLS, NETWORK, make_cube

RNG = np.random.default_rng(0)
MONTHS = pd.date_range("2001-01-01", periods=48, freq="MS")
DAYS = days_in_month(MONTHS)
FITTED = MONTHS.year.to_numpy() < 2003
PERIODS = {"": FITTED, "_unseen_years": ~FITTED}
SEASON = np.cos(2 * np.pi * np.arange(12) / 12)
SAMPLE = sampled_cells(CELLS)


def months_of(field: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    """Iterators over the months of (..., month, cell)."""
    return lambda: iter(np.moveaxis(field, -2, 0))


# Regions ----------------------------------------------------------------------------------------------------------------


def test_a_perfect_product_has_perfect_scores() -> None:
    truth = RNG.normal(size=(4, 5, 12)) + SEASON
    found = regional_scores(truth, truth, np.array([True, False, True]))
    wanted = dict.fromkeys(("global_error", "tropical_error", "region_annual_rmse", "region_cycle_rmse", "phase_days", "trend_error"), 0.0)
    wanted |= {"region_cycle_rmse_centred": 0.0} | dict.fromkeys(("amplitude_ratio", "variability_r", "variability_sd_ratio"), 1.0)
    wanted |= {"tropical_trend_error": 0.0, "tropical_variability_r": 1.0, "tropical_variability_sd_ratio": 1.0}
    wanted |= {"variability_rmse": 0.0, "tropical_variability_rmse": 0.0}
    assert found == pytest.approx(wanted, abs=1e-12)


def test_regional_scores_by_hand() -> None:
    truth = np.zeros((3, 3, 12)) + SEASON + np.arange(3.0)[:, None] / 12
    product = truth.copy()
    product[0] += 3 / 12  # PgC per year too much in region 0
    product[1] -= 4 / 12
    product[2] = 2 * truth[2] - 1 / 12  # the globe: twice the season and twice the trend
    found = regional_scores(product, truth, np.array([True, False]))
    assert found["tropical_error"] == pytest.approx(3)
    assert found["region_annual_rmse"] == pytest.approx(np.sqrt((9 + 16) / 2))
    assert found["region_cycle_rmse"] == pytest.approx(np.sqrt((9 + 16) / 2) / 12)
    assert found["region_cycle_rmse_centred"] == pytest.approx(0, abs=1e-12)
    assert found["global_error"] == pytest.approx(0, abs=1e-12)  # annual truth 0, 1, 2; product -1, 1, 3
    assert found["amplitude_ratio"] == pytest.approx(2)
    assert found["variability_r"] == pytest.approx(1) and found["variability_sd_ratio"] == pytest.approx(2)
    assert found["trend_error"] == pytest.approx(1)
    assert found["variability_rmse"] == pytest.approx(np.sqrt(2 / 3))  # anomalies differ by -1, 0, 1


def test_no_variability_below_three_years() -> None:
    truth = RNG.normal(size=(3, 2, 12))
    found = regional_scores(truth, truth, np.array([True, False]))
    assert np.isnan([found["variability_r"], found["variability_sd_ratio"], found["trend_error"]]).all()


@given(st.integers(-5, 5), st.floats(0.1, 5), st.floats(-3, 3))
def test_a_cycle_shifted_by_months_is_late_by_their_days(shift: int, factor: float, mean: float) -> None:
    ratio, days = seasonal_shift(factor * np.roll(SEASON, shift) + mean, SEASON)
    assert ratio == pytest.approx(factor)
    assert days == pytest.approx(shift * 365.25 / 12, abs=1e-6)


def test_no_phase_without_a_cycle() -> None:
    assert np.isnan(seasonal_shift(SEASON, np.ones(12))).all()


def test_each_region_stands_alone() -> None:
    truth = np.stack([np.tile(SEASON, (4, 1)), np.tile(2 * SEASON, (4, 1))])
    product = np.stack([truth[0] + 1 / 12, np.roll(truth[1], 1, axis=-1)])
    first, second = each_region(product, truth)
    assert first == pytest.approx({"annual_error": 1, "cycle_rmse": 1 / 12, "amplitude_ratio": 1, "phase_days": 0}, abs=1e-9)
    assert second["phase_days"] == pytest.approx(365.25 / 12) and second["annual_error"] == pytest.approx(0, abs=1e-12)


def test_tropical_regions_have_most_of_their_land_near_the_equator() -> None:
    grid = Grid.global_regular(10.0)
    band = np.repeat(np.abs(grid.lat)[:, None], 36, axis=1)
    regions = Regions(("tropics", "mixed", "north"), np.stack([band < 20, (band > 20) & (band < 40), band > 40]).astype(float))
    assert tropical_regions(LandCells.build(grid, np.ones(grid.shape), regions)).tolist() == [True, False, False]


# Fields -----------------------------------------------------------------------------------------------------------------


def small_field(seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Truth (month, cell) and three members."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=(48, len(CELLS.index))) + np.tile(SEASON, 4)[:, None]
    return truth, truth + 0.5 * random.normal(size=(3, *truth.shape)) + 0.3 * random.normal(size=(3, 1, truth.shape[1]))


def test_streaming_equals_the_whole_field_at_once() -> None:
    truth, members = small_field()
    watch = np.array([4, 9])
    found = tally(months_of(members), months_of(truth), CELLS, DAYS, PERIODS, watch, SAMPLE)
    weight, mean = CELLS.land_area / CELLS.land_area.sum(), members.mean(axis=0)
    for name, use in PERIODS.items():
        o, p = truth[use], mean[use]
        scores = cell_scores(found.periods[name].pairs, CELLS.land_area)
        total = (o * weight).sum() / len(o)
        assert scores["cell_month_nse"] == pytest.approx(1 - ((p - o) ** 2 @ weight).sum() / ((o - total) ** 2 @ weight).sum())
        oc, pc = o - o.mean(axis=0), p - p.mean(axis=0)
        assert scores["cell_month_nse_centred"] == pytest.approx(1 - ((pc - oc) ** 2 @ weight).sum() / (oc**2 @ weight).sum())
        off = p.mean(axis=0) - o.mean(axis=0)
        assert scores["map_rmse"] == pytest.approx(np.sqrt(off**2 @ weight))
        one, two = (x - x @ weight for x in (o.mean(axis=0), p.mean(axis=0)))
        assert scores["map_r"] == pytest.approx((one * two) @ weight / np.sqrt((one**2 @ weight) * (two**2 @ weight)))
        np.testing.assert_allclose(found.periods[name].cycle, members[:, use].reshape(3, 2, 12, -1).mean(axis=1))
    np.testing.assert_allclose(found.integral[:, 1], members @ CELLS.region_area[1] * DAYS / PETAGRAM)
    np.testing.assert_allclose(found.true_integral[-1], truth @ CELLS.land_area * DAYS / PETAGRAM)
    np.testing.assert_allclose(found.watched, mean[:, watch])
    np.testing.assert_array_equal(found.sampled, members[:, :, SAMPLE])
    np.testing.assert_array_equal(found.true_sampled, truth[:, SAMPLE])


def test_a_perfect_field_scores_one_and_the_true_mean_scores_zero() -> None:
    truth, _ = small_field()
    perfect = cell_scores(
        tally(months_of(truth[None]), months_of(truth), CELLS, DAYS, PERIODS, np.array([0]), SAMPLE).periods[""].pairs, CELLS.land_area
    )
    assert perfect == pytest.approx({"cell_month_nse": 1, "cell_month_nse_centred": 1, "map_rmse": 0, "map_r": 1})
    flat = np.broadcast_to(truth[FITTED].mean(axis=0), (1, *truth.shape))
    centred = cell_scores(
        tally(months_of(flat), months_of(truth), CELLS, DAYS, PERIODS, np.array([0]), SAMPLE).periods[""].pairs, CELLS.land_area
    )
    assert centred["cell_month_nse_centred"] == pytest.approx(0) and centred["map_rmse"] == pytest.approx(0, abs=1e-12)


def test_cells_count_by_their_land() -> None:
    nothing = np.zeros(2)
    pairs = PairStatistics(np.ones(2), np.array([0.0, 0.0]), np.array([1.0, 3.0]), nothing, nothing, nothing)
    assert cell_scores(pairs, np.array([3.0, 1.0]))["map_rmse"] == pytest.approx(np.sqrt((3 * 1 + 1 * 9) / 4))


def test_months_of_unequal_number_are_a_defect() -> None:
    truth, members = small_field()
    with pytest.raises(ValueError, match="zip"):
        tally(months_of(members), months_of(truth[:40]), CELLS, DAYS, PERIODS, np.array([0]), SAMPLE)


def test_robust_maps_are_alike_over_folds() -> None:
    area, base = np.array([1.0, 1.0, 2.0]), np.array([1.0, -1.0, 0.0])
    same = map_robustness(np.stack([base, base, 2 * base, 2 * base]), np.array([0, 0, 1, 1]), area)
    # Folds base and 2 x base: sd |base| / sqrt(2) in the two outer cells, which have half of the land.
    assert same == pytest.approx({"map_fold_r": 1.0, "map_fold_sd": 0.5})
    assert map_robustness(np.stack([base, -base]), np.array([0, 1]), area)["map_fold_r"] == pytest.approx(-1)
    assert map_robustness(base[None], np.array([-1]), area) == {}


# Towers -----------------------------------------------------------------------------------------------------------------


def test_site_scores_by_hand() -> None:
    tower, cell = np.array([[0.0, 2.0], [4.0, 6.0]]), np.array([[0.0, 1.0], [2.0, 3.0]])
    found = site_scores(tower, tower + 1, cell, np.full((2, 2), 1.5))
    assert found == pytest.approx({"unseen_site_nse": 1 - 4 / 20, "unseen_site_flux_nse": 0.0})
    assert site_scores(tower, tower, cell, cell) == pytest.approx({"unseen_site_nse": 1.0, "unseen_site_flux_nse": 1.0})
    assert np.isnan(site_scores(tower, None, cell, cell)["unseen_site_nse"])


# Intervals --------------------------------------------------------------------------------------------------------------


def test_intervals_of_the_right_width_cover_what_they_say() -> None:
    random = np.random.default_rng(2)
    truth, std = random.normal(size=40_000), np.ones(40_000)
    found = interval_scores(truth, np.zeros_like(truth), std, np.ones(1))
    for level in (50, 68, 90):
        assert found[f"coverage_{level}"] == pytest.approx(level / 100, abs=0.01)
    assert found["crps"] == pytest.approx(1 / np.sqrt(np.pi), abs=0.01)  # Gneiting and Raftery 2007: expected score of N(0, 1)


def test_coverage_counts_by_weight() -> None:
    found = interval_scores(np.array([0.0, 9.0]), np.zeros(2), np.ones(2), np.array([3.0, 1.0]))
    assert found["coverage_50"] == found["coverage_90"] == 0.75
    assert found["crps"] == pytest.approx(crps_gaussian(np.array([0.0, 9.0]), np.zeros(2), np.ones(2)) @ [0.75, 0.25])


def test_no_interval_no_coverage() -> None:
    assert np.isnan(list(interval_scores(np.zeros(2), np.zeros(2), np.array([1.0, 0.0]), np.ones(1)).values())).all()
    assert regional_interval_scores(np.zeros((1, 2, 3, 12)), np.zeros((2, 3, 12))) == {}


def test_regional_intervals_part_by_part() -> None:
    """Members whose offsets alone differ claim nothing of cycle and anomaly; each region has its own coverage."""
    members = np.zeros((2, 2, 3, 12)) + np.array([-1.0, 1.0])[:, None, None, None]
    truth = np.zeros((2, 3, 12))
    truth[1] = np.sqrt(2) * norm.ppf(0.75) * 1.01  # the sd is sqrt(2): just outside at 50 %
    months, parts = regional_interval_scores(members, truth), regional_parts(members, truth, ("a", "b"))
    assert months["coverage_50"] == parts["global"]["coverage_50_offset"] == 0.5 and months["coverage_68"] == pytest.approx(1)
    assert np.isnan(parts["global"]["coverage_50_cycle"]) and np.isnan(parts["global"]["crps_anomaly"])
    assert (parts["a"]["coverage_50_offset"], parts["b"]["coverage_50_offset"]) == (1, 0)
    assert parts["global"]["cases_offset"] == parts["global"]["values_offset"] == 2


def test_an_inversion_without_some_years_counts_where_it_has_data() -> None:
    members = RNG.normal(size=(4, 2, 3, 12))
    members[3, :, 0] = np.nan
    truth = np.zeros((2, 3, 12))
    assert np.isfinite(regional_interval_scores(members, truth)["coverage_50"])
    found, whole = (regional_parts(m, truth, ("a", "b"))["global"] for m in (members, members[:3]))
    assert found == pytest.approx(whole, nan_ok=True)
    assert regional_parts(members[3:], truth, ("a", "b")) == {}


def test_effective_cases_lie_between_clusters_and_cases() -> None:
    always_or_never = np.repeat(np.arange(100)[:, None] < 68, 30, axis=1)
    assert effective_cases(always_or_never, 0.68) == pytest.approx(100, rel=0.02)  # a region's months are one case
    independent = np.random.default_rng(3).random((400, 50)) < 0.68
    assert effective_cases(independent, 0.68) == pytest.approx(400 * 50, rel=0.2)


def test_cell_intervals_of_a_world_of_normal_members() -> None:
    """Truth is one more draw of what the members are drawn from, in the offset and in each month; what lasts widens the offset alone."""
    random = np.random.default_rng(4)
    cells = len(CELLS.index)
    draws = random.normal(size=(41, 1, cells)) + 0.5 * random.normal(size=(41, 48, cells))
    found = tally(months_of(draws[1:]), months_of(draws[0]), CELLS, DAYS, PERIODS, np.array([0]), SAMPLE)
    scores, more = (
        cell_parts(found.sampled[:, FITTED], found.true_sampled[FITTED], CELLS, SAMPLE, extra)
        for extra in (np.zeros(cells), np.full(cells, 100.0))
    )
    assert scores["cells"]["cells_coverage_68_anomaly"] == pytest.approx(0.68, abs=0.05)
    assert scores["cells"]["cells_coverage_90_cycle"] == pytest.approx(0.90, abs=0.05)
    assert more["cells"]["cells_coverage_50_offset"] == 1
    assert more["cells"]["cells_coverage_50_cycle"] == scores["cells"]["cells_coverage_50_cycle"]
    assert "cells_coverage_50_trend" not in scores["cells"], "two years have no trend"


def test_cells_coverage_is_that_of_their_regions_by_land() -> None:
    """The regions' coverages with the shares of land of their cells, and what lies in no region, make the whole."""
    random = np.random.default_rng(7)
    draws = random.normal(size=(12, 36, len(CELLS.index)))
    parts = cell_parts(draws[1:], draws[0], CELLS, np.arange(len(CELLS.index)), np.zeros(len(CELLS.index)))
    home, area = home_regions(CELLS), CELLS.land_area
    assert set(parts) == {"cells", *(CELLS.region_names[h] for h in np.unique(home) if h < len(CELLS.region_names))}
    mean, sd = draws[1:].mean(axis=(0, 1)), draws[1:].mean(axis=1).std(axis=0, ddof=1)
    inside = np.abs(draws[0].mean(axis=0) - mean) <= norm.ppf(0.75) * sd
    assert parts["cells"]["cells_coverage_50_offset"] == pytest.approx(area @ inside / area.sum())
    for place, name in enumerate(CELLS.region_names):
        own = home == place
        assert parts[name]["cells_share"] == pytest.approx(area[own].sum() / area.sum())
        assert parts[name]["cells_coverage_50_offset"] == pytest.approx(area[own] @ inside[own] / area[own].sum())


def test_scores_by_part_have_names_and_units() -> None:
    wanted = {
        "coverage_50_trend": "1", "cells_cases_offset": "1", "slope_annual": "1", "interval_score_annual": "PgC yr-1", "crps_offset":
        "PgC month-1", "cells_interval_score_annual": "gC m-2 d-1", "interval_score_trend": "PgC yr-2", "coverage_50": None,
    }  # fmt: skip
    assert {key: part_unit(key) for key in wanted} == wanted
    assert all(NAME.fullmatch(key) for key in part_keys("annual")) and "cells_coverage_90_annual" in part_keys("annual")


# Rivals -----------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.booleans())
def test_a_rescaled_field_integrates_to_what_is_wanted(seed: int, uniform: bool) -> None:
    random = np.random.default_rng(seed)
    field, wanted = random.normal(size=(2, 48, len(CELLS.index))), random.normal(size=(len(CELLS.region_names), 48))
    own = CELLS.region_area @ field.mean(axis=0).T * DAYS / PETAGRAM
    activity = np.ones(field.shape[-1]) if uniform else random.uniform(0.1, 2, field.shape[-1])
    coefficient, pattern = regional_shift((wanted - own) / DAYS, CELLS, activity)
    found = np.concatenate(list(shifted(months_of(field), coefficient, pattern)()))
    np.testing.assert_allclose(CELLS.region_area @ found.T * DAYS / PETAGRAM, wanted, atol=1e-10)


def test_the_shift_is_uniform_or_follows_the_activity() -> None:
    inside = np.flatnonzero(CELLS.region_fraction[0] == 1)
    activity = np.linspace(1, 2, len(CELLS.index))
    for given_activity, wanted in ((np.ones_like(activity), 1.0), (activity, activity[inside] / activity[inside[0]])):
        coefficient, pattern = regional_shift(np.ones((2, 1)), CELLS, given_activity)
        shift = (coefficient @ pattern)[0, inside]
        np.testing.assert_allclose(shift / shift[0], wanted)
    nowhere = CELLS.region_fraction.sum(axis=0) == 0
    np.testing.assert_array_equal((coefficient @ pattern)[0, nowhere], 0)


def test_years_without_inversions_get_the_calendar_months_mean_shift() -> None:
    difference = np.arange(48.0)[None]
    found = predicted_difference(difference, MONTHS, FITTED)
    np.testing.assert_array_equal(found[0, :24], np.arange(24.0))
    np.testing.assert_array_equal(found[0, 24:36], np.arange(12.0) + 6)
    np.testing.assert_array_equal(found[0, 36:], found[0, 24:36])


def test_activity_is_the_light_that_leaves_absorb() -> None:
    cube = make_cube()
    with pytest.raises(InputError, match=r"no predictor `mean_season\(fapar\)`.*add it"):
        activity_field(cube)
    column = len(cube.columns.static) + cube.columns.seasonal.index("mean_season(ta)")
    season = cube.seasonal[..., cube.columns.seasonal.index("mean_season(ta)")] * cube.scale[column] + cube.centre[column]
    np.testing.assert_allclose(activity_field(cube, "ta", "ta"), (np.maximum(season, 0) ** 2).mean(axis=0), rtol=1e-5)


def test_the_oracle_sees_the_truth_of_fitted_months_by_land_area() -> None:
    cube = make_cube(4)
    truth = np.arange(48.0)[:, None] + np.arange(len(CELLS.index)) / 1000
    towers = oracle_constraint(months_of(truth), cube, CELLS, FITTED, seed=1, rows=20_000)
    month = np.round(towers.observed.astype(int))
    assert month.max() == 23 and (towers.time == MONTHS[month]).all()
    np.testing.assert_allclose(towers.observed, truth[month, towers.site], rtol=1e-5)
    np.testing.assert_array_equal(towers.predictors, cube.rows(month, towers.site))
    share = np.bincount(towers.site, minlength=len(CELLS.index)) / 20_000
    np.testing.assert_allclose(share, CELLS.land_area / CELLS.land_area.sum(), atol=5 * np.sqrt(0.03 / 20_000))


def test_the_oracle_learns_a_field_its_predictors_tell() -> None:
    cube = make_cube(4)
    column = cube.columns.names.index("ta")
    truth = np.stack([np.tanh(cube.rows(np.full(len(CELLS.index), t), np.arange(len(CELLS.index)))[:, column]) for t in range(48)])
    settings_ = TrainingSettings(steps=30, checkpoints=2, batch=256, learning_rate=0.02)
    oracle = train_oracle(months_of(truth), cube, CELLS, FITTED, NETWORK, settings_, seed=1)
    assert oracle.size == NETWORK.members
    step, cell = np.repeat(np.arange(24, 48), len(CELLS.index)), np.tile(np.arange(len(CELLS.index)), 24)
    wave = wave_of(cube, cube.steps.time[step])
    landscape, tower_like = tower_fluxes(oracle, cube.rows(step, cell), CELLS.lat()[cell], CELLS.lon()[cell], wave)
    np.testing.assert_array_equal(landscape, tower_like)
    error = landscape.mean(axis=0) - truth[24:].ravel()
    assert 1 - (error**2).mean() / truth[24:].var() > 0.95


def test_daily_predictors_teach_no_oracle_and_their_monthly_means_do() -> None:
    daily = make_cube(1, "daily")
    with pytest.raises(InputError, match=r"true field is monthly.*`monthly_cube`"):
        oracle_constraint(months_of(np.zeros((12, 72))), daily, CELLS, np.ones(12, bool), 1)
    monthly = monthly_cube(daily)
    assert monthly_cube(monthly) is monthly
    day = daily.steps.time
    for found, values, axis in (
        (monthly.dynamic, daily.dynamic, day),
        (monthly.seasonal, daily.seasonal, pd.date_range("2000-01-01", periods=366)),
    ):
        wanted = pd.DataFrame(values.reshape(len(values), -1).astype(float), axis).resample("MS").mean().to_numpy()
        np.testing.assert_allclose(found.reshape(12, -1), wanted, atol=1e-5)
    towers = oracle_constraint(months_of(np.arange(12.0)[:, None] + np.zeros(72)), monthly, CELLS, np.ones(12, bool), 1, rows=500)
    np.testing.assert_array_equal(towers.observed, towers.time.month - 1)
    np.testing.assert_array_equal(towers.predictors, monthly.rows(towers.time.month.to_numpy() - 1, towers.site))


# A whole case ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", name="twin")
def _twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, Prepared]:
    """A small written and prepared world of four years, the last outside the fit period."""
    folder = tmp_path_factory.mktemp("case")
    world = build_world(WorldSettings(resolution=10.0, end=date(2004, 12, 31), towers=20, unseen_towers=8))
    fit_period = [date(2001, 1, 1), date(2003, 12, 31)]
    study = load_study(write_world(world, folder, fit_period=fit_period, truth="truth", network={"folds": 2}))
    prepare(study, study.out / "prepared")
    prepared = load(study.out / "prepared")
    return twin_case(study, prepared), prepared


def random_ensemble(case: Case) -> Ensemble:
    """Two untrained members with a spatial effect."""
    columns = case.cube.columns
    basis = SpatialBasis.create(case.cells.lat(), case.cells.lon(), 5000.0)
    models = [FluxModel.create(jax.random.key(i), len(columns.names), columns.invariant, {}, NETWORK) for i in (1, 2)]
    effects = jax.random.normal(jax.random.key(3), (2, 7, basis.size))
    models = [eqx.tree_at(lambda m: m.spatial, model, effect) for model, effect in zip(models, effects, strict=True)]
    return Ensemble(jax.tree.map(lambda *leaves: jnp.stack(leaves), *models), np.array([0, 1]), NETWORK, columns.names, basis)


def write_product(case: Case, prepared: Prepared, path: Path, spread: float) -> None:
    """A product whose two members are the truth -+ spread."""
    with ProductWriter(path, case.cells, case.months, 2, {"title": "truth"}, prepared.land_area) as writer:
        for t, field in enumerate(case.true_field()):
            members = field + spread * np.array([[-1.0], [1.0]])
            writer.write(t, members, members, np.full(field.shape, 0.25))


def test_the_truth_as_a_product_is_perfect_and_rivals_have_the_inversions_integrals(twin: tuple[Case, Prepared], tmp_path: Path) -> None:
    case, prepared = twin
    write_product(case, prepared, tmp_path / "nee_monthly.nc", 0.1)
    table = compare(case, {"towers": tmp_path / "nee_monthly.nc"}, {"towers": random_ensemble(case)})
    assert not table.duplicated(["product", "region", "metric"]).any() and table.unit.notna().all()
    own = headline(table, "towers", KEYS)
    perfect = {"cell_month_nse": 1, "cell_month_nse_centred": 1, "unseen_site_flux_nse": 1, "amplitude_ratio": 1, "variability_r": 1}
    assert {k: own[k] for k in perfect} == pytest.approx(perfect, abs=1e-6)
    nothing = ("global_error", "tropical_error", "region_annual_rmse", "region_cycle_rmse", "phase_days", "map_rmse")
    assert {k: own[k] for k in nothing} == pytest.approx(dict.fromkeys(nothing, 0), abs=1e-4)
    assert own["coverage_50"] == 1 and own["variability_r_unseen_years"] is None
    assert own["cell_month_nse_unseen_years"] == pytest.approx(1)
    inversions = headline(table, "inversion_mean", KEYS)
    for rival in ("rescaled_uniform", "rescaled_activity"):
        found = headline(table, rival, KEYS)
        for key in ("region_annual_rmse", "region_cycle_rmse", "tropical_error"):
            assert found[key] == pytest.approx(inversions[key], rel=2e-3)
        assert found["unseen_site_nse"] != own["unseen_site_nse"] and found["coverage_50"] is None
    assert inversions["cell_month_nse"] is None and inversions["coverage_68"] is not None


def test_predictions_at_unseen_towers_use_their_own_class_and_their_cells_weather(twin: tuple[Case, Prepared]) -> None:
    case, _ = twin
    assert len(case.sites) == 8 and case.tower_truth.site.nunique() == 8
    rows, names = case.tower_predictors(), case.cube.columns.names
    at = case.sites.loc[case.tower_truth.site]
    column = names.index("ta")
    step = case.cube.steps.time.get_indexer(pd.DatetimeIndex(case.tower_truth.time))
    np.testing.assert_array_equal(rows[:, column], case.cube.rows(step, at.cell.to_numpy())[:, column])
    for name in ("ENF", "GRA"):
        cover = names.index(f"land_cover_{name}")
        share = rows[:, cover] * case.cube.scale[cover] + case.cube.centre[cover]
        np.testing.assert_allclose(share, at.igbp == name, atol=1e-6)
    np.testing.assert_allclose(case.monthly(case.tower_truth.cell_flux.to_numpy())[:, 0], case.tower_truth.cell_flux[:48])


def test_the_oracle_of_a_case_is_scored_like_a_product(twin: tuple[Case, Prepared]) -> None:
    case, _ = twin
    table = compare_oracle(case, random_ensemble(case))
    found = headline(table, "oracle", KEYS)
    assert all(found[k] is not None for k in KEYS) and set(table["product"]) == {"oracle"}


def test_the_spatial_effect_counts_in_an_oracles_field_and_at_its_towers(twin: tuple[Case, Prepared]) -> None:
    """The globe's error is that of network plus u in every cell; at unseen towers u is that of their own places and months."""
    case, _ = twin
    oracle = random_ensemble(case)
    found = headline(compare_oracle(case, oracle), "oracle", KEYS)
    months = monthly_fluxes(stack_ensembles([oracle]), case.cube, oracle.basis.at(case.cells.lat(), case.cells.lon()))
    field = np.stack([month.landscape.mean(axis=0, dtype=np.float64) for month in months])
    difference = (field - np.stack(list(case.true_field())))[case.fitted] @ case.cells.land_area
    wanted = (difference * case.cube.steps.month_days[case.fitted]).sum() / 3 / PETAGRAM  # three fitted years
    assert found["global_error"] == pytest.approx(wanted, rel=1e-5)
    rows = case.tower_truth[case.tower_truth.time.dt.year < 2004]
    at, phase = case.sites.loc[rows.site], (rows.time.dt.month.to_numpy() - 0.5) / 12
    phi, coefficient = oracle.basis.at(at.lat.to_numpy(), at.lon.to_numpy()), np.asarray(oracle.model.spatial, np.float64).mean(axis=0)
    waves = [np.sqrt(2) * f(2 * np.pi * k * phase) for k in (1, 2, 3) for f in (np.cos, np.sin)]
    wave = np.column_stack([np.ones(len(rows)), *waves])
    u = np.einsum("rk,rh,hk->r", phi, wave, coefficient)
    predictors = jnp.asarray(case.tower_predictors()[rows.index])
    network = np.mean([jax.tree.map(lambda a, i=i: a[i], oracle.model).network(predictors) for i in (0, 1)], axis=0)
    truth = rows.tower_flux.to_numpy()
    nse = 1 - ((network + u - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert found["unseen_site_nse"] == pytest.approx(nse, rel=1e-4)


def test_boosted_trees_are_scored_like_a_product(twin: tuple[Case, Prepared]) -> None:
    """Trees that always say 0.5 gC m-2 d-1: the error of the globe is that of their integral."""
    case, _ = twin
    table = compare_boosted_trees(case, BoostedTrees((Constant(0.4), Constant(0.6)), np.array([0, 1])))
    found = headline(table, "boosted_trees", KEYS)
    days = case.cube.steps.month_days[case.fitted]
    truth = np.stack(list(case.true_field()))[case.fitted] @ case.cells.land_area
    wanted = ((0.5 * case.cells.land_area.sum() - truth) * days).sum() / 3 / PETAGRAM  # three fitted years
    assert found["global_error"] == pytest.approx(wanted, rel=1e-5)
    spread = table[table.metric == "truth_map_fold_sd"].value
    assert spread.to_list() == pytest.approx([0.1 * np.sqrt(2)], rel=1e-5)  # of 0.4 and 0.6
    assert set(table["product"]) == {"boosted_trees"}


class Constant:
    """Predicts one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.full(len(rows), self.value)


def test_a_daily_case_by_month_has_the_towers_monthly_means(twin: tuple[Case, Prepared], tmp_path: Path) -> None:
    case, _ = twin
    assert case.by_month().cube is case.cube
    days = pd.date_range("2001-01-01", "2004-12-31")
    rows = pd.DataFrame({"site": np.repeat(case.sites.index, len(days)), "unseen": True, "time": np.tile(days, len(case.sites))})
    value = np.random.default_rng(0).normal(size=len(rows))
    rows.assign(tower_flux=value, cell_flux=0.0).to_csv(tmp_path / "tower_flux.csv", index=False)
    shutil.copy(case.truth / "sites.csv", tmp_path)
    found = replace(case, truth=tmp_path)
    wanted = pd.Series(value[: len(days)], days).resample("MS").mean()
    np.testing.assert_allclose(found.tower_truth.tower_flux[:48], wanted, atol=1e-9)
    assert found.tower_predictors().shape == (48 * len(case.sites), len(case.cube.columns.names))


def test_a_product_without_members_or_on_another_grid_is_refused(twin: tuple[Case, Prepared], tmp_path: Path) -> None:
    case, _ = twin
    other = Grid.global_regular(20.0)
    for name, grid, message in (("nee", case.cells.grid, "no variable `nee_member`.*it has nee"), ("nee_member", other, "not on the grid")):
        data = xr.Dataset(
            {name: (("time", "lat", "lon"), np.zeros((48, *grid.shape)))}, {"time": case.months, "lat": grid.lat, "lon": grid.lon}
        )
        data["nee_std"] = data["nee_std_total"] = data[name]
        data.to_netcdf(tmp_path / "p.nc", engine="h5netcdf")
        with pytest.raises(InputError, match=message):
            next(field_months(tmp_path / "p.nc", "nee_member", case.cells, case.months)())


# Tables -----------------------------------------------------------------------------------------------------------------


def test_headline_takes_each_key_from_where_it_is_scored() -> None:
    rows = [
        ("dual", "global", "truth_global_error", -0.5), ("dual", "EU", "truth_amplitude_ratio", 9.0),
        ("dual", "global", "truth_crps", 0.01),
        ("dual", "global", "truth_amplitude_ratio", 1.1), ("dual", "cells", "truth_map_rmse_unseen_years", 0.2),
        ("dual", "towers", "truth_unseen_site_nse", 0.7), ("plain", "global", "truth_global_error", 7.0),
    ]  # fmt: skip
    table = pd.DataFrame([(*row, "1") for row in rows], columns=COLUMNS)
    found = headline(table, "dual", KEYS)
    known = {k: v for k, v in found.items() if v is not None}
    assert known == {
        "global_error": -0.5, "amplitude_ratio": 1.1, "crps": 0.01, "map_rmse_unseen_years": 0.2, "unseen_site_nse": 0.7,
    }  # fmt: skip
    assert set(found) == {*KEYS, *(f"{k}_unseen_years" for k in KEYS)} and set(KEYS) <= set(UNITS)


def records() -> list[dict[str, object]]:
    """Two seeds; dual's error is 0.1 and 0.3 smaller than that of towers, its NSE 0.2 and -0.1 larger."""
    nothing = {k: None for key in (*KEYS, "coverage_cases") for k in (key, f"{key}_unseen_years")}
    values = {(1, "dual"): (-0.4, 0.9), (1, "towers"): (0.5, 0.7), (2, "dual"): (0.2, 0.6), (2, "towers"): (-0.5, 0.7)}
    return [
        {"seed": s, "world": "default", "product": p, **nothing, "global_error": e, "unseen_site_flux_nse": n}
        for (s, p), (e, n) in values.items()
    ]


def test_losses_are_smaller_where_a_score_is_better() -> None:
    assert loss("global_error", pd.Series([-2.0])).tolist() == [2.0]
    assert loss("cell_month_nse", pd.Series([0.8])).tolist() == [-0.8]
    assert loss("amplitude_ratio_unseen_years", pd.Series([0.75])).tolist() == [0.25]
    assert loss("coverage_90", pd.Series([0.5])).tolist() == pytest.approx([0.4])


def test_paired_differences_by_hand() -> None:
    table = paired_table(records()).set_index(["score", "against"])
    error = table.loc[("global_error", "towers")]
    assert error.difference == pytest.approx(-0.2) and error.sd == pytest.approx(np.std([-0.1, -0.3], ddof=1))
    assert (error.better, error.seeds) == (2, 2)
    skill = table.loc[("unseen_site_flux_nse", "towers")]
    assert skill.difference == pytest.approx(-0.05) and skill.better == 1
    assert paired_text(records()).loc["global_error", "towers"] == "-0.200 +- 0.141 (2/2)"
    assert mean_table(records()).loc["global_error", "dual"] == pytest.approx(-0.1)


def test_targets_say_which_seeds_meet_them() -> None:
    table = targets(records()).set_index("target")
    row = table.loc["unseen_site_flux_nse better than towers"]
    assert row["smallest margin"] == pytest.approx(-0.1) and (row["met"], row["seeds"]) == (1, 2)
    assert not any("oracle" in words or "coverage" in words for words in table.index)


def test_coverage_is_met_inside_the_binomial_interval() -> None:
    """Of 100 cases at 50 %, 95 % of samples hold 40 to 60."""
    nothing = dict.fromkeys([*UNITS, *(f"{k}_unseen_years" for k in UNITS)])
    dual = {"seed": 1, "world": "default", "product": "dual", **nothing, "coverage_cases": 100.0}
    for coverage, margin in ((0.41, 0.01), (0.39, -0.01)):
        assert targets([{**dual, "coverage_50": coverage}])["smallest margin"].tolist() == pytest.approx([margin])

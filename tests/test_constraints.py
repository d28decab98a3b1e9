"""What towers and inversions are: residuals of a simple model, the size of a site's cycle, and the regional constraint."""

import dataclasses
from datetime import date

import numpy as np
import pandas as pd
import pytest

from dualflux.constraints.inversions.mean_error import SpreadKind
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, check_lines, from_inversions
from dualflux.constraints.towers.observations import LEAST_AMPLITUDE, cycle_amplitude, from_towers, held_out_linear_residual
from dualflux.errors import InputError
from small_world import CELLS, WHOLE_PERIOD, make_cube, make_regional, make_sites, make_target

AREA = CELLS.region_area.sum(axis=1)


def calendar(sites: int, years: int) -> tuple[np.ndarray, pd.DatetimeIndex]:
    time = pd.date_range("2001-01-01", f"{2000 + years}-12-31", freq="MS")
    return np.repeat(np.arange(sites), len(time)), pd.DatetimeIndex(np.tile(time, sites))


# Residuals of a simple model


def test_a_linear_flux_leaves_no_residual() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3))
    residual = held_out_linear_residual(x, 2 + x @ [1.0, -2.0, 0.5], np.arange(2000) % 4, ridge=1e-9)
    np.testing.assert_allclose(residual, 0, atol=1e-8)


def test_a_fold_is_predicted_without_its_own_data() -> None:
    """Whatever a fold observed, the prediction for it (observed minus residual) stays the same."""
    rng = np.random.default_rng(1)
    x, y, fold = rng.normal(size=(300, 3)), rng.normal(size=300), np.repeat([0, 1, 2], 100)
    other = np.where(fold == 1, y + 50, y)
    first, second = (held_out_linear_residual(x, o, fold) for o in (y, other))
    np.testing.assert_allclose((y - first)[fold == 1], (other - second)[fold == 1], atol=1e-10)
    assert np.abs((y - first) - (other - second))[fold != 1].min() > 1


def test_ridge_shrinks_by_the_known_amount() -> None:
    """One centred predictor with sum of squares n: the slope is n / (n + ridge) of the true one; two equal folds."""
    x = np.tile([1.0, -1.0], 300)[:, None]
    residual = held_out_linear_residual(x, 3 * x[:, 0], np.repeat([0, 1], 300), ridge=300.0)
    np.testing.assert_allclose(residual, 3 * x[:, 0] * (1 - 300 / 600), atol=1e-10)


# How far a site's flux swings


def test_the_cycles_size_is_the_sd_of_what_is_expected() -> None:
    """Waves of amplitude a about any mean: a / sqrt(2); a site of little swing has a fifth of the median site's."""
    amplitude, phase = np.array([3.0, 1.0, 2.0, 0.01]), 2 * np.pi * np.arange(36) / 12
    expected = (amplitude[:, None] * np.sin(phase) + np.array([[5.0], [-1], [0], [2]])).ravel()
    found = cycle_amplitude(expected, np.repeat(np.arange(4), 36), 5)
    usual = 1.5 / np.sqrt(2)
    np.testing.assert_allclose(found[:4], np.maximum(amplitude / np.sqrt(2), LEAST_AMPLITUDE * usual), rtol=1e-9)
    assert found[4] == pytest.approx(LEAST_AMPLITUDE * usual)  # a site without rows


def test_where_nothing_swings_a_cycles_size_is_one() -> None:
    np.testing.assert_array_equal(cycle_amplitude(np.ones(6), np.repeat([0, 1], 3), 2), 1)


def test_the_tower_constraint_keeps_rows_and_marks_what_has_no_uncertainty() -> None:
    sites = make_sites(4)
    site, time = calendar(4, 2)
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"site": sites.index[site[::-1]], "time": time, "nee": rng.normal(size=96), "uncertainty": 0.5})
    table.loc[3, "uncertainty"] = np.nan
    predictors = rng.normal(size=(96, 2)).astype(np.float32)
    fold = np.array([0, 0, 1, 1])
    found = from_towers(predictors, table, sites, fold)
    np.testing.assert_array_equal(sites.index[found.site], table.site)
    np.testing.assert_allclose(found.observed, table.nee, rtol=1e-6)
    assert found.uncertainty[3] == 0 and (np.delete(found.uncertainty, 3) == 0.5).all()
    expected = found.observed - held_out_linear_residual(predictors, found.observed, fold[found.site])
    swing = pd.Series(expected).groupby(found.site).std(ddof=0)
    np.testing.assert_allclose(found.amplitude, np.maximum(swing, LEAST_AMPLITUDE * swing.median()), rtol=1e-4)


# The regional constraint


def constraint(
    settings: InversionTermSettings | None = None, fit: tuple[date, date] = WHOLE_PERIOD, **left_out: object
) -> RegionalConstraint:
    cube = make_cube(6)
    used = InversionTermSettings() if settings is None else settings
    return from_inversions(make_target(6), cube.steps, CELLS.region_names, AREA, used, fit, **left_out)  # type: ignore[arg-type]


def test_months_point_into_the_time_axis() -> None:
    cube = make_cube(6)
    found = constraint(leave_out_years=(2002, 2003))
    np.testing.assert_array_equal(found.years, [2001, 2004, 2005, 2006])
    stamps = cube.steps.months.to_numpy()[found.month].astype("datetime64[M]")
    np.testing.assert_array_equal(stamps, [np.datetime64(f"{y}-01", "M") + np.arange(12) for y in found.years])
    target = make_target(6).integral.mean("product")
    np.testing.assert_allclose(found.observed[0, 1], target.sel(region="north", time="2004"))


def test_what_is_left_out_has_no_influence_at_all() -> None:
    """A wild product, or wild years, that are left out change neither the mean nor the error model."""
    cube = make_cube(6)
    for wild, left_out in (({"product": "P1"}, {"leave_out": "P1"}), ({"time": "2003"}, {"leave_out_years": (2003, 2003)})):
        target = make_target(6)
        target.integral.loc[wild] += 100
        changed = from_inversions(target, cube.steps, CELLS.region_names, AREA, InversionTermSettings(), WHOLE_PERIOD, **left_out)  # type: ignore[arg-type]
        same = constraint(**left_out)
        np.testing.assert_array_equal(changed.observed, same.observed)
        np.testing.assert_array_equal(changed.error.precisions(), same.error.precisions())
        assert changed.names == same.names


def test_only_whole_years_of_the_fit_period_constrain() -> None:
    found = constraint(fit=(date(2001, 7, 1), date(2004, 12, 31)))
    np.testing.assert_array_equal(found.years, [2002, 2003, 2004])
    with pytest.raises(InputError, match="no whole year is left to fit"):
        constraint(fit=(date(2001, 7, 1), date(2002, 6, 30)))


def test_years_without_inversions_are_outside_the_constraint() -> None:
    target = make_target(6)
    target.integral.loc[{"time": slice("2005-03", None)}] = np.nan
    found = from_inversions(target, make_cube(6).steps, CELLS.region_names, AREA, InversionTermSettings(), WHOLE_PERIOD)
    np.testing.assert_array_equal(found.years, [2001, 2002, 2003, 2004])
    assert np.isfinite(found.observed).all()


def test_the_spread_says_what_products_have_in_common_but_adjustments_keep_theirs() -> None:
    """Of three products s2 (k2 + 1/3): k2 is 1, 0 and, on average, 0.49; adjustments of 0.01 in all months as one error."""
    spreads: tuple[SpreadKind, ...] = ("exchangeable", "centred", "common")
    found = [constraint(InversionTermSettings(spread=spread)).error for spread in spreads]
    for error, squared in zip(found, (1.0, 0.0, 0.49), strict=True):
        ratio = (squared + 1 / 3) * 3
        own = [e.mean - 0.01 * np.einsum("rs,ij->risj", np.eye(2), np.ones((12, 12))) for e in (error, found[1])]
        np.testing.assert_allclose(own[0], ratio * own[1], atol=1e-12)
        np.testing.assert_allclose(error.anomaly, ratio * found[1].anomaly)
    assert InversionTermSettings().spread == "common"


def test_a_region_without_spread_needs_a_stated_floor() -> None:
    target = make_target(6)
    target.integral.loc[{"region": "north"}] = target.integral.sel(region="north").isel(product=0)
    fixed = (target, make_cube(6).steps, CELLS.region_names, AREA)
    with pytest.raises(InputError, match=r"all products are the same in north.*minimum_spread"):
        from_inversions(*fixed, InversionTermSettings(), WHOLE_PERIOD)
    found = from_inversions(*fixed, InversionTermSettings(minimum_spread=0.6, spread="centred"), WHOLE_PERIOD)
    assert found.drawn is not None
    offset = found.drawn.inflation[0] * (0.6 / 12) ** 2 / 3
    assert found.error.marginals()[0][list(CELLS.region_names).index("north")] == pytest.approx(offset + 0.01)


def test_a_check_shows_the_total_at_several_shares() -> None:
    """Of three products: the root of k2 + 1/3 times the total's own sd, the adjustments' 0.02 besides."""
    found = constraint()
    assert found.drawn is not None
    own = float(found.drawn.of_product()[0].marginals_of_total()[0][0])
    wanted = ", ".join(f"{12 * np.sqrt(own * (k**2 + 1 / 3) + 0.02):.2g} at k = {k:g}" for k in (0, 0.5, 1))
    assert check_lines(found)[-2].endswith(f"offset {wanted} PgC/yr")


def test_adjustments_of_all_regions_add_in_the_total() -> None:
    """Each region's own: 0.01 in either, 0.02 in their sum, beside what the products show."""
    without = from_inversions(
        dataclasses.replace(make_target(6), adjustment_variance=0 * make_target(6).adjustment_variance),
        make_cube(6).steps, CELLS.region_names, AREA, InversionTermSettings(), WHOLE_PERIOD,
    )  # fmt: skip
    found = constraint()
    np.testing.assert_allclose(found.error.marginals_of_total()[0], without.error.marginals_of_total()[0] + 0.02)
    np.testing.assert_allclose(found.error.marginals()[0], without.error.marginals()[0] + 0.01)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_antithetic_draws_average_to_the_ensemble_mean(count: int) -> None:
    found = make_regional(make_cube())
    draws = found.draws(count, seed=3)
    assert draws.shape == (count, *found.observed.shape)
    np.testing.assert_allclose(draws.mean(axis=0), found.observed, atol=1e-12)
    np.testing.assert_allclose(draws[0] + draws[1], 2 * found.observed, atol=1e-12)
    assert np.abs(draws[0] - found.observed).min() > 0
    np.testing.assert_array_equal(draws, found.draws(count, seed=3))
    np.testing.assert_array_equal(draws[:2], found.draws(12, seed=3)[:2])  # more members do not change the first

"""The model over all cells: months are means of days, maps and integrals agree, and the spread of what no predictor sees."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.cube import Columns, Cube, Steps, no_series
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.model.spatial_effect import HARMONICS
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import integrate_month, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prediction.uncertainty import applicability, cell_scale_variance
from dualflux.units import PETAGRAM
from small_world import BASIS, CELLS, NETWORK, make_cube

PLACE = BASIS.at(CELLS.lat(), CELLS.lon())


def ensemble(cube: Cube, members: int, sites: int, seed: int = 0) -> Ensemble:
    """Members with every parameter away from its start."""

    def one(key: jax.Array) -> FluxModel:
        model = FluxModel.create(key, len(cube.columns.names), cube.columns.invariant, {}, NETWORK)
        model = eqx.tree_at(lambda m: m.spatial, model, jnp.zeros((HARMONICS, BASIS.size)))
        return jax.tree.map(lambda a: a + 0.2 * jax.random.normal(key, a.shape), model)

    stacked = jax.vmap(one)(jax.random.split(jax.random.key(seed), members))
    return Ensemble(stacked, np.arange(members) % 2, NETWORK, cube.columns.names, BASIS)


def effect_by_hand(model: FluxModel, lat: np.ndarray, lon: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """u of one member at rows (row,), `phase` the share of the year that has passed: sums written out."""
    a, *waves = np.asarray(model.spatial, np.float64)
    found = BASIS.at(lat, lon) @ a
    for k, (b, c) in enumerate(zip(waves[::2], waves[1::2], strict=True), 1):
        cos, sin = np.cos(2 * np.pi * k * phase), np.sin(2 * np.pi * k * phase)
        found = found + np.sqrt(2) * (cos * (BASIS.at(lat, lon) @ b) + sin * (BASIS.at(lat, lon) @ c))
    return np.asarray(found)


def pick(model: FluxModel, place: int) -> FluxModel:
    return jax.tree.map(lambda a: a[place], model)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_a_month_is_the_mean_of_its_days_of_every_member(time_step: str) -> None:
    """February of a leap year and all others, against network plus u by hand on plain rows."""
    cube = make_cube(4, time_step)
    found = ensemble(cube, 3, 5)
    months = list(monthly_fluxes(stack_ensembles([found]), cube, PLACE))
    assert [m.month for m in months] == list(range(48))
    for m in (1, 37):  # February 2001 and 2004
        steps = np.arange(cube.steps.month_start[m], cube.steps.month_start[m] + cube.steps.month_steps[m])
        assert len(steps) == (1 if time_step == "monthly" else cube.steps.months[m].days_in_month)
        rows = cube.rows(np.repeat(steps, 72), np.tile(np.arange(72), len(steps)))
        phase = (np.repeat(cube.steps.season[steps], 72) + 0.5) / len(cube.seasonal)
        for place in range(3):
            own = pick(found.model, place)
            u = effect_by_hand(own, *(np.tile(x, len(steps)) for x in (CELLS.lat(), CELLS.lon())), phase)
            assert np.abs(u).max() > 0.1
            plain = own.fluxes(jnp.asarray(rows), jnp.asarray(u, jnp.float32))
            for one, two in zip(plain, (months[m].landscape, months[m].tower_like), strict=True):
                np.testing.assert_allclose(two[place], np.asarray(one, np.float64).reshape(-1, 72).mean(axis=0), rtol=1e-4, atol=1e-5)


def test_map_times_area_is_the_table() -> None:
    """Mean flux x region area x days, summed over cells, is the regional integral; with a leap day where there is one."""
    cube = make_cube(4)
    for found in monthly_fluxes(stack_ensembles([ensemble(cube, 2, 0)]), cube, PLACE):
        days = cube.steps.month_days[found.month]
        table = integrate_month(found.landscape, CELLS, days)
        flux = found.landscape.astype(np.float64)
        by_map = (flux[:, None] * CELLS.region_area).sum(axis=-1) * days / PETAGRAM
        np.testing.assert_allclose(table[:, :-1], by_map, rtol=1e-9)
        np.testing.assert_allclose(table[:, -1], (flux * CELLS.land_area).sum(axis=-1) * days / PETAGRAM, rtol=1e-9)


def test_one_gram_a_day_on_all_land() -> None:
    table = integrate_month(np.ones(72, dtype=np.float32), CELLS, 31.0)
    assert table[-1] == pytest.approx(31 * CELLS.land_area.sum() * 1e-15)
    np.testing.assert_allclose(table, regional_operator(CELLS) @ np.full(72, 31.0))


def test_a_flux_that_is_not_finite_is_never_written() -> None:
    cube = make_cube(1)
    model = stack_ensembles([ensemble(cube, 2, 0)])
    broken = jax.tree.map(lambda a: a.at[1].set(jnp.nan), model)
    with pytest.raises(FloatingPointError, match="72 fluxes of 2001-01 are not finite"):
        next(monthly_fluxes(broken, cube, PLACE))


def test_ensembles_of_different_towers_are_stacked_in_order() -> None:
    cube = make_cube(1)
    first, second = ensemble(cube, 2, 5), ensemble(cube, 3, 9, seed=1)
    whole = stack_ensembles([first, second])
    x = jnp.asarray(cube.rows(np.zeros(72, int), np.arange(72)))
    for place in range(5):
        own = pick(first.model, place) if place < 2 else pick(second.model, place - 2)
        np.testing.assert_array_equal(pick(whole, place).fluxes(x).tower_like, own.fluxes(x).tower_like)
        np.testing.assert_array_equal(pick(whole, place).spatial, own.spatial)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_fluxes_at_towers_are_those_of_the_model(time_step: str) -> None:
    """Network plus u by hand at the towers' own places, in any order of rows and seasons."""
    cube = make_cube(1, time_step)
    found = ensemble(cube, 2, 5)
    random = np.random.default_rng(0)
    step, cell = random.integers(0, len(cube.steps.time), 40), random.integers(0, 72, 40)
    rows, lat, lon = cube.rows(step, cell), CELLS.lat()[cell] + random.normal(size=40), CELLS.lon()[cell]
    landscape, tower_like = tower_fluxes(found, rows, lat, lon, wave_of(cube, cube.steps.time[step]))
    for place in range(2):
        own = pick(found.model, place)
        u = effect_by_hand(own, lat, lon, (cube.steps.season[step] + 0.5) / len(cube.seasonal))
        plain = own.fluxes(jnp.asarray(rows), jnp.asarray(u, jnp.float32))
        np.testing.assert_allclose(landscape[place], plain.landscape, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(tower_like[place], plain.tower_like, rtol=1e-4, atol=1e-5)


# Where the model may be used


def line_of_cells(values: np.ndarray) -> Cube:
    """Cells placed by one static predictor."""
    steps = Steps.create("2001-01-01", "2001-12-31", "monthly")
    empty = np.zeros((12, len(values), 0), np.float32)
    return Cube(
        values[:, None].astype(np.float32), empty, empty, steps, Columns(("x",), (), ()), np.zeros(1), np.ones(1), *no_series(steps)
    )


def test_applicability_by_hand() -> None:
    """Towers at 0, 1, 3, 6 in folds 0, 0, 1, 1: held-out distances 3, 2, 2, 5; their quantile 1 is 5."""
    cube = line_of_cells(np.array([0.0, 1.0, 3.0, 6.0, 16.0, -10.0, 4.4]))
    found = applicability(cube, np.arange(4), np.array([0, 0, 1, 1]), quantile=1.0)
    np.testing.assert_allclose(found, [0, 0, 0, 0, 2, 2, 1.4 / 5], rtol=1e-5)
    halved = applicability(cube, np.arange(4), np.array([0, 0, 1, 1]), quantile=0.5)
    np.testing.assert_allclose(halved, found * 5 / 2.5, rtol=1e-5)


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_a_tower_more_makes_no_cell_farther(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=30)
    cube, fold = line_of_cells(values), np.arange(8) % 2
    few, more = (applicability(cube, np.arange(n), fold[:n], quantile=1.0) for n in (6, 8))
    assert (few[:6] == 0).all() and (more[:8] == 0).all()
    nearest = np.abs(values[:, None] - values[:8]).min(axis=1)
    np.testing.assert_allclose(more / more.max(), nearest / nearest.max(), atol=1e-5)
    assert (few >= 0).all()


# What no predictor sees


def test_site_and_cell_parts_of_the_unseen_variance_are_recovered() -> None:
    """2000 cells of two sites each: cell part 0.5, site part 0.3; standard errors 0.016 and 0.01."""
    rng = np.random.default_rng(0)
    cell = np.repeat(np.arange(2000), 2)
    residual = rng.normal(0, np.sqrt(0.5), 2000)[cell] + rng.normal(0, np.sqrt(0.3), 4000)
    names = [f"S{i}" for i in range(4000)]
    site, of_cell = cell_scale_variance(pd.Series(residual, names), pd.Series(cell, names).sample(frac=1, random_state=0))
    assert site == pytest.approx(0.3, abs=0.05)
    assert of_cell == pytest.approx(0.5, abs=0.08)


def test_unseen_variance_by_hand() -> None:
    """Sites 1 and 3 in one cell, 0 alone: nugget (1 + 1) / 1 = 2, total (1 + 9 + 0) / 3 = 10/3, the cell's part 4/3."""
    names = ["a", "b", "c"]
    found = cell_scale_variance(pd.Series([1.0, 3.0, 0.0], names), pd.Series([7, 7, 9], names))
    np.testing.assert_allclose(found, [2, 4 / 3])


def test_without_neighbours_all_is_the_cells() -> None:
    names = ["a", "b"]
    assert cell_scale_variance(pd.Series([1.0, -3.0], names), pd.Series([1, 2], names)) == (0.0, 5.0)


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 3)), min_size=2, max_size=12))
def test_parts_are_never_negative_and_sum_to_the_whole(sites: list[tuple[float, int]]) -> None:
    residual, cell = (pd.Series(list(v), [f"S{i}" for i in range(len(sites))]) for v in zip(*sites, strict=True))
    parts = cell_scale_variance(residual, cell)
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(float((residual**2).mean()), abs=1e-9)

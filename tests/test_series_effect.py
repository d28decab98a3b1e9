"""Predictors of time alone in the flux: linear step, predictions and choice against dense algebra, direct sums and drawn worlds."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dualflux.constraints.areas import Areas
from dualflux.constraints.inversions.covariance import independent
from dualflux.constraints.inversions.equations import RegionalEquations, flux_integrals, series_integrals
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, constraint_maker
from dualflux.constraints.towers.equations import EFFECTS, TowerEquations
from dualflux.cube import Cube, DeviceCube, SeriesStandard
from dualflux.fitting.fit_ensembles import build_objective, linear_step, train_all
from dualflux.fitting.linear_posterior import solve
from dualflux.fitting.posterior_draws import with_parameters
from dualflux.fitting.series_choice import (
    CANDIDATE_SDS,
    NOTHING,
    choose_prior,
    choose_series,
    gram_of_years,
    held_out_misfit,
    left_out_residuals,
    series_table,
)  # fmt: skip
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel
from dualflux.model.spatial_effect import HARMONICS
from dualflux.model.time_effect import zones
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import integrate_month
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.variants import VARIANTS
from small_world import (
    BASIS,
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    WHOLE_PERIOD,
    TowerTermSettings,
    make_cube,
    make_landscape,
    make_objective,
    make_regional,
    make_stack,
    make_target,
    make_towers,
    quick_compilation,
    study_runs,
)  # fmt: skip

NAMES = ("nino", "amo")
PLACE = BASIS.at(CELLS.lat(), CELLS.lon())
AT = CELLS.lat(), CELLS.lon()


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def with_series(cube: Cube, seed: int = 0, count: int = 2) -> Cube:
    """Random series, a value a step."""
    values = np.random.default_rng(seed).normal(size=(len(cube.steps.time), count))
    standard = SeriesStandard.create(NAMES[:count], values, cube.steps, np.ones(len(values), bool))
    return replace(cube, series=standard.standardised(values, cube.steps), series_standard=standard)


CUBE = with_series(make_cube())
REGIONAL, TOWERS = make_regional(CUBE), make_towers(CUBE)
OBJECTIVE = make_objective(CUBE, TOWERS, REGIONAL)


def models(count: int, cube: Cube = CUBE) -> FluxModel:
    """Members with every parameter away from its start."""

    def one(key: jax.Array) -> FluxModel:
        model = FluxModel.create(key, len(cube.columns.names), cube.columns.invariant, OBJECTIVE.own(), NETWORK)
        effects = jnp.zeros((HARMONICS, BASIS.size)), jnp.zeros((cube.series.shape[1], 3))
        model = eqx.tree_at(lambda m: (m.spatial, m.series), model, effects)
        return jax.tree.map(lambda a: a + 0.2 * jax.random.normal(key, a.shape), model)

    return jax.vmap(one)(jax.random.split(jax.random.key(0), count))


# Zones


@given(st.lists(st.floats(-90, 90), min_size=1, max_size=20))
def test_zones_sum_to_one_and_have_no_border(lat: list[float]) -> None:
    """Weights from 0 to 1; a degree changes none by more than a twentieth; north and south are mirrors."""
    found = zones(np.array(lat))
    assert (found >= 0).all() and (found <= 1).all()
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    np.testing.assert_allclose(zones(-np.array(lat)), found[:, ::-1], atol=1e-12)
    assert np.abs(zones(np.array(lat) + 1) - found).max() <= 1 / 20 + 1e-12


# The direct sum


def by_hand(model: FluxModel, cube: Cube) -> np.ndarray:
    """The effect v of every member, (member, step, cell)."""
    found = np.zeros((len(model.series), len(cube.steps.time), len(CELLS.index)))
    for k in range(cube.series.shape[1]):
        for j in range(3):
            found += np.asarray(model.series, float)[:, k, j][:, None, None] * cube.series[:, k, None] * zones(CELLS.lat())[:, j]
    return found


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_products_have_the_direct_sum(time_step: str) -> None:
    """f and f + g of the kernel with series minus those without: v of each cell, its mean over each month."""
    cube = with_series(make_cube(2, time_step))
    model = models(3, cube)
    off = eqx.tree_at(lambda m: m.series, model, jnp.zeros_like(model.series))
    with_v, without = (list(monthly_fluxes(m.bare(), cube, PLACE, AT)) for m in (model, off))
    steps, v = cube.steps, by_hand(model, cube)
    for one, other in zip(with_v, without, strict=True):
        first = steps.month_start[one.month]
        wanted = v[:, first : first + steps.month_steps[one.month]].mean(axis=1)
        np.testing.assert_allclose(one.landscape - other.landscape, wanted, atol=2e-5)
        np.testing.assert_allclose(one.tower_like - other.tower_like, wanted, atol=2e-5)
    plain = list(monthly_fluxes(eqx.tree_at(lambda m: m.series, model, model.series[:, :0]).bare(), make_cube(2, time_step), PLACE))
    for one, other in zip(without, plain, strict=True):
        np.testing.assert_allclose(one.landscape, other.landscape, atol=1e-5)
    with pytest.raises(ValueError, match="say where the cells are"):
        next(monthly_fluxes(model.bare(), cube, PLACE))


def test_towers_have_the_direct_sum() -> None:
    model, cell = models(3), np.arange(len(CELLS.index))
    step = np.arange(len(cell)) % len(CUBE.steps.time)
    ensemble = Ensemble(model, np.zeros(3, int), NETWORK, CUBE.columns.names, BASIS)
    off = replace(ensemble, model=eqx.tree_at(lambda m: m.series, model, jnp.zeros_like(model.series)))
    wave = wave_of(CUBE, CUBE.steps.time[step])
    on, without = (tower_fluxes(e, CUBE.rows(step, cell), *AT, wave) for e in (ensemble, off))
    for one, other in zip(on, without, strict=True):
        np.testing.assert_allclose(one - other, by_hand(model, CUBE)[:, step, cell], atol=2e-5)


def test_integrals_are_those_of_every_cell_and_step() -> None:
    """Columns of the linear step times coefficients: the integrals of the product's direct sum, of months of days too."""
    for cube in (CUBE, with_series(make_cube(2, "daily"))):
        model, steps = models(2, cube), cube.steps
        areas = Areas(CELLS.region_area, np.arange(len(steps.months)))
        columns = series_integrals(areas, cube, CELLS)
        mean = np.add.reduceat(by_hand(model, cube), steps.month_start, axis=1) / steps.month_steps[:, None]
        wanted = np.stack([integrate_month(mean[:, m], CELLS, steps.month_days[m])[:, :-1] for m in range(len(steps.months))], axis=2)
        coefficient = np.asarray(model.series, float).reshape(2, -1)
        np.testing.assert_allclose(np.einsum("rmk,nk->nrm", columns, coefficient), wanted, rtol=1e-5, atol=1e-6)
        both = flux_integrals(areas, make_landscape(cube))
        np.testing.assert_array_equal(both[..., 7 * BASIS.size :], columns)


# The linear step


def test_the_posterior_is_that_of_dense_algebra() -> None:
    """All unknowns of a dual member at once: towers with stated weights and inversions stacked as one dense least-squares problem."""
    stack = make_stack(OBJECTIVE, study_runs(("dual",)))
    step = linear_step(OBJECTIVE, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL, 0.2)
    model = models(len(stack.table))
    mine, (problem, *_) = next(step.problems(model, stack.members, np.arange(len(stack.table))))
    normals = problem.normals(problem.trained)
    spread = np.array([0.3, 0.2, 0.1, 0.4])
    found, variance = solve(problem, normals, spread, draw=False)
    prior_sd, layout = problem.prior_sd.copy(), problem.layout
    for effect, sd in zip(problem.estimated(), spread, strict=True):
        prior_sd[layout.place(effect.name)] = sd
    start = np.where(np.arange(layout.size) < layout.place("readout").stop, problem.trained, 0.0)
    covariance = np.linalg.inv(normals.matrix + np.diag(prior_sd**-2))
    wanted = covariance @ (sum(v[:, 0] for v in normals.values) + start / prior_sd**2)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-6)
    assert np.abs(found[layout.place("series")]).min() > 0 and int(mine[0]) == 0


def test_towers_see_what_is_predicted_of_them() -> None:
    """Expected fluxes of the equations at any parameters: f + g of a member with these parameters."""
    stack = make_stack(OBJECTIVE, study_runs(("dual",)))
    step = linear_step(OBJECTIVE, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL, 0.2)
    towers = next(linear for linear in step.linear if isinstance(linear, TowerEquations))
    model, layout = models(len(stack.table)), step.layout(NETWORK.hidden[-1] + 1)
    parameters = np.random.default_rng(0).normal(size=(len(stack.table), layout.size))
    drawn = with_parameters(model, parameters, layout)
    ensemble = Ensemble(drawn, stack.table.fold.to_numpy(), NETWORK, CUBE.columns.names, BASIS)
    site = TOWERS.sites.iloc[TOWERS.site]
    predicted = tower_fluxes(ensemble, TOWERS.predictors, site.lat.to_numpy(), site.lon.to_numpy(), wave_of(CUBE, TOWERS.time))[1]
    features = np.asarray(jax.tree.map(lambda a: a[0], drawn).network.features(jnp.asarray(towers.rows)), np.float64)
    columns = np.column_stack([features, towers.series])
    expected = towers.expected(columns, parameters[0][layout.places(EFFECTS)])
    np.testing.assert_allclose(expected, predicted[0][towers.records.order], rtol=1e-4, atol=2e-4)
    regional = next(linear for linear in step.linear if isinstance(linear, RegionalEquations))
    assert regional.series.shape == (2, 4, 12, 6)


def test_members_without_inversions_and_a_prior_of_zero_have_no_series() -> None:
    """The prior is chosen on inversions: a variant that must not know them goes without."""
    stack = make_stack(OBJECTIVE, study_runs(("towers", "dual")))
    for sd, on in ((0.2, ["dual"]), (0.0, [])):
        step = linear_step(OBJECTIVE, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL, sd)
        for mine, problems in step.problems(models(len(stack.table)), stack.members, np.arange(len(stack.table))):
            use = problems[0].prior_sd[problems[0].layout.place("series")]
            assert (use == (sd if stack.table.variant[int(mine[0])] in on else 0.0)).all()


def test_weights_come_back_from_disk_and_old_files_have_neither_series_nor_short_waves(tmp_path: Path) -> None:
    ensemble = Ensemble(models(2), np.zeros(2, int), NETWORK, CUBE.columns.names, BASIS)
    ensemble.save(tmp_path / "new.npz")
    jax.tree.map(np.testing.assert_array_equal, Ensemble.load(tmp_path / "new.npz").model.series, ensemble.model.series)
    with np.load(tmp_path / "new.npz") as file:
        arrays = dict(file)
    last = max((name for name in arrays if name.startswith("leaf_")), key=lambda name: int(name[5:]))
    assert arrays.pop(last).shape == (2, 2, 3)
    spatial = f"leaf_{int(last[5:]) - 1}"
    arrays[spatial] = arrays[spatial][:, :3]
    arrays["about"] = np.array(str(arrays["about"]).replace(', "series": 2', ""))
    np.savez(tmp_path / "old.npz", **arrays)
    old = Ensemble.load(tmp_path / "old.npz").model
    assert old.series.shape == (2, 0, 3)
    np.testing.assert_array_equal(old.spatial[:, :3], ensemble.model.spatial[:, :3])
    assert old.spatial.shape == ensemble.model.spatial.shape and not old.spatial[:, 3:].any()


# The choice


ERROR = independent(np.full(3, 0.1), np.full(3, 0.1), np.array([0.02, 0.05, 0.01]), np.array([0.5, 0.0, 0.3]))
YEARS = 12


def world(seed: int, coefficient: float) -> tuple[np.ndarray, np.ndarray]:
    """Residuals and columns (region, year, 12): errors of R and what a series does, smooth in time as such series are."""
    random = np.random.default_rng(seed)
    series = np.repeat(random.normal(size=YEARS), 12).reshape(YEARS, 12) + 0.3 * random.normal(size=(YEARS, 12))
    columns = np.einsum("rz,yi->ryiz", random.uniform(0.2, 1.0, (3, 3)), series - series.mean(axis=0))
    return ERROR.draw(random, YEARS) + coefficient * columns.sum(axis=-1), columns


def test_the_misfit_is_that_of_leaving_each_year_out() -> None:
    """Dense: of every year the ridge regression on the others about their mean, in the metric of R's anomalies."""
    residual, columns = world(0, 0.1)
    root = np.random.default_rng(1).normal(size=(36, 36))  # months and regions hang together
    precision = (root.T @ root).reshape(3, 12, 3, 12)
    order = np.random.default_rng(2).permutation(YEARS)
    gram = gram_of_years(np.concatenate([columns, residual[..., None]], axis=-1), precision)
    found = held_out_misfit(gram, order, [0.0, 0.2])
    x, y = columns[:, order], residual
    x, y = (np.einsum("krj,ryj...->ky...", root.reshape(36, 3, 12), a) for a in (x, y))
    wanted = np.zeros(2)
    for t in range(YEARS):
        others = np.delete(np.arange(YEARS), t)
        dx, dy = (a[:, others] - a[:, others].mean(axis=1, keepdims=True) for a in (x, y))
        a = dx.reshape(-1, 3)
        coefficient = np.linalg.solve(a.T @ a + np.eye(3) / 0.2**2, a.T @ dy.ravel())
        ex, ey = x[:, t] - x[:, others].mean(axis=1), y[:, t] - y[:, others].mean(axis=1)
        wanted += (ey**2).sum(), ((ey - ex @ coefficient) ** 2).sum()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_a_series_that_acts_is_taken_and_random_ones_are_not() -> None:
    """Of 60 worlds each: with a response of .1 at p = .01; with none p is below .05 in 5 % of them (binomial, 99 %: at most 8)."""
    acting = [choose_prior(*world(seed, 0.1), ERROR, seed) for seed in range(10)]
    assert all(c.prior_sd > 0 and c.p_value == pytest.approx(1 / 101) and c.gain > 0 for c in acting)
    idle = [choose_prior(*world(seed, 0.0), ERROR, seed) for seed in range(60)]
    taken = [c for c in idle if c.prior_sd > 0]
    assert len(taken) <= 8 and {c.p_value < 0.05 for c in taken} <= {True}
    assert all(c.prior_sd == 0.0 for c in idle if c.p_value >= 0.05)
    assert all(c.prior_sd in CANDIDATE_SDS for c in acting)


YEARS_OF_WORLD = 6


def responding(cube: Cube, coefficient: np.ndarray) -> tuple[RegionalConstraint, object]:
    """Inversions that see what the series do, and the function that leaves years out."""
    target = make_target(YEARS_OF_WORLD)
    areas = Areas(CELLS.region_area, np.arange(12 * YEARS_OF_WORLD))
    response = series_integrals(areas, cube, CELLS) @ coefficient.ravel()
    target = replace(target, integral=target.integral + response)
    make = constraint_maker(target, cube, CELLS, InversionTermSettings(), (WHOLE_PERIOD[0], WHOLE_PERIOD[1].replace(year=2006)))
    return make(None, None), make


def columns_of(cube: Cube) -> np.ndarray:
    """Integrals of the effect's columns, (column, region, year, 12)."""
    found = series_integrals(Areas(CELLS.region_area, np.arange(12 * YEARS_OF_WORLD)), cube, CELLS)
    return np.moveaxis(found, -1, 0).reshape(-1, 2, YEARS_OF_WORLD, 12)


def test_the_sd_over_members_is_that_of_antithetic_pairs() -> None:
    """Two pairs of 1 +- .3 in every zone: sd .3, not .35 of a divisor n - 1."""
    coefficient = 1 + 0.3 * np.array([1.0, -1, 1, -1])[:, None, None] * np.ones((1, 1, 3))
    np.testing.assert_allclose(series_table(NOTHING, ("co2",), coefficient).sd, 0.3)


def test_a_response_is_found_in_training() -> None:
    """Choice, training and posterior of a world whose flux follows a series: coefficients lie within four of their sds."""
    cube = with_series(make_cube(YEARS_OF_WORLD), 3, 1)
    true = np.array([[0.15, -0.1, 0.1]])
    regional, make = responding(cube, true)
    short = TRAINING.model_copy(update={"steps": TRAINING.steps // 2})  # as the trial's: one program for both
    objective = build_objective(
        None,
        regional,
        cube,
        DeviceCube.of(cube),
        CELLS,
        NETWORK,
        TowerTermSettings(),
        InversionTermSettings(locations=2, years=2),
        TRAINING,
    )
    settings = (NETWORK, TowerTermSettings(), TRAINING)
    residual = left_out_residuals(objective, make, VARIANTS["inversions"], cube, *settings, 1.0, 1)  # type: ignore[arg-type]
    choice = choose_series(residual, regional, cube, CELLS, 1)
    assert choice.prior_sd >= 0.1 and choice.p_value < 0.05
    stack = make_stack(objective, study_runs(("inversions",)))
    fitted = train_all(objective, stack, make_landscape(cube), DeviceCube.of(cube), NETWORK, short, SPATIAL, series_sd=choice.prior_sd)
    found = np.asarray(fitted.ensembles["", "inversions"].model.series, np.float64)
    step = linear_step(objective, stack, make_landscape(cube), DeviceCube.of(cube), SPATIAL, choice.prior_sd)
    _, (problem, *_) = next(step.problems(fitted.ensembles["", "inversions"].model, stack.members, np.arange(2)))
    _, variance = solve(problem, problem.normals(problem.trained), np.array([0.2, 0.1, 0.05, 0.0]), draw=False)
    sd = np.sqrt(variance[problem.layout.place("series")]).reshape(1, 3)
    assert (np.abs(found.mean(axis=0) - true) < 4 * sd).all()
    # Two regions cannot tell three zones apart, so what is known closely is what each region does.
    response = np.einsum("kryi,k->ryi", columns_of(cube), (found.mean(axis=0) - true).ravel())
    assert response.std() < 0.1 * np.einsum("kryi,k->ryi", columns_of(cube), true.ravel()).std()

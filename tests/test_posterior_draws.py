"""Posterior draws: exact integrals, reachable targets reached, predictions as the model makes them, and nothing known that may not be."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualflux.constraints.areas import Areas, deal_out, integrate_values, walk_of
from dualflux.constraints.base import LinearMember, generator
from dualflux.constraints.inversions.equations import RegionalEquations, regional_normal
from dualflux.constraints.inversions.integrals import exact_integrals
from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.constraints.towers.constraint import NAMES
from dualflux.constraints.towers.equations import EFFECTS, TowerEquations
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.cube import Cube
from dualflux.fitting.ensembles import Stack
from dualflux.fitting.linear_posterior import draw_member, estimate, solve
from dualflux.fitting.objective import Objective
from dualflux.fitting.posterior_draws import LinearStep, draw_posterior, integrate_features, renew_representativeness, with_parameters
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, Network
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import integrate_month
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.variants import VARIANTS
from small_world import (
    BASIS,
    CELLS,
    NETWORK,
    make_cube,
    make_objective,
    make_regional,
    make_step,
    make_towers,
    quick_compilation,
    study_runs,
)
from small_world import make_stack as stack_of

CUBE = make_cube()
TOWERS = make_towers(CUBE)
REGIONAL = make_regional(CUBE)
OBJECTIVE = make_objective(CUBE, TOWERS, REGIONAL)
REGIONS = OBJECTIVE["inversions"].regions
ALL_VARIANTS = tuple(VARIANTS)


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def pick(tree: Any, place: int) -> Any:
    return jax.tree.map(lambda a: a[place], tree)


def make_models(count: int, cube: Cube = CUBE, same: bool = False) -> FluxModel:
    """Members as a training might leave them, stacked: every parameter away from zero, no spatial effect yet."""

    def one(seed: int) -> FluxModel:
        model = FluxModel.create(jax.random.key(seed), len(cube.columns.names), cube.columns.invariant, OBJECTIVE.own(), NETWORK)
        keys = iter(jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(model))))
        return jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(keys), a.shape), model)

    return jax.tree.map(lambda *a: jnp.stack(a), *[one(0 if same else 10 * i) for i in range(count)])


def make_stack(variants: tuple[str, ...] = ALL_VARIANTS) -> Stack:
    return stack_of(OBJECTIVE, study_runs(variants))


STEP = make_step(CUBE, OBJECTIVE, make_stack())
LAYOUT = STEP.layout(NETWORK.hidden[-1] + 1)


def towers_of(step: LinearStep) -> TowerEquations:
    return next(linear for linear in step.linear if isinstance(linear, TowerEquations))


def inversions_of(step: LinearStep) -> RegionalEquations:
    return next(linear for linear in step.linear if isinstance(linear, RegionalEquations))


def closed(stack: Stack, models: FluxModel, objective: Objective = OBJECTIVE) -> tuple[FluxModel, np.ndarray]:
    found, spread, *_ = draw_posterior(make_step(CUBE, objective, stack), models, stack.members)
    return found, np.stack(list(spread.values()), axis=1)


def with_observed(towers: TowerConstraint, observed: np.ndarray) -> Objective:
    return make_objective(CUBE, dataclasses.replace(towers, observed=observed.astype(np.float32)), REGIONAL)


def with_inversions(stack: Stack, regional: RegionalConstraint, **changes: Any) -> Stack:
    """Members fitted to other inversions, with parts that differ."""
    parts = {**stack.members.parts, "inversions": stack.members.parts["inversions"]._replace(**changes)}
    plans = [plan._replace(data={"inversions": regional}) for plan in stack.plans]
    return stack._replace(members=stack.members._replace(parts=parts), plans=plans)


def same(one: object, two: object) -> bool:
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def differs(one: object, two: object) -> np.ndarray:
    """Whether anything of a member differs, (member,)."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    return np.any([(np.asarray(a) != np.asarray(b)).reshape(len(a), -1).any(axis=1) for a, b in pairs], axis=0)


def effect_integrals(model: FluxModel, cube: Cube = CUBE) -> np.ndarray:
    """Integrals of u of one member by hand: every cell and step, (region, year, 12)."""
    step, cell = np.indices((len(cube.steps.time), len(CELLS.index)))
    wave = wave_of(cube, cube.steps.time)[step.ravel()]
    u = BASIS.effect(np.asarray(model.spatial)[None], CELLS.lat()[cell.ravel()], CELLS.lon()[cell.ravel()], wave)[0].reshape(step.shape)
    days = np.repeat(cube.steps.month_days / cube.steps.month_steps, cube.steps.month_steps)
    return np.add.reduceat((regional_operator(CELLS) @ u.T)[:-1] * days, cube.steps.month_start, axis=1).reshape(2, -1, 12)


# Integrals of hidden layers


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_integrals_are_linear_in_the_readout(time_step: str) -> None:
    """Integrals of the last hidden layer times the readout: the network's exact integrals, of every member."""
    cube = make_cube(2, time_step)
    regions = make_objective(cube, make_towers(cube), make_regional(cube, 2))["inversions"].regions
    models = make_models(3, cube)
    found = integrate_features(models.network, regions.walk)
    assert found.shape == (3, 2, 2, 12, NETWORK.hidden[-1] + 1)
    for place in range(3):
        one = pick(models, place)
        wanted, readout = jax.jit(exact_integrals)(one, regions), np.asarray(one.network.readout, np.float64)
        np.testing.assert_allclose(found[place].astype(np.float64) @ readout, wanted, rtol=2e-4, atol=2e-5)


# What is reached


def test_a_reachable_target_is_reached_where_the_inversions_are_certain() -> None:
    """Targets that some readout and u of a member's own hidden layers have, inversions known 10 000 times better: network + u has them."""
    stack, random = make_stack(("inversions", "plain", "dual")), np.random.default_rng(0)
    models = make_models(len(stack.table))
    integrals = integrate_features(models.network, REGIONS.walk).astype(np.float64)
    readout = random.normal(size=(len(integrals), NETWORK.hidden[-1] + 1))
    effect = 0.2 * random.normal(size=(len(integrals), 7 * BASIS.size))
    target = np.einsum("mryif,mf->mryi", integrals, readout) + np.einsum("ryik,mk->mryi", inversions_of(STEP).spatial, effect)
    part = stack.members.parts["inversions"]
    sharp = {name: getattr(part, name) * 1e8 for name in ("mean_precision", "anomaly_precision")}
    certain = with_inversions(stack, REGIONAL, target=jnp.asarray(target, jnp.float32), **sharp)
    plans = [
        plan._replace(data={"inversions": dataclasses.replace(REGIONAL, observed=own)})
        for plan, own in zip(certain.plans, target, strict=True)
    ]
    found, _ = closed(certain._replace(plans=plans), models)
    for place in range(len(integrals)):
        one = pick(found, place)
        reached = np.asarray(jax.jit(exact_integrals)(one, REGIONS), np.float64) + effect_integrals(one)
        np.testing.assert_allclose(reached, target[place], atol=2e-3 * np.abs(target[place]).max())


def test_towers_that_are_certain_are_reached() -> None:
    """What the network itself says at the towers, seen with hardly any error: `towers` has it at all sites of its fold's complement."""
    stack = make_stack(("towers",))
    models = make_models(4, same=True)
    exact = np.asarray(pick(models, 0).network(jnp.asarray(TOWERS.predictors)))
    objective = with_observed(dataclasses.replace(TOWERS, uncertainty=np.full_like(TOWERS.uncertainty, 1e-3)), exact)
    certain = models.own["towers"]._replace(log_error_floor=jnp.full(4, -7.0), log_error_growth=jnp.full(4, -12.0))
    alike = {name: jnp.full(4, 1e-3) for name in NAMES.values()}  # nothing of a site's own
    stack = stack._replace(members=stack.members._replace(sd={**stack.members.sd, **alike}))
    found, _ = closed(stack, dataclasses.replace(models, own={"towers": certain}), objective)
    ensemble = Ensemble(found, stack.table.fold.to_numpy(), NETWORK, CUBE.columns.names, BASIS)
    lat, lon = (TOWERS.sites[name].to_numpy()[TOWERS.site] for name in ("lat", "lon"))
    landscape, _ = tower_fluxes(ensemble, TOWERS.predictors, lat, lon, wave_of(CUBE, TOWERS.time))
    for place, fold in enumerate(ensemble.fold):
        use = (TOWERS.sites.fold.to_numpy() != fold)[TOWERS.site]
        off = np.abs(landscape[place] - exact)
        assert off[use].max() < 0.02 < off[~use].max()


# Predictions


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_parameters_mean_the_same_at_towers_and_in_the_model(time_step: str) -> None:
    """The expected flux of any parameters is f + g (upscaling's) of the members that carry them."""
    cube = make_cube(2, time_step)
    towers = make_towers(cube)
    objective = make_objective(cube, towers, make_regional(cube, 2))
    step = make_step(cube, objective, stack_of(objective, study_runs(("dual",))))
    data, layout, models = towers_of(step), step.layout(NETWORK.hidden[-1] + 1), make_models(3, cube)
    parameters = np.random.default_rng(1).normal(size=(3, layout.size))
    ensemble = Ensemble(with_parameters(models, parameters, layout), np.zeros(3, int), NETWORK, cube.columns.names, BASIS)
    lat, lon = (towers.sites[name].to_numpy()[towers.site] for name in ("lat", "lon"))
    _, tower_like = tower_fluxes(ensemble, towers.predictors, lat, lon, wave_of(cube, towers.time))
    for place in range(3):
        order = data.records.order
        features = np.asarray(Network.features(pick(models, place).network, jnp.asarray(towers.predictors[order])), np.float64)
        own = parameters[place][layout.places(EFFECTS)]
        np.testing.assert_allclose(data.expected(features, own), tower_like[place][order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_the_map_integrates_to_what_was_closed(time_step: str) -> None:
    """Big path = small path: upscaled months times area are the integrals of hidden layers and of u times the parameters."""
    cube = make_cube(2, time_step)
    towers, regional = make_towers(cube), make_regional(cube, 2)
    objective, models, width = make_objective(cube, towers, regional), make_models(2, cube), NETWORK.hidden[-1] + 1
    step = make_step(cube, objective, stack_of(objective, study_runs(("dual",))))
    layout = step.layout(width)
    parameters = np.random.default_rng(2).normal(size=(2, layout.size))
    carried = with_parameters(models, parameters, layout)
    integrals = integrate_features(models.network, objective["inversions"].regions.walk).astype(np.float64)
    place = BASIS.at(CELLS.lat(), CELLS.lon())
    months = [integrate_month(m.landscape, CELLS, cube.steps.month_days[m.month])[:, :-1] for m in monthly_fluxes(carried, cube, place)]
    by_map = np.stack(months, axis=-1).reshape(2, 2, 2, 12)
    for member in range(2):
        u = inversions_of(step).spatial @ parameters[member, layout.places(["spatial_lasting", "spatial_seasonal", "spatial_shape"])]
        np.testing.assert_allclose(u, effect_integrals(pick(carried, member), cube), rtol=1e-4, atol=1e-4)
        closed_integrals = integrals[member] @ parameters[member, :width] + u
        np.testing.assert_allclose(by_map[member], closed_integrals, atol=1e-4 * np.abs(closed_integrals).max())


# Who may know what


@pytest.fixture(scope="module", name="result")
def _result() -> tuple[Stack, FluxModel, FluxModel, np.ndarray]:
    """All variants: stack, members before, members closed, sds."""
    stack = make_stack()
    models = make_models(len(stack.table))
    return stack, models, *closed(stack, models)


def test_what_a_folds_sites_observed_does_not_reach_its_members(result: tuple[Stack, FluxModel, FluxModel, np.ndarray]) -> None:
    """100 gC m-2 d-1 added at the sites of fold 0: members of fold 0 and their sds bit by bit the same, those of fold 1 not."""
    stack, models, before, spread = result
    shifted = TOWERS.observed + 100 * (TOWERS.sites.fold.to_numpy()[TOWERS.site] == 0)
    after, other_spread = closed(stack, models, with_observed(TOWERS, shifted))
    reached = stack.table.fold.to_numpy() == 1
    np.testing.assert_array_equal(differs(before, after), reached)
    np.testing.assert_array_equal((spread != other_spread).any(axis=1), reached)


def test_a_source_that_is_left_out_does_not_reach_a_member(result: tuple[Stack, FluxModel, FluxModel, np.ndarray]) -> None:
    """Other inversions change all but `towers`, other tower observations all but `inversions`."""
    stack, models, before, _ = result
    variant = stack.table.variant.to_numpy()
    other = dataclasses.replace(REGIONAL, observed=REGIONAL.observed + 1)
    more = with_inversions(stack, other, target=stack.members.parts["inversions"].target + 1)
    np.testing.assert_array_equal(differs(before, closed(more, models)[0]), variant != "towers")
    np.testing.assert_array_equal(
        differs(before, closed(stack, models, with_observed(TOWERS, TOWERS.observed + 1))[0]), variant != "inversions"
    )


def test_years_that_are_left_out_do_not_reach_a_member() -> None:
    stack, models = make_stack(("inversions",)), make_models(2)
    target, wild = stack.members.parts["inversions"].target, REGIONAL.observed.copy()
    wild[:, 2] = 1e3
    use = jnp.broadcast_to(jnp.asarray([1.0, 1, 0, 1]), (2, 4))
    one = with_inversions(stack, REGIONAL, year_use=use)
    other = with_inversions(stack, dataclasses.replace(REGIONAL, observed=wild), year_use=use, target=target.at[:, :, 2].set(-1e3))
    assert same(closed(one, models), closed(other, models))


def test_terms_that_are_off_are_exactly_zero(result: tuple[Stack, FluxModel, FluxModel, np.ndarray]) -> None:
    """Whatever training left there: g only in `dual`, u in all; hidden layers and what towers keep stay as they were."""
    stack, models, found, spread = result
    assert (spread[:, :2] > 0).all()
    for place, row in enumerate(stack.table.itertuples()):
        variant, one = VARIANTS[row.variant], pick(found, place)
        for values, on in (
            (one.representativeness.intercept, variant.representativeness),
            (one.representativeness.coefficient, variant.representativeness),
            (one.spatial, True),
        ):  # fmt: skip
            assert (np.asarray(values) != 0).all() == on and (np.asarray(values) != 0).any() == on
    assert same(found.network.weights[:-1], models.network.weights[:-1]) and same(found.network.biases[:-1], models.network.biases[:-1])
    assert same(found.own, models.own)


def view(stack: Stack, member: int, name: str, columns: np.ndarray, **changes: Any) -> LinearMember:
    """A member as a constraint's equations see it."""
    part = jax.tree.map(lambda a: np.asarray(a[member]), stack.members.parts[name])._replace(**changes)
    nothing, plan = np.zeros(LAYOUT.size), stack.plans[member]
    return LinearMember(None, part, {}, columns, LAYOUT, nothing, plan, np.random.default_rng(0), 1.0)


def test_members_without_inversions_have_no_regional_terms() -> None:
    stack = make_stack(("towers", "dual"))
    integrals = integrate_features(make_models(len(stack.table)).network, REGIONS.walk)
    for place, variant in enumerate(stack.table.variant):
        found = inversions_of(STEP).equations(view(stack, place, "inversions", integrals[place]))(np.zeros(LAYOUT.size))
        assert found.matrix.any() == found.values.any() == (variant == "dual")


def test_without_g_there_is_nothing_to_renew() -> None:
    stack = make_stack(("towers", "inversions"))
    step = make_step(CUBE, OBJECTIVE, stack)
    np.testing.assert_array_equal(renew_representativeness(step, make_models(len(stack.table)), stack.members), 0)


def test_one_walk_serves_areas_and_months_of_several_constraints() -> None:
    """Integrals of two wishes, one of other areas in other months, are those of each alone."""
    walk, models = REGIONS.walk, make_models(1)
    world = Areas(CELLS.land_area[None], np.arange(7, 31))
    wanted = [Areas(CELLS.region_area, np.arange(48)), world]
    together, month = walk_of(walk.cube, CUBE.steps, wanted)
    found = deal_out(integrate_features(models.network, together)[0], month, wanted)
    for one, areas in zip(found, wanted, strict=True):
        alone, _ = walk_of(walk.cube, CUBE.steps, [areas])
        network = pick(models, 0).network
        np.testing.assert_allclose(one, jax.jit(lambda w, n=network: integrate_values(n.features, w))(alone), rtol=1e-5, atol=1e-5)
    assert (found[1] > found[0].sum(axis=0, keepdims=True)[:, 7:31])[..., -1].all()  # land outside all regions is in the world's


# Draws


def test_the_same_seed_is_the_same_draw_and_another_is_not(result: tuple[Stack, FluxModel, FluxModel, np.ndarray]) -> None:
    stack, models, before, spread = result
    again, other_spread = closed(stack, models)
    assert same(before, again) and np.array_equal(spread, other_spread)
    reseeded = stack._replace(seeds=[(seed[0] + 1, *seed[1:]) for seed in stack.seeds])
    other, other_spread = closed(reseeded, models)
    assert differs(before, other).all()
    np.testing.assert_array_equal(spread, other_spread)  # sds are of the data, not of the draw


def test_members_of_one_network_are_antithetic_about_the_posteriors_mean() -> None:
    """Two members with the same hidden layers: their mean is the solution without errors, of the Student-t weights that both drew; each is
    away from it.
    """
    stack = make_stack(("dual",))
    models = make_models(4, same=True)
    found, spread = closed(stack, models)
    step = make_step(CUBE, OBJECTIVE, stack)
    for pair, problems in step.problems(models, stack.members, np.arange(4)):
        sd, normals = estimate(problems, step.centre(LAYOUT, stack.members, pair))
        np.testing.assert_allclose(spread[pair], np.stack([sd, sd]), rtol=1e-6)
        start = solve(problems[0], normals[0], sd, draw=False)[0]
        still = dataclasses.replace(problems[0], sign=0.0, prior_noise=np.zeros(len(start)))
        mean = draw_member(still, start, sd, generator(step.seeds[pair[0]][:-1], "weights"))
        wanted = with_parameters(models, np.broadcast_to(mean, (4, len(mean))), LAYOUT)
        for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            a, b = (np.asarray(x, np.float64) for x in (one, two))
            np.testing.assert_allclose(a[pair].mean(axis=0), b[0], rtol=1e-3, atol=1e-4)
        assert np.abs(np.asarray(found.spatial)[pair[0]] - np.asarray(wanted.spatial)[0]).min() > 1e-6


@pytest.mark.parametrize("weight", [0.3, 1.0, 3.0])
def test_a_tempered_members_draw_is_of_its_own_posterior(weight: float) -> None:
    """A power w makes R to R / w: equations times w; a draw's right-hand side has the covariance of the equations' matrix.

    2000 draws of the inversions (normal ones, of R), every entry over two columns' worth of random directions within 5.5 standard errors.
    """
    stack, equations = make_stack(("dual",)), inversions_of(STEP)
    integrals = integrate_features(make_models(1).network, REGIONS.walk)[0]
    columns = np.concatenate([integrals, equations.spatial], axis=-1).astype(np.float64)
    matrix, values = regional_normal(columns, REGIONAL.observed, REGIONAL.observed, *REGIONAL.error.precisions())
    draws = []
    for target in dataclasses.replace(REGIONAL, drawn=None).draws(2000, 3)[::2]:
        member = view(stack, 0, "inversions", integrals, weight=np.float32(weight), target=target)
        found = equations.equations(member)(np.zeros(LAYOUT.size))
        draws.append(found.values[:, 1])
    np.testing.assert_allclose(found.matrix, weight * matrix, rtol=1e-4, atol=1e-4 * np.abs(matrix).max())
    np.testing.assert_allclose(found.values[:, 0], weight * values[:, 0], rtol=1e-4, atol=1e-4 * np.abs(values).max())
    sample, count = np.stack(draws), len(draws)
    variance = np.diag(found.matrix)
    error = np.sqrt((np.outer(variance, variance) + found.matrix**2) / count)
    assert np.abs((sample.T @ sample / count - found.matrix) / error).max() < 5.5

"""One interface, three estimators of regional integrals: the same tests for each, with its stated bias where it has one."""

from collections.abc import Iterator
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.areas import Locations, every_location
from dualflux.constraints.inversions.constraint import quadratic_form
from dualflux.constraints.inversions.locations import draw_locations, regional_operator
from dualflux.constraints.inversions.observations import InversionTermSettings
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import DeviceCube
from dualflux.fitting.fit_ensembles import build_objective
from dualflux.fitting.library_networks import bootstrapped_networks
from dualflux.fitting.objective import Member, Objective
from dualflux.model.flux_model import FluxModel
from small_world import CELLS, NETWORK, TRAINING, make_cube, make_regional, make_stack, make_towers, quick_compilation, study_runs

CUBE = make_cube()
TOWERS = make_towers(CUBE)
REGIONAL = make_regional(CUBE)
ESTIMATORS = ("exact", "representative", "stratified")
LAND = CELLS.region_area / 1e15


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


@pytest.fixture(scope="module", name="objectives")
def _objectives() -> dict[str, Objective]:
    """Six locations a region, two of four years a step."""
    found = {}
    for estimator in ESTIMATORS:
        some = {} if estimator == "exact" else {"years": 2}
        term = InversionTermSettings(estimator=estimator, weight=1.0, locations=6, **some)  # type: ignore[arg-type]
        device = DeviceCube.of(CUBE)
        found[estimator] = build_objective(TOWERS, REGIONAL, CUBE, device, CELLS, NETWORK, TowerTermSettings(), term, TRAINING, 1)
    return found


def model_of(seed: int) -> FluxModel:
    """A model with every parameter away from zero."""
    model = FluxModel.create(jax.random.key(seed), len(CUBE.columns.names), CUBE.columns.invariant, {}, NETWORK)
    keys = iter(jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(model))))
    return jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(keys), a.shape), model)


def member_of(objective: Objective) -> Member:
    """The first member of `dual`, with R as it is in training."""
    stack = make_stack(objective, study_runs(("dual",)))
    return jax.tree.map(lambda a: a[0], stack.in_training(objective))


def locations_of(objective: Objective, key: int) -> Locations:
    """What an estimator evaluates in one step, all blocks in one."""
    inversions = objective["inversions"]
    if inversions.estimator == "exact":
        every = inversions.regions.walk.every
        return Locations(every.cell.reshape(-1), jnp.moveaxis(every.weight, 0, 1).reshape(len(LAND), -1))
    structure = inversions.regions.structure
    if structure is not None:
        return structure.locations
    return draw_locations(inversions.regions.strata, jax.random.key(key), inversions.locations)


def as_matrix(locations: Locations) -> np.ndarray:
    """Locations as an operator (region, cell)."""
    matrix = np.zeros((len(LAND), len(CELLS.index)))
    np.add.at(matrix.T, np.asarray(locations.cell), np.asarray(locations.weight, dtype=np.float64).T)
    return matrix


def flux_by_hand(model: FluxModel) -> np.ndarray:
    """f in float64, (step, cell)."""
    step, cell = np.indices((48, 72))
    rows = CUBE.rows(step.ravel(), cell.ravel()).astype(np.float64)
    weights, biases = ([np.asarray(a, np.float64) for a in part] for part in (model.network.weights, model.network.biases))
    return (2.0 * (np.tanh(rows @ weights[0] + biases[0]) @ weights[1] + biases[1])[:, 0]).reshape(48, 72)


def integrals_by(matrix: np.ndarray, model: FluxModel) -> np.ndarray:
    """(region, year, 12) [PgC month-1]."""
    return (matrix @ flux_by_hand(model).T * CUBE.steps.month_days).reshape(len(matrix), 4, 12)


def form(residual: np.ndarray, member: Member) -> float:
    """r' R^-1 r in float64: mean over years and deviations from it."""
    mean = residual.mean(axis=1)
    rest = residual - mean[:, None]
    s, b = (np.asarray(p, np.float64) for p in (member.parts["inversions"].mean_precision, member.parts["inversions"].anomaly_precision))
    return float(np.einsum("ri,risj,sj->", mean, s, mean) + np.einsum("ryi,risj,syj->", rest, b, rest))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_adjoint_linearity_and_closure(objectives: dict[str, Objective], estimator: str, seed: int) -> None:
    """<H f, v> = <f, H' v>; H(2f - 3g) = 2Hf - 3Hg; a flux of 1 gives every region's area, regions add up to the land they hold."""
    rng = np.random.default_rng(seed)
    matrix = as_matrix(locations_of(objectives[estimator], seed))
    one, other, observed = rng.normal(size=72), rng.normal(size=72), rng.normal(size=2)
    assert (matrix @ one) @ observed == pytest.approx(one @ (matrix.T @ observed), rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(matrix @ (2 * one - 3 * other), 2 * matrix @ one - 3 * matrix @ other, atol=1e-10)
    np.testing.assert_allclose(matrix @ np.ones(72), LAND.sum(axis=1), rtol=1e-5)
    assert (matrix >= 0).all() and (matrix[LAND == 0] == 0).all()
    globe = (regional_operator(CELLS) @ np.ones(72))[-1]
    outside = (CELLS.land_area / 1e15 - LAND.sum(axis=0)).sum()
    assert (matrix @ np.ones(72)).sum() == pytest.approx(globe - outside, rel=1e-5)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_is_computed_is_the_operator_applied(objectives: dict[str, Objective], estimator: str) -> None:
    """The residual on the device is H f - y by plain float64 algebra, months in their order."""
    objective, model = objectives[estimator], model_of(0)
    inversions, part, key = objective["inversions"], member_of(objective).parts["inversions"], jax.random.key(3)
    matrix = as_matrix(locations_of(objective, 0))
    if estimator == "stratified":
        matrix = as_matrix(draw_locations(inversions.regions.strata, jax.random.split(key)[1], inversions.locations))
    wanted = integrals_by(matrix, model) - np.asarray(part.target, np.float64)
    if estimator == "exact":
        assert float(inversions.quadratic(model, part, key)) == pytest.approx(form(wanted, member_of(objective)), rel=2e-3)
    else:
        residual = inversions.residual(model, part, jnp.array([2, 0]), key)
        np.testing.assert_allclose(residual, wanted[:, [2, 0]], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_loss_and_its_gradient_are_unbiased_about_the_estimators_own_operator(objectives: dict[str, Objective], estimator: str) -> None:
    """Mean over 4000 steps within 4 standard errors of the form of H f - y with all years, and of its slope along a direction.

    H is every cell for `exact` and `stratified`; for `representative` it is its fixed rule, whose own error the structure states.
    """
    objective, model = objectives[estimator], model_of(0)
    member = member_of(objective)
    matrix = as_matrix(locations_of(objective, 0)) if estimator == "representative" else LAND
    target = np.asarray(member.parts["inversions"].target, np.float64)
    keys = iter(jax.random.split(jax.random.key(9), 20))
    direction = jax.tree.map(lambda a: jax.random.normal(next(keys), a.shape), model)

    def moved(h: float) -> FluxModel:
        return jax.tree.map(lambda a, d: np.asarray(a, np.float64) + h * np.asarray(d, np.float64), model, direction)

    wanted = form(integrals_by(matrix, model) - target, member)
    ahead, behind = (form(integrals_by(matrix, moved(h)) - target, member) for h in (1e-4, -1e-4))
    one = lambda k: jax.jvp(lambda m: objective["inversions"].quadratic(m, member.parts["inversions"], k), (model,), (direction,))  # noqa: E731
    count = 4000 if estimator != "exact" else 2
    value, slope = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=min(count, 100)))(jax.random.split(jax.random.key(0), count))
    for found, truth in ((value, wanted), (slope, (ahead - behind) / 2e-4)):
        found = np.asarray(found, np.float64)
        error = found.std() / np.sqrt(count)
        assert abs(found.mean() - truth) < 4 * error + 2e-3 * abs(truth)
        assert error < 0.15 * abs(truth)  # the test can tell


def test_the_square_of_one_sample_is_biased_and_ours_is_not(objectives: dict[str, Objective]) -> None:
    """Squaring one stratified sample adds its variance: more than ten standard errors too large, where two samples are within four."""
    objective, model = objectives["stratified"], model_of(0)
    member, years = member_of(objective), jnp.arange(4)
    inversions, part = objective["inversions"], member.parts["inversions"]
    truth = form(integrals_by(LAND, model) - np.asarray(member.parts["inversions"].target, np.float64), member)

    def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        first, second = (inversions.residual(model, part, years, k) for k in jax.random.split(key))
        use, count = part.year_use, jnp.asarray(4.0)
        return quadratic_form(first, first, part, use, count), quadratic_form(first, second, part, use, count)

    naive, ours = jax.jit(lambda keys: jax.lax.map(both, keys, batch_size=100))(jax.random.split(jax.random.key(1), 2000))
    one, two = (np.asarray(v, np.float64) for v in (naive, ours))
    assert one.mean() - truth > 10 * one.std() / np.sqrt(2000)
    assert abs(two.mean() - truth) < 4 * two.std() / np.sqrt(2000) + 2e-3 * truth


def test_the_bias_of_representative_locations_is_that_of_their_integrals(objectives: dict[str, Objective]) -> None:
    """|form(r + e) - form(r)| <= 2 sqrt(form(r) form(e)) + form(e), e the rule's error (Cauchy and Schwarz).

    R holds e's stated size. For networks of the library's kind, drawn with another seed, form(e) is therefore within three times its
    expectation of at most one for each region and month.
    """
    objective = objectives["representative"]
    member, rule = member_of(objective), as_matrix(locations_of(objective, 0))
    trained = bootstrapped_networks(objectives["stratified"], TOWERS.sites.group.to_numpy(), NETWORK, TRAINING, 77)
    for i in range(len(trained.weights[0])):
        model = eqx.tree_at(lambda m: m.network, model_of(i), jax.tree.map(lambda a, i=i: a[i], trained))
        residual = integrals_by(LAND, model) - np.asarray(member.parts["inversions"].target, np.float64)
        error = integrals_by(rule, model) - integrals_by(LAND, model)
        own, size, bias = form(residual, member), form(error, member), form(residual + error, member) - form(residual, member)
        assert abs(bias) <= 2 * np.sqrt(own * size) + size + 1e-6
        assert 0 < size < 3 * 96


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_block_size_and_order_of_cells_change_nothing(objectives: dict[str, Objective], estimator: str) -> None:
    """Blocks of 7 cells for `exact`; another order of the same locations for the others."""
    objective, model = objectives[estimator], model_of(1)
    inversions, part, key = objective["inversions"], member_of(objective).parts["inversions"], jax.random.key(5)
    walk = inversions.regions.walk
    regions = inversions.regions._replace(walk=walk._replace(every=every_location(CELLS.region_area, 7)))
    if regions.structure is not None:
        order = np.random.default_rng(0).permutation(regions.structure.locations.cell.shape[0])
        cell, weight = regions.structure.locations
        regions = regions._replace(structure=regions.structure._replace(locations=Locations(cell[order], weight[:, order])))
    changed = replace(inversions, regions=regions)
    one, other = (jax.value_and_grad(c.quadratic)(model, part, key) for c in (inversions, changed))
    assert float(one[0]) == pytest.approx(float(other[0]), rel=1e-3)
    for a, b in zip(jax.tree.leaves(one[1]), jax.tree.leaves(other[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=5e-3 * (1e-6 + float(np.abs(a).max(initial=0))))

"""Representative locations: positive rules against dense algebra, their error on fields not used, what it adds to R, when it is renewed."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.areas import Locations, every_location
from dualflux.constraints.inversions import representative
from dualflux.constraints.inversions.constraint import InversionPart
from dualflux.constraints.inversions.covariance import with_further_error
from dualflux.constraints.inversions.integrals import RegionData, exact_integrals
from dualflux.constraints.inversions.locations import draw_locations
from dualflux.constraints.inversions.observations import InversionTermSettings
from dualflux.constraints.inversions.representative import (
    Span,
    annual_error,
    cluster,
    fit_weights,
    has_moved,
    measure,
    place,
    positive_weights,
    products_error,
    sample_products,
    structure_table,
)
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import DeviceCube
from dualflux.errors import InputError
from dualflux.fitting import choose_locations
from dualflux.fitting.choose_locations import allocate, refresh, sample_networks
from dualflux.fitting.ensembles import Stack
from dualflux.fitting.fit_ensembles import build_objective, train_all
from dualflux.fitting.library_networks import BOOTSTRAPS, bootstrapped_networks, in_years, integrals, split_time, with_perturbed
from dualflux.fitting.objective import Control, Member, Objective
from dualflux.model.flux_model import FluxModel, Network, NetworkSettings
from small_world import (
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    make_cube,
    make_landscape,
    make_objective,
    make_regional,
    make_towers,
    quick_compilation,
    study_runs,
)
from small_world import make_stack as stack_of

CUBE = make_cube()
TOWERS = make_towers(CUBE)
REGIONAL = make_regional(CUBE)
GROUP = TOWERS.sites.group.to_numpy()
PLAIN = make_objective(CUBE, TOWERS, REGIONAL)


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def build(locations: int, error_target: float | None = None, years: int = 4) -> Objective:
    term = InversionTermSettings(estimator="representative", weight=1.0, locations=locations, error_target=error_target, years=2)
    cube, regional = (CUBE, REGIONAL) if years == 4 else (make_cube(years), make_regional(make_cube(years), years))
    return build_objective(TOWERS, regional, cube, DeviceCube.of(cube), CELLS, NETWORK, TowerTermSettings(), term, TRAINING, 1)


@pytest.fixture(scope="module")
def objective() -> Objective:
    """Eight locations a region on average."""
    return build(8)


@pytest.fixture(scope="module")
def plain() -> Objective:
    return make_objective(CUBE, TOWERS, REGIONAL)


def random_networks(count: int, seed: int) -> Network:
    keys = jax.random.split(jax.random.key(seed), count)
    networks = jax.vmap(lambda k: Network.create(k, len(CUBE.columns.names), NETWORK))(keys)
    return jax.tree.map(lambda a: a[count:], with_perturbed(networks, seed))


def weights_for(networks: Network, regions: RegionData, locations: Locations, step: np.ndarray) -> Locations:
    """Fitted to networks alone, at some steps of the monthly world."""
    return fit_weights([sample_networks(networks, regions, locations, Span(step // 12, step % 12, step, np.empty(0, int)))], locations)


def make_stack(variants: tuple[str, ...] = ("towers", "dual")) -> Stack:
    return stack_of(PLAIN, study_runs(variants))


def part_of(member: Member) -> InversionPart:
    found: InversionPart = member.parts["inversions"]
    return found


def control_of(model: FluxModel, integral: jax.Array) -> Control:
    return Control(model, {"inversions": integral})


def models_of(networks: Network) -> FluxModel:
    blank = FluxModel.create(jax.random.key(0), len(CUBE.columns.names), CUBE.columns.invariant, {}, NETWORK)
    count = len(networks.weights[0])
    parts = blank.representativeness, {}, blank.spatial, blank.series
    return FluxModel(networks, *jax.tree.map(lambda a: jnp.broadcast_to(a, (count, *a.shape)), parts))


# Places


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 60), st.integers(2, 20), st.integers(0, 1000))
def test_clusters_are_a_partition_with_a_cell_of_their_own(cells: int, count: int, seed: int) -> None:
    """Areas add up; every cell chosen is nobody else's; no partition of the start is better quantised (Lloyd's rounds never lose)."""
    rng = np.random.default_rng(seed)
    points, area = rng.normal(size=(cells, 3)), rng.uniform(0.2, 2.0, cells)
    points = points[np.argsort(points[:, 0])]
    chosen, own = cluster(points, area, count)
    assert len(set(chosen)) == len(chosen) <= min(count, cells)
    assert own.sum() == pytest.approx(area.sum(), rel=1e-12) and (own > 0).all()

    def quantised(centre: np.ndarray) -> tuple[np.ndarray, float]:
        distance = ((points[:, None] - centre) ** 2).sum(axis=-1)
        of = distance.argmin(axis=1)
        return of, float(area @ distance.min(axis=1))

    if count < cells:
        centre = points[((np.arange(count) + 0.5) * cells / count).astype(int)]
        start = quantised(centre)[1]
        for _ in range(representative.ROUNDS):
            of = quantised(centre)[0]
            centre = np.stack([np.average(points[of == i], axis=0, weights=area[of == i]) for i in range(count)])
        of, end = quantised(centre)
        assert end <= start + 1e-9
        for i, (cell, share) in enumerate(zip(chosen, own, strict=True)):
            assert share == pytest.approx(area[of == i].sum()) and of[cell] == i


def test_two_clumps_are_stood_for_by_their_middles() -> None:
    """By hand: three cells about 0 and two about 10; where points coincide there are fewer clusters than asked for."""
    points, area = np.array([[-1.0], [0.0], [1.5], [9.0], [10.2]]), np.array([1.0, 1.0, 1.0, 1.0, 4.0])
    chosen, own = cluster(points, area, 2)
    assert chosen.tolist() == [1, 4] and own.tolist() == [3.0, 5.0]
    chosen, own = cluster(np.zeros((4, 1)), np.ones(4), 2)
    assert chosen.tolist() == [0] and own.tolist() == [4.0]


def test_the_length_of_a_block_of_distances_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    points, area = rng.normal(size=(50, 4)), rng.uniform(0.5, 1, 50)
    whole = cluster(points, area, 7)
    monkeypatch.setattr(representative, "_BLOCK", 20)
    for one, other in zip(whole, cluster(points, area, 7), strict=True):
        np.testing.assert_array_equal(one, other)


def test_all_cells_are_the_region_itself() -> None:
    area = np.random.default_rng(0).uniform(0.2, 2, 9)
    chosen, own = cluster(np.zeros((9, 2)), area, 9)
    np.testing.assert_array_equal(chosen, np.arange(9))
    np.testing.assert_array_equal(own, area)


def field_by_hand(networks: Network, one: int, step: np.ndarray) -> np.ndarray:
    """f of one network in float64, (step, cell)."""
    rows = np.stack([CUBE.rows(np.full(72, t), np.arange(72)) for t in step]).astype(np.float64)
    weights, biases = ([np.asarray(a[one], np.float64) for a in part] for part in (networks.weights, networks.biases))
    return 2.0 * (np.tanh(rows @ weights[0] + biases[0]) @ weights[1] + biases[1])[..., 0]


def test_locations_go_where_area_and_variance_are(plain: Objective) -> None:
    """In proportion to a region's area times the sd of fields inside, by hand; at least two, never more than there are cells."""
    networks, step = random_networks(3, 0), np.array([0, 17, 30])
    area = CELLS.region_area / 1e15
    fields = np.stack([field_by_hand(networks, i, step) for i in range(len(networks.weights[0]))])
    variance = [np.mean([np.cov(f, aweights=a, ddof=0) for f in fields.reshape(-1, 72)]) for a in area]
    size = area.sum(axis=1) * np.sqrt(variance)
    assert allocate(networks, plain["inversions"].regions, step, 20) == np.rint(20 * size / size.sum()).astype(int).tolist()
    assert allocate(networks, plain["inversions"].regions, step, 1) == [2, 2]
    assert allocate(networks, plain["inversions"].regions, step, 1000) == (area > 0).sum(axis=1).tolist()


# Weights


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 15), st.integers(1, 30), st.floats(0.0, 3.0), st.integers(0, 1000))
def test_weights_solve_their_problem(count: int, rows: int, noise: float, seed: int) -> None:
    """Karush, Kuhn and Tucker: the objective's slope is the same for all positive weights, and nowhere lower at a weight of zero."""
    rng = np.random.default_rng(seed)
    field, area = rng.normal(size=(rows, count)), rng.uniform(0.2, 2.0, count)
    integral = field @ area + noise * area.sum() * rng.normal(size=rows)
    weight = positive_weights(field, integral, area)
    assert weight.sum() == pytest.approx(area.sum(), rel=1e-12) and (weight >= 0).all()
    slope = field.T @ (field @ weight - integral) / rows + representative.NUGGET * (weight - area)
    level = slope[weight > 0].mean()
    size = 1e-3 * (1 + np.abs(slope).max())
    np.testing.assert_allclose(slope[weight > 0], level, atol=size)
    assert (slope[weight == 0] > level - size).all()


def test_areas_that_are_right_are_kept() -> None:
    """Fields that the areas integrate without error give no reason to move."""
    rng = np.random.default_rng(0)
    field, area = rng.normal(size=(12, 5)), rng.uniform(0.2, 2.0, 5)
    np.testing.assert_allclose(positive_weights(field, field @ area, area), area, rtol=1e-6)


def test_weights_are_fitted_to_the_fields_of_the_networks(plain: Objective) -> None:
    """Field by field in float64, in units of each network's root mean square in the region; only its own locations serve a region."""
    networks, step = random_networks(2, 0), np.array([0, 17, 30])
    start = place(plain["inversions"].regions, CUBE.mean_year(), [3, 4])
    found = weights_for(networks, plain["inversions"].regions, start, step)
    np.testing.assert_array_equal(found.cell, start.cell)
    prior, area = np.asarray(start.weight, np.float64), CELLS.region_area / 1e15
    for region, own in enumerate((slice(0, 3), slice(3, 7))):
        rows, wanted = [], []
        for i in range(len(networks.weights[0])):
            field = field_by_hand(networks, i, step)
            at = field[:, np.asarray(start.cell)[own]]
            size = np.sqrt((at**2 @ prior[region, own]).mean() / prior[region, own].sum())
            rows.append(at / size)
            wanted.append(field @ area[region] / size)
        by_hand = positive_weights(np.concatenate(rows), np.concatenate(wanted), prior[region, own])
        np.testing.assert_allclose(found.weight[region, own], by_hand, rtol=1e-3, atol=1e-5)
        assert np.asarray(found.weight)[region].sum() == pytest.approx(area[region].sum(), rel=1e-5)


# The structure and its error


def test_locations_close_to_the_regions(objective: Objective) -> None:
    """Non-negative weights that sum to each region's area; a location serves its own region; as many as were asked for, about."""
    structure = objective["inversions"].regions.structure
    assert structure is not None
    weight, area = np.asarray(structure.locations.weight), CELLS.region_area / 1e15
    assert (weight >= 0).all() and ((weight > 0).sum(axis=0) <= 1).all()
    np.testing.assert_allclose(weight.sum(axis=1), area.sum(axis=1), rtol=1e-5)
    used = weight.max(axis=0) > 0
    assert (area[weight.argmax(axis=0), np.asarray(structure.locations.cell)][used] > 0).all()
    assert abs(len(structure.locations.cell) - 16) <= 2


def test_the_stated_error_is_that_of_other_networks(objective: Objective, plain: Objective) -> None:
    """Of a dozen tower-only networks drawn with other seeds, errors over all years are as large as stated, to a factor of 3."""
    structure = objective["inversions"].regions.structure
    assert structure is not None
    networks = bootstrapped_networks(plain, GROUP, NETWORK, TRAINING, 99)
    networks = with_perturbed(networks, 98)
    error = integrals(networks, plain["inversions"].regions, structure.locations) - integrals(networks, plain["inversions"].regions)
    found = measure(error, structure.locations)
    ratio = annual_error(found) / annual_error(structure)
    assert (ratio > 1 / 3).all() and (ratio < 3).all()
    several = np.sqrt(np.asarray(found.variance) / np.asarray(structure.variance))
    assert (several > 1 / 3).all() and (several < 3).all()


def test_the_rule_beats_random_places(objective: Objective, plain: Objective) -> None:
    """On networks unlike the library's (untrained), in a world whose predictors are noise without any order in space or to each other,
    which leaves clusters little to find: the monthly error is still less than 0.85 of that of as many stratified random cells."""
    structure = objective["inversions"].regions.structure
    assert structure is not None
    networks = jax.tree.map(lambda *a: jnp.concatenate(a), *(random_networks(6, seed) for seed in (5, 15, 25, 35)))
    truth = integrals(networks, plain["inversions"].regions)
    own = np.sqrt(((integrals(networks, plain["inversions"].regions, structure.locations) - truth) ** 2).mean())
    draws = [draw_locations(plain["inversions"].regions.strata, jax.random.key(k), 8) for k in range(10)]
    other = np.sqrt(np.mean([(integrals(networks, plain["inversions"].regions, d) - truth) ** 2 for d in draws]))
    assert own < 0.85 * other


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_smooth_fields_of_no_library_are_integrated_by_few_cells(seed: int) -> None:
    """Random waves in a space of two predictors, 400 cells, 20 locations: errors less than a third of those of random cells.

    The weights have seen ten other waves.
    """
    rng = np.random.default_rng(seed)
    points, area = rng.uniform(-1, 1, (400, 2)), rng.uniform(0.5, 1.0, 400)
    points = points[np.argsort(points[:, 0])]
    waves = np.cos(rng.normal(scale=1.5, size=(60, 2)) @ points.T + rng.uniform(0, 2 * np.pi, (60, 1)))
    library, unseen = waves[:10], waves[10:]
    chosen, own = cluster(points, area, 20)
    weight = positive_weights(library[:, chosen], library @ area, own)
    truth = unseen @ area
    samples = [rng.choice(400, 20, replace=False, p=area / area.sum()) for _ in range(50)]
    random = np.sqrt(np.mean([(unseen[:, s].mean(axis=1) * area.sum() - truth) ** 2 for s in samples]))
    assert np.sqrt(((unseen[:, chosen] @ weight - truth) ** 2).mean()) < random / 3


# Products in the library


def test_weights_are_fitted_to_products_that_the_user_names(plain: Objective) -> None:
    """A pattern of white noise over cells, which clusters in predictor space cannot know: named, its integral is right to a tenth of the
    error without it, also in a year not fitted, where its size is another."""
    rng = np.random.default_rng(4)
    pattern = rng.normal(size=len(CELLS.index))
    product = (rng.uniform(1, 2, (1, 4, 12, 1)) * pattern).astype(np.float32)
    start, span = place(plain["inversions"].regions, CUBE.mean_year(), [8, 8]), split_time(plain["inversions"].regions, 1)
    networks = sample_networks(random_networks(2, 3), plain["inversions"].regions, start, span)
    own = sample_products(product, plain["inversions"].regions, start, span)
    without, named = (fit_weights(samples, start) for samples in ([networks], [networks] + 30 * [own]))
    before, after = (np.abs(products_error(product, plain["inversions"].regions, found)[:, :, 3]) for found in (without, named))
    assert after.mean() < before.mean() / 10


def test_errors_of_products_are_those_of_dense_sums(plain: Objective) -> None:
    """Region by region and month by month: sum of w f over locations, less sum of area f over cells, times days."""
    rng = np.random.default_rng(5)
    product = rng.normal(size=(2, 4, 12, len(CELLS.index)))
    locations = place(plain["inversions"].regions, CUBE.mean_year(), [3, 4])
    found = products_error(product, plain["inversions"].regions, locations)
    assert found.shape == (2, 2, 4, 12)
    cell, weight, area = np.asarray(locations.cell), np.asarray(locations.weight, float), CELLS.region_area / 1e15
    for year, month, days in ((0, 1, 28), (3, 1, 29), (2, 6, 31)):
        by_hand = product[:, year, month][:, cell] @ weight.T - product[:, year, month] @ area.T
        np.testing.assert_allclose(found[:, :, year, month], days * by_hand, rtol=1e-4, atol=1e-6)


def library_term(*names: str) -> InversionTermSettings:
    return InversionTermSettings(estimator="representative", weight=1.0, locations=8, years=2, library=names)


def build_with(library: np.ndarray, *names: str) -> Objective:
    term = library_term(*names)
    return build_objective(TOWERS, REGIONAL, CUBE, DeviceCube.of(CUBE), CELLS, NETWORK, TowerTermSettings(), term, TRAINING, 1, library)


def test_a_products_error_is_in_the_stated_error(objective: Objective) -> None:
    """A product that a rule of few locations cannot integrate (noise of its own each month) is said to."""
    noise = 100 * np.random.default_rng(6).normal(size=(1, len(CUBE.steps.months), len(CELLS.index)))
    found = build_with(noise.astype(np.float32), "noisy")["inversions"].regions.structure
    before = objective["inversions"].regions.structure
    assert found is not None and before is not None
    own = products_error(noise[:, REGIONAL.month][:, 2:], in_years(objective["inversions"].regions, np.arange(2, 4)), found.locations)
    count = 2 * choose_locations.TESTED_ON  # networks and their perturbed copies
    offset = own.mean(axis=(0, 2, 3)) ** 2 / (count + 1)
    assert (np.asarray(found.variance[0][:-1]) >= 0.99 * offset).all()
    assert (np.asarray(found.variance[2]) > 100 * np.asarray(before.variance[2])).all()


def test_a_product_without_some_months_is_refused() -> None:
    fields = np.zeros((2, len(CUBE.steps.months), len(CELLS.index)), np.float32)
    fields[1, 30:32] = np.nan
    with pytest.raises(InputError, match=r"library: a product covers every fitted month; .* late: 2 of 48 months, first 2003-07; give the"):
        build_with(fields, "whole", "late")


def test_every_cell_gives_the_exact_integral(plain: Objective) -> None:
    networks, regions = random_networks(2, 1), plain["inversions"].regions
    locations = weights_for(networks, regions, place(regions, CUBE.mean_year(), [72, 72]), np.array([0, 6]))
    np.testing.assert_allclose(integrals(networks, regions, locations), integrals(networks, regions), rtol=1e-4, atol=1e-5)


def test_blocks_change_no_weight_and_no_integral(plain: Objective) -> None:
    networks, regions = random_networks(2, 2), plain["inversions"].regions
    cut = regions._replace(walk=regions.walk._replace(every=every_location(CELLS.region_area, 7)))
    np.testing.assert_allclose(integrals(networks, cut), integrals(networks, plain["inversions"].regions), rtol=1e-4, atol=1e-6)
    start = place(plain["inversions"].regions, CUBE.mean_year(), [3, 4])
    one, other = (weights_for(networks, r, place(r, CUBE.mean_year(), [3, 4]), np.array([3, 9])) for r in (cut, regions))
    np.testing.assert_array_equal(one.cell, start.cell)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-3, atol=1e-6)


def test_parts_of_the_error_by_hand() -> None:
    """Two networks, errors of one region known: offset 1 and 3, no cycle, anomalies +-0.5; of two regions that cancel the sum has none."""
    error = np.zeros((2, 2, 2, 12))
    error[:, 0] = np.array([1.0, 3.0])[:, None, None]
    error[:, 0, 0] += 0.5
    error[:, 0, 1] -= 0.5
    error[:, 1] = -error[:, 0]
    found = measure(error, None)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.bias, [2, -2, 0])
    np.testing.assert_allclose(found.variance, [[5, 5, 0], [0, 0, 0], [0.5, 0.5, 0]], atol=1e-12)


def test_time_is_split_into_fitted_steps_and_held_out_years(plain: Objective) -> None:
    for seed in range(5):
        span = split_time(plain["inversions"].regions, seed)
        assert span.held.tolist() == [2, 3]
        assert len(span.step) == 24 and (span.step < 24).all()
        assert np.bincount(span.step % 12, minlength=12).tolist() == [2] * 12


def test_two_years_are_refused() -> None:
    with pytest.raises(InputError, match=r"needs three years of inversions or more.*2 came.*stratified"):
        build(4, years=2)


def test_an_error_target_is_reached_or_refused(objective: Objective) -> None:
    structure = objective["inversions"].regions.structure
    assert structure is not None
    target = float(annual_error(structure)[:-1].max() / 2)
    better = build(8, target)["inversions"].regions.structure
    assert better is not None and (annual_error(better)[:-1] <= target).all()
    assert len(better.locations.cell) > len(structure.locations.cell)


def test_an_error_target_out_of_reach_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"error_target 1e-09 PgC yr-1 is not reached with .* locations in a region, half of its cells; allow a larger"
    ):
        build(16, 1e-9)


def test_the_table_is_in_annual_and_monthly_units(objective: Objective) -> None:
    structure = objective["inversions"].regions.structure
    assert structure is not None
    table = structure_table(structure, CELLS.region_names).set_index("region")
    assert list(table.index) == ["north", "south", "global"]
    np.testing.assert_allclose(table.annual_rmse, 12 * table.offset_rmse)
    np.testing.assert_allclose(table.offset_rmse**2, structure.variance[0], rtol=1e-6)
    assert (np.abs(table.bias) <= table.annual_rmse + 1e-9).all()


# R


def test_members_train_with_the_structures_error_and_close_without(objective: Objective, plain: Objective) -> None:
    stack = make_stack()
    own = stack.members.parts["inversions"]
    assert stack.in_training(plain).parts["inversions"] is own
    widened = stack.in_training(objective).parts["inversions"]
    dense, narrow = (np.linalg.inv(np.asarray(p.mean_precision[0], np.float64).reshape(24, 24)) for p in (widened, own))
    structure = objective["inversions"].regions.structure
    assert structure is not None
    wanted = with_further_error(REGIONAL.error, np.asarray(structure.variance, np.float64)).precisions()[0]
    np.testing.assert_allclose(np.asarray(widened.mean_precision[0]), wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert np.trace(dense) > np.trace(narrow)
    for name in ("target", "year_use", "weight"):
        np.testing.assert_array_equal(getattr(widened, name), getattr(own, name))


# Control variates


def test_at_its_control_variate_the_integral_is_exact(objective: Objective) -> None:
    member = jax.tree.map(lambda a: a[-1], make_stack().members)
    model = jax.tree.map(lambda a: a[0], models_of(random_networks(1, 4)))
    inversions, part, years = objective["inversions"], part_of(member), jnp.arange(4)
    integral = jax.jit(exact_integrals)(model, inversions.regions)
    exact = np.asarray(integral - part.target)
    found = inversions.residual(model, part, years, jax.random.key(0), control_of(model, integral))
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    assert np.abs(np.asarray(inversions.residual(model, part, years, jax.random.key(0))) - exact).max() > 1e-3


@pytest.mark.parametrize("moved", [0.1, 0.3])
def test_from_its_control_variate_only_the_change_is_in_error(objective: Objective, moved: float) -> None:
    """A member that has moved: the integral's error is that of the rule on the difference of the fields; small after a tenth of the way."""
    member = jax.tree.map(lambda a: a[-1], make_stack().members)
    before = random_networks(6, 6)
    after = jax.tree.map(lambda a, b: (1 - moved) * a + moved * b, before, random_networks(6, 7))
    structure = objective["inversions"].regions.structure
    assert structure is not None
    exact, rule = ([integrals(n, objective["inversions"].regions, at) for n in (before, after)] for at in (None, structure.locations))
    found = np.stack([
        objective["inversions"].residual(
            jax.tree.map(lambda a, i=i: a[i], models_of(after)), part_of(member), jnp.arange(4), jax.random.key(0),
            control_of(jax.tree.map(lambda a, i=i: a[i], models_of(before)), jnp.asarray(exact[0][i], jnp.float32)),
        ) for i in range(6)
    ])  # fmt: skip
    error = found + np.asarray(part_of(member).target, np.float64) - exact[1]
    np.testing.assert_allclose(error, (rule[1] - rule[0]) - (exact[1] - exact[0]), atol=1e-3)
    if moved < 0.2:
        assert np.sqrt((error**2).mean()) < 0.5 * np.sqrt(((rule[1] - exact[1]) ** 2).mean())


def test_weights_are_renewed_when_members_have_moved_and_not_before(objective: Objective) -> None:
    """Members of the library's kind keep the weights; perturbed ones twelve times as large get others, and a smaller error by them."""
    structure, members = objective["inversions"].regions.structure, make_stack(("dual",)).members
    assert structure is not None
    near = bootstrapped_networks(make_objective(CUBE, TOWERS, REGIONAL), GROUP, NETWORK, TRAINING, 7)
    near = jax.tree.map(lambda a: a[:4], near)
    far = Network([*near.weights[:-1], 12 * with_perturbed(near, 3).weights[-1][4:]], near.biases, near.activation)
    for networks, renewed in ((near, False), (far, True)):
        truth = integrals(networks, objective["inversions"].regions)
        control = control_of(models_of(networks), jnp.asarray(truth, jnp.float32))
        found = refresh(objective, models_of(networks), control, members)
        assert (found is not objective) == renewed
    assert found["inversions"].regions.structure is not None
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, objective)  # the compiled program still fits
    regions, new = objective["inversions"].regions, found["inversions"].regions.structure
    before, after = (np.sqrt(((integrals(far, regions, s.locations) - truth) ** 2).mean()) for s in (structure, new))
    np.testing.assert_array_equal(found["inversions"].regions.structure.locations.cell, structure.locations.cell)
    assert after < 0.95 * before


def test_the_rule_of_movement(objective: Objective) -> None:
    structure = objective["inversions"].regions.structure
    assert structure is not None
    stated = annual_error(structure)[:-1] / 12
    assert not has_moved(structure, 1.9 * stated[None, :, None, None] * np.ones((3, 2, 4, 12)))
    assert has_moved(structure, np.array([1.0, 2.1])[:, None, None] * stated[:, None, None] * np.ones((1, 2, 4, 12)))


def test_without_members_of_inversions_nothing_is_renewed(objective: Objective, plain: Objective) -> None:
    networks, members = random_networks(4, 0), make_stack(("towers",)).members
    control = control_of(models_of(networks), jnp.zeros((4, 2, 4, 12)))
    assert refresh(objective, models_of(networks), control, members) is objective
    assert refresh(plain, models_of(networks), control, make_stack(("dual",)).members) is plain


# A whole fit


def test_with_every_cell_training_is_that_of_any_order_and_the_closing_step_is_exact() -> None:
    """All cells as locations: the objective of a member is the exact one, year by year; and the fit runs to its end."""
    objective = build(72)
    stack = make_stack()
    member = jax.tree.map(lambda a: a[-1], stack.members)
    model = jax.tree.map(lambda a: a[0], models_of(random_networks(1, 8)))
    whole = dataclasses.replace(objective["inversions"], years=4)
    exact = make_objective(CUBE, TOWERS, REGIONAL, "exact")["inversions"]
    one, other = (float(c.quadratic(model, part_of(member), jax.random.key(0))) for c in (whole, exact))
    assert one == pytest.approx(other, rel=1e-3)
    fitted, again = (train_all(objective, stack, make_landscape(CUBE), DeviceCube.of(CUBE), NETWORK, TRAINING, SPATIAL) for _ in range(2))
    assert set(fitted.ensembles) == {("", "towers"), ("", "dual")}
    for key, ensemble in fitted.ensembles.items():
        for a, b in zip(jax.tree.leaves(ensemble.model), jax.tree.leaves(again.ensembles[key].model), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_library_member_is_bootstrapped_by_groups(plain: Objective) -> None:
    """Networks differ, and what they see of towers is some groups several times and others not at all; the same seed, the same networks."""
    one, again, other = (bootstrapped_networks(plain, GROUP, NetworkSettings(hidden=(8,)), TRAINING, s) for s in (1, 1, 2))
    assert np.array_equal(one.weights[0], again.weights[0]) and not np.array_equal(one.weights[0], other.weights[0])
    assert len(np.unique(np.asarray(one.weights[0]).reshape(BOOTSTRAPS, -1), axis=0)) == BOOTSTRAPS

"""The prior of patterns inside regions: by hand, by dense algebra, at its limits, and on grids of another resolution."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualflux.constraints.pattern import STEPS, Pattern, deviation, kernel, points_on_land
from dualflux.cube import DeviceCube
from dualflux.fitting.ensembles import Run, stack_members
from dualflux.fitting.fit_ensembles import build_objective, linear_step
from dualflux.fitting.linear_posterior import solve
from dualflux.grid import Grid
from dualflux.model.flux_model import FluxModel
from dualflux.variants import VARIANTS
from small_world import (
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    InversionTermSettings,
    TowerTermSettings,
    make_cube,
    make_landscape,
    make_regional,
)

CUBE = make_cube()
PATTERN = Pattern.create(CUBE, CELLS)
MODEL = FluxModel.create(jax.random.key(1), len(CUBE.columns.names), CUBE.columns.invariant, {}, NETWORK)


def lasting(model: FluxModel) -> np.ndarray:
    """f of the points, (point,), mean over the steps that stand for all."""
    cells = np.asarray(PATTERN.points)
    return np.mean(
        [np.asarray(model.landscape(jnp.asarray(CUBE.rows(np.full(len(cells), s), cells)))) for s in CUBE.spread_steps(STEPS)], axis=0
    )


def test_a_deviation_is_that_of_vegetated_land_by_hand() -> None:
    """Two points of one region, full and half green, and one that two regions share evenly: densities (2 + 1 + .5 x 4) / 2 = 2.5 and 4."""
    share, green = np.array([[1, 0], [1, 0], [0.5, 0.5]]), np.array([1.0, 0.5, 1.0])
    flux = np.array([2.0, 1.0, 4.0])
    np.testing.assert_allclose(deviation(share, green) @ flux, [2 - 2.5, 2 - 2.5, 4 - (2.5 + 4) / 2])


def test_the_loss_is_the_dense_quadratic_form() -> None:
    cells = np.asarray(PATTERN.points)
    cover = 0.4**2 * kernel(CELLS.lat()[cells], CELLS.lon()[cells], CUBE.static[cells])
    share = CELLS.region_fraction[:, cells].T
    e = deviation(np.column_stack([share, 1 - share.sum(axis=1)]), np.ones(len(cells))) @ lasting(MODEL)
    part, term = PATTERN.term(jnp.ones(()), {"pattern": jnp.asarray(0.4)}, jax.random.key(0), None)
    assert part == 1 and term(MODEL) == pytest.approx(e @ np.linalg.solve(cover, e) / 2, rel=1e-4)


def test_alike_and_near_is_correlated_and_any_kernel_is_a_covariance() -> None:
    """1 with itself; exp(-1) at 700 km if alike; less where predictors differ; positive definite on random points."""
    lat, lon, same = np.array([0.0, 0.0]), np.array([0.0, np.degrees(700 / 6371)]), np.zeros((2, 1))
    assert kernel(lat, lon, same)[0] == pytest.approx([1, np.exp(-1)], rel=1e-6)
    assert kernel(lat, lon, np.array([[0.0], [1.0]]))[0, 1] == pytest.approx(np.exp(-2))
    random = np.random.default_rng(0)
    many = kernel(np.degrees(np.arcsin(random.uniform(-1, 1, 200))), random.uniform(-180, 180, 200), random.normal(size=(200, 5)))
    assert np.linalg.eigvalsh(many).min() > 1e-3


def spread_of_a_contrast(resolution: float) -> float:
    """Prior sd of the west half of a region less its east half (20 S to 40 N, 0 to 60 E), all alike."""
    grid = Grid.global_regular(resolution)
    lat, lon = (a.ravel() for a in np.meshgrid(grid.lat, grid.lon, indexing="ij"))
    inside = (np.abs(lat - 10) < 30) & (lon > 0) & (lon < 60)
    points = points_on_land(lat, lon, inside)
    west = lon[points] < 30
    contrast = west / west.sum() - ~west / (~west).sum()
    return float(np.sqrt(contrast @ kernel(lat[points], lon[points], np.zeros((len(points), 1))) @ contrast))


def test_the_grid_does_not_matter() -> None:
    """1, 2 and 4 degrees within 10 %."""
    fine = spread_of_a_contrast(1.0)
    assert [spread_of_a_contrast(r) for r in (2.0, 4.0)] == pytest.approx([fine, fine], rel=0.1)


def solution(sd: float, pattern: bool = True) -> tuple[np.ndarray, FluxModel, np.ndarray]:
    """Posterior mean of readout and u's lasting part of a member of inversions, its model, and e of the points there."""
    objective = build_objective(
        None, make_regional(CUBE), CUBE, DeviceCube.of(CUBE), CELLS, NETWORK, TowerTermSettings(), InversionTermSettings(weight=1.0),
        TRAINING, pattern=pattern,
    )  # fmt: skip
    run = Run("", "inversions", VARIANTS["inversions"], (-1,), 2, priors={"pattern": sd, "readout": 0.5})
    stack = stack_members(objective.constraints, [run], TowerTermSettings(), [{}], 1)
    step = linear_step(objective, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL)
    model = jax.tree.map(lambda a: jnp.stack([a, a]), MODEL)
    _, (problem, _) = next(step.problems(model, stack.members, np.arange(2)))
    found = solve(problem, problem.normals(problem.trained), np.array([0.3, 0.2, 0.1, 0.0]), draw=False)[0]
    equations = PATTERN.linear(make_landscape(CUBE))
    features = (
        np.asarray(MODEL.network.features(jnp.asarray(equations.rows)), np.float64).reshape(len(PATTERN.points), STEPS, -1).mean(axis=1)
    )
    layout = problem.layout
    f = features @ found[layout.place("readout")] + equations.basis @ found[layout.place("spatial_lasting")]
    return found, MODEL, equations.whiten @ f


def test_the_linear_step_restrains_the_pattern_and_leaves_it_where_it_is_off() -> None:
    """e is next to nothing under a strict prior, and with an infinite one the solution is that without any."""
    strict, loose, without = solution(1e-3), solution(np.inf), solution(0.3, pattern=False)
    np.testing.assert_allclose(loose[0], without[0], rtol=1e-6, atol=1e-9)
    assert np.sqrt((strict[2] ** 2).mean()) < 0.02 * np.sqrt((loose[2] ** 2).mean())


def test_bare_land_has_no_point_and_a_flat_region_no_deviation() -> None:
    """A flux that is the same everywhere costs nothing."""
    flat = eqx.tree_at(lambda m: m.network.weights[-1], MODEL, jnp.zeros_like(MODEL.network.weights[-1]))
    flat = replace(flat, network=replace(flat.network, biases=[*flat.network.biases[:-1], jnp.asarray([0.7])]))
    assert np.abs(np.asarray(PATTERN.standardised(flat))).max() < 1e-4
    lat, lon = CELLS.lat(), CELLS.lon()
    assert (lat[points_on_land(lat, lon, lat > 0)] > 0).all()

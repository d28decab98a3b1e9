"""A constraint of one's own: one file. The annual total of all land, with a constant offset and an error it shares with the inversions."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag

from dualflux.constraints.areas import Areas, Walk, integrate_values, walk_of
from dualflux.constraints.base import Constraint, Draw, Effect, Equations, Flux, Landscape, LinearMember, Normal, Plan, Term
from dualflux.constraints.inversions.equations import RegionalEquations, spatial_integrals
from dualflux.cube import DeviceCube
from dualflux.fitting.ensembles import Run, stack_members
from dualflux.fitting.fit_ensembles import linear_step, objective_of, train_all
from dualflux.fitting.linear_posterior import READOUT_SD, solve
from dualflux.fitting.objective import Objective
from dualflux.fitting.posterior_draws import integrate_features
from dualflux.model.flux_model import FluxModel
from dualflux.variants import VARIANTS
from small_world import (
    BASIS,
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    TowerTermSettings,
    dense_covariance,
    make_cube,
    make_landscape,
    make_objective,
    make_regional,
    make_towers,
    study_runs,
)

# --- the constraint: all that has to be written ---


class LandOffset(NamedTuple):
    land_offset: jax.Array  # PgC yr-1


class LandLinear(NamedTuple):
    """Annual totals in the linear step."""

    areas: Areas
    spatial: np.ndarray  # (year, 7 x place)
    observed: np.ndarray
    sd: float
    rows: None = None

    def equations(self, member: LinearMember) -> Equations:
        layout, years = member.layout, len(self.observed)
        place = layout.places([*layout.of_flux(), "land_offset", "atmosphere"])
        features = member.columns[0].reshape(years, 12, -1).sum(axis=1).astype(np.float64)
        design = np.column_stack([features, self.spatial, np.ones(years), np.eye(years)])
        error = member.sign * member.random.standard_normal(years) / self.sd
        right = np.column_stack([design.T @ self.observed / self.sd**2, design.T @ error])
        found = Normal(place, design.T @ design / self.sd**2, right)

        def at(parameters: np.ndarray, draw: Draw | None = None) -> Normal:
            if draw is None:
                return found
            fresh = design.T @ (draw.sign * draw.random.standard_normal(years) / self.sd)
            return found._replace(values=np.column_stack([right[:, 0], fresh]))

        return at


class LandTotal(Constraint):
    """The annual integral of all land, also outside the regions, with an offset of its own and the atmosphere's error."""

    name: ClassVar[str] = "land_total"
    label: ClassVar[str] = "annual total of all land"

    walk: Walk  # of months (year, 12)
    observed: jax.Array  # (year,) [PgC yr-1]
    sd: float = eqx.field(static=True)
    areas: Areas = eqx.field(static=True)

    @classmethod
    def create(cls, observed: np.ndarray, sd: float, cube: Any, device: DeviceCube) -> "LandTotal":
        areas = Areas(CELLS.land_area[None], np.arange(12 * len(observed)))
        walk, _ = walk_of(device, cube.steps, [areas])
        return cls(walk.in_months((-1, 12)), jnp.asarray(observed, jnp.float32), sd, areas)

    def parameters(self) -> LandOffset:
        return LandOffset(jnp.zeros(1))

    def effects(self) -> tuple[Effect, ...]:
        years, share = len(self.observed), CELLS.region_area.sum(axis=1) / CELLS.region_area.sum()
        inversions = np.einsum("r,yz->ryz", share / 12, np.eye(years))[:, :, None].repeat(12, axis=2)
        atmosphere = {"inversions": inversions, "land_total": np.eye(years)}
        return Effect("land_offset", "nuisance", 1, 2.0), Effect("atmosphere", "nuisance", years, 0.3, loading=atmosphere)

    def parts(self, plans: Sequence[Plan]) -> jax.Array:
        return jnp.ones(len(plans))

    def term(self, part: jax.Array, sd: dict[str, jax.Array], key: jax.Array, control: Any) -> tuple[jax.Array, Term]:
        variance = self.sd**2 + sd["atmosphere"] ** 2
        return part, lambda model: (self.residual(model) ** 2).sum() / (2 * variance)

    def residual(self, model: Flux) -> jax.Array:
        total = integrate_values(lambda rows: model.landscape(rows)[..., None], self.walk)[0, ..., 0].sum(axis=1)
        found: jax.Array = total + model.own[self.name].land_offset[0] - self.observed
        return found

    def negative_log_prior(self, model: Flux, sd: dict[str, jax.Array]) -> jax.Array:
        found: jax.Array = (model.own[self.name].land_offset ** 2).sum() / (2 * sd["land_offset"] ** 2)
        return found

    def linear(self, landscape: Landscape) -> LandLinear:
        cube, cells, basis = landscape
        months = spatial_integrals(self.areas, cube, cells, basis)
        spatial = months.reshape(len(self.observed), 12, -1).sum(axis=1)
        return LandLinear(self.areas, spatial, np.asarray(self.observed, np.float64), self.sd)


# --- what must hold of it ---

CUBE, YEARS = make_cube(), 4
DEVICE, REGIONAL = DeviceCube.of(CUBE), make_regional(CUBE)
OBSERVED = np.array([-30.3, -29.8, -30.1, -29.9])
LAND = LandTotal.create(OBSERVED, 0.05, CUBE, DEVICE)


def test_its_posterior_is_that_of_dense_algebra() -> None:
    """Readout, u, offset and atmosphere at once: dense R of the inversions beside the totals' variances, stated priors."""
    inversions = make_objective(CUBE, make_towers(CUBE), REGIONAL)["inversions"]
    constraints = [inversions, LAND]
    run = Run("", "inversions", VARIANTS["inversions"], (-1,), 2)
    stack = stack_members(constraints, [run], TowerTermSettings(), [{}], 1)
    landscape = make_landscape(CUBE)
    step = linear_step(objective_of(constraints, CUBE.columns, NETWORK, TRAINING), stack, landscape, DEVICE, SPATIAL)
    own = {"land_total": LandOffset(jnp.zeros(1))}
    one = FluxModel.create(jax.random.key(1), len(CUBE.columns.names), CUBE.columns.invariant, own, NETWORK)
    model = jax.tree.map(lambda a: jnp.stack([a, a]), one)
    _, (problem, _) = next(step.problems(model, stack.members, np.arange(2)))
    spread = np.array([0.3, 0.2, 0.1, 0.0])
    found, variance = solve(problem, problem.normals(problem.trained), spread, draw=False)

    regional = next(linear for linear in step.linear if isinstance(linear, RegionalEquations))
    features = integrate_features(model.network, inversions.regions.walk)[0].astype(np.float64)
    world = integrate_features(model.network, LAND.walk)[0, 0].sum(axis=1).astype(np.float64)
    linear, (offset, atmosphere) = LAND.linear(landscape), LAND.effects()
    shared = np.asarray(atmosphere.loading["inversions"]).reshape(-1, YEARS)
    upper = np.column_stack([features.reshape(96, -1), regional.spatial.reshape(96, -1), np.zeros(96), shared])
    design = np.vstack([upper, np.column_stack([world, linear.spatial, np.ones(YEARS), np.eye(YEARS)])])
    error = block_diag(dense_covariance(REGIONAL.error, YEARS), 0.05**2 * np.eye(YEARS))
    width, places = world.shape[1], BASIS.size
    sizes = [
        np.full(width, READOUT_SD),
        np.full(places, 0.3),
        np.full(2 * places, 0.2),
        np.full(4 * places, 0.1),
        [offset.sd],
        np.full(YEARS, atmosphere.sd),
    ]
    prior, start = np.concatenate(sizes), np.r_[np.asarray(one.network.readout, np.float64), np.zeros(7 * places + 1 + YEARS)]
    covariance = np.linalg.inv(design.T @ np.linalg.solve(error, design) + np.diag(prior**-2))
    observed = np.r_[REGIONAL.observed.ravel(), OBSERVED]
    wanted = covariance @ (design.T @ np.linalg.solve(error, observed) + start / prior**2)

    place = problem.layout.places([*problem.layout.of_flux(), "land_offset", "atmosphere"])
    np.testing.assert_allclose(found[place], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())  # R is kept in single precision
    np.testing.assert_allclose(variance[place], np.diag(covariance), rtol=1e-3)
    assert np.abs(found[problem.layout.place("atmosphere")]).min() > 0


def test_it_trains_beside_towers_and_inversions() -> None:
    """Every member's total of all land and its offset are what was observed, but for the atmosphere's error (sd 0.3)."""
    base = make_objective(CUBE, make_towers(CUBE), REGIONAL)
    constraints = (*base.constraints, LAND)
    stack = stack_members(constraints, study_runs(("dual",)), TowerTermSettings(), [{}], 1)
    fitted = train_all(Objective(constraints, base.prior_sd), stack, make_landscape(CUBE), DEVICE, NETWORK, TRAINING, SPATIAL)
    model = fitted.ensembles["", "dual"].model
    spatial = np.asarray(model.spatial, np.float64).reshape(4, -1) @ LAND.linear(make_landscape(CUBE)).spatial.T
    readout = np.asarray(model.network.readout, np.float64)
    network = np.einsum("myif,mf->my", integrate_features(model.network, LAND.walk)[:, 0].astype(np.float64), readout)
    offset = np.asarray(model.own["land_total"].land_offset, np.float64)
    assert np.abs(network + spatial - OBSERVED).max() > 2  # the regions alone say something else
    assert np.abs(network + spatial + offset - OBSERVED).max() < 4 * 0.3


def test_a_constraint_more_changes_no_others_draws() -> None:
    """Bit by bit: losses of a batch, targets, and the noise of data and priors, with it (first in the list) and without."""
    base = make_objective(CUBE, make_towers(CUBE), REGIONAL)
    found = []
    for constraints in (base.constraints, (LAND, *base.constraints)):
        objective = Objective(constraints, base.prior_sd)
        stack = stack_members(constraints, study_runs(("dual",)), TowerTermSettings(), [{}], 1)
        own = objective.own()
        one = FluxModel.create(jax.random.key(1), len(CUBE.columns.names), CUBE.columns.invariant, own, NETWORK)
        member = jax.tree.map(lambda a: a[0], stack.members)
        terms = jax.jit(lambda o, m, k: o(m, k, jax.random.key(3))[1])(objective, one, member)
        model = jax.tree.map(lambda a: jnp.stack([a] * 4), one)
        _, (problem, _) = next(
            linear_step(objective, stack, make_landscape(CUBE), DEVICE, SPATIAL).problems(model, stack.members, np.arange(4))
        )
        layout = problem.layout
        readout, towers = layout.place("readout"), problem.equations[-2](problem.trained)
        found.append([terms["towers"], terms["inversions"], stack.members.parts["inversions"].target, problem.prior_noise[readout],
                      towers.values])  # fmt: skip
    for one_value, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one_value, other)

"""What the data say of each effect: the table against dense algebra, an effect that nothing sees, and what is never updated."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from dualflux.constraints.base import Effect, Layout, Normal
from dualflux.constraints.inversions.mean_error import COMMON_SHARE_SD
from dualflux.fitting.identifiability import COLUMNS, effect_variances, identifiability_table
from dualflux.fitting.linear_posterior import MemberProblem, Normals, solve
from dualflux.fitting.posterior_draws import draw_posterior
from dualflux.model.flux_model import FluxModel
from small_world import NETWORK, make_cube, make_objective, make_regional, make_stack, make_step, make_towers, study_runs

EFFECTS = (
    Effect("readout", "flux", 3, 0.5), Effect("spatial_lasting", "flux", 4, 0.3, "centred"), Effect("off", "flux", 2, 0.0),
    Effect("unseen", "nuisance", 2, 0.7), Effect("site_effect", "nuisance", 5, 0.9, diagonal=True),
)  # fmt: skip


def test_the_variances_are_those_of_dense_algebra_and_an_effect_that_nothing_sees_keeps_its_prior() -> None:
    """Posterior covariance (X'WX + P)^-1 of 60 drawn rows, its diagonal averaged over each effect."""
    layout, random = Layout(EFFECTS), np.random.default_rng(0)
    design = random.normal(size=(60, layout.size))
    design[:, layout.place("unseen")] = 0
    design[:, layout.place("site_effect")] = np.eye(5)[np.arange(60) % 5]
    weight, spread = random.uniform(0.1, 2, 60), np.array([0.2])  # the estimated sd of u is another than the one it started from
    normal = Normal(np.arange(layout.size), design.T @ (weight[:, None] * design), random.normal(size=(layout.size, 2)))
    sd = np.concatenate([np.full(e.size, e.sd) for e in EFFECTS])
    problem = MemberProblem(layout, np.zeros(layout.size), sd, [lambda _: normal], random.normal(size=layout.size))
    _, posterior = solve(problem, Normals.create([normal], layout.size), spread, draw=True)
    found = effect_variances(layout, problem.sds(spread), posterior)
    prior = np.where(sd > 0, sd, 1) ** 2
    prior[layout.place("spatial_lasting")] = 0.2**2
    on = sd > 0
    dense = np.zeros(layout.size)
    dense[on] = np.diag(np.linalg.inv(normal.matrix[np.ix_(on, on)] + np.diag(1 / prior[on])))
    assert set(found) == {"readout", "spatial_lasting", "unseen", "site_effect"}
    for name, (size, before, after) in found.items():
        place = layout.place(name)
        assert (size, before, after) == pytest.approx((place.stop - place.start, prior[place].mean(), dense[place].mean()), rel=1e-9)
        assert after < 0.95 * before if name != "unseen" else after == pytest.approx(before, rel=1e-12)


@pytest.fixture(name="table", scope="module")
def _table() -> pd.DataFrame:
    cube = make_cube()
    objective = make_objective(cube, make_towers(cube), make_regional(cube))
    stack = make_stack(objective, study_runs())
    model = jax.tree.map(
        lambda *a: jnp.stack(a),
        *[
            FluxModel.create(jax.random.key(i), len(cube.columns.names), cube.columns.invariant, objective.own(), NETWORK)
            for i in range(len(stack.table))
        ],
    )
    step = make_step(cube, objective, stack)
    *_, variances = draw_posterior(step, model, stack.members)
    return identifiability_table(stack.table, variances, step.constraints, stack.plans)


def test_every_variant_has_the_effects_it_has_and_no_other(table: pd.DataFrame) -> None:
    assert list(table) == COLUMNS and not table.duplicated(["variant", "effect"]).any()
    of = {variant: set(rows.effect) for variant, rows in table.groupby("variant")}
    flux, g = {"readout", "spatial_lasting", "spatial_seasonal", "spatial_shape"}, {"representativeness_mean", "representativeness"}
    assert of["inversions"] == flux | {"common_share"}
    assert of["dual"] == flux | g | {"common_share"}
    assert of["towers"] <= flux and of["plain"] == flux | {"common_share"}
    assert ((table.ratio > 0) & (table.ratio <= 1 + 1e-9)).all() and (table.ratio[table.effect != "common_share"] < 1).all()
    np.testing.assert_allclose(table.ratio, table.posterior_variance / table.prior_variance)


def test_what_inversions_have_in_common_keeps_its_prior(table: pd.DataFrame) -> None:
    """The variance of a half-normal distribution, from two million draws."""
    rows = table[table.effect == "common_share"]
    drawn = np.abs(np.random.default_rng(0).normal(size=2_000_000)) * COMMON_SHARE_SD
    assert (rows.ratio == 1).all() and rows.prior_variance.to_numpy() == pytest.approx(drawn.var(), rel=5e-3)

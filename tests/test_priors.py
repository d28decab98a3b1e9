"""Prior sds chosen on what a trial has not seen: the ratio of evidences against a dense density, and sds that are known."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dualflux.constraints.base import Effect, Equations, Layout, Normal
from dualflux.constraints.inversions.observations import InversionTermSettings, constraint_maker
from dualflux.constraints.pattern import Pattern
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import DeviceCube
from dualflux.fitting.ensembles import ALL_SITES, PATTERN_SD, PRIORS, Run, Stack, stack_members
from dualflux.fitting.fit_ensembles import linear_step
from dualflux.fitting.linear_posterior import MemberProblem
from dualflux.fitting.priors import READOUT_SDS, held_out_density
from dualflux.fitting.training import TrainingSettings
from dualflux.fitting.weight import NETWORK_FACTORS, PATTERN_SDS, best_of, candidates, choose_weight, stated
from dualflux.model.flux_model import FluxModel
from dualflux.variants import VARIANTS
from small_world import (
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    WHOLE_PERIOD,
    make_cube,
    make_landscape,
    make_objective,
    make_target,
    make_towers,
    quick_compilation,
)

WIDTH, SITES = 12, 5
LAYOUT = Layout((Effect("readout", "flux", WIDTH, 0.02), Effect("site_effect", "nuisance", SITES, 0.5, diagonal=True)))


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def gaussian(design: np.ndarray, observed: np.ndarray, sd: float) -> Equations:
    """Normal equations of independent errors."""
    values = np.column_stack([design.T @ observed, np.zeros(LAYOUT.size)]) / sd**2
    return lambda parameters, draw=None: Normal(np.arange(LAYOUT.size), design.T @ design / sd**2, values)


class World:
    """Readouts that are `sd` from where training left them, site effects, and data of which the last `held` are not given."""

    def __init__(self, sd: float, seed: int, count: int = 400, held: int = 200) -> None:
        random = np.random.default_rng(seed)
        self.trained = np.r_[random.normal(size=WIDTH), np.zeros(SITES)]
        self.design = np.column_stack([2 * random.normal(size=(count, WIDTH)), np.eye(SITES)[random.integers(SITES, size=count)]])
        self.prior = np.r_[np.full(WIDTH, 0.02), np.full(SITES, 0.5)]
        truth = self.trained + random.normal(size=LAYOUT.size) * np.r_[np.full(WIDTH, sd), np.full(SITES, 0.5)]
        self.error = 0.3
        self.observed, self.given = self.design @ truth + self.error * random.normal(size=count), count - held

    def problem(self, rows: slice) -> MemberProblem:
        one = gaussian(self.design[rows], self.observed[rows], self.error)
        return MemberProblem(LAYOUT, self.trained, self.prior, [one], np.zeros(LAYOUT.size))

    def both(self) -> tuple[MemberProblem, MemberProblem]:
        return self.problem(slice(0, self.given)), self.problem(slice(None))

    def log_density(self, rows: slice, sd: float) -> float:
        """By dense algebra, all unknowns integrated out."""
        prior = np.r_[np.full(WIDTH, sd), np.full(SITES, 0.5)]
        covariance = (self.design[rows] * prior**2) @ self.design[rows].T + self.error**2 * np.eye(len(self.observed[rows]))
        return float(stats.multivariate_normal(self.design[rows] @ self.trained, covariance).logpdf(self.observed[rows]))


def density(worlds: list[World]) -> np.ndarray:
    fitted, every = zip(*(world.both() for world in worlds), strict=True)
    return held_out_density(list(fitted), list(every), np.empty(0))


def test_the_ratio_of_evidences_is_the_density_of_what_was_held_out() -> None:
    """Differences between candidates, against a dense normal distribution: what all candidates share has cancelled."""
    world = World(0.05, 0, count=60, held=25)
    wanted = [world.log_density(slice(None), sd) - world.log_density(slice(0, 35), sd) for sd in READOUT_SDS]
    found = density([world])[:, 0]
    np.testing.assert_allclose(found - found[0], np.array(wanted) - wanted[0], atol=1e-6)


@pytest.mark.parametrize("sd", [0.005, 0.02, 0.08])
def test_a_known_sd_of_the_readout_is_recovered(sd: float) -> None:
    """Twelve members: the best candidate is the true one or its neighbour, the chosen one no farther than a candidate on."""
    scores = density([World(sd, seed, count=60, held=40) for seed in range(12)])
    best, chosen = READOUT_SDS[int(scores.mean(axis=1).argmax())], best_of([scores[..., None]], READOUT_SDS, PRIORS["readout"])[0]
    assert 0.5 <= best / sd <= 2
    assert 0.5 <= chosen / sd <= 2


def test_fitted_data_alone_would_let_the_readout_move_where_held_out_data_do_not() -> None:
    """The fitted data have an error in common (a bias along one column) that the held-out ones have not: their own evidence asks for the
    largest sd, the held-out density for a small one."""
    worlds = [World(0.0, seed, count=60, held=40) for seed in range(8)]
    for world in worlds:
        world.observed[: world.given] += 0.3 * world.design[: world.given, 0]
    alone = np.mean([[world.log_density(slice(0, world.given), sd) for sd in READOUT_SDS] for world in worlds], axis=0)
    assert alone.argmax() == len(READOUT_SDS) - 1 and READOUT_SDS[int(density(worlds).mean(axis=1).argmax())] <= 0.01


# In training


CUBE = make_cube(6)
TOWERS = make_towers(CUBE)
REGIONAL = constraint_maker(make_target(6), CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)
OBJECTIVE = make_objective(CUBE, TOWERS, REGIONAL(None, None), "exact")
OBJECTIVE = replace(OBJECTIVE, constraints=(*OBJECTIVE.constraints, Pattern.create(CUBE, CELLS)))


def stack_of(priors: dict[str, float]) -> Stack:
    run = Run("", "dual", VARIANTS["dual"], (ALL_SITES,), 2, priors=priors)
    return stack_members(OBJECTIVE.constraints, [run], TowerTermSettings(), [{}], 1)


def test_priors_of_a_run_reach_its_members() -> None:
    """The readout's in the linear step; a factor of two on a network's sd makes its log prior a quarter."""
    usual, wide = stack_of({}), stack_of({"network": 2.0, "readout": 0.08})
    model = FluxModel.create(jax.random.key(0), len(CUBE.columns.names), CUBE.columns.invariant, OBJECTIVE.own(), NETWORK)
    one, two = (jax.tree.map(lambda a: a[0], stack.members) for stack in (usual, wide))
    assert float(OBJECTIVE.prior(model, one)) == pytest.approx(4 * float(OBJECTIVE.prior(model, two)), rel=1e-5)
    models = jax.tree.map(lambda a: jnp.stack([a, a]), model)
    for stack, sd in ((usual, PRIORS["readout"]), (wide, 0.08)):
        step = linear_step(OBJECTIVE, stack, make_landscape(CUBE), DeviceCube.of(CUBE), SPATIAL)
        problem = next(iter(step.problems(models, stack.members, np.arange(1))))[1][0]
        np.testing.assert_allclose(problem.prior_sd[problem.layout.place("readout")], sd, rtol=1e-6)


def chosen(training: TrainingSettings) -> tuple[dict[str, float], pd.DataFrame]:
    landscape, device = make_landscape(CUBE), DeviceCube.of(CUBE)
    choice = choose_weight(
        OBJECTIVE, "inversions", REGIONAL, VARIANTS["dual"], NETWORK, TowerTermSettings(), training, CUBE.columns, 1, None,
        lambda stack: linear_step(OBJECTIVE, stack, landscape, device, SPATIAL),
    )  # fmt: skip
    return choice.priors, choice.of_priors


def test_priors_are_chosen_with_the_weight() -> None:
    """Every candidate has a finite score of its own, one of each prior is chosen, and it is what members get."""
    priors, table = chosen(TRAINING)
    assert np.isfinite(table.drop(columns=["prior", "chosen"])).all(axis=None) and table.groupby("prior").chosen.sum().eq(1).all()
    used = table[table.chosen].set_index("prior").value
    assert used.weight_sd == pytest.approx(priors["network"] * TRAINING.network_sd) and used.readout_sd == priors["readout"]
    assert sorted(table.value[table.prior == "weight_sd"]) == [1, 2, 4] and tuple(table.value[table.prior == "readout_sd"]) == READOUT_SDS
    assert sorted(table.value[table.prior == "pattern_sd"]) == sorted([PATTERN_SD, *PATTERN_SDS])
    assert used.pattern_sd == priors["pattern"] and table.score.nunique() == len(table) - 1  # usual priors are tried once for both


def test_a_stated_prior_is_taken_as_it_stands() -> None:
    training = TRAINING.model_copy(update={"weight_sd": 3.0, "readout_sd": 0.03, "pattern_sd": 0.5})
    assert stated(1.0, training).priors == {"network": 1.0, "readout": 0.03, "pattern": 0.5} and training.network_sd == 3.0
    assert all(own == stated(1.0, training).priors for _, own in candidates(training, pattern=True))
    assert {own["network"] for _, own in candidates(TRAINING)} == {1.0, *NETWORK_FACTORS}
    assert {own["pattern"] for _, own in candidates(TRAINING, pattern=True)} == {PATTERN_SD, *PATTERN_SDS}

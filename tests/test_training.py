"""Training: the objective against exact sums and finite differences, estimators without bias, members that know only what they may."""

import dataclasses
from collections.abc import Iterator
from itertools import combinations, pairwise, product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from dualflux.constraints.areas import every_location
from dualflux.constraints.inversions.constraint import quadratic_form
from dualflux.constraints.inversions.integrals import RegionData, exact_integrals
from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.inversions.observations import HoldoutSettings, InversionTermSettings, RegionalConstraint, constraint_maker
from dualflux.constraints.towers.constraint import ERROR_SIZES, MEMORY_DAYS, MEMORY_FACTOR, NAMES, SHARE_SD, UNSEEN_SHARE, Towers
from dualflux.constraints.towers.members import TowerScore
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.constraints.towers.records import OWN
from dualflux.constraints.towers.site_spread import lasting, own_sd
from dualflux.cube import Cube, DeviceCube
from dualflux.fitting import fit_ensembles as experiments
from dualflux.fitting import training
from dualflux.fitting.ensembles import ALL_SITES, Run, Stack, plan_runs
from dualflux.fitting.fit_ensembles import Fitted, train_all
from dualflux.fitting.objective import Control, Member, Objective, score
from dualflux.fitting.training import Fit, TrainingSettings, control_times, optimiser_of, start
from dualflux.model.flux_model import FluxModel
from dualflux.variants import VARIANTS
from small_world import (
    BASIS,
    CELLS,
    NETWORK,
    SPATIAL,
    TRAINING,
    WHOLE_PERIOD,
    dense_covariance,
    dense_tower_errors,
    double_precision,
    make_cube,
    make_landscape,
    make_objective,
    make_regional,
    make_step,
    make_target,
    make_towers,
    quick_compilation,
    study_runs,
    to_double,
)
from small_world import (
    make_stack as stack_of,
)

CUBE = make_cube()
TOWERS = make_towers(CUBE)
REGIONAL = make_regional(CUBE)
OBJECTIVE = make_objective(CUBE, TOWERS, REGIONAL)
ALL_VARIANTS = ("towers", "inversions", "plain", "dual")


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def make_stack(variants: tuple[str, ...] = ALL_VARIANTS, seed: int = 1) -> Stack:
    return stack_of(OBJECTIVE, study_runs(variants), seed=seed)


def one_member(variant: str) -> Member:
    """The first member of a variant."""
    stack = make_stack((variant,))
    return jax.tree.map(lambda a: a[0], stack.members)


def with_part(member: Member, name: str, **changes: object) -> Member:
    """A member whose part of a constraint is another."""
    return member._replace(parts={**member.parts, name: member.parts[name]._replace(**changes)})


def target_of(member: Member) -> jax.Array:
    found: jax.Array = member.parts["inversions"].target
    return found


def quadratic(objective: Objective, model: FluxModel, member: Member, key: jax.Array, control: Control | None = None) -> jax.Array:
    """r' R^-1 r of a member."""
    found: jax.Array = objective["inversions"].quadratic(model, member.parts["inversions"], key, control)
    return found


def perturbed_model(cube: Cube = CUBE, seed: int = 0) -> FluxModel:
    """A model with every parameter away from zero."""
    model = FluxModel.create(jax.random.key(seed), len(cube.columns.names), cube.columns.invariant, OBJECTIVE.own(), NETWORK)
    keys = iter(jax.random.split(jax.random.key(seed + 1), len(jax.tree.leaves(model))))
    return jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(keys), a.shape), model)


def flux_by_hand(model: FluxModel, cube: Cube) -> np.ndarray:
    """f of every step and cell in float64, (step, cell)."""
    step, cell = np.indices((len(cube.steps.time), len(CELLS.index)))
    hidden = cube.rows(step.ravel(), cell.ravel()).astype(np.float64)
    weights, biases = ([np.asarray(a, np.float64) for a in part] for part in (model.network.weights, model.network.biases))
    return (2.0 * (np.tanh(hidden @ weights[0] + biases[0]) @ weights[1] + biases[1])[:, 0]).reshape(step.shape)


def integrals_by_hand(model: FluxModel, cube: Cube) -> np.ndarray:
    """Sum over all cells and days in float64, (region, year, 12)."""
    daily = (regional_operator(CELLS) @ flux_by_hand(model, cube).T)[:-1]
    days = np.repeat(cube.steps.month_days / cube.steps.month_steps, cube.steps.month_steps)
    monthly = np.add.reduceat(daily * days, cube.steps.month_start, axis=1)
    return monthly.reshape(len(monthly), -1, 12)


# The exact estimator


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_exact_integrals_are_the_sum_over_all_cells_and_days(time_step: str) -> None:
    cube = make_cube(2, time_step)
    data = make_objective(cube, make_towers(cube), make_regional(cube, 2))["inversions"].regions
    model = perturbed_model(cube)
    np.testing.assert_allclose(jax.jit(exact_integrals)(model, data), integrals_by_hand(model, cube), rtol=2e-4, atol=2e-5)


def test_exact_integrals_and_their_gradient_do_not_depend_on_blocks() -> None:
    """In float64, blocks of 7 cells: value and gradient are those of one plain sum over all cells."""
    with double_precision():
        data: RegionData = to_double(OBJECTIVE["inversions"].regions)  # type: ignore[assignment]
        model: FluxModel = to_double(perturbed_model())  # type: ignore[assignment]
        upstream = np.random.default_rng(0).normal(size=REGIONAL.observed.shape)
        days = jnp.asarray(CUBE.steps.month_days)

        def plain(model: FluxModel) -> jax.Array:
            flux = model.network(data.walk.cube.block(jnp.arange(48), jnp.arange(72)))
            return (upstream.reshape(2, 48) * (jnp.asarray(CELLS.region_area / 1e15) @ flux.T * days)).sum()

        wanted, gradient = jax.jit(jax.value_and_grad(plain))(model)
        for block in (7, 72):
            cut = data._replace(walk=data.walk._replace(every=every_location(CELLS.region_area, block)))
            found, back = jax.jit(jax.value_and_grad(lambda m, d: (upstream * exact_integrals(m, d)).sum()))(model, cut)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)  # areas are stored in single precision
            for one, two in zip(jax.tree.leaves(back), jax.tree.leaves(gradient), strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("time_step", "steps"), [("monthly", 1), ("daily", 31)])
def test_a_month_is_as_many_steps_as_the_study_says(time_step: str, steps: int) -> None:
    """Also where few of the study's years have inversions: no month of a monthly study is computed 31 times."""
    cube = make_cube(5, time_step)
    regional = make_regional(cube, 2)
    data = make_objective(cube, make_towers(cube), regional)["inversions"].regions
    shapes = []

    class Spy:
        """Stands for a model and notes what it is asked for."""

        @staticmethod
        def landscape(predictors: jax.Array) -> jax.Array:
            shapes.append(predictors.shape[:-1])
            return predictors[..., 0]

    jax.eval_shape(lambda d: exact_integrals(Spy, d), data)  # type: ignore[arg-type]
    assert set(shapes) == {(steps * data.walk.every.cell.shape[1],)}


# The quadratic form


def small_member() -> Member:
    mean, anomaly = REGIONAL.error.precisions()
    return with_part(one_member("dual"), "inversions", mean_precision=mean, anomaly_precision=anomaly)


def full_form(residual: np.ndarray) -> float:
    """r' R^-1 r by dense algebra over regions, years and months."""
    flat = residual.ravel()
    return float(flat @ np.linalg.solve(dense_covariance(REGIONAL.error, residual.shape[1]), flat))


def form(first: np.ndarray, second: np.ndarray, use: np.ndarray, years: int) -> float:
    return float(
        quadratic_form(jnp.asarray(first), jnp.asarray(second), small_member().parts["inversions"], jnp.asarray(use), jnp.asarray(years))
    )


def test_the_quadratic_form_is_generalised_least_squares() -> None:
    residual = np.random.default_rng(0).normal(size=(2, 4, 12))
    with double_precision():
        assert form(residual, residual, np.ones(4), 4) == pytest.approx(full_form(residual), rel=1e-9)
        padded = np.concatenate([residual, 99 + np.zeros((2, 1, 12))], axis=1)
        assert form(padded, padded, np.array([1.0, 1, 1, 1, 0]), 4) == pytest.approx(full_form(residual), rel=1e-9)


@pytest.mark.parametrize("chosen", [2, 3, 4, 5])
def test_random_years_give_the_full_form_on_average(chosen: int) -> None:
    """Over all subsets of 5 years: exactly, term by term, not just in the long run."""
    residual = np.random.default_rng(1).normal(size=(2, 5, 12)) + 1
    with double_precision():
        subsets = [residual[:, list(years)] for years in combinations(range(5), chosen)]
        found = [form(r, r, np.ones(chosen), 5) for r in subsets]
    assert np.mean(found) == pytest.approx(full_form(residual), rel=1e-9)


def test_one_year_alone_has_no_anomalies() -> None:
    """Its dense R over regions and months has an offset and a cycle only; so has the form."""
    residual = np.random.default_rng(2).normal(size=(2, 1, 12))
    wild = dataclasses.replace(REGIONAL.error, anomaly=1e-9 * REGIONAL.error.anomaly)
    np.testing.assert_allclose(dense_covariance(wild, 1), dense_covariance(REGIONAL.error, 1), atol=1e-15)
    with double_precision():
        assert form(residual, residual, np.ones(1), 1) == pytest.approx(full_form(residual), rel=1e-9)


def test_two_samples_are_unbiased_and_one_squared_is_biased_by_its_own_form() -> None:
    """Noise +-a in one sample and +-b in the other: the mean over all signs is the form of the truth; squared, that plus the noise's."""
    rng = np.random.default_rng(3)
    truth, a, b = rng.normal(size=(3, 2, 4, 12))
    use = np.ones(4)
    with double_precision():
        two = np.mean([form(truth + s * a, truth + t * b, use, 4) for s, t in product((1, -1), repeat=2)])
        squared = np.mean([form(truth + s * a, truth + s * a, use, 4) for s in (1, -1)])
    assert two == pytest.approx(full_form(truth), rel=1e-9)
    assert squared == pytest.approx(full_form(truth) + full_form(a), rel=1e-9)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_the_stratified_estimator_is_unbiased(time_step: str) -> None:
    """Mean over 6000 batches (2 years of 4, 2 locations a region, a day of each month) within 4 standard errors of the exact form."""
    cube = make_cube(4, time_step)
    objective = make_objective(cube, make_towers(cube), make_regional(cube))
    member, model = one_member("dual"), perturbed_model(cube)
    residual = integrals_by_hand(model, cube) - np.asarray(target_of(member), np.float64)
    term = jax.jit(lambda keys: jax.lax.map(lambda k: quadratic(objective, model, member, k), keys, batch_size=100))
    found = np.asarray(term(jax.random.split(jax.random.key(0), 6000)), dtype=np.float64)
    exact = full_form(residual)
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean() - exact) < 4 * error
    assert error < 0.1 * exact  # the test can tell


def control_of(objective: Objective, model: FluxModel) -> Control:
    return Control(model, {"inversions": jax.jit(exact_integrals)(model, objective["inversions"].regions)})


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_at_its_control_variate_an_integral_is_exact(time_step: str) -> None:
    """Whatever locations and days are drawn: nothing has changed, so nothing is estimated."""
    cube = make_cube(4, time_step)
    objective = make_objective(cube, make_towers(cube), make_regional(cube))
    member, model, years = one_member("dual"), perturbed_model(cube), jnp.arange(4)
    control = control_of(objective, model)
    part = member.parts["inversions"]
    residual = jax.jit(lambda key, control: objective["inversions"].residual(model, part, years, key, control))
    for key in range(3):
        found = residual(jax.random.key(key), control)
        np.testing.assert_allclose(found, integrals_by_hand(model, cube) - np.asarray(target_of(member)), rtol=1e-3, atol=1e-4)
        assert np.abs(np.asarray(residual(jax.random.key(key), None) - found)).max() > 0.01


def test_away_from_its_control_variate_the_estimator_is_unbiased_and_less_noisy() -> None:
    """A member that has moved a little: mean over 3000 batches within 4 standard errors of the exact form, half the sd of none."""
    objective, member, anchored = make_objective(CUBE, TOWERS, REGIONAL), one_member("dual"), perturbed_model()
    model = jax.tree.map(lambda a, b: a + 0.1 * (b - a), anchored, perturbed_model(seed=5))
    exact = full_form(integrals_by_hand(model, CUBE) - np.asarray(target_of(member), np.float64))
    term = jax.jit(lambda keys, a: jax.lax.map(lambda k: quadratic(objective, model, member, k, a), keys, batch_size=100))
    keys = jax.random.split(jax.random.key(0), 3000)
    found, plain = (np.asarray(term(keys, a), np.float64) for a in (control_of(objective, anchored), None))
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found))
    assert found.std() < 0.5 * plain.std()


def test_a_control_variate_is_the_member_with_its_integrals() -> None:
    """Zeros where no inversions are used: there they are never computed."""
    objective, optimiser = make_objective(CUBE, TOWERS, REGIONAL), optimiser_of(TRAINING)
    for variant in ("dual", "towers"):
        member = one_member(variant)
        state = start(objective, member, NETWORK, TOWERS.predictors.shape[1], CUBE.columns.invariant, optimiser)
        found = jax.jit(lambda o, s, m: o.control(s.model, m))(objective, state, member)
        assert same(found.model, state.model)
        wanted = integrals_by_hand(state.model, CUBE) if variant == "dual" else np.zeros((2, 4, 12))
        np.testing.assert_allclose(found.known["inversions"], wanted, rtol=2e-4, atol=2e-5)


@given(st.integers(2, 30), st.integers(0, 40))
@settings(deadline=None)
def test_control_variates_are_set_in_the_second_half(checkpoints: int, anchors: int) -> None:
    """As many as asked for, the first at half-time, never after the last, evenly to one checkpoint; too many are refused."""
    half = checkpoints // 2
    if anchors > max(checkpoints - half, TrainingSettings().anchors):
        with pytest.raises(ValidationError, match=f"use at most {checkpoints - half} `anchors` or more `checkpoints`"):
            TrainingSettings(steps=100, checkpoints=checkpoints, anchors=anchors)
        return
    found = sorted(control_times(TrainingSettings(steps=100, checkpoints=checkpoints, anchors=anchors)))
    assert len(found) == min(anchors, checkpoints - half)
    if found:
        assert found[0] == half and found[-1] < checkpoints
        gaps = np.diff([*found, checkpoints])
        assert gaps.max() - gaps.min() <= 1


def test_years_that_are_left_out_are_never_drawn() -> None:
    """Asked for more years than there are: those that do not constrain stay out, whatever target stands there."""
    objective = make_objective(CUBE, TOWERS, REGIONAL, years=3)
    member = with_part(one_member("dual"), "inversions", year_use=jnp.asarray([1.0, 0, 1, 0]))
    model = perturbed_model()
    gradient = jax.jit(jax.grad(lambda target, key: quadratic(objective, model, with_part(member, "inversions", target=target), key)))
    found = np.stack([gradient(target_of(member), jax.random.key(k)) for k in range(5)])
    assert not found[:, :, [1, 3]].any() and found[:, :, [0, 2]].all()


# Towers


def without_validation(member: Member) -> Member:
    """A member that learns everything where it trains."""
    return with_part(member, "towers", validation_count=jnp.zeros(()))


def expected_by_hand(model: FluxModel, member: Member, own: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """f + g, with b and years, at every row, and the scale of the error."""
    kept, records = model.own["towers"], OBJECTIVE["towers"].records
    f, g = (np.asarray(part(jnp.asarray(TOWERS.predictors)), np.float64) for part in (model.network, model.representativeness))
    scale = np.exp(float(kept.log_error_floor)) + np.exp(float(kept.log_error_growth)) * np.abs(f + g)
    b = np.asarray(kept.site_effect, np.float64).reshape(-1, len(OWN))
    use = np.asarray(member.parts["towers"].use, np.float64)
    b = b - np.eye(len(OWN))[0] * np.average(b[:, 0], weights=use)  # offsets have zero mean over the sites in use
    year = np.asarray(kept.site_year, np.float64).reshape(len(b), -1)[TOWERS.site, records.year]
    return f + g + own * ((b[TOWERS.site] * records.own).sum(axis=1) + year * scale), scale


def own_towers(freedom: float) -> Towers:
    towers: Towers = dataclasses.replace(OBJECTIVE["towers"], degrees_of_freedom=freedom)
    return towers


def forgetful(model: FluxModel, logit: float, days: float) -> FluxModel:
    kept = model.own["towers"]._replace(memory_logit=jnp.asarray(logit), log_memory_days=jnp.log(days))
    return dataclasses.replace(model, own={**model.own, "towers": kept})


def test_rows_of_a_record_stand_as_they_came() -> None:
    np.testing.assert_array_equal(OBJECTIVE["towers"].records.order, np.arange(len(TOWERS.site)))  # what tests here build on


SEEN = jnp.zeros(1, bool)  # runs at sites in training


def test_without_memory_the_tower_term_is_a_student_t_density() -> None:
    member, model = one_member("dual"), forgetful(perturbed_model(), -40.0, 1.0)
    rows = jnp.arange(len(TOWERS.observed))
    found = OBJECTIVE["towers"].losses(model, rows[:, None], SEEN, member.parts["towers"], member.sd)[:, 0]
    expected, size = expected_by_hand(model, member)
    scale = np.sqrt(TOWERS.uncertainty**2 + size**2)
    wanted = -stats.t.logpdf(TOWERS.observed, df=4, loc=expected, scale=scale) + stats.t.logpdf(0, df=4)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


NORMAL = 1e9  # degrees of freedom


@pytest.mark.parametrize("days", [10.0, 300.0])
def test_the_tower_term_is_the_dense_likelihood(days: float) -> None:
    """Of all rows of all sites in one run, with a normal error: -log density in V made of memory and white noise."""
    with double_precision():
        towers: Towers = to_double(own_towers(NORMAL))  # type: ignore[assignment]
        member: Member = to_double(one_member("dual"))  # type: ignore[assignment]
        model: FluxModel = to_double(forgetful(perturbed_model(), 0.4, days))  # type: ignore[assignment]
        rows, part = jnp.arange(len(TOWERS.site))[:, None], member.parts["towers"]
        found = float(jax.jit(lambda m: towers.losses(m, rows, SEEN, part, member.sd).sum())(model))
    expected, size = expected_by_hand(model, member)
    share = 1 / (1 + np.exp(-0.4))
    white = TOWERS.uncertainty.astype(float) ** 2 + (1 - share) * size**2
    dense = dense_tower_errors(towers.records, white, np.sqrt(share) * size, days, np.zeros((len(size), 1)))
    constant = len(size) / 2 * np.log(2 * np.pi)
    wanted = -stats.multivariate_normal.logpdf(TOWERS.observed - expected, cov=dense) - constant
    assert found == pytest.approx(wanted, rel=1e-4)


def test_what_unseen_sites_say_is_the_dense_likelihood() -> None:
    """With a normal error: -log density in V of b, years, memory and white noise, from f + g alone; sites of any order in the run."""
    sd = {"offset": 0.9, "cycle": 0.4, "trend": 0.7, "year": 0.6}
    with double_precision():
        towers: Towers = to_double(own_towers(NORMAL))  # type: ignore[assignment]
        member: Member = to_double(one_member("dual"))  # type: ignore[assignment]
        member = member._replace(sd={**member.sd, **{NAMES[part]: jnp.asarray(value) for part, value in sd.items()}})
        model: FluxModel = to_double(forgetful(perturbed_model(), 0.4, 200.0))  # type: ignore[assignment]
        sites = np.array([9, 2, 3])
        rows = np.concatenate([np.flatnonzero(TOWERS.site == s) for s in sites])
        expected = towers.expected(model, jnp.asarray(rows), member.sd)
        losses = jax.jit(lambda e: towers.unseen_losses(e, model.own["towers"], jnp.asarray(rows), member.sd))
        found = float(losses(expected).sum())
    expected, size = expected_by_hand(model, member, own=False)
    share, records = 1 / (1 + np.exp(-0.4)), towers.records
    white = TOWERS.uncertainty.astype(float) ** 2 + (1 - share) * size**2
    columns = lasting(records, own_sd(sd, TOWERS.amplitude), sd["year"] * size)
    dense = dense_tower_errors(records, white, np.sqrt(share) * size, 200.0, columns)[np.ix_(rows, rows)]
    constant = len(rows) / 2 * np.log(2 * np.pi)
    wanted = -stats.multivariate_normal.logpdf((TOWERS.observed - expected)[rows], cov=dense) - constant
    assert found == pytest.approx(wanted, rel=1e-4)


def test_single_precision_is_enough_for_twenty_years_of_days() -> None:
    """Innovations of 7300 rows of one unseen site in float32 and in float64: their sum agrees to 1e-3 nats a hundred rows."""
    random, days = np.random.default_rng(0), 7300
    time = pd.date_range("2001-01-01", periods=days)
    data = dataclasses.replace(
        TOWERS, predictors=random.normal(size=(days, TOWERS.predictors.shape[1])).astype(np.float32), site=np.zeros(days, int), time=time,
        observed=random.normal(size=days).astype(np.float32), uncertainty=np.full(days, 0.2, np.float32),
    )  # fmt: skip
    towers = Towers.create(data, TowerTermSettings(), 64)
    sd = {name: jnp.asarray(1.0) for name in NAMES.values()}

    def losses(towers: Towers) -> np.ndarray:
        run = jax.jit(lambda expected: towers.unseen_losses(expected, towers.parameters(), jnp.arange(days), sd))
        return np.asarray(run(jnp.zeros_like(towers.observed)), float)

    single = losses(towers)
    with double_precision():
        double = losses(to_double(towers))  # type: ignore[arg-type]
    assert np.isfinite(single).all() and abs(single.sum() - double.sum()) < 0.073


def test_runs_are_of_neighbours_and_every_row_is_as_likely() -> None:
    """Over 2000 keys: rows that count after the warm-up, within 5 standard errors; none of another's rows; one after the other."""
    towers = dataclasses.replace(OBJECTIVE["towers"], batch=100)
    part = with_part(one_member("dual"), "towers").parts["towers"]
    mine, count = np.asarray(part.rows), int(part.row_count)
    assert set(mine[:count]) == set(np.flatnonzero(np.asarray(part.use)[TOWERS.site]))
    runs = np.asarray(
        jax.jit(jax.vmap(lambda key: towers.draw_runs(part.rows, part.row_count, key)))(jax.random.split(jax.random.key(0), 2000))
    )
    follows = dict(pairwise([*mine[:count], mine[0]]))
    assert all(follows[a] == b for a, b in zip(runs[:20, :-1].ravel(), runs[:20, 1:].ravel(), strict=True))
    drawn = np.bincount(runs[:, towers.warm_up :].ravel(), minlength=len(TOWERS.site))
    assert not np.delete(drawn, mine[:count]).any()
    usual = drawn.sum() / count
    assert np.abs(drawn[mine[:count]] - usual).max() < 5 * np.sqrt(usual * (4 * towers.warm_up))  # rows of a run come together


def test_a_site_that_counts_twice_has_its_rows_twice() -> None:
    towers = OBJECTIVE["towers"]
    use = np.zeros((1, 16), np.float32)
    use[0, [2, 5]] = 2, 1
    part = towers.part_of(use, np.zeros_like(use), np.ones(1, np.float32))
    wanted = np.concatenate([np.flatnonzero(TOWERS.site == s) for s in (2, 2, 5)])
    np.testing.assert_array_equal(np.asarray(part.rows)[0, : int(part.row_count[0])], wanted)


def test_a_batch_estimates_the_sum_over_training_sites() -> None:
    """Of all training rows, site after site: the mean over 3000 keys, where the warm-up is longer than the memory."""
    member, model = without_validation(one_member("dual")), forgetful(perturbed_model(), 0.4, 40.0)
    towers, part = OBJECTIVE["towers"], member.parts["towers"]
    rows = part.rows[: int(part.row_count)]
    exact = float(towers.losses(model, rows[:, None], SEEN, part, member.sd).sum())
    keys = jax.random.split(jax.random.key(0), 3000)
    found = np.asarray(jax.jit(jax.vmap(lambda key: towers.term(part, member.sd, key, None)[1](model)))(keys), np.float64)
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found)) + 1e-4 * abs(exact)
    every = rows[(jnp.arange(4 * towers.warm_up)[:, None] + jnp.arange(len(rows))) % len(rows)]  # runs from everywhere
    mean = towers.losses(model, every, SEEN, part, member.sd)[towers.warm_up :].mean() * len(rows)
    assert float(mean) == pytest.approx(exact, rel=1e-3)


def test_the_prior_is_as_stated() -> None:
    """Differences of log densities (constants drop out): normal of weights, slopes and years, Student-t of what a site has of its own."""
    objective, member = make_objective(CUBE, TOWERS, REGIONAL), one_member("dual")
    models = [perturbed_model(seed=s) for s in (0, 5)]
    sd = own_sd({part: float(member.sd[name]) for part, name in NAMES.items()}, TOWERS.amplitude)

    def log_density(model: FluxModel) -> float:
        sizes = [np.sqrt(2 / len(w)) * TRAINING.network_sd for w in model.network.weights]
        parts = [stats.norm.logpdf(np.asarray(w), scale=s).sum() for w, s in zip(model.network.weights, sizes, strict=True)]
        slopes, kept = np.asarray(model.representativeness.coefficient), model.own["towers"]
        parts.append(stats.norm.logpdf(slopes, scale=float(member.sd["representativeness"])).sum())
        parts.append(stats.norm.logpdf(np.asarray(kept.site_year), scale=float(member.sd["site_year"])).sum())
        effects = np.asarray(kept.site_effect, np.float64).reshape(len(sd), -1)
        parts += [stats.multivariate_t.logpdf(b, shape=np.diag(s**2), df=4) for b, s in zip(effects, sd, strict=True)]
        parts.append(stats.norm.logpdf(float(kept.memory_logit), scale=SHARE_SD))
        parts.append(stats.norm.logpdf(float(kept.log_memory_days), np.log(MEMORY_DAYS), MEMORY_FACTOR))
        return float(sum(parts))

    found = [float(objective.prior(m, member)) for m in models]
    assert found[0] - found[1] == pytest.approx(log_density(models[1]) - log_density(models[0]), rel=1e-4)


# Gradients


def terms_of(objective: Objective, member: Member, model: FluxModel) -> dict[str, jax.Array]:
    return objective(model, member, jax.random.key(7))[1]


@pytest.mark.parametrize("estimator", ["exact", "stratified"])
def test_gradients_are_those_of_finite_differences(estimator: str) -> None:
    """Every term, three random directions in all parameters, float64; the error's growth with the flux is held (its gradient is cut).

    The gradient that training takes, term by term, is that of their sum. (Unseen sites move the error's sizes alone: see below.)
    """
    with double_precision():
        objective: Objective = to_double(make_objective(CUBE, TOWERS, REGIONAL, estimator))  # type: ignore[assignment]
        member: Member = to_double(without_validation(one_member("dual")))  # type: ignore[assignment]
        model: FluxModel = to_double(perturbed_model())  # type: ignore[assignment]
        model = eqx.tree_at(lambda m: m.own["towers"].log_error_growth, model, jnp.asarray(-60.0))
        value = jax.jit(lambda m: terms_of(objective, member, m))
        gradients = jax.jit(jax.jacrev(lambda m: terms_of(objective, member, m)))(model)
        whole = jax.jit(lambda m: objective.gradient(m, member, jax.random.key(7)))(model)
        for found, *parts in zip(*(jax.tree.leaves(g) for g in (whole, *gradients.values())), strict=True):
            np.testing.assert_allclose(found, sum(parts), rtol=1e-9, atol=1e-9)
        for direction in range(3):
            keys = iter(jax.random.split(jax.random.key(direction), len(jax.tree.leaves(model))))
            step = jax.tree.map(lambda a, k=keys: jax.random.normal(next(k), a.shape), model)
            ahead, behind = (value(jax.tree.map(lambda a, d, h=h: a + h * d, model, step)) for h in (1e-5, -1e-5))
            for name, gradient in gradients.items():
                slope = sum(float((g * d).sum()) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(step), strict=True))
                assert slope == pytest.approx(float(ahead[name] - behind[name]) / 2e-5, rel=1e-5), name


def test_the_sizes_of_the_error_are_learnt_at_unseen_sites() -> None:
    """Of floor, growth and memory the gradient is that of finite differences of the runs at unseen sites, with the flux where it is."""
    with double_precision():
        towers: Towers = to_double(OBJECTIVE["towers"])  # type: ignore[assignment]
        member: Member = to_double(one_member("dual"))  # type: ignore[assignment]
        model: FluxModel = to_double(perturbed_model())  # type: ignore[assignment]
        part = member.parts["towers"]

        def changed(sizes: jax.Array) -> FluxModel:
            kept = model.own["towers"]._replace(**dict(zip(ERROR_SIZES, sizes, strict=True)))
            return dataclasses.replace(model, own={"towers": kept})

        def unseen(sizes: jax.Array, key: jax.Array) -> jax.Array:
            held = towers.draw_runs(part.validation_rows, part.validation_count, jax.random.split(key)[1])[:, ::UNSEEN_SHARE]
            return part.row_count * towers.losses(changed(sizes), held, ~SEEN, part, member.sd).mean()

        at, h = jnp.asarray([-0.5, -1.5, 0.3, 3.5]), 1e-5
        slope = jax.jit(jax.grad(lambda sizes, key: towers.term(part, member.sd, key, None)[1](changed(sizes))))
        value, steps = jax.jit(unseen), h * jnp.eye(4)
        for key in jax.random.split(jax.random.key(1), 3):
            wanted = [float(value(at + d, key) - value(at - d, key)) / (2 * h) for d in steps]
            np.testing.assert_allclose(slope(at, key), wanted, rtol=1e-5, atol=1e-6)


def test_unseen_sites_teach_a_member_nothing_but_sizes_of_errors_and_what_they_have_of_their_own() -> None:
    """Other fluxes observed there: the gradient of network and g stays as it is, bit by bit."""
    member, model, towers = one_member("dual"), perturbed_model(), OBJECTIVE["towers"]
    part = member.parts["towers"]
    held = np.asarray(part.validation_rows)[: int(part.validation_count)]
    other = dataclasses.replace(towers, observed=towers.observed.at[held].add(5.0))
    slope = jax.jit(lambda t: jax.grad(t.term(part, member.sd, jax.random.key(0), None)[1])(model))
    one, two = slope(towers), slope(other)
    assert same(one.network, two.network) and same(one.representativeness, two.representativeness)
    assert not same(one.own, two.own)


def test_without_unseen_sites_the_sizes_of_the_error_are_learnt_where_it_trains() -> None:
    with double_precision():
        objective: Objective = to_double(make_objective(CUBE, TOWERS, REGIONAL))  # type: ignore[assignment]
        member: Member = to_double(without_validation(one_member("dual")))  # type: ignore[assignment]
        model: FluxModel = to_double(perturbed_model())  # type: ignore[assignment]

        def term(sizes: jax.Array) -> jax.Array:
            kept = model.own["towers"]._replace(**dict(zip(ERROR_SIZES, sizes, strict=True)))
            return terms_of(objective, member, dataclasses.replace(model, own={"towers": kept}))["towers"]

        term, at, h = jax.jit(term), jnp.asarray([-0.5, -1.5, 0.3, 3.5]), 1e-5
        found = np.asarray(jax.jit(jax.grad(term))(at))
        wanted = [float(term(at + d) - term(at - d)) / (2 * h) for d in h * jnp.eye(4)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        assert found.all()


SOURCES: dict[str, tuple[bool, bool]] = {"towers": (True, False), "inversions": (False, True), "plain": (True, True), "dual": (True, True)}


# g's intercept, g's slopes, b
TOWER_TERMS = {
    "towers": (False, False, True),
    "inversions": (False, False, False),
    "plain": (False, False, True),
    "dual": (True, True, True),
}


def moves(values: object) -> bool:
    return bool(np.asarray(values).any())


def total(model: FluxModel, observed: jax.Array, target: jax.Array, member: Member) -> jax.Array:
    """The objective as a function of the model, the towers' observations and the inversions' target."""
    changed = OBJECTIVE.with_constraint(dataclasses.replace(OBJECTIVE["towers"], observed=observed))
    return changed(model, with_part(member, "inversions", target=target), jax.random.key(0))[0]


def tower_terms(model: FluxModel) -> tuple[jax.Array, ...]:
    return model.representativeness.intercept, model.representativeness.coefficient, model.own["towers"].site_effect


GRADIENTS = jax.jit(jax.grad(total, argnums=(0, 1, 2)))


@pytest.mark.parametrize("variant", ALL_VARIANTS)
def test_a_source_that_is_left_out_has_no_influence(variant: str) -> None:
    """The derivative with respect to what was observed is zero for the source a variant does not use, and only for it."""
    member = one_member(variant)
    _, *found = GRADIENTS(perturbed_model(), jnp.asarray(TOWERS.observed), target_of(member), member)
    assert tuple(moves(f) for f in found) == SOURCES[variant]


@pytest.mark.parametrize("variant", ALL_VARIANTS)
def test_a_term_that_is_off_is_never_pulled(variant: str) -> None:
    """Gradient of g and b exactly zero where the variant has none."""
    member = one_member(variant)
    fresh = eqx.tree_at(tower_terms, perturbed_model(), replace_fn=jnp.zeros_like)
    gradient, _, _ = GRADIENTS(fresh, jnp.asarray(TOWERS.observed), target_of(member), member)
    assert tuple(moves(g) for g in tower_terms(gradient)) == TOWER_TERMS[variant]


def test_a_study_may_go_without_what_a_site_has_of_its_own() -> None:
    """`site_effects: false`: its sds are 0, and b and years feel no gradient, whatever they are."""
    towers = dataclasses.replace(OBJECTIVE["towers"], site_effects=False)
    sds = [towers.effect_sd(plan) for plan in make_stack().plans]
    assert all(set(sd) == set(NAMES.values()) and not any(sd.values()) for sd in sds)
    member = one_member("dual")
    member = member._replace(sd={**member.sd, **{name: jnp.zeros(()) for name in NAMES.values()}})
    gradient, _, _ = GRADIENTS(perturbed_model(), jnp.asarray(TOWERS.observed), target_of(member), member)
    assert not moves(gradient.own["towers"].site_effect) and not moves(gradient.own["towers"].site_year)
    assert all(
        any(towers.effect_sd(plan).values()) == plan.variant.towers for plan in make_stack().plans for towers in [OBJECTIVE["towers"]]
    )


# Scores


def test_a_score_looks_at_inner_validation_sites_only() -> None:
    """Their rows, from f + g alone; what fills up the rows counts nowhere."""
    objective, member, model = make_objective(CUBE, TOWERS, REGIONAL), one_member("dual"), perturbed_model()
    part = member.parts["towers"]
    held, count = np.flatnonzero(np.asarray(part.validation)[TOWERS.site]), int(part.validation_count)
    found = jax.jit(score)(objective, model, member).constraints["towers"]
    assert 0 < len(held) == count < len(TOWERS.site)
    np.testing.assert_array_equal(np.asarray(part.validation_rows)[:count], held)
    padded = with_part(member, "towers", validation_rows=jnp.asarray(np.r_[held, [0] * 7]))
    again = jax.jit(score)(objective, model, padded).constraints["towers"]
    assert float(again.validation_loss) == pytest.approx(float(found.validation_loss), rel=1e-5)
    expected, scale = (a[held] for a in expected_by_hand(model, member, own=False))
    residual = TOWERS.observed[held] - expected
    assert float(found.validation_weight) == count
    assert float(found.validation_square) == pytest.approx((residual**2).sum(), rel=1e-4)
    np.testing.assert_allclose(found.residual[:count], residual, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.scale[:count], scale, rtol=1e-4)
    assert not np.asarray(found.residual[count:]).any()


def test_the_spread_of_sites_is_that_of_a_family() -> None:
    """Members of one family share it, those of another have their own; what is off stays off."""
    stack, towers = make_stack(("dual",)), OBJECTIVE["towers"]
    parts, random = stack.members.parts["towers"], np.random.default_rng(0)
    members, rows = parts.validation_rows.shape
    family, size = np.array([0, 0, 1, 1]), np.array([1.0, 1, 0.05, 0.05])
    nothing = np.zeros(members)
    residual = size[:, None] * random.normal(size=(members, 16))[:, TOWERS.site[np.asarray(parts.validation_rows)[0]]][:, :rows]
    scores = TowerScore(nothing, nothing, nothing, residual, np.full((members, rows), 0.1), np.full(members, 0.5), np.full(members, 20.0))  # type: ignore[arg-type]
    sd = {name: np.full(members, 0.5) for name in NAMES.values()} | {"site_trend": np.zeros(members)}
    found = towers.estimated_sd(scores, parts, sd, family)
    assert set(found) == set(NAMES.values()) and not found["site_trend"].any()
    for part in ("site_offset", "site_cycle", "site_year"):
        assert found[part][0] == found[part][1] and found[part][2] == found[part][3]
    assert found["site_offset"][0] > 3 * found["site_offset"][2]


# Members


def test_no_member_sees_its_fold_nor_its_validation_sites() -> None:
    stack = make_stack()
    group, fold = TOWERS.sites.group.to_numpy(), TOWERS.sites.fold.to_numpy()
    for place, row in enumerate(stack.table.itertuples()):
        use, held = (np.asarray(a[place]) > 0 for a in stack.members.parts["towers"][:2])
        assert not (use & held).any() and not set(group[use]) & set(group[held])
        assert not set(group[use | held]) & set(group[fold == row.fold])
        if row.variant == "inversions":
            assert not use.any() and not held.any()
        else:
            assert use.any() and held.any() and (use | held | (fold == row.fold)).all()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=16, max_size=16), st.integers(0, 5), st.integers(2, 4), st.booleans())
def test_groups_are_never_divided_whatever_they_are(groups: list[int], seed: int, members: int, all_sites: bool) -> None:
    group = np.array(groups)
    if len(set(groups)) < 5:
        return
    fold = (group * 7 + seed) % 2
    if min(len(set(group[fold == f])) for f in (0, 1)) < 2:
        return
    towers = dataclasses.replace(TOWERS, sites=TOWERS.sites.assign(group=group, fold=fold))
    run = Run("", "dual", VARIANTS["dual"], (ALL_SITES,) if all_sites else (0, 1), members)
    stack = stack_of(make_objective(CUBE, towers, REGIONAL), [run], seed=seed)
    for place, row in enumerate(stack.table.itertuples()):
        use, held = (np.asarray(a[place]) > 0 for a in stack.members.parts["towers"][:2])
        outer = fold == row.fold
        assert use.any() and held.any()
        assert not set(group[use]) & set(group[held]) and not set(group[use | held]) & set(group[outer])


def same(one: object, two: object) -> bool:
    def plain(a: jax.Array) -> np.ndarray:
        return np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, jax.dtypes.prng_key) else a)

    return all(np.array_equal(plain(a), plain(b)) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True))


def chosen(stack: Stack, variant: str, run: str = "") -> Member:
    index = np.flatnonzero((stack.table.variant == variant) & (stack.table.run == run))
    return jax.tree.map(lambda a: a[index], stack.members)


def members_of(stack: Stack, variant: str) -> Member:
    """The same, rows without what fills them up to the most of the stack."""
    found = chosen(stack, variant)
    part = found.parts["towers"]
    rows, held = part.rows[:, : int(part.row_count.max())], part.validation_rows[:, : int(part.validation_count.max())]
    return with_part(found, "towers", rows=rows, validation_rows=held)


def without(year: int) -> RegionalConstraint:
    return constraint_maker(make_target(), CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)(None, (year, year))


def test_a_variant_or_an_experiment_more_does_not_change_the_others() -> None:
    full = make_stack()
    for variant in ALL_VARIANTS:
        alone, mine = make_stack((variant,)), np.flatnonzero(full.table.variant == variant)
        assert same(members_of(full, variant), members_of(alone, variant))
        assert [full.seeds[i] for i in mine] == alone.seeds  # of the posterior draws
    runs = [Run("without_2004_2004", "dual", VARIANTS["dual"], (ALL_SITES,), 2, {"inversions": without(2004)}), *study_runs(("dual",))]
    more = stack_of(OBJECTIVE, runs)
    assert same(members_of(full, "dual"), members_of(more, "dual"))
    assert not same(chosen(more, "dual", "without_2004_2004").key[0], chosen(more, "dual").key[0])


@pytest.mark.parametrize(("seed", "other"), [(1, 2), (0, 100), (7, 2**32 - 1)])
def test_no_two_members_share_a_key_and_no_two_seeds_a_member(seed: int, other: int) -> None:
    runs = study_runs(ALL_VARIANTS)
    runs += [Run(name, "dual", VARIANTS["dual"], (ALL_SITES,), 2) for name in ("without_AB", "without_BA")]
    keys: list[tuple[int, ...]] = []
    closing: list[tuple[int, ...]] = []
    for s in (seed, other):
        stack = stack_of(OBJECTIVE, runs, seed=s)
        keys += [tuple(np.asarray(jax.random.key_data(k)).tolist()) for k in stack.members.key]
        closing += stack.seeds
    assert len(set(keys)) == len(keys) and len(set(closing)) == len(closing)


def test_draws_of_a_pair_are_antithetic_throughout() -> None:
    """Two members of a fold share the seed of their closing draw with opposite signs, and their targets average to what was observed."""
    stack = make_stack()
    for _, index in stack.table.groupby(["variant", "fold"]).groups.items():
        one, two = index
        assert stack.seeds[one][:-1] == stack.seeds[two][:-1] and stack.seeds[one][-1] == -stack.seeds[two][-1]
        target = np.asarray(stack.members.parts["inversions"].target, np.float64)
        np.testing.assert_allclose((target[one] + target[two]) / 2, REGIONAL.observed, atol=1e-6)
    assert len({seed[:-1] for seed in stack.seeds}) == len(stack.seeds) / 2


def test_left_out_years_and_products_are_planned() -> None:
    make = constraint_maker(make_target(), CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)
    runs = plan_runs({v: VARIANTS[v] for v in ("towers", "dual")}, NETWORK, HoldoutSettings(years=(2003, 2003), inversions=True), make)
    assert [(r.name, r.variant, r.folds) for r in runs] == [
        ("", "towers", (0, 1)), ("", "dual", (0, 1)), ("without_2003_2003", "dual", (-1,)),
        ("without_P0", "dual", (-1,)), ("without_P1", "dual", (-1,)), ("without_P2", "dual", (-1,)),
    ]  # fmt: skip
    np.testing.assert_array_equal(runs[2].data["inversions"].years, [2001, 2002, 2004])
    assert runs[4].data["inversions"].names == ("P0", "P2")
    stack = stack_of(OBJECTIVE, runs)
    held_out = chosen(stack, "dual", "without_2003_2003")
    part = held_out.parts["inversions"]
    np.testing.assert_array_equal(part.year_use, [[1, 1, 0, 1]] * 2)
    assert not np.asarray(part.target)[:, :, 2].any() and np.asarray(part.target)[:, :, 3].all()
    mean = np.asarray(part.target, np.float64).mean(axis=0)[:, [0, 1, 3]]
    np.testing.assert_allclose(mean, runs[2].data["inversions"].observed, atol=1e-6)


# Fits


def fit(towers: TowerConstraint) -> Fitted:
    """Train all variants for 40 steps, and draw."""
    objective = make_objective(CUBE, towers, REGIONAL)
    stack = stack_of(objective, study_runs())
    return train_all(objective, stack, make_landscape(CUBE), DeviceCube.of(CUBE), NETWORK, TRAINING, SPATIAL)


@pytest.fixture(scope="module")
def trained() -> tuple[Fitted, Fit]:
    """All variants, and what the training itself left before they were closed."""
    left: list[Fit] = []

    def note(*arguments: object) -> Fit:
        left.append(training.fit(*arguments))  # type: ignore[arg-type]
        return left[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "fit", note)
        return fit(TOWERS), left[0]


@pytest.fixture(scope="module")
def fitted(trained: tuple[Fitted, Fit]) -> Fitted:
    return trained[0]


def exact_objectives(models: FluxModel, members: Member) -> tuple[np.ndarray, np.ndarray]:
    """Negative log posterior of every member over all rows, cells and months, and its misfit to the inversions."""
    objective = make_objective(CUBE, TOWERS, REGIONAL, "exact")

    def one(model: FluxModel, member: Member) -> tuple[jax.Array, jax.Array]:
        towers, part = objective["towers"], member.parts["towers"]
        there = jnp.arange(len(part.rows)) < part.row_count
        misfit = quadratic(objective, model, member, jax.random.key(0))
        loss = part.weight * (there * towers.losses(model, part.rows[:, None], SEEN, part, member.sd)[:, 0]).sum()
        return loss + member.parts["inversions"].weight / 2 * misfit + objective.prior(model, member), misfit

    found = jax.jit(lambda a: jax.lax.map(lambda pair: one(*pair), a))((models, members))
    return np.asarray(found[0]), np.asarray(found[1])


def test_terms_that_are_off_stay_exactly_zero(fitted: Fitted) -> None:
    for variant, expected in TOWER_TERMS.items():
        assert tuple(moves(values) for values in tower_terms(fitted.ensembles["", variant].model)) == expected


def test_the_same_seed_gives_the_same_result(fitted: Fitted) -> None:
    again = fit(TOWERS)
    for key, ensemble in fitted.ensembles.items():
        assert same(ensemble.model, again.ensembles[key].model)
    pd.testing.assert_frame_equal(fitted.history, again.history)


def test_members_differ(fitted: Fitted) -> None:
    weights = np.concatenate([np.asarray(e.model.network.weights[0]).reshape(e.size, -1) for e in fitted.ensembles.values()])
    assert len(np.unique(weights, axis=0)) == len(weights)


def test_what_left_out_towers_observed_changes_nothing(fitted: Fitted) -> None:
    """100 gC m-2 d-1 added at the sites of fold 0: the members of fold 0 come out bit by bit the same, those of fold 1 do not."""
    shifted = TOWERS.observed + np.float32(100) * (TOWERS.sites.fold.to_numpy()[TOWERS.site] == 0)
    found = fit(dataclasses.replace(TOWERS, observed=shifted.astype(np.float32)))
    for key, ensemble in fitted.ensembles.items():
        for fold in np.unique(ensemble.fold):
            mine = np.flatnonzero(ensemble.fold == fold)
            unchanged = same(ensemble.select(mine).model, found.ensembles[key].select(mine).model)
            assert unchanged == (fold != 1), key


def test_training_lowers_the_objective() -> None:
    """By the exact estimator: the negative log posterior of every member, and its misfit to the inversions, from the start to 40 steps."""
    members = jax.tree.map(lambda a: a[:2], make_stack(("dual",)).members)
    optimiser, inputs = optimiser_of(TRAINING), TOWERS.predictors.shape[1]
    begin = jax.jit(lambda m: jax.lax.map(lambda one: start(OBJECTIVE, one, NETWORK, inputs, CUBE.columns.invariant, optimiser).model, m))
    exact = make_objective(CUBE, TOWERS, REGIONAL, "exact")
    found = training.fit(exact, members, np.zeros(2, int), NETWORK, TRAINING, inputs, CUBE.columns.invariant)
    scores = [exact_objectives(models, members) for models in (begin(members), *found.snapshots)]
    for one, next_ in pairwise(scores):
        assert (next_[0] < one[0]).all() and (next_[1] < one[1]).all()


def test_posterior_draws_lower_the_misfit_to_the_inversions(trained: tuple[Fitted, Fit]) -> None:
    """Network + u, with every cell and month, against a member's own draw: below that of the state closing began with, on average."""
    stack, (fitted, left) = make_stack(), trained
    data = make_step(CUBE, OBJECTIVE, stack).linear[1]
    for variant in ("inversions", "plain", "dual"):
        mine = np.flatnonzero(stack.table.variant == variant)
        ensemble, members = fitted.ensembles["", variant], chosen(stack, variant)
        u = np.einsum("ryik,mk->mryi", data.spatial, np.asarray(ensemble.model.spatial, np.float64).reshape(ensemble.size, -1))
        _, closed = exact_objectives(
            ensemble.model, with_part(members, "inversions", target=target_of(members) - jnp.asarray(u, jnp.float32))
        )
        before = [exact_objectives(snapshot, stack.members)[1][mine].mean() for snapshot in left.snapshots]
        assert closed.mean() < min(before)


def test_the_history_says_which_state_is_kept(fitted: Fitted) -> None:
    history = fitted.history
    for _, rows in history.groupby(["variant", "fold"]):
        assert rows.chosen.sum() == 1
        assert rows.criterion[rows.chosen].iloc[0] == rows.criterion.min()
    assert history[history.variant == "inversions"].validation_loss.isna().all()


def test_the_history_tells_the_sds_of_each_fold(fitted: Fitted) -> None:
    """Those of u and of g's slopes: one per fold of a variant at all its checkpoints, g's exactly 0 where there is no g."""
    names = ["spatial_mean_sd", "spatial_season_sd", "spatial_shape_sd", "representativeness_sd"]
    for (variant, _), rows in fitted.history.groupby(["variant", "fold"]):
        assert (rows[names].nunique() == 1).all() and (rows[names[:2]] > 0).all(axis=None)
        assert (rows.representativeness_sd > 0).all() == (variant == "dual")
    assert fitted.history.spatial_mean_sd.nunique() == 7  # three variants of two folds, and one of all sites


def test_every_ensemble_knows_where_its_spatial_effect_stands(fitted: Fitted) -> None:
    for ensemble in fitted.ensembles.values():
        np.testing.assert_array_equal(ensemble.basis.centre, BASIS.centre)
        assert ensemble.model.spatial.shape == (ensemble.size, 7, BASIS.size) and np.asarray(ensemble.model.spatial).all()

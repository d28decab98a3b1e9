"""Years of inversions drawn in blocks with replacement: weights on years in training and linear step, and the bootstrap's spread."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from dualflux.constraints.base import Layout, LinearMember, Plan
from dualflux.constraints.inversions.constraint import InversionPart, Inversions
from dualflux.constraints.inversions.covariance import independent
from dualflux.constraints.inversions.equations import RegionalEquations
from dualflux.constraints.inversions.integrals import exact_integrals
from dualflux.constraints.inversions.observations import RegionalConstraint, resampled
from dualflux.fitting.linear_posterior import effects_of_flux
from dualflux.fitting.objective import Objective
from dualflux.model.flux_model import FluxModel
from dualflux.variants import VARIANTS
from small_world import BASIS, NETWORK, SPATIAL, make_cube, make_landscape, make_objective, make_regional, make_towers, quick_compilation

YEARS, BLOCK = 6, 2
CUBE = make_cube(YEARS)
TOWERS = make_towers(CUBE)
_plain = make_regional(CUBE, YEARS)
_noise = np.random.default_rng(1).normal(size=(2, YEARS, 1))
_variance = np.full(2, 0.2)
REGIONAL = dataclasses.replace(
    _plain, observed=_plain.observed + _noise, error=independent(_variance, _variance, _variance, np.full(2, 0.3)), drawn=None
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def inversions(estimator: str = "exact", block: int | None = BLOCK) -> Inversions:
    found: Inversions = make_objective(CUBE, TOWERS, REGIONAL, estimator)["inversions"]
    return dataclasses.replace(found, block=block)


def plans(count: int, data: RegionalConstraint | None = None) -> list[Plan]:
    own = {} if data is None else {"inversions": data}
    return [Plan("", VARIANTS["dual"], -1, i, count, i, count, own, {}, 1) for i in range(count)]


def parts(count: int, block: int | None = BLOCK, data: RegionalConstraint | None = None) -> InversionPart:
    return inversions(block=block).parts(plans(count, data))


def counts(part: InversionPart, member: int) -> np.ndarray:
    """How often a member sees each year."""
    return np.bincount(np.asarray(part.year[member])[np.asarray(part.year_use[member]) > 0], minlength=YEARS)


def variance_of_bootstrap(values: np.ndarray, block: int) -> float:
    """Of the mean of resampled values: the variance of the means of all blocks, over the number of blocks."""
    around = np.stack([np.roll(values, -i) for i in range(block)]).mean(axis=0)
    return float(around.var() * block / len(values))


@pytest.mark.parametrize("block", [1, 2, 3])
def test_the_mean_of_resampled_years_has_the_variance_of_the_bootstrap(block: int) -> None:
    """Years that resemble their neighbours: longer blocks vary more; and every year is drawn once on average."""
    values, random = np.array([1.0, 1.5, 1.2, -1.0, -2.0, -0.7]), np.random.default_rng(0)
    drawn = np.stack([resampled(YEARS, block, random) for _ in range(40_000)])
    means = values[drawn].mean(axis=1)
    assert means.var() == pytest.approx(variance_of_bootstrap(values, block), rel=0.04)
    np.testing.assert_allclose(np.bincount(drawn.ravel()) / len(drawn), 1, atol=0.02)


def test_blocks_are_of_neighbours_and_as_many_years_as_there_are() -> None:
    drawn = np.stack([resampled(7, 3, np.random.default_rng(i)) for i in range(200)])
    assert drawn.shape == (200, 7)
    np.testing.assert_array_equal((drawn[:, 1:3] - drawn[:, :2]) % 7, 1)
    np.testing.assert_array_equal((drawn[:, 4:6] - drawn[:, 3:5]) % 7, 1)


def test_a_pair_sees_the_same_years_and_opposite_errors_that_all_years_share() -> None:
    part = parts(20)
    target = np.asarray(part.target, np.float64) - REGIONAL.observed
    np.testing.assert_array_equal(part.year[0::2], part.year[1::2])
    assert len(np.unique(np.asarray(part.year[0::2]), axis=0)) > 5
    np.testing.assert_allclose(target[0::2], -target[1::2], atol=1e-5)
    np.testing.assert_allclose(target, np.broadcast_to(target[:, :, :1], target.shape), atol=1e-5)
    assert (np.abs(target) > 1e-3).any(axis=(1, 2, 3)).all()


def test_without_the_key_every_year_stands_at_its_place_and_nothing_else_changes() -> None:
    part = parts(4, None)
    np.testing.assert_array_equal(part.year, np.tile(np.arange(YEARS), (4, 1)))
    np.testing.assert_allclose(part.target, REGIONAL.draws(4, 1), atol=1e-6)
    alone = inversions().parts([plan._replace(draw=False) for plan in plans(2)])  # the data as they are
    np.testing.assert_array_equal(alone.year, np.tile(np.arange(YEARS), (2, 1)))


def test_years_that_are_left_out_are_never_drawn() -> None:
    keep = np.array([True, True, False, True, True, True])
    less = {"observed": REGIONAL.observed[:, keep], "years": REGIONAL.years[keep], "month": REGIONAL.month[keep]}
    part = parts(40, data=dataclasses.replace(REGIONAL, **less))
    seen = np.stack([counts(part, i) for i in range(40)])
    assert (seen[:, 2] == 0).all() and (seen.sum(axis=1) == 5).all() and (seen[:, keep].max(axis=0) > 1).all()


# Weights on years, exactly


def weighted_form(residual: np.ndarray, count: np.ndarray) -> float:
    """mean' S mean + sum of count x a' B a, the mean weighted by the counts too."""
    mean_precision, anomaly_precision = REGIONAL.error.precisions()
    mean = np.einsum("ryi,y->ri", residual, count) / count.sum()
    anomaly = residual - mean[:, None]
    of_anomalies = np.einsum("ryi,risj,syj,y->", anomaly, anomaly_precision, anomaly, count)
    return float(np.einsum("ri,risj,sj->", mean, mean_precision, mean) + of_anomalies)


def model_of(objective: Objective) -> FluxModel:
    return FluxModel.create(jax.random.key(3), len(CUBE.columns.names), CUBE.columns.invariant, objective.own(), NETWORK)


@pytest.mark.parametrize("estimator", ["exact", "stratified"])
def test_the_misfit_weighs_years_by_how_often_they_were_drawn(estimator: str) -> None:
    """Against a sum with weights; where years and cells are drawn at random, on average over 3000 draws."""
    found, model = inversions(estimator), model_of(make_objective(CUBE, TOWERS, REGIONAL))
    several = found.parts(plans(6))
    member = int(np.argmax([counts(several, i).max() for i in range(6)]))
    part = jax.tree.map(lambda a: a[member], several)
    integrals = np.asarray(jax.jit(lambda c, m: exact_integrals(m, c.regions))(found, model), np.float64)
    wanted = weighted_form(integrals - np.asarray(part.target, np.float64), counts(several, member))
    keys = jax.random.split(jax.random.key(0), 2 if estimator == "exact" else 3000)
    every = jax.jit(lambda c, k: jax.lax.map(lambda one: c.quadratic(model, part, one), k, batch_size=100))
    each = np.asarray(every(found, keys), np.float64)
    assert abs(each.mean() - wanted) < 4 * each.std() / np.sqrt(len(each)) + 2e-3 * wanted
    once = weighted_form(integrals - np.asarray(part.target, np.float64), np.ones(YEARS))
    assert counts(several, member).max() > 1 and wanted != pytest.approx(once, rel=0.02)  # the test can tell


WIDTH = 3
LINEAR = RegionalEquations.create(REGIONAL, make_landscape(CUBE))
LAYOUT = Layout(effects_of_flux(WIDTH, BASIS.size, CUBE.columns.invariant, SPATIAL))


def normal_equations(part: InversionPart, member: int, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the readout of one member: matrix (column, column), right-hand sides (column, 2); columns (region, year, 12, column)."""
    own = jax.tree.map(lambda a: np.asarray(a[member]), part)
    flat, nothing = columns.reshape(2, 12 * YEARS, WIDTH), np.zeros(LAYOUT.size)
    view = LinearMember(None, own, {}, flat, LAYOUT, nothing, plans(1)[0], np.random.default_rng(0), 1.0)
    found = LINEAR.equations(view)(nothing)
    return found.matrix[:WIDTH, :WIDTH], found.values[:WIDTH]


def test_the_linear_step_weighs_years_by_how_often_they_were_drawn() -> None:
    """d/dw of half the weighted form is matrix w - values, by central differences; the draw's deviation stands beside it."""
    columns, part = np.random.default_rng(2).normal(size=(2, YEARS, 12, WIDTH)), parts(6)
    for member in range(0, 6, 2):
        matrix, values = normal_equations(part, member, columns)
        count, target = counts(part, member), np.asarray(part.target[member], np.float64)

        def form(w: np.ndarray, y: np.ndarray = target, count: np.ndarray = count) -> float:
            return weighted_form(columns @ w - y, count) / 2

        point, step = np.array([0.3, -0.2, 0.5]), 1e-4 * np.eye(WIDTH)
        slope = [(form(point + h) - form(point - h)) / 2e-4 for h in step]
        np.testing.assert_allclose(matrix @ point - values.sum(axis=1), slope, rtol=1e-4)


def test_members_spread_as_the_bootstrap_does() -> None:
    """A flux that is the same in all years: pairs' means are those of the resampled years, their halves the errors that years share."""
    columns = np.zeros((2, YEARS, 12, WIDTH))
    columns[..., 0] = 1.0
    sensitivity = REGIONAL.error.precisions()[0].sum(axis=(0, 1))  # of the flux to each region's month, unscaled
    part, size = parts(1000), sensitivity.sum()
    found = []
    for member in range(1000):
        matrix, values = normal_equations(part, member, columns)
        found.append(values[0].sum() / matrix[0, 0])
    first, second = np.array(found).reshape(-1, 2).T
    by_year = np.einsum("ryi,ri->y", REGIONAL.observed, sensitivity) / size
    assert (first + second).var() / 4 == pytest.approx(variance_of_bootstrap(by_year, BLOCK), rel=0.2)
    assert ((first - second) ** 2).mean() / 4 == pytest.approx(1 / size, rel=0.2)
    drawn = np.stack([counts(part, i) for i in range(0, 1000, 2)]) @ by_year / YEARS
    np.testing.assert_allclose((first + second) / 2, drawn, atol=1e-5)

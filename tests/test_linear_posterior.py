"""The posterior of the linear parts against dense algebra, textbook formulas, its own gradient and simulated truths."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.areas import Areas
from dualflux.constraints.base import Effect, Landscape, Layout, Normal
from dualflux.constraints.inversions.covariance import EnsembleError, independent
from dualflux.constraints.inversions.equations import regional_normal, spatial_integrals
from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.towers import equations
from dualflux.constraints.towers.equations import ErrorModel, TowerEquations
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.constraints.towers.records import Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.constraints.towers.site_spread import lasting, own_sd
from dualflux.fitting import linear_posterior
from dualflux.fitting.linear_posterior import PRIOR_SHARE, MemberProblem, Normals, effects_of_flux
from dualflux.model.spatial_effect import SpatialBasis
from small_world import BASIS, CELLS, SPATIAL, dense_covariance, dense_tower_errors, double_precision, make_cube, make_regional

CUBE = make_cube()
REGIONAL = make_regional(CUBE)
WIDTH = 4  # features
FREEDOM = 4.0


def random_towers(seed: int, sites: int = 5, rows: int = 60) -> TowerConstraint:
    """Rows of random sites and steps in no order, several of one step among them; the first site has one row."""
    random = np.random.default_rng(seed)
    steps = len(CUBE.steps.time)
    some = random.choice((sites - 1) * steps, min(rows, (sites - 1) * steps) - 1, replace=False)
    site, step = np.r_[0, 1 + some // steps], np.r_[7, some % steps]
    cell, rows = random.integers(0, len(CELLS.index), sites), len(site)
    table = pd.DataFrame({"lat": CELLS.lat()[cell] + random.normal(size=sites), "lon": CELLS.lon()[cell], "cell": cell})
    observed, uncertainty = random.normal(size=rows).astype(np.float32), random.uniform(0.1, 0.5, rows).astype(np.float32)
    amplitude = random.uniform(0.5, 2, sites)
    return TowerConstraint(CUBE.rows(step, cell[site]), site, observed, uncertainty, amplitude, table, CUBE.steps.time[step])


def dense_design(towers: TowerConstraint, features: np.ndarray, basis: SpatialBasis = BASIS) -> np.ndarray:
    """[features | u's mean, cosines, sines of three waves | g's intercept, slopes], a row per observation in the towers' own order."""
    angle = 2 * np.pi * (towers.time.month.to_numpy()[:, None] - 0.5) / 12
    place = basis.at(towers.sites.lat.to_numpy(), towers.sites.lon.to_numpy())[towers.site]
    wave = [place, *(np.sqrt(2) * f(k * angle) * place for k in (1, 2, 3) for f in (np.cos, np.sin))]
    return np.column_stack([features, *wave, np.ones(len(features)), towers.predictors[:, : CUBE.columns.invariant]])


class Regional(NamedTuple):
    """What inversions add: over readout and u."""

    matrix: np.ndarray
    values: np.ndarray


class Stray(NamedTuple):
    """Made-up data of variance 1, each of which sees one of `STRAYS` offsets and all other unknowns: a diagonal nuisance."""

    design: np.ndarray
    observed: np.ndarray
    noise: np.ndarray

    def normal(self) -> Normal:
        values = self.design.T @ np.column_stack([self.observed, self.noise])
        return Normal(np.arange(self.design.shape[1]), self.design.T @ self.design, values)


STRAYS = 5


@dataclass(frozen=True)
class Pieces:
    """What a member's problem is made of, rows in the order of the towers' equations."""

    data: TowerEquations
    features: np.ndarray
    model: ErrorModel
    trained: np.ndarray
    prior_sd: np.ndarray
    regional: Regional
    stray: Stray
    noise: np.ndarray
    prior_noise: np.ndarray

    @property
    def layout(self) -> Layout:
        mine = effects_of_flux(self.features.shape[1], self.data.place.shape[1], CUBE.columns.invariant, SPATIAL)
        return Layout((*mine, Effect("stray", "nuisance", STRAYS, diagonal=True)))

    def problem(self) -> MemberProblem:
        everything = np.arange(self.layout.size)
        towers = self.data.heavy_tailed(self.features, self.model, everything[:-STRAYS], 1.0, np.random.default_rng(0), 1.0)
        others = [Normal(everything[: len(self.regional.matrix)], *self.regional), self.stray.normal()]
        return MemberProblem(
            self.layout, self.trained, self.prior_sd, [towers, *(lambda parameters, draw=None, n=n: n for n in others)], self.prior_noise
        )

    def towers(self, parameters: np.ndarray) -> Normals:
        return self.problem().normals(parameters)

    def observed(self) -> np.ndarray:
        return self.data.towers.observed[self.data.records.order].astype(np.float64)

    def estimated(self) -> list[slice]:
        return [self.layout.place(e.name) for e in self.problem().estimated()]


def solve(pieces: Pieces, normals: Normals, spread: np.ndarray, draw: bool) -> tuple[np.ndarray, np.ndarray]:
    return linear_posterior.solve(pieces.problem(), normals, spread, draw)


def estimate(members: list[Pieces], centre: np.ndarray) -> tuple[np.ndarray, list[Normals]]:
    return linear_posterior.estimate([m.problem() for m in members], centre)


def make_equations(towers: TowerConstraint, basis: SpatialBasis = BASIS) -> TowerEquations:
    records = Records.create(towers.site, towers.time, len(towers.sites))
    return TowerEquations.create(towers, records, Landscape(CUBE, CELLS, basis), FREEDOM)


def make_errors(data: TowerEquations, seed: int) -> ErrorModel:
    """Errors of all four kinds, of sizes between 0.3 and 1."""
    random, records = np.random.default_rng(seed), data.records
    scale, white = random.uniform(0.3, 1, len(records.site)), random.uniform(0.1, 1, len(records.site))
    sd = own_sd({"offset": 0.6, "cycle": 0.3, "trend": 0.5}, data.towers.amplitude)
    return ErrorModel(records, np.ones(len(white)), white, 0.7 * scale, 40.0, lasting(records, sd, 0.5 * scale), FREEDOM)


def fixed(pieces: Pieces, weight: np.ndarray) -> Normals:
    """The equations with stated weights of the towers' rows."""
    size, inner = pieces.layout.size, len(pieces.regional.matrix)
    values = np.column_stack([pieces.observed(), pieces.noise])
    towers = Normal(
        np.arange(size - STRAYS),
        *pieces.data.normal(pieces.features, pieces.model.weighted(pieces.model.normal()._replace(once=weight)), values),
    )
    return Normals.create([towers, Normal(np.arange(inner), *pieces.regional), pieces.stray.normal()], size)


def dense_v(errors: RowErrors) -> np.ndarray:
    """V over all rows of errors that have none out."""
    return dense_tower_errors(errors.records, 1 / errors.white, errors.memory, errors.memory_days, errors.lasting)


def dense_equations(pieces: Pieces, design: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum over towers (in dense V), inversions and made-up data of X' V^-1 X and X' V^-1 y."""
    share = np.linalg.solve(dense_v(pieces.model.weighted(pieces.model.normal()._replace(once=weight))), design).T
    inner, count = len(pieces.regional.matrix), design.shape[1]
    precision, right, stray = np.zeros((count + STRAYS,) * 2), np.zeros(count + STRAYS), pieces.stray
    precision[:count, :count] += share @ design
    right[:count] += share @ pieces.observed()
    precision[:inner, :inner] += pieces.regional.matrix
    right[:inner] += pieces.regional[1][:, 0]
    return precision + stray.design.T @ stray.design, right + stray.design.T @ stray.observed


def make_problem(seed: int, off: tuple[str, ...] = (), use: float = 1.0) -> tuple[Pieces, np.ndarray]:
    """A member on random towers, with inversions of random columns and made-up data, and its dense design in the order of its rows."""
    towers = random_towers(seed)
    data, random = make_equations(towers), np.random.default_rng(seed + 1)
    features = random.normal(size=(len(towers.site), WIDTH))
    design, model = dense_design(towers, features)[data.records.order], make_errors(data, seed)
    inner, towers_see = WIDTH + 7 * BASIS.size, design.shape[1]
    count = towers_see + STRAYS
    u = np.repeat([0.3, 0.2, 0.1], np.array([1, 2, 4]) * BASIS.size)
    sd = np.concatenate([np.full(WIDTH, 0.5), u, np.full(count - inner, 0.7)])
    parts = {"u": slice(WIDTH, inner), "g": slice(inner, towers_see), "stray": slice(towers_see, count)}
    for name in off:
        sd[parts[name]] = 0.0
    trained = np.where(sd > 0, 0.1 * random.normal(size=count), 0.0)
    root = 0.3 * random.normal(size=(inner, inner))
    regional = Regional(root @ root.T, random.normal(size=(inner, 2)))
    sees = np.column_stack([0.3 * random.normal(size=(3 * STRAYS, towers_see)), np.repeat(np.eye(STRAYS), 3, axis=0)])
    stray = Stray(use * sees, *random.normal(size=(2, 3 * STRAYS)))
    model = replace(model, use=use * model.use)
    pieces = Pieces(
        data, features[data.records.order], model, trained, sd, regional, stray, random.normal(size=len(design)), random.normal(size=count)
    )  # fmt: skip
    return pieces, design


SPREAD = np.array([0.3, 0.2, 0.1, 0.7])  # of u's three parts and of g's slopes, as in `make_problem`


# Normal equations


@given(st.integers(0, 999), st.integers(2, 9))
@settings(max_examples=25, deadline=None)
def test_the_towers_equations_are_generalised_least_squares(seed: int, sites: int) -> None:
    """X' V^-1 X and X' V^-1 v with design and V dense, any Student-t weights."""
    towers = random_towers(seed, sites)
    data, random = make_equations(towers), np.random.default_rng(seed)
    order, rows = data.records.order, len(towers.site)
    features, values = random.normal(size=(rows, WIDTH)), random.normal(size=(rows, 2))
    design = dense_design(towers, features)[order]
    model = make_errors(data, seed)
    errors = model.weighted(model.normal()._replace(once=random.uniform(0.2, 2, rows)))
    matrix, right = data.normal(features[order], errors, values)
    share = np.linalg.solve(dense_v(errors), design).T
    np.testing.assert_allclose(matrix, share @ design, atol=1e-5 * np.abs(matrix).max())  # predictors are float32
    np.testing.assert_allclose(right, share @ values, atol=1e-5 * np.abs(right).max())
    parameters = random.normal(size=design.shape[1])
    np.testing.assert_allclose(data.expected(features[order], parameters), design @ parameters, atol=1e-5)


def test_rows_that_are_out_are_not_in_the_equations() -> None:
    """Whatever was observed there: equations are those of the other rows alone."""
    pieces, design = make_problem(12)
    inside = np.random.default_rng(0).uniform(size=len(design)) > 0.3
    observed = np.where(inside, pieces.observed(), 1e3)
    errors = replace(pieces.model, use=inside.astype(float)).weighted(pieces.model.normal())
    matrix, right = pieces.data.normal(pieces.features, errors, np.column_stack([observed, observed]))
    dense = dense_v(pieces.model.weighted(pieces.model.normal()))[np.ix_(inside, inside)]
    share = np.linalg.solve(dense, design[inside]).T
    np.testing.assert_allclose(matrix, share @ design[inside], atol=1e-5 * np.abs(matrix).max())
    np.testing.assert_allclose(right[:, 0], share @ observed[inside], atol=1e-5 * np.abs(right).max())


@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize("years", [1, 3])
def test_the_inversions_equations_are_generalised_least_squares(coupled: bool, years: int) -> None:
    """H' R^-1 H and H' R^-1 y with R dense over regions, years and months; one year alone has offset and cycle only."""
    random = np.random.default_rng(years)
    error = independent(*random.uniform(0.01, 0.1, (3, 3)), np.array([0.0, 0.4, 0.8]))
    if coupled:
        root = 0.2 * random.normal(size=(2, 36, 36))
        error = error.plus(EnsembleError(*((r @ r.T).reshape(3, 12, 3, 12) for r in root)))
    columns, observed, draw = random.normal(size=(3, years, 12, 5)), *random.normal(size=(2, 3, years, 12))
    matrix, values = regional_normal(columns, observed, draw, *error.precisions())
    weighted = np.linalg.solve(dense_covariance(error, years), columns.reshape(-1, 5)).T
    np.testing.assert_allclose(matrix, weighted @ columns.reshape(-1, 5), rtol=1e-8)
    np.testing.assert_allclose(values[:, 0], weighted @ observed.ravel(), rtol=1e-8)
    np.testing.assert_allclose(values[:, 1], weighted @ (draw - observed).ravel(), rtol=1e-8)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_the_integrals_of_the_spatial_effect_are_sums_over_cells_and_days(time_step: str) -> None:
    """H u of random coefficients: u of every cell and day, times area, summed; every month with its true length."""
    cube = make_cube(4, time_step)
    regional, coefficient = make_regional(cube), np.random.default_rng(0).normal(size=7 * BASIS.size)
    areas = Areas(CELLS.region_area, regional.month.ravel())
    found = (spatial_integrals(areas, cube, CELLS, BASIS) @ coefficient).reshape(2, 4, 12)
    count = 12 if time_step == "monthly" else 366
    angle = 2 * np.pi * (cube.steps.season + 0.5) / count
    mean, *waves = coefficient.reshape(7, -1) @ BASIS.at(CELLS.lat(), CELLS.lon()).T
    u = mean + np.zeros((len(angle), 1))  # (step, cell)
    for k in (1, 2, 3):
        cosine, sine = waves[2 * k - 2 : 2 * k]
        u = u + np.sqrt(2) * (np.cos(k * angle)[:, None] * cosine + np.sin(k * angle)[:, None] * sine)
    days = np.repeat(cube.steps.month_days / cube.steps.month_steps, cube.steps.month_steps)
    daily = (regional_operator(CELLS) @ u.T)[:-1] * days
    wanted = np.add.reduceat(daily, cube.steps.month_start, axis=1).reshape(2, 4, 12)
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


# The posterior


@pytest.mark.parametrize("off", [(), ("stray",), ("u", "g"), ("u", "g", "stray")])
def test_the_solution_is_the_conjugate_normal_posterior(off: tuple[str, ...]) -> None:
    """Precision X'V^-1 X + Q + P, mean A^-1 (X'V^-1 y + q + P m), variances diag A^-1; what has no prior sd is exactly 0.

    Unknowns that meet in no datum are eliminated first, which changes nothing.
    """
    problem, design = make_problem(0, off)
    weight = np.random.default_rng(3).uniform(0.1, 2, len(design))
    mean, variance = solve(problem, fixed(problem, weight), SPREAD, draw=False)
    on = problem.prior_sd > 0
    prior_mean = np.r_[problem.trained[:WIDTH], np.zeros(len(on) - WIDTH)]  # the readout's is what training ended with
    precision, right = dense_equations(problem, design, weight)
    precision, right = precision[np.ix_(on, on)], right[on] + prior_mean[on] / problem.prior_sd[on] ** 2
    covariance = np.linalg.inv(precision + np.diag(problem.prior_sd[on] ** -2))
    np.testing.assert_allclose(mean[on], covariance @ right, atol=1e-5)
    np.testing.assert_allclose(variance[on], np.diag(covariance), rtol=1e-5)
    drawn, _ = solve(problem, fixed(problem, weight), SPREAD, draw=True)
    for found in (mean, variance, drawn):
        assert not found[~on].any()
    assert on.all() == (not off) and (drawn[on] != mean[on]).all()


def test_as_gs_prior_vanishes_the_model_is_the_one_without_slopes() -> None:
    problem, design = make_problem(7)
    weight, slopes = np.random.default_rng(8).uniform(0.1, 2, len(design)), problem.estimated()[-1]
    found = solve(problem, fixed(problem, weight), SPREAD * [1, 1, 1, 1e-7], draw=False)[0]
    off = problem.prior_sd.copy()
    off[slopes] = 0.0
    without = solve(replace(problem, prior_sd=off), fixed(problem, weight), SPREAD, draw=False)[0]
    np.testing.assert_allclose(found, without, atol=1e-9)
    assert not without[slopes].any()


def test_as_gs_prior_widens_f_learns_from_towers_only_what_no_slope_explains() -> None:
    """Frisch and Waugh (1933): with free slopes all other parts are those of data and design with the slopes' columns projected out."""
    problem, design = make_problem(9)
    weight, slopes = np.random.default_rng(10).uniform(0.1, 2, len(design)), problem.estimated()[-1]
    found = solve(problem, fixed(problem, weight), SPREAD * [1, 1, 1, 1e4], draw=False)[0]
    white = np.linalg.inv(np.linalg.cholesky(dense_v(problem.model.weighted(problem.model.normal()._replace(once=weight)))))
    place = np.arange(len(found))[slopes]
    strays = problem.stray
    own = np.vstack([white @ np.pad(design, ((0, 0), (0, STRAYS))), strays.design])
    left, size, _ = np.linalg.svd(own[:, slopes], full_matrices=False)
    span = left[:, size > 1e-5 * size[0]]
    rest, observed = np.delete(own, place, axis=1), np.r_[white @ problem.observed(), strays.observed]
    rest, observed = (a - span @ (span.T @ a) for a in (rest, observed))
    (matrix, values), sd = problem.regional, np.delete(problem.prior_sd, place)
    precision, right = rest.T @ rest + np.diag(sd**-2), rest.T @ observed
    precision[: len(matrix), : len(matrix)] += matrix
    right[: len(matrix)] += values[:, 0]
    right[:WIDTH] += problem.trained[:WIDTH] / sd[:WIDTH] ** 2
    wanted = np.linalg.solve(precision, right)
    np.testing.assert_allclose(np.delete(found, place), wanted, atol=1e-4)


def test_draws_have_the_posteriors_mean_and_covariance() -> None:
    """800 draws of data and priors with fixed weights: every mean and covariance within 5.5 standard errors."""
    problem, design = make_problem(1)
    random, count = np.random.default_rng(4), 800
    matrix, known = problem.regional
    weight, inner = random.uniform(0.1, 2, len(design)), len(matrix)
    factor = np.linalg.cholesky(matrix)  # H' R^-1 e has the covariance H' R^-1 H
    mean, _ = solve(problem, fixed(problem, weight), SPREAD, draw=False)
    draws = np.empty((count, len(mean)))
    errors = problem.model.weighted(problem.model.normal()._replace(once=weight))
    for place in range(count):
        values = np.column_stack([known[:, 0], factor @ random.normal(size=inner)])
        noise, prior_noise = np.add(*errors.draw(random)), random.normal(size=len(mean))
        stray = problem.stray._replace(noise=random.normal(size=3 * STRAYS))
        one = replace(problem, noise=noise, prior_noise=prior_noise, regional=Regional(matrix, values), stray=stray)
        draws[place], _ = solve(one, fixed(one, weight), SPREAD, draw=True)
    precision, _ = dense_equations(problem, design, weight)
    covariance = np.linalg.inv(precision + np.diag(problem.prior_sd**-2))
    variance = np.diag(covariance)
    assert np.abs((draws.mean(axis=0) - mean) / np.sqrt(variance / count)).max() < 5
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / count)
    assert np.abs((np.cov(draws.T) - covariance) / error).max() < 5.5


def test_antithetic_draws_average_to_the_posteriors_mean() -> None:
    """Draws of opposite sign and equal weights: their mean is the mean, to rounding."""
    problem, design = make_problem(2)
    weight = np.random.default_rng(5).uniform(0.1, 2, len(design))
    matrix, values = problem.regional
    opposite = Regional(matrix, values * [1, -1])
    stray = problem.stray._replace(noise=-problem.stray.noise)
    other = replace(problem, noise=-problem.noise, prior_noise=-problem.prior_noise, regional=opposite, stray=stray)
    mean, _ = solve(problem, fixed(problem, weight), SPREAD, draw=False)
    pair = [solve(p, fixed(p, weight), SPREAD, draw=True)[0] for p in (problem, other)]
    np.testing.assert_allclose((pair[0] + pair[1]) / 2, mean, atol=1e-12)
    assert np.abs(pair[0] - mean).min() > 1e-6


def settled(problem: Pieces) -> tuple[np.ndarray, np.ndarray]:
    """The solution that its own weights give again, and variances."""
    solution, variance = problem.trained, problem.trained
    for _ in range(100):
        solution, variance = solve(problem, problem.towers(solution), SPREAD, draw=False)
    return solution, variance


def test_iterated_weights_end_at_the_student_t_posteriors_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of sum of (nu + 1) / 2 log(1 + e^2 / nu), e = y - X x - l, of what lasts in its dense covariance, of the inversions'
    form and of the priors is zero there, in the unknowns x and in what lasts l.

    With outliers of 30 gC m-2 d-1, that a Gaussian error would follow. The few rounds that e and its weights are given end near.
    """
    problem, design = make_problem(6, ("stray",))
    towers, model = problem.data.towers, problem.model
    wild = replace(towers, observed=towers.observed + np.float32(30) * (np.arange(len(design)) % 13 == 0))
    problem = replace(problem, data=replace(problem.data, towers=wild))
    observed, (matrix, values) = problem.observed(), problem.regional
    prior_mean = np.r_[problem.trained[:WIDTH], np.zeros(len(problem.trained) - WIDTH)]
    on = problem.prior_sd > 0
    unit = model.weighted(model.normal())
    remembered = np.linalg.inv(dense_v(unit) - np.diag(1 / unit.white))
    precision, right = (a[on] for a in (problem.stray.design.T @ problem.stray.design, problem.stray.design.T @ problem.stray.observed))
    with double_precision():

        def energy(parameters: jax.Array, lasts: jax.Array) -> jax.Array:
            square = (observed - design @ parameters - lasts) ** 2 / model.white
            towers = ((FREEDOM + 1) / 2 * jnp.log1p(square / FREEDOM)).sum() + lasts @ remembered @ lasts / 2
            seen = parameters[: len(matrix)]
            regional = seen @ (matrix @ seen) / 2 - values[:, 0] @ seen
            stray = parameters @ (precision[:, on] @ parameters) / 2 - right @ parameters
            return towers + regional + stray + (((parameters - prior_mean[on]) / problem.prior_sd[on]) ** 2).sum() / 2

        def slope(solution: np.ndarray, errors: RowErrors) -> float:
            once = errors.given(observed - design @ solution[on])[1]
            found = gradient(jnp.asarray(solution[on]), jnp.asarray(observed - design @ solution[on] - once))
            return float(max(np.abs(np.asarray(g)).max() for g in found))

        gradient = jax.jit(jax.grad(energy, argnums=(0, 1)))
        few, variance = settled(problem)
        monkeypatch.setattr(equations, "ROUNDS", 60)
        solution, _ = settled(problem)
        start = slope(problem.trained, unit)
        assert slope(solution, model.at(observed - design @ solution[on])) < 1e-4 * start  # predictors are float32
        followed, _ = solve(problem, fixed(problem, np.ones(len(design))), SPREAD, draw=False)
        assert slope(followed, unit) > 1e-2 * start
    assert (np.abs(few - solution) < 0.1 * np.sqrt(variance))[on].all()


# The size of the spatial effect

TRUE_SD = np.array([0.5, 0.25, 0.15])
CENTRE = np.array([0.15, 0.1, 0.05, 0.0])  # g is off


def simulated(seed: int, basis: SpatialBasis, sites: pd.DataFrame, slope_sd: float = 0.0, stated: float = 0.0) -> Pieces:
    """Some months of four years at every site: u of the true sds, site effects of 0.05, t-errors of 0.1, a flux of two features.

    g has slopes of `slope_sd`, the problem states another sd.
    """
    random = np.random.default_rng(seed)
    step = np.sort((5 * np.arange(16) + np.arange(len(sites))[:, None]) % 48).ravel()
    site = np.repeat(np.arange(len(sites)), 16)
    rows = CUBE.rows(step, sites.cell.to_numpy()[site])
    blank = TowerConstraint(rows, site, *np.ones((2, len(site)), np.float32), np.ones(len(sites)), sites, CUBE.steps.time[step])
    data = make_equations(blank, basis)
    features = random.normal(size=(len(site), 2))
    slopes = CUBE.columns.invariant
    sd = np.concatenate([
        [0.5, 0.5], np.repeat(TRUE_SD, np.array([1, 2, 4]) * basis.size), np.full(1 + slopes, slope_sd), np.zeros(STRAYS),
    ])  # fmt: skip
    truth = random.normal(size=len(sd)) * sd
    first = 2 + 7 * basis.size
    sd[first : first + 1 + slopes] = stated
    observed = data.expected(features, truth[:-STRAYS]) + 0.1 * random.standard_t(FREEDOM, len(site))
    observed += 0.05 * random.normal(size=len(sites))[data.records.site]
    in_order = np.empty(len(site), np.float32)
    in_order[data.records.order] = observed
    data = replace(data, towers=replace(blank, observed=in_order))
    nothing, stray = Regional(np.zeros((first, first)), np.zeros((first, 2))), Stray(np.zeros((1, len(sd))), *np.zeros((2, 1)))
    ones, zeros = np.ones(len(site)), np.zeros(len(sd))
    model = ErrorModel(data.records, ones, 0.01 * ones, 0 * ones, 30.0, 0.05 * ones[:, None], FREEDOM)
    return Pieces(data, features, model, zeros, sd, nothing, stray, 0 * ones, zeros)


def test_the_sd_of_the_spatial_effect_is_recovered() -> None:
    """Two worlds, from a prior centre three times too small: the standard error of an sd of n coefficients is 1 / sqrt(2 n) of it.

    The variance is the stated one with the weight `PRIOR_SHARE` and that of the data with the rest.
    """
    random = np.random.default_rng(7)
    sites = pd.DataFrame({"lat": np.degrees(np.arcsin(random.uniform(-1, 1, 120))), "lon": random.uniform(-180, 180, 120)})
    sites["cell"] = random.integers(0, len(CELLS.index), 120)
    basis = SpatialBasis.create(sites.lat.to_numpy(), sites.lon.to_numpy(), 1000.0)
    assert basis.size > 60
    found, towers = estimate([simulated(seed, basis, sites) for seed in range(2)], CENTRE)
    error = 1 / np.sqrt(2 * 2 * basis.size * np.array([1, 2, 4]))
    from_data = np.sqrt((found[:3] ** 2 - PRIOR_SHARE * CENTRE[:3] ** 2) / (1 - PRIOR_SHARE))
    assert (np.abs(from_data / TRUE_SD - 1) < 3 * error + 0.03).all()  # 0.03: coefficients are not known exactly
    assert found[3] == 0 and len(towers) == 2


@pytest.mark.parametrize(("true_sd", "stated"), [(0.0, 0.3), (0.6, 0.05)])
def test_the_sd_of_representativeness_follows_the_data_alone(true_sd: float, stated: float) -> None:
    """Six worlds without any g and six with a strong one, from a stated sd that is far off: g vanishes, or is found in size."""
    random = np.random.default_rng(8)
    sites = pd.DataFrame({"lat": np.degrees(np.arcsin(random.uniform(-1, 1, 120))), "lon": random.uniform(-180, 180, 120)})
    sites["cell"] = random.integers(0, len(CELLS.index), 120)
    basis = SpatialBasis.create(sites.lat.to_numpy(), sites.lon.to_numpy(), 3000.0)
    problems = [simulated(seed, basis, sites, true_sd, stated) for seed in range(6)]
    found = estimate(problems, np.array([*TRUE_SD, stated]))[0][3]
    if true_sd == 0:
        assert found < 0.05
    else:
        assert abs(found / true_sd - 1) < 3 / np.sqrt(2 * len(problems) * CUBE.columns.invariant)


@pytest.mark.parametrize("off", [(), ("g",)])
def test_without_data_every_sd_stays_at_its_centre(off: tuple[str, ...]) -> None:
    """No tower and no inversion: the posterior is the prior; of g, where it is off, nothing is estimated."""
    problem, _ = make_problem(8, off, use=0.0)
    blind = replace(problem, regional=Regional(*(0 * part for part in problem.regional)))
    centre = np.array([0.15, 0.1, 0.05, 0.0 if off else 0.4])
    found, _ = estimate([blind, blind], centre)
    np.testing.assert_allclose(found, centre, rtol=1e-9)


def test_members_of_one_world_say_what_one_says() -> None:
    """The sd is that of a coefficient, not of their number: twice the same member, once the same sd."""
    problem, _ = make_problem(9)
    one, two = estimate([problem], SPREAD)[0], estimate([problem, problem], SPREAD)[0]
    np.testing.assert_allclose(one, two, rtol=1e-9)
    assert (np.abs(one / SPREAD - 1) > 0.01).any()

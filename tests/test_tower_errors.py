"""Errors of towers against dense algebra: V and what follows from it, rows in order, sizes estimated, draws with tails."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from dualflux.constraints.base import Draw, Effect, Equations, Layout, Normal
from dualflux.constraints.towers.equations import ErrorModel
from dualflux.constraints.towers.innovations import Rows, run_losses
from dualflux.constraints.towers.records import OWN, Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.constraints.towers.site_spread import SMALLEST, UnseenRows, lasting, own_sd, spread_of_sites
from dualflux.fitting.linear_posterior import MemberProblem, draw_member, solve
from small_world import dense_tower_errors

MEMORY_DAYS = 25.0


def days_of(sites: list[list[int]], first: str = "2001-01-01") -> tuple[np.ndarray, pd.DatetimeIndex]:
    """Site and time of rows so many days after the first one."""
    site = np.repeat(np.arange(len(sites)), [len(days) for days in sites])
    return site, pd.Timestamp(first) + pd.to_timedelta(np.concatenate([np.array(d, int) for d in sites]), unit="D")


def case(seed: int) -> tuple[RowErrors, np.ndarray, np.ndarray]:
    """Errors of sites of 0 to 12 rows with unequal gaps, some rows and all of one site out; dense V; which rows are in."""
    random = np.random.default_rng(seed)
    sizes = [0, 1, 7, 0, 12, 3, 5, 0]
    site, time = days_of([sorted(random.choice(900, n, replace=False)) for n in sizes])
    records = Records.create(site, time, len(sizes))
    rows = len(site)
    white, memory = random.uniform(0.5, 4, rows), random.uniform(0, 1.5, rows)
    white[random.uniform(size=rows) < 0.2] = 0.0
    white[records.site == 5] = 0.0
    columns = random.normal(size=(rows, 3))
    inside = white > 0
    variance = np.divide(1.0, white, out=np.zeros(rows), where=inside)
    dense = dense_tower_errors(records, variance, memory, MEMORY_DAYS, columns)
    return RowErrors.create(records, white, memory, MEMORY_DAYS, columns), dense, inside


# V


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_v_is_that_of_dense_algebra(seed: int) -> None:
    """V^-1, a site's C' V^-1 C, and what residuals say of e and of a site's unknowns; rows that are out count nowhere."""
    errors, dense, inside = case(seed)
    columns = np.random.default_rng(seed).normal(size=(len(inside), 4))
    wanted = np.zeros_like(columns)
    wanted[inside] = np.linalg.solve(dense[np.ix_(inside, inside)], columns[inside])
    np.testing.assert_allclose(errors.solve(columns), wanted, atol=1e-9)
    for gram, rows in zip(errors.gram(columns), errors.records.spans(), strict=True):
        np.testing.assert_allclose(gram, columns[rows].T @ wanted[rows], atol=1e-9)
    once = np.divide(wanted[:, 0], errors.white, out=np.zeros(len(inside)), where=inside)
    unknowns, expected = errors.given(columns[:, 0])
    np.testing.assert_allclose(expected, once, atol=1e-9)
    for found, variance, rows in zip(unknowns, errors.variance_of_unknowns(), errors.records.spans(), strict=True):
        within = np.arange(len(inside))[rows][inside[rows]]
        share = np.linalg.solve(dense[np.ix_(within, within)], errors.lasting[within]).T
        np.testing.assert_allclose(found, share @ columns[within, 0], atol=1e-9)
        np.testing.assert_allclose(variance, 1 - np.diag(share @ errors.lasting[within]), atol=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_means_of_sites_have_the_variance_of_dense_algebra(seed: int) -> None:
    errors, dense, inside = case(seed)
    for found, rows in zip(errors.variance_of_means(), errors.records.spans(), strict=True):
        mean = inside[rows] / max(inside[rows].sum(), 1)
        wanted = mean @ dense[rows, rows] @ mean if inside[rows].any() else np.nan
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_one_row_alone_has_the_sum_of_its_variances() -> None:
    records = Records.create(np.zeros(1, int), pd.DatetimeIndex(["2001-05-01"]), 1)
    errors = RowErrors.create(records, np.array([4.0]), np.array([0.5]), 10.0, np.array([[0.3, 0.4]]))
    total = 0.25 + 0.25 + 0.09 + 0.16
    assert errors.solve(np.ones((1, 1)))[0, 0] == pytest.approx(1 / total)
    assert errors.variance_of_means()[0] == pytest.approx(total)
    assert errors.given(np.ones(1))[1][0] == pytest.approx(0.25 / total)


def off_by(sample: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> float:
    """Largest distance of means and covariances of draws (draw, row) from stated ones, in standard errors of a Gaussian's."""
    count, variance = len(sample), np.diag(covariance)
    on = variance > 0
    assert (sample[:, ~on] == mean[~on]).all()
    of_mean = np.abs(sample.mean(axis=0) - mean)[on] / np.sqrt(variance[on] / count)
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / count)
    of_cover = np.abs(np.cov(sample.T) - covariance)[np.ix_(on, on)] / error[np.ix_(on, on)]
    return float(max(of_mean.max(), of_cover.max()))


def test_drawn_errors_have_the_covariance_v() -> None:
    """4000 draws: what lasts and what happens once apart, within 5.5 standard errors of some 400 entries; nothing where a row is out."""
    errors, dense, inside = case(3)
    random = np.random.default_rng(0)
    lasting_part, once = (np.stack(a) for a in zip(*(errors.draw(random) for _ in range(4000)), strict=True))
    variance = np.divide(1.0, errors.white, out=np.zeros(len(inside)), where=inside)
    assert off_by(once, np.zeros(len(inside)), np.diag(variance)) < 5.5
    assert off_by(lasting_part, np.zeros(len(inside)), dense - np.diag(variance)) < 5.5
    assert off_by((lasting_part + once)[:, inside], np.zeros(inside.sum()), dense[np.ix_(inside, inside)]) < 5.5


def test_what_happens_once_and_what_sites_have_are_drawn_given_the_residual() -> None:
    """Mean E V^-1 r, covariance E - E V^-1 E of e (4000 draws); U' V^-1 r and 1 - U' V^-1 U of a site's unknowns."""
    errors, dense, inside = case(4)
    random = np.random.default_rng(1)
    residual = np.where(inside, 2 * random.normal(size=len(inside)), 99.0)  # a row that is out may hold anything
    unknowns, draws = (np.stack(a) for a in zip(*(errors.draw_given(residual, random) for _ in range(4000)), strict=True))
    once = np.diag(1 / errors.white[inside])
    share = np.linalg.solve(dense[np.ix_(inside, inside)], once).T
    assert off_by(draws[:, inside], share @ residual[inside], once - share @ once) < 5.5
    assert not draws[:, ~inside].any()
    within = np.flatnonzero(inside & (errors.records.site == 0))
    seen = np.linalg.solve(dense[np.ix_(within, within)], errors.lasting[within]).T
    assert off_by(unknowns[:, 0], seen @ residual[within], np.eye(3) - seen @ errors.lasting[within]) < 5.5


# Rows


def test_rows_stand_in_the_order_of_site_and_time() -> None:
    """Two sites in disorder and one without rows: gaps, years among those that have rows, where each site begins."""
    site = np.array([2, 0, 2, 0, 2, 2])
    time = pd.DatetimeIndex(["2004-03-01", "2001-12-01", "2001-02-01", "2001-11-01", "2001-01-01", "2004-02-01"])
    found = Records.create(site, time, 3)
    np.testing.assert_array_equal(found.order, [3, 1, 4, 2, 5, 0])
    np.testing.assert_array_equal(found.site, [0, 0, 2, 2, 2, 2])
    np.testing.assert_array_equal(found.gap, [np.inf, 30, np.inf, 31, 1095, 29])
    np.testing.assert_array_equal(found.year, [0, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(found.first, [0, 2, 2, 6])
    assert found.years == 2
    np.testing.assert_array_equal(found.of_years(), np.eye(2)[found.year])


def test_a_sites_own_functions() -> None:
    """20 years of days: waves of one and two periods a year of mean square 1, a trend of a decade on either side of the middle."""
    time = pd.date_range("2000-01-01", "2019-12-31")
    own = Records.create(np.zeros(len(time), int), time, 1).own
    np.testing.assert_allclose(own.T @ own / len(own) - np.diag(np.diag(own.T @ own / len(own))), 0, atol=0.05)  # trend and sine meet a bit
    np.testing.assert_allclose((own[:, :5] ** 2).mean(axis=0), 1, atol=1e-3)
    assert own[0, 5] == pytest.approx(-1, abs=1e-3) and own[-1, 5] == pytest.approx(1, abs=1e-3)
    turn = 2 * np.pi * 0.5 / 365.25  # the middle of the first day
    np.testing.assert_allclose(own[0, :5], [1, *(np.sqrt(2) * wave(j * turn) for j in (1, 2) for wave in (np.cos, np.sin))], atol=1e-12)
    assert OWN == ("offset", "cycle", "cycle", "cycle", "cycle", "trend")


def test_some_sites_rows_are_those_of_these_sites_alone() -> None:
    site, time = days_of([[0, 30, 400], [60, 90], [5, 35, 65, 800]])
    whole, mine = Records.create(site, time, 3), site != 1
    found, wanted = whole.part(np.flatnonzero(mine[whole.order])), Records.create(site[mine], time[mine], 3)
    for name in ("site", "gap", "year", "own", "first"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name))
    np.testing.assert_array_equal(time[found.order], time[mine][wanted.order])


# How large a site's own effects are

TRUE = {"offset": 0.8, "cycle": 0.4, "trend": 1.0, "year": 0.5}
START = {"offset": 1.0, "cycle": 0.5, "trend": 0.3, "year": 0.3}
SHARE, FREEDOM = 0.4, 4.0


def unseen_rows(seed: int, sd: dict[str, float], sites: int = 300, years: int = 8) -> UnseenRows:
    """Months of sites whose errors are as stated: b with tails, years, memory, and Student-t errors."""
    random = np.random.default_rng(seed)
    time = pd.date_range("2001-01-01", periods=12 * years, freq="MS")
    records = Records.create(np.repeat(np.arange(sites), len(time)), pd.DatetimeIndex(np.tile(time, sites)), sites)
    rows, amplitude = len(records.site), random.uniform(0.5, 2, sites)
    scale, uncertainty = random.uniform(0.4, 0.8, rows), np.full(rows, 0.1)
    sizes = own_sd(sd, amplitude) / np.sqrt(random.chisquare(FREEDOM, sites) / FREEDOM)[:, None]
    columns = lasting(records, sizes, sd["year"] * scale)
    variance = uncertainty**2 + (1 - SHARE) * scale**2
    errors = RowErrors.create(records, 1 / variance, np.sqrt(SHARE) * scale, MEMORY_DAYS, columns)
    residual = errors.draw(random)[0] + np.sqrt(variance) * random.standard_t(FREEDOM, rows)
    return UnseenRows(records, residual, scale, uncertainty, SHARE, MEMORY_DAYS, amplitude)


def test_the_sds_of_sites_are_recovered() -> None:
    """Two members of 300 sites: a t's scale of n has a relative standard error of about .9 / sqrt(n); four of them."""
    found = spread_of_sites([unseen_rows(seed, TRUE) for seed in range(2)], START, FREEDOM)
    for part, true in TRUE.items():
        assert found[part] == pytest.approx(true, rel=4 * 0.9 / np.sqrt(600)), part


def test_parts_that_are_off_stay_off_and_without_rows_all_stays() -> None:
    rows = unseen_rows(0, TRUE, sites=20)
    off = {"offset": 0.0, "cycle": 0.0, "trend": 0.0, "year": 0.0}
    assert spread_of_sites([rows], off, FREEDOM) == off
    found = spread_of_sites([rows], START | {"trend": 0.0}, FREEDOM)
    assert found["trend"] == 0 and all(found[part] > SMALLEST for part in ("offset", "cycle", "year"))
    nothing = rows._replace(records=rows.records.part(np.arange(0)), residual=np.zeros(0), scale=np.zeros(0), uncertainty=np.zeros(0))
    assert spread_of_sites([nothing], START, FREEDOM) == START
    assert spread_of_sites([nothing, rows], START, FREEDOM) == spread_of_sites([rows], START, FREEDOM)


def test_sites_without_anything_of_their_own_have_hardly_any() -> None:
    """Errors alone: every sd ends far below where it began, never below the smallest."""
    found = spread_of_sites([unseen_rows(5, dict.fromkeys(TRUE, 0.0))], {p: 2 * sd for p, sd in START.items()}, FREEDOM)
    assert all(SMALLEST <= found[part] < 0.3 * 2 * START[part] for part in TRUE)


# Draws with tails


def locations(model: ErrorModel, observed: np.ndarray, sites: int = 1) -> Equations:
    """Normal equations of numbers that the rows of so many sites see, one after the other."""
    site, seed = model.records.site // sites, 0

    def at(parameters: np.ndarray, draw: Draw | None = None) -> Normal:
        residual = observed - parameters[site]
        errors = model.at(residual) if draw is None else model.drawn(residual, draw.random)
        random, sign = (np.random.default_rng(seed), 1.0) if draw is None else draw
        noise = sign * np.add(*errors.draw(random))
        gram = errors.gram(np.column_stack([np.ones(len(site)), observed, noise]))
        gram = gram.reshape(-1, sites, 3, 3).sum(axis=1)
        return Normal(np.arange(len(gram)), np.diag(gram[:, 0, 0]), gram[:, 0, 1:])

    return at


def location_problem(observed: np.ndarray, sites: int, memory: float = 0.0) -> MemberProblem:
    """Each site has the same data and a number of its own, of prior sd 3."""
    each = len(observed)
    time = pd.DatetimeIndex(np.tile(pd.date_range("2001-01-01", periods=each, freq="MS"), sites))
    records, ones = Records.create(np.repeat(np.arange(sites), each), time, sites), np.ones(sites * each)
    model = ErrorModel(records, ones, ones, memory * ones, MEMORY_DAYS, memory * ones[:, None], FREEDOM)
    layout = Layout((Effect("readout", "flux", 0), Effect("mean", "tower_like", sites, 3.0)))
    return MemberProblem(layout, np.zeros(sites), np.full(sites, 3.0), [locations(model, np.tile(observed, sites))], np.zeros(sites))


def exact_location(observed: np.ndarray, prior_sd: float) -> tuple[float, float]:
    """Mean and variance of the posterior of a location under Student-t errors of scale 1, on a grid."""
    grid = np.linspace(-6, 6, 20001)
    density = stats.t.logpdf(observed[:, None] - grid, FREEDOM).sum(axis=0) + stats.norm.logpdf(grid, 0, prior_sd)
    weight = np.exp(density - density.max())
    mean = float(np.average(grid, weights=weight))
    return mean, float(np.average((grid - mean) ** 2, weights=weight))


def test_draws_have_the_variance_of_the_exact_student_t_posterior() -> None:
    """20 data of 4 degrees of freedom, drawn in 700 copies, four worlds: within 5 % on average; with frozen weights far too little.

    Standard error of a variance of 700 draws in four worlds: 2.7 %.
    """
    ratio, frozen, off = [], [], []
    for seed in range(4):
        observed = np.random.default_rng(seed).standard_t(FREEDOM, 20)
        problem = location_problem(observed, 700)
        mean, fixed = solve(problem, problem.normals(np.zeros(700)), np.empty(0), draw=False)
        draws = draw_member(problem, mean, np.empty(0), np.random.default_rng([1, seed]))
        exact_mean, exact = exact_location(observed, 3.0)
        ratio.append(((draws - exact_mean) ** 2).mean() / exact)
        frozen.append(fixed[0] / exact)
        off.append((draws.mean() - exact_mean) / np.sqrt(exact / 700))
    assert np.mean(ratio) == pytest.approx(1, abs=0.05)
    assert np.abs(off).max() < 4
    assert np.sqrt(np.mean(frozen)) < 0.9


def test_tails_of_what_sites_have_of_their_own_are_those_of_the_exact_posterior() -> None:
    """20 sites of one datum each, hardly any error beside b's offset and trend: b's scale is as a t's, and draws spread as under it.

    Four worlds of 300 copies: standard error of the variance 4 %. As a normal of that scale b would give .69 of the sd.
    """
    ratio, sites, copies = [], 20, 300
    for seed in range(4):
        observed = np.random.default_rng(seed).standard_t(FREEDOM, sites)
        count = sites * copies
        records = Records.create(np.arange(count), pd.DatetimeIndex(["2001-01-01"] * count), count)
        ones = np.ones(count)
        b = np.column_stack([0.6 * ones, 0.0 * ones, 0.8 * ones])  # the second is off
        model = ErrorModel(records, ones, 1e-4 * ones, 0.0 * ones, MEMORY_DAYS, b, FREEDOM, 3)
        layout = Layout((Effect("readout", "flux", 0), Effect("mean", "tower_like", copies, 3.0)))
        equations = [locations(model, np.tile(observed, copies), sites)]
        problem = MemberProblem(layout, np.zeros(copies), np.full(copies, 3.0), equations, np.zeros(copies))
        mean, _ = solve(problem, problem.normals(np.zeros(copies)), np.empty(0), draw=False)
        draws = draw_member(problem, mean, np.empty(0), np.random.default_rng([1, seed]))
        exact_mean, exact = exact_location(observed, 3.0)
        ratio.append(((draws - exact_mean) ** 2).mean() / exact)
    assert np.mean(ratio) == pytest.approx(1, abs=0.12)


def test_antithetic_members_draw_the_same_weights() -> None:
    """Opposite signs, one generator: draws lie on either side of one mean, that of the weights they share."""
    problem = location_problem(np.random.default_rng(7).standard_t(FREEDOM, 20), 3, memory=0.5)
    noise = np.random.default_rng(8).normal(size=3)
    signs = [replace(problem, sign=sign, prior_noise=sign * noise) for sign in (1.0, -1.0, 0.0)]
    one, other, shared = (draw_member(p, np.zeros(3), np.empty(0), np.random.default_rng(1)) for p in signs)
    np.testing.assert_allclose((one + other) / 2, shared, atol=1e-12)
    assert (np.abs(one - shared) > 1e-3).all()


# White noise beside memory


def test_a_month_and_a_year_of_days_are_worth_what_they_are() -> None:
    """40 sites of two years of days, half the variance with a memory of 40 days: sd, share and days fitted by the innovations.

    The variance of the mean of a month and of a year under the fitted V is the true one to 25 % (sampling error of few memories); an
    AR(1) of the same lag-one correlation claims it to be 4 and 8 times smaller.
    """
    sites, days, true = 40, 730, (0.8, 0.5, 40.0)
    random = np.random.default_rng(0)
    decay = np.where(np.arange(days) > 0, np.exp(-1 / true[2]), 0.0)

    def variances(scale: float, share: float, memory: float) -> list[float]:
        found = []
        for count in (30, 365):
            records = Records.create(np.zeros(count, int), pd.date_range("2001-01-01", periods=count), 1)
            white, sd = np.full(count, 1 / max((1 - share) * scale**2, 1e-9)), np.full(count, np.sqrt(share) * scale)
            found.append(float(RowErrors.create(records, white, sd, memory, np.zeros((count, 1))).variance_of_means()[0]))
        return found

    state = np.zeros((days, sites))
    for t in range(days):
        state[t] = decay[t] * (state[t - 1] if t else 0) + np.sqrt(1 - decay[t] ** 2) * random.normal(size=sites)
    residual = true[0] * (np.sqrt(true[1]) * state + np.sqrt(1 - true[1]) * random.normal(size=(days, sites)))

    @jax.jit
    @jax.value_and_grad
    def loss(at: jax.Array) -> jax.Array:
        scale, share, ones = jnp.exp(at[0]), jax.nn.sigmoid(at[1]), jnp.ones((days, sites))
        remembered = jnp.exp(-1 / jnp.exp(at[2])) * ones.at[0].set(0.0)
        rows = Rows(jnp.asarray(residual, jnp.float32), (1 - share) * scale**2 * ones, jnp.sqrt(share) * scale * ones, remembered, ones)
        return run_losses(rows, 1e4).mean()

    found = optimize.minimize(lambda a: tuple(np.asarray(v, float) for v in loss(jnp.asarray(a))), [0.0, 0.0, 3.0], jac=True, method="BFGS")
    fitted = (float(np.exp(found.x[0])), float(1 / (1 + np.exp(-found.x[1]))), float(np.exp(found.x[2])))
    wanted = variances(*true)
    np.testing.assert_allclose(variances(*fitted), wanted, rtol=0.25)
    lag_one = true[1] * np.exp(-1 / true[2])
    claimed = variances(true[0], 1.0, -1 / np.log(lag_one))
    assert wanted[0] / claimed[0] > 4 and wanted[1] / claimed[1] > 8

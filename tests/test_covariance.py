"""R in three parts against dense algebra, and its estimation from ensembles whose truth is known."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dualflux.constraints.inversions.covariance import EnsembleError, autoregressive_correlation, misfit, split_parts
from dualflux.constraints.inversions.spread import (
    PRIOR_DEGREES_OF_FREEDOM,
    couple_to_total,
    ensemble_mean,
    estimate_error,
    spread_of,
    to_year_month,
)
from dualflux.errors import InputError
from small_world import dense_covariance

ERROR = EnsembleError(np.array([0.04, 0.3]), np.array([0.02, 0.05]), np.array([0.01, 0.08]), np.array([0.3, 0.8]))

TOTAL = EnsembleError(*(np.array([v]) for v in (0.05, 0.01, 0.02, 0.6)))
COUPLED = EnsembleError(
    np.array([0.04, 0.3, 0.1]), np.array([0.02, 0.05, 0.03]), np.array([0.01, 0.08, 0.05]), np.array([0.3, 0.8, 0.0]), TOTAL
)


def with_unknown(name: str) -> EnsembleError:
    """`COUPLED` whose sum is not observed in one part."""
    return replace(COUPLED, total=replace(TOTAL, **{name: np.array([np.inf])}))


AMPLITUDE = 0.4 * np.cos(2 * np.pi * (np.arange(12) - np.array([[0.0], [1.0], [6.0]])) / 12)
AMPLIFIED = replace(COUPLED, amplitude=AMPLITUDE, total=replace(TOTAL, amplitude=0.3 * AMPLITUDE[:1]))

PARTLY_COUPLED = [
    COUPLED, AMPLIFIED, replace(COUPLED, amplitude=AMPLITUDE), replace(AMPLIFIED, total=None), replace(COUPLED, total=None),
    *(with_unknown(f"{part}_variance") for part in ("offset", "cycle", "anomaly")),
]  # fmt: skip


def residuals(years: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, years, 12))


# Three parts are one quadratic form


@pytest.mark.parametrize("years", [2, 3, 5])
def test_three_quadratic_forms_are_one_generalised_least_squares(years: int) -> None:
    """mean' S mean + sum of a' B a = r' R^-1 r with the dense R over all months of a region."""
    residual = residuals(years)
    offset, cycle, anomaly = split_parts(residual)
    mean = offset[:, None] + cycle
    parts = np.einsum("ri,rij,rj->r", mean, ERROR.mean_precision(), mean)
    parts += np.einsum("ryi,rij,ryj->r", anomaly, ERROR.anomaly_precision(), anomaly)
    flat = residual.reshape(2, -1)
    dense = [r @ np.linalg.pinv(covariance) @ r for r, covariance in zip(flat, ERROR.covariance(years), strict=True)]
    np.testing.assert_allclose(parts, dense, rtol=1e-9)


@pytest.mark.parametrize("years", [2, 4])
def test_misfit_times_degrees_of_freedom_is_the_same_form(years: int) -> None:
    residual = residuals(years, 1)
    found = misfit(residual, ERROR)
    total = found["offset"] + 11 * found["cycle"] + 12 * (years - 1) * found["anomaly"]
    dense = [r @ np.linalg.solve(covariance, r) for r, covariance in zip(residual.reshape(2, -1), ERROR.covariance(years), strict=True)]
    np.testing.assert_allclose(total, dense, rtol=1e-9)


@pytest.mark.parametrize("error", PARTLY_COUPLED)
@pytest.mark.parametrize("years", [2, 3])
def test_regions_and_their_sum_are_one_generalised_least_squares(error: EnsembleError, years: int) -> None:
    """The forms of regions and of their sum add to r' R^-1 r, R dense over (region, year, month): D - D 11' D / (S + T) in each part.

    With an AR(1) of its own in every region and in the sum, in three parts; also where the sum is not observed in a part.
    """
    residual = np.random.default_rng(years).normal(size=(3, years, 12))
    offset, cycle, anomaly = split_parts(np.concatenate([residual, residual.sum(axis=0, keepdims=True)]))
    mean, (mean_precision, anomaly_precision) = offset[:, None] + cycle, error.precisions()
    found = np.einsum("ri,rij,rj->", mean, mean_precision, mean) + np.einsum("ryi,rij,ryj->", anomaly, anomaly_precision, anomaly)
    flat = residual.ravel()
    assert found == pytest.approx(flat @ np.linalg.solve(dense_covariance(error, years), flat), rel=1e-9)


@pytest.mark.parametrize("error", PARTLY_COUPLED)
def test_a_regions_own_error_is_its_block_of_the_whole(error: EnsembleError) -> None:
    """`misfit` asks each region alone: chi-squares of its diagonal block of the dense R."""
    residual = np.random.default_rng(5).normal(size=(3, 4, 12))
    dense = dense_covariance(error, 4).reshape(3, 48, 3, 48)
    found = misfit(residual, error)
    total = found["offset"] + 11 * found["cycle"] + 36 * found["anomaly"]
    wanted = [r.ravel() @ np.linalg.solve(dense[i, :, i], r.ravel()) for i, r in enumerate(residual)]
    np.testing.assert_allclose(total, wanted, rtol=1e-9)
    offset, cycle, anomaly = error.marginals()
    one = np.ones(48) / 48
    np.testing.assert_allclose(offset, [one @ dense[i, :, i] @ one for i in range(3)])
    months = np.eye(12) - 1 / 12
    wanted = [np.kron(np.ones((4, 1)), months).T @ dense[i, :, i] @ np.kron(np.ones((4, 1)), months) / 16 for i in range(3)]
    np.testing.assert_allclose(cycle, wanted, atol=1e-12)
    assert (np.linalg.eigvalsh(anomaly) > 0).all()


def test_the_sum_is_known_as_well_as_its_parts_say() -> None:
    """Variance of the sum S T / (S + T), of a region D - D^2 / (S + T): two regions of 1 and a sum of 2 by hand."""
    ones, total = np.ones(2), EnsembleError(*(np.array([v]) for v in (2.0, 2.0, 2.0, 0.0)))
    error = EnsembleError(ones, ones, ones, np.zeros(2), total)
    offset, cycle, anomaly = error.marginals()
    np.testing.assert_allclose(offset, 3 / 4)
    np.testing.assert_allclose(cycle, np.broadcast_to(3 / 4 * (np.eye(12) - 1 / 12), (2, 12, 12)), atol=1e-15)
    np.testing.assert_allclose(anomaly, np.broadcast_to(3 / 4 * np.eye(12), (2, 12, 12)), atol=1e-15)
    dense = dense_covariance(error, 2).reshape(2, 24, 2, 24)
    month = np.ones(24) / 24
    assert month @ dense.sum(axis=(0, 2)) @ month == pytest.approx(1)  # 2 x 2 / (2 + 2)
    assert month @ dense[0, :, 1] @ month == pytest.approx(-1 / 4)


@pytest.mark.parametrize("years", [2, 6])
def test_degrees_of_freedom_add_to_all_months(years: int) -> None:
    """1 + 11 + 12 (Y - 1) = 12 Y: each part's covariance has that rank, together they have full rank, none overlaps another."""
    nothing = np.full(2, 1e-300)
    parts = {
        1: EnsembleError(ERROR.offset_variance, nothing, nothing, ERROR.autocorrelation),
        11: EnsembleError(nothing, ERROR.cycle_variance, nothing, ERROR.autocorrelation),
        12 * (years - 1): EnsembleError(nothing, nothing, ERROR.anomaly_variance, ERROR.autocorrelation),
    }
    found = {rank: part.covariance(years)[0] for rank, part in parts.items()}
    for rank, covariance in found.items():
        assert np.linalg.matrix_rank(covariance) == rank
    assert np.linalg.matrix_rank(sum(found.values())) == 12 * years
    for one, two in combinations(found.values(), 2):
        np.testing.assert_allclose(one @ two, 0, atol=1e-15)
    np.testing.assert_allclose(sum(found.values()), ERROR.covariance(years)[0], atol=1e-15)


@given(st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_parts_are_orthogonal_and_sum_to_the_whole(years: int, seed: int) -> None:
    residual = residuals(years, seed)
    offset, cycle, anomaly = split_parts(residual)
    np.testing.assert_allclose(offset[:, None, None] + cycle[:, None] + anomaly, residual, atol=1e-12)
    np.testing.assert_allclose(cycle.sum(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(anomaly.sum(axis=1), 0, atol=1e-12)
    whole = (residual**2).sum(axis=(1, 2))
    np.testing.assert_allclose(12 * years * offset**2 + years * (cycle**2).sum(axis=1) + (anomaly**2).sum(axis=(1, 2)), whole)


# Draws


def test_draws_have_the_stated_covariance() -> None:
    """Every entry of the sample covariance of 5000 draws within 5.5 standard errors (2 x 24 x 24 of them)."""
    random, count = np.random.default_rng(0), 5000
    draws = np.stack([ERROR.draw(random, 2) for _ in range(count)]).reshape(count, 2, 24)
    stated = ERROR.covariance(2)
    found = np.einsum("nri,nrj->rij", draws, draws) / count
    variance = np.einsum("rii->ri", stated)
    standard_error = np.sqrt((variance[:, :, None] * variance[:, None] + stated**2) / count)
    assert np.abs((found - stated) / standard_error).max() < 5.5
    assert np.abs(draws.mean(axis=0) / np.sqrt(variance / count)).max() < 5


@pytest.mark.parametrize("error", PARTLY_COUPLED)
def test_draws_have_the_stated_covariance_between_regions(error: EnsembleError) -> None:
    """3000 draws of two years: every entry over (region, month), and of the sum over regions, within 5.5 standard errors (5184 + 576)."""
    random, count = np.random.default_rng(10), 3000
    draws = np.stack([error.draw(random, 2) for _ in range(count)])
    dense = dense_covariance(error, 2)
    for sample, stated in (
        (draws.reshape(count, 72), dense),
        (draws.sum(axis=1).reshape(count, 24), dense.reshape(3, 24, 3, 24).sum(axis=(0, 2))),
    ):
        variance = np.diag(stated)
        standard_error = np.sqrt((np.outer(variance, variance) + stated**2) / count)
        assert np.abs((sample.T @ sample / count - stated) / standard_error).max() < 5.5
        assert np.abs(sample.mean(axis=0) / np.sqrt(variance / count)).max() < 5


@pytest.mark.parametrize("error", [ERROR, COUPLED, AMPLIFIED])
def test_a_draw_has_a_chi_square_of_one_per_degree_of_freedom(error: EnsembleError) -> None:
    random = np.random.default_rng(1)
    draws = np.stack([error.draw(random, 4) for _ in range(2000)])
    for part, freedom in (("offset", 1), ("cycle", 11), ("anomaly", 36)):
        found = misfit(draws, error)[part].mean(axis=0)
        np.testing.assert_allclose(found, 1, atol=4.5 * np.sqrt(2 / freedom / 2000))


@given(st.floats(0.01, 9.0))
@settings(deadline=None)
def test_scaling_scales_everything(factor: float) -> None:
    scaled = ERROR.scaled(factor)
    np.testing.assert_allclose(scaled.covariance(2), factor * ERROR.covariance(2), rtol=1e-12)
    np.testing.assert_allclose(scaled.anomaly_precision(), ERROR.anomaly_precision() / factor, rtol=1e-9, atol=1e-9)
    for one, two in zip(AMPLIFIED.scaled(factor).precisions(), AMPLIFIED.precisions(), strict=True):  # the sum's too
        np.testing.assert_allclose(one, two / factor, rtol=1e-9, atol=1e-9)
    unknown = with_unknown("cycle_variance").scaled(factor).total
    assert unknown is not None and np.isinf(unknown.cycle_variance).all()


# Regions and their sum

positive = st.floats(0.01, 100)


def implied(region: np.ndarray, of_sum: float) -> tuple[np.ndarray, float]:
    """Variances of the regions and of their sum by dense algebra: 1 / D and 1 / T are precisions of regions and sum."""
    precision = np.diag(1 / region) + (0.0 if np.isinf(of_sum) else 1 / of_sum) * np.ones((len(region), len(region)))
    covariance = np.linalg.inv(precision)
    return np.diag(covariance), float(covariance.sum())


@given(st.lists(positive, min_size=2, max_size=12), positive)
@settings(max_examples=200, deadline=None)
def test_regions_are_coupled_to_their_sum(own: list[float], share: float) -> None:
    """Variances that some D and T have are found again, the sum's to rounding, a region's to 2 per mille; none of D above 0.6 (S + T)."""
    region, of_sum = np.array(own), share * sum(own)
    assume(region.max() < 0.6 * (region.sum() + of_sum))
    variance, total = implied(region, of_sum)
    found_variance, found_total = implied(*couple_to_total(variance, total))
    np.testing.assert_allclose(found_variance, variance, rtol=2e-3)
    assert found_total == pytest.approx(total, rel=1e-6)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.floats(0.001, 300))
@settings(max_examples=200, deadline=None)
def test_a_sum_is_never_worse_known_than_stated(variance: list[float], total: float) -> None:
    """Any variances: the sum has its own or, where that is not below independence (or one region is all), the regions stay as they are.

    Where the regions' cannot be had at once they come out smaller, never larger; nothing is ever NaN.
    """
    stated = np.array(variance)
    region, of_sum = couple_to_total(stated, total)
    assert not np.isnan(region).any() and not np.isnan(of_sum)
    if total >= stated.sum() or len(stated) == 1:
        assert np.isinf(of_sum) and (region == stated).all()
    else:
        share = region / (region.sum() + of_sum)
        assert region.sum() * of_sum / (region.sum() + of_sum) == pytest.approx(total, rel=1e-9)
        assert (region * (1 - share) <= stated * (1 + 2e-3)).all() and (region >= stated).all() and (region <= 3 * stated).all()


# Estimation


def test_variances_are_recovered_from_many_products() -> None:
    """1000 synthetic products of 10 years: standard errors of the variances 4.5 %, 1.4 %, 0.4 %."""
    random = np.random.default_rng(2)
    products = np.stack([ERROR.draw(random, 10) for _ in range(1000)]) + random.normal(size=(2, 10, 12))
    found = estimate_error(products, np.array([1.0, 4.0]))
    np.testing.assert_allclose(found.offset_variance, ERROR.offset_variance, rtol=0.18)
    np.testing.assert_allclose(found.cycle_variance, ERROR.cycle_variance, rtol=0.06)
    np.testing.assert_allclose(found.anomaly_variance, ERROR.anomaly_variance, rtol=0.03)
    np.testing.assert_allclose(found.autocorrelation, ERROR.autocorrelation, atol=0.02)


def test_the_variance_of_a_well_known_total_is_recovered() -> None:
    """1500 products of 8 years whose regions err against each other: the total's variance is 1/6 of that of independent regions.

    Standard errors 3.7 %, 1.1 % and 0.3 % (offset, cycle, anomaly); the autocorrelation is the same everywhere, so that the
    anomalies of a region and of the sum are AR(1), too.
    """
    region = np.array([0.2, 0.3, 0.25, 0.15])
    parts = [region, region / 5, region / 3]
    total = EnsembleError(*(np.array([p.sum() / 5]) for p in parts), np.array([0.5]))
    true = EnsembleError(*parts, np.full(4, 0.5), total)
    random = np.random.default_rng(12)
    products = np.stack([true.draw(random, 8) for _ in range(1500)]) + random.normal(size=(4, 8, 12))
    found = estimate_error(products, np.ones(4))
    assert found.total is not None
    names = ("offset_variance", "cycle_variance", "anomaly_variance")
    for name, tolerance in zip(names, (0.16, 0.05, 0.03), strict=True):
        own, of_sum = implied(getattr(true, name), getattr(true.total, name)[0])
        assert of_sum == pytest.approx(getattr(true, name).sum() / 6)
        found_own, found_sum = implied(getattr(found, name), getattr(found.total, name)[0])
        np.testing.assert_allclose(found_own, own, rtol=tolerance)
        assert found_sum == pytest.approx(of_sum, rel=tolerance)
    np.testing.assert_allclose(found.total.autocorrelation, 0.5, atol=0.02)
    # and so is the whole matrix, in the two parts that have no other freedom
    np.testing.assert_allclose(found.marginals()[0], true.marginals()[0], rtol=0.16)
    np.testing.assert_allclose(found.marginals()[2], true.marginals()[2], rtol=0.05, atol=0.001)


def test_the_error_of_the_amplitude_is_recovered() -> None:
    """1200 products whose cycles are 1 + 0.3 z times the true one, on top of the three parts: its variance has a standard error of 4 %.

    The regions' cycles are in opposite phase and cancel in the sum but for a fifth of one of them.
    """
    random, month = np.random.default_rng(15), 2 * np.pi * np.arange(12) / 12
    true_cycle = np.stack([np.cos(month), -0.8 * np.cos(month)])
    factor = 1 + 0.3 * random.normal(size=(1200, 2, 1, 1))
    products = np.stack([ERROR.draw(random, 3) for _ in range(1200)]) + factor * true_cycle[:, None]
    found = estimate_error(products, np.ones(2))
    assert found.amplitude is not None
    np.testing.assert_allclose(np.abs(found.amplitude), np.abs(0.3 * true_cycle), atol=0.02)
    np.testing.assert_allclose(found.cycle_variance, ERROR.cycle_variance, rtol=0.06)
    of_sum = spread_of(products.sum(axis=1, keepdims=True))
    direction = of_sum.direction[0]
    assert of_sum.along[0] == pytest.approx(0.09 * 6 * (1 + 0.64) + ERROR.cycle_variance.sum(), rel=0.16)
    independent, (_, cycle, _) = found.cycle_covariance().sum(axis=0), found.marginals()
    assert direction @ independent @ direction == pytest.approx(of_sum.along[0], rel=0.16)
    np.testing.assert_allclose(
        np.einsum("ri,rij,rj->r", found.amplitude, cycle, found.amplitude),
        np.einsum("ri,rij,rj->r", found.amplitude, found.cycle_covariance(), found.amplitude),
        rtol=0.16,
    )


def test_products_whose_cycles_differ_evenly_have_little_error_of_amplitude() -> None:
    """Four products with errors alike in all directions, 200 ensembles: the variance along the mean cycle is not above twice the others'.

    The positive part of a difference of estimates is not zero on average; it must stay small beside what it is added to.
    """
    random, ratio = np.random.default_rng(16), []
    for _ in range(200):
        products = np.stack([ERROR.draw(random, 4) for _ in range(4)]) + np.cos(2 * np.pi * np.arange(12) / 12)
        found = estimate_error(products, np.ones(2))
        assert found.amplitude is not None
        ratio.append((found.amplitude**2).sum(axis=1) / found.cycle_variance)
    assert np.mean(ratio) < 1


def test_products_that_err_alike_leave_regions_independent() -> None:
    """Where a product is high everywhere or low everywhere the total is worse known than independence says: no more is claimed of it."""
    offset = np.random.default_rng(13).normal(size=(50, 1, 1, 1))
    products = offset * np.ones((1, 3, 4, 12)) + 0.1 * np.random.default_rng(14).normal(size=(50, 3, 4, 12))
    found = estimate_error(products, np.ones(3))
    assert found.total is not None and np.isinf(found.total.offset_variance[0])
    np.testing.assert_allclose(found.marginals()[0], found.offset_variance)


def test_the_common_signal_of_all_products_is_no_error() -> None:
    random = np.random.default_rng(3)
    products = np.stack([ERROR.draw(random, 3) for _ in range(4)])
    area = np.ones(2)
    one, two = estimate_error(products, area), estimate_error(products + 100 * residuals(3), area)
    np.testing.assert_allclose(one.offset_variance, two.offset_variance, rtol=1e-6)
    np.testing.assert_allclose(one.anomaly_variance, two.anomaly_variance, rtol=1e-6)


def test_two_products_apart_by_hand() -> None:
    """Products d and -d apart in the mean only: variance 2 d^2 per region, shrunk to its geometric mean over regions per area."""
    d, area = np.array([0.1, 0.3]), np.array([1.0, 3.0])
    products = np.stack([d, -d])[:, :, None, None] * np.ones((2, 2, 3, 12))
    variance = 2 * d**2
    pooled = np.sqrt(np.prod(variance / area)) * area
    expected = (variance + PRIOR_DEGREES_OF_FREEDOM * pooled) / (1 + PRIOR_DEGREES_OF_FREEDOM)
    found = estimate_error(products, area)
    np.testing.assert_allclose(found.offset_variance, expected)
    extra = np.array([0.5, 0.0])
    np.testing.assert_allclose(estimate_error(products, area, extra).offset_variance, expected + extra)
    assert (found.cycle_variance < 1e-20).all()


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.7, 0.9])
def test_autocorrelation_is_matched_to_the_annual_variance(rho: float) -> None:
    """Variance of an AR(1) mean of 12: ((1 + p)/(1 - p) - 2 p (1 - p^12) / (12 (1 - p)^2)) / 12 of a month's.

    von Storch and Zwiers (1999), Statistical Analysis in Climate Research, section 6.6.8.
    """
    ratio = ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**12) / (12 * (1 - rho) ** 2)) / 12
    assert autoregressive_correlation(np.asarray(rho)).mean() == pytest.approx(ratio)
    random = np.random.default_rng(4)
    true = EnsembleError(*(np.full(1, v) for v in (1.0, 1.0, 0.01, rho)))
    found = estimate_error(np.stack([true.draw(random, 30) for _ in range(300)]), np.ones(1))
    annual = found.anomaly_variance * autoregressive_correlation(found.autocorrelation).mean()
    np.testing.assert_allclose(annual, 0.01 * ratio, rtol=0.06)  # 8700 annual means: standard error 1.5 %
    assert found.autocorrelation[0] == pytest.approx(rho, abs=0.03)


def test_a_product_that_lacks_years_is_left_out_of_the_spread_only() -> None:
    random = np.random.default_rng(5)
    products = np.stack([ERROR.draw(random, 4) for _ in range(4)])
    short = products.copy()
    short[3, :, :2] = np.nan
    with_short, without = estimate_error(short, np.ones(2)), estimate_error(products[:3], np.ones(2))
    np.testing.assert_allclose(with_short.offset_variance, without.offset_variance)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ([[1, 1, 1]], r"1 product\(s\), 0 year\(s\).*add products or widen the period"),
        ([[1, 1, 0], [0, 1, 1]], r"2 product\(s\), 1 year\(s\) that at least two of them cover"),
        ([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], "fewer than two products cover all shared years"),
    ],
)
def test_too_little_to_estimate_an_error_is_refused(present: list[list[int]], message: str) -> None:
    use = np.array(present, dtype=float)
    products = np.where(use[:, None, :, None] > 0, np.random.default_rng(0).normal(size=(len(use), 2, use.shape[1], 12)), np.nan)
    with pytest.raises(InputError, match=message):
        estimate_error(products, np.ones(2))


# The mean


def test_the_mean_does_not_jump_where_a_product_begins() -> None:
    """Constant products 0 and 10; the second begins in the third year: 5 throughout, not 0 and then 5."""
    products = np.stack([np.zeros((1, 5, 12)), np.full((1, 5, 12), 10.0)])
    products[1, :, :2] = np.nan
    np.testing.assert_allclose(ensemble_mean(products), 5)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_mean_keeps_what_products_share(seed: int) -> None:
    """A common signal and an offset each: the mean is the signal plus the mean offset, whatever is missing where."""
    random = np.random.default_rng(seed)
    signal, offset = random.normal(size=(2, 5, 12)), random.normal(size=(3, 2, 1, 1))
    products = signal + offset
    missing = random.random((3, 1, 5, 1)) < 0.4
    missing[:, :, 0] = False  # one year that all have
    missing[0] = False  # and a product that has every year
    products = np.where(np.broadcast_to(missing, products.shape), np.nan, products)
    np.testing.assert_allclose(ensemble_mean(products), signal + offset.mean(axis=0), atol=1e-12)


def test_products_may_be_connected_through_a_third() -> None:
    """0 in years 1-2, 10 in years 2-3, 20 in years 3-4: offsets -10, 0, 10 and a mean of 10 throughout."""
    products = np.full((3, 1, 4, 12), np.nan)
    for place in range(3):
        products[place, :, place : place + 2] = 10 * place
    np.testing.assert_allclose(ensemble_mean(products), 10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mean_is_that_of_dense_least_squares(seed: int) -> None:
    """All months' means and products' offsets (which sum to zero) fitted at once to noisy products with gaps."""
    random = np.random.default_rng(seed)
    products = random.normal(size=(3, 1, 4, 12))
    products[1, :, :2], products[2, :, 3] = np.nan, np.nan
    flat = products.reshape(3, 48)
    product, month = np.nonzero(np.isfinite(flat))
    design = np.zeros((len(product) + 1, 51))
    design[np.arange(len(product)), month] = 1
    design[np.arange(len(product)), 48 + product] = 1
    design[-1, 48:] = 1
    solution = np.linalg.lstsq(design, np.append(flat[product, month], 0.0), rcond=None)[0]
    np.testing.assert_allclose(ensemble_mean(products).ravel(), solution[:48], atol=1e-10)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], r"share no month with the others.*leave one group out"),
        ([[1, 1, 0], [1, 1, 0], [1, 1, 0]], "a month of a whole year that no product has"),
    ],
)
def test_a_mean_that_cannot_be_told_is_refused(present: list[list[int]], message: str) -> None:
    products = np.where(np.array(present)[:, None, :, None] > 0, np.ones((3, 1, len(present[0]), 12)), np.nan)
    with pytest.raises(InputError, match=message):
        ensemble_mean(products)


# Years


def series(values: np.ndarray, first: str) -> xr.DataArray:
    """(product, time) values of one region."""
    time = pd.date_range(first, periods=values.shape[1], freq="MS")
    return xr.DataArray(values[:, None], {"time": time}, dims=("product", "region", "time"))


def test_only_whole_calendar_years_are_taken() -> None:
    values, years = to_year_month(series(np.arange(35.0)[None], "2000-07-01"))
    np.testing.assert_array_equal(years, [2001, 2002])
    np.testing.assert_array_equal(values, 6 + np.arange(24).reshape(1, 1, 2, 12))


def test_years_that_no_product_covers_are_not_taken() -> None:
    """Products of 2001-2002 and of 2002 to March 2003, in a study of 2001-2004."""
    values = np.ones((2, 48))
    values[0, 24:], values[1, :12], values[1, 27:] = np.nan, np.nan, np.nan
    np.testing.assert_array_equal(to_year_month(series(values, "2001-01-01"))[1], [2001, 2002])


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_no_whole_year_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"no whole calendar year that a product covers between 2000-07-01.*widen `period`"):
        to_year_month(series(np.full((1, 12 if value == 0 else 30), value), "2000-07-01"))

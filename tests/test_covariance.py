"""R in three parts against dense algebra, and its estimation from ensembles whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dualflux.constraints.inversions.covariance import (
    EnsembleError,
    assemble,
    autoregressive_correlation,
    between_regions,
    couple_to_total,
    independent,
    misfit,
    split_parts,
    spread_over_months,
    with_further_error,
)
from dualflux.constraints.inversions.ensemble_mean import CYCLE_PRIOR_YEARS, ensemble_mean, to_year_month
from dualflux.errors import InputError
from small_world import dense_covariance

ERROR = independent(np.array([0.04, 0.3]), np.array([0.02, 0.05]), np.array([0.01, 0.08]), np.array([0.3, 0.8]))


def between(*correlation: float) -> np.ndarray:
    """A covariance of three regions."""
    sd, (one, two, three) = np.array([0.2, 0.5, 0.3]), correlation
    return np.asarray(np.outer(sd, sd) * np.array([[1, one, two], [one, 1, three], [two, three, 1]]))


AMPLITUDE = np.cos(2 * np.pi * (np.arange(12) - np.array([[0.0], [1.0], [6.0]])) / 12) / np.sqrt(6)
SHAPE = np.linalg.cholesky(autoregressive_correlation(np.array([0.3, 0.8, 0.0])))
COUPLED = assemble(between(-0.3, -0.4, -0.2), between(0.8, 0.5, 0.6), 0.3 * between(0.5, -0.7, 0.1), SHAPE)
AMPLIFIED = replace(COUPLED, mean=COUPLED.mean + spread_over_months(between(0.9, 0.9, 0.9), AMPLITUDE[:, :, None]))
KNOWN_TOTAL = assemble(*(between_regions(scale * np.array([0.04, 0.3, 0.1]), scale * 0.05) for scale in (1.0, 0.2, 0.5)))

PARTLY_COUPLED = [COUPLED, AMPLIFIED, KNOWN_TOTAL]


def residuals(years: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, years, 12))


# Three parts are one quadratic form


@pytest.mark.parametrize("years", [2, 4])
def test_misfit_times_degrees_of_freedom_is_the_same_form(years: int) -> None:
    residual = residuals(years, 1)
    found = misfit(residual, ERROR)
    total = found["offset"] + 11 * found["cycle"] + 12 * (years - 1) * found["anomaly"]
    whole = dense_covariance(ERROR, years).reshape(2, 12 * years, 2, 12 * years)
    dense = [r @ np.linalg.solve(whole[i, :, i], r) for i, r in enumerate(residual.reshape(2, -1))]
    np.testing.assert_allclose(total, dense, rtol=1e-9)


@pytest.mark.parametrize("error", PARTLY_COUPLED)
@pytest.mark.parametrize("years", [2, 3])
def test_the_two_quadratic_forms_are_one_generalised_least_squares(error: EnsembleError, years: int) -> None:
    """mean' S mean + sum of a' B a = r' R^-1 r with the dense R over (region, year, month).

    Regions err together, against each other, or are known by their sum.
    """
    residual = np.random.default_rng(years).normal(size=(3, years, 12))
    mean, (mean_precision, anomaly_precision) = residual.mean(axis=1), error.precisions()
    anomaly = residual - mean[:, None]
    found = np.einsum("ri,risj,sj->", mean, mean_precision, mean) + np.einsum("ryi,risj,syj->", anomaly, anomaly_precision, anomaly)
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
    """Two regions of 1 and a sum of 2 seen besides: variance of the sum 2 x 2 / (2 + 2), of a region 3 / 4, -1/4 between them."""
    region, of_sum = np.ones(2), 2.0
    known = np.diag(region) - np.outer(region, region) / (region.sum() + of_sum)
    error = assemble(known, known, known)
    offset, cycle, anomaly = error.marginals()
    np.testing.assert_allclose(offset, 3 / 4)
    np.testing.assert_allclose(cycle, np.broadcast_to(3 / 4 * (np.eye(12) - 1 / 12), (2, 12, 12)), atol=1e-15)
    np.testing.assert_allclose(anomaly, np.broadcast_to(3 / 4 * np.eye(12), (2, 12, 12)), atol=1e-15)
    assert error.marginals_of_total()[0] == pytest.approx(1)


@pytest.mark.parametrize("years", [2, 6])
def test_degrees_of_freedom_add_to_all_months(years: int) -> None:
    """12 + 12 (Y - 1) = 12 Y of a region: each part's covariance has that rank, and neither overlaps the other."""
    mean, anomaly = (EnsembleError(ERROR.mean * a, ERROR.anomaly * (1 - a)).covariance(years) for a in (1.0, 0.0))
    assert [np.linalg.matrix_rank(c) for c in (mean, anomaly)] == [24, 24 * (years - 1)]
    np.testing.assert_allclose(mean @ anomaly, 0, atol=1e-15)
    np.testing.assert_allclose(mean + anomaly, dense_covariance(ERROR, years), atol=1e-15)


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
    scaled = AMPLIFIED.scaled(factor)
    np.testing.assert_allclose(scaled.covariance(2), factor * AMPLIFIED.covariance(2), rtol=1e-12)
    for one, two in zip(scaled.precisions(), AMPLIFIED.precisions(), strict=True):
        np.testing.assert_allclose(one, two / factor, rtol=1e-7, atol=1e-7)


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


@given(st.lists(positive, min_size=2, max_size=8), st.floats(0.01, 3))
@settings(max_examples=200, deadline=None)
def test_a_covariance_has_the_stated_variances_and_sum(own: list[float], share: float) -> None:
    """Above independence exactly, up to what wholly common errors give; below the sum's exactly. Never indefinite."""
    variance = np.array(own)
    total = share * variance.sum()
    found = between_regions(variance, total)
    assert found.sum() == pytest.approx(min(total, np.sqrt(variance).sum() ** 2), rel=1e-6)
    assert np.linalg.eigvalsh(found)[0] > -1e-9 * variance.max()
    if share >= 1:
        np.testing.assert_allclose(np.diag(found), variance)


@pytest.mark.parametrize("total", [0.5, 3.0, 5.0])
def test_a_further_error_adds_its_variances(total: float) -> None:
    """Offset, cycle and anomaly of three regions of 1 and of their sum, added to those that are there."""
    more = np.array([[1.0, 1.0, 1.0, total]] * 3)
    both = with_further_error(AMPLIFIED, more)
    for old, new in ((AMPLIFIED.marginals(), both.marginals()), (AMPLIFIED.marginals_of_total(), both.marginals_of_total())):
        sum_of = 1.0 if len(old[0]) == 3 else total
        np.testing.assert_allclose(new[0] - old[0], sum_of)
        np.testing.assert_allclose(np.einsum("rii->r", new[1] - old[1]), 11 * sum_of)
        np.testing.assert_allclose(np.einsum("rii->r", new[2] - old[2]), 12 * sum_of)


# The mean


def test_the_mean_does_not_jump_where_a_product_begins() -> None:
    """Constant products 0 and 10; the second begins in the third year: 5 throughout, not 0 and then 5."""
    products = np.stack([np.zeros((1, 5, 12)), np.full((1, 5, 12), 10.0)])
    products[1, :, :2] = np.nan
    np.testing.assert_allclose(ensemble_mean(products), 5)


@given(st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_the_mean_keeps_what_products_share(seed: int) -> None:
    """A common signal and an offset each: the mean is the signal plus the mean offset, whatever years or months are missing where."""
    random = np.random.default_rng(seed)
    signal, offset = random.normal(size=(2, 5, 12)), random.normal(size=(3, 2, 1, 1))
    products = signal + offset
    missing = random.random((3, 1, 5, 12 if seed % 2 else 1)) < 0.4
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
    """All months' means, products' offsets (which sum to zero) and their cycles with a ridge, fitted at once to products with gaps."""
    random = np.random.default_rng(seed)
    products = random.normal(size=(3, 1, 4, 12))
    products[1, :, :2], products[2, :, 3], products[0, :, 2, 5:8] = np.nan, np.nan, np.nan
    flat = products.reshape(3, 48)
    product, month = np.nonzero(np.isfinite(flat))
    data = np.zeros((len(product), 48 + 36))  # means, then an effect of each product and calendar month
    data[np.arange(len(product)), month] = 1
    data[np.arange(len(product)), 48 + 12 * product + month % 12] = 1
    ridge = np.hstack([np.zeros((36, 48)), np.sqrt(CYCLE_PRIOR_YEARS) * np.kron(np.eye(3), np.eye(12) - 1 / 12)])
    zero_sum = np.hstack([np.zeros((1, 48)), np.ones((1, 36))])
    right = np.concatenate([flat[product, month], np.zeros(37)])
    solution = np.linalg.lstsq(np.vstack([data, ridge, zero_sum]), right, rcond=None)[0]
    np.testing.assert_allclose(ensemble_mean(products).ravel(), solution[:48], atol=1e-10)


def test_a_product_of_double_amplitude_that_misses_a_year_leaves_that_years_cycle() -> None:
    """Of four products of ten years, one with twice the cycle: the year without it has the mean cycle to 2 %, not 0.8 of it."""
    cycle = np.cos(2 * np.pi * np.arange(12) / 12) * np.ones((1, 10, 1))
    products = np.stack([cycle, cycle, cycle, 2 * cycle])
    products[3, :, 4] = np.nan
    found = np.ptp(ensemble_mean(products)[0], axis=-1)
    assert found[4] / found[5] == pytest.approx(1, abs=0.0201)


def test_the_mean_of_a_sum_of_regions_is_the_sum_of_their_means() -> None:
    products = np.random.default_rng(0).normal(size=(4, 3, 6, 12))
    products[1, :, :2], products[3, :, 5] = np.nan, np.nan
    np.testing.assert_allclose(ensemble_mean(products).sum(axis=0), ensemble_mean(products.sum(axis=1, keepdims=True))[0], atol=1e-12)


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

"""The prior of what no predictor carries: its covariance, precision and draws against each other and by hand."""

import numpy as np
import pandas as pd
import pytest

from dualflux.model.anomaly_effect import AnomalyEffect, AnomalyPrior, days, month_numbers

YEARS = np.array([2001, 2002, 2004, 2005])  # a year in the middle is not fitted; 2004 is a leap year
SD = np.array([0.2, 0.5, 0.1])[:, None] * (1 + 0.5 * np.cos(2 * np.pi * np.arange(12) / 12))
PRIOR = AnomalyPrior(SD, 0.6, 0.3)


def free_covariance(prior: AnomalyPrior, years: np.ndarray) -> np.ndarray:
    """Of the process itself over (year, region, 12), entry by entry."""
    keys = [(y, r, i) for y in years for r in range(len(prior.sd)) for i in range(12)]
    found = np.empty((len(keys), len(keys)))
    for a, (y, r, i) in enumerate(keys):
        for b, (z, s, j) in enumerate(keys):
            between = 1.0 if r == s else prior.common
            found[a, b] = prior.sd[r, i] * prior.sd[s, j] * between * prior.autocorrelation ** abs(12 * (int(y) - int(z)) + i - j)
    return found


def sums(years: np.ndarray, regions: int) -> np.ndarray:
    """Each region's calendar month summed over the years, (region x 12, year x region x 12)."""
    return np.concatenate([np.diag(np.tile(row, regions)) for row in days(years)], axis=1)


def dense_precision(prior: AnomalyPrior, years: np.ndarray) -> np.ndarray:
    """The banded precision written out."""
    blocks, corner = prior.precision(years)
    size, regions = blocks.shape[1], len(prior.sd)
    found = np.zeros((len(years) * size,) * 2)
    january, december = 12 * np.arange(regions), 12 * np.arange(regions) + 11
    for y in range(len(years)):
        found[y * size : (y + 1) * size, y * size : (y + 1) * size] = blocks[y]
        if y:
            row, column = y * size + january, (y - 1) * size + december
            found[np.ix_(row, column)], found[np.ix_(column, row)] = corner[y - 1], corner[y - 1].T
    return found


def test_the_covariance_is_that_of_the_process_given_that_the_sums_are_zero() -> None:
    free, constraint = free_covariance(PRIOR, YEARS), sums(YEARS, 3)
    given = free - free @ constraint.T @ np.linalg.solve(constraint @ free @ constraint.T, constraint @ free)
    assert np.allclose(PRIOR.covariance(YEARS), given, atol=1e-12)


def test_the_banded_precision_is_the_inverse_of_the_free_covariance() -> None:
    assert np.allclose(dense_precision(PRIOR, YEARS) @ free_covariance(PRIOR, YEARS), np.eye(12 * 3 * len(YEARS)), atol=1e-9)


def test_draws_have_the_covariance_and_integrals_of_a_calendar_month_sum_to_zero() -> None:
    draws = np.stack([PRIOR.draw((7, k), "anomaly", YEARS, YEARS) for k in range(4000)])
    assert np.abs(np.einsum("kyri,yi->kri", draws, days(YEARS))).max() < 1e-12
    flat = draws.reshape(len(draws), -1)
    expected = PRIOR.covariance(YEARS)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    # of 20,000 correlations the largest sampling error is some five times 1 / sqrt(4000)
    assert np.abs((flat.T @ flat / len(flat) - expected) / scale).max() < 0.1


def test_a_year_does_not_depend_on_the_years_that_are_asked_for() -> None:
    few = PRIOR.draw((1, 2), "anomaly", YEARS, np.array([1999, 2010]))
    many = PRIOR.draw((1, 2), "anomaly", YEARS, np.arange(1990, 2020))
    assert np.allclose(few, many[[9, 20]], atol=1e-14)


def test_unseen_years_scatter_as_the_process_does_and_go_on_from_the_last_fitted_month() -> None:
    draws = np.stack([PRIOR.draw((3, k), "anomaly", YEARS, np.arange(2005, 2009)) for k in range(4000)])
    assert np.allclose(draws[:, 3].std(axis=0), SD, rtol=0.06)
    both = np.corrcoef(draws[:, 0, :, 11].ravel(), draws[:, 1, :, 0].ravel())[0, 1]
    assert 0.45 < both < 0.65  # rho, and a little less since the last month is also part of a sum


def test_regions_in_another_order_have_their_own_covariance() -> None:
    order = np.array([2, 0, 1])
    own = PRIOR.covariance(YEARS).reshape(4, 3, 12, 4, 3, 12)
    other = AnomalyPrior(SD[order], 0.6, 0.3).covariance(YEARS).reshape(own.shape)
    assert np.allclose(other, own[:, order][:, :, :, :, order], atol=1e-14)


def effect() -> AnomalyEffect:
    posterior = np.random.default_rng(0).normal(size=(2, len(YEARS), 3, 12))
    return AnomalyEffect(PRIOR, ("A", "B", "C"), YEARS, np.array([[5, 1, 0, 1], [5, 1, 0, -1]]), posterior)


def test_members_of_a_pair_cancel_and_months_are_the_right_ones() -> None:
    months = pd.date_range("2004-11-01", periods=4, freq="MS")
    drawn = effect().prior_draws(months)
    assert drawn.shape == (2, 4, 3)
    assert np.array_equal(drawn[0], -drawn[1])
    year = PRIOR.draw((5, 1, 0), "anomaly", YEARS, np.array([2005]))[0]
    assert np.allclose(drawn[0, 2:].T, year[:, :2], atol=1e-14)


def test_the_posterior_is_not_defined_outside_the_fitted_years() -> None:
    own = effect()
    found = own.posterior_draws(pd.date_range("2002-12-01", periods=14, freq="MS"))
    assert np.isnan(found[:, 1:13]).all()
    assert np.array_equal(found[:, 0], own.posterior[:, 1, :, 11])
    assert np.array_equal(found[:, 13], own.posterior[:, 2, :, 0])


def test_arrays_bring_back_the_same_draws() -> None:
    months, own = pd.date_range("1998-01-01", periods=30, freq="MS"), effect()
    assert np.array_equal(AnomalyEffect.of_arrays(own.arrays()).prior_draws(months), own.prior_draws(months))


@pytest.mark.parametrize("years", [np.array([2003]), np.arange(2001, 2004)])
def test_one_year_alone_has_no_anomaly(years: np.ndarray) -> None:
    size = np.diag(PRIOR.covariance(years)).max()
    assert size < 1e-12 if len(years) == 1 else size > 0.01
    assert len(month_numbers(years)) == 12 * len(years)

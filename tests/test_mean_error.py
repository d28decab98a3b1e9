"""The error of the inversions' mean, s2 (k2 + 1/n): coverage where s is estimated from three regions, draws, and adjustments."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dualflux.constraints.inversions.mean_error import COMMON_SHARE_SD, MeanError, SpreadKind
from dualflux.constraints.inversions.own_error import estimate_own_error
from dualflux.evaluation.left_out import predictive_variance
from test_own_error import known

AREA = np.array([1.0, 2.0, 3.0])
NO_ADJUSTMENTS = np.zeros((3, 12))


def ensemble(random: np.random.Generator, count: int) -> np.ndarray:
    """Products of two years whose offsets err in proportion to the root of area, and whose months vary little."""
    return np.asarray(np.sqrt(AREA)[:, None, None] * (random.normal(size=(count, 3, 1, 1)) + 0.01 * random.normal(size=(count, 3, 2, 12))))


@pytest.mark.parametrize("count", [3, 4, 6])
def test_ninety_percent_hold_ninety(count: int) -> None:
    """1000 ensembles of three regions, s estimated from 3, 4 and 6 products: .90 +- .02 (standard error .0055).

    One more product (exchangeable; also a left-out product, with own parts only), the centre (centred), and truth off the centre
    by a share k from its prior (common), whose intervals are those of the mixture over k and s.
    """
    random, inside = np.random.default_rng(count), np.zeros((3, 1000, 3), bool)
    shares = COMMON_SHARE_SD * stats.halfnorm.ppf((np.arange(40) + 0.5) / 40)
    for place in range(1000):
        products = ensemble(random, count + 1)
        own = estimate_own_error(products[:count], AREA)
        scale, t = np.sqrt(np.diag(own.covariance[0])), stats.t(own.freedom[0])
        mean = products[:count].mean(axis=(0, 2, 3))
        inside[0, place] = np.abs(products[count].mean(axis=(1, 2)) - mean) < t.ppf(0.95) * scale * np.sqrt(1 + 1 / count)
        inside[1, place] = np.abs(mean) < t.ppf(0.95) * scale / np.sqrt(count)
        truth = abs(random.normal()) * COMMON_SHARE_SD * np.sqrt(AREA) * random.normal(size=3)
        sds = scale[:, None] * np.sqrt(shares**2 + 1 / count)
        inside[2, place] = t.cdf(np.abs(truth - mean)[:, None] / sds).mean(axis=1) < 0.95
    np.testing.assert_allclose(inside.mean(axis=(1, 2)), 0.9, atol=0.02)


def mean_error(spread: SpreadKind, adjustment: np.ndarray | None = None) -> MeanError:
    return MeanError(known(), spread, np.zeros((2, 12)) if adjustment is None else adjustment)


@pytest.mark.parametrize(("spread", "squared"), [("common", 0.49), ("exchangeable", 1.0), ("centred", 0.0)])
def test_r_is_the_mean_over_share_and_variance(spread: SpreadKind, squared: float) -> None:
    """Nine degrees of freedom and four products: 9/7 s2 (E k2 + 1/4)."""
    expected, one = mean_error(spread).expected(), known().error()
    np.testing.assert_allclose(expected.mean, 9 / 7 * (squared + 0.25) * one.mean)
    np.testing.assert_allclose(expected.anomaly, 9 / 7 * (squared + 0.25) * one.anomaly)


@pytest.mark.parametrize("spread", ["common", "exchangeable", "centred"])
def test_draws_have_r_on_average(spread: SpreadKind) -> None:
    """6000 draws of two years: the variances of offset and annual anomalies of both regions, to 10 % (kurtosis below 12: 4.3 %)."""
    random, error = np.random.default_rng(0), mean_error(spread)
    draws = np.stack([error.draw(random, 2) for _ in range(6000)])
    offset, _, anomaly = error.expected().marginals()
    np.testing.assert_allclose((draws.mean(axis=(2, 3)) ** 2).mean(axis=0), offset, rtol=0.13)
    annual = (draws - draws.mean(axis=2, keepdims=True)).mean(axis=3)
    np.testing.assert_allclose((annual**2).mean(axis=(0, 2)), anomaly.mean(axis=(1, 2)) / 2, rtol=0.13)


def test_draws_are_from_the_mixture() -> None:
    """The distribution of a drawn offset: Student's t with four degrees of freedom mixed over k (Kolmogorov-Smirnov, 3000 draws)."""
    random, error = np.random.default_rng(5), MeanError(replace(known(), freedom=np.full(6, 4.0)), "common", np.zeros((2, 12)))
    draws = np.array([error.draw(random, 1)[0].mean() for _ in range(3000)])
    shares = COMMON_SHARE_SD * stats.halfnorm.ppf((np.arange(200) + 0.5) / 200)
    sd = np.sqrt(known().covariance[0, 0, 0] * (shares**2 + 0.25))
    assert stats.kstest(draws, lambda x: stats.t(4).cdf(np.asarray(x)[:, None] / sd).mean(axis=1)).pvalue > 0.01


def test_an_adjustment_errs_along_its_own_profile() -> None:
    """Sd 0.3 in July alone: 0.3 / 12 of offset, the rest in the cycle; no part of k or n, none in another region."""
    adjustment = np.zeros((2, 12))
    adjustment[0, 6] = 0.3
    more = mean_error("centred", adjustment).expected().mean - mean_error("centred").expected().mean
    wanted = np.zeros((2, 12, 2, 12))
    wanted[0, 6, 0, 6] = 0.09
    np.testing.assert_allclose(more, wanted, atol=1e-15)


@pytest.mark.parametrize("prior", [0.01, 0.3, 100.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.2])
def test_a_left_out_product_is_predicted_with_own_parts(prior: float, share: float) -> None:
    """200 000 products about the best estimate from four others and a prior of truth: variance V + (1 - 2 K) C + O, to 2 %."""
    random, count, n = np.random.default_rng(0), 200_000, 4
    truth, common = np.sqrt(prior) * random.normal(size=count), share * random.normal(size=count)
    centre = truth - common
    of_mean = share**2 + 1 / n
    gain = prior / (prior + of_mean)
    predicted = gain * (centre + random.normal(size=count) / np.sqrt(n))
    left_out = centre + random.normal(size=count)
    found = predictive_variance(np.array(gain * of_mean), np.array(of_mean), np.array(share**2), np.array(1.0))
    assert np.var(left_out - predicted) == pytest.approx(float(found), rel=0.02)

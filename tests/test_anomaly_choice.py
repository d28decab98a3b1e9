"""Sizes of regional anomalies recovered from residuals of drawn worlds."""

import numpy as np
import pytest
from scipy import optimize

from dualflux.errors import InputError
from dualflux.fitting import anomaly_choice
from dualflux.fitting.anomaly_choice import Scatter, identifiability_rows, most_likely, scatter_of
from dualflux.fitting.series_choice import blocks_of, can_leave_out
from dualflux.model.anomaly_effect import SEASON_OF_MONTH, AnomalyEffect, AnomalyPrior, days

YEARS = np.arange(2001, 2013)
LOAD = np.array([[0.01, 0.001], [0.001, 0.03]])  # 1e15 m2: some cells belong to both
TRUE = AnomalyPrior(np.array([[0.2, 0.4, 0.8, 0.4], [0.1, 0.1, 0.1, 0.1]])[:, SEASON_OF_MONTH], 0.5, 0.4)


def residuals(seed: int, prior: AnomalyPrior, error_sd: float, years: np.ndarray = YEARS) -> np.ndarray:
    """Integrals of a drawn effect, errors of the inversions, and an offset and cycle that are no anomalies, (region, year, 12)."""
    random = np.random.default_rng(seed)
    a = prior.draw((seed,), "world", years, years)
    integral = np.einsum("rs,ysi->ryi", LOAD[: len(prior.sd), : len(prior.sd)], a) * days(years)
    lasting = random.normal(size=(len(prior.sd), 1, 12))
    return integral + error_sd * random.normal(size=integral.shape) + lasting


def scatter(seed: int, prior: AnomalyPrior, error_sd: float) -> Scatter:
    error = (error_sd**2 * np.eye(24)).reshape(2, 12, 2, 12)
    return scatter_of(residuals(seed, prior, error_sd), YEARS, error, LOAD)


def test_known_sizes_are_recovered() -> None:
    found = [most_likely(scatter(seed, TRUE, 0.02)) for seed in range(40)]
    logs = np.stack([np.log(f.sd / TRUE.sd)[:, [0, 3, 6, 9]] for f in found])
    assert np.abs(logs.mean(axis=0)).max() < 0.12  # of the mean of 40 worlds: a little shrunk to each other
    assert logs.std(axis=0).max() < 0.35
    rho, common = np.array([(f.autocorrelation, f.common) for f in found]).T
    assert abs(rho.mean() - 0.5) < 0.05
    assert abs(common.mean() - 0.4) < 0.1


def test_the_inversions_own_error_is_not_taken_for_an_anomaly() -> None:
    """With no effect at all, four times the error of before, the sds are far below what the residuals alone would give."""
    nothing = AnomalyPrior(np.full((2, 12), 1e-9), 0.0, 0.0)
    found = [most_likely(scatter(seed, nothing, 0.08)) for seed in range(10)]
    alone = 0.08 / 30.4 / np.diag(LOAD)
    assert np.median([f.sd.mean(axis=1) / alone for f in found], axis=0).max() < 0.35


def test_the_gradient_is_that_of_the_loss() -> None:
    data = scatter(1, TRUE, 0.02)
    at = np.concatenate([np.log(np.linspace(0.1, 0.9, 8)), [0.35, 0.25]])
    numeric = optimize.approx_fprime(at, lambda p: anomaly_choice._loss(p, data)[0], 1e-6)
    assert np.allclose(anomaly_choice._loss(at, data)[1], numeric, rtol=1e-4, atol=1e-3)


def test_the_order_of_regions_does_not_matter() -> None:
    data = scatter(3, TRUE, 0.02)
    order = np.r_[12:24, 0:12]
    swapped = Scatter(data.second[np.ix_(order, order)], data.freedom, data.error[np.ix_(order, order)], data.load[::-1, ::-1])
    one, other = most_likely(data), most_likely(swapped)
    assert np.allclose(one.sd, other.sd[::-1], rtol=1e-2)
    assert one.autocorrelation == pytest.approx(other.autocorrelation, abs=0.01)


def test_blocks_that_cannot_be_left_out_are_told_before_anything_is_trained() -> None:
    class Inversions:
        years = np.arange(2001, 2005)

    def make(product: str | None, years: tuple[int, int] | None, emissions: object = None) -> Inversions:
        if years == (2003, 2003):
            raise InputError("no two products share two years")
        return Inversions()

    assert not can_leave_out(make)  # type: ignore[arg-type]
    assert can_leave_out(lambda product, years, emissions=None: Inversions())  # type: ignore[arg-type,return-value]
    assert [list(b) for b in blocks_of(np.arange(2001, 2007))] == [[2001, 2002], [2003, 2004], [2005], [2006]]


def test_what_data_say_of_anomalies_is_the_variance_of_pairs_beside_the_priors() -> None:
    """Two pairs +-1 and +-3 in every month: variance (1 + 9) / 2 = 5; a prior sd of 2 has 4."""
    years, shape = np.arange(2001, 2004), (3, 2, 12)
    posterior = np.stack([sign * size * np.ones(shape) for size in (1.0, 3.0) for sign in (1, -1)])
    prior = AnomalyPrior(np.full((2, 12), 2.0), 0.5, 0.1)
    effect = AnomalyEffect(prior, ("a", "b"), years, np.zeros((4, 3), int), posterior)
    (row,) = identifiability_rows({"dual": effect}).itertuples()
    assert (row.variant, row.effect, row.unknowns) == ("dual", "anomaly", 72)
    assert row.prior_variance == 4.0 and row.posterior_variance == 5.0 and row.ratio == 1.25

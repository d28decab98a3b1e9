"""How a few inversions differ, part by part and between regions: mean squares over pairs of products.

The mean over pairs of (x_p - x_q)^2 / 2 is the variance between products. Where all have all years it is the textbook's,
divided by n - 1; where some begin late, end early or miss years every pair is compared in the years that it shares, so that
a product is in the error as it is in the mean. Products of two regions give covariances in the same way, and what is linear
in the fluxes stays so: the variance of a sum of regions is the sum of their covariances, however regions are cut.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize

from dualflux.constraints.inversions.covariance import CENTRE, autoregressive_correlation, split_parts
from dualflux.constraints.inversions.ensemble_mean import ensemble_mean
from dualflux.errors import InputError

PARTS = ("offset", "cycle", "amplitude", "phase", "annual", "monthly")
ACROSS = 9  # directions of a cycle that are neither along the mean cycle nor its shift
SEASON_PRIOR_DEGREES_OF_FREEDOM = 12.0  # weight of equal variance in all calendar months against a month's own


class Spread(NamedTuple):
    """Between products.

    Attributes
    ----------
    scatter : array, (part, region, region)
        Covariance per degree of freedom [(PgC month-1)^2] of a product's offset; of its cycle in each of the nine directions
        across the mean cycle and its shift; along the mean cycle (its amplitude); along its shift in time (its phase); of the mean over
        months of a year's anomalies; and of a month's anomaly about that.
    freedom : array, (part,)
        Degrees of freedom of each estimate.
    products : array, (part,)
        Products that the mean is of, in the part: of anomalies the harmonic mean over years.
    directions : array, (region, 2, 12)
        Of the mean cycle, and of its shift in time as far as it is across the cycle; of unit length, 0 where there is none.
    shape : array, (region, 12, 12)
        F: a year's anomalies about their mean over months have the covariance F F' x variance; columns of zero mean, tr F F' = 11.
    """

    scatter: np.ndarray
    freedom: np.ndarray
    products: np.ndarray
    directions: np.ndarray
    shape: np.ndarray


def spread_of(products: np.ndarray) -> Spread:
    """How products (product, region, year, 12) differ in the whole years that pairs of them share.

    Raises
    ------
    InputError
        Fewer than two products, or no two that share two years.
    """
    use = np.isfinite(products).all(axis=(1, 3)).astype(float)  # product, year
    shared = use @ use.T
    np.fill_diagonal(shared, 0)
    if shared.max() < 2:
        raise InputError(
            f"inversions: {len(products)} product(s), {int(shared.max())} year(s) that at least two of them cover together; "
            "two products and two shared years are needed to estimate their error; add products or widen the period"
        )
    directions = _directions(split_parts(ensemble_mean(products))[1])
    pairs = list(zip(*np.nonzero(np.triu(shared)), strict=True))
    parts = [split_parts((products[p] - products[q])[:, (use[p] * use[q]) > 0] / np.sqrt(2)) for p, q in pairs]
    anomalies = np.concatenate([anomaly for *_, anomaly in parts], axis=1)
    years = float(sum(shared[p, q] - 1 for p, q in pairs))
    freedom, of_years = _freedom((shared > 0).astype(float)), _freedom(np.maximum(shared - 1, 0))
    of_years *= years / np.count_nonzero([shared[p, q] > 1 for p, q in pairs])
    offset, cycle = (np.stack([part[i] for part in parts]) for i in (0, 1))
    return Spread(
        np.stack([*_lasting(offset, cycle, directions), *_passing(anomalies, years)]),
        np.array([freedom, ACROSS * freedom, freedom, freedom, of_years, 11 * of_years]),
        np.array([len(products)] * 4 + [use.shape[1] / (1 / use.sum(axis=0)).sum()] * 2),
        directions,
        _shape(anomalies, years, of_years),
    )


def _lasting(offset: np.ndarray, cycle: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, ...]:
    """Scatter of offset (pair, region) and of cycle (pair, region, 12): across its directions, and along each of them."""
    along = np.einsum("pri,rdi->dpr", cycle, directions)
    across = cycle - np.einsum("dpr,rdi->pri", along, directions)
    count = len(offset)
    amplitude, phase = np.einsum("dpr,dps->drs", along, along) / count
    return offset.T @ offset / count, np.einsum("pri,psi->rs", across, across) / (ACROSS * count), amplitude, phase


def _passing(anomalies: np.ndarray, years: float) -> tuple[np.ndarray, np.ndarray]:
    """Scatter of annual means and of months about them, of anomalies (region, year of a pair, 12)."""
    annual = anomalies.mean(axis=-1)
    within = anomalies - annual[..., None]
    return annual @ annual.T / years, np.einsum("ryi,syi->rs", within, within) / (11 * years)


def _freedom(weight: np.ndarray) -> float:
    """Degrees of freedom of a mean over weighted pairs (product, product): those of Satterthwaite (1946), (tr L)^2 / tr L^2.

    L is the pairs' Laplacian: the mean is b' L b / tr L of the products' b. All pairs alike give n - 1.
    """
    laplacian = np.diag(weight.sum(axis=1)) - weight
    return float(np.trace(laplacian) ** 2 / (laplacian**2).sum())


def _directions(cycle: np.ndarray) -> np.ndarray:
    """Unit vectors along cycles (region, 12) and along their shift in time, (region, 2, 12); 0 where one is no more than rounding."""
    along = _unit(cycle)
    shift = (np.roll(cycle, -1, axis=1) - np.roll(cycle, 1, axis=1)) / 2
    return np.stack([along, _unit(shift - (shift * along).sum(axis=1, keepdims=True) * along)], axis=1)


def _unit(vector: np.ndarray) -> np.ndarray:
    size = np.sqrt((vector**2).sum(axis=1, keepdims=True))
    return np.divide(vector, size, out=np.zeros_like(vector), where=size > 1e-12)


def _shape(anomalies: np.ndarray, years: float, freedom: float) -> np.ndarray:
    """F of every region, (region, 12, 12): sds by calendar month, shrunk to one for all, and one AR(1) for all regions."""
    within = anomalies - anomalies.mean(axis=-1, keepdims=True)
    by_month = (within**2).sum(axis=1) / years
    mean = by_month.mean(axis=1, keepdims=True)
    prior = SEASON_PRIOR_DEGREES_OF_FREEDOM
    season = np.divide(freedom * by_month + prior * mean, (freedom + prior) * mean, out=np.ones_like(by_month), where=mean > 0)
    standard = within / np.sqrt(np.where(season * mean > 0, season * mean, 1.0))[:, None]
    standard = standard - standard.mean(axis=-1, keepdims=True)
    total = float((standard**2).sum())
    rho = _match_lag_one(float((standard[..., 1:] * standard[..., :-1]).sum()) / total) if total > 0 else 0.0
    correlation = np.linalg.cholesky(autoregressive_correlation(np.asarray(rho)))
    sd = np.sqrt(season)
    for _ in range(20):  # taking the mean over months out changes the months' variances
        factor = CENTRE @ (sd[:, :, None] * correlation)
        factor = factor * np.sqrt(11 / (factor**2).sum(axis=(1, 2), keepdims=True))
        sd = sd * np.sqrt(season * 11 / 12 / (factor**2).sum(axis=2))
    return np.asarray(factor)


def _match_lag_one(ratio: float) -> float:
    """Autocorrelation of the AR(1) whose months about their mean have this lag-one product over their variance."""

    def excess(rho: float) -> float:
        covariance = CENTRE @ autoregressive_correlation(np.asarray(rho)) @ CENTRE
        return float(np.trace(covariance, 1) / np.trace(covariance)) - ratio

    if excess(-0.5) >= 0:
        return -0.5
    return 0.95 if excess(0.95) <= 0 else float(optimize.brentq(excess, -0.5, 0.95))

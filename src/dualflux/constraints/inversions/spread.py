"""The centre and the error of a few inversions: their mean, and R estimated from their spread.

Each variance is shrunk, for the products are few: a region's own towards one pooled over regions, that of the sum towards
independent regions. A product whose seasonal cycle is too strong or too weak as a whole errs along the mean cycle, so the
variance in this direction is estimated apart from that of the other ten.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy import optimize

from dualflux.constraints.inversions.covariance import EnsembleError, autoregressive_correlation, split_parts, unknown_total
from dualflux.errors import InputError

PRIOR_DEGREES_OF_FREEDOM = 3.0  # weight of the variance pooled over regions against a region's own
TOTAL_PRIOR_DEGREES_OF_FREEDOM = 1.0  # weight of independent regions against the products' own total


class Spread(NamedTuple):
    """Mean squares of the products' deviations, each per degree of freedom, (region,) [(PgC month-1)^2].

    Attributes
    ----------
    offset, anomaly : array, (region,)
    along, across : array, (region,)
        Of the cycle: along the mean cycle, and in each of the ten directions across it.
    annual_ratio : array, (region,)
        Variance of annual over that of monthly anomalies.
    direction : array, (region, 12)
        Of the mean cycle, of unit length; 0 where there is none.
    products, years : int
    """

    offset: np.ndarray
    along: np.ndarray
    across: np.ndarray
    anomaly: np.ndarray
    annual_ratio: np.ndarray
    direction: np.ndarray
    products: int
    years: int


def estimate_error(products: np.ndarray, region_area: np.ndarray, extra_variance: np.ndarray | None = None) -> EnsembleError:
    """Variances from the spread of a few inversions, shrunk towards one pooled over regions.

    Parameters
    ----------
    products : array, (product, region, year, 12)
        Monthly integrals [PgC month-1]; a product may lack whole years (NaN).
    region_area : array, (region,)
        Land area [m2]: the pooled variance grows with area, as that of a sum of independent patches does.
    extra_variance : array, (region,), optional
        Variance of the mean of adjustments (fire ...) [(PgC month-1)^2], added to the offset's.

    Returns
    -------
    EnsembleError
        The variance of one product about the ensemble's centre: truth taken as exchangeable with the products.

    Raises
    ------
    InputError
        Fewer than two products, or fewer than two years that at least two products share.
    """
    extra = np.zeros(len(region_area)) if extra_variance is None else extra_variance
    own, of_sum = spread_of(products), spread_of(products.sum(axis=1, keepdims=True))
    area, free = region_area / region_area.mean(), own.products - 1.0
    offset, anomaly_free = _shrink(own.offset, free, area), 12 * (own.years - 1) * free
    across = _shrink(own.across, 10 * free, area)
    amplitude = own.direction * np.sqrt(np.maximum(_shrink(own.along, free, across) - across, 0.0))[:, None]
    parts = (
        (offset, extra, of_sum.offset, free),
        (across, 0.0 * extra, of_sum.across, 10 * free),
        (_shrink(own.anomaly, anomaly_free, area), 0.0 * extra, of_sum.anomaly, anomaly_free),
    )
    region, total = (np.stack(side) for side in zip(*(_with_total(*part) for part in parts), strict=True))
    correlation, total_correlation = (np.array([_match_annual_variance(float(r)) for r in s.annual_ratio]) for s in (own, of_sum))
    of_total = EnsembleError(total[0], total[1], total[2], total_correlation)
    error = EnsembleError(region[0], region[1], region[2], correlation, of_total, amplitude)
    return _with_total_amplitude(error, of_sum)


def _with_total(own: np.ndarray, extra: np.ndarray, of_sum: np.ndarray, freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Regions' variances, and that of the sum as a further observation, from a part's own variances and the products' total."""
    prior = TOTAL_PRIOR_DEGREES_OF_FREEDOM
    total = (freedom * float(of_sum[0]) + prior * own.sum()) / (freedom + prior)
    region, further = couple_to_total(own + extra, total + float(extra.sum()))
    return region, np.array([further])


def _with_total_amplitude(error: EnsembleError, of_sum: Spread) -> EnsembleError:
    """The amplitude of the sum's cycle as well known as the products show: the further observation's error along its mean cycle."""
    total, direction = error.total, of_sum.direction[0]
    if total is None or not np.isfinite(total.cycle_variance[0]):
        return error
    independent = direction @ error.cycle_covariance().sum(axis=0) @ direction
    free, prior = of_sum.products - 1.0, TOTAL_PRIOR_DEGREES_OF_FREEDOM
    stated = (free * float(of_sum.along[0]) + prior * independent) / (free + prior)
    further = 1 / max(1 / stated - 1 / independent, 1e-6 / independent) if stated > 0 else 0.0
    amplitude = direction * np.sqrt(max(further - float(total.cycle_variance[0]), 0.0))
    return replace(error, total=replace(total, amplitude=amplitude[None]))


def with_further_error(error: EnsembleError, variance: np.ndarray) -> EnsembleError:
    """`error` with a further, independent one whose offset, cycle and anomaly have the variances (3, region + 1), last those of its sum."""
    total = unknown_total() if error.total is None else error.total
    regions, totals = [], []
    for region, of_sum, more in zip(error.variances(), total.variances(), variance, strict=True):
        share = region.sum() / (region.sum() + of_sum[0])  # how much of independent regions' errors the total takes away
        marginal = region * (1 - region * share / region.sum())
        found, further = couple_to_total(marginal + more[:-1], region.sum() * (1 - share) + more[-1])
        regions.append(found)
        totals.append(np.array([further]))
    of_total = EnsembleError(totals[0], totals[1], totals[2], total.autocorrelation, None, total.amplitude)
    return EnsembleError(regions[0], regions[1], regions[2], error.autocorrelation, of_total, error.amplitude)


def couple_to_total(variance: np.ndarray, total: float) -> tuple[np.ndarray, float]:
    """Variances of independent regions D, and of one more observation of their sum T, that give the stated ones.

    Solves D_i - D_i^2 / (S + T) = variance_i and S T / (S + T) = total, S the sum of D, by iteration. Where no solution
    exists (one region's error is larger than all others' together, yet the total is well known) D stays below three
    times `variance`, which gives the total up to the regions. A total not below that of independent regions says nothing.

    Parameters
    ----------
    variance : array, (region,)
    total : float

    Examples
    --------
    >>> import numpy as np
    >>> region, of_sum = couple_to_total(np.ones(4), 1.0)
    >>> covariance = np.diag(region) - np.outer(region, region) / (region.sum() + of_sum)
    >>> bool(np.allclose(np.diag(covariance), 1)), bool(np.isclose(covariance.sum(), 1.0))
    (True, True)
    """
    if total >= variance.sum() or len(variance) == 1:
        return variance, np.inf
    region = variance
    for _ in range(200):
        share = (region.sum() - total) / region.sum() ** 2
        region = np.minimum(variance + region**2 * share, 3 * variance)
    return region, float(total * region.sum() / (region.sum() - total))


def spread_of(products: np.ndarray) -> Spread:
    """How products (product, region, year, 12) that cover all shared years deviate from their mean.

    Raises
    ------
    InputError
        Fewer than two products, or fewer than two years that at least two products share.
    """
    use = np.isfinite(products).all(axis=(1, 3))  # product, year
    shared = use.sum(axis=0) >= 2
    if len(products) < 2 or shared.sum() < 2:
        raise InputError(
            f"inversions: {len(products)} product(s), {int(shared.sum())} year(s) that at least two of them cover; "
            "two products and two shared years are needed to estimate their error; add products or widen the period"
        )
    whole = [p for p in range(len(products)) if use[p, shared].all()]
    if len(whole) < 2:
        raise InputError("inversions: fewer than two products cover all shared years; choose a period that two products cover")
    chosen = products[whole][:, :, shared]
    years, freedom, mean = chosen.shape[2], len(whole) - 1, chosen.mean(axis=0)
    offset, cycle, anomaly = split_parts(chosen - mean)
    direction = _direction(split_parts(mean)[1])
    along = ((cycle * direction).sum(axis=-1) ** 2).sum(axis=0)
    monthly = (anomaly**2).sum(axis=(0, 2, 3)) / (freedom * 12 * (years - 1))
    annual = (anomaly.mean(axis=-1) ** 2).sum(axis=(0, 2)) / (freedom * (years - 1))
    across = ((cycle**2).sum(axis=(0, 2)) - along) / (10 * freedom)
    ratio = annual / np.maximum(monthly, 1e-30)
    return Spread((offset**2).sum(axis=0) / freedom, along / freedom, across, monthly, ratio, direction, len(whole), years)


def _direction(cycle: np.ndarray) -> np.ndarray:
    """Unit vectors along cycles (region, 12); 0 where a cycle is no more than rounding."""
    size = np.sqrt((cycle**2).sum(axis=1, keepdims=True))
    return np.divide(cycle, size, out=np.zeros_like(cycle), where=size > 1e-12)


def _shrink(variance: np.ndarray, freedom: float, area: np.ndarray) -> np.ndarray:
    """Inverse-gamma posterior mean whose centre is the geometric mean over regions of variance per area."""
    pooled = np.exp(np.mean(np.log(np.maximum(variance / area, 1e-30)))) * area
    return (freedom * variance + PRIOR_DEGREES_OF_FREEDOM * pooled) / (freedom + PRIOR_DEGREES_OF_FREEDOM)


def _match_annual_variance(ratio: float) -> float:
    """Autocorrelation whose AR(1) year has this variance of the annual mean over that of a month."""

    def excess(rho: float) -> float:
        return float(autoregressive_correlation(np.asarray(rho)).mean()) - ratio

    if excess(0.0) >= 0:
        return 0.0
    return 0.95 if excess(0.95) <= 0 else float(optimize.brentq(excess, 0.0, 0.95))


def ensemble_mean(products: np.ndarray) -> np.ndarray:
    """Mean over products, (region, year, 12), that does not jump where a product begins or ends.

    Least squares of x(product, month) = mean(month) + offset(product), offsets summing to zero over products: where all
    products have all months this is their plain mean.

    Raises
    ------
    InputError
        A month that no product has, or products that no chain of shared months connects.
    """
    there = np.isfinite(products)
    count = there.sum(axis=0)
    if (count == 0).any():
        raise InputError("inversions: a month of a whole year that no product has; change `period`, or add a product")
    mean = np.where(there, products, 0.0).sum(axis=0) / count
    if there.all():
        return mean
    offset = np.stack([_offsets(products[:, r], mean[r], there[:, r], count[r]) for r in range(products.shape[1])], axis=1)
    return np.where(there, products - offset[:, :, None, None], 0.0).sum(axis=0) / count


def _offsets(products: np.ndarray, mean: np.ndarray, there: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Offsets (product,) of one region: normal equations after the months' means are taken out."""
    mask = there.reshape(len(there), -1).astype(float)
    laplacian = np.diag(mask.sum(axis=1)) - (mask / count.ravel()) @ mask.T
    if np.linalg.matrix_rank(laplacian, tol=1e-8 * mask.sum()) < len(mask) - 1:
        raise InputError(
            f"inversions: of {len(mask)} products some share no month with the others, directly or through a third, so their offsets "
            "cannot be told apart from change; leave one group out (`products`) or change `period`"
        )
    return np.linalg.pinv(laplacian) @ np.where(there, products - mean, 0.0).reshape(len(mask), -1).sum(axis=1)


def to_year_month(integral: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """(product, region, time) monthly values as (product, region, year, 12), and the years.

    Whole calendar years only, and only those that at least one product has without a gap in any region.
    """
    year, month = integral.time.dt.year.to_numpy(), integral.time.dt.month.to_numpy()
    years = np.array([y for y in np.unique(year) if set(month[year == y]) == set(range(1, 13))], dtype=int)
    values = integral.sel(time=np.isin(year, years)).transpose("product", "region", "time").to_numpy()
    values = values.reshape(*values.shape[:-1], len(years), 12)
    there = np.isfinite(values).all(axis=(1, 3)).any(axis=0)
    if not there.any():
        first, last = (pd.Timestamp(t).date() for t in integral.time.to_numpy()[[0, -1]])
        raise InputError(f"inversions: no whole calendar year that a product covers between {first} and {last}; widen `period`")
    return values[:, :, there], years[there]

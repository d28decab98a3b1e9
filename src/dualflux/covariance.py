"""R: the error covariance of an inversion ensemble, in three orthogonal parts.

Inversions differ most in what persists. The residual r(region, year, month) [PgC month-1] is split into its mean
over all months (offset), the mean seasonal cycle around it, and the anomalies. With Y years, per region,

    r' R^-1 r = mean_r' S mean_r + sum over years of a(year)' B a(year),
    mean_r = mean over years (12 values),  a = r - mean_r,
    S = 11' / (144 offset_variance) + (I - 11'/12) / cycle_variance,
    B = inverse of anomaly_variance x AR1(autocorrelation), 12 x 12,

where 1, 11 and 12 (Y - 1) degrees of freedom belong to the parts: nothing is counted twice.

Totals are better known than parts: errors move flux between neighbours. Regions are therefore independent but for one
more observation of their sum, whose variances make that of the total what the products show. With D the
regions' variances, S their sum and T the sum's own variance, the covariance is D - D 11' D / (S + T) in each part.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy import optimize

from dualflux.errors import InputError

PRIOR_DEGREES_OF_FREEDOM = 3.0  # weight of the variance pooled over regions against a region's own
TOTAL_PRIOR_DEGREES_OF_FREEDOM = 1.0  # weight of independent regions against the products' own total
_CENTRE = np.eye(12) - 1 / 12


@dataclass(frozen=True)
class EnsembleError:
    """Variances of the three parts, per region.

    Attributes
    ----------
    offset_variance, cycle_variance, anomaly_variance : array, (region,)
        [(PgC month-1)^2]: of the mean over all months, of each of the 11 directions of the mean seasonal
        cycle, and of a single month's anomaly.
    autocorrelation : array, (region,)
        Lag-one autocorrelation of monthly anomalies inside a year.
    total : EnsembleError or None
        Of the sum over regions as one more observation, one entry each; infinite variances say nothing. None: regions are independent.
    """

    offset_variance: np.ndarray
    cycle_variance: np.ndarray
    anomaly_variance: np.ndarray
    autocorrelation: np.ndarray
    total: "EnsembleError | None" = None

    def precisions(self) -> tuple[np.ndarray, np.ndarray]:
        """S and B of the regions and, last, of their sum, two arrays (region + 1, 12, 12)."""
        total = self.total if self.total is not None else unknown_total()
        mean = np.concatenate([self.mean_precision(), total.mean_precision()])
        return mean, np.concatenate([self.anomaly_precision(), total.anomaly_precision()])

    def mean_precision(self) -> np.ndarray:
        """S of the regions, (region, 12, 12)."""
        ones = np.ones((12, 12)) / 144
        return ones / self.offset_variance[:, None, None] + _CENTRE / self.cycle_variance[:, None, None]

    def anomaly_precision(self) -> np.ndarray:
        """B of the regions, (region, 12, 12)."""
        return np.linalg.inv(autoregressive_correlation(self.autocorrelation)) / self.anomaly_variance[:, None, None]

    def covariance(self, years: int) -> np.ndarray:
        """Dense R over all months (year-major) without the total, (region, months, months): for checks and small cases."""
        mean = self.offset_variance[:, None, None] + self.cycle_variance[:, None, None] * _CENTRE
        within = self._anomaly_covariance()
        same, other = np.ones((years, years)), np.eye(years) - 1 / years
        return np.stack([np.kron(same, m) + np.kron(other, w) for m, w in zip(mean, within, strict=True)])

    def draw(self, random: np.random.Generator, years: int) -> np.ndarray:
        """One realisation of the error, (region, year, month) [PgC month-1]."""
        error = self._draw_parts(random, years)
        if self.total is None:
            return error
        # Regions given the sum: x - C (sum of C + T)^-1 (sum of x + e) with e a draw of the sum's own error.
        offset, cycle, anomaly = split_parts(error.sum(axis=0) + self.total._draw_parts(random, years)[0])
        offset_share, cycle_share, anomaly_share = self._shares()
        error = error - np.einsum("rij,yj->ryi", anomaly_share, anomaly)
        return error - (offset_share[:, None] * offset + cycle_share[:, None] * cycle)[:, None]

    def marginals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A region's own variances of offset and cycle, (region,), and covariance of a year of anomalies, (region, 12, 12), given all."""
        offset_share, cycle_share, anomaly_share = self._shares()
        anomaly = self._anomaly_covariance()
        return self.offset_variance * (1 - offset_share), self.cycle_variance * (1 - cycle_share), anomaly - anomaly_share @ anomaly

    def _shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a region takes of an error of the sum, C (sum of C + T)^-1: offset and cycle (region,), anomaly (region, 12, 12)."""
        total, anomaly = unknown_total() if self.total is None else self.total, self._anomaly_covariance()
        offset, cycle = (v / (v.sum() + t) for v, t in zip(self._variances(), total._variances(), strict=True))
        if not np.isfinite(total.anomaly_variance[0]):
            return offset, cycle, np.zeros_like(anomaly)
        return offset, cycle, anomaly @ np.linalg.inv(anomaly.sum(axis=0) + total._anomaly_covariance()[0])

    def _anomaly_covariance(self) -> np.ndarray:
        return self.anomaly_variance[:, None, None] * autoregressive_correlation(self.autocorrelation)

    def _variances(self) -> tuple[np.ndarray, np.ndarray]:
        return self.offset_variance, self.cycle_variance

    def _draw_parts(self, random: np.random.Generator, years: int) -> np.ndarray:
        """Independent regions; an infinite variance draws zero, it is never used."""
        variances = [np.where(np.isfinite(v), v, 0.0) for v in (*self._variances(), self.anomaly_variance)]
        regions = len(self.offset_variance)
        offset = random.normal(size=(regions, 1)) * np.sqrt(variances[0])[:, None]
        cycle = random.normal(size=(regions, 12)) @ _CENTRE * np.sqrt(variances[1])[:, None]
        factor = np.linalg.cholesky(autoregressive_correlation(self.autocorrelation))
        anomaly = np.einsum("rij,ryj->ryi", factor, random.normal(size=(regions, years, 12)))
        anomaly = (anomaly - anomaly.mean(axis=1, keepdims=True)) * np.sqrt(variances[2])[:, None, None]
        return (offset + cycle)[:, None] + anomaly

    def plus(self, variance: np.ndarray) -> "EnsembleError":
        """With a further, independent error whose offset, cycle and anomaly have the variances (3, region + 1), last those of its sum."""
        total = unknown_total() if self.total is None else self.total
        own = zip((*self._variances(), self.anomaly_variance), (*total._variances(), total.anomaly_variance), variance, strict=True)
        regions, totals = [], []
        for region, of_sum, more in own:
            share = region.sum() / (region.sum() + of_sum[0])  # how much of independent regions' errors the total takes away
            marginal = region * (1 - region * share / region.sum())
            found, further = couple_to_total(marginal + more[:-1], region.sum() * (1 - share) + more[-1])
            regions.append(found)
            totals.append(np.array([further]))
        of_total = EnsembleError(totals[0], totals[1], totals[2], total.autocorrelation)
        return EnsembleError(regions[0], regions[1], regions[2], self.autocorrelation, of_total)

    def scaled(self, factor: float) -> "EnsembleError":
        """The same with every variance times `factor`."""
        offset, cycle, anomaly = (v * factor for v in (*self._variances(), self.anomaly_variance))
        return EnsembleError(offset, cycle, anomaly, self.autocorrelation, None if self.total is None else self.total.scaled(factor))


def unknown_total() -> EnsembleError:
    """A sum over regions that is observed no further."""
    nothing = np.full(1, np.inf)
    return EnsembleError(nothing, nothing, nothing, np.zeros(1))


def autoregressive_correlation(autocorrelation: np.ndarray) -> np.ndarray:
    """AR(1) correlation of 12 months, (..., 12, 12)."""
    lag = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    return np.asarray(autocorrelation, dtype=float)[..., None, None] ** lag


def split_parts(residual: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offset (...), mean seasonal cycle (..., 12) and anomalies (..., year, 12) of (..., year, 12); orthogonal."""
    mean = residual.mean(axis=-2)
    offset = mean.mean(axis=-1)
    return offset, mean - offset[..., None], residual - mean[..., None, :]


def misfit(residual: np.ndarray, error: EnsembleError) -> dict[str, np.ndarray]:
    """Chi-square per degree of freedom of each part in a region's own R, (..., region), of residuals (..., region, year, 12)."""
    years = residual.shape[-2]
    offset, cycle, anomaly = split_parts(residual)
    offset_variance, cycle_variance, anomaly_covariance = error.marginals()
    quadratic = np.einsum("...ryi,rij,...ryj->...r", anomaly, np.linalg.inv(anomaly_covariance), anomaly)
    return {
        "offset": offset**2 / offset_variance,
        "cycle": (cycle**2).sum(axis=-1) / (11 * cycle_variance),
        "anomaly": quadratic / (12 * (years - 1)),
    }


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
    *parts, ratio = _squared_deviations(products)
    *sums, total_ratio = _squared_deviations(products.sum(axis=1, keepdims=True))
    area = region_area / region_area.mean()
    variances, totals = [], []
    for (squares, freedom), (square, _), more in zip(parts, sums, (extra, 0.0 * extra, 0.0 * extra), strict=True):
        own = _shrink(squares, freedom, area)
        prior = TOTAL_PRIOR_DEGREES_OF_FREEDOM
        total = (freedom * float(square[0]) + prior * own.sum()) / (freedom + prior)
        region, of_sum = couple_to_total(own + more, total + float(more.sum()))
        variances.append(region)
        totals.append(np.array([of_sum]))
    correlation, total_correlation = (np.array([_match_annual_variance(float(r)) for r in rs]) for rs in (ratio, total_ratio))
    total_error = EnsembleError(totals[0], totals[1], totals[2], total_correlation)
    return EnsembleError(variances[0], variances[1], variances[2], correlation, total_error)


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


def _squared_deviations(
    products: np.ndarray,
) -> tuple[tuple[np.ndarray, float], tuple[np.ndarray, float], tuple[np.ndarray, float], np.ndarray]:
    """Mean square per degree of freedom of each part over products, and annual over monthly anomaly variance."""
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
    years, freedom = chosen.shape[2], len(whole) - 1
    offset, cycle, anomaly = split_parts(chosen - chosen.mean(axis=0))
    monthly = (anomaly**2).sum(axis=(0, 2, 3)) / (freedom * 12 * (years - 1))
    annual = (anomaly.mean(axis=-1) ** 2).sum(axis=(0, 2)) / (freedom * (years - 1))
    return (
        ((offset**2).sum(axis=0) / freedom, float(freedom)),
        ((cycle**2).sum(axis=(0, 2)) / (11 * freedom), 11.0 * freedom),
        (monthly, 12.0 * (years - 1) * freedom),
        annual / np.maximum(monthly, 1e-30),
    )


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

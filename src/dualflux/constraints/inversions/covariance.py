"""R: the error covariance of the inversions' mean, over regions and months, in orthogonal parts.

Inversions differ most in what persists. The residual r(region, year, month) [PgC month-1] is split into the mean over
years (12 values: offset and mean seasonal cycle) and the anomalies of the years. With M the covariance of the
mean over (region, month), A that of one year's anomalies,

    r' R^-1 r = mean' S mean + sum over years of a(year)' B a(year),    S = M^-1,  B = A^-1,
    mean = mean over years (region, 12),  a = r - mean,

where 12 and 12 (Y - 1) degrees of freedom of a region belong to the two: nothing is counted twice. Of the 12, one is the offset.

M and A are dense over regions: errors that products have in common in many regions make a total worse known than
independent regions would, errors that move flux between neighbours make it better known. Anomalies of different years are independent.
"""

from dataclasses import dataclass

import numpy as np

CENTRE = np.eye(12) - 1 / 12


@dataclass(frozen=True, eq=False)
class EnsembleError:
    """Covariances of the two parts, over regions and months.

    Attributes
    ----------
    mean : array, (region, 12, region, 12)
        Of the mean over years [(PgC month-1)^2]: offset and mean seasonal cycle.
    anomaly : array, (region, 12, region, 12)
        Of one year's anomalies before the mean over years is taken out of them.
    """

    mean: np.ndarray
    anomaly: np.ndarray

    def precisions(self) -> tuple[np.ndarray, np.ndarray]:
        """S and B, (region, 12, region, 12) each."""
        return _inverse(self.mean), _inverse(self.anomaly)

    def covariance(self, years: int) -> np.ndarray:
        """Dense R over (region, year, month), flattened: for checks and small cases."""
        same, other = np.ones((years, years)), np.eye(years) - 1 / years
        dense = np.einsum("yz,risj->ryiszj", same, self.mean) + np.einsum("yz,risj->ryiszj", other, self.anomaly)
        size = len(self.mean) * years * 12
        return dense.reshape(size, size)

    def draw(self, random: np.random.Generator, years: int) -> np.ndarray:
        """One realisation of the error, (region, year, month) [PgC month-1]."""
        regions = len(self.mean)
        mean = _factor(self.mean) @ random.normal(size=12 * regions)
        anomaly = _factor(self.anomaly) @ random.normal(size=(12 * regions, years))
        anomaly = (anomaly - anomaly.mean(axis=1, keepdims=True)).reshape(regions, 12, years)
        return mean.reshape(regions, 1, 12) + np.moveaxis(anomaly, 2, 1)

    def marginals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A region's variance of the offset, (region,), covariances of cycle and of a year of anomalies, (region, 12, 12)."""
        return _marginals(*(np.einsum("rirj->rij", part) for part in (self.mean, self.anomaly)))

    def marginals_of_total(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of the sum over regions, with a first axis of one."""
        return _marginals(*(part.sum(axis=(0, 2))[None] for part in (self.mean, self.anomaly)))

    def scaled(self, factor: float) -> "EnsembleError":
        """The same with every variance times `factor`."""
        return EnsembleError(self.mean * factor, self.anomaly * factor)

    def plus(self, other: "EnsembleError") -> "EnsembleError":
        """The error of two independent ones."""
        return EnsembleError(self.mean + other.mean, self.anomaly + other.anomaly)


def _marginals(mean: np.ndarray, anomaly: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return mean.mean(axis=(1, 2)), CENTRE @ mean @ CENTRE, anomaly


def _flat(covariance: np.ndarray) -> np.ndarray:
    size = 12 * len(covariance)
    return covariance.reshape(size, size)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """Square root of a covariance that need not be of full rank."""
    value, vector = np.linalg.eigh(_flat(covariance))
    return np.asarray(vector * np.sqrt(np.maximum(value, 0.0)))


def _inverse(covariance: np.ndarray) -> np.ndarray:
    return np.linalg.inv(_flat(covariance)).reshape(covariance.shape)


def assemble(offset: np.ndarray, cycle: np.ndarray, anomaly: np.ndarray, shape: np.ndarray | None = None) -> EnsembleError:
    """R from covariances between regions.

    Parameters
    ----------
    offset, cycle, anomaly : array, (region, region)
        Of the offset, of each of the 11 directions of the mean cycle, and of a single month's anomaly [(PgC month-1)^2].
    shape : array, (region, 12, 12), optional
        F of every region: its anomalies have the covariance F F' x variance. Default: months are independent.
    """
    factor = np.broadcast_to(np.eye(12), (len(offset), 12, 12)) if shape is None else shape
    mean = np.einsum("rs,ij->risj", offset, np.ones((12, 12))) + np.einsum("rs,ij->risj", cycle, CENTRE)
    return EnsembleError(mean, spread_over_months(anomaly, factor))


def spread_over_months(covariance: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(region, 12, region, 12) from a covariance between regions and F of every region, (region, 12, k): cov(r, s) F_r F_s'."""
    return np.einsum("rs,rik,sjk->risj", covariance, factor, factor, optimize=True)


def independent(offset: np.ndarray, cycle: np.ndarray, anomaly: np.ndarray, autocorrelation: np.ndarray | None = None) -> EnsembleError:
    """R of independent regions from their variances, (region,) each, and the lag-one autocorrelation of a year's anomalies."""
    rho = np.zeros(len(offset)) if autocorrelation is None else autocorrelation
    return assemble(np.diag(offset), np.diag(cycle), np.diag(anomaly), np.linalg.cholesky(autoregressive_correlation(rho)))


def with_further_error(error: EnsembleError, variance: np.ndarray) -> EnsembleError:
    """`error` and a further, independent one whose offset, cycle and anomaly have the variances (3, region + 1), last those of its sum."""
    return error.plus(assemble(*(between_regions(v[:-1], float(v[-1])) for v in variance)))


def between_regions(variance: np.ndarray, total: float) -> np.ndarray:
    """A covariance between regions whose diagonal is `variance` and whose sum is `total`, (region, region).

    Where the total is above that of independent regions they share a correlation gamma; where it is below they are independent but
    for one more observation of their sum, D - D 11' D / (S + T), see `couple_to_total`.

    Examples
    --------
    >>> import numpy as np
    >>> between_regions(np.ones(2), 3.0)
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    alone, together = variance.sum(), np.sqrt(variance).sum() ** 2
    if total >= alone and together > alone:
        gamma = min((total - alone) / (together - alone), 1.0)
        return np.asarray(np.diag(variance * (1 - gamma)) + gamma * np.sqrt(np.outer(variance, variance)))
    region, of_sum = couple_to_total(variance, total)
    return np.asarray(np.diag(region) - np.outer(region, region) / (region.sum() + of_sum))


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
    offset_variance, cycle_covariance, anomaly_covariance = error.marginals()
    quadratic = np.einsum("...ryi,rij,...ryj->...r", anomaly, np.linalg.inv(anomaly_covariance), anomaly)
    # The inverse among vectors of zero mean: a constant of the covariance's own size makes it invertible.
    size = np.trace(cycle_covariance, axis1=1, axis2=2)[:, None, None] / 12
    of_cycle = np.einsum("...ri,rij,...rj->...r", cycle, np.linalg.inv(cycle_covariance + size / 12), cycle)
    return {
        "offset": offset**2 / offset_variance,
        "cycle": of_cycle / 11,
        "anomaly": quadratic / (12 * (years - 1)),
    }

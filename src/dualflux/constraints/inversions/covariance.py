"""R: the error covariance of an inversion ensemble, in three orthogonal parts.

Inversions differ most in what persists. The residual r(region, year, month) [PgC month-1] is split into its mean
over all months (offset), the mean seasonal cycle around it, and the anomalies. With Y years, per region,

    r' R^-1 r = mean_r' S mean_r + sum over years of a(year)' B a(year),
    mean_r = mean over years (12 values),  a = r - mean_r,
    S = 11' / (144 offset_variance) + inverse of (cycle_variance (I - 11'/12) + amplitude amplitude'),
    B = inverse of anomaly_variance x AR1(autocorrelation), 12 x 12,

where 1, 11 and 12 (Y - 1) degrees of freedom belong to the parts: nothing is counted twice. The vector `amplitude`, along
the mean cycle, is what a product errs whose cycle is too strong or too weak as a whole: a factor per product, integrated out.

Totals are better known than parts: errors move flux between neighbours. Regions are therefore independent but for one
more observation of their sum, whose variances make that of the total what the products show. With D the
regions' variances, S their sum and T the sum's own variance, the covariance is D - D 11' D / (S + T) in each part.
"""

from dataclasses import dataclass

import numpy as np

CENTRE = np.eye(12) - 1 / 12


@dataclass(frozen=True)
class EnsembleError:
    """Variances of the three parts, per region.

    Attributes
    ----------
    offset_variance, cycle_variance, anomaly_variance : array, (region,)
        [(PgC month-1)^2]: of the mean over all months, of each of the 11 directions of the mean seasonal
        cycle (across `amplitude`: of ten), and of a single month's anomaly.
    autocorrelation : array, (region,)
        Lag-one autocorrelation of monthly anomalies inside a year.
    total : EnsembleError or None
        Of the sum over regions as one more observation, one entry each; infinite variances say nothing. None: regions are independent.
    amplitude : array, (region, 12), or None
        Error of the mean seasonal cycle of a product whose amplitude is off by one sd [PgC month-1], of zero mean. None: none.
    """

    offset_variance: np.ndarray
    cycle_variance: np.ndarray
    anomaly_variance: np.ndarray
    autocorrelation: np.ndarray
    total: "EnsembleError | None" = None
    amplitude: np.ndarray | None = None

    def precisions(self) -> tuple[np.ndarray, np.ndarray]:
        """S and B of the regions and, last, of their sum, two arrays (region + 1, 12, 12)."""
        total = self.total if self.total is not None else unknown_total()
        mean = np.concatenate([self.mean_precision(), total.mean_precision()])
        return mean, np.concatenate([self.anomaly_precision(), total.anomaly_precision()])

    def mean_precision(self) -> np.ndarray:
        """S of the regions, (region, 12, 12)."""
        ones, amplitude, variance = np.ones((12, 12)) / 144, self._amplitude(), self.cycle_variance[:, None, None]
        along = amplitude[:, :, None] * amplitude[:, None] / (variance + (amplitude**2).sum(axis=1)[:, None, None])
        return ones / self.offset_variance[:, None, None] + (CENTRE - along) / variance

    def anomaly_precision(self) -> np.ndarray:
        """B of the regions, (region, 12, 12)."""
        return np.linalg.inv(autoregressive_correlation(self.autocorrelation)) / self.anomaly_variance[:, None, None]

    def covariance(self, years: int) -> np.ndarray:
        """Dense R over all months (year-major) without the total, (region, months, months): for checks and small cases."""
        mean = self.offset_variance[:, None, None] + self.cycle_covariance()
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
        return error - (offset_share[:, None] * offset + cycle_share @ cycle)[:, None]

    def marginals(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A region's variance of the offset, (region,), covariances of cycle and of a year of anomalies, (region, 12, 12), given all."""
        offset_share, cycle_share, anomaly_share = self._shares()
        cycle, anomaly = self.cycle_covariance(), self._anomaly_covariance()
        return self.offset_variance * (1 - offset_share), cycle - cycle_share @ cycle, anomaly - anomaly_share @ anomaly

    def marginals_of_total(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of the sum over regions, with a first axis of one."""
        offset_share, cycle_share, anomaly_share = (share.sum(axis=0) for share in self._shares())
        offset, cycle, anomaly = self.offset_variance.sum(), self.cycle_covariance().sum(axis=0), self._anomaly_covariance().sum(axis=0)
        return np.array([offset * (1 - offset_share)]), (cycle - cycle_share @ cycle)[None], (anomaly - anomaly_share @ anomaly)[None]

    def _shares(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a region takes of an error of the sum, C (sum of C + T)^-1: offset (region,), cycle and anomaly (region, 12, 12)."""
        total, cycle, anomaly = unknown_total() if self.total is None else self.total, self.cycle_covariance(), self._anomaly_covariance()
        offset = self.offset_variance / (self.offset_variance.sum() + total.offset_variance)
        cycle_share, anomaly_share = np.zeros_like(cycle), np.zeros_like(anomaly)
        if np.isfinite(total.cycle_variance[0]):  # the inverse among vectors of zero mean
            cycle_share = cycle @ (np.linalg.inv(cycle.sum(axis=0) + total.cycle_covariance()[0] + 1 / 12) - 1 / 12)
        if np.isfinite(total.anomaly_variance[0]):
            anomaly_share = anomaly @ np.linalg.inv(anomaly.sum(axis=0) + total._anomaly_covariance()[0])
        return offset, cycle_share, anomaly_share

    def _amplitude(self) -> np.ndarray:
        return np.zeros((len(self.cycle_variance), 12)) if self.amplitude is None else self.amplitude

    def cycle_covariance(self) -> np.ndarray:
        """Of the mean seasonal cycle without the total, (region, 12, 12)."""
        amplitude = self._amplitude()
        return self.cycle_variance[:, None, None] * CENTRE + amplitude[:, :, None] * amplitude[:, None]

    def _anomaly_covariance(self) -> np.ndarray:
        return self.anomaly_variance[:, None, None] * autoregressive_correlation(self.autocorrelation)

    def variances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of offset, cycle (across its amplitude) and anomaly, (region,) each."""
        return self.offset_variance, self.cycle_variance, self.anomaly_variance

    def _draw_parts(self, random: np.random.Generator, years: int) -> np.ndarray:
        """Independent regions; an infinite variance draws zero, it is never used."""
        variances = [np.where(np.isfinite(v), v, 0.0) for v in self.variances()]
        regions = len(self.offset_variance)
        offset = random.normal(size=(regions, 1)) * np.sqrt(variances[0])[:, None]
        cycle = random.normal(size=(regions, 12)) @ CENTRE * np.sqrt(variances[1])[:, None]
        if self.amplitude is not None:
            cycle = cycle + random.normal(size=(regions, 1)) * self.amplitude
        factor = np.linalg.cholesky(autoregressive_correlation(self.autocorrelation))
        anomaly = np.einsum("rij,ryj->ryi", factor, random.normal(size=(regions, years, 12)))
        anomaly = (anomaly - anomaly.mean(axis=1, keepdims=True)) * np.sqrt(variances[2])[:, None, None]
        return (offset + cycle)[:, None] + anomaly

    def scaled(self, factor: float) -> "EnsembleError":
        """The same with every variance times `factor`."""
        offset, cycle, anomaly = (v * factor for v in self.variances())
        amplitude, total = self.amplitude, self.total
        return EnsembleError(
            offset, cycle, anomaly, self.autocorrelation, None if total is None else total.scaled(factor),
            None if amplitude is None else amplitude * np.sqrt(factor),
        )  # fmt: skip


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
    offset_variance, cycle_covariance, anomaly_covariance = error.marginals()
    quadratic = np.einsum("...ryi,rij,...ryj->...r", anomaly, np.linalg.inv(anomaly_covariance), anomaly)
    of_cycle = np.einsum("...ri,rij,...rj->...r", cycle, np.linalg.inv(cycle_covariance + 1 / 12), cycle)
    return {
        "offset": offset**2 / offset_variance,
        "cycle": of_cycle / 11,
        "anomaly": quadratic / (12 * (years - 1)),
    }

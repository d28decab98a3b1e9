"""What no predictor carries of the months of single years: a(region, month), an effect that the flux has and nothing explains.

    a(r, t) = sd(r, month of the year) [sqrt(k) c(t) + sqrt(1 - k) o_r(t)]    [gC m-2 d-1]

c is common to all regions and o_r a region's own; both are AR(1) over months with unit variance, so that months of neighbouring years
hang together too. Over the fitted years the integrals of each calendar month sum to zero (weights: days of the month), which leaves offset
and mean cycle to f: the prior is that process, given that these sums are zero. The effect is uniform within a region; a cell that regions
share sees each one's by its share. Sums are linear in the same way in all regions, so the condition acts along time alone:

    cov = D (T_c x M) D,    T_c = T - T S' (S T S')^-1 S T,    T_tu = rho^|t - u|,    M = k 11' + (1 - k) I,    D = diag(sd).

Without the condition the precision is banded: months of a year meet their neighbours, December the next January that is fitted.
"""

import calendar
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

SEASONS = ("DJF", "MAM", "JJA", "SON")
SEASON_OF_MONTH = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 0])  # of January to December
OF_PREDICTION, OF_POSTERIOR = "anomaly", "anomaly_posterior"  # whose draws of the prior are independent


@dataclass(frozen=True, eq=False)
class AnomalyPrior:
    """The process before anything is known of it.

    Attributes
    ----------
    sd : array, (region, 12)
        [gC m-2 d-1]
    autocorrelation : float
        rho, from month to month, 0 to below 1.
    common : float
        k, share of the variance that all regions have in common, 0 to below 1.
    """

    sd: np.ndarray
    autocorrelation: float
    common: float

    def between_regions(self) -> np.ndarray:
        """M, (region, region)."""
        regions = len(self.sd)
        return np.asarray(self.common * np.ones((regions, regions)) + (1 - self.common) * np.eye(regions))

    def along_time(self, years: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
        """T_c of months (year, 12) given the sums over the fitted `years`, flattened; of the years `wanted` or of the fitted ones."""
        at = month_numbers(years if wanted is None else wanted)
        gain, across = self._gain(years, at)
        return np.asarray(self._correlation(at, at) - gain @ across)

    def covariance(self, years: np.ndarray) -> np.ndarray:
        """Dense, over (year, region, 12) flattened: for checks and small cases."""
        count, regions = len(years), len(self.sd)
        time = self.along_time(years).reshape(count, 12, count, 12)
        dense = np.einsum("ri,rs,yizj,sj->yrizsj", self.sd, self.between_regions(), time, self.sd, optimize=True)
        return np.asarray(dense.reshape((count * regions * 12,) * 2))

    def precision(self, years: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inverse covariance before the sums are known: of each year, and between December of a year and January of the next.

        Returns
        -------
        array, (year, region x 12, region x 12)
        array, (year - 1, region, region)
            Rows: January of a year; columns: December of the fitted year before.
        """
        inverse, scale, at = np.linalg.inv(self.between_regions()), 1 / self.sd, month_numbers(years)
        diagonal, beside = _chain(self.autocorrelation ** np.diff(at))
        within = np.zeros((len(years), 12, 12))
        within[:, range(12), range(12)] = diagonal.reshape(-1, 12)
        link = np.append(beside, 0.0).reshape(-1, 12)
        for month in range(11):
            within[:, month, month + 1] = within[:, month + 1, month] = link[:, month]
        each = np.einsum("ri,rs,yij,sj->yrisj", scale, inverse, within, scale, optimize=True)
        corner = link[:-1, 11, None, None] * inverse * np.outer(scale[:, 0], scale[:, 11])
        return each.reshape(len(years), 12 * len(scale), -1), corner

    def draw(self, seed: Sequence[int], name: str, years: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """One realisation in any years, (year, region, 12) [gC m-2 d-1], given the sums over the fitted ones.

        A year's value depends on seed, name and fitted years alone, not on which years are asked for.
        """
        every = np.arange(min(years[0], wanted.min()), max(years[-1], wanted.max()) + 1)
        process = self._process(seed, name, every, int(years[0]))
        at, place = month_numbers(wanted), np.searchsorted(every, wanted)
        summed = _sums(years) @ process[:, np.searchsorted(every, years)].reshape(len(process), -1).T
        gain, _ = self._gain(years, at)
        free = process[:, place].reshape(len(process), -1)
        values = (free - (gain @ summed).T).reshape(len(process), len(wanted), 12)
        return np.asarray(values.swapaxes(0, 1) * self.sd)

    def _process(self, seed: Sequence[int], name: str, every: np.ndarray, start: int) -> np.ndarray:
        """The process of unit variance, (region, year, 12): from January of `start` on forwards, and backwards."""
        key, regions = zlib.crc32(name.encode()), len(self.sd)
        noise = np.stack([np.random.default_rng([*seed, key, int(y)]).standard_normal((12, regions + 1)) for y in every])
        flat = noise.reshape(-1, regions + 1)
        first, found, rho = 12 * (start - int(every[0])), flat.copy(), self.autocorrelation
        for t in range(first + 1, len(flat)):
            found[t] = rho * found[t - 1] + np.sqrt(1 - rho**2) * flat[t]
        for t in range(first - 1, -1, -1):  # the process is the same backwards
            found[t] = rho * found[t + 1] + np.sqrt(1 - rho**2) * flat[t]
        mixed = np.sqrt(self.common) * found[:, :1] + np.sqrt(1 - self.common) * found[:, 1:]
        return np.asarray(mixed.T.reshape(regions, len(every), 12))

    def _correlation(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(self.autocorrelation ** np.abs(np.subtract.outer(one, other)), dtype=np.float64)

    def _gain(self, years: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T S' (S T S')^-1 and S T of months `at`, (month, 12) and (12, month)."""
        sums, fitted = _sums(years), month_numbers(years)
        across = sums @ self._correlation(fitted, at)
        gain = np.linalg.solve(sums @ self._correlation(fitted, fitted) @ sums.T, across).T
        return np.asarray(gain), np.asarray(across)


def _chain(link: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and next diagonal of the precision of a Markov chain of unit variance with correlations `link` between neighbours."""
    diagonal = np.ones(len(link) + 1)
    diagonal[:-1] += link**2 / (1 - link**2)
    diagonal[1:] += link**2 / (1 - link**2)
    return diagonal, -link / (1 - link**2)


def month_numbers(years: np.ndarray) -> np.ndarray:
    """Months since the year 0, (year x 12,)."""
    return (12 * np.asarray(years)[:, None] + np.arange(12)).ravel()


def days(years: np.ndarray) -> np.ndarray:
    """Days of the months, (year, 12)."""
    return np.array([[calendar.monthrange(int(y), m)[1] for m in range(1, 13)] for y in years], dtype=np.float64)


def _sums(years: np.ndarray) -> np.ndarray:
    """S, (12, year x 12): each calendar month's integral summed over the years."""
    return np.concatenate([np.diag(row) for row in days(years)], axis=1)


@dataclass(frozen=True, eq=False)
class AnomalyEffect:
    """The effect of an ensemble's members.

    Attributes
    ----------
    prior : AnomalyPrior
    regions : tuple of str
    years : array of int, (year,)
        That members were fitted to.
    seed : array of int64, (member, k)
        Of each member's draws; the last is the sign, by which antithetic pairs differ.
    posterior : array, (member, year, region, 12)
        A draw of what the fitted years had [gC m-2 d-1].
    """

    prior: AnomalyPrior
    regions: tuple[str, ...]
    years: np.ndarray
    seed: np.ndarray
    posterior: np.ndarray

    def select(self, members: np.ndarray) -> "AnomalyEffect":
        """That of some members."""
        return replace(self, seed=self.seed[members], posterior=self.posterior[members])

    def prior_draws(self, months: pd.DatetimeIndex) -> np.ndarray:
        """What a prediction cannot know, of any months, (member, month, region) [gC m-2 d-1]."""
        wanted = np.unique(months.year)
        drawn = np.stack([s[-1] * self.prior.draw(s[:-1].tolist(), OF_PREDICTION, self.years, wanted) for s in self.seed])
        return drawn[:, np.searchsorted(wanted, months.year), :, months.month - 1].swapaxes(0, 1)

    def posterior_draws(self, months: pd.DatetimeIndex) -> np.ndarray:
        """What the fitted years had, (member, month, region) [gC m-2 d-1]; NaN in other months, where it is not defined."""
        inside = np.isin(months.year, self.years)
        found = np.full((len(self.seed), len(months), len(self.regions)), np.nan)
        place = np.searchsorted(self.years, months.year[inside])
        found[:, inside] = self.posterior[:, place, :, months.month[inside] - 1].swapaxes(0, 1)
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays by name, for a file."""
        prior = self.prior
        return {
            "sd": prior.sd, "process": np.array([prior.autocorrelation, prior.common]), "regions": np.array(self.regions),
            "years": self.years, "seed": self.seed, "posterior": self.posterior,
        }  # fmt: skip

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> "AnomalyEffect":
        """What `arrays` gave."""
        prior = AnomalyPrior(arrays["sd"], *map(float, arrays["process"]))
        return cls(prior, tuple(map(str, arrays["regions"])), arrays["years"], arrays["seed"], arrays["posterior"])

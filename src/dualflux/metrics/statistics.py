"""Additive statistics of (observed, predicted) pairs, and the metrics that follow from them.

A statistic is a value with a zero and ``+``; a metric divides at the end. So no way of
cutting data into chunks can change a number, and a bootstrap needs the data only once.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class PairStatistics:
    """Count, means and centred sums of squares of pairs; every field has the same shape.

    Centred sums with the pairwise update of Chan, Golub and LeVeque (1983) keep full
    precision where the mean is large against the spread; raw sums of squares would not.

    Attributes
    ----------
    count : array
        Number of pairs.
    mean_observed, mean_error : array
        Means of observed and of predicted - observed (0 where there is no pair).
    ss_observed, ss_predicted, ss_error : array
        Sums of squared deviations from the own mean, of observed, predicted and predicted - observed.
    """

    count: np.ndarray
    mean_observed: np.ndarray
    mean_error: np.ndarray
    ss_observed: np.ndarray
    ss_predicted: np.ndarray
    ss_error: np.ndarray

    @classmethod
    def zero(cls, shape: tuple[int, ...] = ()) -> "PairStatistics":
        """No data: the neutral element of ``+``."""
        return cls(*(np.zeros(shape) for _ in fields(cls)))

    @classmethod
    def of(cls, observed: np.ndarray, predicted: np.ndarray) -> "PairStatistics":
        """Statistics of one chunk: arrays of equal shape, without missing values.

        Examples
        --------
        >>> import numpy as np
        >>> a = PairStatistics.of(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
        >>> b = PairStatistics.of(np.array([3.0]), np.array([4.0]))
        >>> float(bias(a + b)), float((a + b).count)
        (1.0, 3.0)
        """
        observed = np.ravel(observed)
        return cls.by_group(observed, np.ravel(predicted), np.zeros(observed.size, dtype=int), 1)._map(lambda x: x[0])

    @classmethod
    def by_group(cls, observed: np.ndarray, predicted: np.ndarray, group: np.ndarray, groups: int) -> "PairStatistics":
        """Statistics of each group, fields of shape (groups,).

        Parameters
        ----------
        observed, predicted : array, (pair,)
            Without missing values.
        group : array of int, (pair,)
            0 to groups - 1.
        groups : int
        """
        observed, predicted = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        if observed.shape != predicted.shape or not np.isfinite(observed).all() or not np.isfinite(predicted).all():
            raise ValueError(f"observed {observed.shape} and predicted {predicted.shape} must be of one shape, without missing values")

        def total(values: np.ndarray) -> np.ndarray:
            return np.bincount(group, values, minlength=groups)

        count = total(np.ones(observed.size))
        shared = np.maximum(count, 1)
        error = predicted - observed
        mean_observed, mean_error = total(observed) / shared, total(error) / shared
        off_observed, off_error = observed - mean_observed[group], error - mean_error[group]
        return cls(count, mean_observed, mean_error, *(total(x**2) for x in (off_observed, off_observed + off_error, off_error)))

    @classmethod
    def along_first(cls, observed: np.ndarray, predicted: np.ndarray) -> "PairStatistics":
        """Statistics over the first axis, fields of the remaining shape; pairs with a missing side do not count.

        Parameters
        ----------
        observed, predicted : array, (pair, ...)
            NaN is missing; float32 is widened, so give blocks that fit.
        """
        observed, predicted = np.asarray(observed, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
        if observed.shape != predicted.shape:
            raise ValueError(f"observed {observed.shape} and predicted {predicted.shape} must be of one shape")
        error = predicted - observed
        there = np.isfinite(error)
        count = there.sum(axis=0).astype(np.float64)
        shared = np.maximum(count, 1)
        mean_observed, mean_error = (np.where(there, x, 0.0).sum(axis=0) / shared for x in (observed, error))
        off_observed, off_error = np.where(there, observed - mean_observed, 0.0), np.where(there, error - mean_error, 0.0)
        squares = ((x**2).sum(axis=0) for x in (off_observed, off_observed + off_error, off_error))
        return cls(count, mean_observed, mean_error, *squares)

    def __add__(self, other: "PairStatistics") -> "PairStatistics":
        both = type(self)(*(np.stack([getattr(self, f.name), getattr(other, f.name)], axis=-1) for f in fields(self)))
        return both.combine(np.ones(2))

    def combine(self, weight: np.ndarray | None = None) -> "PairStatistics":
        """Pool the groups of the last axis.

        Parameters
        ----------
        weight : array, (..., group), optional
            How often each group counts, for example one row per bootstrap sample; by default once.
            Matrix products do all rows at once.
        """
        weight = np.ones(self.count.shape[-1]) if weight is None else np.asarray(weight, dtype=np.float64)

        def total(values: np.ndarray) -> np.ndarray:
            return np.einsum("...g,...g->...", weight, values)

        count = total(self.count)
        shared = np.where(count > 0, count, 1.0)
        centre_observed, centre_error = (_centre(self.count, m) for m in (self.mean_observed, self.mean_error))
        off_observed, off_error = self.mean_observed - centre_observed[..., None], self.mean_error - centre_error[..., None]

        def mean(centre: np.ndarray, off: np.ndarray) -> np.ndarray:
            return np.where(count > 0, centre + total(self.count * off) / shared, 0.0)

        def squares(within: np.ndarray, off: np.ndarray) -> np.ndarray:
            return np.maximum(total(within + self.count * off**2) - total(self.count * off) ** 2 / shared, 0.0)

        return type(self)(
            count,
            mean(centre_observed, off_observed),
            mean(centre_error, off_error),
            squares(self.ss_observed, off_observed),
            squares(self.ss_predicted, off_observed + off_error),
            squares(self.ss_error, off_error),
        )

    def take(self, groups: np.ndarray) -> "PairStatistics":
        """Some groups of the last axis, by position."""
        return self._map(lambda x: x[..., groups])

    def centred(self) -> "PairStatistics":
        """The same data with each group's means removed from both sides.

        Pooled afterwards it gives within-group skill, free of the bias of each group.
        """
        nothing = np.zeros_like(self.mean_observed)
        return type(self)(self.count, nothing, nothing, self.ss_observed, self.ss_predicted, self.ss_error)

    def _map(self, function: Callable[[np.ndarray], np.ndarray]) -> "PairStatistics":
        return type(self)(*(function(getattr(self, f.name)) for f in fields(self)))


def _centre(count: np.ndarray, mean: np.ndarray) -> np.ndarray:
    total = count.sum(axis=-1)
    return (count * mean).sum(axis=-1) / np.where(total > 0, total, 1.0)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where the divisor is not positive: the metric is not defined there."""
    above, below = np.broadcast_arrays(np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def bias(s: PairStatistics) -> np.ndarray:
    """Mean of predicted - observed, in the unit of the data."""
    return np.where(s.count > 0, s.mean_error, np.nan)


def rmse(s: PairStatistics) -> np.ndarray:
    """Root mean squared error, in the unit of the data."""
    return np.sqrt(_divide(s.ss_error, s.count) + bias(s) ** 2)


def nse(s: PairStatistics) -> np.ndarray:
    """Nash-Sutcliffe efficiency (1970): 1 - sum (p - o)^2 / sum (o - mean o)^2; the mean is that of these pairs."""
    return 1.0 - _divide(s.ss_error + s.count * s.mean_error**2, s.ss_observed)


def correlation(s: PairStatistics) -> np.ndarray:
    """Pearson's correlation."""
    shared = (s.ss_observed + s.ss_predicted - s.ss_error) / 2
    return np.clip(_divide(shared, np.sqrt(s.ss_observed) * np.sqrt(s.ss_predicted)), -1.0, 1.0)


def r2(s: PairStatistics) -> np.ndarray:
    """Squared Pearson correlation (blind to bias and amplitude, and to the sign of the correlation)."""
    return correlation(s) ** 2


def kge(s: PairStatistics) -> np.ndarray:
    """Kling-Gupta efficiency (Gupta et al. 2009): 1 - sqrt((r - 1)^2 + (sd ratio - 1)^2 + (mean ratio - 1)^2).

    The ratio of means makes it unstable where the observed mean is near 0, as it can be for NEE.
    """
    spread = np.sqrt(_divide(s.ss_predicted, s.ss_observed))
    level_error = _divide(s.mean_error, np.abs(s.mean_observed))
    return 1.0 - np.sqrt((correlation(s) - 1) ** 2 + (spread - 1) ** 2 + level_error**2)


METRICS: dict[str, Callable[[PairStatistics], np.ndarray]] = {"nse": nse, "r2": r2, "rmse": rmse, "bias": bias, "kge": kge}

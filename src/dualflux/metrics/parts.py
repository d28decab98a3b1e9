"""How honest and how sharp members are, part by part: what lasts, its trend, what returns, and what happens once.

One coverage over all months can be right because two parts are wrong: offsets too wide, anomalies too narrow. So a series of months x is
split, over its Y years, into

    offset   mean of all months
    cycle    mean of each calendar month, less the offset
    anomaly  month less offset and cycle

which are orthogonal and sum to x, and two that are made of the anomalies, scored apart:

    annual   the year's sum (or mean) less the mean of all years
    trend    least-squares slope of the annual values

The trend stays in anomaly and annual: taking it out would need a judgement of what a trend of so few years is.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from dualflux.metrics.pairs import paired_variance
from dualflux.metrics.probability import LEVELS, crps_gaussian

PARTS = ("offset", "trend", "cycle", "anomaly", "annual")
SCORE_COLUMNS = ["part", "metric", "value", "n", "cases"]
COVERAGES = tuple(f"coverage_{round(100 * level)}" for level in LEVELS)
METRICS = (*COVERAGES, "interval_score", "crps", "slope")
INTERVAL_SCORE_LEVEL = 0.9
MINIMUM_YEARS = 3  # for a trend


def split_months(values: np.ndarray, year_sum: float = 12.0) -> dict[str, np.ndarray]:
    """The parts of whole years of months.

    Parameters
    ----------
    values : array, (..., year, 12)
        In unit U.
    year_sum : float
        An annual value is this times the mean of its months: 12 sums fluxes per month, 1 takes the mean of flux densities.

    Returns
    -------
    dict of array
        offset (..., 1) [U], trend (..., 1) [U x year_sum per year; absent below 3 years], cycle (..., 12) [U], anomaly (..., year x 12)
        [U], annual (..., year) [U x year_sum].
    """
    mean_year = values.mean(axis=-2)
    offset = mean_year.mean(axis=-1, keepdims=True)
    anomaly = values - mean_year[..., None, :]
    annual = year_sum * anomaly.mean(axis=-1)
    year = np.arange(annual.shape[-1]) - (annual.shape[-1] - 1) / 2
    parts = {"offset": offset, "cycle": mean_year - offset, "anomaly": anomaly.reshape(*anomaly.shape[:-2], -1), "annual": annual}
    if len(year) >= MINIMUM_YEARS:
        parts["trend"] = (annual @ year)[..., None] / (year @ year)
    return {part: parts[part] for part in PARTS if part in parts}


@dataclass(frozen=True, eq=False)
class PartValues:
    """One part of many series: what is true, what the members say, and which values hang together.

    Attributes
    ----------
    truth, mean, sd : array, (value,)
        sd over members; NaN throughout where a value has none: no interval was claimed.
    weight : array, (value,)
    group : array of int, (value,)
        Values of one group hang together.
    home : array of int, (value,)
        Group of the series.
    """

    truth: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    weight: np.ndarray
    group: np.ndarray
    home: np.ndarray

    def inside(self, level: float) -> np.ndarray:
        """Which values lie in the central normal interval, bool (value,)."""
        return np.abs(self.truth - self.mean) <= norm.ppf((1 + level) / 2) * self.sd

    def claims(self) -> bool:
        """Whether intervals were claimed."""
        return bool(np.isfinite(self.sd).all())


def part_values(
    members: np.ndarray,
    truth: np.ndarray,
    group: np.ndarray | None = None,
    weight: np.ndarray | None = None,
    lasting_variance: np.ndarray | float = 0.0,
    year_sum: float = 12.0,
    passing_variance: np.ndarray | float = 0.0,
) -> dict[str, PartValues]:
    """Members and truth of each part.

    Parameters
    ----------
    members : array, (member, series, year, 12)
    truth : array, (series, year, 12)
    group : array of int, (series,), optional
        Series that hang together (cells of a region); by default each stands alone. Anomalies hang together within a group and a year.
    weight : array, (series,), optional
    lasting_variance : array, (series,)
        Variance beyond the members' that no month differs in: it belongs to the offset.
    year_sum : float
        See `split_months`.
    passing_variance : array, (series,)
        Variance of a month beyond the members', independent from month to month: it belongs to anomalies, and averages out in a year.
    """
    more = {"offset": lasting_variance, "anomaly": passing_variance, "annual": np.multiply(passing_variance, year_sum**2 / 12)}
    series, years = truth.shape[:2]
    home = np.arange(series) if group is None else np.unique(group, return_inverse=True)[1]
    weight = np.ones(series) if weight is None else weight
    own, true = split_months(np.asarray(members, dtype=np.float64), year_sum), split_months(np.asarray(truth, dtype=np.float64), year_sum)
    found = {}
    for part in true:
        each = true[part].shape[-1]
        homes = np.repeat(home, each)
        year = np.tile(np.repeat(np.arange(years), 12), series)
        found[part] = PartValues(
            true[part].ravel(), own[part].mean(axis=0).ravel(), _spread(own[part], more.get(part, 0.0)).ravel(),
            np.repeat(weight, each), homes * years + year if part == "anomaly" else homes, homes,
        )  # fmt: skip
    return found


def _spread(own: np.ndarray, more: np.ndarray | float) -> np.ndarray:
    """Standard deviation over members, (series, value); NaN throughout where one is nothing but rounding."""
    if len(own) < 2:
        return np.full(own.shape[1:], np.nan)
    sd = np.sqrt(paired_variance(own) + np.reshape(more, (-1, 1)))
    return sd if (sd > 1e-12 * np.abs(own).max()).all() else np.full(sd.shape, np.nan)


def part_scores(values: dict[str, PartValues]) -> pd.DataFrame:
    """Scores of each part, values by their weight.

    Intervals are central and normal, with mean and standard deviation of the members. For a truth that is one more draw of what n
    members are drawn from, they are a little too narrow: exact are Student's t with n - 1 degrees of freedom, wider by sqrt(1 + 1/n).

    Returns
    -------
    DataFrame
        part, metric, value, n (values), cases (effective number of `effective_cases`, which binomial limits of a coverage ask for).
        Metrics: coverage_50, coverage_68, coverage_90 [1]; `interval_score` at 90 % and `crps` [the part's unit]; `slope` of truth on
        product [1]: below 1 the product swings too much, above 1 too little.
    """
    rows = []
    for part, v in values.items():
        claims = v.claims()
        cases = effective_cases(np.stack([v.inside(p) for p in LEVELS]), v.group, v.weight) if claims else np.nan
        scores = _interval_scores(v) if claims else dict.fromkeys(METRICS[:-1], np.nan)
        scores["slope"] = calibration_slope(v.truth, v.mean, v.weight)
        rows += [(part, metric, scores[metric], v.truth.size, cases) for metric in METRICS]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _interval_scores(v: PartValues) -> dict[str, float]:
    share = v.weight / v.weight.sum()
    half = norm.ppf((1 + INTERVAL_SCORE_LEVEL) / 2) * v.sd
    scores = {name: float(share @ v.inside(level)) for name, level in zip(COVERAGES, LEVELS, strict=True)}
    scores["interval_score"] = float(share @ interval_score(v.truth, v.mean - half, v.mean + half, INTERVAL_SCORE_LEVEL))
    scores["crps"] = float(share @ crps_gaussian(v.truth, v.mean, v.sd))
    return scores


def coverage_by_group(values: dict[str, PartValues]) -> pd.DataFrame:
    """Coverage of each group of series alone.

    Returns
    -------
    DataFrame
        home (place of the group among the sorted ones), part, metric, value, share (of the weight that is the group's).
    """
    tables = []
    for part, v in ((part, v) for part, v in values.items() if v.claims()):
        total = np.bincount(v.home, v.weight)
        for metric, level in zip(COVERAGES, LEVELS, strict=True):
            coverage = np.bincount(v.home, v.weight * v.inside(level)) / total
            columns = {"home": np.arange(len(total)), "part": part, "metric": metric, "value": coverage, "share": total / total.sum()}
            tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["home", "part", "metric", "value", "share"])


def interval_score(truth: np.ndarray, lower: np.ndarray, upper: np.ndarray, level: float) -> np.ndarray:
    """Width of a central interval and what it costs to be missed; smaller is better, in the unit of the data.

    ``(u - l) + 2 / alpha (l - y) 1[y < l] + 2 / alpha (y - u) 1[y > u]``, alpha = 1 - level (Gneiting and Raftery 2007, JASA 102, 359,
    eq. 43): of all intervals the one between the true quantiles has the smallest mean.
    """
    return (upper - lower) + 2 / (1 - level) * (np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0))


def calibration_slope(truth: np.ndarray, product: np.ndarray, weight: np.ndarray) -> float:
    """Least-squares slope of truth on product, with an intercept; NaN where the product does not vary."""
    share = weight / weight.sum()
    off, off_true = product - share @ product, truth - share @ truth
    variance = float(share @ off**2)
    return float(share @ (off * off_true)) / variance if variance > (1e-12 * float(np.abs(product).max(initial=0.0))) ** 2 else np.nan


def effective_cases(inside: np.ndarray, group: np.ndarray, weight: np.ndarray) -> float:
    """Number of independent cases that would make a coverage as uncertain as these, which hang together in groups.

    For a weighted mean whose values are correlated by rho within groups and not between them (Kish 1965, Survey Sampling, ch. 5 and 11),

        cases = (sum w)^2 / ((1 - rho) sum w^2 + rho sum over groups of (sum w in the group)^2),

    which for equal weights and groups of m is n / (1 + (m - 1) rho): n where nothing hangs together, the number of groups where a group
    is one case. rho is the intra-class correlation of the indicators, 0 to 1. What hangs together *between* groups is not seen.

    Parameters
    ----------
    inside : array of bool, (level, value)
        Whether a value lies in its interval, for some levels: all say something of rho.
    group : array of int, (value,)
    weight : array, (value,)
    """
    rho = intraclass_correlation(inside, group)
    together = float((np.bincount(group, weight) ** 2).sum())
    return float(weight.sum() ** 2 / ((1 - rho) * float((weight**2).sum()) + rho * together))


def intraclass_correlation(values: np.ndarray, group: np.ndarray) -> float:
    """Correlation of values of one group, from the mean squares between and within groups, 0 to 1.

    ``(B - W) / (B + (m - 1) W)`` with m the mean size of groups, reduced for its scatter (Donner 1986, Int. Stat. Rev. 54, 67); mean
    squares are summed over the first axis. Where all values are alike, or there is one group, nothing tells them apart: 1, the
    cautious answer.

    Parameters
    ----------
    values : array, (variable, value)
    group : array of int, (value,)
    """
    index = np.unique(group, return_inverse=True)[1]
    size = np.bincount(index).astype(np.float64)
    count, groups = len(index), len(size)
    if groups == count:
        return 0.0
    if groups == 1:
        return 1.0
    mean = np.stack([np.bincount(index, v) / size for v in values.astype(np.float64)])
    between = float((size * (mean - values.mean(axis=1, keepdims=True)) ** 2).sum()) / (groups - 1)
    within = float(((values - mean[:, index]) ** 2).sum()) / (count - groups)
    typical = (count - float((size**2).sum()) / count) / (groups - 1)
    below = between + (typical - 1) * within
    return float(np.clip((between - within) / below, 0.0, 1.0)) if below > 0 else 1.0

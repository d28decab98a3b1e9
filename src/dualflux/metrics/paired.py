"""Differences between two predictions at the same towers, with intervals from drawing groups of sites again."""

from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.metrics.sites import PREDICTIONS, UNITS, at_scale, by_site, scales_of
from dualflux.metrics.statistics import METRICS, PairStatistics
from dualflux.variants import VARIANTS

STATISTICS = ("pooled", "median", "median_of_differences")
INTERVAL = (2.5, 97.5)  # percent
DIFFERENCE_COLUMNS = [
    "first",
    "second",
    "prediction",
    "scale",
    "metric",
    "statistic",
    "value",
    "lower",
    "upper",
    "n",
    "sites",
    "groups",
    "unit",
]


class Difference(NamedTuple):
    """A paired difference first - second with its 95 % bootstrap interval over groups of sites."""

    estimate: float
    lower: float
    upper: float
    rows: int
    sites: int
    groups: int


@dataclass(frozen=True, eq=False)
class Paired:
    """Two predictions scored on the same rows, site by site.

    Attributes
    ----------
    first, second : PairStatistics, (site,)
    group : array of int, (site,)
        0 to groups - 1; what is drawn together.
    groups, rows : int
    """

    first: PairStatistics
    second: PairStatistics
    group: np.ndarray
    groups: int
    rows: int

    def difference(self, metric: str, statistic: str, repeats: int, seed: int) -> Difference:
        """See `paired_difference`."""
        weight = np.vstack([np.ones(len(self.group)), group_draws(self.groups, repeats, seed)[:, self.group]])
        parts = [s.centred() if metric == "centred_nse" else s for s in (self.first, self.second)]
        function = METRICS["nse" if metric == "centred_nse" else metric]
        if statistic == "median_of_differences":
            each = function(parts[0]) - function(parts[1])
            values = _median(each, weight)
        elif statistic == "median":
            values = _median(function(parts[0]), weight) - _median(function(parts[1]), weight)
        else:
            values = function(parts[0].combine(weight)) - function(parts[1].combine(weight))
        lower, upper = interval(values[1:])
        return Difference(float(values[0]), lower, upper, self.rows, len(self.group), self.groups)


def group_draws(groups: int, repeats: int, seed: int) -> np.ndarray:
    """How often each group is drawn in each bootstrap sample, (repeats, groups)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=repeats)


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of what is defined; NaN where nothing is."""
    finite = drawn[np.isfinite(drawn)]
    lower, upper = np.percentile(finite, INTERVAL) if finite.size else (np.nan, np.nan)
    return float(lower), float(upper)


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median of values that each count a whole number of times, for every row of weights at once.

    Parameters
    ----------
    values : array, (value,)
    weight : array of whole numbers, (row, value)

    Examples
    --------
    >>> weighted_median(np.array([3.0, 1.0, 2.0]), np.array([[1, 1, 1], [2, 2, 0]])).tolist()
    [2.0, 2.0]
    """
    order = np.argsort(values)
    reached = np.cumsum(weight[:, order], axis=1)
    total = reached[:, -1:] if values.size else np.zeros((len(weight), 1))
    low, high = (total - 1) // 2, total // 2
    ranked = np.append(values[order], np.nan)
    at = [ranked[(reached <= k).sum(axis=1)] for k in (low, high)]
    return (at[0] + at[1]) / 2


def _median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    defined = np.isfinite(values)
    return weighted_median(values[defined], weight[:, defined])


def score_pair(rows: pd.DataFrame, time_step: str, scale: str) -> Paired:
    """Score both sides of `common_rows` at a scale."""
    groups = rows[["site", "group"]].drop_duplicates().set_index("site")["group"]
    scored = [at_scale(rows.rename(columns={side: "predicted"}), scale, time_step) for side in ("first", "second")]
    (first, names), (second, _) = (by_site(s) for s in scored)
    code, labels = pd.factorize(groups.reindex(pd.Index(names)))
    return Paired(first, second, code, len(labels), len(scored[0]))


def centred_nse(
    predictions: pd.DataFrame, product: str, prediction: str, time_step: str, scale: str = "monthly", statistic: str = "pooled"
) -> float:
    """Nash-Sutcliffe efficiency after each site's own mean is removed from observed and predicted.

    ``1 - sum_s sum_t ((p - mean_s p) - (o - mean_s o))^2 / sum_s sum_t (o - mean_s o)^2``: skill within
    sites, free of every site's bias. `statistic` is `pooled` or the `median` over sites.
    """
    per_site, _ = by_site(at_scale(_select(predictions, (product, prediction)), scale, time_step))
    centred, nse = per_site.centred(), METRICS["nse"]
    if statistic == "pooled":
        return float(nse(centred.combine()))
    return float(_median(nse(centred), np.ones((1, centred.count.size)))[0])


def paired_difference(
    predictions: pd.DataFrame,
    first: tuple[str, str],
    second: tuple[str, str],
    metric: str = "nse",
    statistic: str = "pooled",
    repeats: int = 2000,
    seed: int = 0,
    time_step: str = "monthly",
    scale: str | None = None,
) -> Difference:
    """Difference of a metric between two predictions, with a paired bootstrap over groups of sites.

    Groups, not rows, are drawn with replacement: rows of one site, and sites in one grid cell, are not independent.
    Both predictions are scored on the rows they share and on the same draws. For `median` the difference is that of the medians
    over sites; `median_of_differences` pairs the sites themselves: the median over sites of the site's own difference.

    Parameters
    ----------
    first, second : (product, prediction)
        For example ``("dual", "tower_like")``; the difference is first - second.
    metric : str
        One of `METRICS`, or `centred_nse` (each site's mean removed).
    statistic : "pooled", "median" or "median_of_differences"
    repeats : int
        Number of bootstrap samples; percentiles 2.5 and 97.5 are the interval.
    scale : str, optional
        By default the study's own time step.

    Raises
    ------
    InputError
        An unknown word, no common rows, or fewer than two groups.
    """
    if metric not in (*METRICS, "centred_nse") or statistic not in STATISTICS:
        raise InputError(f"metric `{metric}`, statistic `{statistic}`; allowed: {', '.join(METRICS)}, centred_nse; {', '.join(STATISTICS)}")
    rows = common_rows(predictions, first, second)
    if rows.empty:
        raise InputError(f"{first} and {second} share no site and time; they cannot be compared")
    both = score_pair(rows, time_step, scale or time_step)
    if both.groups < 2:
        raise InputError(
            f"paired difference of {first} and {second}: {both.groups} group of sites at scale "
            f"{scale or time_step}; at least two are needed"
        )
    return both.difference(metric, statistic, repeats, seed)


def difference_table(predictions: pd.DataFrame, time_step: str, seed: int = 0, repeats: int = 1000) -> pd.DataFrame:
    """Every two products at every scale, variants in their usual order against those before: the table `site_differences.csv`.

    Returns
    -------
    DataFrame
        first, second, prediction, scale, metric (nse, rmse), statistic (`STATISTICS`), value (first - second), lower, upper (95 %,
        paired bootstrap over groups), n, sites, groups, unit. Scales with fewer than two groups of sites are left out.
    """
    rows = []
    names = sorted(str(p) for p in predictions["product"].unique())
    names = [n for n in names if n not in VARIANTS] + [v for v in VARIANTS if v in names]
    for second, first in combinations(names, 2):
        for prediction in PREDICTIONS[:2]:
            shared = common_rows(predictions, (first, prediction), (second, prediction))
            for scale in scales_of(time_step) if len(shared) else ():
                both = score_pair(shared, time_step, scale)
                for metric, statistic in product(("nse", "rmse"), STATISTICS) if both.groups > 1 else ():
                    found = both.difference(metric, statistic, repeats, seed)
                    rows.append((first, second, prediction, scale, metric, statistic, *found, UNITS[metric]))
    return pd.DataFrame(rows, columns=DIFFERENCE_COLUMNS)


def _select(predictions: pd.DataFrame, which: tuple[str, str]) -> pd.DataFrame:
    product, prediction = which
    if prediction not in PREDICTIONS:
        raise InputError(f"prediction `{prediction}`; allowed: {', '.join(PREDICTIONS)}")
    rows = predictions[(predictions["product"] == product) & predictions[prediction].notna()]
    if rows.empty:
        raise InputError(f"no rows of product `{product}` with {prediction}; the table has {sorted(predictions['product'].unique())}")
    return rows.rename(columns={prediction: "predicted"})[["site", "group", "time", "observed", "predicted"]]


def common_rows(predictions: pd.DataFrame, first: tuple[str, str], second: tuple[str, str]) -> pd.DataFrame:
    """site, group, time, observed, first, second: the rows that two (product, prediction) share."""
    one = _select(predictions, first).rename(columns={"predicted": "first"})
    two = _select(predictions, second).rename(columns={"predicted": "second"})
    return one.merge(two[["site", "time", "second"]], on=["site", "time"], validate="one_to_one")

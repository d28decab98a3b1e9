"""Skill at towers: predictions beside observations, at seven time scales, pooled and site by site."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.evaluation.statistics import METRICS, PairStatistics

PREDICTIONS = ("landscape", "tower_like", "site_effect")
SCALES = ("daily", "weekly", "monthly", "seasonal_cycle", "anomaly", "yearly", "site_mean")
COLUMNS = ["product", "prediction", "site", "scale", "metric", "value", "n", "unit"]
MINIMUM_COVERAGE = 0.8  # share of the days of a week, month or year
MINIMUM_MONTHS = 10  # of a year of monthly data
_REQUIRED = ["product", "site", "group", "time", "observed", *PREDICTIONS]
_UNITS = {"nse": "1", "r2": "1", "kge": "1", "rmse": "gC m-2 d-1", "bias": "gC m-2 d-1"}


STATISTICS = ("pooled", "median", "median_of_differences")


class Difference(NamedTuple):
    """A paired difference first - second with its 95 % bootstrap interval over groups of sites."""

    estimate: float
    lower: float
    upper: float
    rows: int
    sites: int
    groups: int


def scales_of(time_step: str) -> tuple[str, ...]:
    """The scales that exist for a study: daily and weekly need daily data."""
    if time_step not in ("daily", "monthly"):
        raise InputError(f"time step `{time_step}`; allowed: daily, monthly")
    return SCALES if time_step == "daily" else SCALES[2:]


def at_scale(rows: pd.DataFrame, scale: str, time_step: str) -> pd.DataFrame:
    """Bring rows (site, time, observed, predicted) to a scale.

    Observed and predicted are always averaged over the same rows.

    - daily: the rows.
    - weekly: means of weeks from Monday with at least 80 % of the days (6 of 7).
    - monthly: the rows of a monthly study; of daily data, means of months with at least 80 % of the days.
    - seasonal_cycle: per site the mean of each calendar month over the years there are; the site mean stays in.
    - anomaly: monthly minus the site's seasonal cycle, for calendar months with at least two years.
    - yearly: means of calendar years with at least 10 months, of daily data 80 % of the days.
    - site_mean: the mean of all rows of a site.

    Returns
    -------
    DataFrame
        site, observed, predicted [gC m-2 d-1]; one row per site and period.
    """
    time = rows["time"].dt
    if scale == "daily" or (scale == "monthly" and time_step == "monthly"):
        return rows[["site", "observed", "predicted"]]
    if scale == "site_mean":
        return _mean(rows, rows["site"])
    if scale == "weekly":
        return _mean(rows, time.to_period("W-SUN").dt.start_time, np.ceil(MINIMUM_COVERAGE * 7))
    if scale == "yearly":
        days = np.where(time.is_leap_year, 366, 365)
        return _mean(rows, time.year, MINIMUM_MONTHS if time_step == "monthly" else pd.Series(MINIMUM_COVERAGE * days, rows.index))
    if scale == "monthly":
        return _mean(rows, time.to_period("M").dt.start_time, pd.Series(MINIMUM_COVERAGE * time.days_in_month, rows.index))
    months = (
        rows
        if time_step == "monthly"
        else _mean(rows, time.to_period("M").dt.start_time, pd.Series(MINIMUM_COVERAGE * time.days_in_month, rows.index))
    )
    if scale == "seasonal_cycle":
        return _mean(months, months["time"].dt.month)
    return _anomalies(months)


def _mean(rows: pd.DataFrame, period: pd.Series, minimum: float | pd.Series = 1) -> pd.DataFrame:
    """Means per site and period that have at least `minimum` rows; `time` becomes the period."""
    keys = [rows["site"], period.rename("time")]
    enough = rows.groupby(keys)["observed"].transform("size") >= minimum
    kept = rows[enough.to_numpy()]
    return kept.groupby([k[enough.to_numpy()] for k in keys])[["observed", "predicted"]].mean().reset_index()


def _anomalies(months: pd.DataFrame) -> pd.DataFrame:
    keys, values = [months["site"], months["time"].dt.month], months[["observed", "predicted"]]
    repeated = values.groupby(keys)["observed"].transform("size") >= 2
    return (values - values.groupby(keys).transform("mean")).assign(site=months["site"])[repeated]


def check_predictions(predictions: pd.DataFrame) -> None:
    """Raise InputError unless the table can be scored."""
    missing = [c for c in _REQUIRED if c not in predictions]
    if missing:
        raise InputError(f"predictions: no column {', '.join(missing)}; wanted {', '.join(_REQUIRED)}")
    gaps = predictions[["observed", "landscape", "tower_like"]].isna().sum()
    if gaps.any():
        raise InputError(f"predictions: {gaps[gaps > 0].to_dict()} values are missing; only site_effect may lack values")
    double = int(predictions.duplicated(["product", "site", "time"]).sum())
    if double:
        raise InputError(f"predictions: {double} rows repeat a product, site and time; give each once")


def site_metrics(predictions: pd.DataFrame, time_step: str) -> pd.DataFrame:
    """Score every product and prediction at every scale: the table `site_metrics.csv`.

    Parameters
    ----------
    predictions : DataFrame
        product, site, group, time, observed, landscape, tower_like, site_effect [gC m-2 d-1]; site_effect
        is NaN where a product has none, and is scored on the rows it has.
    time_step : "daily" or "monthly"

    Returns
    -------
    DataFrame
        product, prediction, site, scale, metric, value, n, unit. `site` is a name, `pooled` (all rows of all sites as one
        sample), or `median` and `q90` over the sites. n counts rows at that scale; for median and q90 the sites with a value. A
        metric that is not defined (NSE of one row, or of constant observations) is NaN. The NSE of one site refers to its own mean.

    Raises
    ------
    InputError
        Missing columns or values, repeated rows.
    """
    check_predictions(predictions)
    tables = []
    for (product, prediction), rows in _series(predictions):
        for scale in scales_of(time_step):
            table = _score(at_scale(rows, scale, time_step), scale)
            tables.append(table.assign(product=product, prediction=prediction, scale=scale))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _series(predictions: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    out = []
    for product, rows in predictions.groupby("product", sort=False):
        for prediction in PREDICTIONS:
            has = rows[rows[prediction].notna()].rename(columns={prediction: "predicted"})
            if len(has):
                out.append(((str(product), prediction), has[["site", "group", "time", "observed", "predicted"]]))
    return out


def _score(rows: pd.DataFrame, scale: str) -> pd.DataFrame:
    by_site, sites = _by_site(rows)
    count = by_site.count
    tables = []
    for metric, function in METRICS.items():
        value = function(by_site)
        defined = value[np.isfinite(value)]
        summary = np.quantile(defined, [0.5, 0.9]) if defined.size else np.full(2, np.nan)
        values = np.concatenate([[float(function(by_site.combine()))], summary, value])
        n = np.concatenate([[count.sum(), defined.size, defined.size], count]).astype(int)
        names = ["pooled", "median", "q90", *sites]
        tables.append(pd.DataFrame({"site": names, "metric": metric, "value": values, "n": n, "unit": _UNITS[metric]}))
    return pd.concat(tables)


def _by_site(rows: pd.DataFrame) -> tuple[PairStatistics, list[str]]:
    code, sites = pd.factorize(rows["site"], sort=True)
    statistics = PairStatistics.by_group(rows["observed"].to_numpy(), rows["predicted"].to_numpy(), code, len(sites))
    return statistics, [str(s) for s in sites]


def centred_nse(
    predictions: pd.DataFrame, product: str, prediction: str, time_step: str, scale: str = "monthly", statistic: str = "pooled"
) -> float:
    """Nash-Sutcliffe efficiency after each site's own mean is removed from observed and predicted.

    ``1 - sum_s sum_t ((p - mean_s p) - (o - mean_s o))^2 / sum_s sum_t (o - mean_s o)^2``: skill within
    sites, free of every site's bias. `statistic` is `pooled` or the `median` over sites.
    """
    rows = at_scale(_select(predictions, (product, prediction)), scale, time_step)
    by_site, _ = _by_site(rows)
    return float(_statistic(by_site.centred(), "nse", statistic, np.ones((1, by_site.count.size)))[0])


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
    pair = _common_rows(predictions, first, second)
    groups = pair[["site", "group"]].drop_duplicates().set_index("site")["group"]
    scored = [at_scale(pair.rename(columns={side: "predicted"}), scale or time_step, time_step) for side in ("first", "second")]
    statistics = [_by_site(rows) for rows in scored]
    code, names = pd.factorize(groups.reindex(pd.Index(statistics[0][1])))
    if len(names) < 2:
        raise InputError(
            f"paired difference of {first} and {second}: {len(names)} group of sites at scale {scale or time_step}; at least two are needed"
        )
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=repeats)
    weight = np.vstack([np.ones(len(code)), draws[:, code]])
    parts = [s.centred() if metric == "centred_nse" else s for s, _ in statistics]
    name = "nse" if metric == "centred_nse" else metric
    if statistic == "median_of_differences":
        each = METRICS[name](parts[0]) - METRICS[name](parts[1])
        defined = np.isfinite(each)
        difference = weighted_median(each[defined], weight[:, defined])
    else:
        values = [_statistic(s, name, statistic, weight) for s in parts]
        difference = values[0] - values[1]
    drawn = difference[1:][np.isfinite(difference[1:])]
    lower, upper = np.percentile(drawn, [2.5, 97.5]) if drawn.size else (np.nan, np.nan)
    return Difference(float(difference[0]), float(lower), float(upper), len(scored[0]), len(code), len(names))


def _statistic(by_site: PairStatistics, metric: str, statistic: str, weight: np.ndarray) -> np.ndarray:
    if statistic == "pooled":
        return METRICS[metric](by_site.combine(weight))
    value = METRICS[metric](by_site)
    defined = np.isfinite(value)
    return weighted_median(value[defined], weight[:, defined])


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


def _select(predictions: pd.DataFrame, which: tuple[str, str]) -> pd.DataFrame:
    product, prediction = which
    if prediction not in PREDICTIONS:
        raise InputError(f"prediction `{prediction}`; allowed: {', '.join(PREDICTIONS)}")
    rows = predictions[(predictions["product"] == product) & predictions[prediction].notna()]
    if rows.empty:
        raise InputError(f"no rows of product `{product}` with {prediction}; the table has {sorted(predictions['product'].unique())}")
    return rows.rename(columns={prediction: "predicted"})[["site", "group", "time", "observed", "predicted"]]


def _common_rows(predictions: pd.DataFrame, first: tuple[str, str], second: tuple[str, str]) -> pd.DataFrame:
    one = _select(predictions, first).rename(columns={"predicted": "first"})
    two = _select(predictions, second).rename(columns={"predicted": "second"})
    pair = one.merge(two[["site", "time", "second"]], on=["site", "time"], validate="one_to_one")
    if pair.empty:
        raise InputError(f"{first} and {second} share no site and time; they cannot be compared")
    return pair

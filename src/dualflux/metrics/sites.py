"""Skill at towers: predictions beside observations, at seven time scales, pooled and site by site."""

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.metrics.statistics import METRICS, PairStatistics

PREDICTIONS = ("landscape", "tower_like", "site_effect")
SCALES = ("daily", "weekly", "monthly", "seasonal_cycle", "anomaly", "yearly", "site_mean")
COLUMNS = ["product", "prediction", "site", "scale", "metric", "value", "n", "unit"]
MINIMUM_COVERAGE = 0.8  # share of the days of a week, month or year
MINIMUM_MONTHS = 10  # of a year of monthly data
_REQUIRED = ["product", "site", "group", "time", "observed", *PREDICTIONS]
UNITS = {"nse": "1", "r2": "1", "kge": "1", "rmse": "gC m-2 d-1", "bias": "gC m-2 d-1"}


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
    for (product, prediction), rows in series(predictions):
        for scale in scales_of(time_step):
            table = _score(at_scale(rows, scale, time_step), scale)
            tables.append(table.assign(product=product, prediction=prediction, scale=scale))
    return pd.concat(tables, ignore_index=True)[COLUMNS] if tables else pd.DataFrame(columns=COLUMNS)


def series(predictions: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """(product, prediction) and its rows site, group, time, observed, predicted, where it has values."""
    out = []
    for product, rows in predictions.groupby("product", sort=False):
        for prediction in PREDICTIONS:
            has = rows[rows[prediction].notna()].rename(columns={prediction: "predicted"})
            if len(has):
                out.append(((str(product), prediction), has[["site", "group", "time", "observed", "predicted"]]))
    return out


def _score(rows: pd.DataFrame, scale: str) -> pd.DataFrame:
    per_site, sites = by_site(rows)
    count = per_site.count
    tables = []
    for metric, function in METRICS.items():
        value = function(per_site)
        defined = value[np.isfinite(value)]
        summary = np.quantile(defined, [0.5, 0.9]) if defined.size else np.full(2, np.nan)
        values = np.concatenate([[float(function(per_site.combine()))], summary, value])
        n = np.concatenate([[count.sum(), defined.size, defined.size], count]).astype(int)
        names = ["pooled", "median", "q90", *sites]
        tables.append(pd.DataFrame({"site": names, "metric": metric, "value": values, "n": n, "unit": UNITS[metric]}))
    return pd.concat(tables)


def by_site(rows: pd.DataFrame) -> tuple[PairStatistics, list[str]]:
    """Statistics (site,) and the sites' names, in order, of rows site, observed, predicted."""
    code, sites = pd.factorize(rows["site"], sort=True)
    statistics = PairStatistics.by_group(rows["observed"].to_numpy(), rows["predicted"].to_numpy(), code, len(sites))
    return statistics, [str(s) for s in sites]

"""Tables behind two diagrams: how often intervals hold the reference (reliability), and pattern against size (Taylor)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import norm

from dualflux.metrics.pairs import paired_std
from dualflux.metrics.sites import at_scale, by_site, scales_of, series
from dualflux.metrics.statistics import PairStatistics, correlation

LEVELS = tuple(round(0.1 * k, 1) for k in range(1, 10))
PARTS = ("month", "offset", "cycle", "anomaly")
RELIABILITY_COLUMNS = ["product", "against", "part", "level", "coverage", "n"]
TAYLOR_COLUMNS = ["product", "prediction", "against", "where", "r", "sd_ratio", "n"]


def reliability_table(regional: pd.DataFrame, references: tuple[str, ...] = ("target", "truth")) -> pd.DataFrame:
    """Share of regional values inside central intervals of the members, by level: the table `reliability.csv`.

    Normal intervals with the members' mean and standard deviation. A month splits into the offset (mean of the months in common), the
    mean seasonal cycle about it, and the anomaly, each with its own spread over members. Regions count alike; the globe is their
    sum and counts no more.

    Parameters
    ----------
    regional : DataFrame
        product, member (empty = ensemble mean), region, time, value.
    references : tuple of str
        Products to be held; those not in the table are left out.

    Returns
    -------
    DataFrame
        product, against, part (`PARTS`), level, coverage, n (regions x values; values of one region are not independent).
    """
    text = regional["member"].astype(object).where(regional["member"].notna(), "").astype(str)
    is_part = regional["region"] != "global" if (regional["region"] != "global").any() else regional["region"] == "global"
    members, means = regional[is_part & (text != "")], regional[is_part & (text == "")]
    rows = []
    for product, table in members.groupby("product", sort=False):
        for against in references:
            truth = means[means["product"] == against]
            scores = [z for region, own in table.groupby("region") if (z := _scaled(own, truth[truth["region"] == region])) is not None]
            for part in PARTS if scores else ():
                far = np.concatenate([s[part] for s in scores])
                rows += [(product, against, part, level, float((far <= norm.ppf((1 + level) / 2)).mean()), far.size) for level in LEVELS]
    return pd.DataFrame(rows, columns=RELIABILITY_COLUMNS)


def _scaled(members: pd.DataFrame, truth: pd.DataFrame) -> dict[str, np.ndarray] | None:
    """|truth - mean| / sd of each part over complete years in common; None without one, or of a single member."""
    wide = members.pivot(index="time", columns="member", values="value")
    both = wide.join(truth.set_index("time")["value"].rename("truth"), how="inner").dropna()
    year = pd.DatetimeIndex(both.index).year
    both = both[both.groupby(year)["truth"].transform("size").to_numpy() == 12].sort_index()
    if both.empty or wide.shape[1] < 2:
        return None
    split = _split(both.to_numpy().T)
    return {name: _distance(values[:-1], values[-1]) for name, values in split.items()}


def _split(values: np.ndarray) -> dict[str, np.ndarray]:
    """Parts of whole years of months, (series, month): each (series, value)."""
    years = values.reshape(len(values), -1, 12)
    offset, mean_year = values.mean(axis=1, keepdims=True), years.mean(axis=1)
    anomaly = (years - mean_year[:, None]).reshape(len(values), -1)
    return dict(zip(PARTS, (values, offset, mean_year - offset, anomaly), strict=True))


def _distance(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Standard deviations from the mean; without a spread 0 where they agree, else infinite."""
    off, sd = np.abs(truth - members.mean(axis=0)), paired_std(members)
    tiny = 1e-12 * max(float(np.abs(members).max()), 1e-300)
    return np.divide(off, sd, out=np.where(off > tiny, np.inf, 0.0), where=sd > tiny)


def taylor_table(predictions: pd.DataFrame, regional: pd.DataFrame, time_step: str, reference: str = "target") -> pd.DataFrame:
    """Correlation and ratio of standard deviations: the table `taylor.csv`.

    Returns
    -------
    DataFrame
        product, prediction (empty for regions), against (`towers` or the reference), where (a time scale, all sites pooled; or a region,
        all months in common), r, sd_ratio (product over reference), n.
    """
    rows = [*_tower_points(predictions, time_step), *_region_points(regional, reference)]
    return pd.DataFrame(rows, columns=TAYLOR_COLUMNS)


def _point(s: PairStatistics) -> tuple[float, float, int]:
    ratio = float(np.sqrt(s.ss_predicted / s.ss_observed)) if s.ss_observed > 0 else float("nan")
    return float(correlation(s)), ratio, int(s.count)


def _tower_points(predictions: pd.DataFrame, time_step: str) -> Iterator[tuple[object, ...]]:
    for (product, prediction), rows in series(predictions):
        for scale in scales_of(time_step):
            yield product, prediction, "towers", scale, *_point(by_site(at_scale(rows, scale, time_step))[0].combine())


def _region_points(regional: pd.DataFrame, reference: str) -> Iterator[tuple[object, ...]]:
    mean = regional[regional["member"].isna() | (regional["member"] == "")]
    wide = mean.pivot(index=["region", "time"], columns="product", values="value")
    for region in dict.fromkeys(mean["region"]) if reference in wide else ():
        for product in (p for p in dict.fromkeys(mean["product"]) if p != reference):
            both = wide.loc[region, [reference, product]].dropna()
            if len(both) > 2:
                yield product, "", reference, region, *_point(PairStatistics.of(both[reference].to_numpy(), both[product].to_numpy()))

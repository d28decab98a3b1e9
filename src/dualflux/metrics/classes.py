"""Skill at towers by land cover, climate and distance to the nearest training site, with intervals over groups of sites."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from dualflux.geometry.sphere import EARTH_RADIUS, great_circle
from dualflux.metrics.paired import group_draws, interval, weighted_median
from dualflux.metrics.sites import UNITS, at_scale, by_site, scales_of, series
from dualflux.metrics.statistics import METRICS, PairStatistics

DISTANCES = (200.0, 500.0, 1000.0)  # km, upper edges of the classes but the last
ALL = "all"
CLASS_COLUMNS = [
    "product", "prediction", "grouping", "class", "scale", "metric", "statistic", "value", "lower", "upper", "n", "sites", "groups", "unit",
]  # fmt: skip


def distance_to_training(sites: pd.DataFrame) -> pd.Series:
    """Great-circle distance of each site to the nearest site of another fold [km]: the nearest its members were trained on.

    Parameters
    ----------
    sites : DataFrame
        Index site; lat, lon [degrees], fold. With one fold there is no training site: NaN.
    """
    lat, lon = (sites[c].to_numpy(dtype=float) for c in ("lat", "lon"))
    apart = 1e-3 * EARTH_RADIUS * great_circle(lat[:, None], lon[:, None], lat, lon)
    fold = sites["fold"].to_numpy()
    apart[fold[:, None] == fold] = np.inf
    nearest = apart.min(axis=1, initial=np.inf)
    return pd.Series(np.where(np.isfinite(nearest), nearest, np.nan), sites.index, name="distance")


def distance_class(distance: pd.Series) -> pd.Series:
    """Words for distances [km], ordered; NaN stays missing.

    Examples
    --------
    >>> distance_class(pd.Series([5.0, 200.0, 2000.0])).tolist()
    ['below 200 km', '200 to 500 km', '1000 km or more']
    """
    edges = [0.0, *DISTANCES, np.inf]
    middle = [f"{a:g} to {b:g} km" for a, b in pairwise(DISTANCES)]
    words = [f"below {DISTANCES[0]:g} km", *middle, f"{DISTANCES[-1]:g} km or more"]
    return pd.Series(pd.cut(distance, edges, right=False, labels=words), distance.index)


def class_table(predictions: pd.DataFrame, classes: pd.DataFrame, time_step: str, seed: int = 0, repeats: int = 1000) -> pd.DataFrame:
    """Metrics with 95 % intervals, over all sites and within classes of sites: the table `site_classes.csv`.

    Groups of sites are drawn with replacement inside each class; every metric sees the same draws.

    Parameters
    ----------
    predictions : DataFrame
        See `site_metrics`.
    classes : DataFrame
        Index site; one column per grouping (igbp, climate, distance ...), values are the classes' names, missing: in none.
    repeats : int
        Number of bootstrap samples.

    Returns
    -------
    DataFrame
        product, prediction, grouping (``all`` or a column of `classes`), class, scale, metric, statistic (`pooled` or `median` over the
        sites), value, lower, upper (NaN with fewer than two groups), n (rows), sites, groups, unit.
    """
    group = predictions[["site", "group"]].drop_duplicates().set_index("site")["group"]
    rows: list[tuple[object, ...]] = []
    for (product, prediction), found in series(predictions):
        for scale in scales_of(time_step):
            per_site, names = by_site(at_scale(found, scale, time_step))
            for grouping, name, inside in _parts(classes.reindex(names)):
                code, labels = pd.factorize(group.reindex(pd.Index(names)[inside]))
                weight = np.vstack([np.ones(len(code)), group_draws(len(labels), repeats, seed)[:, code]])
                part = per_site.take(inside)
                size = (int(part.count.sum()), len(code), len(labels))
                for scores in _scores(part, weight, len(labels)):
                    rows.append((product, prediction, grouping, name, scale, *scores[:5], *size, UNITS[scores[0]]))
    return pd.DataFrame(rows, columns=CLASS_COLUMNS)


def _parts(classes: pd.DataFrame) -> Iterator[tuple[str, str, np.ndarray]]:
    """Grouping, class and the positions of its sites, in the order of the names."""
    if len(classes):
        yield ALL, ALL, np.arange(len(classes))
    for grouping in classes:
        names = classes[grouping].dropna().unique()
        for name in names.sort_values() if isinstance(names, pd.Categorical) else sorted(names):
            yield str(grouping), str(name), np.flatnonzero(classes[grouping] == name)


def _scores(part: PairStatistics, weight: np.ndarray, groups: int) -> Iterator[tuple[str, str, float, float, float]]:
    """metric, statistic, value, lower, upper."""
    pooled = part.combine(weight)
    for metric, function in METRICS.items():
        each = function(part)
        defined = np.isfinite(each)
        for statistic, values in (("pooled", function(pooled)), ("median", weighted_median(each[defined], weight[:, defined]))):
            lower, upper = interval(values[1:]) if groups > 1 else (np.nan, np.nan)
            yield metric, statistic, float(values[0]), lower, upper

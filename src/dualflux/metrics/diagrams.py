"""The table behind the Taylor diagram: pattern against size."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from dualflux.metrics.sites import at_scale, by_site, scales_of, series
from dualflux.metrics.statistics import PairStatistics, correlation

TAYLOR_COLUMNS = ["product", "prediction", "against", "where", "r", "sd_ratio", "n"]


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

"""Scores at towers left out of training."""

from collections.abc import Iterator

import pandas as pd

from dualflux.metrics import centred_nse, paired_difference, site_metrics
from dualflux.metrics.paired import STATISTICS


def representativeness_table(predictions: pd.DataFrame) -> pd.DataFrame:
    """The table `site_representativeness.csv`: g and site effect of every left-out site.

    Returns
    -------
    DataFrame
        product, site, n (data), representativeness (mean of f + g less f), site_effect (mean of observed less f + g: what is left at a
        site that training has not seen), unit.
    """
    parts = predictions.assign(
        representativeness=predictions.tower_like - predictions.landscape, site_effect=predictions.observed - predictions.tower_like
    ).groupby(["product", "site"], sort=False)
    found = parts[["representativeness", "site_effect"]].mean()
    return found.assign(n=parts.size(), unit="gC m-2 d-1").reset_index()[
        ["product", "site", "n", "representativeness", "site_effect", "unit"]
    ]


def tower_scores(predictions: pd.DataFrame, time_step: str, seed: int) -> Iterator[dict[str, object]]:
    if predictions.empty:
        return
    table = site_metrics(predictions, time_step)
    own = table[(table.scale == time_step) & table.site.isin(["pooled", "median"]) & (table.metric == "nse")]
    for product, site, prediction, value in zip(own["product"], own.site, own.prediction, own.value, strict=True):
        yield _tower_row(product, f"nse_{site}_{prediction}", value)
    for variant in dict.fromkeys(predictions["product"]):
        for prediction in ("landscape", "tower_like"):
            value = centred_nse(predictions, str(variant), prediction, time_step, time_step)
            yield _tower_row(variant, f"centred_nse_{prediction}", value)
            cycle = table[(table["product"] == variant) & (table.prediction == prediction) & (table.scale == "seasonal_cycle")]
            pooled = cycle[(cycle.site == "pooled") & (cycle.metric == "nse")].value
            if len(pooled):
                yield _tower_row(variant, f"seasonal_cycle_nse_{prediction}", float(pooled.iloc[0]))
        for against, prediction, metric in _comparisons(str(variant), set(predictions["product"])):
            for statistic in STATISTICS:
                second = (against, "tower_like" if prediction == "tower_like" else "landscape")
                found = paired_difference(
                    predictions, (str(variant), prediction), second, metric, statistic, seed=seed, time_step=time_step
                )
                name = f"{metric}_{statistic}_{prediction}_minus_{against}"
                for ending, value in (("", found.estimate), ("_lower", found.lower), ("_upper", found.upper)):
                    yield _tower_row(variant, name + ending, value)


def _comparisons(variant: str, there: set[str]) -> list[tuple[str, str, str]]:
    wanted = {
        "plain": [("towers", "tower_like", "nse")],
        "dual": [("towers", "tower_like", "nse"), ("towers", "landscape", "centred_nse"), ("inversions", "landscape", "centred_nse")],
    }
    return [c for c in wanted.get(variant, []) if c[0] in there]


def _tower_row(product: object, metric: str, value: float) -> dict[str, object]:
    return {"product": product, "region": "towers", "metric": metric, "value": value, "unit": "1"}

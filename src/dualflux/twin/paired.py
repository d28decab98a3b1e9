"""Products against each other over several synthetic worlds: paired by seed, so that what a world makes hard cancels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from dualflux.twin.scores import KEYS

PRODUCTS = ("towers", "inversions", "plain", "dual", "oracle", "rescaled_uniform", "rescaled_activity", "inversion_mean")
_BEST = {"amplitude_ratio": 1.0, "variability_sd_ratio": 1.0, "coverage_50": 0.5, "coverage_68": 0.68, "coverage_90": 0.9}
_LARGER_IS_BETTER = ("cell_month_nse", "cell_month_nse_centred", "unseen_site_nse", "unseen_site_flux_nse", "variability_r")

Record = dict[str, Any]


def loss(key: str, values: pd.DataFrame | pd.Series) -> Any:
    """A score as something that is better when smaller: its distance to the best value, itself, or its negative."""
    key = key.removesuffix("_unseen_years")
    if key in _LARGER_IS_BETTER:
        return -values
    return (values - _BEST.get(key, 0.0)).abs()


def wide(records: list[Record], key: str) -> pd.DataFrame:
    """One score: a row per seed, a column per product."""
    table = pd.DataFrame(records)
    return table.pivot(index="seed", columns="product", values=key).astype(float).reindex(columns=[p for p in PRODUCTS if p in set(table["product"])])


def mean_table(records: list[Record], keys: tuple[str, ...] = KEYS) -> pd.DataFrame:
    """Mean over seeds: a row per score, a column per product."""
    return pd.DataFrame({key: wide(records, key).mean() for key in keys}).T


def paired_table(records: list[Record], first: str = "dual", keys: tuple[str, ...] = KEYS) -> pd.DataFrame:
    """How much better or worse one product is than each other, paired by seed.

    Returns
    -------
    DataFrame
        score, against, difference (mean over seeds of `loss` of the first less that of the other: below 0 the first is
        better), sd (over seeds, NaN with one), better (seeds where the first is better), seeds.
    """
    rows = []
    for key in keys:
        losses = loss(key, wide(records, key))
        for other in (p for p in losses.columns if p != first):
            difference = (losses[first] - losses[other]).dropna()
            if len(difference):
                sd = float(difference.std(ddof=1)) if len(difference) > 1 else np.nan
                rows.append((key, other, float(difference.mean()), sd, int((difference < 0).sum()), len(difference)))
    return pd.DataFrame(rows, columns=["score", "against", "difference", "sd", "better", "seeds"])


def paired_text(records: list[Record], first: str = "dual", keys: tuple[str, ...] = KEYS) -> pd.DataFrame:
    """`paired_table` to read: a row per score, a column per product, ``difference +- sd (better/seeds)``."""
    table = paired_table(records, first, keys)
    table["text"] = [f"{d:+.3f} ± {s:.3f} ({b}/{n})" for d, s, b, n in table[["difference", "sd", "better", "seeds"]].itertuples(index=False)]
    return table.pivot(index="score", columns="against", values="text").reindex(index=keys, columns=[p for p in PRODUCTS if p != first]).fillna("")


def targets(records: list[Record]) -> pd.DataFrame:
    """What the method must show, seed by seed: words, the smallest margin over seeds (0 or more is met), seeds that meet it, seeds.

    Targets against a product that is not among the records are left out.
    """
    score = {key: wide(records, key) for key in records[0] if key not in ("seed", "world", "product")}
    rivals = ("towers", "inversions", "rescaled_uniform", "rescaled_activity")
    margins: list[tuple[str, Callable[[], pd.Series]]] = [
        ("|global error| at most the inversion mean's + 0.1", lambda: score["global_error"].inversion_mean.abs() + 0.1 - score["global_error"].dual.abs()),
        *((f"{k} at most the inversion mean's", lambda k=k: score[k].inversion_mean - score[k].dual) for k in ("region_annual_rmse", "region_cycle_rmse")),
        *((f"{k} better than {r}", lambda k=k, r=r: score[k].dual - score[k][r]) for k in ("cell_month_nse", "cell_month_nse_centred") for r in (*rivals, "plain")),
        *((f"map_rmse better than {r}", lambda r=r: score["map_rmse"][r] - score["map_rmse"].dual) for r in (*rivals, "plain")),
        ("unseen_site_nse within 0.02 of towers", lambda: score["unseen_site_nse"].dual - score["unseen_site_nse"].towers + 0.02),
        ("unseen_site_flux_nse better than towers", lambda: score["unseen_site_flux_nse"].dual - score["unseen_site_flux_nse"].towers),
        *((f"variability_r{e} at least min(0.8, oracle - 0.05)", lambda e=e: score[f"variability_r{e}"].dual - (score[f"variability_r{e}"].oracle - 0.05).clip(upper=0.8)) for e in ("", "_unseen_years")),
        *((f"variability_sd_ratio{e} at least 0.8 of oracle", lambda e=e: score[f"variability_sd_ratio{e}"].dual - 0.8 * score[f"variability_sd_ratio{e}"].oracle) for e in ("", "_unseen_years")),
    ]
    rows = []
    for words, margin in margins:
        try:
            values = margin()
        except (KeyError, AttributeError):
            continue
        rows.append((words, float(values.min()), int((values >= 0).sum()), len(values)))
    return pd.DataFrame(rows, columns=["target", "smallest margin", "met", "seeds"])

"""Products against each other over several synthetic worlds: paired by seed, so that what a world makes hard cancels."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from dualflux.metrics.probability import LEVELS
from dualflux.twin.scoring.scores import KEYS

PRODUCTS = (  # in the order of tables; a run need not have all
    "towers", "inversions", "plain", "dual", "dual_analysis",
    "oracle", "rescaled_uniform", "rescaled_activity", "inversion_mean", "boosted_trees",
)  # fmt: skip
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
    table = pd.DataFrame(records).pivot(index="seed", columns="product", values=key).astype(float)
    return table[[p for p in PRODUCTS if p in table]]


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
    columns = table[["difference", "sd", "better", "seeds"]].itertuples(index=False)
    text = [f"{d:+.3f} +- {s:.3f} ({b}/{n})" if n > 1 else f"{d:+.3f}" for d, s, b, n in columns]
    found = table.assign(text=text).pivot(index="score", columns="against", values="text")
    shown = [p for p in PRODUCTS if p in found]
    return found.reindex(index=[k for k in keys if k in found.index])[shown].astype(object).where(lambda t: t.notna(), "")


Margin = Callable[[pd.Series, pd.Series], pd.Series]


def _no_larger(slack: float = 0.0) -> Margin:
    return lambda dual, other: other.abs() + slack - dual.abs()


def _higher(slack: float = 0.0) -> Margin:
    return lambda dual, other: dual - other + slack


def _rules() -> Iterator[tuple[str, str, str, Margin]]:
    """Score, product to compare with, words, and the margin (0 or more: met)."""
    yield "global_error", "inversion_mean", "size at most that of {} + 0.1", _no_larger(0.1)
    for key in ("region_annual_rmse", "region_cycle_rmse"):
        yield key, "inversion_mean", "at most that of {}", _no_larger()
    for other in ("towers", "inversions", "rescaled_uniform", "rescaled_activity", "plain"):
        words = "not worse than {}" if other == "plain" else "better than {}"
        yield "cell_month_nse", other, words, _higher()
        yield "cell_month_nse_centred", other, words, _higher()
        yield "map_rmse", other, words, _no_larger()
    yield "unseen_site_nse", "towers", "within 0.02 of {}", _higher(0.02)
    yield "unseen_site_flux_nse", "towers", "better than {}", _higher()
    for end in ("", "_unseen_years"):
        yield f"variability_r{end}", "oracle", "at least the smaller of 0.8 and {} - 0.05", lambda d, o: d - (o - 0.05).clip(upper=0.8)
        yield f"variability_sd_ratio{end}", "oracle", "at least 0.8 of {}", lambda d, o: d - 0.8 * o


def targets(records: list[Record]) -> pd.DataFrame:
    """What the method must show of `dual`, seed by seed; comparisons with products that are not there are left out.

    Returns
    -------
    DataFrame
        target, mean margin and smallest margin over seeds (0 or more is met), met (seeds), seeds.
    """
    rows = []
    for key, other, words, margin in _rules():
        values = wide(records, key)
        if {"dual", other} <= set(values.columns[values.notna().any()]):
            rows.append((f"{key} {words.format(other)}", margin(values["dual"], values[other])))
    for level in LEVELS:
        coverage, cases = (wide(records, k) for k in (f"coverage_{round(100 * level)}", "coverage_cases"))
        if coverage.get("dual") is not None and coverage["dual"].notna().all():
            rows.append(
                (f"coverage_{round(100 * level)} inside its binomial interval", _coverage_margin(coverage["dual"], cases["dual"], level))
            )
    table = [(words, float(m.mean()), float(m.min()), int((m >= 0).sum()), len(m)) for words, m in rows]
    return pd.DataFrame(table, columns=["target", "mean margin", "smallest margin", "met", "seeds"])


def _coverage_margin(coverage: pd.Series, cases: pd.Series, level: float) -> pd.Series:
    """Distance to the nearer end of the central 95 % binomial interval of the effective number of cases, above 0 inside."""
    number = cases.round()
    low, high = (binom.ppf(q, number, level) / number for q in (0.025, 0.975))
    return pd.Series(np.minimum(coverage - low, high - coverage), coverage.index)

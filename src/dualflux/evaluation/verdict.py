"""What matters of a run, variants side by side."""

from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.variants import ordered

_VERDICT = (
    ("mean_annual", "mean annual flux", "PgC yr-1", "target"),
    ("mean_annual_sd", "its spread over members", "PgC yr-1", ""),
    ("cycle_rmse_centred", "mean seasonal cycle, RMSE against target", "PgC month-1", "low"),
    ("annual_r", "year-to-year correlation with target", "1", "high"),
    ("chi_square_offset", "offset: misfit to the inversions", "R", ""),
    ("chi_square_cycle", "cycle: misfit to the inversions", "R", ""),
    ("chi_square_anomaly", "anomaly: misfit to the inversions", "R", ""),
)
_TOWER_VERDICT = (
    ("nse_pooled_tower_like", "left-out towers, NSE of f + g, pooled", "high"),
    ("nse_median_tower_like", "left-out towers, NSE of f + g, median over sites", "high"),
    ("nse_pooled_landscape", "left-out towers, NSE of f alone, pooled", "high"),
    ("centred_nse_landscape", "left-out towers, bias-removed NSE of f alone", "high"),
    ("seasonal_cycle_nse_landscape", "left-out towers, seasonal-cycle NSE of f alone", "high"),
    ("nse_pooled_tower_like_minus_towers_lower", "NSE of f + g minus tower-only, pooled: lower 95 % bound", ""),
    ("nse_median_tower_like_minus_towers_lower", "NSE of f + g minus tower-only, difference of medians: lower 95 % bound", ""),
    (
        "nse_median_of_differences_tower_like_minus_towers_lower",
        "NSE of f + g minus tower-only, median of the sites' differences: lower 95 % bound",
        "",
    ),
)
# Against the truth of a synthetic world; the column target is the inversions' mean's own score.
_TRUTH_VERDICT = (
    ("global_error", "global mean flux, size of the error", "PgC yr-1", "global", "low"),
    ("region_annual_rmse", "mean annual flux of regions, RMSE", "PgC yr-1", "global", "low"),
    ("region_cycle_rmse", "mean seasonal cycle of regions, RMSE", "PgC month-1", "global", "low"),
    ("cell_month_nse", "NSE over cells and months", "1", "cells", "high"),
    ("cell_month_nse_centred", "NSE over cells and months, cell means removed", "1", "cells", "high"),
    ("map_rmse", "mean map, RMSE", "gC m-2 d-1", "cells", "low"),
    ("unseen_site_nse", "unseen towers, NSE of f + g", "1", "towers", "high"),
    ("unseen_site_flux_nse", "cells of unseen towers, NSE of f", "1", "towers", "high"),
    ("variability_r", "year-to-year correlation, global", "1", "global", "high"),
    ("variability_sd_ratio", "year-to-year sd over the true one, global", "1", "global", ""),
)


def read_summary(path: Path) -> pd.DataFrame:
    """The table `summary.csv`; a region may be called NA."""
    return pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})


def verdict_table(summary: pd.DataFrame) -> pd.DataFrame:
    """What matters, variants side by side: quantity, unit, goal (low, high, target or none), target, and a column per variant."""
    variants = ordered(summary[summary.metric == "mean_annual_sd"]["product"])  # only variants have members
    values = summary.drop_duplicates(["metric", "region", "product"]).set_index(["metric", "region", "product"]).value
    regions = list(dict.fromkeys(summary.region[(summary.metric == "mean_annual")]))
    if len(regions) > 6:
        regions = ["global"]
    rows = []
    for metric, words, unit, goal in _VERDICT:
        for region in ["global", *(r for r in regions if r != "global")]:
            rows.append(_verdict_row(f"{words}, {region}", unit, goal, values, (metric, region), variants))
    for metric, words, goal in _TOWER_VERDICT:
        rows.append(_verdict_row(words, "1", goal, values, (metric, "towers"), variants))
    for metric, words, unit, region, goal in _TRUTH_VERDICT:
        key = (f"truth_{metric}", region)
        sizes = values.abs() if metric == "global_error" else values
        row = _verdict_row(f"truth: {words}", unit, goal, sizes, key, variants)
        rows.append({**row, "target": sizes.get((*key, "inversion_mean"), np.nan)})
    for metric in (m for m in dict.fromkeys(summary.metric) if str(m).startswith("with_") and str(m).endswith("_mean_annual")):
        for region in ["global", *(r for r in regions if r != "global")]:
            words = f"mean annual flux {metric.removesuffix('_mean_annual').replace('_', ' ')} subtracted, {region}"
            rows.append(_verdict_row(words, "PgC yr-1", "target", values, (metric, region), variants))
    left_out = [
        m
        for m in dict.fromkeys(summary.metric)
        if str(m).startswith("left_out_") and str(m).endswith(("bias", "cycle_rmse_centred", "annual_r"))
    ]
    for metric in left_out:
        goal = "high" if metric.endswith("annual_r") else "low"
        for region in (r for r in regions if r != "global"):
            words = (
                metric.removeprefix("left_out_")
                .replace("_cycle_rmse_centred", ": cycle RMSE")
                .replace("_annual_r", ": annual correlation")
                .replace("_bias", ": bias")
            )
            row = _verdict_row(
                f"without {words}, {region}", "", goal if not metric.endswith("bias") else "", values, (metric, region), variants
            )
            rows.append({**row, "climatology": values.get((metric, region, "climatology"), np.nan)})
    table = pd.DataFrame(rows)
    return table[table[variants].notna().any(axis=1)].reset_index(drop=True)


def _verdict_row(quantity: str, unit: str, goal: str, values: pd.Series, key: tuple[str, str], variants: list[str]) -> dict[str, object]:
    target = values.get((*key, "target"), np.nan) if goal == "target" else np.nan
    return {"quantity": quantity, "unit": unit, "goal": goal, "target": target, **{v: values.get((*key, v), np.nan) for v in variants}}


def verdict_text(verdict: pd.DataFrame) -> str:
    """The verdict as aligned text, three decimals, blanks where a product has no number."""
    shown = verdict.drop(columns="goal").dropna(axis=1, how="all")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.3f}", na_rep="", justify="right")

"""The verdict: each variant against what matters, the best and worst of each row marked."""

import numpy as np
import pandas as pd

from dualflux.report.contents import Contents

GOALS = ("target", "low", "high")


def default_verdict(contents: Contents) -> pd.DataFrame:
    """A verdict table from the run's own tables.

    Returns
    -------
    DataFrame
        quantity, unit, goal (`target`: closest to the column target is best; `low`; `high`), target, and one column per variant.
    """
    summary = contents.summary.set_index(["metric", "region", "product"])["value"]
    sites = contents.sites.set_index(["metric", "scale", "site", "prediction", "product"])["value"]
    parts = contents.regions[1:]
    rows = [_row(contents, f"mean annual flux, {r}", "PgC yr-1", "target", summary, ("mean_annual", r)) for r in contents.regions]
    if parts:
        cycle = {v: float(np.mean([summary.get(("cycle_rmse", r, v), np.nan) for r in parts])) for v in contents.variants}
        rows.append(
            {"quantity": "mean seasonal cycle against the target: RMSE, mean over regions", "unit": "PgC month-1", "goal": "low", **cycle}
        )
    rows.append(_row(contents, "year-to-year correlation with the target, global", "1", "high", summary, ("annual_r", "global")))
    scale = "daily" if "daily" in set(contents.sites["scale"]) else "monthly"
    for prediction, words in (("tower_like", "f + g"), ("landscape", "f alone")):
        for site, over in (("pooled", "pooled"), ("median", "median over sites")):
            text = f"left-out towers, {scale} NSE of {words}, {over}"
            rows.append(_row(contents, text, "1", "high", sites, ("nse", scale, site, prediction)))
    return pd.DataFrame(rows, columns=["quantity", "unit", "goal", "target", *contents.variants])


def _row(contents: Contents, quantity: str, unit: str, goal: str, values: pd.Series, key: tuple[str, ...]) -> dict[str, object]:
    found = {v: values.get((*key, v), np.nan) for v in contents.variants}
    target = values.get((*key, "target"), np.nan) if goal == "target" else np.nan
    return {"quantity": quantity, "unit": unit, "goal": goal, "target": target, **found}


def marks(row: pd.Series, products: list[str]) -> dict[str, str]:
    """`best` and `worst` among the products of one verdict row by its goal; none where fewer than two differ."""
    values = row[products].astype(float)
    goal = row.get("goal")
    if goal not in GOALS:
        return {}
    loss = {"low": values, "high": -values, "target": (values - float(row.get("target", np.nan))).abs()}[str(goal)].dropna()
    if len(loss) < 2 or loss.min() == loss.max():
        return {}
    out = {str(p): "best" for p in loss.index[loss == loss.min()]}
    return out | {str(p): "worst" for p in loss.index[loss == loss.max()]}

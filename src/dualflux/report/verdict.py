"""The verdict: each variant against what matters, the best and worst of each row marked."""

import numpy as np
import pandas as pd

from dualflux.report.contents import Contents
from dualflux.report.drawing import finest
from dualflux.report.style import number

GOALS = ("target", "low", "high")
MOST_REGIONS = 7  # with more only the globe is named; all are in the tables
_TRUTH = (
    ("global_error", "mean annual flux, global, size of the error", "PgC yr-1", "global", "low"),
    ("region_annual_rmse", "mean annual flux of regions, RMSE", "PgC yr-1", "global", "low"),
    ("cell_month_nse", "NSE over cells and months", "1", "cells", "high"),
)


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
    named = contents.regions if len(contents.regions) <= MOST_REGIONS else contents.regions[:1]
    rows = [_row(contents, f"mean annual flux, {r}", "PgC yr-1", "target", summary, ("mean_annual", r)) for r in named]
    if len(named) <= len(parts):
        off = {v: _rms([summary.get(("bias", r, v), np.nan) for r in parts]) for v in contents.judged}
        text = f"mean annual flux of the {len(parts)} regions against {contents.against}: RMSE"
        rows.append({"quantity": text, "unit": "PgC yr-1", "goal": "low", **off})
    if parts:
        cycle = {v: float(np.mean([summary.get(("cycle_rmse", r, v), np.nan) for r in parts])) for v in contents.judged}
        rows.append(
            {
                "quantity": f"mean seasonal cycle against {contents.against}: RMSE, mean over regions",
                "unit": "PgC month-1",
                "goal": "low",
                **cycle,
            }
        )
    rows.append(_row(contents, f"year-to-year correlation with {contents.against}, global", "1", "high", summary, ("annual_r", "global")))
    scale = finest(contents)
    for prediction, words in (("tower_like", "f + g"), ("landscape", "f alone")) if contents.variants else (("landscape", "the product"),):
        for site, over in (("pooled", "pooled"), ("median", "median over sites")):
            text = f"{'left-out ' if contents.variants else ''}towers, {scale} NSE of {words}, {over}"
            rows.append(_row(contents, text, "1", "high", sites, ("nse", scale, site, prediction)))
    rows += _differences(contents)
    rows.append(_row(contents, "share of the exchange where no tower is within 1000 km", "1", "", summary, ("share_far_1000km", "global")))
    for metric, words, unit, region, goal in _TRUTH:
        found = {v: abs(summary.get((f"truth_{metric}", region, v), np.nan)) for v in contents.judged}
        rows.append({"quantity": f"known truth: {words}", "unit": unit, "goal": goal, **found})
    table = pd.DataFrame(rows, columns=["quantity", "unit", "goal", "target", *contents.judged])
    return table[table[contents.judged].notna().any(axis=1)]


def _differences(contents: Contents) -> list[dict[str, object]]:
    """Rows that say whether each variant is better or worse at left-out towers than `towers`, beyond its 95 % interval."""
    table = contents.differences
    own = table[(table["second"] == "towers") & (table["metric"] == "nse") & (table["prediction"] == "tower_like")]
    own = own[own["scale"] == finest(contents)]
    rows: list[dict[str, object]] = []
    for statistic, over in (("pooled", "pooled"), ("median_of_differences", "median of the sites' own differences")):
        part = own[own["statistic"] == statistic].set_index("first")
        found = {str(v): _in_words(part.loc[v]) for v in part.index}
        text = f"left-out towers: NSE of f + g minus that of towers, {over} (95 % interval)"
        rows += [{"quantity": text, "unit": "1", "goal": "", "target": np.nan, **found}] if found else []
    return rows


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _in_words(row: pd.Series) -> str:
    word = "better" if row["lower"] > 0 else "worse" if row["upper"] < 0 else "no clear difference"
    return f"{number(row['value'], 2, sign=True)} ({number(row['lower'], 2)} to {number(row['upper'], 2)}) {word}"


def _row(contents: Contents, quantity: str, unit: str, goal: str, values: pd.Series, key: tuple[str, ...]) -> dict[str, object]:
    found = {v: values.get((*key, v), np.nan) for v in contents.judged}
    target = values.get((*key, contents.against), np.nan) if goal == "target" else np.nan
    return {"quantity": quantity, "unit": unit, "goal": goal, "target": target, **found}


def marks(row: pd.Series, products: list[str]) -> dict[str, str]:
    """`best` and `worst` among the products of one verdict row by its goal; none where fewer than two differ."""
    goal = row.get("goal")
    if goal not in GOALS:
        return {}
    values = row[products].astype(float)
    loss = {"low": values, "high": -values, "target": (values - float(row.get("target", np.nan))).abs()}[str(goal)].dropna()
    if len(loss) < 2 or loss.min() == loss.max():
        return {}
    out = {str(p): "best" for p in loss.index[loss == loss.min()]}
    return out | {str(p): "worst" for p in loss.index[loss == loss.max()]}

"""Scores by part against the truth of a synthetic world: what "Truth: by part" shows, and the figure "Reliability by part"."""

import pandas as pd
from matplotlib.figure import Figure

from dualflux.metrics.parts import COVERAGES, PARTS
from dualflux.metrics.probability import LEVELS
from dualflux.report.contents import Contents
from dualflux.report.drawing import handle
from dualflux.report.style import style_of

_WORDS = {
    "offset": "offset (mean)",
    "trend": "trend",
    "cycle": "mean seasonal cycle",
    "anomaly": "monthly anomaly",
    "annual": "annual anomaly",
}
_SHOWN = (*COVERAGES, "cases", "values", "interval_score", "crps", "slope")
_PATTERN = rf"truth_(?P<cells>cells_)?(?P<score>{'|'.join(_SHOWN)})_(?P<part>{'|'.join(PARTS)})(?P<unseen>_unseen_years)?"
_KEYS = ["product", "where", "years", "part"]


def is_by_part(metric: pd.Series) -> pd.Series:
    """Which rows of `summary.csv` are scores by part, or a region's share in them."""
    return metric.str.fullmatch(_PATTERN) | metric.str.fullmatch("truth_cells_share(_unseen_years)?")


def by_part(summary: pd.DataFrame) -> pd.DataFrame:
    """Scores by part over all regions and over all cells: product, where, years (fitted, unseen), part, and a column per score."""
    rows = summary[summary["region"].isin(["global", "cells"])]
    found = rows["metric"].str.extract(f"^{_PATTERN}$").assign(product=rows["product"], value=rows["value"].astype(float))
    found = found.dropna(subset="score")
    found["where"] = found["cells"].notna().map({True: "cells", False: "regions"})
    found["years"] = found["unseen"].notna().map({True: "unseen", False: "fitted"})
    wide = found.pivot_table(index=_KEYS, columns="score", values="value", sort=False).reset_index()
    return wide.reindex(columns=[*_KEYS, *_SHOWN])


def parts_shown(summary: pd.DataFrame) -> pd.DataFrame:
    """The same as it is read: parts in their order, and words for columns."""
    table = by_part(summary)
    names = {name: f"{round(100 * level)} %" for name, level in zip(COVERAGES, LEVELS, strict=True)}
    names |= {"cases": "effective cases", "interval_score": "interval score, 90 %", "slope": "slope of truth on product"}
    order = table["part"].map({part: place for place, part in enumerate(PARTS)})
    shown = table.assign(order=order).sort_values(["where", "years", "order"], kind="stable", ascending=[False, True, True])
    return shown[[*_KEYS, *_SHOWN]].rename(columns=names)


def reliability(contents: Contents) -> Figure:
    """Share of true values inside central intervals of the members against their level, by part: regions above, cells below."""
    table = by_part(contents.summary).query("years == 'fitted'")
    products = [p for p in contents.variants if p in set(table["product"])]
    places = [w for w in ("regions", "cells") if w in set(table["where"])]
    figure = Figure(figsize=(11.5, 0.9 + 2.6 * len(places)), layout="constrained")
    axes = figure.subplots(len(places), len(PARTS), sharex=True, sharey=True, squeeze=False)
    for row, where in zip(axes, places, strict=True):
        for ax, part in zip(row, PARTS, strict=True):
            ax.plot([0, 100], [0, 100], color="#777777", linewidth=0.9)
            own = table[(table["where"] == where) & (table["part"] == part)].set_index("product")
            for product in (p for p in products if p in own.index):
                style, inside = style_of(product), own.loc[product, list(COVERAGES)].to_numpy(dtype=float)
                look = {"color": style.colour, "linestyle": style.dashes, "marker": style.marker, "markersize": 4}
                ax.plot([100 * level for level in LEVELS], 100 * inside, linewidth=style.width * 0.8, **look)
            ax.set(xlim=(0, 100), ylim=(-2, 102), aspect="equal", xticks=(0, 50, 100))
            if len(own):
                ax.text(0.97, 0.04, f"{own['cases'].median():.0f} cases", transform=ax.transAxes, ha="right", fontsize=8.5)
        row[0].set_ylabel(f"truth inside, {where} [%]")
    for ax, part in zip(axes[0], PARTS, strict=True):
        ax.set_title(_WORDS[part])
    for ax in axes[-1]:
        ax.set_xlabel("level of the interval [%]")
    figure.legend(handles=[handle(p, contents) for p in products], loc="outside lower center", ncols=4)
    return figure

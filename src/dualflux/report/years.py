"""Years that were left out, one by one: what a fit that never saw them says, beside what was observed."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from dualflux.metrics.left_out_years import year_scores
from dualflux.report.contents import Contents
from dualflux.report.drawing import handle, panels, zero
from dualflux.report.style import TARGET, fixed, style_of

_CLIMATOLOGY, _INDEX = ("#888888", (0, (4, 2))), ("#7a5c00", (0, (1, 1)))


def left_out_years(contents: Contents) -> Figure:
    """Annual fluxes of left-out years, one panel per region: observed, predicted +- sd, the other years' mean, a regression on an index."""
    table = contents.left_out_years
    regions = [r for r in contents.regions if r in set(table["region"])]
    products = [v for v in contents.variants if v in set(table["product"])]
    figure, axes = panels(len(regions), width=4.6 if len(regions) <= 4 else 3.4, height=2.6)
    for ax, region in zip(axes, regions, strict=True):
        draw_left_out_years(ax, contents, table[table["region"] == region], products)
        ax.set_title(region)
    figure.supylabel("net flux to the atmosphere less the other years' mean [PgC yr⁻¹]", fontsize=10)
    handles = [Line2D([], [], color=TARGET, linewidth=2.4, label="target, not seen by the fit")]
    handles += [handle(p, contents) for p in products]
    if table["nino"].notna().any():
        handles.append(Line2D([], [], color=_INDEX[0], linestyle=_INDEX[1], label="regression on the index"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def draw_left_out_years(ax: Axes, contents: Contents, rows: pd.DataFrame, products: list[str]) -> None:
    """Draw the left-out years of one region, each less the mean of the other years' targets; scores of the last product."""
    first = rows[rows["product"] == products[-1]]
    ax.plot(first["year"], first["observed"] - first["climatology"], color=TARGET, linewidth=2.4, zorder=3)
    if first["nino"].notna().any():
        ax.plot(first["year"], first["nino"] - first["climatology"], color=_INDEX[0], linestyle=_INDEX[1], zorder=2)
    for place, product in enumerate(products):
        own, style = rows[rows["product"] == product], style_of(product, contents.references)
        at = own["year"] + 0.12 * (place - (len(products) - 1) / 2)
        look: dict[str, Any] = {
            "color": style.colour,
            "marker": style.marker or "o",
            "markersize": 4.5,
            "linestyle": "",
            "elinewidth": 1.1,
            "capsize": 2,
        }
        ax.errorbar(at, own["predicted"] - own["climatology"], own["sd"], zorder=style.order, **look)
    scores = year_scores(first)
    ax.set_title(
        f"r {fixed(scores['r'], 2)}, rmse × {fixed(scores['rmse_over_climatology'], 2)}", loc="right", fontsize=8.5, fontweight="normal"
    )
    zero(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))

"""What priors say before the data, beside the data."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dualflux.report.contents import Contents
from dualflux.report.drawing import no_grid_lines, panels
from dualflux.report.style import number, pretty_unit

QUANTITIES = {
    "global_mean": "global mean flux",
    "map_sd": "sd over the map of lasting fluxes",
    "annual_sd": "sd of global annual fluxes",
    "site_mean": "mean over sites of site means",
    "site_sd": "sd over sites of site means",
}
PARTS = {"network": "network", "u": "u, spatial effect", "a": "a, regional anomalies", "g": "g, representativeness", "all": "all together"}
_DATA, _PRIOR, _FITTED = "#1a1a1a", "#0072B2", "#D55E00"


def prior_predictive(contents: Contents) -> Figure:
    """Median and central 90 % of draws of the priors, each alone and all together, against the data and the fitted product."""
    table = contents.priors
    named = [q for q in QUANTITIES if q in set(table["quantity"])]
    figure, axes = panels(len(named), 4.4, 2.0, columns=3)
    for ax, quantity in zip(axes, named, strict=True):
        _draw(ax, table[table["quantity"] == quantity], quantity)
    look = [("o", "-", _PRIOR, "priors: median and 90 % of draws"), ("", "-", _DATA, "data"), ("", (0, (4, 2)), _FITTED, "fitted product")]
    handles = [Line2D([], [], marker=m, ls=s, color=c, label=t) for m, s, c, t in look]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw(ax: Axes, rows: pd.DataFrame, quantity: str) -> None:
    rows = rows.set_index("part").reindex([p for p in PARTS if p in set(rows["part"])])[::-1]
    place, values = np.arange(len(rows)), rows[["lower", "median", "upper", "data", "fitted"]].to_numpy(dtype=float).T
    lower, median, upper, data, fitted = values
    ax.hlines(place, lower, upper, color=_PRIOR, linewidth=2.2)
    ax.plot(median, place, "o", color=_PRIOR, markersize=5)
    for value, colour, dashes in ((data[0], _DATA, "-"), (fitted[0], _FITTED, (0, (4, 2)))):
        if np.isfinite(value):
            ax.axvline(value, color=colour, linestyle=dashes, linewidth=1.4)
    known = np.abs(np.array([data[0], fitted[0]]))
    scale = float(np.nanmax(known)) if np.isfinite(known).any() else 1.0
    widest = float(np.abs(values[:3]).max())
    if widest > 10 * scale:  # else a wide prior would hide where zero and the data are
        ax.set_xscale("symlog", linthresh=scale)
        ax.set_xticks(_ticks(lower.min(), upper.max(), scale))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: number(x, 2)))
        ax.minorticks_off()
        ax.tick_params(axis="x", labelsize=8)
    ax.set_yticks(place, [PARTS[str(p)] for p in rows.index])
    ax.set_title(QUANTITIES[quantity], fontsize=10)
    ax.set_xlabel(f"[{pretty_unit(str(rows['unit'].iloc[0]))}]")
    ax.set_ylim(-0.6, len(rows) - 0.4)
    no_grid_lines(ax, "y")


def _ticks(lower: float, upper: float, scale: float) -> list[float]:
    """Zero and powers of ten beyond `scale`, as many as can be read."""
    powers = np.arange(np.ceil(np.log10(scale)), np.floor(np.log10(max(-lower, upper))) + 1)
    sizes = 10.0 ** powers[:: max(1, round(len(powers) / 2))]
    return sorted({0.0, *(s for s in sizes if s <= upper), *(-s for s in sizes if -s >= lower)})

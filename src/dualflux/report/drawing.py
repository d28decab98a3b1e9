"""What the figures share: panels, lines and legends. Figures are made without pyplot: no window, no global state, no display."""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dualflux.report.contents import Contents
from dualflux.report.style import BUDGET_COLOURS, INVERSION_GREY, style_of

Where = Literal["outside right center", "outside lower center"]


def panels(count: int, width: float, height: float, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure of small multiples and its `count` axes."""
    columns = columns or min(count, 2 if count <= 4 else 3 if count <= 9 else 4)
    rows = ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, 8.2), height * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def of_region(table: pd.DataFrame, products: Sequence[str], region: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each product that has some in a region."""
    here = table[table["region"] == region]
    for product in products:
        rows = here[here["product"] == product]
        if len(rows):
            yield product, rows


def line(ax: Axes, x: pd.Series, y: np.ndarray, product: str, contents: Contents, markersize: float) -> None:
    """One product's line in its style."""
    style = style_of(product, contents.references)
    look: dict[str, Any] = {"color": style.colour, "linestyle": style.dashes, "linewidth": style.width, "zorder": style.order}
    ax.plot(x, y, marker=style.marker or None, markersize=markersize, **look)


def handle(product: str, contents: Contents, line: bool = True, markers: bool = True) -> Line2D:
    """A product's entry in a legend."""
    style = style_of(product, contents.references)
    look: dict[str, Any] = {"color": style.colour, "linestyle": style.dashes if line else "", "linewidth": style.width}
    return Line2D([], [], marker=(style.marker or None) if markers else None, markersize=5, label=style.label, **look)


def legend(
    figure: Figure, contents: Contents, where: Where, columns: int, bars: bool = False, products: Sequence[str] = (), budgets: bool = False
) -> None:
    """Entries of `products` (default: all that are drawn), the single inversions as one."""
    named = [p for p in reversed(products or contents.drawn) if p not in contents.inversions]
    if bars:
        styles = [style_of(p, contents.references) for p in named]
        handles = [Line2D([], [], color=s.colour, linewidth=7, alpha=0.85, label=s.label) for s in styles]
    else:
        handles = [handle(p, contents) for p in named]
    if contents.inversions and not products:
        grey: dict[str, Any] = {"marker": "o", "ls": "", "markerfacecolor": "white"} if bars else {"linewidth": 1.2}
        count = len(contents.inversions)
        handles.append(Line2D([], [], color=INVERSION_GREY, label=f"{count} single inversion" + "s" * (count > 1), **grey))
    if budgets:
        handles += budget_handles(contents)
    figure.legend(handles=handles, loc=where, ncols=columns)


def budget_handles(contents: Contents) -> list[Line2D]:
    """The independent estimates' entries in a legend."""
    return [Line2D([], [], label=name, **budget_style(i)) for i, name in enumerate(dict.fromkeys(contents.independent["product"]))]


def budget_style(place: int) -> dict[str, Any]:
    """Line of the independent estimate at this place of the table."""
    return {
        "color": BUDGET_COLOURS[place % len(BUDGET_COLOURS)],
        "linestyle": (0, (1, 1)),
        "linewidth": 1.7,
        "marker": "x",
        "markersize": 5,
    }


def scored(contents: Contents) -> list[str]:
    """Products with scores at towers: the variants, or, without any, all others, in drawing order."""
    there = set(contents.sites["product"])
    return [v for v in contents.variants if v in there] or [p for p in contents.drawn if p in there]


def finest(contents: Contents) -> str:
    """The time step at which towers were scored."""
    return "daily" if "daily" in set(contents.sites["scale"]) else "monthly"


def no_grid_lines(ax: Axes, axis: Literal["x", "y", "both"] = "x") -> None:
    """Take the grid of an axis of categories away."""
    ax.grid(axis=axis, visible=False)


def zero(ax: Axes) -> None:
    """The line between uptake and release."""
    ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)

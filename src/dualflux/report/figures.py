"""Figures of regions, towers and training: Contents -> matplotlib figures, nothing written here.

Figures are made without pyplot, so no window, no global state and no display is needed.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dualflux.report.contents import Contents
from dualflux.report.style import INVERSION_GREY, MONTHS, style_of

_PER_MONTH = "net flux to the atmosphere [PgC month⁻¹]"
_PER_YEAR = "[PgC yr⁻¹]"
_TICKS = (-1, -0.5, 0, 0.5, 1)


def seasonal_cycle(contents: Contents, region: str) -> Figure:
    """Mean seasonal cycle of one region, mean +- sd, all products."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    ax = figure.subplots()
    _draw_cycle(ax, contents, region)
    ax.set(title=f"Mean seasonal cycle: {region}", ylabel=_PER_MONTH)
    _legend(figure, contents, "outside right center", 1)
    return figure


def seasonal_cycles(contents: Contents) -> Figure:
    """Mean seasonal cycles of all regions, small multiples with their own scales."""
    figure, axes = _panels(len(contents.regions), width=3.3, height=2.5)
    for ax, region in zip(axes, contents.regions, strict=False):
        _draw_cycle(ax, contents, region)
        ax.set_title(region)
    figure.supylabel(_PER_MONTH, fontsize=10)
    _legend(figure, contents, "outside lower center", 4)
    return figure


def _draw_cycle(ax: Axes, contents: Contents, region: str) -> None:
    for product, rows in _of(contents.cycles, contents.drawn, region):
        style = style_of(product, contents.references)
        value, sd = rows["value"].to_numpy(), rows["sd"].to_numpy()
        if np.isfinite(sd).all() and style.order >= 3:
            ax.fill_between(rows["month"], value - sd, value + sd, color=style.colour, alpha=0.15, linewidth=0, zorder=style.order)
        _line(ax, rows["month"], value, product, contents, markersize=4.5)
    ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)
    ax.set_xticks(range(1, 13), list(MONTHS))
    ax.set_xlim(0.7, 12.3)


def annual_anomalies(contents: Contents) -> Figure:
    """Annual sums minus each product's own mean, one panel per region."""
    figure, axes = _panels(len(contents.regions), width=4.6 if len(contents.regions) <= 4 else 3.4, height=2.4)
    for ax, region in zip(axes, contents.regions, strict=False):
        for product, rows in _of(contents.annual, contents.drawn, region):
            _line(ax, rows["year"], (rows["value"] - rows["value"].mean()).to_numpy(), product, contents, markersize=4)
        ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
        ax.set_title(region)
    figure.supylabel(f"annual anomaly of the net flux {_PER_YEAR}", fontsize=10)
    _legend(figure, contents, "outside lower center", 4)
    return figure


def regional_means(contents: Contents) -> Figure:
    """Mean annual flux of each region with its spread; the single inversions are points on the target's bar."""
    parts = contents.regions[1:]
    wide = max(len(parts), 1)
    figure = Figure(figsize=(min(max(8.6, 2.6 + 1.15 * wide), 14), 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1, min(wide, 14)], squeeze=False)[0]
    _bars(left, contents, contents.regions[:1])
    _bars(right, contents, parts)
    left.set_ylabel(f"mean net flux to the atmosphere {_PER_YEAR}")
    figure.suptitle("Mean annual flux", fontsize=11, fontweight="bold", x=0.01, ha="left")
    _legend(figure, contents, "outside lower center", 4, bars=True)
    return figure


def _bars(ax: Axes, contents: Contents, regions: Sequence[str]) -> None:
    references = [p for p in contents.drawn if p in contents.references]
    products = [p for p in contents.drawn if p == "target" or p in contents.variants] + references
    width = 0.84 / max(len(products), 1)
    table = contents.means.set_index(["product", "region"])
    for i, product in enumerate(products):
        style = style_of(product, contents.references)
        at = np.arange(len(regions)) + (i - (len(products) - 1) / 2) * width
        rows = table.reindex([(product, r) for r in regions])
        ax.bar(at, rows["value"], 0.92 * width, color=style.colour, alpha=0.85, zorder=2)
        ax.errorbar(
            at,
            rows["value"],
            rows["sd"],
            fmt="none",
            ecolor="#333333" if product != "target" else "#888888",
            elinewidth=1.3,
            capsize=2.5,
            zorder=3,
        )
        if product == "target":
            for inversion in contents.inversions:
                single = table["value"].reindex([(inversion, r) for r in regions])
                ax.plot(at, single, "o", markersize=4, markerfacecolor="white", markeredgecolor=INVERSION_GREY, zorder=4)
    ax.axhline(0, color="#555555", linewidth=0.9)
    ax.set_xticks(range(len(regions)), regions, rotation=0 if len(regions) <= 6 else 35, ha="center" if len(regions) <= 6 else "right")
    ax.set_xlim(-0.55, len(regions) - 0.45)
    ax.grid(axis="x", visible=False)


def skill_by_scale(contents: Contents) -> Figure:
    """NSE at left-out towers by time scale: pooled and median over sites, f + g (filled) and f (open)."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
    table = contents.sites[contents.sites["metric"] == "nse"].set_index(["product", "prediction", "site", "scale"])["value"]
    scales = [s for s in _SCALES if s in set(contents.sites["scale"])]
    products = _scored(contents)
    lowest = -0.25
    for ax, site in zip(axes, ("pooled", "median"), strict=True):
        shown = scales if site == "pooled" else [s for s in scales if s != "site_mean"]
        for i, product in enumerate(products):
            style = style_of(product, contents.references)
            at = np.arange(len(shown)) + (i - (len(products) - 1) / 2) * 0.16
            for prediction, face in (("landscape", "white"), ("tower_like", style.colour)):
                value = table.reindex([(product, prediction, site, s) for s in shown]).to_numpy(dtype=float)
                _clipped(ax, at, value, lowest, marker=style.marker, color=style.colour, markerfacecolor=face)
        ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)
        ax.set_xticks(range(len(shown)), [_SCALES[s] for s in shown])
        ax.grid(axis="x", visible=False)
        ax.set_title("all sites pooled" if site == "pooled" else "median over sites")
    axes[0].set(ylabel="Nash-Sutcliffe efficiency [1]", ylim=(lowest - 0.04, 1.02))
    handles = [_handle(p, contents, line=False) for p in products]
    handles += [
        Line2D([], [], ls="", marker="o", color="#555555", markerfacecolor=f, label=t)
        for f, t in (("#555555", "f + g: as a tower sees it"), ("white", "f: the landscape"))
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


_SCALES = {
    "daily": "daily",
    "weekly": "weekly",
    "monthly": "monthly",
    "seasonal_cycle": "seasonal\ncycle",
    "anomaly": "monthly\nanomaly",
    "yearly": "yearly",
    "site_mean": "between\nsites",
}


def _clipped(ax: Axes, at: np.ndarray, value: np.ndarray, lowest: float, **kwargs: Any) -> None:
    """Points; those below the axis sit on its edge as an arrow down."""
    below = value < lowest
    ax.plot(at[~below], value[~below], ls="", markersize=6, **kwargs)
    ax.plot(at[below], np.full(int(below.sum()), lowest), ls="", markersize=7, **{**kwargs, "marker": CARETDOWN}) if below.any() else None


def site_scatter(contents: Contents) -> Figure:
    """NSE of each site, dual (or the last variant) against every other variant, f + g, at the study's time step."""
    best, others = _scored(contents)[-1], _scored(contents)[:-1]
    scale = "daily" if "daily" in set(contents.sites["scale"]) else "monthly"
    rows = contents.sites[
        (contents.sites["metric"] == "nse") & (contents.sites["scale"] == scale) & (contents.sites["prediction"] == "tower_like")
    ]
    table = rows[~rows["site"].isin(["pooled", "median", "q90"])].pivot(index="site", columns="product", values="value")
    figure = Figure(figsize=(max(3.6 * len(others), 4.2), 4.1), layout="constrained")
    axes = figure.subplots(1, max(len(others), 1), sharey=True, squeeze=False)[0]
    for ax, other in zip(axes, others, strict=False):
        both = table[[other, best]].dropna()
        style = style_of(other, contents.references)
        inside = both.clip(lower=-1)
        ax.plot([-1, 1], [-1, 1], color="#777777", linewidth=0.9)
        ax.scatter(
            inside[other], inside[best], s=24, marker=style.marker, color=style.colour, alpha=0.65, linewidths=0, clip_on=False, zorder=3
        )
        better = int((both[best] > both[other]).sum())
        outside = int((both < -1).any(axis=1).sum())
        ax.set_title(f"{best} better at {better} of {len(both)} sites", fontsize=10)
        note = f"\n{outside} sites below −1 are drawn on the edge" if outside else ""
        ax.set(xlabel=f"NSE of {other} [1]{note}", xticks=_TICKS, yticks=_TICKS, xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal")
    axes[0].set_ylabel(f"NSE of {best} [1]")
    return figure


_TERMS = {
    "validation_loss": "held-out towers: −log density [1]",
    "validation_rmse": "held-out towers: RMSE [gC m⁻² d⁻¹]",
    "region_misfit": "inversions: misfit r' R⁻¹ r [1]",
    "site_effect_sd": "site effects: sd [gC m⁻² d⁻¹]",
}
_NOT_DRAWN = ["variant", "member", "fold", "checkpoint", "criterion", "chosen"]


def training_history(contents: Contents) -> Figure:
    """What the checkpoints recorded over steps, one panel each, mean over folds and members; dots: states that were kept."""
    tables = {v: t.groupby("step").mean(numeric_only=True).drop(columns=_NOT_DRAWN, errors="ignore") for v, t in contents.history.items()}
    terms = list(dict.fromkeys(c for t in tables.values() for c in t.columns))
    figure, axes = _panels(len(terms), width=3.6, height=2.4)
    for ax, term in zip(axes, terms, strict=False):
        for variant, table in tables.items():
            if term in table:
                style, history = style_of(variant), contents.history[variant]
                ax.plot(table.index, table[term], color=style.colour, linestyle=style.dashes, linewidth=style.width * 0.8)
                kept = sorted(set(history["step"][history["chosen"]])) if "chosen" in history else []
                ax.plot(kept, table[term].reindex(kept), "o", color=style.colour, markersize=5)
        values = np.concatenate([t[term].dropna().to_numpy() for t in tables.values() if term in t])
        if values.size and values.min() > 0 and values.max() > 10 * values.min():
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))
        ax.set(title=_TERMS.get(term, term.replace("_", " ")), xlabel="step")
    figure.legend(handles=[_handle(v, contents, markers=False) for v in tables], loc="outside lower center", ncols=2)
    return figure


def _scored(contents: Contents) -> list[str]:
    there = set(contents.sites["product"])
    return [v for v in contents.variants if v in there]


def _of(table: pd.DataFrame, products: Sequence[str], region: str) -> Iterator[tuple[str, pd.DataFrame]]:
    here = table[table["region"] == region]
    for product in products:
        rows = here[here["product"] == product]
        if len(rows):
            yield product, rows


def _line(ax: Axes, x: pd.Series, y: np.ndarray, product: str, contents: Contents, markersize: float) -> None:
    style = style_of(product, contents.references)
    ax.plot(
        x,
        y,
        color=style.colour,
        linestyle=style.dashes,
        linewidth=style.width,
        marker=style.marker or None,
        markersize=markersize,
        zorder=style.order,
    )


def _panels(count: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    columns = min(count, 2 if count <= 4 else 3 if count <= 9 else 4)
    rows = ceil(count / columns)
    figure = Figure(figsize=(max(width * columns, 8.2), height * rows + 0.9), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def _handle(product: str, contents: Contents, line: bool = True, markers: bool = True) -> Line2D:
    style = style_of(product, contents.references)
    dashes: Any = style.dashes if line else ""
    return Line2D(
        [],
        [],
        color=style.colour,
        linestyle=dashes,
        linewidth=style.width,
        marker=(style.marker or None) if markers else None,
        markersize=5,
        label=style.label,
    )


def _legend(
    figure: Figure, contents: Contents, where: Literal["outside right center", "outside lower center"], columns: int, bars: bool = False
) -> None:
    named = [p for p in reversed(contents.drawn) if p not in contents.inversions]
    handles = [
        Line2D([], [], color=style_of(p, contents.references).colour, linewidth=7, alpha=0.85, label=style_of(p).label) for p in named
    ]
    if not bars:
        handles = [_handle(p, contents) for p in named]
    if contents.inversions:
        grey = {"marker": "o", "ls": "", "markerfacecolor": "white"} if bars else {"linewidth": 1.2}
        count = len(contents.inversions)
        handles.append(Line2D([], [], color=INVERSION_GREY, label=f"{count} single inversion" + "s" * (count > 1), **grey))
    figure.legend(handles=handles, loc=where, ncols=columns)

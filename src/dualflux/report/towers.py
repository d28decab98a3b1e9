"""Figures of skill at left-out towers: Contents -> matplotlib figures, nothing written here."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETDOWN
from matplotlib.ticker import FuncFormatter

from dualflux.report.contents import Contents
from dualflux.report.drawing import finest, handle, no_grid_lines, scored
from dualflux.report.style import fixed, style_of

_TICKS = (-1, -0.5, 0, 0.5, 1)
LOWEST = -0.25  # NSE below it is drawn on the edge


def skill_by_scale(contents: Contents) -> Figure:
    """NSE at left-out towers by time scale: pooled and median over sites, f + g (filled) and f (open)."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, squeeze=False)[0]
    table = contents.sites[contents.sites["metric"] == "nse"].set_index(["product", "prediction", "site", "scale"])["value"]
    scales = [s for s in _SCALES if s in set(contents.sites["scale"])]
    products = scored(contents)
    for ax, site in zip(axes, ("pooled", "median"), strict=True):
        shown = scales if site == "pooled" else [s for s in scales if s != "site_mean"]
        for i, product in enumerate(products):
            style = style_of(product, contents.references)
            at = np.arange(len(shown)) + (i - (len(products) - 1) / 2) * 0.16
            for prediction, face in (("landscape", "white"), ("tower_like", style.colour)):
                value = table.reindex([(product, prediction, site, s) for s in shown]).to_numpy(dtype=float)
                _clipped(ax, at, value, marker=style.marker, color=style.colour, markerfacecolor=face)
        ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)
        ax.set_xticks(range(len(shown)), [_SCALES[s] for s in shown])
        no_grid_lines(ax)
        ax.set_title("all sites pooled" if site == "pooled" else "median over sites")
    axes[0].set(ylabel="Nash-Sutcliffe efficiency [1]", ylim=(LOWEST - 0.04, 1.02))
    handles = [handle(p, contents, line=False) for p in products]
    faces = (("#555555", "f + g: as a tower sees it"), ("white", "f: the landscape")) if contents.variants else ()
    handles += [Line2D([], [], ls="", marker="o", color="#555555", markerfacecolor=f, label=t) for f, t in faces]
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


def _clipped(ax: Axes, at: np.ndarray, value: np.ndarray, **kwargs: Any) -> None:
    """Points; those below the axis sit on its edge as an arrow down."""
    below = value < LOWEST
    ax.plot(at[~below], value[~below], ls="", markersize=6, **kwargs)
    ax.plot(at[below], np.full(int(below.sum()), LOWEST), ls="", markersize=7, **{**kwargs, "marker": CARETDOWN}) if below.any() else None


def site_scatter(contents: Contents) -> Figure:
    """NSE of each site, dual (or the last variant) against every other variant, f + g, at the study's time step."""
    best, others = scored(contents)[-1], scored(contents)[:-1]
    scale = finest(contents)
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


def observed_predicted(contents: Contents) -> Figure:
    """Observed against predicted (f + g) of all left-out towers, how many in each square, one panel per product."""
    rows, products = contents.predictions, scored(contents)
    low, high = np.floor(np.quantile(rows["observed"], 0.002)), np.ceil(np.quantile(rows["observed"], 0.998))
    figure = Figure(figsize=(max(2.9 * len(products) + 0.9, 4.2), 3.7), layout="compressed")
    axes = figure.subplots(1, len(products), sharey=True, squeeze=False)[0]
    edges = np.linspace(low, high, 46)
    most = 1.0
    for ax, product in zip(axes, products, strict=True):
        own = rows[rows["product"] == product]
        inside = own[["tower_like", "observed"]].clip(low, high)
        count, _, _ = np.histogram2d(inside["tower_like"], inside["observed"], bins=(edges, edges))
        most = max(most, float(count.max()))
        ax.pcolormesh(edges, edges, np.ma.masked_equal(count.T, 0), cmap="cividis_r", norm=LogNorm(1, most), rasterized=True)
        ax.plot([low, high], [low, high], color="#555555", linewidth=0.9)
        ax.set(title=style_of(product, contents.references).label, xlim=(low, high), ylim=(low, high), aspect="equal")
        ax.text(0.04, 0.96, _pooled_words(contents, product), transform=ax.transAxes, va="top", fontsize=8.5)
    for ax in axes:
        ax.collections[0].set_norm(LogNorm(1, most))
        ax.set_xlabel("predicted [gC m⁻² d⁻¹]")
    bar = figure.colorbar(axes[-1].collections[0], ax=list(axes), label="values in a square", shrink=0.8, aspect=18)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes[0].set_ylabel("observed [gC m⁻² d⁻¹]")
    return figure


def _pooled_words(contents: Contents, product: str) -> str:
    table = contents.sites
    rows = table[(table["product"] == product) & (table["prediction"] == "tower_like") & (table["site"] == "pooled")]
    value = rows[rows["scale"] == finest(contents)].set_index("metric")["value"]
    return f"NSE {fixed(value['nse'], 2)}\nR² {fixed(value['r2'], 2)}\nRMSE {fixed(value['rmse'], 2)}\nbias {fixed(value['bias'], 2)}"


def skill_by_class(contents: Contents) -> Figure:
    """Pooled NSE of f + g with 95 % intervals, all sites and by class of site, one panel per grouping."""
    table = contents.classes
    own = table[(table["metric"] == "nse") & (table["statistic"] == "pooled") & (table["prediction"] == "tower_like")]
    own = own[own["scale"] == finest(contents)]
    products, groupings = scored(contents), [g for g in dict.fromkeys(own["grouping"]) if g != "all"]
    parts = [own[own["grouping"].isin([g] if i else ["all", g])] for i, g in enumerate(groupings)]
    counts = [part["class"].nunique() for part in parts]
    figure = Figure(figsize=(9.6, 0.34 * sum(counts) + 0.55 * len(groupings) + 0.9), layout="constrained")
    axes = figure.subplots(len(groupings), 1, height_ratios=counts, sharex=True, squeeze=False)[:, 0]
    for ax, grouping, part in zip(axes, groupings, parts, strict=True):
        _class_panel(ax, part, products)
        ax.set_title({"igbp": "land cover of the site", "distance": "distance to the nearest training site"}.get(grouping, grouping))
    axes[-1].set_xlabel("Nash-Sutcliffe efficiency, pooled [1]")
    figure.legend(handles=[handle(p, contents, line=False) for p in products], loc="outside lower center", ncols=4)
    return figure


def _class_panel(ax: Axes, table: Any, products: list[str]) -> None:
    names = list(dict.fromkeys(table["class"]))
    sizes = table.drop_duplicates("class").set_index("class")[["sites", "groups"]]
    for i, product in enumerate(products):
        style = style_of(product)
        rows = table[table["product"] == product].set_index("class").reindex(names)
        at = np.arange(len(names)) + (i - (len(products) - 1) / 2) * 0.18
        ends = rows[["lower", "upper"]].clip(lower=LOWEST * 2, upper=1)
        ax.hlines(at, ends["lower"], ends["upper"], color=style.colour, linewidth=1.4, alpha=0.75)
        below = (rows["value"] < LOWEST * 2).to_numpy()
        look: dict[str, Any] = {"ls": "", "color": style.colour}
        ax.plot(rows["value"][~below], at[~below], marker=style.marker, markersize=5, **look)
        ax.plot(np.full(int(below.sum()), LOWEST * 2), at[below], marker="<", markersize=6, **look)
    ax.axvline(0, color="#777777", linewidth=0.8, zorder=0.5)
    words = [f"{'all sites' if n == 'all' else n}  ({sizes['sites'][n]} sites, {sizes['groups'][n]} groups)" for n in names]
    ax.set_yticks(range(len(names)), words, fontsize=9)
    ax.set(xlim=(LOWEST * 2 - 0.03, 1.0), ylim=(len(names) - 0.5, -0.5))
    no_grid_lines(ax, "y")

"""Figures of regions and the globe: Contents -> matplotlib figures, nothing written here."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualflux.report.contents import Contents
from dualflux.report.drawing import budget_style, legend, line, no_grid_lines, of_region, panels, zero
from dualflux.report.style import INVERSION_GREY, MONTHS, style_of

_PER_MONTH = "net flux to the atmosphere [PgC month⁻¹]"
_PER_YEAR = "[PgC yr⁻¹]"
_WORDS = {"BRA": "Brazil", "EU": "Europe"}


def seasonal_cycle(contents: Contents, region: str) -> Figure:
    """Mean seasonal cycle of one region, mean +- sd, all products."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    ax = figure.subplots()
    draw_cycle(ax, contents, region, contents.drawn)
    ax.set(title=f"Mean seasonal cycle: {region}", ylabel=_PER_MONTH)
    legend(figure, contents, "outside right center", 1)
    return figure


def seasonal_cycles(contents: Contents) -> Figure:
    """Mean seasonal cycles of all regions, small multiples with their own scales."""
    figure, axes = panels(len(contents.regions), width=3.3, height=2.5)
    for ax, region in zip(axes, contents.regions, strict=False):
        draw_cycle(ax, contents, region, contents.drawn)
        ax.set_title(region)
    figure.supylabel(_PER_MONTH, fontsize=10)
    legend(figure, contents, "outside lower center", 4)
    return figure


def main_cycles(contents: Contents) -> Figure:
    """The study's figure regions side by side: truth, tower-only, mean of the inversions, and the last variant, mean +- sd."""
    products = main_products(contents)
    figure, axes = panels(len(contents.figure_regions), width=3.5, height=3.3, columns=min(len(contents.figure_regions), 3))
    for ax, region in zip(axes, contents.figure_regions, strict=True):
        draw_cycle(ax, contents, region, products)
        ax.set_title(_WORDS.get(region, region))
    figure.supylabel(_PER_MONTH, fontsize=10)
    legend(figure, contents, "outside lower center", len(products), products=products)
    return figure


def main_products(contents: Contents) -> list[str]:
    """What `main_cycles` draws, below to above; without variants everything but the single inversions."""
    if not contents.variants:
        return [p for p in contents.drawn if p not in contents.inversions] or contents.drawn
    wanted = ("target", "truth", "towers", contents.variants[-1])
    return [p for p in dict.fromkeys(wanted) if p in contents.drawn]


def draw_cycle(ax: Axes, contents: Contents, region: str, products: Sequence[str]) -> None:
    """Draw the mean seasonal cycles of some products in one region, with one standard deviation [PgC month-1]."""
    for product, rows in of_region(contents.cycles, products, region):
        style = style_of(product, contents.references)
        value, sd = rows["value"].to_numpy(), rows["sd"].to_numpy()
        if np.isfinite(sd).all() and style.order >= 3:
            ax.fill_between(rows["month"], value - sd, value + sd, color=style.colour, alpha=0.15, linewidth=0, zorder=style.order)
        line(ax, rows["month"], value, product, contents, markersize=4.5)
    zero(ax)
    ax.set_xticks(range(1, 13), list(MONTHS))
    ax.set_xlim(0.7, 12.3)


def annual_anomalies(contents: Contents) -> Figure:
    """Annual sums minus each product's own mean, one panel per region; independent estimates in the globe's."""
    figure, axes = panels(len(contents.regions), width=4.6 if len(contents.regions) <= 4 else 3.4, height=2.4)
    for ax, region in zip(axes, contents.regions, strict=False):
        draw_anomalies(ax, contents, region)
        ax.set_title(region)
    figure.supylabel(f"annual anomaly of the net flux {_PER_YEAR}", fontsize=10)
    legend(figure, contents, "outside lower center", 4, budgets=True)
    return figure


def annual_anomaly(contents: Contents, region: str) -> Figure:
    """Annual sums of one region minus each product's own mean."""
    figure = Figure(figsize=(8.6, 4.6), layout="constrained")
    ax = figure.subplots()
    draw_anomalies(ax, contents, region)
    ax.set(title=f"Annual anomalies: {region}", ylabel=f"annual anomaly of the net flux {_PER_YEAR}")
    legend(figure, contents, "outside right center", 1, budgets=region == "global")
    return figure


def draw_anomalies(ax: Axes, contents: Contents, region: str) -> None:
    """Draw the annual sums of all products in one region, each minus its own mean [PgC yr-1]."""
    for product, rows in of_region(contents.annual, contents.drawn, region):
        line(ax, rows["year"], (rows["value"] - rows["value"].mean()).to_numpy(), product, contents, markersize=4)
    _draw_budgets(ax, contents, region)
    zero(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))


def _draw_budgets(ax: Axes, contents: Contents, region: str) -> None:
    names = list(dict.fromkeys(contents.independent["product"]))
    for name, rows in of_region(contents.independent, names, region):
        ax.plot(rows["year"], rows["value"] - rows["value"].mean(), zorder=4, **budget_style(names.index(name)))


def regional_means(contents: Contents) -> Figure:
    """Mean annual flux of each region with its spread; the single inversions are points on the target's bar."""
    parts = contents.regions[1:]
    wide = max(len(parts), 1)
    if not parts:
        figure = Figure(figsize=(8.6, 4.6), layout="constrained")
        left = figure.subplots()
    else:
        figure = Figure(figsize=(min(max(8.6, 2.6 + 1.15 * wide), 14), 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1, min(wide, 14)], squeeze=False)[0]
        _bars(right, contents, parts)
    _bars(left, contents, contents.regions[:1])
    left.set_ylabel(f"mean net flux to the atmosphere {_PER_YEAR}")
    figure.suptitle("Mean annual flux", fontsize=11, fontweight="bold", x=0.01, ha="left")
    legend(figure, contents, "outside lower center", 4, bars=True, budgets=True)
    return figure


def _bars(ax: Axes, contents: Contents, regions: Sequence[str]) -> None:
    products = [p for p in contents.drawn if p not in contents.inversions]
    products = [p for p in products if p not in contents.references] + [p for p in products if p in contents.references]
    width = 0.84 / max(len(products), 1)
    table = contents.means.set_index(["product", "region"])
    for i, product in enumerate(products):
        style = style_of(product, contents.references)
        at = np.arange(len(regions)) + (i - (len(products) - 1) / 2) * width
        rows = table.reindex([(product, r) for r in regions])
        ax.bar(at, rows["value"], 0.92 * width, color=style.colour, alpha=0.85, zorder=2)
        dark = "#333333" if product != "target" else "#888888"
        ax.errorbar(at, rows["value"], rows["sd"], fmt="none", ecolor=dark, elinewidth=1.3, capsize=2.5, zorder=3)
        for inversion in contents.inversions if product == "target" else ():
            single = table["value"].reindex([(inversion, r) for r in regions])
            ax.plot(at, single, "o", markersize=4, markerfacecolor="white", markeredgecolor=INVERSION_GREY, zorder=4)
    if "global" in regions:
        _budget_lines(ax, contents)
    ax.axhline(0, color="#555555", linewidth=0.9)
    ax.set_xticks(range(len(regions)), regions, rotation=0 if len(regions) <= 6 else 35, ha="center" if len(regions) <= 6 else "right")
    ax.set_xlim(-0.55, len(regions) - 0.45)
    no_grid_lines(ax)


def _budget_lines(ax: Axes, contents: Contents) -> None:
    for place, value in enumerate(contents.independent.groupby("product", sort=False)["value"].mean()):
        ax.plot([-0.5, 0.5], [value, value], zorder=5, **budget_style(place))

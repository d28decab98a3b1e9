"""Figures that judge the method: trade-off, Taylor diagrams, training history."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dualflux.report.contents import Contents
from dualflux.report.drawing import finest, handle, panels, scored
from dualflux.report.style import number, style_of

_TERMS = {
    "validation_loss": "held-out towers: −log density [1]",
    "validation_rmse": "held-out towers: RMSE [gC m⁻² d⁻¹]",
    "region_misfit": "inversions: misfit r' R⁻¹ r [1]",
    "site_offset_sd": "a site's own offset: sd [gC m⁻² d⁻¹]",
    "site_cycle_sd": "a site's own cycle: sd over its size [1]",
    "site_trend_sd": "a site's own trend: sd [gC m⁻² d⁻¹ decade⁻¹]",
    "site_year_sd": "a site's years: sd over the error's scale [1]",
}
_NOT_DRAWN = ["variant", "member", "fold", "checkpoint", "criterion", "chosen"]
_CORRELATIONS = (0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)


def trade_off(contents: Contents) -> Figure:
    """Skill at left-out towers against misfit to the inversions of each variant; where weights were tried, their held-out score."""
    figure = Figure(figsize=(9.6 if len(contents.weights) > 1 else 6.4, 4.0), layout="constrained")
    axes = figure.subplots(1, 2 if len(contents.weights) > 1 else 1, squeeze=False)[0]
    sites, scale = contents.sites, finest(contents)
    nse = sites[(sites["metric"] == "nse") & (sites["scale"] == scale) & (sites["site"] == "pooled")].set_index(["product", "prediction"])
    for product in scored(contents):
        style, misfit = style_of(product), contents.misfit.get(product, np.nan)
        like, own = (float(nse["value"].get((product, p), np.nan)) for p in ("tower_like", "landscape"))
        for value, face in ((own, "white"), (like, style.colour)) if own != like else ((like, style.colour),):
            axes[0].plot(misfit, value, marker=style.marker, ls="", markersize=8, color=style.colour, markerfacecolor=face)
    axes[0].set(xscale="log", xlabel="misfit to the inversions [in units of R]")
    axes[0].set_ylabel(f"NSE at left-out towers, {scale}, pooled [1]")
    axes[0].set_title("better: up and to the left", fontsize=10)
    _plain_logarithm(axes[0].xaxis)
    if len(axes) > 1:
        _draw_weights(axes[1], contents.weights)
    handles = [handle(p, contents, line=False) for p in scored(contents)]
    faces = (("#555555", "f + g: as a tower sees it"), ("white", "f: the landscape"))
    handles += [Line2D([], [], ls="", marker="o", color="#555555", markerfacecolor=f, label=t) for f, t in faces]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _plain_logarithm(axis: Axis) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else ""))


def _draw_weights(ax: Axes, trial: pd.DataFrame) -> None:
    trial = trial.sort_values("weight")
    ax.errorbar(trial["weight"], -trial["difference"], trial["standard_error"], color="#1a1a1a", marker="o", markersize=5, capsize=3)
    chosen = trial[trial["chosen"].astype(str).str.lower() == "true"]
    ax.plot(chosen["weight"], -chosen["difference"], "o", markersize=12, markerfacecolor="none", color="#0072B2")
    ax.set(xscale="log", xlabel="weight of the inversions [1]", ylabel="held-out log predictive density less the best [1]")
    ax.set_yscale("symlog", linthresh=10.0)  # weights that are far off are worse by orders of magnitude
    used = f" (ring: used, {number(float(chosen['weight'].iloc[0]))}" if len(chosen) else ""
    ax.set_title(f"weights tried ± standard error{used}", fontsize=10)
    ax.set_xticks(trial["weight"], [f"{w:.2g}" for w in trial["weight"]])
    ax.minorticks_off()


def taylor(contents: Contents) -> Figure:
    """Taylor diagrams: correlation as angle, ratio of standard deviations as radius; left-out towers, and regions against the target."""
    table = contents.taylor
    towers = table[(table["against"] == "towers") & (table["prediction"] == "tower_like")]
    where = [s for s in (finest(contents), "seasonal_cycle", "anomaly") if s in set(towers["where"])]
    sets: list[tuple[str, pd.DataFrame]] = [(f"towers, {s.replace('_', ' ')}", towers[towers["where"] == s]) for s in where]
    regions = table[(table["against"] != "towers") & table["where"].isin(contents.regions)]
    sets += [("regions, monthly integrals", regions)] if len(regions) else []
    figure, axes = panels(len(sets), width=4.5, height=4.0, columns=2)
    for ax, (title, rows) in zip(axes, sets, strict=True):
        most = float(np.nanmin([np.nanmax([*rows["sd_ratio"], 1.2]) * 1.05, 2.5]))
        _frame(ax, most, bool((rows["r"] < 0).any()))
        _points(ax, rows, contents, most)
        ax.set_title(title, loc="center")
    products = [p for p in contents.drawn if p in set(table["product"]) and p not in contents.inversions]
    named = [handle(p, contents, line=False) for p in products]
    named += [Line2D([], [], ls="", marker="*", color="#1a1a1a", markersize=10, label="reference")]
    figure.legend(handles=named, loc="outside lower center", ncols=5)
    return figure


def _points(ax: Axes, rows: pd.DataFrame, contents: Contents, most: float) -> None:
    for product in [p for p in contents.drawn if p in set(rows["product"])]:
        style, own = style_of(product, contents.references), rows[rows["product"] == product].dropna(subset=["r", "sd_ratio"])
        radius = own["sd_ratio"].clip(upper=most)
        x, y = radius * own["r"], radius * np.sqrt(1 - own["r"] ** 2)
        big = own["where"].isin(["global"]) | (len(own) == 1)
        for size, use in ((4, ~big), (8, big)):
            ax.plot(
                x[use], y[use], ls="", marker=style.marker or ".", markersize=size, color=style.colour, alpha=0.85, zorder=style.order + 2
            )


def _frame(ax: Axes, most: float, negative: bool) -> None:
    """Axes of a Taylor diagram: arcs of equal standard deviation, rays of equal correlation, arcs of equal centred RMSE."""
    angle = np.linspace(0, np.pi if negative else np.pi / 2, 181)
    for radius in (0.5, 1.0, 1.5, 2.0, most):
        if radius <= most:
            heavy = radius in (1.0, most)
            ax.plot(
                radius * np.cos(angle), radius * np.sin(angle), color="#777777" if heavy else "#d5d5d5", linewidth=0.9 if heavy else 0.7
            )
    for r in (*_CORRELATIONS, *([-c for c in _CORRELATIONS if 0 < c < 0.95] if negative else [])):
        end = most * np.array([r, np.sqrt(1 - r**2)])
        ax.plot([0, end[0]], [0, end[1]], color="#d5d5d5", linewidth=0.7)
        ax.annotate(
            number(r), (1.02 * end[0], 1.02 * end[1]), fontsize=8, ha="center" if r < 0.5 else "left", va="bottom" if r < 0.9 else "center"
        )
    around = np.linspace(0, np.pi, 181)
    for error in (0.25, 0.5, 0.75, 1.0):
        x, y = 1 + error * np.cos(around), error * np.sin(around)
        inside = (np.hypot(x, y) <= most) & (x >= (-most if negative else 0))
        ax.plot(np.where(inside, x, np.nan), y, color="#0b5fa5", linewidth=0.6, linestyle=(0, (2, 2)), alpha=0.7)
    ax.plot(1, 0, marker="*", color="#1a1a1a", markersize=11, clip_on=False, zorder=9)
    ax.set(xlim=(-1.1 * most if negative else 0, 1.12 * most), ylim=(0, 1.12 * most), aspect="equal")
    ax.set_xlabel("standard deviation over that of the reference [1]")
    ax.grid(visible=False)
    ax.spines["left"].set_visible(not negative)
    ax.set_yticks([] if negative else [t for t in (0, 0.5, 1, 1.5, 2) if t <= most])
    ax.text(0.72 * most, 0.80 * most, "correlation [1]", rotation=-45, fontsize=8.5, color="#444444", ha="left", va="bottom")


def training_history(contents: Contents) -> Figure:
    """What the checkpoints recorded over steps, one panel each, mean over folds and members; dots: states that were kept."""
    tables = {v: t.groupby("step").mean(numeric_only=True).drop(columns=_NOT_DRAWN, errors="ignore") for v, t in contents.history.items()}
    terms = list(dict.fromkeys(c for t in tables.values() for c in t.columns))
    figure, axes = panels(len(terms), width=3.6, height=2.4)
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
            _plain_logarithm(ax.yaxis)
        ax.set(title=_TERMS.get(term, term.replace("_", " ")), xlabel="step")
    figure.legend(handles=[handle(v, contents, markers=False) for v in tables], loc="outside lower center", ncols=2)
    return figure

"""Draw the README's picture from a finished demo: where carbon goes, by month and by year, with the truth of the synthetic world.

python docs/make_picture.py runs/demo docs/demo.png
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dualflux.metrics import annual_table, cycle_table
from dualflux.report.maps import ProductMap, draw_map, read_map
from dualflux.report.style import MONTHS, RC, fixed, style_of
from dualflux.units import DAYS_PER_MEAN_YEAR

DRAWN = ("towers", "dual")
TRUTH, LIMIT, SOUTH = "#1a1a1a", 250.0, -58.0


def read_truth(folder: Path, like: ProductMap) -> tuple[ProductMap, pd.DataFrame]:
    """The true map (days of the months as weights) and regional integrals."""
    with xr.open_dataset(folder / "nee_monthly.nc", engine="h5netcdf") as data:
        nee = data.nee.weighted(data.time.dt.days_in_month).mean("time").to_numpy() * DAYS_PER_MEAN_YEAR
    table = pd.read_csv(folder / "regional_monthly.csv", keep_default_na=False, na_values=[""], parse_dates=["time"])
    return ProductMap(like.grid, like.land_fraction, nee, np.full(nee.shape, np.nan)), table.assign(product="truth")


def draw_maps(figure: Figure, axes: list[Axes], maps: dict[str, ProductMap], annual: pd.Series) -> None:
    """One map each, with its global sum; one colour bar."""
    for ax, (name, one) in zip(axes, maps.items(), strict=True):
        ax.set_axis_off()
        shown = draw_map(ax, one, np.where(one.land_fraction > 0, one.nee, np.nan), SOUTH, "BrBG_r", (-LIMIT, LIMIT))
        label = "truth" if name == "truth" else style_of(name).label
        ax.set_title(f"{label}: {fixed(float(annual[name]), 1)} PgC yr⁻¹", loc="center", fontsize=11)
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.4, aspect=45, pad=0.02, extend="both")
    bar.set_label("mean net ecosystem exchange [gC m⁻² yr⁻¹], negative = uptake", fontsize=9)


def draw_lines(ax: Axes, table: pd.DataFrame, x: str, title: str) -> None:
    """One line per product; the truth black and thick."""
    for name in ("truth", *DRAWN):
        rows, style = table[table["product"] == name], style_of(name)
        look = {"color": TRUTH, "linewidth": 3.2, "label": "truth"}
        if name != "truth":
            look = {"color": style.colour, "linewidth": 1.9, "label": style.label, "linestyle": style.dashes, "marker": style.marker}
        ax.plot(rows[x], rows["value"], markersize=4.5, **look)
    ax.axhline(0, color="#777777", linewidth=0.8, zorder=0.5)
    ax.set_title(title, fontsize=10.5)


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    products = {name: read_map(arguments.run / f"products/{name}/nee_monthly.nc") for name in DRAWN}
    true_map, truth = read_truth(arguments.run / "world/truth", products["dual"])
    table = pd.read_csv(arguments.run / "tables/regional_monthly.csv", keep_default_na=False, na_values=[""], parse_dates=["time"])
    table = pd.concat([table[table["product"].isin(DRAWN) & table["member"].isna()], truth])
    table = table[table["region"] == "global"]
    annual, cycle = annual_table(table), cycle_table(table)
    maps = {"towers": products["towers"], "truth": true_map, "dual": products["dual"]}
    with mpl.rc_context(RC):
        figure = Figure(figsize=(11, 5.3), layout="compressed")
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.25, 1])
        draw_maps(upper, list(upper.subplots(1, 3)), maps, annual.groupby("product")["value"].mean())
        left, right = lower.subplots(1, 2, width_ratios=[1, 1.35])
        draw_lines(left, cycle, "month", "Mean seasonal cycle, globe [PgC month⁻¹]")
        draw_lines(right, annual, "year", "Annual net flux, globe [PgC yr⁻¹]")
        left.set_xticks(range(1, 13), list(MONTHS))
        right.legend(loc="center right", fontsize=9)
        figure.savefig(arguments.picture, dpi=110, metadata={"Software": None}, bbox_inches="tight", pad_inches=0.1)


if __name__ == "__main__":
    main()

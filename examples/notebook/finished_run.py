# ---
# jupyter:
#   jupytext:
#     formats: py:percent
# ---

# %% [markdown]
# # What is in a finished run
#
# Reads the products and tables of a run with xarray and pandas, shows that the table is the map, and draws the mean seasonal
# cycle of three regions. It needs a run that has the regions `BRA` and `EU`, such as the one `dualflux demo` makes:
#
#     dualflux demo --out runs/demo
#     python examples/notebook/finished_run.py                 (or open it as a notebook: jupytext reads this format)
#
# `DUALFLUX_RUN` names another run folder.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.metrics.pairs import paired_std

run = Path(os.environ.get("DUALFLUX_RUN", "runs/demo"))
PETAGRAM = 1e15  # grams

# %% [markdown]
# ## The map
#
# `nee` is the flux of the landscape, per m2 of **land**, positive to the atmosphere, the mean of the ensemble's members.

# %%
product = xr.open_dataset(run / "products/dual/nee_monthly.nc", engine="h5netcdf")
print(product.nee.attrs["long_name"], f"[{product.nee.attrs['units']}]")
print("the study's target:", product.attrs["target"])

# %% [markdown]
# ## The table
#
# One row per product, member (empty: the mean of the members), region and month. Beside the variants stand the target
# and every inversion.

# %%
table = pd.read_csv(run / "tables/regional_monthly.csv", parse_dates=["time"])
means = table[table.member.isna()]
assert set(means.unit) == {"PgC month-1"}
print(means.groupby("product", sort=False).time.agg(["min", "max"]))

# %% [markdown]
# ## The table is the map
#
# A regional integral is the sum over cells of flux x land area x days of the month. Over all land that is:

# %%
days = product.time.dt.days_in_month
integral = ((product.nee * product.land_area).sum(["lat", "lon"]) * days / PETAGRAM).to_series()
tabulated = means[(means["product"] == "dual") & (means.region == "global")].set_index("time").value
largest = abs(integral - tabulated).max()
print(f"largest difference between map and table: {largest:.1e} PgC month-1")
assert largest < 1e-5 * abs(tabulated).max()

# %% [markdown]
# No error of a sum follows from the standard deviations of its cells, since the errors of neighbours are alike: take the members.

# %%
by_member = (product.nee_member * product.land_area).sum(["lat", "lon"]) * days / PETAGRAM
annual = by_member.groupby("time.year").sum("time").mean("year")
print(f"mean annual flux of the globe: {float(annual.mean()):.2f} +- {float(paired_std(annual.to_numpy())):.2f} PgC yr-1")
assert np.isclose(float(annual.mean()), integral.groupby(integral.index.year).sum().mean(), rtol=1e-4)

# %% [markdown]
# ## Three panels: the mean seasonal cycle
#
# Tower-only, the inversions' mean (the target) and the joint model; the band is the standard deviation over members. A
# synthetic world knows the truth too.

# %%
members = table[table.member.notna()]
extra = pd.read_csv(run / "tables/figure_regions.csv", parse_dates=["time"])
truth = extra[extra["product"] == "truth"]


def cycle(rows: pd.DataFrame) -> pd.Series:
    """Mean of each calendar month [PgC month-1]."""
    return rows.groupby(rows.time.dt.month).value.mean()


figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
for ax, region in zip(axes, ["BRA", "EU", "global"], strict=True):
    for name, colour in {"towers": "#D55E00", "target": "#1a1a1a", "dual": "#0072B2"}.items():
        mean = cycle(means[(means["product"] == name) & (means.region == region)])
        ax.plot(mean.index, mean, color=colour, label=name)
        own = members[(members["product"] == name) & (members.region == region)]
        if len(own):
            spread = paired_std(own.groupby("member").apply(cycle, include_groups=False).to_numpy())
            ax.fill_between(mean.index, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    if len(truth):
        mean = cycle(truth[truth.region == region])
        ax.plot(mean.index, mean, color="#E69F00", label="truth")
    ax.axhline(0, color="#777777", linewidth=0.8)
    ax.set_title(region)
    ax.set_xticks(range(1, 13), list("JFMAMJJASOND"))
axes[0].set_ylabel("net flux to the atmosphere [PgC month-1]")
axes[-1].legend(frameon=False)
figure.savefig("cycles.png", dpi=110)

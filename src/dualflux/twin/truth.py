"""The truth of the synthetic world, in files that no study reads."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.run_folder.hdf5_output import write_netcdf
from dualflux.twin.facts import monthly_integral, world_facts
from dualflux.twin.world import World, monthly_means

FACTS = "facts.json"


def write_truth(world: World, folder: Path) -> None:
    """Write `nee_monthly.nc`, `regional_monthly.csv`, `tower_flux.csv`, `sites.csv` and `facts.json`.

    `nee_monthly.nc` holds `nee` and `gpp` (time, lat, lon) [gC m-2 d-1, per m2 of land] and `land_area` [m2].
    `tower_flux.csv` holds, for all sites and all steps of the world's time step, `tower_flux` (true flux at the tower),
    `cell_flux` (true flux of its cell) [gC m-2 d-1] and the tower's meteorology; `sites.csv` says which sites are unseen;
    `facts.json` holds `world_facts`.
    """
    _write_fields(world, folder / "nee_monthly.nc")
    regional_truth(world).to_csv(folder / "regional_monthly.csv", index=False)
    tower_truth(world).to_csv(folder / "tower_flux.csv", index=False, float_format="%.5g")
    world.sites.table.to_csv(folder / "sites.csv", index=False)
    (folder / FACTS).write_text(json.dumps(world_facts(world), indent=1) + "\n", encoding="utf-8")


def _write_fields(world: World, path: Path) -> None:
    cells = world.geography.cells
    attributes = {"units": "gC m-2 d-1", "cell_methods": "area: mean where land time: mean"}
    fields = {"nee": (world.nee, "net ecosystem exchange, positive to the atmosphere"), "gpp": (world.gpp, "gross primary production")}
    data = xr.Dataset(
        {
            name: (("time", "lat", "lon"), cells.to_map(v.astype(np.float32)), {**attributes, "long_name": text})
            for name, (v, text) in fields.items()
        },
        {"time": world.months, "lat": cells.grid.lat, "lon": cells.grid.lon},
        {"Conventions": "CF-1.11", "title": "truth of a synthetic world"},
    )
    data["land_area"] = (
        ("lat", "lon"),
        cells.grid.cell_area * world.geography.land_fraction,
        {"units": "m2", "standard_name": "cell_area"},
    )
    data.lat.attrs |= {"units": "degrees_north", "standard_name": "latitude"}
    data.lon.attrs |= {"units": "degrees_east", "standard_name": "longitude"}
    encoding: dict[str, dict[str, object]] = {name: {"zlib": True, "complevel": 1} for name in fields}
    encoding["time"] = {"units": "days since 1900-01-01", "dtype": "int32"}
    write_netcdf(data, path, encoding)


def regional_truth(world: World) -> pd.DataFrame:
    """True NEE of each region and the globe: columns product, member, region, time, value, std, unit."""
    rows = []
    for region in (*world.geography.cells.region_names, "global"):
        rows.append(pd.DataFrame({"region": region, "time": world.months, "value": monthly_integral(world, world.nee, region)}))
    table = pd.concat(rows, ignore_index=True).assign(product="truth", member="", std="", unit="PgC month-1")
    return table[["product", "member", "region", "time", "value", "std", "unit"]]


def tower_truth(world: World) -> pd.DataFrame:
    """True fluxes at all sites, also unseen ones, at the world's time step, with the towers' meteorology."""
    weather = world.site_weather
    fields = {
        "tower_flux": world.site_nee, "cell_flux": world.site_cell_nee,
        "ta": weather.ta, "sw_in": weather.sw_in, "vpd": weather.vpd, "precip": weather.precip,
    }  # fmt: skip
    time = weather.time
    if world.settings.time_step == "monthly":
        fields = {name: monthly_means(field, time) for name, field in fields.items()}
        time = time[time.day == 1]
    use = time >= pd.Timestamp(world.settings.start)
    table = world.sites.table
    keys = {"site": np.repeat(table.site.to_numpy(), use.sum()), "unseen": np.repeat(table.unseen.to_numpy(), use.sum())}
    columns = {name: field[use].T.ravel() for name, field in fields.items()}
    return pd.DataFrame({**keys, "time": np.tile(time[use].strftime("%Y-%m-%d"), len(table)), **columns})

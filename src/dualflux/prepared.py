"""What `prepare` leaves and every later stage reads: checked arrays and tables."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.cube import Columns, Cube, SeriesStandard, Steps, no_series
from dualflux.grid import Grid, LandCells
from dualflux.run_folder.hdf5_output import write_netcdf
from dualflux.sources.adjustments import Target
from dualflux.vegetation import Vegetation


@dataclass(frozen=True)
class Prepared:
    """Everything training, upscaling and evaluation need; what `prepare` writes.

    Attributes
    ----------
    cells : LandCells
    land_area : array, (lat, lon)
        All land [m2], also land without flux.
    cube : Cube
    observations : DataFrame
        site, time, nee, uncertainty.
    sites : DataFrame
        Index site; lat, lon, igbp, cell, group, fold.
    rows : array float32, (observation, column)
        Predictors at the observations.
    target : Target or None
        None: the study has no inversions.
    references : DataArray or None, (product, region, time)
    library : array float32, (product, month, cell)
        Fields of the products in `inversion_term.library` [gC m-2 d-1], NaN in months that a product does not have.
    """

    cells: LandCells
    land_area: np.ndarray
    cube: Cube
    observations: pd.DataFrame
    sites: pd.DataFrame
    rows: np.ndarray
    target: Target | None
    references: xr.DataArray | None
    library: np.ndarray


def save(prepared: Prepared, folder: Path) -> None:
    """Write to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cube, cells, target = prepared.cube, prepared.cells, prepared.target
    for name in ("static", "seasonal", "dynamic", "series"):
        np.save(folder / f"{name}.npy", getattr(cube, name))
    np.save(folder / "rows.npy", prepared.rows)
    np.save(folder / "library.npy", prepared.library)
    np.savez(
        folder / "cells.npz", lat=cells.grid.lat, lon=cells.grid.lon, index=cells.index, land_area=cells.land_area,
        region_fraction=cells.region_fraction, land_area_map=prepared.land_area, centre=cube.centre, scale=cube.scale,
        series_cycle=cube.series_standard.cycle, series_scale=cube.series_standard.scale,
    )  # fmt: skip
    about = {
        "regions": cells.region_names,
        "columns": [cube.columns.static, cube.columns.seasonal, cube.columns.dynamic],
        "series": cube.series_standard.names,
        "steps": [str(cube.steps.time[0]), str(cube.steps.time[-1]), cube.steps.length.name],
        "vegetation": None if cube.vegetation is None else cube.vegetation.plain(),
        "target": None if target is None else [target.name, target.kind, target.integral.attrs],
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    prepared.observations.to_csv(folder / "observations.csv", index=False)
    prepared.sites.to_csv(folder / "sites.csv")
    for name in ("target.nc", "target_terms.csv"):
        (folder / name).unlink(missing_ok=True)
    if target is not None:
        save_target(target, folder)
    if prepared.references is not None:
        write_netcdf(prepared.references.rename("integral").to_dataset(), folder / "references.nc")
    elif (folder / "references.nc").exists():
        os.remove(folder / "references.nc")


def save_target(target: Target, folder: Path) -> None:
    """Write integrals, the adjustments' variance and the terms."""
    stored = xr.Dataset({"integral": target.integral, "variance": target.adjustment_variance})
    for variable in stored.variables.values():
        variable.attrs, variable.encoding = {}, {}
    write_netcdf(stored, folder / "target.nc")
    target.terms.to_csv(folder / "target_terms.csv", index=False)


def load_target(folder: Path, about: list[Any] | None) -> Target | None:
    """What `save_target` wrote; `about` is its name, kind and attributes."""
    if about is None:
        return None
    with xr.open_dataset(folder / "target.nc", engine="h5netcdf") as data:
        stored = data.load()
    name, kind, attrs = about
    return Target(name, kind, stored.integral.assign_attrs(attrs), stored.variance, pd.read_csv(folder / "target_terms.csv"))


def load(folder: Path) -> Prepared:
    """Read what `save` wrote; the dynamic predictors stay on disk until they are used."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    with np.load(folder / "cells.npz") as file:
        a = dict(file)
    cells = LandCells(Grid(a["lat"], a["lon"]), a["index"], a["land_area"], tuple(about["regions"]), a["region_fraction"])
    columns = Columns(*(tuple(names) for names in about["columns"]))
    parts = [np.load(folder / f"{name}.npy", mmap_mode="r" if name == "dynamic" else None) for name in ("static", "seasonal", "dynamic")]
    steps = Steps.create(*about["steps"])
    series = no_series(steps)  # folders of before predictors of time alone have none
    if "series" in about:
        standard = SeriesStandard(tuple(about["series"]), a["series_cycle"], a["series_scale"])
        series = np.load(folder / "series.npy"), standard
    scaled = about.get("vegetation")
    vegetation = None if scaled is None else Vegetation.of_plain(scaled)
    cube = Cube(parts[0], parts[1], parts[2], steps, columns, a["centre"], a["scale"], *series, vegetation)
    observations = read_table(folder / "observations.csv", parse_dates=["time"])
    sites = read_table(folder / "sites.csv").set_index("site")
    target = load_target(folder, about["target"])
    references = None
    if (folder / "references.nc").exists():
        with xr.open_dataset(folder / "references.nc", engine="h5netcdf") as data:
            references = data.integral.load()
    rows, library = np.load(folder / "rows.npy"), np.load(folder / "library.npy", mmap_mode="r")
    return Prepared(cells, a["land_area_map"], cube, observations, sites, rows, target, references, library)


def read_table(path: Path, parse_dates: list[str] | None = None) -> pd.DataFrame:
    """A table of ours: codes stay text, also ``NA`` and ``007``."""
    text = {"site": str, "igbp": str, "source": str}
    return pd.read_csv(path, dtype=text, parse_dates=parse_dates, keep_default_na=False, na_values=[""])

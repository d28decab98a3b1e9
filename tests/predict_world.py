"""A drawn world of 10 degrees, and the folder of a finished run on it, without any training."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
import yaml

from dualflux.cube import Cube, Steps
from dualflux.grid import Grid, LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis
from dualflux.prepared import Prepared
from dualflux.sources.land.read import land_cells
from dualflux.stages import prepare as preparation
from dualflux.study.settings import Study, load_study
from small_world import make_target

GRID = Grid.global_regular(10.0)
NETWORK = NetworkSettings(hidden=(8, 6), members=2, folds=2)
DROPPED, ICE = (7, 20), (2, 4)  # (row, column): one without a value of `wet`, one of ice


def is_land() -> np.ndarray:
    """Two continents, (lat, lon)."""
    land = np.zeros(GRID.shape, dtype=bool)
    land[5:13, 17:23] = land[12:16, 2:14] = land[2, 4:6] = True
    return land


def write_files(folder: Path, time_step: str, last: str = "2004-12-31") -> None:
    """Predictors and land, north first and from 0 to 360 degrees where a file may be."""
    rng = np.random.default_rng(0)
    time = pd.date_range("2000-01-01", last, freq="MS" if time_step == "monthly" else "D")
    season = np.cos(2 * np.pi * (time.day_of_year.to_numpy()[:, None, None] - 200) / 365.25) * np.sign(GRID.lat)[:, None]
    shape = (len(time), *GRID.shape)
    ta = 10 + 8 * season + rng.normal(size=shape)
    ta[:, 8, 18] = np.nan  # filled from the nearest
    wet = 0.3 + 0.1 * season + 0.05 * rng.normal(size=shape)
    wet[:, DROPPED[0], DROPPED[1]] = np.nan
    cover = rng.dirichlet([1.0, 1.0], GRID.shape).transpose(2, 0, 1)
    ice = np.zeros(GRID.shape)
    ice[ICE] = 1.0
    cover = np.concatenate([cover * (1 - ice), ice[None]])
    maps = ("lat", "lon")
    coords = {"lat": GRID.lat, "lon": GRID.lon, "time": time, "month": np.arange(1, 13), "class": ["ENF", "GRA", "SNO"]}
    fields: dict[str, tuple[tuple[str, ...], np.ndarray, str]] = {
        "ta": (("time", *maps), ta, "degC"),
        "wet": (("time", *maps), wet, "1"),
        "height": (maps, rng.uniform(0, 3000, GRID.shape), "m"),
        "soil": (("month", *maps), rng.uniform(0, 1, (12, *GRID.shape)), "1"),
        "cover": (("class", *maps), cover, "1"),
        "land_fraction": (maps, np.where(is_land(), rng.uniform(0.3, 1.0, GRID.shape), 0.0), "1"),
    }
    for name, (dims, values, units) in fields.items():
        kind = np.float64 if name == "land_fraction" else np.float32
        data = xr.DataArray(values.astype(kind), {d: coords[d] for d in dims}, dims, name, {"units": units})
        if name == "ta":
            data = data.isel(lat=slice(None, None, -1)).assign_coords(lon=data.lon % 360).sortby("lon")
        if name == "wet":
            data.to_dataset().to_zarr(folder / "wet.zarr", zarr_format=2)
        else:
            data.to_netcdf(folder / f"{name}.nc", engine="h5netcdf")


def study_text(time_step: str, first: str = "2001-01-01", last: str = "2003-12-31") -> dict[str, Any]:
    """Keys of the study file."""
    files = {"ta": ("ta.nc", "dynamic", "nearest"), "wet": ("wet.zarr", "dynamic", "drop"), "height": ("height.nc", "static", "error"),
             "soil": ("soil.nc", "climatology", "error"), "cover": ("cover.nc", "fractions", "error")}  # fmt: skip
    derived = ("potential_radiation", "mean_season(ta)", "anomaly(wet)", "lag(ta, 1)")
    return {
        "name": "drawn",
        "period": [first, last],
        "time_step": time_step,
        "grid": {"resolution": 10.0},
        "data_root": ".",
        "towers": [{"path": "towers.csv", "format": "table"}],
        "predictors": [
            *({"name": n, "path": p, "kind": k, "missing": m} for n, (p, k, m) in files.items()),
            *({"name": n, "derived": True} for n in derived),
        ],
        "land_fraction": {"path": "land_fraction.nc"},
        "no_flux": {"rule": "zero"},
        "regions": {"bands": {"north": [0, 90], "south": [-90, 0]}},
        "inversions": [{"path": "inversions.csv", "format": "table"}],
    }


def members(cube: Cube, basis: SpatialBasis, count: int, network: NetworkSettings = NETWORK) -> Ensemble:
    """Members with every parameter away from its start."""

    def one(key: jax.Array) -> FluxModel:
        model = FluxModel.create(key, len(cube.columns.names), cube.columns.invariant, {}, network)
        model = eqx.tree_at(lambda m: m.spatial, model, jnp.zeros((3, basis.size)))
        return jax.tree.map(lambda a: a + 0.2 * jax.random.normal(key, a.shape), model)

    return Ensemble(jax.vmap(one)(jax.random.split(jax.random.key(0), count)), np.arange(count) % 2, network, cube.columns.names, basis)


def finished_run(folder: Path, time_step: str, count: int = 3, **period: str) -> tuple[Study, Cube, LandCells]:
    """Files, study and the folder ``run`` with what `prepare` and `train` leave."""
    write_files(folder, time_step)
    (folder / "study.yaml").write_text(yaml.safe_dump(study_text(time_step, **period)), encoding="utf-8")
    study = load_study(folder / "study.yaml", out=folder / "run")
    s = study.settings
    land = land_cells(GRID, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    land, cube, _ = preparation.read_cube(study, land, Steps.create(str(s.period[0]), str(s.period[1]), s.time_step))
    nothing = pd.DataFrame({"site": [], "time": [], "nee": []})
    sites = pd.DataFrame({"cell": []}, index=pd.Index([], name="site"))
    rows = np.zeros((0, len(cube.columns.names)))
    preparation.save(
        Prepared(land.cells, land.land_area, cube, nothing, sites, rows, make_target(3), None, np.empty((0, 36, len(land.cells.index)))),
        study.out / "prepared",
    )
    basis = SpatialBasis.create(land.cells.lat(), land.cells.lon(), 2000.0)
    for variant, size in (("dual", count), ("towers", 1)):
        (study.out / "models" / variant).mkdir(parents=True)
        members(cube, basis, size).save(study.out / "models" / variant / "weights.npz")
    (study.out / "study.yaml").write_text(study.to_yaml(), encoding="utf-8")
    return study, cube, land.cells

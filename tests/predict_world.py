"""A drawn world of 10 degrees, and the folder of a finished run on it, without any training."""

from dataclasses import replace
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
from dualflux.features import Standard
from dualflux.grid import Grid, LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis
from dualflux.prediction.at_towers import PREDICTIONS, tower_predictions
from dualflux.prediction.tile_preparation import prepare_store
from dualflux.prediction.tile_store import PredictorStore
from dualflux.prediction.workers import Execution
from dualflux.prepared import Prepared
from dualflux.run_folder.run_folder import RunFolder, Stage
from dualflux.sources.land.read import land_cells
from dualflux.stages import prepare as preparation
from dualflux.stages.predict_elsewhere import sources_of
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
        "variants": ["towers", "dual"],
    }


def members(cube: Cube, basis: SpatialBasis, count: int, network: NetworkSettings = NETWORK) -> Ensemble:
    """Members with every parameter away from its start."""

    def one(key: jax.Array) -> FluxModel:
        model = FluxModel.create(key, len(cube.columns.names), cube.columns.invariant, {}, network)
        effects = jnp.zeros((HARMONICS, basis.size)), jnp.zeros((cube.series.shape[1], 3))
        model = eqx.tree_at(lambda m: (m.spatial, m.series), model, effects)
        return jax.tree.map(lambda a: a + 0.2 * jax.random.normal(key, a.shape), model)

    fold = np.arange(count) % 2 if count > 1 else np.array([-1])
    return Ensemble(jax.vmap(one)(jax.random.split(jax.random.key(0), count)), fold, network, cube.columns.names, basis)


def finished_run(folder: Path, time_step: str, count: int = 3, **period: str) -> tuple[Study, Cube, LandCells]:
    """Files, study and the folder ``run`` with what `prepare` and `train` leave."""
    write_files(folder, time_step)
    (folder / "study.yaml").write_text(yaml.safe_dump(study_text(time_step, **period)), encoding="utf-8")
    study = load_study(folder / "study.yaml", out=folder / "run")
    s = study.settings
    land = land_cells(GRID, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    land, cube, _ = preparation.read_cube(study, land, Steps.create(str(s.period[0]), str(s.period[1]), s.time_step))
    sites, observations, rows = towers(land.cells, cube)
    library = np.empty((0, len(cube.steps.months), len(land.cells.index)))
    target = make_target(3)
    prepared = Prepared(land.cells, land.land_area, cube, observations, sites, rows, target, None, library)
    finish_stages(study, prepared, {"dual": count, "towers": 1})
    return study, cube, land.cells


def towers(cells: LandCells, cube: Cube) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Eight sites of two folds, two of them in one cell, over the first year: sites, observations and their rows."""
    cell = np.r_[0, np.linspace(0, len(cells.index) - 1, 7).astype(int)]
    index = pd.Index([f"S{i}" for i in range(8)], name="site")
    sites = pd.DataFrame({
        "lat": cells.lat()[cell], "lon": cells.lon()[cell], "igbp": "GRA", "cell": cell, "group": [0, 0, 1, 2, 3, 4, 5, 6],
        "fold": [0, 0, 1, 0, 1, 0, 1, 0],
    }, index=index)  # fmt: skip
    step = np.tile(np.arange(12), 8)
    nee = np.random.default_rng(6).normal(size=len(step))
    table = pd.DataFrame({"site": np.repeat(index, 12), "time": cube.steps.time[step], "nee": nee, "uncertainty": 0.1})
    return sites, table, cube.rows(step, np.repeat(cell, 12))


def finish_stages(study: Study, prepared: Prepared, sizes: dict[str, int], broken: int | None = None) -> None:
    """The folders of `prepare` and `train` with their markers; each variant gets some members, of which the broken one knows no number."""
    cells = prepared.cells
    basis = SpatialBasis.create(cells.lat(), cells.lon(), 2000.0)
    ensembles = {variant: members(prepared.cube, basis, size) for variant, size in sizes.items()}

    if broken is not None:
        spoil = lambda e: replace(e, model=jax.tree.map(lambda a: a.at[broken].set(np.nan), e.model))  # noqa: E731
        ensembles = {variant: spoil(ensemble) for variant, ensemble in ensembles.items()}

    def train(out: Path) -> None:
        for variant, ensemble in ensembles.items():
            (out / "models" / variant).mkdir(parents=True, exist_ok=True)
            ensemble.save(out / "models" / variant / "weights.npz")
        tower_predictions(ensembles, prepared).to_csv(out / "models" / PREDICTIONS, index=False)

    with RunFolder(study.out, 0, say=lambda line: None) as run:
        run.stage(Stage("prepare", {}, (), (), ["prepared/*"]), lambda out: preparation.save(prepared, out / "prepared"))
        run.stage(Stage("train", {}, (), (), ["models/*", "models/*/*"], ["prepare"]), train)
    (study.out / "study.yaml").write_text(study.to_yaml(), encoding="utf-8")


def made_twice(folder: Path, text: dict[str, Any], months: slice = slice(None)) -> list[tuple[np.ndarray, np.ndarray]]:
    """Dynamic columns (step, cell, column) as training reads them, and as `predict` stores them, tile by tile; of some months alone."""
    (folder / "study.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    study = load_study(folder / "study.yaml", out=folder / "run")
    s = study.settings
    land = land_cells(GRID, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    steps = Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)
    _, cube, _ = preparation.read_cube(study, land, steps)
    standard = Standard(cube.columns, cube.centre, cube.scale, cube.steps, cube.series_standard)
    wanted = steps.months[months]
    span = wanted[0].date(), (wanted[-1] + pd.offsets.MonthEnd(1)).date()
    prepare_store(sources_of(study, None, span), standard, folder / "store", Execution(), lambda what: lambda done, of: None)
    store, found = PredictorStore(folder / "store"), []
    own, part = store.layout.steps, store.layout.shape.months
    month = np.repeat(np.arange(len(own.months)), own.month_steps)
    day = np.arange(len(own.time)) - np.repeat(own.month_start, own.month_steps)
    for band in store.layout.bands:
        for tile in band.tiles_range:
            cells = store.layout.cells_of(band, tile)
            stored = np.concatenate([store.read(tile, slice(at, at + part)) for at in range(0, len(own.months), part)])
            found.append((cube.dynamic[:, cells], stored[month, day, :, : cells.stop - cells.start].swapaxes(1, 2)))
    return found

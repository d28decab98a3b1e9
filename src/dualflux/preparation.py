"""From the files of a study to checked arrays: land, predictors, towers and the inversions' target."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.consistency import place_sites, site_classes, site_columns, with_site_meteorology
from dualflux.cube import Columns, Cube, Steps
from dualflux.errors import InputError, Problems
from dualflux.features import Standard, build_cube, default_memory, tower_rows
from dualflux.grid import Grid, LandCells
from dualflux.hdf5_output import write_netcdf
from dualflux.numerics import require_finite_predictors
from dualflux.sources.adjustments import Target, make_target, read_adjustments
from dualflux.sources.inversions import read_inversions
from dualflux.sources.land import Land, land_cells
from dualflux.sources.predictors import read_predictors
from dualflux.sources.products import TableReference, read_references, reference_maps
from dualflux.sources.towers import Towers, read_towers, site_table
from dualflux.study import Study, StudySettings


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
    target : Target
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
    target: Target
    references: xr.DataArray | None
    library: np.ndarray


def prepare(study: Study, folder: Path) -> None:
    """Read and check all sources and write them to `folder` as plain arrays and tables.

    Raises
    ------
    InputError
        Every problem found in any source.
    """
    s = study.settings
    grid = Grid.global_regular(s.grid.resolution)
    steps = Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)
    problems = Problems()
    land = towers = target = references = None
    with problems.collect():
        land = land_cells(grid, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    with problems.collect():
        towers = with_site_meteorology(s.predictors, read_towers(s.towers, study.root, s.fitted, s.time_step))
    if land is not None:
        with problems.collect():
            target = read_target(study, land, steps)
        if s.references:
            with problems.collect():
                references = read_references(s.references, study.root, grid, land.regions, land.land_fraction, steps.months)
    cube = None
    if land is not None:
        with problems.collect():
            land, cube, filled = read_cube(study, land, steps)
    problems.raise_if_any()
    if land is None or towers is None or target is None or cube is None:
        raise InputError("prepare: a source could not be read")
    library = read_library(study, land, steps)
    require_finite_predictors(cube, land.cells.lat(), land.cells.lon())
    sites = place_sites(s, land.cells, towers).drop(columns="distance")
    observations, rows, shift = _tower_predictors(s, cube, towers, sites)
    prepared = Prepared(land.cells, land.land_area, cube, observations, sites, rows, target, references, library)
    save(prepared, folder)
    save_tower_tables(towers, folder)
    shift.to_csv(folder / "site_minus_cell.csv", index=False)
    land.shares.to_csv(folder / "land_shares.csv")
    filled.to_csv(folder / "predictors_filled.csv", index=False)


def save_tower_tables(towers: Towers, folder: Path) -> None:
    """Write what became of each tower file; of flags and files that are not read only where there are any."""
    site_table(towers).to_csv(folder / "tower_sites.csv", index=False, date_format="%Y-%m-%d")
    towers.dropped.to_csv(folder / "towers_dropped.csv", index=False)
    for name, table in (("tower_flags", towers.flags), ("tower_skipped", towers.skipped)):
        (folder / f"{name}.csv").unlink(missing_ok=True)
        if len(table):
            table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d")


def tower_citations(folder: Path) -> list[str]:
    """What to cite for the towers in use, each once, from what `prepare` wrote."""
    sites = _read_table(folder / "tower_sites.csv")
    return sorted(set(sites.loc[sites["use"] == "kept", "citation"].dropna()))


def read_target(study: Study, land: Land, steps: Steps) -> Target:
    """The inversions made like with like."""
    s = study.settings
    place = (study.root, land.cells.grid, land.regions, land.land_fraction, steps.months)
    problems = Problems()
    inversions = adjustments = None
    with problems.collect():
        inversions = read_inversions(s.inversions, *place)
    with problems.collect():
        adjustments = read_adjustments(s.adjustments, *place)
    problems.raise_if_any()
    if inversions is None or adjustments is None:
        raise InputError("inversions: a source could not be read")
    return make_target(s.target, inversions, adjustments)


def read_library(study: Study, land: Land, steps: Steps) -> np.ndarray:
    """Fields of the products in `inversion_term.library` on the land cells, see `Prepared.library`.

    Raises
    ------
    InputError
        See `reference_maps`; land without a value in a product whose rule is `error`.
    """
    names, grid = study.settings.inversion_term.library, land.cells.grid
    fields = np.full((len(names), len(steps.months), len(land.cells.index)), np.nan, np.float32)
    for name, field in zip(names, fields, strict=True):
        source = next(r for r in study.settings.references if not isinstance(r, TableReference) and r.product == name)
        for month in reference_maps(source, study.root, grid, land.land_fraction, steps.months):
            flux = month.flux.ravel()[land.cells.index]
            if source.missing == "error" and (empty := int(np.isnan(flux).sum())):
                raise InputError(
                    f"{name}: {empty} land cells without a value in {month.time:%Y-%m}; a field of `inversion_term.library` covers all "
                    "land; say `missing: zero` if the product means no flux there, or take it out of the library"
                )
            field[steps.months.get_loc(month.time)] = np.nan_to_num(flux)
    return fields


def read_cube(study: Study, land: Land, steps: Steps) -> tuple[Land, Cube, pd.DataFrame]:
    """Standardised predictors of all land cells; cells that rule `drop` removed carry no flux."""
    s = study.settings
    found = read_predictors(s.predictors, study.root, land.cells.grid, land.cells, steps.time, s.time_step)
    valid = found.valid.to_numpy()
    if not valid.all():
        cells = land.cells
        keep = np.zeros(cells.grid.lat.size * cells.grid.lon.size, dtype=bool)
        keep[cells.index[valid]] = True
        kept = LandCells.build(cells.grid, land.land_fraction, land.regions, keep=keep.reshape(cells.grid.shape))
        land, found = Land(kept, land.regions, land.land_fraction, land.land_area, land.shares), found.isel(cell=np.flatnonzero(valid))
    shares = ("filled_share", "dropped_share")
    filled = pd.DataFrame(
        [{"predictor": n, **{k: v.attrs.get(k, 0.0) for k in shares}} for n, v in found.data_vars.items() if n != "valid"]
    )
    derived = [p.name for p in s.predictors if p.derived]
    memory = default_memory(found, {p.name: p.running_means for p in s.predictors if p.kind == "dynamic"}, steps)
    return land, build_cube(found, derived, land.cells.lat(), land.cells.land_area, steps, memory), filled


def _tower_predictors(
    settings: StudySettings, cube: Cube, towers: Towers, sites: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray, pd.DataFrame]:
    data = towers.observations
    step = cube.steps.time.get_indexer(pd.DatetimeIndex(data.time))
    own = {name: data[column].to_numpy(float) for name, column in site_columns(settings.predictors).items()}
    known = sites.loc[data.site]
    cover = site_classes(settings.predictors)
    found = tower_rows(cube, step, known.cell.to_numpy(), data.site.to_numpy(), known.igbp.to_numpy(), cover, own)
    return data[["site", "time", "nee", "uncertainty"]], found.predictors, found.shift


def save(prepared: Prepared, folder: Path) -> None:
    """Write to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    cube, cells = prepared.cube, prepared.cells
    for name in ("static", "seasonal", "dynamic"):
        np.save(folder / f"{name}.npy", getattr(cube, name))
    np.save(folder / "rows.npy", prepared.rows)
    np.save(folder / "library.npy", prepared.library)
    np.savez(
        folder / "cells.npz", lat=cells.grid.lat, lon=cells.grid.lon, index=cells.index, land_area=cells.land_area,
        region_fraction=cells.region_fraction, land_area_map=prepared.land_area, centre=cube.centre, scale=cube.scale,
    )  # fmt: skip
    about = {
        "regions": cells.region_names,
        "columns": [cube.columns.static, cube.columns.seasonal, cube.columns.dynamic],
        "steps": [str(cube.steps.time[0]), str(cube.steps.time[-1]), "daily" if (cube.steps.month_steps > 1).any() else "monthly"],
        "target": [prepared.target.name, prepared.target.kind, prepared.target.integral.attrs],
    }
    (folder / "about.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    prepared.observations.to_csv(folder / "observations.csv", index=False)
    prepared.sites.to_csv(folder / "sites.csv")
    stored = xr.Dataset({"integral": prepared.target.integral, "variance": prepared.target.adjustment_variance})
    for variable in stored.variables.values():
        variable.attrs, variable.encoding = {}, {}
    write_netcdf(stored, folder / "target.nc")
    prepared.target.terms.to_csv(folder / "target_terms.csv", index=False)
    if prepared.references is not None:
        write_netcdf(prepared.references.rename("integral").to_dataset(), folder / "references.nc")
    elif (folder / "references.nc").exists():
        os.remove(folder / "references.nc")


def load(folder: Path) -> Prepared:
    """Read what `save` wrote; the dynamic predictors stay on disk until they are used."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    with np.load(folder / "cells.npz") as file:
        a = dict(file)
    cells = LandCells(Grid(a["lat"], a["lon"]), a["index"], a["land_area"], tuple(about["regions"]), a["region_fraction"])
    columns = Columns(*(tuple(names) for names in about["columns"]))
    parts = [np.load(folder / f"{name}.npy", mmap_mode="r" if name == "dynamic" else None) for name in ("static", "seasonal", "dynamic")]
    cube = Cube(parts[0], parts[1], parts[2], Steps.create(*about["steps"]), columns, a["centre"], a["scale"])
    observations = _read_table(folder / "observations.csv", parse_dates=["time"])
    sites = _read_table(folder / "sites.csv").set_index("site")
    with xr.open_dataset(folder / "target.nc", engine="h5netcdf") as data:
        stored = data.load()
    name, kind, attrs = about["target"]
    target = Target(name, kind, stored.integral.assign_attrs(attrs), stored.variance, pd.read_csv(folder / "target_terms.csv"))
    references = None
    if (folder / "references.nc").exists():
        with xr.open_dataset(folder / "references.nc", engine="h5netcdf") as data:
            references = data.integral.load()
    rows, library = np.load(folder / "rows.npy"), np.load(folder / "library.npy", mmap_mode="r")
    return Prepared(cells, a["land_area_map"], cube, observations, sites, rows, target, references, library)


def load_standard(folder: Path) -> Standard:
    """What the networks of a run expect of their predictors, from what `save` wrote."""
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    with np.load(folder / "cells.npz") as file:
        centre, scale = file["centre"], file["scale"]
    return Standard(Columns(*(tuple(names) for names in about["columns"])), centre, scale, Steps.create(*about["steps"]))


def _read_table(path: Path, parse_dates: list[str] | None = None) -> pd.DataFrame:
    """A table of ours: codes stay text, also ``NA`` and ``007``."""
    text = {"site": str, "igbp": str, "source": str}
    return pd.read_csv(path, dtype=text, parse_dates=parse_dates, keep_default_na=False, na_values=[""])

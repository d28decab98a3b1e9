"""Readers of the gridded formats: each says where its files keep flux, unit, date and member names."""

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.sources.files.gridded import find_variable, member_names, open_gridded, read_values, time_axis
from dualflux.sources.files.monthly_fields import Dated, Flux, Weights, dated_by_name, dated_by_time, read_months
from dualflux.sources.files.region_weights import Place
from dualflux.sources.files.regional_table import say_months
from dualflux.sources.files.tables import find_files
from dualflux.sources.files.time_axis import TIME_NAMES
from dualflux.sources.inversions.contents import contents
from dualflux.sources.inversions.record import Record, choose, require_land_flux, say_files
from dualflux.sources.inversions.settings import (
    CamsInversions,
    CarbonTrackerInversions,
    CarboScopeInversions,
    GlobalCarbonBudgetInversions,
    GriddedInversions,
    Oco2MipInversions,
)

CARBONTRACKER = {"bio_flux_opt": "fire_flux_imp", "biosphere_flux_optimized": "fire_flux_imposed"}  # NOAA, Europe
_DATES_AT_END = re.compile(r"(?:[_.-]+(?:19|20)\d{2}(?:-?(?:0[1-9]|1[0-2]))?)+$")
_MIP_STEM = "_gridded_fluxes"


def read_global_carbon_budget(source: GlobalCarbonBudgetInversions, root: Path, place: Place) -> list[Record]:
    """One record per member; a rate per year, so that a month has its true share of it."""
    paths = find_files(source.path, root, source.suffix)
    require_land_flux(source.variable, say_files(paths))
    members: dict[Path, list[str]] = {}
    for path in paths:
        with open_gridded(path) as data:
            members[path] = _members(data, source.variable, path)
            area = "cell_area" if "cell_area" in data else None
    names = list(dict.fromkeys(name for found in members.values() for name in found))
    weights = Weights(Flux(source.variable, "area", source.units, "PgC m-2 yr-1", area, source.missing).as_stated(source), place)
    problems, records = Problems(), []
    for name in choose(names, source.products, say_files(paths)):
        with problems.collect():
            mine = [path for path in paths if name in members[path]]
            months = read_months(mine, weights, name, _member({path: members[path].index(name) for path in mine}))
            records.append(Record(name, say_files(mine), months, source.variable, contents(source)))
    problems.raise_if_any()
    return records


def _members(data: xr.Dataset, name: str, path: Path) -> list[str]:
    variable = find_variable(data, name, path)
    if "ensemble_member" not in variable.dims:
        raise InputError(
            f"{path}: `{name}` has dimensions {list(variable.dims)}; a Global Carbon Budget file has ensemble_member; use `format: gridded`"
        )
    return member_names(find_variable(data, "ensemble_member_name", path), path)


def _member(number: dict[Path, int]) -> Dated:
    def dated(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
        return dated_by_time(data, name, path).isel(ensemble_member=number[path])

    return dated


def read_cams(source: CamsInversions, root: Path, place: Place) -> list[Record]:
    """CAMS: kgC m-2 month-1 per m2 of the whole box, times the file's `area` (not times its land-sea fraction)."""
    choose([source.product], source.products, str(source.path))
    require_land_flux(source.variable, str(source.path))
    paths = find_files(source.path, root, source.suffix)
    flux = Flux(source.variable, "area", source.units, "kgC m-2 month-1", "area", source.missing).as_stated(source)
    months = read_months(paths, Weights(flux, place), source.product, dated_by_name)
    return [Record(source.product, say_files(paths), months, source.variable, contents(source))]


def read_carboscope(source: CarboScopeInversions, root: Path, place: Place) -> list[Record]:
    """CarboScope: PgC yr-1 per cell, daily or monthly, in the file's valid years."""
    paths = find_files(source.path, root, source.suffix)
    choose([source.product], source.products, say_files(paths))
    require_land_flux(source.variable, say_files(paths))
    flux = Flux(source.variable, "cell", source.units, "PgC yr-1", None, source.missing).as_stated(source)
    months = read_months(paths, Weights(flux, place), source.product, _valid_years(alone=len(paths) == 1), finer=True)
    return [Record(source.product, say_files(paths), months, source.variable, contents(source))]


def _valid_years(alone: bool) -> Dated:
    """The steps in the years a file declares valid; one of several files may have none."""

    def dated(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
        variable = dated_by_time(data, name, path)
        first, last = _bounds_of_valid({**data.attrs, **variable.attrs}, path)
        dimension, months = time_axis(variable, path)
        inside = np.flatnonzero((months.year >= first) & (months.year <= last))
        if alone and not inside.size:
            raise InputError(f"{path}: no time step in its valid years {first} to {last}; get the file again")
        return variable.isel({dimension: slice(int(inside.min()), int(inside.max()) + 1) if inside.size else slice(0, 0)})

    return dated


def _bounds_of_valid(attributes: Mapping[Hashable, Any], path: Path) -> tuple[int, int]:
    absent = [a for a in ("yrfi_valid", "yrfe_valid") if a not in attributes]
    if absent:
        raise InputError(f"{path}: no attribute {', '.join(absent)}; they bound a CarboScope file's valid years; use `format: gridded`")
    bounds = pd.to_numeric(pd.Series([np.atleast_1d(attributes[a])[0] for a in ("yrfi_valid", "yrfe_valid")]), errors="coerce")
    if bounds.isna().any():
        raise InputError(
            f"{path}: valid years {attributes['yrfi_valid']} to {attributes['yrfe_valid']}; needed: two years; get the file again"
        )
    return int(bounds.iloc[0]), int(bounds.iloc[1])


def read_carbontracker(source: CarbonTrackerInversions, root: Path, place: Place) -> list[Record]:
    """CarbonTracker: biosphere plus imposed fire, so that every product's flux means the same."""
    choose([source.product], source.products, str(source.path))
    paths = find_files(source.path, root, source.suffix)
    with open_gridded(paths[0]) as data:
        found = [(bio, fire) for bio, fire in CARBONTRACKER.items() if bio in data]
        if len(found) != 1:
            wanted = " or ".join(f"`{b}` and `{f}`" for b, f in CARBONTRACKER.items())
            raise InputError(f"{paths[0]}: not a CarbonTracker flux file; needed: {wanted}; it has {', '.join(map(str, data.data_vars))}")
    bio, fire = (
        read_months(
            paths,
            Weights(Flux(variable, "area", source.units, "mol m-2 s-1", None, source.missing).as_stated(source), place),
            source.product,
            dated_by_name,
        )
        for variable in found[0]
    )
    _check_same_months(bio, fire, source.product, paths, place)
    kept = fire if source.own_fire else None
    return [Record(source.product, say_files(paths), bio + fire, " + ".join(found[0]), contents(source), kept)]


def read_oco2_mip(source: Oco2MipInversions, root: Path, place: Place) -> list[Record]:
    """OCO-2 MIP: one product per model and experiment, its months from `start_date`."""
    files = _mip_products(find_files(source.path, root, source.suffix))
    if source.product is not None:
        if len(files) > 1:
            raise InputError(f"{source.path}: its files are {len(files)} products; remove `product`, or name the files of one")
        files = {source.product: next(iter(files.values()))}
    problems, records = Problems(), []
    for name in choose(list(files), source.products, str(source.path)):
        with problems.collect():
            if files[name][0].name.startswith("EnsStd"):
                raise InputError(f"{files[name][0]}: the standard deviation between the models is no flux; leave the file out")
            records.append(_read_mip_model(source, files[name], name, place))
    problems.raise_if_any()
    return records


def _mip_products(paths: list[Path]) -> dict[str, list[Path]]:
    """The files of each product: those whose names differ in years or months at the end are one."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_DATES_AT_END.sub("", path.stem), []).append(path)
    stems = {stem if len(files) > 1 else files[0].stem: files for stem, files in found.items()}
    return {stem.replace(_MIP_STEM, "").replace("_", " "): files for stem, files in stems.items()}


def _read_mip_model(source: Oco2MipInversions, paths: list[Path], name: str, place: Place) -> Record:
    usual, surface = ("gC m-2 yr-1", "land") if source.variable == "land" else ("gC m-2 d-1", "all")
    flux = Flux(source.variable, "area", source.units, usual, None, source.missing, surface).as_stated(source)  # type: ignore[arg-type]
    months = read_months(paths, Weights(flux, place), name, _started(source.first))
    return Record(name, say_files(paths), months, source.variable, contents(source))


def _started(first: str | None) -> Dated:
    def dated(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
        variable = find_variable(data, name, path)
        times = [d for d in variable.dims if str(d) in TIME_NAMES]
        if len(times) != 1:
            raise InputError(f"{path}: `{name}` has dimensions {list(variable.dims)}; needed: time, latitude, longitude")
        if times[0] in variable.coords and np.issubdtype(variable[times[0]].dtype, np.datetime64):
            return variable
        return variable.assign_coords({times[0]: _starts(data, variable.sizes[times[0]], first, path)})

    return dated


def _starts(data: xr.Dataset, steps: int, first: str | None, path: Path) -> pd.DatetimeIndex:
    if "start_date" not in data:
        if first is None:
            raise InputError(f"{path}: no `start_date` and no dates; state the file's first month, for example `first: 2015-01`")
        return pd.date_range(first, periods=steps, freq="MS")
    parts = read_values(data["start_date"], f"{path}: `start_date`")
    if parts.ndim != 2 or parts.shape[0] != steps or parts.shape[1] < 3:
        raise InputError(f"{path}: `start_date` has shape {parts.shape}; needed: year, month, day of each of the {steps} steps")
    dates = pd.DataFrame(parts[:, :3], columns=["year", "month", "day"])
    found = pd.to_datetime(dates, errors="coerce")
    if found.isna().any():
        wrong = int(found.isna().to_numpy().argmax())
        date = ", ".join(f"{part:g}" for part in parts[wrong, :3])
        raise InputError(f"{path}: `start_date` [{date}] of step {wrong + 1} is no date; get the file again")
    return pd.DatetimeIndex(found.astype("datetime64[ns]"))


def read_gridded(source: GriddedInversions, root: Path, place: Place) -> list[Record]:
    """Any gridded flux whose variable, unit, area and sign the study states."""
    choose([source.product], source.products, str(source.path))
    require_land_flux(source.variable, str(source.path))
    paths = find_files(source.path, root, source.suffix)
    sign = -1 if source.sign == "to_land" else 1
    flux = Flux(source.variable, source.per, source.units, None, source.area, source.missing).as_stated(source)
    months = sign * read_months(paths, Weights(flux, place), source.product)
    fire = None
    if source.fire_variable is not None:
        own = Flux(source.fire_variable, source.per, source.units, None, source.area, source.missing).as_stated(source)
        fire = sign * read_months(paths, Weights(own, place), f"{source.product} fire")
        _check_same_months(months, fire, source.product, paths, place)
        months = months + fire if source.includes_fire is False else months
    return [Record(source.product, say_files(paths), months, source.variable, contents(source), fire)]


def _check_same_months(flux: np.ndarray, fire: np.ndarray, name: str, paths: list[Path], place: Place) -> None:
    differ = (np.isfinite(flux) != np.isfinite(fire)).any(axis=1)
    if differ.any():
        raise InputError(
            f"{say_files(paths)}: {name}: flux and own fire cover different months: {say_months(place.times[differ])}; complete them"
        )

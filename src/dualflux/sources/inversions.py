"""Atmospheric inversions: regional tables and gridded files as monthly regional integrals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, Regions
from dualflux.sources import gridded
from dualflux.sources.region_weights import regional_weights
from dualflux.sources.regional_table import (
    check_regions,
    convert_by_unit,
    load_table,
    no_overlap,
    parse_months,
    pivot_once,
    say_months,
    with_global,
)
from dualflux.units import FLUX_UNITS, INTEGRAL_UNITS, integral_to_monthly

UNIT = "PgC month-1"
WITHOUT_FIRE = ("bio_flux_opt", "biosphere_flux_optimized")  # CarbonTracker, CTE: fire has a variable of its own
_GCB_UNIT = "PgC m-2 yr-1"


class _Source(BaseModel):
    """What every inversion file has.

    Attributes
    ----------
    path : str
        Relative to the data root.
    products : list of str, optional
        Keep these only; by default all.
    includes_fire : bool, optional
        Whether the flux contains fire emissions; by default it does, except for the variables of
        `WITHOUT_FIRE`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    products: Annotated[list[str], Field(min_length=1)] | None = None
    includes_fire: bool | None = None


class TableInversions(_Source):
    """A regional table: CSV with the columns product, region, time, value, unit; positive to the atmosphere."""

    format: Literal["table"]


class GlobalCarbonBudgetInversions(_Source):
    """The gridded inversions of a Global Carbon Budget release; positive to the atmosphere.

    Attributes
    ----------
    variable : str
        `land_flux_fossil_cement_and_river_adjusted` (2022) is a stock change: refused for other targets.
    units : str, optional
        Overrides the file's attribute; PgC m-2 yr-1 where the file says nothing.
    missing : {"error", "zero"}
        What a land cell without a value means while the member has others.
    """

    format: Literal["gcb"]
    variable: str = "land_flux_only_fossil_cement_adjusted"
    units: str | None = None
    missing: Literal["error", "zero"] = "error"


class GriddedInversions(_Source):
    """One product as a gridded flux (time, lat, lon).

    Attributes
    ----------
    per : {"area", "cell"}
        Flux per m2 of the whole grid cell, or already the integral over the cell.
    sign : {"to_atmosphere", "to_land"}
        What a positive value means.
    area : str, optional
        The file's variable of cell areas [m2]; exact areas on the sphere by default.
    """

    format: Literal["gridded"]
    product: str
    variable: str
    per: Literal["area", "cell"]
    sign: Literal["to_atmosphere", "to_land"]
    units: str | None = None
    area: str | None = None
    missing: Literal["error", "zero"] = "error"


InversionSource = Annotated[TableInversions | GlobalCarbonBudgetInversions | GriddedInversions, Field(discriminator="format")]


@dataclass(frozen=True, eq=False)
class Inversions:
    """Monthly regional integrals of the inversions.

    Attributes
    ----------
    integral : DataArray, (product, region, time)
        PgC month-1, positive to the atmosphere; regions are the parts and `global`; NaN where a product
        has no data. `global` is a gridded product's own sum, the sum of the parts for a table.
    notes : DataFrame
        product, source, first, last (months used), mean_annual_global [PgC yr-1], contents,
        includes_fire, river_adjusted, outside_regions (global minus parts, mean annual) [PgC yr-1].
    """

    integral: xr.DataArray
    notes: pd.DataFrame


@dataclass(frozen=True)
class _Study:
    """What the readers need to know of the study."""

    root: Path
    grid: Grid
    regions: Regions
    land_fraction: np.ndarray
    times: pd.DatetimeIndex


@dataclass(frozen=True, eq=False)
class _Record:
    """One product's months, (study month, parts + global) [PgC month-1], and what it is."""

    product: str
    source: str
    months: np.ndarray
    contents: str
    includes_fire: bool
    river_adjusted: bool


def includes_fire(source: InversionSource) -> bool:
    """Whether a source's flux contains fire emissions: as stated, or as its variable is known to be."""
    if source.includes_fire is not None:
        return source.includes_fire
    return not isinstance(source, GriddedInversions) or source.variable not in WITHOUT_FIRE


def river_adjusted(source: InversionSource) -> bool:
    """Whether a source's flux has the river flux on land removed: a stock change, no flux to the atmosphere."""
    return not isinstance(source, TableInversions) and "river" in source.variable


def read_inversions(
    sources: Sequence[InversionSource], root: Path, grid: Grid, regions: Regions, land_fraction: np.ndarray, times_monthly: pd.DatetimeIndex
) -> Inversions:
    """Read all inversions as monthly regional integrals.

    Parameters
    ----------
    sources : sequence of InversionSource
    root : Path
        The folder that paths are relative to.
    grid : Grid
        The study's grid.
    regions : Regions
        On `grid`.
    land_fraction : array, (lat, lon)
        On `grid`; divides the flux of cells shared by several regions (`region_weights.region_shares`).
    times_monthly : DatetimeIndex
        First days of the study's months.

    Raises
    ------
    InputError
        Every problem of every source: missing file, column or variable, unknown unit, regions that
        table and mask do not share, duplicated months, gaps inside a record, products without any month
        of the study, product names that occur twice.
    """
    study = _Study(root, grid, regions, np.asarray(land_fraction, dtype=float), pd.DatetimeIndex(times_monthly))
    records: list[_Record] = []
    problems = Problems()
    if not sources:
        problems.add("inversions: none given; list at least one file")
    for source in sources:
        with problems.collect():
            records += _read(source, study)
    names = [r.product for r in records]
    for name in sorted({n for n in names if names.count(n) > 1}):
        where = ", ".join(r.source for r in records if r.product == name)
        problems.add(f"inversions: product {name} comes from {where}; keep it in one of them with `products`")
    for record in records:
        with problems.collect():
            _check_record(record, study.times)
    problems.raise_if_any()
    return _assemble(records, study)


def _read(source: InversionSource, study: _Study) -> list[_Record]:
    path = study.root / source.path
    if isinstance(source, TableInversions):
        return _read_table(source, path, study)
    if isinstance(source, GlobalCarbonBudgetInversions):
        return _read_global_carbon_budget(source, path, study)
    return _read_gridded(source, path, study)


def _read_table(source: TableInversions, path: Path, study: _Study) -> list[_Record]:
    table = load_table(path, ["product", "region", "time", "value", "unit"])
    keep = _choose(list(dict.fromkeys(table["product"])), source.products, path)
    table = table[table["product"].isin(keep)]
    check_regions(table, study.regions.names, path)
    table = table.assign(time=parse_months(table["time"], path))
    table = convert_by_unit(table, lambda value, unit, time: integral_to_monthly(value, unit, time, f"{path.name}: column unit"))
    problems, records = Problems(), []
    for name in keep:
        with problems.collect():
            parts = _parts_of(table[table["product"] == name], name, path, study)
            records.append(_Record(name, path.name, with_global(parts), "regional table", includes_fire(source), False))
    problems.raise_if_any()
    return records


def _parts_of(rows: pd.DataFrame, name: str, path: Path, study: _Study) -> np.ndarray:
    pivot = pivot_once(rows, "time", study.regions.names, path)
    absent = [str(r) for r in pivot.columns if pivot[r].isna().all()]
    if absent:
        raise InputError(
            f"{path}: {name} has no value for region {', '.join(absent)}; add its rows or leave the product out with `products`"
        )
    inside = pivot.reindex(study.times)
    if inside.notna().to_numpy().any():
        return inside.to_numpy()
    raise InputError(no_overlap(f"{path}: {name}", pd.DatetimeIndex(pivot.index), study.times))


def _choose(found: list[str], wanted: list[str] | None, path: Path) -> list[str]:
    absent = [p for p in wanted or [] if p not in found]
    if absent:
        raise InputError(f"{path}: no product {', '.join(absent)}; it has {', '.join(found)}; correct `products`")
    return found if wanted is None else [p for p in found if p in wanted]


def _read_global_carbon_budget(source: GlobalCarbonBudgetInversions, path: Path, study: _Study) -> list[_Record]:
    with gridded.open_gridded(path) as data:
        variable = gridded.find_variable(data, source.variable, path)
        if "ensemble_member" not in variable.dims:
            raise InputError(
                f"{path}: `{source.variable}` has dimensions {list(variable.dims)}; "
                "a Global Carbon Budget file has ensemble_member; use `format: gridded`"
            )
        names = gridded.member_names(gridded.find_variable(data, "ensemble_member_name", path), path)
        keep = _choose(names, source.products, path)
        stated = source.units if source.units or "units" in variable.attrs else _GCB_UNIT
        units = gridded.stated_units(variable, stated, FLUX_UNITS, f"{path.name}: `{source.variable}`")
        one = variable.isel(ensemble_member=0)
        weights = regional_weights(one, study.grid, study.regions, study.land_fraction, path, "area", data.get("cell_area"))
        problems, records = Problems(), []
        for name in keep:
            with problems.collect():
                member = variable.isel(ensemble_member=names.index(name))
                values = gridded.study_integrals(member, weights, units, "area", source.missing, f"{path}: {name}", study.times)
                records.append(_Record(name, path.name, values, source.variable, includes_fire(source), river_adjusted(source)))
        problems.raise_if_any()
    return records


def _read_gridded(source: GriddedInversions, path: Path, study: _Study) -> list[_Record]:
    _choose([source.product], source.products, path)
    with gridded.open_gridded(path) as data:
        variable = gridded.find_variable(data, source.variable, path)
        allowed = FLUX_UNITS if source.per == "area" else INTEGRAL_UNITS
        units = gridded.stated_units(variable, source.units, allowed, f"{path}: `{source.variable}` per {source.per}")
        area = None if source.area is None else gridded.find_variable(data, source.area, path)
        weights = regional_weights(variable, study.grid, study.regions, study.land_fraction, path, source.per, area)
        values = gridded.study_integrals(variable, weights, units, source.per, source.missing, f"{path}: {source.product}", study.times)
    values = -values if source.sign == "to_land" else values
    return [_Record(source.product, path.name, values, source.variable, includes_fire(source), river_adjusted(source))]


def _check_record(record: _Record, times: pd.DatetimeIndex) -> None:
    """A record begins once and ends once, for all regions alike."""
    valid = np.isfinite(record.months)
    present = np.flatnonzero(valid.any(axis=1))
    inside = slice(present[0], present[-1] + 1)
    gaps = times[inside][~valid[inside].all(axis=1)]
    if len(gaps):
        raise InputError(
            f"{record.source}: {record.product} has gaps inside its record: {say_months(gaps)}; fill them or leave it out with `products`"
        )


def _assemble(records: list[_Record], study: _Study) -> Inversions:
    names = [*study.regions.names, "global"]
    integral = xr.DataArray(
        np.stack([r.months.T for r in records]),
        dims=("product", "region", "time"),
        coords={"product": [r.product for r in records], "region": names, "time": study.times},
        attrs={"units": UNIT, "long_name": "net land flux to the atmosphere, integrated over the region and month"},
    )
    return Inversions(integral, pd.DataFrame([_note(r, study.times) for r in records]))


def _note(record: _Record, times: pd.DatetimeIndex) -> dict[str, object]:
    used = np.isfinite(record.months[:, -1])
    annual = 12 * record.months[used].mean(axis=0)
    fire = "fire included" if record.includes_fire else "without fire"
    return {
        "product": record.product,
        "source": record.source,
        "first": times[used][0],
        "last": times[used][-1],
        "mean_annual_global": annual[-1],
        "contents": f"{record.contents}, {fire}{', river flux removed' if record.river_adjusted else ''}",
        "includes_fire": record.includes_fire,
        "river_adjusted": record.river_adjusted,
        "outside_regions": annual[-1] - annual[:-1].sum(),
    }

"""Flux products to compare with: gridded files and regional tables as monthly regional integrals and maps."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, Overlap, Regions, grid_of, normalise_coordinates, regrid
from dualflux.sources.gridded import LARGEST_VALUE, find_variable, open_gridded, stated_units, time_axis
from dualflux.sources.regional_table import convert_by_unit, load_table, parse_months, pivot_once
from dualflux.sources.tables import MISSING, find_file, find_files
from dualflux.units import FLUX_UNITS, PETAGRAM, flux_to_daily, integral_to_monthly

RESERVED = ("towers", "inversions", "plain", "dual", "target")


class GriddedReference(BaseModel):
    """A product as gridded monthly NEE, positive to the atmosphere.

    Attributes
    ----------
    path : str or list of str
        Files, globs, folders (every .nc file) or Zarr stores (*.zarr).
    units : str, optional
        Of `FLUX_UNITS`, per m2 of land; by default the file's attribute.
    land_fraction : str, optional
        The file's variable (0-1) of the part of a cell that is land, which the product's own integral is made with;
        by default the study's land fraction.
    missing : {"error", "zero"}
        What land without a value means.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["gridded"]
    product: str
    path: str | list[str]
    variable: str
    units: str | None = None
    land_fraction: str | None = None
    missing: Literal["error", "zero"] = "error"


class TableReference(BaseModel):
    """Regional monthly integrals: CSV with region, time, value and, unless stated here, product and unit.

    Regions are those of the study or `global`; without `global` rows it is the sum of all parts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["table"]
    path: str
    product: str | None = None
    units: str | None = None


ReferenceSource = Annotated[GriddedReference | TableReference, Field(discriminator="format")]


@dataclass(frozen=True, eq=False)
class ReferenceMonth:
    """One month of a gridded product on the study's grid, each array (lat, lon).

    Attributes
    ----------
    time : Timestamp
        First day of the month.
    flux : NEE per area of land [gC m-2 d-1], NaN where the product has none.
    density : NEE per area of the whole cell [gC m-2 d-1]; times cell area it sums to the product's integral.
    land, missing : part of the cell that is land to the product, and that is land without a value.
    """

    time: pd.Timestamp
    flux: np.ndarray
    density: np.ndarray
    land: np.ndarray
    missing: np.ndarray


def read_references(
    sources: Sequence[GriddedReference | TableReference],
    root: Path,
    grid: Grid,
    regions: Regions,
    land_fraction: np.ndarray,
    times: pd.DatetimeIndex,
) -> xr.DataArray:
    """Monthly regional integrals of all reference products.

    Parameters
    ----------
    sources : sequence of GriddedReference or TableReference
    root : Path
        Folder that relative paths start from.
    land_fraction : array, (lat, lon)
        The study's.
    times : DatetimeIndex, (time,)
        First days of the months wanted.

    Returns
    -------
    DataArray, (product, region, time)
        PgC month-1, positive to the atmosphere; regions are the parts and `global`; NaN where a product has no data. The coordinate
        `missing_share` (product, region) is the largest share of land without a value in any month, counted as no flux.

    Raises
    ------
    InputError
        Missing files, variables or columns, unknown units or regions, land without a value under rule `error`, no month in
        common with the study, a product named twice or like one of ours; all at once.
    """
    problems = Problems()
    found: list[tuple[str, np.ndarray, np.ndarray]] = []
    for source in sources:
        with problems.collect():
            if isinstance(source, TableReference):
                found.extend(_table_products(source, root, regions.names, times))
            else:
                found.append((source.product, *_integrals(source, root, grid, regions, land_fraction, times)))
    names = [name for name, _, _ in found]
    for name in sorted({n for n in names if names.count(n) > 1 or n in RESERVED}):
        problems.add(f"references: product `{name}` stands twice or is a name of ours ({', '.join(RESERVED)}); give another `product`")
    problems.raise_if_any()
    shape = (len(found), len(regions.names) + 1)
    values = np.array([v for _, v, _ in found]).reshape(*shape, len(times))
    shares = np.array([s for _, _, s in found]).reshape(shape)
    coords = {"product": np.array(names, dtype=object), "region": [*regions.names, "global"], "time": times}
    result = xr.DataArray(values, coords=coords, dims=("product", "region", "time"), name="integral", attrs={"units": "PgC month-1"})
    return result.assign_coords(missing_share=(("product", "region"), shares))


def _integrals(
    source: GriddedReference, root: Path, grid: Grid, regions: Regions, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> tuple[np.ndarray, np.ndarray]:
    """(region, time) [PgC month-1] and the largest share of missing land, (region,)."""
    parts = np.concatenate([regions.fraction, np.ones((1, *grid.shape))]) * grid.cell_area
    names = [*regions.names, "global"]
    integral, worst = np.full((len(names), len(times)), np.nan), np.zeros(len(names))
    position = {time: i for i, time in enumerate(times)}
    for month in reference_maps(source, root, grid, land_fraction, times):
        land, missing, flux = (np.tensordot(parts, field, axes=2) for field in (month.land, month.missing, month.density))
        share = np.divide(missing, land, out=np.zeros_like(missing), where=land > 0)
        if source.missing == "error" and (share > 1e-9).any():
            said = ", ".join(f"{name} {100 * s:.3g} %" for name, s in zip(names, share, strict=True) if s > 1e-9)
            raise InputError(
                f"{source.product}: land without a value in {month.time:%Y-%m}: {said} of the area; a partial sum is no regional flux; "
                "say `missing: zero` if the product means no flux there, or give a complete file"
            )
        worst = np.maximum(worst, share)
        integral[:, position[month.time]] = flux * month.time.days_in_month / PETAGRAM
    return integral, worst


def reference_maps(
    source: GriddedReference, root: Path, grid: Grid, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> Iterator[ReferenceMonth]:
    """The product's months that are in `times`, conservatively regridded, one at a time in memory.

    Parameters
    ----------
    land_fraction : array, (lat, lon)
        The study's, used where the product brings none.

    Raises
    ------
    InputError
        See `read_references`; land without a value is no error here, it stands in `missing`.
    """
    wanted, seen = set(times), dict[pd.Timestamp, str]()
    files = find_files(source.path, root, ".nc")
    for path in files:
        with open_gridded(path) as data:
            variable = find_variable(data, source.variable, path)
            what = f"{path.name}: `{source.variable}`"
            units = stated_units(variable, source.units, FLUX_UNITS, what)
            name, months = time_axis(variable, path)
            for month in months:
                if month in seen:
                    raise InputError(f"{what}: {month:%Y-%m} stands more than once (also in {seen[month]}); give one mean value per month")
                seen[month] = path.name
            regridder = _Regridder.of(variable.isel({name: 0}), data, source.land_fraction, grid, land_fraction, path)
            for step, month in enumerate(months):
                if month in wanted:
                    yield regridder.month(variable.isel({name: step}), month, units)
    if not wanted & set(seen):
        raise InputError(
            f"{source.product}: its {len(seen)} months in {len(files)} files"
            + (f" ({min(seen):%Y-%m} to {max(seen):%Y-%m})" if seen else "")
            + f" have none in common with the study ({times[0]:%Y-%m} to {times[-1]:%Y-%m}); give files of those years"
        )


@dataclass(frozen=True, eq=False)
class _Regridder:
    """What the months of one file share."""

    what: str
    source: Grid
    target: Grid
    overlap: Overlap
    own_land: np.ndarray | None
    land: np.ndarray

    @classmethod
    def of(
        cls, field: xr.DataArray, data: xr.Dataset, land_name: str | None, target: Grid, study_land: np.ndarray, path: Path
    ) -> "_Regridder":
        what = f"{path.name}: `{field.name}`"
        if field.ndim != 2:
            raise InputError(
                f"{what}: dimensions {list(field.dims)} besides time; allowed: latitude and longitude; choose one level or member first"
            )
        source = grid_of(normalise_coordinates(field, what), what)
        overlap = Overlap.between(source, target)
        if land_name is None:
            return cls(what, source, target, overlap, None, np.asarray(study_land, dtype=float))
        own = _own_land(find_variable(data, land_name, path), source, path)
        return cls(what, source, target, overlap, own, regrid(np.ones(source.shape), source, target, own, overlap)[1])

    def month(self, field: xr.DataArray, time: pd.Timestamp, units: str) -> ReferenceMonth:
        """Convert and regrid one field."""
        values = normalise_coordinates(field, self.what).to_numpy().astype(np.float64)
        values[(values == MISSING) | (np.abs(np.nan_to_num(values)) > LARGEST_VALUE)] = np.nan
        daily = flux_to_daily(values[None], units, np.array([time], dtype="datetime64[ns]"), self.what)[0]
        flux, valid = regrid(daily, self.source, self.target, self.own_land, self.overlap)
        if self.own_land is None:
            valid = np.where(np.isnan(flux), 0.0, self.land)
        return ReferenceMonth(time, flux, np.nan_to_num(flux) * valid, self.land, np.clip(self.land - valid, 0, None))


def _own_land(variable: xr.DataArray, source: Grid, path: Path) -> np.ndarray:
    what = f"{path.name}: `{variable.name}`"
    field = normalise_coordinates(variable.squeeze(drop=True), what)
    if field.ndim != 2 or not grid_of(field, what).same_as(source):
        raise InputError(
            f"{what}: dimensions {dict(variable.sizes)}; a land fraction has the latitudes and longitudes of the flux and no time"
        )
    values = np.nan_to_num(field.to_numpy().astype(float))
    if values.min() < 0 or values.max() > 1 + 1e-6:
        raise InputError(
            f"{what}: from {values.min():.4g} to {values.max():.4g}; a land fraction lies between 0 and 1; convert percent first"
        )
    return values


def _table_products(
    source: TableReference, root: Path, regions: tuple[str, ...], times: pd.DatetimeIndex
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    path = find_file(source.path, root)
    stated = {"product": source.product, "unit": source.units}
    table = load_table(path, ["region", "time", "value", *(name for name, value in stated.items() if value is None)])
    if source.units is not None and "unit" in table and (table["unit"] != source.units).any():
        raise InputError(
            f"{path.name}: the file says unit `{table['unit'].iloc[0]}`, the study `{source.units}`; correct or remove `units`"
        )
    table = table.assign(**{name: value for name, value in stated.items() if value is not None})
    unknown = sorted(set(table["region"]) - {*regions, "global"})
    if unknown:
        raise InputError(
            f"{path.name}: regions {', '.join(unknown)} are not in the mask; allowed: {', '.join(regions)}, global; rename them"
        )
    table = table.assign(time=parse_months(table["time"], path))
    table = convert_by_unit(table, lambda values, unit, months: integral_to_monthly(values, unit, months, path.name))
    return [
        (str(name), _one_product(rows, str(name), regions, times, path), np.zeros(len(regions) + 1))
        for name, rows in table.groupby("product", sort=False)
    ]


def _one_product(table: pd.DataFrame, name: str, regions: tuple[str, ...], times: pd.DatetimeIndex, path: Path) -> np.ndarray:
    wide = pivot_once(table, "time", [*regions, "global"], path)
    if "global" not in set(table["region"]):
        wide["global"] = wide[list(regions)].sum(axis=1, skipna=False)
    if not wide.index.isin(times).any():
        raise InputError(
            f"{path.name}: {name} ({wide.index[0]:%Y-%m} to {wide.index[-1]:%Y-%m}) has no month in common with the study "
            f"({times[0]:%Y-%m} to {times[-1]:%Y-%m}); give rows of those years"
        )
    return wide.reindex(times).to_numpy().T

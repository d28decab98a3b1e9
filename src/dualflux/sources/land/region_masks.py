"""Regions from masks, polygons, latitude bands or the packaged regions."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES, Grid, Overlap, Regions, grid_of, normalise_coordinates, regrid
from dualflux.sources.files.chunks import UNWRITTEN, require_written
from dualflux.sources.files.declared import declare
from dualflux.sources.files.gridded import find_variable, open_gridded, read_texts, read_values, without_single
from dualflux.sources.files.plausible import FillValues, Implausible, fill_values
from dualflux.sources.files.shares import plausible_share, require_percent, share_units
from dualflux.sources.land.region_polygons import read_polygons
from dualflux.units import convert_units

TRANSCOM = {  # numbers of the TransCom-3 land regions in CarbonTracker's regions.nc; 12 and above are sea and ice
    "North_American_Boreal": 1, "North_American_Temperate": 2, "South_American_Tropical": 3, "South_American_Temperate": 4,
    "Northern_Africa": 5, "Southern_Africa": 6, "Eurasia_Boreal": 7, "Eurasia_Temperate": 8, "Tropical_Asia": 9, "Australia": 10,
    "Europe": 11,
}  # fmt: skip


class MaskSettings(BaseModel):
    """Regions from a mask: whole numbers, or fractions (region, lat, lon)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="NetCDF file or Zarr store, relative to the data root")
    variable: str
    units: str | None = Field(
        None, description="unit of a mask of fractions (1 or %), where its attribute is wrong, cannot be read or absent"
    )
    fill_value: FillValues | None = None
    implausible: Implausible = "error"
    names: dict[str, int | list[int]] | None = Field(
        None,
        min_length=1,
        description="region: its number, or several, in a mask of whole numbers; default: the mask's flag_values and flag_meanings, "
        "or the TransCom-3 land regions for `transcom_regions`",
    )


class PolygonSettings(BaseModel):
    """Regions from polygons in degrees of longitude and latitude: GeoJSON, shapefile or GeoPackage; needs ``dualflux[regions]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="vector file, relative to the data root")
    property: str = Field(description="property (column) of the features with the region's name; features of one name are one region")


class BandSettings(BaseModel):
    """Regions between latitudes: ``{bands: {north: [30, 90], ...}}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: dict[str, tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-90, le=90)]]] = Field(min_length=1)


RegionSettings = MaskSettings | PolygonSettings | BandSettings | Literal["gcp18"]


def read_regions(settings: RegionSettings, root: Path, grid: Grid) -> Regions:
    """Regions on the study's grid as the mask has them: fractions of the cell, or of its land.

    Raises
    ------
    InputError
        File or variable missing, no region names, numbers the mask lacks, or regions that overlap.
    """
    if isinstance(settings, BandSettings):
        return _bands(settings, grid)
    if isinstance(settings, PolygonSettings):
        return without_overlap(*read_polygons(root / settings.path, settings.property, grid), grid, settings.path)
    if isinstance(settings, MaskSettings):
        return _mask(root / settings.path, settings, grid, f"{settings.path}: `{settings.variable}`")
    with as_file(files("dualflux") / "data" / "gcp18.nc") as path:
        return _mask(path, MaskSettings(path=str(path), variable="region_fraction"), grid, "packaged mask gcp18")


def without_overlap(names: list[str], fraction: np.ndarray, grid: Grid, what: str) -> Regions:
    """Regions from fractions of each cell, after a check that names those that overlap.

    Parameters
    ----------
    fraction : array, (region, lat, lon)
    what : str
        File and variable, for messages.

    Raises
    ------
    InputError
        Regions that sum to more than the cell, with the two largest there and the place; whatever `Regions` refuses.
    """
    total = fraction.sum(axis=0)
    if np.isfinite(total).all() and total.max() > 1 + 1e-6 and fraction.max() <= 1 + 1e-6:
        row, column = np.unravel_index(int(total.argmax()), total.shape)
        first, second = np.argsort(-fraction[:, row, column])[:2]
        raise InputError(
            f"{what}: regions {names[first]} and {names[second]} overlap, summing to {total.max():.3g} in a cell "
            f"(latitude {grid.lat[row]:g}, longitude {grid.lon[column]:g}); give regions that share no area"
        )
    return Regions(tuple(names), fraction)


def _bands(settings: BandSettings, grid: Grid) -> Regions:
    problems = Problems()
    for name, (south, north) in settings.bands.items():
        if south >= north:
            problems.add(f"regions: band `{name}` from {south} to {north}; give the southern latitude first")
    problems.raise_if_any()
    rows = []
    for south, north in settings.bands.values():
        band = Grid(np.array([0.75 * south + 0.25 * north, 0.25 * south + 0.75 * north]), np.array([-90.0, 90.0]))
        rows.append(Overlap.between(band, grid).apply(np.ones(band.shape)) / grid.cell_area)
    return without_overlap(list(settings.bands), np.stack(rows), grid, "regions")


def _mask(path: Path, settings: MaskSettings, grid: Grid, what: str) -> Regions:
    names, as_it_is = settings.names, settings.implausible == "accept"
    with open_gridded(path) as file:
        mask = declare(find_variable(file, settings.variable, path), fill_values(settings.fill_value), as_it_is)
        mask = _without_single(mask, file)
        if not as_it_is:
            require_written(mask, np.array(True), what, "write it anew with all chunks: they would belong to no region")
        mask = mask.drop_vars(UNWRITTEN, errors="ignore").copy(data=read_values(mask, what))
        if mask.ndim == 2:
            if settings.units is not None:
                raise InputError(f"{what}: a mask of whole numbers has no unit; remove `units`")
            return _numbered(mask, _numbers(mask, names, what), grid, what)
        if names is not None:
            raise InputError(f"{what} has dimensions {list(mask.dims)}; `names` give the numbers of a mask (lat, lon): remove them")
        horizontal = [d for d in mask.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES)]
        leading = [d for d in mask.dims if d not in horizontal]
        if len(leading) != 1 or len(horizontal) != 2:
            raise InputError(
                f"{what} has dimensions {list(mask.dims)}; a mask has latitude and longitude, and a region dimension if it holds fractions"
            )
        units = share_units(mask, settings.units, what)
        plausible_share(mask, what, units, as_it_is).require(mask.to_numpy().reshape(mask.shape[0], -1))
        share = mask.copy(data=convert_units(mask.to_numpy(), units, "1", what))
        require_percent(np.nan_to_num(share.to_numpy()), units, what)
        return _fractions(share, _region_names(file, mask, str(leading[0]), what), grid, what)


def _without_single(mask: xr.DataArray, file: xr.Dataset) -> xr.DataArray:
    """Without dimensions of size 1, but with that of the region where the file names a single one."""
    known = [str(d) for d in mask.dims if d in file.variables]
    regions = [d for d in known if file[d].dtype.kind in "OSUT" or "flag_meanings" in file[d].attrs]
    named = ["region"] if "region_name" in file.variables else []
    return without_single(mask, *regions, *named)


def _numbers(mask: xr.DataArray, names: dict[str, int | list[int]] | None, what: str) -> dict[str, list[int]]:
    """Numbers of each region: as the study says, as the mask's flags do, or TransCom's."""
    flags = {"flag_values", "flag_meanings"} <= set(mask.attrs)
    if names is None and flags:
        meanings, values = str(mask.attrs["flag_meanings"]).split(), np.atleast_1d(mask.attrs["flag_values"])
        if len(meanings) != len(values):
            raise InputError(f"{what}: {len(values)} flag_values but {len(meanings)} flag_meanings; give one name per value")
        if values.dtype.kind not in "iuf" or not np.array_equal(values, np.round(values)):
            raise InputError(f"{what}: flag_values {values.tolist()[:20]}; allowed: whole numbers; correct the file or state `names`")
        if twice := sorted({name for name in meanings if meanings.count(name) > 1}):
            raise InputError(f"{what}: flag_meanings name {', '.join(twice)} several times; give each value a name of its own")
        return {name: [int(value)] for name, value in zip(meanings, values, strict=True)}
    if names is None and mask.name == "transcom_regions":
        names = dict(TRANSCOM)
    if names is None:
        raise InputError(
            f"{what}: no attributes `flag_values` and `flag_meanings`; they name the regions of an integer mask, or state `names`: "
            "{region: number}"
        )
    numbers = {name: [number] if isinstance(number, int) else list(number) for name, number in names.items()}
    every = [n for found in numbers.values() for n in found]
    problems = Problems()
    if shared := sorted({n for n in every if every.count(n) > 1}):
        problems.add(f"{what}: `names` gives number {', '.join(map(str, shared))} to several regions; give it to one")
    there = set(np.unique(mask.to_numpy()[np.isfinite(mask.to_numpy())]).tolist())
    if absent := sorted(set(every) - there):
        problems.add(f"{what}: no cell with number {', '.join(map(str, absent))}; it has {', '.join(f'{n:g}' for n in sorted(there)[:40])}")
    problems.raise_if_any()
    return numbers


def _numbered(mask: xr.DataArray, numbers: dict[str, list[int]], grid: Grid, what: str) -> Regions:
    parts = xr.concat([mask.isin(found).astype(float) for found in numbers.values()], dim="region")
    return _fractions(parts, list(numbers), grid, what)


def _fractions(parts: xr.DataArray, names: list[str], grid: Grid, what: str) -> Regions:
    """Fractions (region, lat, lon) of any grid on the study's."""
    fraction = normalise_coordinates(parts, what)
    source, values = grid_of(fraction, what), np.nan_to_num(fraction.to_numpy().astype(float))
    if not source.same_as(grid):
        mean, valid = regrid(values, source, grid)
        values = np.nan_to_num(mean) * valid
    return without_overlap(names, values, grid, what)


def _region_names(file: xr.Dataset, mask: xr.DataArray, dimension: str, what: str) -> list[str]:
    meanings = mask.attrs.get("flag_meanings") or (file[dimension].attrs.get("flag_meanings") if dimension in file.coords else None)
    if meanings:
        return str(meanings).split()
    for source in ("region_name", dimension):
        if source in file.variables and file[source].dtype.kind in "OSUT":
            return read_texts(file[source], f"{what}: `{source}`")
    raise InputError(f"{what}: no region names; add a variable `region_name` or the attribute `flag_meanings`")

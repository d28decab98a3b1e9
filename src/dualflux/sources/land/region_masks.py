"""Regions from masks, polygons, latitude bands or the packaged regions."""

import re
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES, Grid, Overlap, Regions, grid_of, normalise_coordinates, regrid
from dualflux.sources.files.cell_maps import NumberedRaster, Raster
from dualflux.sources.files.gridded import find_variable, open_gridded, read_texts, read_values
from dualflux.sources.land.region_polygons import check_overlap, read_polygons

TRANSCOM = {  # numbers of the TransCom-3 land regions in CarbonTracker's regions.nc; 12 and above are sea and ice
    "North_American_Boreal": 1, "North_American_Temperate": 2, "South_American_Tropical": 3, "South_American_Temperate": 4,
    "Northern_Africa": 5, "Southern_Africa": 6, "Eurasia_Boreal": 7, "Eurasia_Temperate": 8, "Tropical_Asia": 9, "Australia": 10,
    "Europe": 11,
}  # fmt: skip


NO_REGION = {
    "background", "fill", "fill_value", "lake", "lakes", "land_outside", "masked", "missing", "nan", "no_data", "no_region", "nodata",
    "none", "not_a_region", "null", "ocean", "oceans", "outside", "outside_regions", "sea", "unassigned", "unclassified",
    "undefined", "unknown", "water",
}  # fmt: skip
_CLASSES = "The classes that are regions, or all; default: all but none, ocean, sea, outside, missing and the like, and a mask's flag 0"


class MaskSettings(BaseModel):
    """Regions from a mask: whole numbers, or fractions (region, lat, lon)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="NetCDF file or Zarr store, relative to the data root")
    variable: str
    names: dict[str, int | list[int]] | None = Field(
        None,
        min_length=1,
        description="region: its number, or several, in a mask of whole numbers; default: the mask's flag_values and flag_meanings, "
        "or the TransCom-3 land regions for `transcom_regions`",
    )
    classes: list[str] | Literal["all"] | None = Field(None, min_length=1, description=_CLASSES)


class PolygonSettings(BaseModel):
    """Regions from polygons in degrees of longitude and latitude: GeoJSON, shapefile or GeoPackage; needs ``dualflux[regions]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="vector file, relative to the data root")
    property: str = Field(description="property (column) of the features with the region's name; features of one name are one region")
    classes: list[str] | Literal["all"] | None = Field(None, min_length=1, description=_CLASSES)


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
        return _polygons(settings, root, grid)
    if isinstance(settings, MaskSettings):
        return _mask(root / settings.path, settings, grid, f"{settings.path}: `{settings.variable}`")
    with as_file(files("dualflux") / "data" / "gcp18.nc") as path:
        return _mask(path, MaskSettings(path=path.name, variable="region_fraction"), grid, "packaged mask gcp18")


def which_are_regions(
    found: list[str], wanted: list[str] | Literal["all"] | None, what: str, numbers: list[int] | None = None
) -> list[int]:
    """Positions of the classes that are regions: those the study lists, or all but the ones whose name or number 0 says they are none.

    Raises
    ------
    InputError
        A class the study lists is not there, or none is left.
    """
    if wanted == "all":
        return list(range(len(found)))
    if wanted is not None:
        if absent := [name for name in wanted if name not in found]:
            raise InputError(f"{what}: no class {', '.join(absent)}; it has {', '.join(found)}; correct `classes`")
        return [i for i, name in enumerate(found) if name in wanted]
    if "SEA" in found and sum(name.isupper() for name in found) > 1:
        raise InputError(
            f"{what}: class SEA among codes ({', '.join(found[:20])}) may be Southeast Asia or the sea; name the regions as `classes`, "
            "or say `classes: all`"
        )
    plain = ["_".join(re.split(r"[\s_\-]+", name.strip().lower())) for name in found]
    kept = [i for i, name in enumerate(plain) if name not in NO_REGION and (numbers is None or numbers[i] != 0)]
    if not kept:
        raise InputError(f"{what}: its classes {', '.join(found)} are no regions; name those that are as `classes`")
    return kept


def _chosen(regions: Regions, kept: list[int], found: list[str]) -> Regions:
    return replace(regions, not_regions=tuple(name for i, name in enumerate(found) if i not in kept))


def _polygons(settings: PolygonSettings, root: Path, grid: Grid) -> Regions:
    found = read_polygons(root / settings.path, settings.property)
    kept = which_are_regions(found.names, settings.classes, settings.path)
    own = replace(found, names=[found.names[i] for i in kept], shapes=[found.shapes[i] for i in kept])
    check_overlap(own, settings.path)
    return _chosen(Regions(tuple(own.names), own.at(grid), own), kept, found.names)


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
    edges = np.unique([-90.0, 90.0, *(edge for band in settings.bands.values() for edge in band)])
    middle = (edges[1:] + edges[:-1]) / 2
    inside = [(middle > south) & (middle < north) for south, north in settings.bands.values()]
    own = Raster(edges, np.array([-180.0, 180.0]), np.array(inside, dtype=float)[:, :, None])
    return replace(without_overlap(list(settings.bands), np.stack(rows), grid, "regions"), own=own)


def _mask(path: Path, settings: MaskSettings, grid: Grid, what: str) -> Regions:
    with open_gridded(path) as file:
        mask = find_variable(file, settings.variable, path)
        mask = mask.copy(data=read_values(mask, what))
        if mask.ndim == 2:
            return _numbered(mask, settings, grid, what)
        if settings.names is not None:
            raise InputError(f"{what} has dimensions {list(mask.dims)}; `names` give the numbers of a mask (lat, lon): remove them")
        horizontal = [d for d in mask.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES)]
        leading = [d for d in mask.dims if d not in horizontal]
        if len(leading) != 1 or len(horizontal) != 2:
            raise InputError(
                f"{what} has dimensions {list(mask.dims)}; a mask has latitude and longitude, and a region dimension if it holds fractions"
            )
        names = _region_names(file, mask, str(leading[0]), what)
        if len(names) != mask.sizes[leading[0]]:
            raise InputError(f"{what}: {len(names)} names for {mask.sizes[leading[0]]} fields; give one name per region")
        kept = which_are_regions(names, settings.classes, what)
        return _chosen(_fractions(mask.isel({leading[0]: kept}), [names[i] for i in kept], grid, what), kept, names)


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


def _numbered(mask: xr.DataArray, settings: MaskSettings, grid: Grid, what: str) -> Regions:
    numbers = _numbers(mask, settings.names, what)
    found = list(numbers)
    first = [numbers[name][0] if len(numbers[name]) == 1 else 1 for name in found]
    named = settings.names is not None and settings.classes is None
    kept = list(range(len(found))) if named else which_are_regions(found, settings.classes, what, first)
    ordered = normalise_coordinates(mask, what)
    source, values = grid_of(ordered, what), ordered.to_numpy()
    codes = np.full(source.shape, -1, dtype=np.int16)
    for position, i in enumerate(kept):
        codes[np.isin(values, numbers[found[i]])] = position
    fraction = np.stack([_on(grid, source, codes == position) for position in range(len(kept))])
    regions = without_overlap([found[i] for i in kept], fraction, grid, what)
    own = NumberedRaster(source.lat_edges, source.lon_edges, codes, len(kept))
    return _chosen(replace(regions, own=own), kept, found)


def _fractions(parts: xr.DataArray, names: list[str], grid: Grid, what: str) -> Regions:
    """Fractions (region, lat, lon) of any grid on the study's."""
    fraction = normalise_coordinates(parts, what)
    source, values = grid_of(fraction, what), np.nan_to_num(fraction.to_numpy().astype(float))
    without_overlap(names, values, source, what)
    return replace(without_overlap(names, _on(grid, source, values), grid, what), own=Raster.of(source, values))


def _on(grid: Grid, source: Grid, values: np.ndarray) -> np.ndarray:
    if source.same_as(grid):
        return values.astype(float)
    mean, valid = regrid(values, source, grid)
    return np.nan_to_num(mean) * valid


def _region_names(file: xr.Dataset, mask: xr.DataArray, dimension: str, what: str) -> list[str]:
    meanings = mask.attrs.get("flag_meanings") or (file[dimension].attrs.get("flag_meanings") if dimension in file.coords else None)
    if meanings:
        return str(meanings).split()
    for source in ("region_name", dimension):
        if source in file.variables and file[source].dtype.kind in "OSUT":
            return read_texts(file[source], f"{what}: `{source}`")
    raise InputError(f"{what}: no region names; add a variable `region_name` or the attribute `flag_meanings`")

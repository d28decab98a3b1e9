"""Regions from masks, latitude bands or the packaged regions."""

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES, Grid, Overlap, Regions
from dualflux.sources.gridded import find_variable, open_gridded


class MaskSettings(BaseModel):
    """Regions from a mask: an integer mask with flag_values and flag_meanings, or fractions (region, lat, lon)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="NetCDF file or Zarr store, relative to the data root")
    variable: str


class BandSettings(BaseModel):
    """Regions between latitudes: ``{bands: {north: [30, 90], ...}}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: dict[str, tuple[Annotated[float, Field(ge=-90, le=90)], Annotated[float, Field(ge=-90, le=90)]]] = Field(min_length=1)


RegionSettings = MaskSettings | BandSettings | Literal["gcp18"]


def read_regions(settings: RegionSettings, root: Path, grid: Grid) -> Regions:
    """Regions on the study's grid as the mask has them: fractions of the cell, or of its land.

    Raises
    ------
    InputError
        File or variable missing, no region names, or regions that overlap.
    """
    if isinstance(settings, BandSettings):
        return _bands(settings, grid)
    if isinstance(settings, MaskSettings):
        return _mask(root / settings.path, settings.variable, grid, f"{settings.path}: `{settings.variable}`")
    with as_file(files("dualflux") / "data" / "gcp18.nc") as path:
        return _mask(path, "region_fraction", grid, "packaged mask gcp18")


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
    return Regions(tuple(settings.bands), np.stack(rows))


def _mask(path: Path, variable: str, grid: Grid, what: str) -> Regions:
    with open_gridded(path) as file:
        mask = find_variable(file, variable, path).load()
        if mask.ndim == 2:
            return Regions.from_integer_mask(mask, grid, what)
        horizontal = [d for d in mask.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES)]
        leading = [d for d in mask.dims if d not in horizontal]
        if len(leading) != 1 or len(horizontal) != 2:
            raise InputError(
                f"{what} has dimensions {list(mask.dims)}; a mask has latitude and longitude, and a region dimension if it holds fractions"
            )
        return Regions.from_fractions(mask, _region_names(file, mask, str(leading[0]), what), grid, what)


def _region_names(file: xr.Dataset, mask: xr.DataArray, dimension: str, what: str) -> list[str]:
    meanings = mask.attrs.get("flag_meanings") or (file[dimension].attrs.get("flag_meanings") if dimension in file.coords else None)
    if meanings:
        return str(meanings).split()
    for source in ("region_name", dimension):
        if source in file.variables and file[source].dtype.kind in "OSUT":
            return [(v.decode() if isinstance(v, bytes) else str(v)).strip() for v in file[source].to_numpy()]
    raise InputError(f"{what}: no region names; add a variable `region_name` or the attribute `flag_meanings`")

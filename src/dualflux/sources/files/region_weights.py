"""Which share of a gridded product's cell belongs to which region."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse
from scipy.spatial import cKDTree

from dualflux.errors import InputError
from dualflux.geometry.sphere import EARTH_RADIUS, unit_vectors
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES, Grid, Regions, grid_of, normalise_coordinates
from dualflux.sources.files.cell_maps import AreasInCells, Raster, areas_in

COAST_REACH = 500e3  # m: as far as the coarsest transport-model cells put land flux beyond the true coast

_REMEMBERED = 1_000_000  # cells


def region_shares(
    source: Grid, target: Grid, regions: Regions, land_fraction: np.ndarray, what: str = "source grid"
) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Share of each source cell's land flux that belongs to each region.

    A flux over land comes from the land of its cell, so a cell is divided in proportion to the
    land area of each region in it, in the resolution of the files of land and regions where those are known
    (`Regions.own`), else in the study's. Where our map has no land the regions' own areas divide it; where
    it has no region either, the cell takes the shares of the nearest cell within `COAST_REACH`
    (coarse products put land flux beyond the true coast). What is left lies outside all regions.

    Parameters
    ----------
    source : Grid
        The product's grid.
    target : Grid
        The study's grid, on which `regions.fraction` and `land_fraction` are given.
    land_fraction : array, (target lat, target lon)
    what : str
        File and variable, for messages.

    Returns
    -------
    shares : sparse matrix, (source cell, region)
        Rows sum to at most 1; cells flattened lat-major.
    land : array, (source cell,)
        Land fraction of each source cell.

    Raises
    ------
    InputError
        A region with land that the source grid does not cover: its sum would be partial.
    """
    found = region_areas(source, target, regions, land_fraction)
    _check_covered(np.asarray(found.region_land.sum(axis=0)).ravel(), found.all_land[:-1], regions.names, what)
    return shares_of(source, found), found.land / source.cell_area.ravel()


def region_areas(source: Grid, target: Grid, regions: Regions, land_fraction: np.ndarray) -> AreasInCells:
    """Areas of land and regions in each source cell, from their own maps where those are known; see `region_shares`."""
    own = Raster.of(target, regions.fraction) if regions.own is None else regions.own
    land = Raster.of(target, np.asarray(land_fraction, dtype=float)) if regions.own_land is None else regions.own_land
    if regions.own_land is None or regions.own is None or source.lat.size * source.lon.size > _REMEMBERED:
        return areas_in(source, target, land, own, len(regions.names))
    key = source.lat.tobytes() + source.lon.tobytes()
    if key not in regions.known_areas:
        regions.known_areas[key] = areas_in(source, target, land, own, len(regions.names))
    found: AreasInCells = regions.known_areas[key]
    return found


def shares_of(source: Grid, found: AreasInCells, beyond: np.ndarray | None = None) -> sparse.csr_matrix:
    """`region_shares` of areas; only cells in `beyond` (all by default) take the shares of the nearest ones."""
    covered = np.asarray(found.region.sum(axis=1)).ravel()
    at_sea = (found.land == 0) & (covered > 0)
    shares = sparse.diags(_inverse(found.land)) @ found.region_land + sparse.diags(_inverse(covered) * at_sea) @ found.region
    inside = np.clip(found.inside / source.cell_area.ravel(), 0, 1)
    lost = (found.land == 0) & ~at_sea & (inside > 1 - 1e-6)
    lost &= True if beyond is None else beyond
    shares = shares + _nearest(source, lost, (found.land > 0) | at_sea) @ shares
    return sparse.csr_matrix(sparse.diags(inside) @ shares)


def _check_covered(found: np.ndarray, wanted: np.ndarray, names: tuple[str, ...], what: str) -> None:
    partial = [f"{n} ({f / w:.0%})" for n, f, w in zip(names, found, wanted, strict=True) if f < 0.99 * w]
    if partial:
        raise InputError(
            f"{what}: its grid covers only part of the land of {', '.join(partial)}; give a file or a mask that fits the other"
        )


def _inverse(values: np.ndarray) -> np.ndarray:
    return np.divide(1.0, values, out=np.zeros_like(values, dtype=float), where=values > 0)


def _nearest(grid: Grid, lost: np.ndarray, known: np.ndarray) -> sparse.csr_matrix:
    """Matrix that takes each lost cell to the nearest known one within reach."""
    size = grid.lat.size * grid.lon.size
    if not lost.any() or not known.any():
        return sparse.csr_matrix((size, size))
    point = unit_vectors(*(a.ravel() for a in np.meshgrid(grid.lat, grid.lon, indexing="ij")))
    chord = 2 * np.sin(COAST_REACH / EARTH_RADIUS / 2)
    distance, index = cKDTree(point[known]).query(point[lost], distance_upper_bound=chord)
    reached = np.isfinite(distance)
    rows, columns = np.flatnonzero(lost)[reached], np.flatnonzero(known)[index[reached]]
    return sparse.csr_matrix((np.ones(rows.size), (rows, columns)), shape=(size, size))


@dataclass(frozen=True, eq=False)
class Place:
    """Where and when the study is.

    Attributes
    ----------
    grid : Grid
    regions : Regions
        On `grid`.
    land_fraction : array, (lat, lon)
        On `grid`.
    times : DatetimeIndex
        First days of the study's months.
    """

    grid: Grid
    regions: Regions
    land_fraction: np.ndarray
    times: pd.DatetimeIndex


@dataclass(frozen=True, eq=False)
class RegionalWeights:
    """What turns one field of a product, flattened as the file has it, into regional sums.

    Attributes
    ----------
    dims : tuple of str
        The two horizontal dimensions in the file's order.
    matrix : sparse matrix, (region + 1, cell)
        Region share times cell area [m2] (or times 1 for a flux per cell); the last row is the globe.
    required : array of bool, (cell,)
        Cells of at least half land inside a region: the product must have a value there.
    """

    dims: tuple[str, str]
    matrix: sparse.csr_matrix
    required: np.ndarray


def regional_weights(
    variable: xr.DataArray,
    grid: Grid,
    regions: Regions,
    land_fraction: np.ndarray,
    path: Path,
    per: Literal["area", "cell"] = "area",
    area: xr.DataArray | None = None,
    surface: Literal["land", "all"] = "land",
) -> RegionalWeights:
    """Weights of a product's cells in the order of its own file.

    Parameters
    ----------
    variable : DataArray
        The flux; only its coordinates are read.
    per : {"area", "cell"}
        ``cell``: the value is already an integral over its cell.
    area : DataArray, (lat, lon) in any order, optional
        The file's own cell area [m2]; exact areas on the sphere otherwise.
    surface : {"land", "all"}
        What the flux covers. ``land``: the sea's is zero, so what stands beyond our coast is land flux of a coarser map.
        ``all``: the sea's exchange is in it, so cells without land on our map are left out, also of the globe.

    Raises
    ------
    InputError
        No usable coordinates, a region the grid does not cover, or a cell area whose sum is more than 2 % off the sphere's.
    """
    what = f"{path}: `{variable.name}`"
    dims = _horizontal_dims(variable, what)
    shape = [variable.sizes[d] for d in dims]
    numbers = xr.DataArray(np.arange(np.prod(shape)).reshape(shape), dims=dims, coords={d: variable[d] for d in dims})
    ordered = normalise_coordinates(numbers, what)
    source, position = grid_of(ordered, what), ordered.to_numpy().ravel()
    shares, land = region_shares(source, grid, regions, land_fraction, what)
    to_file = np.argsort(position)
    size = source.cell_area.ravel()[to_file]
    if area is not None:
        size = _own_area(area, dims, size, path)
    if per == "cell":
        size = np.ones(position.size)
    shares, land = shares[to_file], land[to_file]
    if surface == "all":
        size = size * (land > 0)
    matrix = sparse.vstack([shares.T, np.ones((1, position.size))]) @ sparse.diags(size)
    return RegionalWeights(dims, sparse.csr_matrix(matrix), (land >= 0.5) & (np.asarray(shares.sum(axis=1)).ravel() > 0))


def _horizontal_dims(variable: xr.DataArray, what: str) -> tuple[str, str]:
    dims = [str(d) for d in variable.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES)]
    missing = [d for d in dims if d not in variable.coords or variable[d].dims != (d,)]
    if len(dims) != 2 or missing:
        raise InputError(
            f"{what} has dimensions {list(variable.dims)}, coordinates {list(variable.coords)}; needed: one latitude and one longitude "
            f"({', '.join((*LATITUDE_NAMES, *LONGITUDE_NAMES))}) with their values"
        )
    return dims[0], dims[1]


def _own_area(area: xr.DataArray, dims: tuple[str, str], exact: np.ndarray, path: Path) -> np.ndarray:
    if set(map(str, area.dims)) != set(dims):
        raise InputError(f"{path}: cell area `{area.name}` has dimensions {list(area.dims)}; allowed: {list(dims)}")
    values = area.transpose(*dims).to_numpy().ravel()
    if not np.isfinite(values).all() or values.min() < 0 or abs(values.sum() / exact.sum() - 1) > 0.02:
        raise InputError(
            f"{path}: cell area `{area.name}` sums to {np.nansum(values):.4g}, its cells on the sphere to {exact.sum():.4g} m2; "
            f"{(values < 0).sum()} are negative; allowed: m2 within 2 %, none negative, without gaps; correct the file or the name of its "
            "area variable"
        )
    return values

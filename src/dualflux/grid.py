"""Grids on the sphere, conservative regridding and regions as area fractions."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import xarray as xr
from scipy import sparse

from dualflux.errors import InputError
from dualflux.geometry.coordinates import in_degrees, refuse_corners, refuse_radians
from dualflux.geometry.sphere import EARTH_RADIUS

SMALLEST_STEP = 1e-5  # degrees between cells: a metre
LATITUDE_NAMES = ("lat", "latitude", "nav_lat", "y")
LONGITUDE_NAMES = ("lon", "longitude", "nav_lon", "x")


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular latitude-longitude grid: centres, ascending, longitudes in -180..180.

    Attributes
    ----------
    lat : array, (lat,)
        Cell centres [degrees north]. Centres on the poles are half cells.
    lon : array, (lon,)
        Cell centres [degrees east], evenly spaced.
    """

    lat: np.ndarray
    lon: np.ndarray

    @classmethod
    def global_regular(cls, resolution: float) -> "Grid":
        """The global grid of the given resolution [degrees]; it must divide 180."""
        rows = round(180 / resolution) if 0 < resolution <= 90 else 0
        if rows == 0 or abs(rows * resolution - 180) > 1e-6:
            raise InputError(f"grid: resolution {resolution} degrees does not divide 180; use for example 0.5, 1 or 2")
        centre = (np.arange(2 * rows) + 0.5) * (180 / rows)
        return cls(centre[:rows] - 90, centre - 180)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(lat, lon)."""
        return len(self.lat), len(self.lon)

    @cached_property
    def lat_edges(self) -> np.ndarray:
        """Cell edges, (lat + 1,), inside -90..90; a Gaussian grid's outer cells reach the poles."""
        edges = np.clip(_edges(self.lat), -90, 90)
        spacing = np.diff(self.lat)
        if np.ptp(spacing) > 1e-3 * spacing.mean():
            # The first Gaussian latitude lies 0.77 spacings from the pole, so half a spacing ends short of it.
            for end in (0, -1):
                if 90 - abs(edges[end]) < 0.4 * spacing[end]:
                    edges[end] = np.copysign(90.0, edges[end])
        return edges

    @cached_property
    def lon_edges(self) -> np.ndarray:
        """Cell edges, (lon + 1,); the first may lie below -180."""
        return _edges(self.lon)

    @cached_property
    def cell_area(self) -> np.ndarray:
        """Exact area on the sphere [m2], (lat, lon): R^2 (sin north - sin south) (east - west)."""
        band = np.diff(np.sin(np.radians(self.lat_edges)))
        return EARTH_RADIUS**2 * np.outer(band, np.radians(np.diff(self.lon_edges)))

    def same_as(self, other: "Grid") -> bool:
        """True where both have the same centres (to 1e-4 degrees)."""
        return self.shape == other.shape and np.allclose(self.lat, other.lat, atol=1e-4) and np.allclose(self.lon, other.lon, atol=1e-4)

    def cell_of(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of the cell holding each point; -1 where it lies outside the grid."""
        lat, lon = np.atleast_1d(lat).astype(float), np.atleast_1d(lon).astype(float)
        finite = np.isfinite(lat) & np.isfinite(lon)
        lat, lon = np.where(finite, lat, 0.0), np.where(finite, lon, 0.0)
        row = np.searchsorted(self.lat_edges, lat, side="right") - 1
        row = np.where(lat == self.lat_edges[-1], len(self.lat) - 1, row)
        west, east = self.lon_edges[[0, -1]]
        column = np.searchsorted(self.lon_edges, west + (lon - west) % 360, side="right") - 1
        column = np.where((lon - west) % 360 == east - west, len(self.lon) - 1, column)
        outside = (row < 0) | (row >= len(self.lat)) | (column >= len(self.lon)) | ~finite
        return np.where(outside, -1, row), np.where(outside, -1, column)


def _edges(centre: np.ndarray) -> np.ndarray:
    middle = (centre[1:] + centre[:-1]) / 2
    return np.concatenate([[2 * centre[0] - middle[0]], middle, [2 * centre[-1] - middle[-1]]])


def normalise_coordinates(data: xr.DataArray, what: str) -> xr.DataArray:
    """Rename to `lat` and `lon`, sort ascending, move longitudes to -180..180; last dims (lat, lon).

    Raises
    ------
    InputError
        No latitude or longitude, values out of range, uneven longitudes, or a cell named twice.
    """
    names = {}
    for ours, known in (("lat", LATITUDE_NAMES), ("lon", LONGITUDE_NAMES)):
        found = [d for d in data.dims if str(d).lower() in known]
        if len(found) != 1 or found[0] not in data.coords or data[found[0]].dims != (found[0],) or not data[found[0]].size:
            raise InputError(f"{what}: no {ours} coordinate among {list(data.dims)}; allowed names: {', '.join(known)}")
        names[found[0]] = ours
    data = data.rename({k: v for k, v in names.items() if k != v})
    data = data.assign_coords({name: in_degrees(data[name], name, what) for name in ("lat", "lon")})
    lat, lon = data.lat.values, data.lon.values
    refuse_radians(lat, lon, what)
    if not (np.isfinite(lat).all() and np.abs(lat).max() <= 90 + 1e-6):
        raise InputError(f"{what}: latitudes from {lat.min()} to {lat.max()}; allowed: -90 to 90 degrees")
    if not (np.isfinite(lon).all() and lon.min() >= -360 and lon.max() <= 360 + 1e-6):
        raise InputError(f"{what}: longitudes from {lon.min()} to {lon.max()}; allowed: -180..180 or 0..360 degrees")
    if lon.max() >= 180 + 1e-9 or lon.min() < -180 - 1e-9:
        data = data.assign_coords(lon=(np.round(lon, 6) + 180) % 360 - 180)
    data = data.sortby(["lat", "lon"]).transpose(..., "lat", "lon")
    if len(np.unique(data.lat)) != data.lat.size or len(np.unique(data.lon)) != data.lon.size:
        raise InputError(f"{what}: a latitude or longitude stands twice; give each cell once")
    refuse_corners(data.lat.values, what)
    return data


def grid_of(data: xr.DataArray, what: str) -> Grid:
    """The grid of normalised data.

    Raises
    ------
    InputError
        Fewer than two cells along an axis, longitudes unevenly spaced or more than once around.

    Notes
    -----
    Coordinates stored in single precision are put back on the regular grid they stand for: otherwise slivers
    of a neighbouring cell would give a value to a cell that has none.
    """
    lat, lon = data.lat.values.astype(float), data.lon.values.astype(float)
    if lat.size < 2 or lon.size < 2:
        raise InputError(f"{what}: {lat.size} latitudes and {lon.size} longitudes; at least two of each are needed")
    for name, centres in (("latitudes", lat), ("longitudes", lon)):
        if np.diff(centres).min() < SMALLEST_STEP:
            raise InputError(f"{what}: {name} {np.diff(centres).min():.4g} degrees apart; allowed: {SMALLEST_STEP:g} or more, ascending")
    step = np.diff(lon)
    if np.abs(step - step.mean()).max() > 0.01 * step.mean():
        raise InputError(f"{what}: longitudes are not evenly spaced (steps {step.min():.4g} to {step.max():.4g} degrees)")
    if lon.size * step.mean() > 360 + 0.01 * step.mean():
        raise InputError(f"{what}: {lon.size} longitudes {step.mean():.4g} degrees apart go around more than once; give each cell once")
    return Grid(_snap(lat, 180.0), _snap(lon, 360.0))


def _snap(centre: np.ndarray, full: float) -> np.ndarray:
    step = (centre[-1] - centre[0]) / (centre.size - 1)
    exact = full / max(round(full / step), 1)
    halves = centre[0] / (exact / 2)
    first = round(halves) * exact / 2 if abs(halves - round(halves)) < 1e-2 else centre[0]
    snapped = first + np.arange(centre.size) * exact
    return snapped if np.abs(snapped - centre).max() < 2e-3 * exact else centre


@dataclass(frozen=True, eq=False)
class Overlap:
    """Area shared by the cells of two grids: a sparse matrix, kept as its latitude and longitude factors.

    Attributes
    ----------
    lat : sparse matrix, (target lat, source lat)
        Difference of sines of the shared latitude intervals.
    lon : sparse matrix, (target lon, source lon)
        Shared longitude intervals times R^2 [m2].
    """

    lat: sparse.csr_matrix
    lon: sparse.csr_matrix

    @classmethod
    def between(cls, source: Grid, target: Grid) -> "Overlap":
        """Overlap of every target cell with every source cell; longitudes wrap around."""
        lat = _interval_overlap(np.sin(np.radians(target.lat_edges)), np.sin(np.radians(source.lat_edges)))
        lon = sum(_interval_overlap(target.lon_edges, source.lon_edges + shift) for shift in (-360.0, 0.0, 360.0))
        return cls(lat, lon * (np.pi / 180) * EARTH_RADIUS**2)

    def reached(self, target: np.ndarray) -> np.ndarray:
        """Source cells, bool (source lat, source lon), that overlap one of the chosen target cells, bool (target lat, target lon)."""
        return (self.lon.T @ (self.lat.T @ target.astype(float)).T).T > 0

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Integrate (..., source lat, source lon) over each target cell: (..., target lat, target lon)."""
        lead = values.shape[:-2]
        out = np.empty((int(np.prod(lead)), self.lat.shape[0], self.lon.shape[0]))
        for i, field in enumerate(values.reshape(-1, *values.shape[-2:])):
            out[i] = (self.lon @ (self.lat @ field).T).T
        return out.reshape(*lead, *out.shape[1:])


def overlap_matrix(source: Grid, target: Grid) -> sparse.csr_matrix:
    """Area [m2] shared by each target cell (row) and source cell (column), both flattened lat-major."""
    overlap = Overlap.between(source, target)
    return sparse.kron(overlap.lat, overlap.lon, format="csr")


def _interval_overlap(target: np.ndarray, source: np.ndarray) -> sparse.csr_matrix:
    low = np.maximum(target[:-1, None], source[None, :-1])
    high = np.minimum(target[1:, None], source[None, 1:])
    length = high - low
    return sparse.csr_matrix(np.where(length > 1e-12, length, 0.0))


def regrid(
    values: np.ndarray, source: Grid, target: Grid, weight: np.ndarray | None = None, overlap: Overlap | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Area-weighted mean of valid source values in each target cell.

    Parameters
    ----------
    values : array, (..., lat, lon)
        A density or fraction; NaN is missing.
    weight : array, (lat, lon), optional
        What part of each source cell carries the value, for example its land fraction.
    overlap : Overlap, optional
        ``Overlap.between(source, target)``, when several calls share it.

    Returns
    -------
    mean : array, (..., target lat, target lon)
        NaN where nothing valid lies in the cell.
    valid : array of the same shape
        Part of the target cell covered by valid, weighted source area, 0 to 1.
        ``mean * valid * cell_area`` summed over the globe equals the source's own integral.
    """
    overlap = Overlap.between(source, target) if overlap is None else overlap
    values = np.asarray(values, dtype=np.float64)
    carried = np.isfinite(values) * (1.0 if weight is None else np.asarray(weight, dtype=np.float64))
    total = overlap.apply(np.where(carried > 0, values, 0.0) * carried)
    covered = overlap.apply(carried)
    mean = np.divide(total, covered, out=np.full_like(total, np.nan), where=covered > 0)
    return mean, covered / target.cell_area


class CellEdges(Protocol):
    """Cells between edges of latitude and longitude [degrees], not always even."""

    @property
    def lat_edges(self) -> np.ndarray: ...

    @property
    def lon_edges(self) -> np.ndarray: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def cell_area(self) -> np.ndarray: ...


class CellMap(Protocol):
    """Fractions that can be asked for in other cells."""

    @property
    def lat_edges(self) -> np.ndarray: ...

    @property
    def lon_edges(self) -> np.ndarray: ...

    def at(self, cells: CellEdges) -> np.ndarray:
        """Fractions (..., lat, lon) of cells that cross none of the map's own edges."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions as fractions of each cell's area.

    Attributes
    ----------
    names : tuple of str
        The parts; `global` is never one of them.
    fraction : array, (region, lat, lon)
        Fraction of the cell that belongs to the region, 0 to 1, at most 1 over all regions.
    own, own_land : CellMap, optional
        The regions, and the land fraction, in the resolution in which they came: what sums over cells of other grids are made with.
    not_regions : tuple of str
        Classes of the mask that are no region, such as `ocean`.
    known_areas : dict
        Areas in the cells of grids that were asked for before: products often share one.
    """

    names: tuple[str, ...]
    fraction: np.ndarray
    own: "CellMap | None" = None
    own_land: "CellMap | None" = None
    not_regions: tuple[str, ...] = ()
    known_areas: dict[bytes, Any] = dataclasses.field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if len(self.names) != len(self.fraction):
            raise InputError(f"regions: {len(self.names)} names for {len(self.fraction)} fields; give one name per region")
        if "global" in self.names or len(set(self.names)) != len(self.names) or not self.names:
            raise InputError(f"regions {list(self.names)}: names must be unique, at least one, and not `global` (always added)")
        total = self.fraction.sum(axis=0)
        if not np.isfinite(self.fraction).all() or self.fraction.min() < -1e-9 or total.max() > 1 + 1e-6:
            raise InputError(
                f"regions: fractions from {np.nanmin(self.fraction):.3g}, summing to {np.nanmax(total):.3g} in a cell; "
                "allowed: each from 0 to 1, at most 1 in all; give a mask whose regions do not overlap"
            )

    def share_of_land(self, land_fraction: np.ndarray) -> np.ndarray:
        """Share of each cell's land that lies in each region, (region, lat, lon).

        fraction / max(sum of fractions, land fraction). A mask that covers whole cells stays as it is; one of land
        only, or one that gives fractions of land, has each coastal cell's land shared in the same proportions, so
        none is lost; where a cell has more land than regions the rest belongs to none.
        """
        most = np.maximum(self.fraction.sum(axis=0), land_fraction)
        return np.divide(self.fraction, most, out=np.zeros_like(self.fraction, dtype=float), where=most > 0)

    @classmethod
    def from_integer_mask(cls, mask: xr.DataArray, target: Grid, what: str) -> "Regions":
        """Regions from an integer mask with `flag_values` and `flag_meanings`; other values belong to none."""
        if "flag_meanings" not in mask.attrs or "flag_values" not in mask.attrs:
            raise InputError(f"{what}: no attributes `flag_values` and `flag_meanings`; they name the regions of an integer mask")
        names = str(mask.attrs["flag_meanings"]).split()
        values = np.atleast_1d(mask.attrs["flag_values"])
        if len(names) != len(values):
            raise InputError(f"{what}: {len(values)} flag_values but {len(names)} flag_meanings; give one name per value")
        if mask.ndim != 2:
            raise InputError(f"{what}: dimensions {list(mask.dims)}; an integer mask has latitude and longitude only")
        mask = normalise_coordinates(mask, what)
        parts = np.stack([(mask.values == v).astype(float) for v in values])
        return cls(tuple(names), _to_target(parts, grid_of(mask, what), target))

    @classmethod
    def from_fractions(cls, fraction: xr.DataArray, names: list[str], target: Grid, what: str) -> "Regions":
        """Regions from a fractional mask (region, lat, lon)."""
        fraction = normalise_coordinates(fraction, what)
        return cls(tuple(names), _to_target(np.nan_to_num(fraction.values), grid_of(fraction, what), target))


def _to_target(parts: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    if source.same_as(target):
        return parts
    mean, valid = regrid(parts, source, target)
    return np.nan_to_num(mean) * valid


@dataclass(frozen=True, eq=False)
class LandCells:
    """The land cells of a grid as flat arrays: what the middle of the program works on.

    Attributes
    ----------
    grid : Grid
    index : array of int, (cell,)
        Position in the flattened (lat, lon) grid.
    land_area : array, (cell,)
        Cell area times land fraction [m2].
    region_names : tuple of str
    region_fraction : array, (region, cell)
        Share of the cell's land in each region.
    """

    grid: Grid
    index: np.ndarray
    land_area: np.ndarray
    region_names: tuple[str, ...]
    region_fraction: np.ndarray

    @classmethod
    def build(cls, grid: Grid, land_fraction: np.ndarray, regions: Regions, keep: np.ndarray | None = None) -> "LandCells":
        """All cells with land (and inside the boolean map `keep`)."""
        use = land_fraction > 0 if keep is None else (land_fraction > 0) & keep
        index = np.flatnonzero(use)
        area = (grid.cell_area * land_fraction).ravel()[index]
        shares = regions.share_of_land(land_fraction)
        return cls(grid, index, area, regions.names, shares.reshape(len(regions.names), -1)[:, index])

    @cached_property
    def region_area(self) -> np.ndarray:
        """Land area [m2] of each cell that belongs to each region, (region, cell)."""
        return self.region_fraction * self.land_area

    def lat(self) -> np.ndarray:
        """Latitude of each cell, (cell,)."""
        return self.grid.lat[self.index // self.grid.lon.size]

    def lon(self) -> np.ndarray:
        """Longitude of each cell, (cell,)."""
        return self.grid.lon[self.index % self.grid.lon.size]

    def to_map(self, values: np.ndarray, fill: float = np.nan) -> np.ndarray:
        """Put (..., cell) values on the (..., lat, lon) grid."""
        out = np.full((*np.shape(values)[:-1], self.grid.lat.size * self.grid.lon.size), fill, dtype=np.asarray(values).dtype)
        out[..., self.index] = values
        return out.reshape(np.shape(values)[:-1] + self.grid.shape)

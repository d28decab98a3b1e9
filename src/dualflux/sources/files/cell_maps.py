"""Land and regions in the resolution in which they came, summed exactly over the cells of any grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from dualflux.grid import EARTH_RADIUS, CellEdges, CellMap, Grid, regrid

SAME_EDGE = 1e-7  # degrees: a centimetre
FINEST = 0.05  # degrees; finer maps are averaged to this
_BLOCK_BYTES = 64e6


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells between given edges: the common refinement of several grids.

    Attributes
    ----------
    lat_edges, lon_edges : array
        Ascending [degrees]; the longitudes go around once.
    """

    lat_edges: np.ndarray
    lon_edges: np.ndarray

    @classmethod
    def refining(cls, *maps: CellEdges | CellMap) -> "Cells":
        """The coarsest cells that cross no edge of any of the maps."""
        lat = _distinct(np.concatenate([[-90.0, 90.0], *(m.lat_edges for m in maps)]))
        lon = _distinct(np.concatenate([[-180.0], *((m.lon_edges + 180) % 360 - 180 for m in maps)]))
        lon = lon[lon < 180 - SAME_EDGE]
        return cls(lat, np.append(lon, lon[0] + 360))

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(lat, lon)."""
        return self.lat_edges.size - 1, self.lon_edges.size - 1

    @cached_property
    def cell_area(self) -> np.ndarray:
        """Exact area on the sphere [m2], (lat, lon)."""
        return EARTH_RADIUS**2 * np.outer(np.diff(np.sin(np.radians(self.lat_edges))), np.radians(np.diff(self.lon_edges)))

    def rows(self, chosen: slice) -> "Cells":
        """Some of the rows."""
        return Cells(self.lat_edges[chosen.start : chosen.stop + 1], self.lon_edges)


def _distinct(edges: np.ndarray) -> np.ndarray:
    edges = np.sort(edges)
    return edges[np.append(True, np.diff(edges) > SAME_EDGE)]


def position(of: CellEdges | CellMap, cells: CellEdges) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of a map for each row and column of cells that refine it; -1 where it has none."""
    lat, lon = ((e[1:] + e[:-1]) / 2 for e in (cells.lat_edges, cells.lon_edges))
    row = np.searchsorted(of.lat_edges, lat) - 1
    west = of.lon_edges[0]
    column = np.searchsorted(of.lon_edges, west + (lon - west) % 360) - 1
    return np.where(row >= of.lat_edges.size - 1, -1, row), np.where(column >= of.lon_edges.size - 1, -1, column)


@dataclass(frozen=True, eq=False)
class Raster:
    """Fractions (..., lat, lon) that are even within each cell.

    Attributes
    ----------
    lat_edges, lon_edges : array
    values : array, (..., lat, lon)
    """

    lat_edges: np.ndarray
    lon_edges: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, grid: Grid, values: np.ndarray) -> "Raster":
        """Values on a grid; where it is finer than `FINEST`, their means there."""
        if np.diff(grid.lat).min() < FINEST - 1e-6:
            coarse = Grid.global_regular(FINEST)
            mean, valid = regrid(values, grid, coarse)
            grid, values = coarse, (np.nan_to_num(mean) * valid).astype(np.float32)
        return cls(grid.lat_edges, grid.lon_edges, values)

    def at(self, cells: CellEdges) -> np.ndarray:
        """Values of cells that refine the raster; zero beyond it."""
        row, column = position(self, cells)
        found: np.ndarray = self.values[..., row[:, None], column[None, :]].astype(float)
        return found * ((row >= 0)[:, None] & (column >= 0)[None, :])


@dataclass(frozen=True, eq=False)
class NumberedRaster:
    """A region's position in each cell, -1 where there is none: many regions in one field.

    Attributes
    ----------
    lat_edges, lon_edges : array
    numbers : array of int, (lat, lon)
    count : int
        Number of regions.
    """

    lat_edges: np.ndarray
    lon_edges: np.ndarray
    numbers: np.ndarray
    count: int

    def at(self, cells: CellEdges) -> np.ndarray:
        """Fractions (region, lat, lon) of cells that refine the raster, 0 or 1."""
        row, column = position(self, cells)
        found = np.where((row >= 0)[:, None] & (column >= 0)[None, :], self.numbers[row[:, None], column[None, :]], -1)
        return (found == np.arange(self.count)[:, None, None]).astype(float)


@dataclass(frozen=True, eq=False)
class AreasInCells:
    """What lies in each cell of a grid, cells flattened lat-major [m2].

    Attributes
    ----------
    land, inside : array, (cell,)
        Land, and the part inside the study's grid.
    region_land : sparse matrix, (cell, region)
        Land of each region.
    region : sparse matrix, (cell, region)
        The region's whole area in cells without land.
    all_land : array, (region + 1,)
        Land of each region, and all land, also beyond the grid.
    """

    land: np.ndarray
    inside: np.ndarray
    region_land: sparse.csr_matrix
    region: sparse.csr_matrix
    all_land: np.ndarray


def areas_in(source: Grid, domain: Grid, land: CellMap, regions: CellMap, count: int) -> AreasInCells:
    """Areas of land and regions in the cells of `source`, from the maps' own resolution.

    Where a cell of land and regions is shared by several regions, `Regions.share_of_land` divides its land.

    Parameters
    ----------
    source : Grid
        A product's grid.
    domain : Grid
        The study's: what lies outside it is in no region.
    count : int
        Number of regions.
    """
    cells = Cells.refining(source, domain, land, regions)
    rows, columns = position(source, cells)
    to_column = sparse.csr_matrix(
        ((columns >= 0).astype(float), (np.maximum(columns, 0), np.arange(columns.size))), (source.shape[1], columns.size)
    )
    everywhere, parts = np.zeros(count + 1), []
    for chosen in _blocks(rows, 4 * count * columns.size):
        fields = _fields(cells.rows(chosen), domain, land, regions)
        everywhere += fields[[*range(count), 2 * count]].sum(axis=(1, 2))
        known = rows[chosen] >= 0
        if known.any():
            start = np.unique(rows[chosen][known], return_index=True)[1]
            summed = np.add.reduceat(fields[:, known], start, axis=1)
            total = to_column @ summed.reshape(-1, columns.size).T
            parts.append(sparse.csr_matrix(_only_at_sea(total.reshape(source.shape[1], len(fields), -1), count)))
    layers = sparse.vstack(parts, format="csr")
    land_area, inside_area = (layers[:, i].toarray().ravel() for i in (2 * count, 2 * count + 1))
    return AreasInCells(land_area, inside_area, layers[:, :count], layers[:, count : 2 * count], everywhere)


def _blocks(rows: np.ndarray, row_size: int) -> Iterator[slice]:
    """Some rows at a time, to spare memory, never parts of a source row."""
    ends = np.append(np.flatnonzero(np.diff(rows)) + 1, rows.size)
    start = 0
    for end, following in zip(ends, np.append(ends[1:], 2**62), strict=True):
        if following - start > _BLOCK_BYTES / (8 * row_size) or end == rows.size:
            yield slice(start, int(end))
            start = int(end)


def _only_at_sea(total: np.ndarray, count: int) -> np.ndarray:
    """Areas (cell, layer) from (column, layer, row), the regions' own only where there is no land."""
    layers = total.transpose(2, 0, 1).reshape(-1, total.shape[1])
    layers[:, count : 2 * count] *= (layers[:, 2 * count] == 0)[:, None]
    return layers


def _fields(cells: Cells, domain: Grid, land: CellMap, regions: CellMap) -> np.ndarray:
    """Areas [m2] of the regions' land, the regions, the land and the domain in each cell, (layer, lat, lon)."""
    row, column = position(domain, cells)
    area = cells.cell_area * ((row >= 0)[:, None] & (column >= 0)[None, :])
    fraction, land_fraction = regions.at(cells), land.at(cells)
    most = np.maximum(fraction.sum(axis=0), land_fraction)
    share = np.divide(fraction, most, out=np.zeros_like(fraction), where=most > 0)
    return np.concatenate([share * land_fraction * area, fraction * area, (land_fraction * area)[None], area[None]])

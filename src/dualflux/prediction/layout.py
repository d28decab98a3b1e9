"""How a large cube is cut: bands of latitude rows for what is written, tiles of cells for what is computed, spans of months.

A band is a few whole rows of the grid: one chunk of a product, written by one task. Its land cells, in the order of the
grid, are cut into tiles of `kernel.TILE`; the sea is nowhere. A span is a year of days or ten years of months.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dualflux.cube import Columns, Steps
from dualflux.grid import Grid, LandCells
from dualflux.prediction.kernel import TILE, Shape
from dualflux.run_folder.files import write_atomically

BAND_CELLS = 8192  # land cells of a band, at most, unless one row has more: its last tile is half empty on average
SPAN_MONTHS = {"daily": 12, "monthly": 120}
DESCRIPTION = "layout.json"


class Band(NamedTuple):
    """Some whole rows of the grid: half-open ranges of rows, land cells and tiles."""

    rows: slice
    cells: slice
    tiles: slice

    @property
    def tiles_range(self) -> range:
        """Its tiles by number."""
        return range(self.tiles.start, self.tiles.stop)


class Task(NamedTuple):
    """One unit of work: a band over a span, both by number."""

    band: int
    span: int


@dataclass(frozen=True, eq=False)
class Layout:
    """A prepared cube's cells, time steps and columns.

    Attributes
    ----------
    cells : LandCells
        Modelled cells, ascending, and the regions they belong to.
    land_area : array, (lat, lon)
        All land [m2], also land without a flux.
    steps : Steps
    columns : Columns
    series : array float32, (step, series)
        Standardised predictors of time alone.
    band_rows : int
        Rows of a band; the last may have fewer.
    """

    cells: LandCells
    land_area: np.ndarray
    steps: Steps
    columns: Columns
    series: np.ndarray
    band_rows: int

    @classmethod
    def create(cls, cells: LandCells, land_area: np.ndarray, steps: Steps, columns: Columns, series: np.ndarray) -> "Layout":
        """With bands as high as `BAND_CELLS` allows."""
        grid = cells.grid
        most = np.bincount(cells.index // len(grid.lon)).max()
        return cls(cells, land_area, steps, columns, series, int(min(max(1, BAND_CELLS // most), len(grid.lat))))

    @property
    def grid(self) -> Grid:
        """The grid of the products."""
        return self.cells.grid

    @property
    def index(self) -> np.ndarray:
        """Position of each modelled cell in the flattened grid, ascending, (cell,)."""
        return self.cells.index

    @property
    def shape(self) -> Shape:
        """What the kernel is compiled for."""
        length = self.steps.length
        return Shape(self.columns, min(SPAN_MONTHS[length.name], len(self.steps.months)), length)

    @cached_property
    def bands(self) -> list[Band]:
        """All bands, from south to north."""
        found, tile, rows = [], 0, len(self.grid.lat)
        for first in range(0, rows, self.band_rows):
            last = min(first + self.band_rows, rows)
            begin, end = np.searchsorted(self.index, np.array([first, last]) * len(self.grid.lon))
            tiles = -(-int(end - begin) // TILE)
            found.append(Band(slice(first, last), slice(int(begin), int(end)), slice(tile, tile + tiles)))
            tile += tiles
        return found

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.bands[-1].tiles.stop

    def cells_of(self, band: Band, tile: int) -> slice:
        """The cells of one of a band's tiles."""
        first = band.cells.start + (tile - band.tiles.start) * TILE
        return slice(first, min(first + TILE, band.cells.stop))

    def all_tiles(self) -> list[slice]:
        """The cells of every tile."""
        return [self.cells_of(band, tile) for band in self.bands for tile in band.tiles_range]

    def part(self, own: slice) -> LandCells:
        """Some of the modelled cells, and the regions they belong to."""
        c = self.cells
        return LandCells(c.grid, c.index[own], c.land_area[own], c.region_names, np.asarray(c.region_fraction[:, own]))

    @property
    def spans(self) -> list[slice]:
        """Ranges of months, each `shape.months` long but the last."""
        length, months = self.shape.months, len(self.steps.months)
        return [slice(first, min(first + length, months)) for first in range(0, months, length)]

    def tasks(self) -> list[Task]:
        """Every band with land over every span, a band's spans one after the other; large bands first, so that cores end together."""
        land = [b for b, band in enumerate(self.bands) if (self.land_area[band.rows] > 0).any()]
        land.sort(key=lambda b: self.bands[b].tiles.start - self.bands[b].tiles.stop)
        return [Task(b, s) for b in land for s in range(len(self.spans))]

    def save(self, folder: Path) -> list[Path]:
        """Write to a folder; return the files."""
        folder.mkdir(parents=True, exist_ok=True)
        cells = self.cells
        arrays = {
            "lat": cells.grid.lat, "lon": cells.grid.lon, "index": cells.index, "land_area": self.land_area,
            "region_fraction": cells.region_fraction, "series": self.series,
        }  # fmt: skip
        for name, values in arrays.items():
            np.save(folder / f"{name}.npy", values)
        steps = [str(self.steps.time[0]), str(self.steps.time[-1]), self.steps.length.name]
        columns = [self.columns.static, self.columns.seasonal, self.columns.dynamic]
        about = {"columns": columns, "steps": steps, "band_rows": self.band_rows, "regions": cells.region_names}
        write_atomically(folder / DESCRIPTION, json.dumps(about, indent=1))
        return [folder / DESCRIPTION, *(folder / f"{name}.npy" for name in arrays)]

    @classmethod
    def load(cls, folder: Path) -> "Layout":
        """Read what `save` wrote; the regions' shares stay on disk until they are used."""
        about = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        lat, lon, index, land_area, series = (np.load(folder / f"{n}.npy") for n in ("lat", "lon", "index", "land_area", "series"))
        fraction = np.load(folder / "region_fraction.npy", mmap_mode="r")
        cells = LandCells(Grid(lat, lon), index, land_area.ravel()[index], tuple(about["regions"]), fraction)
        columns = Columns(*(tuple(names) for names in about["columns"]))
        return cls(cells, land_area, Steps.create(*about["steps"]), columns, series, about["band_rows"])

"""Standardised predictors of the land, tile by tile, wherever they lie: in memory (`run`) or in a store on disk (`predict`)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from dualflux.cube import Cube
from dualflux.prediction.kernel import TILE, Shape, dynamic_to_months, seasonal_to_months, static_to_lanes


class Tiles(Protocol):
    """What an engine walks over; a tile is up to `kernel.TILE` neighbouring cells."""

    @property
    def shape(self) -> Shape:
        """Columns, the months of a whole span, and the step."""

    @property
    def series(self) -> np.ndarray:
        """Standardised predictors of time alone, (step, series)."""

    def tiles(self) -> Sequence[slice]:
        """The cells of each tile, as positions among the modelled cells, ascending and without gaps."""

    def invariant(self, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Static and seasonal columns as `kernel.Tile` has them."""

    def read(self, tile: int, span: slice) -> np.ndarray:
        """Dynamic columns over a span of months as `kernel.Tile` has them, padded to the months of a whole span."""


class CubeTiles:
    """Tiles of a cube in memory, one month after the other.

    Parameters
    ----------
    cube : Cube
    """

    def __init__(self, cube: Cube) -> None:
        self.cube = cube
        self.shape = Shape(cube.columns, 1, cube.steps.length)
        self.series = cube.series

    def tiles(self) -> list[slice]:
        """The cells of each tile."""
        cells = len(self.cube.static)
        return [slice(first, min(first + TILE, cells)) for first in range(0, cells, TILE)]

    def invariant(self, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Static and seasonal columns."""
        cells = self.tiles()[tile]
        return static_to_lanes(self.cube.static[cells]), seasonal_to_months(self.cube.seasonal[:, cells], self.cube.steps.length)

    def read(self, tile: int, span: slice) -> np.ndarray:
        """Dynamic columns of a span of at most a month."""
        steps = self.cube.steps.of_months(span)
        first = self.cube.steps.month_start[span.start]
        return dynamic_to_months(self.cube.dynamic[first : first + len(steps.time), self.tiles()[tile]], steps)

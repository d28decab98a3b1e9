"""Gridded predictors brought to the study's cells and steps, block by block: never a whole cube in memory."""

from collections.abc import Callable, Hashable, Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse

from dualflux.grid import Grid, LandCells, Overlap, grid_of, normalise_coordinates, regrid
from dualflux.sources.files.chunks import require_written
from dualflux.sources.files.gridded import read_values
from dualflux.sources.files.plausible import Plausible
from dualflux.sources.files.time_axis import Intervals

MINIMUM_COVERAGE = 0.5  # part of a step's length that must have values for a mean over the step
BLOCK_BYTES = 64e6
TARGET_STEPS = 128
_SLIVER = 1e-6  # part of a cell; what coordinates written with few digits seem to overlap
_UNDECLARED_FILL = 1e19  # fill values such as 1e20 that the file does not declare


class ToGrid:
    """Takes fields of one file to a target grid; the overlap of the two grids is computed once.

    Parameters
    ----------
    target : Grid
    what : str
        File and variable, for messages.
    plausible : Plausible, optional
        What the values can be; looked at where they are used.
    unwritten : str
        What a study can say of chunks that were never written; empty where it has said so, see `require_written`.
    """

    def __init__(self, target: Grid, what: str, plausible: Plausible | None = None, unwritten: str = "") -> None:
        self.target, self.what, self.plausible, self.unwritten = target, what, plausible, unwritten
        self._source: Grid | None = None
        self._overlap: Overlap | None = None

    def __call__(self, data: xr.DataArray, used: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Area-weighted mean and valid part of each target cell, both (..., lat, lon); see `grid.regrid`.

        -9999, undeclared fill values and infinities are missing; so is a cell of which less than a millionth is covered.

        Parameters
        ----------
        used : array of bool, (target lat, target lon), optional
            Target cells whose values matter: only what lies in them must be plausible.

        Raises
        ------
        InputError
            See `Plausible.require` and `require_written`.
        """
        data = normalise_coordinates(data.copy(data=read_values(data, self.what)), self.what)
        values = data.to_numpy()
        values[~np.isfinite(values) | (values == -9999) | (np.abs(np.nan_to_num(values)) > _UNDECLARED_FILL)] = np.nan
        source = grid_of(data, self.what)
        same = source.same_as(self.target)
        if not same and (self._overlap is None or self._source is None or not source.same_as(self._source)):
            self._source, self._overlap = source, Overlap.between(source, self.target)
        self._look(values, data, None if used is None else used if same or self._overlap is None else self._overlap.reached(used))
        if same:
            return values, np.isfinite(values).astype(float)
        mean, valid = regrid(values, source, self.target, overlap=self._overlap)
        mean[valid < _SLIVER] = np.nan
        return mean, valid

    def _look(self, values: np.ndarray, data: xr.DataArray, used: np.ndarray | None) -> None:
        chosen = np.ones(values.shape[-2:], dtype=bool) if used is None else used
        require_written(data, chosen, self.what, self.unwritten)
        if self.plausible is not None:
            self.plausible.require(values[..., chosen].reshape(-1, int(chosen.sum())))

    def cells(self, data: xr.DataArray, cells: LandCells) -> np.ndarray:
        """Values of the land cells, (..., cell)."""
        mean, _ = self(data, cells.to_map(np.ones(cells.index.size, dtype=bool), False))
        return mean.reshape(*mean.shape[:-2], -1)[..., cells.index]


def step_ends(begin: pd.DatetimeIndex, time_step: str) -> pd.DatetimeIndex:
    """End of each monthly or daily step of the study."""
    return (begin.to_period("M" if time_step == "monthly" else "D") + 1).to_timestamp()


def time_overlap(source: Intervals, target: Intervals) -> sparse.csr_matrix:
    """Days that each target step (row) shares with each source step (column); both ascend."""
    first = np.searchsorted(source[1].to_numpy(), target[0].to_numpy(), side="right")
    last = np.searchsorted(source[0].to_numpy(), target[1].to_numpy(), side="left")
    count = np.maximum(last - first, 0)
    rows = np.repeat(np.arange(len(target[0])), count)
    columns = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    low = np.maximum(source[0].to_numpy()[columns], target[0].to_numpy()[rows])
    high = np.minimum(source[1].to_numpy()[columns], target[1].to_numpy()[rows])
    days = (high - low) / np.timedelta64(1, "D")
    return sparse.csr_matrix((np.maximum(days, 0.0), (rows, columns)), shape=(len(target[0]), len(source[0])))


class Steps(Protocol):
    """A field in steps, of which blocks are read: a lazy DataArray, or several files."""

    @property
    def sizes(self) -> Mapping[Hashable, int]:
        """Of each dimension, `time` among them."""

    def isel(self, *, time: slice) -> xr.DataArray:
        """Some steps."""


def read_steps(
    data: Steps,
    overlap: sparse.csr_matrix,
    lengths: np.ndarray,
    read: Callable[[xr.DataArray], np.ndarray],
    block_bytes: float = BLOCK_BYTES,
) -> np.ndarray:
    """Time-weighted mean over the source steps that overlap each target step.

    Parameters
    ----------
    data : DataArray or FilesInTime, (time, ...)
        Lazy; at most about `block_bytes` of it are read at once.
    overlap : sparse matrix, (target, source)
        From `time_overlap` [days].
    lengths : array, (target,)
        Length of each target step [days].
    read : function
        Takes a block of `data` to (time, cell) values, NaN where missing.

    Returns
    -------
    array float32, (target, cell)
        NaN where less than `MINIMUM_COVERAGE` of the step has values.
    """
    size = max(1, int(block_bytes // (8 * np.prod([n for d, n in data.sizes.items() if d != "time"]))))
    parts = []
    for start in range(0, overlap.shape[0], TARGET_STEPS):
        rows = overlap[start : start + TARGET_STEPS]
        parts.append(_mean_of_steps(data, rows, lengths[start : start + TARGET_STEPS], read, size))
    return np.concatenate(parts)


def _mean_of_steps(
    data: Steps, overlap: sparse.csr_matrix, lengths: np.ndarray, read: Callable[[xr.DataArray], np.ndarray], size: int
) -> np.ndarray:
    used = np.unique(overlap.indices)
    total: np.ndarray | float = 0.0
    covered: np.ndarray | float = 0.0
    for start in range(used[0], used[-1] + 1, size) if used.size else range(0, 1):
        block = slice(start, min(start + size, used[-1] + 1) if used.size else 1)
        values = read(data.isel(time=block))
        total = total + overlap[:, block] @ np.nan_to_num(values)
        covered = covered + overlap[:, block] @ np.isfinite(values).astype(float)
    enough = covered >= MINIMUM_COVERAGE * lengths[:, None] - 1e-9
    return np.divide(total, covered, out=np.full(np.shape(total), np.nan), where=enough & (covered > 0)).astype(np.float32)

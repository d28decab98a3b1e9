"""A predictor's steps, in one file or in one per year or month: one record either way, of which blocks are read."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.chunks import UNWRITTEN
from dualflux.sources.files.gridded import read_values
from dualflux.sources.files.time_axis import Intervals, TimeSteps, joined

Opened = Callable[[Path], AbstractContextManager[tuple[xr.DataArray, TimeSteps]]]


@dataclass(frozen=True, eq=False)
class _Part:
    """One file: its steps, and what all files must share."""

    path: Path
    steps: TimeSteps
    place: dict[str, np.ndarray]
    units: object

    @classmethod
    def of(cls, path: Path, data: xr.DataArray, steps: TimeSteps) -> "_Part":
        place = {str(d): data[d].to_numpy() if d in data.coords else np.arange(data.sizes[d]) for d in data.dims if d != "time"}
        return cls(path, steps, place, data.attrs.get("units"))


class FilesInTime:
    """Several files of one variable as one record along time; one of them is open at a time.

    Attributes
    ----------
    sizes : dict
        Of the whole record.
    first : DataArray
        The variable of the first file, for its attributes.
    steps : TimeSteps
        Of all files, in time.
    """

    def __init__(self, paths: list[Path], opened: Opened, what: str, closing: ExitStack) -> None:
        self._opened, self._closing = opened, closing
        self._open: tuple[Path, xr.DataArray] | None = None
        parts, first = [], list[xr.DataArray]()
        for path in paths:
            data, steps = self._use(path)
            if not len(steps.stamps):
                raise InputError(f"{what}: {path.name} has no time step; get the file again")
            parts.append(_Part.of(path, data, steps))
            sizes = dict(data.sizes)
            first.append(data)
        self.first = first[0]
        self._parts = sorted(parts, key=lambda part: part.steps.labels[0])
        _check_alike(self._parts, what)
        self.steps = joined([part.steps for part in self._parts])
        _check_once(self._parts, what)
        self._begin = np.cumsum([0, *(len(part.steps.stamps) for part in self._parts)])
        self._along_time: dict[str, tuple[str, np.ndarray]] = {}
        self.sizes = {**sizes, "time": int(self._begin[-1])}

    @property
    def size(self) -> int:
        """Values of the whole record."""
        return int(np.prod(list(self.sizes.values())))

    def assign_coords(self, coords: dict[str, tuple[str, np.ndarray]]) -> "FilesInTime":
        """This record with more coordinates along time, name: (``time``, values)."""
        self._along_time |= coords
        return self

    def isel(self, time: slice) -> xr.DataArray:
        """The block of some steps, read from the files that hold them; what their own declarations say is missing is NaN."""
        start, stop, _ = time.indices(self.sizes["time"])
        blocks = []
        for part, first, end in zip(self._parts, self._begin[:-1], self._begin[1:], strict=True):
            inside = slice(max(start - first, 0), min(stop, end) - first)
            if inside.start < inside.stop:
                data, _ = self._use(part.path)
                blocks.append(_read(data.isel(time=inside).drop_vars("time", errors="ignore"), part.path))
        block = xr.concat(_with_written(blocks), dim="time", coords="minimal", compat="override", join="override")
        return block.assign_coords({name: (along, values[start:stop]) for name, (along, values) in self._along_time.items()})

    def gaps(self, source: Intervals) -> list[tuple[pd.Timestamp, pd.Timestamp, str]]:
        """Begin and end of each time that no file holds, and between which files it lies; `source` are the intervals of all steps."""
        found = []
        for number, (before, after) in enumerate(pairwise(self._parts), start=1):
            begin, end = source[1][self._begin[number] - 1], source[0][self._begin[number]]
            if end > begin:
                found.append((begin, end, f"{before.path.name} and {after.path.name}"))
        return found

    def _use(self, path: Path) -> tuple[xr.DataArray, TimeSteps]:
        if self._open is None or self._open[0] != path:
            self._closing.close()
            found = self._closing.enter_context(self._opened(path))
            self._open, self._steps = (path, found[0]), found[1]
        return self._open[1], self._steps


def _read(block: xr.DataArray, path: Path) -> xr.DataArray:
    """A block in memory; its file's packing, valid range and fill values are done with."""
    read = block.copy(data=read_values(block, f"{path.name}: `{block.name}`"))
    read.encoding = {}
    read.attrs = {name: value for name, value in read.attrs.items() if name not in ("valid_range", "valid_min", "valid_max")}
    return read.load()


def _with_written(blocks: list[xr.DataArray]) -> list[xr.DataArray]:
    """All blocks with the coordinate that says which values were never written, where one has it."""
    known = next((block.coords[UNWRITTEN].attrs for block in blocks if UNWRITTEN in block.coords), None)
    if known is None:
        return blocks
    found = [b.coords[UNWRITTEN].to_numpy() if UNWRITTEN in b.coords else np.zeros(b.shape, dtype=bool) for b in blocks]
    return [b.assign_coords({UNWRITTEN: (b.dims, gone, known)}) for b, gone in zip(blocks, found, strict=True)]


Record = xr.DataArray | FilesInTime


@contextmanager
def open_record(paths: list[Path], opened: Opened, what: str) -> Iterator[tuple[Record, TimeSteps]]:
    """One file's lazy variable and its steps, or several files as one record.

    Parameters
    ----------
    paths : list of Path
    opened : function
        Context manager that gives a file's variable, its leading dimension called `time`, and its steps.
    what : str
        For messages.

    Raises
    ------
    InputError
        Files that differ in unit or cells, or share time steps.
    """
    with ExitStack() as closing:
        if len(paths) == 1:
            yield closing.enter_context(opened(paths[0]))
        else:
            record = FilesInTime(paths, opened, what, closing)
            yield record, record.steps


def _check_alike(parts: list[_Part], what: str) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.units != first.units:
            raise InputError(
                f"{what}: its files have different units: `{first.units}` in {first.path.name}, `{part.units}` in {part.path.name}; "
                "give files of one unit"
            )
        alike = list(part.place) == list(first.place) and all(
            a.shape == b.shape and (np.array_equal(a, b) or np.allclose(a, b, atol=1e-4))
            for a, b in zip(part.place.values(), first.place.values(), strict=True)
        )
        if not alike:
            shapes = [" x ".join(f"{len(v)} {d}" for d, v in one.place.items()) for one in (first, part)]
            raise InputError(
                f"{what}: its files have different cells: {first.path.name} ({shapes[0]}), {part.path.name} ({shapes[1]}); "
                "give files of one grid, in one order of its cells"
            )


def _check_once(parts: list[_Part], what: str) -> None:
    """Raise InputError where two files overlap in time."""
    for before, after in pairwise(parts):
        if after.steps.labels[0] <= before.steps.labels.max():
            shared = int(after.steps.labels.isin(before.steps.labels).sum())
            raise InputError(
                f"{what}: {before.path.name} ({_span(before)}) and {after.path.name} ({_span(after)}) overlap: {shared} time steps stand "
                "in both; give each step once, in files that follow each other"
            )


def _span(part: _Part) -> str:
    labels = part.steps.labels
    return f"{labels.min():%Y-%m-%d} to {labels.max():%Y-%m-%d}"

"""Predictors of others to a prepared cube, in two passes that never hold more than a few steps or a few cells.

First each file is read once, some steps at a time, and brought to the land cells (scratch files, cells in blocks). Then, a
band of cells at a time, columns are derived and standardised as they were for training, and stored as tiles.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.cube import Steps
from dualflux.derived.memory import longest_look_back
from dualflux.errors import InputError, Problems
from dualflux.features import Standard, build_cube_as_trained, keeps_state, needs_mean_season
from dualflux.fitting.parallel import cores
from dualflux.grid import Grid, LandCells
from dualflux.prediction.journal import Journal
from dualflux.prediction.kernel import TILE, dynamic_to_months, seasonal_to_months, static_to_lanes
from dualflux.prediction.layout import DESCRIPTION, Layout
from dualflux.prediction.tile_store import PredictorStore
from dualflux.prediction.workers import Execution, run_tasks
from dualflux.run_folder.files import stamp, write_atomically
from dualflux.sources.land.read import LandFractionSettings, NoFluxSettings, land_cells
from dualflux.sources.land.region_masks import RegionSettings
from dualflux.sources.predictors.read import read_predictor, record_steps
from dualflux.sources.predictors.series import read_series
from dualflux.sources.predictors.settings import FROM_RECORD, PredictorSettings, Recipe, of_network, warm_up_days

FIELD_BYTES = 64e6  # of maps in double precision that a task of the first pass holds at once
SCRATCH = "scratch"

TimeStep = Literal["monthly", "daily"]


@dataclass(frozen=True)
class Sources:
    """Where predictors come from and what is made of them.

    Attributes
    ----------
    predictors : tuple of PredictorSettings
    land_fraction : LandFractionSettings
    no_flux : NoFluxSettings
    regions : RegionSettings
    root : Path
        The data root.
    resolution : float
        Of the grid [degrees].
    first, last : str
        First and last day.
    time_step : {"monthly", "daily"}
    recipe : Recipe
        Of the run.
    """

    predictors: tuple[PredictorSettings, ...]
    land_fraction: LandFractionSettings
    no_flux: NoFluxSettings
    regions: RegionSettings
    root: Path
    resolution: float
    first: str
    last: str
    time_step: TimeStep
    recipe: Recipe = FROM_RECORD

    @property
    def grid(self) -> Grid:
        """The grid of the products."""
        return Grid.global_regular(self.resolution)

    @property
    def steps(self) -> Steps:
        """The steps of the products."""
        return Steps.create(self.first, self.last, self.time_step)

    @property
    def from_files(self) -> list[PredictorSettings]:
        """Predictors on land that are read."""
        return [p for p in of_network(self.predictors) if not p.derived]


class Block(NamedTuple):
    """Some steps of one predictor: half-open range of the record, empty for one without time."""

    predictor: str
    first: int
    last: int

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.predictor}_{self.first:06d}"


def prepare_store(
    sources: Sources, standard: Standard, path: Path, where: Execution, advance: Callable[[str], Callable[[int, int], None]]
) -> Layout:
    """Read, derive, standardise and store all predictors; what is done already stays.

    Parameters
    ----------
    sources : Sources
    standard : Standard
        Of the run whose networks are used.
    path : Path
        The store, made where it does not exist.
    where : Execution
    advance : callable
        ``advance(text)`` gives what is told ``(done, of)`` after each task of a pass.

    Returns
    -------
    Layout

    Raises
    ------
    InputError
        Sources that are wrong or do not make the columns of the run.
    """
    journal, scratch = Journal(path), path / SCRATCH
    layout = Layout.load(path) if journal.is_done(DESCRIPTION) else None
    if layout is None or journal.undone(bands_with_cells(layout), band_name, cores()):
        layout = _fill_store(sources, standard, path, where, advance)
    if scratch.exists():
        shutil.rmtree(scratch)
    return layout


def _fill_store(
    sources: Sources, standard: Standard, path: Path, where: Execution, advance: Callable[[str], Callable[[int, int], None]]
) -> Layout:
    land = land_cells(sources.grid, sources.root, sources.land_fraction, sources.regions, sources.no_flux, sources.predictors)
    series = series_of(sources, standard)  # first: it costs nothing, and says at once where it does not reach
    record, scratch, journal = record_of(sources, standard), path / SCRATCH, Journal(path)
    scratch.mkdir(parents=True, exist_ok=True)
    blocks = blocks_of(sources, record)
    run_tasks(partial(read_block, sources, land.cells, record, scratch), blocks, where, advance("reading predictors"))
    layout = Layout.create(_kept(scratch, blocks, land.cells), land.land_area, sources.steps, standard.columns, series)
    if not journal.is_done(DESCRIPTION):
        journal.mark(DESCRIPTION, PredictorStore.create(path, layout))
    work = partial(store_band, Stored(sources, standard, path), land.cells.index, record)
    run_tasks(work, bands_with_cells(layout), where, advance("preparing predictors"))
    return layout


def series_of(sources: Sources, standard: Standard) -> np.ndarray:
    """Predictors of time alone at the steps of the products, standardised as they were for training, (step, series).

    Raises
    ------
    InputError
        They do not reach, or are others than those of training.
    """
    found = read_series(sources.predictors, sources.root, sources.steps.time, sources.time_step)
    if found.names != standard.series.names:
        trained, now = (", ".join(names) or "none" for names in (standard.series.names, found.names))
        raise InputError(f"predictors: trained with the series {trained}; now there are {now}; use the predictors of its training")
    return standard.series.standardised(found.values, sources.steps)


def record_of(sources: Sources, standard: Standard) -> pd.DatetimeIndex:
    """All steps to read: those asked for, those before that derived columns look back to, and the period of mean seasons."""
    first, last = sources.first, sources.last
    if keeps_state(standard.columns):  # it begins where it began for training
        first = min(first, str(standard.steps.time[0].date()))
    whole = min(first, str(standard.steps.time[0].date())), max(last, str(_last_day(standard.steps).date()))
    if needs_mean_season(standard.columns):
        return _shared_record(sources, *whole)
    record = _shared_record(sources, first, last)
    if sources.recipe.spin_up == "mean_season":
        dynamic = [p.name for p in sources.from_files if p.kind == "dynamic"]
        look_back = longest_look_back(standard.columns.dynamic, dynamic, sources.steps)
        if (record < sources.steps.time[0]).sum() < look_back:
            return _shared_record(sources, *whole)
    return record


def _shared_record(sources: Sources, first: str, last: str) -> pd.DatetimeIndex:
    """The steps from the first to the last day, and those before that all dynamic predictors have."""
    times = Steps.create(first, last, sources.time_step).time
    dynamic = [p for p in sources.from_files if p.kind == "dynamic"]
    problems, starts = Problems(), []
    for one in dynamic:
        with problems.collect():
            starts.append(record_steps(one, sources.root, times, sources.time_step, warm_up_days(sources.predictors, sources.time_step)))
    problems.raise_if_any()
    return times if not starts else max(starts, key=lambda t: t[0])


def _last_day(steps: Steps) -> pd.Timestamp:
    return steps.months[-1] + pd.offsets.MonthEnd(1)


def blocks_of(sources: Sources, record: pd.DatetimeIndex) -> list[Block]:
    """The tasks of the first pass."""
    rows, columns = sources.grid.shape
    length = int(max(1, FIELD_BYTES // (8 * rows * columns)))
    found = []
    for one in sources.from_files:
        if one.kind == "dynamic":
            found += [Block(one.name, first, min(first + length, len(record))) for first in range(0, len(record), length)]
        else:
            found.append(Block(one.name, 0, 0))
    return found


def read_block(sources: Sources, cells: LandCells, record: pd.DatetimeIndex, scratch: Path, block: Block) -> None:
    """Bring some steps of a predictor to the land cells and write them, blocks of `TILE` cells first: (block, lead, lane)."""
    journal = Journal(scratch)
    if journal.is_done(block.name):
        return
    one = next(p for p in sources.from_files if p.name == block.predictor)
    times = record[block.first : block.last] if one.kind == "dynamic" else sources.steps.time
    found = read_predictor(one, sources.root, cells.grid, cells, times, sources.time_step)
    values = found.to_numpy().reshape(-1, cells.index.size)
    padded = np.zeros((len(values), -(-cells.index.size // TILE) * TILE), dtype=np.float32)
    padded[:, : cells.index.size] = values
    _save(scratch / f"{block.name}.npy", padded.reshape(len(values), -1, TILE).swapaxes(0, 1))
    _save(scratch / f"{block.name}.dropped.npy", np.asarray(found.attrs["dropped"]))
    about: dict[str, object] = {"kind": str(one.kind), "units": str(found.attrs["units"]), "dims": [str(d) for d in found.dims]}
    if one.kind == "fractions":
        about["classes"] = [str(c) for c in found[f"{one.name}_class"].to_numpy()]
    write_atomically(scratch / f"{block.name}.json", json.dumps(about))
    journal.mark(block.name, [scratch / f"{block.name}{end}" for end in (".npy", ".dropped.npy", ".json")])


def _save(path: Path, values: np.ndarray) -> None:
    partial_file = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial_file.open("wb") as file:
        np.save(file, np.ascontiguousarray(values))
    partial_file.replace(path)


def _kept(scratch: Path, blocks: list[Block], cells: LandCells) -> LandCells:
    """The cells that no predictor's rule drops."""
    dropped = np.zeros(cells.index.size, dtype=bool)
    for block in blocks:
        dropped |= np.load(scratch / f"{block.name}.dropped.npy")
    if dropped.all():
        raise InputError("predictors: rule `drop` leaves no land cell; use `nearest` or a value for the predictor that has none")
    keep = ~dropped
    return LandCells(cells.grid, cells.index[keep], cells.land_area[keep], cells.region_names, cells.region_fraction[:, keep])


@dataclass(frozen=True, eq=False)
class Stored:
    """What the second pass works with."""

    sources: Sources
    standard: Standard
    path: Path


def band_name(band: int) -> str:
    """Of a band's note."""
    return f"band_{band:05d}"


def store_band(stored: Stored, index: np.ndarray, record: pd.DatetimeIndex, number: int) -> None:
    """Derive, standardise and store the tiles of a band; `index` holds the cells of the scratch files."""
    journal = Journal(stored.path)
    if journal.is_done(band_name(number)):
        return
    store = _store(stored.path, _mark(stored.path / DESCRIPTION))
    layout, files = store.layout, []
    band = layout.bands[number]
    for tile in band.tiles_range:
        cells = layout.index[layout.cells_of(band, tile)]
        data = read_scratch(stored.sources, stored.path / SCRATCH, np.searchsorted(index, cells), record)
        lat = layout.grid.lat[cells // len(layout.grid.lon)]
        cube = build_cube_as_trained(data, lat, layout.steps, stored.standard, stored.sources.recipe)
        varying = seasonal_to_months(cube.seasonal, layout.steps.length), dynamic_to_months(cube.dynamic, layout.steps)
        files += store.write_tile(tile, static_to_lanes(cube.static), *varying, static_to_lanes(cube.mean_year()))
    journal.mark(band_name(number), files)


def read_scratch(sources: Sources, scratch: Path, place: np.ndarray, record: pd.DatetimeIndex) -> xr.Dataset:
    """All predictors of a few cells, at `place` in the scratch files, as `build_cube_as_trained` wants them."""
    blocks: dict[str, list[Block]] = {}
    for block in blocks_of(sources, record):
        blocks.setdefault(block.predictor, []).append(block)
    data = xr.Dataset()
    for name, parts in blocks.items():
        about = json.loads((scratch / f"{parts[0].name}.json").read_text(encoding="utf-8"))
        values = np.concatenate([_cells(scratch / f"{p.name}.npy", place) for p in parts])
        coords: dict[str, object] = {"time": record} if about["kind"] == "dynamic" else {}
        if "month" in about["dims"]:
            coords = {"month": np.arange(1, 13)}
        if "classes" in about:
            coords = {f"{name}_class": about["classes"]}
        data[name] = xr.DataArray(
            values if coords else values[0], coords, dims=(*coords, "cell"), attrs={n: about[n] for n in ("kind", "units")}
        )
    return data


def _cells(path: Path, place: np.ndarray) -> np.ndarray:
    """(lead, cell) of some neighbouring cells of a scratch file."""
    file = _mapped(path, _mark(path))
    first, last = place[0] // TILE, place[-1] // TILE + 1
    near = np.asarray(file[first:last]).swapaxes(0, 1)
    return near.reshape(len(near), -1)[:, place - first * TILE]


# What a process has open; another file under the same name is opened anew (a cluster's workers outlive a run).
@cache
def _mapped(path: Path, mark: frozenset[tuple[str, int]]) -> np.ndarray:
    found: np.ndarray = np.load(path, mmap_mode="r")
    return found


@lru_cache(maxsize=4)
def _store(path: Path, mark: frozenset[tuple[str, int]]) -> PredictorStore:
    return PredictorStore(path)


def _mark(path: Path) -> frozenset[tuple[str, int]]:
    return frozenset(stamp(path).items())


def bands_with_cells(layout: Layout) -> list[int]:
    """Numbers of the bands that are stored."""
    return [number for number, band in enumerate(layout.bands) if len(band.tiles_range)]

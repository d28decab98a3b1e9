"""The model over a prepared cube, chunk by chunk: reading ahead, computing, writing whole chunks, going on where it stopped."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import pandas as pd

from dualflux.errors import NumericalError
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.in_memory import stack_ensembles
from dualflux.prediction.journal import Journal
from dualflux.prediction.kernel import LANES, EnsembleKernel, Statistics, Tile, months_of
from dualflux.prediction.layout import Band, Layout, Task
from dualflux.prediction.tile_store import PredictorStore, aligned
from dualflux.prediction.workers import Execution, run_tasks
from dualflux.prediction.zarr_product import CHUNK_DAYS, MapStore, band_maps

KEPT_TILES = 64  # whose invariant columns a process keeps: a band is computed over one span after the other

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True)
class Plan:
    """What a worker needs to know, as plain values.

    Attributes
    ----------
    predictors : Path
        A store of `prepare`.
    weights : Path
        The ensemble.
    out : Path
        Folder of the products.
    daily : bool
        Also write each day.
    key : str
        Changes with the content of `predictors` and `weights`: a cluster's workers outlive a run.
    """

    predictors: Path
    weights: Path
    out: Path
    daily: bool
    key: str = ""

    @property
    def journal(self) -> Journal:
        """Notes of what is whole."""
        return Journal(self.out)


class Worker:
    """What a process keeps between tasks: the model, its program, the opened stores."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.store = plan, PredictorStore(plan.predictors)
        self.ensemble = Ensemble.load(plan.weights)
        self.kernel = EnsembleKernel(stack_ensembles([self.ensemble]), self.layout.shape, plan.daily)
        self.invariants = lru_cache(maxsize=KEPT_TILES)(self._invariants)

    @property
    def layout(self) -> Layout:
        """Of the store."""
        return self.store.layout

    @cached_property
    def monthly(self) -> MapStore:
        """The monthly product."""
        return MapStore(monthly_path(self.plan.out))

    def read(self, band: int, tile: int, span: slice) -> Tile:
        """What the kernel needs for a tile over a span."""
        static, seasonal, field = self.invariants(band, tile)
        return Tile(static, seasonal, self.store.dynamic(tile, span), field)

    def _invariants(self, band: int, tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Static and seasonal columns of a tile and its members' spatial effect."""
        part = self.layout.cells_of(self.layout.bands[band], tile)
        place = self.ensemble.basis.at(*self.layout.centres(part))
        effect = np.asarray(self.ensemble.model.spatial, dtype=np.float64) @ place.T
        field = aligned((*effect.shape[:-1], LANES))
        field[...] = 0.0
        field[..., : len(place)] = effect
        return *self.store.invariant(tile), field


def upscale_chunk(plan: Plan, task: Task) -> None:
    """Compute and write a band over a span, unless that is done; what is computed does not depend on who does it, or when."""
    name = f"b{task.band:05d}_s{task.span:03d}"
    if plan.journal.is_done(name):
        return
    worker = _worker(plan)
    layout = worker.layout
    band, span = layout.bands[task.band], layout.spans[task.span]
    monthly, daily = _empty(layout, band, plan.daily)
    months = months_of(layout.steps, span, layout.shape.months)
    for tile, inputs in read_ahead(lambda tile: worker.read(task.band, tile, span), range(band.tiles.start, band.tiles.stop)):
        found, per_step = worker.kernel(inputs, months)
        cells = layout.cells_of(band, tile)
        place = slice(cells.start - band.cells.start, cells.stop - band.cells.start)
        _put(monthly, found, place)
        if daily is not None and per_step is not None:
            _put(daily, per_step, place)
    length = span.stop - span.start
    files = worker.monthly.write(task.band, band.rows, span, _maps(layout, band, {n: v[:length] for n, v in monthly.items()}))
    if daily is not None:
        inside = np.arange(layout.shape.steps) < np.asarray(months.count)[:, None]
        days = _maps(layout, band, {n: v[inside] for n, v in daily.items()})
        files += MapStore(daily_path(plan.out, layout, span)).write(task.band, band.rows, slice(0, int(inside.sum())), days)
    plan.journal.mark(name, files)


def _empty(layout: Layout, band: Band, daily: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    cells, shape = band.cells.stop - band.cells.start, layout.shape
    make = lambda *lead: {name: np.empty((*lead, cells), dtype=np.float32) for name in Statistics._fields}  # noqa: E731
    return make(shape.months), make(shape.months, shape.steps) if daily else None


def _put(whole: Mapping[str, np.ndarray], part: Statistics, place: slice) -> None:
    for name, values in part._asdict().items():
        whole[name][..., place] = values[..., : place.stop - place.start]


def _maps(layout: Layout, band: Band, fields: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    bad = int((~np.isfinite(fields["nee"])).sum())
    if bad:
        raise NumericalError(f"upscaling: {bad} fluxes of rows {band.rows.start} to {band.rows.stop - 1} are not finite")
    return {name: band_maps(layout, band, values) for name, values in fields.items()}


_making = Lock()


def _worker(plan: Plan) -> Worker:
    """This process's worker, made once, whichever thread comes first."""
    with _making:
        return _made(plan)


@lru_cache(maxsize=1)
def _made(plan: Plan) -> Worker:
    return Worker(plan)


def read_ahead(read: Callable[[T], V], items: Sequence[T]) -> Iterator[tuple[T, V]]:
    """Each item with what was read for it, while the next is being read."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, items[0]) if len(items) else None
        for place, item in enumerate(items):
            if waiting is None:
                return
            found = waiting.result()
            waiting = reader.submit(read, items[place + 1]) if place + 1 < len(items) else None
            yield item, found


def monthly_path(out: Path) -> Path:
    """The monthly product."""
    return out / "nee_monthly.zarr"


def daily_path(out: Path, layout: Layout, span: slice) -> Path:
    """The daily product of a span, named by its year, or by its months where it is no calendar year."""
    months = layout.steps.months[span]
    whole = len(months) == 12 and months[0].month == 1
    return out / f"nee_daily_{months[0]:%Y}.zarr" if whole else out / f"nee_daily_{months[0]:%Y%m}-{months[-1]:%Y%m}.zarr"


def create_products(plan: Plan, layout: Layout, attrs: Mapping[str, str]) -> None:
    """Make the empty products."""
    months = layout.steps.months
    MapStore.create(monthly_path(plan.out), layout, months, months + pd.offsets.MonthBegin(1), layout.shape.months, attrs)
    for span in layout.spans if plan.daily else ():
        first = layout.steps.month_start[span.start]
        days = layout.steps.time[first : first + layout.steps.month_steps[span].sum()]
        MapStore.create(daily_path(plan.out, layout, span), layout, days, days + pd.Timedelta(days=1), CHUNK_DAYS, attrs)


def upscale(plan: Plan, attrs: Mapping[str, str], where: Execution, advance: Callable[[int, int], None]) -> None:
    """Write the products of a prepared cube.

    Parameters
    ----------
    plan : Plan
    attrs : mapping of str to str
        Attributes of the products.
    where : Execution
    advance : callable
        Told ``(done, of)`` after each chunk.
    """
    layout = Layout.load(plan.predictors)
    create_products(plan, layout, attrs)
    run_tasks(partial(upscale_chunk, plan), layout.tasks(), where, advance)

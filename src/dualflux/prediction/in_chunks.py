"""The model over a prepared cube, chunk by chunk: computing, writing whole chunks, integrating them, going on where it stopped."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd

from dualflux.errors import NumericalError
from dualflux.fitting.parallel import cores
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.engine import Engine, drawn_anomalies, fields, integrate_months, stack_ensembles
from dualflux.prediction.journal import Journal
from dualflux.prediction.kernel import Found
from dualflux.prediction.layout import Layout, Task
from dualflux.prediction.product import Product, land_map, layer_values, members_to_write, total_std
from dualflux.prediction.tile_store import PredictorStore
from dualflux.prediction.workers import Execution, run_tasks
from dualflux.prediction.zarr_product import MapStore, copy_to_netcdf, seal, unseal


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
    unseen : float or None
        Variance of a vegetated cell beyond the members [(gC m-2 d-1)^2], see `uncertainty.cell_scale_variance`; None: no towers tell it.
    key : str
        Changes with the content of `predictors` and `weights`: a cluster's workers outlive a run.
    """

    predictors: Path
    weights: Path
    out: Path
    daily: bool
    unseen: float | None
    key: str = ""

    @property
    def journal(self) -> Journal:
        """Notes of what is whole."""
        return Journal(self.out)


class Worker:
    """What a process keeps between tasks: the model, its program, the opened stores."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.store = plan, PredictorStore(plan.predictors)
        self.layout = self.store.layout
        ensemble = Ensemble.load(plan.weights)
        self.members = members_to_write(ensemble.size, self.layout.grid, len(self.layout.steps.months))

        number = {cells.start: tile for tile, cells in enumerate(self.layout.all_tiles())}

        def effect(cells: slice) -> np.ndarray:
            own = self.layout.part(cells)
            lat, lon, basis, beyond = own.lat(), own.lon(), ensemble.basis.at(own.lat(), own.lon()), None
            if ensemble.distance is not None:
                place = self.store.mean_year(number[cells.start])[:, : cells.stop - cells.start].T
                beyond = ensemble.distance.field(lat, lon, place, basis)
            return fields(ensemble.model, basis, lat, beyond)

        self.vegetation = ensemble.model.network.vegetation
        alone = drawn_anomalies([ensemble], self.layout.steps.months, self.layout.cells)
        self.engine = Engine(stack_ensembles([ensemble]), self.store, self.layout.steps, effect, plan.daily, alone)

    @cached_property
    def monthly(self) -> MapStore:
        """The monthly product."""
        return MapStore(monthly_path(self.plan.out), layer_names(self.members))

    def unseen(self, tiles: range) -> np.ndarray | None:
        """`Plan.unseen` of the cells of tiles, (cell,), times the vegetation scale squared: sds are in proportion to it."""
        if self.plan.unseen is None:
            return None
        own = [self._vegetated(tile, self.layout.all_tiles()[tile]) for tile in tiles]
        return np.asarray(self.plan.unseen * np.concatenate(own) ** 2)

    def _vegetated(self, tile: int, cells: slice) -> np.ndarray:
        count = cells.stop - cells.start
        return np.ones(count) if self.vegetation is None else self.vegetation.at(self.store.invariant(tile)[0][:, :count].T)

    def daily(self, span: slice) -> MapStore:
        """The daily product of a span."""
        return MapStore(daily_path(self.plan.out, self.layout, span), layer_names(None))


def layer_names(members: int | None) -> tuple[str, ...]:
    """Of the layers of a product with or without members."""
    return ("nee", "nee_tower", "nee_std", "nee_std_total", *(() if members is None else ("nee_member",)))


def task_name(task: Task) -> str:
    """Of a task's note."""
    return f"b{task.band:05d}_s{task.span:03d}"


def upscale_chunk(plan: Plan, task: Task) -> None:
    """Compute, write and integrate a band over a span; what is computed does not depend on who does it, or when."""
    worker = _worker(plan)
    layout = worker.layout
    band, span = layout.bands[task.band], layout.spans[task.span]
    cells = layout.part(band.cells)
    found = worker.engine.walk(band.tiles_range, span)
    _require_finite(found, layout, task)
    unseen = worker.unseen(band.tiles_range)
    to_maps = lambda fields: {n: land_map(cells, layout.land_area, v, band.rows) for n, v in fields.items()}  # noqa: E731
    files = worker.monthly.write(task.band, band.rows, span, to_maps(_month_fields(found, unseen, worker.members is not None)))
    integrals = plan.journal.path(f"{task_name(task)}.npy")
    np.save(integrals, integrate_months(found.months.landscape, cells, layout.steps.month_days[span]))
    files.append(integrals)
    if found.steps is not None:
        steps = to_maps(_step_fields(found, layout.steps.month_steps[span], unseen))
        files += worker.daily(span).write(task.band, band.rows, slice(0, len(steps["nee"])), steps)
    plan.journal.mark(task_name(task), files)


def _month_fields(found: Found, unseen: np.ndarray | None, members: bool) -> dict[str, np.ndarray]:
    """Layers of months: (month, cell), of members (member, month, cell)."""
    each = [layer_values(*month, unseen) for month in zip(*found.months, strict=True)]
    fields = {name: np.stack([month[name] for month in each]) for name in each[0]}
    return {**fields, "nee_member": np.asarray(found.months.landscape).swapaxes(0, 1)} if members else fields


def _step_fields(found: Found, count: np.ndarray, unseen: np.ndarray | None) -> dict[str, np.ndarray]:
    """Layers of the steps that months have, (step, cell)."""
    if found.steps is None:
        raise ValueError("the engine was not asked for steps")
    inside = np.arange(found.steps.nee.shape[1]) < count[:, None]
    fields = {name: values[inside] for name, values in found.steps._asdict().items()}
    return {**fields, "nee_std_total": total_std(fields["nee_std"], unseen)}


def _require_finite(found: Found, layout: Layout, task: Task) -> None:
    bad = sum(int((~np.isfinite(values)).sum()) for values in found.months)
    if bad:
        rows = layout.bands[task.band].rows
        raise NumericalError(f"upscaling: {bad} fluxes of rows {rows.start} to {rows.stop - 1} are not finite")


_making = Lock()


def _worker(plan: Plan) -> Worker:
    """This process's worker, made once, whichever thread comes first."""
    with _making:
        return _made(plan)


@lru_cache(maxsize=1)
def _made(plan: Plan) -> Worker:
    return Worker(plan)


def monthly_path(out: Path) -> Path:
    """The monthly product."""
    return out / "nee_monthly.zarr"


def daily_path(out: Path, layout: Layout, span: slice) -> Path:
    """The daily product of a span, named by its year, or by its months where it is no calendar year."""
    months = layout.steps.months[span]
    whole = months[0].is_year_start and months[0] + pd.offsets.YearEnd(1) == months[-1] + pd.offsets.MonthEnd(1)
    return out / f"nee_daily_{months[0]:%Y}.zarr" if whole else out / f"nee_daily_{months[0]:%Y%m}-{months[-1]:%Y%m}.zarr"


@dataclass(frozen=True, eq=False)
class Store:
    """A product, where it stands and how it is cut."""

    path: Path
    product: Product
    chunk: int


def products(plan: Plan, layout: Layout, attrs: Mapping[str, str], applicability: np.ndarray | None) -> list[Store]:
    """The products of a plan: months with members up to the size limit, and days without them."""
    months, size = layout.steps.months, Ensemble.load(plan.weights).size
    members = members_to_write(size, layout.grid, len(months))
    make = partial(Product, layout.cells, layout.land_area)
    monthly = make(months, months + pd.offsets.MonthBegin(1), members, attrs, applicability)
    found = [Store(monthly_path(plan.out), monthly, layout.shape.months)]
    for span in layout.spans if plan.daily else ():
        days = layout.steps.of_months(span).time
        daily = make(days, days + pd.Timedelta(days=1), None, attrs, applicability)
        found.append(Store(daily_path(plan.out, layout, span), daily, layout.shape.steps))
    return found


def create_products(plan: Plan, layout: Layout, stores: list[Store]) -> None:
    """Make the products that are not there, or not as they were made, without fluxes; each is noted with the checksums of its files."""
    for store in stores:
        if not plan.journal.is_done(store.path.name):
            plan.journal.mark(store.path.name, MapStore.create(store.path, store.product, layout.band_rows, store.chunk))


def upscale(plan: Plan, stores: list[Store], where: Execution, advance: Callable[[int, int], None]) -> None:
    """Write the products of a prepared cube; what is whole stays.

    Parameters
    ----------
    plan : Plan
    stores : list of Store
        See `products`.
    where : Execution
    advance : callable
        Told ``(done, of)`` after each chunk.
    """
    layout, journal = Layout.load(plan.predictors), plan.journal
    create_products(plan, layout, stores)
    tasks = layout.tasks()
    undone = journal.undone(tasks, task_name, cores())
    if undone:
        for store in stores:
            unseal(store.path)
    done = len(tasks) - len(undone)
    run_tasks(partial(upscale_chunk, plan), undone, where, lambda count, of: advance(done + count, done + of))
    for store in stores:
        if not journal.is_done(f"sealed_{store.path.name}"):
            unseal(store.path)
            journal.mark(f"sealed_{store.path.name}", seal(store.path, store.product))


def integrals(plan: Plan, layout: Layout) -> np.ndarray:
    """Regional and global integrals of all members, (month, member, region + 1) [PgC month-1]: bands summed from south to north."""
    total: np.ndarray | None = None
    for task in sorted(layout.tasks()):
        part = np.load(plan.journal.path(f"{task_name(task)}.npy"))
        if total is None:
            total = np.zeros((len(layout.steps.months), *part.shape[1:]))
        total[layout.spans[task.span]] += part
    if total is None:
        raise ValueError("no band has land")
    return total


def netcdf_copies(stores: list[Store]) -> list[Path]:
    """The products as NetCDF too."""
    for store in stores:
        copy_to_netcdf(store.path, store.product, store.path.with_suffix(".nc"))
    return [store.path.with_suffix(".nc") for store in stores]

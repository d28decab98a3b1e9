"""A finished run's networks on another grid or other years: predictors in; maps and regional integrals out, as `run` writes them."""

import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from dualflux import __version__
from dualflux.errors import InputError
from dualflux.evaluation.regional import integral_rows, regional_table
from dualflux.features import Standard
from dualflux.fitting.parallel import cores
from dualflux.grid import Grid
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.at_towers import PREDICTIONS
from dualflux.prediction.in_chunks import Plan, integrals, netcdf_copies, products, upscale
from dualflux.prediction.journal import UNFINISHED, Journal
from dualflux.prediction.layout import Layout
from dualflux.prediction.tile_preparation import Sources, prepare_store
from dualflux.prediction.tile_store import PredictorStore
from dualflux.prediction.uncertainty import TowerReach
from dualflux.prediction.workers import Execution
from dualflux.prepared import Prepared, load
from dualflux.run_folder.files import checksum, read_sealed, sha256, write_sealed
from dualflux.run_folder.lock import hold_lock
from dualflux.run_folder.reading import require_whole, share_lock
from dualflux.run_folder.run_folder import MARKERS
from dualflux.sources.files.tables import find_files
from dualflux.sources.predictors.settings import Recipe
from dualflux.stages.distance import TABLE as DISTANCE
from dualflux.stages.upscale import product_attributes, unseen_cell_variance
from dualflux.study.settings import Study, whole_months

Progress = Callable[[str], Callable[[int, int], None]]
Format = Literal["zarr", "netcdf"]
FINEST = 0.05  # degrees: whole maps are held in memory, at 0.05 of 207 MB each, one per region too
TABLE = "tables/regional_monthly.csv"
_INTEGRALS = "integrals"  # note and file of a whole variant


def predict(
    study: Study,
    out: Path,
    *,
    resolution: float | None = None,
    period: tuple[date, date] | None = None,
    variant: str = "dual",
    daily: bool = False,
    form: Format = "zarr",
    where: Execution | None = None,
    advance: Progress = lambda text: lambda done, of: None,
    say: Callable[[str], None] = print,
) -> list[Path]:
    """Apply a finished run; what was done before, in the same folder with the same settings, stays.

    Parameters
    ----------
    study : Study
        Of the run; `study.out` is its folder.
    out : Path
        Gets ``predictors`` (the prepared cube, which other variants use again), ``VARIANT/nee_monthly.zarr``, with `daily`
        also ``VARIANT/nee_daily_YEAR.zarr``, and ``tables/regional_monthly.csv`` with all variants that are there.
    resolution : float, optional
        [degrees]; default: the run's.
    period : pair of date, optional
        First and last day, whole months; default: the run's.
    variant : str
    daily : bool
    form : {"zarr", "netcdf"}
        netcdf also writes each product as ``.nc``.
    where : Execution, optional
    advance : callable
        ``advance(text)`` gives what is told ``(done, of)`` as the work goes on.
    say : callable

    Returns
    -------
    list of Path
        The products.

    Raises
    ------
    InputError
        The run lacks the variant, is not whole or at work, sources are wrong, or `out` holds something else.
    """
    where = replace(where or Execution(), say=say)
    _refuse_resolution(resolution)
    weights = _weights(study, variant)
    sources = sources_of(study, resolution, period)
    if daily and sources.time_step != "daily":
        raise InputError("--daily: the run's study is monthly; daily fluxes need daily predictors in training too")
    _refuse_folder(study, out)
    with share_lock(study.out), hold_lock(out / MARKERS, out, say):
        _tidy(out)
        known = _Checksums(out / MARKERS / "checksums.json")
        run = _open_run(study, variant, weights, known)
        made_from = _made_from(sources, study, known)
        store = out / "predictors"
        Journal(store).begin(made_from)
        layout = prepare_store(sources, run.standard, store, where, advance)
        _require_unchanged(made_from, _made_from(sources, study, known), store)
        key = _digest({**made_from, "weights": sha256(weights)})
        plan = Plan(store, weights, out / variant, daily, run.unseen, key=key)
        plan.journal.begin({**run.made_from, "predictors": made_from, "daily": daily, "version": __version__})
        stores = products(plan, layout, run.attrs, run.applicability(layout, plan.predictors))
        upscale(plan, stores, where, advance("upscaling"))
        _write_table(plan, layout, run.prepared, out)
        return netcdf_copies(stores) if form == "netcdf" else [store.path for store in stores]


@dataclass(frozen=True, eq=False)
class _Run:
    """What a finished run hands to a product elsewhere.

    Attributes
    ----------
    prepared : Prepared
    attrs : dict
        Of the product.
    unseen : float or None
        Variance of a cell that no predictor sees [(gC m-2 d-1)^2]; None where no towers tell it.
    made_from : dict
        Changes with all of these and the networks.
    """

    prepared: Prepared
    attrs: dict[str, str]
    unseen: float | None
    made_from: dict[str, Any]

    @property
    def standard(self) -> Standard:
        """What the networks expect of their predictors."""
        cube = self.prepared.cube
        return Standard(cube.columns, cube.centre, cube.scale, cube.steps, cube.series_standard)

    def applicability(self, layout: Layout, predictors: Path) -> np.ndarray | None:
        """Of each cell of a prepared store to the towers where they stand in the run's own predictors, (cell,); None without towers."""
        sites, store = self.prepared.sites, PredictorStore(predictors)
        if not len(sites):
            return None
        towers = self.prepared.cube.mean_year()[sites.cell.to_numpy()]
        reach = TowerReach.of(towers, sites.fold.to_numpy())

        def one(tile: int) -> np.ndarray:
            cells = layout.all_tiles()[tile]
            return reach.applicability(store.mean_year(tile)[:, : cells.stop - cells.start].T)

        with ThreadPoolExecutor(cores()) as pool:
            return np.concatenate(list(pool.map(one, range(layout.tiles))))


def _open_run(study: Study, variant: str, weights: Path, known: "_Checksums") -> _Run:
    """What is needed of the run, once it is sure that its networks belong to what it has prepared."""
    of_some = [DISTANCE] if (study.out / DISTANCE).is_file() else []  # runs of before have none
    needed = ("prepared", f"models/{variant}/weights.npz", f"models/{PREDICTIONS}", *of_some)
    with known as found:
        content = require_whole(study.out, ("prepare", "train"), needed, found)
    prepared = load(study.out / "prepared")
    _check_columns(Ensemble.load(weights), prepared.cube.columns.names, weights)
    attrs = product_attributes(study, prepared, variant)
    return _Run(prepared, attrs, unseen_cell_variance(study.out, prepared).get(variant), {"run": content, "attributes": attrs})


def _refuse_resolution(resolution: float | None) -> None:
    """Before anything is made of it: a grid finer than this would not fit into memory."""
    if resolution is not None:
        if not FINEST <= resolution <= 90:
            raise InputError(f"--resolution {resolution}: allowed are {FINEST} to 90 degrees, dividing 180; use for example 0.25 or 0.5")
        Grid.global_regular(resolution)


def _refuse_folder(study: Study, out: Path) -> None:
    """Results of others stay theirs."""
    if out.resolve() == study.out.resolve():
        raise InputError(f"{out} is the run itself; give another folder for its products elsewhere, for example {out / 'elsewhere'}")
    if any((out / MARKERS).glob("stage_*.json")):
        raise InputError(f"{out} is the folder of another run; give a folder of its own")
    if (out / TABLE).exists() and not (out / MARKERS / _TABLE_NOTE).exists():
        raise InputError(f"{out / TABLE} is not of this command and is not overwritten; give another folder, or move it away")


def _tidy(out: Path) -> None:
    """Remove what a killed process left unfinished outside of stores, whose journals do the same."""
    for folder in (out / MARKERS, (out / TABLE).parent):
        for left in [p for pattern in UNFINISHED for p in folder.glob(pattern)]:
            left.unlink(missing_ok=True)


_TABLE_NOTE = "predict_table.json"


def _write_table(plan: Plan, layout: Layout, prepared: Prepared, out: Path) -> None:
    """`tables/regional_monthly.csv` of all variants in the folder that are whole, beside the run's inversions and references."""
    np.save(plan.journal.path(f"{_INTEGRALS}.npy"), integrals(plan, layout))
    plan.journal.mark(_INTEGRALS, [plan.journal.path(f"{_INTEGRALS}.npy")])
    months, regions = layout.steps.months, [*layout.cells.region_names, "global"]
    members = []
    for variant, values in whole_variants(out):
        labels = [("", variant, m) for m in range(values.shape[1])]
        members.append(integral_rows(labels, values.swapaxes(0, 1), months, regions))
    table = regional_table(pd.concat(members, ignore_index=True), prepared)
    write_sealed(out / MARKERS / _TABLE_NOTE, {"writes": TABLE})
    path = out / TABLE
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    table[table.time.isin(months)].to_csv(partial, index=False, date_format="%Y-%m-%d")
    partial.replace(path)


def whole_variants(out: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Variants in a folder of `predict` with their integrals (month, member, region + 1)."""
    for folder in sorted(p for p in out.iterdir() if p.is_dir()):
        journal = Journal(folder)
        if journal.is_done(_INTEGRALS):
            yield folder.name, np.load(journal.path(f"{_INTEGRALS}.npy"))


class _Checksums:
    """Checksums of files, remembered in a folder of ours; use as a context manager that writes down what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> dict[str, Any]:
        self._found = read_sealed(self.path) or {}
        return self._found

    def __exit__(self, *error: object) -> None:
        write_sealed(self.path, self._found)


def sources_of(study: Study, resolution: float | None, period: tuple[date, date] | None) -> Sources:
    """The study's predictors on another grid and period."""
    s = study.settings
    first, last = s.period if period is None else _period(period)
    return Sources(
        tuple(s.predictors), s.land_fraction, s.no_flux, s.regions, study.root, s.grid.resolution if resolution is None else resolution,
        str(first), str(last), s.time_step, Recipe.of(s.predictors, s.spin_up),
    )  # fmt: skip


def _period(period: tuple[date, date]) -> tuple[date, date]:
    try:
        return whole_months(period)
    except ValueError as error:
        raise InputError(f"--period: {error}") from error


def _weights(study: Study, variant: str) -> Path:
    path = study.out / "models" / variant / "weights.npz"
    known = sorted(p.parent.name for p in (study.out / "models").glob("*/weights.npz"))
    if not known or not (study.out / "prepared" / "about.json").is_file():
        raise InputError(f"{study.out}: no finished training here; run `dualflux train` first")
    if variant not in known:
        raise InputError(f"{study.out}: no variant `{variant}`; it has {', '.join(known)}")
    return path


def _check_columns(ensemble: Ensemble, names: tuple[str, ...], path: Path) -> None:
    if tuple(ensemble.predictors) != names:
        raise InputError(f"{path}: trained on other predictors than {path.parents[2] / 'prepared'} holds; run `dualflux train` again")


def _made_from(sources: Sources, study: Study, known: _Checksums) -> dict[str, Any]:
    """Everything the prepared cube depends on."""
    with known as found:
        inputs = {str(p): checksum(p, found)["sha256"] for p in input_files(sources)}
    plain = [m if isinstance(m, str) else m.model_dump(mode="json") for m in (sources.land_fraction, sources.no_flux, sources.regions)]
    return {
        "inputs": inputs,
        "columns": sha256(study.out / "prepared" / "cells.npz"),
        "predictors": [p.model_dump(mode="json") for p in sources.predictors],
        "recipe": asdict(sources.recipe),
        "land": plain,
        "resolution": sources.resolution,
        "period": [sources.first, sources.last],
        "version": __version__,
    }


def input_files(sources: Sources) -> list[Path]:
    """Files and Zarr stores of predictors, land and regions; a shapefile with all its parts."""
    found: list[Path] = []
    for one in (*sources.predictors, sources.land_fraction, sources.regions):
        path = getattr(one, "path", None)  # packaged regions and latitude bands have none
        for each in [path] if isinstance(path, str) else path or ():
            store = (sources.root / each).suffix == ".zarr"
            found += [sources.root / each] if store else find_files(each, sources.root, getattr(one, "suffix", ".nc"))
    parts = [part for path in found if path.suffix == ".shp" for part in path.parent.glob(f"{path.stem}.*")]
    return sorted({*found, *parts})


def _require_unchanged(before: dict[str, Any], now: dict[str, Any], store: Path) -> None:
    """Raise InputError where a store may be made from two things at once, and never go on with it."""
    if before != now:
        Journal(store).forget()
        raise InputError(f"{store}: predictors, land or regions changed while they were read; leave them alone, delete it and run again")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

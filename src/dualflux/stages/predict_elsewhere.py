"""A finished run's networks on another grid or other years: predictors in, maps out, no atmospheric data."""

import hashlib
import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Literal

from dualflux import __version__
from dualflux.errors import InputError
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.in_chunks import Plan, daily_path, monthly_path, upscale
from dualflux.prediction.journal import Journal
from dualflux.prediction.layout import Layout
from dualflux.prediction.tile_preparation import Sources, prepare_store
from dualflux.prediction.workers import Execution
from dualflux.prediction.zarr_product import copy_to_netcdf
from dualflux.prepared import load_standard
from dualflux.run_folder.files import checksum, read_sealed, sha256, write_sealed
from dualflux.run_folder.lock import hold_lock
from dualflux.sources.files.tables import find_files
from dualflux.study.settings import Study, whole_months

Progress = Callable[[str], Callable[[int, int], None]]
Format = Literal["zarr", "netcdf"]


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
        Gets ``predictors`` (the prepared cube, which other variants use again) and ``VARIANT/nee_monthly.zarr``, with `daily`
        also ``VARIANT/nee_daily_YEAR.zarr``.
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
        The run lacks the variant, sources are wrong, or `out` holds something else.
    """
    where = where or Execution()
    weights = _weights(study, variant)
    sources = sources_of(study, resolution, period)
    if daily and sources.time_step != "daily":
        raise InputError("--daily: the run's study is monthly; daily fluxes need daily predictors in training too")
    with hold_lock(out / ".dualflux", out, say):
        standard = load_standard(study.out / "prepared")
        _check_columns(Ensemble.load(weights), standard.columns.names, weights)
        made_from = _made_from(sources, study, out)
        Journal(out / "predictors").begin(made_from)
        layout = prepare_store(sources, standard, out / "predictors", where, advance)
        plan = Plan(out / "predictors", weights, out / variant, daily, key=_digest({**made_from, "weights": sha256(weights)}))
        plan.journal.begin({"weights": sha256(weights), "predictors": made_from, "daily": daily, "version": __version__})
        upscale(plan, attributes(study, variant), where, advance("upscaling"))
        return finish(plan, layout, form)


def finish(plan: Plan, layout: Layout, form: Format) -> list[Path]:
    """The products, as NetCDF too where asked for."""
    stores = [monthly_path(plan.out), *(daily_path(plan.out, layout, s) for s in layout.spans if plan.daily)]
    if form == "zarr":
        return stores
    for store in stores:
        copy_to_netcdf(store, store.with_suffix(".nc"))
    return [store.with_suffix(".nc") for store in stores]


def sources_of(study: Study, resolution: float | None, period: tuple[date, date] | None) -> Sources:
    """The study's predictors on another grid and period."""
    s = study.settings
    first, last = s.period if period is None else _period(period)
    return Sources(
        tuple(s.predictors), s.land_fraction, s.no_flux, study.root, s.grid.resolution if resolution is None else resolution,
        str(first), str(last), s.time_step,
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


def _made_from(sources: Sources, study: Study, out: Path) -> dict[str, Any]:
    """Everything the prepared cube depends on."""
    remembered = out / ".dualflux" / "checksums.json"
    known = read_sealed(remembered) or {}
    predictors = [path for one in sources.from_files for path in find_files(one.path or [], study.root, one.suffix)]
    paths = {*predictors, study.root / sources.land_fraction.path}
    inputs = {str(p): checksum(p, known)["sha256"] for p in sorted(paths)}
    write_sealed(remembered, known)
    return {
        "inputs": inputs,
        "columns": sha256(study.out / "prepared" / "cells.npz"),
        "predictors": [p.model_dump(mode="json") for p in sources.predictors],
        "land": [sources.land_fraction.model_dump(mode="json"), sources.no_flux.model_dump(mode="json")],
        "resolution": sources.resolution,
        "period": [sources.first, sources.last],
        "version": __version__,
    }


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def attributes(study: Study, variant: str) -> dict[str, str]:
    """What a product says of itself."""
    return {
        "title": f"dualflux net ecosystem exchange, variant {variant}, networks of study {study.settings.name}",
        "source": f"network ensemble trained on {'towers and inversions' if variant in ('plain', 'dual') else variant}",
        "history": f"predicted by dualflux {__version__}, study {study.settings.name}, seed {study.settings.seed}",
    }

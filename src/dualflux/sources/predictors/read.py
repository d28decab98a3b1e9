"""Predictors: gridded files of others -> checked values on the study's land cells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, LandCells
from dualflux.sources.files.cadence import intervals
from dualflux.sources.files.declared import say_valid_range
from dualflux.sources.files.gridded import read_texts
from dualflux.sources.files.plausible import PLAUSIBLE, Plausible, plausible_variable
from dualflux.sources.files.time_axis import Intervals, months_of_climatology, time_steps
from dualflux.sources.predictors.missing import fill_missing
from dualflux.sources.predictors.opening import name_of, one_path, open_steps, open_variable
from dualflux.sources.predictors.record import FilesInTime, Record
from dualflux.sources.predictors.regrid import BLOCK_BYTES, ToGrid, read_steps, step_ends, time_overlap
from dualflux.sources.predictors.settings import PredictorSettings, check_names, of_network, say_paths, warm_up_days
from dualflux.sources.predictors.smooth import smooth
from dualflux.unit_spelling import unstated
from dualflux.units import accumulated, convert_units, normalise_units, quantity_of

SCANNED_VALUES = 25e6  # of a dynamic predictor with more, in its file or on the study's cells, a check reads some steps only
SCANNED_STEPS = 24
_DAYS = "days_of_step"  # coordinate of sums over steps


class _Wanted(NamedTuple):
    """Which steps of dynamic predictors are read.

    Attributes
    ----------
    times : DatetimeIndex
        Begin of each step of the study.
    time_step : str
    warm_up : int
        Days before the first step that are read too, where a file has them.
    scan : bool
        Read only some steps of large files.
    """

    times: pd.DatetimeIndex
    time_step: str
    warm_up: int
    scan: bool


def read_predictors(
    settings: Sequence[PredictorSettings],
    root: Path,
    grid: Grid,
    cells: LandCells,
    times: pd.DatetimeIndex,
    time_step: Literal["monthly", "daily"],
) -> xr.Dataset:
    """Read all predictors that come from files, on the study's land cells; those of time alone are read by `series`.

    Other grids are regridded conservatively (mean over the valid area in a cell), other time steps averaged with the
    time they share with a step (at least half of it must have values), both block by block.

    Parameters
    ----------
    settings : sequence of PredictorSettings
    root : Path
        The data root.
    grid : Grid
    cells : LandCells
    times : DatetimeIndex
        Begin of each step of the study.
    time_step : {"monthly", "daily"}

    Returns
    -------
    Dataset
        On `cell` (in the order of `cells.index`), float32: static (cell), climatology (month, cell), dynamic (time, cell),
        fractions (NAME_class, cell). `time` begins before the period, by a year or by what lags and running means look back
        to, where every dynamic predictor has a value. Attributes of each: units, kind, source, filled_share and dropped_share
        (of the land area, mean over time), first (first step of its own file). `valid` (cell) is False where rule `drop`
        removed a cell.

    Raises
    ------
    InputError
        Everything found wrong with any of them, at once.
    """
    check_names(settings)
    problems = Problems()
    found: dict[str, xr.DataArray] = {}
    wanted = _Wanted(times, time_step, warm_up_days(settings, time_step), scan=False)
    for one in of_network(settings):
        if not one.derived:
            with problems.collect():
                found[one.name] = _read(one, root, grid, cells, wanted)
    problems.raise_if_any()
    return _combine(found, cells)


@dataclass(frozen=True, eq=False)
class PredictorScan:
    """What a check knows of the predictors from files.

    Attributes
    ----------
    table : DataFrame
        Rows predictors; columns kind, units, source, first, filled_share, dropped_share.
    valid : array of bool, (cell,)
        False where rule `drop` removes a cell, as far as the scanned steps tell.
    classes : dict of str to list of str
        Class names of the `fractions` predictors.
    first : Timestamp or None
        First step at which every dynamic predictor has a value; None without any.
    """

    table: pd.DataFrame
    valid: np.ndarray
    classes: dict[str, list[str]]
    first: pd.Timestamp | None


def check_predictors(
    settings: Sequence[PredictorSettings],
    root: Path,
    grid: Grid,
    cells: LandCells,
    times: pd.DatetimeIndex,
    time_step: Literal["monthly", "daily"],
) -> PredictorScan:
    """Read all fields without time and small dynamic predictors, of large ones `SCANNED_STEPS` steps; see `read_predictors`."""
    problems = Problems()
    found: dict[str, xr.DataArray] = {}
    with problems.collect():
        check_names(settings)
    problems.raise_if_any()
    wanted = _Wanted(times, time_step, warm_up_days(settings, time_step), scan=True)
    for one in of_network(settings):
        if not one.derived:
            with problems.collect():
                found[one.name] = _read(one, root, grid, cells, wanted)
    problems.raise_if_any()
    dropped = np.zeros(cells.index.size, dtype=bool)
    for variable in found.values():
        dropped |= variable.attrs["dropped"]
    shown = [{"predictor": n, **{k: v for k, v in d.attrs.items() if k != "dropped"}} for n, d in found.items()]
    starts = [pd.Timestamp(d.time.to_numpy()[0]) for d in found.values() if "time" in d.dims]
    classes = {n: [str(c) for c in d[f"{n}_class"].to_numpy()] for n, d in found.items() if f"{n}_class" in d.dims}
    return PredictorScan(pd.DataFrame(shown), ~dropped, classes, max(starts, default=None))


def record_steps(
    settings: PredictorSettings, root: Path, times: pd.DatetimeIndex, time_step: Literal["monthly", "daily"], warm_up: int
) -> pd.DatetimeIndex:
    """The steps `times`, and those up to `warm_up` days before them that a dynamic predictor's file has."""
    what = name_of(settings)
    with open_steps(settings, root) as (data, steps):
        return _steps_within(data, intervals(steps, what), _Wanted(times, time_step, warm_up, scan=False), what)


def read_predictor(
    settings: PredictorSettings, root: Path, grid: Grid, cells: LandCells, times: pd.DatetimeIndex, time_step: Literal["monthly", "daily"]
) -> xr.DataArray:
    """One predictor at exactly the given steps, see `read_predictors`; its attribute `dropped` names cells that rule `drop` removes."""
    return _read(settings, root, grid, cells, _Wanted(times, time_step, 0, scan=False))


def read_class_fractions(settings: PredictorSettings, root: Path, grid: Grid) -> tuple[list[str], np.ndarray]:
    """Class names and fractions (class, lat, lon) of a `fractions` predictor on the whole grid; NaN where the file has none."""
    what = name_of(settings)
    with open_variable(settings, one_path(settings, root), what) as (data, _):
        values, _valid = _to_grid(data, settings, grid, what)(data)
        return _class_names(data, what), _checked_fractions(_convert(values, data, settings, what), what)


def _convert(values: np.ndarray, data: xr.DataArray, settings: PredictorSettings, what: str) -> np.ndarray:
    return convert_units(values, *_units(data, settings, what), what)


def _units(data: xr.DataArray, settings: PredictorSettings, what: str) -> tuple[str, str]:
    """The file's unit, of a sum the rate it makes, and the study's; fractions are always fractions of 1 inside."""
    attribute = data.attrs.get("units")
    stated = settings.file_units or (settings.units if unstated(attribute) else str(attribute))
    if settings.kind == "fractions":
        return stated or "1", "1"
    if stated is None:
        raise InputError(f"{what}: neither the file nor the study says the unit; state it as `units` of predictor `{settings.name}`")
    if settings.per is None:
        return stated, normalise_units(settings.units or stated)
    step = "h" if settings.per == "hour" else "d"
    rate = accumulated(stated, step)
    if rate is None:
        raise InputError(f"{what}: `per: {settings.per}` with unit `{stated}`; allowed: sums such as J m-2, m, mm, kg m-2; remove `per`")
    return rate, accumulated(settings.units or stated, step) or normalise_units(settings.units or rate)


def plausible_values(data: xr.DataArray, settings: PredictorSettings, what: str) -> Plausible:
    """What a predictor's values can be, in the unit of its file."""
    units = _units(data, settings, what)[0]
    found = plausible_variable(
        data,
        f"{what} (predictor `{settings.name}`)",
        units,
        [settings.name, settings.variable or ""],
        settings.implausible == "accept",
        "file_units",
    )
    if settings.kind != "fractions" or quantity_of(units) != "fraction":
        return found
    low, high = convert_units(np.array(PLAUSIBLE["fraction"]), "1", units, what)
    return replace(found, quantity="fraction", limits=(float(low), float(high)))


def _unwritten(settings: PredictorSettings) -> str:
    return "state `missing: {value: x}` with that value, `missing: nearest` or `missing: drop`" if settings.missing == "error" else ""


def _read(settings: PredictorSettings, root: Path, grid: Grid, cells: LandCells, steps: _Wanted) -> xr.DataArray:
    what = name_of(settings)
    coords: dict[str, object] = {}
    attributes: dict[str, object] = {"kind": settings.kind, "source": f"{say_paths(settings.path)}:{settings.variable or settings.name}"}
    if settings.kind == "dynamic":
        values, begin, units, note = _dynamic(settings, root, grid, cells, steps, what)
        coords["time"], attributes["first"] = begin, str(begin[0].date())
    else:
        values, units, note = _without_time(settings, root, grid, cells, coords)
    values, wanted = convert_units(values, *units, what), units[1]
    if settings.kind == "fractions":
        _checked_fractions(values, what)
    try:
        values, filled, dropped = fill_missing(values, settings.missing, cells, f"{what} (predictor `{settings.name}`)")
    except InputError as error:
        raise InputError([f"{problem}{note}" for problem in error.problems]) from error
    if settings.smooth is not None:
        values = smooth(values, settings.smooth, cells, f"{what} (predictor `{settings.name}`)")
    share = float(cells.land_area[dropped].sum() / cells.land_area.sum())
    attributes |= {"units": wanted, "filled_share": filled, "dropped_share": share, "dropped": dropped}
    out = xr.DataArray(values.astype(np.float32), dims=(*coords, "cell"), coords=coords, attrs=attributes)
    return out.rename({"class": f"{settings.name}_class"}) if "class" in coords else out


def _without_time(
    settings: PredictorSettings, root: Path, grid: Grid, cells: LandCells, coords: dict[str, object]
) -> tuple[np.ndarray, tuple[str, str], str]:
    """Values of a predictor that is no record, its units and a note on what is invalid; adds its months or classes to `coords`."""
    what = name_of(settings)
    with open_variable(settings, one_path(settings, root), what) as (data, time):
        units = checked_units(data, settings, what)
        values = _to_grid(data, settings, grid, what).cells(data, cells)
        if settings.kind == "climatology":
            coords["month"] = np.arange(1, 13)
            values = values[_month_order(time, what)]
        elif settings.kind == "fractions":
            coords["class"] = _class_names(data, what)
        return values, units, say_valid_range(data)


def _to_grid(data: xr.DataArray, settings: PredictorSettings, grid: Grid, what: str) -> ToGrid:
    return ToGrid(grid, what, plausible_values(data, settings, what), _unwritten(settings))


def checked_units(data: xr.DataArray, settings: PredictorSettings, what: str) -> tuple[str, str]:
    """The file's unit and the study's; InputError, with the keys of the study that help, where one cannot be made the other."""
    found, wanted = _units(data, settings, what)
    try:
        convert_units(np.zeros(1), found, wanted, what)
    except InputError as error:
        rates = [accumulated(found, step) for step in ("h", "d")] if settings.per is None else []
        todo = f"; `file_units: {wanted}` if the file's values are in that"
        if any(rate is not None and quantity_of(rate) == quantity_of(wanted) for rate in rates):
            todo = "; `per: hour`, `day` or `step` if the values are sums over that time"
        raise InputError([f"{problem}{todo}" for problem in error.problems]) from error
    return found, wanted


def _month_order(time: xr.DataArray | None, what: str) -> np.ndarray:
    """Positions that put 12 fields in the order January to December."""
    found = np.array([]) if time is None else time.to_numpy()
    dated = time is not None and (found.dtype.kind == "M" or " since " in str(time.attrs.get("units", "")))
    months = months_of_climatology(time_steps(time, what), what) if dated and time is not None else found
    if sorted(months.tolist()) != list(range(1, 13)):
        raise InputError(f"{what}: months {months.tolist()}; a climatology needs a coordinate with the months 1 to 12, or a date in each")
    return np.argsort(months)


def _class_names(data: xr.DataArray, what: str) -> list[str]:
    if "class" in data.coords:
        labels = read_texts(data["class"], f"{what}: its classes")
        meanings = str(data["class"].attrs.get("flag_meanings", "")).split()
    else:
        labels, meanings = [], str(data.attrs.get("flag_meanings", "")).split()
    names = [n.strip() for n in meanings or labels]
    if len(names) != data.sizes["class"] or len(set(names)) != len(names):
        raise InputError(
            f"{what}: {data.sizes['class']} classes named {names}; give the class dimension a coordinate with one name per class"
        )
    return names


def _checked_fractions(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).any():
        return values
    low, high = float(np.nanmin(values)), float(np.nansum(values, axis=0).max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f"{what}: class fractions from {low:.4g}, summing to {high:.4g} in a cell; allowed: 0 to 1 in all; check `units` (1 or %)"
        )
    return values


def _dynamic(
    settings: PredictorSettings, root: Path, grid: Grid, cells: LandCells, wanted: _Wanted, what: str
) -> tuple[np.ndarray, pd.DatetimeIndex, tuple[str, str], str]:
    """Values and steps of a dynamic predictor, the file's unit and the study's, and a note on what is invalid."""
    with open_steps(settings, root) as (data, steps):
        first = data.first if isinstance(data, FilesInTime) else data
        units, source = checked_units(first, settings, what), intervals(steps, what)
        to_grid = _to_grid(first, settings, grid, what)
        if settings.per == "step":
            data = _with_days(data, source, to_grid)
        return *_means(data, source, to_grid, cells, wanted, what), units, say_valid_range(first)


def _means(
    data: Record, source: Intervals, to_grid: ToGrid, cells: LandCells, wanted: _Wanted, what: str
) -> tuple[np.ndarray, pd.DatetimeIndex]:
    begin = _steps_within(data, source, wanted, what)
    some = wanted.scan and max(data.size, len(begin) * cells.index.size) > SCANNED_VALUES
    if some:
        begin = begin[np.unique(np.linspace(0, len(begin) - 1, SCANNED_STEPS).round().astype(int))]
    end = step_ends(begin, wanted.time_step)
    lengths = ((end - begin) / pd.Timedelta(days=1)).to_numpy()
    overlap = time_overlap(source, (begin, end))
    # Steps that lie apart are read one by one: a block would hold all that is between them.
    parts = [slice(i, i + 1) for i in range(len(begin))] if some else [slice(None)]
    # A block is no larger on the target grid than in the file.
    field = data.size / max(data.sizes["time"], 1)
    block = BLOCK_BYTES * min(1.0, field / (cells.grid.lat.size * cells.grid.lon.size))
    read = [read_steps(data, overlap[p], lengths[p], partial(_cells, to_grid=to_grid, cells=cells), block) for p in parts]
    return np.concatenate(read), begin


def _with_days(data: Record, source: Intervals, to_grid: ToGrid) -> Record:
    """Sums over a file's own steps with the length of each step [days]; what is plausible of a rate is so of its sum over the longest."""
    days = ((source[1] - source[0]) / pd.Timedelta(days=1)).to_numpy()
    if to_grid.plausible is not None and to_grid.plausible.limits is not None:
        low, high = to_grid.plausible.limits
        to_grid.plausible = replace(to_grid.plausible, limits=(low * days.max(), high * days.max()))
    return data.assign_coords({_DAYS: ("time", days)})


def _cells(part: xr.DataArray, to_grid: ToGrid, cells: LandCells) -> np.ndarray:
    """Values of the land cells; of sums over steps the mean per day."""
    values = to_grid.cells(part, cells)
    return values / part[_DAYS].to_numpy()[:, None] if _DAYS in part.coords else values


def _steps_within(data: Record, source: Intervals, wanted: _Wanted, what: str) -> pd.DatetimeIndex:
    """The study's steps, and those of the warm-up that the files have without a gap."""
    first, last = wanted.times[0], step_ends(wanted.times[-1:], wanted.time_step)[0]
    if source[0][0] > first or source[1][-1] < last:
        day = pd.Timedelta(days=1)
        raise InputError(
            f"{what}: covers {source[0][0].date()} to {(source[1][-1] - day).date()}; the study needs {first.date()} to "
            f"{(last - day).date()}; shorten `period` or give a longer file"
        )
    before = first - pd.Timedelta(days=wanted.warm_up)
    steps = pd.date_range(before, wanted.times[-1], freq="MS" if wanted.time_step == "monthly" else "D")
    start = source[0][0]
    for begin, end, between in data.gaps(source) if isinstance(data, FilesInTime) else []:
        if end > first and begin < last:
            raise InputError(
                f"{what}: no file holds {begin.date()} to {(end - pd.Timedelta(days=1)).date()}, between {between}; add the file that is "
                "missing, or change `period`"
            )
        start = end if end <= first else start
    return steps[steps >= start]


def _combine(found: dict[str, xr.DataArray], cells: LandCells) -> xr.Dataset:
    valid = np.ones(cells.index.size, dtype=bool)
    for variable in found.values():
        valid &= ~variable.attrs.pop("dropped")
    if not valid.any():
        raise InputError("predictors: rule `drop` leaves no land cell; use `nearest` or a value for the predictor that has none")
    starts = [v.time.to_numpy()[0] for v in found.values() if "time" in v.dims]
    common = {n: v.sel(time=slice(max(starts), None)) if "time" in v.dims else v for n, v in found.items()}
    data = xr.Dataset(common)
    share = float(cells.land_area[~valid].sum() / cells.land_area.sum())
    data["valid"] = ("cell", valid, {"long_name": "cell kept by the rule `drop` of every predictor", "dropped_share": share})
    return data

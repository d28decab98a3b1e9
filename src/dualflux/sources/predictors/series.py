"""Predictors of time alone: one value for all land at a time, from a table or a NetCDF variable, brought to the study's steps.

Which interval a value means, and whether a record is daily, monthly or annual, are the rules of every reader (`files.time_axis`,
`files.cadence`). A month of daily values is their mean, of a whole month only; a day has its month's value. What a value of a year is
inside the year, no rule says: the study states it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.sources.files.cadence import require_cadence
from dualflux.sources.files.declared import declare
from dualflux.sources.files.gridded import find_variable, open_gridded, read_values
from dualflux.sources.files.plausible import fill_values
from dualflux.sources.files.tables import read_table, to_numbers, to_times
from dualflux.sources.files.time_axis import TimeSteps, time_steps
from dualflux.sources.predictors.opening import name_of, one_path
from dualflux.sources.predictors.read import checked_units, plausible_values
from dualflux.sources.predictors.settings import PredictorSettings, of_time, parse_of_series, say_paths
from dualflux.units import convert_units

TIME_COLUMN = "time"
MONTH_DAYS = 365.25 / 12
_CADENCES = {"monthly": "M", "daily": "D", "annual": "Y"}  # and the periods of the calendar that their values mean
_MOST = 5  # ranges of months that a message names
_TimeStep = Literal["monthly", "daily"]


@dataclass(frozen=True, eq=False)
class SeriesRecord:
    """What a study has of predictors of time alone.

    Attributes
    ----------
    names : tuple of str, (series,)
        In the order of the study file, derived ones among them.
    values : array, (step, series)
        In the study's units.
    table : DataFrame
        Rows series from files: predictor, cadence, first, last, units, source.
    """

    names: tuple[str, ...]
    values: np.ndarray
    table: pd.DataFrame


def read_series(settings: Sequence[PredictorSettings], root: Path, times: pd.DatetimeIndex, time_step: _TimeStep) -> SeriesRecord:
    """Read all series of a study, and derive lags and running means from them.

    Parameters
    ----------
    settings : sequence of PredictorSettings
        All predictors of the study.
    root : Path
        The data root.
    times : DatetimeIndex, (step,)
        Begin of each step of the study.
    time_step : {"monthly", "daily"}

    Raises
    ------
    InputError
        Everything found wrong with any of them, at once.
    """
    alone, problems = of_time(settings), Problems()
    records: dict[str, pd.Series] = {}
    rows: list[dict[str, object]] = []
    for one in (s for s in alone if not s.derived):
        with problems.collect():
            records[one.name], row = _read(one, root, times, time_step)
            rows.append(row)
    problems.raise_if_any()
    columns = []
    for one in alone:
        with problems.collect():
            columns.append(_column(one, records, times, time_step))
    problems.raise_if_any()
    values = np.stack(columns, axis=1) if columns else np.zeros((len(times), 0))
    return SeriesRecord(tuple(s.name for s in alone), values, pd.DataFrame(rows))


def _read(settings: PredictorSettings, root: Path, times: pd.DatetimeIndex, time_step: _TimeStep) -> tuple[pd.Series, dict[str, object]]:
    """A series at the study's steps, and at those before that its file has without a gap, by begin of step; and its row of the table."""
    what, path = name_of(settings), one_path(settings, root)
    data, steps = _from_table(settings, path, what) if path.suffix.lower() == ".csv" else _from_file(settings, path, what)
    kind = require_cadence(steps, tuple(_CADENCES), what)
    if (kind == "annual") != (settings.interpolation is not None):
        raise InputError(
            f"{what}: its values are annual; say what they are inside a year: `interpolation: constant`, or `linear` between the middles "
            "of years" if kind == "annual"
            else f"{what}: its values are {kind}; `interpolation` is for annual ones: remove it"
        )  # fmt: skip
    found, wanted = checked_units(data, settings, what)
    plausible = replace(plausible_values(data, settings, what), counted="time step")
    if np.isinf(data.to_numpy()).any():
        raise InputError(f"{what}: infinite values; correct the file")
    plausible.require(data.to_numpy())
    values = pd.Series(convert_units(data.to_numpy(), found, wanted, what), steps.labels.to_period(_CADENCES[kind]))
    record = _known(values, what)
    at_steps = _at_steps(record, _with_before(record, times, time_step), time_step, settings.interpolation)
    _require_covered(at_steps[times], record, what, kind, settings.interpolation)
    known = at_steps.notna().to_numpy()
    first = len(known) - int(np.argmin(known[::-1])) if not known.all() else 0
    about = {"predictor": settings.name, "cadence": kind, "first": str(record.index[0]), "last": str(record.index[-1]), "units": wanted}
    return at_steps.iloc[first:], {**about, "source": f"{say_paths(settings.path)}:{settings.variable or settings.name}"}


def _from_table(settings: PredictorSettings, path: Path, what: str) -> tuple[xr.DataArray, TimeSteps]:
    """Values, NaN where a table has none, and their steps."""
    variable = settings.variable or settings.name
    table = read_table(path, [TIME_COLUMN, variable])
    if table.empty:
        raise InputError(f"{what}: no row; give the file with its values")
    stamps = pd.DatetimeIndex(to_times(table[TIME_COLUMN], f"{path.name}: `{TIME_COLUMN}`"))
    values = to_numbers(table[variable], f"{path.name}: `{variable}`").to_numpy(float, copy=True)
    for fill in fill_values(settings.fill_value):
        values[np.abs(values - fill) <= 1e-6 * abs(fill)] = np.nan
    return xr.DataArray(values, dims=(TIME_COLUMN,), name=variable), TimeSteps(stamps)


def _from_file(settings: PredictorSettings, path: Path, what: str) -> tuple[xr.DataArray, TimeSteps]:
    with open_gridded(path) as file:
        found = find_variable(file, settings.variable or settings.name, path)
        single = [d for d in found.dims if found.sizes[d] == 1]
        data = declare(found.squeeze(single, drop=True), fill_values(settings.fill_value), settings.implausible == "accept")
        if data.ndim != 1:
            raise InputError(
                f"{what} has dimensions {dict(found.sizes)}; kind `series` needs time alone: choose a place or a mean first, or say "
                "`kind: dynamic` for a field"
            )
        if data.dims[0] not in data.coords:
            raise InputError(f"{what}: no coordinate values for its dimension `{data.dims[0]}`; the dates must stand in the file")
        steps = time_steps(data[data.dims[0]], what)
        return xr.DataArray(read_values(data, what), dims=data.dims, name=data.name, attrs=data.attrs), steps


def _known(values: pd.Series, what: str) -> pd.Series:
    """The values that there are, in time; InputError where a period stands twice or nothing has a value."""
    twice = values.index.duplicated()
    if twice.any():
        raise InputError(f"{what}: {values.index[twice][0]} stands {int((values.index == values.index[twice][0]).sum())} times, in all "
                         f"{int(twice.sum())} values too many; give each time once")  # fmt: skip
    found = values.dropna().sort_index()
    if found.empty:
        raise InputError(f"{what}: no value at any time; give the file with its values")
    return found


def _with_before(record: pd.Series, times: pd.DatetimeIndex, time_step: _TimeStep) -> pd.DatetimeIndex:
    """The study's steps, and those before from the record's begin on."""
    start = min(record.index[0].start_time, times[0])
    return pd.date_range(start.to_period("M").start_time, times[-1], freq="MS" if time_step == "monthly" else "D")


def _at_steps(record: pd.Series, steps: pd.DatetimeIndex, time_step: _TimeStep, interpolation: str | None) -> pd.Series:
    """The record at the begin of each step, NaN where it has no value for the whole step."""
    if interpolation == "linear":
        return pd.Series(_between_years(record, steps, time_step), steps)
    periods = pd.PeriodIndex(record.index)
    if periods.freqstr == "D" and time_step == "monthly":
        by_month = record.groupby(periods.asfreq("M"))
        record, size = by_month.mean(), by_month.size().to_numpy()
        periods = pd.PeriodIndex(record.index)
        record = record[size == periods.days_in_month]
    return pd.Series(record.reindex(steps.to_period(periods.freqstr)).to_numpy(), steps)


def _between_years(record: pd.Series, steps: pd.DatetimeIndex, time_step: _TimeStep) -> np.ndarray:
    """Annual values at the middle of years, linear at the middle of steps; NaN before the first, after the last, beside missing ones."""
    years = record.reindex(pd.period_range(record.index[0], record.index[-1], freq="Y"))
    periods = pd.PeriodIndex(years.index)
    ends = periods.start_time, (periods + 1).start_time
    end = steps + (pd.offsets.MonthBegin(1) if time_step == "monthly" else pd.Timedelta(days=1))
    days = [np.asarray((a + (b - a) / 2 - steps[0]) / pd.Timedelta(days=1)) for a, b in (ends, (steps, end))]
    return np.interp(days[1], days[0], years.to_numpy(), left=np.nan, right=np.nan)


def _require_covered(values: pd.Series, record: pd.Series, what: str, kind: str, interpolation: str | None) -> None:
    """Raise InputError for steps without a value: outside of the record, or in a gap of it."""
    lacking = pd.DatetimeIndex(values.index[values.isna()]).to_period("M").unique()
    if not len(lacking):
        return
    first, last = record.index[0], record.index[-1]
    inside = [m for m in lacking if first.start_time <= m.start_time and m.end_time <= last.end_time]
    wrong = "has gaps" if len(inside) == len(lacking) and interpolation != "linear" else "does not cover the period"
    whole = {"daily": "; a month needs all of its days", "annual": "; the first and last half year need the year before and after"}
    note = whole[kind] if kind == "daily" or interpolation == "linear" else ""
    raise InputError(
        f"{what} {wrong}: it has {first} to {last}, but no value for {_ranges(lacking)}{note}; give a longer or complete file, or shorten "
        "`period`"
    )


def _ranges(months: pd.PeriodIndex) -> str:
    """Months in words.

    >>> _ranges(pd.PeriodIndex(["2001-01", "2001-03", "2001-04"], freq="M"))
    '2001-01, 2001-03 to 2001-04'
    """
    number = months.year * 12 + months.month
    begin = np.flatnonzero(np.r_[True, np.diff(number) > 1])
    end = np.r_[begin[1:], len(months)] - 1
    names = [str(month) for month in months]
    said = [names[b] if b == e else f"{names[b]} to {names[e]}" for b, e in zip(begin, end, strict=True)]
    return ", ".join(said[:_MOST]) + (f" and {len(said) - _MOST} more" if len(said) > _MOST else "")


def _column(settings: PredictorSettings, records: dict[str, pd.Series], times: pd.DatetimeIndex, time_step: _TimeStep) -> np.ndarray:
    """A series, or a lag or running mean of one, at the study's steps."""
    function, variable, number = "lag", settings.name, 0
    if settings.derived:
        parsed = parse_of_series(settings.name, records)
        function, variable, number = parsed.function, str(parsed.variable), int(parsed.number or 0)
    record = records[variable]
    before = len(record) - len(times)
    width = number + 1 if function == "lag" else max(1, round(number / (MONTH_DAYS if time_step == "monthly" else 1)))
    if before < width - 1:
        raise InputError(
            f"predictor `{settings.name}`: needs {width - 1} steps before {times[0]:%Y-%m-%d}, `{variable}` has {before}; give earlier "
            "data, a shorter window, or a later period"
        )
    values = record.to_numpy()[before - width + 1 :]
    return values[: len(times)] if function == "lag" else np.convolve(values, np.full(width, 1 / width), "valid")

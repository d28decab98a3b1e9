"""Which interval a value of a file means: one rule for every reader.

1. Time bounds (CF 7.1), and for climatologies climatology bounds (CF 7.4), say it where a file has them.
2. Otherwise the stamp: monthly (daily, yearly) values mean the month (day, year) that their stamp falls in, wherever in it.
   A stamp on the first of a month is the begin of that month: that the file's author meant the month before, only bounds can say.
3. Whether values are monthly, daily, yearly or anything else is found from bounds, or from the spacing of the stamps. A reader of
   months refuses the rest by name: a yearly mean is never taken for January's.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.dates import SET_DATES, NoDates, from_numbers, from_texts

TIME_NAMES = ("time", "mtime", "date", "valid_time")
Intervals = tuple[pd.DatetimeIndex, pd.DatetimeIndex]  # begin and end of each

_BEGIN, _END = "__begin", "__end"  # what coordinates of bounds are called here, behind the time coordinate's own name
_CLIMATOLOGY, _OFFSET = "dualflux_climatology", "dualflux_offset_from_utc"
_DAY = pd.Timedelta(days=1)
_KINDS = {"daily": (0.99, 1.01), "weekly": (6.99, 7.01), "monthly": (27.5, 31.5), "quarterly": (89.0, 92.5), "annual": (364.0, 367.0)}
_PERIOD = {"daily": "D", "monthly": "M", "annual": "Y"}  # of the calendar
_SLACK = {"daily": pd.Timedelta(hours=1), "monthly": 1.01 * _DAY, "annual": 1.01 * _DAY}  # bounds that name a period's last day or second


def decode_dates(data: xr.Dataset) -> xr.Dataset:
    """The dataset with dates for the numbers of its time coordinates, and the bounds of each beside it.

    What cannot be decoded stays as it is: a reader that needs it says why, see `time_steps`.
    """
    decoded, beside = {}, {}
    for name in data.variables:
        variable = data[name]
        if not _counts_time(str(name), variable):
            continue
        try:
            decoded[name], offset = _dates_of(variable, variable.attrs)
        except NoDates:
            continue
        attributes = {key: value for key, value in variable.attrs.items() if key not in ("units", "calendar")}
        decoded[name] = (variable.dims, decoded[name], {**attributes, **({_OFFSET: offset.total_seconds()} if offset else {})})
        for key in ("bounds", "climatology"):
            bounds = str(variable.attrs.get(key))
            if bounds in data.variables and data[bounds].dims[:1] == variable.dims and data[bounds].shape[1:] == (2,):
                beside |= _bounds_of(str(name), data[bounds], variable)
                if key == "climatology":
                    decoded[name][2][_CLIMATOLOGY] = 1
    return data.assign_coords({n: v for n, v in decoded.items() if n in data.coords} | beside).assign(
        {n: v for n, v in decoded.items() if n not in data.coords}
    )


def _counts_time(name: str, variable: xr.DataArray) -> bool:
    """Whether a variable is a time coordinate that is not decoded yet."""
    units = str(variable.attrs.get("units", ""))
    if variable.ndim > 1 or variable.dtype.kind not in "iuf":
        return False
    return " since " in units or " as %" in units or (name in TIME_NAMES and variable.dims == (name,))


def _dates_of(variable: xr.DataArray, attributes: dict[str, object]) -> tuple[np.ndarray, pd.Timedelta]:
    calendar = attributes.get("calendar")
    return from_numbers(variable.to_numpy(), str(attributes.get("units", "")), None if calendar is None else str(calendar))


def _bounds_of(name: str, bounds: xr.DataArray, time: xr.DataArray) -> dict[str, tuple[tuple[object, ...], np.ndarray]]:
    """Begin and end of each step; bounds have the coordinate's own unit and calendar where they say none (CF 7.1)."""
    values = bounds.to_numpy()
    if values.dtype.kind != "M":
        try:
            values, _ = _dates_of(bounds, {**time.attrs, **{k: v for k, v in bounds.attrs.items() if k in ("units", "calendar")}})
        except NoDates:
            values = np.full(values.shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    return {f"{name}{suffix}": (time.dims, values[:, side]) for side, suffix in enumerate((_BEGIN, _END))}


@dataclass(frozen=True, eq=False)
class TimeSteps:
    """Steps of a time coordinate, in the file's own clock.

    Attributes
    ----------
    stamps : DatetimeIndex
    bounds : (begin, end) of DatetimeIndex, optional
    climatology : bool
        Each step is a mean over the same part of several years.
    offset : Timedelta
        Of the clock from UTC.
    """

    stamps: pd.DatetimeIndex
    bounds: Intervals | None = None
    climatology: bool = False
    offset: pd.Timedelta = pd.Timedelta(0)

    @property
    def labels(self) -> pd.DatetimeIndex:
        """A moment inside each step, whose month (day, year) it means: the middle of its bounds, else its stamp."""
        if self.bounds is None:
            return self.stamps
        begin, end = self.bounds
        if self.climatology:
            years = end.year - begin.year
            end = pd.DatetimeIndex([e - pd.DateOffset(years=y) for e, y in zip(end, years, strict=True)])
            end = end.where(end > begin, pd.DatetimeIndex([e + pd.DateOffset(years=1) for e in end]))
        return begin + (end - begin) / 2

    @property
    def days(self) -> np.ndarray:
        """Length of each step [days], NaN without bounds."""
        if self.bounds is None:
            return np.full(len(self.stamps), np.nan)
        return ((self.bounds[1] - self.bounds[0]) / _DAY).to_numpy(dtype=float)


def time_steps(time: xr.DataArray, what: str) -> TimeSteps:
    """The steps of a time coordinate of an opened file.

    Parameters
    ----------
    time : DataArray, (time,)
        From `gridded.open_gridded`.
    what : str
        File and variable, for messages.

    Raises
    ------
    InputError
        No dates: a calendar other than the standard one, numbers that no calendar says, steps without a date, bounds that are empty.
    """
    stamps = _stamps(time, what)
    name = str(time.name)
    begin, end = (time.coords.get(f"{name}{suffix}") for suffix in (_BEGIN, _END))
    offset = pd.Timedelta(seconds=float(time.attrs.get(_OFFSET, 0)))
    if begin is None or end is None:
        return TimeSteps(stamps, None, "climatology" in time.attrs, offset)
    bounds = pd.DatetimeIndex(begin.to_numpy()), pd.DatetimeIndex(end.to_numpy())
    wrong = ~(bounds[1] > bounds[0])
    if wrong.any():
        raise InputError(
            f"{what}: time bounds that are empty or have no dates in {wrong.sum()} of {len(stamps)} steps, first {stamps[wrong][0]}; "
            f"correct them, or remove the attribute where the stamps are right (`ncatted -a bounds,{name},d,, in.nc`)"
        )
    return TimeSteps(stamps, bounds, _CLIMATOLOGY in time.attrs, offset)


def _stamps(time: xr.DataArray, what: str) -> pd.DatetimeIndex:
    values = time.to_numpy()
    if values.dtype.kind in "OSU":
        texts = pd.Series([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.ravel()])
        values = from_texts(texts, f"{what}: its time")[0].to_numpy()
    elif values.dtype.kind != "M":
        try:
            values, _ = _dates_of(time, time.attrs)
        except NoDates as error:
            raise InputError(f"{what}: its time coordinate `{time.name}`: {error}") from error
    if np.isnat(values).any():
        raise InputError(f"{what}: {np.isnat(values).sum()} of {values.size} time steps of `{time.name}` have no date; {SET_DATES}")
    return pd.DatetimeIndex(values)


def cadence(labels: pd.DatetimeIndex, days: np.ndarray) -> str:
    """How far the steps of a record lie apart: ``monthly``, ``daily``, ``annual``, ``8-day``, ``3-hourly``, ``mixed (...)``, ``single``.

    Parameters
    ----------
    labels : DatetimeIndex
        Of `TimeSteps.labels`, of all files of a record, in any order; steps that stand twice count once.
    days : array
        Their lengths [days]; NaN where unknown.

    Examples
    --------
    >>> weeks, months = pd.date_range("2001-01-01", periods=9, freq="7D"), pd.date_range("2001-03-05", periods=9, freq="MS")
    >>> unknown = np.full(9, np.nan)
    >>> cadence(weeks, unknown), cadence(months, unknown), cadence(months[::12], unknown[:1])
    ('weekly', 'monthly', 'single')
    >>> cadence(weeks.append(months), np.full(18, np.nan))
    'mixed (weekly and monthly)'
    """
    if np.isfinite(days).all() and len(days):
        found = [_named(d + 0.5 if d > 26 else d) for d in days]  # bounds may name the last day itself
        names = list(dict.fromkeys(found))
        often = [n for n in names if found.count(n) > 1] or names
        return often[0] if len(often) == 1 or not set(often) & set(_KINDS) else f"mixed ({' and '.join(often)})"
    moments = labels.unique().sort_values()
    if len(moments) < 2:
        return "single"
    apart = np.diff(moments.to_numpy()) / np.timedelta64(1, "D")
    names = [_named(float(d)) for d in apart]
    shortest = dict(sorted(zip(names, apart, strict=True), key=lambda pair: -pair[1]))
    usual = max(shortest, key=lambda name: (names.count(name), -shortest[name]))  # a gap is longer, and rarer
    runs = _runs(names, usual)
    return usual if not runs else f"mixed ({' and '.join(n for n in dict.fromkeys(names) if n in (usual, *runs))})"


def _named(days: float) -> str:
    for name, (shortest, longest) in _KINDS.items():
        if shortest <= days <= longest:
            return name
    return f"{24 * days:.3g}-hourly" if days < 0.99 else f"{days:.3g}-day"


def _runs(names: list[str], usual: str) -> list[str]:
    """Other steps of the calendar, two or more in a row: no gap, but rows of another kind."""
    pairs = zip(names, names[1:], strict=False)
    return [first for first, second in pairs if first == second != usual and first in _KINDS]


def require_cadence(steps: TimeSteps, allowed: tuple[str, ...], what: str, advice: str = "") -> str:
    """The cadence of a record, or InputError where it is none of those a reader can use.

    Parameters
    ----------
    steps : TimeSteps
        Of all files of the record.
    allowed : tuple of str
        Of `cadence`; a step shorter than a day counts as ``hourly``.
    what : str
        For messages.
    advice : str
        What to do, behind the general one.
    """
    words = " or ".join(allowed)
    if steps.climatology:
        raise InputError(f"{what}: its time is a climatology, a mean over several years; needed: {words} values, each of its own year")
    found = cadence(steps.labels, steps.days)
    if found == "single":
        raise InputError(
            f"{what}: one time step, {steps.stamps[0]:%Y-%m-%d}, and nothing says whether it is a day's, a month's or a year's; "
            f"give time bounds, or a file with more steps{advice}"
        )
    if ("hourly" if found.endswith("-hourly") else found) not in allowed:
        first, last = steps.stamps.min(), steps.stamps.max()
        raise InputError(
            f"{what}: its {len(steps.stamps)} time steps ({first:%Y-%m-%d} to {last:%Y-%m-%d}) are {found}; allowed: {words}; "
            f"give {allowed[0]} values{advice}"
        )
    if found == "monthly":
        _refuse_other_months(steps, what)
    return found


def _refuse_other_months(steps: TimeSteps, what: str) -> None:
    """Steps about a month long or apart that are not the months of the calendar: every 30 days, from middle to middle."""
    moments = steps.labels.unique().sort_values()
    twice = moments.to_period("M").duplicated(keep=False)
    if twice.any():
        first, second = moments[twice][:2]
        raise InputError(f"{what}: {first:%Y-%m-%d} and {second:%Y-%m-%d} fall into one month; give one value for each calendar month")
    if steps.bounds is None:
        return
    month, (begin, end) = steps.labels.to_period("M"), steps.bounds
    off = (abs(begin - month.to_timestamp()) > 2 * _DAY) | (abs(end - (month + 1).to_timestamp()) > 2 * _DAY)
    if off.any():
        at = int(off.argmax())
        raise InputError(f"{what}: time bounds {begin[at]} to {end[at]} are a month long but no month of the calendar; give calendar months")


def joined(parts: list[TimeSteps]) -> TimeSteps:
    """The steps of several files as one record; bounds count where every file has them."""
    stamps = _chain([p.stamps for p in parts])
    if any(p.bounds is None for p in parts):
        return TimeSteps(_chain([p.labels for p in parts]), None, any(p.climatology for p in parts))
    begin, end = (_chain([p.bounds[side] for p in parts if p.bounds is not None]) for side in (0, 1))
    return TimeSteps(stamps, (begin, end), any(p.climatology for p in parts))


def _chain(parts: list[pd.DatetimeIndex]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.concatenate([p.to_numpy() for p in parts]) if parts else [])


def with_bounds(variable: xr.DataArray, dimension: str, period: str) -> xr.DataArray:
    """The variable, each of its steps the whole month (``M``) or year (``Y``) of its stamp: for formats whose names say so."""
    found = pd.DatetimeIndex(variable[dimension].to_numpy()).to_period(period)
    begin, end = found.to_timestamp(), (found + 1).to_timestamp()
    return variable.assign_coords({f"{dimension}{_BEGIN}": (dimension, begin), f"{dimension}{_END}": (dimension, end)})


def months_of(stamps: pd.Index) -> pd.DatetimeIndex:
    """First day of each stamp's month."""
    return pd.DatetimeIndex(stamps).to_period("M").to_timestamp()


def intervals(steps: TimeSteps, what: str) -> Intervals:
    """Begin and end of each step of a record of any cadence, in UTC where steps are shorter than a day.

    Without bounds, steps that are neither days, months nor years begin at their stamp and last to the next one, at most the usual
    step, so that a missing 8-day composite stays missing.

    Raises
    ------
    InputError
        Steps that do not ascend or stand twice, of mixed kinds, a single one without bounds, a climatology.
    """
    if steps.climatology:
        raise InputError(
            f"{what}: its time is a climatology, a mean over several years; say `kind: climatology`, or give a file with values of each year"
        )
    if steps.bounds is None and len(steps.stamps) < 2:
        raise InputError(f"{what}: {len(steps.stamps)} time steps; give at least two, or time bounds")
    found = cadence(steps.labels, steps.days)
    if found.startswith("mixed") and steps.bounds is None:
        raise InputError(f"{what}: its time steps are {found}; give a file of one kind, or time bounds")
    begin, end = _whole_periods(steps, found) if found in _PERIOD else (steps.bounds or _to_next(steps.stamps))
    if not (begin.is_monotonic_increasing and begin.is_unique):
        raise InputError(f"{what}: time steps that do not ascend or stand twice; sort the file by time, each step once")
    shift = steps.offset if found.endswith("-hourly") else pd.Timedelta(0)
    return begin - shift, end - shift


def _whole_periods(steps: TimeSteps, kind: str) -> Intervals:
    """The periods of the calendar; bounds that are other periods (6 to 6 o'clock) as they are."""
    period = steps.labels.to_period(_PERIOD[kind])
    whole = period.to_timestamp(), (period + 1).to_timestamp()
    if steps.bounds is None:
        return whole
    near = [bool((abs(a - b) <= _SLACK[kind]).all()) for a, b in zip(steps.bounds, whole, strict=True)]
    return whole if all(near) else steps.bounds


def _to_next(stamps: pd.DatetimeIndex) -> Intervals:
    usual = np.median(np.diff(stamps.to_numpy())).astype(np.diff(stamps.to_numpy()).dtype)
    nearest_next = np.append(stamps.to_numpy()[1:], stamps.to_numpy()[-1] + usual)
    return stamps, pd.DatetimeIndex(np.minimum(nearest_next, stamps.to_numpy() + usual))


def months_of_climatology(steps: TimeSteps, what: str) -> np.ndarray:
    """The month (1 to 12) of each of the fields of a climatology.

    Raises
    ------
    InputError
        Bounds of seasons or years.
    """
    labels = steps.labels
    if steps.bounds is not None:
        plain = replace(steps, climatology=False)
        length = 2 * ((labels - plain.bounds[0]) / _DAY) if plain.bounds is not None else steps.days
        if not ((length > 27) & (length < 32)).all():
            raise InputError(f"{what}: its bounds are {np.median(length):.3g} days long in each year; a climatology here has the 12 months")
    return labels.month.to_numpy()


def require_monthly_rows(months: pd.Series, length: pd.Series, what: str, advice: str) -> None:
    """Raise InputError where the rows of one product of a table are no months.

    Parameters
    ----------
    months : Series of datetime64
        As they stand, in any order; several rows (regions) may share one.
    length : Series of str
        From `dates.from_texts`.
    what, advice : str
    """
    if (length == "year").any():
        raise InputError(f"{what}: {(length == 'year').sum()} rows name a year, not a month (annual); {advice}")
    if (length == "month").all() or months.empty:
        return
    require_cadence(TimeSteps(pd.DatetimeIndex(months.unique())), ("monthly",), what, f"; {advice}")


def of_file(variable: xr.DataArray, path: Path) -> tuple[str, TimeSteps]:
    """Name of a variable's time dimension, and its steps.

    Raises
    ------
    InputError
        No, or more than one, time dimension with a coordinate; see `time_steps`.
    """
    found = [str(d) for d in variable.dims if str(d) in TIME_NAMES]
    if len(found) != 1 or found[0] not in variable.coords:
        raise InputError(
            f"{path}: `{variable.name}` has dimensions {list(variable.dims)}; one must be a time coordinate: {', '.join(TIME_NAMES)}"
        )
    return found[0], time_steps(variable[found[0]], f"{path}: `{variable.name}`")

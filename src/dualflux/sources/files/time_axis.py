"""Which interval a value of a file means: one rule for every reader.

1. Time bounds (CF 7.1), and for climatologies climatology bounds (CF 7.4), say it where a file has them.
2. Otherwise the stamp: monthly (daily, yearly) values mean the month (day, year) that their stamp falls in, wherever in it.
   A stamp on the first of a month is the begin of that month: that the file's author meant the month before, only bounds can say.
3. Whether values are monthly, daily, yearly or anything else is found from bounds, or from the spacing of the stamps. A reader of
   months refuses the rest by name: a yearly mean is never taken for January's.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.dates import SET_DATES, NoDatesError, from_numbers, from_texts, in_range
from dualflux.sources.files.declared import refuse_text_for_numbers

TIME_NAMES = ("time", "mtime", "date", "valid_time")
Coordinate = tuple[tuple[Hashable, ...], np.ndarray, dict[Hashable, object]]
Intervals = tuple[pd.DatetimeIndex, pd.DatetimeIndex]  # begin and end of each

_BEGIN, _END = "__begin", "__end"  # what coordinates of bounds are called here, behind the time coordinate's own name
_CLIMATOLOGY, _OFFSET = "dualflux_climatology", "dualflux_offset_from_utc"
_DAY, _NO_OFFSET = pd.Timedelta(days=1), pd.Timedelta(0)


def decode_dates(data: xr.Dataset) -> xr.Dataset:
    """The dataset with dates for the numbers of its time coordinates, and the bounds of each beside it.

    What cannot be decoded stays as it is: a reader that needs it says why, see `time_steps`.
    """
    decoded: dict[Hashable, Coordinate] = {}
    beside: dict[Hashable, Coordinate] = {}
    for name in data.variables:
        variable = data[name]
        if not _counts_time(str(name), variable):
            continue
        try:
            dates, offset = _dates_of(variable, variable.attrs)
        except NoDatesError:
            continue
        attributes = {key: value for key, value in variable.attrs.items() if key not in ("units", "calendar")}
        decoded[name] = (variable.dims, dates, {**attributes, **({_OFFSET: offset.total_seconds()} if offset else {})})
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


def _dates_of(variable: xr.DataArray, attributes: Mapping[Hashable, object]) -> tuple[np.ndarray, pd.Timedelta]:
    calendar = attributes.get("calendar")
    return from_numbers(variable.to_numpy(), str(attributes.get("units", "")), None if calendar is None else str(calendar))


def _bounds_of(name: str, bounds: xr.DataArray, time: xr.DataArray) -> dict[Hashable, Coordinate]:
    """Begin and end of each step; bounds have the coordinate's own unit and calendar where they say none (CF 7.1)."""
    values = bounds.to_numpy()
    if values.dtype.kind != "M":
        try:
            values, _ = _dates_of(bounds, {**time.attrs, **{k: v for k, v in bounds.attrs.items() if k in ("units", "calendar")}})
        except NoDatesError:
            values = np.full(values.shape, np.datetime64("NaT"), dtype="datetime64[ns]")
    return {f"{name}{suffix}": (time.dims, values[:, side], {}) for side, suffix in enumerate((_BEGIN, _END))}


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
    offset: pd.Timedelta = _NO_OFFSET

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
    bounds = pd.DatetimeIndex(in_range(begin.to_numpy())), pd.DatetimeIndex(in_range(end.to_numpy()))
    wrong = ~(bounds[1] > bounds[0])
    if wrong.any():
        raise InputError(
            f"{what}: time bounds that are empty or have no dates in {wrong.sum()} of {len(stamps)} steps, first {stamps[wrong][0]}; "
            f"correct them, or remove the attribute where the stamps are right (`ncatted -a bounds,{name},d,, in.nc`)"
        )
    return TimeSteps(stamps, bounds, _CLIMATOLOGY in time.attrs, offset)


def _stamps(time: xr.DataArray, what: str) -> pd.DatetimeIndex:
    refuse_text_for_numbers(time, str(time.name), Path(what))
    values = time.to_numpy()
    if values.dtype.kind in "OSU":
        texts = pd.Series([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values.ravel()])
        values = from_texts(texts, f"{what}: its time")[0].to_numpy()
    elif values.dtype.kind != "M":
        try:
            values, _ = _dates_of(time, time.attrs)
        except NoDatesError as error:
            raise InputError(f"{what}: its time coordinate `{time.name}`: {error}") from error
    if np.isnat(values).any():
        raise InputError(f"{what}: {np.isnat(values).sum()} of {values.size} time steps of `{time.name}` have no date; {SET_DATES}")
    return pd.DatetimeIndex(in_range(values))


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


def months_of_climatology(steps: TimeSteps, what: str) -> np.ndarray:
    """The month (1 to 12) of each of the fields of a climatology.

    Raises
    ------
    InputError
        Bounds of seasons or years.
    """
    labels = steps.labels
    if steps.bounds is not None:
        length = 2 * ((labels - steps.bounds[0]) / _DAY)
        if not ((length > 27) & (length < 32)).all():
            raise InputError(f"{what}: its bounds are {np.median(length):.3g} days long in each year; a climatology here has the 12 months")
    return labels.month.to_numpy()


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
    what = f"{path}: `{variable.name}`"
    steps = time_steps(variable[found[0]], what)
    require_range(steps, what)
    return found[0], steps


def require_range(steps: TimeSteps, what: str) -> None:
    """Raise InputError for a record that reaches beyond the years in which dates are exact to the nanosecond here."""
    if len(steps.stamps) and steps.stamps.to_numpy().dtype != np.dtype("datetime64[ns]"):
        years = int(steps.stamps.year.min()), int(steps.stamps.year.max())
        raise InputError(
            f"{what}: has the years {years[0]} to {years[1]}; allowed: 1678 to 2261; cut the years of the study out of it "
            "(`cdo selyear,2000/2020 in.nc out.nc`)"
        )

"""Numbers and texts of others -> dates, in the clock their file is written in.

A monthly or daily value belongs to the month or day of its own clock: an offset from UTC (``days since 2000-01-01 +01:00``,
``2001-01-01T00:00:00+01:00``) is noted, never subtracted, or every first of a month would fall into the month before.
"""

import re

import numpy as np
import pandas as pd

from dualflux.errors import InputError

_SECONDS = {
    1e-3: ("milliseconds", "millisecond", "msec", "ms"), 1.0: ("seconds", "second", "secs", "sec", "s"),
    60.0: ("minutes", "minute", "mins", "min"), 3600.0: ("hours", "hour", "hrs", "hr", "h"), 86400.0: ("days", "day", "d"),
    604800.0: ("weeks", "week"),
}  # fmt: skip
_UNIT_SECONDS = {name: seconds for seconds, names in _SECONDS.items() for name in names}
_UNIT_MONTHS = {"months": 1, "month": 1, "years": 12, "year": 12}
_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]?\d{1,2}:\d{2}|[+-]\d{1,4})"
_YEAR_UNITS = re.compile(r"|1|(calendar )?(y|yr|year)s?( a\.?d\.?| c\.?e\.?)?|year as %y.*|y{4}", re.IGNORECASE)
_SINCE = re.compile(
    r"(?P<unit>[a-z]+)\s+since\s+(?P<year>\d{1,4})(?:-(?P<month>\d{1,2})(?:-(?P<day>\d{1,2}))?)?"
    r"(?:[t\s]\s*(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2}(?:\.\d*)?))?)?)?\s*" + _ZONE + "?",
    re.IGNORECASE,
)
_TEXT = re.compile(  # a year; year and month; a date with or without a time of day and a zone
    r"(?P<date>\d{4}|\d{4}[-/]\d{1,2}|\d{4}[-/]\d{1,2}[-/]\d{1,2}|\d{6}|\d{8})"
    r"(?:(?P<clock>[T ]\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*" + _ZONE + r"?|Z|[+-]\d{2}:\d{2})?",
    re.IGNORECASE,
)
STANDARD = ("standard", "gregorian", "proleptic_gregorian")
_REFORM = np.datetime64("1582-10-15")
_NANOSECONDS = (np.datetime64("1678-01-01"), np.datetime64("2262-01-01"))  # what nanoseconds since 1970 can say
_ROUNDING = 0.5  # s from midnight that are a rounding error of a number of days
_YEARS = (1600, 2300)  # that numbers such as 200101 may name
SET_DATES = (
    "write dates into the file, for monthly fields for example with `cdo -settaxis,2001-01-01,00:00:00,1mon in.nc out.nc`, in Python "
    "`data.assign_coords(time=pd.date_range('2001-01', periods=data.sizes['time'], freq='MS'))`"
)


class NoDatesError(ValueError):
    """Numbers that are no dates here; says why, and what a user can do."""


def from_numbers(values: np.ndarray, units: str, calendar: str | None) -> tuple[np.ndarray, pd.Timedelta]:
    """Dates of a coordinate that counts time (CF 4.4), or writes years, months and days as digits.

    Parameters
    ----------
    values : array
        Numbers; NaN has no date.
    units : str
        ``days since 2000-01-01 00:00:00 +01:00``, ``months since 1960-01-01``, ``day as %Y%m%d.%f``, or nothing for digits such
        as 200101 and 20010131.
    calendar : str or None

    Returns
    -------
    dates : array of datetime64, same shape
        In the clock of the reference date; a rounding error beside midnight is midnight.
    offset : Timedelta
        Of that clock from UTC.

    Raises
    ------
    NoDatesError
        Another calendar, or numbers that no calendar says.
    """
    values = np.asarray(values)
    if values.dtype == np.int64:  # how NaT is written
        values = np.where(values == np.iinfo(np.int64).min, np.nan, values)
    found = _SINCE.fullmatch(units.strip())
    if found is None:
        return in_range(_from_digits(values, units)), pd.Timedelta(0)
    offset, unit = _offset(found["zone"]), found["unit"].lower()
    if unit in _UNIT_MONTHS:
        return in_range(_from_months(values.astype(float) * _UNIT_MONTHS[unit], found, units)), offset
    if unit not in _UNIT_SECONDS:
        raise NoDatesError(f"its unit `{units}` counts in `{unit}`; allowed: seconds, minutes, hours, days, weeks, months, years")
    if (calendar or "standard").lower() not in STANDARD:
        raise NoDatesError(
            f"its calendar is `{calendar}`; allowed: the standard one; for monthly fields `cdo setcalendar,standard in.nc out.nc`, for "
            "daily ones `data.convert_calendar('standard')` of xarray (with cftime installed), which shows the days that are not there"
        )
    mixed = (calendar or "standard").lower() != "proleptic_gregorian"
    return in_range(_from_seconds(values, _UNIT_SECONDS[unit], _reference(found, units), mixed)), offset


def _reference(found: re.Match[str], units: str) -> np.datetime64:
    date = f"{int(found['year']):04d}-{int(found['month'] or 1):02d}-{int(found['day'] or 1):02d}"
    try:
        day = np.datetime64(date, "ms")
    except ValueError as error:
        raise NoDatesError(f"its unit `{units}` has a reference date that is none") from error
    seconds = 3600 * int(found["hour"] or 0) + 60 * int(found["minute"] or 0) + float(found["second"] or 0)
    return day + np.timedelta64(round(1000 * seconds), "ms")


def _offset(zone: str | None) -> pd.Timedelta:
    if zone is None or zone.upper() in ("Z", "UTC", "GMT"):
        return pd.Timedelta(0)
    digits = zone.lstrip("+-").replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    return pd.Timedelta(hours=int(hours), minutes=int(minutes)) * (-1 if zone[0] == "-" else 1)


def _from_seconds(values: np.ndarray, seconds: float, reference: np.datetime64, mixed: bool) -> np.ndarray:
    """Reference plus values; one in the standard calendar from before its reform is a date of the Julian calendar, as the results are."""
    number = values.astype(float) * seconds
    largest = float(np.nanmax(np.abs(number), initial=0))
    if largest > 1e13:
        raise NoDatesError(f"it counts up to {np.nanmax(np.abs(values.astype(float))):.4g}, over 300,000 years; the file is damaged")
    tolerance = max(_ROUNDING, float(np.spacing(np.float32(largest))) if values.dtype == np.float32 else 0.0)
    elapsed = np.full(number.shape, np.timedelta64("NaT"), dtype="timedelta64[ms]")
    elapsed[np.isfinite(number)] = np.rint(1000 * number[np.isfinite(number)]).astype("timedelta64[ms]")
    dates = reference + elapsed
    if mixed and reference < _REFORM:
        gregorian = dates + (_julian_day(reference) - _gregorian_day(reference)).astype("timedelta64[ms]")
        dates = np.where(gregorian >= _REFORM, gregorian, dates)
    midnight = (dates + np.timedelta64(12, "h")).astype("datetime64[D]").astype("datetime64[ms]")
    near = np.abs(dates - midnight) <= np.timedelta64(round(1000 * tolerance), "ms")
    return np.where(near, midnight, dates)


def _gregorian_day(date: np.datetime64) -> np.timedelta64:
    return date.astype("datetime64[D]") - np.datetime64("1970-01-01", "D")


def _julian_day(date: np.datetime64) -> np.timedelta64:
    """Days from 1970-01-01 to the day that has this date in the Julian calendar."""
    year, month, day = (int(part) for part in str(date.astype("datetime64[D]")).split("-"))
    before = (14 - month) // 12
    years, months = year + 4800 - before, month + 12 * before - 3
    number = day + (153 * months + 2) // 5 + 365 * years + years // 4 - 32083  # Julian day number, of noon
    return np.timedelta64(number - 2440588, "D")


def _from_months(months: np.ndarray, found: re.Match[str], units: str) -> np.ndarray:
    """Whole months, or their middle: what else a month's part is, no calendar says."""
    reference = _reference(found, units)
    whole = np.floor(months + 0.02)
    middle = np.abs(months - whole - 0.5) < 0.02
    first = reference == reference.astype("datetime64[M]")
    right = (np.abs(months - whole) < 0.02) | (middle if first else False) | np.isnan(months)
    if not right.all():
        raise NoDatesError(
            f"its unit `{units}` counts parts of months such as {months[~right][0]:.4g}, which no calendar says; {SET_DATES}"
        )
    start = np.full(months.shape, np.datetime64("NaT"), dtype="datetime64[M]")
    known = np.isfinite(months)
    start[known] = reference.astype("datetime64[M]") + whole[known].astype("timedelta64[M]")
    return (
        start.astype("datetime64[ms]") + (reference - reference.astype("datetime64[M]")) + np.where(middle, 14, 0).astype("timedelta64[D]")
    )


def _from_digits(values: np.ndarray, units: str) -> np.ndarray:
    """Dates written as numbers: 200101 (a month), 20010131 (a day, with its part), 2001 (a year)."""
    known = values[np.isfinite(values)] if values.dtype.kind in "fiu" else np.array([])
    whole = np.floor(known.astype(float))
    if known.size:
        for shift, length in ((1, 4), (100, 6), (10000, 8)):
            year, rest = whole // shift, whole % shift
            month = rest // 100 if length == 8 else rest
            day = rest % 100
            fits = (year >= _YEARS[0]) & (year < _YEARS[1])
            fits &= (length == 4) | ((month >= 1) & (month <= 12))
            fits &= (length < 8) | ((day >= 1) & (day <= 31))
            named = length > 4 or _YEAR_UNITS.fullmatch(units.strip()) is not None
            if named and fits.all() and (length == 8 or (whole == known).all()):
                return _join(values, length)
    decimal = known.size and (known >= _YEARS[0]).all() and (known < _YEARS[1]).all() and (whole != known).any()
    why = "holds decimal years, whose days no calendar says" if decimal else f"has the unit `{units}`" if units else "has no unit"
    raise NoDatesError(f"{why}; allowed: CF time units such as `days since 1900-01-01`; {SET_DATES}")


def _join(values: np.ndarray, length: int) -> np.ndarray:
    texts = [f"{int(v):0{length}d}" if np.isfinite(v) else "NaT" for v in values.ravel()]
    cut = ["-".join(filter(None, (t[:4], t[4:6], t[6:]))) if t != "NaT" else t for t in texts]
    try:
        dates = np.array(cut, dtype="datetime64[D]").astype("datetime64[ms]")
    except ValueError as error:
        raise NoDatesError(f"holds digits that are no date ({error})") from error
    part = np.nan_to_num(values.astype(float).ravel() % 1) if length == 8 else np.zeros(len(cut))
    return (dates + np.rint(part * 86400e3).astype("timedelta64[ms]")).reshape(values.shape)


def in_range(dates: np.ndarray) -> np.ndarray:
    """Nanoseconds where these can say the dates, as pandas has them, else seconds (climatologies of the year 1)."""
    known = dates[~np.isnat(dates)]
    fine = known.size == 0 or (known.min() >= _NANOSECONDS[0] and known.max() < _NANOSECONDS[1])
    return dates.astype("datetime64[ns]" if fine else "datetime64[s]")


def from_texts(column: pd.Series, what: str) -> tuple[pd.Series, pd.Series]:
    """Dates written as text, in their own clock, and how long the written date is.

    Parameters
    ----------
    column : Series
        ``2001``, ``2001-01``, ``200101``, ``2001-01-31`` or ``20010131``, the last two also with a time of day and a zone (``Z``,
        ``+01:00``), which may change from row to row.

    Returns
    -------
    dates : Series of datetime64[ns]
        NaT where a text is no date.
    length : Series of str
        ``year``, ``month`` or ``day``: what the text names.

    Raises
    ------
    InputError
        Local midnights written in UTC: 23:00 of a month's last day may mean either month.
    """
    text = column.astype("string").str.strip()
    text = text.str.replace(r"\.0$", "", regex=True)  # 200101 beside an empty field
    parts = text.str.extract(rf"^(?:{_TEXT.pattern})$", flags=re.IGNORECASE)
    digits = parts["date"].str.replace(r"[-/](\d)(?=[-/]|$)", r"-0\1", regex=True).str.replace(r"\D", "", regex=True)
    length = digits.str.len().map({4: "year", 6: "month", 8: "day"})
    day = digits.str.slice(0, 4) + "-" + digits.str.slice(4, 6).replace("", "01") + "-" + digits.str.slice(6, 8).replace("", "01")
    clock = parts["clock"].str.slice(1).str.replace(",", ".").fillna("00:00")
    clock = clock.where(parts["clock"].isna() | (length == "day"))
    dates = pd.to_datetime(day + "T" + clock.str.replace(r"^(\d):", r"0\1:", regex=True), format="ISO8601", errors="coerce")
    first, last = (pd.Timestamp(limit) for limit in _NANOSECONDS)
    dates = dates.where(dates.between(first, last)).astype("datetime64[ns]")
    _refuse_shifted(dates, parts["zone"].notna(), column, what)
    return dates, length


def _refuse_shifted(dates: pd.Series, zoned: pd.Series, column: pd.Series, what: str) -> None:
    """Aware times of local midnights come as 22:00 or 23:00 UTC; in a table of months the month would be the one before."""
    late = zoned & (dates.dt.hour >= 12) & (dates.dt.minute % 30 == 0) & (dates.dt.second == 0) & dates.dt.is_month_end
    first = dates.dt.is_month_start | dates.dt.is_month_end
    if late.any() and first[dates.notna()].all():
        row = int(late.to_numpy().argmax())
        raise InputError(
            f"{what}: `{column.iloc[row]}` in line {row + 2} lies hours before a month: midnight of another zone written in UTC? "
            "write dates without a clock, such as 2001-01-31, in the zone they mean"
        )

"""Half-hourly and hourly rows of a tower to days in local standard time."""

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.files.tables import first_line, to_times
from dualflux.units import flux_to_daily

TIME_COLUMNS = ("TIMESTAMP_START", "TIMESTAMP_END")
INTERVALS = {"HH": 48, "HR": 24}  # in a day
FLUX_UNIT = "umolCO2 m-2 s-1"
_FORM = "%Y%m%d%H%M"
_FLUX_COLUMNS = ["nee", "random", "systematic"]
_MEASURED_OR_GOOD = 1  # QC 0 is measured, 1 good fill, 2 and 3 medium and poor


def interval_starts(table: pd.DataFrame, step: str, what: str) -> pd.Series:
    """Start of each interval in local standard time.

    Parameters
    ----------
    table : DataFrame
        TIMESTAMP_START and TIMESTAMP_END, YYYYMMDDHHMM; of one alone the other is a half-hour (hour) away.
    step : "HH" or "HR"

    Raises
    ------
    InputError
        A value is no time, a time comes twice, an interval is not as long as the name says or does not begin on its multiple.
    """
    minutes = 24 * 60 // INTERVALS[step]
    found = {name: to_times(table[name], f"{what}, column `{name}`", _FORM) for name in TIME_COLUMNS if name in table}
    length = pd.Timedelta(minutes=minutes)
    start = found[TIME_COLUMNS[0]] if TIME_COLUMNS[0] in found else found[TIME_COLUMNS[1]] - length
    end = found.get(TIME_COLUMNS[1], start + length)
    wrong = ((end - start).dt.total_seconds() / 60 != minutes) | (start.dt.minute % minutes != 0)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{what}: {int(wrong.sum())} of {len(table)} intervals are not the {minutes} minutes of {step}, first {start.iloc[first]} to "
            f"{end.iloc[first]} in line {first_line(wrong.to_numpy(), table)}; correct the times or the name"
        )
    refuse_repeated(start, what)
    apart = np.diff(np.sort(start.to_numpy())) / np.timedelta64(60, "s")
    if len(found) == 1 and apart.size and np.median(apart) != minutes:
        raise InputError(f"{what}: rows {np.median(apart):g} minutes apart, not the {minutes} of {step}; correct the times or the name")
    return start


def refuse_repeated(start: pd.Series, what: str) -> None:
    """Raise InputError for a time that stands twice."""
    if start.duplicated().any():
        raise InputError(f"{what}: {int(start.duplicated().sum())} rows repeat a time, first {start[start.duplicated()].iloc[0]}; keep one")


def good_half_hours(quality: pd.Series, what: str) -> pd.Series:
    """1 where a flag of 0-3 says measured or good fill, else 0 (InputError for other flags)."""
    wrong = quality.notna() & ~quality.isin([0, 1, 2, 3])
    if wrong.any():
        raise InputError(f"{what}: {int(wrong.sum())} flags other than 0, 1, 2 and 3, first {quality[wrong].iloc[0]:g}; correct the file")
    return (quality <= _MEASURED_OR_GOOD).astype(float)


def to_days(rows: pd.DataFrame, start: pd.Series, per_day: int, minimum_coverage: float) -> tuple[pd.DataFrame, pd.Series]:
    """Daily rows from half-hourly or hourly ones.

    A day is midnight to midnight in local standard time. It has a flux where at least `minimum_coverage` of its intervals have a
    value, gap-filled ones included: their mean, [umolCO2 m-2 s-1] -> [gC m-2 d-1]. Its quality is the part of ALL its intervals that
    are measured or good fill. Random errors are independent, ``sqrt(mean(random^2) / intervals)``, systematic ones common to the day.
    Meteorology is averaged under the same rule; precipitation [mm per interval] becomes [mm d-1].

    Parameters
    ----------
    rows : DataFrame
        nee, random, systematic [umolCO2 m-2 s-1], quality (0 or 1, NaN unknown), then meteorology.
    start : Series of datetime64
    per_day : int
        Intervals in a day.

    Returns
    -------
    days : DataFrame
        time, then the columns of `rows`.
    thin : Series of bool
        Days with some values, but under the coverage.
    """
    day = start.dt.normalize().rename("time")
    grouped = rows.assign(random=rows["random"] ** 2).groupby(day)
    count, mean = grouped.count(), grouped.mean()
    needed = minimum_coverage * per_day
    if "quality" in rows:
        mean["quality"] = grouped["quality"].sum(min_count=1) / per_day
    mean["random"] = (mean["random"] / count["random"].clip(lower=1)) ** 0.5
    others = [str(name) for name in rows if name != "quality"]
    mean[others] = mean[others].where(count[others] >= needed)
    if "P_F" in mean:
        mean["P_F"] *= per_day
    days = mean.reset_index()
    for name in _FLUX_COLUMNS:
        days[name] = flux_to_daily(days[name].to_numpy(), FLUX_UNIT, days["time"].to_numpy(), "half-hourly flux")
    thin = count["nee"].between(1, needed, inclusive="left").reset_index(drop=True)
    return days, thin

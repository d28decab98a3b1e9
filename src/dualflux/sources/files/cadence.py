"""Whether a record is monthly, daily, yearly or anything else: found from bounds or spacing, and refused by name where it is another."""

from itertools import pairwise

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.files.time_axis import Intervals, TimeSteps, require_range

_DAY = pd.Timedelta(days=1)
_KINDS = {"daily": (0.99, 1.01), "weekly": (6.99, 7.01), "monthly": (27.5, 31.5), "quarterly": (89.0, 92.5), "annual": (364.0, 367.0)}
_PERIOD = {"daily": "D", "monthly": "M", "annual": "Y"}  # of the calendar
_SLACK = {"daily": pd.Timedelta(hours=1), "monthly": 1.01 * _DAY, "annual": 1.01 * _DAY}  # bounds that name a period's last day or second


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
    pairs = pairwise(names)
    return [first for first, second in pairs if first == second != usual and first in _KINDS]


def require_cadence(steps: TimeSteps, allowed: tuple[str, ...], what: str, advice: str = "") -> str:
    """The cadence of a record, or InputError where it is none of those a reader can use.

    Parameters
    ----------
    steps : TimeSteps
        Of all files of the record.
    allowed : tuple of str
        Of `cadence`; a step shorter than a day counts as ``hourly``; with ``single`` one step may be anything.
    what : str
        For messages.
    advice : str
        What to do, behind the general one.
    """
    words = " or ".join(word for word in allowed if word != "single")
    if steps.climatology:
        raise InputError(f"{what}: its time is a climatology, a mean over several years; needed: {words} values, each of its own year")
    found = cadence(steps.labels, steps.days)
    if found == "single" and "single" not in allowed:
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
    off = (_apart(begin, month.to_timestamp()) > 2 * _DAY) | (_apart(end, (month + 1).to_timestamp()) > 2 * _DAY)
    if off.any():
        at = int(off.argmax())
        raise InputError(
            f"{what}: time bounds {begin[at]} to {end[at]} are a month long but no month of the calendar; give calendar months"
        )


def _apart(first: pd.DatetimeIndex, second: pd.DatetimeIndex) -> np.ndarray:
    return np.abs(first.to_numpy() - second.to_numpy())


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
            f"{what}: its time is a climatology, a mean over several years; say `kind: climatology`, or give a file with values of "
            "each year"
        )
    if steps.bounds is None and len(steps.stamps) < 2:
        raise InputError(f"{what}: {len(steps.stamps)} time steps; give at least two, or time bounds")
    require_range(steps, what)
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
    near = [bool((_apart(a, b) <= _SLACK[kind]).all()) for a, b in zip(steps.bounds, whole, strict=True)]
    return whole if all(near) else steps.bounds


def _to_next(stamps: pd.DatetimeIndex) -> Intervals:
    usual = np.median(np.diff(stamps.to_numpy())).astype(np.diff(stamps.to_numpy()).dtype)
    nearest_next = np.append(stamps.to_numpy()[1:], stamps.to_numpy()[-1] + usual)
    return stamps, pd.DatetimeIndex(np.minimum(nearest_next, stamps.to_numpy() + usual))


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
    moments = pd.DatetimeIndex(months.unique())
    if len(moments) == 1:
        raise InputError(
            f"{what}: one time step, {moments[0]:%Y-%m-%d}, and nothing says whether it is a day's, a month's or a year's; "
            f"write a month as {moments[0]:%Y-%m}; {advice}"
        )
    require_cadence(TimeSteps(moments), ("monthly",), what, f"; {advice}")

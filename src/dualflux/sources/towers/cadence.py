"""What one row of a tower record means: a day, a month, or something that is neither, found site by site from the spacing of its rows."""

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.files.tables import few, refuse_rows
from dualflux.sources.towers.records import TimeStep

DAY, MONTH, YEAR = "day", "month", "year"
_MONTH_DAYS = (28, 31)
_YEAR_DAYS = (359, 372)  # 366 days, and the first day of another week or 8-day period
_RUN = 5  # equal steps of several days one after the other: no gaps of a daily record, but another kind of row
_STEPS: dict[str, TimeStep] = {DAY: "daily", MONTH: "monthly"}


def cadence(time: pd.Series) -> str | None:
    """What a row of one site means.

    Parameters
    ----------
    time : Series of datetime64
        Of one site's rows, in any order.

    Returns
    -------
    str or None
        ``day``, ``month``, ``year``, another period in words (``8 days``, ``3 months``, ``month, not at its first day``), or ``day, and
        rows of 7 days among them``; None where the rows are too few to say. Gaps do not count: the most common step decides, of rows on
        first days of months the largest step that all are multiples of.

    Examples
    --------
    >>> cadence(pd.Series(pd.date_range("2001-01-01", periods=5, freq="8D")))
    '8 days'
    >>> cadence(pd.Series(pd.to_datetime(["2001-03-01", "2002-01-01", "2002-06-01"])))
    'month'
    >>> cadence(pd.Series(pd.to_datetime(["2001-01-01", "2002-01-01"])))
    'year'
    """
    days = np.unique(time.to_numpy().astype("datetime64[D]"))
    if days.size < 2:
        return None
    months = days.astype("datetime64[M]")
    if (months == days).all():
        return _of_first_days(np.diff(months).astype(int))
    return _of_days(np.diff(days).astype(int), days[1:] == months[1:])


def table_step(rows: pd.DataFrame, what: str, stated: TimeStep | None = None) -> TimeStep:
    """Time step of a table with rows of several sites.

    Parameters
    ----------
    rows : DataFrame
        site, time.
    stated : str, optional
        What the study says the rows are; nothing is looked at.

    Raises
    ------
    InputError
        Rows that are no days and no months, or both in one table.
    """
    if stated is not None:
        return stated
    found = {str(site): cadence(time) for site, time in rows.groupby("site", sort=True)["time"]}
    known = {site: step for site, step in found.items() if step is not None}
    refuse_others(known, what, " `time_step: monthly` (or `daily`) of this entry takes them as such,")
    steps = set(known.values())
    if len(steps) > 1:
        said = "; ".join(f"a {step} at {few((s for s, k in known.items() if k == step), 5)}" for step in sorted(steps))
        raise InputError(
            f"{what}: mixed rows: one row is {said}; give daily or monthly means, not both in one table, or leave sites out with `exclude`"
        )
    return _STEPS[steps.pop()] if steps else _of_few(rows, what)


def refuse_others(known: dict[str, str], what: str, also: str = "") -> None:
    """Raise InputError for sites whose rows are neither days nor months."""
    others = {site: step for site, step in known.items() if step not in _STEPS}
    if others:
        step = next(iter(others.values()))
        sites = few((s for s, k in others.items() if k == step), 5)
        kinds = "" if len(set(others.values())) == 1 else f" ({len(others)} sites have rows of other periods)"
        raise InputError(
            f"{what}: one row per {step} at {sites}{kinds}, which is no day and no month; give daily or monthly means;{also} "
            "`exclude: [SITE]` leaves a site out"
        )


def _of_first_days(months: np.ndarray) -> str | None:
    every = int(np.gcd.reduce(months))
    if every == 12 or (every % 12 == 0 and months.size >= 2):
        return YEAR if every == 12 else f"{every // 12} years"
    return f"{every} months" if every > 1 and months.size >= 3 else MONTH


def _of_days(steps: np.ndarray, on_first: np.ndarray) -> str | None:
    """`steps` in days, `on_first`: the step leads to the first day of a month."""
    common = int(np.bincount(steps).argmax())
    if common == 1:
        among = _other_rows(steps, on_first)
        return DAY if among is None else f"{DAY}, and rows of a {among} among them"
    if _share(steps, _YEAR_DAYS) >= 0.5:
        return YEAR
    if steps.size >= 2 and _share(steps, _MONTH_DAYS) >= 0.5:
        return "month, not at its first day"
    return f"{common} days" if steps.size >= 3 and (steps == common).mean() >= 0.5 else None


def _share(steps: np.ndarray, between: tuple[int, int]) -> float:
    return float(((steps >= between[0]) & (steps <= between[1])).mean())


def _other_rows(steps: np.ndarray, on_first: np.ndarray) -> str | None:
    """Rows of months or of several days in one stretch of a daily record."""
    if _longest_run((steps >= _MONTH_DAYS[0]) & (steps <= _MONTH_DAYS[1]) & on_first) >= _RUN:
        return MONTH
    for days in np.unique(steps[steps >= _RUN]).tolist():
        if _longest_run(steps == days) >= _RUN:
            return f"period of {days} days"
    return None


def _longest_run(true: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.r_[False, true, False].astype(int)))
    return int(max(edges[1::2] - edges[::2], default=0))


def _of_few(rows: pd.DataFrame, what: str) -> TimeStep:
    """Of rows that are too few, site by site, to say."""
    time = rows["time"]
    if (time.dt.day == 1).all():
        return "monthly"
    if len(rows) > 1 and not rows.assign(month=time.dt.to_period("M")).duplicated(["site", "month"]).any():
        raise InputError(f"{what}: one row per site and month, but not at the first day of the month; use the start of the month as `time`")
    return "daily"


def refuse_bare_years(column: pd.Series, what: str) -> None:
    """Raise InputError where the times of a table are years: ``2001`` is no month and no day."""
    years = column.astype("string").str.strip().str.fullmatch(r"\d{4}").fillna(False).to_numpy(dtype=bool)
    refuse_rows(years, column, f"{what}: one row per year, which is no day and no month", "give daily or monthly means")

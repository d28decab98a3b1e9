"""Sums of months over longer periods: mean, standard deviation and members side by side."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from pandas.tseries.frequencies import to_offset
from pandas.tseries.offsets import BaseOffset, MonthBegin, MonthEnd, QuarterBegin, QuarterEnd, YearBegin, YearEnd

from dualflux.errors import InputError
from dualflux.metrics.pairs import paired_std

_LENGTHS: tuple[tuple[tuple[type[BaseOffset], ...], int, str], ...] = (
    ((MonthBegin, MonthEnd), 1, "PgC month-1"),
    ((QuarterBegin, QuarterEnd), 3, "PgC quarter-1"),
    ((YearBegin, YearEnd), 12, "PgC yr-1"),
)
_ALLOWED = "MS or ME (months), QS or QE (quarters; QE-NOV: seasons), YS or YE (years)"


def sums_over(mean: pd.Series, members: pd.DataFrame, freq: str, about: Mapping[Hashable, Any]) -> pd.DataFrame:
    """Sum monthly integrals over periods.

    Parameters
    ----------
    mean : Series, (month,)
        [PgC month-1], indexed by the first day of each month.
    members : DataFrame, (month, member)
        The same of each member; without columns where there are none.
    freq : str
        A pandas frequency of months, quarters or years.
    about : mapping
        Goes to `attrs`, beside `unit`.

    Returns
    -------
    DataFrame, index `time`
        `mean`, `std` (of the members' sums, over antithetic pairs; NaN below two members), `member_0` ...
        A period of which some months are missing is NaN: a part of a year is no annual flux.

    Raises
    ------
    InputError
        Another frequency.

    Examples
    --------
    >>> months = pd.date_range("2001-01-01", periods=18, freq="MS")
    >>> members = pd.DataFrame({0: 1.0, 1: 3.0}, index=months)
    >>> sums_over(members.mean(axis=1), members, "YE", {})["mean"].tolist()
    [24.0, nan]
    """
    offset, months, unit = _period(freq)
    values = members.rename(columns=lambda m: f"member_{m}")
    monthly = pd.concat([mean.rename("mean"), values], axis=1).sort_index()
    monthly.index = pd.DatetimeIndex(monthly.index).as_unit("ns")  # tables and products come with clocks of their own
    total = monthly.resample(offset).sum(min_count=months)
    total.insert(1, "std", paired_std(total[list(values)].to_numpy().T))
    total.index.name = "time"
    total.attrs = {"unit": unit, **dict(about)}
    return total


def _period(freq: str) -> tuple[BaseOffset, int, str]:
    """The offset, its number of months and the unit of a sum over it."""
    try:
        offset = to_offset(freq)
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(f"freq {freq!r}: unknown; allowed: {_ALLOWED}") from error
    for kinds, months, unit in _LENGTHS:
        if isinstance(offset, kinds) and offset.n == 1:
            return offset, months, unit
    raise InputError(f"freq {freq!r}: allowed: {_ALLOWED}; sum longer periods from years")

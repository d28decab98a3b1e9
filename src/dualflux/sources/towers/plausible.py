"""What a tower's numbers can be: fill values that no file declares, records that stand still, fluxes that no ecosystem has."""

from typing import Literal

import numpy as np
import pandas as pd

from dualflux.errors import Problems
from dualflux.sources.files.tables import MISSING, few, refuse_rows
from dualflux.sources.towers.records import TimeStep

Implausible = Literal["error", "accept"]
ACCEPT = "; `implausible: accept` takes the values as they are"

# What programs and networks write where there is no value, besides -9999, which every reader knows; also with 9s behind the point.
_DIGITS = ("99", "999", "9999", "99999", "999999", "6999", "8888", "7777", "888", "777")
FILLS = np.array(
    sorted(
        {
            sign * float(number)
            for sign in (1, -1)
            for number in (*_DIGITS, *(d + end for d in _DIGITS[:4] for end in (".9", ".99", ".999")))
        }
        | {
            32767.0,
            -32768.0,
            65535.0,
            2147483647.0,
            -2147483648.0,
            1e15,
            -1e15,
            1e20,
            -1e20,
            1e30,
            -1e30,
            1e34,
            -1e34,
            9.969209968386869e36,
        }
        | {-9999.9, -9999.99, -99999.9}
    )
)
_REPEATS = 3  # times a fill value stands in a column at least, where it lies among the other values
_STANDS_OUT = 2  # times as often as all but one in a hundred of the other values

LARGEST_USUAL_FLUX = 30.0  # gC m-2 d-1: twice what the most active sites reach on 5 % of their days
_LARGEST_SHARE = 0.05
_FEWEST = 10
STANDS_STILL: dict[TimeStep, int] = {"daily": 60, "monthly": 12}  # rows of one and the same flux

# Physical limits of the site meteorology of ONEFlux files, wide enough for half-hours; what breaks other relations is flagged, see `flags`.
LIMITS = {"TA_F": (-95.0, 95.0, "degC"), "SW_IN_F": (-50.0, 1700.0, "W m-2"), "P_F": (-0.01, 2000.0, "mm")}


def undeclared_fills(values: np.ndarray) -> list[float]:
    """Fill values that stand among the numbers of a column.

    One that stands out of the range of the other values by more than that range, or that is negative where no other is, or that is
    repeated like no other value.

    Parameters
    ----------
    values : array
        Missing ones are NaN.

    Examples
    --------
    >>> undeclared_fills(np.array([-1.5, 2.0, -999.0]))
    [-999.0]
    >>> undeclared_fills(np.array([-150.0, -99.0, 120.0, -98.0, 40.0]))
    []
    """
    known = values[np.isfinite(values)]
    present = np.isin(known, FILLS)
    others = known[~present]
    if not present.any() or not others.size:
        return []
    low, high = float(others.min()), float(others.max())
    often = float(np.quantile(np.unique(others, return_counts=True)[1], 0.99))
    found = []
    for fill, count in zip(*np.unique(known[present], return_counts=True), strict=True):
        beyond = fill < low - (high - low) or fill > high + (high - low) or (fill < 0 <= low)
        if beyond or count >= max(_REPEATS, _STANDS_OUT * often):
            found.append(float(fill))
    return found


def refuse_fills(column: pd.Series, numbers: pd.Series, what: str) -> None:
    """Raise InputError for undeclared fill values.

    Parameters
    ----------
    column : Series
        As the file has it, for the line in the message.
    numbers : Series
        The same as numbers, in the file's unit.
    """
    fills = undeclared_fills(numbers.to_numpy())
    if fills:
        refuse_rows(
            numbers.isin(fills).to_numpy(), column, f"{what}: {few(f'{fill:.9g}' for fill in fills)}, a fill value that is not declared",
            f"write {MISSING:g} or leave the field empty{ACCEPT}",
        )  # fmt: skip


def refuse_limits(column: pd.Series, numbers: pd.Series, what: str) -> None:
    """Raise InputError for meteorology of a ONEFlux file that no place on Earth has."""
    if column.name in LIMITS:
        low, high, unit = LIMITS[str(column.name)]
        beyond = ((numbers < low) | (numbers > high)).to_numpy()
        refuse_rows(beyond, column, f"{what}: outside {low:g} to {high:g} {unit}", f"correct the unit or the fill value{ACCEPT}")


def refuse_implausible(rows: pd.DataFrame, step: TimeStep, what: str) -> None:
    """Raise InputError for sites whose flux stands still, or is beyond what ecosystems do; both at once.

    Parameters
    ----------
    rows : DataFrame
        site, time, nee [gC m-2 d-1].
    """
    problems = Problems()
    known = rows.dropna(subset="nee").sort_values(["site", "time"], kind="stable")
    by_site = {str(site): nee.to_numpy() for site, nee in known.groupby("site", sort=True)["nee"]}
    still = {site: _longest_still(nee) for site, nee in by_site.items()}
    still = {site: (rows_of, value) for site, (rows_of, value) in still.items() if rows_of >= STANDS_STILL[step]}
    if still:
        site, (count, value) = next(iter(still.items()))
        problems.add(
            f"{what}: the flux is constant at {few(still, 8)} ({site}: {value:.6g} in {count} rows one after the other): a fill value "
            f"or a record that stands still; correct the file{ACCEPT}, `exclude: [{site}]` leaves a site out"
        )
    large = {site: float(np.quantile(np.abs(nee), 1 - _LARGEST_SHARE)) for site, nee in by_site.items() if nee.size >= _FEWEST}
    large = {site: flux for site, flux in large.items() if flux > LARGEST_USUAL_FLUX}
    if large:
        site, flux = max(large.items(), key=lambda item: item[1])
        problems.add(
            f"{what}: fluxes that no ecosystem has at {few(large, 8)} ({site}: over {flux:.4g} gC m-2 d-1 in {100 * _LARGEST_SHARE:g} % of "
            f"the rows; plausible: {LARGEST_USUAL_FLUX:g}); correct the unit{ACCEPT}, `exclude: [{site}]` leaves a site out"
        )
    problems.raise_if_any()


def _longest_still(nee: np.ndarray) -> tuple[int, float]:
    """Most rows one after the other with the same value, and that value."""
    if not nee.size:
        return 0, np.nan
    changes = np.flatnonzero(np.r_[True, nee[1:] != nee[:-1], True])
    lengths = np.diff(changes)
    return int(lengths.max()), float(nee[changes[lengths.argmax()]])

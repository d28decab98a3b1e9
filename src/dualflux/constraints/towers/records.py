"""The rows of towers in the order of site and time, and what hangs together in them: gaps, years, and the functions of a site's own effect.

A site stands out of its landscape by more than an offset: its cycle is its own, and a young or thinned stand changes from year
to year. Its effect is

    b(s, t) = b_0 + sum over j = 1, 2 of sqrt(2) (b_j cos jw + c_j sin jw) + b_5 (t - t_s),    w: the time of the year,

with t in decades about the middle t_s of the site's record.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

OWN = ("offset", "cycle", "cycle", "cycle", "cycle", "trend")  # part of each function of b
DECADE = 3652.5  # days
MONTH = 30.4
UNRELATED = np.inf  # days since the row before, where that is another site's


@dataclass(frozen=True, eq=False)
class Records:
    """Rows by site and time; every array but `order` and `first` is (row, ...) in that order.

    Attributes
    ----------
    order : array of int, (row,)
        Their positions in the data.
    site : array of int
    gap : array
        Days since the row before of the same site; infinite where there is none.
    year : array of int
        Number of the row's year among those its site has rows in, 0, 1, ...
    own : array, (row, function)
        Functions of b, see `OWN`.
    first : array of int, (site + 1,)
        Where the rows of each site begin, and the number of rows.
    """

    order: np.ndarray
    site: np.ndarray
    gap: np.ndarray
    year: np.ndarray
    own: np.ndarray
    first: np.ndarray

    @classmethod
    def create(cls, site: np.ndarray, time: pd.DatetimeIndex, sites: int) -> "Records":
        """Of rows of `sites` sites in any order."""
        order = np.lexsort((time.to_numpy(), site))
        of, when = np.asarray(site)[order], time[order]
        day = (when - pd.Timestamp("2000-01-01")).days.to_numpy(np.float64)
        same = np.r_[False, of[1:] == of[:-1]]
        gap = np.where(same, np.diff(day, prepend=day[:1]), UNRELATED)
        new_year = np.r_[False, np.diff(when.year) != 0] & same
        year = np.cumsum(new_year) - _at_start(np.cumsum(new_year), same)
        first = np.searchsorted(of, np.arange(sites + 1))
        return cls(order, of, gap, year, _own_functions(day, gap, of), first)

    @property
    def years(self) -> int:
        """Years of the site that has most."""
        return int(self.year.max(initial=0)) + 1

    @property
    def step(self) -> float:
        """Days between neighbouring rows, as a rule."""
        return usual_step(self.gap)

    def spans(self) -> list[slice]:
        """Rows of each site."""
        return [slice(a, b) for a, b in zip(self.first[:-1], self.first[1:], strict=True)]

    def of_years(self) -> np.ndarray:
        """1 in the column of the row's year, (row, year)."""
        return np.asarray(np.eye(self.years)[self.year])

    def part(self, rows: np.ndarray) -> "Records":
        """Some of the rows (positions, ascending), whole sites or none of it; sites keep their numbers."""
        site = self.site[rows]
        first = np.searchsorted(site, np.arange(len(self.first)))
        return Records(self.order[rows], site, self.gap[rows], self.year[rows], self.own[rows], first)


def usual_step(gap: np.ndarray) -> float:
    """The median of gaps [days] between different times; a month where there is none.

    >>> usual_step(np.array([np.inf, 1.0, 0.0, 1.0, 30.0]))
    1.0
    """
    apart = gap[np.isfinite(gap) & (gap > 0)]
    return float(np.median(apart)) if apart.size else MONTH


def _at_start(values: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Each row's value at the first row of its site."""
    start = np.maximum.accumulate(np.where(same, 0, np.arange(len(values))))
    return np.asarray(values[start])


def _own_functions(day: np.ndarray, gap: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Columns of b, (row, 6), at the middle of each step; `day` counts from the first of January 2000."""
    middle = day + usual_step(gap) / 2
    angle = 2 * np.pi * middle / 365.25
    count = np.maximum(np.bincount(site), 1)
    centre = np.bincount(site, middle) / count
    waves = [np.sqrt(2) * wave(j * angle) for j in (1, 2) for wave in (np.cos, np.sin)]
    return np.column_stack([np.ones(len(day)), *waves, (middle - centre[site]) / DECADE])

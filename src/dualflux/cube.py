"""Where predictors lie: the time axis, the columns, and the cube of all land cells, on the host and on the device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.units import days_in_month
from dualflux.vegetation import Vegetation

_CONSTANT = 1e-6  # of its largest value: the sd of a series that does not vary, in single precision
MEAN_YEAR = ("2000-01-01", "2001-01-01")  # a leap year: every date has one place in it


@dataclass(frozen=True)
class TimeStep:
    """The length of a study's steps: all that depends on it is asked here, never guessed from the size of an array.

    Attributes
    ----------
    name : str
        As in the study file.
    frequency : str
        The same for pandas.
    """

    name: str
    frequency: str

    @classmethod
    def named(cls, name: str) -> "TimeStep":
        """That of the study file's `time_step`."""
        return TIME_STEPS[name]

    @cached_property
    def year(self) -> pd.DatetimeIndex:
        """The parts of the mean year, (season,)."""
        return pd.date_range(*MEAN_YEAR, freq=self.frequency, inclusive="left")

    @property
    def seasons(self) -> int:
        """Parts of the mean year: 12 months, 366 days."""
        return len(self.year)

    @cached_property
    def longest_month(self) -> int:
        """Most steps of a month."""
        return int(self.place()[1].max()) + 1

    @property
    def is_month(self) -> bool:
        """Whether a month is one step."""
        return self.longest_month == 1

    def place(self) -> tuple[np.ndarray, np.ndarray]:
        """Month of the year (0 to 11) and step in it of each part of the mean year, two arrays (season,)."""
        month = self.year.month.to_numpy() - 1
        return month, np.arange(len(month)) - np.searchsorted(month, month)

    def season(self, time: pd.DatetimeIndex) -> np.ndarray:
        """Part of the mean year of each step, (step,); 29 February always has its own, so a date has one place in every year."""
        first, start = self.year[0], time.to_period("M").start_time
        month = np.searchsorted(self.place()[0], time.month.to_numpy() - 1)
        return month if self.is_month else month + ((time - start) // (self.year[1] - first)).to_numpy()


TIME_STEPS = {step.name: step for step in (TimeStep("monthly", "MS"), TimeStep("daily", "D"))}


class Steps(NamedTuple):
    """The time axis of a study.

    Attributes
    ----------
    time : DatetimeIndex, (step,)
    season : array of int, (step,)
        Position in the mean year: month 0..11, or day 0..365 in a daily study.
    month_start, month_steps : array of int, (month,)
        First step and number of steps of each month.
    month_days : array, (month,)
        True length of each month [days].
    months : DatetimeIndex, (month,)
    length : TimeStep
        Of each step; ``length.seasons`` parts make the mean year, a month has at most ``length.longest_month`` steps.
    """

    time: pd.DatetimeIndex
    season: np.ndarray
    month_start: np.ndarray
    month_steps: np.ndarray
    month_days: np.ndarray
    months: pd.DatetimeIndex
    length: TimeStep

    @classmethod
    def create(cls, first: str, last: str, time_step: str) -> "Steps":
        """Steps of `time_step` (monthly or daily) from the first to the last day."""
        length = TimeStep.named(time_step)
        end = pd.Timestamp(last).normalize() + pd.Timedelta(days=1)
        time = pd.date_range(first, end, freq=length.frequency, inclusive="left")
        label = time.to_period("M")
        _, start, count = np.unique(label.asi8, return_index=True, return_counts=True)
        stamps = label[start].to_timestamp()
        return cls(time, length.season(time), start, count, days_in_month(stamps), stamps, length)

    def of_months(self, span: slice) -> "Steps":
        """Some months of it, at least one."""
        first, count = self.month_start[span.start], self.month_steps[span]
        own = slice(first, first + count.sum())
        return Steps(
            self.time[own], self.season[own], self.month_start[span] - first, count, self.month_days[span], self.months[span], self.length
        )


@dataclass(frozen=True)
class Columns:
    """Names of the network's input columns, in their order: static, then seasonal, then dynamic ones."""

    static: tuple[str, ...]
    seasonal: tuple[str, ...]
    dynamic: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return self.static + self.seasonal + self.dynamic

    @property
    def invariant(self) -> int:
        """Number of leading columns that do not vary between years."""
        return len(self.static) + len(self.seasonal)


@dataclass(frozen=True, eq=False)
class SeriesStandard:
    """How predictors of time alone are standardised: what returns every year belongs to the seasons and is taken out of them.

    Attributes
    ----------
    names : tuple of str, (series,)
    cycle : array, (series, 12)
        Mean over the fitted period of each calendar month.
    scale : array, (series,)
        Sd over the fitted period of what is left.
    """

    names: tuple[str, ...]
    cycle: np.ndarray
    scale: np.ndarray

    @classmethod
    def create(cls, names: Sequence[str], values: np.ndarray, steps: Steps, fitted: np.ndarray) -> "SeriesStandard":
        """Of the steps in use.

        Parameters
        ----------
        values : array, (step, series)
        fitted : array of bool, (step,)

        Raises
        ------
        InputError
            Series that do not vary between the fitted years; all at once.
        """
        month = steps.time.month.to_numpy() - 1
        inside = np.eye(12)[month[fitted]]
        used = np.asarray(values, dtype=np.float64)[fitted]
        cycle = (inside.T @ used / np.maximum(inside.sum(axis=0), 1)[:, None]).T
        scale = np.sqrt(np.mean((used - cycle.T[month[fitted]]) ** 2, axis=0))
        flat = scale <= _CONSTANT * np.maximum(1.0, np.abs(used).max(axis=0, initial=0.0))
        if flat.any():
            raise InputError([
                f"predictor `{name}`: does not vary between the fitted years but for its mean seasonal cycle, so it says nothing of "
                "them; give a series that does, or remove it"
                for name, still in zip(names, flat, strict=True) if still
            ])  # fmt: skip
        return cls(tuple(names), cycle, scale)

    def standardised(self, values: np.ndarray, steps: Steps) -> np.ndarray:
        """Series (step, series) in standard deviations, float32."""
        return ((values - self.cycle.T[steps.time.month.to_numpy() - 1]) / self.scale).astype(np.float32)


def no_series(steps: Steps) -> tuple[np.ndarray, SeriesStandard]:
    """What a study without predictors of time alone has in their place."""
    return np.zeros((len(steps.time), 0), np.float32), SeriesStandard((), np.zeros((0, 12)), np.zeros(0))


@dataclass(frozen=True)
class Cube:
    """Standardised predictors of all land cells; rows are put together where they are needed.

    Attributes
    ----------
    static : array float32, (cell, static column)
    seasonal : array float32, (season, cell, seasonal column)
    dynamic : array float32, (step, cell, dynamic column)
    steps : Steps
    columns : Columns
    centre, scale : array, (column,)
        What standardised the columns: (value - centre) / scale.
    series : array float32, (step, series)
        Standardised predictors of time alone, none of the columns above; no series in most studies.
    series_standard : SeriesStandard
        What standardised them.
    vegetation : Vegetation or None
        What fluxes are scaled by; None: by nothing.
    """

    static: np.ndarray
    seasonal: np.ndarray
    dynamic: np.ndarray
    steps: Steps
    columns: Columns
    centre: np.ndarray
    scale: np.ndarray
    series: np.ndarray
    series_standard: SeriesStandard
    vegetation: Vegetation | None = None

    def vegetated(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The vegetation scale of rows (row, column), or of all land cells, (row,), float64."""
        static = (self.static if rows is None else rows).astype(np.float64)
        return np.ones(len(static)) if self.vegetation is None else np.asarray(self.vegetation.at(static))

    def rows(self, step: np.ndarray, cell: np.ndarray) -> np.ndarray:
        """Predictors of the given (step, cell) pairs, (row, column)."""
        season = self.steps.season[step]
        return np.concatenate([self.static[cell], self.seasonal[season, cell], self.dynamic[step, cell]], axis=-1)

    def mean_year(self) -> np.ndarray:
        """What places a cell in predictor space: static columns, mean and sd over the year of the others, (cell, feature)."""
        varying = [a for a in (self.seasonal, self.dynamic[self.spread_steps()]) if a.shape[-1]]
        return np.concatenate([self.static, *(a.mean(axis=0) for a in varying), *(a.std(axis=0) for a in varying)], axis=-1)

    def spread_steps(self, count: int = 24) -> np.ndarray:
        """A few steps that stand for all: evenly over the seasons and over the years (a fixed stride could meet one season only)."""
        place = np.arange(count)
        years = max(1, round(len(self.dynamic) / len(self.seasonal)))
        return ((place * years // count + (place + 0.5) / count) * len(self.dynamic) / years).astype(int)


class DeviceCube(NamedTuple):
    """`Cube` on the device."""

    static: jax.Array
    seasonal: jax.Array
    dynamic: jax.Array
    season: jax.Array

    @classmethod
    def of(cls, cube: Cube) -> "DeviceCube":
        """Move a cube to the device."""
        return cls(*(jnp.asarray(a) for a in (cube.static, cube.seasonal, cube.dynamic, cube.steps.season)))

    def block(self, step: jax.Array, cell: jax.Array) -> jax.Array:
        """Predictors of every given step at every given cell, (step, cell, column)."""
        static = jnp.broadcast_to(self.static[cell], (step.shape[0], cell.shape[0], self.static.shape[-1]))
        return jnp.concatenate([static, self.seasonal[self.season[step]][:, cell], self.dynamic[step][:, cell]], axis=-1)

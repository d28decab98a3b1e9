"""Gridded products against each other cell by cell, in one pass over their time steps."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.metrics.statistics import PairStatistics

BLOCK_BYTES = 64e6  # float64 of one product that is held at once


class Step(NamedTuple):
    """One time step of a product: flux (lat, lon), per area of land, NaN where there is none."""

    time: pd.Timestamp
    flux: np.ndarray


class CellTally:
    """What one pass over a product and a reference leaves of each cell.

    Attributes
    ----------
    total, weight : array, (lat, lon)
        Sum of flux x days and days, over the product's steps with a value.
    pairs : PairStatistics, (lat, lon)
        Of the steps both have.
    steps : int
        Steps in common.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.total, self.weight = np.zeros(shape), np.zeros(shape)
        self.pairs, self.steps = PairStatistics.zero(shape), 0
        self._held: list[tuple[np.ndarray, np.ndarray]] = []
        self._most = max(1, int(BLOCK_BYTES // (8 * np.prod(shape))))

    def add(self, flux: np.ndarray, reference: np.ndarray | None, days: float) -> None:
        """Take one step in; `reference` is None where it has no such step."""
        there = np.isfinite(flux)
        self.total += np.where(there, flux, 0.0) * days
        self.weight += there * days
        if reference is not None:
            self.steps += 1
            self._held.append((reference, flux))
        if len(self._held) >= self._most:
            self.close()

    def close(self) -> None:
        """Add what is held back to the statistics."""
        if self._held:
            observed, predicted = (np.stack(side) for side in zip(*self._held, strict=True))
            self.pairs += PairStatistics.along_first(observed, predicted)
            self._held = []

    def mean(self) -> np.ndarray:
        """Mean flux over time, NaN where there is none."""
        return np.divide(self.total, self.weight, out=np.full(self.total.shape, np.nan), where=self.weight > 0)


def together(product: Iterable[Step], reference: Iterable[Step], name: str) -> Iterator[tuple[Step, np.ndarray | None]]:
    """Steps of a product, each with the reference's field of the same time (None without); one field of each is held.

    Raises
    ------
    InputError
        Steps that are not in the order of time.
    """
    other = _ordered(reference, f"the reference of {name}")
    ahead = next(other, None)
    for step in _ordered(product, name):
        while ahead is not None and ahead.time < step.time:
            ahead = next(other, None)
        yield step, ahead.flux if ahead is not None and ahead.time == step.time else None


def _ordered(steps: Iterable[Step], name: str) -> Iterator[Step]:
    last: pd.Timestamp | None = None
    for step in steps:
        if last is not None and step.time <= last:
            raise InputError(f"{name}: {step.time:%Y-%m-%d} comes after {last:%Y-%m-%d}; list its files in the order of time")
        last = step.time
        yield step

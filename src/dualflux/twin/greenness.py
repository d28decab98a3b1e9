"""Greenness as satellites see it: 16-day composites with noise and gaps, and the gap-filled product users download."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualflux.twin.geography import random_generator


@dataclass(frozen=True, eq=False)
class Greenness:
    """Gap-filled composites that begin on 1 January of each year and every 16 days after.

    Attributes
    ----------
    begin, end : DatetimeIndex, (composite,)
        The last composite of a year is shorter.
    fapar : array, (composite, cell), float32
    filled : array, (composite, cell), bool
        Where clouds or darkness left no view and the value is interpolated in time.
    """

    begin: pd.DatetimeIndex
    end: pd.DatetimeIndex
    fapar: np.ndarray
    filled: np.ndarray

    def at_days(self, days: pd.DatetimeIndex) -> np.ndarray:
        """Position of the composite that holds each day."""
        return np.asarray(self.begin.searchsorted(days, side="right") - 1)


def observe_greenness(time: pd.DatetimeIndex, fapar: np.ndarray, sw_in: np.ndarray, potential: np.ndarray, seed: int) -> Greenness:
    """Composite true fAPAR; views fail more often under clouds and always in winter darkness.

    Parameters
    ----------
    fapar, sw_in, potential : array, (day, cell)
        True fAPAR, radiation at the surface and at the top of the atmosphere [W m-2].
    """
    generator = random_generator(seed, "greenness")
    first = np.flatnonzero((time.day_of_year - 1) % 16 == 0)
    days = np.diff(np.append(first, len(time)))[:, None]
    mean, light, top = (np.add.reduceat(field, first, axis=0) / days for field in (fapar, sw_in, potential))
    cloudy = np.clip(1 - light / np.maximum(top, 1) / 0.7, 0, 1)
    filled = (generator.random(mean.shape) < 0.02 + 0.5 * cloudy**2) | (top < 35)
    filled[[0, -1]] = top[[0, -1]] < 0  # the record's ends are seen
    noise = generator.standard_normal((2, *mean.shape), dtype=np.float32)
    seen = np.clip(mean * (1 + 0.04 * noise[0]) + 0.01 * noise[1], 0, 1)
    complete = pd.DataFrame(np.where(filled, np.nan, seen)).interpolate(limit_direction="both").to_numpy(np.float32)
    begin = time[first]
    end = pd.DatetimeIndex([*begin[1:], time[-1] + pd.Timedelta(days=1)])
    return Greenness(begin, end, complete, filled)

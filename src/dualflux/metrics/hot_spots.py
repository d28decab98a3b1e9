"""Boxes and regions whose lasting flux per area is beyond what towers of their climate, or any inversion, show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student

HEIGHT = 10.0  # degrees of latitude of a box; about as wide in kilometres
LEAST_LAND = 1e11  # m2 of a box: below, a few cells would be the box
FEWEST_SITES = 5  # of a climate; with fewer all sites set the limits
LEVEL = 0.9
OF_CLIMATE, OF_ALL, OF_INVERSIONS = "towers_of_climate", "towers", "inversions"
COLUMNS = ["kind", "region", "lat", "lon", "value", "limit"]


@dataclass(frozen=True, eq=False)
class Boxes:
    """Boxes of nearly equal area, about 1100 km wide: bands of 10 degrees, cut into ``round(36 cos(latitude))`` parts.

    Attributes
    ----------
    lat, lon : array, (box,)
        Centres [degrees].
    of_cell : array of int, (cell,)
        The box each cell stands in.
    """

    lat: np.ndarray
    lon: np.ndarray
    of_cell: np.ndarray

    @classmethod
    def of(cls, lat: np.ndarray, lon: np.ndarray) -> "Boxes":
        """The boxes that hold the given cells."""
        middle = HEIGHT * (np.minimum((np.asarray(lat) + 90) // HEIGHT, 180 / HEIGHT - 1) + 0.5) - 90
        wide = width(middle)
        centre = wide * ((np.asarray(lon) + 180) % 360 // wide + 0.5) - 180
        place, own = np.unique(np.column_stack([middle, centre]).round(6), axis=0, return_inverse=True)
        return cls(place[:, 0], place[:, 1], own.ravel())

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums (box,) or (box, column) of values (cell,) or (cell, column)."""
        out = np.zeros((len(self.lat), *values.shape[1:]))
        np.add.at(out, self.of_cell, values)
        return out


def width(lat: np.ndarray) -> np.ndarray:
    """Width [degrees of longitude] of boxes centred at some latitudes."""
    return np.asarray(360 / np.maximum(np.round(360 / HEIGHT * np.cos(np.radians(lat))), 1))


def site_means(observations: pd.DataFrame) -> pd.Series:
    """Mean flux of each site, index site, in the unit of `nee`: the mean of its twelve calendar months; without sites that lack one.

    Parameters
    ----------
    observations : DataFrame
        site, time, nee.
    """
    month = pd.DatetimeIndex(observations["time"]).month
    wide = observations.groupby([observations["site"], month])["nee"].mean().unstack().reindex(columns=range(1, 13))
    return wide.dropna().mean(axis=1)


def prediction_interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Where one more of a normal sample of unknown mean and sd lies, ``mean -+ t sd sqrt(1 + 1/n)`` (Student's t of n - 1).

    Examples
    --------
    >>> prediction_interval(np.array([-1.0, 0.0, 1.0]))[1].__round__(3)
    3.372
    """
    count = len(values)
    half = float(student.ppf((1 + level) / 2, count - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / count))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def tower_limits(means: pd.Series, climate: pd.Series, climates: Sequence[str]) -> pd.DataFrame:
    """Limits by climate from the means of its sites, see `prediction_interval`.

    Parameters
    ----------
    means : Series, index site
        See `site_means`.
    climate : Series, index site
    climates : sequence of str
        That boxes can have.

    Returns
    -------
    DataFrame
        Index climate; lower, upper, kind (`towers` where the climate has fewer than `FEWEST_SITES` sites and all set its limits). Without
        rows where there are fewer than that in all.
    """
    rows = {}
    for name in climates if len(means) >= FEWEST_SITES else ():
        own = means[climate.reindex(means.index) == name]
        enough = len(own) >= FEWEST_SITES
        rows[name] = (*prediction_interval((own if enough else means).to_numpy()), OF_CLIMATE if enough else OF_ALL)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["lower", "upper", "kind"])


def inversion_limits(density: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest of the inversions, each widened by their spread (sd), (region,); NaN with fewer than two.

    Parameters
    ----------
    density : array, (inversion, region)
        Lasting flux per area; NaN where an inversion has none.
    """
    count = np.isfinite(density).sum(axis=0)
    known = np.where(count > 1, density, 0.0)
    sd = np.nanstd(known, axis=0) * np.sqrt(count / np.maximum(count - 1, 1))
    return tuple(np.where(count > 1, f(known, axis=0) + sign * sd, np.nan) for f, sign in ((np.nanmin, -1), (np.nanmax, 1)))  # type: ignore[return-value]


def beyond(value: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The limit that each value is beyond; NaN inside, and where there is none."""
    return np.where(value < lower, lower, np.where(value > upper, upper, np.nan))

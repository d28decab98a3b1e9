"""A spatially correlated random effect: what lasts in a landscape and stands in no predictor (age of stands, management, soil).

    u(s, t) = sum over k of phi_k(s) [a_k + sqrt(2) sum over h of (b_kh cos h w(t) + c_kh sin h w(t))],    w: the time of the year,

with Gaussian basis functions phi_k around places on land and independent normal coefficients: a random field of a given
correlation length (low-rank kriging; Cressie and Johannesson 2008, J. R. Stat. Soc. B 70, 209). It belongs to
the landscape's flux f, so regional integrals see it and towers see it.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from dualflux.geometry.sphere import MEAN_RADIUS_KM, angle_of, spread_out, unit_vectors

SPACING = 1.5  # correlation lengths between basis functions: wider ones leave gaps, closer ones add little
WAVES = 3  # cycles of a year, of a half and a third of it: what of a region's mean cycle a network draws wrongly is mostly in these
HARMONICS = 1 + 2 * WAVES  # mean, cosines and sines


class SpatialSettings(BaseModel):
    """The landscape's random effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    correlation_length: float = Field(1000.0, ge=100, le=20_000, description="of the field [km]; half the Earth's girth at most")
    mean_sd: float = Field(0.2, gt=0, description="prior centre of its sd, the lasting part [gC m-2 d-1]; the sd itself is estimated")
    season_sd: float = Field(
        0.1, gt=0, description="the same of its seasonal part [gC m-2 d-1]; half of it is that of the waves of half and a third of a year"
    )


@dataclass(frozen=True)
class SpatialBasis:
    """Basis functions on land.

    Attributes
    ----------
    centre : array, (function, 2)
        Latitude and longitude [degrees].
    length : float
        Correlation length [km].
    """

    centre: np.ndarray
    length: float

    @classmethod
    def create(cls, lat: np.ndarray, lon: np.ndarray, length: float) -> "SpatialBasis":
        """Functions on the given cells, each as far from the others as can be, until none is farther than `SPACING` lengths from one."""
        chosen = spread_out(unit_vectors(lat, lon), SPACING * length)
        return cls(np.column_stack([lat, lon])[chosen].astype(np.float64), float(length))

    @property
    def size(self) -> int:
        """Number of basis functions."""
        return len(self.centre)

    def at(self, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
        """phi (place, function), scaled so that their squares sum to 1: the field's prior variance is the same everywhere."""
        away = _distance(unit_vectors(lat, lon), unit_vectors(*self.centre.T)) / self.length
        function = np.exp(-0.5 * (away**2 - (away**2).min(axis=1, keepdims=True)))
        return function / np.sqrt((function**2).sum(axis=1, keepdims=True))

    def effect(self, coefficient: np.ndarray, lat: np.ndarray, lon: np.ndarray, wave: np.ndarray) -> np.ndarray:
        """u [gC m-2 d-1], (member, row), of coefficients (member, harmonic, function) at places (row,) and times (row, harmonic)."""
        place, row = np.unique(np.column_stack([lat, lon]), axis=0, return_inverse=True)
        field = np.asarray(coefficient, dtype=np.float64) @ self.at(*place.T).T
        return np.einsum("mhr,rh->mr", field[:, :, row.ravel()], wave)


def harmonics(season: np.ndarray, seasons: int) -> np.ndarray:
    """1 and sqrt(2) cos, sqrt(2) sin of every wave at the middle of each part of the mean year, (..., harmonic).

    Parameters
    ----------
    season : array of int, (...)
        Part of the mean year, 0 to `seasons` - 1 (see `cube.Steps`).
    """
    angle = 2 * np.pi * (np.asarray(season) + 0.5) / seasons
    waves = [np.sqrt(2) * f(wave * angle) for wave in range(1, WAVES + 1) for f in (np.cos, np.sin)]
    return np.stack([np.ones_like(angle), *waves], axis=-1)


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Great-circle distance [km], (one, other)."""
    return MEAN_RADIUS_KM * angle_of(one @ other.T)

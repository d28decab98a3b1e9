"""What members err by where no tower is near: a random field that is nothing at a tower and grows with the distance to the nearest.

    e(x) = sqrt(slope h(x)) sum over k of phi_k(x) z_k,    h = 1 - exp(-D),
    D^2 = (distance on land / length)^2 + (distance in predictors / apart)^2

phi are the basis functions of the spatial effect (their squares sum to 1 everywhere), z independent standard normal: a field with the
correlation length of u. It lasts, and belongs to the landscape's flux. Where inversions tell regional integrals the field is drawn
given that its own are zero: A z = 0 with A_rk the integral of sqrt(slope h) phi_k over region r, so z - A' (A A')^-1 A z is a draw.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import cKDTree

from dualflux.geometry.sphere import MEAN_RADIUS_KM, great_circle, unit_vectors


@dataclass(frozen=True, eq=False)
class TowerDistance:
    """Distance to the nearest training tower, on land and in predictors.

    Attributes
    ----------
    lat, lon : array, (tower,)
        [degrees]
    place : array, (tower, feature)
        See `cube.Cube.mean_year`.
    length : float
        Unit of distances on land [km].
    apart : float
        Unit of those in predictors.
    """

    lat: np.ndarray
    lon: np.ndarray
    place: np.ndarray
    length: float
    apart: float

    def growth(self, lat: np.ndarray, lon: np.ndarray, place: np.ndarray) -> np.ndarray:
        """h of places, 0 at a tower and near 1 far from all, (place,)."""
        nearest = (unit_vectors(lat, lon) @ unit_vectors(self.lat, self.lon).T).argmax(axis=1)
        away = MEAN_RADIUS_KM * great_circle(lat, lon, self.lat[nearest], self.lon[nearest])
        return growth(away / self.length, cKDTree(self.place).query(place)[0] / self.apart)


def growth(on_land: np.ndarray, in_predictors: np.ndarray) -> np.ndarray:
    """h of distances in their units.

    >>> growth(np.array([0.0, 3.0]), np.array([0.0, 4.0])).round(4).tolist()
    [0.0, 0.9933]
    """
    return np.asarray(-np.expm1(-np.hypot(on_land, in_predictors)))


@dataclass(frozen=True, eq=False)
class DistanceEffect:
    """The field of an ensemble's members.

    Attributes
    ----------
    slope : float
        Variance far from all towers [(gC m-2 d-1)^2].
    towers : TowerDistance
    coefficient : array, (member, function)
        z; the two of an antithetic pair have opposite signs.
    """

    slope: float
    towers: TowerDistance
    coefficient: np.ndarray

    def field(self, lat: np.ndarray, lon: np.ndarray, place: np.ndarray, basis: np.ndarray) -> np.ndarray:
        """e at places with their spatial basis (place, function), (member, place) [gC m-2 d-1]."""
        sd = np.sqrt(self.slope * self.towers.growth(lat, lon, place))
        return np.asarray(sd * (self.coefficient @ basis.T))

    def select(self, members: np.ndarray) -> "DistanceEffect":
        """That of some members."""
        return replace(self, coefficient=self.coefficient[members])

    def arrays(self) -> dict[str, np.ndarray]:
        """As plain arrays by name, for a file."""
        t = self.towers
        return {"scales": np.array([self.slope, t.length, t.apart]), "lat": t.lat, "lon": t.lon, "place": t.place, "z": self.coefficient}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray]) -> "DistanceEffect":
        """What `arrays` gave."""
        slope, length, apart = map(float, arrays["scales"])
        return cls(slope, TowerDistance(arrays["lat"], arrays["lon"], arrays["place"], length, apart), arrays["z"])


def draw_coefficients(seeds: list[tuple[int, ...]], functions: int, known: np.ndarray | None) -> np.ndarray:
    """z of members, (member, function).

    Parameters
    ----------
    seeds : list of tuple of int
        Of each member; the last is the sign, by which antithetic pairs differ.
    functions : int
    known : array, (region, function), optional
        A: integrals that are zero.
    """
    found = np.stack([seed[-1] * np.random.default_rng(list(seed[:-1])).standard_normal(functions) for seed in seeds])
    if known is None:
        return found
    return np.asarray(found - np.linalg.lstsq(known, known @ found.T, rcond=None)[0].T)

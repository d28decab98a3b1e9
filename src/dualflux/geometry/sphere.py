"""Points and distances on the sphere."""

import numpy as np

EARTH_RADIUS = 6_371_007.2  # m, authalic: of the sphere with the Earth's surface
# km, mean radius. Basis functions of trained models lie at distances in it, 1e-6 from the other: two radii, so that no model changes.
MEAN_RADIUS_KM = 6371.0


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Points on the unit sphere, (..., 3), from degrees: towards 0 N 0 E, 0 N 90 E and the north pole."""
    north, east = np.radians(np.asarray(lat, dtype=np.float64)), np.radians(np.asarray(lon, dtype=np.float64))
    return np.stack([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1)


def angle_of(cosine: np.ndarray) -> np.ndarray:
    """Angle [radians] of the dot product of two unit vectors, which rounding may leave beyond 1; good to 1e-8, so not for neighbours."""
    return np.asarray(np.arccos(np.clip(cosine, -1.0, 1.0)))


def great_circle(lat: np.ndarray, lon: np.ndarray, lat0: np.ndarray | float, lon0: np.ndarray | float) -> np.ndarray:
    """Angle between points [degrees -> radians], broadcasting; by the haversine, which keeps small angles.

    Examples
    --------
    >>> float(np.degrees(great_circle(np.array(0.0), np.array(359.0), 0.0, 1.0)).round(12))
    2.0
    """
    half_lat, half_lon = np.radians(lat - lat0) / 2, np.radians(lon - lon0) / 2
    chord = np.sin(half_lat) ** 2 + np.cos(np.radians(lat)) * np.cos(np.radians(lat0)) * np.sin(half_lon) ** 2
    return np.asarray(2 * np.arcsin(np.sqrt(np.clip(chord, 0, 1))))


def spread_out(place: np.ndarray, apart: float, most: int | None = None) -> list[int]:
    """Points as far from each other as can be: the first, then always the farthest, until none is farther than `apart` from one.

    Parameters
    ----------
    place : array, (point, 3)
        Of `unit_vectors`.
    apart : float
        Distance [km].
    most : int, optional
        Points at most.
    """
    chosen = [0]
    away = MEAN_RADIUS_KM * angle_of(place @ place[0])
    while away.max() > apart and (most is None or len(chosen) < most):
        chosen.append(int(away.argmax()))
        away = np.minimum(away, MEAN_RADIUS_KM * angle_of(place @ place[chosen[-1]]))
    return chosen

"""What predictors of time alone do to the flux: time functions times space functions, as in `spatial_effect`.

    v(s, t) = sum over series k and zones j of w_kj s_k(t) z_j(latitude),

with standardised series s_k (`cube.SeriesStandard`) and Gaussian coefficients w_kj. The zones are smooth and sum to 1
everywhere, so that no border is printed on a map. The effect belongs to the landscape's flux f: regional integrals and towers see it. It
enters the linear step alone and no hidden layer, so it costs nothing per cell.
"""

import numpy as np

ZONES = ("north", "tropics", "south")
_EDGE, _RAMP = 30.0, 20.0  # degrees of latitude: middle and width of the linear ramps between zones


def zones(lat: np.ndarray) -> np.ndarray:
    """Weights of the zones, (..., zone), at latitudes (...) [degrees]; they sum to 1.

    >>> zones(np.array([60.0, 35.0, 30.0, 0.0, -20.0])).tolist()
    [[1.0, 0.0, 0.0], [0.75, 0.25, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    """
    north, south = (np.clip((side - _EDGE) / _RAMP + 0.5, 0.0, 1.0) for side in (np.asarray(lat), -np.asarray(lat)))
    return np.stack([north, 1 - north - south, south], axis=-1)


def time_columns(series: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """Columns of the effect, (row, series x zone), of series (row, series) at latitudes (row,) [degrees]."""
    return np.einsum("rk,rz->rkz", series, zones(lat)).reshape(len(lat), series.shape[1] * len(ZONES))


def time_fields(coefficient: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """What each series is multiplied by, (member, series, place) [gC m-2 d-1], of coefficients (member, series, zone)."""
    found: np.ndarray = np.asarray(coefficient, dtype=np.float64) @ zones(lat).T
    return found


def time_effect(coefficient: np.ndarray, lat: np.ndarray, series: np.ndarray) -> np.ndarray:
    """v [gC m-2 d-1], (member, row), of coefficients (member, series, zone) at latitudes (row,) and series (row, series)."""
    flat = np.asarray(coefficient, dtype=np.float64).reshape(len(coefficient), -1)
    found: np.ndarray = flat @ time_columns(series, lat).T
    return found

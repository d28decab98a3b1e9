"""Rings of polygons that cross 180 degrees: which way round they go, from their longitudes and the order of their corners."""

import numpy as np

from dualflux.errors import InputError

_WHOLE = 360 - 1e-6  # degrees; an edge that goes all the way round is meant as it stands


def unwrap(ring: np.ndarray, what: str, clockwise: bool = False) -> np.ndarray:
    """The ring with longitudes that never jump: those beyond 180 degrees go on, 150 to 210.

    An edge of over 180 degrees is the short one across the date line only where the ring's order of corners says so as well: GeoJSON wants
    outer rings counterclockwise (RFC 7946, 3.1.6), shapefiles clockwise.

    Parameters
    ----------
    ring : array, (corner, 2)
        Longitude and latitude [degrees]; the last corner is the first.
    clockwise : bool
        The order of an outer ring's corners in this format.

    Raises
    ------
    InputError
        A ring around a pole, or one that may be a region or its complement.
    """
    jump = np.diff(ring[:, 0])
    whole, long = np.abs(jump) >= _WHOLE, (np.abs(jump) > 180 + 1e-9) & (np.abs(jump) < _WHOLE)
    short = jump - 360 * np.round(jump / 360)
    open_whole = whole & ~(np.abs(ring[:-1, 1]) > 90 - 1e-6)
    around = abs(short.sum()) > 180
    if (around and long.any()) or (around and open_whole.sum() % 2 == 1):
        raise InputError(
            f"{what}: goes around a pole; which side is meant stays open: add its corners at the pole, as RFC 7946 does: "
            "cut the ring at longitude 180 and lead it along (180, -90) and (-180, -90) for the South Pole"
        )
    if not long.any():
        return ring
    unwrapped = ring.copy()
    turns = np.append(0, np.cumsum(np.where(long, np.round(jump / 360), 0)))
    unwrapped[:, 0] -= 360 * turns  # whole turns: a ring that was closed stays closed to the last digit
    if turns[-1] != 0 or (twice_area(unwrapped) > 0) == clockwise:
        at = int(np.flatnonzero(long)[0])
        order = "counterclockwise" if clockwise else "clockwise"
        raise InputError(
            f"{what}: its edge from longitude {ring[at, 0]:g} to {ring[at + 1, 0]:g} may go {abs(short[at]):g} degrees across 180 or "
            f"{abs(jump[at]):g} degrees the other way, and the order of the corners ({order}) does not tell; cut the polygon at 180 "
            "(ogr2ogr -wrapdateline), write longitudes beyond 180 (150 to 210), or, where the long way is meant, add corners along it"
        )
    return unwrapped


def twice_area(ring: np.ndarray) -> float:
    """Twice the area in longitude and latitude, positive for counterclockwise corners."""
    lon, lat = (ring - ring[0]).T
    return float((lon[:-1] * lat[1:] - lon[1:] * lat[:-1]).sum())


def near(hole: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """The hole's ring moved by whole turns to where its outer ring is."""
    middle, centre = ((r[:, 0].min() + r[:, 0].max()) / 2 for r in (hole, outer))
    moved = hole.copy()
    moved[:, 0] += 360 * np.round((centre - middle) / 360)
    return moved

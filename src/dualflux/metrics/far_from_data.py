"""How much of the land, and of what it exchanges, stands far from every tower or in classes that no tower has."""

import numpy as np

from dualflux.geometry.sphere import EARTH_RADIUS, great_circle

DISTANCES = (500, 1000)  # km
_BLOCK = 4096  # cells whose distances to all towers are in memory together


def distance_to_towers(lat: np.ndarray, lon: np.ndarray, tower_lat: np.ndarray, tower_lon: np.ndarray) -> np.ndarray:
    """Great-circle distance of each place to the nearest tower [km], (place,); infinite where there is no tower.

    Parameters
    ----------
    lat, lon : array, (place,)
        [degrees]
    tower_lat, tower_lon : array, (tower,)
        [degrees]

    Examples
    --------
    >>> distance_to_towers(np.array([0.0, 0.0]), np.array([0.0, 9.0]), np.array([0.0]), np.array([0.0])).round().tolist()
    [0.0, 1001.0]
    """
    found = np.full(len(lat), np.inf)
    for first in range(0, len(lat) if len(tower_lat) else 0, _BLOCK):
        own = slice(first, first + _BLOCK)
        found[own] = 1e-3 * EARTH_RADIUS * great_circle(lat[own, None], lon[own, None], tower_lat, tower_lon).min(axis=1)
    return found


def shares(part: np.ndarray, area: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the land, share of the exchange and net flux of a part of each cell.

    The exchange of a region is the sum of the sizes of its cells' lasting fluxes,

        share = sum over cells of part x area x size of the flux / sum over cells of area x size of the flux,

    so that it lies between 0 and 1 also where sources and sinks balance, and a source that a fit puts on far land to make a sink elsewhere
    counts and does not hide it. The net flux of the part says what it adds to the region's total.

    Parameters
    ----------
    part : array, (cell,)
        Of the cell's land, 0 to 1: 1 where it stands far, or the fraction in classes that no tower has.
    area : array, (region, cell)
        Land [m2].
    flux : array, (cell,)
        Lasting flux [gC m-2 yr-1].

    Returns
    -------
    share_of_area, share_of_flux : array, (region,)
        [1]; NaN where a region has no land, or no flux.
    net : array, (region,)
        [gC yr-1]
    """
    size = np.abs(flux)
    return _ratio(area @ part, area.sum(axis=1)), _ratio(area @ (part * size), area @ size), area @ (part * flux)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A share; sums of the same terms in another order leave it no part above 1."""
    return np.minimum(np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0), 1.0)

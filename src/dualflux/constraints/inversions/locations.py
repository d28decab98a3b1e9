"""Linear operators from a flux field to what is observed, and the locations that stand for a region.

As a matrix an operator has the whole interface: ``H @ f`` applies it, ``H.T @ v`` is its adjoint, ``H[rows]`` restricts it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from dualflux.constraints.areas import Locations
from dualflux.grid import LandCells
from dualflux.units import PETAGRAM


def regional_operator(cells: LandCells) -> sparse.csr_matrix:
    """Regional-integral operator (region + 1, cell): PgC d-1 from gC m-2 d-1; the last row is the globe (all land)."""
    area = np.vstack([cells.region_area, cells.land_area])
    return sparse.csr_matrix(area / PETAGRAM)


class Strata(NamedTuple):
    """Each region's cells along a line of land area on which neighbours are alike in their predictors.

    Attributes
    ----------
    cell : array of int, (region, position)
    share : array, (region, position)
        Cumulative share of the region's land area, up to 1; a position past the last cell has share 1.
    area : array, (region,)
        [1e15 m2]
    """

    cell: jax.Array
    share: jax.Array
    area: jax.Array


def stratify(cells: LandCells, predictors: np.ndarray) -> Strata:
    """Order each region's cells so that equal pieces of area are strata alike in predictor space.

    The cells are halved by area again and again, each time along the predictor that varies most among them.

    Parameters
    ----------
    cells : LandCells
    predictors : array, (cell, predictor)
        Standardised predictors, for example their means over the year.
    """
    orders = []
    for area in cells.region_area:
        inside = np.flatnonzero(area > 0)
        orders.append(inside[_bisection_order(predictors[inside], area[inside])])
    length = max(len(order) for order in orders)
    cell = np.zeros((len(orders), length), dtype=np.int32)
    share = np.ones((len(orders), length))
    total = cells.region_area.sum(axis=1)
    for row, order in enumerate(orders):
        cell[row, : len(order)] = order
        cell[row, len(order) :] = order[-1]
        share[row, : len(order)] = np.cumsum(cells.region_area[row, order]) / total[row]
    return Strata(jnp.asarray(cell), jnp.asarray(share, dtype=jnp.float32), jnp.asarray(total / PETAGRAM, dtype=jnp.float32))


def _bisection_order(predictors: np.ndarray, area: np.ndarray, smallest: int = 4) -> np.ndarray:
    if len(area) <= smallest:
        return np.arange(len(area))
    centre = np.average(predictors, axis=0, weights=area)
    spread = np.average((predictors - centre) ** 2, axis=0, weights=area)
    order = np.argsort(predictors[:, np.argmax(spread)], kind="stable")
    below = np.cumsum(area[order])
    half = int(np.clip(np.searchsorted(below, below[-1] / 2) + 1, 1, len(order) - 1))
    parts = (order[:half], order[half:])
    return np.concatenate([part[_bisection_order(predictors[part], area[part], smallest)] for part in parts])


def draw_locations(strata: Strata, key: jax.Array, count: int) -> Locations:
    """One random location in each of `count` equal-area strata of every region; the integral it gives is unbiased."""
    regions, length = strata.cell.shape
    share = (jnp.arange(count) + jax.random.uniform(key, (regions, count))) / count
    position = jnp.minimum(jax.vmap(lambda s, u: jnp.searchsorted(s, u, side="right"))(strata.share, share), length - 1)
    cell = jnp.take_along_axis(strata.cell, position, axis=1).reshape(-1)
    own = jnp.repeat(jnp.eye(regions), count, axis=1)
    return Locations(cell, own * jnp.repeat(strata.area / count, count))

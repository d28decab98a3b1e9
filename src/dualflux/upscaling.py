"""The trained model over all land cells and months, block by block: nothing holds a global cube of fluxes."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from dualflux.cube import Cube
from dualflux.grid import LandCells
from dualflux.kernel import LANES, MemberKernel, Months, Shape, Tile, lanes_last
from dualflux.model import Ensemble, Fluxes, FluxModel, fluxes
from dualflux.numerics import require_finite_flux
from dualflux.operators import regional_operator
from dualflux.spatial import harmonics


class MonthlyFlux(NamedTuple):
    """One month of all members.

    Attributes
    ----------
    month : int
        Position in the study's months.
    landscape, tower_like : array float32, (member, cell)
        Mean f and f + g of the month [gC m-2 d-1].
    """

    month: int
    landscape: np.ndarray
    tower_like: np.ndarray


def stack_ensembles(ensembles: list[Ensemble]) -> FluxModel:
    """All members of several ensembles of one spatial basis in one pytree; the number of site effects may differ: they are left out."""
    models = [e.model for e in ensembles]
    bare = [FluxModel(m.network, m.tower.without_sites(), m.spatial) for m in models]
    return jax.tree.map(lambda *leaves: jnp.concatenate([jnp.asarray(a) for a in leaves]), *bare)


def monthly_fluxes(
    model: FluxModel, cube: Cube, place: np.ndarray, at: tuple[np.ndarray, np.ndarray] | None = None
) -> Iterator[MonthlyFlux]:
    """Predict month after month.

    Parameters
    ----------
    model : FluxModel
        Stacked members.
    place : array, (cell, bump)
        The members' spatial basis at the cells.
    at : (array, array), optional
        Latitude and longitude of the cells, for the message of a flux that is not finite (NumericalError).

    Notes
    -----
    A month of a tile of cells is one run of a compiled program, side by side on all cores; see `kernel`.
    """
    daily = bool((cube.steps.month_steps > 1).any())
    kernel = MemberKernel(model, Shape(cube.columns, 1, 31 if daily else 1, seasons=1))
    cells = len(cube.static)
    tiles = [slice(first, min(first + LANES, cells)) for first in range(0, cells, LANES)]
    effect = np.asarray(model.spatial, dtype=np.float64) @ np.asarray(place, dtype=np.float64).T

    def one(month: int, part: slice) -> Fluxes:
        first, count = cube.steps.month_start[month], cube.steps.month_steps[month]
        when = slice(first, first + count)
        rows = (cube.static[None, part], cube.seasonal[cube.steps.season[when], part], cube.dynamic[when, part])
        static, seasonal, dynamic = (lanes_last(r, n) for r, n in zip(rows, (1, *[31 if daily else 1] * 2), strict=True))
        field = lanes_last(effect[..., part].transpose(0, 2, 1), len(effect))
        place_of_month = Months(np.array([cube.steps.months[month].month - 1], np.int32), np.array([count], np.int32))
        return kernel(Tile(static[0], seasonal[None], dynamic[None], field), place_of_month)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for m in range(len(cube.steps.months)):
            found = list(pool.map(lambda part, m=m: one(m, part), tiles))
            landscape, tower_like = (np.concatenate([f[k][0] for f in found], axis=-1)[:, :cells] for k in (0, 1))
            require_finite_flux(landscape, cube, m, at)
            yield MonthlyFlux(m, landscape, tower_like)


def integrate_month(flux: np.ndarray, cells: LandCells, days: float) -> np.ndarray:
    """Regional and global integrals [PgC month-1], (..., region + 1), of (..., cell); sums in float64."""
    return (regional_operator(cells) @ np.asarray(flux, dtype=np.float64).T).T * days


def tower_fluxes(ensemble: Ensemble, rows: np.ndarray, lat: np.ndarray, lon: np.ndarray, wave: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f and f + g of every member at the towers' rows, two arrays (member, row).

    Parameters
    ----------
    rows : array, (row, column)
    lat, lon : array, (row,)
        Of the towers [degrees].
    wave : array, (row, 3)
        `spatial.harmonics` of the rows' season.
    """
    effect = ensemble.basis.effect(np.asarray(ensemble.model.spatial), lat, lon, wave).astype(np.float32)
    found = jax.jit(lambda model, x, u: jax.lax.map(lambda one: fluxes(one[0], x, one[1]), (model, u)))(
        ensemble.model, jnp.asarray(rows), effect
    )
    return np.asarray(found.landscape), np.asarray(found.tower_like)


def wave_of(cube: Cube, time: pd.DatetimeIndex) -> np.ndarray:
    """`spatial.harmonics` of the given steps, (row, 3)."""
    return harmonics(cube.steps.season[cube.steps.time.get_indexer(time)], len(cube.seasonal))


def applicability(cube: Cube, tower_cell: np.ndarray, fold: np.ndarray, quantile: float = 0.95) -> np.ndarray:
    """Distance of each cell to the nearest tower in predictor space, over that quantile of held-out towers, (cell,).

    The space is that of static predictors, means and seasonal ranges (Meyer and Pebesma 2021, Methods Ecol. Evol. 12,
    1620: area of applicability). Above 1 a cell is less like the towers than held-out towers are like the others.
    """
    place = cube.mean_year()
    towers = place[tower_cell]
    apart = np.full(len(tower_cell), np.nan)
    for held in np.unique(fold):
        apart[fold == held] = cKDTree(towers[fold != held]).query(towers[fold == held])[0]
    return cKDTree(towers).query(place)[0] / max(float(np.quantile(apart, quantile)), 1e-9)


def cell_scale_variance(site_residual: pd.Series, cell: pd.Series) -> tuple[float, float]:
    """Split the variance of site effects into a hectare's (nugget) and a cell's part [(gC m-2 d-1)^2].

    Sites in one cell share the cell's part, so half their mean squared difference is the nugget; the rest is the cell's.
    Without two sites in any cell the whole is taken as the cell's: the cautious side.

    Parameters
    ----------
    site_residual : Series, index site
        Mean of observed - predicted (f + g) at sites that were left out.
    cell : Series, index site
        Cell each site stands in.
    """
    values = pd.DataFrame({"residual": site_residual, "cell": cell.reindex(site_residual.index)})
    total = float((values.residual**2).mean())
    shared = values.groupby("cell").filter(lambda part: len(part) > 1).groupby("cell").residual
    if shared.ngroups == 0:
        return 0.0, total
    freedom = shared.size().sum() - shared.ngroups
    nugget = float(((shared.transform("mean") - values.residual.loc[shared.transform("mean").index]) ** 2).sum() / freedom)
    return min(nugget, total), max(total - nugget, 0.0)

"""The trained model over all land cells and months, block by block: nothing holds a global cube of fluxes."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.cube import Cube
from dualflux.errors import NumericalError
from dualflux.grid import LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import Fluxes, FluxModel
from dualflux.prediction.kernel import LANES, MemberKernel, Months, Shape, Tile, lanes_last


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
    bare = [m.bare() for m in models]
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


def require_finite_flux(flux: np.ndarray, cube: Cube, month: int, place: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Raise NumericalError where a month's flux is not finite: its member, its cell and the most extreme predictor there.

    Parameters
    ----------
    flux : array, (member, cell)
        [gC m-2 d-1]
    cube : Cube
    month : int
        Position in the study's months.
    place : (array, array), optional
        Latitude and longitude of the cells [degrees].
    """
    bad = ~np.isfinite(flux)
    if not bad.any():
        return
    member, cell = (int(i) for i in np.argwhere(bad)[0])
    step = int(cube.steps.month_start[month])
    row = np.abs(cube.rows(np.array([step]), np.array([cell]))[0].astype(np.float64))
    column = int(np.argmax(np.where(np.isfinite(row), row, np.inf)))
    where = f"cell {cell}" if place is None else f"latitude {place[0][cell]:g}, longitude {place[1][cell]:g}"
    raise NumericalError(
        f"upscaling: {int(bad.sum())} fluxes of {cube.steps.months[month]:%Y-%m} are not finite, the first of member {member} at {where}, "
        f"where `{cube.columns.names[column]}` is {row[column]:.4g} standard deviations from its mean; correct that predictor, or "
        "train again with a smaller `training.learning_rate`"
    )

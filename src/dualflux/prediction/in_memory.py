"""The trained model over all land cells and months, block by block: nothing holds a global cube of fluxes."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dualflux.cube import Cube
from dualflux.errors import NumericalError
from dualflux.fitting.parallel import cores
from dualflux.model.flux_model import FluxModel
from dualflux.prediction.engine import Engine, RegionalAnomalies, fields
from dualflux.prediction.tiles import CubeTiles


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


def monthly_fluxes(
    model: FluxModel, cube: Cube, place: np.ndarray, at: tuple[np.ndarray, np.ndarray] | None = None,
    anomaly: RegionalAnomalies | None = None, beyond: np.ndarray | None = None,
) -> Iterator[MonthlyFlux]:  # fmt: skip
    """Predict month after month.

    Parameters
    ----------
    model : FluxModel
        Stacked members.
    place : array, (cell, function)
        The members' spatial basis at the cells.
    at : (array, array), optional
        Latitude and longitude of the cells, for the message of a flux that is not finite (NumericalError); needed where the model has
        predictors of time alone.
    anomaly : RegionalAnomalies, optional
        What members have of the cube's months that no predictor carries.
    beyond : array, (member, cell), optional
        What they err by far from towers, see `model.distance_effect`.

    Notes
    -----
    A month of a tile of cells is one run of a compiled program, side by side on all cores; see `engine`.
    """
    if at is None and model.series.shape[1]:
        raise ValueError("predictors of time alone act by latitude: say where the cells are")
    effect = fields(model, place, np.zeros(len(place)) if at is None else at[0], beyond)
    source = CubeTiles(cube)
    engine = Engine(model, source, cube.steps, lambda cells: effect[..., cells], anomaly=anomaly)
    for m in range(len(cube.steps.months)):
        found = engine.walk(range(len(source.tiles())), slice(m, m + 1), cores()).months
        require_finite_flux(found.landscape[0], cube, m, at)
        yield MonthlyFlux(m, np.asarray(found.landscape[0]), np.asarray(found.tower_like[0]))


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

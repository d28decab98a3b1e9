"""Numbers that are no numbers stop a run where they arise, with the variable and the place."""

import numpy as np

from dualflux.cube import Cube
from dualflux.errors import InputError

_BLOCK = 64  # steps looked at together


class NumericalError(InputError, FloatingPointError):
    """A value is infinite or no number; the message names it and says where it arose."""


def require_finite_predictors(cube: Cube, lat: np.ndarray, lon: np.ndarray) -> None:
    """Raise NumericalError for the first standardised predictor that is not finite, with column, place and time.

    Parameters
    ----------
    cube : Cube
    lat, lon : array, (cell,)
        [degrees]
    """
    arrays = {"static": cube.static[None], "seasonal": cube.seasonal, "dynamic": cube.dynamic}
    for kind, values in arrays.items():
        for start in range(0, len(values), _BLOCK):
            bad = ~np.isfinite(values[start : start + _BLOCK])
            if bad.any():
                step, cell, column = (int(i) for i in np.argwhere(bad)[0])
                position = {"static": "", "seasonal": f", position {start + step} of the mean year"}
                time = position[kind] if kind in position else f" on {cube.steps.time[start + step]:%Y-%m-%d}"
                raise NumericalError(
                    f"predictor `{getattr(cube.columns, kind)[column]}` is not finite at latitude {lat[cell]:g}, "
                    f"longitude {lon[cell]:g}{time} "
                    f"({int(bad.sum())} values there and after); it is too large for its variance in single precision, "
                    "or the file has an undeclared fill value: correct the file or leave the predictor out"
                )


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

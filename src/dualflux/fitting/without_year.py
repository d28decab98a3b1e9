"""Predictors as they would be if a year had never been seen: mean seasons, anomalies and standardisation made from the other years."""

from dataclasses import replace

import numpy as np

from dualflux.cube import Cube, SeriesStandard
from dualflux.features import moments, season_means

_OF_SEASONS = ("mean_season(", "anomaly(")  # columns that are made from a mean over the years


def cube_without_year(cube: Cube, area: np.ndarray, fitted: np.ndarray, year: int) -> Cube:
    """The same columns at every step, also those of the year, with nothing in them that was learnt from it.

    Parameters
    ----------
    cube : Cube
    area : array, (cell,)
        Land [m2].
    fitted : array of bool, (step,)
        Steps that constrain: predictors of time alone are standardised over them.
    year : int

    Raises
    ------
    InputError
        A predictor of time alone that does not vary in the other years.
    """
    keep = cube.steps.time.year != year
    first, inner = len(cube.columns.static), len(cube.columns.seasonal)
    seasonal, dynamic = np.array(cube.seasonal), np.empty_like(cube.dynamic)
    centre, scale = cube.centre.copy(), cube.scale.copy()
    for i, name in enumerate(cube.columns.seasonal):
        if name.startswith(_OF_SEASONS):
            values = _season_of(cube, name, keep)
            centre[first + i], scale[first + i] = moments(values, area, False)
            seasonal[..., i] = (values - centre[first + i]) / scale[first + i]
    for i, name in enumerate(cube.columns.dynamic):
        values, at = _dynamic(cube, name, keep), first + inner + i
        centre[at], scale[at] = moments(values[keep], area, False)
        dynamic[..., i] = (values - centre[at]) / scale[at]
    series, standard = _series_without(cube, fitted & keep)
    return replace(
        cube, seasonal=seasonal, dynamic=dynamic, centre=centre, scale=scale, series=series, series_standard=standard
    )  # fmt: skip


def _series_without(cube: Cube, keep: np.ndarray) -> tuple[np.ndarray, SeriesStandard]:
    """Predictors of time alone, standardised over some steps."""
    old, month = cube.series_standard, cube.steps.time.month.to_numpy() - 1
    raw = cube.series * old.scale + old.cycle.T[month]
    standard = SeriesStandard.create(old.names, raw, cube.steps, keep)
    return standard.standardised(raw, cube.steps), standard


def rows_without_year(cube: Cube, without: Cube, rows: np.ndarray, step: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Predictors of tower observations (row, column) of `cube` as those of `without`, its columns made without a year.

    What a site has of its own, its class or its meteorology, stays; columns made from mean seasons are those of the site's cell.

    Parameters
    ----------
    step, cell : array of int, (row,)
    """
    found = ((rows * cube.scale + cube.centre - without.centre) / without.scale).astype(np.float32)
    of_seasons = np.array([name.startswith(_OF_SEASONS) for name in cube.columns.names])
    found[:, of_seasons] = without.rows(step, cell)[:, of_seasons]
    return found


def _season_of(cube: Cube, name: str, keep: np.ndarray) -> np.ndarray:
    """The mean season that a column `name` is made from, in the predictor's unit, (season, cell)."""
    variable = name[name.index("(") + 1 : -1]
    return season_means(variable, _raw(cube, variable)[keep], cube.steps.season[keep], cube.steps.length)


def _dynamic(cube: Cube, name: str, keep: np.ndarray) -> np.ndarray:
    """A dynamic column in its unit, (step, cell)."""
    if not name.startswith(_OF_SEASONS):
        return _raw(cube, name)
    variable = name[name.index("(") + 1 : -1]
    return _raw(cube, variable) - _season_of(cube, name, keep)[cube.steps.season]


def _raw(cube: Cube, name: str) -> np.ndarray:
    place, at = cube.columns.dynamic.index(name), cube.columns.names.index(name)
    found: np.ndarray = cube.dynamic[..., place] * np.float32(cube.scale[at]) + np.float32(cube.centre[at])
    return found

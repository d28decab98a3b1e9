"""In which land cell a tower stands."""

from typing import Literal

import numpy as np
import pandas as pd

from dualflux.errors import Problems
from dualflux.geometry.sphere import EARTH_RADIUS, angle_of, unit_vectors
from dualflux.grid import LandCells

TOWER_REACH = 2  # cells


def tower_cells(
    cells: LandCells, sites: pd.DataFrame, at_sea: Literal["error", "nearest"] = "error", valid: np.ndarray | None = None
) -> pd.DataFrame:
    """The land cell each tower stands in.

    Parameters
    ----------
    cells : LandCells
    sites : DataFrame
        Index site; columns lat, lon [degrees].
    at_sea : {"error", "nearest"}
        A tower whose cell is not among the (valid) land cells: refused, or given the nearest one at most two rows
        and two columns away.
    valid : array of bool, (cell,), optional
        Cells kept by the predictors' rule `drop`.

    Returns
    -------
    DataFrame
        Index site; `cell`: position in `cells.index`; `distance` [km] from the tower to the centre of a cell that is
        not its own, 0 for its own.

    Raises
    ------
    InputError
        Every tower outside the grid, or without a land cell, named with what to do.
    """
    usable = np.ones(cells.index.size, dtype=bool) if valid is None else valid
    width = cells.grid.lon.size
    position = np.full(cells.grid.lat.size * width, -1)
    position[cells.index[usable]] = np.flatnonzero(usable)
    rows, columns = cells.grid.cell_of(sites.lat.to_numpy(), sites.lon.to_numpy())
    problems = Problems()
    out = []
    for site, lat, lon, row, column in zip(sites.index, sites.lat, sites.lon, rows, columns, strict=True):
        cell, distance = (int(position[row * width + column]), 0.0) if row >= 0 else (-1, 0.0)
        if row < 0:
            problems.add(f"tower {site} ({lat}, {lon}) lies outside the grid; correct its coordinates or leave it out")
        elif cell < 0:
            cell, distance = _nearest_land(cells, position, row, column, lat, lon) if at_sea == "nearest" else (-1, 0.0)
            if cell < 0:
                problems.add(_at_sea(str(site), lat, lon, at_sea))
        out.append((cell, distance))
    problems.raise_if_any()
    return pd.DataFrame(out, index=sites.index, columns=["cell", "distance"])


def _at_sea(site: str, lat: float, lon: float, rule: str) -> str:
    known = "its cell is sea, land without flux, or dropped for a missing predictor"
    if rule == "nearest":
        return f"tower {site} ({lat}, {lon}) has no land cell within {TOWER_REACH} cells; correct its coordinates or leave it out"
    return f"tower {site} ({lat}, {lon}) has no land cell ({known}); say `towers_at_sea: nearest`, correct its coordinates or leave it out"


def _nearest_land(cells: LandCells, position: np.ndarray, row: int, column: int, lat: float, lon: float) -> tuple[int, float]:
    """Position of the nearest usable cell at most two rows and columns away and its distance [km]; -1 where there is none."""
    grid = cells.grid
    around = range(-TOWER_REACH, TOWER_REACH + 1)
    closed = grid.lon_edges[-1] - grid.lon_edges[0] > 360 - 1e-6
    near = [
        (r, c % grid.lon.size if closed else c)
        for r in (row + d for d in around)
        for c in (column + d for d in around)
        if 0 <= r < grid.lat.size and (closed or 0 <= c < grid.lon.size)
    ]
    found = np.array([position[r * grid.lon.size + c] for r, c in near])
    found = found[found >= 0]
    if found.size == 0:
        return -1, 0.0
    cosine = unit_vectors(cells.lat()[found], cells.lon()[found]) @ unit_vectors(np.array(lat), np.array(lon))
    best = int(np.argmax(cosine))
    return int(found[best]), float(EARTH_RADIUS / 1e3 * angle_of(cosine[best]))

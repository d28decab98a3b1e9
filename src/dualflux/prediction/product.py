"""What a gridded product of ours is, said once: its variables, coordinates and attributes, whatever file it stands in.

NEE stands per m2 of land [gC m-2 d-1], positive to the atmosphere; a regional integral
is ``sum over cells of nee * land area * region fraction * days in month`` [PgC month-1].
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dualflux.grid import Grid, LandCells
from dualflux.metrics.pairs import paired_std

CONVENTIONS = "CF-1.10"
MEMBER_LIMIT = 2_000_000_000  # bytes of nee_member before compression
MAP = ("lat", "lon")
# `gC` (grams of carbon) is no unit of UDUNITS; programs that convert units find the same in `udunits`.
_FLUX = {"units": "gC m-2 d-1", "udunits": "g m-2 d-1", "positive": "up"}
_CELL_METHODS = "area: mean where land time: mean"
_LAND_AREA = {"units": "m2", "long_name": "area of land in the cell, also land without a flux", "cell_methods": "area: sum where land"}
_APPLICABILITY = {
    "units": "1",
    "long_name": "distance to the predictors of the training towers over its cross-validation quantile; above 1: outside",
}
_MEMBER = {"standard_name": "realization", "long_name": "member of the ensemble", "units": "1"}
_LAYERS: dict[str, dict[str, str]] = {
    "nee": {
        **_FLUX,
        "long_name": "net ecosystem exchange of CO2 as carbon per m2 of land, mean of the members",
        "cell_methods": f"{_CELL_METHODS} realization: mean",
        "ancillary_variables": "nee_std nee_std_total",
        "comment": "positive to the atmosphere; multiply by land_area and the days of the month for a monthly integral",
    },
    "nee_tower": {
        **_FLUX,
        "long_name": "net ecosystem exchange as a tower network would see it (landscape flux plus representativeness), mean of the members",
        "cell_methods": f"{_CELL_METHODS} realization: mean",
    },
    "nee_std": {
        **_FLUX,
        "long_name": "standard deviation of the members of nee (of antithetic pairs; missing where there is one member)",
        "cell_methods": f"{_CELL_METHODS} realization: standard_deviation",
    },
    "nee_std_total": {
        **_FLUX,
        "long_name": "standard deviation of nee of a cell: members and what is independent between cells (missing where no towers tell it)",
        "cell_methods": f"{_CELL_METHODS} realization: standard_deviation",
    },
}
_FITTED_YEARS = "defined in the years that inversions constrain, missing in others: an analysis, never a prediction"
_ANALYSIS_LAYERS: dict[str, dict[str, str]] = {
    "nee_analysis": {
        **_FLUX,
        "long_name": "net ecosystem exchange, best estimate given the atmosphere: nee with regional anomalies that no predictor carries",
        "cell_methods": f"{_CELL_METHODS} realization: mean",
        "ancillary_variables": "nee_analysis_std",
        "comment": _FITTED_YEARS,
    },
    "nee_analysis_std": {
        **_FLUX,
        "long_name": "standard deviation of the members of nee_analysis (of antithetic pairs)",
        "cell_methods": f"{_CELL_METHODS} realization: standard_deviation",
        "comment": _FITTED_YEARS,
    },
}
_MEMBER_LAYER = {**_FLUX, "long_name": "net ecosystem exchange of each member", "cell_methods": _CELL_METHODS}


class Variable(NamedTuple):
    """A variable that is there from the start.

    Attributes
    ----------
    name : str
    dims : tuple of str
    data : array
    attrs : dict
    """

    name: str
    dims: tuple[str, ...]
    data: np.ndarray
    attrs: Mapping[str, str]


class Layer(NamedTuple):
    """A flux [gC m-2 d-1], written piece by piece.

    Attributes
    ----------
    dims : tuple of str
    attrs : dict
    """

    dims: tuple[str, ...]
    attrs: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Product:
    """A product before any flux is in it.

    Attributes
    ----------
    cells : LandCells
        The cells that carry a flux.
    land_area : array, (lat, lon)
        All land [m2], also land that carries no flux (its NEE is written as 0); 0 over the sea.
    times, ends : DatetimeIndex, (time,)
        First moment of each step, and of the one after it.
    members : int or None
        How many members `nee_member` gets; None: there is no such layer (see `members_to_write`).
    attrs : mapping of str to str or number
        Attributes of the whole. Conventions is ours.
    applicability : array or None, (cell,)
        Distance of each cell's predictors to the training towers over its cross-validation quantile [1].
    analysis : bool
        Whether it has the layers of the analysis too, see `analysis_values`.

    Raises
    ------
    ValueError
        Shapes or land areas that do not fit `cells`.
    """

    cells: LandCells
    land_area: np.ndarray
    times: pd.DatetimeIndex
    ends: pd.DatetimeIndex
    members: int | None
    attrs: Mapping[str, Any]
    applicability: np.ndarray | None = None
    analysis: bool = False

    def __post_init__(self) -> None:
        if self.land_area.shape != self.cells.grid.shape:
            raise ValueError(f"land_area_map has shape {self.land_area.shape}, the grid {self.cells.grid.shape}")
        if not np.allclose(self.land_area.ravel()[self.cells.index], self.cells.land_area, rtol=1e-6):
            raise ValueError("land_area_map differs from the land area of the cells: both must be cell area times land fraction [m2]")
        if self.applicability is not None and np.shape(self.applicability) != self.cells.index.shape:
            raise ValueError(f"applicability has shape {np.shape(self.applicability)}, wanted one value per cell {self.cells.index.shape}")

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        rows, columns = self.cells.grid.shape
        members = {} if self.members is None else {"member": self.members}
        return {"time": len(self.times), "lat": rows, "lon": columns, "nv": 2, **members}

    @property
    def global_attributes(self) -> dict[str, Any]:
        """Of the whole."""
        return {"history": "written by dualflux", **self.attrs, "Conventions": CONVENTIONS}

    def coordinates(self) -> list[Variable]:
        """time, lat and lon with their bounds, member where there are any."""
        found = _axes(self.cells.grid, self.times, self.ends)
        if self.members is not None:
            found.append(Variable("member", ("member",), np.arange(self.members, dtype=np.int32), _MEMBER))
        return found

    def maps(self) -> list[Variable]:
        """Land area, and applicability where it is known."""
        found = [Variable("land_area", MAP, np.asarray(self.land_area, dtype=np.float64), _LAND_AREA)]
        if self.applicability is not None:
            values = self.cells.to_map(np.asarray(self.applicability, dtype=np.float64)).astype(np.float32)
            found.append(Variable("applicability", MAP, values, _APPLICABILITY))
        return found

    def layers(self) -> dict[str, Layer]:
        """The fluxes by name."""
        found = {name: Layer(("time", *MAP), attrs) for name, attrs in (_LAYERS | (_ANALYSIS_LAYERS if self.analysis else {})).items()}
        return found if self.members is None else {**found, "nee_member": Layer(("member", "time", *MAP), _MEMBER_LAYER)}


def layer_values(landscape: np.ndarray, tower_like: np.ndarray, unseen: np.ndarray | float | None) -> dict[str, np.ndarray]:
    """Layers of one month, by name, each (cell,) [gC m-2 d-1], in double precision.

    Parameters
    ----------
    landscape, tower_like : array, (member, cell)
        f and f + g [gC m-2 d-1].
    unseen : array, (cell,), float or None
        Variance of a cell beyond the members [(gC m-2 d-1)^2]: ``nee_std_total = sqrt(nee_std^2 + unseen)``; None where no towers tell it.
    """
    landscape, tower_like = (np.asarray(x, dtype=np.float64) for x in (landscape, tower_like))
    std = paired_std(landscape)
    return {"nee": landscape.mean(axis=0), "nee_tower": tower_like.mean(axis=0), "nee_std": std, "nee_std_total": total_std(std, unseen)}


def analysis_values(landscape: np.ndarray) -> dict[str, np.ndarray]:
    """The layers of the analysis of one month, by name, each (cell,) [gC m-2 d-1], of members (member, cell) with what the month had."""
    landscape = np.asarray(landscape, dtype=np.float64)
    return {"nee_analysis": landscape.mean(axis=0), "nee_analysis_std": paired_std(landscape)}


def total_std(std: np.ndarray, unseen: np.ndarray | float | None) -> np.ndarray:
    """Standard deviation of a cell from that of the members and the variance that no predictor sees, NaN where nobody knows it."""
    found: np.ndarray = np.sqrt(std**2 + (np.nan if unseen is None else unseen))
    return found


def land_map(cells: LandCells, land_area: np.ndarray, values: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
    """Values (..., cell) of the cells in some rows of the grid as a map (..., row, lon), float32.

    0 on land that carries no flux, NaN at sea.
    """
    land, width = land_area[rows], len(cells.grid.lon)
    first = range(*rows.indices(len(cells.grid.lat))).start * width
    own = slice(*np.searchsorted(cells.index, [first, first + land.size]))
    out = np.full((*values.shape[:-1], land.size), np.nan, dtype=np.float32)
    out[..., land.ravel() > 0] = 0.0
    out[..., cells.index[own] - first] = values
    return out.reshape(*values.shape[:-1], *land.shape)


def members_to_write(members: int, grid: Grid, months: int, limit: int = MEMBER_LIMIT) -> int | None:
    """The number of members, or None where ``nee_member`` would be larger than `limit` bytes before compression."""
    size = members * months * grid.lat.size * grid.lon.size * np.dtype(np.float32).itemsize
    return members if size <= limit else None


def _axes(grid: Grid, times: pd.DatetimeIndex, ends: pd.DatetimeIndex) -> list[Variable]:
    """time (begin of each step, which lasts from `times` to `ends`), lat and lon, each with the variable ``NAME_bounds``."""
    first = times[0]
    starts, stops = (np.asarray((x - first).days, dtype=np.int32) for x in (times, ends))
    dates = {"units": f"days since {first:%Y-%m-%d} 00:00:00", "calendar": "proleptic_gregorian", "standard_name": "time", "axis": "T"}
    found = _axis("time", starts, np.stack([starts, stops], axis=1), dates)
    for name, centre, edge, standard, direction, letter in (
        ("lat", grid.lat, grid.lat_edges, "latitude", "north", "Y"),
        ("lon", grid.lon, grid.lon_edges, "longitude", "east", "X"),
    ):
        attrs = {"standard_name": standard, "units": f"degrees_{direction}", "axis": letter}
        found += _axis(name, centre, np.stack([edge[:-1], edge[1:]], axis=1), attrs)
    return found


def _axis(name: str, centre: np.ndarray, bounds: np.ndarray, attrs: dict[str, str]) -> list[Variable]:
    pointer = f"{name}_bounds"
    return [Variable(name, (name,), centre, {**attrs, "bounds": pointer}), Variable(pointer, (name, "nv"), bounds, {})]

"""Our gridded products: CF NetCDF files written month by month, and integrated back over regions.

NEE stands per m2 of land [gC m-2 d-1], positive to the atmosphere; a regional integral
is ``sum over cells of nee * land area * region fraction * days in month`` [PgC month-1].
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import h5netcdf
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells
from dualflux.run_folder.hdf5_output import PatientFile
from dualflux.units import PETAGRAM, days_in_month

CONVENTIONS = "CF-1.10"
FILL = np.float32(1e20)
MEMBER_LIMIT = 2_000_000_000  # bytes of nee_member before compression
# `gC` (grams of carbon) is no unit of UDUNITS; programs that convert units find the same in `udunits`.
_FLUX = {"units": "gC m-2 d-1", "udunits": "g m-2 d-1", "positive": "up"}
_CELL_METHODS = "area: mean where land time: mean"
LAND_AREA = {"units": "m2", "long_name": "area of land in the cell, also land without a flux", "cell_methods": "area: sum where land"}
LAYERS: dict[str, dict[str, str]] = {
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
        "long_name": "standard deviation of the members of nee (divisor members - 1; missing where there is one member)",
        "cell_methods": f"{_CELL_METHODS} realization: standard_deviation",
    },
    "nee_std_total": {
        **_FLUX,
        "long_name": "standard deviation of nee of a cell: members and the part that no predictor sees",
        "cell_methods": f"{_CELL_METHODS} realization: standard_deviation",
    },
}


class Axis(NamedTuple):
    """A coordinate with its cells' bounds, as CF wants it.

    Attributes
    ----------
    name : str
    centre : array, (n,)
        Of time the begin of each step.
    bounds : array, (n, 2)
        The variable ``NAME_bounds``.
    attrs : dict
    """

    name: str
    centre: np.ndarray
    bounds: np.ndarray
    attrs: dict[str, str]


def axes(grid: Grid, times: pd.DatetimeIndex, ends: pd.DatetimeIndex) -> list[Axis]:
    """time, lat and lon of a product whose steps last from `times` to `ends`."""
    first = times[0]
    starts, stops = (np.asarray((x - first).days, dtype=np.int32) for x in (times, ends))
    dates = {"units": f"days since {first:%Y-%m-%d} 00:00:00", "calendar": "proleptic_gregorian", "standard_name": "time", "axis": "T"}
    found = [Axis("time", starts, np.stack([starts, stops], axis=1), {**dates, "bounds": "time_bounds"})]
    for name, centre, edge, standard, direction, letter in (
        ("lat", grid.lat, grid.lat_edges, "latitude", "north", "Y"),
        ("lon", grid.lon, grid.lon_edges, "longitude", "east", "X"),
    ):
        attrs = {"standard_name": standard, "units": f"degrees_{direction}", "axis": letter, "bounds": f"{name}_bounds"}
        found.append(Axis(name, centre, np.stack([edge[:-1], edge[1:]], axis=1), attrs))
    return found


def regional_integrals(density: np.ndarray, cells: LandCells, time: np.ndarray | pd.DatetimeIndex) -> np.ndarray:
    """Integrate a flux density over regions and the globe, in float64.

    Parameters
    ----------
    density : array, (..., time, cell)
        [gC m-2 d-1], mean of each month.
    cells : LandCells
    time : array of datetime64, (time,)
        First day of each month.

    Returns
    -------
    array, (..., time, region + 1)
        [PgC month-1], the parts in the order of ``cells.region_names``, then the globe.

    Raises
    ------
    ValueError
        A cell without a value: a partial sum is never given.
    """
    density = np.asarray(density, dtype=np.float64)
    missing = int((~np.isfinite(density)).sum())
    if missing:
        raise ValueError(f"{missing} of {density.size} cell-months have no value; a regional sum needs all of them")
    return density @ regional_operator(cells).toarray().T * days_in_month(time)[:, None]


def members_to_write(members: int, grid: Grid, months: int, limit: int = MEMBER_LIMIT) -> int | None:
    """The number of members, or None where ``nee_member`` would be larger than `limit` bytes before compression."""
    size = members * months * grid.lat.size * grid.lon.size * FILL.itemsize
    return members if size <= limit else None


class ProductWriter:
    """Write one product month by month; the file appears under its name only when it is whole.

    Use as a context manager. Nothing is left behind when the block ends with an error.

    Parameters
    ----------
    path : Path
        The file; its folder is made. An older file is replaced at the end.
    cells : LandCells
        The cells that carry a flux.
    times_monthly : DatetimeIndex
        First day of each month, ascending.
    members : int or None
        How many members `nee_member` gets; None does not write it (see `members_to_write`).
    attrs : mapping of str to str or number
        Attributes of the file, for example title, source, references, history (written by dualflux by default). Conventions is ours.
    land_area_map : array, (lat, lon)
        All land [m2], also land that carries no flux (its NEE is written as 0); 0 over the sea.
    applicability : array, (cell,), optional
        Distance of each cell's predictors to the training towers over its cross-validation quantile [1].

    Raises
    ------
    ValueError
        Shapes or land areas that do not fit `cells`; times that are not month starts.
    OSError
        From `write` or on leaving: the disk is full.
    """

    def __init__(
        self,
        path: Path,
        cells: LandCells,
        times_monthly: pd.DatetimeIndex,
        members: int | None,
        attrs: Mapping[str, Any],
        land_area_map: np.ndarray,
        applicability: np.ndarray | None = None,
    ) -> None:
        self.path, self.cells, self.times, self.members = Path(path), cells, times_monthly, members
        self.attrs, self.land_area, self.applicability = dict(attrs), np.asarray(land_area_map, dtype=np.float64), applicability
        self._check()
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._written = np.zeros(len(times_monthly), dtype=bool)
        no_flux = self.land_area > 0
        no_flux.ravel()[cells.index] = False
        self._no_flux = no_flux

    def _check(self) -> None:
        if self.land_area.shape != self.cells.grid.shape:
            raise ValueError(f"land_area_map has shape {self.land_area.shape}, the grid {self.cells.grid.shape}")
        if not np.allclose(self.land_area.ravel()[self.cells.index], self.cells.land_area, rtol=1e-6):
            raise ValueError("land_area_map differs from the land area of the cells: both must be cell area times land fraction [m2]")
        if len(self.times) == 0 or not (self.times.is_month_start.all() and self.times.is_monotonic_increasing and self.times.is_unique):
            raise ValueError("times must be the first days of months, ascending, each once")
        if self.applicability is not None and np.shape(self.applicability) != self.cells.index.shape:
            raise ValueError(f"applicability has shape {np.shape(self.applicability)}, wanted one value per cell {self.cells.index.shape}")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._target = PatientFile(self._partial)
        self._file = h5netcdf.File(self._target, "w")
        self._coordinates()
        self._static()
        for name, attrs in LAYERS.items():
            self._layer(name, ("time", "lat", "lon"), attrs)
        if self.members is not None:
            attrs = {**_FLUX, "long_name": "net ecosystem exchange of each member", "cell_methods": _CELL_METHODS}
            self._layer("nee_member", ("member", "time", "lat", "lon"), attrs)
        self._file.attrs.update({"history": "written by dualflux", **self.attrs, "Conventions": CONVENTIONS})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._target.close()
        if error is None and self._written.all() and self._target.error is None:
            os.replace(self._partial, self.path)
            return
        self._partial.unlink(missing_ok=True)
        if error is None:
            self._target.raise_error()
            lacking = self.times[~self._written].strftime("%Y-%m")
            raise ValueError(f"{self.path}: {len(lacking)} months were never written, the first {lacking[0]}; the file was not made")

    def write(self, t: int, landscape: np.ndarray, tower_like: np.ndarray, total_variance_extra: np.ndarray) -> None:
        """Write month `t`.

        Parameters
        ----------
        t : int
            Index into the times.
        landscape : array, (member, cell)
            f [gC m-2 d-1]: gives `nee`, `nee_std` and `nee_member`.
        tower_like : array, (member, cell)
            f + g [gC m-2 d-1]; equal to `landscape` where there is no g.
        total_variance_extra : array, (cell,)
            Variance of a cell beyond the members [(gC m-2 d-1)^2]: ``nee_std_total = sqrt(nee_std^2 + extra)``; NaN where it is not known.
        """
        landscape, tower_like = (np.asarray(x, dtype=np.float64) for x in (landscape, tower_like))
        extra = np.asarray(total_variance_extra, dtype=np.float64)
        self._check_month(t, landscape, tower_like, extra)
        count = landscape.shape[0]
        std = landscape.std(axis=0, ddof=1) if count > 1 else np.full(self.cells.index.size, np.nan)
        self._put("nee", t, landscape.mean(axis=0))
        self._put("nee_tower", t, tower_like.mean(axis=0))
        self._put("nee_std", t, std)
        self._put("nee_std_total", t, np.sqrt(std**2 + extra))
        for m in range(count if self.members is not None else 0):
            self._file["nee_member"][m, t] = self._map(landscape[m])
        self._target.raise_error()
        self._written[t] = True

    def _check_month(self, t: int, landscape: np.ndarray, tower_like: np.ndarray, extra: np.ndarray) -> None:
        cells = self.cells.index.size
        if not 0 <= t < len(self.times) or self._written[t]:
            raise ValueError(f"month {t}: allowed are 0 to {len(self.times) - 1}, each once")
        wanted = (self.members if self.members is not None else landscape.shape[0], cells)
        if landscape.shape != wanted or tower_like.shape != wanted or extra.shape != (cells,) or wanted[0] < 1:
            shapes = f"landscape {landscape.shape}, tower_like {tower_like.shape}, total_variance_extra {extra.shape}"
            raise ValueError(f"month {t}: {shapes}; wanted (member, cell) = {wanted} twice and ({cells},)")
        bad = int((~np.isfinite(landscape)).sum() + (~np.isfinite(tower_like)).sum() + (extra < 0).sum())
        if bad:
            raise ValueError(f"month {self.times[t]:%Y-%m}: {bad} values are not finite or a variance is negative; every cell needs a flux")

    def _map(self, values: np.ndarray) -> np.ndarray:
        full = self.cells.to_map(np.asarray(values, dtype=np.float64))
        full[self._no_flux] = 0.0
        return np.where(np.isfinite(full), full, FILL).astype(np.float32)

    def _put(self, name: str, t: int, values: np.ndarray) -> None:
        self._file[name][t] = self._map(values)

    def _layer(self, name: str, dims: tuple[str, ...], attrs: Mapping[str, str]) -> None:
        chunks = (1,) * (len(dims) - 2) + self.cells.grid.shape
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True, "fillvalue": FILL}
        self._file.create_variable(name, dims, np.float32, **options).attrs.update(attrs)

    def _coordinates(self) -> None:
        grid, file = self.cells.grid, self._file
        file.dimensions = {"time": len(self.times), "lat": grid.lat.size, "lon": grid.lon.size, "nv": 2}
        for axis in axes(grid, self.times, self.times + pd.offsets.MonthBegin(1)):
            variable = file.create_variable(axis.name, (axis.name,), axis.centre.dtype, data=axis.centre)
            variable.attrs.update(axis.attrs)
            file.create_variable(f"{axis.name}_bounds", (axis.name, "nv"), axis.bounds.dtype, data=axis.bounds)
        if self.members is not None:
            file.dimensions["member"] = self.members
            member = file.create_variable("member", ("member",), np.int32, data=np.arange(self.members, dtype=np.int32))
            member.attrs.update({"standard_name": "realization", "long_name": "member of the ensemble", "units": "1"})

    def _static(self) -> None:
        area = self._file.create_variable(
            "land_area", ("lat", "lon"), np.float64, data=self.land_area, compression="gzip", compression_opts=1
        )
        area.attrs.update(LAND_AREA)
        if self.applicability is None:
            return
        attrs = {
            "units": "1",
            "long_name": "distance to the predictors of the training towers over its cross-validation quantile; above 1: outside",
        }
        self._layer("applicability", ("lat", "lon"), attrs)
        full = self.cells.to_map(np.asarray(self.applicability, dtype=np.float64))
        self._file["applicability"][...] = np.where(np.isfinite(full), full, FILL).astype(np.float32)


def integrate_product(path: Path, cells: LandCells, variable: str = "nee") -> xr.DataArray:
    """Integrate a written product over the regions and the globe: the check that the table is the map.

    One month is in memory at a time; sums are float64. The globe is all land of the file.

    Parameters
    ----------
    path : Path
        A file of `ProductWriter`, or one with the same variables.
    cells : LandCells
        Gives the regions; its grid must be the file's.
    variable : str
        A variable (time, lat, lon) in gC m-2 d-1.

    Returns
    -------
    xr.DataArray, (region, time)
        [PgC month-1]; regions are the parts and `global`.

    Raises
    ------
    InputError
        The variable is missing, the grid differs, or land has no value.
    """
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return _integrals(data, variable, cells, path)


def integrate_members(path: Path, cells: LandCells) -> xr.DataArray | None:
    """`integrate_product` of each member, (member, region, time) [PgC month-1]; None where the file has no `nee_member`."""
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return _integrals(data, "nee_member", cells, path) if "nee_member" in data else None


def _integrals(data: xr.Dataset, variable: str, cells: LandCells, path: Path) -> xr.DataArray:
    for name in (variable, "land_area"):
        if name not in data:
            raise InputError(f"{path}: no variable `{name}`; it has {sorted(map(str, data.data_vars))}")
    if not Grid(data.lat.to_numpy(), data.lon.to_numpy()).same_as(cells.grid):
        raise InputError(f"{path}: its grid is {data.lat.size} x {data.lon.size}, not that of the regions {cells.grid.shape} or shifted")
    land = data.land_area.to_numpy().astype(np.float64)
    time = pd.DatetimeIndex(data.time.to_numpy())
    weight = np.zeros((len(cells.region_names) + 1, land.size))
    weight[:-1, cells.index], weight[-1] = cells.region_area, land.ravel()
    field = data[variable].transpose(..., "time", "lat", "lon")
    months = [_land_values(field.isel(time=t), t, land, path) @ weight.T for t in range(time.size)]
    total = np.stack(months, axis=-1) * (days_in_month(time) / PETAGRAM)
    lead = {str(d): data[d].to_numpy() for d in field.dims[:-3]}
    coords = {**lead, "region": [*cells.region_names, "global"], "time": time}
    return xr.DataArray(total, coords, tuple(coords), name=variable, attrs={"units": "PgC month-1"})


def _land_values(data: xr.DataArray, t: int, land: np.ndarray, path: Path) -> np.ndarray:
    values = data.to_numpy().astype(np.float64)
    missing = int((~np.isfinite(values) & (land > 0)).sum())
    if missing:
        raise InputError(f"{path}: {data.name} lacks a value in {missing} land cells of month {t}; a regional sum needs all of them")
    return np.where(land > 0, values, 0.0).reshape(*values.shape[:-2], land.size)

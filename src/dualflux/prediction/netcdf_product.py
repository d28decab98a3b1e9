"""Products as CF NetCDF files, written month by month or copied from a Zarr store, and integrated back over regions; see `product`."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5netcdf
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells
from dualflux.prediction.product import MAP, Product, Variable, analysis_values, land_map, layer_values
from dualflux.run_folder.hdf5_output import PatientFile
from dualflux.units import PETAGRAM, days_in_month

FILL = np.float32(1e20)


class NetcdfFile:
    """A product's file with everything but its fluxes; it appears under its name only when it is whole.

    Use as a context manager; `put` the fluxes inside, and set `whole` once they are all there. Nothing is left behind otherwise.

    Parameters
    ----------
    path : Path
        Its folder is made. An older file is replaced at the end.
    product : Product

    Raises
    ------
    OSError
        From `put` or on leaving: the disk is full.
    """

    def __init__(self, path: Path, product: Product) -> None:
        self.path, self.product, self.whole = Path(path), product, False
        self._partial = self.path.with_name(f".{self.path.name}.partial")

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._target = PatientFile(self._partial)
        self._file = h5netcdf.File(self._target, "w")
        self._file.dimensions = self.product.sizes
        for variable in self.product.coordinates():
            created = self._file.create_variable(variable.name, variable.dims, variable.data.dtype, data=variable.data)
            created.attrs.update(variable.attrs)
        for variable in self.product.maps():
            self._map(variable)
        for name, layer in self.product.layers().items():
            self._layer(name, layer.dims, layer.attrs)
        self._file.attrs.update(self.product.global_attributes)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._target.close()
        if error is None and self.whole and self._target.error is None:
            os.replace(self._partial, self.path)
            return
        self._partial.unlink(missing_ok=True)
        if error is None:
            self._target.raise_error()

    def put(self, name: str, place: Any, values: np.ndarray) -> None:
        """Write maps (..., lat, lon), NaN where there is no value, at some place of a layer."""
        self._file[name][place] = np.where(np.isfinite(values), values, FILL).astype(np.float32)
        self._target.raise_error()

    def _map(self, variable: Variable) -> None:
        if variable.data.dtype == np.float32:
            self._layer(variable.name, variable.dims, variable.attrs)
            self.put(variable.name, ..., variable.data)
            return
        options = {"compression": "gzip", "compression_opts": 1}
        self._file.create_variable(variable.name, variable.dims, np.float64, data=variable.data, **options).attrs.update(variable.attrs)

    def _layer(self, name: str, dims: tuple[str, ...], attrs: Mapping[str, str]) -> None:
        chunks = (1,) * (len(dims) - len(MAP)) + self.product.cells.grid.shape
        options = {"chunks": chunks, "compression": "gzip", "compression_opts": 1, "shuffle": True, "fillvalue": FILL}
        self._file.create_variable(name, dims, np.float32, **options).attrs.update(attrs)


class ProductWriter:
    """Write one monthly product month by month; the file appears under its name only when it is whole.

    Use as a context manager. Nothing is left behind when the block ends with an error.

    Parameters
    ----------
    path : Path
        The file; its folder is made. An older file is replaced at the end.
    cells, members, attrs, land_area_map, applicability, analysis
        See `product.Product`.
    times_monthly : DatetimeIndex
        First day of each month, ascending.

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
        analysis: bool = False,
    ) -> None:
        times = times_monthly
        if len(times) == 0 or not (times.is_month_start.all() and times.is_monotonic_increasing and times.is_unique):
            raise ValueError("times must be the first days of months, ascending, each once")
        land_area = np.asarray(land_area_map, dtype=np.float64)
        self.product = Product(cells, land_area, times, times + pd.offsets.MonthBegin(1), members, dict(attrs), applicability, analysis)
        self.file = NetcdfFile(path, self.product)
        self._written = np.zeros(len(times), dtype=bool)

    def __enter__(self) -> Self:
        self.file.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.whole = bool(self._written.all())
        self.file.__exit__(kind, error, trace)
        if error is None and not self.file.whole:
            lacking = self.product.times[~self._written].strftime("%Y-%m")
            raise ValueError(f"{self.file.path}: {len(lacking)} months were never written, the first {lacking[0]}; the file was not made")

    def write(
        self, t: int, landscape: np.ndarray, tower_like: np.ndarray, total_variance_extra: np.ndarray, analysis: np.ndarray | None = None
    ) -> None:
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
            Variance of a cell beyond the members [(gC m-2 d-1)^2]: ``nee_std_total = sqrt(nee_std^2 + extra)``; NaN where nobody knows it.
        analysis : array, (member, cell), optional
            What members say that the month had [gC m-2 d-1]; None where there is no analysis of it: it stays missing.
        """
        extra = np.asarray(total_variance_extra, dtype=np.float64)
        self._check_month(t, landscape, tower_like, extra)
        for name, values in layer_values(landscape, tower_like, extra).items():
            self.file.put(name, t, self._map(values))
        for name, values in ({} if analysis is None else analysis_values(analysis)).items():
            self.file.put(name, t, self._map(values))
        for m in range(len(landscape) if self.product.members is not None else 0):
            self.file.put("nee_member", (m, t), self._map(landscape[m]))
        self._written[t] = True

    def _check_month(self, t: int, landscape: np.ndarray, tower_like: np.ndarray, extra: np.ndarray) -> None:
        times, members, cells = self.product.times, self.product.members, self.product.cells.index.size
        if not 0 <= t < len(times) or self._written[t]:
            raise ValueError(f"month {t}: allowed are 0 to {len(times) - 1}, each once")
        wanted = (members if members is not None else landscape.shape[0], cells)
        if landscape.shape != wanted or tower_like.shape != wanted or extra.shape != (cells,) or wanted[0] < 1:
            shapes = f"landscape {landscape.shape}, tower_like {tower_like.shape}, total_variance_extra {extra.shape}"
            raise ValueError(f"month {t}: {shapes}; wanted (member, cell) = {wanted} twice and ({cells},)")
        bad = int((~np.isfinite(landscape)).sum() + (~np.isfinite(tower_like)).sum() + (extra < 0).sum())
        if bad:
            raise ValueError(f"month {times[t]:%Y-%m}: {bad} values are not finite or a variance is negative; every cell needs a flux")

    def _map(self, values: np.ndarray) -> np.ndarray:
        return land_map(self.product.cells, self.product.land_area, values)


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

"""Gridded products to compare with, month by month on the study's grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse

from dualflux.errors import InputError
from dualflux.grid import Grid, Overlap, Regions, grid_of, normalise_coordinates, regrid
from dualflux.sources.files.cadence import require_cadence
from dualflux.sources.files.declared import declare
from dualflux.sources.files.gridded import LARGEST_VALUE, find_variable, open_gridded, read_values, stated_units, without_single
from dualflux.sources.files.monthly_fields import MAKE_MONTHLY
from dualflux.sources.files.plausible import Plausible, fill_values, plausible_flux
from dualflux.sources.files.region_weights import region_areas, shares_of
from dualflux.sources.files.tables import MISSING, find_files
from dualflux.sources.files.time_axis import TIME_NAMES, TimeSteps, joined, months_of, of_file
from dualflux.sources.references.settings import GriddedFields
from dualflux.units import FLUX_UNITS, flux_to_daily


@dataclass(frozen=True, eq=False)
class ReferenceMonth:
    """One month (or day) of a gridded product on the study's grid, each array (lat, lon).

    Attributes
    ----------
    time : Timestamp
        First day of the month, or the day.
    flux : NEE per area of land [gC m-2 d-1], NaN where the product has none.
    density : NEE per area of the whole cell [gC m-2 d-1]; times cell area it sums to the product's integral.
    land, missing : part of the cell that is land to the product, and that is land without a value.
    sums : array, (3, region + 1), optional
        Sums over the product's own cells: flux [gC d-1], land [m2] and land without a value [m2]; the last column is the globe.
    """

    time: pd.Timestamp
    flux: np.ndarray
    density: np.ndarray
    land: np.ndarray
    missing: np.ndarray
    sums: np.ndarray | None = None


def reference_maps(
    source: GriddedFields,
    root: Path,
    grid: Grid,
    land_fraction: np.ndarray,
    times: pd.DatetimeIndex,
    regions: Regions | None = None,
) -> Iterator[ReferenceMonth]:
    """The product's months that are in `times`, conservatively regridded, one at a time in memory; of daily values their mean.

    Parameters
    ----------
    land_fraction : array, (lat, lon)
        The study's, used where the product brings none.
    regions : Regions, optional
        On `grid`; with them each month has its `sums`.

    Raises
    ------
    InputError
        See `read_references`; land without a value is no error here, it stands in `missing`.
    """
    steps = reference_steps(source, root, grid, land_fraction, times, regions)
    for month, days in groupby(steps, key=lambda step: step.time.replace(day=1)):
        yield _mean(month, days)


def _mean(month: pd.Timestamp, steps: Iterator[ReferenceMonth]) -> ReferenceMonth:
    """Mean of the steps; where one has no value the month has none."""
    fields: list[np.ndarray] = []
    count = 0
    for step in steps:
        new = [step.flux, step.density, step.land, step.missing, *([] if step.sums is None else [step.sums])]
        fields = [total + one for total, one in zip(fields, new, strict=True)] if fields else new
        count += 1
    return ReferenceMonth(month, *(total / count for total in fields))


def reference_steps(
    source: GriddedFields,
    root: Path,
    grid: Grid,
    land_fraction: np.ndarray,
    times: pd.DatetimeIndex,
    regions: Regions | None = None,
) -> Iterator[ReferenceMonth]:
    """As `reference_maps`, but a file with daily values gives its days (their `time` is the day), whole months of them.

    Raises
    ------
    InputError
        See `reference_maps`; a month with some of its days.
    """
    sums = None if regions is None else _OwnSums(grid, regions, np.asarray(land_fraction, dtype=float))
    files = find_files(source.path, root, ".nc")
    wanted, stamps = set(times), _stamps(source, files, times)
    for path in files:
        with open_gridded(path) as data:
            variable = _variable(data, source, path)
            what = f"{path.name}: `{source.variable}`"
            units = stated_units(variable, source.units, FLUX_UNITS, what)
            name, _ = of_file(variable, path)
            plausible = plausible_flux(variable, f"{what} ({source.product})", units, source.implausible == "accept")
            regridder = _Regridder.of(variable.isel({name: 0}), data, source.land_fraction, grid, land_fraction, path, sums)
            for step, stamp in enumerate(stamps[path]):
                if stamp.replace(day=1) in wanted:
                    yield regridder.month(variable.isel({name: step}), stamp, units, plausible)
    known = {stamp.replace(day=1) for found in stamps.values() for stamp in found}
    if not wanted & known:
        raise InputError(
            f"{source.product}: its {len(known)} months in {len(files)} files ({min(known):%Y-%m} to {max(known):%Y-%m})"
            f" have none in common with the study ({times[0]:%Y-%m} to {times[-1]:%Y-%m}); give files of those years"
        )


def _variable(data: xr.Dataset, source: GriddedFields, path: Path) -> xr.DataArray:
    variable = without_single(find_variable(data, source.variable, path), *TIME_NAMES)
    return declare(variable, fill_values(source.fill_value), source.implausible == "accept")


def _stamps(source: GriddedFields, files: list[Path], times: pd.DatetimeIndex) -> dict[Path, pd.DatetimeIndex]:
    """First days of the months (or the days) that the steps of each file mean; of the months in `times` whole ones."""
    steps: dict[Path, TimeSteps] = {}
    for path in files:
        with open_gridded(path) as data:
            steps[path] = of_file(_variable(data, source, path), path)[1]
            if steps[path].stamps.empty:
                raise InputError(f"{path.name}: `{source.variable}`: no time step; get the file again")
    what = f"{source.product} ({files[0].name}{'' if len(files) == 1 else f' to {files[-1].name}'}): `{source.variable}`"
    daily = require_cadence(joined(list(steps.values())), ("monthly", "daily"), what, MAKE_MONTHLY) == "daily"
    found = {path: one.labels.normalize() if daily else months_of(one.labels) for path, one in steps.items()}
    _check_once(found, source.variable, "day" if daily else "month")
    if daily:
        _check_whole(np.concatenate([one.to_numpy() for one in found.values()]), times, what)
    return found


def _check_once(found: dict[Path, pd.DatetimeIndex], variable: str, word: str) -> None:
    seen: dict[pd.Timestamp, str] = {}
    for path, stamps in found.items():
        for stamp in stamps:
            if stamp in seen:
                when = f"{stamp:%Y-%m}" if word == "month" else f"{stamp:%Y-%m-%d}"
                raise InputError(
                    f"{path.name}: `{variable}`: {when} stands more than once (also in {seen[stamp]}); give one mean value per {word}"
                )
            seen[stamp] = path.name


def _check_whole(days: np.ndarray, times: pd.DatetimeIndex, what: str) -> None:
    """Raise InputError where a month of the study has some of its days; a longer record may begin and end as it likes."""
    month, count = np.unique(days.astype("datetime64[M]"), return_counts=True)
    months = pd.DatetimeIndex(month.astype("datetime64[ns]"))
    partial = np.flatnonzero((count != months.days_in_month) & months.isin(times))
    if partial.size:
        raise InputError(
            f"{what}: {months[partial[0]]:%Y-%m} has {count[partial[0]]} time steps; "
            "allowed: one mean value per month, or one for each of its days; give whole months"
        )


class _OwnSums:
    """Regional sums over the cells of a product, each with the region's share of its land.

    A product's own land fraction says how much of a cell is land; else the study's does, in the resolution of its file: then a cell without
    a value takes the mean of those with one in the study's cell around it, as the maps do, and land beyond the product's grid is missing.
    """

    def __init__(self, grid: Grid, regions: Regions, land_fraction: np.ndarray) -> None:
        self.grid, self.regions, self.land_fraction = grid, regions, land_fraction
        self._known: tuple[Grid, np.ndarray | None, _OwnCells] | None = None

    def of(self, source: Grid, own_land: np.ndarray | None, daily: np.ndarray, flux: np.ndarray) -> np.ndarray:
        """`ReferenceMonth.sums` of a field [gC m-2 d-1] on its own grid, `flux` the same on the study's."""
        if self._known is None or not source.same_as(self._known[0]) or not _equal(own_land, self._known[1]):
            self._known = source, own_land, self._cells(source, own_land)
        cells, values = self._known[2], daily.ravel()
        if own_land is None:
            values = np.where(np.isfinite(values), values, flux.ravel()[cells.around])
        known = np.isfinite(values)
        fields = np.stack([np.where(known, values, 0.0), np.ones(values.size), (~known).astype(float)])
        sums: np.ndarray = (cells.land @ fields.T).T
        sums[1:] += cells.beyond
        return sums

    def _cells(self, source: Grid, own_land: np.ndarray | None) -> "_OwnCells":
        found = region_areas(source, self.grid, self.regions, self.land_fraction)
        carried = np.zeros(source.shape, dtype=bool) if own_land is None else own_land > 0
        shares = shares_of(source, found, carried.ravel())
        area = found.land if own_land is None else own_land.ravel() * source.cell_area.ravel()
        land = sparse.csr_matrix(sparse.vstack([shares.T, np.ones((1, area.size))]) @ sparse.diags(area))
        beyond = np.zeros(land.shape[0])
        if own_land is None:
            beyond = found.all_land - np.asarray(land.sum(axis=1)).ravel()
            beyond[beyond < 1e-9 * found.all_land] = 0.0
        row, column = self.grid.cell_of(np.repeat(source.lat, source.shape[1]), np.tile(source.lon, source.shape[0]))
        return _OwnCells(land, beyond, np.ravel_multi_index((row, column), self.grid.shape, mode="clip"))


class _OwnCells(NamedTuple):
    """Land of each region in each cell of a product [m2], (region + 1, cell), and beyond its grid; the study's cell around each."""

    land: sparse.csr_matrix
    beyond: np.ndarray
    around: np.ndarray


def _equal(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    return first is second or (first is not None and second is not None and np.array_equal(first, second))


@dataclass(frozen=True, eq=False)
class _Regridder:
    """What the months of one file share."""

    what: str
    source: Grid
    target: Grid
    overlap: Overlap
    own_land: np.ndarray | None
    land: np.ndarray
    sums: _OwnSums | None

    @classmethod
    def of(
        cls,
        field: xr.DataArray,
        data: xr.Dataset,
        land_name: str | None,
        target: Grid,
        study_land: np.ndarray,
        path: Path,
        sums: _OwnSums | None,
    ) -> "_Regridder":
        what = f"{path.name}: `{field.name}`"
        if field.ndim != 2:
            raise InputError(
                f"{what}: dimensions {list(field.dims)} besides time; allowed: latitude and longitude; choose one level or member first"
            )
        source = grid_of(normalise_coordinates(field, what), what)
        overlap = Overlap.between(source, target)
        if land_name is None:
            return cls(what, source, target, overlap, None, np.asarray(study_land, dtype=float), sums)
        own = _own_land(find_variable(data, land_name, path), source, path)
        return cls(what, source, target, overlap, own, regrid(np.ones(source.shape), source, target, own, overlap)[1], sums)

    def month(self, field: xr.DataArray, time: pd.Timestamp, units: str, plausible: Plausible) -> ReferenceMonth:
        """Convert and regrid one field."""
        values = read_values(normalise_coordinates(field, self.what), self.what)
        values[(values == MISSING) | (np.abs(np.nan_to_num(values)) > LARGEST_VALUE)] = np.nan
        plausible.require(values.reshape(1, -1))
        daily = flux_to_daily(values[None], units, np.array([time], dtype="datetime64[ns]"), self.what)[0]
        flux, valid = regrid(daily, self.source, self.target, self.own_land, self.overlap)
        if self.own_land is None:
            valid = np.where(np.isnan(flux), 0.0, self.land)
        sums = None if self.sums is None else self.sums.of(self.source, self.own_land, daily, flux)
        return ReferenceMonth(time, flux, np.nan_to_num(flux) * valid, self.land, np.clip(self.land - valid, 0, None), sums)


def _own_land(variable: xr.DataArray, source: Grid, path: Path) -> np.ndarray:
    what = f"{path.name}: `{variable.name}`"
    field = normalise_coordinates(variable.squeeze(drop=True), what)
    if field.ndim != 2 or not grid_of(field, what).same_as(source):
        raise InputError(
            f"{what}: dimensions {dict(variable.sizes)}; a land fraction has the latitudes and longitudes of the flux and no time"
        )
    values = np.nan_to_num(field.to_numpy().astype(float))
    if values.min() < 0 or values.max() > 1 + 1e-6:
        raise InputError(
            f"{what}: from {values.min():.4g} to {values.max():.4g}; a land fraction lies between 0 and 1; convert percent first"
        )
    return values

"""Gridded products to compare with, month by month on the study's grid."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.grid import Grid, Overlap, grid_of, normalise_coordinates, regrid
from dualflux.sources.files.cadence import require_cadence
from dualflux.sources.files.gridded import LARGEST_VALUE, find_variable, open_gridded, read_values, stated_units
from dualflux.sources.files.monthly_fields import MAKE_MONTHLY
from dualflux.sources.files.tables import MISSING, find_files
from dualflux.sources.files.time_axis import TimeSteps, joined, months_of, of_file
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
    """

    time: pd.Timestamp
    flux: np.ndarray
    density: np.ndarray
    land: np.ndarray
    missing: np.ndarray


def reference_maps(
    source: GriddedFields, root: Path, grid: Grid, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> Iterator[ReferenceMonth]:
    """The product's months that are in `times`, conservatively regridded, one at a time in memory; of daily values their mean.

    Parameters
    ----------
    land_fraction : array, (lat, lon)
        The study's, used where the product brings none.

    Raises
    ------
    InputError
        See `read_references`; land without a value is no error here, it stands in `missing`.
    """
    steps = reference_steps(source, root, grid, land_fraction, times)
    for month, days in groupby(steps, key=lambda step: step.time.replace(day=1)):
        yield _mean(month, days)


def _mean(month: pd.Timestamp, steps: Iterator[ReferenceMonth]) -> ReferenceMonth:
    """Mean of the steps; where one has no value the month has none."""
    fields: list[np.ndarray] = []
    count = 0
    for step in steps:
        new = (step.flux, step.density, step.land, step.missing)
        fields = [total + one for total, one in zip(fields, new, strict=True)] if fields else list(new)
        count += 1
    return ReferenceMonth(month, *(total / count for total in fields))


def reference_steps(
    source: GriddedFields, root: Path, grid: Grid, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> Iterator[ReferenceMonth]:
    """As `reference_maps`, but a file with daily values gives its days (their `time` is the day), whole months of them.

    Raises
    ------
    InputError
        See `reference_maps`; a month with some of its days.
    """
    files = find_files(source.path, root, ".nc")
    wanted, stamps = set(times), _stamps(source, files, times)
    for path in files:
        with open_gridded(path) as data:
            variable = find_variable(data, source.variable, path)
            units = stated_units(variable, source.units, FLUX_UNITS, f"{path.name}: `{source.variable}`")
            name, _ = of_file(variable, path)
            regridder = _Regridder.of(variable.isel({name: 0}), data, source.land_fraction, grid, land_fraction, path)
            for step, stamp in enumerate(stamps[path]):
                if stamp.replace(day=1) in wanted:
                    yield regridder.month(variable.isel({name: step}), stamp, units)
    known = {stamp.replace(day=1) for found in stamps.values() for stamp in found}
    if not wanted & known:
        raise InputError(
            f"{source.product}: its {len(known)} months in {len(files)} files ({min(known):%Y-%m} to {max(known):%Y-%m})"
            f" have none in common with the study ({times[0]:%Y-%m} to {times[-1]:%Y-%m}); give files of those years"
        )


def _stamps(source: GriddedFields, files: list[Path], times: pd.DatetimeIndex) -> dict[Path, pd.DatetimeIndex]:
    """First days of the months (or the days) that the steps of each file mean; of the months in `times` whole ones."""
    steps: dict[Path, TimeSteps] = {}
    for path in files:
        with open_gridded(path) as data:
            steps[path] = of_file(find_variable(data, source.variable, path), path)[1]
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


@dataclass(frozen=True, eq=False)
class _Regridder:
    """What the months of one file share."""

    what: str
    source: Grid
    target: Grid
    overlap: Overlap
    own_land: np.ndarray | None
    land: np.ndarray

    @classmethod
    def of(
        cls, field: xr.DataArray, data: xr.Dataset, land_name: str | None, target: Grid, study_land: np.ndarray, path: Path
    ) -> "_Regridder":
        what = f"{path.name}: `{field.name}`"
        if field.ndim != 2:
            raise InputError(
                f"{what}: dimensions {list(field.dims)} besides time; allowed: latitude and longitude; choose one level or member first"
            )
        source = grid_of(normalise_coordinates(field, what), what)
        overlap = Overlap.between(source, target)
        if land_name is None:
            return cls(what, source, target, overlap, None, np.asarray(study_land, dtype=float))
        own = _own_land(find_variable(data, land_name, path), source, path)
        return cls(what, source, target, overlap, own, regrid(np.ones(source.shape), source, target, own, overlap)[1])

    def month(self, field: xr.DataArray, time: pd.Timestamp, units: str) -> ReferenceMonth:
        """Convert and regrid one field."""
        values = read_values(normalise_coordinates(field, self.what), self.what)
        values[(values == MISSING) | (np.abs(np.nan_to_num(values)) > LARGEST_VALUE)] = np.nan
        daily = flux_to_daily(values[None], units, np.array([time], dtype="datetime64[ns]"), self.what)[0]
        flux, valid = regrid(daily, self.source, self.target, self.own_land, self.overlap)
        if self.own_land is None:
            valid = np.where(np.isnan(flux), 0.0, self.land)
        return ReferenceMonth(time, flux, np.nan_to_num(flux) * valid, self.land, np.clip(self.land - valid, 0, None))


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

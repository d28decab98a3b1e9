"""Monthly regional integrals of a flux whose fields stand in one file or in many."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.cadence import require_cadence
from dualflux.sources.files.declared import declare
from dualflux.sources.files.gridded import (
    ValidCells,
    find_variable,
    integrate_fields,
    monthly_integrals,
    open_gridded,
    read_values,
    stated_units,
    time_axis,
    without_single,
)
from dualflux.sources.files.plausible import fill_values, plausible_flux
from dualflux.sources.files.region_weights import Place, RegionalWeights, regional_weights
from dualflux.sources.files.regional_table import no_overlap, say_months
from dualflux.sources.files.time_axis import TIME_NAMES, TimeSteps, joined, months_of, of_file, with_bounds
from dualflux.units import FLUX_UNITS, INTEGRAL_UNITS

_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})-?(0[1-9]|1[0-2])(?!\d)")


class Stated(Protocol):
    """What the settings of every source of fluxes have."""

    @property
    def fill_value(self) -> float | list[float] | None:
        """Missing besides what the file declares."""

    @property
    def implausible(self) -> Literal["error", "accept"]:
        """What becomes of implausible values."""


@dataclass(frozen=True)
class Flux:
    """What a field of a file is.

    Attributes
    ----------
    variable : str
    per : {"area", "cell"}
        Per m2 of the whole grid cell, or already the integral over it.
    units : str, optional
        As the study states it; by default the file's attribute.
    usual : str, optional
        The format's documented unit, where neither says.
    area : str, optional
        The file's variable of cell areas [m2]; exact areas on the sphere by default.
    missing : {"error", "zero"}
        What a land cell without a value means.
    surface : {"land", "all"}
        See `regional_weights`.
    sparse : bool
        A cell without a value means zero, in whichever months.
    annual : bool
        Each field is a year's, so a total per month is no unit for it.
    fills : tuple of float
        Values that the study says are missing.
    accept : bool
        Implausible values are taken as they are.
    kind : {"net flux", "emission"}
        What is plausible.
    """

    variable: str
    per: Literal["area", "cell"]
    units: str | None = None
    usual: str | None = None
    area: str | None = None
    missing: Literal["error", "zero"] = "error"
    surface: Literal["land", "all"] = "land"
    sparse: bool = False
    annual: bool = False
    fills: tuple[float, ...] = ()
    accept: bool = False
    kind: Literal["net flux", "emission"] = "net flux"

    def as_stated(self, source: Stated) -> "Flux":
        """With what the study says of the file's numbers."""
        return replace(self, fills=fill_values(source.fill_value), accept=source.implausible == "accept")

    def units_of(self, variable: xr.DataArray, what: str) -> str:
        """The unit of the file's values, in our spelling; InputError where it is unknown or contradicts the study."""
        stated = self.usual if self.units is None and "units" not in variable.attrs else self.units
        allowed = FLUX_UNITS if self.per == "area" else INTEGRAL_UNITS
        allowed = tuple(u for u in allowed if not (self.annual and u.endswith("month-1")))
        return stated_units(variable, stated, allowed, f"{what} per {self.per}")


class Weights:
    """Regional weights of a flux, computed anew only where the grid of the next file is another."""

    def __init__(self, flux: Flux, place: Place) -> None:
        self.flux, self.place = flux, place
        self._known: tuple[list[np.ndarray], RegionalWeights] | None = None

    def of(self, field: xr.DataArray, data: xr.Dataset, path: Path) -> RegionalWeights:
        """Weights of a field's horizontal cells in the order of its file."""
        flux, place = self.flux, self.place
        area = None if flux.area is None else find_variable(data, flux.area, path).squeeze(drop=True)
        axes = [field[d] for d in field.dims if str(d) not in TIME_NAMES and d in field.coords]
        key = [np.asarray(axis.to_numpy()) for axis in axes] + [np.asarray(str(axis.attrs.get("units"))) for axis in axes]
        if area is not None:
            area = area.copy(data=read_values(area, f"{path}: `{flux.area}`"))
        key += [] if area is None else [area.to_numpy()]
        if self._known is None or len(key) != len(self._known[0]) or not all(map(np.array_equal, key, self._known[0])):
            found = regional_weights(field, place.grid, place.regions, place.land_fraction, path, flux.per, area, flux.surface)
            self._known = key, found
        return self._known[1]


Dated = Callable[[xr.Dataset, str, Path], xr.DataArray]


def dated_by_time(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """The variable with the dates of its own time coordinate."""
    variable = find_variable(data, name, path)
    time_axis(variable, path)
    return variable


def dated_by_name(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """The variable with the month in its file's name, where it has no time steps of its own.

    Raises
    ------
    InputError
        No month, or more than one, in the name; several steps without dates; one step that is stamped in another month.
    """
    variable = find_variable(data, name, path)
    times = [str(d) for d in variable.dims if str(d) in TIME_NAMES]
    found = {f"{year}-{month}" for year, month in _DATE.findall(path.name)}
    if times and times[0] in variable.coords and variable[times[0]].dtype.kind == "M":
        return _agreeing(variable, times[0], found, path) if variable.sizes[times[0]] == 1 and len(found) == 1 else variable
    if times and variable.sizes[times[0]] == 1:
        variable = variable.isel({times[0]: 0}, drop=True)
    if len(found) != 1 or any(d in variable.dims for d in times):
        raise InputError(
            f"{path}: `{name}` has dimensions {list(variable.dims)} and no dates, its name {len(found)} months; "
            "needed: one month per file, YYYYMM in its name, as downloaded"
        )
    month = np.array([pd.Timestamp(found.pop())], dtype="datetime64[ns]")
    return with_bounds(variable.reset_coords(drop=True).expand_dims(time=month), "time", "M")


def _agreeing(variable: xr.DataArray, time: str, named: set[str], path: Path) -> xr.DataArray:
    """A file's one step as the month of its name; time bounds win over the name, a stamp alone that contradicts it is refused."""
    _, steps = of_file(variable, path)
    if steps.bounds is not None:
        return variable
    stamp, name = steps.stamps[0], next(iter(named))
    if f"{stamp:%Y-%m}" != name:
        raise InputError(
            f"{path}: its time stamp is {stamp:%Y-%m-%d}, its name says {name}: is it stamped at the end of the month? "
            "give time bounds, or rename the file"
        )
    return with_bounds(variable, time, "M")


MONTHLY, FINER = ("monthly",), ("monthly", "daily", "hourly")
MAKE_MONTHLY = " (of finer ones `cdo monmean in.nc out.nc`, in Python `data.resample(time='MS').mean()`)"
Opened = Callable[[Path], AbstractContextManager[xr.Dataset]]


def read_months(
    paths: Sequence[Path],
    weights: Weights,
    name: str,
    dated: Dated = dated_by_time,
    finer: bool = False,
    opened: Opened = open_gridded,
) -> np.ndarray:
    """Integrals of the study's months from all files of a product, one block of fields in memory.

    Parameters
    ----------
    paths : sequence of Path
    weights : Weights
    name : str
        Of the product, for messages.
    dated : function
        Takes (data, variable, path) to the variable with a decoded time coordinate.
    finer : bool
        The steps may be days or parts of days (all alike); months that lack steps have no value.
    opened : function
        Context manager that gives a path's dataset.

    Returns
    -------
    array, (study month, region + 1)
        PgC month-1 in the file's sign; the last column is the globe; NaN where there is no field.

    Raises
    ------
    InputError
        Steps that are no months, a month that stands twice, none of the study's months, or no value in them.
    """
    times = weights.place.times
    fields = read_fields(paths, weights, name, dated, lambda stamps: months_of(stamps).isin(times), opened)
    what = f"{paths[0] if len(paths) == 1 else f'{len(paths)} files from {paths[0]}'}: {name}"
    _check_once(fields, name, finer)
    require_cadence(fields.steps, FINER if finer else MONTHLY, what, "" if finer else MAKE_MONTHLY)
    if fields.used.empty:
        raise InputError(no_overlap(what, months_of(fields.stamps), times))
    monthly = _whole_months(fields.used, what) if finer else fields.used.set_index(months_of(fields.used.index))
    if not np.isfinite(monthly.to_numpy()).any():
        raise InputError(
            f"{what} has no value in the study's months {times[0]:%Y-%m} to {times[-1]:%Y-%m}; "
            "name the products to keep with `products`, or change the period"
        )
    return monthly.reindex(times).to_numpy()


@dataclass(frozen=True, eq=False)
class Fields:
    """What the files of a product hold.

    Attributes
    ----------
    used : DataFrame, (step, region + 1)
        Integrals of the wanted steps as if each lasted the whole month of its label [PgC month-1], by label (see `TimeSteps`).
    files : list of (Path, TimeSteps)
        The steps of each file.
    """

    used: pd.DataFrame
    files: list[tuple[Path, TimeSteps]]

    @property
    def steps(self) -> TimeSteps:
        """Of all files."""
        return joined([steps for _, steps in self.files])

    @property
    def stamps(self) -> pd.DatetimeIndex:
        """A moment inside each step of all files."""
        return self.steps.labels


def read_fields(
    paths: Sequence[Path],
    weights: Weights,
    name: str,
    dated: Dated,
    wanted: Callable[[pd.DatetimeIndex], np.ndarray],
    opened: Opened = open_gridded,
) -> Fields:
    """Integrals of the fields whose labels (see `TimeSteps`) are `wanted`.

    Raises
    ------
    InputError
        As `integrate_fields`, or no field in any file.
    """
    cells, used, files = ValidCells(weights.flux.sparse), list[pd.DataFrame](), list[tuple[Path, TimeSteps]]()
    unit_of: dict[str, Path] = {}
    for path in paths:
        with opened(path) as data:
            variable = without_single(dated(data, weights.flux.variable, path), *TIME_NAMES)
            variable = declare(variable, weights.flux.fills, weights.flux.accept)
            _, steps = of_file(variable, path)
            files.append((path, steps))
            stamps = steps.labels
            inside = np.flatnonzero(wanted(stamps))
            units = weights.flux.units_of(variable, f"{path}: `{weights.flux.variable}`")
            unit_of.setdefault(units, path)
            if len(unit_of) > 1:
                said = ", ".join(f"`{unit}` in {where.name}" for unit, where in unit_of.items())
                raise InputError(f"{name}: units differ between its files: {said}; correct the files, or give the product's own only")
            found = weights.of(variable, data, path)
            if inside.size:
                what, flux = f"{path}: {name}", weights.flux
                plausible = plausible_flux(variable, f"{what}: `{flux.variable}`", units, flux.accept, flux.kind)
                sums = integrate_fields(variable, inside, found, flux.missing, what, valid_cells=cells, plausible=plausible)
                monthly = monthly_integrals(sums, units, months_of(stamps[inside]), weights.flux.per)
                used.append(pd.DataFrame(monthly, index=stamps[inside]))
    if not sum(len(steps.stamps) for _, steps in files):
        raise InputError(f"{name}: no fields in {', '.join(str(p) for p in paths)}; give files with time steps")
    return Fields(pd.concat(used) if used else pd.DataFrame(), files)


def _check_once(fields: Fields, name: str, finer: bool) -> None:
    seen: dict[pd.Timestamp, Path] = {}
    for path, steps in fields.files:
        moments = steps.labels if finer else months_of(steps.labels)
        again = pd.DatetimeIndex([m for m in moments.unique() if m in seen])
        if len(again):
            raise InputError(f"{path}: {name}: {say_months(again)}, also in {seen[again[0]].name}; give each month once")
        twice = steps.labels[steps.stamps.duplicated()]
        if len(twice):
            raise InputError(f"{path}: {name}: {len(twice)} time steps stand twice, first {twice[0]:%Y-%m-%d}; give each once")
        seen |= dict.fromkeys(moments, path)


def _whole_months(found: pd.DataFrame, what: str) -> pd.DataFrame:
    """Means over the steps of each month that has all of them."""
    found = found.sort_index()
    twice = found.index[found.index.duplicated()]
    if len(twice):
        raise InputError(f"{what}: {len(twice)} time steps stand twice, first {twice[0]}; give each once")
    by_month = found.groupby(months_of(found.index))
    mean, size, valid = by_month.mean(), by_month.size(), by_month.count().min(axis=1)
    step = float(np.median(np.diff(found.index.to_numpy()) / np.timedelta64(1, "D"))) if len(found) > 1 else 31.0
    wanted = np.round(pd.DatetimeIndex(mean.index).days_in_month / step) if step < 27 else 1
    return mean[(size >= wanted) & (valid == size)]

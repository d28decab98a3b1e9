"""Terms from gridded files: GFED, the lateral fluxes of LSCE, or any flux the study describes."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.adjustments.settings import Gfed4Adjustment, Gfed5Adjustment, GriddedAdjustment, LateralAdjustment
from dualflux.sources.adjustments.table import shares_of
from dualflux.sources.files.cadence import require_cadence
from dualflux.sources.files.containers import visit_hdf5
from dualflux.sources.files.gridded import DAMAGED, find_variable, open_gridded
from dualflux.sources.files.monthly_fields import Flux, Weights, dated_by_time, read_fields, read_months
from dualflux.sources.files.region_weights import Place
from dualflux.sources.files.tables import find_files
from dualflux.sources.files.time_axis import TIME_NAMES, months_of, with_bounds
from dualflux.units import annual_to_monthly, days_in_month, days_in_year

_PROFILES = "; monthly fields take `monthly_profile: file`, annual fields `uniform` or 12 shares"
_YEAR = re.compile(r"(?<!\d)((?:19|20)\d{2})(?!\d)")


def gridded_term(settings: GriddedAdjustment, root: Path, place: Place) -> np.ndarray:
    """Monthly integrals, (study month, region + 1) [PgC month-1], in the file's sign."""
    flux = Flux(
        settings.variable,
        settings.per,
        settings.units,
        None,
        settings.area,
        settings.missing,
        annual=settings.monthly_profile != "file",
        kind="emission",
    )
    return _with_profile(settings, find_files(settings.path, root, settings.suffix), Weights(flux.as_stated(settings), place))


def lateral_term(settings: LateralAdjustment, root: Path, place: Place) -> np.ndarray:
    """Monthly integrals of one variable of the lateral-flux file; cells without a value have no such flux."""
    sparse, annual = settings.missing == "zero", settings.monthly_profile != "file"
    flux = Flux(
        settings.field, "area", settings.units, "gC m-2 yr-1", None, settings.missing, sparse=sparse, annual=annual, kind="emission"
    )
    return _with_profile(settings, find_files(settings.path, root, settings.suffix), Weights(flux.as_stated(settings), place))


def gfed4_term(settings: Gfed4Adjustment, root: Path, place: Place) -> np.ndarray:
    """Monthly integrals of GFED4.1s carbon emissions."""
    flux = Flux("C", "area", "gC m-2 month-1", None, "grid_cell_area", "zero", sparse=True, kind="emission")
    return read_months(
        find_files(settings.path, root, settings.suffix), Weights(flux.as_stated(settings), place), "fire", opened=open_gfed4
    )


def gfed5_term(settings: Gfed5Adjustment, root: Path, place: Place) -> np.ndarray:
    """Monthly integrals of GFED5.1 carbon emissions, which are per cell already."""
    paths = find_files(settings.path, root, settings.suffix)
    with open_gridded(paths[0]) as data:
        known = [v for v in (settings.variable, "C", "carbon_emissions") if v is not None and v in data]
        if not known or (settings.variable is not None and known[0] != settings.variable):
            raise InputError(f"{paths[0]}: no variable `{settings.variable or 'C'}`; it has {', '.join(map(str, data.data_vars))}")
    flux = Flux(known[0], "cell", None, "gC month-1", None, "zero", sparse=True, kind="emission")
    return read_months(paths, Weights(flux.as_stated(settings), place), "fire", _dated_by_year)


@contextmanager
def open_gfed4(path: Path) -> Iterator[xr.Dataset]:
    """A GFED4.1s file as `C` (time, lat, lon) and `grid_cell_area`, the year from its name.

    Raises
    ------
    InputError
        The file is absent, damaged or of another layout, or its name holds no year.
    """
    years = set(_YEAR.findall(path.name))
    if len(years) != 1:
        raise InputError(f"{path}: {len(years)} years in the file's name; needed: GFED4.1s_YYYY.hdf5, as downloaded")
    year = years.pop()
    try:
        visit_hdf5(path, path)
        with h5py.File(path, "r") as file:
            groups = file["emissions"]
            months = sorted(m for m in groups if re.fullmatch(r"0[1-9]|1[0-2]", m))
            lat, lon = np.asarray(file["lat"])[:, 0], np.asarray(file["lon"])[0]
            values = np.stack([np.asarray(groups[m]["C"], dtype=np.float32) for m in months])
            area = np.asarray(file["ancill"]["grid_cell_area"], dtype=float)
    except DAMAGED as error:
        raise InputError(
            f"{path}: not a GFED4.1s file ({error}); needed: HDF5 with lat, lon, ancill/grid_cell_area, emissions/MM/C"
        ) from error
    time = pd.DatetimeIndex([f"{year}-{m}-01" for m in months]).astype("datetime64[ns]")
    coords = {"time": time, "lat": lat, "lon": lon}
    data = xr.Dataset({"C": (("time", "lat", "lon"), values), "grid_cell_area": (("lat", "lon"), area)}, coords)
    yield data.assign(C=with_bounds(data["C"], "time", "M"))


def _dated_by_year(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """Twelve fields without decoded dates are the months of the year in the file's name."""
    variable = find_variable(data, name, path)
    times = [d for d in variable.dims if str(d) in TIME_NAMES]
    if times and times[0] in variable.coords and np.issubdtype(variable[times[0]].dtype, np.datetime64):
        return variable
    years = set(_YEAR.findall(path.name.replace("GFED", "")))
    if len(times) != 1 or variable.sizes[times[0]] != 12 or len(years) != 1:
        raise InputError(
            f"{path}: `{name}` has dimensions {dict(variable.sizes)} without dates; "
            "needed: dates, or 12 months of the one year in the file's name"
        )
    return variable.assign_coords({times[0]: pd.date_range(f"{years.pop()}-01-01", periods=12, freq="MS")})


def _with_profile(settings: GriddedAdjustment | LateralAdjustment, paths: list[Path], weights: Weights) -> np.ndarray:
    """Monthly fields as they are, annual ones by the profile the study states."""
    flux, place, profile = weights.flux, weights.place, settings.monthly_profile
    if profile is None:
        raise InputError(
            f"{paths[0]}: {settings.name}: state its months: "
            "`monthly_profile: file` (monthly fields), `uniform` or 12 shares (annual fields)"
        )
    times, annual = place.times, profile != "file"
    what = f"{paths[0]}: `{flux.variable}` per {flux.per}"
    wanted = (lambda s: s.year.isin(times.year)) if annual else (lambda s: months_of(s).isin(times))
    fields = read_fields(paths, weights, settings.name, dated_by_time, wanted)
    require_cadence(fields.steps, ("annual", "single") if annual else ("monthly",), what, _PROFILES)
    stamps = pd.DatetimeIndex(fields.used.index)
    key = stamps.year if annual else months_of(stamps)
    if fields.used.empty or key.has_duplicates:
        first, last = fields.stamps.min(), fields.stamps.max()
        raise InputError(
            f"{what}: {len(fields.stamps)} fields from {first:%Y-%m} to {last:%Y-%m}; allowed: one per "
            f"{'year' if annual else 'month'} of {times[0]:%Y-%m} to {times[-1]:%Y-%m}{_PROFILES}"
        )
    if not annual:
        return fields.used.set_index(key).reindex(times).to_numpy()
    to_year = days_in_year(stamps) / days_in_month(stamps)
    yearly = fields.used.mul(to_year, axis=0).set_index(key).reindex(times.year).to_numpy()
    shares = shares_of(settings)
    return np.stack([annual_to_monthly(column, "PgC yr-1", times.to_numpy(), shares) for column in yearly.T], axis=1)

"""Gridded fluxes of others: opening them, their units and time axis, and regional sums read block by block."""

import math
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.geometry.coordinates import BOUNDED, centres_from_bounds
from dualflux.grid import LATITUDE_NAMES, LONGITUDE_NAMES
from dualflux.sources.files.chunks import UNWRITTEN, require_written, with_unwritten
from dualflux.sources.files.containers import (
    engine_of,
    folder_to_unpack,
    groups_with,
    is_gzipped,
    refuse_unknown_filter,
    unpacked,
    visit_hdf5,
)
from dualflux.sources.files.declared import refuse_text_for_numbers, without_missing
from dualflux.sources.files.foreign import why_not_opened
from dualflux.sources.files.plausible import Plausible
from dualflux.sources.files.region_weights import RegionalWeights
from dualflux.sources.files.tables import MISSING
from dualflux.sources.files.time_axis import decode_dates, months_of, of_file
from dualflux.units import (
    FLUX_UNITS,
    INTEGRAL_UNITS,
    PETAGRAM,
    days_in_month,
    flux_to_daily,
    integral_to_monthly,
    normalise_units,
    require_units,
    split_factor,
)

BLOCK_BYTES = 16e6
# What the NetCDF and HDF5 libraries raise for damaged bytes, wherever they meet them.
DAMAGED = (OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError, EOFError, zlib.error)
LARGEST_FIELD = 2**30  # cells of one field, which is read whole; 0.01 degree has 648 million
LARGEST_VALUE = 1e19  # fill values such as 1e20 that the file does not declare


@contextmanager
def open_gridded(path: Path) -> Iterator[xr.Dataset]:
    """Open a NetCDF-4, classic NetCDF or Zarr store without reading its fields; gzipped ones are unpacked to a temporary file.

    Raises
    ------
    InputError
        The file is missing, cut short or of another format.

    Notes
    -----
    Dates are decoded by `time_axis.decode_dates`; a time coordinate that cannot be is left as numbers.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; correct `path` (relative to the data root) or put the file there")
    with ExitStack() as stack:
        file = unpacked(path, Path(stack.enter_context(folder_to_unpack(path)))) if is_gzipped(path) else path
        data = stack.enter_context(_open(file, path))
        try:
            dated = decode_dates(data)
        except DAMAGED as error:
            raise _cannot_open(path, error) from error
        yield _with_centres(dated, path)


def _open(file: Path, path: Path) -> xr.Dataset:
    engine = engine_of(file, path)
    try:
        if engine == "h5netcdf":
            visit_hdf5(file, path)
        unnamed = {"phony_dims": "access"} if engine == "h5netcdf" else None  # dimensions that a plain HDF5 file has no names for
        return xr.open_dataset(file, engine=engine, decode_times=False, backend_kwargs=unnamed)
    except DAMAGED as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: Exception) -> InputError:
    why = why_not_opened(error, path) or f"cannot be opened ({error}); allowed: whole NetCDF files or Zarr stores"
    return InputError(f"{path}: {why}")


def _with_centres(data: xr.Dataset, path: Path) -> xr.Dataset:
    """Latitudes and longitudes that are corners of cells, as their bounds say, put in the middle of the cells."""
    for name in [d for d in data.dims if str(d).lower() in (*LATITUDE_NAMES, *LONGITUDE_NAMES) and d in data.coords]:
        axis = data[name]
        stated = axis.attrs.get("bounds", axis.encoding.get("bounds"))
        if stated is not None and not isinstance(stated, str):
            raise InputError(f"{path}: `{name}` has the attribute bounds {stated}; allowed: the name of a variable; correct or remove it")
        known = [b for b in (stated, f"{name}_bnds", f"{name}_bounds") if b in data.variables and data[b].shape == (axis.size, 2)]
        if axis.dims != (name,) or not known or axis.dtype.kind not in "fiu" or data[known[0]].dtype.kind not in "fiu":
            continue
        around = str(name).lower() in LONGITUDE_NAMES and not str(axis.attrs.get("units", "")).lower().startswith("rad")
        bounds = read_values(data[known[0]], f"{path}: `{known[0]}`")
        centre = centres_from_bounds(axis.to_numpy().astype(float), bounds, around, f"{path}: `{name}`")
        data = data.assign_coords({name: axis.copy(data=centre).assign_attrs({BOUNDED: 1})})
    return data


def find_variable(data: xr.Dataset, name: str, path: Path) -> xr.DataArray:
    """The variable of that name, or InputError listing those the file has."""
    if name not in data:
        raise InputError(f"{path}: no variable `{name}`; {_variables(data, name, path)}")
    found = data[name]
    refuse_text_for_numbers(found, name, path)
    refuse_unknown_filter(found, name, path)
    field = math.prod(sorted(found.shape)[-2:])
    if field > LARGEST_FIELD:
        raise InputError(
            f"{path}: `{name}` has dimensions {dict(found.sizes)}; allowed: fields of {LARGEST_FIELD} cells; the file is damaged"
        )
    return with_unwritten(found, name, path)


def _variables(data: xr.Dataset, name: str, path: Path) -> str:
    """What a file has instead of a variable, and what to do."""
    inside = groups_with(name.rsplit("/", 1)[-1], path)
    if inside:
        group = inside[0].strip("/")
        return (
            f"it stands in the group `{group}`, and groups are not read; copy it into a file of its own: "
            f"`ncks -G : -g {group} {path.name} NEW`, or xarray: `open_dataset(path, group='{group}').to_netcdf(NEW)`"
        )
    here = ", ".join(sorted(map(str, data.variables)))
    return f"it has {here}; correct `variable`" if here else "it has none (only groups, or nothing); give the file with the variable"


def stated_units(variable: xr.DataArray, stated: str | None, allowed: tuple[str, ...], what: str) -> str:
    """The unit from the study and the file's attribute, which must not contradict each other."""
    attribute = variable.attrs.get("units")
    ours = require_units(attribute if stated is None else stated, allowed, what)
    known = normalise_units(str(attribute)) if attribute is not None else ""
    if split_factor(known)[1] in (*FLUX_UNITS, *INTEGRAL_UNITS) and known != ours:
        raise InputError(f"{what}: the file says unit `{attribute}`, the study `{stated}`; correct or remove `units`")
    return ours


def time_axis(variable: xr.DataArray, path: Path) -> tuple[str, pd.DatetimeIndex]:
    """Name of the time dimension and the first day of the month that each value means; see `time_axis.of_file`."""
    name, steps = of_file(variable, path)
    return name, months_of(steps.labels)


@dataclass
class ValidCells:
    """The cells that have a value: the same in every month of a product, whatever number of files its months are in.

    Attributes
    ----------
    sparse : bool
        Cells without a value mean zero and may differ from month to month: nothing is checked.
    pattern : array of bool, (cell,), optional
        The cells with a value so far.
    """

    sparse: bool = False
    pattern: np.ndarray | None = None

    def check(self, valid: np.ndarray, required: np.ndarray, missing: str, what: str) -> None:
        """Compare (month, cell) with the months before; raise InputError where they differ or land has no value."""
        if self.sparse:
            return
        self.pattern = valid[0] if self.pattern is None or self.pattern.shape != valid[0].shape else self.pattern
        changed = (valid != self.pattern).any(axis=0)
        if changed.any():
            raise InputError(
                f"{what}: {changed.sum()} cells have a value in some months and none in others; fill or mask them alike in every month"
            )
        holes = int((required & ~self.pattern).sum())
        if holes and missing == "error":
            raise InputError(
                f"{what}: no value in {holes} of {int(required.sum())} cells that are land in a region; a partial sum is no regional flux; "
                "say `missing: zero` if the product means no flux there, or give a complete file"
            )


def integrate_fields(
    variable: xr.DataArray,
    positions: np.ndarray,
    weights: RegionalWeights,
    missing: Literal["error", "zero"],
    what: str,
    block_bytes: float = BLOCK_BYTES,
    valid_cells: ValidCells | None = None,
    plausible: Plausible | None = None,
) -> np.ndarray:
    """Weighted sums of the fields at `positions` along time, block of months by block of months.

    Parameters
    ----------
    variable : DataArray, (time, lat, lon) in any order
        Read lazily; at most `block_bytes` of it are held as float64.
    positions : array of int, (step,)
    missing : {"error", "zero"}
        What a cell without a value means where our map has land. A field without any value is
        absent: NaN.
    valid_cells : ValidCells, optional
        Shared by the files of one product.
    plausible : Plausible, optional
        What the values can be.

    Returns
    -------
    array, (step, region + 1)
        In the file's unit times m2 (or per cell), float64.

    Raises
    ------
    InputError
        Values missing over land under rule ``error``, or missing in some months and not in others.
    """
    time, _ = time_axis(variable, Path(what))
    if set(map(str, variable.dims)) != {time, *weights.dims}:
        raise InputError(f"{what} has dimensions {list(variable.dims)}; allowed: {[time, *weights.dims]}; choose one level or member first")
    step = max(1, int(block_bytes // (8 * weights.required.size)))
    sums = np.full((len(positions), weights.matrix.shape[0]), np.nan)
    known = ValidCells() if valid_cells is None else valid_cells
    for start in range(0, len(positions), step):
        chosen = positions[start : start + step]
        block = variable.isel({time: _as_slice(chosen)}).transpose(time, *weights.dims)
        field = read_values(block, what).reshape(len(chosen), -1)
        valid = np.isfinite(field) & (field != MISSING) & (np.abs(np.nan_to_num(field)) < LARGEST_VALUE)
        present = valid.any(axis=1)
        todo = "say `missing: zero`" if missing == "error" and not known.sparse else ""
        require_written(block, weights.required.reshape(block.shape[1:]), what, todo)
        if not present.any():
            continue
        if plausible is not None:
            plausible.require(np.where(valid, field, np.nan))
        known.check(valid[present], weights.required, missing, what)
        sums[start : start + step][present] = (weights.matrix @ np.where(valid, field, 0.0)[present].T).T
    return sums


def read_values(block: xr.DataArray, what: str) -> np.ndarray:
    """A block's values as float64, or InputError where the file is damaged or holds text."""
    try:
        values = block.to_numpy().astype(np.float64)
        gone = block.coords[UNWRITTEN].to_numpy() if UNWRITTEN in block.coords else False
    except DAMAGED as error:
        why = why_not_opened(error, Path(what))
        if why is not None:
            raise InputError(f"{what} {why}") from error
        raise InputError(
            f"{what} cannot be read as numbers ({error}); the file is damaged, cut short, or holds text: get it again"
        ) from error
    values[np.broadcast_to(gone, values.shape)] = np.nan
    return without_missing(values, block)


def without_single(variable: xr.DataArray, *keep: str) -> xr.DataArray:
    """The variable without dimensions of size 1 (a level, a member, a step) that are neither latitude nor longitude nor to be kept."""
    known = (*LATITUDE_NAMES, *LONGITUDE_NAMES)
    single = [d for d in variable.dims if variable.sizes[d] == 1 and str(d).lower() not in known and str(d) not in keep]
    return variable.squeeze(single, drop=True) if single else variable


def read_texts(variable: xr.DataArray, what: str) -> list[str]:
    """Names along a variable's first dimension, kept as text or as single padded characters along a second one."""
    try:
        rows = variable.to_numpy().reshape(variable.shape[0] if variable.ndim else 1, -1).tolist()
        text = [b"".join(row).decode("utf-8", "replace") if isinstance(row[0], bytes) else "".join(map(str, row)) for row in rows]
    except DAMAGED as error:
        raise InputError(f"{what} cannot be read as text ({error}); the file is damaged or cut short: get it again") from error
    return [t.replace("\0", " ").strip() for t in text]


def _as_slice(positions: np.ndarray) -> slice | np.ndarray:
    first, last = int(positions[0]), int(positions[-1])
    return slice(first, last + 1) if np.array_equal(positions, np.arange(first, last + 1)) else positions


def member_names(variable: xr.DataArray, path: Path) -> list[str]:
    """Names of ensemble members, kept as text or as single padded characters along a second dimension."""
    if "ensemble_member" not in variable.dims:
        raise InputError(f"{path}: `{variable.name}` has dimensions {list(variable.dims)}; one must be ensemble_member")
    names = read_texts(variable.transpose("ensemble_member", ...), f"{path}: `{variable.name}`")
    if len(set(names)) != len(names) or not all(names):
        raise InputError(f"{path}: ensemble member names {names}; each member needs one of its own")
    return names


def monthly_integrals(sums: np.ndarray, units: str, months: pd.DatetimeIndex, per: Literal["area", "cell"]) -> np.ndarray:
    """Sums of `integrate_fields` as PgC per month of their stamp, (step, region + 1)."""
    time = months.to_numpy()
    if per == "cell":
        return integral_to_monthly(sums, units, time)
    return flux_to_daily(sums, units, time) * (days_in_month(time) / PETAGRAM)[:, None]

"""Fire and lateral carbon fluxes of a study as monthly regional integrals."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, Regions
from dualflux.sources.adjustments.fields import gfed4_term, gfed5_term, gridded_term, lateral_term
from dualflux.sources.adjustments.settings import (
    SINKS,
    AdjustmentSettings,
    Gfed4Adjustment,
    Gfed5Adjustment,
    LateralAdjustment,
    TableAdjustment,
    term_of,
)
from dualflux.sources.adjustments.table import table_term
from dualflux.sources.files.region_weights import Place


@dataclass(frozen=True, eq=False)
class Adjustment:
    """One term as monthly regional integrals.

    Attributes
    ----------
    name : str
        Its name here (`crop_consumption`, also where the study says `allcropsource`).
    integral : DataArray, (region, time)
        PgC month-1, positive to the atmosphere (emissions positive, sinks negative); parts and
        `global`; NaN where the file has no value.
    uncertainty : DataArray, (region, time)
        Standard deviation [PgC month-1]; 0 where the study states none.
    source : str
        File name and what was made of it.
    """

    name: str
    integral: xr.DataArray
    uncertainty: xr.DataArray
    source: str


def read_adjustments(
    settings: Sequence[AdjustmentSettings],
    root: Path,
    grid: Grid,
    regions: Regions,
    land_fraction: np.ndarray,
    times_monthly: pd.DatetimeIndex,
) -> list[Adjustment]:
    """Read the terms as monthly regional integrals.

    Parameters
    ----------
    settings : sequence of AdjustmentSettings
    root, grid, regions, land_fraction, times_monthly
        As for `read_inversions`.

    Raises
    ------
    InputError
        Every problem of every file: missing file, column or variable, unknown unit, regions that table
        and mask do not share, duplicates, a missing monthly profile, no year of the study, a wrong sign.
    """
    problems, found = Problems(), []
    place = Place(grid, regions, np.asarray(land_fraction, dtype=float), pd.DatetimeIndex(times_monthly))
    for one in settings:
        with problems.collect():
            values = _read(one, root, place)
            found.append(_adjustment(one, -values if one.sign == "to_land" else values, place))
    problems.raise_if_any()
    return found


def _read(settings: AdjustmentSettings, root: Path, place: Place) -> np.ndarray:
    match settings:
        case TableAdjustment():
            return table_term(settings, root / settings.path, place)
        case LateralAdjustment():
            return lateral_term(settings, root, place)
        case Gfed4Adjustment():
            return gfed4_term(settings, root, place)
        case Gfed5Adjustment():
            return gfed5_term(settings, root, place)
    return gridded_term(settings, root, place)


def _adjustment(settings: AdjustmentSettings, values: np.ndarray, place: Place) -> Adjustment:
    term, times, where = term_of(settings), place.times, _say(settings.path)
    names = [*place.regions.names, "global"]
    sink = term in SINKS
    if not np.isfinite(values).all(axis=1).any():
        raise InputError(
            f"{where}: {term} has no value in {times[0]:%Y-%m} to {times[-1]:%Y-%m}; give a file that covers the study's years"
        )
    wrong = [n for n, v in zip(names, np.nanmean(values, axis=0), strict=True) if (v > 0 if sink else v < 0)]
    if wrong:
        raise InputError(
            f"{where}: {term} is {'a sink' if sink else 'an emission'} but {'above' if sink else 'below'} 0 in {', '.join(wrong)} "
            f"(positive = to the atmosphere); correct `sign` (now {settings.sign}) or the file"
        )
    integral = xr.DataArray(values.T, dims=("region", "time"), coords={"region": names, "time": times}, attrs={"units": "PgC month-1"})
    spread = abs(integral) * (settings.uncertainty or 0.0)
    profile = settings.monthly_profile or "file"
    shape = "monthly profile as stated" if isinstance(profile, tuple) else {"uniform": "annual, spread by days", "file": "monthly"}[profile]
    error = "not stated" if settings.uncertainty is None else f"{settings.uncertainty:.0%}"
    return Adjustment(term, integral, spread, f"{where}, {shape}, uncertainty {error}")


def _say(path: str | list[str]) -> str:
    return ", ".join(Path(p).name for p in ([path] if isinstance(path, str) else path))

"""Fire and lateral carbon fluxes, which stand between what inversions and towers see."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, Regions
from dualflux.sources import gridded
from dualflux.sources.region_weights import regional_weights
from dualflux.sources.regional_table import (
    check_once,
    check_regions,
    convert_by_unit,
    load_table,
    parse_months,
    parse_years,
    pivot_once,
    say_months,
    with_global,
)
from dualflux.units import FLUX_UNITS, INTEGRAL_UNITS, annual_to_monthly, days_in_month, days_in_year, integral_to_monthly, require_units

Emission = Literal["fire", "crop_consumption", "biofuel_consumption", "wood_consumption", "river_evasion", "lateral_emissions"]
EmissionInFile = Literal["allcropsource", "biofuelcropsource", "lakeriveremis"]
Sink = Literal[
    "crop_harvest_uptake", "biofuel_harvest_uptake", "wood_harvest_uptake", "river_uptake",
    "allcropsink", "biofuelcropsink", "woodsink", "riversink", "river_adjustment_land", "river_adjustment_land_scaled",
]  # fmt: skip
TermName = Emission | EmissionInFile | Sink

SINKS: tuple[str, ...] = get_args(Sink)
SAME_AS = {
    "allcropsource": "crop_consumption",
    "biofuelcropsource": "biofuel_consumption",
    "lakeriveremis": "river_evasion",
    "allcropsink": "crop_harvest_uptake",
    "biofuelcropsink": "biofuel_harvest_uptake",
    "woodsink": "wood_harvest_uptake",
    "riversink": "river_uptake",
    "river_adjustment_land_scaled": "river_adjustment_land",
}
ANNUAL_UNITS = tuple(u for u in INTEGRAL_UNITS if u.endswith("yr-1"))
Profile = Literal["uniform", "file"] | tuple[float, ...]


class _Adjustment(BaseModel):
    """What every adjustment has.

    Attributes
    ----------
    name : str
        The term; file names of the lateral-flux product (`allcropsource`, ...) are understood.
    path : str
        Relative to the data root.
    monthly_profile : "uniform", "file" or 12 shares
        How an annual value becomes months: by the days of the months (``uniform``), by the shares of
        January to December, or not at all because the file is monthly (``file``).
    uncertainty : float, optional
        Relative standard deviation, fully correlated between regions; without it the term adds nothing to R.
    sign : {"to_atmosphere", "to_land"}
        What a positive value means.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: TermName
    path: str
    monthly_profile: Profile | None = None
    uncertainty: Annotated[float, Field(ge=0)] | None = None
    sign: Literal["to_atmosphere", "to_land"] = "to_atmosphere"

    @field_validator("monthly_profile")
    @classmethod
    def _twelve_shares(cls, profile: Profile | None) -> Profile | None:
        if isinstance(profile, tuple) and (len(profile) != 12 or min(profile) < 0 or abs(sum(profile) - 1) > 1e-6):
            raise ValueError(
                f"{len(profile)} shares that sum to {sum(profile):.6g}; allowed: `uniform`, `file`, or 12 shares from 0 that sum to 1"
            )
        return profile


class TableAdjustment(_Adjustment):
    """CSV with region, value, unit and one of `year` (annual), `time` (monthly) or neither (the same rate in every year).

    Attributes
    ----------
    product : str, optional
        Which rows of a column `product`; needed where it names more than one.
    """

    format: Literal["table"]
    product: str | None = None


class GriddedAdjustment(_Adjustment):
    """A gridded flux (time, lat, lon): annual fields with a profile, or monthly with ``monthly_profile: file``."""

    format: Literal["gridded"]
    variable: str
    per: Literal["area", "cell"]
    sign: Literal["to_atmosphere", "to_land"]
    units: str | None = None
    area: str | None = None
    missing: Literal["error", "zero"] = "error"


AdjustmentSettings = Annotated[TableAdjustment | GriddedAdjustment, Field(discriminator="format")]


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


def term_of(settings: AdjustmentSettings) -> str:
    """The term's name here; a sink's variable makes the term a sink whatever the study calls it."""
    variable = settings.variable if isinstance(settings, GriddedAdjustment) else ""
    return SAME_AS.get(variable if variable in SINKS else settings.name, settings.name)


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
    times = pd.DatetimeIndex(times_monthly)
    for one in settings:
        with problems.collect():
            path = root / one.path
            if isinstance(one, TableAdjustment):
                values = _from_table(one, path, regions, times)
            else:
                values = _from_grid(one, path, grid, regions, np.asarray(land_fraction, dtype=float), times)
            values = -values if one.sign == "to_land" else values
            found.append(_adjustment(one, path, values, [*regions.names, "global"], times))
    problems.raise_if_any()
    return found


def _adjustment(settings: AdjustmentSettings, path: Path, values: np.ndarray, names: list[str], times: pd.DatetimeIndex) -> Adjustment:
    term = term_of(settings)
    sink = term in SINKS
    if not np.isfinite(values).all(axis=1).any():
        raise InputError(f"{path}: {term} has no value in {times[0]:%Y-%m} to {times[-1]:%Y-%m}; give a file that covers the study's years")
    wrong = [n for n, v in zip(names, np.nanmean(values, axis=0), strict=True) if (v > 0 if sink else v < 0)]
    if wrong:
        raise InputError(
            f"{path}: {term} is {'a sink' if sink else 'an emission'} but {'above' if sink else 'below'} 0 in {', '.join(wrong)} "
            f"(positive = to the atmosphere); correct `sign` (now {settings.sign}) or the file"
        )
    integral = xr.DataArray(values.T, dims=("region", "time"), coords={"region": names, "time": times}, attrs={"units": "PgC month-1"})
    spread = abs(integral) * (settings.uncertainty or 0.0)
    profile = settings.monthly_profile or "file"
    shape = "monthly profile as stated" if isinstance(profile, tuple) else {"uniform": "annual, spread by days", "file": "monthly"}[profile]
    error = "not stated" if settings.uncertainty is None else f"{settings.uncertainty:.0%}"
    return Adjustment(term, integral, spread, f"{path.name}, {shape}, uncertainty {error}")


def _from_table(settings: TableAdjustment, path: Path, regions: Regions, times: pd.DatetimeIndex) -> np.ndarray:
    table = _one_product(load_table(path, ["region", "value", "unit"]), settings, path)
    check_regions(table, regions.names, path)
    what = f"{path}: column unit"
    if "time" in table:
        _check_profile(settings, path, monthly=True)
        table = table.assign(time=parse_months(table["time"], path))
        table = convert_by_unit(table, lambda value, unit, time: integral_to_monthly(value, unit, time, what))
    else:
        _check_profile(settings, path, monthly=False)
        shares = _shares(settings)
        table = convert_by_unit(
            _every_month(table, path, times),
            lambda value, unit, time: annual_to_monthly(value, require_units(unit, ANNUAL_UNITS, what), time, shares),
        )
    monthly = pivot_once(table, "time", regions.names, path).reindex(times)
    _check_complete(monthly, path)
    return with_global(monthly.to_numpy())


def _one_product(table: pd.DataFrame, settings: TableAdjustment, path: Path) -> pd.DataFrame:
    if "product" not in table:
        return table.assign(product=settings.name)
    found = list(dict.fromkeys(table["product"].dropna()))
    if settings.product is None and len(found) == 1:
        return table
    if settings.product not in found:
        came = "none chosen" if settings.product is None else f"no product {settings.product}"
        raise InputError(f"{path}: {came}; it has {', '.join(found)}; set `product` of adjustment {settings.name} to one of them")
    return table[table["product"] == settings.product]


def _check_profile(settings: AdjustmentSettings, path: Path, monthly: bool) -> None:
    profile = settings.monthly_profile
    if monthly and profile not in (None, "file"):
        raise InputError(
            f"{path}: {settings.name} is monthly, but the study states a monthly_profile; set `monthly_profile: file` or remove it"
        )
    if not monthly and profile in (None, "file"):
        raise InputError(
            f"{path}: {settings.name} is annual; state its months: `monthly_profile: uniform` (by days) or 12 shares that sum to 1"
        )


def _shares(settings: AdjustmentSettings) -> np.ndarray | None:
    return np.array(settings.monthly_profile) if isinstance(settings.monthly_profile, tuple) else None


def _every_month(table: pd.DataFrame, path: Path, times: pd.DatetimeIndex) -> pd.DataFrame:
    """Repeat each annual value in all months of its year, a value without a year in all months."""
    months = pd.DataFrame({"time": times, "year": times.year})
    if "year" not in table:
        check_once(table.assign(year="every year"), "year", path)
        return table.merge(months, how="cross")
    table = table.assign(year=parse_years(table["year"], path))
    check_once(table, "year", path)
    return table.merge(months, on="year")


def _check_complete(monthly: pd.DataFrame, path: Path) -> None:
    """A month has all regions or none."""
    some = monthly.notna().any(axis=1) & monthly.isna().any(axis=1)
    if some.any():
        absent = monthly.columns[monthly[some].isna().any()]
        raise InputError(
            f"{path}: no value for {', '.join(absent)} in {say_months(pd.DatetimeIndex(monthly.index[some]))}; give every region or none"
        )


def _from_grid(
    settings: GriddedAdjustment, path: Path, grid: Grid, regions: Regions, land_fraction: np.ndarray, times: pd.DatetimeIndex
) -> np.ndarray:
    if settings.monthly_profile is None:
        raise InputError(
            f"{path}: {settings.name}: state its months: `monthly_profile: file` (monthly fields), `uniform` or 12 shares (annual fields)"
        )
    annual = settings.monthly_profile != "file"
    what = f"{path}: `{settings.variable}` per {settings.per}"
    with gridded.open_gridded(path) as data:
        variable = gridded.find_variable(data, settings.variable, path)
        allowed = FLUX_UNITS if settings.per == "area" else INTEGRAL_UNITS
        units = gridded.stated_units(variable, settings.units, tuple(u for u in allowed if not (annual and u.endswith("month-1"))), what)
        area = None if settings.area is None else gridded.find_variable(data, settings.area, path)
        weights = regional_weights(variable, grid, regions, land_fraction, path, settings.per, area)
        _, stamps = gridded.time_axis(variable, path)
        inside = np.flatnonzero(stamps.year.isin(times.year) if annual else stamps.isin(times))
        key = stamps[inside].year if annual else stamps[inside]
        if not len(inside) or key.has_duplicates:
            raise InputError(_wrong_steps(what, stamps, annual, times))
        sums = gridded.integrate_fields(variable, inside, weights, settings.missing, what)
    monthly = gridded.monthly_integrals(sums, units, stamps[inside], settings.per)
    if not annual:
        return pd.DataFrame(monthly, index=key).reindex(times).to_numpy()
    stamp = stamps[inside].to_numpy()
    yearly = pd.DataFrame(monthly * (days_in_year(stamp) / days_in_month(stamp))[:, None], index=key).reindex(times.year).to_numpy()
    shares = _shares(settings)
    return np.stack([annual_to_monthly(column, "PgC yr-1", times.to_numpy(), shares) for column in yearly.T], axis=1)


def _wrong_steps(what: str, stamps: pd.DatetimeIndex, annual: bool, times: pd.DatetimeIndex) -> str:
    return (
        f"{what}: {len(stamps)} fields from {stamps.min():%Y-%m} to {stamps.max():%Y-%m}; allowed: one per "
        f"{'year' if annual else 'month'} of {times[0]:%Y-%m} to {times[-1]:%Y-%m}; "
        "monthly fields take `monthly_profile: file`, annual fields `uniform` or 12 shares"
    )

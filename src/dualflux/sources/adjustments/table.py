"""Terms from regional tables: annual, monthly or constant."""

from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.adjustments.settings import ANNUAL_UNITS, AdjustmentSettings, TableAdjustment
from dualflux.sources.files.region_weights import Place
from dualflux.sources.files.regional_table import (
    check_once,
    check_regions,
    convert_by_unit,
    load_table,
    parse_months,
    parse_years,
    pivot_once,
    say_months,
    with_global,
    without_fills,
)
from dualflux.units import annual_to_monthly, integral_to_monthly, require_units

_YEARS = "give annual values a column `year` instead, and the study a `monthly_profile`; monthly rows are 2001-01, 2001-02 ..."


def table_term(settings: TableAdjustment, path: Path, place: Place) -> np.ndarray:
    """Monthly integrals, (study month, region + 1) [PgC month-1], in the table's sign."""
    table = _one_product(load_table(path, ["region", "value", "unit"]), settings, path)
    table = without_fills(table, settings.fill_value, settings.implausible == "accept", path)
    check_regions(table, place.regions.names, path)
    what = f"{path}: column unit"
    if "time" in table:
        table = table.assign(time=parse_months(table, path, _YEARS))
        _check_profile(settings, path, monthly=True)
        table = convert_by_unit(table, lambda value, unit, time: integral_to_monthly(value, unit, time, what))
    else:
        _check_profile(settings, path, monthly=False)
        shares = shares_of(settings)
        table = convert_by_unit(
            _every_month(table, path, place.times),
            lambda value, unit, time: annual_to_monthly(value, require_units(unit, ANNUAL_UNITS, what), time, shares),
        )
    monthly = pivot_once(table, "time", place.regions.names, path).reindex(place.times)
    _check_complete(monthly, path)
    return with_global(monthly.to_numpy())


def shares_of(settings: AdjustmentSettings) -> np.ndarray | None:
    """The 12 shares a study states, or None."""
    return np.array(settings.monthly_profile) if isinstance(settings.monthly_profile, tuple) else None


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


def _check_profile(settings: TableAdjustment, path: Path, monthly: bool) -> None:
    profile = settings.monthly_profile
    if monthly and profile not in (None, "file"):
        raise InputError(
            f"{path}: {settings.name} is monthly, but the study states a monthly_profile; set `monthly_profile: file` or remove it"
        )
    if not monthly and profile in (None, "file"):
        raise InputError(
            f"{path}: {settings.name} is annual; state its months: `monthly_profile: uniform` (by days) or 12 shares that sum to 1"
        )


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

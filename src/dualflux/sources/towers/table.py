"""Towers from one plain table with a row per site and month or day."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.errors import InputError, Problems
from dualflux.sources.files.tables import find_file, read_table, to_numbers, to_times
from dualflux.sources.towers.records import ROW_COLUMNS, SITE_COLUMNS, Records, TimeStep, check_rows, check_sites
from dualflux.units import FLUX_UNITS, flux_to_daily, require_units


class TableSource(BaseModel):
    """A CSV table with the columns site, lat, lon, igbp, time and a flux; its other numeric columns are site meteorology.

    Attributes
    ----------
    variable, units : str
        Column of the flux, positive to the atmosphere, and its unit.
    uncertainty : str, optional
        Column of the standard uncertainty, same unit; of a daily table it counts as random and independent between days.
    quality, quality_above : str and float, optional
        Rows (for daily values in a monthly study: months, by their mean) are kept where the column is above the value.
    minimum_coverage : float
        Part of a month's days that must have a value where days are averaged to months.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    format: Literal["table"]
    variable: str = "nee"
    units: str = "gC m-2 d-1"
    uncertainty: str | None = None
    quality: str | None = None
    quality_above: float | None = None
    minimum_coverage: float = Field(default=0.8, gt=0, le=1)

    @model_validator(mode="after")
    def _quality_is_whole(self) -> "TableSource":
        if (self.quality is None) != (self.quality_above is None):
            raise ValueError("give both `quality` (the column) and `quality_above` (the threshold), or neither")
        return self


def read_tower_table(source: TableSource, root: Path) -> Records:
    """Read and check one table.

    Raises
    ------
    InputError
        Missing file or column, unknown unit, text among numbers, bad dates, coordinates or classes, a site and time twice; all at once.
    """
    path = find_file(source.path, root)
    table = read_table(path)
    named = [name for name in (source.variable, source.uncertainty, source.quality) if name is not None]
    missing = [name for name in [*SITE_COLUMNS, "time", *named] if name not in table]
    if missing:
        raise InputError(f"{path.name}: no column {', '.join(f'`{m}`' for m in missing)}; it has {', '.join(table.columns)}")
    problems, units = Problems(), FLUX_UNITS[0]
    with problems.collect():
        units = require_units(source.units, FLUX_UNITS, f"{path.name}, `{source.variable}`")
    with problems.collect():
        sites = check_sites(table, path.name)
    with problems.collect():
        rows, step = _rows(table, source, units, path.name)
    problems.raise_if_any()
    kind = "none" if source.uncertainty is None else source.uncertainty
    return Records(rows, sites.assign(source=path.name, variable=source.variable, uncertainty=kind), step)


def _rows(table: pd.DataFrame, source: TableSource, units: str, what: str) -> tuple[pd.DataFrame, TimeStep]:
    rows = pd.DataFrame({"site": [str(site).strip() for site in table["site"]]})
    rows["time"] = to_times(table["time"], f"{what}, column `time`")
    for ours, theirs in (("nee", source.variable), ("quality", source.quality), ("random", source.uncertainty)):
        rows[ours] = np.nan if theirs is None else to_numbers(table[theirs], f"{what}, column `{theirs}`")
    for name in ("nee", "random"):
        rows[name] = flux_to_daily(rows[name].to_numpy(), units, rows["time"].to_numpy(), what)
    rows["random"] = rows["random"].mask(rows["random"] == 0)
    rows["systematic"], rows["flag"] = np.nan, None
    used = {*SITE_COLUMNS, *ROW_COLUMNS, source.variable, source.uncertainty, source.quality}
    weather = {name: _meteorology(table[name], f"{what}, column `{name}`") for name in table.columns if name not in used}
    rows = pd.concat([rows, pd.DataFrame({name: column for name, column in weather.items() if column is not None})], axis=1)
    check_rows(rows, what)
    return rows, _step(rows, what)


def _meteorology(column: pd.Series, what: str) -> pd.Series | None:
    """The column as numbers, or None where it is a column of text only."""
    if not pd.api.types.is_numeric_dtype(column) and pd.to_numeric(column, errors="coerce").isna().all() and column.notna().any():
        return None
    return to_numbers(column, what)


def _step(rows: pd.DataFrame, what: str) -> TimeStep:
    time = rows["time"]
    if (time != time.dt.normalize()).any():
        raise InputError(f"{what}: times within the day (first {time[time != time.dt.normalize()].iloc[0]}); give daily or monthly means")
    if (time.dt.day == 1).all():
        return "monthly"
    if len(rows) > 1 and not rows.assign(month=time.dt.to_period("M")).duplicated(["site", "month"]).any():
        raise InputError(f"{what}: one row per site and month, but not at the first day of the month; use the start of the month as `time`")
    return "daily"

"""Towers from one plain table with a row per site and month or day."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.errors import InputError, Problems
from dualflux.sources.files.tables import few, find_file, read_table, refuse_rows, to_numbers, to_times
from dualflux.sources.towers.cadence import refuse_bare_years, table_step
from dualflux.sources.towers.names import refuse_base, refuse_unknown
from dualflux.sources.towers.plausible import refuse_fills, refuse_implausible
from dualflux.sources.towers.records import (
    ACCEPTED_FLUX,
    IMPOSSIBLE_FLUX,
    ROW_COLUMNS,
    SITE_COLUMNS,
    Records,
    TimeStep,
    check_rows,
    check_sites,
)
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
    time_step : "monthly", "daily" or None
        What the rows are; by default found from their spacing, site by site. Stated months may stand at any day of theirs.
    implausible : "error" or "accept"
        What becomes of numbers that cannot be: undeclared fill values, fluxes that no ecosystem has, records that stand still. `accept`
        takes them as they are.
    exclude : list of str
        Sites whose rows are not used.
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
    time_step: Literal["monthly", "daily"] | None = None
    implausible: Literal["error", "accept"] = "error"
    exclude: list[str] = []

    @model_validator(mode="after")
    def _quality_is_whole(self) -> "TableSource":
        if (self.quality is None) != (self.quality_above is None):
            raise ValueError("give both `quality` (the column) and `quality_above` (the threshold), or neither")
        return self


def read_tower_table(source: TableSource, root: Path) -> tuple[Records, pd.Series]:
    """Read and check one table.

    Returns
    -------
    records : Records
    excluded : Series
        Number of rows of each site that the study excludes (index site).

    Raises
    ------
    InputError
        Missing file or column, unknown unit, text among numbers, bad dates, coordinates or classes, a site and time twice, rows that are
        no days and no months, numbers that cannot be, an excluded site that is not there; all at once.
    """
    path = find_file(source.path, root)
    refuse_base(path)
    table = read_table(path)
    named = [name for name in (source.variable, source.uncertainty, source.quality) if name is not None]
    missing = [name for name in [*SITE_COLUMNS, "time", *named] if name not in table]
    problems, units = Problems(), FLUX_UNITS[0]
    with problems.collect():
        units = require_units(source.units, FLUX_UNITS, f"{path.name}, `{source.variable}`")
    if missing:
        problems.add(f"{path.name}: no column {', '.join(f'`{m}`' for m in missing)}; it has {few(table.columns)}")
        problems.raise_if_any()
    site = pd.Series([str(site).strip() for site in table["site"]], table.index)
    refuse_unknown(source.exclude, site.unique(), path.name)
    out = site.isin(source.exclude)
    table = table[~out]
    if out.any() and table.empty:
        raise InputError(f"{path.name}: `exclude` leaves no site; remove the entry, or some of its sites")
    with problems.collect():
        sites = check_sites(table, path.name)
    with problems.collect():
        rows, step = _rows(table, source, units, path.name)
    problems.raise_if_any()
    kind = "none" if source.uncertainty is None else source.uncertainty
    return Records(rows, sites.assign(source=path.name, variable=source.variable, uncertainty=kind), step), site[out].value_counts()


def _rows(table: pd.DataFrame, source: TableSource, units: str, what: str) -> tuple[pd.DataFrame, TimeStep]:
    rows = pd.DataFrame({"site": [str(site).strip() for site in table["site"]]}, index=table.index)
    problems, weather = Problems(), dict[str, pd.Series | None]()
    with problems.collect():
        rows["time"] = _times(table["time"], source.time_step, f"{what}, column `time`")
    for ours, theirs in (("nee", source.variable), ("quality", source.quality), ("random", source.uncertainty)):
        with problems.collect():
            rows[ours] = np.nan if theirs is None else _numbers(table[theirs], source, f"{what}, column `{theirs}`")
    used = {*SITE_COLUMNS, *ROW_COLUMNS, source.variable, source.uncertainty, source.quality}
    for name in (name for name in table.columns if name not in used):
        with problems.collect():
            weather[name] = _meteorology(table[name], source, f"{what}, column `{name}`")
    problems.raise_if_any()
    for name in ("nee", "random"):
        rows[name] = flux_to_daily(rows[name].to_numpy(), units, rows["time"].to_numpy(), what)
    rows["random"] = rows["random"].mask(rows["random"] == 0)
    rows["systematic"], rows["flag"] = np.nan, None
    rows = pd.concat([rows, pd.DataFrame({name: column for name, column in weather.items() if column is not None})], axis=1)
    accept = source.implausible == "accept"
    check_rows(rows, what, ACCEPTED_FLUX if accept else IMPOSSIBLE_FLUX)
    step = table_step(rows, what, source.time_step)
    if not accept:
        refuse_fills(table[source.variable], to_numbers(table[source.variable], what), f"{what}, column `{source.variable}`")
        refuse_implausible(rows, step, what)
    return rows.reset_index(drop=True), step


def _times(column: pd.Series, step: TimeStep | None, what: str) -> pd.Series:
    """The day that each row begins with; of months that are stated, their first."""
    if step is None:
        refuse_bare_years(column, what)
    time = to_times(column, what)
    if step == "monthly":
        return time.dt.to_period("M").dt.start_time.astype(time.dtype)
    within = (time != time.dt.normalize()).to_numpy()
    refuse_rows(within, column, f"{what}: times within the day", "give daily or monthly means, at midnight of the local day")
    return time


def _numbers(column: pd.Series, source: TableSource, what: str) -> pd.Series:
    """The column as numbers; but for the flux, whose bound is looked at first, without undeclared fill values."""
    numbers = to_numbers(column, what)
    if source.implausible == "error" and column.name != source.variable:
        refuse_fills(column, numbers, what)
    return numbers


def _meteorology(column: pd.Series, source: TableSource, what: str) -> pd.Series | None:
    """The column as numbers, or None where it is a column of text only."""
    if not pd.api.types.is_numeric_dtype(column) and pd.to_numeric(column, errors="coerce").isna().all() and column.notna().any():
        return None
    return _numbers(column, source, what)

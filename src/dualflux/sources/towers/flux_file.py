"""The flux record of one site: which column is read, its quality, its uncertainty, its meteorology."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.tables import to_numbers, to_times
from dualflux.sources.towers.archives import TowerFile
from dualflux.sources.towers.cadence import DAY, MONTH, cadence
from dualflux.sources.towers.find import FluxRecord
from dualflux.sources.towers.flags import FLAG_COLUMNS, consistency_flags, drop_flagged
from dualflux.sources.towers.halfhours import INTERVALS, TIME_COLUMNS, good_half_hours, interval_starts, refuse_repeated, to_days
from dualflux.sources.towers.names import ProductName, is_japanflux
from dualflux.sources.towers.plausible import refuse_fills, refuse_implausible, refuse_limits
from dualflux.sources.towers.records import ACCEPTED_FLUX, IMPOSSIBLE_FLUX, Records, TimeStep, check_rows
from dualflux.sources.towers.settings import FluxnetSource

METEOROLOGY = ("TA_F", "SW_IN_F", "VPD_F", "P_F")
SUB_DAILY = tuple(INTERVALS)
_FORMS: dict[str, tuple[TimeStep, str]] = {"DD": ("daily", "%Y%m%d"), "MM": ("monthly", "%Y%m")}
_POTENTIAL = "SW_IN_POT"


class NoValuesError(InputError):
    """A record without a usable value of the variable: a site to drop, not a file to correct.

    Attributes
    ----------
    rows : int
        Of the record; days, where it is half-hourly.
    reason : str
        Why it is dropped.
    """

    def __init__(self, problem: str, rows: int, reason: str) -> None:
        super().__init__(problem)
        self.rows, self.reason = rows, reason


@dataclass(frozen=True)
class _Part:
    """One file of a record: its columns as they stand and as numbers, and the day or the start of the interval of each row."""

    label: str
    table: pd.DataFrame
    numbers: pd.DataFrame
    time: pd.Series


def read_flux_record(record: FluxRecord, site: dict[str, Any], source: FluxnetSource) -> Records:
    """Read and check the file, or the files of years, of one site and release.

    Parameters
    ----------
    record : FluxRecord
    site : dict
        Facts of the site: lat, lon, igbp, utc_offset, citation.
    source : FluxnetSource

    Raises
    ------
    InputError
        No CSV table, no time column, text among numbers, a time twice, rows that are not the days or months of the name, quality or values
        out of range, numbers that cannot be, a JapanFlux quality column.
    NoValuesError
        Neither the variable nor its CUT counterpart has values with quality.
    """
    name = record.name
    if is_japanflux(name.release) and source.quality_above is not None:
        raise InputError(
            f"{record.label}: in JapanFlux files 0 is the best quality (0-3), elsewhere it is the worst (fraction of good half-hours): "
            f"`quality_above: {source.quality_above:g}` would keep the worst days; state `quality_above: null`, or use the site's ONEFlux "
            "product (JPF_..._FLUXNET_FLUXMET)"
        )
    parts = [_read_part(file, name, source) for file in record.files]
    numbers = pd.concat([part.numbers for part in parts], ignore_index=True)
    variable = _usable(numbers, source, name, record.label)
    rows, kind = _rows(numbers, variable, source, name, record.label)
    rows, step = _with_days(rows, pd.concat([part.time for part in parts], ignore_index=True), source, name, record.label)
    rows.insert(0, "site", name.site)
    accept = source.implausible == "accept"
    check_rows(rows, record.label, ACCEPTED_FLUX if accept else IMPOSSIBLE_FLUX)
    _refuse_other_steps(rows, step, record.label)
    if not accept:
        for part in parts:
            _refuse_impossible(part, variable)
        refuse_implausible(rows, step, record.label)
    rows, flags = _flagged(rows, source, step)
    about = {**site, "source": record.label, "release": name.release, "variable": variable, "uncertainty": kind, "note": _note(rows, name)}
    return Records(rows, pd.DataFrame([about], index=pd.Index([name.site], name="site")), step, flags)


def _read_part(file: TowerFile, name: ProductName, source: FluxnetSource) -> _Part:
    wanted = {column for base in _candidates(source.variable) for column in _columns_of(base)}
    table = file.read({"TIMESTAMP", *TIME_COLUMNS, *wanted, *METEOROLOGY, _POTENTIAL})
    _require_rows(table, name, file.label)
    values = [column for column in table.columns if column not in ("TIMESTAMP", *TIME_COLUMNS)]
    numbers = pd.DataFrame({column: to_numbers(table[column], f"{file.label}, column `{column}`") for column in values}, table.index)
    if name.step in SUB_DAILY:
        return _Part(file.label, table, numbers, interval_starts(table, name.step, file.label))
    time = to_times(table["TIMESTAMP"], f"{file.label}, column `TIMESTAMP`", _FORMS[name.step][1])
    return _Part(file.label, table, numbers, time)


def _require_rows(table: pd.DataFrame, name: ProductName, what: str) -> None:
    """Of the two time columns of half-hours one will do."""
    missing = [column for column in (TIME_COLUMNS if name.step in SUB_DAILY else ("TIMESTAMP",)) if column not in table]
    if missing and len(missing) == (len(TIME_COLUMNS) if name.step in SUB_DAILY else 1):
        raise InputError(
            f"{what}: no column {', '.join(f'`{m}`' for m in missing)}; {name.step} files of ONEFlux have it, and commas between the "
            "columns; correct the file or its name"
        )
    if table.empty:
        raise InputError(f"{what}: no rows; download the file again, or remove it")


def _refuse_other_steps(rows: pd.DataFrame, step: TimeStep, what: str) -> None:
    """Raise InputError where the rows are not the days or months that the file's name says."""
    found, wanted = cadence(rows["time"]), {"daily": DAY, "monthly": MONTH}[step]
    if found not in (None, wanted):
        raise InputError(f"{what}: one row per {found}, the name says one per {wanted}; correct the file or its name")


def _refuse_impossible(part: _Part, variable: str) -> None:
    """Raise InputError for undeclared fill values and impossible weather in what is used of a file; all at once."""
    problems = Problems()
    for column in [*_columns_of(variable), *METEOROLOGY]:
        if column in part.numbers and not column.endswith("_QC"):
            what = f"{part.label}, column `{column}`"
            with problems.collect():
                refuse_fills(part.table[column], part.numbers[column], what)
                refuse_limits(part.table[column], part.numbers[column], what)
    problems.raise_if_any()


def _rows(numbers: pd.DataFrame, variable: str, source: FluxnetSource, name: ProductName, what: str) -> tuple[pd.DataFrame, str]:
    rows = pd.DataFrame({"nee": numbers[variable], "quality": _quality(numbers, variable, source, name, what)})
    rows["random"], rows["systematic"], kind = _uncertainty(numbers, variable, source.uncertainty)
    return rows.join(numbers[[column for column in (*METEOROLOGY, _POTENTIAL) if column in numbers]]), kind


def _with_days(rows: pd.DataFrame, time: pd.Series, source: FluxnetSource, name: ProductName, what: str) -> tuple[pd.DataFrame, TimeStep]:
    """The rows with `time` and `flag`; days, where the file is half-hourly or hourly."""
    if name.step in SUB_DAILY:
        refuse_repeated(time, what)
        days, thin = to_days(rows, time, INTERVALS[name.step], source.minimum_coverage)
        reason = f"on a day with values in under {100 * source.minimum_coverage:g} % of its intervals"
        days.insert(1, "flag", pd.Series(None, index=days.index, dtype=object).mask(thin, reason))
        return days, "daily"
    rows.insert(0, "time", time)
    rows.insert(1, "flag", pd.Series(None, index=rows.index, dtype=object))
    return rows, _FORMS[name.step][0]


def _flagged(rows: pd.DataFrame, source: FluxnetSource, step: TimeStep) -> tuple[pd.DataFrame, pd.DataFrame]:
    flags = pd.DataFrame(columns=FLAG_COLUMNS)
    if source.consistency != "off" and step == "daily":
        usable = rows["nee"].notna() & rows["flag"].isna()
        if source.quality_above is not None:
            usable &= rows["quality"] > source.quality_above
        flags = consistency_flags(rows, usable)
        if source.consistency == "drop":
            rows = drop_flagged(rows, flags, usable)
    return rows.drop(columns=_POTENTIAL, errors="ignore"), flags


def _note(rows: pd.DataFrame, name: ProductName) -> str:
    """Says so where the rows do not reach over the years of the file's name, as ONEFlux's do."""
    first, last = rows["time"].min(), rows["time"].max()
    if name.years is None or (first.year, last.year) == name.years:
        return ""
    return f"the name says {name.years[0]}-{name.years[1]}, the rows reach from {first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _candidates(variable: str) -> list[str]:
    return [variable] if "VUT" not in variable else [variable, variable.replace("VUT", "CUT")]


def _columns_of(variable: str) -> list[str]:
    low, high = _percentiles(variable)
    return [variable, f"{variable}_QC", f"{variable}_RANDUNC", f"{variable}_JOINTUNC", low, high]


def _percentiles(variable: str) -> tuple[str, str]:
    """NEE_VUT_REF -> NEE_VUT_16, NEE_VUT_84."""
    family = variable.rsplit("_", 1)[0]
    return f"{family}_16", f"{family}_84"


def _usable(numbers: pd.DataFrame, source: FluxnetSource, name: ProductName, what: str) -> str:
    """The variable, or its CUT counterpart for a site that has no values (or no quality) of it."""
    for variable in _candidates(source.variable):
        needed = [variable] if source.quality_above is None else [variable, f"{variable}_QC"]
        if all(column in numbers and numbers[column].notna().any() for column in needed):
            return variable
    needed_names = " or ".join(f"`{v}`" + ("" if source.quality_above is None else f" with `{v}_QC`") for v in _candidates(source.variable))
    has_flux = any(variable in numbers and numbers[variable].notna().any() for variable in _candidates(source.variable))
    raise NoValuesError(
        f"{what}: no values of {needed_names}; leave the file out, or state another `variable` or `quality_above: null`",
        -(-len(numbers) // INTERVALS.get(name.step, 1)),
        "values of the variable without a quality" if has_flux else "no usable value of the variable",
    )


def _quality(numbers: pd.DataFrame, variable: str, source: FluxnetSource, name: ProductName, what: str) -> pd.Series | float:
    if source.quality_above is None:
        return np.nan
    quality = numbers[f"{variable}_QC"]
    if name.step in SUB_DAILY:
        return good_half_hours(quality.where(numbers[variable].notna()), f"{what}, column `{variable}_QC`")
    if not quality.dropna().between(0, 1).all():
        raise InputError(
            f"{what}: `{variable}_QC` from {quality.min():g} to {quality.max():g}; allowed: fractions from 0 to 1, as in ONEFlux files "
            "(flags of 0-3 with 0 as the best, as in half-hourly and JapanFlux files, mean the opposite)"
        )
    return quality


def _uncertainty(numbers: pd.DataFrame, variable: str, kind: str | None) -> tuple[pd.Series, pd.Series, str]:
    """Random and systematic part [unit of the flux] and the kind found; a random uncertainty of 0 is a missing one."""
    unknown = pd.Series(np.nan, index=numbers.index)
    random = numbers.get(f"{variable}_RANDUNC", unknown)
    random = random.mask(random == 0)
    joint = numbers.get(f"{variable}_JOINTUNC", unknown)
    joint = joint.mask(joint == 0)
    low, high = _percentiles(variable)
    if kind == "joint" and joint.notna().any():
        return random, (joint**2 - random.fillna(0.0) ** 2).clip(lower=0) ** 0.5, "joint"
    if kind == "joint" and random.notna().any() and low in numbers and high in numbers and (numbers[high] - numbers[low]).notna().any():
        return random, ((numbers[high] - numbers[low]) / 2).abs().where(random.notna()), "joint from percentiles"
    if kind is not None and random.notna().any():
        return random, unknown, "random"
    return unknown, unknown, "none"

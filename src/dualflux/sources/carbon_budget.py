"""Annual tables of the Global Carbon Budget and of the growth rate of atmospheric CO2."""

from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.regional_table import parse_years
from dualflux.sources.files.tables import few, read_table, to_numbers
from dualflux.units import PETAGRAMS_PER_PPM

COLUMNS = {  # as the Global Carbon Budget's sheet names them, and as here [PgC yr-1 = GtC yr-1]
    "fossil emissions excluding carbonation": "fossil",
    "land-use change emissions": "land_use",
    "atmospheric growth": "growth",
    "ocean sink": "ocean_sink",
    "land sink": "land_sink",
    "cement carbonation sink": "carbonation",
    "budget imbalance": "imbalance",
}
_CLOSURE = 0.05  # PgC yr-1: rounding of published tables


def read_carbon_budget(path: Path) -> pd.DataFrame:
    """The sheet `Global Carbon Budget` of a yearly release, saved as CSV.

    Returns
    -------
    DataFrame
        Index year; columns of `COLUMNS` [PgC yr-1], emissions and sinks both positive as published.

    Raises
    ------
    InputError
        Missing file or columns, years twice, text among numbers, or a table that does not close
        (fossil - carbonation + land use = growth + ocean sink + land sink + imbalance): columns swapped, or not in GtC.
    """
    table = read_table(path)
    table = table.rename(columns={c: c.strip().lower() for c in table.columns})
    absent = [c for c in ("year", *COLUMNS) if c not in table]
    if absent:
        raise InputError(
            f"{path.name}: no column {', '.join(f'`{c}`' for c in absent)}; it has {few(table.columns)}; "
            "save the sheet `Global Carbon Budget` as CSV, with its line of column names first"
        )
    found = _by_year(table, {**COLUMNS}, path)
    gap = found.fossil - found.carbonation + found.land_use - found.growth - found.ocean_sink - found.land_sink - found.imbalance
    if (gap.abs() > _CLOSURE).any():
        worst = int(np.argmax(np.abs(gap.to_numpy())))
        raise InputError(
            f"{path.name}: the budget of {gap.index[worst]} does not close ({gap.iloc[worst]:+.2f}); "
            "sources and sinks must be positive, in GtC, as published"
        )
    return found


def read_growth_rate(path: Path) -> pd.Series:
    """Annual growth of atmospheric CO2 [PgC yr-1] by year, from NOAA's table in ppm (`co2_gr_gl.csv`: year, ann inc, unc).

    Raises
    ------
    InputError
        Missing file or columns, years twice, text among numbers.
    """
    table = read_table(path, comment="#")
    absent = [c for c in ("year", "ann inc") if c not in table]
    if absent:
        raise InputError(f"{path.name}: no column {', '.join(absent)}; it has {few(table.columns)}; needed: year, ann inc [ppm]")
    return _by_year(table, {"ann inc": "growth"}, path).growth * PETAGRAMS_PER_PPM


def _by_year(table: pd.DataFrame, columns: dict[str, str], path: Path) -> pd.DataFrame:
    problems, values = Problems(), {}
    with problems.collect():
        values["year"] = parse_years(table["year"], path)
    for column, name in columns.items():
        with problems.collect():
            values[name] = to_numbers(table[column], f"{path.name}: column {column}")
    problems.raise_if_any()
    found = pd.DataFrame(values).set_index("year").dropna()
    if found.empty or found.index.has_duplicates:
        raise InputError(f"{path.name}: {len(found)} complete years, {int(found.index.duplicated().sum())} of them twice; give each once")
    return found.sort_index()

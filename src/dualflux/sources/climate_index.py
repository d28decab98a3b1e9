"""A monthly index of the climate, such as Nino3.4, from a table."""

from pathlib import Path

import pandas as pd

from dualflux.errors import InputError
from dualflux.sources.files.regional_table import parse_months, say_months
from dualflux.sources.files.tables import few, read_table, to_numbers


def read_index(path: Path, variable: str) -> pd.Series:
    """Values of a column by the first day of each month.

    Raises
    ------
    InputError
        No such file or column; a month twice, months missing between the first and the last, text among numbers.
    """
    if not path.is_file():
        raise InputError(f"holdout.index: {path}: no such file; correct `path`")
    table = read_table(path, comment="#")
    if lacking := [c for c in ("time", variable) if c not in table]:
        raise InputError(f"holdout.index: {path.name}: no column {', '.join(lacking)}; it has {few(table.columns)}; correct `variable`")
    months = pd.DatetimeIndex(parse_months(table, path))
    found = pd.Series(to_numbers(table[variable], f"{path.name}: column {variable}").to_numpy(), months).sort_index()
    if months.has_duplicates:
        raise InputError(f"holdout.index: {path.name}: {say_months(months[months.duplicated()])} twice; give each month once")
    every = pd.date_range(months.min(), months.max(), freq="MS")
    if len(absent := every[found.isna().to_numpy()] if len(found) == len(every) else every.difference(months)):
        raise InputError(f"holdout.index: {path.name}: no value in {say_months(absent)}; fill the gap or take another index")
    return found

"""Tables of regional fluxes: product, region, time or year, value, unit."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.cadence import require_monthly_rows
from dualflux.sources.files.dates import from_texts
from dualflux.sources.files.plausible import Plausible, fill_values
from dualflux.sources.files.tables import few, first_line, read_table, to_numbers, to_times

ANNUAL_ROWS = "monthly rows are needed: 2001-01, 2001-02 ..."


def load_table(path: Path, columns: Sequence[str], problems: Problems | None = None) -> pd.DataFrame:
    """Read a CSV table whose text columns are stripped and whose `value` is a number (-9999 is missing).

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Those that must be there; others are kept.
    problems : Problems, optional
        Takes what is wrong with values and fields, and the table comes back with NaN there: its reader can look for more.

    Raises
    ------
    InputError
        Missing file, missing columns, values that are no numbers, empty table.
    """
    table = read_table(path)
    absent = [c for c in columns if c not in table.columns]
    if absent:
        listed = ", ".join(f"`{c}`" for c in absent)
        raise InputError(f"{path.name}: no column {listed}; it has {few(table.columns)}; needed: {', '.join(columns)}")
    if table.empty:
        raise InputError(f"{path.name}: the table has no rows")
    text = [c for c in ("product", "region", "unit") if c in table]
    found, value = Problems(), pd.Series(np.nan, table.index)
    for column in dict.fromkeys([*columns, *text]):
        empty = table[column].isna().to_numpy()
        if column != "value" and empty.any():
            line = first_line(empty, table)
            found.add(f"{path.name}: {empty.sum()} rows without `{column}`, first in line {line}; fill it in")
    with found.collect():
        value = to_numbers(table["value"], f"{path.name}: column value")
    if problems is None:
        found.raise_if_any()
    else:
        problems.found += found.found
    whole = table[[c for c in columns if c != "value"]].notna().all(axis=1)
    stripped = {c: table[c].astype(str).str.strip() for c in text}
    return table.assign(value=value, **stripped)[whole]


def without_fills(table: pd.DataFrame, fill_value: float | list[float] | None, accept: bool, path: Path) -> pd.DataFrame:
    """A table whose `value` is missing where the study says so, after a look at each product's (and unit's) values for other fills.

    Raises
    ------
    InputError
        A value that suggests an undeclared fill, see `Plausible.require`.
    """
    value = table["value"].mask(table["value"].isin(fill_values(fill_value)))
    problems = Problems()
    for name, rows in table.groupby([c for c in ("product", "unit") if c in table], dropna=False):
        with problems.collect():
            what = f"{path.name}: {' '.join(map(str, name if isinstance(name, tuple) else (name,)))}: column value"
            Plausible(what, "", accept=accept, counted="row").require(value[rows.index].to_numpy(dtype=float)[None])
    problems.raise_if_any()
    return table.assign(value=value)


def parse_months(table: pd.DataFrame, path: Path, advice: str = ANNUAL_ROWS) -> pd.Series:
    """Column `time` (2001-01, 2001-01-31, 200101) as the first day of the month it falls in.

    Parameters
    ----------
    table : DataFrame
        With `time` and, where it holds several, `product`.
    path : Path
    advice : str
        What to do with other rows than months.

    Raises
    ------
    InputError
        Texts that are no dates; rows of a product that are years, weeks or days apart.
    """
    what = f"{path.name}: column time"
    times = to_times(table["time"], what)
    _, length = from_texts(table["time"], what)
    products = table["product"].astype(str) if "product" in table else pd.Series("", table.index)
    for name in products.unique():
        mine = products == name
        require_monthly_rows(times[mine], length[mine], f"{what} of {name}" if name else what, advice)
    return times.dt.to_period("M").dt.to_timestamp()


def parse_years(text: pd.Series, path: Path) -> pd.Series:
    """Years as integers."""
    year = to_numbers(text, f"{path.name}: column year")
    wrong = (year.isna() | (year % 1 != 0)).to_numpy()
    if wrong.any():
        raise InputError(f"{path.name}: {wrong.sum()} years cannot be read, first in line {first_line(wrong, text)}; allowed: 2001")
    return year.astype(int)


def check_regions(table: pd.DataFrame, names: Sequence[str], path: Path) -> None:
    """Raise InputError where table and mask do not name the same regions (both directions at once)."""
    problems = Problems()
    found = list(dict.fromkeys(table["region"]))
    unknown, absent = [r for r in found if r not in names], [r for r in names if r not in found]
    if unknown:
        extra = "; `global` is always the sum of the parts: remove its rows" if "global" in unknown else ""
        problems.add(
            f"{path.name}: regions {', '.join(unknown)} are not in the mask; allowed: {', '.join(names)}{extra}; "
            "rename them or give the mask they belong to"
        )
    if absent:
        problems.add(
            f"{path.name}: no rows for the mask's regions {', '.join(absent)}; the table has {', '.join(found)}; "
            "add them or give the table's own mask"
        )
    problems.raise_if_any()


def check_once(table: pd.DataFrame, stamp: str, path: Path) -> None:
    """Raise InputError where a region has two values for one stamp (`time` or `year`)."""
    twice = table.duplicated([stamp, "region"]).to_numpy()
    if twice.any():
        row = int(twice.argmax())
        product, region = (table[c].iloc[row] for c in ("product", "region"))
        when = str(table[stamp].iloc[row])[:7]
        raise InputError(
            f"{path.name}: {product}: {twice.sum()} duplicated values, first {region} {when}; "
            f"give one value per region and {'month' if stamp == 'time' else stamp}"
        )


def pivot_once(table: pd.DataFrame, stamp: str, names: Sequence[str], path: Path) -> pd.DataFrame:
    """Values as (stamp, region), regions as in `names`, sorted by stamp; InputError for duplicates."""
    check_once(table, stamp, path)
    return table.pivot(index=stamp, columns="region", values="value").reindex(columns=list(names)).sort_index()


def convert_by_unit(table: pd.DataFrame, convert: Callable[[np.ndarray, str, np.ndarray], np.ndarray]) -> pd.DataFrame:
    """Convert `value` with ``convert(values, unit, times)``, each unit of the table on its own."""
    value = table["value"].copy()
    for unit, rows in table.groupby("unit"):
        value[rows.index] = convert(rows["value"].to_numpy(), str(unit), rows["time"].to_numpy())
    return table.assign(value=value)


def say_months(months: pd.DatetimeIndex) -> str:
    """``"3 months, first 2001-02"``."""
    return f"{len(months)} month{'s' if len(months) != 1 else ''}, first {months[0]:%Y-%m}"


def no_overlap(what: str, months: pd.DatetimeIndex, times: pd.DatetimeIndex) -> str:
    """The problem of a record that has none of the study's months."""
    return (
        f"{what} has {months.min():%Y-%m} to {months.max():%Y-%m}, none of the study's months {times[0]:%Y-%m} to {times[-1]:%Y-%m}; "
        "name the products to keep with `products`, or change the period"
    )


def with_global(parts: np.ndarray) -> np.ndarray:
    """Append the sum over regions: (step, region) -> (step, region + 1)."""
    return np.concatenate([parts, parts.sum(axis=1, keepdims=True)], axis=1)

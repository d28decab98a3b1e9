"""The tables of a run folder: text stays text, numbers are numbers, times are times."""

from pathlib import Path

import pandas as pd

from dualflux.errors import InputError

# Names and codes; a region may be called NA, a site 007.
_TEXT = frozenset(
    ("product", "region", "site", "unit", "metric", "variant", "run", "scale", "prediction", "grouping", "class", "statistic", "experiment",
     "term", "igbp", "source", "against", "name", "kind", "part", "first", "second", "left_out", "where", "period")
)  # fmt: skip


def table_names(folder: Path) -> list[str]:
    """Names of the tables of a run folder, without `.csv`."""
    return sorted(path.stem for path in (folder / "tables").glob("*.csv"))


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read ``tables/NAME.csv``.

    Returns
    -------
    DataFrame
        `time` as times, `member` as whole numbers with gaps (empty: the mean of the members), names and codes as text, the rest numbers.

    Raises
    ------
    InputError
        No table of that name, with those there are; a file that is no table.
    """
    known = table_names(folder)
    if name not in known:
        raise InputError(f"{folder}: no table `{name}`; it has {', '.join(known) or 'none'}")
    path = folder / "tables" / f"{name}.csv"
    try:
        text = pd.read_csv(path, dtype=str, keep_default_na=False)
        return pd.DataFrame({name: _typed(text[name]) for name in text})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table ({' '.join(str(error).split())}); run again") from error


def _typed(column: pd.Series) -> pd.Series:
    if column.name == "time":
        return pd.to_datetime(column)
    if column.name == "member":
        return pd.to_numeric(column.where(column != ""), errors="raise").astype("Int64")
    if column.name in _TEXT:
        return column
    try:
        return pd.to_numeric(column.where(column != "")) if len(column) else column.astype(float)
    except (ValueError, TypeError):
        return column

"""Finding files and reading CSV tables: text in numbers, missing columns and -9999 end here."""

import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.csv_lines import LineCheck, line_of
from dualflux.sources.files.dates import from_texts

MISSING = -9999.0
_NAMELESS = re.compile(r"(Unnamed: \d+(\.\d+)?)?")  # what pandas calls a column without a name
_COMMA_IN_NUMBER = re.compile(r"[-+]?[\d.]*\d,\d[\d,.]*(e[-+]?\d+)?", re.IGNORECASE)


def find_files(paths: str | Sequence[str], root: Path, suffix: str | tuple[str, ...] = ".csv") -> list[Path]:
    """Files (and `.zarr` stores) behind a path, glob or folder (searched in depth for `suffix`), or a list of these; sorted, each once.

    Hidden files and folders count only where the path names them.

    Parameters
    ----------
    paths : str or sequence of str
        Relative ones stand below `root`.

    Raises
    ------
    InputError
        A file does not exist, a glob matches nothing, a folder holds no such file; all at once.
    """
    problems, found = Problems(), set()
    for path in [paths] if isinstance(paths, str) else paths:
        with problems.collect():
            found.update(_find(path, root, suffix))
    problems.raise_if_any()
    return sorted(found)


def find_file(path: str, root: Path) -> Path:
    """The one file behind a path, or InputError where it is absent, a folder, or a pattern for several."""
    found = find_files(path, root)
    if len(found) > 1 or (root / path).is_dir():
        raise InputError(f"{path}: {len(found)} files ({', '.join(f.name for f in found[:3])} ...); one file is read here, name it")
    return found[0]


def _find(path: str, root: Path, suffix: str | tuple[str, ...]) -> list[Path]:
    whole = root / path
    if whole.is_file() or _is_store(whole):
        return [whole]
    if whole.is_dir():
        files = [f for f in whole.rglob("*") if _is_meant(f, suffix) and not _hidden(f.relative_to(whole))]
        if not files:
            raise InputError(f"{path}: the folder {whole} holds no {suffix if isinstance(suffix, str) else ' or '.join(suffix)} file")
        return files
    if not has_magic(path):
        raise InputError(f"{path}: no such file ({whole}); correct the path or the data root")
    anchor = Path(path).anchor
    matches = (Path(anchor) if anchor else root).glob(str(Path(path).relative_to(anchor)))
    named = [part for part in Path(path).parts if part.startswith(".")]
    files = [f for f in matches if (f.is_file() or _is_store(f)) and not _hidden(f.relative_to(Path(anchor) if anchor else root), named)]
    if not files:
        raise InputError(f"{path}: no file below {root} matches; correct the pattern or the data root")
    return files


def _is_meant(path: Path, suffix: str | tuple[str, ...]) -> bool:
    """Whether a folder's file has the suffix; where NetCDF files are meant, Zarr stores are too."""
    if path.name.lower().endswith(suffix):
        return path.is_file()
    return ".nc" in suffix and path.suffix == ".zarr" and _is_store(path)


def _hidden(path: Path, named: Collection[str] = ()) -> bool:
    """Whether a file or a folder on its way is hidden (``._a.csv``, ``.ipynb_checkpoints``): what programs leave there is no data."""
    hidden = [part for part in path.parts if part.startswith(".") and part not in (".", "..")]
    return any(not any(fnmatch(part, pattern) for pattern in named) for part in hidden)


def _is_store(path: Path) -> bool:
    return path.is_dir() and (path.suffix == ".zarr" or any((path / name).is_file() for name in (".zgroup", "zarr.json")))


def read_table(path: Path, columns: Iterable[str] | None = None, comment: str | None = None) -> pd.DataFrame:
    """The named columns of a CSV file (all by default), unconverted; what follows `comment` in a line is left out.

    Raises
    ------
    InputError
        The file is absent, is no CSV table, or lacks a column.
    """
    if not path.is_file():
        raise InputError(f"{path.name}: no such file ({path})")
    wanted = None if columns is None else set(columns)
    table = parse_csv(path, path.name, wanted, comment)
    missing = sorted((wanted or set()) - set(table.columns))
    if missing:
        header = parse_csv(path, path.name, comment=comment).columns
        raise InputError(f"{path.name}: no column {', '.join(f'`{m}`' for m in missing)}; it has {few(header)}")
    return table


def few(names: Iterable[object], most: int = 20) -> str:
    """The first names of a list, and how many more there are."""
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def parse_csv(
    source: Path | IO[bytes], name: str, columns: Collection[str] | None = None, comment: str | None = None, as_text: bool = False
) -> pd.DataFrame:
    """The columns of a CSV file (all with a name by default; of those named, the ones it has), unconverted, names stripped of blanks.

    Parameters
    ----------
    source : Path or binary file
    name : str
        For the messages.
    comment : str, optional
        The character that starts a comment.
    as_text : bool
        Every column as text.

    Returns
    -------
    DataFrame
        `attrs["gaps"]` says which lines of the file are no rows, see `csv_lines.line_of`.

    Raises
    ------
    InputError
        It is no CSV table in UTF-8, has a line with more or fewer fields than its header, a column twice, or what `LineCheck` refuses.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return parse_csv(stream, name, columns, comment, as_text)
    lines = LineCheck(source, name, comment)
    try:
        # "NA" stays text (it is Namibia); the index never comes from a column
        frame = pd.read_csv(
            lines, usecols=lambda column: _is_wanted(str(column), columns), index_col=False, keep_default_na=False,
            na_values=["", "nan", "NaN"], low_memory=False, comment=comment, dtype="string" if as_text else None,
        )  # fmt: skip
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not a CSV table in UTF-8 ({str(error).strip()}); save it as such") from error
    lines.refuse_repeated_names(columns)
    frame = frame.rename(columns=lambda column: str(column).strip())
    if lines.gaps:
        frame.attrs["gaps"] = tuple(lines.gaps)
    return frame


def _is_wanted(column: str, columns: Collection[str] | None) -> bool:
    name = column.strip()
    return not _NAMELESS.fullmatch(name) if columns is None else name in columns


def to_numbers(column: pd.Series, what: str) -> pd.Series:
    """A column as float64, -9999 as NaN.

    Raises
    ------
    InputError
        Text among the numbers, or an infinite value; names the first line.
    """
    if pd.api.types.is_bool_dtype(column):
        refuse_rows(np.ones(len(column), dtype=bool), column, f"{what}: text among numbers")
    if pd.api.types.is_numeric_dtype(column):
        number = column.astype(float)
    else:
        text = column.astype("string").str.strip().replace({"NA": pd.NA, "": pd.NA})
        number = pd.to_numeric(text, errors="coerce").astype(float)
        wrong = number.isna().to_numpy() & text.notna().to_numpy(dtype=bool)
        commas = text.str.fullmatch(_COMMA_IN_NUMBER).fillna(False).to_numpy(dtype=bool)
        refuse_rows(wrong & commas, column, f"{what}: a decimal comma, or commas inside numbers", "write numbers with decimal points only")
        refuse_rows(wrong, column, f"{what}: text among numbers")
    refuse_rows(np.isinf(number.to_numpy()), column, f"{what}: infinite value")
    return number.mask(number == MISSING)


def to_times(column: pd.Series, what: str, form: str = "ISO8601") -> pd.Series:
    """A column of dates, without a zone: of ISO stamps with one (Z, +01:00, also changing ones) the local time as it stands.

    Parameters
    ----------
    form : str
        `format` of `pandas.to_datetime`; ISO8601 as `dates.from_texts` reads it, zones left out.

    Raises
    ------
    InputError
        A value is no date of that form; names the first line.
    """
    if form == "ISO8601":
        time, _ = from_texts(column, what)
        refuse_rows(time.isna().to_numpy(), column, f"{what}: not a date (dates such as 2001-01-31 expected)")
        return time
    time = pd.to_datetime(column.astype("string").str.strip(), format=form, errors="coerce")
    time = time.where(time.between(pd.Timestamp("1678-01-01"), pd.Timestamp("2261-12-31")))  # what nanoseconds since 1970 can say
    refuse_rows(time.isna().to_numpy(), column, f"{what}: not a date ({form} expected)")
    return time.astype("datetime64[ns]")


def refuse_rows(bad: np.ndarray, column: pd.Series, problem: str, what_to_do: str = "correct the file") -> None:
    """Raise InputError where some rows of a column of a file are bad: how many, the first value and its line."""
    if bad.any():
        value = _short(column[bad].iloc[0])
        raise InputError(f"{problem}: {int(bad.sum())} of {bad.size} rows, first `{value}` in line {first_line(bad, column)}; {what_to_do}")


def first_line(bad: np.ndarray, column: pd.Series | pd.DataFrame) -> int:
    """Line of the file in which the first bad row of a table (or of rows chosen from it) begins."""
    return line_of(int(column.index[int(np.flatnonzero(bad)[0])]), column.attrs.get("gaps", ()))


def _short(value: object, most: int = 60) -> str:
    """A value on one line of a message."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[:most] + "..."

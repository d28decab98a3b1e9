"""Finding files and reading CSV tables: text in numbers, missing columns and -9999 end here."""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatch
from glob import has_magic
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.csv_lines import LineCheck
from dualflux.sources.files.dates import from_texts

MISSING = -9999.0
TAIL = 2**16  # bytes at the end of a file that are looked at


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


def read_header(path: Path) -> list[str]:
    """Column names of a CSV file, stripped of blanks."""
    return [str(name) for name in _read_csv(path, nrows=0).columns]


def read_table(path: Path, columns: Iterable[str] | None = None, comment: str | None = None) -> pd.DataFrame:
    """The named columns of a CSV file (all by default), unconverted; what follows `comment` in a line is left out.

    Raises
    ------
    InputError
        The file is absent, is no CSV table, or lacks a column.
    """
    wanted = None if columns is None else set(columns)
    if wanted is not None:
        header = read_header(path)
        missing = sorted(wanted - set(header))
        if missing:
            raise InputError(f"{path.name}: no column {', '.join(f'`{m}`' for m in missing)}; it has {', '.join(header[:20])}")
    return _read_csv(path, wanted, comment=comment)


def _read_csv(path: Path, columns: set[str] | None = None, nrows: int | None = None, comment: str | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path.name}: no such file ({path})")
    if comment is None:
        refuse_cut(path)
    return parse_csv(path, path.name, columns, nrows, comment)


def parse_csv(
    source: Path | IO[bytes], name: str, columns: set[str] | None = None, nrows: int | None = None, comment: str | None = None
) -> pd.DataFrame:
    """The columns of a CSV file (all by default; of those named, the ones it has), unconverted, names stripped of blanks.

    Parameters
    ----------
    source : Path or binary file
    name : str
        For the messages.
    comment : str, optional
        The character that starts a comment.

    Raises
    ------
    InputError
        It is no CSV table in UTF-8, has a line with more fields than its header, or a column twice.
    """
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return parse_csv(stream, name, columns, nrows, comment)
    keep = None if columns is None else (lambda name: str(name).strip() in columns)
    lines = LineCheck(source, name) if comment is None else source
    try:
        # "NA" stays text (it is Namibia); the index never comes from a column
        frame = pd.read_csv(
            lines, usecols=keep, nrows=nrows, index_col=False, keep_default_na=False, na_values=["", "nan", "NaN"], low_memory=False,
            comment=comment,
        )  # fmt: skip
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: not a CSV table in UTF-8 ({str(error).strip()}); save it as such") from error
    if isinstance(lines, LineCheck):
        lines.refuse_repeated_names(columns)
    return frame.rename(columns=lambda name: str(name).strip())


def refuse_cut(path: Path) -> None:
    """Raise InputError for a file that was cut short, see `refuse_short_line`."""
    with path.open("rb") as stream:
        header = stream.readline()
        stream.seek(max(len(header), path.stat().st_size - TAIL))
        refuse_short_line(header, header[-1:] + stream.read(), path.name)


def refuse_short_line(header: bytes, tail: bytes, name: str) -> None:
    """Raise InputError where the last line has fewer fields than the header: a download that broke off.

    Parameters
    ----------
    header : bytes
        First line.
    tail : bytes
        End of the file, from within its last `TAIL` bytes; nothing is said where it holds no whole line.
    """
    _, found, line = tail.rstrip(b"\r\n\0 ").rpartition(b"\n")
    if found and line and b'"' not in line + header and line.count(b",") < header.count(b","):
        raise InputError(
            f"{name}: cut short: the last line has {line.count(b',') + 1} of {header.count(b',') + 1} fields; download it again"
        )


def to_numbers(column: pd.Series, what: str) -> pd.Series:
    """A column as float64, -9999 as NaN.

    Raises
    ------
    InputError
        Text among the numbers, or an infinite value; names the first line.
    """
    if pd.api.types.is_bool_dtype(column):
        _refuse(np.ones(len(column), dtype=bool), column, f"{what}: text among numbers")
    if pd.api.types.is_numeric_dtype(column):
        number = column.astype(float)
    else:
        text = column.astype("string").str.strip().replace({"NA": pd.NA, "": pd.NA})
        number = pd.to_numeric(text, errors="coerce").astype(float)
        _refuse(number.isna().to_numpy() & text.notna().to_numpy(dtype=bool), column, f"{what}: text among numbers")
    _refuse(np.isinf(number.to_numpy()), column, f"{what}: infinite value")
    return number.mask(number == MISSING)


def to_times(column: pd.Series, what: str, form: str = "ISO8601") -> pd.Series:
    """A column of dates.

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
        _refuse(time.isna().to_numpy(), column, f"{what}: not a date (dates such as 2001-01-31 expected)")
        return time
    time = pd.to_datetime(column.astype("string"), format=form, errors="coerce")
    time = time.where(time.between(pd.Timestamp("1678-01-01"), pd.Timestamp("2261-12-31")))  # what nanoseconds since 1970 can say
    _refuse(time.isna().to_numpy(), column, f"{what}: not a date ({form} expected)")
    return time.astype("datetime64[ns]")


def _refuse(bad: np.ndarray, column: pd.Series, problem: str) -> None:
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{problem}: {int(bad.sum())} of {bad.size} rows, first `{column.iloc[first]}` in line {first + 2}; correct the file"
        )

"""Whether two finished runs hold the same results: every array and every cell of every table, not dates, versions or histories.

    python benchmarks/same_results.py OLD_RUN NEW_RUN --out same_results.json

Compared are

- each array of each ``models/**/weights.npz``, and the tables in ``models/``;
- each array of ``prepared/``: .npz, .npy, NetCDF and tables;
- each variable of each NetCDF file and Zarr store of ``products/``, with its unit;
- each column of each table of ``tables/``, cell by cell, as they stand.

The rest of a run folder (report, figures, provenance, JSON files, attributes but units) is not read.

How arrays are paired: by file, relative to the run folder, and by name in the file. In ``models/`` files and names may move between
versions: an array there that has no partner of its name is paired with one of the same variant (the first folder in ``models/``) that
holds the same values, and where no other of its shape is left with the only one of its shape. The file lists these pairs under `moved`.

Writes JSON:

- `arrays`: number of arrays compared, those that only the old run has among them;
- `differ`: number of those that are not the same, value for value (NaN equals NaN; float32 and float64 of the same value are the same);
- `max_relative`: largest of abs(new - old) / max(abs(old), abs(new)) over all values; a text, a shape or a unit that differs, a value on
  one side only and an array that only the old run has count as 1;
- `max_relative_to_largest`: the same with the largest value of the old array below: rounding where a field crosses zero does not count;
- `different`: name, largest differences and reason of each array that differs; `moved`: pairs with other names; `added`: what only the
  new run has, which is no difference.

Exit status 1 where something differs. Needs numpy, pandas and xarray only: runs of any two versions can be compared.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

FOLDERS = ("models", "prepared", "products", "tables")
_SAID = 40  # characters of a value
ENDINGS = (".npz", ".npy", ".nc", ".csv", ".zarr")
_NUMERIC = "biufc"


@dataclass(frozen=True)
class Stored:
    """An array of a run folder: its unit, and a function that reads its values."""

    unit: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Difference:
    """How an array of the new run differs from its partner; both numbers are 0 where it does not."""

    array: str
    relative: float
    relative_to_largest: float
    reason: str


def main() -> int:
    """Compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old_run", type=Path)
    parser.add_argument("new_run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("same_results.json"))
    options = parser.parse_args()
    found = compare(options.old_run, options.new_run)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(as_text(found))
    return 1 if found["differ"] else 0


def compare(old_run: Path, new_run: Path) -> dict:
    """The record that is written, see the module's text."""
    old, new = contents(old_run), contents(new_run)
    pairs = {name: name for name in old if name in new} | moved(old, new)
    lost, added = [n for n in old if n not in pairs], sorted(set(new) - set(pairs.values()))
    found = [difference(name, old[name], new[partner]) for name, partner in pairs.items()]
    found += [Difference(name, 1.0, 1.0, "only in the old run") for name in lost]
    different = [d for d in found if d.reason]
    return {
        "arrays": len(found),
        "differ": len(different),
        "max_relative": max((d.relative for d in different), default=0.0),
        "max_relative_to_largest": max((d.relative_to_largest for d in different), default=0.0),
        "different": [asdict(d) for d in different],
        "moved": {name: partner for name, partner in pairs.items() if name != partner},
        "added": added,
    }


def contents(run: Path) -> dict[str, Stored]:
    """What a run folder stores, by "file: name"."""
    found = {}
    for folder in FOLDERS:
        for path in files(run / folder):
            where = path.relative_to(run).as_posix()
            found |= {f"{where}: {name}" if name else where: stored for name, stored in stored_in(path)}
    if not found:
        raise SystemExit(f"{run}: no results; give the folder of a finished run, the one with {', '.join(f'{f}/' for f in FOLDERS)}")
    return found


def files(folder: Path) -> Iterator[Path]:
    """Files and stores below a folder whose arrays can be read, in order; what lies in a store belongs to it."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix in ENDINGS:
            yield path
        elif path.is_dir():
            yield from files(path)


def stored_in(path: Path) -> Iterator[tuple[str, Stored]]:
    """Names and arrays of one file; the only array of a file has no name."""
    if path.suffix == ".npy":
        yield "", Stored("", lambda: np.load(path))
    elif path.suffix == ".npz":
        with np.load(path) as held:
            names = [name for name in held.files if held[name].dtype.kind in _NUMERIC]  # what a file says of itself is no result
        for name in names:
            yield name, Stored("", lambda name=name: np.load(path)[name])  # type: ignore[misc]
    elif path.suffix == ".csv":
        # Cells as they are written: a region may be called NA.
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in table:
            yield str(name), Stored("", lambda name=name: table[name].to_numpy(dtype=object))  # type: ignore[misc]
    else:
        yield from variables(path)


def variables(path: Path) -> Iterator[tuple[str, Stored]]:
    """Variables and coordinates of a NetCDF file or Zarr store, unpacked; times as numbers since what their unit says."""

    def read(name: str) -> np.ndarray:
        with _open(path) as data:
            return data[name].to_numpy()

    with _open(path) as data:
        units = {str(name): str(variable.attrs.get("units", "")) for name, variable in data.variables.items()}
    for name, unit in units.items():
        yield name, Stored(unit, lambda name=name: read(name))  # type: ignore[misc]


def _open(path: Path) -> xr.Dataset:
    if path.suffix == ".zarr":
        return xr.open_zarr(path, decode_times=False, chunks=None, consolidated=False)
    return xr.open_dataset(path, engine="h5netcdf", decode_times=False)


def moved(old: dict[str, Stored], new: dict[str, Stored]) -> dict[str, str]:
    """Pairs of arrays in `models/` with other names, see the module's text."""
    found: dict[str, str] = {}
    lost, added = ([n for n in one if n.startswith("models/") and n not in other] for one, other in ((old, new), (new, old)))
    values = {side: {name: held[name].read() for name in names} for side, held, names in (("old", old, lost), ("new", new, added))}
    for exact in (True, False):
        for name in [n for n in lost if n not in found]:
            a = values["old"][name]
            like = [n for n in added if n not in found.values() and _variant(n) == _variant(name) and values["new"][n].shape == a.shape]
            if exact:
                like = [n for n in like if _relative(a, values["new"][n]).max(initial=0) == 0][:1]
            elif sum(values["old"][n].shape == a.shape for n in lost if n not in found and _variant(n) == _variant(name)) > 1:
                continue
            if len(like) == 1:
                found[name] = like[0]
    return found


def _variant(name: str) -> str:
    return name.split("/")[1]


def difference(name: str, old: Stored, new: Stored) -> Difference:
    """Compare an array with its partner."""
    a, b = old.read(), new.read()
    if a.shape != b.shape:
        return Difference(name, 1.0, 1.0, f"shape {a.shape} became {b.shape}")
    if old.unit != new.unit:
        return Difference(name, 1.0, 1.0, f"unit {old.unit!r} became {new.unit!r}")
    if np.array_equal(a, b, equal_nan=a.dtype.kind in _NUMERIC and b.dtype.kind in _NUMERIC):
        return Difference(name, 0.0, 0.0, "")
    relative, to_largest = _relative(a, b), _relative(a, b, _largest(a))
    count = int((relative > 0).sum())
    reason = f"{count} of {relative.size} values, {_first(a, b, relative)}" if count else ""
    return Difference(name, float(relative.max(initial=0)), float(to_largest.max(initial=0)), reason)


def _first(a: np.ndarray, b: np.ndarray, relative: np.ndarray) -> str:
    place = np.unravel_index(np.argmax(relative), relative.shape)
    return f"most at {tuple(int(i) for i in place)}: {str(a[place])[:_SAID]} became {str(b[place])[:_SAID]}"


def _relative(a: np.ndarray, b: np.ndarray, largest: float | None = None) -> np.ndarray:
    """Difference of each value to the larger of the two, or to `largest`; 1 where a text differs or one side has no number."""
    same = _same_text(a, b)
    x, y = _numbers(a), _numbers(b)
    numbers = np.isfinite(x) & np.isfinite(y)
    scale = np.maximum(abs(x), abs(y)) if largest is None else np.full(x.shape, largest)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.where(x == y, 0.0, abs(x - y) / scale)
    both_missing = np.isnan(x) & np.isnan(y) & (a.dtype.kind in _NUMERIC and b.dtype.kind in _NUMERIC)
    return np.where(same | both_missing | (x == y), 0.0, np.where(numbers, off, 1.0))


def _same_text(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in _NUMERIC and b.dtype.kind in _NUMERIC:
        return np.zeros(a.shape, dtype=bool)
    return np.asarray(a.astype(str) == b.astype(str))


def _numbers(a: np.ndarray) -> np.ndarray:
    """Values as float64; a text that is none is NaN."""
    if a.dtype.kind in _NUMERIC:
        return np.asarray(a, dtype=complex if a.dtype.kind == "c" else np.float64)
    return pd.to_numeric(pd.Series(a.astype(str).ravel()), errors="coerce").to_numpy(dtype=np.float64, copy=True).reshape(a.shape)


def _largest(a: np.ndarray) -> float:
    numbers = abs(_numbers(a))
    return float(numbers[np.isfinite(numbers)].max(initial=0)) or 1.0


def as_text(found: dict) -> str:
    """A line for each array that differs, and the sum."""
    lines = [f"{d['array']}: {d['reason']} (relative {d['relative']:.3g})" for d in found["different"]]
    lines += [f"moved: {old} -> {new}" for old, new in found["moved"].items()]
    lines += [f"added: {name}" for name in found["added"]]
    numbers = f"max relative {found['max_relative']:.3g}, to the array's largest value {found['max_relative_to_largest']:.3g}"
    return "\n".join([*lines, f"{found['differ']} of {found['arrays']} arrays differ; {numbers}"])


if __name__ == "__main__":
    sys.exit(main())

"""Hostile changes of good files, readers to try them on, and what counts as right: a refusal in words, or what the file says.

`damage` changes bytes, `disfigure` the contents of a NetCDF file; both follow a list of random numbers, so that any finding
can be repeated, and hypothesis can shrink it.
"""

import contextlib
import csv
import io
import math
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent))
from good_inputs import CHANGES, SITES, archive_names, bif, flux_name, write_good

from dualflux.cube import Steps
from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.sources.files.tables import find_file, read_table
from dualflux.sources.land.read import land_cells
from dualflux.sources.references import read_references
from dualflux.sources.towers import read_towers
from dualflux.sources.towers.archives import TowerFile
from dualflux.sources.towers.metadata import read_site_facts
from dualflux.stages.prepare import read_cube, read_target
from dualflux.study.settings import Study, load_study

TOKENS = [
    b"-9999", b"nan", b"inf", b"-inf", b"1e400", b"1e-400", b"-0", b"0x1F", b"1_000", b"99999999999999999999", b"TRUE", b"NA", b"None",
    b'"', b"'", b",", b";", b"\t", b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xae", "１２".encode(), b"=1+1",
    b"<script>", b"../../x", b"/etc/passwd", b"2001-02-30", b"9999-12-31", b"20010229", b"1,5", b"-1,5", b"*", b"&a", b"!!python/name:os",
    b"[", b"]", b"{", b"}", b": ", b"- ", b"#", b"|", b">", b"~", b"null", b".nan", b"1:30", b"path", b"%", b"$x$", b"\\", b"\x1b[2J",
]  # fmt: skip


def damage(content: bytes, numbers: Sequence[int], text: bool = True) -> bytes:
    """Content changed by a few operations, four numbers each: what, where, how long, with which."""
    data = bytearray(content)
    for what, where, length, which in zip(*[iter(numbers)] * 4, strict=False):
        at = where % max(len(data), 1)
        span = 1 + length % (64 if length % 7 else max(len(data) // 3, 1))
        match what % (9 if text else 6):
            case 0:
                data[at : at + 1] = bytes([(data[at] if data else 0) ^ (1 << which % 8)])
            case 1:
                data[at : at + 8] = struct.pack("<q", (-1, 0, 1, 2**31, 2**63 - 1, 2**40)[which % 6])[: 1 + length % 8]
            case 2:
                del data[at : at + span]
            case 3:
                data[at:at] = data[at : at + span]
            case 4:
                del data[at:]
            case 5:
                other = which % max(len(data), 1)
                data[at : at + span] = data[other : other + span]
            case 6:
                data[at:at] = TOKENS[which % len(TOKENS)]
            case 7:
                end = data.find(b",", at)
                data[at : end if 0 < end < at + 60 else at + 3] = TOKENS[which % len(TOKENS)]
            case 8:
                lines = bytes(data).split(b"\n")
                first, second = where % len(lines), which % len(lines)
                lines[first], lines[second] = lines[second], lines[first]
                data = bytearray(b"\n".join(lines))
    return bytes(data)


@dataclass(frozen=True)
class Target:
    """A reader and the file that is damaged before it reads.

    Attributes
    ----------
    kind : str
        Of `good_inputs`, which writes the files.
    file : str
        The file that is damaged, relative to the folder.
    read : callable
        Reads the folder's study; AssertionError where it misread.
    contents : bool
        Change the contents of a NetCDF file rather than its bytes.
    """

    kind: str
    file: str
    read: Callable[[Path, Path], None]
    contents: bool = False


def attempt(target: Target, folder: Path, good: bytes, numbers: Sequence[int]) -> str:
    """`refused` or `read`; whatever else is raised is a defect."""
    path = folder / target.file
    if target.contents:
        path.write_bytes(good)
        disfigure(path, numbers)
    else:
        path.write_bytes(damage(good, numbers, text=path.suffix not in (".nc", ".zip")))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries about odd files; none of ours
            target.read(folder, path)
    except InputError as error:
        if not error.problems or not all(p.strip() for p in error.problems):
            raise AssertionError("refused without a word") from error
        return "refused"
    return "read"


# --- what a right reading is ---


def _settings(folder: Path) -> Study:
    return load_study(folder / "study.yaml")


def _tower_rows(folder: Path) -> pd.DataFrame:
    study = _settings(folder)
    s = study.settings
    return read_towers(s.towers, study.root, s.fitted, s.time_step).observations


def _numbers_of(path: Path, content: bytes, site: str, time: str, value: str) -> dict[tuple[str, pd.Timestamp], float]:
    """The table as Python's own parser sees it."""
    rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), restkey="beyond")
    found = {}
    for row in rows:
        row = {str(key).strip(): text for key, text in row.items()}
        number = str(row.get(value) or "").strip()
        if number not in ("", "NA", "nan", "NaN") and math.isfinite(float(number)) and float(number) != -9999:
            found[str(row.get(site, site)).strip(), pd.Timestamp(str(row[time]).strip())] = float(number)
    return found


def check_towers(rows: pd.DataFrame, said: dict[tuple[str, pd.Timestamp], float]) -> None:
    """Every observation must be one that the file holds."""
    for site, time, nee in rows[["site", "time", "nee"]].itertuples(index=False):
        expected = said.get((site, time))
        if expected is None or not math.isclose(nee, expected, rel_tol=1e-12, abs_tol=1e-12):
            raise AssertionError(f"read {site} {time:%Y-%m-%d} as {nee}, the file says {expected}")


def _table_of_towers(folder: Path, path: Path) -> None:
    rows = _tower_rows(folder)
    check_towers(rows, _numbers_of(path, path.read_bytes(), "site", "time", "nee"))


def _flux_file(folder: Path, path: Path) -> None:
    rows = _tower_rows(folder)
    site = path.name.split("_")[1]
    check_towers(rows[rows["site"] == site], _numbers_of(path, path.read_bytes(), site, "TIMESTAMP", "NEE_VUT_REF"))


def _archive(folder: Path, path: Path) -> None:
    rows = _tower_rows(folder)
    with zipfile.ZipFile(path) as archive:
        member = next(i for i in archive.infolist() if "FLUXMET_DD" in i.filename)
        site = path.name.split("_")[1]
        check_towers(rows[rows["site"] == site], _numbers_of(path, archive.read(member), site, "TIMESTAMP", "NEE_VUT_REF"))


def _site_facts(folder: Path, path: Path) -> None:
    facts = read_site_facts(TowerFile(path.name, path), set(SITES))
    if not set(facts.index) <= set(SITES):
        raise AssertionError(f"facts of sites that were not asked for: {list(facts.index)}")


def _regional_table(folder: Path, path: Path) -> None:
    table = read_table(find_file(path.name, folder), ["product", "region", "time", "value", "unit"])
    lines = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    rows = [line for line in lines[1:] if any(line)]
    if len(table) != len(rows):
        raise AssertionError(f"{len(table)} rows of {len(rows)}")
    _target(folder, path)


def _land(folder: Path) -> Any:
    study = _settings(folder)
    s = study.settings
    grid = Grid.global_regular(s.grid.resolution)
    return study, land_cells(grid, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)


def _steps(study: Study) -> Steps:
    s = study.settings
    return Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)


def _whole(folder: Path, path: Path) -> None:
    study, land = _land(folder)
    if not (np.isfinite(land.land_area).all() and (land.land_area >= 0).all()):
        raise AssertionError("land without an area")
    if path.name != "regions.nc":
        _, cube, _ = read_cube(study, land, _steps(study))
        if not all(np.isfinite(a).all() for a in (cube.static, cube.seasonal, cube.dynamic)):
            raise AssertionError("predictors that are not finite")


def _target(folder: Path, path: Path) -> None:
    study, land = _land(folder)
    integral = read_target(study, land, _steps(study)).integral
    if not np.isfinite(integral.to_numpy()).any() or np.isinf(integral.to_numpy()).any():
        raise AssertionError("a target without numbers")


def _references(folder: Path, path: Path) -> None:
    study, land = _land(folder)
    s = study.settings
    read_references(s.references, study.root, land.cells.grid, land.regions, land.land_fraction, _steps(study).months)


def _study_file(folder: Path, path: Path) -> None:
    study = load_study(path)
    again = folder / "again.yaml"
    again.write_text(study.to_yaml(), encoding="utf-8")
    if load_study(again).settings.model_dump() != {**study.settings.model_dump(), "data_root": str(study.root)}:
        raise AssertionError("the resolved study is another one")


_ZIP, _, _ = archive_names("AA-One")
TARGETS = {
    "tower table": Target("towers_table", "towers.csv", _table_of_towers),
    "FLUXNET CSV": Target("towers_fluxnet", f"flux/{flux_name('AA-One')}", _flux_file),
    "site table": Target("towers_fluxnet", "sites.csv", _site_facts),
    "BIF": Target("towers_fluxnet", "bif.csv", _site_facts),
    "zip archive": Target("towers_archive", f"download/{_ZIP}", _archive),
    "regional table": Target("inversions_table", "inversions.csv", _regional_table),
    "study YAML": Target("study_file", "study.yaml", _study_file),
    "NetCDF predictor": Target("predictors", "weather.nc", _whole),
    "NetCDF classes": Target("predictors", "static.nc", _whole),
    "NetCDF land": Target("land_fraction", "land.nc", _whole),
    "NetCDF regions": Target("region_mask", "regions.nc", _whole),
    "NetCDF flux": Target("inversions_gridded", "flux.nc", _target),
    "NetCDF budget": Target("inversions_gcb", "gcb.nc", _target),
    "NetCDF lateral": Target("adjustments", "lateral.nc", _target),
    "NetCDF product": Target("references", "product.nc", _references),
    "classic NetCDF land": Target("land_fraction", "land.nc", _whole),
}
CLASSIC = ("classic NetCDF land",)
TARGETS |= {
    f"{name}, contents": Target(t.kind, t.file, t.read, contents=True) for name, t in list(TARGETS.items()) if name.startswith("NetCDF ")
}


def prepare(name: str, folder: Path) -> bytes:
    """Write the good files of a target; the content of the one to be damaged."""
    target = TARGETS[name]
    write_good(folder, target.kind)
    if target.file == "bif.csv":
        (folder / "bif.csv").write_text("".join(bif(site) if i == 0 else bif(site).partition("\n")[2] for i, site in enumerate(SITES)))
    if name in CLASSIC:
        data = xr.load_dataset(folder / target.file, engine="h5netcdf")
        (folder / target.file).unlink()
        data.to_netcdf(folder / target.file, engine="scipy")
    return (folder / target.file).read_bytes()


# --- contents of NetCDF files ---

_ODD: list[Any] = [
    "", "1", "K", "days since garbage", "days since 0000-01-01", "days since 1e9-01-01", "hours since 2001-01-01 00:00:00 +99:00", "nan",
    "\u202e<script>", 0.0, -1.0, 1e308, float("nan"), float("inf"), 2**62, [1.0, 2.0], [], "360_day", "standard", b"\xff", 1e20, "degC\0",
]  # fmt: skip
_ATTRIBUTES = ["units", "_FillValue", "missing_value", "scale_factor", "add_offset", "calendar", "bounds", "flag_values", "flag_meanings",
               "coordinates", "dtype", "valid_range", "_Unsigned", "grid_mapping", "_Encoding"]  # fmt: skip


def disfigure(path: Path, numbers: Sequence[int]) -> None:
    """Change attributes, types, shapes and values of a NetCDF-4 file's variables with h5py, without regard for sense."""
    import h5py

    with h5py.File(path, "r+") as file:
        for what, where, how, which in zip(*[iter(numbers)] * 4, strict=False):
            names = sorted(name for name in file if file.get(name, getlink=True).__class__ is h5py.HardLink)
            if not names:
                return
            with contextlib.suppress(
                AttributeError, KeyError, ValueError, TypeError, OSError, RuntimeError, MemoryError
            ):  # not every change is possible
                _CHANGES[what % len(_CHANGES)](file, names[where % len(names)], how, which)


def _attribute(file: Any, name: str, how: int, which: int) -> None:
    value = _ODD[which % len(_ODD)]
    file[name].attrs[_ATTRIBUTES[how % len(_ATTRIBUTES)]] = np.array(value, dtype="f8") if value == [] else value


def _without(file: Any, name: str, how: int, which: int) -> None:
    del file[name]


def _values(file: Any, name: str, how: int, which: int) -> None:
    data = file[name]
    if data.dtype.kind in "fi" and data.size:
        odd = np.array([np.nan, np.inf, -np.inf, 1e30, -9999, 0, 1e300, -1e-300, 2**31 - 1][which % 9])
        flat = data[...].ravel().copy()
        with np.errstate(all="ignore"):
            flat[slice(how % flat.size, None) if how % 3 else slice(how % flat.size, how % flat.size + 1)] = odd.astype(data.dtype)
        data[...] = flat.reshape(data.shape)


def _other_type(file: Any, name: str, how: int, which: int) -> None:
    import h5py

    kinds: list[Any] = ["i1", "u8", "f2", "c16", "S3", object, "?", ">f4", "i8", np.dtype([("a", "f4"), ("b", "i4")])]
    kind, values = kinds[which % len(kinds)], file[name][...]
    if kind is object:
        changed = values.astype(str).astype(h5py.string_dtype())
    else:
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # values that the type cannot hold are what is wanted
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            changed = np.zeros(values.shape, kind) if isinstance(kind, np.dtype) else values.astype(kind)
    del file[name]
    file[name] = changed


def _other_shape(file: Any, name: str, how: int, which: int) -> None:
    values = np.atleast_1d(file[name][...])
    del file[name]
    file[name] = [values.T, values[..., :0], values.ravel(), values[..., None], np.zeros(()), values[:1], np.repeat(values, 2, axis=0)
                  if values.ndim else values][which % 7]  # fmt: skip


def _link(file: Any, name: str, how: int, which: int) -> None:
    import h5py

    del file[name]
    kinds: list[Any] = [
        h5py.ExternalLink("/etc/passwd", "/x"),
        h5py.ExternalLink("weather.nc", "/ta"),
        h5py.SoftLink("/nowhere"),
        h5py.SoftLink("/"),
    ]
    file[name] = kinds[which % 4]


def _renamed(file: Any, name: str, how: int, which: int) -> None:
    file.move(name, ["x", "lat", "time", "lon2", "ü", "time_bnds"][which % 6] + ("" if how % 2 else "_"))


def _group(file: Any, name: str, how: int, which: int) -> None:
    del file[name]
    file.create_group(name)


def _huge(file: Any, name: str, how: int, which: int) -> None:
    del file[name]
    shape = [(2**40,), (2**20, 2**20), (3, 2**30), (2**62,)][which % 4]
    file.create_dataset(name, shape, "f4", chunks=tuple(min(n, 64) for n in shape), fillvalue=0.5)


_CHANGES: list[Callable[[Any, str, int, int], None]] = [
    _attribute, _attribute, _attribute, _without, _values, _values, _other_type, _other_shape, _link, _renamed, _group, _huge,
]  # fmt: skip


def seeds(target: str, index: int, operations: int = 3) -> list[int]:
    """The numbers of one attempt."""
    random = np.random.default_rng([list(TARGETS).index(target), index])
    return [int(n) for n in random.integers(0, 2**31, 4 * int(random.integers(1, operations + 1)))]


def kinds_in_use() -> Iterable[str]:
    """Kinds of source that are tried."""
    return {t.kind for t in TARGETS.values()} & set(CHANGES)

"""Hostile files: a refusal in words or a right reading, whatever the bytes; seconds of what benchmarks/fuzz.py does for minutes."""

import gzip
import io
import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import fuzzing
from fuzzing import TARGETS, attempt, damage, prepare, seeds

from dualflux.errors import InputError
from dualflux.model.ensemble import Ensemble
from dualflux.sources.files import containers
from dualflux.sources.files.csv_lines import LineCheck, line_of
from dualflux.sources.files.gridded import find_variable, open_gridded
from dualflux.sources.files.tables import read_table, to_numbers, to_times

QUICK = ("site table", "BIF", "study YAML")
FOUND = {  # numbers of benchmarks/fuzz.py that were defects once
    "zip archive": [3],
    "classic NetCDF land": [1],
    "NetCDF land": [1028],  # HDF5 never ended
    "NetCDF product": [1010],
    "NetCDF classes, contents": [0, 7],
    "NetCDF regions, contents": [3, 28, 60],
    "NetCDF budget, contents": [46],
    "BIF": [1091],
    "tower table": [3014],
}
NUMBERS = st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=16).filter(lambda n: len(n) % 4 == 0)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, bytes]]:
    """Folders with the good files of each reader, made when first asked for."""

    class Places(dict[str, tuple[Path, bytes]]):
        def __missing__(self, name: str) -> tuple[Path, bytes]:
            folder = tmp_path_factory.mktemp("fuzz")
            self[name] = folder, prepare(name, folder)
            return self[name]

    return Places()


@pytest.mark.parametrize("name", QUICK)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=NUMBERS)
def test_damaged_bytes_are_refused_or_read_rightly(name: str, numbers: list[int], places: dict[str, tuple[Path, bytes]]) -> None:
    folder, good = places[name]
    assert attempt(TARGETS[name], folder, good, numbers) in ("refused", "read")


@pytest.mark.parametrize(("name", "index"), [(name, index) for name, indices in FOUND.items() for index in indices])
def test_what_was_a_defect_once_is_refused_or_read(name: str, index: int, places: dict[str, tuple[Path, bytes]]) -> None:
    folder, good = places[name]
    assert attempt(TARGETS[name], folder, good, seeds(name, index)) in ("refused", "read")


@pytest.mark.parametrize("name", [n for n in TARGETS if n not in QUICK])
def test_good_files_are_read(name: str, places: dict[str, tuple[Path, bytes]]) -> None:
    """Without a change nothing is refused: the sweep tries what it says."""
    folder, good = places[name]
    assert attempt(TARGETS[name], folder, good, []) == "read"


def test_the_oracle_sees_a_wrong_value(places: dict[str, tuple[Path, bytes]]) -> None:
    folder, good = places["tower table"]
    (folder / "towers.csv").write_bytes(good)
    rows = fuzzing._tower_rows(folder)
    said = fuzzing._numbers_of(folder / "towers.csv", good, "site", "time", "nee")
    fuzzing.check_towers(rows, said)
    with pytest.raises(AssertionError, match="the file says"):
        fuzzing.check_towers(rows.assign(nee=rows["nee"] + 1e-6), said)


@given(content=st.binary(max_size=80), numbers=NUMBERS)
def test_damage_follows_its_numbers(content: bytes, numbers: list[int]) -> None:
    assert damage(content, numbers) == damage(content, numbers)
    assert damage(content, []) == content


# --- CSV ---


class Dribble(io.BytesIO):
    """Gives a few bytes at a time, as a slow archive does."""

    def __init__(self, content: bytes, piece: int) -> None:
        super().__init__(content)
        self.piece = piece

    def read(self, size: int | None = -1) -> bytes:
        return super().read(self.piece)


FIELDS = ["1", "-2.5", "", " ", "x", '"1,5"', '""', '"a ""b"", c"', '"over\ntwo lines"']


@settings(max_examples=200)
@given(
    rows=st.lists(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=5), min_size=1, max_size=6),
    piece=st.integers(1, 40),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    last=st.booleans(),
)
@example(rows=[["1", "2", "", " "]], piece=1, end="\r\n", last=True)
@example(rows=[["1", "2"], ['"1,5"', "2"], ["1", "2", "3"]], piece=7, end="\n", last=False)
def test_a_line_is_judged_by_the_fields_the_parser_sees_whatever_the_pieces(
    rows: list[list[str]], piece: int, end: str, last: bool
) -> None:
    """The header has two columns; empty fields behind them are none, a line of blanks is none, a quoted comma separates nothing."""
    text = end.join(["a,b", *(",".join(row) for row in rows)]) + (end if last else "")
    stream = LineCheck(Dribble(text.encode(), piece), "t.csv")
    blank = [row in ([""], [" "]) for row in rows]
    wrong = [i for i, row in enumerate(rows) if not blank[i] and (len(row) < 2 or any(f.strip(' "') for f in row[2:]))]
    starts = np.cumsum([2, *(1 + ",".join(row).count("\n") for row in rows)])
    content = b""
    try:
        while part := stream.read(piece):
            content += part
    except InputError as error:
        assert wrong
        cut = f"cut short: the last line has {len(rows[wrong[0]])} of 2 fields"
        assert f"t.csv: line {starts[wrong[0]]} has {len(rows[wrong[0]])} " in str(error) or cut in str(error)
    else:
        assert not wrong
        assert content == text.replace(end, "\n").encode() + (b"" if last or not text.split(end)[-1] else b"\n")
        kept = [start for start, empty in zip(starts, blank, strict=False) if not empty]
        assert [line_of(row, tuple(stream.gaps)) for row in range(len(kept))] == kept


def write(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    return folder / "t.csv"


def test_a_decimal_comma_never_shifts_a_value(tmp_path: Path) -> None:
    """pandas, asked for some columns, drops the surplus field and reads 5 as the second column."""
    path = write(tmp_path, "nee,quality,ta\n1.5,1,10\n-1,5,1,10\n2.5,1,10\n")
    with pytest.raises(InputError, match=r"t.csv: line 3 has 4 fields, the header 3; a comma inside a number"):
        read_table(path, ["nee", "quality"])
    assert read_table(write(tmp_path, 'a,b\n"1,5",2\n'), ["a"])["a"].tolist() == ["1,5"]
    assert read_table(write(tmp_path, "a,b\n1,2,\n3,4, \n"), ["b"])["b"].tolist() == [2, 4]


@pytest.mark.parametrize("header", ["nee,ta,nee", "nee, nee,ta", "ta,nee,nee "])
@pytest.mark.parametrize("columns", [None, ["nee"]])
def test_a_column_that_stands_twice_is_refused(tmp_path: Path, header: str, columns: list[str] | None) -> None:
    with pytest.raises(InputError, match="column `nee` stands twice; give each column a name of its own"):
        read_table(write(tmp_path, f"{header}\n1,2,3\n"), columns)


def test_truth_values_are_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nee: text among numbers: 2 of 2 rows, first `True` in line 2"):
        to_numbers(read_table(write(tmp_path, "nee,a\nTRUE,1\nFALSE,1\n"))["nee"], "nee")


@pytest.mark.parametrize("date", ["0001-03-09", "9999-12-31", "2262-06-01"])
def test_years_out_of_reach_are_no_dates(tmp_path: Path, date: str) -> None:
    with pytest.raises(InputError, match=rf"time: not a date .*first `{date}` in line 2"):
        to_times(read_table(write(tmp_path, f"time,a\n{date},1\n"))["time"].astype(str), "time")


def test_an_endless_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a line of over 16777216 bytes"):
        read_table(write(tmp_path, "a,b\n" + "1" * (2**24 + 2**20) + ",2\n"))


# --- archives, links and code in data files ---


def test_a_gzip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "bomb.nc.gz"
    bomb.write_bytes(gzip.compress(bytes(2**26)))
    out = tmp_path / "unpacked"
    out.mkdir()
    with pytest.raises(InputError, match="unpacks to over 250 times its size; unpack it by hand"):
        containers.unpacked(bomb, out)
    assert (out / "bomb.nc").stat().st_size <= max(2**24, 250 * bomb.stat().st_size) + 2**20
    good = tmp_path / "good.nc.gz"
    good.write_bytes(gzip.compress(b"CDF" + os.urandom(2**20)))
    assert containers.unpacked(good, out).read_bytes() == gzip.decompress(good.read_bytes())


def field(path: Path) -> Path:
    data = xr.Dataset({"ta": (("lat", "lon"), np.arange(6.0).reshape(2, 3))}, {"lat": [0.0, 1.0], "lon": [0.0, 1.0, 2.0]})
    data.to_netcdf(path, engine="h5netcdf")
    return path


def _external(file: h5py.File, other: Path) -> None:
    del file["ta"]
    file["ta"] = h5py.ExternalLink(str(other), "/ta")


def _virtual(file: h5py.File, other: Path) -> None:
    del file["ta"]
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(str(other), "ta", (2, 3))
    file.create_virtual_dataset("ta", layout)


def _raw(file: h5py.File, other: Path) -> None:
    del file["ta"]
    file.create_dataset("ta", (2, 3), "f8", external=[(str(other), 0, 48)])


def _nested(file: h5py.File, other: Path) -> None:
    file.create_group("a/b")["c"] = h5py.ExternalLink("/etc/passwd", "/x")


@pytest.mark.parametrize("change", [_external, _virtual, _raw, _nested])
def test_what_stands_in_another_file_is_never_followed(change: object, tmp_path: Path) -> None:
    secret, path = field(tmp_path / "secret.nc"), field(tmp_path / "a.nc")
    with h5py.File(path, "r+") as file:
        change(file, secret)  # type: ignore[operator]
    with pytest.raises(InputError, match=r"a.nc: `(ta|a/b/c)` stands in another file .*such links are not followed"), open_gridded(path):
        pass


def test_an_impossible_coordinate_or_field_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = field(tmp_path / "a.nc")
    with h5py.File(path, "r+") as file:
        file.create_dataset("x", (2**40,), "f8", chunks=(64,)).make_scale("x")
    with pytest.raises(InputError, match="coordinate `x` has 1099511627776 values; allowed: 10000000"), open_gridded(path):
        pass
    path = field(tmp_path / "b.nc")
    with h5py.File(path, "r+") as file:
        file.create_dataset("big", (3, 2**20, 2**20), "f4", chunks=(1, 64, 64))
    with open_gridded(path) as data, pytest.raises(InputError, match="allowed: fields of 1073741824 cells"):
        find_variable(data, "big", path)


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_store_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    """A Zarr array whose chunks are pickles."""
    for dtype, codec in (("|O", "filters"), ("<f8", "filters"), ("<f8", "compressor")):
        store = tmp_path / f"{codec}{dtype[1:]}.zarr"
        (store / "c").mkdir(parents=True)
        (store / ".zgroup").write_text('{"zarr_format": 2}')
        about = {
            "zarr_format": 2,
            "shape": [1],
            "chunks": [1],
            "dtype": dtype,
            "fill_value": 0,
            "order": "C",
            "compressor": None,
            "filters": None,
        }
        pickled = {"id": "pickle"}
        (store / "c/.zarray").write_text(json.dumps({**about, codec: [pickled] if codec == "filters" else pickled}))
        (store / "c/.zattrs").write_text('{"_ARRAY_DIMENSIONS": ["c"]}')
        (store / "c/0").write_bytes(pickle.dumps([_Payload(tmp_path / "ran")]))
        with pytest.raises(InputError), open_gridded(store) as data:
            find_variable(data, "c", store).load()
    assert not (tmp_path / "ran").exists()


def test_weights_that_hold_code_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", about=np.array([_Payload(tmp_path / "ran")], dtype=object))
    with pytest.raises(InputError, match="not a whole dualflux model"):
        Ensemble.load(tmp_path / "weights.npz")
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(_Payload(tmp_path / "ran")))
    with pytest.raises(InputError, match="not a whole dualflux model"):
        Ensemble.load(tmp_path / "pickle.npz")
    assert not (tmp_path / "ran").exists()


def test_own_arrays_are_read_without_pickle(tmp_path: Path) -> None:
    """What numpy does by default, and what the package must never switch on."""
    import dualflux

    for path in Path(dualflux.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "allow_pickle=True" not in text and "import pickle" not in text and "yaml.load(" not in text and "eval(" not in text, path


def test_members_of_an_archive_are_never_written_to_disk(tmp_path: Path, places: dict[str, tuple[Path, bytes]]) -> None:
    folder, content = places["zip archive"]
    path = folder / TARGETS["zip archive"].file
    path.write_bytes(content)  # another test may have left it damaged
    before = sorted(p for p in folder.rglob("*"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.csv", "x")
    TARGETS["zip archive"].read(folder, path)
    assert sorted(p for p in folder.rglob("*")) == before and not (folder.parent / "outside.csv").exists()

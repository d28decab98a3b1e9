"""Files that cannot be read say what they are and what to do: other formats, missing filters, locks, groups, no temporary folder."""

import fcntl
import gzip
import json
import tempfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.foreign import why_not_opened
from dualflux.sources.files.gridded import find_variable, open_gridded, read_values

FIELD = xr.Dataset({"x": (("lat", "lon"), np.ones((2, 3)))}, {"lat": [0.0, 10.0], "lon": [0.0, 10.0, 20.0]})


def problem(path: Path, name: str = "x") -> str:
    with pytest.raises(InputError) as found, open_gridded(path) as data:
        read_values(find_variable(data, name, path), f"{path}: `{name}`")
    return str(found.value)


@pytest.mark.parametrize(
    ("content", "is_a", "todo"),
    [
        (b"CDF\x05" + bytes(40), "CDF-5", "nccopy -k nc4"),
        (b"\x0e\x03\x13\x01" + bytes(40), "HDF4", "gdal_translate"),
        (b"GRIB" + bytes(40), "GRIB", "cdo -f nc4 copy"),
        (b"II*\0" + bytes(40), "GeoTIFF", "gdal_translate"),
        (b"\x28\xb5\x2f\xfd" + bytes(40), "zstd", "unzstd"),
        (b"BZh9" + bytes(40), "bzip2", "bunzip2"),
        (b"", "empty", "get it again"),
        (bytes(100), "zeros", "get it again"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page", "log in"),
        (json.dumps({"version": 1, "refs": {".zgroup": "{}"}}).encode(), "kerchunk", "files that they point to"),
        (json.dumps({"detail": "not found"}).encode(), "JSON", "give the data file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS", "git lfs pull"),
    ],
)
def test_other_formats(content: bytes, is_a: str, todo: str, tmp_path: Path) -> None:
    (tmp_path / "x.nc").write_bytes(content)
    said = problem(tmp_path / "x.nc")
    assert is_a in said and todo in said


@pytest.mark.parametrize(("inside", "says"), [("zarr.json", "a Zarr store in a zip archive"), ("data.nc", "it holds data.nc")])
def test_zip_archives(inside: str, says: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zarr.zip", "w") as archive:
        archive.writestr(inside, b"{}")
    said = problem(tmp_path / "x.zarr.zip")
    assert says in said and "unzip FILE" in said


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["a.txt"], "without the metadata of a Zarr store"),
        (["x/refs.0.parq"], "kerchunk"),
        (["one.zarr/zarr.json"], "holds Zarr stores (one.zarr)"),
        (["snapshots/a", "manifests/b"], "Icechunk"),
    ],
)
def test_folders_that_are_no_store(files: list[str], says: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / "x.zarr" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.zarr" / name).write_text("{}")
    assert says in problem(tmp_path / "x.zarr")


def test_a_variable_in_a_group(tmp_path: Path) -> None:
    FIELD.to_netcdf(tmp_path / "x.nc", group="forecast/surface", engine="h5netcdf")
    said = problem(tmp_path / "x.nc")
    assert "group `forecast/surface`" in said and "ncks -G : -g forecast/surface x.nc" in said


@pytest.mark.parametrize(
    ("code", "name"), [(32015, "Zstandard (zstd)"), (32001, "Blosc"), (32026, "Blosc2"), (4242, "an unknown compression")]
)
def test_compressions_without_their_filter(code: int, name: str, tmp_path: Path) -> None:
    FIELD.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with h5py.File(tmp_path / "x.nc", "r+") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((2, 3))
        plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (3,))
        h5py.h5d.create(file.id, b"y", h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((2, 3)), plan)
        file["y"].id.write_direct_chunk((0, 0), bytes(48))
    said = problem(tmp_path / "x.nc", "y")
    assert f"compressed with {name}" in said and "pip install hdf5plugin" in said and "nccopy" in said
    with open_gridded(tmp_path / "x.nc") as data:  # the other variables can be read
        assert read_values(find_variable(data, "x", tmp_path / "x.nc"), "x").sum() == 6


def test_a_file_that_another_program_has_locked(tmp_path: Path) -> None:
    FIELD.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with (tmp_path / "x.nc").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = problem(tmp_path / "x.nc")
    assert "another program holds a lock" in said and "HDF5_USE_FILE_LOCKING=FALSE" in said


@pytest.mark.parametrize(("number", "says"), [(37, "has no file locks"), (95, "has no file locks"), (11, "another program holds a lock")])
def test_file_systems_without_locks(number: int, says: str) -> None:
    error = OSError(number, f"Unable to synchronously open file (unable to lock file, errno = {number}, error message = '...')")
    assert says in (why_not_opened(error, Path("x.nc")) or "")


def test_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FIELD.to_netcdf(tmp_path / "x.nc", engine="scipy")
    (tmp_path / "x.nc.gz").write_bytes(gzip.compress((tmp_path / "x.nc").read_bytes()))

    def none(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    said = problem(tmp_path / "x.nc.gz")
    assert "no temporary folder" in said and "TMPDIR" in said and "gunzip x.nc.gz" in said
    with open_gridded(tmp_path / "x.nc") as data:  # one that is not packed needs none
        assert data["x"].shape == (2, 3)

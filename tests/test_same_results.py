"""benchmarks/same_results.py: a run folder equals itself, and each value, unit, shape or file that changes is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import same_results
from same_results import compare


@pytest.fixture(name="old")
def _old(tmp_path: Path) -> Path:
    """Two variants' weights, prepared arrays of three kinds, a NetCDF and a Zarr product, a table with a region called NA: 14 arrays."""
    out = tmp_path / "old"
    for folder in ("models/dual", "models/plain", "prepared", "products/dual", "products/far", "tables"):
        (out / folder).mkdir(parents=True)
    for variant, factor in (("dual", 1.0), ("plain", 2.0)):
        np.savez(out / "models" / variant / "weights.npz", leaf_0=factor * np.arange(6.0).reshape(2, 3), leaf_1=factor * np.ones(3))
    np.save(out / "prepared/rows.npy", np.array([1.0, np.nan, np.inf], dtype=np.float32))
    np.savez(out / "prepared/cells.npz", lat=np.array([-45.0, 45.0]))
    product = xr.Dataset({"nee": (("lat", "time"), [[-1.0, 2.0], [np.nan, 0.5]], {"units": "g m-2 d-1"})}, {"lat": [-45.0, 45.0]})
    product.attrs["history"] = "written on Monday"
    product.to_netcdf(out / "products/dual/nee_monthly.nc", engine="h5netcdf")
    product.to_zarr(out / "products/far/nee_monthly.zarr", consolidated=False)
    table = pd.DataFrame({"region": ["NA", "EU"], "time": ["2001-01-01", "2001-02-01"], "value": [1.25, -3.0], "std": [np.nan, 0.1]})
    table.to_csv(out / "tables/regional_monthly.csv", index=False)
    (out / "provenance.json").write_text('{"date": "2001"}')
    return out


@pytest.fixture(name="new")
def _new(old: Path) -> Path:
    return Path(shutil.copytree(old, old.parent / "new"))


def _change_npz(path: Path, **arrays: np.ndarray) -> None:
    with np.load(path) as held:
        kept = {name: held[name] for name in held.files}
    np.savez(path, **{**kept, **arrays})


def test_a_copy_is_the_same_though_its_dates_versions_and_histories_are_others(old: Path, new: Path) -> None:
    (new / "provenance.json").write_text('{"date": "2002"}')
    path = new / "products/dual/nee_monthly.nc"
    with xr.open_dataset(path, engine="h5netcdf") as file:
        data = file.load().assign_attrs(history="written on Tuesday")
    data.to_netcdf(path, engine="h5netcdf")
    found = compare(old, new)
    assert found == {
        "arrays": 14, "differ": 0, "max_relative": 0.0, "max_relative_to_largest": 0.0, "different": [], "moved": {}, "added": [],
    }  # fmt: skip


def test_a_changed_value_is_named_with_its_size(old: Path, new: Path) -> None:
    """Weight 2 of 5 becomes 2.5: a fifth of 2.5 off, a tenth of the largest; infinity and NaN equal themselves."""
    values = np.arange(6.0).reshape(2, 3)
    values[0, 2] = 2.5
    _change_npz(new / "models/dual/weights.npz", leaf_0=values)
    found = compare(old, new)
    assert (found["arrays"], found["differ"]) == (14, 1)
    assert found["max_relative"] == pytest.approx(0.2) and found["max_relative_to_largest"] == pytest.approx(0.1)
    assert found["different"][0]["array"] == "models/dual/weights.npz: leaf_0"
    assert found["different"][0]["reason"] == "1 of 6 values, most at (0, 2): 2.0 became 2.5"


@pytest.mark.parametrize("place", ["products/dual/nee_monthly.nc", "products/far/nee_monthly.zarr"])
def test_a_value_that_goes_missing_and_another_unit_are_differences(old: Path, new: Path, place: str) -> None:
    path = new / place
    with xr.open_zarr(path, consolidated=False) if path.suffix == ".zarr" else xr.open_dataset(path, engine="h5netcdf") as file:
        data = file.load()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    data["nee"][1, 1] = np.nan
    _write(data, path)
    found = compare(old, new)
    assert [d["array"] for d in found["different"]] == [f"{place}: nee"] and found["max_relative"] == 1
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    data["nee"][1, 1] = 0.5
    _write(data.assign(nee=data.nee.assign_attrs(units="kg m-2 d-1")), path)
    (difference,) = compare(old, new)["different"]
    assert difference["reason"] == "unit 'g m-2 d-1' became 'kg m-2 d-1'"


def _write(data: xr.Dataset, path: Path) -> None:
    if path.suffix == ".zarr":
        data.to_zarr(path, consolidated=False)
    else:
        data.to_netcdf(path, engine="h5netcdf")


def test_tables_are_compared_cell_by_cell(old: Path, new: Path) -> None:
    """1.250 is 1.25; another region name and -3.003 for -3 are differences, a row less is one of every column."""
    path = new / "tables/regional_monthly.csv"
    path.write_text("region,time,value,std\nNA,2001-01-01,1.250,\nEU,2001-02-01,-3.0,0.1\n")
    assert compare(old, new)["differ"] == 0
    path.write_text("region,time,value,std\nN,2001-01-01,1.25,\nEU,2001-02-01,-3.003,0.1\n")
    found = {d["array"].split(": ")[1]: d["relative"] for d in compare(old, new)["different"]}
    assert found == {"region": 1.0, "value": pytest.approx(0.003 / 3.003)}
    path.write_text("region,time,value,std\nNA,2001-01-01,1.25,\n")
    assert {d["reason"] for d in compare(old, new)["different"]} == {"shape (2,) became (1,)"}


def test_moved_weights_find_their_partner_in_their_own_variant(old: Path, new: Path) -> None:
    """Another file and other names: paired by values, then by shape; the other variant's equal array is none's partner."""
    weights = new / "models/dual/weights.npz"
    with np.load(weights) as held:
        first, second = held["leaf_0"], held["leaf_1"]
    weights.unlink()
    (new / "models/dual/networks").mkdir()
    np.savez(new / "models/dual/networks/weights.npz", readout=second, hidden=first)
    found = compare(old, new)
    assert (found["arrays"], found["differ"]) == (14, 0)
    assert found["moved"] == {
        "models/dual/weights.npz: leaf_0": "models/dual/networks/weights.npz: hidden",
        "models/dual/weights.npz: leaf_1": "models/dual/networks/weights.npz: readout",
    }
    np.savez(new / "models/dual/networks/weights.npz", readout=second, hidden=1.001 * first)
    assert compare(old, new)["max_relative"] == pytest.approx(0.001 / 1.001)
    (new / "models/dual/networks/weights.npz").unlink()
    assert {d["reason"] for d in compare(old, new)["different"]} == {"only in the old run"}


def test_what_is_lost_differs_and_what_is_new_is_named(old: Path, new: Path) -> None:
    (new / "prepared/rows.npy").rename(new / "prepared/towers.npy")
    found = compare(old, new)
    assert [d["array"] for d in found["different"]] == ["prepared/rows.npy"] and found["added"] == ["prepared/towers.npy"]


def test_as_a_command(old: Path, new: Path) -> None:
    """Exit status and file; a folder without results is refused."""

    def run(second: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, same_results.__file__, old, second, "--out", old.parent / "found.json"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run(new).returncode == 0
    np.save(new / "prepared/rows.npy", np.zeros(3))
    assert run(new).returncode == 1
    found = json.loads((old.parent / "found.json").read_text())
    assert found["differ"] == 1 and found["different"][0]["array"] == "prepared/rows.npy"
    empty = run(old.parent)
    assert empty.returncode == 1 and "no results; give the folder of a finished run" in empty.stderr

"""Products against hand-drawn worlds: what is written is what comes back, and the table is the map."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import h5netcdf
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells, Regions
from dualflux.metrics.pairs import paired_std
from dualflux.prediction.netcdf_product import ProductWriter, integrate_members, integrate_product, regional_integrals
from dualflux.prediction.product import members_to_write

GRID = Grid.global_regular(45)  # 4 x 8 cells
TIMES = pd.date_range("2004-01-01", periods=3, freq="MS")  # 31, 29 (leap year), 31 days


def world() -> tuple[LandCells, np.ndarray]:
    """Three cells with flux in two regions, the last shared half and half, and one ice cell without flux."""
    land = np.zeros(GRID.shape)
    land[1, 2], land[2, 3], land[3, 4], land[0, 0] = 1.0, 0.5, 0.25, 1.0
    fraction = np.zeros((2, *GRID.shape))
    fraction[0, 1, 2], fraction[1, 2, 3], fraction[:, 3, 4] = 1.0, 1.0, 0.5
    keep = np.ones(GRID.shape, dtype=bool)
    keep[0, 0] = False
    return LandCells.build(GRID, land, Regions(("a", "b"), fraction), keep), GRID.cell_area * land


def write(path: Path, members: np.ndarray, tower: np.ndarray | None = None, write_members: bool = True, extra: float = 0.0) -> Path:
    """`members` (time, member, cell)."""
    cells, area = world()
    count = members.shape[1] if write_members else None
    with ProductWriter(path, cells, TIMES, count, {"title": "drawn world"}, area, np.array([0.5, 1.0, 2.0])) as out:
        for t in range(len(TIMES)):
            out.write(t, members[t], members[t] if tower is None else tower[t], np.full(3, extra))
    return path


def drawn() -> np.ndarray:
    return np.random.default_rng(1).normal(-0.5, 2.0, (3, 4, 3))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    members, tower = drawn(), drawn() + 1.0
    path = write(tmp_path / "new" / "nee.nc", members, tower, extra=0.25)
    cells, area = world()
    with xr.open_dataset(path, engine="h5netcdf") as d:
        take = lambda v: v.to_numpy().reshape(*v.shape[:-2], -1)[..., cells.index]  # noqa: E731
        std = paired_std(np.moveaxis(members, 1, 0))
        np.testing.assert_allclose(take(d.nee), members.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(take(d.nee_tower), tower.mean(axis=1), rtol=1e-6)
        np.testing.assert_allclose(take(d.nee_std), std, rtol=1e-6)
        np.testing.assert_allclose(take(d.nee_std_total), np.sqrt(std**2 + 0.25), rtol=1e-6)
        np.testing.assert_allclose(take(d.nee_member), members.swapaxes(0, 1), rtol=1e-6)
        np.testing.assert_allclose(take(d.applicability), [0.5, 1.0, 2.0])
        np.testing.assert_array_equal(d.land_area, area)
        assert d.nee.dims == ("time", "lat", "lon") and d.nee_member.dims == ("member", "time", "lat", "lon")
        assert (d.nee.to_numpy()[:, 0, 0] == 0).all(), "ice carries no flux"
        assert np.isnan(d.nee.to_numpy()[:, area == 0]).all(), "the sea has no value"
        assert (pd.DatetimeIndex(d.time.to_numpy()) == TIMES).all()


def test_cf_metadata(tmp_path: Path) -> None:
    with xr.open_dataset(write(tmp_path / "nee.nc", drawn()), engine="h5netcdf", decode_cf=False) as d:
        assert d.attrs["Conventions"].startswith("CF-1.1") and d.attrs["title"] == "drawn world"
        assert d.time.attrs["units"] == "days since 2004-01-01 00:00:00"
        assert d.time_bounds.to_numpy().tolist() == [[0, 31], [31, 60], [60, 91]]
        assert d.lat_bounds.to_numpy()[0].tolist() == [-90, -45] and d.lon_bounds.to_numpy()[-1].tolist() == [135, 180]
        for name in ("time", "lat", "lon"):
            assert d[name].attrs["bounds"] == f"{name}_bounds" and d[name].attrs["standard_name"] and d[name].attrs["axis"]
        for name in ("nee", "nee_tower", "nee_std", "nee_std_total", "nee_member"):
            assert d[name].attrs["units"] == "gC m-2 d-1" and "time: mean" in d[name].attrs["cell_methods"]
        assert "standard deviation" in d.nee_std.attrs["long_name"] and d.land_area.attrs["units"] == "m2"
        assert d.member.attrs["standard_name"] == "realization"


def test_cell_methods_and_units_for_other_programs(tmp_path: Path) -> None:
    """CF 7.3: one `name: method` after the other, names being axes, `area` or standard names; UDUNITS has no grams of carbon."""
    with xr.open_dataset(write(tmp_path / "nee.nc", drawn()), engine="h5netcdf", decode_cf=False) as d:
        assert d.nee.attrs["cell_methods"] == "area: mean where land time: mean realization: mean"
        assert d.nee_std.attrs["cell_methods"] == "area: mean where land time: mean realization: standard_deviation"
        assert d.nee_member.attrs["cell_methods"] == "area: mean where land time: mean"
        assert d.nee.attrs["udunits"] == "g m-2 d-1" and d.attrs["history"] == "written by dualflux"
        assert set(d.nee.attrs["ancillary_variables"].split()) <= set(d.data_vars)


CHECKER = os.environ.get("DUALFLUX_CF_CHECKER") or shutil.which("compliance-checker")
# What the IOOS checker says of a right file: UDUNITS does not know gC (fixed by the design, see `udunits`), and it does not look
# for standard names where CF 7.3 allows them (`realization`, the axis that was averaged away).
_KNOWN = (
    r'units for nee\w*, "gC m-2 d-1" are not recognized by UDUNITS',
    r"nee\w*'s cell_methods name component realization does not match a dimension, area or auxiliary coordinate",
)


@pytest.mark.skipif(CHECKER is None, reason="no compliance-checker: install it in an environment of its own and set DUALFLUX_CF_CHECKER")
@pytest.mark.parametrize("members", [True, False])
def test_a_cf_checker_finds_nothing_else(tmp_path: Path, members: bool) -> None:
    """The IOOS compliance checker (an environment of its own: it brings another HDF5 library)."""
    path = write(tmp_path / "nee.nc", drawn(), write_members=members)
    command = [str(CHECKER), "--test", "cf:1.10", "--format", "json", "--output", str(tmp_path / "found.json"), str(path)]
    subprocess.run(command, capture_output=True, timeout=300, check=False)
    found = json.loads((tmp_path / "found.json").read_text())["cf:1.10"]
    messages = [m for level in ("high", "medium", "low") for part in found[f"{level}_priorities"] for m in part["msgs"]]
    assert [m for m in messages if not any(re.search(known, m) for known in _KNOWN)] == []
    assert len(messages) > 0, "the checker found the known ones, so it looked"


def test_one_chunk_per_month(tmp_path: Path) -> None:
    with h5netcdf.File(write(tmp_path / "nee.nc", drawn()), "r") as f:
        assert f["nee"].chunks == (1, 4, 8) and f["nee_member"].chunks == (1, 1, 4, 8)


def test_same_input_same_bytes(tmp_path: Path) -> None:
    first, second = (write(tmp_path / n, drawn()).read_bytes() for n in ("a.nc", "b.nc"))
    assert first == second


def test_members_can_be_left_out(tmp_path: Path) -> None:
    with xr.open_dataset(write(tmp_path / "nee.nc", drawn(), write_members=False), engine="h5netcdf") as d:
        assert "nee_member" not in d and "member" not in d.dims and "nee_std" in d


def test_members_are_written_up_to_the_limit() -> None:
    one_degree = Grid.global_regular(1)
    size = 20 * 144 * 180 * 360 * 4
    assert members_to_write(20, one_degree, 144) == 20
    assert members_to_write(20, one_degree, 144, limit=size) == 20
    assert members_to_write(20, one_degree, 144, limit=size - 1) is None


def test_one_member_has_no_spread(tmp_path: Path) -> None:
    with xr.open_dataset(write(tmp_path / "nee.nc", drawn()[:, :1]), engine="h5netcdf") as d:
        land = d.nee.notnull() & (d.land_area > 0) & (d.lat != d.lat[0])
        assert d.nee_std.where(land).isnull().all() and d.nee_std_total.where(land).isnull().all()


def test_integral_by_hand(tmp_path: Path) -> None:
    """1 gC m-2 d-1 everywhere: region area x days; the shared cell counts half in each."""
    cells, area = world()
    total = integrate_product(write(tmp_path / "nee.nc", np.ones((3, 2, 3))), cells)
    half = 0.5 * area[3, 4]
    days = np.array([31.0, 29.0, 31.0])
    assert total.region.to_numpy().tolist() == ["a", "b", "global"]
    np.testing.assert_allclose(total.sel(region="a"), (area[1, 2] + half) * days / 1e15, rtol=1e-12)
    np.testing.assert_allclose(total.sel(region="b"), (area[2, 3] + half) * days / 1e15, rtol=1e-12)
    np.testing.assert_allclose(total.sel(region="global"), (area[1, 2] + area[2, 3] + area[3, 4]) * days / 1e15, rtol=1e-12)


def test_members_are_integrated_each(tmp_path: Path) -> None:
    """Member m is m gC m-2 d-1 everywhere: m times the integral of 1; their mean is that of the product."""
    cells, _ = world()
    path = write(tmp_path / "nee.nc", np.arange(4.0)[None, :, None] * np.ones((3, 4, 3)))
    each, mean = integrate_members(path, cells), integrate_product(path, cells)
    assert each is not None and each.dims == ("member", "region", "time")
    np.testing.assert_allclose(each, np.arange(4)[:, None, None] * each[1].to_numpy(), rtol=1e-6)
    np.testing.assert_allclose(each.mean("member").to_numpy(), mean.to_numpy(), rtol=1e-6)
    assert integrate_members(write(tmp_path / "bare.nc", drawn(), write_members=False), cells) is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_table_is_map(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Integrals of the members' mean equal those of the written map, to float32."""
    members = np.random.default_rng(seed).normal(0, 3, (3, 2, 3))
    cells, _ = world()
    table = regional_integrals(members.swapaxes(0, 1), cells, TIMES).mean(axis=0)
    path = write(tmp_path_factory.mktemp("p") / "nee.nc", members)
    scale = np.abs(members).max() * cells.land_area.sum() * 31 / 1e15
    np.testing.assert_allclose(integrate_product(path, cells).to_numpy().T, table, atol=1e-6 * scale)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path / "nee.nc", drawn())
    before = path.read_bytes()
    cells, area = world()
    with pytest.raises(KeyboardInterrupt), ProductWriter(path, cells, TIMES, None, {}, area) as out:
        out.write(0, np.ones((1, 3)), np.ones((1, 3)), np.zeros(3))
        raise KeyboardInterrupt
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["nee.nc"]


def test_a_missing_month_makes_no_file(tmp_path: Path) -> None:
    cells, area = world()
    with (
        pytest.raises(ValueError, match="2 months were never written, the first 2004-02"),
        ProductWriter(tmp_path / "x.nc", cells, TIMES, None, {}, area) as out,
    ):
        out.write(0, np.ones((1, 3)), np.ones((1, 3)), np.zeros(3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("landscape", "tower", "extra", "message"),
    [
        (np.full((2, 3), np.nan), np.ones((2, 3)), np.zeros(3), "2004-01: 6 values are not finite"),
        (np.ones((2, 3)), np.ones((2, 3)), np.array([-1.0, 0, 0]), "variance is negative"),
        (np.ones((2, 4)), np.ones((2, 3)), np.zeros(3), r"landscape \(2, 4\)"),
        (np.ones((3, 3)), np.ones((3, 3)), np.zeros(3), r"wanted \(member, cell\) = \(2, 3\)"),
    ],
)
def test_bad_months_are_refused(tmp_path: Path, landscape: np.ndarray, tower: np.ndarray, extra: np.ndarray, message: str) -> None:
    cells, area = world()
    with pytest.raises(ValueError, match=message), ProductWriter(tmp_path / "x.nc", cells, TIMES, 2, {}, area) as out:
        out.write(0, landscape, tower, extra)


def test_a_month_is_written_once(tmp_path: Path) -> None:
    cells, area = world()
    with pytest.raises(ValueError, match="each once"), ProductWriter(tmp_path / "x.nc", cells, TIMES, None, {}, area) as out:
        for _ in range(2):
            out.write(0, np.ones((1, 3)), np.ones((1, 3)), np.zeros(3))


def test_land_area_must_be_that_of_the_cells(tmp_path: Path) -> None:
    cells, area = world()
    with pytest.raises(ValueError, match="differs from the land area"):
        ProductWriter(tmp_path / "x.nc", cells, TIMES, None, {}, area / 1e6)
    with pytest.raises(ValueError, match="first days of months"):
        ProductWriter(tmp_path / "x.nc", cells, TIMES + pd.Timedelta(days=1), None, {}, area)


def test_integrating_refuses_gaps_and_other_grids(tmp_path: Path) -> None:
    cells, _ = world()
    path = write(tmp_path / "nee.nc", drawn())
    with xr.open_dataset(path, engine="h5netcdf") as d:
        gap = d.load().copy(deep=True)
    gap.nee[1, 1, 2] = np.nan
    gap.to_netcdf(tmp_path / "gap.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="lacks a value in 1 land cells of month 1"):
        integrate_product(tmp_path / "gap.nc", cells)
    with pytest.raises(InputError, match="no variable `gpp`"):
        integrate_product(path, cells, "gpp")
    gap.isel(lon=slice(0, 4)).to_netcdf(tmp_path / "part.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="its grid is 4 x 4"):
        integrate_product(tmp_path / "part.nc", cells)
    with pytest.raises(ValueError, match="1 of 9 cell-months have no value"):
        regional_integrals(np.where(np.eye(3) * [1, 0, 0] > 0, np.nan, 1.0), cells, TIMES)

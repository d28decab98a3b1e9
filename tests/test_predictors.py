"""Predictors from files of every kind, on drawn worlds and on real ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells, Regions, regrid
from dualflux.sources.files.cadence import intervals
from dualflux.sources.files.time_axis import time_steps
from dualflux.sources.predictors import read as predictors
from dualflux.sources.predictors.missing import FillValue, fill_missing
from dualflux.sources.predictors.read import check_predictors, read_predictors
from dualflux.sources.predictors.regrid import read_steps, step_ends, time_overlap
from dualflux.sources.predictors.settings import PredictorSettings

GRID = Grid.global_regular(30.0)
YEAR = pd.date_range("2001-01-01", "2001-12-01", freq="MS")


def land(grid: Grid = GRID, everywhere: bool = True) -> LandCells:
    """All cells, or those of the northern hemisphere east of Greenwich, one region."""
    use = np.ones(grid.shape) if everywhere else np.outer(grid.lat > 0, grid.lon > 0).astype(float)
    return LandCells.build(grid, use, Regions(("world",), np.ones((1, *grid.shape))))


CELLS = land()


def on_grid(values: np.ndarray, *leading: str, grid: Grid = GRID, units: str | None = "1", **coords: Any) -> xr.DataArray:
    """A field in our own convention."""
    attrs = {} if units is None else {"units": units}
    return xr.DataArray(values, dims=(*leading, "lat", "lon"), coords={**coords, "lat": grid.lat, "lon": grid.lon}, attrs=attrs, name="x")


def monthly(values: np.ndarray, first: str = "2001-01-01", units: str = "1") -> xr.DataArray:
    """The given numbers, one per month, everywhere."""
    time = pd.date_range(first, periods=len(values), freq="MS")
    return on_grid(np.asarray(values, float)[:, None, None] * np.ones(GRID.shape), "time", time=time, units=units)


def write(folder: Path, data: xr.DataArray, name: str = "x.nc") -> None:
    """NetCDF-4."""
    data.to_netcdf(folder / name, engine="h5netcdf")


def setting(kind: str = "static", **more: Any) -> PredictorSettings:
    """Predictor x of x.nc."""
    return PredictorSettings(**{"name": "x", "path": "x.nc", "kind": kind, **more})


def read(
    folder: Path, one: PredictorSettings, cells: LandCells = CELLS, times: pd.DatetimeIndex = YEAR, step: Any = "monthly"
) -> xr.Dataset:
    """One predictor."""
    return read_predictors([one], folder, cells.grid, cells, times, step)


RNG = np.random.default_rng(0)
FIELD = RNG.normal(size=GRID.shape)


@pytest.mark.parametrize("kind", ["netcdf4", "classic", "zarr"])
def test_every_format_and_orientation_gives_the_same_cells(tmp_path: Path, kind: str) -> None:
    theirs = on_grid(FIELD).isel(lat=slice(None, None, -1)).assign_coords(lon=GRID.lon % 360).sortby("lon").transpose("lon", "lat")
    theirs = theirs.rename(lat="latitude", lon="longitude")
    if kind == "zarr":
        theirs.to_dataset().to_zarr(tmp_path / "x.nc", zarr_format=2)
    else:
        theirs.to_netcdf(tmp_path / "x.nc", engine="h5netcdf" if kind == "netcdf4" else "scipy")
    cells = land(everywhere=False)
    found = read(tmp_path, setting(), cells)
    np.testing.assert_array_equal(found.x, FIELD.ravel()[cells.index].astype(np.float32))
    assert found.x.dtype == np.float32
    assert found.x.attrs == {"kind": "static", "source": "x.nc:x", "units": "1", "filled_share": 0.0, "dropped_share": 0.0}
    assert found.valid.all()


def test_another_grid_is_averaged_over_its_valid_area(tmp_path: Path) -> None:
    """10 degree cells in 30 degree ones; a missing ninth is left out of the mean."""
    fine = Grid.global_regular(10.0)
    values = np.random.default_rng(1).normal(size=fine.shape)
    values[4, 7] = np.nan
    write(tmp_path, on_grid(values, grid=fine))
    weighted = np.nan_to_num(values) * fine.cell_area
    blocks = (weighted, fine.cell_area * np.isfinite(values))
    total, area = (b.reshape(6, 3, 12, 3).sum(axis=(1, 3)) for b in blocks)
    np.testing.assert_allclose(read(tmp_path, setting()).x, (total / area).ravel(), rtol=1e-6)


@pytest.mark.parametrize("fill", [-9999.0, np.inf, 1e20, np.nan])
def test_every_way_to_say_missing_is_missing(tmp_path: Path, fill: float) -> None:
    values = FIELD.copy()
    values[0, 0] = fill
    write(tmp_path, on_grid(values))
    with pytest.raises(
        InputError, match=r"x.nc: `x` \(predictor `x`\): 1 of 72 land cells \(0.6 % of the land area\) have no value; state"
    ):
        read(tmp_path, setting())


def test_packed_integers_with_a_fill_value(tmp_path: Path) -> None:
    packing = {"x": {"dtype": "int16", "scale_factor": 0.1, "add_offset": 3.0, "_FillValue": -32768}}
    values = np.round(FIELD, 1)
    values[1, 2] = np.nan
    on_grid(values).to_netcdf(tmp_path / "x.nc", engine="h5netcdf", encoding=packing)
    found = read(tmp_path, setting(missing="drop"))
    np.testing.assert_allclose(found.x, values.ravel(), atol=1e-6)
    assert found.valid.to_numpy().sum() == 71


def test_drop_removes_the_cell_and_says_how_much(tmp_path: Path) -> None:
    """The two polar rows hold 1 - sin 60 of the sphere; one cell is a twelfth of half of it."""
    values = FIELD.copy()
    values[0, 3] = np.nan
    write(tmp_path, on_grid(values))
    found = read(tmp_path, setting(missing="drop"))
    assert (~found.valid).to_numpy().nonzero()[0].tolist() == [3]
    assert found.valid.attrs["dropped_share"] == pytest.approx((1 - np.sin(np.pi / 3)) / 24)
    write(tmp_path, on_grid(np.full(GRID.shape, np.nan)), "empty.nc")
    with pytest.raises(InputError, match="rule `drop` leaves no land cell"):
        read(tmp_path, setting(path="empty.nc", missing="drop"))


def test_a_stated_value_fills_and_is_recorded(tmp_path: Path) -> None:
    values = FIELD.copy()
    values[:3] = np.nan
    write(tmp_path, on_grid(values))
    found = read(tmp_path, setting(missing={"value": 7}))
    np.testing.assert_array_equal(found.x[:36], 7)
    assert found.x.attrs["filled_share"] == pytest.approx(0.5)


def test_nearest_is_nearest_on_the_sphere() -> None:
    """At 85N, 60 degrees of longitude are closer than 20 of latitude; across 180 is close too."""
    grid = Grid(np.array([45.0, 65.0, 85.0]), np.arange(12) * 30.0 - 165)
    cells = LandCells.build(grid, np.ones(grid.shape), Regions(("r",), np.ones((1, *grid.shape))))
    values = np.full(grid.shape, np.nan)
    values[2, 2], values[1, 0], values[0, 11] = 1.0, 2.0, 3.0
    filled, share, dropped = fill_missing(values.reshape(1, -1), "nearest", cells, "x")
    filled = filled.reshape(grid.shape)
    assert filled[2, 0] == 1.0  # 60 degrees along 85N: 5 degrees away; 65N: 20 degrees
    assert filled[1, 11] == 2.0  # 30 degrees of longitude over the date line at 65N: 12.6; 45N: 20 degrees
    assert filled[0, 0] == 2.0  # 20 degrees north; 30 degrees of longitude at 45N: 21 degrees
    assert not dropped.any()
    known = cells.land_area.reshape(grid.shape)[[2, 1, 0], [2, 0, 11]]
    assert share == pytest.approx(1 - known.sum() / cells.land_area.sum())


@settings(max_examples=25)
@given(st.integers(0, 999))
def test_nearest_agrees_with_all_distances(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((2, CELLS.index.size)) < 0.7, np.nan, rng.random((2, CELLS.index.size)))
    values[:, 5] = 1.0
    lat, lon = np.radians(CELLS.lat()), np.radians(CELLS.lon())
    cosine = np.sin(lat)[:, None] * np.sin(lat) + np.cos(lat)[:, None] * np.cos(lat) * np.cos(lon[:, None] - lon)
    filled = fill_missing(values.copy(), "nearest", CELLS, "x")[0]
    for row, before in zip(filled, values, strict=True):
        known = np.flatnonzero(np.isfinite(before))
        best = cosine[:, known].max(axis=1)
        for cell in range(CELLS.index.size):
            assert row[cell] in before[known[cosine[cell, known] > best[cell] - 1e-9]]


def test_nearest_cannot_fill_an_empty_step() -> None:
    with pytest.raises(InputError, match="1 of 2 steps have no value in any land cell"):
        fill_missing(np.stack([np.full(72, np.nan), np.ones(72)]), "nearest", CELLS, "x")


def test_a_rule_sees_only_land(tmp_path: Path) -> None:
    cells = land(everywhere=False)
    values = np.where(cells.to_map(np.ones(cells.index.size), fill=0.0) > 0, FIELD, np.nan)
    write(tmp_path, on_grid(values))
    assert np.isfinite(read(tmp_path, setting(), cells).x).all()


def test_units_are_converted_or_refused(tmp_path: Path) -> None:
    write(tmp_path, on_grid(FIELD + 280, units="K"))
    np.testing.assert_allclose(read(tmp_path, setting(units="degC")).x, (FIELD + 6.85).ravel(), atol=1e-4)
    assert read(tmp_path, setting()).x.attrs["units"] == "K"
    with pytest.raises(InputError, match="the file has unit `K`, the study says `mm`; allowed here: `K`, `degC`"):
        read(tmp_path, setting(units="mm"))
    write(tmp_path, on_grid(FIELD, units=None), "bare.nc")
    assert read(tmp_path, setting(path="bare.nc", units="mm")).x.attrs["units"] == "mm"
    with pytest.raises(InputError, match="neither the file nor the study says the unit"):
        read(tmp_path, setting(path="bare.nc"))


def test_a_climatology_follows_its_months(tmp_path: Path) -> None:
    values = np.arange(1, 13)[:, None, None] * np.ones(GRID.shape)
    shuffled = on_grid(values, "month", month=np.arange(1, 13)).isel(month=[5, 0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 10])
    write(tmp_path, shuffled)
    found = read(tmp_path, setting("climatology")).x
    assert found.dims == ("month", "cell")
    np.testing.assert_array_equal(found[:, 0], np.arange(1, 13))
    write(tmp_path, on_grid(values, "time", time=pd.date_range("1990-01-01", periods=12, freq="MS")[[*range(1, 12), 0]]), "dates.nc")
    np.testing.assert_array_equal(read(tmp_path, setting("climatology", path="dates.nc")).x[[0, 1, 11], 0], [12, 1, 11])


@pytest.mark.parametrize("months", [np.arange(12), np.arange(1, 12), None])
def test_a_climatology_has_twelve_months(tmp_path: Path, months: np.ndarray | None) -> None:
    coords = {} if months is None else {"month": months}
    write(tmp_path, on_grid(np.ones((12 if months is None else len(months), *GRID.shape)), "month", **coords))
    with pytest.raises(InputError, match="needs a coordinate with the months 1 to 12"):
        read(tmp_path, setting("climatology"))


def fractions(parts: np.ndarray, grid: Grid = GRID, units: str = "1") -> xr.DataArray:
    """Shares of three classes."""
    return on_grid(parts, "igbp", grid=grid, units=units, igbp=["ENF", "GRA", "WAT"])


def test_class_fractions_keep_their_sum_on_another_grid(tmp_path: Path) -> None:
    fine = Grid.global_regular(18.0)
    parts = np.random.default_rng(2).dirichlet(np.ones(3), size=fine.shape).transpose(2, 0, 1)
    write(tmp_path, fractions(100 * parts, fine, "%"))
    found = read(tmp_path, setting("fractions"))
    assert found.x_class.to_numpy().tolist() == ["ENF", "GRA", "WAT"]
    assert found.x.dims == ("x_class", "cell")
    np.testing.assert_allclose(found.x.sum("x_class"), 1, rtol=1e-6)
    np.testing.assert_allclose(found.x, regrid(parts, fine, GRID)[0].reshape(3, -1), rtol=1e-5)


def test_class_fractions_from_a_classic_file_have_names(tmp_path: Path) -> None:
    parts = np.full((3, *GRID.shape), 1 / 3)
    fractions(parts).to_netcdf(tmp_path / "x.nc", engine="scipy")
    assert read(tmp_path, setting("fractions")).x_class.to_numpy().tolist() == ["ENF", "GRA", "WAT"]
    meanings = on_grid(parts, "c").assign_attrs(flag_meanings="a b c")
    write(tmp_path, meanings, "flags.nc")
    assert read(tmp_path, setting("fractions", path="flags.nc")).x_class.to_numpy().tolist() == ["a", "b", "c"]


def test_fractions_that_are_none_are_refused(tmp_path: Path) -> None:
    write(tmp_path, fractions(np.full((3, *GRID.shape), 0.5)))
    with pytest.raises(InputError, match=r"class fractions from 0.5, summing to 1.5 in a cell"):
        read(tmp_path, setting("fractions"))
    write(tmp_path, on_grid(np.full((3, *GRID.shape), 0.3), "c"), "unnamed.nc")
    with pytest.raises(InputError, match="give the class dimension a coordinate"):
        read(tmp_path, setting("fractions", path="unnamed.nc"))


def test_dynamic_predictors_begin_a_year_early_where_the_file_does(tmp_path: Path) -> None:
    write(tmp_path, monthly(np.arange(60.0), "1998-01-01"))
    write(tmp_path, monthly(np.arange(20.0), "2000-06-01"), "late.nc")
    found = read(tmp_path, setting("dynamic"))
    assert found.time.to_numpy()[[0, -1]].astype("datetime64[D]").astype(str).tolist() == ["2000-01-01", "2001-12-01"]
    np.testing.assert_array_equal(found.x[:, 7], np.arange(24, 48))
    both = [setting("dynamic"), setting("dynamic", name="y", path="late.nc", variable="x")]
    found = read_predictors(both, tmp_path, GRID, CELLS, YEAR, "monthly")
    np.testing.assert_array_equal(found.x[:, 0], np.arange(29, 48))
    np.testing.assert_array_equal(found.y[:, 0], np.arange(19))
    assert found.y.attrs["first"] == "2000-06-01"


def test_a_period_the_file_does_not_cover(tmp_path: Path) -> None:
    write(tmp_path, monthly(np.arange(11.0)))
    with pytest.raises(InputError, match="covers 2001-01-01 to 2001-11-30; the study needs 2001-01-01 to 2001-12-31; shorten `period`"):
        read(tmp_path, setting("dynamic"))
    write(tmp_path, monthly(np.arange(30.0), "2005-01-01"), "later.nc")
    with pytest.raises(InputError, match="covers 2005-01-01 to 2007-06-30"):
        read(tmp_path, setting("dynamic", path="later.nc"))


def daily(values: np.ndarray, first: str) -> xr.DataArray:
    """One number per day, stamped at noon."""
    time = pd.date_range(first, periods=len(values), freq="D") + pd.Timedelta(hours=12)
    return on_grid(values[:, None, None] * np.ones(GRID.shape), "time", time=time)


def test_days_become_months(tmp_path: Path) -> None:
    values = np.random.default_rng(3).normal(size=366 + 365)
    write(tmp_path, daily(values, "2000-01-01"))
    expected = pd.Series(values, pd.date_range("2000-01-01", periods=731)).resample("MS").mean()
    np.testing.assert_allclose(read(tmp_path, setting("dynamic")).x[:, 3], expected, rtol=2e-6, atol=1e-7)


def test_months_hold_on_every_day_of_a_daily_study(tmp_path: Path) -> None:
    write(tmp_path, monthly(np.arange(24.0), "2000-01-01"))
    times = pd.date_range("2001-01-01", "2001-12-31")
    found = read(tmp_path, setting("dynamic"), times=times, step="daily").x
    assert found.time.size == 366 + 365
    np.testing.assert_array_equal(found[:, 0], (found.time.dt.year - 2000) * 12 + found.time.dt.month - 1)


def test_the_filled_share_is_one_of_land_not_of_cells() -> None:
    """Of the sphere (area 2), a cell from 60 N to 90 N has (sin 90 - sin 60) / 12 / 2, one from 0 to 30 N has sin 30 / 12 / 2."""
    for row, share in ((5, (1 - np.sqrt(3) / 2) / 24), (3, 0.5 / 24)):
        values = np.ones(GRID.shape)
        values[row, 0] = np.nan
        found = fill_missing(values.reshape(1, -1), FillValue(value=1.0), CELLS, "x")[1]
        assert found == pytest.approx(share, rel=1e-6)


def composites(days: int, missing: tuple[str, ...] = ()) -> tuple[xr.DataArray, pd.Series]:
    """MODIS-like composites that restart on 1 January, and the same day by day."""
    stamps = pd.DatetimeIndex(
        [t for year in (1999, 2000, 2001, 2002) for t in pd.date_range(f"{year}-01-01", f"{year}-12-31", freq=f"{days}D")]
    )
    values = np.random.default_rng(4).random(stamps.size)
    keep = ~np.isin(stamps, pd.DatetimeIndex(missing))
    by_day = pd.Series(np.where(keep, values, np.nan), stamps)
    expanded = by_day.reindex(pd.date_range("1999-01-01", "2002-12-16"))
    owner = np.searchsorted(stamps, expanded.index, side="right") - 1
    expanded[:] = by_day.to_numpy()[owner]
    return on_grid(values[keep, None, None] * np.ones(GRID.shape), "time", time=stamps[keep]), expanded


@pytest.mark.parametrize("days", [8, 16])
def test_composites_are_weighted_with_the_days_they_share_with_a_month(tmp_path: Path, days: int) -> None:
    data, by_day = composites(days)
    write(tmp_path, data)
    found = read(tmp_path, setting("dynamic")).x
    np.testing.assert_allclose(found[:, 2], by_day.resample("MS").mean()["2000":"2001"], rtol=1e-6)


def test_composites_hold_on_each_of_their_days(tmp_path: Path) -> None:
    data, by_day = composites(16)
    write(tmp_path, data)
    found = read(tmp_path, setting("dynamic"), times=pd.date_range("2001-01-01", "2001-12-31"), step="daily").x
    np.testing.assert_allclose(found[-365:, 2], by_day["2001"], rtol=1e-6)


def test_a_gap_between_composites_is_a_gap(tmp_path: Path) -> None:
    """Two missing 8-day composites leave under half of February 2001 (13 to 15 days), one leaves more."""
    data, by_day = composites(8, missing=("2001-02-02", "2001-02-10"))
    write(tmp_path, data)
    with pytest.raises(InputError, match=r"72 of 72 land cells \(100.0 % of the land area\) have no value in at least one of 24 steps"):
        read(tmp_path, setting("dynamic"))
    found = read(tmp_path, setting("dynamic", missing={"value": 9}))
    assert found.x[13, 0] == 9
    assert found.x.attrs["filled_share"] == pytest.approx(1 / 24)
    data, by_day = composites(8, missing=("2001-02-10",))
    write(tmp_path, data, "one.nc")
    np.testing.assert_allclose(read(tmp_path, setting("dynamic", path="one.nc")).x[13, 0], by_day["2001-02"].mean(), rtol=1e-6)


@pytest.mark.parametrize("offset", [0, 14, 27])
def test_a_monthly_stamp_means_its_month(tmp_path: Path, offset: int) -> None:
    data = monthly(np.arange(24.0), "2000-01-01")
    write(tmp_path, data.assign_coords(time=data.time + np.timedelta64(offset, "D")))
    np.testing.assert_array_equal(read(tmp_path, setting("dynamic")).x[:, 0], np.arange(24))


def test_time_bounds_win_over_the_stamp(tmp_path: Path) -> None:
    """Months stamped at their end, on the first of the next month."""
    data = monthly(np.arange(24.0), "2000-01-01")
    first = pd.DatetimeIndex(data.time.to_numpy())
    last = first + pd.offsets.MonthBegin(1)
    data = data.assign_coords(time=last)
    data.time.attrs["bounds"] = "time_bnds"
    data.time.encoding["units"] = "days since 1990-01-01"
    file = data.to_dataset().assign(time_bnds=(("time", "nv"), np.stack([first, last], axis=1)))
    file.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    np.testing.assert_array_equal(read(tmp_path, setting("dynamic")).x[:, 0], np.arange(24))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30))
def test_shared_time_adds_up(source_days: int, target_days: int, shift: int) -> None:
    day = pd.Timedelta(days=1)
    begins = [
        pd.date_range("2001-01-01", periods=30, freq=f"{source_days}D"),
        pd.date_range("2001-01-01", periods=9, freq=f"{target_days}D"),
    ]
    source = (begins[0], begins[0] + source_days * day)
    target = (begins[1] + shift * day, begins[1] + (shift + target_days) * day)
    days = time_overlap(source, target).toarray()
    hand = [[max(0, (min(e, f) - max(b, c)) / day) for c, f in zip(*source, strict=True)] for b, e in zip(*target, strict=True)]
    np.testing.assert_allclose(days, hand)


def test_blocks_do_not_change_a_number_and_bound_what_is_read() -> None:
    data, _ = composites(8)
    steps = pd.date_range("1999-01-01", "2002-11-01", freq="MS")
    ends = step_ends(steps, "monthly")
    overlap = time_overlap(intervals(time_steps(data.time, "x"), "x"), (steps, ends))
    lengths = ((ends - steps) / pd.Timedelta(days=1)).to_numpy()
    sizes: list[int] = []

    def cells(block: xr.DataArray) -> np.ndarray:
        sizes.append(block.sizes["time"])
        return block.to_numpy().reshape(block.sizes["time"], -1)

    one = read_steps(data, overlap, lengths, cells)
    assert sizes == [int((data.time < ends[-1].to_datetime64()).sum())]
    sizes.clear()
    many = read_steps(data, overlap, lengths, cells, block_bytes=3 * 8 * 72)
    assert max(sizes) == 3
    np.testing.assert_allclose(many, one, rtol=1e-6)


@pytest.mark.parametrize(
    ("stamps", "message"),
    [
        (["2001-01-01"], "1 time steps; give at least two, or time bounds"),
        (["2001-02-01", "2001-01-01", "2001-03-01"], "do not ascend or stand twice"),
        (["2001-01-01", "2001-01-31", "2001-03-01"], "do not ascend or stand twice"),
    ],
)
def test_time_axes_that_cannot_be_read(stamps: list[str], message: str) -> None:
    time = xr.DataArray(pd.DatetimeIndex(stamps), dims="time")
    with pytest.raises(InputError, match=message):
        intervals(time_steps(time, "x.nc: `x`"), "x.nc: `x`")


def test_another_calendar_is_refused(tmp_path: Path) -> None:
    data = monthly(np.arange(24.0)).assign_coords(
        time=("time", np.arange(24) * 30, {"units": "days since 2000-01-01", "calendar": "360_day"})
    )
    write(tmp_path, data)
    with pytest.raises(
        InputError, match="its calendar is `360_day`; allowed: the standard one; for monthly fields `cdo setcalendar,standard"
    ):
        read(tmp_path, setting("dynamic"))


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    write(tmp_path, on_grid(FIELD, units="K"))
    write(tmp_path, monthly(np.arange(3.0)), "short.nc")
    wrong = [
        setting(name="a", path="nowhere.nc"),
        setting(name="b", variable="nothing"),
        setting(name="c", variable="x", units="mm"),
        setting("dynamic", name="d", variable="x"),
        setting("dynamic", name="e", variable="x", path="short.nc"),
        setting(name="f", variable="x", path="short.nc"),
    ]
    said = [
        "nowhere.nc: no such file",
        "no variable `nothing`; it has",
        "the study says `mm`",
        "kind `dynamic` needs time",
        "covers 2001-01-01",
    ]
    for reader in (read_predictors, check_predictors):
        with pytest.raises(InputError) as caught:
            reader(wrong, tmp_path, GRID, CELLS, YEAR, "monthly")
        assert len(caught.value.problems) == 6
        for expected, problem in zip([*said, "kind `static` needs latitude, longitude"], caught.value.problems, strict=True):
            assert expected in problem


@pytest.mark.parametrize("size", ["small", "large"])
def test_checking_scans_some_steps_of_large_predictors(tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 steps in 2000-2001 a scan of 3 reads the first, the 13th and the last: a gap in the 7th is met by reading all."""
    monkeypatch.setattr(predictors, "SCANNED_STEPS", 3)
    monkeypatch.setattr(predictors, "SCANNED_VALUES", 0 if size == "large" else 1e9)
    for month, scanned in ((12, True), (18, False), (24, True), (35, True), (11, None)):
        data = monthly(np.arange(36.0), "1999-01-01")
        data[month, 0, 0] = np.nan
        write(tmp_path, data, f"{month}.nc")
        one = setting("dynamic", path=f"{month}.nc")
        if scanned is None or (size == "large" and not scanned):
            found = check_predictors([one], tmp_path, GRID, CELLS, YEAR, "monthly")
            assert found.table["first"].tolist() == ["2000-01-01"] and found.first == pd.Timestamp("2000-01-01")
            continue
        with pytest.raises(InputError, match="1 of 72 land cells"):
            check_predictors([one], tmp_path, GRID, CELLS, YEAR, "monthly")


def test_the_warm_up_reaches_as_far_as_the_longest_window(tmp_path: Path) -> None:
    write(tmp_path, monthly(np.arange(96.0), "1994-01-01"))
    one = setting("dynamic", running_means=[730])
    assert read_predictors([one], tmp_path, GRID, CELLS, YEAR, "monthly").time[0] == pd.Timestamp(
        "1999-02-01"
    )  # 24 months with January 2001
    lag = PredictorSettings(name="lag(x, 36)", derived=True)
    found = read_predictors([setting("dynamic"), lag], tmp_path, GRID, CELLS, YEAR, "monthly")
    assert found.time[0] <= pd.Timestamp("1998-01-01")


def test_a_check_knows_classes_and_dropped_cells(tmp_path: Path) -> None:
    write(tmp_path, fractions(np.full((3, *GRID.shape), 1 / 3)), "cover.nc")
    field = on_grid(FIELD.copy(), units="1")
    field[0, 0] = np.nan
    write(tmp_path, field)
    settings = [setting("fractions", name="cover", path="cover.nc", variable="x"), setting(missing="drop")]
    found = check_predictors(settings, tmp_path, GRID, CELLS, YEAR, "monthly")
    assert found.classes == {"cover": ["ENF", "GRA", "WAT"]} and found.first is None
    assert (~found.valid).sum() == 1


@pytest.mark.parametrize(
    "name", ["mean_season(x)", "anomaly(x)", "lag(x, 2)", "running_mean(x, 90)", "potential_radiation", "potential_radiation_change"]
)
def test_derived_predictors_need_no_file(tmp_path: Path, name: str) -> None:
    write(tmp_path, monthly(np.arange(24.0), "2000-01-01"))
    both = [setting("dynamic"), PredictorSettings(name=name, derived=True)]
    assert set(read_predictors(both, tmp_path, GRID, CELLS, YEAR, "monthly")) == {"x", "valid"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gradient(x)", "not a derived predictor; allowed: potential_radiation"),
        ("lag(x)", "not a derived predictor"),
        ("running_mean(x, 0)", "not a derived predictor"),
        ("anomaly(y)", "`y` is not a dynamic predictor of this study; allowed: x"),
    ],
)
def test_unknown_derived_predictors_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_predictors([setting("dynamic"), PredictorSettings(name=name, derived=True)], tmp_path, GRID, CELLS, YEAR, "monthly")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"derived": True}, "a derived predictor has no path"),
        ({"path": None}, "give `path` and `kind`"),
        ({"kind": None}, "give `path` and `kind`"),
        ({"name": "a b"}, "letters, digits"),
        ({"running_means": [30]}, "belong to a dynamic predictor"),
        ({"site_column": "ta"}, "needs `at_towers: site`"),
        ({"missing": "zero"}, "missing"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_contradict_themselves(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        setting(**wrong)


def test_a_stated_value_is_read_from_a_study_file() -> None:
    assert setting(missing={"value": 0}).missing == FillValue(value=0.0)


def real_land(folder: Path, southern_limit: float) -> LandCells:
    """The land of the real study, north of a latitude."""
    with xr.open_dataset(folder / "region_masks_1deg.nc", engine="h5netcdf") as masks:
        fraction = masks.land_fraction.to_numpy().astype(float)
    grid = Grid.global_regular(1.0)
    everything = Regions(("world",), np.ones((1, *grid.shape)))
    return LandCells.build(grid, fraction, everything, keep=np.broadcast_to(grid.lat[:, None] > southern_limit, grid.shape))


@pytest.mark.parametrize(("southern_limit", "optimum", "climate", "greenness"), [(-90, 13, 9, 8.5), (-60, 5, 1, 0)])
def test_real_layers_miss_what_their_readme_says(
    shared_data: Path, southern_limit: float, optimum: float, climate: float, greenness: float
) -> None:
    """Percent of the land area without a value, as stated beside the data."""
    cells = real_land(shared_data / "real", southern_limit)
    stated = {
        "t_opt_c": optimum,
        "t_mean_c": climate,
        "ghi_kwh_m2_d": climate,
        "wind_rms_m_s": climate,
        "ndvi_max": greenness,
        "fapar_max": greenness,
    }
    chosen = [PredictorSettings(name=n, path="static_predictors_1deg.nc", kind="static", missing="nearest") for n in stated]
    found = read_predictors(chosen, shared_data / "real", cells.grid, cells, YEAR, "monthly")
    for name, percent in stated.items():
        assert 100 * found[name].attrs["filled_share"] == pytest.approx(percent, abs=0.5)
        assert np.isfinite(found[name]).all()


def test_real_temperature_keeps_its_global_mean(shared_data: Path) -> None:
    """2.5 degrees with centres on the poles and 0..360 or not, to 1 degree: the global mean of each month is the file's own."""
    grid = Grid.global_regular(1.0)
    cells = land(grid)
    ta = PredictorSettings(name="ta", path="t2m_monthly_2p5deg.nc", variable="t2m", kind="dynamic", units="degC")
    found = read_predictors([ta], shared_data / "real", grid, cells, YEAR, "monthly").ta
    with xr.open_dataset(shared_data / "real" / "t2m_monthly_2p5deg.nc", engine="h5netcdf") as file:
        theirs = file.t2m.sel(time=found.time).load()
    source = Grid(theirs.lat.to_numpy(), theirs.lon.to_numpy())
    expected = (theirs.to_numpy() * source.cell_area).sum(axis=(1, 2)) / source.cell_area.sum()
    np.testing.assert_allclose((found.to_numpy() * cells.land_area).sum(axis=1) / cells.land_area.sum(), expected, atol=1e-4)
    assert 13 < expected.mean() < 16  # the Earth's mean surface air temperature [degC]

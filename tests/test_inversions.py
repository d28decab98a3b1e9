"""Inversions: tables and gridded files become the regional integrals they stand for."""

import calendar
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, Regions
from dualflux.sources.files import gridded
from dualflux.sources.files.region_weights import region_shares, regional_weights
from dualflux.sources.inversions import Inversions, InversionSource, read_inversions

TIMES = pd.date_range("2003-01-01", "2004-12-01", freq="MS")
GRID = Grid.global_regular(4.0)
LAND = np.ones(GRID.shape)
# Three bands, edges on cell edges, so that their areas are known: 2 pi R^2 (sin north - sin south).
BANDS = {"south": (-90, -30), "tropics": (-30, 30), "north": (30, 90)}
PGC_IN = {"PgC": 1.0, "GtC": 1.0, "TgC": 1e3, "gC": 1e15, "kgC": 1e12, "PgCO2": 44.009 / 12.011, "GtCO2": 44.009 / 12.011}


def band_area(name: str) -> float:
    south, north = BANDS[name]
    return 2 * np.pi * EARTH_RADIUS**2 * (np.sin(np.radians(north)) - np.sin(np.radians(south)))


def bands(grid: Grid) -> Regions:
    row = [(grid.lat > south) & (grid.lat < north) for south, north in BANDS.values()]
    return Regions(tuple(BANDS), np.repeat(np.array(row, dtype=float)[:, :, None], grid.lon.size, axis=2))


REGIONS = bands(Grid.global_regular(2.0))
GRID2 = Grid.global_regular(2.0)


def read(root: Path, *sources: dict[str, Any], times: pd.DatetimeIndex = TIMES, **world: Any) -> Inversions:
    parsed = [TypeAdapter(InversionSource).validate_python({"implausible": "accept", **s}) for s in sources]
    grid = world.get("grid", GRID2)
    return read_inversions(parsed, root, grid, world.get("regions", REGIONS), world.get("land", np.ones(grid.shape)), times)


def days(time: pd.Timestamp) -> int:
    return calendar.monthrange(time.year, time.month)[1]


def share_of_year(time: pd.Timestamp) -> float:
    return days(time) / (366 if calendar.isleap(time.year) else 365)


# --- tables ---------------------------------------------------------------------------------------------------------


def table_rows(monthly: np.ndarray, unit: str = "PgC month-1", product: str = "A", times: pd.DatetimeIndex = TIMES) -> pd.DataFrame:
    """Rows of (region, month) integrals [PgC month-1] written in another unit."""
    mass, per = unit.split(" ")
    rows = []
    for region, series in zip(BANDS, monthly, strict=True):
        for time, value in zip(times, series, strict=True):
            rate = value / share_of_year(time) if per == "yr-1" else value
            rows.append((product, region, f"{time:%Y-%m-%d}", repr(float(rate * PGC_IN[mass])), unit))
    return pd.DataFrame(rows, columns=["product", "region", "time", "value", "unit"])


def ones(value: float = 1.0, months: int = len(TIMES)) -> np.ndarray:
    return np.full((3, months), value)


def test_a_familys_releases_carry_its_name_and_others_their_own(tmp_path: Path) -> None:
    for name in "AB":
        table_rows(ones(), product=name).to_csv(tmp_path / f"{name}.csv", index=False)
    sources = [{"format": "table", "path": f"{name}.csv", **more} for name, more in (("A", {"family": "system"}), ("B", {}))]
    found = read(tmp_path, *sources).integral
    assert found["product"].to_numpy().tolist() == ["A", "B"]
    assert found["family"].to_numpy().tolist() == ["system", "B"]


def test_a_family_with_the_name_of_another_product_is_refused(tmp_path: Path) -> None:
    for name in "AB":
        table_rows(ones(), product=name).to_csv(tmp_path / f"{name}.csv", index=False)
    sources = [{"format": "table", "path": f"{name}.csv", **more} for name, more in (("A", {"family": "B"}), ("B", {}))]
    with pytest.raises(InputError, match="family B of A is the name of a product; name the family otherwise"):
        read(tmp_path, *sources)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), unit=st.sampled_from([f"{m} {p}" for m in PGC_IN for p in ("yr-1", "month-1")]))
def test_a_table_in_any_unit_reads_back_equal(tmp_path: Path, seed: int, unit: str) -> None:
    random = np.random.default_rng(seed)
    monthly = random.normal(0, 1, (3, len(TIMES)))
    table_rows(monthly, unit).sample(frac=1, random_state=seed).to_csv(tmp_path / "t.csv", index=False)
    found = read(tmp_path, {"format": "table", "path": "t.csv"}).integral
    np.testing.assert_allclose(found.sel(product="A", region=list(BANDS)), monthly, rtol=1e-12)
    np.testing.assert_allclose(found.sel(product="A", region="global"), monthly.sum(axis=0), rtol=1e-12, atol=1e-12)


def test_units_may_differ_from_row_to_row(tmp_path: Path) -> None:
    monthly = np.arange(3.0)[:, None] + np.arange(24.0)
    mixed = pd.concat([table_rows(monthly, "TgC yr-1").iloc[:30], table_rows(monthly, "PgC month-1").iloc[30:]])
    mixed.to_csv(tmp_path / "t.csv", index=False)
    found = read(tmp_path, {"format": "table", "path": "t.csv"}).integral
    np.testing.assert_allclose(found.sel(product="A", region=list(BANDS)), monthly)


def test_a_constant_rate_sums_to_itself_in_ordinary_and_leap_years(tmp_path: Path) -> None:
    rows = table_rows(ones()).assign(value="-2.5", unit="PgC yr-1")
    rows.to_csv(tmp_path / "t.csv", index=False)
    annual = read(tmp_path, {"format": "table", "path": "t.csv"}).integral.groupby("time.year").sum()
    np.testing.assert_allclose(annual.sel(region="north"), -2.5)  # 2003 and the leap year 2004
    np.testing.assert_allclose(annual.sel(region="global"), -7.5)


def test_a_product_may_begin_and_end_inside_the_study(tmp_path: Path) -> None:
    short = pd.date_range("2003-06-01", "2004-02-01", freq="MS")
    rows = [table_rows(ones()), table_rows(ones(2.0, len(short)), product="B", times=short)]
    pd.concat(rows).to_csv(tmp_path / "t.csv", index=False)
    found = read(tmp_path, {"format": "table", "path": "t.csv"})
    assert found.integral.sel(product="B", region="north").notnull().sum() == len(short)
    note = found.notes.set_index("product").loc["B"]
    assert (note["first"], note["last"]) == (short[0], short[-1])
    assert note["mean_annual_global"] == pytest.approx(12 * 3 * 2.0)
    assert list(read(tmp_path, {"format": "table", "path": "t.csv", "products": ["B"]}).integral["product"]) == ["B"]


def without(**change: Any) -> pd.DataFrame:
    return table_rows(ones()).assign(**change)


@pytest.mark.parametrize(
    ("rows", "source", "message"),
    [
        (table_rows(ones()).drop(columns="unit"), {}, "no column `unit`"),
        (without(unit="bushel yr-1"), {}, "unit `bushel yr-1`; allowed: PgC yr-1"),
        (without(region="Atlantis"), {}, "regions Atlantis are not in the mask; allowed: south, tropics, north"),
        (without().query("region != 'north'"), {}, "no rows for the mask's regions north"),
        (pd.concat([without(), without().iloc[[3]]]), {}, "1 duplicated values, first south 2003-04"),
        (without().query("time != '2003-05-01'"), {}, "A has gaps inside its record: 1 month, first 2003-05"),
        (without(value=["x"] + ["1"] * 71), {}, "text among numbers: 1 of 72 rows, first `x` in line 2"),
        (without(time="spring"), {}, "column time: not a date"),
        (table_rows(ones(), times=pd.date_range("1990-01-01", periods=24, freq="MS")), {}, "A has 1990-01 to 1991-12, none of the study's"),
        (without(), {"products": ["Z"]}, "no product Z; it has A"),
        (without(region=["global"] * 24 + ["tropics"] * 24 + ["north"] * 24), {}, "`global` is always the sum of the parts"),
        (pd.concat([without(), without(product="B").query("region != 'north'")]), {}, "B has no value for region north"),
        (without().iloc[:0], {}, "the table has no rows"),
        (without(product=[""] + ["A"] * 71), {}, "1 rows without `product`, first in line 2"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, rows: pd.DataFrame, source: dict[str, Any], message: str) -> None:
    rows.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError) as error:
        read(tmp_path, {"format": "table", "path": "t.csv", **source})
    assert any(message in p for p in error.value.problems), error.value.problems


def test_all_problems_of_all_sources_come_at_once(tmp_path: Path) -> None:
    without(unit="bushel").to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError) as error:
        read(tmp_path, {"format": "table", "path": "t.csv"}, {"format": "table", "path": "absent.csv"})
    assert len(error.value.problems) == 2
    assert "absent.csv: no such file" in error.value.problems[1]


def test_a_product_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        table_rows(ones()).to_csv(tmp_path / name, index=False)
    with pytest.raises(InputError, match=r"product A comes from a\.csv, b\.csv"):
        read(tmp_path, {"format": "table", "path": "a.csv"}, {"format": "table", "path": "b.csv"})


def test_no_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none given"):
        read(tmp_path)


def test_real_inversions(shared_data: Path) -> None:
    root = shared_data / "real"
    with xr.open_dataset(root / "region_masks_1deg.nc") as masks:
        grid = Grid.global_regular(1.0)
        regions = Regions.from_integer_mask(masks["lat_band"], grid, "mask")
        land = masks["land_fraction"].to_numpy().astype(float)
    times = pd.date_range("2001-01-01", "2012-12-01", freq="MS")
    source = {"format": "table", "path": "inversions_latbands_monthly.csv"}
    found = read(root, source, times=times, grid=grid, regions=regions, land=land)
    assert found.integral.shape == (4, 4, 144)
    assert found.integral.notnull().all()
    assert found.notes["mean_annual_global"].between(-6, 2).all()


# --- the Global Carbon Budget file ----------------------------------------------------------------------------------

MEMBERS = {"CAMS": TIMES[0], "CarboScope sEXT": TIMES[0], "OCO satellite": TIMES[9]}


def gcb_rate(member: int, band: str, time: pd.Timestamp) -> float:
    """A flux [PgC m-2 yr-1] that differs by member, band and month."""
    return 1e-14 * ((member + 1) * (list(BANDS).index(band) - 1.3) + 0.1 * time.month)


def gcb_file(path: Path, grid: Grid = GRID, name: str = "land_flux_only_fossil_cement_adjusted") -> xr.Dataset:
    """A file in the documented layout: latitude descending, longitude 0..360, names as characters, NaN before a start."""
    months = pd.date_range("2002-01-16", "2005-12-16", freq="MS") + pd.Timedelta(days=15)
    flux = np.full((len(MEMBERS), len(months), *grid.shape), np.nan, dtype=np.float32)
    for m, start in enumerate(MEMBERS.values()):
        for t, time in enumerate(months):
            if time >= start:
                for band, (south, north) in BANDS.items():
                    flux[m, t, (grid.lat > south) & (grid.lat < north)] = gcb_rate(m, band, time)
    width = max(map(len, MEMBERS))
    letters = np.array([list(n.ljust(width)) for n in MEMBERS], dtype="S1")
    data = xr.Dataset(
        {
            name: (("ensemble_member", "time", "latitude", "longitude"), flux, {"units": "PgC/m2/yr"}),
            "ensemble_member_name": (("ensemble_member", "nchar"), letters),
            "cell_area": (("latitude", "longitude"), grid.cell_area, {"units": "m2"}),
        },
        coords={"time": months, "latitude": grid.lat, "longitude": grid.lon},
    )
    data = data.assign_coords(longitude=data.longitude % 360).sortby("longitude").sortby("latitude", ascending=False)
    data.to_netcdf(path, engine="h5netcdf", encoding={"time": {"units": "days since 1900-01-01"}})
    return data


@pytest.mark.parametrize("resolution", [2.0, 3.0, 5.0])
def test_global_carbon_budget_file_integrates_to_the_analytic_values(tmp_path: Path, resolution: float) -> None:
    gcb_file(tmp_path / "gcb.nc", Grid.global_regular(resolution))
    found = read(tmp_path, {"format": "gcb", "path": "gcb.nc"})
    assert list(found.integral["product"].to_numpy()) == list(MEMBERS)
    for m, (member, start) in enumerate(MEMBERS.items()):
        for time in TIMES:
            parts = [gcb_rate(m, b, time) * band_area(b) * share_of_year(time) for b in BANDS]
            got = found.integral.sel(product=member, time=time)
            if time < start:
                assert got.isnull().all()
            else:
                np.testing.assert_allclose(got, [*parts, sum(parts)], rtol=1e-5, atol=1e-9)  # the file is float32


def test_february_is_not_a_twelfth_of_the_year(tmp_path: Path) -> None:
    gcb_file(tmp_path / "gcb.nc")
    february = read(tmp_path, {"format": "gcb", "path": "gcb.nc"}).integral.sel(product="CAMS", region="north", time="2003-02-01").item()
    rate = gcb_rate(0, "north", pd.Timestamp("2003-02-01")) * band_area("north")
    assert february == pytest.approx(rate * 28 / 365, rel=1e-5)


def test_members_are_chosen_by_name(tmp_path: Path) -> None:
    gcb_file(tmp_path / "gcb.nc")
    found = read(tmp_path, {"format": "gcb", "path": "gcb.nc", "products": ["OCO satellite"]})
    assert list(found.notes["product"]) == ["OCO satellite"]
    assert found.notes["first"][0] == TIMES[9]
    assert bool(found.notes["includes_fire"][0])


def test_a_member_without_the_study_years_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    gcb_file(tmp_path / "gcb.nc")
    early = pd.date_range("2002-01-01", "2003-06-01", freq="MS")
    with pytest.raises(InputError, match=r"OCO satellite has no value in the study's months 2002-01 to 2003-06.*`products`"):
        read(tmp_path, {"format": "gcb", "path": "gcb.nc"}, times=early)
    kept = read(tmp_path, {"format": "gcb", "path": "gcb.nc", "products": ["CAMS", "CarboScope sEXT"]}, times=early[12:])
    assert kept.integral.notnull().all()


def test_member_names_as_text_or_transposed_characters() -> None:
    letters = np.array([list("CAMS "), list("UoE\0\0")], dtype="S1")
    for values, dims in (
        (np.array(["CAMS", "UoE "]), ("ensemble_member",)),
        (np.array([b"CAMS", b"UoE"]), ("ensemble_member",)),
        (letters, ("ensemble_member", "n")),
        (letters.T, ("n", "ensemble_member")),
    ):
        assert gridded.member_names(xr.DataArray(values, dims=dims), Path("f.nc")) == ["CAMS", "UoE"]


def test_the_river_adjusted_variable_is_marked(tmp_path: Path) -> None:
    name = "land_flux_fossil_cement_and_river_adjusted"
    gcb_file(tmp_path / "gcb.nc", name=name)
    assert read(tmp_path, {"format": "gcb", "path": "gcb.nc", "variable": name}).notes["river_adjusted"].all()
    with pytest.raises(InputError, match=r"no variable `land_flux_only_fossil_cement_adjusted`; it has .*river_adjusted"):
        read(tmp_path, {"format": "gcb", "path": "gcb.nc"})


# --- any gridded flux -----------------------------------------------------------------------------------------------


def field(values: Any, grid: Grid = GRID, times: pd.DatetimeIndex = TIMES, units: str | None = "gC m-2 d-1") -> xr.DataArray:
    full = np.broadcast_to(np.asarray(values, dtype=float), (len(times), *grid.shape)).copy()
    coords = {"time": times, "lat": grid.lat, "lon": grid.lon}
    return xr.DataArray(full, dims=("time", "lat", "lon"), coords=coords, name="flux", attrs={} if units is None else {"units": units})


def write(data: xr.DataArray, path: Path, engine: Any = "h5netcdf") -> None:
    data.to_dataset().to_netcdf(path, engine=engine)


SOURCE = {"format": "gridded", "path": "f.nc", "product": "P", "variable": "flux", "per": "area", "sign": "to_atmosphere"}


def test_a_flux_per_area_and_its_sign(tmp_path: Path) -> None:
    write(field(-0.1), tmp_path / "f.nc")
    got = read(tmp_path, SOURCE).integral.sel(product="P", time="2004-02-01")
    expected = [-0.1 * 29 * band_area(b) / 1e15 for b in BANDS]
    np.testing.assert_allclose(got, [*expected, sum(expected)], rtol=1e-9)
    flipped = read(tmp_path, {**SOURCE, "sign": "to_land"}).integral
    np.testing.assert_allclose(flipped.sel(product="P", time="2004-02-01"), -got)


def test_a_flux_per_cell_is_already_an_integral(tmp_path: Path) -> None:
    write(field(1e-3, units="PgC yr-1"), tmp_path / "f.nc")
    source = {**SOURCE, "per": "cell"}
    got = read(tmp_path, source).integral.groupby("time.year").sum()
    np.testing.assert_allclose(got.sel(product="P", region="global"), 1e-3 * GRID.lat.size * GRID.lon.size, rtol=1e-9)
    with pytest.raises(InputError, match=r"per area: unit `PgC yr-1`; allowed: gC m-2 d-1"):
        read(tmp_path, SOURCE)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy", "zarr"])
def test_netcdf_4_classic_netcdf_and_zarr(tmp_path: Path, engine: str) -> None:
    data = field(0.2)
    if engine == "zarr":
        data.to_dataset().to_zarr(tmp_path / "f.nc", zarr_format=2)
    else:
        write(data, tmp_path / "f.nc", engine)
    got = read(tmp_path, SOURCE).integral.sel(product="P", region="tropics", time="2003-01-01").item()
    assert got == pytest.approx(0.2 * 31 * band_area("tropics") / 1e15)


def test_order_of_dimensions_and_coordinates_does_not_matter(tmp_path: Path) -> None:
    random = np.random.default_rng(0).normal(size=(len(TIMES), *GRID.shape))
    data = field(random)
    write(data, tmp_path / "f.nc")
    straight = read(tmp_path, SOURCE).integral
    turned = data.rename(lat="latitude", lon="longitude").transpose("longitude", "time", "latitude")
    turned = turned.assign_coords(longitude=turned.longitude % 360).sortby("longitude").sortby("latitude", ascending=False)
    write(turned.isel(time=slice(None, None, -1)), tmp_path / "f.nc")
    np.testing.assert_allclose(read(tmp_path, SOURCE).integral, straight, atol=1e-12)


def test_the_files_own_cell_area_is_used_and_checked(tmp_path: Path) -> None:
    area = xr.DataArray(GRID.cell_area * 1.01, dims=("lat", "lon"), name="area")
    xr.merge([field(1.0), area.assign_coords(lat=GRID.lat, lon=GRID.lon)]).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    plain = read(tmp_path, SOURCE).integral
    np.testing.assert_allclose(read(tmp_path, {**SOURCE, "area": "area"}).integral, plain * 1.01)
    xr.merge([field(1.0), (area / 1e6).assign_coords(lat=GRID.lat, lon=GRID.lon)]).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"cell area `area` sums to 5.*allowed: m2 within 2 %"):
        read(tmp_path, {**SOURCE, "area": "area"})


def test_small_blocks_give_the_same_sums_as_one_block() -> None:
    random = np.random.default_rng(1).normal(size=(len(TIMES), *GRID.shape))
    data = field(random)
    weights = regional_weights(data, GRID2, REGIONS, np.ones(GRID2.shape), Path("f.nc"))
    every = np.arange(len(TIMES))
    whole = gridded.integrate_fields(data, every, weights, "error", "f.nc")
    one_by_one = gridded.integrate_fields(data, every, weights, "error", "f.nc", block_bytes=1)
    by_five = gridded.integrate_fields(data, every, weights, "error", "f.nc", block_bytes=5 * 8 * random[0].size)
    np.testing.assert_allclose(one_by_one, whole, rtol=1e-13)
    np.testing.assert_allclose(by_five, whole, rtol=1e-13)
    by_hand = (random * GRID.cell_area).sum(axis=(1, 2))
    np.testing.assert_allclose(whole[:, -1], by_hand)


def test_a_long_file_is_never_held_in_memory(tmp_path: Path) -> None:
    times = pd.date_range("1990-01-01", periods=600, freq="MS")
    write(field(1.0, times=times).astype("float32"), tmp_path / "f.nc")
    size = 600 * GRID.lat.size * GRID.lon.size * 8
    with gridded.open_gridded(tmp_path / "f.nc") as data:
        weights = regional_weights(data["flux"], GRID2, REGIONS, np.ones(GRID2.shape), Path("f.nc"))
        tracemalloc.start()
        gridded.integrate_fields(data["flux"], np.arange(600), weights, "error", "f.nc", block_bytes=size / 50)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < size / 5


@pytest.mark.parametrize(
    ("data", "change", "message"),
    [
        (field(1.0, units=None), {}, "no unit; allowed: gC m-2 d-1"),
        (field(1.0), {"units": "kgC m-2 s-1"}, "the file says unit `gC m-2 d-1`, the study `kgC m-2 s-1`"),
        (field(1.0), {"variable": "nbp"}, "no variable `nbp`; it has flux, lat, lon, time"),
        (field(1.0, times=TIMES - pd.DateOffset(years=20)), {}, "has 1983-01 to 1984-12, none of the study's months 2003-01 to 2004-12"),
        (
            field(1.0, times=pd.date_range("2003-01-01", periods=24, freq="D")),
            {},
            "its 24 time steps (2003-01-01 to 2003-01-24) are daily; allowed: monthly",
        ),
        (field(1.0).isel(time=[0, 1, 3]), {}, "P has gaps inside its record: 1 month, first 2003-03"),
        (field(np.where(np.arange(24) == 3, np.nan, 1.0)[:, None, None]), {}, "P has gaps inside its record: 1 month, first 2003-04"),
        (field(np.nan), {}, "P has no value in the study's months 2003-01 to 2004-12"),
        (field(1.0).drop_vars("lat"), {}, "needed: one latitude and one longitude"),
        (field(1.0).rename(time="epoch"), {}, "one must be a time coordinate"),
        (field(1.0).assign_coords(time=np.arange(24.0)), {}, "its time coordinate `time`: has no unit; allowed: CF time units"),
        (field(1.0).expand_dims(level=2), {}, "choose one level or member first"),
        (field(1.0).sel(lat=slice(-20, 90)), {}, "its grid covers only part of the land of south (0%), tropics"),
        (field(1.0), {"products": ["Q"]}, "no product Q; it has P"),
        (field(1.0), {"area": "areacella"}, "no variable `areacella`"),
    ],
)
def test_a_wrong_grid_is_named(tmp_path: Path, data: xr.DataArray, change: dict[str, Any], message: str) -> None:
    write(data, tmp_path / "f.nc")
    with pytest.raises(InputError) as error:
        read(tmp_path, {**SOURCE, **change})
    assert any(message in p for p in error.value.problems), error.value.problems


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.nc").write_bytes(b"GRIB....")
    with pytest.raises(InputError, match=r"f\.nc: GRIB, which is not read here"):
        read(tmp_path, SOURCE)
    with pytest.raises(InputError, match=r"absent\.nc: no such file"):
        read(tmp_path, {**SOURCE, "path": "absent.nc"})


@pytest.mark.parametrize("change", [{"sign": "up"}, {"per": "gridbox"}, {"typo": 1}, {"products": []}])
def test_an_unknown_setting_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(InversionSource).validate_python({**SOURCE, **change})


def test_a_file_without_ensemble_members_is_no_global_carbon_budget_file(tmp_path: Path) -> None:
    write(field(1.0), tmp_path / "f.nc")
    with pytest.raises(InputError, match="use `format: gridded`"):
        read(tmp_path, {"format": "gcb", "path": "f.nc", "variable": "flux"})


@pytest.mark.parametrize("fill", [np.nan, -9999.0, 1e20, -np.inf])
def test_cells_without_a_value_are_an_error_on_land_unless_said_to_be_zero(tmp_path: Path, fill: float) -> None:
    hole = np.ones(GRID.shape)
    hole[20, 30] = fill
    write(field(hole), tmp_path / "f.nc")
    with pytest.raises(InputError, match=r"no value in 1 of 4050 cells that are land in a region.*`missing: zero`"):
        read(tmp_path, SOURCE)
    got = read(tmp_path, {**SOURCE, "missing": "zero"}).integral.sel(product="P", region="global", time="2003-01-01").item()
    assert got == pytest.approx((GRID.cell_area.sum() - GRID.cell_area[20, 30]) * 31 / 1e15)


def test_cells_without_a_value_at_sea_need_no_rule(tmp_path: Path) -> None:
    west = np.broadcast_to(GRID.lon < 0, GRID.shape)
    land = np.broadcast_to(GRID2.lon < 0, GRID2.shape).astype(float)
    write(field(np.where(west, 1.0, np.nan)), tmp_path / "f.nc")
    got = read(tmp_path, SOURCE, land=land).integral.sel(product="P", region="tropics", time="2003-01-01").item()
    assert got == pytest.approx(band_area("tropics") / 2 * 31 / 1e15)


def test_values_missing_in_some_months_only_are_an_error(tmp_path: Path) -> None:
    data = field(1.0)
    data[5, 20, 30] = np.nan
    write(data, tmp_path / "f.nc")
    with pytest.raises(InputError, match="1 cells have a value in some months and none in others"):
        read(tmp_path, {**SOURCE, "missing": "zero"})


# --- which region a cell's flux belongs to --------------------------------------------------------------------------


def drawn(resolution: float = 10.0) -> tuple[Grid, np.ndarray]:
    grid = Grid.global_regular(resolution)
    return grid, np.zeros(grid.shape)


def test_a_coarse_cell_is_divided_by_the_land_area_in_it() -> None:
    grid, land = drawn()
    east = np.broadcast_to(grid.lon > 5, grid.shape)
    regions = Regions(("west", "east"), np.stack([~east, east]).astype(float))
    row = 9  # 0 to 10 degrees north; the coarse cell spans longitudes 0 to 20 and latitudes -10 to 10
    land[row, grid.lon == 5], land[row, grid.lon == 15] = 0.75, 0.25
    coarse = Grid.global_regular(20.0)
    shares, found = region_shares(coarse, grid, regions, land)
    cell = int(np.ravel_multi_index([int(i[0]) for i in coarse.cell_of(np.array([5.0]), np.array([10.0]))], coarse.shape))
    np.testing.assert_allclose(shares.toarray()[cell], [0.75, 0.25])
    assert found[cell] == pytest.approx(grid.cell_area[row, 0] / coarse.cell_area.ravel()[cell])


def test_a_coastal_cell_of_a_land_only_mask_keeps_all_its_flux() -> None:
    grid, land = drawn()
    land[9, 18] = 0.3
    fraction = np.zeros((2, *grid.shape))
    fraction[:, 9, 18] = 0.2, 0.1  # polygons that end at the coast: they sum to the land fraction
    shares, _ = region_shares(grid, grid, Regions(("a", "b"), fraction), land)
    np.testing.assert_allclose(shares.toarray()[9 * 36 + 18], [2 / 3, 1 / 3])


def test_land_in_no_region_stays_outside() -> None:
    grid, land = drawn()
    land[9, 18:20] = 1.0
    fraction = np.zeros((1, *grid.shape))
    fraction[0, 9, 18] = 0.6  # 40 % of this cell and all of its neighbour are land of nobody
    shares, _ = region_shares(grid, grid, Regions(("a",), fraction), land)
    assert shares[9 * 36 + 18, 0] == pytest.approx(0.6)
    assert shares[9 * 36 + 19, 0] == 0


def test_flux_beyond_the_coast_goes_to_the_nearest_land_within_reach() -> None:
    grid, land = drawn(2.0)
    land[45, 90:92] = 1.0  # two cells at 1 degree north, 1 and 3 degrees east
    fraction = np.zeros((1, *grid.shape))
    fraction[0, 45, 90] = 1.0
    shares = region_shares(grid, grid, Regions(("a",), fraction), land)[0].toarray().reshape(grid.shape)
    assert shares[45, 89] == 1  # 222 km west of the region
    assert shares[45, 88] == 1  # 445 km
    assert shares[45, 87] == 0  # 667 km: out of reach
    assert shares[45, 92] == 0  # its nearest land is land of nobody


def test_flux_outside_the_study_domain_stays_outside() -> None:
    domain = Grid(np.arange(31.0, 60, 2), np.arange(-9.0, 40, 2))
    regions = Regions(("europe",), np.ones((1, *domain.shape)))
    source = Grid.global_regular(4.0)
    shares = region_shares(source, domain, regions, np.ones(domain.shape))[0].toarray().ravel()
    assert (shares * source.cell_area.ravel()).sum() == pytest.approx(domain.cell_area.sum())


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), resolution=st.sampled_from([5.0, 7.5, 10.0, 22.5]))
def test_the_globe_is_the_regions_and_what_lies_outside(tmp_path: Path, seed: int, resolution: float) -> None:
    random = np.random.default_rng(seed)
    grid, source = Grid.global_regular(10.0), Grid.global_regular(resolution)
    land = np.clip(random.uniform(-1, 1.5, grid.shape), 0, 1)
    fraction = random.dirichlet(np.ones(4), grid.shape).transpose(2, 0, 1)[:3] * (random.random(grid.shape) < 0.6)
    regions = Regions(("a", "b", "c"), fraction)
    values = random.normal(size=(len(TIMES), *source.shape))
    write(field(values, source), tmp_path / "f.nc")
    found = read(tmp_path, SOURCE, grid=grid, regions=regions, land=land)
    own = (values * source.cell_area).sum(axis=(1, 2)) * [days(t) for t in TIMES] / 1e15
    np.testing.assert_allclose(found.integral.sel(product="P", region="global"), own, rtol=1e-9, atol=1e-12)
    shares, _ = region_shares(source, grid, regions, land)
    rest = 1 - np.asarray(shares.sum(axis=1)).reshape(source.shape)
    assert shares.min() >= 0
    assert rest.min() > -1e-9
    outside = (values * rest * source.cell_area).sum(axis=(1, 2)) * [days(t) for t in TIMES] / 1e15
    parts = found.integral.sel(product="P", region=["a", "b", "c"]).sum("region")
    np.testing.assert_allclose(parts + outside, own, rtol=1e-7, atol=1e-9)
    assert found.notes["outside_regions"][0] == pytest.approx(outside.mean() * 12, abs=1e-9)


def test_source_and_study_grids_may_differ_without_changing_a_number(tmp_path: Path) -> None:
    wave = np.sin(np.radians(GRID2.lat))[:, None] * np.cos(np.radians(2 * GRID2.lon))
    fine = Grid.global_regular(1.0)
    write(field(wave, GRID2), tmp_path / "f.nc")
    same = read(tmp_path, SOURCE).integral
    write(field(np.kron(wave, np.ones((2, 2))), fine), tmp_path / "f.nc")
    np.testing.assert_allclose(read(tmp_path, SOURCE).integral, same, atol=1e-12)

"""Reference products: integrals with answers known from geometry, and every bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, Regions
from dualflux.sources.references import GriddedReference, ReferenceSource, TableReference, read_references, reference_maps

GRID = Grid.global_regular(30.0)
REGIONS = Regions(
    ("south", "north"),
    np.stack([np.broadcast_to(GRID.lat[:, None] < 0, GRID.shape), np.broadcast_to(GRID.lat[:, None] > 0, GRID.shape)]).astype(float),
)
ALL_LAND = np.ones(GRID.shape)
TIMES = pd.date_range("2001-01-01", "2001-12-01", freq="MS")
HEMISPHERE = 2 * np.pi * EARTH_RADIUS**2  # m2


def write(
    path: Path,
    flux: np.ndarray,
    resolution: float = 15.0,
    start: str = "2001-01-01",
    units: str | None = "gC m-2 d-1",
    stamp: str = "MS",
    north_first: bool = False,
    land: np.ndarray | None = None,
) -> None:
    grid = Grid.global_regular(resolution)
    time = pd.date_range(start, periods=len(flux), freq=stamp)
    data = xr.Dataset(
        {"NEE": (("time", "lat", "lon"), flux, {} if units is None else {"units": units})}, {"time": time, "lat": grid.lat, "lon": grid.lon}
    )
    if land is not None:
        data["land_fraction"] = ("lat", "lon"), land
    data = data.isel(lat=slice(None, None, -1)) if north_first else data
    data.to_netcdf(path, engine="h5netcdf")


def ones(months: int = 12, resolution: float = 15.0) -> np.ndarray:
    return np.ones((months, round(180 / resolution), round(360 / resolution)))


def read(folder: Path, times: pd.DatetimeIndex = TIMES, land: np.ndarray = ALL_LAND, **settings: Any) -> xr.DataArray:
    gridded = {"format": "gridded", "product": "X", "path": "x.nc", "variable": "NEE"} | settings
    return read_references([GriddedReference(**gridded)], folder, GRID, REGIONS, land, times)


def test_one_gram_a_day_everywhere(tmp_path: Path) -> None:
    write(tmp_path / "x.nc", ones(), north_first=True, stamp="ME")
    found = read(tmp_path)
    assert found.dims == ("product", "region", "time") and found.attrs["units"] == "PgC month-1"
    expected = np.outer([1, 1, 2], TIMES.days_in_month) * HEMISPHERE / 1e15
    np.testing.assert_allclose(found.sel(product="X"), expected, rtol=1e-12)
    assert list(found.region.values) == ["south", "north", "global"] and (found.missing_share == 0).all()


def test_study_land_fraction_counts_where_the_product_has_none(tmp_path: Path) -> None:
    write(tmp_path / "x.nc", ones(), units="kgC m-2 s-1")
    found = read(tmp_path, land=np.full(GRID.shape, 0.3), implausible="accept")
    np.testing.assert_allclose(
        found.sel(region="north").isel(product=0), 0.3 * 86400 * 1000 * TIMES.days_in_month * HEMISPHERE / 1e15, rtol=1e-12
    )


def test_own_land_fraction_weighs_before_averaging(tmp_path: Path) -> None:
    # every other 15 degree column is half land with flux 4, the rest is sea without a value:
    # a land flux of 4 on a quarter of the area
    flux, land = ones() * 4, np.zeros((12, 24))
    land[:, ::2] = 0.5
    flux[:, :, 1::2] = np.nan
    write(tmp_path / "x.nc", flux, land=land)
    source = GriddedReference(format="gridded", product="X", path="x.nc", variable="NEE", land_fraction="land_fraction")
    month = next(reference_maps(source, tmp_path, GRID, ALL_LAND, TIMES))
    np.testing.assert_allclose(month.flux, 4.0, rtol=1e-12)
    np.testing.assert_allclose(month.land, 0.25, rtol=1e-12)
    np.testing.assert_allclose(month.missing, 0.0, atol=1e-12)
    found = read(tmp_path, land_fraction="land_fraction")
    np.testing.assert_allclose(found.sel(region="global").isel(product=0), TIMES.days_in_month * 2 * HEMISPHERE / 1e15, rtol=1e-12)


def test_land_without_a_value(tmp_path: Path) -> None:
    flux = ones()
    flux[3:, :, :6] = -9999.0  # a quarter of all longitudes, from April on
    write(tmp_path / "x.nc", flux)
    with pytest.raises(
        InputError, match=r"X: land without a value in 2001-04: south 25 %, north 25 %, global 25 % of the area; .*`missing: zero`"
    ):
        read(tmp_path)
    found = read(tmp_path, missing="zero")
    np.testing.assert_allclose(found.missing_share, 0.25, rtol=1e-12)
    share = np.where(TIMES.month < 4, 1.0, 0.75)
    np.testing.assert_allclose(found.sel(region="south").isel(product=0), share * TIMES.days_in_month * HEMISPHERE / 1e15, rtol=1e-12)
    land = np.ones((12, 24))
    land[:, :6] = 0
    write(tmp_path / "x.nc", flux, land=land)  # the same gap is sea to the product itself
    assert float(read(tmp_path, land_fraction="land_fraction").missing_share.max()) == 0


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([10.0, 22.5, 30.0, 45.0]), st.booleans())
def test_integral_is_the_product_s_own_whatever_its_grid(
    tmp_path_factory: pytest.TempPathFactory, seed: int, resolution: float, gaps: bool
) -> None:
    rng, grid = np.random.default_rng(seed), Grid.global_regular(resolution)
    flux, land = rng.normal(size=(2, *grid.shape)), rng.uniform(size=grid.shape)
    if gaps:
        flux[rng.uniform(size=flux.shape) < 0.2] = np.nan
    folder = tmp_path_factory.mktemp("reference")
    write(folder / "x.nc", flux, resolution, land=land)
    found = read(folder, TIMES[:2], missing="zero", land_fraction="land_fraction").sel(product="X", region="global")
    own = (np.nan_to_num(flux) * land * grid.cell_area).sum(axis=(1, 2)) * TIMES[:2].days_in_month / 1e15
    np.testing.assert_allclose(found, own, rtol=1e-9, atol=1e-9)


def test_months_of_several_files_are_joined_and_gaps_stay_empty(tmp_path: Path) -> None:
    write(tmp_path / "x_2001.nc", ones(2), start="2001-03-01")
    write(tmp_path / "x_2000.nc", ones(13) * 2, start="2000-02-01")
    found = read(tmp_path, path="x_*.nc").sel(region="global").isel(product=0)
    np.testing.assert_allclose(found[:4] / TIMES[:4].days_in_month / (2 * HEMISPHERE / 1e15), [2, 2, 1, 1], rtol=1e-12)
    assert found[4:].isnull().all()
    write(tmp_path / "x_more.nc", ones(1), start="2001-02-01")
    with pytest.raises(InputError, match=r"2001-02 stands more than once \(also in x_2000.nc\)"):
        read(tmp_path, path="x_*.nc")


def test_classic_netcdf_and_zarr(tmp_path: Path) -> None:
    write(tmp_path / "x.nc", ones())
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as data:
        data.load().to_netcdf(tmp_path / "classic.nc", engine="scipy")
        data.to_zarr(tmp_path / "x.zarr", zarr_format=2)
    for path in ("classic.nc", "x.zarr"):
        xr.testing.assert_identical(read(tmp_path, path=path), read(tmp_path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "no.nc"}, "no.nc: no such file"),
        ({"path": "no*.nc"}, "no file below"),
        ({"path": "no.zarr"}, "no such file"),
        ({"variable": "GPP"}, "no variable `GPP`; it has"),
        ({"units": "kgC m-2 s-1"}, "the file says unit `gC m-2 d-1`, the study `kgC m-2 s-1`"),
        ({"units": "mg"}, "unit `mg`; allowed"),
        ({"land_fraction": "lsf"}, "no variable `lsf`"),
        ({"land_fraction": "NEE"}, "a land fraction has the latitudes and longitudes of the flux and no time"),
        (
            {"times": pd.date_range("2015-01-01", periods=3, freq="MS")},
            r"12 months in 1 files \(2001-01 to 2001-12\) have none in common with the study",
        ),
        ({"product": "dual"}, "product `dual` stands twice or is a name of ours"),
    ],
)
def test_bad_gridded(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    write(tmp_path / "x.nc", ones())
    with pytest.raises(InputError, match=message):
        read(tmp_path, **settings)


def test_days_of_whole_months_are_averaged(tmp_path: Path) -> None:
    """January with days 1, 2, ... 31: mean 16."""
    write(tmp_path / "x.nc", np.arange(1, 32)[:, None, None] * ones(31), stamp="D")
    found = read(tmp_path).sel(region="global").isel(product=0, time=0)
    assert float(found) == pytest.approx(16 * 31 * 2 * HEMISPHERE / 1e15, rel=1e-12)


def test_parts_of_months_and_percent_land_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "x.nc", ones(3), stamp="D", land=np.full((12, 24), 60.0))
    with pytest.raises(InputError, match=r"2001-01 has 3 time steps; .*or one for each of its days"):
        read(tmp_path)
    write(tmp_path / "x.nc", ones(3), land=np.full((12, 24), 60.0))
    with pytest.raises(InputError, match=r"land_fraction`: from 60 to 60; a land fraction lies between 0 and 1"):
        read(tmp_path, land_fraction="land_fraction")


def test_no_references(tmp_path: Path) -> None:
    assert read_references([], tmp_path, GRID, REGIONS, ALL_LAND, TIMES).shape == (0, 3, 12)


# --- published products ---


def test_x_base_as_published(tmp_path: Path) -> None:
    """Half-degree yearly files (here 15 degrees), NEE per m2 of land, desert without a value, `land_fraction` beside it, north first.

    Every second column is 80 % land, the western half of them desert: 0.8 x 2 gC m-2 d-1 on a quarter of the area.
    """
    flux, land = ones() * 2, np.zeros((12, 24))
    land[:, ::2] = 0.8
    flux[:, :, :12] = np.nan
    for year in (2001, 2002):
        write(tmp_path / f"NEE_{year}_050_monthly.nc", flux, start=f"{year}-01-01", land=land, north_first=True, stamp="MS")
    (source,) = TypeAdapter(list[ReferenceSource]).validate_python([{"format": "xbase", "path": "NEE_*_050_monthly.nc"}])
    found = read_references([source], tmp_path, GRID, REGIONS, ALL_LAND, TIMES).sel(product="X-BASE")
    np.testing.assert_allclose(found.sel(region="north"), 0.8 * 2 / 4 * HEMISPHERE * TIMES.days_in_month / 1e15, rtol=1e-9)
    np.testing.assert_allclose(found.missing_share, 0.5, rtol=1e-9)
    assert float(found.sel(region="global").sum()) == pytest.approx(0.8 * 2 / 4 * 2 * HEMISPHERE * 365 / 1e15)  # the year's own sum


def test_fluxcom_as_published(tmp_path: Path) -> None:
    """One file per year, -9999 without vegetation, no land fraction of its own: the study's (0.5) weighs it."""
    for year in (2001, 2002):
        flux = ones() * (year - 2000)
        flux[:, :, :12] = -9999.0
        write(
            tmp_path / f"NEE.RS_METEO.FP-ALL.MLM-ALL.METEO-ALL.720_360.monthly.{year}.nc",
            flux,
            start=f"{year}-01-15",
            stamp="MS",
            units=None,
        )
    (source,) = TypeAdapter(list[ReferenceSource]).validate_python(
        [{"format": "fluxcom", "path": "NEE.RS_METEO*.nc", "product": "RS+METEO"}]
    )
    found = read_references([source], tmp_path, GRID, REGIONS, np.full(GRID.shape, 0.5), TIMES[1:]).sel(product="RS+METEO")
    np.testing.assert_allclose(found.sel(region="south"), 0.5 * 0.5 * HEMISPHERE * TIMES[1:].days_in_month / 1e15, rtol=1e-9)
    wrong = TypeAdapter(ReferenceSource).validate_python({**source.model_dump(), "units": "kgC m-2 s-1"})
    write(tmp_path / "NEE.RS_METEO.2009.nc", ones(), start="2009-01-01")
    with pytest.raises(InputError, match="the file says unit `gC m-2 d-1`, the study `kgC m-2 s-1`"):
        read_references([wrong.model_copy(update={"path": "NEE.RS_METEO.2009.nc"})], tmp_path, GRID, REGIONS, ALL_LAND, TIMES)


# --- tables ---


def read_rows(folder: Path, rows: list[str], head: str = "product,region,time,value,unit", **settings: Any) -> xr.DataArray:
    (folder / "t.csv").write_text("\n".join([head, *rows]) + "\n")
    return read_references([TableReference(format="table", path="t.csv", **settings)], folder, GRID, REGIONS, ALL_LAND, TIMES)


def test_table_of_two_products_and_two_units(tmp_path: Path) -> None:
    rows = ["P,south,2001-01,3.65,PgC yr-1", "P,north,2001-01,-1,PgC month-1", "P,south,2001-02,1,PgC month-1",
            "Q,global,2001-03,500,TgC month-1", "Q,global,1999-03,7,PgC month-1"]  # fmt: skip
    found = read_rows(tmp_path, rows)
    np.testing.assert_allclose(found.sel(product="P", time="2001-01-01"), [0.31, -1, -0.69], rtol=1e-12)  # 3.65 x 31 / 365
    assert np.isnan(found.sel(product="P", time="2001-02-01", region="global"))  # a sum of one part is no globe
    np.testing.assert_allclose(found.sel(product="Q", time="2001-03-01"), [np.nan, np.nan, 0.5])
    assert int(found.notnull().sum()) == 5


def test_product_and_unit_from_the_study(tmp_path: Path) -> None:
    found = read_rows(tmp_path, ["south,2001-02,1"], "region,time,value", product="P", units="PgC month-1")
    assert float(found.sel(product="P", region="south", time="2001-02-01")) == 1


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (["P,moon,2001-01,1,PgC yr-1"], {}, "regions moon are not in the mask; allowed: south, north, global"),
        (["P,south,2001-01,1,stones"], {}, "unit `stones`; allowed: PgC yr-1"),
        (["P,south,2001-01,1,PgC yr-1"], {"units": "TgC yr-1"}, "the file says unit `PgC yr-1`, the study `TgC yr-1`"),
        (["P,south,2001-01,1,PgC yr-1"] * 2, {}, "P: 1 duplicated values"),
        (["P,south,1990-01,1,PgC yr-1"], {}, r"P \(1990-01 to 1990-01\) has no month in common with the study \(2001-01 to 2001-12\)"),
        (["P,south,2001-01,one,PgC yr-1"], {}, "text among numbers: 1 of 1 rows, first `one`"),
    ],
)
def test_bad_tables(tmp_path: Path, rows: list[str], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_rows(tmp_path, rows, **settings)


def test_table_lacks_a_column_and_all_problems_come_at_once(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("region,time,value\nsouth,2001-01-01,1\n")
    sources = [TableReference(format="table", path="t.csv"), GriddedReference(format="gridded", product="X", path="no.nc", variable="NEE")]
    with pytest.raises(InputError) as caught:
        read_references(sources, tmp_path, GRID, REGIONS, ALL_LAND, TIMES)
    assert ["no column `product`, `unit`" in p or "no such file" in p for p in caught.value.problems] == [True, True]


def test_published_inversions_read_as_references_have_their_known_mean(shared_data: Path) -> None:
    grid = Grid.global_regular(10.0)
    inside = np.stack([grid.lat > 30, abs(grid.lat) < 30, grid.lat < -30]).astype(float)
    bands = Regions(("north_of_30N", "tropics", "south_of_30S"), np.broadcast_to(inside[:, :, None], (3, *grid.shape)))
    times = pd.date_range("2001-01-01", "2012-12-01", freq="MS")
    source = TableReference(format="table", path="real/inversions_latbands_monthly.csv")
    found = read_references([source], shared_data, grid, bands, np.ones(grid.shape), times)
    rates = pd.read_csv(shared_data / "real" / "inversions_latbands_monthly.csv", parse_dates=["time"])
    assert found.shape == (4, 4, 144) and bool(found.notnull().all())
    days = rates["time"].dt.days_in_month / np.where(rates["time"].dt.is_leap_year, 366, 365)
    total = (rates["value"] * days).sum() / 12 / 4
    np.testing.assert_allclose(found.sel(region="global").mean("product").sum() / 12, total, rtol=1e-12)

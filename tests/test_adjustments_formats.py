"""Fire and lateral fluxes as their makers lay them out, and the budget line of inversions against the Global Carbon Budget."""

import calendar
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, Regions
from dualflux.sources.adjustments import (
    Adjustment,
    AdjustmentSettings,
    check_target,
    read_adjustments,
)
from dualflux.sources.carbon_budget import read_carbon_budget, read_growth_rate
from dualflux.sources.inversions import InversionSource, read_inversions

TIMES = pd.date_range("2003-01-01", "2004-12-01", freq="MS")
GRID = Grid.global_regular(10.0)
NORTH = np.broadcast_to(GRID.lat[:, None] > 0, GRID.shape)
REGIONS = Regions(("south", "north"), np.stack([~NORTH, NORTH]).astype(float))
HALF = 2 * np.pi * EARTH_RADIUS**2
DAYS = np.array([calendar.monthrange(t.year, t.month)[1] for t in TIMES], dtype=float)


def read(root: Path, *settings: dict[str, Any]) -> list[Adjustment]:
    parsed = [TypeAdapter(AdjustmentSettings).validate_python(s) for s in settings]
    return read_adjustments(parsed, root, GRID, REGIONS, np.ones(GRID.shape), TIMES)


# --- GFED4.1s -------------------------------------------------------------------------------------------------------

GFED4_GRID = Grid.global_regular(5.0)  # the files have 0.25 degrees; the reader takes latitude and longitude as they come


def gfed4(path: Path, year: int, months: int = 12, **change: Any) -> None:
    """Groups of months, north first, 2-D coordinates; 1 x month gC m-2 month-1 in the south, 3 x month in the north."""
    lat, lon = np.meshgrid(GFED4_GRID.lat[::-1], GFED4_GRID.lon, indexing="ij")
    with h5py.File(path, "w") as file:
        file["lat"], file["lon"] = lat.astype("f4"), lon.astype("f4")
        file["ancill/grid_cell_area"] = GFED4_GRID.cell_area[::-1].astype("f4")
        for month in range(1, months + 1):
            file[f"emissions/{month:02d}/C"] = np.where(lat > 0, 3.0, 1.0).astype("f4") * month * (1 if year == 2003 else 2)
            file[f"emissions/{month:02d}/partitioning/C_SAVA"] = np.ones_like(lat)
        for name, value in change.items():
            del file[name.replace("__", "/")]
            file[name.replace("__", "/")] = value


def test_gfed4_groups_north_first(tmp_path: Path) -> None:
    gfed4(tmp_path / "GFED4.1s_2003.hdf5", 2003)
    gfed4(tmp_path / "GFED4.1s_2004_beta.hdf5", 2004)
    (fire,) = read(tmp_path, {"format": "gfed4", "path": ".", "uncertainty": 0.2})
    per_month = np.concatenate([np.arange(1, 13), 2 * np.arange(1, 13)])
    np.testing.assert_allclose(fire.integral.sel(region="south"), per_month * HALF / 1e15, rtol=1e-6)
    np.testing.assert_allclose(fire.integral.sel(region="north"), 3 * per_month * HALF / 1e15, rtol=1e-6)
    np.testing.assert_allclose(
        fire.integral.sel(region="global").groupby("time.year").sum(), 4 * 78 * HALF / 1e15 * np.array([1, 2]), rtol=1e-6
    )
    assert fire.name == "fire" and "uncertainty 20%" in fire.source


def test_gfed4_mistakes_are_named(tmp_path: Path) -> None:
    gfed4(tmp_path / "GFED4.1s_2003.hdf5", 2003, months=7)
    source = {"format": "gfed4", "path": "*.hdf5"}
    found = read(tmp_path, source)[0]
    assert found.integral.sel(time="2003-07-01").notnull().all() and found.integral.sel(time="2003-08-01").isnull().all()
    (tmp_path / "GFED4.1s_2004.hdf5").write_bytes((tmp_path / "GFED4.1s_2003.hdf5").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"GFED4\.1s_2004\.hdf5: not a GFED4\.1s file .*needed: HDF5 with lat, lon"):
        read(tmp_path, source)
    gfed4(tmp_path / "fire.hdf5", 2003)
    with pytest.raises(InputError, match=r"fire\.hdf5: 0 years in the file's name"):
        read(tmp_path, {**source, "path": "fire.hdf5"})
    gfed4(tmp_path / "GFED4.1s_2003.hdf5", 2003, ancill__grid_cell_area=GFED4_GRID.cell_area / 1e6)
    with pytest.raises(InputError, match="cell area `grid_cell_area` sums to"):
        read(tmp_path, {**source, "path": "GFED4.1s_2003.hdf5"})
    with pytest.raises(ValidationError):
        read(tmp_path, {**source, "name": "crop_consumption"})


# --- GFED5.1 --------------------------------------------------------------------------------------------------------


def gfed5(path: Path, resolution: float, name: str = "C", dated: bool = True, units: str = "g C per month") -> None:
    """Grams per cell and month; cells without fire have no value, and not the same ones each month."""
    grid = Grid.global_regular(resolution)
    grams = np.where(grid.lat[:, None] > 0, 2.0, 0.5) * grid.cell_area
    values = grams * np.arange(1, 13)[:, None, None]
    values[np.arange(12), :, np.arange(12)] = np.nan
    data = xr.Dataset({name: (("time", "lat", "lon"), values.astype("f4"), {"units": units})}, {"lat": grid.lat, "lon": grid.lon})
    if dated:
        year = path.stem[-4:]
        data = data.assign_coords(time=pd.date_range(f"{year}-01-01", periods=12, freq="MS") + pd.Timedelta(days=15))
    data.assign_coords(lon=data.lon % 360).sortby("lon").to_netcdf(path, engine="h5netcdf", encoding={name: {"_FillValue": -1.0}})


@pytest.mark.parametrize("name", ["C", "carbon_emissions"])
def test_gfed5_per_cell_on_two_grids(tmp_path: Path, name: str) -> None:
    """1 degree before 2001 and 0.25 after in the real files; here 10 and 5 degrees; one column in each month has no fire."""
    gfed5(tmp_path / "GFED5.1_monthly_2003.nc", 10.0, name)
    gfed5(tmp_path / "GFED5.1_monthly_2004.nc", 5.0, name, dated=False)
    (fire,) = read(tmp_path, {"format": "gfed5", "path": "GFED5.1_monthly_*.nc"})
    share = np.repeat([35 / 36, 71 / 72], 12)
    month = np.tile(np.arange(1, 13), 2)
    np.testing.assert_allclose(fire.integral.sel(region="north"), 2.0 * month * share * HALF / 1e15, rtol=1e-6)
    np.testing.assert_allclose(fire.integral.sel(region="global"), 2.5 * month * share * HALF / 1e15, rtol=1e-6)


def test_gfed5_mistakes_are_named(tmp_path: Path) -> None:
    gfed5(tmp_path / "GFED5.1_monthly_2003.nc", 10.0, "burned_area")
    with pytest.raises(InputError, match="no variable `C`; it has burned_area"):
        read(tmp_path, {"format": "gfed5", "path": "*.nc"})
    gfed5(tmp_path / "GFED5.1_monthly_2003.nc", 10.0, units="g C m-2 month-1")
    with pytest.raises(InputError, match=r"per cell: unit `g C m-2 month-1`; allowed: PgC yr-1"):
        read(tmp_path, {"format": "gfed5", "path": "*.nc"})
    gfed5(tmp_path / "GFED5.nc", 10.0, dated=False)
    with pytest.raises(InputError, match="without dates; needed: dates, or 12 months of the one year in the file's name"):
        read(tmp_path, {"format": "gfed5", "path": "GFED5.nc"})


# --- lateral fluxes -------------------------------------------------------------------------------------------------

LATERAL = {"format": "lateral", "path": "lateralfluxes_2021_v4.1_1d00.nc", "monthly_profile": "uniform"}
VALUES = {
    "allcropsource": 4.0,
    "biofuelcropsource": 0.5,
    "lakeriveremis": 6.0,
    "allcropsink": -4.0,
    "biofuelcropsink": -0.5,
    "riversink": -5.0,
}


def lateral(path: Path, units: str | None = "gC m-2 yr-1") -> None:
    """Annual fields [gC m-2 yr-1], north first, no value outside land (here: a third of all longitudes)."""
    years = pd.to_datetime(["2002-07-01", "2003-07-01", "2004-07-01"])
    land = np.where(GRID.lon < 60, 1.0, np.nan) * np.ones((3, *GRID.shape))
    fields = {n: (("time", "lat", "lon"), v * land, {} if units is None else {"units": units}) for n, v in VALUES.items()}
    data = xr.Dataset(fields, {"time": years, "lat": GRID.lat, "lon": GRID.lon}).sortby("lat", ascending=False)
    data.to_netcdf(path, engine="scipy")


@pytest.mark.parametrize("units", ["gC m-2 yr-1", None])
def test_lateral_emissions_by_their_own_names_or_ours(tmp_path: Path, units: str | None) -> None:
    lateral(tmp_path / LATERAL["path"], units)
    names = {"crop_consumption": 4.0, "biofuelcropsource": 0.5, "river_evasion": 6.0}
    terms = read(tmp_path, *({**LATERAL, "name": n} for n in names))
    assert [t.name for t in terms] == ["crop_consumption", "biofuel_consumption", "river_evasion"]
    for term, value in zip(terms, names.values(), strict=True):
        annual = value * (2 / 3) * HALF / 1e15
        np.testing.assert_allclose(term.integral.sel(region="north").groupby("time.year").sum(), annual, rtol=1e-6)
        assert float(term.integral.sel(region="north", time="2004-02-01")) == pytest.approx(annual * 29 / 366, rel=1e-6)


def test_lateral_sinks_are_refused_for_tower_nee_with_the_reason(tmp_path: Path) -> None:
    lateral(tmp_path / LATERAL["path"])
    for name, term in (
        ("allcropsink", "crop_harvest_uptake"),
        ("riversink", "river_uptake"),
        ("biofuel_harvest_uptake", "biofuel_harvest_uptake"),
    ):
        settings = TypeAdapter(AdjustmentSettings).validate_python({**LATERAL, "name": name})
        with pytest.raises(InputError, match=f"{term} is a sink of lateral transport: towers see this uptake"):
            check_target("tower_nee", [TypeAdapter(InversionSource).validate_python({"format": "table", "path": "t.csv"})], [settings])
        assert float(read(tmp_path, {**LATERAL, "name": name})[0].integral.max()) < 0
    disguised = TypeAdapter(AdjustmentSettings).validate_python({**LATERAL, "name": "crop_consumption", "variable": "allcropsink"})
    with pytest.raises(InputError, match="crop_harvest_uptake is a sink"):
        check_target("tower_nee", [TypeAdapter(InversionSource).validate_python({"format": "table", "path": "t.csv"})], [disguised])


def test_lateral_mistakes_are_named(tmp_path: Path) -> None:
    lateral(tmp_path / LATERAL["path"])
    with pytest.raises(InputError, match="lakeriveremis: state its months"):
        read(tmp_path, {**LATERAL, "name": "lakeriveremis", "monthly_profile": None})
    with xr.open_dataset(tmp_path / LATERAL["path"], engine="scipy") as data:
        data.load().isel(time=[1, 1, 2]).to_netcdf(tmp_path / "twice.nc", engine="scipy")
    with pytest.raises(InputError, match=r"3 fields from 2003-07 to 2004-07; allowed: one per year of 2003-01 to 2004-12"):
        read(tmp_path, {**LATERAL, "path": "twice.nc", "name": "lakeriveremis"})
    with pytest.raises(ValidationError, match="lateral_emissions is no single variable of the lateral-flux file"):
        read(tmp_path, {**LATERAL, "name": "lateral_emissions"})
    with pytest.raises(InputError, match=r"crop_consumption is an emission but below 0 .*correct `sign`"):
        read(tmp_path, {**LATERAL, "name": "crop_consumption", "sign": "to_land"})


# --- the carbon budget ------------------------------------------------------------------------------------------------


def budget(**change: Any) -> pd.DataFrame:
    """7 + 1.5 = 4 + 2 + 2.4 + 0.1 (carbonation 0, imbalance)."""
    rows = {
        "Year": [2002, 2003, 2004],
        "fossil emissions excluding carbonation": 7.0,
        "land-use change emissions": 1.5,
        "atmospheric growth": 4.0,
        "ocean sink": 2.0,
        "land sink": 2.4,
        "cement carbonation sink": 0.0,
        "budget imbalance": 0.1,
    }
    return pd.DataFrame({**rows, **change})


def test_a_budget_by_hand(tmp_path: Path) -> None:
    budget().to_csv(tmp_path / "b.csv", index=False)
    table = read_carbon_budget(tmp_path / "b.csv")
    np.testing.assert_allclose(table["land_sink"] - table["land_use"], 0.9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"land sink": -2.4}, r"the budget of 2002 does not close \(\+4\.80\)"),
        ({"land sink": 8.8, "ocean sink": 2.0}, "does not close"),
        ({"Year": [2002, 2003, 2003]}, "3 complete years, 1 of them twice"),
        ({"ocean sink": ["2", "two", "2"]}, "column ocean sink: text among numbers"),
    ],
)
def test_a_wrong_budget_table_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    budget(**change).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match=message):
        read_carbon_budget(tmp_path / "b.csv")
    budget().drop(columns="land sink").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match="no column `land sink`; it has year, fossil"):
        read_carbon_budget(tmp_path / "b.csv")


def test_the_growth_rate_in_ppm(tmp_path: Path) -> None:
    text = "# ---- NOAA GML\n# units ppm/yr\nyear,ann inc,unc\n2003,2.25,0.10\n2004,1.62,0.05\n"
    (tmp_path / "co2_gr_gl.csv").write_text(text)
    np.testing.assert_allclose(read_growth_rate(tmp_path / "co2_gr_gl.csv"), [2.25 * 2.124, 1.62 * 2.124])
    with pytest.raises(InputError, match="no column ann inc"):
        (tmp_path / "x.csv").write_text("year,growth\n2003,2\n")
        read_growth_rate(tmp_path / "x.csv")


def test_real_budget_and_inversions_agree_like_with_like(shared_data: Path) -> None:
    """The Global Carbon Budget 2023 closes, and four inversions of 2001-2012 lie within 1 PgC/yr of what it implies for land."""
    real = shared_data / "real"
    table = read_carbon_budget(real / "global_carbon_budget_2023_annual.csv")
    assert (table.index.min(), table.index.max()) == (1959, 2022)
    with xr.open_dataset(real / "region_masks_1deg.nc") as masks:
        grid = Grid.global_regular(1.0)
        regions = Regions.from_integer_mask(masks["lat_band"], grid, "mask")
        land = masks["land_fraction"].to_numpy().astype(float)
    source = TypeAdapter(InversionSource).validate_python({"format": "table", "path": "inversions_latbands_monthly.csv"})
    found = read_inversions([source], real, grid, regions, land, pd.date_range("2001-01-01", "2012-12-01", freq="MS"))
    expected = -(table.land_sink - table.land_use).loc[2001:2012].mean() - 0.65  # rivers
    months = found.integral.sel(region="global")
    annual = months.sum("time") / 12
    assert months.sizes == {"product": 4, "time": 144} and bool(np.isfinite(months).all())
    assert float(abs(annual - expected).max()) < 1.0

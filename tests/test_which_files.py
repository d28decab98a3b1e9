"""Files of years or months are one record; what lacks, overlaps or is no data is named or left out."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import TypeAdapter

from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells, Regions
from dualflux.sources.files.tables import find_files
from dualflux.sources.inversions import InversionSource, read_inversions
from dualflux.sources.predictors.read import read_predictor, read_predictors, record_steps
from dualflux.sources.predictors.settings import PredictorSettings

GRID = Grid.global_regular(30.0)
REGIONS = Regions(("world",), np.ones((1, *GRID.shape)))
CELLS = LandCells.build(GRID, np.ones(GRID.shape), REGIONS)
DAYS = pd.date_range("2001-01-01", "2002-12-31")
RECORD = pd.date_range("2000-01-01", "2003-12-31")  # longer than the study
PLACE = {"lat": GRID.lat, "lon": GRID.lon}
WEATHER = xr.DataArray(
    np.random.default_rng(3).normal(10, 5, (len(RECORD), *GRID.shape)),
    {"time": RECORD, **PLACE},
    ("time", "lat", "lon"),
    "ta",
    {"units": "degC"},
)


def split(folder: Path, by: str, data: xr.DataArray = WEATHER, name: str = "ta_{}.nc") -> list[Path]:
    """One file per group, each packed in its own way, as reanalyses come."""
    folder.mkdir(exist_ok=True)
    paths = []
    for key, part in data.groupby(by):
        path = folder / name.format(key)
        packing = {"dtype": "int32", "scale_factor": 1e-6 * (1 + len(paths)), "add_offset": 7.0 * len(paths)}
        part.to_netcdf(path, engine="h5netcdf", encoding={"ta": packing})
        paths.append(path)
    return paths


def setting(path: Any, **more: Any) -> PredictorSettings:
    return PredictorSettings(**{"name": "ta", "path": path, "kind": "dynamic", "units": "degC", **more})


def read(folder: Path, path: Any, step: Any = "daily", times: pd.DatetimeIndex = DAYS) -> xr.DataArray:
    return read_predictors([setting(path)], folder, GRID, CELLS, times, step).ta


@pytest.fixture(scope="module", name="years")
def _years(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("years")
    split(folder / "weather", "time.year")
    (folder / "weather" / ".ipynb_checkpoints").mkdir()
    for hidden in (".ipynb_checkpoints/ta_2001.nc", "._ta_2001.nc"):
        (folder / "weather" / hidden).write_bytes(b"no data")
    return folder


@pytest.mark.parametrize("path", ["weather/ta_*.nc", "weather", [f"weather/ta_{y}.nc" for y in (2003, 2001, 2000, 2002)], "weather/*"])
def test_a_pattern_a_folder_and_a_list_are_one_record(years: Path, path: Any) -> None:
    found = read(years, path)
    steps = pd.DatetimeIndex(found.time.to_numpy())
    assert steps[0] == pd.Timestamp("2000-01-01") and steps[-1] == DAYS[-1]
    expected = WEATHER.sel(time=steps).to_numpy().reshape(len(steps), -1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_predict_reads_step_by_step_is_the_same(years: Path) -> None:
    one = setting("weather")
    steps = record_steps(one, years, DAYS, "daily", 400)
    assert steps[0] == pd.Timestamp("2000-01-01")
    some = pd.date_range("2001-12-20", "2002-01-10")
    found = read_predictor(one, years, GRID, CELLS, some, "daily")
    np.testing.assert_allclose(found, WEATHER.sel(time=some).to_numpy().reshape(len(some), -1), atol=1e-5)


def test_months_whose_names_do_not_sort_are_one_record(tmp_path: Path) -> None:
    """One file per month of a year, named in words: the dates order them."""
    year = WEATHER.sel(time="2001")
    for _, part in year.groupby("time.month"):
        part.to_netcdf(tmp_path / f"ta_{pd.Timestamp(part.time.to_numpy()[0]):%B}.nc", engine="h5netcdf")
    found = read(tmp_path, "ta_*.nc", "monthly", pd.date_range("2001-01-01", "2001-12-01", freq="MS"))
    np.testing.assert_allclose(found[:, 5], year.resample(time="MS").mean()[:, 0, 5], rtol=1e-5)


def change(data: xr.DataArray, path: Path) -> None:
    path.unlink(missing_ok=True)
    data.to_netcdf(path, engine="h5netcdf")


def test_gaps_overlaps_and_files_that_differ_are_named(tmp_path: Path) -> None:
    paths = {int(p.stem[-4:]): p for p in split(tmp_path, "time.year")}
    paths[2001].rename(tmp_path / "aside")
    with pytest.raises(InputError, match=r"no file holds 2001-01-01 to 2001-12-31, between ta_2000\.nc and ta_2002\.nc; add the file"):
        read(tmp_path, "ta_*.nc")
    later = pd.date_range("2003-02-01", "2003-11-30")
    assert pd.Timestamp(read(tmp_path, "ta_*.nc", times=later).time.to_numpy()[0]) == pd.Timestamp("2002-01-31")  # a gap before is none
    (tmp_path / "aside").rename(paths[2001])
    change(WEATHER.sel(time=slice("2001-12-25", "2002-12-31")), paths[2002])
    with pytest.raises(
        InputError, match=r"ta_2001\.nc \(2001-01-01 to 2001-12-31\) and ta_2002\.nc .* overlap: 7 time steps stand in both"
    ):
        read(tmp_path, "ta_*.nc")
    change((WEATHER.sel(time="2002") + 273.15).assign_attrs(units="K"), paths[2002])
    with pytest.raises(InputError, match=r"different units: `degC` in ta_2000\.nc, `K` in ta_2002\.nc"):
        read(tmp_path, "ta_*.nc")
    change(WEATHER.sel(time="2002").isel(lat=slice(None, None, -1)), paths[2002])
    with pytest.raises(InputError, match=r"different cells: ta_2000\.nc \(6 lat x 12 lon\), ta_2002\.nc"):
        read(tmp_path, "ta_*.nc")
    change(WEATHER.sel(time="2002").rename("t2m"), paths[2002])
    with pytest.raises(InputError, match=r"ta_2002\.nc: no variable `ta`; it has lat, lon, t2m, time"):
        read(tmp_path, "ta_*.nc")
    change(WEATHER.isel(time=slice(0, 0)), paths[2002])
    with pytest.raises(InputError, match=r"ta_2002\.nc has no time step"):
        read(tmp_path, "ta_*.nc")
    with pytest.raises(InputError, match=r"t\*\.nc4: no file below .* matches"):
        read(tmp_path, "t*.nc4")


def test_a_field_without_time_is_read_from_one_file(tmp_path: Path) -> None:
    split(tmp_path, "time.year")
    with pytest.raises(InputError, match=r"4 files .*kind `static` is read from one file: name it, or join them"):
        read_predictors([setting("ta_*.nc", kind="static")], tmp_path, GRID, CELLS, DAYS, "daily")


def test_hidden_files_are_no_data_unless_named(tmp_path: Path) -> None:
    for name in ("a.csv", ".b.csv", "._a.csv", ".ipynb_checkpoints/a-checkpoint.csv", "sub/c.csv", ".sub/d.csv"):
        (tmp_path / ".root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".root" / name).write_text("x\n")
    root = tmp_path / ".root"  # a hidden folder that the study itself names is fine

    def names(path: Any) -> list[str]:
        return [str(p.relative_to(root)) for p in find_files(path, root)]

    assert names(".") == [*names("*.csv"), "sub/c.csv"] == ["a.csv", "sub/c.csv"]
    assert names("**/*.csv") == ["a.csv", "sub/c.csv"]
    assert names(".b.csv") == names(".b*.csv") == [".b.csv"] and names(".sub/*.csv") == [".sub/d.csv"]


# --- inversions ---

MONTHS = pd.date_range("2000-01-01", "2003-12-01", freq="MS")
STUDY = pd.date_range("2001-01-01", "2002-12-01", freq="MS")
FLUX = xr.DataArray(
    np.broadcast_to(np.arange(48.0)[:, None, None], (48, *GRID.shape)).copy(), {"time": MONTHS, **PLACE}, ("time", "lat", "lon"), "flux"
)


def flux(folder: Path, **source: Any) -> xr.DataArray:
    settings = TypeAdapter(InversionSource).validate_python({**source, "implausible": "accept"})
    found = read_inversions([settings], folder, GRID, REGIONS, np.ones(GRID.shape), STUDY).integral.sel(region="global")
    return found.transpose("product", "time") * 1e15 / GRID.cell_area.sum() / STUDY.days_in_month.to_numpy()


def by_year(folder: Path, name: str, data: xr.Dataset, time: str = "time") -> None:
    for year, part in data.groupby(f"{time}.year"):
        part.to_netcdf(folder / name.format(year), engine="h5netcdf")


def test_a_gridded_release_and_one_of_carboscope_in_years_are_one_record(tmp_path: Path) -> None:
    data = FLUX.assign_attrs(units="gC m-2 d-1").to_dataset()
    by_year(tmp_path, "p_{}.nc", data)
    gridded = {"format": "gridded", "product": "P", "variable": "flux", "per": "area", "sign": "to_atmosphere"}
    np.testing.assert_allclose(flux(tmp_path, path="p_*.nc", **gridded)[0], np.arange(12, 36))
    cells = (FLUX * GRID.cell_area * 365 / 1e15).rename("co2flux_land").assign_attrs(units="PgC/yr")
    cells = cells.to_dataset().assign_attrs(yrfi_valid=2001, yrfe_valid=2002)
    by_year(tmp_path, "sEXT_{}.nc", cells.rename(time="mtime"), "mtime")
    np.testing.assert_allclose(flux(tmp_path, format="carboscope", path="sEXT_*.nc")[0], np.arange(12, 36), rtol=1e-6)


def test_a_budget_release_in_years_keeps_its_members(tmp_path: Path) -> None:
    members = xr.concat([FLUX, 2 * FLUX], "ensemble_member") * 365 / 1e15
    data = members.rename("land_flux_only_fossil_cement_adjusted").assign_attrs(units="PgC m-2 yr-1").to_dataset()
    for year, part in data.groupby("time.year"):
        names = np.array([list("A"), list("B")], dtype="S1")
        swapped = slice(None, None, -1) if year == 2002 else slice(None)  # another order of the members in one file
        part["ensemble_member_name"] = ("ensemble_member", "nchar"), names
        part.isel(ensemble_member=swapped).to_netcdf(tmp_path / f"gcb_{year}.nc", engine="h5netcdf")
    found = flux(tmp_path, format="gcb", path="gcb_*.nc")
    np.testing.assert_allclose(found.sel(product="A"), np.arange(12, 36), rtol=1e-6)
    np.testing.assert_allclose(found.sel(product="B"), 2 * np.arange(12, 36), rtol=1e-6)


def test_a_model_of_the_intercomparison_in_years_is_one_product(tmp_path: Path) -> None:
    data = FLUX.rename("land").assign_attrs(units="gC m-2 d-1").to_dataset()
    by_year(tmp_path, "Baker_gridded_fluxes_LNLGIS_{}.nc4", data)
    data.to_netcdf(tmp_path / "CAMS_gridded_fluxes_IS_2019.nc4", engine="h5netcdf")
    found = flux(tmp_path, format="oco2mip", path="*.nc4")
    assert found["product"].to_numpy().tolist() == ["Baker LNLGIS", "CAMS IS 2019"]
    np.testing.assert_allclose(found.sel(product="Baker LNLGIS"), np.arange(12, 36))


@pytest.mark.parametrize("stamp", ["the name's", "the next month's"])
def test_a_stamp_that_contradicts_the_month_of_the_name_is_named(tmp_path: Path, stamp: str) -> None:
    """CAMS has one file per month; stamped at the end of the month its stamp names another month than its name."""
    for month, field in zip(MONTHS, FLUX, strict=True):
        time = month if stamp == "the name's" else month + pd.offsets.MonthBegin(1)
        data = field.expand_dims(time=[time]).rename("flux_apos_bio").assign_attrs(units="gC m-2 d-1").to_dataset()
        data["area"] = ("lat", "lon"), GRID.cell_area
        data.to_netcdf(tmp_path / f"cams_{month:%Y%m}.nc", engine="h5netcdf")
    if stamp == "the name's":
        np.testing.assert_allclose(flux(tmp_path, format="cams", path="cams_*.nc", units="gC m-2 d-1")[0], np.arange(12, 36))
    else:
        with pytest.raises(InputError, match="its time stamp is 2000-02-01, its name says 2000-01: is it stamped at the end"):
            flux(tmp_path, format="cams", path="cams_*.nc", units="gC m-2 d-1")

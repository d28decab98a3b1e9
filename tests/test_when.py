"""Which month a value means: however months are written, every reader takes them for the same; the rest is refused by its cause."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import TypeAdapter

from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells, Regions
from dualflux.sources.adjustments import AdjustmentSettings, read_adjustments
from dualflux.sources.files.dates import from_numbers
from dualflux.sources.inversions import InversionSource, read_inversions
from dualflux.sources.predictors.read import read_predictors
from dualflux.sources.predictors.settings import PredictorSettings
from dualflux.sources.references import ReferenceSource, read_references

GRID = Grid.global_regular(30.0)
REGIONS = Regions(("world",), np.ones((1, *GRID.shape)))
LAND = np.ones(GRID.shape)
CELLS = LandCells.build(GRID, LAND, REGIONS)
STUDY = pd.date_range("2003-01-01", "2004-12-01", freq="MS")
RECORD = pd.date_range("2002-01-01", "2005-12-01", freq="MS")  # longer than the study at both ends
NUMBER = np.arange(len(RECORD)) + 1.0  # of each month of the record, its flux [gC m-2 d-1] everywhere
RIGHT = NUMBER[12:36]
NEXT = RECORD + pd.offsets.MonthBegin(1)
MIDDLE = RECORD + pd.Timedelta(days=14)


def since(stamps: pd.Index, start: str = "1900-01-01", unit: str = "D") -> np.ndarray:
    return np.asarray((pd.DatetimeIndex(stamps).to_numpy() - np.datetime64(start)) / np.timedelta64(1, unit))


def dataset(time: np.ndarray, attributes: dict[str, Any], values: np.ndarray = NUMBER, bounds: np.ndarray | None = None) -> xr.Dataset:
    """A flux whose time coordinate is written as it stands here."""
    field = np.broadcast_to(np.asarray(values, float)[:, None, None], (len(values), *GRID.shape))
    flux = (("time", "lat", "lon"), field.copy(), {"units": "gC m-2 d-1"})
    data = xr.Dataset({"flux": flux}, {"time": ("time", time, dict(attributes)), "lat": GRID.lat, "lon": GRID.lon})
    if bounds is not None:
        data["time"].attrs["bounds"] = "time_bnds"
        data["time_bnds"] = ("time", "two"), bounds
    return data


def integral(flux: xr.DataArray) -> np.ndarray:
    """PgC month-1 over the sphere as gC m-2 d-1."""
    days = pd.DatetimeIndex(flux["time"].to_numpy()).days_in_month
    return np.asarray(flux.sel(region="global").squeeze(drop=True).to_numpy() * 1e15 / GRID.cell_area.sum() / days)


def from_inversion(folder: Path) -> np.ndarray:
    source = {
        "format": "gridded",
        "path": "x.nc",
        "product": "P",
        "variable": "flux",
        "per": "area",
        "sign": "to_atmosphere",
        "implausible": "accept",
    }
    return integral(read_inversions([TypeAdapter(InversionSource).validate_python(source)], folder, GRID, REGIONS, LAND, STUDY).integral)


def from_adjustment(folder: Path) -> np.ndarray:
    source = {"name": "fire", "format": "gridded", "path": "x.nc", "variable": "flux", "per": "area", "sign": "to_atmosphere"}
    settings = TypeAdapter(AdjustmentSettings).validate_python({**source, "monthly_profile": "file"})
    return integral(read_adjustments([settings], folder, GRID, REGIONS, LAND, STUDY)[0].integral)


def from_reference(folder: Path) -> np.ndarray:
    source = TypeAdapter(ReferenceSource).validate_python({"format": "gridded", "product": "X", "path": "x.nc", "variable": "flux"})
    return integral(read_references([source], folder, GRID, REGIONS, LAND, STUDY[:12]))


def from_predictor(folder: Path) -> np.ndarray:
    settings = PredictorSettings(name="flux", path="x.nc", kind="dynamic")
    read = read_predictors([settings], folder, GRID, CELLS, STUDY, "monthly").flux
    return np.asarray(read.sel(time=STUDY)[:, 0].to_numpy())


READERS: list[Callable[[Path], np.ndarray]] = [from_inversion, from_adjustment, from_reference, from_predictor]
DAYS = {"units": "days since 1900-01-01"}
MONTHS = np.arange(len(RECORD))
SAME = {
    "first of the month": dataset(since(RECORD), DAYS),
    "middle of the month": dataset(since(MIDDLE), DAYS),
    "last day of the month": dataset(since(NEXT - pd.Timedelta(days=1)), DAYS),
    "last second of the month": dataset(since(NEXT - pd.Timedelta(seconds=1), unit="s"), {"units": "seconds since 1900-01-01"}),
    "end of the month, with bounds": dataset(since(NEXT), DAYS, bounds=np.stack([since(RECORD), since(NEXT)], 1)),
    "a month late, with bounds to the last day": dataset(
        since(NEXT), DAYS, bounds=np.stack([since(RECORD), since(NEXT) - 1], 1)
    ),
    "bounds in their own unit": dataset(since(NEXT), DAYS, bounds=np.stack([since(RECORD), since(NEXT)], 1)).assign(
        time_bnds=lambda d: ((24 * d.time_bnds + 24 * 36524).assign_attrs(units="hours since 1800-01-01"))
    ),
    "a rounding error before midnight": dataset(since(RECORD) - 1e-6, DAYS),
    "single precision": dataset(since(RECORD, unit="h").astype(np.float32), {"units": "hours since 1900-01-01"}),
    "a clock ahead of UTC": dataset(since(RECORD), {"units": "days since 1900-01-01 00:00:00 +01:00"}),
    "a clock behind UTC": dataset(since(RECORD, unit="h"), {"units": "hours since 1900-1-1 0:0:0.0 -6"}),
    "UTC in words": dataset(since(RECORD), {"units": "days since 1900-01-01T00:00:00Z", "calendar": "proleptic_gregorian"}),
    "months counted": dataset(MONTHS, {"units": "months since 2002-01-01"}),
    "middles of months counted": dataset(MONTHS + 504.5, {"units": "months since 1960-01-01", "calendar": "360"}),
    "digits of months": dataset((100 * RECORD.year + RECORD.month).to_numpy(), {}),
    "digits of months with a unit": dataset((100.0 * RECORD.year + RECORD.month).to_numpy(), {"units": "YYYYMM"}),
    "digits of days": dataset((10000.0 * MIDDLE.year + 100 * MIDDLE.month + MIDDLE.day + 0.5).to_numpy(), {"units": "day as %Y%m%d.%f"}),
    "since the year 1": dataset(since(RECORD, "1948-01-01", "h") + 17067072, {"units": "hours since 1-1-1 00:00:0.0"}),
    "texts with a zone": dataset(np.array([f"{t:%Y-%m-%dT%H:%M:%S}+01:00" for t in RECORD], dtype=object), {}),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("way", SAME)
def test_the_same_months_however_they_are_written(way: str, reader: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    SAME[way].to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    found = reader(tmp_path)
    assert len(found) >= 12
    np.testing.assert_allclose(found, RIGHT[: len(found)], rtol=1e-6)


def every(days: str, count: int) -> xr.Dataset:
    stamps = pd.date_range("2002-01-01", periods=count, freq=days)
    return dataset(since(stamps), DAYS, np.ones(count))


YEARS = pd.date_range("1999-01-01", "2006-01-01", freq="YS")
MIXED = YEARS[:4].append(STUDY)
CLIMATOLOGY = dataset(since(RECORD[:12]), DAYS | {"climatology": "c"}, NUMBER[:12]).assign(
    c=(("time", "two"), np.stack([since(RECORD[:12]), since(NEXT[:12] + pd.DateOffset(years=9))], 1))
)
NO_MONTHS = {
    "annual": (dataset(since(YEARS), DAYS, np.ones(8)), "annual"),
    "annual, in the middle": (dataset(since(YEARS + pd.Timedelta(days=181)), DAYS, np.ones(8)), "annual"),
    "annual, by bounds": (
        dataset(since(YEARS), DAYS, np.ones(8), np.stack([since(YEARS), since(YEARS + pd.DateOffset(years=1))], 1)), "annual"
    ),
    "one year": (dataset(since(YEARS[4:5]), DAYS, np.ones(1)), "one time step"),
    "quarterly": (every("QS", 16), "quarterly"),
    "weekly": (every("7D", 209), "weekly"),
    "8-day": (every("8D", 183), "8-day"),
    "every 30 days": (every("30D", 49), "fall into one month"),
    "mixed": (dataset(since(MIXED), DAYS, np.ones(28)), "mixed (annual and monthly)"),
    "climatology": (CLIMATOLOGY, "a climatology"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS[:3])
@pytest.mark.parametrize("kind", NO_MONTHS)
def test_what_is_no_month_is_named(kind: str, reader: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    data, cause = NO_MONTHS[kind]
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(InputError) as error:
        reader(tmp_path)
    assert cause in str(error.value)


@pytest.mark.parametrize("kind", ["one year", "every 30 days", "mixed", "climatology"])
def test_a_predictor_of_no_one_kind_is_named(kind: str, tmp_path: Path) -> None:
    NO_MONTHS[kind][0].to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    cause = {"one year": "1 time steps", "every 30 days": "stand twice", "mixed": "mixed", "climatology": "kind: climatology"}[kind]
    with pytest.raises(InputError, match=cause):
        from_predictor(tmp_path)


NO_DATES = {
    "noleap": (dataset(since(RECORD), DAYS | {"calendar": "noleap"}), "its calendar is `noleap`.*cdo setcalendar,standard"),
    "360_day": (dataset(since(RECORD), DAYS | {"calendar": "360_day"}), "its calendar is `360_day`.*convert_calendar"),
    "parts of months": (dataset(MONTHS + 0.27, {"units": "months since 2002-01-01"}), "parts of months such as 0.27.*cdo -settaxis"),
    "decimal years": (dataset(2002 + (MONTHS + 0.5) / 12, {"units": "years"}), "decimal years.*assign_coords"),
    "no unit": (dataset(MONTHS, {}), "has no unit; allowed: CF time units"),
    "another unit": (dataset(MONTHS, {"units": "fortnights since 2002-01-01"}), "counts in `fortnights`"),
    "a month 13": (dataset(MONTHS, {"units": "days since 2002-13-01"}), "a reference date that is none"),
    "empty bounds": (dataset(since(RECORD), DAYS, bounds=np.stack([since(RECORD), since(RECORD)], 1)), "bounds that are empty.*ncatted"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", NO_DATES)
def test_what_no_calendar_says_is_named_with_advice(kind: str, reader: Callable[[Path], np.ndarray], tmp_path: Path) -> None:
    data, cause = NO_DATES[kind]
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=cause):
        reader(tmp_path)


def test_hours_since_the_year_1_are_counted_in_the_mixed_calendar() -> None:
    """NCEP/NCAR reanalysis, files of NOAA PSL: 17067072 hours since 1-1-1 is 1948-01-01; the proleptic calendar is two days off."""
    for calendar, day in ((None, "1948-01-01"), ("standard", "1948-01-01"), ("proleptic_gregorian", "1948-01-03")):
        found, _ = from_numbers(np.array([17067072.0]), "hours since 1-1-1 00:00:0.0", calendar)
        assert found[0] == np.datetime64(day)


def test_a_record_of_other_centuries_is_named(tmp_path: Path) -> None:
    """Dates are exact to the nanosecond here, which end in 1678; a climatology of the year 1 is none of a record."""
    months = np.array([f"{1500 + i // 12}-{i % 12 + 1:02d}" for i in range(24)], dtype="datetime64[s]")
    number = (months - np.datetime64("1500-01-01")) / np.timedelta64(1, "D")
    data = dataset(number, {"units": "days since 1500-01-01", "calendar": "proleptic_gregorian"}, np.ones(24))
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    for reader in READERS:
        with pytest.raises(InputError, match=r"has the years 1500 to 1501; allowed: 1678 to 2261; cut .*cdo selyear"):
            reader(tmp_path)


def test_an_annual_predictor_holds_for_its_whole_year(tmp_path: Path) -> None:
    """It is never January's value, wherever in the year it is stamped."""
    for shift in (0, 181, 364):
        dataset(since(YEARS + pd.Timedelta(days=shift)), DAYS, YEARS.year.to_numpy()).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
        np.testing.assert_array_equal(from_predictor(tmp_path), STUDY.year)


def test_hours_of_another_clock_are_moved_to_utc(tmp_path: Path) -> None:
    """Half days: on odd days 2 until noon UTC, else 1, so that a day's mean is 1.5, whatever clock the file is written in."""
    times = pd.date_range("2002-12-30", "2005-01-03", freq="12h")
    data = dataset(
        since(times, unit="h"), {"units": "hours since 1900-01-01"}, (1.0 + (times.day_of_year % 2) * (times.hour == 0)).to_numpy()
    )
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    settings = PredictorSettings(name="flux", path="x.nc", kind="dynamic")
    days = pd.date_range("2003-01-01", "2004-12-31")
    utc = read_predictors([settings], tmp_path, GRID, CELLS, days, "daily").flux.sel(time=days)
    data["time"] = data["time"] + 12
    data["time"].attrs["units"] = "hours since 1900-01-01 +12:00"
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    np.testing.assert_allclose(read_predictors([settings], tmp_path, GRID, CELLS, days, "daily").flux.sel(time=days), utc)
    np.testing.assert_allclose(utc[:, 0], 1 + (days.day_of_year % 2) / 2)


# --- climatologies ---


def climatology(folder: Path) -> list[float]:
    settings = PredictorSettings(name="flux", path="x.nc", kind="climatology")
    return [float(v) for v in read_predictors([settings], folder, GRID, CELLS, STUDY, "monthly").flux[:, 0]]


TWELVE = np.arange(1.0, 13)
BEGIN = pd.date_range("1981-01-01", "1981-12-01", freq="MS")
END = BEGIN + pd.offsets.MonthBegin(1)
OF_YEARS = np.stack([since(BEGIN), since(END + pd.DateOffset(years=29))], 1)


def yearly(time: np.ndarray, bounds: np.ndarray = OF_YEARS) -> xr.Dataset:
    """Twelve fields with climatology bounds."""
    return dataset(time, DAYS | {"climatology": "b"}, TWELVE).assign(b=(("time", "two"), bounds))


CLIMATOLOGIES = {
    "stamped at the end, with climatology bounds": yearly(since(END + pd.DateOffset(years=29))),
    "stamped at the end, with bounds": dataset(since(END), DAYS, TWELVE, np.stack([since(BEGIN), since(END)], 1)),
    "stamped in the middle of the record": yearly(since(BEGIN + pd.DateOffset(years=14))),
    "last days of months": dataset(since(END - pd.Timedelta(days=1)), DAYS, TWELVE),
    "days of the year 1": dataset(since(BEGIN, "1981-01-01") + 14, {"units": "days since 0001-01-01"}, TWELVE),
    "days of the year 0": dataset(
        since(BEGIN, "1981-01-01") + 14, {"units": "days since 0000-01-01", "calendar": "proleptic_gregorian"}, TWELVE
    ),
    "months counted from the year 0": dataset(np.arange(12) + 0.5, {"units": "months since 0000-01-01"}, TWELVE),
    "digits": dataset(198101 + np.arange(12), {}, TWELVE),
}


@pytest.mark.parametrize("way", CLIMATOLOGIES)
def test_a_climatology_is_put_into_its_months(way: str, tmp_path: Path) -> None:
    CLIMATOLOGIES[way].isel(time=[3, 4, 0, 1, 2, *range(5, 12)]).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    assert climatology(tmp_path) == TWELVE.tolist()


def test_a_climatology_of_seasons_is_named(tmp_path: Path) -> None:
    bounds = np.stack([since(BEGIN), since(BEGIN + pd.DateOffset(months=3, years=29))], 1)
    yearly(since(BEGIN), bounds).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="days long in each year; a climatology here has the 12 months"):
        climatology(tmp_path)


# --- tables ---

TEXTS: dict[str, Callable[[pd.Timestamp], str]] = {
    "months": lambda t: f"{t:%Y-%m}",
    "days": lambda t: f"{t:%Y-%m-%d}",
    "last days": lambda t: f"{t + pd.offsets.MonthEnd(0):%Y-%m-%d}",
    "digits": lambda t: f"{t:%Y%m}",
    "slashes": lambda t: f"{t:%Y/%m/%d}",
    "UTC": lambda t: f"{t:%Y-%m-%d}T00:00:00Z",
    "ahead of UTC": lambda t: f"{t:%Y-%m-%d} 00:00:00+01:00",
    "summer time": lambda t: f"{t:%Y-%m-%d}T00:00:00{'+02:00' if 4 <= t.month <= 10 else '+01:00'}",
    "behind UTC": lambda t: f"{t:%Y-%m-%d}T00:00:00.000-0600",
}


def rows(texts: list[str], unit: str = "PgC month-1", product: str = "P") -> pd.DataFrame:
    flux = np.arange(len(texts)) + 1.0
    return pd.DataFrame({"product": product, "region": "world", "time": texts, "value": flux, "unit": unit})


def from_table(reader: str, folder: Path, table: pd.DataFrame) -> np.ndarray:
    table.to_csv(folder / "t.csv", index=False)
    source = {"format": "table", "path": "t.csv", "implausible": "accept"}
    if reader == "inversion":
        read = read_inversions([TypeAdapter(InversionSource).validate_python(source)], folder, GRID, REGIONS, LAND, STUDY).integral
    elif reader == "reference":
        read = read_references([TypeAdapter(ReferenceSource).validate_python(source)], folder, GRID, REGIONS, LAND, STUDY)
    else:
        settings = TypeAdapter(AdjustmentSettings).validate_python({**source, "name": "fire"})
        read = read_adjustments([settings], folder, GRID, REGIONS, LAND, STUDY)[0].integral
    return np.asarray(read.sel(region="world").squeeze(drop=True).to_numpy())


@pytest.mark.parametrize("reader", ["inversion", "reference", "adjustment"])
@pytest.mark.parametrize("way", TEXTS)
def test_months_of_a_table_however_they_are_written(way: str, reader: str, tmp_path: Path) -> None:
    found = from_table(reader, tmp_path, rows([TEXTS[way](t) for t in RECORD]))
    np.testing.assert_allclose(found, RIGHT)


NO_MONTH_ROWS = {
    "years": ([str(y) for y in range(1999, 2007)], "name a year"),
    "dates a year apart": ([f"{y}-01-01" for y in range(1999, 2007)], "annual"),
    "one date": (["2003-01-01"], "one time step"),
    "weeks": ([f"{t:%Y-%m-%d}" for t in pd.date_range("2003-01-06", periods=52, freq="7D")], "weekly"),
    "8 days": ([f"{t:%Y-%m-%d}" for t in pd.date_range("2003-01-01", periods=46, freq="8D")], "8-day"),
    "days": ([f"{t:%Y-%m-%d}" for t in pd.date_range("2003-01-01", periods=60)], "daily"),
    "mixed": ([f"{y}-01-01" for y in range(1995, 2003)] + [f"{t:%Y-%m-%d}" for t in STUDY], "mixed (annual and monthly)"),
    "decimal years": ([f"{2003 + (i + 0.5) / 12:.2f}" for i in range(24)], "not a date"),
    "days first": ([f"{t:%d/%m/%Y}" for t in STUDY], "not a date"),
    "local midnights in UTC": (
        [f"{t - pd.Timedelta(hours=2 if 4 <= t.month <= 10 else 1):%Y-%m-%dT%H:%M:%SZ}" for t in STUDY], "midnight of another zone"
    ),
}  # fmt: skip


@pytest.mark.parametrize("reader", ["inversion", "reference", "adjustment"])
@pytest.mark.parametrize("kind", NO_MONTH_ROWS)
def test_rows_that_are_no_months_are_named(kind: str, reader: str, tmp_path: Path) -> None:
    texts, cause = NO_MONTH_ROWS[kind]
    with pytest.raises(InputError) as error:
        from_table(reader, tmp_path, rows(texts))
    assert cause in str(error.value) and "t.csv" in str(error.value)

"""Predictors of time alone: which value each step of a study gets from each kind of record, and what is said of wrong ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from dualflux.cube import SeriesStandard, Steps
from dualflux.errors import InputError
from dualflux.sources.predictors.series import read_series
from dualflux.sources.predictors.settings import PredictorSettings, check_names, of_network, of_time, warm_up_days
from dualflux.study.settings import HoldoutSettings, InversionTermSettings
from dualflux.study.together import Keys, together

FIRST, LAST = "2003-01-01", "2004-12-31"
STEPS = {name: Steps.create(FIRST, LAST, name) for name in ("monthly", "daily")}


def nino(**more: Any) -> PredictorSettings:
    return PredictorSettings(**{"name": "nino", "path": "nino.csv", "variable": "Nino34", "kind": "series", "units": "degC", **more})


def derived(name: str) -> PredictorSettings:
    return PredictorSettings(name=name, derived=True)


def write(folder: Path, time: list[str] | pd.Index, values: Any) -> None:
    pd.DataFrame({"time": time, "Nino34": values}).to_csv(folder / "nino.csv", index=False)


def read(folder: Path, time_step: str, *settings: PredictorSettings) -> np.ndarray:
    """Values (step, series)."""
    found = read_series(settings or (nino(),), folder, STEPS[time_step].time, time_step)  # type: ignore[arg-type]
    return found.values  # noqa: PD011


# What each record gives


MONTHS = pd.date_range("2002-01-01", "2005-12-01", freq="MS")
DAYS = pd.date_range("2002-01-01", "2005-12-31", freq="D")
NUMBER = MONTHS.year.to_numpy() * 100 + MONTHS.month.to_numpy()  # a value that says its month: 200301


@pytest.mark.parametrize("form", ["%Y-%m", "%Y%m", "%Y-%m-%d", "%Y-%m-15", "%Y-%m-%dT00:00:00", "%Y/%m/28"])
def test_a_monthly_table_gives_months_as_they_are_and_days_their_months(tmp_path: Path, form: str) -> None:
    """However a month is written: a value means the month that its stamp falls in."""
    write(tmp_path, MONTHS.strftime(form), NUMBER)
    wanted = [100 * y + m for y in (2003, 2004) for m in range(1, 13)]
    np.testing.assert_array_equal(read(tmp_path, "monthly", nino(units="1"))[:, 0], wanted)
    days = STEPS["daily"].time
    np.testing.assert_array_equal(read(tmp_path, "daily", nino(units="1"))[:, 0], days.year * 100 + days.month)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%Y-%m-%dT12:00:00Z"])
def test_a_daily_table_gives_days_as_they_are_and_months_their_mean(tmp_path: Path, form: str) -> None:
    """The mean of the numbers 1 to n is (n + 1) / 2: 16 in January, 15 in February 2004."""
    write(tmp_path, DAYS.strftime(form), DAYS.day)
    monthly = read(tmp_path, "monthly", nino(units="1"))[:, 0]
    np.testing.assert_allclose(monthly, (STEPS["monthly"].time.days_in_month + 1) / 2)
    assert monthly[0] == 16 and monthly[1] == 14.5 and monthly[13] == 15
    np.testing.assert_array_equal(read(tmp_path, "daily", nino(units="1"))[:, 0], STEPS["daily"].time.day)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_annual_values_are_constant_in_the_year(tmp_path: Path, time_step: str) -> None:
    write(tmp_path, ["2002", "2003", "2004"], [2, 3, 4])
    found = read(tmp_path, time_step, nino(units="1", interpolation="constant"))[:, 0]
    np.testing.assert_array_equal(found, STEPS[time_step].time.year - 2000)


def test_annual_values_are_linear_between_the_middles_of_years(tmp_path: Path) -> None:
    """Values equal to the decimal year at the middle of years give it at the middle of each step, to the length of a leap year."""
    write(tmp_path, ["2002", "2003", "2004", "2005"], [2002.5, 2003.5, 2004.5, 2005.5])
    monthly = read(tmp_path, "monthly", nino(units="1", interpolation="linear"))[:, 0]
    middle_of_2003, january = 2003.5, monthly[0]  # the middle of 2003 is noon of 2 July; that of January is 15.5 days after New Year
    assert january == pytest.approx(middle_of_2003 - (182.5 - 15.5) / 365, abs=1e-9)
    assert monthly[12] == pytest.approx(2003.5 + (182.5 + 15.5) / (182.5 + 183), abs=1e-9)
    daily = read(tmp_path, "daily", nino(units="1", interpolation="linear"))[:, 0]
    assert daily[182] == pytest.approx(2003.5, abs=1e-9) and np.diff(daily).min() > 0


def test_a_netcdf_variable_means_what_its_bounds_say(tmp_path: Path) -> None:
    """Stamps at the end of months, bounds that say which months: the same values as a table of months. Kelvin become degrees."""
    stamps, begin = MONTHS + pd.offsets.MonthBegin(1), MONTHS
    data = xr.Dataset(
        {"Nino34": (("time", "region"), 273.15 + np.arange(48.0)[:, None], {"units": "K"}),
         "time_bnds": (("time", "nv"), np.stack([begin, stamps], axis=1))},
        {"time": ("time", stamps, {"bounds": "time_bnds"})},
    )  # fmt: skip
    data.time.encoding = data.time_bnds.encoding = {"units": "days since 2000-01-01"}
    data.to_netcdf(tmp_path / "nino.nc", engine="h5netcdf")
    np.testing.assert_allclose(read(tmp_path, "monthly", nino(path="nino.nc"))[:, 0], np.arange(12.0, 36.0), atol=1e-9)


def test_units_are_converted_as_those_of_other_predictors(tmp_path: Path) -> None:
    """A table says no unit: the study's `file_units` does."""
    write(tmp_path, MONTHS.strftime("%Y-%m"), 273.15 + np.arange(48.0))
    np.testing.assert_allclose(read(tmp_path, "monthly", nino(file_units="K"))[:, 0], np.arange(12.0, 36.0), atol=1e-9)


def test_lags_and_running_means_of_a_series_look_back_before_the_period(tmp_path: Path) -> None:
    """Of the numbers of months: three less, and the mean of the last twelve is five and a half less."""
    write(tmp_path, MONTHS.strftime("%Y-%m"), np.arange(48.0))
    settings = (nino(units="1"), derived("lag(nino, 3)"), derived("running_mean(nino, 365)"))
    found = read(tmp_path, "monthly", *settings)
    np.testing.assert_allclose(found, np.arange(12.0, 36.0)[:, None] - [0, 3, 5.5])
    check_names([*settings, PredictorSettings(name="ta", path="ta.nc", kind="dynamic")])
    assert [p.name for p in of_time(settings)] == ["nino", "lag(nino, 3)", "running_mean(nino, 365)"] and not of_network(settings)
    assert warm_up_days([nino(), derived("lag(nino, 99)")], "monthly") == 366  # fields need no longer record for it


# What is standardised


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_what_returns_every_year_is_taken_out_and_the_rest_has_sd_one(time_step: str) -> None:
    """Of a cycle plus a value of the year: the value alone, whose sd over the fitted years is 1; the year to come in the same unit."""
    steps = Steps.create("2001-01-01", "2003-12-31", time_step)
    month, year = steps.time.month.to_numpy(), steps.time.year.to_numpy()
    values = (10.0 * month + 3.0 * np.array([-1, 1, 5])[year - 2001])[:, None]
    fitted = year < 2003
    standard = SeriesStandard.create(("nino",), values, steps, fitted)
    found = standard.standardised(values, steps)
    np.testing.assert_allclose(found[:, 0], np.array([-1, 1, 5])[year - 2001], atol=1e-5)
    np.testing.assert_allclose(standard.cycle[0], 10 * np.arange(1, 13))


@pytest.mark.parametrize("values", [np.full(24, 7.3), 1e6 + np.tile(np.arange(12.0), 2)])
def test_a_series_without_differences_between_years_is_named(values: np.ndarray) -> None:
    steps = Steps.create("2001-01-01", "2002-12-31", "monthly")
    with pytest.raises(InputError, match="predictor `nino`: does not vary between the fitted years"):
        SeriesStandard.create(("nino",), values[:, None], steps, np.ones(24, bool))


# What is refused


def monthly(values: Any = None, months: pd.DatetimeIndex = MONTHS) -> tuple[list[str], Any]:
    return list(months.strftime("%Y-%m")), np.arange(float(len(months))) if values is None else values


def without(*places: int) -> list[object]:
    return [None if i in places else float(i) for i in range(48)]


ALL_BUT_ONE = DAYS.drop("2003-05-07").strftime("%Y-%m-%d")
COMPOSITES = pd.date_range("2002-01-01", "2005-12-31", freq="8D").strftime("%Y-%m-%d")
YEARS = ["2002", "2003", "2004"]
LINEAR = {"interpolation": "linear"}
WRONG: dict[str, tuple[tuple[Any, Any], dict[str, Any], str]] = {
    "ends early": (monthly(months=MONTHS[:30]), {}, "does not cover the period: .* 2002-01 to 2004-06, .* no value for 2004-07 to 2004-12"),
    "begins late": (monthly(months=MONTHS[13:]), {}, "does not cover the period: .* no value for 2003-01"),
    "gap": (monthly(without(14, 15, 20)), {}, "has gaps: .* no value for 2003-03 to 2003-04, 2003-09"),
    "stated fill": (monthly([-99.9 if i == 14 else i for i in range(48)]), {"fill_value": -99.9}, "has gaps: .* 2003-03;"),
    "lacks a day": ((ALL_BUT_ONE, np.arange(1460.0) / 100), {}, "no value for 2003-05; a month needs all of its days"),
    "8-day": ((COMPOSITES, 1.0), {}, "are 8-day; allowed: monthly or daily or annual"),
    "annual, nothing stated": ((YEARS, [1, 2, 3]), {}, "its values are annual; say .* `interpolation: constant`, or `linear`"),
    "linear, no year after": ((YEARS, [1, 2, 3]), LINEAR, "no value for 2004-07 to 2004-12; the first and last half year"),
    "monthly, interpolation": (monthly(), LINEAR, "its values are monthly; `interpolation` is for annual ones: remove it"),
    "month twice": ((["2001-12", *monthly()[0], "2003-05"], 1.0), {}, "2003-05 stands 2 times"),
    "day twice": ((["2003-05-07", *DAYS.strftime("%Y-%m-%d")], 1.0), {}, "2003-05-07 stands 2 times"),
    "text": (monthly([*map(str, range(47)), "much"]), {}, "`Nino34`: text among numbers: .* first `much` in line 49"),
    "no date": (([*monthly()[0][:-1], "soon"], 1.0), {}, "`time`: not a date"),
    "no unit": (monthly(), {"units": None}, "neither the file nor the study says the unit"),
    "no column": (monthly(), {"variable": "ONI"}, "no column `ONI`; it has time, Nino34"),
    "empty": (([], []), {}, "no row"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_series_is_named(tmp_path: Path, case: str) -> None:
    (time, values), more, said = WRONG[case]
    write(tmp_path, time, values)
    with pytest.raises(InputError, match=said):
        read(tmp_path, "monthly", nino(**more))


def write_field(folder: Path, dims: tuple[str, ...], units: str) -> None:
    values = np.ones((48, *[2] * (len(dims) - 1)))
    data = xr.Dataset({"Nino34": (dims, values, {"units": units})}, {"time": MONTHS})
    data.to_netcdf(folder / "nino.nc", engine="h5netcdf")


@pytest.mark.parametrize(
    ("dims", "units", "said"),
    [
        (("time", "lat"), "degC", "has dimensions {'time': 48, 'lat': 2}; kind `series` needs time alone"),
        (("time",), "mm", "unit `mm`.*degC"),
        (("month",), "degC", "no coordinate values for its dimension `month`"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, dims: tuple[str, ...], units: str, said: str) -> None:
    write_field(tmp_path, dims, units)
    with pytest.raises(InputError, match=said):
        read(tmp_path, "monthly", nino(path="nino.nc"))


def test_all_wrong_series_are_named_at_once(tmp_path: Path) -> None:
    write(tmp_path, *monthly(without(14)))
    with pytest.raises(InputError) as error:
        read(tmp_path, "monthly", nino(), nino(name="other", variable="ONI"))
    assert len(error.value.problems) == 2
    with pytest.raises(InputError, match=r"predictor `lag\(nino, 20\)`: needs 20 steps before 2003-01-01, `nino` has 12"):
        write(tmp_path, *monthly())
        read(tmp_path, "monthly", nino(), derived("lag(nino, 20)"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"missing": "nearest", "per": "day"}, "takes no `per`, `missing`; remove them"),
        ({"at_towers": "site"}, "takes no `at_towers`; remove it"),
        ({"running_means": [30]}, "takes no `running_means`"),
        ({"kind": "dynamic", "interpolation": "linear"}, "`interpolation` belongs to kind series"),
        ({"interpolation": "cubic"}, "constant"),
    ],
)
def test_keys_without_meaning_are_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        nino(**more)


def test_names_of_what_a_series_cannot_become_are_refused() -> None:
    with pytest.raises(InputError, match=r"predictor `anomaly\(nino\)`: `nino` is a series, whose mean season is taken out anyway"):
        check_names([nino(), derived("anomaly(nino)"), PredictorSettings(name="ta", path="ta.nc", kind="dynamic")])
    with pytest.raises(InputError, match="series alone tell no place from another"):
        check_names([nino()])


def test_series_need_inversions_and_years(tmp_path: Path) -> None:
    """What chooses their prior: years of inversions left out."""
    fitted = pd.Timestamp(FIRST).date(), pd.Timestamp(LAST).date()
    some = (InversionTermSettings(), HoldoutSettings(), None)
    none = (None, dict[str, str]())  # no vegetation scale
    assert "no variant of the study is trained on inversions" in together(Keys(fitted, True, False, *some, ("nino",), False, *none))[0][1]
    assert "need 4 whole fitted years or more" in together(Keys(fitted, True, True, *some, ("nino",), True, *none))[0][1]
    assert not together(Keys(fitted, True, True, *some, (), True, *none))

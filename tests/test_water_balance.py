"""The soil-water bucket: nothing is lost, steps are exact, known answers, the same in training and elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dualflux.checking import check_study
from dualflux.cube import Steps
from dualflux.derived.radiation import potential_radiation
from dualflux.derived.water_balance import fill, potential_evaporation, settled, soil_water, step
from dualflux.errors import InputError, doubts
from dualflux.features import build_cube
from dualflux.sources.predictors.settings import CAPACITY, PredictorSettings, Recipe
from dualflux.study.settings import load_study
from predict_world import GRID, made_twice, study_text, write_files
from test_features import AREA, LAT, unscaled

RATE = st.sampled_from([0.0, 1e-7, 0.01, 1.0, 5.0, 40.0])


@given(st.integers(0, 10**6), st.sampled_from([1.0, 30.0]), st.sampled_from([1.0, 150.0, 2000.0]))
@settings(max_examples=40)
def test_what_comes_in_goes_out_or_stays(seed: int, days: float, capacity: float) -> None:
    """Change of storage = rain - evaporation - runoff, to 1e-6 mm, for any weather; storage stays in the bucket, flows are not negative."""
    rng = np.random.default_rng(seed)
    rain, potential = (rng.gamma(0.3, 8.0, (40, 6)) * rng.integers(0, 2, (40, 6)) for _ in range(2))
    found = fill(rain, potential, np.full(40, days), rng.uniform(0, capacity, 6), capacity)
    change = np.diff(np.concatenate([found.start[None], found.storage]), axis=0)
    np.testing.assert_allclose(change, days * rain - found.evaporation - found.runoff, atol=1e-6)
    assert found.storage.min() >= 0 and found.storage.max() <= capacity
    assert found.evaporation.min() >= -1e-9 and found.runoff.min() >= 0
    assert (found.evaporation <= days * potential + 1e-6 + days * capacity * 1e-9).all()


@given(RATE, RATE, st.floats(0, 150), st.sampled_from([1, 7, 30]))
@settings(max_examples=60)
def test_a_month_is_thirty_days(rain: float, potential: float, start: float, days: int) -> None:
    """With constant weather one long step and many short ones are the same: the step is exact, also where the bucket fills within it."""
    p, e = np.array([rain]), np.array([potential])
    many = fill(np.repeat(p[None], days, 0), np.repeat(e[None], days, 0), np.ones(days), np.array([start]), 150.0)
    one = step(np.array([start]), p, e, float(days), 150.0)
    for alone, parts in zip(one, (many.storage[-1], many.evaporation.sum(axis=0), many.runoff.sum(axis=0)), strict=True):
        np.testing.assert_allclose(alone, parts, atol=1e-6)


def test_known_answers() -> None:
    """Drying: W exp(-PE t / C). Equilibrium: W = C P / PE. Filling without evaporation: rain to the brim, then runoff."""
    one = np.ones(1)
    storage, evaporation, runoff = step(100 * one, 0 * one, 3 * one, 30.0, 150.0)
    np.testing.assert_allclose([storage, evaporation, runoff], [100 * np.exp(-0.6) * one, 100 * (1 - np.exp(-0.6)) * one, 0 * one])
    np.testing.assert_allclose(settled(np.ones((12, 1)), np.full((12, 1), 3.0), np.full(12, 30.4), 150.0, "w"), 50, atol=0.1)
    storage, evaporation, runoff = step(100 * one, 4 * one, 0 * one, 30.0, 150.0)
    np.testing.assert_allclose([storage, evaporation, runoff], [[150], [0], [70]], atol=2e-5)
    storage, evaporation, runoff = step(150 * one, 5 * one, 2 * one, 10.0, 150.0)
    np.testing.assert_allclose([storage, evaporation, runoff], [[150], [20], [30]])


def test_potential_evaporation_by_hand() -> None:
    """Oudin: Ra in MJ m-2 d-1 over 2.45, times (T + 5) / 100. At 28.36 MJ (328.24 W m-2) and 20 degC: 2.894 mm; none at -5 and below."""
    found = potential_evaporation(np.full(3, 328.24), np.array([20.0, -5.0, -30.0]))
    np.testing.assert_allclose(found, [28.36 / 2.45 * 0.25, 0, 0], atol=1e-3)


def test_the_state_before_the_record_is_that_of_its_first_year_repeated() -> None:
    """A year more changes less than .1 mm; cells settle by themselves; where a desert without evaporation never does, it is said."""
    rng = np.random.default_rng(0)
    rain, potential = rng.gamma(0.5, 4.0, (365, 5)), rng.uniform(0.5, 6, (365, 5))
    rain[:, 0], potential[:, 0] = 2e-3, 0.0  # .7 mm a year: 75 mm are not there in a century
    with doubts() as said:
        start = settled(rain, potential, np.ones(365), 150.0, "water_balance(pr, ta)")
    assert said == ["predictor `water_balance(pr, ta)`: after 100 times the first year 1 cells still change by 0.1 mm a year or more"]
    after = fill(rain, potential, np.ones(365), start, 150.0).storage[-1]
    assert (np.abs(after - start)[1:] < 0.1).all()
    np.testing.assert_array_equal(start[1:3], settled(rain[:, 1:3], potential[:, 1:3], np.ones(365), 150.0, "w"))


def weather(time_step: str, units: tuple[str, str] = ("mm d-1", "degC")) -> xr.Dataset:
    """Two and a half years of rain and temperature of two cells."""
    time = pd.date_range("2000-07-01", "2002-12-31", freq="MS" if time_step == "monthly" else "D")
    season = np.cos(2 * np.pi * (time.day_of_year.to_numpy()[:, None] - 200) / 365.25) * np.sign(LAT)
    rain, warm = np.maximum(2 - 2 * season, 0), 12 + 10 * season
    fields = {"pr": (rain, units[0]), "ta": (warm, units[1]), "pet": (np.full(rain.shape, 2.0), "mm d-1")}
    return xr.Dataset({n: (("time", "cell"), v, {"kind": "dynamic", "units": u}) for n, (v, u) in fields.items()}, {"time": time})


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
@pytest.mark.parametrize("name", ["water_balance(pr, ta)", "water_balance(pr,ta,pet)"])
def test_the_column_is_the_bucket_from_the_record_on(time_step: str, name: str) -> None:
    data, steps = weather(time_step), Steps.create("2001-01-01", "2002-12-31", time_step)
    found = unscaled(build_cube(data, [name], LAT, AREA, steps, {}, Recipe("record", {name: 100.0})), name)
    time = pd.DatetimeIndex(data.time)
    days = np.ones(len(time)) if time_step == "daily" else time.days_in_month.to_numpy(float)
    if "pet" in name:
        potential = data.pet.to_numpy()
    else:
        stamp = time if time_step == "daily" else time + pd.Timedelta(days=15)
        potential = potential_radiation(LAT, stamp.day_of_year.to_numpy()) * 0.0864 / 2.45 * np.maximum(data.ta + 5, 0).to_numpy() / 100
    year = 365 if time_step == "daily" else 12
    start = settled(data.pr.to_numpy()[:year], potential[:year], days[:year], 100.0, name)
    expected = fill(data.pr.to_numpy(), potential, days, start, 100.0).storage[time.searchsorted(steps.time[0]) :]
    # Radiation of the 16th instead of the month's mean, and of days counted in leap years: some mm.
    np.testing.assert_allclose(found, expected, atol=1e-3 if "pet" in name else 1.5)
    assert np.ptp(expected) > 30


# --- what is said ---


def test_other_units_and_negative_values_are_refused() -> None:
    name, steps = "water_balance(pr, ta)", Steps.create("2001-01-01", "2002-12-31", "monthly")
    recipe = Recipe("record", {name: 150.0})
    with pytest.raises(InputError) as error:
        build_cube(weather("monthly", ("kg m-2 s-1", "K")), [name], LAT, AREA, steps, {}, recipe)
    assert error.value.problems == [
        "predictor `water_balance(pr, ta)`: `pr` is in kg m-2 s-1; it must be in mm d-1: state `units: mm d-1` of `pr` (and `per`, where"
        " the file holds sums)",
        "predictor `water_balance(pr, ta)`: `ta` is in K; it must be in degC: state `units: degC` of `ta`",
    ]
    data = weather("monthly")
    data["pr"][3, 1] = -1.0
    with pytest.raises(
        InputError, match=r"`pr` is negative in 1 values \(lowest -1 mm d-1\); rain and potential evaporation count positive"
    ):
        build_cube(data, [name], LAT, AREA, steps, {}, recipe)
    time = pd.date_range("2001-01-01", periods=11, freq="MS")
    fields = {"pr": np.ones((11, 1)), "ta": np.ones((11, 1))}
    with pytest.raises(InputError, match="its record has 11 steps; a water balance begins with a whole year"):
        soil_water(name, fields, np.ones((11, 1)), time, np.full(11, 30.0), 150.0)


def test_settings_of_a_bucket() -> None:
    one, other = (
        PredictorSettings(name="water_balance(a, b)", derived=True),
        PredictorSettings(name="water_balance(a, b, c)", derived=True, capacity=80),
    )
    assert Recipe.of([one, other], "record").capacity == {one.name: CAPACITY, other.name: 80.0} and CAPACITY == 150.0
    with pytest.raises(ValidationError, match=r"`capacity` belongs to water_balance\(rain, temperature\); remove it"):
        PredictorSettings(name="anomaly(a)", derived=True, capacity=80)


# --- from files ---


def wet_study(folder: Path, time_step: str, units: str = "mm d-1", **keys: Any) -> dict[str, Any]:
    """The drawn world with rain instead of `wet` and a bucket."""
    write_files(folder, time_step)
    time = pd.date_range("2000-01-01", "2004-12-31", freq="MS" if time_step == "monthly" else "D")
    rain = np.random.default_rng(4).gamma(0.5, 4.0, (len(time), *GRID.shape)).astype(np.float32)
    data = xr.DataArray(rain, {"time": time, "lat": GRID.lat, "lon": GRID.lon}, ("time", "lat", "lon"), "pr", {"units": units})
    data.to_netcdf(folder / "pr.nc", engine="h5netcdf")
    text = study_text(time_step) | keys
    kept = [p for p in text["predictors"] if "wet" not in p["name"]]
    rain_of = {"name": "pr", "path": "pr.nc", "kind": "dynamic", "running_means": []}
    text["predictors"] = [*kept, rain_of, {"name": "water_balance(pr, ta)", "derived": True, "capacity": 60}]
    return text


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_predict_fills_the_bucket_as_training_does(tmp_path: Path, time_step: str) -> None:
    """Tile by tile and of the last months alone: the state is that of training, since it begins where the record of training began."""
    text = wet_study(tmp_path, time_step, period=["2001-01-01", "2002-12-31"])
    text["predictors"] = [p for p in text["predictors"] if "mean_season" not in p["name"]]  # which would have the period read anyway
    for trained, stored in made_twice(tmp_path, text, months=slice(20, 24)):
        np.testing.assert_array_equal(trained[-len(stored) :], stored)


def test_check_names_the_unit(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(wet_study(tmp_path, "monthly", "kg m-2 d-1")), encoding="utf-8")
    problems = check_study(load_study(tmp_path / "study.yaml")).problems
    assert any("`pr` is in kg m-2 d-1; it must be in mm d-1: state `units: mm d-1`" in p for p in problems)

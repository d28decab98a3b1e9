"""Predictors as the network sees them: derived values by hand, radiation against physics, standardisation that can be undone."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ellipe

from dualflux.cube import Cube, DeviceCube, Steps, TimeStep
from dualflux.derived.memory import MEMORY_DAYS, default_windows
from dualflux.derived.radiation import SOLAR_CONSTANT, potential_radiation
from dualflux.errors import InputError
from dualflux.features import build_cube, tower_rows
from small_world import CELLS, CLASSES, make_cube, predictors

DAYS = np.arange(1, 366)
LAT, AREA = np.array([60.0, -30.0]), np.array([1.0, 3.0])


def dynamic(values: np.ndarray, first: str, freq: str = "MS") -> xr.Dataset:
    """Predictor x (time, cell) from the first day on."""
    time = pd.date_range(first, periods=len(values), freq=freq)
    return xr.Dataset({"x": (("time", "cell"), np.asarray(values, np.float32), {"kind": "dynamic"})}, {"time": time})


def unscaled(cube: Cube, name: str) -> np.ndarray:
    """A column in its own units, (season or step, cell) or (cell,)."""
    position = cube.columns.names.index(name)
    blocks = (cube.static, cube.seasonal, cube.dynamic)
    at = position
    for block in blocks:
        if at < block.shape[-1]:
            return block[..., at] * cube.scale[position] + cube.centre[position]
        at -= block.shape[-1]
    raise AssertionError(name)


def derive(name: str, values: np.ndarray, record_from: str, first: str, last: str, time_step: str = "monthly") -> np.ndarray:
    data = dynamic(values, record_from, "MS" if time_step == "monthly" else "D")
    cube = build_cube(data, [name], LAT, AREA, Steps.create(first, last, time_step), {})
    return unscaled(cube, name)


# Radiation


def test_radiation_of_a_year_is_that_of_the_sphere() -> None:
    """Mean over the sphere S/4; annual mean at a pole S/pi sin(23.44), at the equator 2 S/pi^2 E(sin 23.44) with Legendre's E."""
    sine = (np.arange(400) + 0.5) / 200 - 1
    daily = potential_radiation(np.degrees(np.arcsin(sine)), DAYS)
    assert daily.mean() == pytest.approx(SOLAR_CONSTANT / 4, rel=1e-3)
    tilt = np.sin(np.radians(23.44))
    pole, equator = 4 / np.pi * tilt, 8 / np.pi**2 * ellipe(tilt**2)
    annual = potential_radiation(np.array([0.0, 90.0, -90.0]), DAYS).mean(axis=0)
    np.testing.assert_allclose(annual / (SOLAR_CONSTANT / 4), [equator, pole, pole], atol=2e-3)


@pytest.mark.parametrize(("day", "distance"), [(80, 1.0080), (266, 0.9930)])  # (mean distance / distance) squared, Spencer (1971)
def test_radiation_on_a_day_of_equinox_is_the_cosine_of_latitude(day: int, distance: float) -> None:
    """S/pi cos(latitude); the mean of both hemispheres, since no day has a declination of exactly zero."""
    lat = np.linspace(0, 70, 15)
    found = (potential_radiation(lat, np.array([day])) + potential_radiation(-lat, np.array([day])))[0] / 2
    np.testing.assert_allclose(found, distance * SOLAR_CONSTANT / np.pi * np.cos(np.radians(lat)), rtol=1e-3)


def test_polar_night_and_polar_day() -> None:
    """At the pole in June the sun circles at the height of its declination: S (a/r)^2 sin 23.45 = 524 W m-2."""
    solstice = potential_radiation(np.array([90.0, 70.0, -70.0, -90.0]), np.array([172]))[0]
    np.testing.assert_allclose(solstice[0], 0.9677 * SOLAR_CONSTANT * np.sin(np.radians(23.45)), rtol=2e-3)
    np.testing.assert_allclose(solstice[2:], 0, atol=1e-6)
    assert solstice[1] > 480


@given(st.floats(-90, 90), st.integers(1, 365))
def test_radiation_is_never_negative_nor_above_the_sun(lat: float, day: int) -> None:
    assert 0 <= potential_radiation(np.array([lat]), np.array([day]))[0, 0] < SOLAR_CONSTANT


def test_radiation_columns_of_months_are_means_of_days_and_the_change_is_a_difference() -> None:
    steps = Steps.create("2001-01-01", "2001-12-31", "monthly")
    names = ["potential_radiation", "potential_radiation_change"]
    cube = build_cube(dynamic(np.zeros((12, 2)), "2001-01-01"), names, LAT, AREA, steps, {})
    monthly, change = (unscaled(cube, n) for n in names)
    daily = potential_radiation(LAT, DAYS)
    np.testing.assert_allclose(monthly[[0, 1, 11]], [daily[:31].mean(0), daily[31:59].mean(0), daily[334:].mean(0)], rtol=1e-5)
    np.testing.assert_allclose(change[[0, 5]], [(monthly[1] - monthly[11]) / 2, (monthly[6] - monthly[4]) / 2], atol=1e-3)


# Time


def test_a_date_has_one_place_in_every_year() -> None:
    days = pd.DatetimeIndex(["2001-02-28", "2001-03-01", "2001-12-31", "2004-02-29", "2004-03-01", "2004-12-31", "2004-01-01"])
    np.testing.assert_array_equal(TimeStep.named("daily").season(days), [58, 60, 365, 59, 60, 365, 0])


@given(st.integers(1990, 2030), st.integers(1, 12), st.integers(0, 40), st.sampled_from(["monthly", "daily"]))
@settings(max_examples=40)
def test_months_tile_the_steps(year: int, month: int, more: int, time_step: str) -> None:
    first = pd.Timestamp(year, month, 1)
    last = first + pd.DateOffset(months=more + 1) - pd.Timedelta(days=1)
    steps = Steps.create(str(first.date()), str(last.date()), time_step)
    assert steps.month_steps.sum() == len(steps.time) and len(steps.months) == more + 1
    np.testing.assert_array_equal(steps.time[steps.month_start], steps.months)
    np.testing.assert_array_equal(steps.month_days, steps.months.days_in_month)
    assert steps.month_days.sum() == (last - first).days + 1
    if time_step == "daily":
        np.testing.assert_array_equal(steps.month_steps, steps.month_days)


# Derived predictors


def test_running_mean_ends_with_the_step_and_begins_before_the_period() -> None:
    values = np.arange(20.0)[:, None] * [1, 10]
    found = derive("running_mean(x, 91)", values, "2000-05-01", "2001-01-01", "2001-12-31")  # three months; the record leads by eight
    np.testing.assert_allclose(found[:, 0], np.arange(8, 20) - 1.0, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], 10 * found[:, 0], rtol=1e-5)


def test_lag_is_the_value_so_many_steps_before() -> None:
    values = np.arange(14.0)[:, None] ** 2 * [1, -1]
    found = derive("lag(x, 2)", values, "2000-11-01", "2001-01-01", "2001-12-31")
    np.testing.assert_allclose(found[:, 0], np.arange(12.0) ** 2, atol=1e-4)


@pytest.mark.parametrize("name", ["lag(x, 3)", "running_mean(x, 122)"])
def test_memory_longer_than_the_record_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"needs 3 steps before 2001-01-01, the record has 2; give earlier data, a shorter window"):
        derive(name, np.zeros((14, 2)), "2000-11-01", "2001-01-01", "2001-12-31")


def test_mean_season_and_anomaly_are_the_mean_year_and_what_is_left() -> None:
    values = np.random.default_rng(0).normal(size=(36, 2))
    mean = derive("mean_season(x)", values, "2001-01-01", "2001-01-01", "2003-12-31")
    np.testing.assert_allclose(mean, values.reshape(3, 12, 2).mean(axis=0), atol=1e-5)
    anomaly = derive("anomaly(x)", values, "2001-01-01", "2001-01-01", "2003-12-31")
    np.testing.assert_allclose(anomaly, values - np.tile(values.reshape(3, 12, 2).mean(axis=0), (3, 1)), atol=1e-5)
    np.testing.assert_allclose(anomaly.reshape(3, 12, 2).sum(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize(("years", "leap"), [((2001, 2003), False), ((2001, 2004), True)])
def test_the_mean_of_29_february_is_shared_with_its_neighbours(years: tuple[int, int], leap: bool) -> None:
    """Value = day of the mean year, but 1000 on the one leap day: its mean is that of it and the days beside it in all years."""
    time = pd.date_range(f"{years[0]}-01-01", f"{years[1]}-12-31")
    day = TimeStep.named("daily").season(time).astype(float)
    values = np.repeat(np.where(day == 59, 1000.0, day)[:, None], 2, axis=1)
    mean = derive("mean_season(x)", values, str(time[0].date()), str(time[0].date()), str(time[-1].date()), "daily")
    count = years[1] - years[0] + 1
    expected = (count * (58 + 60) + 1000 * leap) / (2 * count + leap)
    np.testing.assert_allclose(mean[[58, 59, 60, 365], 0], [58, expected, 60, 365], rtol=1e-5)


def test_a_mean_season_needs_a_whole_year() -> None:
    with pytest.raises(InputError, match=r"mean_season\(x\): the period holds no value for some part of the year"):
        derive("mean_season(x)", np.zeros((11, 2)), "2001-01-01", "2001-01-01", "2001-11-30")


def test_a_climatology_keeps_its_months_and_passes_through_their_middles_in_a_daily_study() -> None:
    climatology = xr.Dataset({"soil": (("month", "cell"), np.arange(1.0, 13)[::-1, None] * [1, 2], {"kind": "climatology"})})
    climatology = climatology.assign_coords(month=np.arange(12, 0, -1))  # stored backwards
    monthly = build_cube(climatology, [], LAT, AREA, Steps.create("2001-01-01", "2001-12-31", "monthly"), {})
    np.testing.assert_allclose(unscaled(monthly, "soil")[:, 0], np.arange(1, 13), rtol=1e-5)
    daily = unscaled(build_cube(climatology, [], LAT, AREA, Steps.create("2001-01-01", "2001-12-31", "daily"), {}), "soil")[:, 1]
    assert daily[15] == pytest.approx(2.0, abs=0.05)  # 16 January
    assert daily[[0, 365]] == pytest.approx([12.8, 13.2], abs=0.4)  # half way between December and January, and periodic
    assert np.abs(np.diff(np.r_[daily, daily[0]])).max() < 22 / 30 * 1.05


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean_season(y)", "`y` is not a dynamic predictor of this study; allowed: x"),
        ("median(x)", "not a derived predictor; allowed: potential_radiation"),
        ("lag(x)", "not a derived predictor"),
        ("lag(x, 0)", "not a derived predictor"),
    ],
)
def test_unknown_derived_predictors_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        derive(name, np.zeros((12, 2)), "2001-01-01", "2001-01-01", "2001-12-31")


@pytest.mark.parametrize(
    ("lead", "time_step", "expected"),
    [
        (0, "monthly", []), (2, "monthly", [90]), (10, "monthly", [90]), (11, "monthly", [90, 365]),
        (29, "daily", [30]), (400, "daily", [30, 90, 365]),
    ],
)  # fmt: skip
def test_memory_is_what_the_record_allows(lead: int, time_step: str, expected: list[int]) -> None:
    steps = Steps.create("2003-01-01", "2003-12-31", time_step)
    unit = pd.DateOffset(months=lead) if time_step == "monthly" else pd.DateOffset(days=lead)
    data = dynamic(np.zeros((lead + len(steps.time), 2)), str((steps.time[0] - unit).date()), "MS" if time_step == "monthly" else "D")
    windows = default_windows({"x": None}, lead, steps, "record")
    assert windows == {"x": expected} and set(expected) <= set(MEMORY_DAYS)
    assert default_windows({"x": [60]}, lead, steps, "record") == {"x": [60]}
    build_cube(data, [], LAT, AREA, steps, windows)  # what is allowed can be built


# Standardisation and rows


def test_standardising_can_be_undone_and_weights_by_area() -> None:
    values = np.random.default_rng(0).normal(5, 3, size=(24, 2)).astype(np.float32)
    cube = build_cube(dynamic(values, "2001-01-01"), [], LAT, AREA, Steps.create("2001-01-01", "2002-12-31", "monthly"), {})
    np.testing.assert_allclose(unscaled(cube, "x"), values, rtol=1e-5)
    weights = np.broadcast_to(AREA, values.shape)
    assert np.average(cube.dynamic[..., 0], weights=weights) == pytest.approx(0, abs=1e-5)
    assert np.average(cube.dynamic[..., 0] ** 2, weights=weights) == pytest.approx(1, rel=1e-5)


def test_a_constant_predictor_does_no_harm() -> None:
    cube = build_cube(
        dynamic(np.full((12, 2), 273.15), "2001-01-01"), [], LAT, AREA, Steps.create("2001-01-01", "2001-12-31", "monthly"), {}
    )
    np.testing.assert_allclose(cube.dynamic, 0, atol=1e-4)


def test_class_fractions_keep_their_scale() -> None:
    cube = make_cube()
    positions = [cube.columns.names.index(f"cover_{c}") for c in CLASSES]
    np.testing.assert_array_equal(cube.scale[positions], 1)
    total = sum(unscaled(cube, f"cover_{c}") for c in CLASSES)
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_training_and_upscaling_see_the_same_rows(time_step: str) -> None:
    cube = make_cube(2, time_step)
    rng = np.random.default_rng(0)
    step, cell = rng.integers(len(cube.steps.time), size=30), rng.integers(len(CELLS.index), size=20)
    block = np.asarray(DeviceCube.of(cube).block(step, cell))
    np.testing.assert_array_equal(block, cube.rows(np.repeat(step, 20), np.tile(cell, 30)).reshape(30, 20, -1))
    assert cube.columns.names[: cube.columns.invariant] == cube.columns.static + cube.columns.seasonal
    assert cube.columns.dynamic == ("ta",)


@pytest.mark.parametrize(("years", "time_step"), [(1, "monthly"), (4, "monthly"), (24, "monthly"), (2, "daily")])
def test_a_cell_is_placed_by_its_whole_year(years: int, time_step: str) -> None:
    """A predictor that is the month's number has mean 6.5 (sd 3.5) however many years there are."""
    steps = Steps.create("2001-01-01", f"{2000 + years}-12-31", time_step)
    values = np.repeat(steps.time.month.to_numpy()[:, None], 2, axis=1)
    cube = build_cube(dynamic(values, "2001-01-01", "MS" if time_step == "monthly" else "D"), [], LAT, AREA, steps, {})
    mean, sd = cube.mean_year().T
    np.testing.assert_allclose(mean, 0, atol=0.1)
    np.testing.assert_allclose(sd, 1, atol=0.1)


def test_a_tower_is_wholly_of_its_own_class() -> None:
    cube = make_cube()
    igbp, site = np.array(["ENF", "GRA", "GRA"]), np.array(["a", "b", "b"])
    found = tower_rows(cube, np.array([0, 1, 2]), np.array([5, 6, 6]), site, igbp, "cover", {}).predictors
    positions = [cube.columns.names.index(f"cover_{c}") for c in CLASSES]
    np.testing.assert_allclose(found[:, positions] + cube.centre[positions], [[1, 0], [0, 1], [0, 1]], atol=1e-6)
    others = [i for i in range(found.shape[1]) if i not in positions]
    np.testing.assert_array_equal(found[:, others], cube.rows(np.array([0, 1, 2]), np.array([5, 6, 6]))[:, others])


def test_an_unknown_class_is_named_with_its_site() -> None:
    cube = make_cube()
    with pytest.raises(InputError, match=r"class not among those of `cover` \(ENF, GRA\): b \(OSH\); correct the sites' igbp"):
        tower_rows(cube, np.array([0, 1]), np.array([0, 0]), np.array(["a", "b"]), np.array(["ENF", "OSH"]), "cover", {})


def test_site_meteorology_replaces_the_cells_and_its_shift_is_told() -> None:
    cube = make_cube()
    step, cell, site = np.array([0, 1, 2, 3]), np.array([3, 3, 8, 8]), np.array(["a", "a", "b", "b"])
    of_cell = predictors("2001-01-01", "2004-12-31", "monthly").ta.to_numpy()[step, cell]
    own = of_cell + np.array([2.0, 4.0, -1.0, -1.0])
    found = tower_rows(cube, step, cell, site, np.array(["ENF"] * 4), "cover", {"ta": own})
    position = cube.columns.names.index("ta")
    np.testing.assert_allclose(found.predictors[:, position] * cube.scale[position] + cube.centre[position], own, rtol=1e-5)
    shift = found.shift.set_index("site")
    np.testing.assert_allclose(shift.site_minus_cell.loc[["a", "b"]], [3, -1], atol=1e-4)
    assert (shift.predictor == "ta").all()
    season = cube.columns.names.index("mean_season(ta)")
    np.testing.assert_array_equal(found.predictors[:, season], cube.rows(step, cell)[:, season])

"""Parts of the synthetic world against analytic truths and published numbers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis

from dualflux.twin.climate import Weather, oscillation, potential_radiation, saturation_pressure
from dualflux.twin.ecosystem import CLASSES, Growth, Hidden, _snow, grow, respire
from dualflux.twin.geography import distance_km, draw, random_generator, smooth_patterns
from dualflux.twin.greenness import observe_greenness
from dualflux.twin.sampling import TowerTraits, record
from dualflux.twin.world import monthly_means

TIME = pd.date_range("2000-01-01", "2003-12-31")


def test_potential_radiation_is_that_of_fao56_example_8() -> None:
    """20 degrees south on 3 September (day 246): 32.2 MJ m-2 d-1."""
    found = potential_radiation(np.array([-20.0]), np.array([246]))[0, 0] * 0.0864
    assert found == pytest.approx(32.2, abs=0.05)


def test_polar_night_and_day() -> None:
    night, day = potential_radiation(np.array([80.0]), np.array([355, 172]))[:, 0]
    assert night == pytest.approx(0, abs=1e-9)
    assert day > 480  # brighter than the equator on that day


def test_saturation_pressure_is_that_of_fao56_table_2_3() -> None:
    np.testing.assert_allclose(saturation_pressure(np.array([1.0, 15.0, 24.5])), [6.57, 17.05, 30.75], rtol=2e-3)


def test_quarter_of_the_globe() -> None:
    pole, equator = distance_km(np.array([90.0, 0.0]), np.array([0.0, 90.0]), 0.0, 0.0)
    assert pole == pytest.approx(equator) == pytest.approx(np.pi / 2 * 6371.0072)


def test_hills_have_their_height_on_top() -> None:
    assert draw(np.array([10.0]), np.array([20.0]), [(10, 20, 500, 3.0), (-80, -160, 500, 7.0)]) == pytest.approx(3.0)


def test_patterns_keep_unit_variance_everywhere() -> None:
    lat, lon = np.meshgrid(np.arange(-80, 81, 20.0), np.arange(-180, 180, 30.0))
    patterns = smooth_patterns(lat.ravel(), lon.ravel(), 50, 900.0, random_generator(1, "test"))
    np.testing.assert_allclose((patterns**2).sum(axis=0), 1.0)


def test_oscillation_is_standardised_and_slow() -> None:
    index = oscillation(6000, random_generator(3, "test")).astype(float)
    assert index.mean() == pytest.approx(0, abs=1e-5)
    assert index.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(index[90:], index[:-90])[0, 1] > 0.5


def test_generators_depend_on_seed_and_purpose() -> None:
    first = random_generator(1, "a").random(3)
    assert np.array_equal(first, random_generator(1, "a").random(3))
    assert not np.array_equal(first, random_generator(1, "b").random(3))
    assert not np.array_equal(first, random_generator(2, "a").random(3))


def test_monthly_means_are_those_of_pandas() -> None:
    daily = np.random.default_rng(0).normal(size=(TIME.size, 3)).astype(np.float32)
    expected = pd.DataFrame(daily.astype(float), TIME).resample("MS").mean().to_numpy()
    np.testing.assert_allclose(monthly_means(daily, TIME), expected, atol=1e-12)


@given(st.floats(0, 500), st.floats(-40, 40), st.floats(0, 100))
def test_snow_neither_makes_nor_loses_water(snow: float, ta: float, precip: float) -> None:
    left, supply = _snow(np.array([snow]), np.array([ta]), np.array([precip]))
    assert left[0] >= 0
    assert left[0] + supply[0] == pytest.approx(snow + precip)


def _constant_growth(points: int) -> Growth:
    ones = np.ones((TIME.size, points), np.float32)
    return Growth(2 * ones, 0.5 * ones, ones, 0.5 * ones)


def test_a_stand_in_balance_exchanges_nothing_and_a_regrowing_one_its_share() -> None:
    """Constant climate: NEE = -sink x NPP, NPP = 0.53 GPP."""
    sink = np.array([0.0, 0.1, 0.4])
    exchange = respire(_constant_growth(3), sink)
    nee = exchange.quick + exchange.slow
    np.testing.assert_allclose(nee, np.broadcast_to(-0.53 * 2 * sink, nee.shape), atol=2e-4)
    np.testing.assert_allclose(exchange.respiration - 2, nee, atol=1e-4)


def _points(count: int) -> tuple[Weather, np.ndarray, Hidden, np.ndarray]:
    generator = np.random.default_rng(5)
    season = np.cos(2 * np.pi * (TIME.day_of_year.to_numpy()[:, None] - 200) / 365.25)
    ta = (10 + 12 * season + generator.normal(0, 3, (TIME.size, count))).astype(np.float32)
    fields = [170 + 120 * season + 0 * ta, 6 + 4 * season + 0 * ta, generator.gamma(0.5, 5, ta.shape)]
    cover = generator.dirichlet(np.ones(len(CLASSES)), count)
    hidden = Hidden(*(generator.uniform(0.8, 1.2, (2, count))), generator.uniform(1.4, 2, count), generator.uniform(0, 0.2, count))
    return Weather(TIME, ta, *(f.astype(np.float32) for f in fields)), cover, hidden, ta.max(axis=0) - 4.0


def test_points_are_independent_of_each_other() -> None:
    weather, cover, hidden, warmest = _points(5)
    pick = [3, 1]
    part = Weather(TIME, *(f[:, pick] for f in (weather.ta, weather.sw_in, weather.vpd, weather.precip)))
    fewer = Hidden(hidden.vigour[pick], hidden.capacity[pick], hidden.sensitivity[pick], hidden.sink[pick])
    whole, alone = grow(weather, cover, hidden, warmest), grow(part, cover[pick], fewer, warmest[pick])
    for name in ("gpp", "fapar", "decomposition", "soil_water"):
        np.testing.assert_array_equal(getattr(whole, name)[:, pick], getattr(alone, name))


def test_vegetation_lags_climate_and_stays_in_bounds() -> None:
    weather, cover, hidden, warmest = _points(3)
    broadleaf = np.eye(len(CLASSES))[[CLASSES.index("DBF")] * 3]
    growth = grow(weather, broadleaf, hidden, warmest)
    assert growth.fapar.min() >= 0 and growth.fapar.max() <= 1
    assert growth.soil_water.min() >= 0 and growth.soil_water.max() <= 1
    assert growth.gpp.min() >= 0
    cycle = [pd.Series(x.mean(axis=1), TIME.day_of_year).groupby(level=0).mean() for x in (weather.ta, growth.fapar)]
    half = [(c[:200] - c[:200].min()).gt(np.ptp(c[:200]) / 2).idxmax() for c in cycle]  # day of half the spring rise
    assert 10 < half[1] - half[0] < 60
    assert not np.array_equal(cover, broadleaf)


def test_greenness_composites_begin_every_16_days_and_gaps_are_filled() -> None:
    fapar = np.full((TIME.size, 4), 0.5, np.float32)
    light = np.full(fapar.shape, 100.0)
    light[:, 3] = 10.0
    top = np.full(fapar.shape, 200.0)
    top[300:330, 2] = 0.0
    green = observe_greenness(TIME, fapar, light, top, seed=1)
    assert len(green.begin) == 23 * 4
    assert set(green.begin.day_of_year) == set(range(1, 366, 16))
    assert (green.end[:-1] == green.begin[1:]).all() and green.end[-1] == pd.Timestamp("2004-01-01")
    assert np.isfinite(green.fapar).all()
    assert np.abs(green.fapar - 0.5).max() < 0.15
    assert green.filled[20, 2] or green.filled[19, 2]
    assert green.filled[:, 3].mean() > green.filled[:, 0].mean()
    days = pd.DatetimeIndex(["2000-01-01", "2000-01-16", "2000-01-17", "2001-01-01"])
    assert green.at_days(days).tolist() == [0, 0, 1, 23]


def test_records_lose_night_respiration_and_have_heavy_tails_that_grow_with_the_flux() -> None:
    days = pd.date_range("2001-01-01", "2010-12-31")
    nee = np.tile([0.0, -8.0], (days.size, 40)).astype(float)
    respiration = np.full_like(nee, 3.0)
    traits = TowerTraits(night_loss=0.1)
    got = record(days, nee, respiration, traits, seed=2)
    error = np.where(got.quality > 0.8, got.nee - nee, np.nan)
    quiet, busy = (e[np.isfinite(e)] for e in (error[:, ::2], error[:, 1::2]))
    assert quiet.mean() == pytest.approx(-0.3, abs=0.01)
    assert kurtosis(quiet) > 3  # a normal distribution has 0
    assert busy.std() > 3 * quiet.std()
    assert 0.1 < (got.quality < 0.5)[np.isfinite(got.nee)].mean() < 0.25


def test_perfect_towers_record_the_truth_on_measured_days() -> None:
    days = pd.date_range("2001-01-01", "2004-12-31")
    nee = np.random.default_rng(1).normal(size=(days.size, 5))
    got = record(days, nee, np.ones_like(nee), TowerTraits(noise=0.0, night_loss=0.0), seed=2)
    measured = got.quality > 0.7
    np.testing.assert_array_equal(got.nee[measured], nee[measured])


def test_twice_the_noise_is_twice_the_error() -> None:
    days = pd.date_range("2001-01-01", "2004-12-31")
    nee = np.random.default_rng(1).normal(size=(days.size, 5))
    once, twice = (record(days, nee, np.ones_like(nee), TowerTraits(noise=n, night_loss=0.0), seed=2) for n in (1.0, 2.0))
    measured = once.quality > 0.7
    np.testing.assert_allclose((twice.nee - nee)[measured], 2 * (once.nee - nee)[measured], atol=1e-12)
    np.testing.assert_allclose(twice.random_uncertainty[measured], 2 * once.random_uncertainty[measured])

"""Daily weather of the synthetic world: climate zones, seasons, storms, slow modes and a warming trend.

The formulas are schematic: sizes and phases are those of the real climate to within what a carbon-cycle experiment
needs (checked in the tests), and nothing here follows any one climate model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from dualflux.twin.geography import Bumps, Geography, draw, random_generator, smooth_patterns

_COOL: Bumps = [  # mountains [K]
    (33, 88, 800, -15), (42, -110, 500, -5), (-15, -69, 350, -9), (-32, -70, 250, -6), (9, 39, 350, -6),
    (36, 50, 600, -4), (47, 100, 600, -4), (62, 130, 900, -4), (60, 15, 700, 3), (50, 0, 900, 2),
]  # fmt: skip
_ARID: Bumps = [  # minus the logarithm of rain
    (25, -6, 850, 3.0), (25, 18, 900, 3.0), (23, 46, 850, 2.6), (42, 60, 900, 1.0), (40, 86, 800, 2.2), (43, 104, 600, 1.5),
    (-26, 130, 800, 1.5), (35, -112, 600, 1.4), (-23, -69, 300, 2.0), (-43, -69, 500, 0.9), (-24, 18, 600, 1.4), (31, 58, 800, 1.5),
    (7, 46, 500, 1.2), (-8, -39, 400, 0.7), (-3, -62, 1000, -0.35), (1, 112, 1500, -0.5), (24, 91, 600, -1.2), (27, 114, 800, -1.0),
    (21, 80, 700, -0.8), (37, 138, 500, -0.8), (33, -86, 700, -0.8), (6, -3, 600, -0.3), (-25, -52, 600, -0.7), (50, -125, 300, -0.5),
    (-42, 172, 400, -0.6), (0, 22, 900, -0.2),
]  # fmt: skip
_WINTER_RAIN: Bumps = [
    (38, 5, 900, 1.0),
    (36, 35, 600, 0.8),
    (37, -121, 300, 1.0),
    (-33, -71, 250, 1.0),
    (-33, 117, 350, 1.0),
    (-33, 19, 200, 1.0),
]
_ENSO_RAIN: Bumps = [
    (-3, -58, 1200, -0.34), (0, 115, 1500, -0.45), (-21, 26, 900, -0.28), (-26, 142, 1100, -0.35), (18, 78, 800, -0.22),
    (32, -98, 800, 0.2), (-1, 38, 700, 0.22), (-31, -57, 600, 0.22),
]  # fmt: skip
_ENSO_WARM: Bumps = [(56, -112, 1100, 0.6), (-3, -60, 1500, 0.25), (0, 110, 1500, 0.2)]
SOLAR_CONSTANT = 1366.7  # W m-2, the 0.0820 MJ m-2 min-1 of FAO 56
_WARMING = 0.022  # K per year at the equator, twice that at the poles


@dataclass(frozen=True, eq=False)
class Weather:
    """Daily weather of points.

    Attributes
    ----------
    time : DatetimeIndex, (day,)
    ta, sw_in, vpd, precip : array, (day, point), float32
        Air temperature [degC], shortwave radiation [W m-2], vapour pressure deficit [hPa], precipitation [mm d-1].
    """

    time: pd.DatetimeIndex
    ta: np.ndarray
    sw_in: np.ndarray
    vpd: np.ndarray
    precip: np.ndarray


def potential_radiation(lat: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Daily mean radiation at the top of the atmosphere [W m-2], (day, point); Allen et al. (1998), FAO 56, eq. 21."""
    angle = 2 * np.pi * np.asarray(day_of_year)[:, None] / 365.25
    declination, distance = 0.409 * np.sin(angle - 1.39), 1 + 0.033 * np.cos(angle)
    phi = np.radians(lat)[None]
    sunset = np.arccos(np.clip(-np.tan(phi) * np.tan(declination), -1, 1))
    return (
        SOLAR_CONSTANT
        / np.pi
        * distance
        * (sunset * np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.sin(sunset))
    )


def saturation_pressure(ta: np.ndarray) -> np.ndarray:
    """Saturation vapour pressure over water [hPa] of air temperature [degC]; Allen et al. (1998), FAO 56, eq. 11."""
    return 6.108 * np.exp(17.27 * ta / (ta + 237.3))


def simulate_weather(geography: Geography, time: pd.DatetimeIndex, seed: int) -> Weather:
    """Weather of every land cell for every day, float32, built year by year to bound memory."""
    lat, sine = geography.lat, np.abs(np.sin(np.radians(geography.lat)))
    noise = _Noise(geography, time, seed)
    shape = (len(time), lat.size)
    out = {name: np.empty(shape, np.float32) for name in ("ta", "sw_in", "vpd", "precip")}
    mean_temperature, amplitude = _temperature_climate(geography)
    peak = np.where(lat >= 0, 0.0, 182.6) + 199 + 10 * (1 - geography.continentality)
    for year in np.unique(time.year):
        days = np.flatnonzero(time.year == year)
        day_of_year = time.day_of_year[days].to_numpy()
        season = np.cos(2 * np.pi * (day_of_year[:, None] - peak) / 365.25)
        warm, wet, storm = noise.temperature(days), noise.rain(days), noise.storm(days)
        trend = _WARMING * (1 + sine) * (days[:, None] - shape[0] / 2) / 365.25
        synoptic = (0.8 + 4.2 * sine) * (1.15 - 0.35 * season)
        temperature = mean_temperature + amplitude * season + trend + synoptic * warm[0] + warm[1]
        rain = _rain_climate(geography, season, day_of_year)
        cloud = 1 / (1 + np.exp(-(0.6 * np.log((rain + 0.1) / 2) + 0.5 * wet + 0.9 * storm)))
        humidity = np.clip(0.44 + 0.5 * cloud, 0.1, 0.97)
        out["ta"][days] = temperature
        out["sw_in"][days] = potential_radiation(lat, day_of_year) * (0.76 - 0.42 * cloud)
        out["vpd"][days] = saturation_pressure(np.maximum(temperature, -35.0)) * (1 - humidity)
        out["precip"][days] = rain * np.exp(wet + 1.1 * storm - 0.605)
    return Weather(time, **out)


def _temperature_climate(geography: Geography) -> tuple[np.ndarray, np.ndarray]:
    sine, inland = np.abs(np.sin(np.radians(geography.lat))), geography.continentality
    mean = 28 - 35 * sine**2.2 - 6 * inland * sine**3 + draw(geography.lat, geography.lon, _COOL)
    return mean, 0.8 + sine**2 * (9 + 24 * inland**1.3)


def _rain_climate(geography: Geography, season: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    lat, lon, inland = geography.lat, geography.lon, geography.continentality
    mean = (4.3 * np.exp(-((lat / 17) ** 2)) + 2.2 * np.exp(-(((np.abs(lat) - 46) / 16) ** 2)) + 0.4) * np.exp(-draw(lat, lon, _ARID))
    tropical = np.exp(-((np.maximum(np.abs(lat) - 14, 0) / 10) ** 2)) * np.minimum(np.abs(lat) / 9, 1)
    swing = np.clip(0.9 * tropical + 0.45 * inland * (1 - tropical) - 1.3 * draw(lat, lon, _WINTER_RAIN), -0.9, 0.9)
    # Near the equator the rains come twice a year, after the equinoxes.
    twice = 0.3 * np.exp(-((lat / 6) ** 2)) * np.cos(4 * np.pi * (day_of_year[:, None] - 110) / 365.25)
    return mean * np.maximum(1 + swing * season + twice, 0.03)


class _Noise:
    """Random weather: storms of days, slow regional modes of months, one El Nino-like oscillation of years."""

    def __init__(self, geography: Geography, time: pd.DatetimeIndex, seed: int) -> None:
        generator = random_generator(seed, "climate")
        lat, lon = geography.lat, geography.lon
        self.enso_rain, self.enso_warm = 0.55 * draw(lat, lon, _ENSO_RAIN), draw(lat, lon, _ENSO_WARM) + 0.3 * np.exp(-((lat / 20) ** 2))
        self.warm_size = 0.35 + 1.0 * np.abs(np.sin(np.radians(lat)))
        self.fast = [smooth_patterns(lat, lon, 180, 800.0, generator).astype(np.float32) for _ in range(2)]
        self.slow = [smooth_patterns(lat, lon, 90, 1200.0, generator).astype(np.float32) for _ in range(2)]
        self.fast_amplitude = [_autoregression(len(time), 180, memory, generator) for memory in (0.78, 0.6)]
        self.slow_amplitude = [_slow_autoregression(len(time), 90, generator) for _ in range(2)]
        self.enso = oscillation(len(time), generator)
        self.generator = generator

    def temperature(self, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Synoptic part (unit variance) and slow part [K]."""
        fast = self.fast_amplitude[0][days] @ self.fast[0]
        local = self.generator.standard_normal(fast.shape, dtype=np.float32)
        slow = (self.slow_amplitude[0][days] @ self.slow[0]) * self.warm_size
        return 0.95 * fast + 0.3 * local, slow + self.enso[days, None] * self.enso_warm

    def rain(self, days: np.ndarray) -> np.ndarray:
        """Slow anomaly of the logarithm of rain."""
        return 0.18 * (self.slow_amplitude[1][days] @ self.slow[1]) + self.enso[days, None] * self.enso_rain

    def storm(self, days: np.ndarray) -> np.ndarray:
        """Clouds and rain of the day, unit variance."""
        fast = self.fast_amplitude[1][days] @ self.fast[1]
        return 0.9 * fast + 0.436 * self.generator.standard_normal(fast.shape, dtype=np.float32)


def _autoregression(days: int, count: int, memory: float, generator: np.random.Generator) -> np.ndarray:
    shocks = generator.standard_normal((days, count)) * np.sqrt(1 - memory**2)
    shocks[0] /= np.sqrt(1 - memory**2)
    return lfilter([1.0], [1.0, -memory], shocks, axis=0).astype(np.float32)


def _slow_autoregression(days: int, count: int, generator: np.random.Generator) -> np.ndarray:
    months = days // 30 + 2
    monthly = _autoregression(months, count, 0.7, generator)
    position = np.arange(days) / 30.0
    left = position.astype(int)
    part = (position - left)[:, None].astype(np.float32)
    return monthly[left] * (1 - part) + monthly[left + 1] * part


def oscillation(days: int, generator: np.random.Generator) -> np.ndarray:
    """A slow index of unit variance with a spectral peak near 3.7 years, (day,): a damped AR(2) in months."""
    months, damping = days // 30 + 242, 0.965
    shocks = generator.standard_normal(months)
    index = lfilter([1.0], [1.0, -2 * damping * np.cos(2 * np.pi / 44), damping**2], shocks)[240:]
    daily = np.interp(np.arange(days) / 30.0, np.arange(index.size), index)
    return ((daily - daily.mean()) / daily.std()).astype(np.float32)

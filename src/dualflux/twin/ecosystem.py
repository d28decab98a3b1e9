"""Vegetation and soil of the synthetic world: daily GPP by light-use efficiency and respiration from pools.

Two passes. `grow` steps soil water and leaves day by day; `respire` turns GPP into NEE with carbon pools. Points are
independent of each other, so land cells and tower footprints run through the same code as columns.
"""

from dataclasses import dataclass

import numpy as np

from dualflux.twin.climate import Weather

CLASSES = ("ENF", "EBF", "DBF", "MF", "OSH", "SAV", "GRA", "CRO", "BSV")
FOREST = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=float)
# per class: light-use efficiency [gC MJ-1], evergreen share, greatest fAPAR, soil water capacity [mm], drought deciduousness
_TRAITS = np.array(
    [
        [1.00, 0.80, 0.84, 160.0, 0.1],
        [1.05, 0.95, 0.92, 320.0, 0.1],
        [1.25, 0.20, 0.88, 200.0, 0.3],
        [1.15, 0.50, 0.87, 180.0, 0.2],
        [0.80, 0.45, 0.35, 90.0, 0.7],
        [1.00, 0.35, 0.62, 150.0, 0.9],
        [1.05, 0.12, 0.62, 100.0, 0.9],
        [1.45, 0.06, 0.80, 130.0, 0.7],
        [0.50, 0.30, 0.08, 50.0, 0.8],
    ]
)
_FAST_SHARE = 0.6  # of heterotrophic respiration comes from the pool with a memory of years
_FAST_TURNOVER = 3.0 * 365  # days at 15 degC on moist soil
_CO2_GROWTH = 0.0014  # growth of GPP per year


@dataclass(frozen=True, eq=False)
class Hidden:
    """What acts on the fluxes and stands in no predictor; each (point,).

    Attributes
    ----------
    vigour : array
        Factor on light-use efficiency (management, age).
    capacity : array
        Factor on soil water capacity.
    sensitivity : array
        Q10 of decomposition.
    sink : array
        Part of decomposition that a stand out of balance (regrowth) does not return.
    """

    vigour: np.ndarray
    capacity: np.ndarray
    sensitivity: np.ndarray
    sink: np.ndarray


@dataclass(frozen=True, eq=False)
class Growth:
    """Daily state; each (day, point), float32.

    Attributes
    ----------
    gpp : array
        Gross uptake [gC m-2 d-1].
    fapar : array
        Absorbed share of photosynthetic radiation.
    decomposition : array
        Rate of decomposition relative to 15 degC and moist soil.
    soil_water : array
        Relative soil water (0-1) of a bucket of one standard capacity: what a land-surface product would offer.
    """

    gpp: np.ndarray
    fapar: np.ndarray
    decomposition: np.ndarray
    soil_water: np.ndarray


def grow(weather: Weather, cover: np.ndarray, hidden: Hidden, warmest: np.ndarray) -> Growth:
    """Step water and leaves through all days, after one year of spin-up on the first year's weather.

    Parameters
    ----------
    cover : array, (point, class)
        Fractions of `CLASSES`.
    warmest : array, (point,)
        Temperature of the warmest months [degC]: photosynthesis is acclimated to it.
    """
    lue, evergreen, most, capacity, deciduous = (cover @ _TRAITS).T
    lue, capacity = lue * hidden.vigour, capacity * hidden.capacity
    shape = weather.ta.shape
    out = Growth(*(np.empty(shape, np.float32) for _ in range(4)))
    best = np.clip(warmest - 1, 14, 27)
    snow, water, standard = np.zeros(shape[1]), 0.5 * capacity, np.full(shape[1], 75.0)
    leaf, warmth, memory, soil = most * evergreen, weather.ta[0].astype(float), np.full(shape[1], 0.5), weather.ta[0].astype(float)
    spin_up = range(-min(365, shape[0]), 0)
    for day in (*(d + min(365, shape[0]) for d in spin_up), *range(shape[0])):
        ta, sw_in, vpd = weather.ta[day].astype(float), weather.sw_in[day].astype(float), weather.vpd[day].astype(float)
        snow, supply = _snow(snow, ta, weather.precip[day])
        demand = np.clip(0.019 * sw_in * np.clip((ta + 5) / 25, 0, 1.3), 0, None)
        water = _bucket(water, capacity, supply, demand * (0.35 + 0.65 * leaf))
        standard = _bucket(standard, 150.0, supply, 0.7 * demand)
        relative = water / capacity
        warmth, memory = warmth + (ta - warmth) / 12, memory + (relative - memory) / 30
        soil = soil + (np.where(snow > 10, np.maximum(ta, -3), ta) - soil) / 15
        leaf = _leaf(leaf, warmth, memory, evergreen, most, deciduous)
        out.fapar[day] = leaf
        out.gpp[day] = lue * leaf * _light(sw_in) * _stress(0.5 * (ta + warmth), ta, vpd, relative, best)
        out.decomposition[day] = (
            hidden.sensitivity ** ((soil - 15) / 10) * np.where(soil < -3, 0.3, 1.0) * relative / (relative + 0.18) * 1.18
        )
        out.soil_water[day] = standard / 150.0
    years = (np.arange(shape[0]) / 365.25)[:, None].astype(np.float32)
    out.gpp[:] *= 1 + _CO2_GROWTH * (years - years.mean())
    return out


def _snow(snow: np.ndarray, ta: np.ndarray, precip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    melt = np.minimum(snow, 3.0 * np.maximum(ta, 0))
    falls = ta < 0
    return snow - melt + np.where(falls, precip, 0), melt + np.where(falls, 0, precip)


def _bucket(water: np.ndarray, capacity: np.ndarray | float, supply: np.ndarray, demand: np.ndarray) -> np.ndarray:
    relative = water / capacity
    return np.clip(water + supply - demand * relative / (relative + 0.3) * 1.3 - 3.0 * relative**6, 0.5, capacity)


def _leaf(
    leaf: np.ndarray, warmth: np.ndarray, memory: np.ndarray, evergreen: np.ndarray, most: np.ndarray, deciduous: np.ndarray
) -> np.ndarray:
    warm = 1 / (1 + np.exp(-(warmth - 9.0) / 1.8))
    moist = 1 - deciduous * (1 - np.clip(memory / 0.45, 0, 1))
    goal = most * (evergreen + (1 - evergreen) * warm) * moist
    return leaf + (goal - leaf) * np.where(goal > leaf, 1 / 16, 1 / 12)


def _light(sw_in: np.ndarray) -> np.ndarray:
    par = 0.48 * sw_in * 0.0864  # MJ m-2 d-1
    return par / (1 + par / 22)


def _stress(recovered: np.ndarray, ta: np.ndarray, vpd: np.ndarray, relative: np.ndarray, best: np.ndarray) -> np.ndarray:
    below, above = np.clip((recovered + 2) / (best + 2), 0, 1), np.clip(1 - ((ta - best - 4) / 16), 0.2, 1)
    return below**1.3 * above / (1 + (vpd / 22) ** 1.5) * np.clip(relative / (relative + 0.12) * 1.12, 0, 1)


@dataclass(frozen=True, eq=False)
class Exchange:
    """Daily exchange before the global balance is set; (day, point).

    Attributes
    ----------
    quick : array
        NEE without the slow pool's respiration [gC m-2 d-1].
    slow : array
        Respiration of the slow pool [gC m-2 d-1].
    respiration : array
        Ecosystem respiration [gC m-2 d-1].
    """

    quick: np.ndarray
    slow: np.ndarray
    respiration: np.ndarray


def respire(growth: Growth, sink: np.ndarray) -> Exchange:
    """Ecosystem respiration and NEE from GPP.

    Autotrophic respiration follows recent GPP; litter reaches a fast pool (years) half a year late; a slow pool
    has no memory at this length. Both start in balance with the mean climate, less the stand's `sink`.
    """
    gpp, rate = growth.gpp, growth.decomposition
    mean_net, mean_rate = 0.53 * gpp.mean(axis=0), rate.mean(axis=0)
    slow_base = (1 - _FAST_SHARE) * mean_net / mean_rate * (1 - sink)
    fast = _FAST_SHARE * mean_net / mean_rate * _FAST_TURNOVER
    recent, litter = gpp[:30].mean(axis=0), _FAST_SHARE * mean_net
    out = Exchange(*(np.empty_like(gpp) for _ in range(3)))
    for day in range(gpp.shape[0]):
        recent = recent + (gpp[day] - recent) / 6
        net = gpp[day] - 0.47 * recent
        litter = litter + (_FAST_SHARE * net - litter) / 150
        from_fast = fast * rate[day] / _FAST_TURNOVER
        fast = fast + litter - from_fast
        out.slow[day] = slow_base * rate[day]
        out.respiration[day] = 0.47 * recent + from_fast * (1 - sink) + out.slow[day]
        out.quick[day] = out.respiration[day] - out.slow[day] - gpp[day]
    return out

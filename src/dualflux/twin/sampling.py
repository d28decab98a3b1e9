"""Eddy covariance towers of the synthetic world: where they stand, what they see and what they record.

A network is no random sample: towers are few, clustered in the temperate north, and stand in vigorous stands. How far
a stand's sink exceeds its landscape's depends on its age, which no predictor shows, and on climate and class in a way
that is not linear.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualflux.twin.climate import Weather
from dualflux.twin.ecosystem import CLASSES, FOREST, Hidden
from dualflux.twin.geography import Geography, random_generator
from dualflux.twin.landcover import LandCover

_NETWORK = {
    "USA": ("US", 0.27), "CAN": ("CA", 0.10), "CAM": ("MX", 0.01), "NSA": ("CO", 0.005), "BRA": ("BR", 0.03), "SSA": ("AR", 0.015),
    "EU": ("EU", 0.34), "NAF": ("SN", 0.01), "EQAF": ("CG", 0.005), "SAF": ("ZA", 0.015), "RUS": ("RU", 0.035), "CAS": ("KZ", 0.005),
    "MIDE": ("IL", 0.005), "CHN": ("CN", 0.06), "KAJ": ("JP", 0.04), "SAS": ("IN", 0.01), "SEAS": ("MY", 0.015), "OCE": ("AU", 0.045),
}  # fmt: skip


@dataclass(frozen=True)
class TowerTraits:
    """How far the network is from a fair sample; 1 is the default world.

    Attributes
    ----------
    siting : float
        Excess vigour of the stands that have a tower.
    noise : float
        Factor on the random errors.
    night_loss : float
        Share of respiration every tower misses on calm nights.
    clustered : bool
        Towers follow the real network's regions and hubs; else they are drawn by land area.
    """

    siting: float = 1.0
    noise: float = 1.0
    night_loss: float = 0.03
    clustered: bool = True


@dataclass(frozen=True, eq=False)
class Sites:
    """Tower sites.

    Attributes
    ----------
    table : DataFrame
        Columns site, lat, lon, igbp, region, unseen (bool: no data of it are written).
    cell : array of int, (site,)
        Position of the site's cell among the land cells.
    cover : array, (site, class)
        The site's own class, one-hot.
    hidden : Hidden
        Of the stand, not of the cell.
    """

    table: pd.DataFrame
    cell: np.ndarray
    cover: np.ndarray
    hidden: Hidden


def choose_sites(geography: Geography, cover: LandCover, hidden: Hidden, count: int, unseen: int, traits: TowerTraits, seed: int) -> Sites:
    """Draw `count` towers with data and `unseen` more from the same process."""
    generator = random_generator(seed, "sites")
    cell = _site_cells(geography, cover, count + unseen, traits.clustered, generator)
    preference = cover.fraction[cell] * (1 + 2 * FOREST * traits.clustered)
    preference[:, CLASSES.index("BSV")] *= 0.2
    draw = generator.random(cell.size)[:, None] * preference.sum(axis=1, keepdims=True)
    own = (np.cumsum(preference, axis=1) < draw).sum(axis=1)
    half = geography.cells.grid.lat_edges[1] - geography.cells.grid.lat_edges[0]
    offset = generator.uniform(-0.45, 0.45, (2, cell.size)) * half
    region = np.array(geography.cells.region_names)[geography.cells.region_fraction[:, cell].argmax(axis=0)]
    hidden_from_us = np.zeros(cell.size, dtype=bool)
    hidden_from_us[generator.choice(cell.size, unseen, replace=False)] = True
    table = pd.DataFrame(
        {
            "site": _names(region),
            "lat": np.round(geography.lat[cell] + offset[0], 4),
            "lon": np.round(geography.lon[cell] + offset[1], 4),
            "igbp": np.array(CLASSES)[own],
            "region": region,
            "unseen": hidden_from_us,
        }
    )
    return Sites(table, cell, np.eye(len(CLASSES))[own], _stand(cover, hidden, cell, own, traits.siting, generator))


def _site_cells(geography: Geography, cover: LandCover, count: int, clustered: bool, generator: np.random.Generator) -> np.ndarray:
    vegetated = (
        geography.cells.land_area * (1 - cover.fraction[:, CLASSES.index("BSV")]) * (geography.cells.region_fraction.sum(axis=0) > 0.5)
    )
    if not clustered:
        return generator.choice(vegetated.size, count, p=vegetated / vegetated.sum())
    weight = np.zeros(vegetated.size)
    temperate = np.exp(-0.5 * ((cover.warmest - 19) / 7) ** 2) + 0.1
    for name, area in zip(geography.cells.region_names, geography.cells.region_area, strict=True):
        inside = area * vegetated / geography.cells.land_area * temperate
        weight += _NETWORK[name][1] * inside / inside.sum()
    hubs = generator.choice(weight.size, count, p=weight / weight.sum())
    # Every third tower stands beside another: hubs attract towers.
    beside = generator.integers(0, count, count)
    return np.where(generator.random(count) < 1 / 3, hubs[beside], hubs)


def _names(region: np.ndarray) -> list[str]:
    seen: dict[str, int] = {}
    names = []
    for one in region:
        seen[one] = seen.get(one, 0) + 1
        names.append(f"{_NETWORK[one][0]}-{seen[one]:03d}")
    return names


def _stand(cover: LandCover, hidden: Hidden, cell: np.ndarray, own: np.ndarray, siting: float, generator: np.random.Generator) -> Hidden:
    age = np.exp(generator.normal(np.log(40), 0.9, cell.size))  # years
    mean_temperature = (cover.coldest + cover.warmest)[cell] / 2
    mild = np.exp(-0.5 * ((mean_temperature - 11) / 9) ** 2)
    moist = 1 / (1 + np.exp(-(cover.wetness[cell] - 0.5) / 0.12))
    regrowth = np.exp(-0.5 * (np.log(age / 30) / 0.8) ** 2)
    excess = siting * (0.25 + 0.75 * FOREST[own]) * (0.25 + 0.75 * mild * moist) * (0.3 + 0.7 * regrowth)
    normal = generator.standard_normal((4, cell.size))
    return Hidden(
        vigour=hidden.vigour[cell] * np.exp(0.25 * normal[0]) * (1 + 0.12 * excess),
        capacity=hidden.capacity[cell] * np.exp(0.4 * normal[1]),
        sensitivity=np.clip(hidden.sensitivity[cell] + 0.1 * normal[2], 1.25, 2.2),
        sink=hidden.sink[cell] + 0.1 * normal[3] + 0.42 * excess,
    )


def site_weather(weather: Weather, cell: np.ndarray, fair: bool, seed: int) -> Weather:
    """Weather at the towers: the cell's, shifted by relief and exposure, with small daily differences.

    Parameters
    ----------
    fair : bool
        True gives the cell's own weather.
    """
    here = {name: getattr(weather, name)[:, cell] for name in ("ta", "sw_in", "vpd", "precip")}
    if fair:
        return Weather(weather.time, **here)
    generator = random_generator(seed, "site weather")
    shape = here["ta"].shape

    def noise(size: float, daily: float) -> np.ndarray:
        lasting = size * generator.standard_normal(shape[1])
        return (lasting + daily * generator.standard_normal(shape, dtype=np.float32)).astype(np.float32)

    return Weather(
        weather.time,
        ta=here["ta"] + noise(1.0, 0.5),
        sw_in=here["sw_in"] * np.clip(1 + noise(0.04, 0.08), 0.5, 1.5),
        vpd=here["vpd"] * np.exp(noise(0.1, 0.08)),
        precip=here["precip"] * np.exp(noise(0.15, 0.3)),
    )


@dataclass(frozen=True, eq=False)
class Records:
    """What the towers with data wrote down; each (day, site), NaN outside a site's years.

    Attributes
    ----------
    nee, quality, random_uncertainty, joint_uncertainty : array
        NEE and its uncertainties [gC m-2 d-1]; quality is the fraction of measured or well-filled half hours.
    """

    nee: np.ndarray
    quality: np.ndarray
    random_uncertainty: np.ndarray
    joint_uncertainty: np.ndarray


def record(time: pd.DatetimeIndex, nee: np.ndarray, respiration: np.ndarray, traits: TowerTraits, seed: int) -> Records:
    """Measure: night-time loss, heavy-tailed noise that grows with the flux, site-years out of calibration, gaps.

    Parameters
    ----------
    nee, respiration : array, (day, site)
        True fluxes at the tower [gC m-2 d-1].
    """
    generator = random_generator(seed, "records")
    shape = nee.shape
    size = traits.noise * (0.15 + 0.12 * np.abs(nee))
    noise = size * generator.standard_t(3, shape) / np.sqrt(3)
    slow = _by_year(time, shape[1], generator) * traits.noise * 0.1 * np.abs(nee)
    measured = nee - traits.night_loss * respiration + noise + slow
    quality = np.clip(1 - 0.35 * generator.beta(1, 9, shape), 0, 1)
    gap = _gaps(shape, generator)
    quality[gap] = generator.uniform(0, 0.5, int(gap.sum()))
    filled = pd.DataFrame(np.where(gap, np.nan, measured)).rolling(31, center=True, min_periods=1).mean().to_numpy()
    measured = np.where(gap, np.where(np.isfinite(filled), filled, measured), measured)
    outside = ~_years_of_operation(time, shape[1], generator)
    random = size * np.exp(0.2 * generator.standard_normal(shape))
    joint = np.sqrt(random**2 + (0.06 * respiration) ** 2)
    return Records(*(np.where(outside, np.nan, field) for field in (measured, quality, random, joint)))


def _by_year(time: pd.DatetimeIndex, count: int, generator: np.random.Generator) -> np.ndarray:
    year = time.year.to_numpy() - time.year[0]
    return generator.standard_normal((year.max() + 1, count))[year]


def _gaps(shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Outages of about three weeks, one day in six in all."""
    gap = np.zeros(shape, dtype=bool)
    for site in range(shape[1]):
        starts = np.flatnonzero(generator.random(shape[0]) < 1 / 120)
        for start, length in zip(starts, generator.exponential(22, starts.size).astype(int), strict=True):
            gap[start : start + 1 + length, site] = True
    return gap


def _years_of_operation(time: pd.DatetimeIndex, count: int, generator: np.random.Generator) -> np.ndarray:
    years = np.unique(time.year)
    length = np.minimum(2 + generator.geometric(0.17, count), years.size)
    first = years[0] + np.floor(generator.random(count) * (years.size - length + 1)).astype(int)
    year = time.year.to_numpy()[:, None]
    return (year >= first) & (year < first + length)

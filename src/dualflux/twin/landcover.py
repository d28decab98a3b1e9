"""Land cover, climate class and the hidden properties of the synthetic world's land."""

from dataclasses import dataclass

import numpy as np

from dualflux.twin.climate import Weather
from dualflux.twin.ecosystem import CLASSES, Hidden
from dualflux.twin.geography import Bumps, Geography, draw, random_generator, smooth_field

CLIMATES = ("tropical", "arid", "temperate", "boreal", "polar")
BARE = CLASSES.index("BSV")
_FARMS: Bumps = [
    (48, 10, 900, 2.2), (49, 33, 800, 2.4), (41, -92, 700, 2.6), (51, -106, 500, 1.8), (25, 80, 800, 2.8), (34, 115, 600, 2.6),
    (-33, -61, 500, 2.4), (-15, -52, 700, 1.0), (11, 3, 1000, 1.2), (54, 60, 700, 1.8), (13, 103, 500, 1.6), (-32, 118, 300, 1.6),
    (-34, 146, 350, 1.4),
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class LandCover:
    """What maps show of each land cell.

    Attributes
    ----------
    fraction : array, (cell, class)
        Land cover fractions of `CLASSES`, summing to 1.
    climate : array of int, (cell,)
        Position in `CLIMATES`.
    coldest, warmest : array, (cell,)
        Mean temperature of the coldest and warmest months [degC].
    wetness : array, (cell,)
        Rain over a simple potential evaporation.
    """

    fraction: np.ndarray
    climate: np.ndarray
    coldest: np.ndarray
    warmest: np.ndarray
    wetness: np.ndarray


def draw_land_cover(geography: Geography, weather: Weather, seed: int) -> LandCover:
    """Classes from climate, farmed land from a hand-drawn map, and random patches."""
    generator = random_generator(seed, "land cover")
    month = weather.time.month.to_numpy()
    by_month = np.stack([weather.ta[month == m].mean(axis=0) for m in range(1, 13)])
    coldest, warmest = by_month.min(axis=0), by_month.max(axis=0)
    demand = 0.019 * weather.sw_in.mean(axis=0) * np.clip((weather.ta.mean(axis=0) + 12) / 30, 0.15, 1.3)
    wetness = weather.precip.mean(axis=0) / np.maximum(demand, 0.2)
    score = _suitability(coldest, warmest, wetness)
    score[:, CLASSES.index("CRO")] += draw(geography.lat, geography.lon, _FARMS) - 1.2 + np.minimum(0, (warmest - 14) / 3)
    patches = [0.6 * smooth_field(geography.lat, geography.lon, 150, 500.0, generator) for _ in CLASSES]
    score = score + np.stack(patches, axis=1) + 0.5 * generator.standard_normal(score.shape)
    share = np.exp(1.6 * score)
    climate = np.select([warmest < 10, wetness < 0.32, coldest > 16, coldest > -4], [4, 1, 0, 2], default=3)
    return LandCover(share / share.sum(axis=1, keepdims=True), climate, coldest, warmest, wetness)


def _suitability(coldest: np.ndarray, warmest: np.ndarray, wetness: np.ndarray) -> np.ndarray:
    def near(value: np.ndarray, centre: float, width: float) -> np.ndarray:
        return -0.5 * ((value - centre) / width) ** 2

    def above(value: np.ndarray, limit: float, width: float) -> np.ndarray:
        return -np.logaddexp(0, -(value - limit) / width)

    wet = above(wetness, 0.6, 0.1)
    columns = {
        "ENF": 1.0 + near(coldest, -16, 12) + wet + above(warmest, 11, 1.5),
        "EBF": 1.6 + above(coldest, 18, 2.0) + above(wetness, 0.95, 0.12),
        "DBF": 0.6 + near(coldest, 0, 9) + above(wetness, 0.8, 0.12) + above(warmest, 16, 2),
        "MF": 0.6 + near(coldest, -7, 9) + above(wetness, 0.75, 0.12) + above(warmest, 14, 2),
        "OSH": 0.2 + np.maximum(near(wetness, 0.28, 0.12), near(warmest, 9, 4)),
        "SAV": 1.0 + above(coldest, 12, 2.5) + near(wetness, 0.7, 0.25),
        "GRA": 0.3 + np.maximum(near(wetness, 0.45, 0.2), near(warmest, 10, 4)),
        "CRO": above(wetness, 0.3, 0.08),
        "BSV": 0.8 - 12 * np.maximum(wetness - 0.18, 0),
    }
    columns["BSV"] = np.maximum(columns["BSV"], 0.4 - (warmest - 4) / 3)
    return np.stack([columns[name] for name in CLASSES], axis=1)


def draw_hidden(geography: Geography, size: float, seed: int) -> Hidden:
    """Stand age, management and soil of each cell: differences between regions, along 400 km and between neighbours.

    Parameters
    ----------
    size : float
        1 is the default world.
    """
    generator = random_generator(seed, "hidden")
    lat, lon = geography.lat, geography.lon
    region = geography.cells.region_fraction.T  # (cell, region)

    def field(by_region: float, smooth: float, local: float) -> np.ndarray:
        regional = region @ generator.standard_normal(region.shape[1])
        return size * (
            by_region * regional + smooth * smooth_field(lat, lon, 400, 400.0, generator) + local * generator.standard_normal(lat.size)
        )

    return Hidden(
        vigour=np.exp(field(0.08, 0.08, 0.1)),
        capacity=np.exp(field(0.12, 0.2, 0.2)),
        sensitivity=np.clip(1.6 + field(0.05, 0.08, 0.05), 1.25, 2.2),
        sink=np.clip(0.06 + field(0.035, 0.03, 0.03), -0.15, 0.3),
    )


def draw_bare_flux(geography: Geography, cover: LandCover, size: float, seed: int) -> np.ndarray:
    """Lasting flux of wholly bare ground, (cell,), in the unit of `size`: smooth over 1500 km, its sum over bare land zero.

    Parameters
    ----------
    size : float
        Sd; 0 is none.
    """
    field = smooth_field(geography.lat, geography.lon, 150, 1500.0, random_generator(seed, "bare ground"))
    bare = geography.cells.land_area * cover.fraction[:, BARE]
    off = field - field @ bare / bare.sum()
    return np.asarray(size * off / np.sqrt(off**2 @ bare / bare.sum()))

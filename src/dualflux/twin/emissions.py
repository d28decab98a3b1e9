"""Fire and the return of exported carbon: the part of net biosphere exchange that towers do not see."""

from dataclasses import dataclass

import numpy as np

from dualflux.twin.ecosystem import CLASSES, FOREST
from dualflux.twin.geography import Geography, random_generator, smooth_patterns
from dualflux.twin.landcover import LandCover

_FUEL = np.array([0.12, 0.08, 0.08, 0.10, 0.3, 1.0, 0.5, 0.08, 0.02])  # per class of CLASSES
_PER_YEAR = {"fire": 1.7, "crop_consumption": 0.4, "biofuel_consumption": 0.05, "wood_consumption": 0.15, "river_evasion": 0.25}  # PgC yr-1


@dataclass(frozen=True, eq=False)
class Emissions:
    """Emissions per m2 of land [gC m-2 d-1].

    Attributes
    ----------
    fire : array, (month, cell)
    lateral : dict of array, (cell,)
        crop_consumption, biofuel_consumption, wood_consumption, river_evasion: even through all years.
    """

    fire: np.ndarray
    lateral: dict[str, np.ndarray]

    def total(self) -> np.ndarray:
        """All terms, (month, cell)."""
        return self.fire + sum(self.lateral.values())


def simulate_emissions(
    geography: Geography, cover: LandCover, fapar: np.ndarray, soil_water: np.ndarray, vpd: np.ndarray, rain: np.ndarray
) -> Emissions:
    """Emissions from monthly means of greenness, relative soil water, vapour pressure deficit, (month, cell), and mean rain, (cell,)."""
    area = geography.cells.land_area
    fuel = (cover.fraction @ _FUEL) * fapar.mean(axis=0)
    fire = fuel * np.clip(1 - soil_water, 0, 1) ** 3 * (vpd / 10) ** 1.2
    farmed = cover.fraction[:, CLASSES.index("CRO")]
    near = np.exp(-0.5 * ((geography.lat[:, None] - geography.lat) / 6) ** 2 - 0.5 * ((geography.lon[:, None] - geography.lon) / 8) ** 2)
    eaten = near @ (farmed * area) / (near @ area)
    shapes = {
        "crop_consumption": eaten,
        "biofuel_consumption": eaten * farmed,
        "wood_consumption": eaten * (cover.fraction @ FOREST + 0.1),
        "river_evasion": rain,
    }
    lateral = {name: shape * _scale(shape, area, _PER_YEAR[name]) for name, shape in shapes.items()}
    return Emissions(fire * _scale(fire.mean(axis=0), area, _PER_YEAR["fire"]), lateral)


def _scale(shape: np.ndarray, area: np.ndarray, per_year: float) -> float:
    return per_year * 1e15 / 365.25 / float(shape @ area)


def as_published(geography: Geography, emissions: Emissions, error: float, seed: int) -> Emissions:
    """What data providers offer: the truth times a smooth error field of each term, relative sd `error`."""
    generator = random_generator(seed, "published emissions")
    patterns = smooth_patterns(geography.lat, geography.lon, 60, 1500.0, generator)

    def factor() -> np.ndarray:
        return np.exp(error * (generator.standard_normal(60) @ patterns) - error**2 / 2)

    return Emissions(emissions.fire * factor(), {name: field * factor() for name, field in emissions.lateral.items()})

"""Atmospheric inversions of the synthetic world: right for the globe, uncertain for regions, wrong below them.

Each product is the true net biosphere exchange with errors of six kinds: offsets that cancel between neighbouring
regions, seasonal amplitude and phase, year-to-year amplitude, trend, red noise, and a wrong pattern inside regions;
part of the errors is common to all products; products cover different years.

No spread between products shows what they have in common, so no world may fix it either: the common error has k times the size of a
product's own, and k is another one from world to world.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from dualflux.twin.geography import Geography, random_generator, smooth_patterns
from dualflux.units import PETAGRAM

NAMES = ("Inversion A", "Inversion B", "Inversion C", "Inversion D", "Inversion E", "Inversion F")
COMMON_SHARES = (0.0, 0.4, 0.8, 1.2)  # k
_STARTS_LATE, _ENDS_EARLY = {"Inversion E": 3}, {"Inversion F": 3}  # years
_NEIGHBOURS = (
    ("USA", "CAN"), ("USA", "CAM"), ("CAM", "NSA"), ("NSA", "BRA"), ("BRA", "SSA"), ("EU", "RUS"), ("EU", "NAF"), ("EU", "MIDE"),
    ("RUS", "CAS"), ("RUS", "CHN"), ("CAS", "CHN"), ("CHN", "KAJ"), ("CHN", "SEAS"), ("SAS", "SEAS"), ("SEAS", "OCE"), ("NAF", "EQAF"),
    ("EQAF", "SAF"), ("CAN", "RUS"), ("MIDE", "SAS"), ("BRA", "EQAF"), ("SAF", "OCE"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class AtmosphericProducts:
    """Inversions on the world's grid.

    Attributes
    ----------
    names : tuple of str
    flux : array, (product, month, cell)
        Net biosphere exchange per m2 of land [gC m-2 d-1]; NaN in years without data.
    common_share : float
        k: sd of the error that all have in common over that of a product's own.
    """

    names: tuple[str, ...]
    flux: np.ndarray
    common_share: float


def common_share_of(seed: int) -> float:
    """k of a world. Seeds 0 to 3, 4 to 7, ... have each of `COMMON_SHARES` once, in random order: few seeds in a row see most of them."""
    order = random_generator(seed // len(COMMON_SHARES), "inversions, common share").permutation(COMMON_SHARES)
    return float(order[seed % len(COMMON_SHARES)])


def invert(
    geography: Geography, months: pd.DatetimeIndex, exchange: np.ndarray, activity: np.ndarray, size: float, seed: int
) -> AtmosphericProducts:
    """Six products from the true exchange; what they have in common has the share `common_share_of(seed)`.

    Parameters
    ----------
    exchange : array, (month, cell)
        True net biosphere exchange [gC m-2 d-1].
    activity : array, (month, cell)
        GPP: where products put their corrections inside a region.
    size : float
        Factor on every error; 1 is the default world.
    """
    share, shared = common_share_of(seed), random_generator(seed, "inversions, common")
    weight = geography.cells.region_area / geography.cells.region_area.sum(axis=1, keepdims=True)
    truth = exchange @ weight.T  # (month, region) mean density
    days = months.days_in_month.to_numpy()
    to_density = PETAGRAM / geography.cells.region_area.sum(axis=1)
    common = _regional_error(geography, truth, to_density, days, share * size, shared)
    flux = np.empty((len(NAMES), *exchange.shape), np.float32)
    for i, name in enumerate(NAMES):
        generator = random_generator(seed, name)
        error = common + _regional_error(geography, truth, to_density, days, size, generator)
        flux[i] = _inside_regions(geography, weight, exchange, activity, truth, error, size, generator)
        flux[i][~_covered(months, name)] = np.nan
    return AtmosphericProducts(NAMES, flux, share)


def _regional_error(
    geography: Geography, truth: np.ndarray, to_density: np.ndarray, days: np.ndarray, size: float, generator: np.random.Generator
) -> np.ndarray:
    """Error of the regions' mean density, (month, region)."""
    regions, months = truth.shape[1], truth.shape[0]
    extent = np.sqrt(PETAGRAM / to_density / 8e12)  # sqrt of area, 1 for Brazil
    year = np.arange(months) / 12 - months / 24
    cycle = truth.reshape(-1, 12, regions).mean(axis=0)
    cycle_error = (cycle - cycle.mean(axis=0)) * 0.12 * generator.standard_normal(regions)
    cycle_error += 0.15 * generator.standard_normal(regions) * (np.roll(cycle, -1, axis=0) - np.roll(cycle, 1, axis=0)) / 2
    anomaly = truth - np.tile(cycle, (months // 12, 1))
    amplitude = 0.2 * generator.standard_normal() + 0.2 * generator.standard_normal(regions)
    noise = lfilter([1.0], [1.0, -0.5], generator.standard_normal((months, regions)), axis=0)
    integral = (  # PgC per year
        _offsets(geography, extent, generator) + 0.006 * extent * generator.standard_normal(regions) * year[:, None] + 0.10 * extent * noise
    )
    return size * (np.tile(cycle_error, (months // 12, 1)) + amplitude * anomaly + integral * to_density / 365.25)


def _offsets(geography: Geography, extent: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    names = geography.cells.region_names
    offset = np.zeros(len(names))
    for one, other in _NEIGHBOURS:
        i, j = names.index(one), names.index(other)
        moved = 0.14 * min(extent[i], extent[j]) * generator.standard_normal()
        offset[i] += moved
        offset[j] -= moved
    return offset + 0.1 * generator.standard_normal() * extent**2 / (extent**2).sum()


def _inside_regions(
    geography: Geography, weight: np.ndarray, exchange: np.ndarray, activity: np.ndarray, truth: np.ndarray, error: np.ndarray, size: float,
    generator: np.random.Generator,
) -> np.ndarray:  # fmt: skip
    share = geography.cells.region_fraction  # (region, cell)
    relative = activity / np.maximum((activity @ weight.T) @ share, 1e-3)
    relative = np.clip(0.3 + 0.7 * relative, 0, 3)
    correction = (error @ share) * relative / np.maximum((relative @ weight.T) @ share, 1e-3)
    pattern = generator.standard_normal(120) @ smooth_patterns(geography.lat, geography.lon, 120, 700.0, generator)
    wrong = 0.12 * size * pattern * activity
    wrong -= (wrong @ weight.T) @ share
    # Smooth priors and few stations: half of the detail inside a region is lost.
    return 0.5 * exchange + 0.5 * (truth @ share) + correction + wrong


def _covered(months: pd.DatetimeIndex, name: str) -> np.ndarray:
    year = months.year.to_numpy()
    return (year >= year[0] + _STARTS_LATE.get(name, 0)) & (year <= year[-1] - _ENDS_EARLY.get(name, 0))

"""The stage of the synthetic world: real land and sea, regions, and hand-drawn patterns on the sphere."""

import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.ndimage import uniform_filter

from dualflux.geometry.sphere import EARTH_RADIUS, great_circle
from dualflux.grid import Grid, LandCells, grid_of, regrid
from dualflux.sources.land.region_masks import read_regions

Bumps = list[tuple[float, float, float, float]]  # latitude, longitude, radius [km], height


@dataclass(frozen=True, eq=False)
class Geography:
    """Land cells of the world's grid.

    Attributes
    ----------
    cells : LandCells
        Ice-free land cells with their share in each of the 18 regions.
    land_fraction : array, (lat, lon)
        Ice-free land fraction.
    lat, lon : array, (cell,)
        Cell centres [degrees].
    continentality : array, (cell,)
        0 maritime to 1 deep inside a continent, seen from where the wind comes.
    """

    cells: LandCells
    land_fraction: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    continentality: np.ndarray


def random_generator(seed: int, purpose: str) -> np.random.Generator:
    """A generator of its own for each purpose, so that one part of the world can change without the others."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def build_geography(resolution: float) -> Geography:
    """Land, regions and continentality on the global grid of `resolution` [degrees]."""
    with files("dualflux").joinpath("data/gcp18.nc").open("rb") as handle, xr.open_dataset(handle, engine="h5netcdf") as packaged:
        mask = packaged[["land_fraction", "ice_free_land_fraction"]].load()
    target = Grid.global_regular(resolution)
    mean, valid = regrid(mask.ice_free_land_fraction.values, grid_of(mask.land_fraction, "gcp18.nc"), target)
    land_fraction = np.clip(np.nan_to_num(mean) * valid, 0, 1)
    cells = LandCells.build(target, land_fraction, read_regions("gcp18", Path(), target))
    lat, lon = cells.lat(), cells.lon()
    return Geography(cells, land_fraction, lat, lon, _continentality(mask.land_fraction.values, lat, lon))


def _continentality(land: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    upwind = uniform_filter(land, size=(15, 41), mode=("nearest", "wrap"), origin=(0, 14))
    around = uniform_filter(land, size=(21, 21), mode=("nearest", "wrap"))
    row, column = np.clip(np.round(lat + 89.5).astype(int), 0, 179), np.round(lon + 179.5).astype(int) % 360
    westerly = 1 / (1 + np.exp(-(np.abs(lat) - 32) / 4))
    return np.clip(westerly * upwind[row, column] + (1 - westerly) * around[row, column], 0, 1)


def distance_km(lat: np.ndarray, lon: np.ndarray, lat0: np.ndarray | float, lon0: np.ndarray | float) -> np.ndarray:
    """Great-circle distance [km], broadcasting."""
    return 1e-3 * EARTH_RADIUS * great_circle(lat, lon, lat0, lon0)


def draw(lat: np.ndarray, lon: np.ndarray, bumps: Bumps) -> np.ndarray:
    """Sum of Gaussian hills at the given points."""
    return sum(
        (height * np.exp(-0.5 * (distance_km(lat, lon, lat0, lon0) / radius) ** 2) for lat0, lon0, radius, height in bumps),
        np.zeros(lat.shape),
    )


def smooth_patterns(lat: np.ndarray, lon: np.ndarray, count: int, length: float, generator: np.random.Generator) -> np.ndarray:
    """Spatial patterns of correlation length `length` [km], (count, point).

    Sums of squares over patterns are 1 at each point, so independent unit-variance amplitudes give a
    field of unit variance.
    """
    lat0 = np.degrees(np.arcsin(generator.uniform(-1, 1, count)))
    lon0 = generator.uniform(-180, 180, count)
    hill = np.exp(-0.5 * (distance_km(lat[None], lon[None], lat0[:, None], lon0[:, None]) / length) ** 2) + 1e-6
    return hill / np.sqrt((hill**2).sum(axis=0))


def smooth_field(lat: np.ndarray, lon: np.ndarray, count: int, length: float, generator: np.random.Generator) -> np.ndarray:
    """One random field of unit variance and correlation length `length` [km], (point,)."""
    return generator.standard_normal(count) @ smooth_patterns(lat, lon, count, length, generator)

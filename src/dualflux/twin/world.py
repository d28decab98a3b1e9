"""The synthetic world: a truth for every cell and tower, and the data a user of the real world would have of it."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.twin.atmosphere import AtmosphericProducts, invert
from dualflux.twin.climate import Weather, potential_radiation, simulate_weather
from dualflux.twin.ecosystem import Exchange, Growth, grow, respire
from dualflux.twin.emissions import Emissions, as_published, simulate_emissions
from dualflux.twin.geography import Geography, build_geography, random_generator
from dualflux.twin.greenness import Greenness, observe_greenness
from dualflux.twin.landcover import BARE, LandCover, draw_bare_flux, draw_hidden, draw_land_cover
from dualflux.twin.sampling import Records, Sites, TowerTraits, choose_sites, record, site_weather
from dualflux.units import PETAGRAM

DAYS_PER_YEAR = 365.25
_GPP, _NEE = 122.0, -3.5  # PgC per year


class WorldSettings(BaseModel):
    """Which world to build.

    Attributes
    ----------
    resolution : float
        Cell size [degrees].
    start, end : date
        Whole years of fluxes; weather starts one year earlier.
    kind : {"default", "no_tower_bias", "hostile"}
        `no_tower_bias`: towers are a fair sample and what is hidden is small. `hostile`: everything that
        makes the problem hard at twice its size, and bare ground that has a flux (sd 15 gC m-2 yr-1, lasting).
    time_step : {"monthly", "daily"}
        Of the predictor files and the tower truth; the simulation is daily.
    towers, unseen_towers : int
        Sites whose records are written, and sites of the same kind kept for scoring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    resolution: float = Field(4.0, gt=0, le=10)
    start: date = date(2001, 1, 1)
    end: date = date(2017, 12, 31)
    seed: int = Field(1, ge=0)
    kind: Literal["default", "no_tower_bias", "hostile"] = "default"
    time_step: Literal["monthly", "daily"] = "monthly"
    towers: int = Field(120, ge=10, le=900)
    unseen_towers: int = Field(60, ge=0, le=900)

    @model_validator(mode="after")
    def _whole_years(self) -> "WorldSettings":
        whole = (self.start.month, self.start.day, self.end.month, self.end.day) == (1, 1, 12, 31)
        if not whole or self.end.year - self.start.year < 1:
            raise ValueError(f"{self.start} to {self.end}: start on 1 January, end on 31 December, at least two years")
        return self


@dataclass(frozen=True, eq=False)
class World:
    """A synthetic world.

    Attributes
    ----------
    settings : WorldSettings
    geography, cover, weather : as built
        Weather starts one year before the fluxes.
    soil_water : array, (day, cell)
        Relative water of a standard soil.
    greenness : Greenness
        Composites, as satellites see them.
    months : DatetimeIndex, (month,)
        First days of the months of the fluxes.
    nee, gpp : array, (month, cell)
        Truth [gC m-2 d-1].
    emissions, published_emissions : Emissions
        The truth, and what data providers offer.
    inversions : AtmosphericProducts
    sites : Sites
    site_weather : Weather
    site_nee, site_cell_nee : array, (day, site)
        True flux at the tower, and of its cell, on the days of the weather [gC m-2 d-1].
    records : Records
        (day, site), on the days of the fluxes.
    """

    settings: WorldSettings
    geography: Geography
    cover: LandCover
    weather: Weather
    soil_water: np.ndarray
    greenness: Greenness
    months: pd.DatetimeIndex
    nee: np.ndarray
    gpp: np.ndarray
    emissions: Emissions
    published_emissions: Emissions
    inversions: AtmosphericProducts
    sites: Sites
    site_weather: Weather
    site_nee: np.ndarray
    site_cell_nee: np.ndarray
    records: Records


@dataclass(frozen=True)
class Hardness:
    """What the kind of world means.

    Attributes
    ----------
    hidden, inversions : float
        Sizes of what is hidden and of the inversions' errors.
    towers : TowerTraits
    bare : float
        Sd of the flux of bare ground [gC m-2 yr-1].
    """

    hidden: float
    inversions: float
    towers: TowerTraits
    bare: float = 0.0


HARDNESS = {
    "default": Hardness(1.0, 1.0, TowerTraits()),
    "no_tower_bias": Hardness(0.25, 1.0, TowerTraits(siting=0.0, night_loss=0.0, clustered=False)),
    "hostile": Hardness(2.0, 2.0, TowerTraits(siting=2.0, noise=2.0, night_loss=0.06), bare=15.0),
}


def build_world(settings: WorldSettings) -> World:
    """Simulate the world and everything that is observed of it.

    The global scale is set, not hoped for: GPP is 122 PgC per year, and the mean NEE is drawn from -3.5 +- 0.15.
    """
    seed, hard = settings.seed, HARDNESS[settings.kind]
    time = pd.date_range(f"{settings.start.year - 1}-01-01", settings.end)
    geography = build_geography(settings.resolution)
    weather = simulate_weather(geography, time, seed)
    cover = draw_land_cover(geography, weather, seed)
    hidden = draw_hidden(geography, hard.hidden, seed)
    sites = choose_sites(geography, cover, hidden, settings.towers, settings.unseen_towers, hard.towers, seed)
    local = site_weather(weather, sites.cell, settings.kind == "no_tower_bias", seed)
    growth = grow(weather, cover.fraction, hidden, cover.warmest)
    stand = grow(local, sites.cover, sites.hidden, cover.warmest[sites.cell])
    target = _NEE + 0.15 * random_generator(seed, "sink").standard_normal()
    exchange, stand_exchange = _balance(geography, time, growth, stand, hidden.sink, sites.hidden.sink, target, settings.start.year)
    bare = draw_bare_flux(geography, cover, hard.bare / DAYS_PER_YEAR, seed)
    nee = exchange.quick + exchange.slow + (bare * cover.fraction[:, BARE]).astype(np.float32)
    stand_nee = stand_exchange.quick + stand_exchange.slow + (bare[sites.cell] * sites.cover[:, BARE]).astype(np.float32)
    months = pd.date_range(settings.start, settings.end, freq="MS")
    monthly = {name: monthly_means(field, time)[12:] for name, field in _monthly_fields(weather, growth, nee).items()}
    emissions = simulate_emissions(
        geography, cover, monthly["fapar"], monthly["soil_water"], monthly["vpd"], weather.precip.mean(axis=0, dtype=float)
    )
    exchange_all = monthly["nee"] + emissions.total()
    fluxes = time.year >= settings.start.year
    return World(
        settings, geography, cover, weather, growth.soil_water,
        observe_greenness(time, growth.fapar, weather.sw_in, potential_radiation(geography.lat, time.day_of_year.to_numpy()), seed), months,
        monthly["nee"], monthly["gpp"], emissions,
        as_published(geography, emissions, 0.15, seed),
        invert(geography, months, exchange_all, monthly["gpp"], hard.inversions, seed),
        sites, local, stand_nee, nee[:, sites.cell],
        record(time[fluxes], stand_nee[fluxes], stand_exchange.respiration[fluxes], hard.towers, seed),
    )  # fmt: skip


def _balance(
    geography: Geography,
    time: pd.DatetimeIndex,
    growth: Growth,
    stand: Growth,
    sink: np.ndarray,
    stand_sink: np.ndarray,
    target: float,
    first: int,
) -> tuple[Exchange, Exchange]:
    """Scale GPP to its global value, respire, and scale the slow pool so that mean NEE is `target` [PgC per year]."""
    area, use = geography.cells.land_area, time.year >= first

    def global_mean(field: np.ndarray) -> float:
        return float(field[use].mean(axis=0, dtype=float) @ area) * DAYS_PER_YEAR / PETAGRAM

    factor = _GPP / global_mean(growth.gpp)
    growth.gpp[:] *= factor
    stand.gpp[:] *= factor
    exchange, stand_exchange = respire(growth, sink), respire(stand, stand_sink)
    slow = (target - global_mean(exchange.quick)) / global_mean(exchange.slow)
    for one in (exchange, stand_exchange):
        one.respiration[:] += (slow - 1) * one.slow
        one.slow[:] *= slow
    return exchange, stand_exchange


def _monthly_fields(weather: Weather, growth: Growth, nee: np.ndarray) -> dict[str, np.ndarray]:
    return {"nee": nee, "gpp": growth.gpp, "fapar": growth.fapar, "soil_water": growth.soil_water, "vpd": weather.vpd}


def monthly_means(daily: np.ndarray, time: pd.DatetimeIndex) -> np.ndarray:
    """Means over the calendar months of (day, ...) values, float64, (month, ...)."""
    first = np.flatnonzero(time.day == 1)
    count = np.diff(np.append(first, len(time))).astype(float)
    total = np.add.reduceat(daily, first, axis=0, dtype=np.float64)
    return total / count.reshape((-1,) + (1,) * (daily.ndim - 1))

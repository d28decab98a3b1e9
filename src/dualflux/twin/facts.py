"""Numbers that say whether the synthetic world resembles the real one."""

import numpy as np

from dualflux.twin.world import DAYS_PER_YEAR, World
from dualflux.units import PETAGRAM


def monthly_integral(world: World, density: np.ndarray, region: str = "global") -> np.ndarray:
    """Integral of a flux density (month, cell) [gC m-2 d-1] over a region, (month,) [PgC month-1]."""
    cells = world.geography.cells
    area = cells.land_area if region == "global" else cells.region_area[cells.region_names.index(region)]
    return density @ area * world.months.days_in_month.to_numpy() / PETAGRAM


def world_facts(world: World) -> dict[str, float]:
    """Sizes, phases and biases of the world.

    Returns
    -------
    dict
        PgC per year: `gpp`, `nee`, `nee_sd` (year to year), `nee_trend` (PgC yr-2), `fire`, `lateral`, `exchange`; for
        global, Europe (`EU`) and Brazil (`BRA`): `nee_X` [PgC yr-1], `amplitude_X` (highest less lowest month of
        the mean cycle), `uptake_X` (lowest month) [PgC per month], `peak_month_X` (1 to 12, month of greatest uptake);
        gC m-2 yr-1: `tower_nee`, `tower_cell_nee` (mean over sites of true fluxes), `tower_bias` (recorded less true);
        `common_share`: sd of the inversions' common error over that of one product's own.
    """
    facts = {"towers": float((~world.sites.table.unseen).sum()), "cells": float(world.geography.lat.size)}
    facts["common_share"] = world.inversions.common_share
    annual = monthly_integral(world, world.nee).reshape(-1, 12).sum(axis=1)
    facts |= {"nee": annual.mean(), "nee_sd": annual.std(ddof=1), "nee_trend": np.polyfit(np.arange(annual.size), annual, 1)[0]}
    lateral = sum(world.emissions.lateral.values(), np.zeros(world.geography.lat.size))
    for name, field in (("gpp", world.gpp), ("fire", world.emissions.fire), ("lateral", lateral * np.ones((world.months.size, 1)))):
        facts[name] = monthly_integral(world, field).sum() / annual.size
    facts["exchange"] = facts["nee"] + facts["fire"] + facts["lateral"]
    for region in ("global", "EU", "BRA"):
        cycle = monthly_integral(world, world.nee, region).reshape(-1, 12).mean(axis=0)
        facts |= {f"nee_{region}": cycle.sum(), f"amplitude_{region}": np.ptp(cycle), f"uptake_{region}": cycle.min()}
        facts[f"peak_month_{region}"] = float(cycle.argmin() + 1)
    return {name: float(value) for name, value in {**facts, **_tower_facts(world)}.items()}


def _tower_facts(world: World) -> dict[str, float]:
    use = world.weather.time >= np.datetime64(world.settings.start)
    seen = ~world.sites.table.unseen.to_numpy()
    true, cell = world.site_nee[use][:, seen], world.site_cell_nee[use][:, seen]
    recorded = world.records.nee[:, seen]
    good = np.isfinite(recorded) & (world.records.quality[:, seen] > 0.8)
    return {
        "tower_nee": true.mean() * DAYS_PER_YEAR,
        "tower_cell_nee": cell.mean() * DAYS_PER_YEAR,
        "tower_bias": (recorded - true)[good].mean() * DAYS_PER_YEAR,
        "tower_good_days": float(good.sum()),
    }

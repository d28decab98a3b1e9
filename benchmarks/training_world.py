"""A training task of a stated size, made in memory: a smooth function of its predictors, seen by towers and inversions."""

from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, from_inversions
from dualflux.constraints.towers.folds import fold_of_groups
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.cube import Columns, Cube, DeviceCube, Steps, no_series
from dualflux.fitting.ensembles import Run, Stack, stack_members
from dualflux.fitting.fit_ensembles import build_objective
from dualflux.fitting.objective import Member, Objective
from dualflux.fitting.training import TrainingSettings
from dualflux.grid import Grid, LandCells, Regions
from dualflux.model.flux_model import NetworkSettings
from dualflux.sources.adjustments import Target
from dualflux.variants import VARIANTS

PRODUCTS = 6
TOWER_TERM = TowerTermSettings()
INVERSION_TERM = InversionTermSettings(weight=1.0, locations=4, years=3)  # as in `dualflux demo`


@dataclass(frozen=True)
class Size:
    """How large the task is."""

    resolution: float = 10.0  # degrees
    years: int = 17
    sites: int = 200
    tower_years: int = 5
    static: int = 6
    seasonal: int = 6
    dynamic: int = 8
    members: int = 10
    folds: int = 5
    time_step: str = "daily"


class Task(NamedTuple):
    """What `training.fit` is given, and what it was made of."""

    objective: Objective
    members: Member
    family: np.ndarray
    network: NetworkSettings
    training: TrainingSettings
    cube: Cube
    cells: LandCells
    towers: TowerConstraint
    regional: RegionalConstraint
    stack: Stack


def make_task(size: Size, training: TrainingSettings, seed: int = 1) -> Task:
    """The members of variant `dual`, all with every term."""
    random = np.random.default_rng(seed)
    cells = land(size.resolution, random)
    cube = predictors(size, cells, random)
    flux = true_flux(cube, random)
    towers = tower_data(size, cube, cells, flux, random)
    regional = inversions(cube, cells, flux, random)
    network = NetworkSettings(members=size.members, folds=size.folds)
    objective = build_objective(towers, regional, cube, DeviceCube.of(cube), cells, network, TOWER_TERM, INVERSION_TERM, training)
    run = Run("", "dual", VARIANTS["dual"], tuple(range(size.folds)), size.members)
    stack = stack_members(objective.constraints, [run], TOWER_TERM, [{}], seed)
    return Task(
        objective, stack.members, stack.table.fold.to_numpy(), network, training, cube, cells, towers, regional, stack
    )  # fmt: skip


def land(resolution: float, random: np.random.Generator) -> LandCells:
    """Some land in every cell; 18 regions of 60 degrees each."""
    grid = Grid.global_regular(resolution)
    number = (np.digitize(grid.lat, [-30, 30])[:, None] * 6 + ((grid.lon + 180) // 60).astype(int)).astype(int)
    fraction = np.stack([(number == r).astype(float) for r in range(18)])
    return LandCells.build(grid, random.uniform(0.1, 0.5, grid.shape), Regions(tuple(f"region_{r:02d}" for r in range(18)), fraction))


def predictors(size: Size, cells: LandCells, random: np.random.Generator) -> Cube:
    """Standard normal in space and time, with a seasonal cycle that differs between the hemispheres."""
    steps = Steps.create("2001-01-01", f"{2000 + size.years}-12-31", size.time_step)
    seasons, count = 366 if size.time_step == "daily" else 12, len(cells.index)
    wave = np.cos(2 * np.pi * np.arange(seasons) / seasons)[:, None, None] * np.sign(cells.lat())[:, None]
    static = random.normal(size=(count, size.static)).astype(np.float32)
    seasonal = (wave + 0.5 * random.normal(size=(1, count, size.seasonal))).astype(np.float32)
    dynamic = random.standard_normal((len(steps.time), count, size.dynamic), dtype=np.float32)
    dynamic += wave[steps.season].astype(np.float32)
    names = [[f"{kind}{i}" for i in range(n)] for kind, n in (("s", size.static), ("c", size.seasonal), ("d", size.dynamic))]
    columns, width = Columns(*(tuple(n) for n in names)), size.static + size.seasonal + size.dynamic
    return Cube(static, seasonal, dynamic, steps, columns, np.zeros(width), np.ones(width), *no_series(steps))


def true_flux(cube: Cube, random: np.random.Generator) -> np.ndarray:
    """Flux of every step and cell [gC m-2 d-1], (step, cell): ten smooth units, and a sink."""
    width = len(cube.columns.names)
    inside, outside = random.normal(size=(width, 10)) / np.sqrt(width), random.normal(size=10)
    ends = np.cumsum([cube.static.shape[-1], cube.seasonal.shape[-1]])
    parts = [a @ w for a, w in zip((cube.static, cube.seasonal, cube.dynamic), np.split(inside.astype(np.float32), ends), strict=True)]
    return np.tanh(parts[0] + parts[1][cube.steps.season] + parts[2]) @ outside.astype(np.float32) - 0.5


def tower_data(size: Size, cube: Cube, cells: LandCells, flux: np.ndarray, random: np.random.Generator) -> TowerConstraint:
    """Sites with an effect of their own and daily errors, each for some years."""
    cell = random.choice(len(cells.index), size.sites, replace=False)
    per_year = 365 if size.time_step == "daily" else 12
    length = per_year * size.tower_years
    first = random.integers(0, len(cube.steps.time) - length + 1, size.sites)
    step = (first[:, None] + np.arange(length)).ravel()
    site = np.repeat(np.arange(size.sites), length)
    effect = 0.3 + 0.4 * random.normal(size=size.sites)
    observed = flux[step, cell[site]] + effect[site] + 0.7 * random.standard_t(4, len(site))
    group = np.arange(size.sites)
    sites = pd.DataFrame(
        {"lat": cells.lat()[cell], "lon": cells.lon()[cell], "cell": cell, "group": group, "igbp": "ENF",
         "fold": fold_of_groups(group, np.ones(size.sites), size.folds, 0)},
        index=pd.Index([f"S{i:03d}" for i in range(size.sites)], name="site"),
    )  # fmt: skip
    uncertainty, amplitude = np.full(len(site), 0.3, np.float32), np.ones(size.sites)
    return TowerConstraint(
        cube.rows(step, cell[site]), site, observed.astype(np.float32), uncertainty, amplitude, sites, cube.steps.time[step]
    )


def inversions(cube: Cube, cells: LandCells, flux: np.ndarray, random: np.random.Generator) -> RegionalConstraint:
    """The true integrals with each product's offset, cycle and noise [PgC month-1]."""
    steps, names = cube.steps, list(cells.region_names)
    monthly = np.add.reduceat(flux, steps.month_start) / steps.month_steps[:, None] * steps.month_days[:, None]
    truth = (regional_operator(cells)[:-1] @ monthly.T)[None]
    offset, noise = random.normal(size=(PRODUCTS, len(names), 1)), random.normal(size=(PRODUCTS, *truth.shape[1:]))
    cycle = np.tile(random.normal(size=(PRODUCTS, len(names), 12)), len(steps.months) // 12)
    values = truth + 0.1 * np.std(truth) * (offset + cycle + noise)
    coords = {"product": [f"P{i}" for i in range(PRODUCTS)], "region": names, "time": steps.months}
    integral = xr.DataArray(values, coords, dims=("product", "region", "time"), attrs={"missing_terms": ""})
    variance = xr.DataArray(np.zeros(truth.shape[1:]), {k: coords[k] for k in ("region", "time")}, dims=("region", "time"))
    target = Target("NBE", "tower_nee", integral, variance, pd.DataFrame({"term": ["NBE"], "coefficient": [1.0]}))
    whole = (date(1900, 1, 1), date(2100, 12, 31))
    return from_inversions(target, steps, cells.region_names, cells.region_area.sum(axis=1), INVERSION_TERM, whole)

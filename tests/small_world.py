"""A drawn world of 72 cells that the tests of features, constraints and training share."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.base import Landscape
from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, from_inversions
from dualflux.constraints.towers.folds import fold_of_groups
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.constraints.towers.records import Records
from dualflux.cube import Cube, DeviceCube, Steps
from dualflux.features import build_cube, tower_rows
from dualflux.fitting.ensembles import Run, Stack, stack_members
from dualflux.fitting.fit_ensembles import build_objective, landscape_of, linear_step
from dualflux.fitting.objective import Objective
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.fitting.training import TrainingSettings
from dualflux.grid import Grid, LandCells, Regions
from dualflux.model.flux_model import NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis, SpatialSettings
from dualflux.sources.adjustments import Target
from dualflux.variants import VARIANTS

GRID = Grid.global_regular(30.0)
NETWORK = NetworkSettings(hidden=(8,), activation="tanh", members=2, folds=2)
TRAINING = TrainingSettings(steps=40, checkpoints=2, batch=64)
SPATIAL = SpatialSettings(correlation_length=4000.0)
DEGREES_OF_FREEDOM = 4.0
CLASSES = ("ENF", "GRA")
WHOLE_PERIOD = (date(2001, 1, 1), date(2030, 12, 31))


@contextmanager
def double_precision() -> Iterator[None]:
    """Float64 in JAX, for identities that hold to rounding."""
    jax.config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", False)


@contextmanager
def quick_compilation(folder: Path) -> Iterator[None]:
    """Compile with less care; programs are kept in the folder of the session, or in `folder` where it has none."""
    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    jax.config.update("jax_compilation_cache_dir", before or str(folder))
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        yield
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        jax.config.update("jax_disable_most_optimizations", False)


def land_cells() -> LandCells:
    """All cells with some land; two regions that share the northern tropics, and land outside both in the far south."""
    rng = np.random.default_rng(0)
    north, south = (GRID.lat > 0).astype(float), ((GRID.lat < 0) & (GRID.lat > -60)).astype(float)
    north[3], south[3] = 0.6, 0.4
    fraction = np.stack([np.repeat(part[:, None], 12, axis=1) for part in (north, south)])
    return LandCells.build(GRID, rng.uniform(0.2, 1.0, GRID.shape), Regions(("north", "south"), fraction))


CELLS = land_cells()
BASIS = SpatialBasis.create(CELLS.lat(), CELLS.lon(), SPATIAL.correlation_length)


def predictors(first: str, last: str, time_step: str) -> xr.Dataset:
    """A dynamic, a static, a climatological predictor and class fractions, in their own units."""
    rng = np.random.default_rng(1)
    time = pd.date_range(first, last, freq="MS" if time_step == "monthly" else "D")
    cell = len(CELLS.index)
    season = np.cos(2 * np.pi * (time.day_of_year.to_numpy()[:, None] - 200) / 365.25) * np.sign(CELLS.lat())
    cover = rng.dirichlet([1.0, 1.0], cell).T
    data = xr.Dataset(
        {
            "ta": (("time", "cell"), (10 + 8 * season + rng.normal(size=season.shape)).astype(np.float32), {"kind": "dynamic"}),
            "height": (("cell",), rng.uniform(0, 3000, cell).astype(np.float32), {"kind": "static"}),
            "soil": (("month", "cell"), rng.uniform(0, 1, (12, cell)).astype(np.float32), {"kind": "climatology"}),
            "cover": (("cover_class", "cell"), cover.astype(np.float32), {"kind": "fractions"}),
            "valid": (("cell",), np.ones(cell, dtype=bool)),
        },
        {"time": time, "month": np.arange(1, 13), "cover_class": list(CLASSES)},
    )
    return data


def make_cube(years: int = 4, time_step: str = "monthly") -> Cube:
    """Standardised predictors of 2001 and the following years."""
    steps = Steps.create("2001-01-01", f"{2000 + years}-12-31", time_step)
    found = predictors("2001-01-01", f"{2000 + years}-12-31", time_step)
    return build_cube(found, ["mean_season(ta)"], CELLS.lat(), CELLS.land_area, steps, {})


def make_sites(count: int = 16) -> pd.DataFrame:
    """Towers in pairs: each pair stands in one cell and is one group."""
    rng = np.random.default_rng(2)
    group = np.arange(count) // 2
    cell = rng.permutation(len(CELLS.index))[: group.max() + 1][group]
    sites = pd.DataFrame({
        "lat": CELLS.lat()[cell], "lon": CELLS.lon()[cell], "cell": cell, "group": group,
        "igbp": np.where(np.arange(count) % 3, "ENF", "GRA"),
        "fold": fold_of_groups(group, np.ones(count), NETWORK.splits.count, 0),
    }, index=pd.Index([f"S{i:02d}" for i in range(count)], name="site"))  # fmt: skip
    return sites


def make_towers(cube: Cube, every: int = 3) -> TowerConstraint:
    """Towers that see a flux linear in the predictors, plus noise and 1 gC m-2 d-1 that only they have."""
    rng = np.random.default_rng(3)
    sites = make_sites()
    step = np.tile(np.arange(0, len(cube.steps.time), every), len(sites))
    site = np.repeat(np.arange(len(sites)), len(step) // len(sites))
    rows = tower_rows(cube, step, sites.cell.to_numpy()[site], sites.index.to_numpy()[site], sites.igbp.to_numpy()[site], "cover", {})
    flux = rows.predictors @ np.linspace(-1, 1, rows.predictors.shape[1]) + 1 + 0.3 * rng.normal(size=len(site))
    uncertainty = rng.uniform(0.1, 0.5, len(site)).astype(np.float32)
    amplitude = rng.uniform(0.5, 2.0, len(sites))
    return TowerConstraint(rows.predictors, site, flux.astype(np.float32), uncertainty, amplitude, sites, cube.steps.time[step])


def make_target(years: int = 4, products: int = 3) -> Target:
    """Inversions: a common cycle, an offset of each product and noise [PgC month-1]; totals are better known than regions."""
    rng = np.random.default_rng(4)
    time = pd.date_range("2001-01-01", periods=12 * years, freq="MS")
    regions = CELLS.region_names
    common = -0.2 + 0.5 * np.cos(2 * np.pi * np.arange(12 * years) / 12)
    offset, noise = 0.1 * rng.normal(size=(products, len(regions), 1)), 0.05 * rng.normal(size=(products, len(regions), 12 * years))
    error = offset + noise
    error[:, 1] = 0.4 * error[:, 1] - error[:, 0]  # what one region has too much another has too little
    values = common + error
    coords = {"product": [f"P{i}" for i in range(products)], "region": list(regions), "time": time}
    integral = xr.DataArray(values, coords, dims=("product", "region", "time"), attrs={"missing_terms": "fire"})
    variance = xr.DataArray(np.full(values.shape[1:], 0.01), {k: coords[k] for k in ("region", "time")}, dims=("region", "time"))
    return Target("NBE", "tower_nee", integral, variance, pd.DataFrame({"term": ["NBE"], "coefficient": [1.0]}))


def make_regional(cube: Cube, years: int = 4) -> RegionalConstraint:
    """The constraint of `make_target`."""
    area = CELLS.region_area.sum(axis=1)
    return from_inversions(make_target(years), cube.steps, CELLS.region_names, area, InversionTermSettings(), WHOLE_PERIOD)


def make_objective(
    cube: Cube, towers: TowerConstraint, regional: RegionalConstraint, estimator: str = "stratified", years: int = 2
) -> Objective:
    """The objective of this world, two locations a region."""
    some = {} if estimator == "exact" else {"years": years}
    term = InversionTermSettings(estimator=estimator, weight=1.0, locations=2, **some)  # type: ignore[arg-type]
    return build_objective(towers, regional, cube, DeviceCube.of(cube), CELLS, NETWORK, TowerTermSettings(), term, TRAINING)


def make_landscape(cube: Cube) -> Landscape:
    """Time, cells and the basis of the spatial effect."""
    return landscape_of(cube, CELLS, SPATIAL)


def make_stack(objective: Objective, runs: list[Run], weight: float = 1.0, seed: int = 1, term: TowerTermSettings | None = None) -> Stack:
    """Members of some runs."""
    term = TowerTermSettings() if term is None else term
    return stack_members(objective.constraints, runs, term, [{"inversions": weight}] * len(runs), seed)


def make_step(cube: Cube, objective: Objective, stack: Stack) -> LinearStep:
    """What the members' linear parts are estimated from."""
    return linear_step(objective, stack, make_landscape(cube), DeviceCube.of(cube), SPATIAL)


def dense_covariance(error: EnsembleError, years: int) -> np.ndarray:
    """R over (region, year, month), flattened, by Kronecker products."""
    regions, same = range(len(error.mean)), np.ones((years, years))
    blocks = [
        [np.kron(same, error.mean[r, :, s]) + np.kron(np.eye(years) - same / years, error.anomaly[r, :, s]) for s in regions]
        for r in regions
    ]
    return np.block(blocks)


def dense_tower_errors(records: Records, variance: np.ndarray, memory: np.ndarray, days: float, lasting: np.ndarray) -> np.ndarray:
    """V over all rows in their order: what lasts in a site, exp(-days apart / memory), and variances of what happens once."""
    same, day = records.site[:, None] == records.site, np.cumsum(np.where(np.isfinite(records.gap), records.gap, 0.0))
    remembered = np.outer(memory, memory) * np.exp(-np.abs(day[:, None] - day) / days)
    return np.asarray(same * (lasting @ lasting.T + remembered) + np.diag(variance))


def study_runs(variants: tuple[str, ...] = ("towers", "inversions", "plain", "dual")) -> list[Run]:
    """The ensembles of a study."""
    return [Run("", v, VARIANTS[v], (-1,) if v == "inversions" else (0, 1), 2) for v in variants]


def to_double(tree: object) -> object:
    """Every floating-point array in float64."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) if jnp.issubdtype(jnp.asarray(a).dtype, jnp.floating) else a, tree)

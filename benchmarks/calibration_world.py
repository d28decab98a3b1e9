"""A drawn world for `calibration.py`: 72 cells in six regions, five years of months, sixteen towers, four inversions, fixed features.

Nothing in it is a truth: predictors, places and sizes are drawn once, so that designs are fixed; fluxes and data come from the priors.
"""

from dataclasses import dataclass
from datetime import date

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.base import Landscape
from dualflux.constraints.inversions.constraint import Inversions
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, from_inversions
from dualflux.constraints.towers.constraint import Towers
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.cube import Cube, DeviceCube, Steps
from dualflux.features import build_cube, tower_rows
from dualflux.fitting.fit_ensembles import build_objective, landscape_of
from dualflux.fitting.training import TrainingSettings
from dualflux.grid import Grid, LandCells, Regions
from dualflux.model.anomaly_effect import AnomalyPrior
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import SpatialSettings
from dualflux.sources.adjustments import Target

FIRST, YEARS, SITES, PRODUCTS = 2001, 5, 16, 4
NETWORK = NetworkSettings(hidden=(8,), activation="tanh", members=2, folds=2)
SPATIAL = SpatialSettings(correlation_length=2500.0)
TAILS = 4.0  # degrees of freedom


@dataclass(frozen=True)
class World:
    """What is fixed in all draws.

    Attributes
    ----------
    cells : LandCells
    cube : Cube
    device : DeviceCube
    landscape : Landscape
    towers : Towers
    inversions : Inversions
    model : FluxModel
        One member: random hidden layers; its readout is the centre of the readout's prior.
    anomaly : AnomalyPrior
        Of regional anomalies.
    """

    cells: LandCells
    cube: Cube
    device: DeviceCube
    landscape: Landscape
    towers: Towers
    inversions: Inversions
    model: FluxModel
    anomaly: AnomalyPrior


def draw_world(freedom: float = TAILS, seed: int = 0) -> World:
    """The world; `freedom` are the degrees of freedom of the towers' errors."""
    random = np.random.default_rng(seed)
    cells = _land(random)
    cube = _cube(cells, random)
    device = DeviceCube.of(cube)
    data = _towers(cells, cube, random), _inversions(cells, cube, random)
    settings = NETWORK, TowerTermSettings(degrees_of_freedom=freedom), InversionTermSettings(weight=1.0), TrainingSettings()
    objective = build_objective(*data, cube, device, cells, *settings)
    model = FluxModel.create(jax.random.key(seed), len(cube.columns.names), cube.columns.invariant, objective.own(), NETWORK)
    towers, inversions = objective.constraints
    assert isinstance(towers, Towers) and isinstance(inversions, Inversions)
    landscape, model = landscape_of(cube, cells, SPATIAL), _with_biases(model, random)
    return World(cells, cube, device, landscape, towers, inversions, model, _anomaly(len(cells.region_names), random))


def _land(random: np.random.Generator) -> LandCells:
    grid = Grid.global_regular(30.0)
    band, east = np.arange(6)[:, None] // 2, np.arange(12) // 6
    fraction = np.stack([(band == b) & (east == e) for b in range(3) for e in range(2)]).astype(float)
    names = tuple(f"{b} {e}" for b in ("south", "tropics", "north") for e in ("west", "east"))
    return LandCells.build(grid, random.uniform(0.2, 1.0, grid.shape), Regions(names, fraction))


def _cube(cells: LandCells, random: np.random.Generator) -> Cube:
    """Temperature and rain that vary from year to year, over places that differ."""
    first, last = f"{FIRST}-01-01", f"{FIRST + YEARS - 1}-12-31"
    time, count = pd.date_range(first, last, freq="MS"), len(cells.index)
    season = np.cos(2 * np.pi * np.arange(len(time)) / 12)[:, None] * np.sin(np.radians(cells.lat()))
    year = np.repeat(random.normal(size=(YEARS, count)), 12, axis=0)
    fields = {name: season + 0.4 * year + 0.5 * random.normal(size=season.shape) for name in ("ta", "pr")}
    data = xr.Dataset(
        {
            **{name: (("time", "cell"), field.astype(np.float32), {"kind": "dynamic"}) for name, field in fields.items()},
            "height": (("cell",), random.normal(size=count).astype(np.float32), {"kind": "static"}),
            "cover": (("cover_class", "cell"), random.dirichlet([1.0, 1.0], count).T.astype(np.float32), {"kind": "fractions"}),
            "valid": (("cell",), np.ones(count, dtype=bool)),
        },
        {"time": time, "cover_class": ["ENF", "GRA"]},
    )
    return build_cube(data, ["mean_season(ta)"], cells.lat(), cells.land_area, Steps.create(first, last, "monthly"), {})


def _towers(cells: LandCells, cube: Cube, random: np.random.Generator) -> TowerConstraint:
    """Two or three years of each site."""
    place = random.permutation(len(cells.index))[:SITES]
    sites = pd.DataFrame({
        "lat": cells.lat()[place], "lon": cells.lon()[place], "cell": place, "group": np.arange(SITES),
        "igbp": np.where(np.arange(SITES) % 3, "ENF", "GRA"), "fold": np.arange(SITES) % 2,
    }, index=pd.Index([f"S{i:02d}" for i in range(SITES)], name="site"))  # fmt: skip
    begin, length = 12 * random.integers(0, YEARS - 2, SITES), 12 * random.integers(2, 4, SITES)
    step = np.concatenate([np.arange(b, b + n) for b, n in zip(begin, length, strict=True)])
    site = np.repeat(np.arange(SITES), length)
    keys = sites.index.to_numpy()[site], sites.igbp.to_numpy()[site], "cover", {}
    rows = tower_rows(cube, step, place[site], *keys)
    uncertainty = random.uniform(0.1, 0.5, len(site)).astype(np.float32)
    nothing, amplitude = np.zeros(len(site), np.float32), random.uniform(0.5, 2.0, SITES)
    return TowerConstraint(rows.predictors, site, nothing, uncertainty, amplitude, sites, cube.steps.time[step])


def _anomaly(regions: int, random: np.random.Generator) -> AnomalyPrior:
    """Larger in some regions and months than in others."""
    return AnomalyPrior(random.uniform(0.1, 0.3, (regions, 12)), autocorrelation=0.4, common=0.3)


def _inversions(cells: LandCells, cube: Cube, random: np.random.Generator) -> RegionalConstraint:
    """Four products whose spread is what R is made of: drawn once, then R is fixed."""
    months, regions = cube.steps.months, cells.region_names
    shape = (PRODUCTS, len(regions))
    cycle = np.cos(2 * np.pi * np.arange(12) / 12)
    error = 0.05 * random.normal(size=(*shape, 1)) + np.tile(0.05 * random.normal(size=(*shape, 1)) * cycle, YEARS)
    error = error + 0.03 * random.normal(size=(*shape, len(months)))
    coords = {"product": [f"P{i}" for i in range(PRODUCTS)], "region": list(regions), "time": months}
    integral = xr.DataArray(np.tile(cycle, YEARS) + error, coords, dims=("product", "region", "time"), attrs={"missing_terms": ""})
    variance = xr.DataArray(np.full(integral.shape[1:], 1e-4), {k: coords[k] for k in ("region", "time")}, dims=("region", "time"))
    target = Target("NBE", "tower_nee", integral, variance, pd.DataFrame({"term": ["NBE"], "coefficient": [1.0]}))
    period = date(FIRST, 1, 1), date(FIRST + YEARS - 1, 12, 31)
    return from_inversions(target, cube.steps, regions, cells.region_area.sum(axis=1), InversionTermSettings(), period)


def _with_biases(model: FluxModel, random: np.random.Generator) -> FluxModel:
    """Hidden units that switch at different places, so that the features differ."""
    network = model.network
    biases = [jnp.asarray(random.normal(size=b.shape), jnp.float32) for b in network.biases[:-1]]
    return FluxModel(
        type(network)(network.weights, [*biases, network.biases[-1]], network.activation), model.representativeness, model.own,
        model.spatial, model.series,
    )  # fmt: skip

"""A library of plausible flux fields: networks trained for a while on towers alone, each on other sites, and perturbed copies."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.constraints.areas import Locations, integrate_values
from dualflux.constraints.inversions.integrals import RegionData
from dualflux.constraints.inversions.representative import Span
from dualflux.constraints.towers.constraint import NAMES, Towers
from dualflux.errors import InputError
from dualflux.fitting.objective import Member, Objective
from dualflux.fitting.training import TrainingSettings, fit
from dualflux.model.flux_model import Network, NetworkSettings

BOOTSTRAPS = 6
LIBRARY_STEPS = 200  # of training: the fields are to be plausible, not the best
STEPS_PER_MONTH = 2  # of each calendar month, in random years
PERTURBATION = 0.5


def least_years(years: int) -> int:
    """Years that are held out of `years`, to measure the error in; InputError where none would be left."""
    held = max(2, years // 3)
    if years <= held:
        raise InputError(
            f"inversion_term: estimator representative needs three years of inversions or more to measure its error, {years} came; "
            "widen `fit_period` or use the estimator stratified"
        )
    return held


def split_time(regions: RegionData, seed: int) -> Span:
    """Random steps of each calendar month from the first two thirds of the years; the last third is held out.

    Raises
    ------
    InputError
        Fewer than three years.
    """
    years = regions.walk.month_start.shape[0]
    held = least_years(years)
    random = np.random.default_rng(seed)
    start, count = np.asarray(regions.walk.month_start), np.asarray(regions.walk.month_steps)
    chosen = [
        (y, m, start[y, m] + random.integers(count[y, m]))
        for m in range(12)
        for y in random.permutation(years - held)[:STEPS_PER_MONTH]
    ]  # fmt: skip
    year, month, step = np.array(chosen).T
    return Span(year, month, step, np.arange(years - held, years))


def bootstrapped_networks(
    objective: Objective, group: np.ndarray, network: NetworkSettings, training: TrainingSettings, seed: int
) -> Network:
    """Tower-only networks, stacked, each trained for a while on its own resampling of the groups of sites.

    Parameters
    ----------
    group : array of int, (site,)
    """
    random, count = np.random.default_rng(seed), BOOTSTRAPS
    names, of = np.unique(group, return_inverse=True)
    use = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)[:, of]
    towers: Towers = objective["towers"]
    part = towers.part_of(use.astype(np.float32), np.zeros(use.shape, np.float32), np.ones(count, np.float32))
    off = {name: jnp.zeros(count) for name in ("representativeness", *NAMES.values())}
    members = Member(jax.random.split(jax.random.key(seed), count), {"towers": part}, off)
    short = training.model_copy(update={"steps": min(training.steps, LIBRARY_STEPS), "checkpoints": 2, "anchors": 0})
    towers_only = replace(objective, constraints=(towers,))
    found = fit(towers_only, members, np.zeros(count), network, short, towers.predictors.shape[-1], 0).snapshots[-1].network
    return jax.tree.map(jnp.asarray, found)


def with_perturbed(networks: Network, seed: int) -> Network:
    """The networks, and copies with every layer moved by noise of `PERTURBATION` times the size of the layer's weights."""
    random = np.random.default_rng(seed)

    def moved(values: jax.Array, sizes: jax.Array) -> jax.Array:
        return jnp.concatenate([values, values + sizes * random.normal(size=values.shape).astype(np.float32)])

    scale = [PERTURBATION * jnp.sqrt((w**2).mean(axis=(1, 2), keepdims=True)) for w in networks.weights]
    weights = [moved(w, s) for w, s in zip(networks.weights, scale, strict=True)]
    biases = [moved(b, s[:, 0]) for b, s in zip(networks.biases, scale, strict=True)]
    return Network(weights, biases, networks.activation, networks.vegetation)


def moments(networks: Network, regions: RegionData) -> np.ndarray:
    """Integrals of f [PgC month-1] and f^2 over all cells and steps, (network, region, year, 12, 2)."""

    def values(network: Network, rows: jax.Array) -> jax.Array:
        flux = network(rows)
        return jnp.stack([flux, flux**2], axis=-1)

    found = jax.jit(lambda n, d: jax.lax.map(lambda one: integrate_values(lambda rows: values(one, rows), d), n))
    return np.asarray(found(networks, regions.walk), np.float64)


def integrals(networks: Network, regions: RegionData, locations: Locations | None = None) -> np.ndarray:
    """Integrals over every step and every cell, or by a rule, (network, region, year, 12) [PgC month-1]."""
    if locations is not None:
        rule = Locations(locations.cell[None], locations.weight[None])
        regions = regions._replace(walk=regions.walk._replace(every=rule))
    return moments(networks, regions)[..., 0]


def in_years(regions: RegionData, years: np.ndarray) -> RegionData:
    """The same constraint in some of its years."""
    walk = regions.walk
    months = {n: getattr(walk, n)[years] for n in ("month_start", "month_steps", "month_days")}
    return regions._replace(walk=walk._replace(**months))


def at_steps(regions: RegionData, step: np.ndarray) -> RegionData:
    """Every given step taken for a month of one day."""
    one = jnp.ones(step.shape, jnp.int32)
    walk = regions.walk._replace(month_start=jnp.asarray(step), month_steps=one, month_days=one.astype(jnp.float32))
    return regions._replace(walk=walk)

"""Regional integrals of a model: at some locations, or exactly over every cell and step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dualflux.constraints.inversions.locations import Locations, Strata
from dualflux.cube import DeviceCube
from dualflux.model.flux_model import FluxModel


class Structure(NamedTuple):
    """Locations that stand for their regions in all months, and how well (see `representative`).

    Attributes
    ----------
    locations : Locations
    bias : array, (region + 1,)
        Mean error of the monthly integrals [PgC month-1]; last that of the sum over regions.
    variance : array, (3, region + 1)
        Mean square error of offset, cycle and anomaly, as in `EnsembleError` [(PgC month-1)^2].
    """

    locations: Locations
    bias: jax.Array
    variance: jax.Array


class RegionData(NamedTuple):
    """What the regional term needs on the device.

    Attributes
    ----------
    cube : DeviceCube
    strata : Strata
    every : Locations
        All cells in blocks (exact estimator and validation).
    month_start, month_steps : array of int, (year, 12)
    month_days : array, (year, 12)
    structure : Structure or None
        The representative estimator's; None: locations are drawn anew each time.
    """

    cube: DeviceCube
    strata: Strata
    every: Locations
    month_start: jax.Array
    month_steps: jax.Array
    month_days: jax.Array
    structure: Structure | None = None


def integrate(model: FluxModel, data: RegionData, locations: Locations, step: jax.Array, days: jax.Array) -> jax.Array:
    """Integrals of f [PgC month-1], (region, ...), at the given locations; one step stands for each month (...)."""
    flux = _at_rows(model.network, data.cube.block(step.reshape(-1), locations.cell))
    return jnp.einsum("rn,tn->rt", locations.weight, flux).reshape(-1, *step.shape) * days


def _at_rows(values: Callable[[jax.Array], jax.Array], block: jax.Array) -> jax.Array:
    """``values(block)`` by one list of rows: the gradient of a product of two axes by a matrix costs a fifth more."""
    found = values(block.reshape(-1, block.shape[-1]))
    return found.reshape(*block.shape[:-1], *found.shape[1:])


def exact_integrals(model: FluxModel, data: RegionData) -> jax.Array:
    """Integrals of f over every cell and step [PgC month-1], (region, year, 12)."""
    return integrate_values(lambda rows: model.network(rows)[..., None], data)[..., 0]


def integrate_values(values: Callable[[jax.Array], jax.Array], data: RegionData) -> jax.Array:
    """Integrals of functions of the predictors, ``values(rows)`` (..., function), over every cell and step, (region, year, 12, function).

    Blocks are recomputed in the backward pass (`jax.checkpoint`), so that memory holds one block of one month.
    """
    starts, counts = data.month_start.reshape(-1), data.month_steps.reshape(-1)
    days = (data.month_days.reshape(-1) / counts).astype(jnp.float32)
    longest = 1 if data.cube.seasonal.shape[0] == 12 else 31

    @jax.checkpoint
    def month(start: jax.Array, count: jax.Array, per_step: jax.Array) -> jax.Array:
        step = jnp.minimum(start + jnp.arange(longest), data.cube.season.shape[0] - 1)
        use = (jnp.arange(longest) < count) * per_step

        def integral(locations: Locations) -> jax.Array:
            found = _at_rows(values, data.cube.block(step, locations.cell))
            return locations.weight @ jnp.einsum("tnk,t->nk", found, use)

        first = jax.tree.map(lambda a: a[0], data.every)
        rest = jax.tree.map(lambda a: a[1:], data.every)
        add = jax.checkpoint(lambda total, locations: (total + integral(locations), None))
        return jax.lax.scan(add, integral(first), rest)[0]

    integral = jax.lax.map(lambda m: month(*m), (starts, counts, days))
    return jnp.moveaxis(integral, 0, 1).reshape(-1, *data.month_start.shape, integral.shape[-1])

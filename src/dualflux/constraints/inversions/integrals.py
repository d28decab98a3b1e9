"""Regional integrals of a model: at some locations, or exactly over every cell and step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dualflux.constraints.areas import Locations, Walk, at_rows, integrate_values
from dualflux.constraints.base import Flux
from dualflux.constraints.inversions.locations import Strata


class RepresentativeLocations(NamedTuple):
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
    walk : Walk
        Of every cell and of months (year, 12): exact estimator and control variates.
    strata : Strata
    structure : RepresentativeLocations or None
        The representative estimator's; None: locations are drawn anew each time.
    """

    walk: Walk
    strata: Strata
    structure: RepresentativeLocations | None = None


def integrate(model: Flux, data: RegionData, locations: Locations, step: jax.Array, days: jax.Array) -> jax.Array:
    """Integrals of f [PgC month-1], (region, ...), at the given locations; one step stands for each month (...)."""
    flux = at_rows(model.landscape, data.walk.cube.block(step.reshape(-1), locations.cell))
    return jnp.einsum("rn,tn->rt", locations.weight, flux).reshape(-1, *step.shape) * days


def exact_integrals(model: Flux, data: RegionData) -> jax.Array:
    """Integrals of f over every cell and step [PgC month-1], (region, year, 12)."""
    return integrate_values(lambda rows: model.landscape(rows)[..., None], data.walk)[..., 0]

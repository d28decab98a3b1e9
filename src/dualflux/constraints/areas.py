"""Integrals over areas and months: the linear operator of every constraint that sees more than a point.

``I(a, m) = sum over cells and steps of the month of area(a, cell) x value(step, cell) x days of the step``. An area may be a region, a
country or all land, also land that no region names. Values may be any functions of the predictors, so one walk over
the cube serves all constraints and all members.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.cube import DeviceCube, Steps
from dualflux.units import PETAGRAM

LONGEST_BLOCK = 60_000  # rows (cells times steps of a month) of one block of exact integrals; each core holds one


@dataclass(frozen=True, eq=False)
class Areas:
    """What a constraint integrates.

    Attributes
    ----------
    area : array, (area, cell)
        Land that counts [m2].
    month : array of int, (month,)
        Positions in the study's months, ascending.
    """

    area: np.ndarray
    month: np.ndarray


class Locations(NamedTuple):
    """Cells that stand for areas, with weights.

    Attributes
    ----------
    cell : array of int, (location,)
    weight : array, (area, location)
        Land area a location stands for [1e15 m2]: the integral [PgC d-1] is ``weight @ flux[cell]``.
    """

    cell: jax.Array
    weight: jax.Array


class Walk(NamedTuple):
    """Exact integration on the device.

    Attributes
    ----------
    cube : DeviceCube
    every : Locations
        All cells in blocks.
    month_start, month_steps : array of int, (...)
    month_days : array, (...)
        Of the months that are integrated.
    within : array of int, (step,)
        Steps of the longest month, 0, 1, ...: its length is part of a compiled program.
    """

    cube: DeviceCube
    every: Locations
    month_start: jax.Array
    month_steps: jax.Array
    month_days: jax.Array
    within: jax.Array

    def in_months(self, shape: tuple[int, ...]) -> "Walk":
        """The same with its months in another shape, such as (year, 12)."""
        months = {name: getattr(self, name).reshape(shape) for name in ("month_start", "month_steps", "month_days")}
        return self._replace(**months)


def every_location(area: np.ndarray, block: int) -> Locations:
    """All cells in blocks of equal length: cell (block, location), weight (block, area, location); padding has no weight.

    Parameters
    ----------
    area : array, (area, cell)
        [m2]
    """
    count = area.shape[1]
    blocks = -(-count // block)
    padded = np.zeros(blocks * block, dtype=np.int32)
    padded[:count] = np.arange(count)
    weight = np.zeros((len(area), blocks * block), dtype=np.float32)
    weight[:, :count] = area / PETAGRAM
    return Locations(jnp.asarray(padded.reshape(blocks, block)), jnp.asarray(weight.reshape(len(weight), blocks, block).swapaxes(0, 1)))


def block_length(cells: int, steps: Steps) -> int:
    """Cells of a block, so that a month of it stays below `LONGEST_BLOCK` rows."""
    return -(-cells // -(-cells * int(steps.month_steps.max()) // LONGEST_BLOCK))


def walk_of(cube: DeviceCube, steps: Steps, wanted: Sequence[Areas]) -> tuple[Walk, np.ndarray]:
    """One walk for all areas and months that constraints want, and the months it visits."""
    month = np.unique(np.concatenate([a.month for a in wanted]))
    area = np.concatenate([a.area for a in wanted])
    every = every_location(area, block_length(area.shape[1], steps))
    start, count = jnp.asarray(steps.month_start[month]), jnp.asarray(steps.month_steps[month])
    days, within = jnp.asarray(steps.month_days[month], dtype=jnp.float32), jnp.arange(steps.length.longest_month)
    return Walk(cube, every, start, count, days, within), month


def deal_out(found: np.ndarray, month: np.ndarray, wanted: Sequence[Areas]) -> list[np.ndarray]:
    """Of integrals (area, month, function) of a walk, each constraint's own."""
    ends = np.cumsum([len(a.area) for a in wanted])
    each = zip(wanted, ends, strict=True)
    return [found[end - len(a.area) : end, np.searchsorted(month, a.month)] for a, end in each]


def at_rows(values: Callable[[jax.Array], jax.Array], block: jax.Array) -> jax.Array:
    """``values(block)`` by one list of rows: the gradient of a product of two axes by a matrix costs a fifth more."""
    found = values(block.reshape(-1, block.shape[-1]))
    return found.reshape(*block.shape[:-1], *found.shape[1:])


def integrate_values(values: Callable[[jax.Array], jax.Array], walk: Walk) -> jax.Array:
    """Integrals of functions of the predictors, ``values(rows)`` (..., function), over every cell and step, (area, ..., function).

    Blocks are recomputed in the backward pass (`jax.checkpoint`), so that memory holds one block of one month.
    """
    starts, counts = walk.month_start.reshape(-1), walk.month_steps.reshape(-1)
    days = (walk.month_days.reshape(-1) / counts).astype(jnp.float32)

    @jax.checkpoint
    def month(start: jax.Array, count: jax.Array, per_step: jax.Array) -> jax.Array:
        step = jnp.minimum(start + walk.within, walk.cube.season.shape[0] - 1)
        use = (walk.within < count) * per_step

        def integral(locations: Locations) -> jax.Array:
            found = at_rows(values, walk.cube.block(step, locations.cell))
            return locations.weight @ jnp.einsum("tnk,t->nk", found, use)

        first = jax.tree.map(lambda a: a[0], walk.every)
        rest = jax.tree.map(lambda a: a[1:], walk.every)
        add = jax.checkpoint(lambda total, locations: (total + integral(locations), None))
        return jax.lax.scan(add, integral(first), rest)[0]

    integral = jax.lax.map(lambda m: month(*m), (starts, counts, days))
    return jnp.moveaxis(integral, 0, 1).reshape(-1, *walk.month_start.shape, integral.shape[-1])

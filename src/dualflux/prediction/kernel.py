"""One compiled program for a whole ensemble: a tile of cells over a span of months to the members' mean and spread.

Cells lie side by side in memory (the last axis), so that a layer is one small matrix times a block that stays in the
processor's cache, and a file's values need no reordering. What does not vary in time enters the first layer once for
all steps. Members run one after the other inside the program; only their mean and standard deviation leave it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.cube import Columns, Steps
from dualflux.model.flux_model import ACTIVATIONS, FLUX_SCALE, Fluxes, FluxModel, Network
from dualflux.model.spatial_effect import harmonics

T = TypeVar("T")
LANES = 256  # cells of a tile: their hidden layers fit into the first two caches


class Tile(NamedTuple):
    """Standardised predictors of up to `LANES` cells; lanes without a cell are zero.

    Attributes
    ----------
    static : array float32, (static column, lane)
    seasonal : array float32, (12, step of month, seasonal column, lane)
    dynamic : array float32, (month, step of month, dynamic column, lane)
    field : array float32, (member, 3, lane)
        The members' spatial effect: its mean, cosine and sine (see `spatial`) [gC m-2 d-1].
    """

    static: Any
    seasonal: Any
    dynamic: Any
    field: Any


class Months(NamedTuple):
    """The months of a span; those beyond its end have no step.

    Attributes
    ----------
    place : array of int32, (month,)
        Month of the year, 0 to 11.
    count : array of int32, (month,)
        Steps of the month.
    """

    place: Any
    count: Any


class Statistics(NamedTuple):
    """Of all members, each (..., lane) [gC m-2 d-1].

    Attributes
    ----------
    nee : array
        Mean of f.
    nee_tower : array
        Mean of f + g.
    nee_std : array
        Standard deviation of f, divisor members - 1; NaN of one member.
    """

    nee: Any
    nee_tower: Any
    nee_std: Any


@dataclass(frozen=True)
class Shape:
    """What a program is compiled for.

    Attributes
    ----------
    columns : Columns
    months, steps : int
        Of a span, and the most of a month (31 days, or 1).
    seasons : int
        Months of the year that a tile's seasonal columns hold: all, or 1 where a span is one month.
    """

    columns: Columns
    months: int
    steps: int
    seasons: int = 12

    def tile(self, members: int) -> Tile:
        """Shapes of a tile."""
        c = self.columns
        sizes = (
            (len(c.static),), (self.seasons, self.steps, len(c.seasonal)), (self.months, self.steps, len(c.dynamic)), (members, 3),
        )  # fmt: skip
        return Tile(*(jax.ShapeDtypeStruct((*size, LANES), jnp.float32) for size in sizes))


def steps_of_months(seasons: int) -> int:
    """Most steps of a month for a mean year of 12 months or 366 days."""
    return 1 if seasons == 12 else 31


def place_of_season(seasons: int) -> tuple[np.ndarray, np.ndarray]:
    """Month of the year and step in it of each part of the mean year, two arrays (season,)."""
    if seasons == 12:
        return np.arange(12), np.zeros(12, dtype=int)
    days = np.arange("2000-01-01", "2001-01-01", dtype="datetime64[D]")
    month = days.astype("datetime64[M]")
    return month.astype(int) % 12, (days - month.astype("datetime64[D]")).astype(int)


def months_of(steps: Steps, span: slice, length: int) -> Months:
    """The months of a span, padded to `length`."""
    place, count = np.zeros(length, np.int32), np.zeros(length, np.int32)
    found = steps.months[span]
    place[: len(found)], count[: len(found)] = found.month.to_numpy() - 1, steps.month_steps[span]
    return Months(place, count)


class EnsembleKernel:
    """The ensemble's compiled program; the same inputs give the same bits in every process and thread of a machine.

    Parameters
    ----------
    model : FluxModel
        Stacked members, without site effects.
    shape : Shape
    daily : bool
        Statistics of each step too, not of months only.
    """

    def __init__(self, model: FluxModel, shape: Shape, daily: bool = False) -> None:
        def span(model: FluxModel, tile: Tile, months: Months) -> tuple[Statistics, Statistics | None]:
            return _by_month(model, tile, months, partial(_spread, daily=daily))

        self.model, self._program = model, _compile(span, model, shape)

    def __call__(self, tile: Tile, months: Months) -> tuple[Statistics, Statistics | None]:
        """Statistics of months (month, lane), and where asked for of steps (month, step, lane)."""
        found: tuple[Statistics, Statistics | None] = jax.tree.map(np.asarray, self._program(self.model, tile, months))
        return found


class MemberKernel:
    """The same for the months of every member, f and f + g [gC m-2 d-1], each (month, member, lane)."""

    def __init__(self, model: FluxModel, shape: Shape) -> None:
        self.model, self._program = model, _compile(lambda model, tile, months: _by_month(model, tile, months, _members), model, shape)

    def __call__(self, tile: Tile, months: Months) -> Fluxes:
        """Of a tile."""
        found: Fluxes = jax.tree.map(np.asarray, self._program(self.model, tile, months))
        return found


def _compile(program: Callable[[FluxModel, Tile, Months], T], model: FluxModel, shape: Shape) -> Callable[[FluxModel, Tile, Months], T]:
    """One program on one core: many run side by side, and how a machine's cores share a product cannot change a bit."""
    months = Months(*(jax.ShapeDtypeStruct((shape.months,), jnp.int32),) * 2)
    options: dict[str, str | bool] = {} if _wide() else {"xla_cpu_multi_thread_eigen": False}
    lowered = jax.jit(program).lower(model, shape.tile(len(jax.tree.leaves(model)[0])), months)
    found: Callable[[FluxModel, Tile, Months], T] = lowered.compile(compiler_options=options)
    return found


def _wide() -> bool:
    """Whether all steps of a month go through a layer at once: wide products suit an accelerator, narrow ones a core's cache."""
    return jax.default_backend() != "cpu"


def _waves(steps: int) -> jax.Array:
    """`spatial.harmonics` of the mean year, (12, step of month, 3)."""
    seasons = 12 if steps == 1 else 366
    wave = np.zeros((12, steps, 3), dtype=np.float32)
    wave[place_of_season(seasons)] = harmonics(np.arange(seasons), seasons)
    return jnp.asarray(wave)


def _by_month(model: FluxModel, tile: Tile, months: Months, summary: Callable[[FluxModel, jax.Array, jax.Array, jax.Array], T]) -> T:
    """`summary` of each month's f (member, step, lane), invariant predictors (column, step, lane) and share of each step in the mean."""
    statics: int = tile.static.shape[0]
    steps: int = tile.dynamic.shape[1]
    wave = _waves(steps)
    # Turned once for all steps: a product is faster whose left matrix is stored as it is used.
    turned = Network([w.swapaxes(1, 2) for w in model.network.weights], model.network.biases, model.network.activation)

    def month(one: tuple[jax.Array, Months]) -> T:
        dynamic, (place, count) = one
        seasonal = tile.seasonal[place % len(tile.seasonal)]

        def member(own: tuple[Network, jax.Array]) -> jax.Array:
            network, field = own
            start = network.weights[0][:, :statics] @ tile.static + network.biases[0][:, None]
            step = lambda s: _flux(network, statics, start, jnp.concatenate(s[:2])) + s[2] @ field  # noqa: E731
            return jax.lax.map(step, (seasonal, dynamic, wave[place]), batch_size=steps if _wide() else None)

        flux = jax.lax.map(member, (turned, tile.field))
        share = (jnp.arange(steps) < count)[:, None] / jnp.maximum(count, 1)
        invariant = jnp.concatenate([jnp.repeat(tile.static[:, None], steps, axis=1), seasonal.swapaxes(0, 1)])
        return summary(model, flux, invariant, share)

    found: T = jax.lax.map(month, (tile.dynamic, months))
    return found


def _spread(model: FluxModel, flux: jax.Array, invariant: jax.Array, share: jax.Array, daily: bool) -> tuple[Statistics, Statistics | None]:
    tower = model.representativeness.intercept.mean() + jnp.einsum(
        "c,csr->sr", model.representativeness.coefficient.mean(axis=0), invariant
    )
    return _statistics((flux * share).sum(axis=1), (tower * share).sum(axis=0)), _statistics(flux, tower) if daily else None


def _members(model: FluxModel, flux: jax.Array, invariant: jax.Array, share: jax.Array) -> Fluxes:
    landscape = (flux * share).sum(axis=1)
    slope = model.representativeness.coefficient @ (invariant * share).sum(axis=1)
    return Fluxes(landscape, landscape + model.representativeness.intercept[:, None] + slope)


def _flux(network: Network, statics: int, start: jax.Array, varying: jax.Array) -> jax.Array:
    """Network (weights turned) at predictors (column, lane), of which the static ones are in `start` already [gC m-2 d-1], (lane,)."""
    activation = ACTIVATIONS[network.activation]
    hidden = activation(network.weights[0][:, statics:] @ varying + start)
    for weight, bias in zip(network.weights[1:-1], network.biases[1:-1], strict=True):
        hidden = activation(weight @ hidden + bias[:, None])
    return FLUX_SCALE * (network.weights[-1][0] @ hidden + network.biases[-1])


def _statistics(flux: jax.Array, tower: jax.Array) -> Statistics:
    """Of fluxes (member, ...) and the members' mean g (...)."""
    mean = flux.mean(axis=0)
    spread = flux.std(axis=0, ddof=1) if len(flux) > 1 else jnp.full_like(mean, jnp.nan)
    return Statistics(mean, mean + tower, spread)


def lanes_last(values: np.ndarray, length: int) -> np.ndarray:
    """Rows (row, cell, column) with the cells last, zero beyond them: (length, column, lane)."""
    rows, cells, columns = values.shape
    out = np.zeros((length, columns, LANES), dtype=np.float32)
    out[:rows, :, :cells] = values.transpose(0, 2, 1)
    return out


def to_months(values: np.ndarray, month: np.ndarray, step: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rows (row, cell, column) at their (month, step) with the cells last: (month, step, column, lane), zero elsewhere."""
    ordered = lanes_last(values, len(values))
    out = np.zeros((*shape, *ordered.shape[1:]), dtype=np.float32)
    out[month, step] = ordered
    return out


def dynamic_to_months(values: np.ndarray, steps: Steps, step_limit: int) -> np.ndarray:
    """Dynamic columns (step, cell, column) as (month, step of month, column, lane)."""
    month = np.repeat(np.arange(len(steps.months)), steps.month_steps)
    step = np.arange(len(steps.time)) - np.repeat(steps.month_start, steps.month_steps)
    return to_months(values, month, step, (len(steps.months), step_limit))


def seasonal_to_months(values: np.ndarray) -> np.ndarray:
    """Seasonal columns (season, cell, column) as (12, step of month, column, lane)."""
    month, step = place_of_season(len(values))
    return to_months(values, month, step, (12, steps_of_months(len(values))))


def static_to_lanes(values: np.ndarray) -> np.ndarray:
    """Static columns (cell, column) as (column, lane)."""
    return lanes_last(values[None], 1)[0]

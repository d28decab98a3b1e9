"""One compiled program for a whole ensemble: a tile of cells over a span of months to every member's monthly fluxes.

Cells lie side by side in memory (the last axis), so that a layer is one small matrix times a block that stays in the
processor's cache, and a file's values need no reordering. What does not vary in time enters the first layer once for
all steps. Members run one after the other inside the program; only their monthly means leave it, and where days are asked for
the members' mean and standard deviation of each.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dualflux.cube import Columns, Steps, TimeStep
from dualflux.metrics.pairs import paired_std
from dualflux.model.flux_model import ACTIVATIONS, FLUX_SCALE, FluxModel, Network
from dualflux.model.spatial_effect import HARMONICS, harmonics

ALIGNMENT = 64  # bytes
TILE = 256  # cells of a tile: their hidden layers fit into the first two caches


class Tile(NamedTuple):
    """Standardised predictors of up to `TILE` cells; lanes without a cell are zero.

    Attributes
    ----------
    static : array float32, (static column, lane)
    seasonal : array float32, (12, step of month, seasonal column, lane)
    dynamic : array float32, (month, step of month, dynamic column, lane)
    field : array float32, (member, harmonic + series, lane)
        What the time functions are multiplied by [gC m-2 d-1]: mean, cosines and sines of the members' spatial effect (`spatial_effect`),
        then of each predictor of time alone (see `time_effect`).
    anomaly : array float32, (month, member, lane)
        What no predictor carries of a month (see `anomaly_effect`) [gC m-2 d-1].
    """

    static: Any
    seasonal: Any
    dynamic: Any
    field: Any
    anomaly: Any


class Months(NamedTuple):
    """The months of a span; those beyond its end have no step.

    Attributes
    ----------
    place : array of int32, (month,)
        Month of the year, 0 to 11.
    count : array of int32, (month,)
        Steps of the month.
    series : array float32, (month, step of month, series)
        Standardised predictors of time alone.
    """

    place: Any
    count: Any
    series: Any


class Statistics(NamedTuple):
    """Of all members, each (..., lane) [gC m-2 d-1].

    Attributes
    ----------
    nee : array
        Mean of f.
    nee_tower : array
        Mean of f + g.
    nee_std : array
        Standard deviation of f over antithetic pairs; NaN of one member.
    """

    nee: Any
    nee_tower: Any
    nee_std: Any


class Members(NamedTuple):
    """Of each member, each (..., member, lane) [gC m-2 d-1].

    Attributes
    ----------
    landscape : array
        f
    tower_like : array
        f + g
    """

    landscape: Any
    tower_like: Any


class Found(NamedTuple):
    """What leaves the program.

    Attributes
    ----------
    months : Members
        Monthly means (month, member, lane).
    steps : Statistics or None
        Of each step, (month, step of month, lane), where asked for.
    """

    months: Members
    steps: Statistics | None


@dataclass(frozen=True)
class Shape:
    """What a program is compiled for.

    Attributes
    ----------
    columns : Columns
    months : int
        Of a span.
    step : TimeStep
    """

    columns: Columns
    months: int
    step: TimeStep

    @property
    def steps(self) -> int:
        """Steps that a month has room for."""
        return self.step.longest_month

    def tile(self, members: int, series: int) -> Tile:
        """Shapes of a tile, of so many members and predictors of time alone."""
        c = self.columns
        sizes = (
            (len(c.static),),
            (12, self.steps, len(c.seasonal)),
            (self.months, self.steps, len(c.dynamic)),
            (members, HARMONICS + series),
            (self.months, members),
        )
        return Tile(*(jax.ShapeDtypeStruct((*size, TILE), jnp.float32) for size in sizes))


def months_of(steps: Steps, span: slice, length: int, series: np.ndarray) -> Months:
    """The months of a span, padded to `length`, with what they have of series (step, series)."""
    place, count = np.zeros(length, np.int32), np.zeros(length, np.int32)
    found = steps.months[span]
    place[: len(found)], count[: len(found)] = found.month.to_numpy() - 1, steps.month_steps[span]
    each = np.zeros((length, steps.length.longest_month, series.shape[1]), np.float32)
    for month, (first, size) in enumerate(zip(steps.month_start[span], steps.month_steps[span], strict=True)):
        each[month, :size] = series[first : first + size]
    return Months(place, count, each)


class EnsembleKernel:
    """The ensemble's compiled program; the same inputs give the same bits in every process and thread of a machine.

    Parameters
    ----------
    model : FluxModel
        Stacked members, without site effects.
    shape : Shape
    steps : bool
        Statistics of each step too, not months only.
    """

    def __init__(self, model: FluxModel, shape: Shape, steps: bool = False) -> None:
        def span(model: FluxModel, tile: Tile, months: Months) -> Found:
            return _by_month(model, tile, months, shape.step, steps)

        self.model, self._program = model, _compile(span, model, shape)

    def __call__(self, tile: Tile, months: Months) -> Found:
        """Of a tile."""
        found: Found = jax.tree.map(np.asarray, self._program(self.model, tile, months))
        return found


def _compile(
    program: Callable[[FluxModel, Tile, Months], Found], model: FluxModel, shape: Shape
) -> Callable[[FluxModel, Tile, Months], Found]:
    """One program on one core: many run side by side, and how a machine's cores share a product cannot change a bit."""
    members, series = model.series.shape[:2]
    each = jax.ShapeDtypeStruct((shape.months, shape.steps, series), jnp.float32)
    months = Months(*(jax.ShapeDtypeStruct((shape.months,), jnp.int32),) * 2, each)
    options: dict[str, str | bool] = {} if _wide() else {"xla_cpu_multi_thread_eigen": False}
    lowered = jax.jit(program).lower(model, shape.tile(members, series), months)
    found: Callable[[FluxModel, Tile, Months], Found] = lowered.compile(compiler_options=options)
    return found


def _wide() -> bool:
    """Whether all steps of a month go through a layer at once: wide products suit an accelerator, narrow ones a core's cache."""
    return jax.default_backend() != "cpu"


def _waves(step: TimeStep) -> jax.Array:
    """`spatial.harmonics` of the mean year, (12, step of month, harmonic)."""
    wave = np.zeros((12, step.longest_month, HARMONICS), dtype=np.float32)
    wave[step.place()] = harmonics(np.arange(step.seasons), step.seasons)
    return jnp.asarray(wave)


def _by_month(model: FluxModel, tile: Tile, months: Months, step_length: TimeStep, each_step: bool) -> Found:
    """Of all months; `invariant` below are the predictors (column, step, lane) that g sees, `share` that of each step in the mean."""
    statics: int = tile.static.shape[0]
    steps: int = tile.dynamic.shape[1]
    wave = _waves(step_length)
    # Turned once for all steps: a product is faster whose left matrix is stored as it is used.
    turned = Network([w.swapaxes(1, 2) for w in model.network.weights], model.network.biases, model.network.activation)
    vegetation = model.network.vegetation
    scaled = (lambda flux: flux) if vegetation is None else (lambda flux: flux * vegetation.at(tile.static.T, jnp))

    def month(one: tuple[jax.Array, jax.Array, Months]) -> Found:
        dynamic, anomaly, (place, count, series) = one
        seasonal = tile.seasonal[place]
        time = jnp.concatenate([wave[place], series], axis=1) if series.shape[1] else wave[place]

        def member(own: tuple[Network, jax.Array, jax.Array]) -> jax.Array:
            network, field, unknown = own
            start = network.weights[0][:, :statics] @ tile.static + network.biases[0][:, None]
            step = lambda s: scaled(_flux(network, statics, start, jnp.concatenate(s[:2])) + (s[2] @ field + unknown))  # noqa: E731
            return jax.lax.map(step, (seasonal, dynamic, time), batch_size=steps if _wide() else None)

        flux = jax.lax.map(member, (turned, tile.field, anomaly))
        share = (jnp.arange(steps) < count)[:, None] / jnp.maximum(count, 1)
        invariant = jnp.concatenate([jnp.repeat(tile.static[:, None], steps, axis=1), seasonal.swapaxes(0, 1)])
        return Found(_members(model, flux, invariant, share), _statistics(model, flux, invariant) if each_step else None)

    found: Found = jax.lax.map(month, (tile.dynamic, tile.anomaly, months))
    return found


def _members(model: FluxModel, flux: jax.Array, invariant: jax.Array, share: jax.Array) -> Members:
    """Monthly means of fluxes (member, step, lane)."""
    landscape = (flux * share).sum(axis=1)
    slope = model.representativeness.coefficient @ (invariant * share).sum(axis=1)
    return Members(landscape, landscape + model.representativeness.intercept[:, None] + slope)


def _statistics(model: FluxModel, flux: jax.Array, invariant: jax.Array) -> Statistics:
    """Over members, of each step."""
    tower = model.representativeness.intercept.mean() + jnp.einsum(
        "c,csr->sr", model.representativeness.coefficient.mean(axis=0), invariant
    )
    mean = flux.mean(axis=0)
    spread = paired_std(flux, jnp)
    return Statistics(mean, mean + tower, spread)


def _flux(network: Network, statics: int, start: jax.Array, varying: jax.Array) -> jax.Array:
    """Network (weights turned) at predictors (column, lane), of which the static ones are in `start` already [gC m-2 d-1], (lane,)."""
    activation = ACTIVATIONS[network.activation]
    hidden = activation(network.weights[0][:, statics:] @ varying + start)
    for weight, bias in zip(network.weights[1:-1], network.biases[1:-1], strict=True):
        hidden = activation(weight @ hidden + bias[:, None])
    return FLUX_SCALE * (network.weights[-1][0] @ hidden + network.biases[-1])


def aligned(shape: tuple[int, ...]) -> np.ndarray:
    """An empty float32 array that begins where JAX takes it as it is; others it copies, which costs a tenth of computing."""
    size = int(np.prod(shape))
    buffer = np.empty(size + ALIGNMENT // 4, dtype=np.float32)
    first = -buffer.ctypes.data % ALIGNMENT // 4
    return buffer[first : first + size].reshape(shape)


def field_to_lanes(effect: np.ndarray) -> np.ndarray:
    """What time functions are multiplied by, (member, function, cell), as (member, function, lane), zero beyond the cells."""
    out = aligned((*effect.shape[:-1], TILE))
    out[...] = 0.0
    out[..., : effect.shape[-1]] = effect
    return out


def lanes_last(values: np.ndarray, length: int) -> np.ndarray:
    """Rows (row, cell, column) with the cells last, zero beyond them: (length, column, lane)."""
    rows, cells, columns = values.shape
    out = np.zeros((length, columns, TILE), dtype=np.float32)
    out[:rows, :, :cells] = values.transpose(0, 2, 1)
    return out


def to_months(values: np.ndarray, month: np.ndarray, step: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rows (row, cell, column) at their (month, step) with the cells last: (month, step, column, lane), zero elsewhere."""
    ordered = lanes_last(values, len(values))
    out = np.zeros((*shape, *ordered.shape[1:]), dtype=np.float32)
    out[month, step] = ordered
    return out


def dynamic_to_months(values: np.ndarray, steps: Steps) -> np.ndarray:
    """Dynamic columns (step, cell, column) as (month, step of month, column, lane)."""
    month = np.repeat(np.arange(len(steps.months)), steps.month_steps)
    step = np.arange(len(steps.time)) - np.repeat(steps.month_start, steps.month_steps)
    return to_months(values, month, step, (len(steps.months), steps.length.longest_month))


def seasonal_to_months(values: np.ndarray, step: TimeStep) -> np.ndarray:
    """Seasonal columns (season, cell, column) as (12, step of month, column, lane)."""
    return to_months(values, *step.place(), (12, step.longest_month))


def static_to_lanes(values: np.ndarray) -> np.ndarray:
    """Static columns (cell, column) as (column, lane)."""
    return lanes_last(values[None], 1)[0]

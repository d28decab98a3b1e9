"""The likelihood of a run of neighbouring rows, one after the other: each row's density given the rows before it.

A Kalman filter over rows in the order of site and time (Harvey 1989, Forecasting, Structural Time Series Models and the Kalman
Filter, ch. 3): the error's memory s is its state; at sites that nothing was fitted to the site's year and effect b are states too. Each
innovation is Student-t, so that one odd month moves little. The product over rows is a density, whatever the tails.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dualflux.constraints.towers.records import OWN


class Rows(NamedTuple):
    """Rows in a run; the leading axis is the row, further axes are runs side by side.

    Attributes
    ----------
    residual : array
        [gC m-2 d-1]
    white, memory : array
        Variance of e, and sd of s [gC m-2 d-1].
    decay : array
        Correlation of s with the row before; 0 where that is another site's.
    use : array
        1 where the row is there; others change nothing.
    """

    residual: jax.Array
    white: jax.Array
    memory: jax.Array
    decay: jax.Array
    use: jax.Array


def student_loss(innovation: jax.Array, variance: jax.Array, freedom: float) -> jax.Array:
    """Negative log density of a Student-t of a squared scale `variance`, without constants."""
    return (freedom + 1) / 2 * jnp.log1p(innovation**2 / variance / freedom) + jnp.log(variance) / 2


def run_losses(rows: Rows, freedom: float) -> jax.Array:
    """Negative log density of every row given those before it in its run, like `rows.residual`; 0 where a row is not there."""

    def one(state: tuple[jax.Array, jax.Array], row: Rows) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        mean, variance = row.decay * state[0], row.decay**2 * state[1] + 1 - row.decay**2
        total = row.memory**2 * variance + row.white
        innovation = row.residual - row.memory * mean
        gain = row.use * variance * row.memory / total
        loss = row.use * student_loss(innovation, total, freedom)
        return (mean + gain * innovation, (1 - gain * row.memory) * variance), loss

    start = jnp.zeros_like(rows.residual[0]), jnp.ones_like(rows.residual[0])
    return jax.lax.scan(one, start, rows)[1]


class Unseen(NamedTuple):
    """What rows of sites need that nothing was fitted to; beside `Rows` of one run.

    Attributes
    ----------
    own : array, (row, function)
        Functions of b.
    own_variance : array, (row, function)
        Prior variances of the site's b.
    annual : array, (row,)
        Sd of the site's year y [gC m-2 d-1].
    new_site, new_year : array, (row,)
        1 at the first row of a site, of a site's year.
    """

    own: jax.Array
    own_variance: jax.Array
    annual: jax.Array
    new_site: jax.Array
    new_year: jax.Array


def unseen_losses(rows: Rows, unseen: Unseen, freedom: float) -> jax.Array:
    """Negative log density of every row given those before it, (row,), with y and b integrated out."""
    size = 2 + len(OWN)

    def one(state: tuple[jax.Array, jax.Array], both: tuple[Rows, Unseen]) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        (mean, cover), (row, more) = state, both
        prior = jnp.concatenate([jnp.ones(2), more.own_variance])
        keep = jnp.concatenate([row.decay[None], 1 - more.new_year[None], jnp.broadcast_to(1 - more.new_site, (len(OWN),))])
        keep = keep * (1 - more.new_site)
        mean, cover = keep * mean, keep[:, None] * cover * keep + jnp.diag(prior * (1 - keep**2))
        loading = jnp.concatenate([row.memory[None], more.annual[None], more.own])
        along = cover @ loading
        total = loading @ along + row.white
        innovation = row.residual - loading @ mean
        gain = row.use * along / total
        return (mean + gain * innovation, cover - jnp.outer(gain, along)), row.use * student_loss(innovation, total, freedom)

    return jax.lax.scan(one, (jnp.zeros(size), jnp.zeros((size, size))), (rows, unseen))[1]

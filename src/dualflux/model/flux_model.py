"""The flux model: a network for the landscape's flux, and what only towers see.

A tower's flux is y(s, t) = f(x(s, t)) + g(x(s)) + b(s) + e: f is the flux of the landscape (the product),
g the representativeness of the tower network, b a site effect. The model knows no constraint.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import BaseModel, ConfigDict, Field

FLUX_SCALE = 2.0  # gC m-2 d-1: a typical size of NEE, so that the network's own output is of order one
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}


class NetworkSettings(BaseModel):
    """The network and the ensemble made of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: tuple[int, ...] = Field((64, 64), min_length=1, description="width of each hidden layer")
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    members: int = Field(4, ge=2, description="networks per fold; even, since their inversion draws are antithetic pairs")
    folds: int = Field(5, ge=2, description="folds of groups of co-located sites")


class Network(eqx.Module):
    """Feed-forward network from standardised predictors to a flux [gC m-2 d-1].

    Attributes
    ----------
    weights : list of array, (inputs, outputs) of each layer
    biases : list of array, (outputs,) of each layer
    """

    weights: list[jax.Array]
    biases: list[jax.Array]
    activation: str = eqx.field(static=True)

    @classmethod
    def create(cls, key: jax.Array, inputs: int, settings: NetworkSettings) -> "Network":
        """Random initial weights (He), zero biases, a last layer close to zero flux."""
        widths = [inputs, *settings.hidden, 1]
        keys = jax.random.split(key, len(widths) - 1)
        weights = [jax.random.normal(k, (i, o)) * jnp.sqrt(2 / i) for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)]
        weights[-1] = weights[-1] * 0.1
        return cls(weights, [jnp.zeros(o) for o in widths[1:]], settings.activation)

    def __call__(self, predictors: jax.Array) -> jax.Array:
        """Flux [gC m-2 d-1], (...), of predictors (..., predictor)."""
        return FLUX_SCALE * (self.hidden(predictors) @ self.weights[-1] + self.biases[-1])[..., 0]

    def hidden(self, predictors: jax.Array) -> jax.Array:
        """Last hidden layer, (..., width)."""
        hidden = predictors
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](hidden @ weight + bias)
        return hidden

    def features(self, predictors: jax.Array) -> jax.Array:
        """What the flux is linear in, (..., width + 1): with `readout`, flux = features @ readout."""
        hidden = self.hidden(predictors)
        return FLUX_SCALE * jnp.concatenate([hidden, jnp.ones((*hidden.shape[:-1], 1))], axis=-1)

    @property
    def readout(self) -> jax.Array:
        """Weights and bias of the last layer, (..., width + 1)."""
        return jnp.concatenate([self.weights[-1][..., 0], self.biases[-1]], axis=-1)

    def with_readout(self, readout: jax.Array) -> "Network":
        """The same hidden layers with another last layer."""
        return Network([*self.weights[:-1], readout[..., :-1, None]], [*self.biases[:-1], readout[..., -1:]], self.activation)


class TowerTerm(eqx.Module):
    """What only towers see: representativeness g, site effects b and the size of the error e.

    Attributes
    ----------
    intercept : array, ()
        Free mean of g [gC m-2 d-1].
    coefficient : array, (invariant predictor,)
        g's slopes, for predictors that do not vary between years.
    site_effect : array, (site,)
        b [gC m-2 d-1].
    log_error_floor, log_error_growth : array, ()
        The error's scale is `exp(log_error_floor) + exp(log_error_growth) |flux|`.
    """

    intercept: jax.Array
    coefficient: jax.Array
    site_effect: jax.Array
    log_error_floor: jax.Array
    log_error_growth: jax.Array

    @classmethod
    def create(cls, invariant: int, sites: int) -> "TowerTerm":
        """No representativeness and no site effect; an error of 0.5 gC m-2 d-1 + 20 %."""
        return cls(jnp.zeros(()), jnp.zeros(invariant), jnp.zeros(sites), jnp.log(jnp.asarray(0.5)), jnp.log(jnp.asarray(0.2)))

    def without_sites(self) -> "TowerTerm":
        """The same without site effects: what is needed away from the training sites."""
        return TowerTerm(self.intercept, self.coefficient, self.site_effect[..., :0], self.log_error_floor, self.log_error_growth)

    def representativeness(self, predictors: jax.Array) -> jax.Array:
        """g [gC m-2 d-1], (...), of predictors (..., predictor) whose first columns are the invariant ones."""
        return self.intercept + predictors[..., : self.coefficient.shape[-1]] @ self.coefficient


class FluxModel(eqx.Module):
    """f, g and b of one member, or of many when every array has a leading member axis.

    Attributes
    ----------
    network : Network
    tower : TowerTerm
    spatial : array, (3, bump)
        Coefficients of the spatial effect (see `spatial`), which belongs to f; no bump before the closing step.
    """

    network: Network
    tower: TowerTerm
    spatial: jax.Array

    @classmethod
    def create(cls, key: jax.Array, inputs: int, invariant: int, sites: int, settings: NetworkSettings) -> "FluxModel":
        """A fresh member."""
        return cls(Network.create(key, inputs, settings), TowerTerm.create(invariant, sites), jnp.zeros((3, 0)))


class Fluxes(NamedTuple):
    """Landscape flux f and tower-like flux f + g, both [gC m-2 d-1]."""

    landscape: jax.Array
    tower_like: jax.Array


def fluxes(model: FluxModel, predictors: jax.Array, spatial: jax.Array | float = 0.0) -> Fluxes:
    """f and f + g of one member at predictors (..., predictor), with its spatial effect (...) there."""
    landscape = model.network(predictors) + spatial
    return Fluxes(landscape, landscape + model.tower.representativeness(predictors))

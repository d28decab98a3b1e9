"""The flux model: a network for the landscape's flux, and how towers stand out of their landscape.

A tower's flux is y(s, t) = f(x(s, t)) + g(x(s)) + b(s) + e: f is the flux of the landscape (the product),
g the representativeness of the tower network; b and e, which only towers see, stand with their constraint. The model knows none.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from pydantic import BaseModel, ConfigDict, Field, field_validator

from dualflux.model.fold_settings import FoldSettings
from dualflux.model.spatial_effect import HARMONICS
from dualflux.model.time_effect import ZONES
from dualflux.vegetation import Vegetation

LARGEST_WIDTH = 4096  # of a hidden layer
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

    hidden: tuple[Annotated[int, Field(ge=1, le=LARGEST_WIDTH)], ...] = Field(
        (64, 64), min_length=1, max_length=20, description="width of each hidden layer"
    )
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    members: int = Field(4, ge=2, description="networks per fold; even, since their inversion draws are antithetic pairs")
    folds: Annotated[int, Field(ge=2)] | FoldSettings = Field(5, description="of groups of co-located sites; a number: single groups")

    @property
    def splits(self) -> FoldSettings:
        """The folds in full."""
        return self.folds if isinstance(self.folds, FoldSettings) else FoldSettings(count=self.folds)

    @field_validator("members")
    @classmethod
    def _in_pairs(cls, members: int) -> int:
        if members % 2:
            raise ValueError(f"{members} members; members come in pairs whose draws cancel: use the next even number, {members + 1}")
        return members


class Network(eqx.Module):
    """Feed-forward network from standardised predictors to a flux [gC m-2 d-1].

    Attributes
    ----------
    weights : list of array, (inputs, outputs) of each layer
    biases : list of array, (outputs,) of each layer
    vegetation : Vegetation or None
        What the flux is multiplied by; None: by nothing.
    """

    weights: list[jax.Array]
    biases: list[jax.Array]
    activation: str = eqx.field(static=True)
    vegetation: Vegetation | None = eqx.field(static=True, default=None)

    @classmethod
    def create(cls, key: jax.Array, inputs: int, settings: NetworkSettings, vegetation: Vegetation | None = None) -> "Network":
        """Random initial weights (He), zero biases, a last layer close to zero flux."""
        widths = [inputs, *settings.hidden, 1]
        keys = jax.random.split(key, len(widths) - 1)
        weights = [jax.random.normal(k, (i, o)) * jnp.sqrt(2 / i) for k, i, o in zip(keys, widths[:-1], widths[1:], strict=True)]
        weights[-1] = weights[-1] * 0.1
        return cls(weights, [jnp.zeros(o) for o in widths[1:]], settings.activation, vegetation)

    def __call__(self, predictors: jax.Array) -> jax.Array:
        """Flux [gC m-2 d-1], (...), of predictors (..., predictor)."""
        return self.scaled(FLUX_SCALE * (self.hidden(predictors) @ self.weights[-1] + self.biases[-1]), predictors)[..., 0]

    def scaled(self, values: jax.Array, predictors: jax.Array) -> jax.Array:
        """Values (..., k) times the vegetation scale at predictors (..., predictor)."""
        return values if self.vegetation is None else values * self.vegetation.at(predictors, jnp)[..., None]

    def hidden(self, predictors: jax.Array) -> jax.Array:
        """Last hidden layer, (..., width)."""
        hidden = predictors
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = ACTIVATIONS[self.activation](hidden @ weight + bias)
        return hidden

    def features(self, predictors: jax.Array) -> jax.Array:
        """What the flux is linear in, (..., width + 1): with `readout`, flux = features @ readout."""
        hidden = self.hidden(predictors)
        return self.scaled(FLUX_SCALE * jnp.concatenate([hidden, jnp.ones((*hidden.shape[:-1], 1))], axis=-1), predictors)

    @property
    def readout(self) -> jax.Array:
        """Weights and bias of the last layer, (..., width + 1)."""
        return jnp.concatenate([self.weights[-1][..., 0], self.biases[-1]], axis=-1)

    def with_readout(self, readout: jax.Array) -> "Network":
        """The same hidden layers with another last layer."""
        return Network(
            [*self.weights[:-1], readout[..., :-1, None]], [*self.biases[:-1], readout[..., -1:]], self.activation, self.vegetation
        )


class Representativeness(eqx.Module):
    """g: what a network of towers sees and its landscape does not, linear in predictors that do not vary between years.

    Attributes
    ----------
    intercept : array, ()
        Free mean of g [gC m-2 d-1].
    coefficient : array, (invariant predictor,)
        g's slopes.
    """

    intercept: jax.Array
    coefficient: jax.Array

    @classmethod
    def create(cls, invariant: int) -> "Representativeness":
        """No representativeness."""
        return cls(jnp.zeros(()), jnp.zeros(invariant))

    def __call__(self, predictors: jax.Array) -> jax.Array:
        """g [gC m-2 d-1], (...), of predictors (..., predictor) whose first columns are the invariant ones."""
        return self.intercept + predictors[..., : self.coefficient.shape[-1]] @ self.coefficient


class Fluxes(NamedTuple):
    """Landscape flux f and tower-like flux f + g, both [gC m-2 d-1]."""

    landscape: jax.Array
    tower_like: jax.Array


class FluxModel(eqx.Module):
    """f and g of one member, or of many when every array has a leading member axis.

    Attributes
    ----------
    network : Network
    representativeness : Representativeness
    own : dict of str to pytree
        What constraints keep beside the flux, by their names (error sizes, effects that only they see); the model knows nothing of it.
    spatial : array, (harmonic, place)
        Coefficients of the spatial effect (see `spatial_effect`), which belongs to f; no place before the posterior is drawn.
    series : array, (series, zone)
        Coefficients of predictors of time alone (see `time_effect`), which belong to f too; no series before the posterior is drawn.
    """

    network: Network
    representativeness: Representativeness
    own: dict[str, Any]
    spatial: jax.Array
    series: jax.Array

    @classmethod
    def create(
        cls, key: jax.Array, inputs: int, invariant: int, own: dict[str, Any], settings: NetworkSettings,
        vegetation: Vegetation | None = None,
    ) -> "FluxModel":  # fmt: skip
        """A fresh member."""
        network = Network.create(key, inputs, settings, vegetation)
        return cls(network, Representativeness.create(invariant), own, jnp.zeros((HARMONICS, 0)), jnp.zeros((0, len(ZONES))))

    def bare(self) -> "FluxModel":
        """Without what constraints keep: all that is needed to predict."""
        return FluxModel(self.network, self.representativeness, {}, self.spatial, self.series)

    def landscape(self, predictors: jax.Array) -> jax.Array:
        """The network's part of f [gC m-2 d-1], (...), at predictors (..., predictor)."""
        return self.network(predictors)

    def fluxes(self, predictors: jax.Array, spatial: jax.Array | float = 0.0) -> Fluxes:
        """f and f + g of one member at predictors (..., predictor), with its spatial effect (...) there, not yet scaled."""
        landscape = self.network(predictors) + self.network.scaled(jnp.asarray(spatial)[..., None], predictors)[..., 0]
        return Fluxes(landscape, landscape + self.representativeness(predictors))

"""The objective of a member: a negative log posterior, a loop over constraints,

sum over constraints of weight x negative log-likelihood + log-priors of weights, g and what constraints keep.
"""

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from dualflux.constraints.base import Constraint, Term
from dualflux.model.flux_model import FluxModel
from dualflux.vegetation import Vegetation


class Member(NamedTuple):
    """What differs between members; every array has a leading member axis once stacked.

    Attributes
    ----------
    key : PRNG key
    parts : dict of str to pytree
        Of every constraint.
    sd : dict of str to array, ()
        Prior sd of effects by name (`representativeness`: g's slopes); 0 switches an effect off. `network`: a factor on those of the
        network's weights.
    """

    key: jax.Array
    parts: dict[str, Any]
    sd: dict[str, jax.Array]


class Control(NamedTuple):
    """A control variate: an earlier state of a member and what constraints know exactly of it.

    Attributes
    ----------
    model : FluxModel
    known : dict of str to pytree
        By constraint.
    """

    model: FluxModel
    known: dict[str, Any]


class Objective(eqx.Module):
    """The negative log posterior of one member, estimated from one random batch."""

    constraints: tuple[Constraint, ...]
    prior_sd: tuple[float, ...] = eqx.field(static=True)
    vegetation: Vegetation | None = eqx.field(static=True, default=None)

    def __getitem__(self, name: str) -> Any:
        """The constraint of a name."""
        return next(c for c in self.constraints if c.name == name)

    def with_constraint(self, constraint: Constraint) -> "Objective":
        """Another one in the place of that of its name."""
        return replace(self, constraints=tuple(constraint if c.name == constraint.name else c for c in self.constraints))

    @property
    def sampled(self) -> bool:
        """Whether any constraint uses a control variate."""
        return any(c.sampled for c in self.constraints)

    @property
    def scale(self) -> float:
        """What gradients are divided by, so that clipping acts alike in small and large studies: data of the first constraint."""
        return max(self.constraints[0].size, 1.0)

    def __call__(
        self, model: FluxModel, member: Member, key: jax.Array, control: Control | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Total and its terms by name."""
        terms = {
            name: jax.lax.cond(weight > 0, lambda weight=weight, term=term: weight * term(model), lambda: 0.0)
            for name, (weight, term) in self.terms(member, key, control).items()
        }
        terms["prior"] = self.prior(model, member)
        return sum(terms.values(), jnp.zeros(())), terms

    def gradient(self, model: FluxModel, member: Member, key: jax.Array, control: Control | None = None) -> FluxModel:
        """Gradient of the total: that of each term is taken where the term is, so that no network's hidden layers leave a branch."""
        found = jax.grad(self.prior)(model, member)
        for weight, term in self.terms(member, key, control).values():
            part = jax.lax.cond(
                weight > 0,
                lambda weight=weight, term=term: jax.grad(lambda m: weight * term(m))(model),
                lambda: jax.tree.map(jnp.zeros_like, model),
            )
            found = jax.tree.map(jnp.add, found, part)
        return found

    def terms(self, member: Member, key: jax.Array, control: Control | None) -> dict[str, tuple[jax.Array, Term]]:
        """Weight and term of each constraint; of no weight it is not computed."""
        names = {
            c.name: jax.random.fold_in(key, zlib.crc32(c.name.encode())) for c in self.constraints
        }  # one more changes no other's draws
        return {c.name: c.term(member.parts[c.name], member.sd, names[c.name], control) for c in self.constraints}

    def prior(self, model: FluxModel, member: Member) -> jax.Array:
        """Gaussian log-priors of network weights, g's slopes and what constraints keep; a term that is off stays at zero."""
        weights = sum(((w / sd) ** 2).sum() / 2 for w, sd in zip(model.network.weights, self.prior_sd, strict=True))
        network = weights / member.sd.get("network", 1.0) ** 2
        sd = member.sd["representativeness"]
        slopes = (model.representativeness.coefficient**2).sum() / (2 * jnp.maximum(sd, 1e-6) ** 2)
        total = network + jnp.where(sd > 0, slopes, 0.0)
        for constraint in self.constraints:
            total = total + constraint.negative_log_prior(model, member.sd)
        return total

    def control(self, model: FluxModel, member: Member) -> Control:
        """The member as it is, with what constraints know exactly of it."""
        return Control(model, {c.name: c.control(model, member.parts[c.name]) for c in self.constraints})

    def own(self) -> dict[str, Any]:
        """What constraints keep in a fresh member."""
        return {c.name: c.parameters() for c in self.constraints if jax.tree.leaves(c.parameters())}


class Score(NamedTuple):
    """What training notes of a member now and then: the total, and what each constraint says."""

    loss: jax.Array
    constraints: dict[str, Any]


def score(objective: Objective, model: FluxModel, member: Member) -> Score:
    """Without randomness."""
    found = {c.name: c.score(model, member.parts[c.name], member.sd) for c in objective.constraints}
    return Score(objective(model, member, jax.random.key(0))[0], found)

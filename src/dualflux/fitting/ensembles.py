"""Which ensembles are fitted: variants, folds and members, and the same again with something left out."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.base import Constraint, Plan
from dualflux.constraints.inversions.observations import HoldoutSettings, Maker, RegionalConstraint
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.fitting.linear_posterior import READOUT_SD
from dualflux.fitting.objective import Member, Objective
from dualflux.model.flux_model import NetworkSettings
from dualflux.variants import Variant

PATTERN_SD = 0.2  # gC m-2 d-1: prior sd of a lasting flux about its region's density, see `constraints.pattern`
# Factor on the prior sd of a network's weights; prior sd of a readout weight; of the pattern.
PRIORS = {"network": 1.0, "readout": READOUT_SD, "pattern": PATTERN_SD}
ALL_SITES = -1  # the fold of a member that no outer fold is kept from


@dataclass(frozen=True)
class Run:
    """One ensemble to fit.

    Attributes
    ----------
    name : str
        Empty for the study itself, else what is left out, for example ``without_2010_2012``.
    variant : str
    terms : Variant
    folds : tuple of int
    members : int
        Per fold.
    data : mapping
        By constraint, observations without what is left out; a constraint that is not named has all of its own.
    priors : mapping of str to float
        Of `PRIORS`, those that are other than usual.
    """

    name: str
    variant: str
    terms: Variant
    folds: tuple[int, ...]
    members: int
    data: Mapping[str, Any] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)


def plan_runs(variants: Mapping[str, Variant], network: NetworkSettings, holdout: HoldoutSettings, make: Maker | None) -> list[Run]:
    """The study's own ensembles, then those of the experiments that leave something out (all sites, `members` networks).

    Parameters
    ----------
    variants : mapping
        By name.
    make : callable or None
        ``make(product, years)`` gives the regional constraint without a product or a span of years; None: the study has no inversions.
    """
    runs = []
    for name, variant in variants.items():
        folds = tuple(range(network.splits.count)) if variant.towers else (ALL_SITES,)
        runs.append(Run("", name, variant, folds, network.members if variant.towers else 2 * network.members))
    for left_out, regional in _left_out(holdout, make) if make is not None else ():
        for name, variant in variants.items():
            if is_fitted_again(variant):
                runs.append(Run(left_out, name, variant, (ALL_SITES,), network.members, {"inversions": regional}))
    return runs


def is_fitted_again(variant: Variant) -> bool:
    """Whether a variant is fitted without some inversions: `plain` is not, it differs from `dual` in terms, not in data."""
    return "inversions" in variant.constraints and (variant.representativeness or not variant.towers)


def _left_out(holdout: HoldoutSettings, make: Maker) -> list[tuple[str, RegionalConstraint]]:
    """Names of the experiments, and what the inversions are in each."""
    found: list[tuple[str, RegionalConstraint]] = []
    if (span := holdout.span) is not None:
        found.append((f"without_{span[0]}_{span[1]}", make(None, span)))
    if holdout.inversions:
        found += [(f"without_{product}", make(product, None)) for product in make(None, None).names]
    if holdout.emissions is not None:
        found.append((f"with_{holdout.emissions.name}", make(None, None, holdout.emissions.values)))
    return found


class Stack(NamedTuple):
    """All members of all runs.

    Attributes
    ----------
    members : Member
    plans : list of Plan, (member,)
    seeds : list of tuple of int, (member,)
        Of each member's posterior draw; antithetic pairs share all but the last, the sign.
    table : DataFrame
        run, variant, fold, member; one row per member.
    """

    members: Member
    plans: list[Plan]
    seeds: list[tuple[int, ...]]
    table: pd.DataFrame

    def in_training(self, objective: Objective) -> Member:
        """Members with what training has of its own error."""
        parts = {c.name: c.parts_in_training(self.members.parts[c.name], self.plans) for c in objective.constraints}
        return self.members._replace(parts=parts)

    @property
    def family(self) -> np.ndarray:
        """Members that share estimated sds, (member,): those of a run, variant and fold."""
        return self.table.groupby(["run", "variant", "fold"], sort=False).ngroup().to_numpy()


def stack_members(
    constraints: Sequence[Constraint], runs: Sequence[Run], tower_term: TowerTermSettings, weights: Sequence[Mapping[str, float]],
    seed: int, draw: bool = True,
) -> Stack:  # fmt: skip
    """Members of all runs, each with its part of every constraint and its key.

    A member's draws and initial weights depend on the run's place, fold and member only, so a variant more or less
    does not change the others.

    Parameters
    ----------
    weights : sequence of mapping of str to float
        Of each run, tempering powers of constraints that have another than 1.
    draw : bool
        Members are fitted to draws of the data's errors; False: to the data as they are.
    """
    plans, keys, rows, seeds = list[Plan](), [], [], list[tuple[int, ...]]()
    priors: dict[str, list[float]] = {prior: [] for prior in PRIORS}
    for run, weight in zip(runs, weights, strict=True):
        name = zlib.crc32(f"{run.name}/{run.variant}".encode())
        own = jax.random.fold_in(jax.random.key(seed), name)
        count = len(run.folds) * run.members
        for place, (fold, member) in enumerate((f, m) for f in run.folds for m in range(run.members)):
            plans.append(Plan(run.name, run.terms, fold, member, run.members, place, count, run.data, weight, seed, draw))
            keys.append(jax.random.fold_in(jax.random.fold_in(own, fold + 1), member))
            seeds.append((seed, name, fold + 1, member // 2, 1 - 2 * (member % 2)))
            rows.append((run.name, run.variant, fold, member))
            for prior, usual in PRIORS.items():
                priors[prior].append(run.priors.get(prior, usual))
    parts = {c.name: c.parts(plans) for c in constraints}
    sds = {name: jnp.asarray(values, jnp.float32) for name, values in priors.items()}
    members = Member(jnp.stack(keys), parts, {**sds, **_effect_sds(constraints, plans, tower_term)})
    return Stack(members, plans, seeds, pd.DataFrame(rows, columns=["run", "variant", "fold", "member"]))


def _effect_sds(constraints: Sequence[Constraint], plans: Sequence[Plan], tower_term: TowerTermSettings) -> dict[str, jax.Array]:
    """Prior sds (member,) of g's slopes and of what constraints bring along."""
    g = [tower_term.representativeness_sd if p.variant.representativeness and tower_term.representativeness else 0.0 for p in plans]
    found = {"representativeness": jnp.asarray(g, jnp.float32)}
    for constraint in constraints:
        each = [constraint.effect_sd(plan) for plan in plans]
        found |= {name: jnp.asarray([one[name] for one in each], jnp.float32) for name in each[0]}
    return found

"""Which ensembles are fitted: variants, folds and members, and the same again with something left out."""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.inversions.constraint import HoldoutSettings, Maker, RegionalConstraint
from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.towers import TowerConstraint, TowerTermSettings
from dualflux.fitting.folds import inner_validation
from dualflux.fitting.objective import Member
from dualflux.model.flux_model import NetworkSettings
from dualflux.variants import VARIANTS

ALL_SITES = -1  # the fold of a member that no outer fold is kept from
INNER_SHARE = 0.2
INITIAL_SITE_EFFECT_SD = 1.0  # gC m-2 d-1, until the first checkpoint estimates it


@dataclass(frozen=True)
class Run:
    """One ensemble to fit.

    Attributes
    ----------
    name : str
        Empty for the study itself, else what is left out, for example ``without_2010_2012``.
    variant : str
    folds : tuple of int
    members : int
        Per fold.
    regional : RegionalConstraint
        Without what is left out.
    year_use : array, (year,)
        Of the years of the full constraint.
    """

    name: str
    variant: str
    folds: tuple[int, ...]
    members: int
    regional: RegionalConstraint
    year_use: np.ndarray


def plan_runs(
    variants: list[str],
    network: NetworkSettings,
    holdout: HoldoutSettings,
    make: Maker,
) -> list[Run]:
    """The study's own ensembles, then those of the experiments that leave something out (all sites, `members` networks).

    Parameters
    ----------
    make : callable
        ``make(product, years)`` gives the regional constraint without a product or a span of years.
    """
    full = make(None, None)
    everything = np.ones(len(full.years))
    runs = []
    for variant in variants:
        folds = tuple(range(network.folds)) if VARIANTS[variant].towers else (ALL_SITES,)
        members = network.members if VARIANTS[variant].towers else 2 * network.members
        runs.append(Run("", variant, folds, members, full, everything))
    left_out: list[tuple[str, RegionalConstraint]] = []
    if holdout.years is not None:
        left_out.append((f"without_{holdout.years[0]}_{holdout.years[1]}", make(None, holdout.years)))
    if holdout.inversions:
        left_out += [(f"without_{product}", make(product, None)) for product in full.names]
    if holdout.emissions is not None:
        left_out.append((f"with_{holdout.emissions.name}", make(None, None, holdout.emissions.values)))
    for name, regional in left_out:
        use = np.isin(full.years, regional.years).astype(float)
        for variant in ("inversions", "dual"):
            if variant in variants:
                runs.append(Run(name, variant, (ALL_SITES,), network.members, regional, use))
    return runs


class Stack(NamedTuple):
    """All members of all runs.

    Attributes
    ----------
    members : Member
    observed : array, (member, region, year, 12)
        The inversions' mean that a member's own draw scatters about [PgC month-1].
    errors : list of EnsembleError, (member,)
        Of the inversions a member was made with.
    seeds : list of tuple of int, (member,)
        Of each member's draw in the closing step; antithetic pairs share all but the last, the sign.
    table : DataFrame
        run, variant, fold, member; one row per member.
    """

    members: Member
    observed: np.ndarray
    errors: list[EnsembleError]
    seeds: list[tuple[int, ...]]
    table: pd.DataFrame


def stack_members(
    runs: list[Run], years: np.ndarray, towers: TowerConstraint, tower_term: TowerTermSettings, weight: float, seed: int
) -> Stack:
    """Members of all runs, each with its sites, its draw of the inversions and its key.

    A member's draw and initial weights depend on the run's place, fold and member only, so a variant more or less
    does not change the others.
    """
    members, observed, rows, errors, seeds = [], [], [], list[EnsembleError](), list[tuple[int, ...]]()
    for run in runs:
        name = zlib.crc32(f"{run.name}/{run.variant}".encode())
        own = jax.random.fold_in(jax.random.key(seed), name)
        draws = run.regional.draws(len(run.folds) * run.members, seed)
        for place, (fold, member) in enumerate((f, m) for f in run.folds for m in range(run.members)):
            use, held = _sites_of(run, fold, member, towers, seed)
            members.append(
                _member(
                    run, draws[place], years, use, held, tower_term, weight, jax.random.fold_in(jax.random.fold_in(own, fold + 1), member)
                )
            )
            observed.append(_on_years(run.regional.observed, run.regional.years, years))
            errors.append(run.regional.error)
            seeds.append((seed, name, fold + 1, member // 2, 1 - 2 * (member % 2)))
            rows.append((run.name, run.variant, fold, member))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    return Stack(stacked, np.stack(observed), errors, seeds, pd.DataFrame(rows, columns=["run", "variant", "fold", "member"]))


def _on_years(values: np.ndarray, own: np.ndarray, years: np.ndarray) -> np.ndarray:
    """Values (region, own year, 12) among all years, 0 elsewhere."""
    found = np.zeros((values.shape[0], len(years), 12))
    found[:, np.isin(years, own)] = values
    return found


def _sites_of(run: Run, fold: int, member: int, towers: TowerConstraint, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sites a member trains on, and those of its inner validation."""
    group, outer = towers.sites.group.to_numpy(), towers.sites.fold.to_numpy()
    if not VARIANTS[run.variant].towers:
        return np.zeros(len(group)), np.zeros(len(group))
    held = inner_validation(group, outer, fold, member, min(INNER_SHARE, 1 / run.members), seed)
    return ((outer != fold) & ~held).astype(float), held.astype(float)


def _member(
    run: Run, draw: np.ndarray, years: np.ndarray, use: np.ndarray, held: np.ndarray, term: TowerTermSettings, weight: float, key: jax.Array
) -> Member:
    variant, error = VARIANTS[run.variant], run.regional.error
    target = _on_years(draw, run.regional.years, years)
    representativeness = term.representativeness_sd if variant.representativeness and term.representativeness else 0.0
    site_effect = INITIAL_SITE_EFFECT_SD if variant.site_effects and term.site_effects else 0.0
    values = (
        use, held, target, run.year_use, *error.precisions(), float(variant.towers),
        weight if variant.inversions else 0.0, representativeness, site_effect,
    )  # fmt: skip
    return Member(key, *(jnp.asarray(v, dtype=jnp.float32) for v in values))

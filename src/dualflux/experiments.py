"""Which models are fitted: variants, folds and members, and the same again with something left out."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from dualflux.closing import close
from dualflux.constraints import InversionTermSettings, RegionalConstraint, TowerConstraint, TowerTermSettings, from_inversions
from dualflux.covariance import EnsembleError
from dualflux.features import Cube, DeviceCube
from dualflux.grid import LandCells
from dualflux.linear_posterior import LinearData
from dualflux.model import Ensemble, FluxModel, NetworkSettings
from dualflux.operators import every_location, stratify
from dualflux.representative import choose, refresh
from dualflux.sources.adjustments import Target
from dualflux.spatial import SpatialBasis, SpatialSettings
from dualflux.splits import inner_validation
from dualflux.training import Fit, Member, Objective, RegionData, TowerData, TrainingSettings, fit, quadratic_form

ALL_SITES = -1  # the fold of a member that no outer fold is kept from
INNER_SHARE = 0.2
INITIAL_SITE_EFFECT_SD = 1.0  # gC m-2 d-1, until the first checkpoint estimates it
LONGEST_BLOCK = 20_000  # cells of one block of the exact estimator


class ConstantEmissions(BaseModel):
    """A constant emission per region that inversions see and towers do not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^\w+$")
    values: dict[str, float] = Field(description="of every region [PgC yr-1], positive to the atmosphere")
    source: str = Field(min_length=1, description="where the numbers are from")


class HoldoutSettings(BaseModel):
    """What is fitted once more with something left out or changed, to score or to see what was not used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    years: tuple[int, int] | None = Field(None, description="first and last year whose inversions are left out in one experiment")
    inversions: bool = Field(False, description="leave each inversion out in turn")
    emissions: ConstantEmissions | None = Field(None, description="fit once more with these constant emissions subtracted as well")


class Maker(Protocol):
    """``make(product, years, emissions)``: the regional constraint without a product or years, or with emissions subtracted."""

    def __call__(
        self, product: str | None, years: tuple[int, int] | None, emissions: dict[str, float] | None = None
    ) -> RegionalConstraint: ...


class Variant(NamedTuple):
    """What a variant is trained on and which terms it has."""

    towers: bool
    inversions: bool
    representativeness: bool
    site_effects: bool


VARIANTS = {
    "towers": Variant(True, False, False, True),
    "inversions": Variant(False, True, False, False),
    "plain": Variant(True, True, False, False),
    "dual": Variant(True, True, True, True),
}


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


def constraint_maker(target: Target, cube: Cube, cells: LandCells, settings: InversionTermSettings, fit_period: tuple[date, date]) -> Maker:
    """How `plan_runs` makes regional constraints."""
    area = cells.region_area.sum(axis=1)

    def make(product: str | None, years: tuple[int, int] | None, emissions: dict[str, float] | None = None) -> RegionalConstraint:
        return from_inversions(target, cube.steps, cells.region_names, area, settings, fit_period, product, years, emissions)

    return make


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


def build_objective(
    towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells, network: NetworkSettings,
    tower_term: TowerTermSettings, inversion_term: InversionTermSettings, training: TrainingSettings, seed: int = 0,
) -> Objective:  # fmt: skip
    """Everything members share, on the device; `seed` is that of the representative estimator's library."""
    data = TowerData(
        jnp.asarray(towers.predictors), jnp.asarray(towers.site), jnp.asarray(towers.observed), jnp.asarray(towers.uncertainty),
        jnp.asarray(towers.weight), tower_term.degrees_of_freedom,
    )  # fmt: skip
    blocks = -(-len(cells.index) // LONGEST_BLOCK)
    steps = cube.steps
    regions = RegionData(
        DeviceCube.of(cube), stratify(cells, cube.mean_year()), every_location(cells, -(-len(cells.index) // blocks)),
        jnp.asarray(steps.month_start[regional.month]), jnp.asarray(steps.month_steps[regional.month]),
        jnp.asarray(steps.month_days[regional.month], dtype=jnp.float32),
    )  # fmt: skip
    widths = [towers.predictors.shape[1], *network.hidden]
    prior = tuple(float(np.sqrt(2 / width)) * training.weight_sd for width in widths)
    term = inversion_term
    years = min(term.years, len(regional.years))
    objective = Objective(data, regions, prior, training.batch, term.estimator, term.locations, years)
    if term.estimator != "representative":
        return objective
    return choose(objective, towers.sites.group.to_numpy(), network, training, term.error_target, seed)


def with_structure_error(stack: Stack, objective: Objective) -> Member:
    """Members for training: R has the error of representative locations in it. The closing step integrates exactly and goes without."""
    if objective.regions.structure is None:
        return stack.members
    widened = [error_in_training(e, objective).precisions() for e in stack.errors]
    mean, anomaly = (jnp.asarray(np.stack(p), jnp.float32) for p in zip(*widened, strict=True))
    return stack.members._replace(mean_precision=mean, anomaly_precision=anomaly)


def error_in_training(error: EnsembleError, objective: Objective) -> EnsembleError:
    """R of the inversions and, of representative locations, their own."""
    structure = objective.regions.structure
    return error if structure is None else error.plus(np.asarray(structure.variance, np.float64))


class Fitted(NamedTuple):
    """The chosen state of every ensemble.

    Attributes
    ----------
    ensembles : dict
        (run, variant) -> Ensemble.
    history : DataFrame
        run, variant, fold, step, validation_loss, validation_rmse, region_misfit, site_effect_sd, chosen,
        spatial_mean_sd, spatial_season_sd, representativeness_sd.
    """

    ensembles: dict[tuple[str, str], Ensemble]
    history: pd.DataFrame


def train_all(
    objective: Objective, stack: Stack, towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells,
    network: NetworkSettings, training: TrainingSettings, spatial: SpatialSettings,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> Fitted:  # fmt: skip
    """Train every member in one compiled program, stop each fold of each ensemble by its own inner validation sites, and close.

    Parameters
    ----------
    regional : RegionalConstraint
        The full one: it says which months are constrained.
    """
    table = stack.table
    family = table.groupby(["run", "variant", "fold"], sort=False).ngroup().to_numpy()
    members = with_structure_error(stack, objective)
    found = fit(objective, members, family, network, training, cube.columns.invariant, report, refresh)
    history = pd.DataFrame(_history(found, stack, family))
    stop = history[history.chosen].set_index(["run", "variant", "fold"]).checkpoint
    at = stop.loc[list(zip(table.run, table.variant, table.fold, strict=True))].to_numpy()
    chosen: FluxModel = jax.tree.map(lambda *leaves: np.stack([leaves[c][i] for i, c in enumerate(at)]), *found.snapshots)
    members = stack.members._replace(site_effect_sd=jnp.asarray(found.site_effect_sd[at, np.arange(len(at))]))
    basis = SpatialBasis.create(cells.lat(), cells.lon(), spatial.correlation_length)
    data = LinearData.create(towers, regional, cube, cells, basis, objective.towers.degrees_of_freedom)
    closed, spread = close(chosen, members, stack.observed, data, objective.regions, spatial, family, stack.seeds)
    history = history.merge(_spread_table(table, spread), on=["run", "variant", "fold"])
    whole = Ensemble(closed, table.fold.to_numpy(), network, cube.columns.names, basis)
    pairs = list(dict.fromkeys(zip(table.run, table.variant, strict=True)))
    of = {(r, v): np.flatnonzero((table.run == r) & (table.variant == v)) for r, v in pairs}
    return Fitted({pair: whole.select(index) for pair, index in of.items()}, history)


def _spread_table(table: pd.DataFrame, spread: np.ndarray) -> pd.DataFrame:
    """Estimated sds of the spatial effect and of g's slopes of each fold of each ensemble."""
    names = ("spatial_mean_sd", "spatial_season_sd", "representativeness_sd")
    found = table[["run", "variant", "fold"]].assign(**dict(zip(names, spread.T, strict=True)))
    return found.drop_duplicates(["run", "variant", "fold"])


def _history(found: Fit, stack: Stack, family: np.ndarray) -> Iterator[dict[str, object]]:
    """One row per fold of an ensemble and checkpoint; `chosen` has the smallest held-out loss plus misfit to the inversions.

    Towers enter with the negative log density of inner validation sites, inversions with weight / 2 x r' R^-1 r.
    """
    weight = np.asarray(stack.members.inversion_weight)
    for name in np.unique(family):
        index = np.flatnonzero(family == name)
        rows = []
        for checkpoint, (step, score) in enumerate(zip(found.steps, found.scores, strict=True)):
            held = float(score.validation_weight[index].sum())
            regional = float((weight[index] * score.region_misfit[index]).sum())
            rows.append({
                **stack.table.iloc[index[0]][["run", "variant", "fold"]].to_dict(), "checkpoint": checkpoint, "step": int(step),
                "criterion": float(score.validation_loss[index].sum()) + regional / 2,
                "validation_loss": float(score.validation_loss[index].sum()) / held if held else np.nan,
                "validation_rmse": float(np.sqrt(score.validation_square[index].sum() / held)) if held else np.nan,
                "region_misfit": float(np.mean(score.region_misfit[index])),
                "site_effect_sd": float(np.mean(found.site_effect_sd[checkpoint, index])),
            })  # fmt: skip
        best = min(range(len(rows)), key=lambda i: rows[i]["criterion"])
        yield from ({**row, "chosen": i == best} for i, row in enumerate(rows))


CANDIDATE_WEIGHTS = (0.3, 1.0, 3.0)
TRIAL_MEMBERS = 4


def choose_weight(
    objective: Objective, towers: TowerConstraint, make: Maker,
    network: NetworkSettings, tower_term: TowerTermSettings, inversion_term: InversionTermSettings, training: TrainingSettings,
    cube: Cube, seed: int,
) -> tuple[float, pd.DataFrame]:  # fmt: skip
    """The inversions' tempering power: as stated, or for ``auto`` that of the largest held-out log predictive density.

    Each candidate trains a few members on the ensemble mean (a member's own draw of the inversions would count against a
    weight that follows it) that leave out inner validation sites and the last third of the years. The score is
    minus the sum of both sources' held-out loss; of all candidates within the best one's standard error (over members; Breiman's rule),
    the one closest to 1 (Bayes) is taken.

    Returns
    -------
    weight : float
    trial : DataFrame
        weight, score, standard_error, chosen; empty where the weight is stated.
    """
    if inversion_term.weight != "auto":
        return float(inversion_term.weight), pd.DataFrame(columns=["weight", "score", "standard_error", "chosen"])
    full = make(None, None)
    held = (int(full.years[-max(1, len(full.years) // 3)]), int(full.years[-1]))
    part = make(None, held)
    run = Run("weight", "dual", (ALL_SITES,), TRIAL_MEMBERS, part, np.isin(full.years, part.years).astype(float))
    stacks = [stack_members([run], full.years, towers, tower_term, w, seed) for w in CANDIDATE_WEIGHTS]
    members = jax.tree.map(lambda *a: jnp.concatenate(a), *[with_structure_error(s, objective) for s in stacks])
    members = members._replace(target=jnp.broadcast_to(jnp.asarray(full.observed, jnp.float32), members.target.shape))
    short = training.model_copy(update={"steps": max(training.steps // 2, 10), "checkpoints": 2})
    found = fit(objective, members, np.repeat(np.arange(len(stacks)), TRIAL_MEMBERS), network, short, cube.columns.invariant)
    last = found.scores[-1]
    regional = held_out_region_loss(objective, found.snapshots[-1], members, full)
    score = -(last.validation_loss + regional).reshape(len(stacks), TRIAL_MEMBERS)
    best = int(score.mean(axis=1).argmax())
    error = score.std(axis=1, ddof=1) / np.sqrt(TRIAL_MEMBERS)
    near = [i for i in range(len(stacks)) if score[best].mean() - score[i].mean() <= error[best]]
    chosen = min(near, key=lambda i: abs(np.log(CANDIDATE_WEIGHTS[i])))
    table = pd.DataFrame({"weight": CANDIDATE_WEIGHTS, "score": score.mean(axis=1), "standard_error": error})
    return CANDIDATE_WEIGHTS[chosen], table.assign(chosen=table.index == chosen)


def held_out_region_loss(objective: Objective, models: FluxModel, members: Member, full: RegionalConstraint) -> np.ndarray:
    """Half the quadratic form of the years a member has not used, in the full constraint's R, (member,)."""
    precision = [jnp.asarray(p, jnp.float32) for p in error_in_training(full.error, objective).precisions()]
    observed = jnp.asarray(full.observed, jnp.float32)

    def loss(objective: Objective, model: FluxModel, member: Member) -> jax.Array:
        other = member._replace(year_use=1 - member.year_use, target=observed, mean_precision=precision[0], anomaly_precision=precision[1])
        years = jnp.arange(len(full.years))
        residuals = objective.residuals(model, other, years, jax.random.split(jax.random.key(1)))
        return quadratic_form(*residuals, other, other.year_use, other.year_use.sum()) / 2

    # The objective goes in as an argument: closed over, its whole cube would be compiled in as a constant.
    return np.asarray(jax.jit(lambda o, a: jax.lax.map(lambda one: loss(o, *one), a))(objective, (models, members)))

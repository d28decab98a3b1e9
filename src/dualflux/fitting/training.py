"""Training of all members by one compiled program, from checkpoint to checkpoint."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import BaseModel, ConfigDict, Field

from dualflux.constraints.inversions.integrals import Structure, exact_integrals
from dualflux.errors import NumericalError
from dualflux.fitting.objective import Anchor, Member, Objective, Score, score
from dualflux.fitting.parallel import Lanes, Program, stack, unstack
from dualflux.fitting.site_effects import site_effect_spread, validation_rows
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.run_folder.checkpoint import Checkpoint


class TrainingSettings(BaseModel):
    """How long and how fast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(600, ge=10)
    checkpoints: int = Field(10, ge=2, description="times the averaged weights are kept and scored on inner validation sites")
    anchors: int = Field(
        2, ge=0, description="times in the second half of training that g's sd is estimated and integrals are taken exactly"
    )
    batch: int = Field(1024, ge=8, description="tower observations per step")
    learning_rate: float = Field(4e-3, gt=0)
    weight_sd: float = Field(2.0, gt=0, description="prior sd of network weights, in units of their initial sd")


class State(NamedTuple):
    """A member in training; `average` is the exponential mean of its weights, which is what is kept."""

    model: FluxModel
    average: FluxModel
    optimiser: optax.OptState
    step: jax.Array


def optimiser_of(settings: TrainingSettings) -> optax.GradientTransformation:
    """Adam with a short warm-up, cosine decay and clipped gradients (a t-error still leaves rare large steps)."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.1 * settings.learning_rate, settings.learning_rate, max(1, settings.steps // 20), settings.steps
    )
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))


def start(member: Member, network: NetworkSettings, inputs: int, invariant: int, optimiser: optax.GradientTransformation) -> State:
    """A fresh state of one member."""
    model = FluxModel.create(jax.random.fold_in(member.key, 0), inputs, invariant, member.site_use.shape[0], network)
    return State(model, model, optimiser.init(model), jnp.zeros((), jnp.int32))


def set_anchor(objective: Objective, state: State, member: Member) -> Anchor:
    """The member as it is, with its exact integrals (zeros where it uses no inversions)."""
    integral = jax.lax.cond(
        member.inversion_weight > 0, lambda: exact_integrals(state.model, objective.regions), lambda: jnp.zeros_like(member.target)
    )
    return Anchor(state.model, integral)


def anchored_checkpoints(settings: TrainingSettings) -> set[int]:
    """Checkpoints (0, 1, ...) before which anchors are set, evenly over the second half.

    >>> sorted(anchored_checkpoints(TrainingSettings(checkpoints=10, anchors=2)))
    [5, 7]
    """
    half = settings.checkpoints // 2
    return {half + i * (settings.checkpoints - half) // settings.anchors for i in range(settings.anchors)}


def advance(
    objective: Objective,
    optimiser: optax.GradientTransformation,
    steps: int,
    scale: float,
    state: State,
    member: Member,
    anchor: Anchor | None,
) -> State:
    """`steps` optimiser steps of one member."""

    def one(state: State, _: None) -> tuple[State, None]:
        gradient = objective.gradient(state.model, member, jax.random.fold_in(member.key, state.step + 1), anchor)
        gradient = jax.tree.map(lambda g: g / scale, gradient)
        update, optimiser_state = optimiser.update(gradient, state.optimiser)
        model = optax.apply_updates(state.model, update)
        keep = jnp.minimum(0.98, state.step / (state.step + 10.0))
        average = jax.tree.map(lambda a, m: keep * a + (1 - keep) * m, state.average, model)
        return State(model, average, optimiser_state, state.step + 1), None

    return jax.lax.scan(one, state, None, length=steps)[0]


Renew = Callable[[Objective, FluxModel, Anchor, Member], tuple[Objective, Member]]


def keep(objective: Objective, model: FluxModel, anchor: Anchor, members: Member) -> tuple[Objective, Member]:
    """Nothing changes at an anchor."""
    return objective, members


@dataclass(frozen=True)
class Fit:
    """Everything a training run leaves.

    Attributes
    ----------
    snapshots : list of FluxModel
        Averaged weights of all members at each checkpoint.
    scores : list of Score
        Arrays (member, ...), at each checkpoint.
    steps : array of int, (checkpoint,)
    site_effect_sd : array, (checkpoint, member)
    """

    snapshots: list[FluxModel]
    scores: list[Score]
    steps: np.ndarray
    site_effect_sd: np.ndarray


class Record(NamedTuple):
    """What a checkpoint leaves, of all members."""

    snapshot: FluxModel
    score: Score
    site_effect_sd: np.ndarray


class Progress(NamedTuple):
    """Where training stands: with the settings and data, all that the rest of it depends on.

    Attributes
    ----------
    states : State
        Of all members, stacked.
    anchors : Anchor
        The last ones, stacked; the initial state with integrals of zero before the first.
    structure : Structure or None
        Of the objective; like `representativeness_sd` what `renew` made of it.
    site_effect_sd, representativeness_sd : array, (member,)
    records : list of Record
        One of each checkpoint done.
    """

    states: State
    anchors: Anchor
    structure: Structure | None
    site_effect_sd: np.ndarray
    representativeness_sd: np.ndarray
    records: list[Record]


def fit(
    objective: Objective, members: Member, family: np.ndarray, network: NetworkSettings, settings: TrainingSettings, invariant: int,
    report: Callable[[int, int], None] = lambda done, of: None, renew: Renew = keep,
    checkpoint: Checkpoint | None = None,
) -> Fit:  # fmt: skip
    """Train all members.

    Parameters
    ----------
    members : Member
        Stacked.
    family : array of int, (member,)
        Members that share a site-effect variance, estimated from their inner validation sites at each checkpoint.
    report : callable
        Called with (checkpoints done, checkpoints in all).
    renew : callable
        ``renew(objective, models, anchors, members)`` gives the objective (its structure) and the members (g's sds) from an anchor on.
    checkpoint : Checkpoint, optional
        Where the state is kept; what an interrupted training left there is gone on from, to the same result bit by bit.
    """
    trainer = Trainer.create(objective, members, family, network, settings, invariant)
    anchored = anchored_checkpoints(settings)
    progress = trainer.begin()
    if checkpoint is not None:
        progress = go_on(checkpoint, progress)
    for done in range(len(progress.records), settings.checkpoints):
        if done in anchored:
            progress = trainer.set_anchors(progress, renew)
        progress = trainer.advance(progress, bool(anchored) and done >= min(anchored))
        if checkpoint is not None:
            checkpoint.write(done + 1, [np.asarray(leaf) for leaf in jax.tree.leaves(progress)])
        report(done + 1, settings.checkpoints)
    snapshots, scores, spreads = zip(*progress.records, strict=True)
    steps = settings.steps // settings.checkpoints * (1 + np.arange(settings.checkpoints))
    return Fit(list(snapshots), list(scores), steps, np.stack(spreads))


def go_on(checkpoint: Checkpoint, fresh: Progress) -> Progress:
    """Where an interrupted training stood; the beginning where it left nothing that can be used."""
    found = checkpoint.read()
    if found is None:
        return fresh
    done, arrays = found
    record = Record(fresh.states.model, Score(*[jnp.zeros(0)] * len(Score._fields)), fresh.site_effect_sd)
    return jax.tree.unflatten(jax.tree.structure(fresh._replace(records=[record] * done)), arrays)


@dataclass(frozen=True)
class Trainer:
    """The programs of a training, run for all members from one checkpoint to the next."""

    objective: Objective
    members: Member
    each: list[Member]
    held: np.ndarray
    family: np.ndarray
    lanes: Lanes
    first: Program[State]
    anchor: Program[Anchor]
    steps: Program[State]
    look: Program[Score]

    @classmethod
    def create(
        cls, objective: Objective, members: Member, family: np.ndarray, network: NetworkSettings, settings: TrainingSettings, invariant: int
    ) -> "Trainer":
        """Programs are compiled when first run."""
        optimiser, inputs = optimiser_of(settings), objective.towers.predictors.shape[-1]
        chunk, scale = settings.steps // settings.checkpoints, float(jnp.maximum(objective.towers.row_weight.sum(), 1.0))
        return cls(
            objective, members, unstack(members), validation_rows(objective, members), family, Lanes(),
            Program(lambda _, member: start(member, network, inputs, invariant, optimiser)),
            Program(set_anchor),
            Program(lambda o, state, member, anchor: advance(o, optimiser, chunk, scale, state, member, anchor)),
            Program(lambda o, state, member, rows: score(o, state.average, member, rows)),
        )  # fmt: skip

    def begin(self) -> Progress:
        """No step done."""
        states = stack(self.lanes.map(self.first, self.lanes.share(None), self.each))
        anchors = Anchor(states.model, jnp.zeros_like(self.members.target))
        return Progress(states, anchors, self.objective.regions.structure, *self._spreads(self.members), [])

    def set_anchors(self, progress: Progress, renew: Renew) -> Progress:
        """Anchors where members are now, and what the objective and the members become of them."""
        objective, members = self._objective(progress), self._members(progress)
        anchors = stack(self.lanes.map(self.anchor, self.lanes.share(objective), unstack(progress.states), unstack(members)))
        objective, renewed = renew(objective, progress.states.model, anchors, members)
        sd = np.asarray(renewed.representativeness_sd, dtype=np.float32)
        states = with_slopes_for(progress.states, np.asarray(members.representativeness_sd), sd)
        return progress._replace(states=states, anchors=anchors, structure=objective.regions.structure, representativeness_sd=sd)

    def advance(self, progress: Progress, anchored: bool) -> Progress:
        """To the next checkpoint, with its record and the site effects' sds that follow from it."""
        members = self._members(progress)
        each, shared = unstack(members), self.lanes.share(self._objective(progress))
        use = anchored and self.objective.estimator != "exact"
        anchors = unstack(progress.anchors) if use else [None] * len(each)
        states = self.lanes.map(self.steps, shared, unstack(progress.states), each, anchors)
        found = stack(self.lanes.map(self.look, shared, states, each, list(self.held)))
        _require_finite(found, len(progress.records))
        together = stack(states)
        record = Record(together.average, found, progress.site_effect_sd)
        spread = site_effect_spread(found, members, self.family)
        return progress._replace(states=together, site_effect_sd=spread, records=[*progress.records, record])

    def _members(self, progress: Progress) -> Member:
        spreads = (jnp.asarray(sd) for sd in (progress.site_effect_sd, progress.representativeness_sd))
        return self.members._replace(**dict(zip(("site_effect_sd", "representativeness_sd"), spreads, strict=True)))

    @staticmethod
    def _spreads(members: Member) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(members.site_effect_sd), np.asarray(members.representativeness_sd)

    def _objective(self, progress: Progress) -> Objective:
        return replace(self.objective, regions=self.objective.regions._replace(structure=progress.structure))


def with_slopes_for(state: State, before: np.ndarray, after: np.ndarray) -> State:
    """g's slopes, (member, ...), at the same places of their prior when its sd changes: training goes on without a jolt."""
    ratio = (after / np.where(before > 0, before, 1.0)).astype(np.float32)

    def scaled(model: FluxModel) -> FluxModel:
        return eqx.tree_at(lambda m: m.tower.coefficient, model, model.tower.coefficient * ratio[:, None])

    return state._replace(model=scaled(state.model), average=scaled(state.average))


def _require_finite(found: Score, checkpoint: int) -> None:
    bad = np.flatnonzero(~np.isfinite(found.loss))
    if bad.size:
        towers, inversions = found.validation_loss[bad[0]], found.region_misfit[bad[0]]
        raise NumericalError(
            f"training: the loss of {bad.size} member(s) is not finite at checkpoint {checkpoint + 1}: the first is member {bad[0]}, with "
            f"{towers:.4g} at the towers and {inversions:.4g} at the inversions; give a smaller `training.learning_rate`, or look for "
            "impossible values among towers and predictors"
        )

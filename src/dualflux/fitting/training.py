"""Training of all members by one compiled program, from one scoring time to the next."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from pydantic import BaseModel, ConfigDict, Field, model_validator

from dualflux.errors import NumericalError
from dualflux.fitting.objective import Control, Member, Objective, Score, score
from dualflux.fitting.parallel import Parallel, Program, stack, unstack
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.run_folder.checkpoint import Checkpoint

Positive = Annotated[float, Field(gt=0)]
WEIGHT_SD = 2.0  # in units of the initial sd: where it is neither stated nor chosen


class TrainingSettings(BaseModel):
    """How long and how fast."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(600, ge=10)
    checkpoints: int = Field(10, ge=2, description="times the averaged weights are kept and scored on inner validation sites")
    anchors: int = Field(
        2, ge=0, description="times in the second half of training that g's sd is estimated and integrals are taken exactly"
    )
    batch: int = Field(1024, ge=8, description="tower observations per step")
    learning_rate: float = Field(4e-3, gt=0, le=0.5, description="of Adam; above 0.5 training does not settle")
    weight_sd: Positive | Literal["auto"] = Field(
        "auto",
        description="prior sd of network weights, in units of their initial sd; auto: 1, 2 or 4, chosen with `weight: auto`, else 2",
    )
    readout_sd: Positive | Literal["auto"] = Field(
        "auto",
        description="prior sd of readout weights about their trained values in the linear step; auto: 0.005 to 0.08, chosen with "
        "`weight: auto`, else 0.02",
    )

    pattern_sd: Positive | Literal["auto"] = Field(
        "auto",
        description="prior sd of lasting fluxes about the density of their region [gC m-2 d-1]; auto: 0.1 to 0.8, chosen with "
        "`weight: auto`, else 0.2; .inf: any pattern is as good as another",
    )

    @property
    def network_sd(self) -> float:
        """Prior sd of network weights [initial sd] before any choice."""
        return WEIGHT_SD if self.weight_sd == "auto" else self.weight_sd

    @model_validator(mode="after")
    def _room_for_checkpoints(self) -> Self:
        if self.checkpoints > self.steps:
            raise ValueError(
                f"{self.steps} steps and {self.checkpoints} checkpoints; at least one step lies between two checkpoints: "
                f"raise `steps` or use at most {self.steps} `checkpoints`"
            )
        usual, room = type(self).model_fields["anchors"].default, self.checkpoints - self.checkpoints // 2
        if self.anchors > max(room, usual):
            raise ValueError(
                f"{self.anchors} anchors and {self.checkpoints} checkpoints; each anchor is at a checkpoint of the second half, of which "
                f"there are {room}: use at most {room} `anchors` or more `checkpoints`"
            )
        return self


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


def start(
    objective: Objective, member: Member, network: NetworkSettings, inputs: int, invariant: int, optimiser: optax.GradientTransformation
) -> State:
    """A fresh state of one member."""
    model = FluxModel.create(jax.random.fold_in(member.key, 0), inputs, invariant, objective.own(), network, objective.vegetation)
    return State(model, model, optimiser.init(model), jnp.zeros((), jnp.int32))


def control_times(settings: TrainingSettings) -> set[int]:
    """Scoring times (0, 1, ...) before which control variates are set, evenly over the second half.

    >>> sorted(control_times(TrainingSettings(checkpoints=10, anchors=2)))
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
    control: Control | None,
) -> State:
    """`steps` optimiser steps of one member."""

    def one(state: State, _: None) -> tuple[State, None]:
        gradient = objective.gradient(state.model, member, jax.random.fold_in(member.key, state.step + 1), control)
        gradient = jax.tree.map(lambda g: g / scale, gradient)
        update, optimiser_state = optimiser.update(gradient, state.optimiser)
        model = optax.apply_updates(state.model, update)
        keep = jnp.minimum(0.98, state.step / (state.step + 10.0))
        average = jax.tree.map(lambda a, m: keep * a + (1 - keep) * m, state.average, model)
        return State(model, average, optimiser_state, state.step + 1), None

    return jax.lax.scan(one, state, None, length=steps)[0]


Renew = Callable[[Objective, FluxModel, Control, Member], tuple[Objective, Member]]


def keep(objective: Objective, model: FluxModel, control: Control, members: Member) -> tuple[Objective, Member]:
    """Nothing changes when control variates are set."""
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
    sd : list of dict of str to array, (member,)
        Prior sds of effects, at each checkpoint.
    """

    snapshots: list[FluxModel]
    scores: list[Score]
    steps: np.ndarray
    sd: list[dict[str, np.ndarray]]


class Record(NamedTuple):
    """What a checkpoint leaves, of all members."""

    snapshot: FluxModel
    score: Score
    sd: dict[str, np.ndarray]


class Progress(NamedTuple):
    """Where training stands: with the settings and data, all that the rest of it depends on.

    Attributes
    ----------
    states : State
        Of all members, stacked.
    controls : Control
        The last ones, stacked; the initial state with zeros before the first.
    changed : dict of str to pytree
        What has changed of each constraint (`Constraint.in_training`); like `sd` what `renew` made of it.
    sd : dict of str to array, (member,)
        Prior sds of effects.
    records : list of Record
        One of each checkpoint done.
    """

    states: State
    controls: Control
    changed: dict[str, Any]
    sd: dict[str, np.ndarray]
    records: list[Record]


def fit(
    objective: Objective, members: Member, family: np.ndarray, network: NetworkSettings, settings: TrainingSettings, inputs: int,
    invariant: int, report: Callable[[int, int], None] = lambda done, of: None, renew: Renew = keep,
    checkpoint: Checkpoint | None = None,
) -> Fit:  # fmt: skip
    """Train all members.

    Parameters
    ----------
    members : Member
        Stacked.
    family : array of int, (member,)
        Members that share the sds of effects, estimated at each checkpoint.
    inputs, invariant : int
        Predictors, and those among the first that do not vary between years.
    report : callable
        Called with (checkpoints done, checkpoints in all).
    renew : callable
        ``renew(objective, models, controls, members)`` gives objective and members (g's sds) from a control variate on.
    checkpoint : Checkpoint, optional
        Where the state is kept; what an interrupted training left there is gone on from, to the same result bit by bit.
    """
    trainer = Trainer.create(objective, members, family, network, settings, inputs, invariant)
    controlled = control_times(settings)
    progress = trainer.begin()
    if checkpoint is not None:
        progress = go_on(checkpoint, progress, trainer.blank_record(progress))
    for done in range(len(progress.records), settings.checkpoints):
        if done in controlled:
            progress = trainer.set_controls(progress, renew)
        progress = trainer.advance(progress, bool(controlled) and done >= min(controlled))
        if checkpoint is not None:
            checkpoint.write(done + 1, [np.asarray(leaf) for leaf in jax.tree.leaves(progress)])
        report(done + 1, settings.checkpoints)
    snapshots, scores, sds = zip(*progress.records, strict=True)
    steps = settings.steps // settings.checkpoints * (1 + np.arange(settings.checkpoints))
    return Fit(list(snapshots), list(scores), steps, list(sds))


def go_on(checkpoint: Checkpoint, fresh: Progress, record: Record) -> Progress:
    """Where an interrupted training stood, its records like `record`; the beginning where it left nothing that can be used."""
    found = checkpoint.read()
    if found is None:
        return fresh
    done, arrays = found
    return jax.tree.unflatten(jax.tree.structure(fresh._replace(records=[record] * done)), arrays)


@dataclass(frozen=True)
class Trainer:
    """The programs of a training, run for all members from one checkpoint to the next."""

    objective: Objective
    members: Member
    family: np.ndarray
    parallel: Parallel
    first: Program[State]
    control: Program[Control]
    steps: Program[State]
    look: Program[Score]

    @classmethod
    def create(
        cls, objective: Objective, members: Member, family: np.ndarray, network: NetworkSettings, settings: TrainingSettings,
        inputs: int, invariant: int,
    ) -> "Trainer":  # fmt: skip
        """Programs are compiled when first run."""
        optimiser = optimiser_of(settings)
        chunk, scale = settings.steps // settings.checkpoints, objective.scale
        return cls(
            objective, members, family, Parallel(),
            Program(lambda o, member: start(o, member, network, inputs, invariant, optimiser)),
            Program(lambda o, state, member: o.control(state.model, member)),
            Program(lambda o, state, member, control: advance(o, optimiser, chunk, scale, state, member, control)),
            Program(lambda o, state, member: score(o, state.average, member)),
        )  # fmt: skip

    def begin(self) -> Progress:
        """No step done."""
        states = stack(self.parallel.map(self.first, self.parallel.share(self.objective), unstack(self.members)))
        shape = jax.eval_shape(jax.vmap(self.objective.control), states.model, self.members)
        controls = Control(states.model, jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shape.known))
        changed = {c.name: c.in_training() for c in self.objective.constraints}
        return Progress(states, controls, changed, jax.tree.map(np.asarray, self.members.sd), [])

    def blank_record(self, progress: Progress) -> Record:
        """The structure of a record."""
        shape = jax.eval_shape(
            jax.vmap(lambda o, s, m: score(o, s.average, m), (None, 0, 0)), self.objective, progress.states, self.members
        )
        return Record(progress.states.model, shape, progress.sd)

    def set_controls(self, progress: Progress, renew: Renew) -> Progress:
        """Control variates where members are now, and what the objective and the members become of them."""
        objective, members = self._objective(progress), self._members(progress)
        controls = stack(self.parallel.map(self.control, self.parallel.share(objective), unstack(progress.states), unstack(members)))
        objective, renewed = renew(objective, progress.states.model, controls, members)
        sd = {name: np.asarray(value, dtype=np.float32) for name, value in renewed.sd.items()}
        states = with_slopes_for(progress.states, np.asarray(members.sd["representativeness"]), sd["representativeness"])
        changed = {c.name: c.in_training() for c in objective.constraints}
        return progress._replace(states=states, controls=controls, changed=changed, sd=sd)

    def advance(self, progress: Progress, controlled: bool) -> Progress:
        """To the next checkpoint, with its record and the effects' sds that follow from it."""
        members = self._members(progress)
        each, shared = unstack(members), self.parallel.share(self._objective(progress))
        use = controlled and self.objective.sampled
        controls = unstack(progress.controls) if use else [None] * len(each)
        states = self.parallel.map(self.steps, shared, unstack(progress.states), each, controls)
        found = stack(self.parallel.map(self.look, shared, states, each))
        _require_finite(found, len(progress.records))
        together = stack(states)
        record = Record(together.average, found, progress.sd)
        sd = dict(progress.sd)
        for c in self.objective.constraints:
            sd |= c.estimated_sd(found.constraints[c.name], members.parts[c.name], progress.sd, self.family)
        return progress._replace(states=together, sd=sd, records=[*progress.records, record])

    def _members(self, progress: Progress) -> Member:
        return self.members._replace(sd={name: jnp.asarray(value) for name, value in progress.sd.items()})

    def _objective(self, progress: Progress) -> Objective:
        going_on = tuple(c.going_on(progress.changed[c.name]) for c in self.objective.constraints)
        return replace(self.objective, constraints=going_on)


def with_slopes_for(state: State, before: np.ndarray, after: np.ndarray) -> State:
    """g's slopes, (member, ...), at the same places of their prior when its sd changes: training goes on without a jolt."""
    ratio = (after / np.where(before > 0, before, 1.0)).astype(np.float32)

    def scaled(model: FluxModel) -> FluxModel:
        slopes = model.representativeness.coefficient * ratio[:, None]
        return eqx.tree_at(lambda m: m.representativeness.coefficient, model, slopes)

    return state._replace(model=scaled(state.model), average=scaled(state.average))


def _require_finite(found: Score, checkpoint: int) -> None:
    bad = np.flatnonzero(~np.isfinite(found.loss))
    if bad.size:
        parts = {n: jax.tree.map(lambda a: a[bad[0]], s) for n, s in found.constraints.items()}
        said = ", ".join(f"{float(np.sum(leaf)):.4g} ({field} of {n})" for n, s in parts.items() for field, leaf in s._asdict().items())
        raise NumericalError(
            f"training: the loss of {bad.size} member(s) is not finite at checkpoint {checkpoint + 1}: the first is member {bad[0]}, with "
            f"{said}; give a smaller `training.learning_rate`, or look for impossible values among towers and predictors"
        )

"""The inversions' weight, chosen by what a short training has not seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.inversions.constraint import InversionTermSettings, Maker, RegionalConstraint
from dualflux.constraints.towers import TowerConstraint, TowerTermSettings
from dualflux.cube import Cube
from dualflux.fitting.ensembles import ALL_SITES, Run, stack_members
from dualflux.fitting.fit_ensembles import error_in_training, with_structure_error
from dualflux.fitting.objective import Member, Objective, quadratic_form
from dualflux.fitting.training import TrainingSettings, fit
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.run_folder.checkpoint import Checkpoint

CANDIDATE_WEIGHTS = (0.3, 1.0, 3.0)
TRIAL_MEMBERS = 4


def choose_weight(
    objective: Objective, towers: TowerConstraint, make: Maker,
    network: NetworkSettings, tower_term: TowerTermSettings, inversion_term: InversionTermSettings, training: TrainingSettings,
    cube: Cube, seed: int, checkpoint: Checkpoint | None = None,
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
    family = np.repeat(np.arange(len(stacks)), TRIAL_MEMBERS)
    found = fit(objective, members, family, network, short, cube.columns.invariant, checkpoint=checkpoint)
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

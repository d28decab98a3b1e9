"""A constraint's weight, chosen by what a short training has not seen."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import Maker
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import Columns
from dualflux.fitting.ensembles import ALL_SITES, Run, stack_members
from dualflux.fitting.objective import Objective
from dualflux.fitting.training import TrainingSettings, fit
from dualflux.model.flux_model import NetworkSettings
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.variants import Variant

CANDIDATE_WEIGHTS = (0.3, 1.0, 3.0)
TRIAL_MEMBERS = 4
COLUMNS = ["weight", "score", "standard_error", "chosen"]


def stated_weight(weight: float) -> tuple[float, pd.DataFrame]:
    """A weight that needs no trial, and the trial's empty table."""
    return float(weight), pd.DataFrame(columns=COLUMNS)


def held_in_trial(years: np.ndarray) -> tuple[int, int]:
    """First and last year that a trial leaves out: the last third, at least one.

    >>> held_in_trial(np.arange(2001, 2013))
    (2009, 2012)
    """
    return int(years[-max(1, len(years) // 3)]), int(years[-1])


def choose_weight(
    objective: Objective, name: str, make: Maker, terms: Variant, network: NetworkSettings, tower_term: TowerTermSettings,
    training: TrainingSettings, columns: Columns, seed: int, checkpoint: Checkpoint | None = None,
) -> tuple[float, pd.DataFrame]:  # fmt: skip
    """The tempering power of constraint `name` of the largest held-out log predictive density.

    Each candidate trains a few members on the data as they are (a member's own draw of their errors would count against a
    weight that follows it) that leave out inner validation sites and the last third of the years. The score is
    minus the sum of all constraints' held-out losses; of all candidates within the best one's standard error (over members;
    Breiman's rule), the one closest to 1 (Bayes) is taken.

    Parameters
    ----------
    terms : Variant
        That the trial's members are trained as.

    Returns
    -------
    weight : float
    trial : DataFrame
        weight, score, standard_error, chosen.
    """
    full = make(None, None)
    held = held_in_trial(full.years)
    run = Run("weight", "dual", terms, (ALL_SITES,), TRIAL_MEMBERS, {name: make(None, held)})
    count = len(CANDIDATE_WEIGHTS)
    stack = stack_members(objective.constraints, [run] * count, tower_term, [{name: w} for w in CANDIDATE_WEIGHTS], seed, draw=False)
    members = stack.in_training(objective)
    short = training.model_copy(update={"steps": max(training.steps // 2, 10), "checkpoints": 2})
    family = np.repeat(np.arange(count), TRIAL_MEMBERS)
    found = fit(objective, members, family, network, short, len(columns.names), columns.invariant, checkpoint=checkpoint)
    scores, models, everything = found.scores[-1].constraints, found.snapshots[-1], {name: full}
    lost: Any = sum(
        c.held_out(scores[c.name], models, members.parts[c.name], everything.get(c.name)) for c in objective.constraints
    )  # fmt: skip
    return best_weight(-lost.reshape(count, TRIAL_MEMBERS), CANDIDATE_WEIGHTS)


def best_weight(score: np.ndarray, weights: Sequence[float]) -> tuple[float, pd.DataFrame]:
    """Of candidates with scores (candidate, member), that closest to 1 within the best one's standard error, and the table of all."""
    best = int(score.mean(axis=1).argmax())
    error = score.std(axis=1, ddof=1) / np.sqrt(score.shape[1])
    near = [i for i in range(len(score)) if score[best].mean() - score[i].mean() <= error[best]]
    chosen = min(near, key=lambda i: abs(np.log(weights[i])))
    table = pd.DataFrame({"weight": weights, "score": score.mean(axis=1), "standard_error": error})
    return weights[chosen], table.assign(chosen=table.index == chosen)

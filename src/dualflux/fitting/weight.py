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

CANDIDATE_WEIGHTS = (1 / 30, 0.1, 1 / 3, 1.0, 3.0, 10.0, 30.0)  # an R wrong by a factor of 30, and steps of about 3
TRIAL_MEMBERS = 3  # of each candidate
TRIAL_SHARE = 1 / 3  # of the steps of training
COLUMNS = ["weight", "score", "difference", "standard_error", "chosen"]


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
    minus the sum of all constraints' held-out losses, each under the candidate's own claim about R (see
    `constraints.inversions.held_out`). Members of all candidates have the same initial weights, random batches, sites and years, so that
    candidates are compared in pairs; of all whose difference from the best is within its standard error (Breiman's rule), the one closest
    to 1 (Bayes) is taken.

    Parameters
    ----------
    terms : Variant
        That the trial's members are trained as.

    Returns
    -------
    weight : float
    trial : DataFrame
        `COLUMNS`, see `best_weight`.
    """
    full = make(None, None)
    run = Run("weight", "dual", terms, (ALL_SITES,), TRIAL_MEMBERS, {name: make(None, held_in_trial(full.years))})
    count = len(CANDIDATE_WEIGHTS)
    stack = stack_members(objective.constraints, [run] * count, tower_term, [{name: w} for w in CANDIDATE_WEIGHTS], seed, draw=False)
    members = stack.in_training(objective)
    short = training.model_copy(update={"steps": max(round(TRIAL_SHARE * training.steps), 10), "checkpoints": 2})
    family = np.repeat(np.arange(count), TRIAL_MEMBERS)
    found = fit(objective, members, family, network, short, len(columns.names), columns.invariant, checkpoint=checkpoint)
    scores, models, everything = found.scores[-1].constraints, found.snapshots[-1], {name: full}
    lost: list[Any] = [
        c.held_out(scores[c.name], models, members.parts[c.name], everything.get(c.name)) for c in objective.constraints
    ]  # fmt: skip
    return best_weight([by_candidate(-one, count) for one in lost if np.ndim(one)], CANDIDATE_WEIGHTS)


def by_candidate(values: np.ndarray, count: int) -> np.ndarray:
    """Values of members in their order as (candidate, member, unit)."""
    return np.asarray(values, np.float64).reshape(count, len(values) // count, -1)


def best_weight(scores: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[float, pd.DataFrame]:
    """Of candidates with paired scores, that closest to 1 of all within a standard error of the best, and the table of all.

    Parameters
    ----------
    scores : sequence of array, (candidate, member, unit)
        Log density of what each constraint held out.

    Returns
    -------
    weight : float
    trial : DataFrame
        weight; score; difference: the best one's score minus this one's; standard_error: of the difference; chosen.
    """
    total = sum(one.mean(axis=1).sum(axis=1) for one in scores)
    best = int(np.argmax(total))
    error = np.sqrt(sum(variance_of_total(one[best] - one) for one in scores))
    difference = total[best] - total
    chosen = min(map(int, np.flatnonzero(difference <= error)), key=lambda i: abs(np.log(weights[i])))
    table = pd.DataFrame({"weight": weights, "score": total, "difference": difference, "standard_error": error})
    return weights[chosen], table.assign(chosen=table.index == chosen)


def variance_of_total(difference: np.ndarray) -> np.ndarray:
    """Of the sum over units of the mean over members, (candidate,), of differences (candidate, member, unit) of one constraint.

    Several units are the same data to all members, so it is the units that vary, members being averaged; where a
    member has one number, of data of its own, the members do.
    """
    members, units = difference.shape[1:]
    if units > 1:
        return np.asarray(units * difference.mean(axis=1).var(axis=1, ddof=1))
    if members == 1:
        return np.zeros(len(difference))
    return np.asarray(difference[..., 0].var(axis=1, ddof=1) / members)

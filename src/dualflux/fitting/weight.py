"""A constraint's weight and prior sds, chosen by what a short training has not seen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import Maker
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import Columns
from dualflux.fitting.ensembles import ALL_SITES, PRIORS, Run, Stack, stack_members
from dualflux.fitting.objective import Member, Objective
from dualflux.fitting.posterior_draws import LinearStep
from dualflux.fitting.priors import READOUT_SDS, readout_scores, with_sds
from dualflux.fitting.training import Fit, TrainingSettings, fit
from dualflux.model.flux_model import NetworkSettings
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.variants import Variant

CANDIDATE_WEIGHTS = (1 / 30, 0.1, 1 / 3, 1.0, 3.0, 10.0, 30.0)  # an R wrong by a factor of 30, and steps of about 3
TRIAL_MEMBERS = 3  # of each candidate
TRIAL_SHARE = 0.3  # of the steps of training
NETWORK_FACTORS = (0.5, 2.0)  # on the prior sd of a network's weights, beside 1
PATTERN_SDS = (0.1, 0.4, 0.8)  # gC m-2 d-1, beside the usual one
COLUMNS = ["weight", "score", "difference", "standard_error", "chosen"]
PRIOR_SETTINGS = {"network": "weight_sd", "pattern": "pattern_sd"}  # keys of `training`
PRIOR_COLUMNS = ["prior", "value", *COLUMNS[1:]]


class Choice(NamedTuple):
    """What a trial has settled.

    Attributes
    ----------
    weight : float
    priors : dict of str to float
        As `ensembles.Run` has them.
    trial, of_priors : DataFrame
        `COLUMNS` and `PRIOR_COLUMNS`; empty where nothing was tried.
    """

    weight: float
    priors: dict[str, float]
    trial: pd.DataFrame
    of_priors: pd.DataFrame


def stated(weight: float, training: TrainingSettings) -> Choice:
    """A weight that needs no trial: what is stated, or usual."""
    return Choice(float(weight), stated_priors(training), pd.DataFrame(columns=COLUMNS), pd.DataFrame(columns=PRIOR_COLUMNS))


def stated_priors(training: TrainingSettings) -> dict[str, float]:
    """Priors before any choice."""
    said = {"readout": training.readout_sd, "pattern": training.pattern_sd}
    return {**PRIORS, **{name: float(sd) for name, sd in said.items() if sd != "auto"}}


def held_in_trial(years: np.ndarray) -> tuple[int, int]:
    """First and last year that a trial leaves out: the last third, at least one.

    >>> held_in_trial(np.arange(2001, 2013))
    (2009, 2012)
    """
    return int(years[-max(1, len(years) // 3)]), int(years[-1])


def tried_priors(training: TrainingSettings, pattern: bool = False) -> dict[str, tuple[float, ...]]:
    """Other values of priors that trials of their own tell, by name; `pattern`: there is one."""
    asked = {"network": training.weight_sd, **({"pattern": training.pattern_sd} if pattern else {})}
    values = {"network": NETWORK_FACTORS, "pattern": PATTERN_SDS}
    return {name: values[name] for name, said in asked.items() if said == "auto"}


def candidates(training: TrainingSettings, pattern: bool = False) -> list[tuple[float, dict[str, float]]]:
    """Weights with the usual priors, then one other prior each with weight 1: (weight, priors)."""
    usual = stated_priors(training)
    others = [{**usual, name: value} for name, values in tried_priors(training, pattern).items() for value in values]
    return [*((weight, usual) for weight in CANDIDATE_WEIGHTS), *((1.0, priors) for priors in others)]


def choose_weight(
    objective: Objective, name: str, make: Maker, terms: Variant, network: NetworkSettings, tower_term: TowerTermSettings,
    training: TrainingSettings, columns: Columns, seed: int, checkpoint: Checkpoint | None = None,
    linear: Callable[[Stack], LinearStep] | None = None,
) -> Choice:  # fmt: skip
    """The tempering power of constraint `name`, and prior sds, of the largest held-out log predictive density.

    Each candidate trains a few members on the data as they are (a member's own draw of their errors would count against a
    weight that follows it) that leave out inner validation sites and the last third of the years. The score is
    minus the sum of all constraints' held-out losses, each under the candidate's own claim about R (see
    `constraints.inversions.held_out`). Members of all candidates have the same initial weights, random batches, sites and years, so that
    candidates are compared in pairs; of all whose difference from the best is within its standard error (Breiman's rule), the one closest
    to 1 (Bayes; of a prior, to the usual one) is taken. Networks' priors are compared at weight 1; the readout's, on the members of the
    chosen weight, in the linear step (see `priors`).

    Parameters
    ----------
    terms : Variant
        That the trial's members are trained as.
    linear : callable, optional
        The linear step of the trial's members; without, the readout's prior stays.
    """
    pattern = "pattern" in {c.name for c in objective.constraints}
    tried = candidates(training, pattern)
    runs = trial_runs(name, make, terms, [priors for _, priors in tried])
    stack = stack_members(objective.constraints, runs, tower_term, [{name: weight} for weight, _ in tried], seed, draw=False)
    short = training.model_copy(update={"steps": max(round(TRIAL_SHARE * training.steps), 10), "checkpoints": 2})
    family, members = np.repeat(np.arange(len(tried)), TRIAL_MEMBERS), stack.in_training(objective)
    found = fit(objective, members, family, network, short, len(columns.names), columns.invariant, checkpoint=checkpoint)
    density = held_out_densities(objective, found, members, {name: make(None, None)}, len(tried))
    weight, trial = best_weight([one[: len(CANDIDATE_WEIGHTS)] for one in density], CANDIDATE_WEIGHTS)
    priors, tables = stated_priors(training), list[pd.DataFrame]()
    for prior, others in tried_priors(training, pattern).items():
        usual, values = PRIORS[prior], (PRIORS[prior], *others)
        same = [tried.index((1.0, {**stated_priors(training), prior: value})) for value in values]
        priors[prior], table = best_of([one[same] for one in density], values, usual)
        tables.append(table.assign(prior=PRIOR_SETTINGS[prior], value=(training.network_sd if prior == "network" else 1.0) * table.value))
    if training.readout_sd == "auto" and linear is not None:
        use = TRIAL_MEMBERS * CANDIDATE_WEIGHTS.index(weight) + np.arange(TRIAL_MEMBERS)
        scores = readout_scores(linear(stack), found.snapshots[-1], with_sds(stack.members, found.sd[-1]), use)
        priors["readout"], table = best_of([scores[..., None]], READOUT_SDS, PRIORS["readout"])
        tables.append(table.assign(prior="readout_sd"))
    return Choice(weight, priors, trial, pd.concat(tables)[PRIOR_COLUMNS] if tables else pd.DataFrame(columns=PRIOR_COLUMNS))


def trial_runs(name: str, make: Maker, terms: Variant, priors: Sequence[Mapping[str, float]]) -> list[Run]:
    """A candidate's members each, all with the same keys: without the last third of the years of constraint `name`."""
    held = {name: make(None, held_in_trial(make(None, None).years))}
    return [Run("weight", "dual", terms, (ALL_SITES,), TRIAL_MEMBERS, held, own) for own in priors]


def held_out_densities(
    objective: Objective, found: Fit, members: Member, everything: Mapping[str, Any], count: int
) -> list[np.ndarray]:  # fmt: skip
    """Log density of what each constraint held out, (candidate, member, unit)."""
    scores, models = found.scores[-1].constraints, found.snapshots[-1]
    lost = [c.held_out(scores[c.name], models, members.parts[c.name], everything.get(c.name)) for c in objective.constraints]
    return [by_candidate(-np.asarray(one), count) for one in lost if np.ndim(one)]


def by_candidate(values: np.ndarray, count: int) -> np.ndarray:
    """Values of members in their order as (candidate, member, unit)."""
    return np.asarray(values, np.float64).reshape(count, len(values) // count, -1)


def best_weight(scores: Sequence[np.ndarray], weights: Sequence[float]) -> tuple[float, pd.DataFrame]:
    """`best_of` weights: the chosen one, and the table `COLUMNS`."""
    weight, table = best_of(scores, weights, 1.0)
    return weight, table.rename(columns={"value": "weight"})


def best_of(scores: Sequence[np.ndarray], values: Sequence[float], usual: float) -> tuple[float, pd.DataFrame]:
    """Of candidates with paired scores, that closest to the usual one of all within a standard error of the best, and the table of all.

    Parameters
    ----------
    scores : sequence of array, (candidate, member, unit)
        Log density of what each constraint held out.
    values : sequence of float
        Of the candidates, above 0.

    Returns
    -------
    value : float
    table : DataFrame
        value; score; difference: the best one's score minus this one's; standard_error: of the difference; chosen.
    """
    total = sum(one.mean(axis=1).sum(axis=1) for one in scores)
    best = int(np.argmax(total))
    error = np.sqrt(sum(variance_of_total(one[best] - one) for one in scores))
    difference = total[best] - total
    chosen = min(map(int, np.flatnonzero(difference <= error)), key=lambda i: abs(np.log(values[i] / usual)))
    table = pd.DataFrame({"value": values, "score": total, "difference": difference, "standard_error": error})
    return values[chosen], table.assign(chosen=table.index == chosen)


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

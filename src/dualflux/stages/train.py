"""The stage train: every ensemble fitted in one program, and left-out towers predicted."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from dualflux.constraints.base import Landscape
from dualflux.constraints.inversions.observations import Maker
from dualflux.constraints.inversions.representative import structure_table
from dualflux.cube import Cube, DeviceCube
from dualflux.fitting import anomaly_choice
from dualflux.fitting.ensembles import plan_runs, stack_members
from dualflux.fitting.fit_ensembles import Fitted, build_objective, landscape_of, linear_step, train_all
from dualflux.fitting.objective import Objective
from dualflux.fitting.series_choice import (
    NOTHING,
    SeriesChoice,
    can_leave_out,
    choose_series,
    left_out_residuals,
    said_of,
    series_table,
)
from dualflux.fitting.training import TrainingSettings
from dualflux.fitting.weight import TRIAL_MEMBERS, Choice, choose_weight, stated
from dualflux.grid import LandCells
from dualflux.model.anomaly_effect import AnomalyPrior
from dualflux.prediction.at_towers import PREDICTIONS, tower_predictions
from dualflux.prepared import Prepared, load
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.run_folder.files import write_atomically
from dualflux.run_folder.progress import progress_bar
from dualflux.stages.distance import TABLE as DISTANCE
from dualflux.stages.distance import with_distance
from dualflux.stages.observations import regional_maker, tower_constraint
from dualflux.study.settings import Study, StudySettings
from dualflux.variants import VARIANTS, Variant


def save_models(folder: Path, fitted: Fitted, prepared: Prepared, facts: dict[str, float], s: StudySettings) -> None:
    """Write every ensemble with its history, what the study's own predict at towers, and `facts` of the training."""
    own = {variant: ensemble for (name, variant), ensemble in sorted(fitted.ensembles.items()) if not name}
    predictions = tower_predictions(own, prepared)
    own, distance = with_distance(own, s.variants, predictions, prepared, s.spatial_term, s.seed)
    for (name, variant), ensemble in {**fitted.ensembles, **{("", v): e for v, e in own.items()}}.items():
        place = folder / variant if not name else folder / "left_out" / name / variant
        place.mkdir(parents=True, exist_ok=True)
        ensemble.save(place / "weights.npz")
        chosen = (fitted.history.run == name) & (fitted.history.variant == variant)
        fitted.history[chosen].drop(columns="run").to_csv(place / "history.csv", index=False)
    predictions.to_csv(folder / PREDICTIONS, index=False)
    distance.to_csv(folder.parent / DISTANCE, index=False)
    write_atomically(folder / "facts.json", json.dumps(facts, indent=1))


TRAININGS = ("weight", "series", "networks")  # inside the stage train, each with its checkpoint


def train(study: Study, out: Path, console: Console, checkpoints: Sequence[Checkpoint]) -> None:
    """Fit every ensemble in one program and predict left-out towers; `checkpoints` has one for each of `TRAININGS`."""
    s, prepared = study.settings, load(out / "prepared")
    cube, cells, device = prepared.cube, prepared.cells, DeviceCube.of(prepared.cube)
    towers, make = tower_constraint(prepared), regional_maker(study, prepared)
    objective = build_objective(
        towers, None if make is None else make(None, None), cube, device, cells, s.network, s.tower_term, s.inversion_term, s.training,
        s.seed, prepared.library, pattern=True,
    )  # fmt: skip
    for_weight, for_series, for_networks = checkpoints
    landscape = landscape_of(cube, cells, s.spatial_term)
    choice = weight_and_priors(s, objective, make, landscape, device, for_weight)
    weight = choice.weight
    series, anomaly = from_left_out_years(study, objective, make, cube, cells, weight, for_series)
    for line in choices_in_words(series, cube.series_standard.names, anomaly, cells.region_names):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    runs = [replace(run, priors=choice.priors) for run in plan_runs(s.variants, s.network, s.holdout, make)]
    stack = stack_members(objective.constraints, runs, s.tower_term, [{"inversions": weight}] * len(runs), s.seed)
    with progress_bar(console, f"training {len(stack.table)} networks") as advance:
        place = (landscape, device, s.network, s.training, s.spatial_term)
        fitted = train_all(objective, stack, *place, advance, for_networks, series.prior_sd, anomaly)
    save_models(out / "models", fitted, prepared, {"inversion_weight": weight, **prior_facts(choice, s.training)}, s)
    choice.trial.to_csv(out / "models/weight.csv", index=False)
    choice.of_priors.to_csv(out / "models/priors.csv", index=False)
    if cube.series_standard.names:
        coefficient = np.asarray(fitted.ensembles["", str(with_inversions(s.variants))].model.series, np.float64)
        series_table(series, cube.series_standard.names, coefficient).to_csv(out / "models/series.csv", index=False)
    effects = {variant: e.anomaly for (name, variant), e in fitted.ensembles.items() if not name and e.anomaly is not None}
    known = pd.concat([fitted.identifiability, anomaly_choice.identifiability_rows(effects)]) if effects else fitted.identifiability
    (out / "tables").mkdir(exist_ok=True)
    known.to_csv(out / "tables/identifiability.csv", index=False)
    if make is not None and effects:
        anomaly_choice.anomaly_table(effects, make(None, None), cells, cube.vegetated()).to_csv(out / "models/anomaly.csv", index=False)
    structure = None if make is None else objective["inversions"].in_training()
    if structure is not None:
        structure_table(structure, cells.region_names).to_csv(out / "models/structure.csv", index=False)


def from_left_out_years(
    study: Study, objective: Objective, make: Maker | None, cube: Cube, cells: LandCells, weight: float, checkpoint: Checkpoint | None
) -> tuple[SeriesChoice, AnomalyPrior | None]:  # fmt: skip
    """How strongly predictors of time alone act, and how large anomalies are that no predictor carries: both from the same short trials.

    Where the study has inversions and a variant that they constrain; without enough years to leave some out, no anomalies.
    """
    s = study.settings
    name = with_inversions(s.variants)
    if make is None or name is None:
        return NOTHING, None
    full, names = make(None, None), cube.series_standard.names
    alone = s.inversion_term.anomaly_effect and len(full.years) >= anomaly_choice.LEAST_YEARS and can_leave_out(make)
    if not names and not alone:
        return NOTHING, None
    count = TRIAL_MEMBERS if names else anomaly_choice.TRIAL_MEMBERS
    settings = (s.network, s.tower_term, s.training)
    residual = left_out_residuals(objective, make, s.variants[name], cube, *settings, weight, s.seed, checkpoint, count)
    series = choose_series(residual, full, cube, cells, s.seed) if names else NOTHING
    return series, anomaly_choice.estimate_anomaly(residual, full, cells, cube.vegetated()) if alone else None


def choices_in_words(
    series: SeriesChoice, names: Sequence[str], anomaly: AnomalyPrior | None, regions: Sequence[str]
) -> list[str]:  # fmt: skip
    """What came of left-out years."""
    return [
        *([said_of(series, names)] if names else []),
        *([] if anomaly is None else [anomaly_choice.said_of(anomaly, regions)]),
    ]


def with_inversions(variants: Mapping[str, Variant]) -> str | None:
    """`dual`, else the last of the variants that inversions constrain."""
    names = [name for name, variant in variants.items() if "inversions" in variant.constraints]
    return "dual" if "dual" in names else names[-1] if names else None


def weight_and_priors(
    s: StudySettings, objective: Objective, make: Maker | None, landscape: Landscape, device: DeviceCube, checkpoint: Checkpoint | None
) -> Choice:  # fmt: skip
    """The inversions' weight as stated, chosen by held-out data, or 1 where there is nothing to weigh them against; and priors."""
    if s.inversion_term.weight != "auto":
        return stated(s.inversion_term.weight, s.training)
    if make is None or "towers" not in {c.name for c in objective.constraints}:
        return stated(1.0, s.training)
    return choose_weight(
        objective, "inversions", make, VARIANTS["dual"], s.network, s.tower_term, s.training, landscape.cube.columns, s.seed, checkpoint,
        lambda stack: linear_step(objective, stack, landscape, device, s.spatial_term),
    )  # fmt: skip


def prior_facts(choice: Choice, training: TrainingSettings) -> dict[str, float]:
    """Prior sds that were used."""
    return {
        "weight_sd": training.network_sd * choice.priors["network"],
        "readout_sd": choice.priors["readout"],
        "pattern_sd": choice.priors["pattern"],
    }

"""The stage train: every ensemble fitted in one program, and left-out towers predicted."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from dualflux.constraints.inversions.constraint import constraint_maker
from dualflux.constraints.towers import TowerConstraint, from_towers
from dualflux.fitting.ensembles import plan_runs, stack_members
from dualflux.fitting.fit_ensembles import Fitted, build_objective, train_all
from dualflux.fitting.representative import structure_table
from dualflux.fitting.weight import choose_weight
from dualflux.model.ensemble import load_models
from dualflux.prediction.at_towers import PREDICTIONS, tower_predictions
from dualflux.prepared import Prepared, load
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.run_folder.files import write_atomically
from dualflux.run_folder.progress import progress_bar
from dualflux.study.settings import Study


def save_models(folder: Path, fitted: Fitted, prepared: Prepared, facts: dict[str, float]) -> None:
    """Write every ensemble with its history, what the study's own predict at towers, and `facts` of the training."""
    for (name, variant), ensemble in fitted.ensembles.items():
        place = folder / variant if not name else folder / "left_out" / name / variant
        place.mkdir(parents=True, exist_ok=True)
        ensemble.save(place / "weights.npz")
        chosen = (fitted.history.run == name) & (fitted.history.variant == variant)
        fitted.history[chosen].drop(columns="run").to_csv(place / "history.csv", index=False)
    tower_predictions(load_models(folder)[0], prepared).to_csv(folder / PREDICTIONS, index=False)
    write_atomically(folder / "facts.json", json.dumps(facts, indent=1))


TRAININGS = ("weight", "networks")  # inside the stage train, each with its checkpoint


def tower_constraint(study: Study, prepared: Prepared) -> TowerConstraint:
    """Towers with the effective number of their data."""
    fold = prepared.sites.fold.to_numpy()
    return from_towers(prepared.rows, prepared.observations, prepared.sites, study.settings.time_step, fold)[0]


def train(study: Study, out: Path, console: Console, checkpoints: Sequence[Checkpoint]) -> None:
    """Fit every ensemble in one program and predict left-out towers; `checkpoints` has one for each of `TRAININGS`."""
    s, prepared = study.settings, load(out / "prepared")
    towers = tower_constraint(study, prepared)
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, s.inversion_term, s.fitted)
    regional = make(None, None)
    objective = build_objective(
        towers, regional, prepared.cube, prepared.cells, s.network, s.tower_term, s.inversion_term, s.training, s.seed, prepared.library
    )
    for_weight, for_networks = checkpoints
    weight, trial = choose_weight(
        objective, towers, make, s.network, s.tower_term, s.inversion_term, s.training, prepared.cube, s.seed, for_weight
    )
    runs = plan_runs(list(s.variants), s.network, s.holdout, make)
    stack = stack_members(runs, regional.years, towers, s.tower_term, weight, s.seed)
    with progress_bar(console, f"training {len(stack.table)} networks") as advance:
        fitted = train_all(
            objective, stack, towers, regional, prepared.cube, prepared.cells, s.network, s.training, s.spatial_term, advance, for_networks
        )
    save_models(out / "models", fitted, prepared, {"inversion_weight": weight, "effective_observations": float(towers.weight.sum())})
    trial.to_csv(out / "models/weight.csv", index=False)
    structure = objective.regions.structure
    if structure is not None:
        structure_table(structure, prepared.cells.region_names).to_csv(out / "models/structure.csv", index=False)

"""The folder `models` of a run: written when training ends, read by all that follows."""

import json
from pathlib import Path

import pandas as pd

from dualflux.experiments import Fitted
from dualflux.files import write_atomically
from dualflux.model import Ensemble
from dualflux.preparation import Prepared
from dualflux.results import tower_predictions

_PREDICTIONS = "tower_predictions.csv"


def save_models(folder: Path, fitted: Fitted, prepared: Prepared, facts: dict[str, float]) -> None:
    """Write every ensemble with its history, what the study's own predict at towers, and `facts` of the training."""
    for (name, variant), ensemble in fitted.ensembles.items():
        place = folder / variant if not name else folder / "left_out" / name / variant
        place.mkdir(parents=True, exist_ok=True)
        ensemble.save(place / "weights.npz")
        chosen = (fitted.history.run == name) & (fitted.history.variant == variant)
        fitted.history[chosen].drop(columns="run").to_csv(place / "history.csv", index=False)
    tower_predictions(load_models(folder)[0], prepared).to_csv(folder / _PREDICTIONS, index=False)
    write_atomically(folder / "facts.json", json.dumps(facts, indent=1))


def load_models(folder: Path) -> tuple[dict[str, Ensemble], dict[tuple[str, str], Ensemble]]:
    """The study's own ensembles by variant, and those with something left out by (what, variant)."""
    own = {p.parent.name: Ensemble.load(p) for p in sorted(folder.glob("*/weights.npz"))}
    left_out = {(p.parent.parent.name, p.parent.name): Ensemble.load(p) for p in sorted(folder.glob("left_out/*/*/weights.npz"))}
    return own, left_out


def read_tower_predictions(folder: Path) -> pd.DataFrame:
    """What `save_models` wrote of the towers, see `results.tower_predictions`."""
    return pd.read_csv(folder / _PREDICTIONS, dtype={"site": str}, parse_dates=["time"], keep_default_na=False, na_values=[""])

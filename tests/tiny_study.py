"""A whole study that runs in seconds: a world of 10 degrees and four years, small networks, few steps."""

from datetime import date
from pathlib import Path
from typing import Any

from dualflux.twin import WorldSettings, build_world, write_world

WORLD = WorldSettings(resolution=10.0, start=date(2001, 1, 1), end=date(2004, 12, 31), towers=24, unseen_towers=6)
OPTIONS: dict[str, Any] = {
    "name": "tiny",
    "fit_period": [date(2001, 1, 1), date(2003, 12, 31)],
    "network": {"hidden": [8], "members": 2, "folds": 2},
    "inversion_term": {"estimator": "stratified", "locations": 2, "years": 2, "weight": 1.0},
    "spatial_term": {"correlation_length": 3000.0},
    "training": {"steps": 20, "checkpoints": 2, "batch": 64},
    "truth": "truth",
}


def write_tiny_study(folder: Path, **options: Any) -> Path:
    """Write the world's files and return its study file; `options` add to or replace keys of the study."""
    return write_world(build_world(WORLD), folder, **{**OPTIONS, **options})

"""What each stage depends on and writes.

A stage is handed the settings that `DECLARED` names for it and no others (`settings_of`), sees the results of the stages before it and no
others (`run_folder.own_files`), and its program is its own module with all that this imports: what can change a result redoes the stage.
"""

from pathlib import Path

from dualflux.run_folder.stage import Stage
from dualflux.sources.predictors.settings import of_time
from dualflux.stages.evaluate import FAR_TABLES, LEFT_OUT_TABLES, TABLES
from dualflux.stages.left_out_years import TABLE as LEFT_OUT_YEARS
from dualflux.stages.report import FIGURES, FIGURES_OF_SOME, STUDY_KEYS
from dualflux.study.settings import Study

STAGES = ("prepare", "train", "upscale", "left_out_years", "evaluate", "report")
AFTER: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "train": ("prepare",),
    "upscale": ("prepare", "train"),
    "left_out_years": ("prepare",),
    "evaluate": ("prepare", "train", "upscale", "left_out_years"),
    "report": ("prepare", "train", "upscale", "evaluate"),
}
DECLARED: dict[str, tuple[str, ...]] = {
    "prepare": (
        "period", "fit_period", "time_step", "grid", "seed", "towers", "predictors", "spin_up", "land_fraction", "regions", "no_flux",
        "vegetation",
        "inversions", "target", "adjustments", "references", "variants", "network.folds", "inversion_term.library",
    ),
    "train": (
        "network", "spatial_term", "tower_term", "inversion_term", "training", "variants", "holdout.years", "holdout.inversions",
        "holdout.emissions", "period", "fit_period", "time_step", "seed",
    ),
    "upscale": ("variants", "name", "seed"),
    "left_out_years": (
        "network", "spatial_term", "tower_term", "inversion_term", "training", "variants", "holdout.years", "period", "fit_period",
        "time_step", "seed",
    ),
    "evaluate": (
        "variants", "holdout", "truth", "independent", "figure_regions", "period", "fit_period", "time_step", "seed", "tower_term",
        "inversion_term", "predictors", "land_fraction", "regions", "target", "adjustments", "grid",
    ),
    "report": STUDY_KEYS,
}  # fmt: skip
# Where the files lie decides no result: they count by content. The study's `missing` stands in each predictor.
NO_SETTING = ("data_root", "missing")

_PREPARED = (
    "static.npy", "seasonal.npy", "dynamic.npy", "series.npy", "rows.npy",
    "library.npy", "cells.npz", "about.json", "observations.csv", "sites.csv",
    "site_minus_cell.csv", "land_shares.csv", "predictors_filled.csv",
)  # fmt: skip
_OF_TOWERS, _OF_INVERSIONS = ("tower_sites.csv", "towers_dropped.csv"), ("target.nc", "target_terms.csv")
_PREPARED_OF_SOME = ("references.nc", "tower_flags.csv", "tower_skipped.csv")
_TABLES = (
    "regional_monthly", "site_metrics", "site_representativeness", "summary", "distance", "land", *LEFT_OUT_TABLES, "left_out_years",
    *TABLES, *FAR_TABLES,
)  # fmt: skip


def stage_plan(study: Study) -> list[Stage]:
    """What each stage depends on and writes; `left_out_years` is there where the study asks for it."""
    names = [name for name in STAGES if name != "left_out_years" or study.settings.holdout.each_year]
    outputs, optional = _outputs(study)
    inputs = {"prepare": study.input_files, "evaluate": lambda: scored_files(study)}
    return [
        Stage(
            name,
            study.part(*DECLARED[name]),
            inputs[name]() if name in inputs else (),
            outputs[name],
            optional.get(name, ()),
            tuple(earlier for earlier in AFTER[name] if earlier in names),
            (f"stages.{name}",),
        )
        for name in names
    ]


def settings_of(study: Study, stage: str) -> Study:
    """The study as a stage gets it: reading a setting that the stage does not declare raises."""
    return study.only(*DECLARED[stage])


def _outputs(study: Study) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names of what each stage writes, and of what only some studies make it write."""
    s, variants = study.settings, list(study.settings.variants)
    alone = bool(of_time(s.predictors))
    of_sources = [*(_OF_TOWERS if s.towers else ()), *(_OF_INVERSIONS if s.inversions else ())]
    outputs = {
        "prepare": [f"prepared/{name}" for name in (*_PREPARED, *of_sources)],
        "train": [
            "tables/identifiability.csv",
            *(f"models/{name}.csv" for name in ("tower_predictions", "distance", "weight", "priors", *(["series"] if alone else []))),
            "models/facts.json",
            *(f"models/{v}/{name}" for v in variants for name in ("weights.npz", "history.csv")),
        ],
        "upscale": ["tables/regional_members.csv", *(f"products/{v}/nee_monthly.nc" for v in variants)],
        "left_out_years": [LEFT_OUT_YEARS],
        "evaluate": [f"tables/{name}.csv" for name in (*_TABLES, *(["series"] if alone else []))],
        "report": ["report.html", *(f"figures/{name}.png" for name in FIGURES)],
    }
    optional = {
        "prepare": [f"prepared/{name}" for name in _PREPARED_OF_SOME],
        "train": ["models/structure.csv", "models/anomaly.csv", "models/left_out/*/*/weights.npz", "models/left_out/*/*/history.csv"],
        "evaluate": ["tables/anomaly.csv"],
        "report": [f"figures/{name}.png" for name in FIGURES_OF_SOME],
    }
    return outputs, optional


def scored_files(study: Study) -> list[Path]:
    """Files that only the evaluation reads: independent estimates and a synthetic world's truth."""
    s = study.settings
    index = [] if s.holdout.index is None else [study.root / s.holdout.index.path]
    return [*dict.fromkeys([*(study.root / b.path for b in s.independent), *index]), *([] if s.truth is None else [study.root / s.truth])]

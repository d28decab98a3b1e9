"""What each stage depends on and writes."""

from pathlib import Path

from dualflux.run_folder.run_folder import Stage
from dualflux.stages.evaluate import LEFT_OUT_TABLES, TABLES
from dualflux.study.settings import Study

STAGES = ("prepare", "train", "upscale", "evaluate", "report")


def stage_plan(study: Study) -> list[Stage]:
    """What each stage depends on and writes."""
    s = study.settings
    tables = [
        f"tables/{name}.csv"
        for name in ("regional_monthly", "site_metrics", "site_representativeness", "summary", "land", *LEFT_OUT_TABLES, *TABLES)
    ]
    sources = ("period", "fit_period", "time_step", "grid", "seed", "towers", "predictors", "land_fraction", "regions", "no_flux",
               "inversions", "target", "adjustments", "references")  # fmt: skip
    fitting = ("network", "spatial_term", "tower_term", "inversion_term", "training", "variants", "holdout", "fit_period", "seed")
    scoring = ("variants", "holdout", "truth", "independent", "figure_regions")
    return [
        Stage(
            "prepare",
            {**study.part(*sources), "folds": s.network.folds, "library": s.inversion_term.library},
            study.input_files(),
            ["prepared"],
        ),
        Stage("train", study.part(*fitting), (), ["models"], ["prepare"]),
        Stage("upscale", study.part("variants", "name"), (), ["products", "tables/regional_members.csv"], ["prepare", "train"]),
        Stage("evaluate", study.part(*scoring), scored_files(study), tables, ["prepare", "train", "upscale"]),
        Stage("report", study.part("name"), (), ["figures", "report.html"], ["prepare", "train", "upscale", "evaluate"]),
    ]


def scored_files(study: Study) -> list[Path]:
    """Files that only the evaluation reads: independent estimates and a synthetic world's truth."""
    s = study.settings
    return [*dict.fromkeys(study.root / b.path for b in s.independent), *([] if s.truth is None else [study.root / s.truth])]

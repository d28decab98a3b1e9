"""The stage report: figures and one HTML file from what the other stages have written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualflux.evaluation.verdict import read_summary, verdict_table
from dualflux.report import study_notes, write_report

# Settings that the report tells of.
STUDY_KEYS = (
    "name", "period", "fit_period", "time_step", "grid", "predictors", "target", "adjustments", "network", "tower_term", "inversion_term",
    "variants", "references", "figure_regions",
)  # fmt: skip
FIGURES = ("main_cycles", "regional_means", "annual_anomalies", "seasonal_cycles")
FIGURES_OF_SOME = (
    "skill_by_scale", "observed_predicted", "skill_by_class", "site_scatter", "taylor", "reliability", "trade_off", "training_history",
    "left_out_years", "prior_predictive",
    "mean_maps", "difference_maps", "spread_maps", "representativeness_maps", "tower_map", "r_maps", "rmse_maps", "seasonal_cycle_*",
)  # fmt: skip


def report(study: Mapping[str, Any], out: Path) -> None:
    """Draw the figures and write report.html from what is in the folder.

    Parameters
    ----------
    study : mapping
        The resolved settings that `STUDY_KEYS` names.
    out : Path
    """
    write_report(out, study, verdict_table(read_summary(out / "tables/summary.csv")), study_notes(out))

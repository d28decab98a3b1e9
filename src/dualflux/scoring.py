"""The stage evaluate: towers left out, regions and the globe, what was left out of experiments, and a synthetic world's truth."""

from pathlib import Path

import pandas as pd

from dualflux import preparation
from dualflux.evaluation import site_metrics
from dualflux.independent import further_tables
from dualflux.left_out import attribution, changed_target_rows, left_out_coverage, left_out_predictions, left_out_table
from dualflux.model_folder import load_models, read_tower_predictions
from dualflux.preparation import Prepared
from dualflux.results import land_table, regional_table, representativeness_table, summary_table
from dualflux.runs import VARIANTS, constraint_maker
from dualflux.study import Study
from dualflux.tower_coverage import site_effect_sd, tower_coverage
from dualflux.twin.comparison import Case, compare
from dualflux.upscaling import applicability

LEFT_OUT_TABLES = ("left_out", "left_out_predictions", "left_out_coverage", "attribution")


def evaluate(study: Study, out: Path) -> None:
    """Score towers left out, regions and the globe, and what was left out of the experiments."""
    prepared = preparation.load(out / "prepared")
    predictions = read_tower_predictions(out / "models")
    members = pd.read_csv(out / "tables/regional_members.csv", parse_dates=["time"], keep_default_na=False, na_values=["nan"])
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, study.settings.inversion_term, study.settings.fitted)
    regional = regional_table(members[members.run == ""], prepared, make(None, None))
    own, region_names = load_models(out / "models")[0], prepared.cells.region_names
    left_out = left_out_table(members, make, study.settings.holdout, region_names)
    predicted = left_out_predictions(members, make, region_names)
    left_out_tables = left_out, predicted, left_out_coverage(predicted), attribution(members, {v: e.fold for v, e in own.items()})
    summary = summary_table(regional, predictions, left_out, make(None, None), study.settings.time_step, study.settings.seed)
    changed = changed_target_rows(members, make, study.settings.holdout, region_names)
    effect_sd = {v: site_effect_sd(out / "models", v) for v in own if VARIANTS[v].towers}
    coverage = tower_coverage(
        predictions, own, effect_sd, prepared.sites, prepared.observations.uncertainty.fillna(0.0).to_numpy(),
        study.settings.tower_term.degrees_of_freedom,
    )  # fmt: skip
    summary = pd.concat([summary, changed, coverage], ignore_index=True)
    if study.settings.truth is not None:
        summary = pd.concat([summary, truth_scores(study, out, prepared)], ignore_index=True)
    folder = out / "tables"
    tables, rows = further_tables(study, out, prepared, predictions, regional)
    summary = pd.concat([summary, rows], ignore_index=True) if len(rows) else summary
    for name, table in {**tables, **dict(zip(LEFT_OUT_TABLES, left_out_tables, strict=True))}.items():
        table.to_csv(folder / f"{name}.csv", index=False, date_format="%Y-%m-%d")
    land = land_table(
        pd.read_csv(out / "prepared/land_shares.csv", index_col=0, keep_default_na=False),
        pd.read_csv(out / "prepared/predictors_filled.csv"),
        applicability(prepared.cube, prepared.sites.cell.to_numpy(), prepared.sites.fold.to_numpy()),
        prepared.cells,
    )
    land.to_csv(folder / "land.csv", index=False)
    regional.to_csv(folder / "regional_monthly.csv", index=False, date_format="%Y-%m-%d")
    site_metrics(predictions, study.settings.time_step).to_csv(folder / "site_metrics.csv", index=False)
    representativeness_table(predictions).to_csv(folder / "site_representativeness.csv", index=False)
    summary.to_csv(folder / "summary.csv", index=False)


def twin_case(study: Study, prepared: Prepared) -> Case:
    """The study of a synthetic world beside its truth."""
    s = study.settings
    regional = constraint_maker(prepared.target, prepared.cube, prepared.cells, s.inversion_term, s.fitted)(None, None)
    cover = next((p.name for p in s.predictors if p.kind == "fractions" and p.at_towers == "site"), None)
    own = {p.name: p.site_column or p.name for p in s.predictors if p.at_towers == "site" and p.kind == "dynamic"}
    return Case(study.root / str(s.truth), prepared.cells, prepared.cube, regional, prepared.target, s.fitted, cover, own)


def truth_scores(study: Study, out: Path, prepared: Prepared) -> pd.DataFrame:
    """Rows of summary.csv: variants, rescaled rivals and the inversions' mean against the truth of a synthetic world."""
    products: dict[str, Path] = {v: out / "products" / v / "nee_monthly.nc" for v in study.settings.variants}
    return compare(twin_case(study, prepared), products, load_models(out / "models")[0])

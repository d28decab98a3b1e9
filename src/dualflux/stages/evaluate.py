"""The stage evaluate: towers left out, regions and the globe, what was left out of experiments, and a synthetic world's truth."""

from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.constraint import constraint_maker
from dualflux.evaluation.left_out import attribution, changed_target_rows, left_out_coverage, left_out_predictions, left_out_table
from dualflux.evaluation.regional import land_table, regional_table
from dualflux.evaluation.summary import summary_table
from dualflux.evaluation.tower_coverage import site_effect_sd, tower_coverage
from dualflux.evaluation.towers import representativeness_table
from dualflux.metrics import (
    class_table,
    difference_table,
    distance_class,
    distance_to_training,
    reliability_table,
    site_metrics,
    taylor_table,
)
from dualflux.metrics.budget import TERM_COLUMNS, Budget, annual_adjustments, budget_summary, read_budgets
from dualflux.model.ensemble import load_models
from dualflux.prediction.at_towers import read_tower_predictions
from dualflux.prediction.uncertainty import applicability
from dualflux.prepared import Prepared, load
from dualflux.sources.adjustments import read_adjustments
from dualflux.sources.land.region_masks import read_regions
from dualflux.stages.figure_regions import figure_table
from dualflux.study.settings import Study
from dualflux.twin.scoring.comparison import Case, compare
from dualflux.variants import VARIANTS

LEFT_OUT_TABLES = ("left_out", "left_out_predictions", "left_out_coverage", "attribution")


def evaluate(study: Study, out: Path) -> None:
    """Score towers left out, regions and the globe, and what was left out of the experiments."""
    prepared = load(out / "prepared")
    predictions = read_tower_predictions(out / "models")
    members = pd.read_csv(out / "tables/regional_members.csv", parse_dates=["time"], keep_default_na=False, na_values=["nan"])
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, study.settings.inversion_term, study.settings.fitted)
    regional = regional_table(members[members.run == ""], prepared)
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


TABLES = ("site_classes", "site_differences", "reliability", "taylor", "figure_regions", "independent", "budget_terms")


def further_tables(
    study: Study, out: Path, prepared: Prepared, predictions: pd.DataFrame, regional: pd.DataFrame
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The tables of `TABLES` by name, and the rows that independent estimates add to `summary.csv`."""
    step, seed = study.settings.time_step, study.settings.seed
    shown, budgets = figure_table(study, out, prepared), study_budgets(study, prepared)
    annual = [b.annual.rename_axis("year").reset_index().assign(product=b.name, region="global", unit="PgC yr-1") for b in budgets]
    columns = ["product", "region", "year", "value", "unit"]
    tables = (
        class_table(predictions, site_groupings(study, prepared), step, seed),
        difference_table(predictions, step, seed),
        reliability_table(pd.concat([regional, shown[shown["product"] == "truth"]]) if len(shown) else regional),
        taylor_table(predictions, regional, step),
        shown,
        pd.concat([pd.DataFrame(columns=columns), *annual])[columns],
        pd.concat([pd.DataFrame(columns=TERM_COLUMNS), *(b.terms for b in budgets)]),
    )
    return dict(zip(TABLES, tables, strict=True)), budget_summary(budgets, regional)


def site_groupings(study: Study, prepared: Prepared) -> pd.DataFrame:
    """Classes of the sites: igbp, the dominant class of the site's cell in each other fractions predictor, distance to training sites."""
    sites, cube = prepared.sites, prepared.cube
    found = {"igbp": sites["igbp"].where(sites["igbp"].astype(bool))}
    for predictor in study.settings.predictors:
        at = [i for i, c in enumerate(cube.columns.static) if c.startswith(f"{predictor.name}_")]
        if predictor.kind == "fractions" and predictor.at_towers == "cell" and at:
            share = cube.static[sites["cell"].to_numpy()][:, at] * cube.scale[at] + cube.centre[at]
            names = np.array([cube.columns.static[i].removeprefix(f"{predictor.name}_") for i in at])
            found[predictor.name] = pd.Series(names[share.argmax(axis=1)], sites.index)
    found["distance"] = distance_class(distance_to_training(sites))
    return pd.DataFrame(found)


def study_budgets(study: Study, prepared: Prepared) -> list[Budget]:
    """The study's independent estimates, free of what its target leaves out.

    Raises
    ------
    InputError
        See `read_budgets`.
    """
    s = study.settings
    if not s.independent:
        return []
    months = prepared.cube.steps.months
    regions = read_regions(s.regions, study.root, prepared.cells.grid)
    land = prepared.land_area / prepared.cells.grid.cell_area
    terms = read_adjustments(s.adjustments, study.root, prepared.cells.grid, regions, land, months)
    # NBE contains fire, so of the terms only fire stays in targets that contain it too
    taken = [t for t in terms if s.target == "tower_nee" or (s.target == "stock_change" and t.name != "fire")]
    monthly = {t.name: t.integral.sel(region="global").to_numpy() for t in taken}
    return read_budgets(s.independent, study.root, annual_adjustments(monthly, months))

"""The stage evaluate: towers left out, regions and the globe, what was left out of experiments, and a synthetic world's truth."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import Maker
from dualflux.errors import InputError
from dualflux.evaluation.far_from_data import cell_classes, far_from_data, site_classes
from dualflux.evaluation.lasting_flux import lasting_flux
from dualflux.evaluation.left_out import (
    COVERAGE_COLUMNS,
    LEFT_OUT_COLUMNS,
    PREDICTION_COLUMNS,
    attribution,
    changed_target_rows,
    left_out_coverage,
    left_out_predictions,
    left_out_table,
)
from dualflux.evaluation.left_out_years import left_out_years_table
from dualflux.evaluation.prior_predictive import PriorSds, known_numbers, map_sd, prior_predictive, prior_table, site_numbers
from dualflux.evaluation.regional import land_table, regional_table
from dualflux.evaluation.summary import summary_table
from dualflux.evaluation.tower_coverage import site_spread, tower_coverage
from dualflux.evaluation.towers import representativeness_table
from dualflux.metrics import (
    class_table,
    difference_table,
    distance_class,
    distance_to_training,
    site_metrics,
    taylor_table,
)
from dualflux.metrics.budget import TERM_COLUMNS, Budget, annual_adjustments, budget_summary, read_budgets
from dualflux.metrics.left_out_years import COLUMNS as YEAR_COLUMNS
from dualflux.metrics.left_out_years import index_of_year, year_summary
from dualflux.model.ensemble import Ensemble, load_models
from dualflux.prediction.at_towers import read_tower_predictions
from dualflux.prediction.uncertainty import similarity
from dualflux.prepared import Prepared, load
from dualflux.sources.adjustments import read_adjustments
from dualflux.sources.climate_index import read_index
from dualflux.sources.land.read import read_land
from dualflux.stages.distance import TABLE as DISTANCE
from dualflux.stages.figure_regions import figure_table
from dualflux.stages.left_out_years import TABLE as MEMBERS_OF_YEARS
from dualflux.stages.observations import regional_maker, tower_constraint
from dualflux.study.settings import Study
from dualflux.twin.scoring.comparison import Case, compare
from dualflux.variants import shown_variant

LEFT_OUT_TABLES = ("left_out", "left_out_predictions", "left_out_coverage", "attribution")


def evaluate(study: Study, out: Path) -> None:
    """Score towers left out, regions and the globe, and what was left out of the experiments."""
    prepared = load(out / "prepared")
    predictions = read_tower_predictions(out / "models")
    members = pd.read_csv(out / "tables/regional_members.csv", parse_dates=["time"], keep_default_na=False, na_values=["nan"])
    make, own = regional_maker(study, prepared), load_models(out / "models")[0]
    full = None if make is None else make(None, None)
    regional = regional_table(members[members.run == ""], prepared)
    left_out, rows = left_out_tables(study, prepared, members, own, make)
    years = left_out_years(study, out, make)
    further, budgets = further_tables(study, out, prepared, predictions, regional)
    fluxes = {v: lasting_flux(out / f"products/{v}/nee_monthly.nc").ravel()[prepared.cells.index] for v in study.settings.variants}
    far, far_rows = far_tables(study, prepared, fluxes)
    summary = [
        summary_table(regional, predictions, left_out["left_out"], full, study.settings.time_step, study.settings.seed),
        rows, tower_rows(study, out, prepared, predictions, own), truth_scores(study, out, prepared), budgets, year_summary(years),
        far_rows,
    ]  # fmt: skip
    tables = {
        **further, **far, **left_out, "left_out_years": years, "land": land_shares(out, prepared), "regional_monthly": regional,
        "prior_predictive": prior_numbers(study, out, prepared, own, regional, fluxes),
        "site_metrics": site_metrics(predictions, study.settings.time_step),
        "site_representativeness": representativeness_table(predictions), "distance": pd.read_csv(out / DISTANCE),
        "summary": pd.concat([s for s in summary if len(s)], ignore_index=True),
    }  # fmt: skip
    if (out / "models/anomaly.csv").is_file():
        tables["anomaly"] = pd.read_csv(out / "models/anomaly.csv")
    if prepared.cube.series_standard.names:
        tables["series"] = pd.read_csv(out / "models/series.csv")
    for name, table in tables.items():
        table.to_csv(out / f"tables/{name}.csv", index=False, date_format="%Y-%m-%d")


FAR_TABLES = ("far_from_data", "flags", "prior_predictive")


def far_tables(study: Study, prepared: Prepared, fluxes: dict[str, np.ndarray]) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """What stands far from data of products with lasting fluxes (cell,) [gC m-2 yr-1], see `far_from_data`."""
    kinds = [(p.name, p.at_towers) for p in study.settings.predictors if p.kind == "fractions"] if len(prepared.sites) else []
    cover = next((site_classes(prepared, name) for name, at in kinds if at == "site"), None)
    climate = next((cell_classes(prepared, name) for name, at in kinds if at == "cell"), cover)
    return far_from_data(prepared, fluxes, shown_variant(study.settings.variants), cover, climate)


def prior_numbers(
    study: Study, out: Path, prepared: Prepared, own: dict[str, Ensemble], regional: pd.DataFrame, fluxes: dict[str, np.ndarray]
) -> pd.DataFrame:  # fmt: skip
    """The table `prior_predictive.csv`."""
    name, facts = shown_variant(study.settings.variants), json.loads((out / "models/facts.json").read_text(encoding="utf-8"))
    sd = PriorSds.read(pd.read_csv(out / "tables/identifiability.csv"), name, facts["weight_sd"])
    drawn = prior_predictive(prepared, own[name], sd, study.settings.seed)
    towers = read_tower_predictions(out / "models")
    towers = towers[towers["product"] == name].assign(nee=lambda t: t["tower_like"])
    data = known_numbers(regional, "target") | site_numbers(prepared.observations)
    product = known_numbers(regional, name) | {"map_sd": map_sd(fluxes[name], prepared.cells.land_area)} | site_numbers(towers)
    return prior_table(drawn, data, product)


def left_out_tables(
    study: Study, prepared: Prepared, members: pd.DataFrame, own: dict[str, Ensemble], make: Maker | None
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The tables of `LEFT_OUT_TABLES` by name, and the rows that changed targets add to `summary.csv`."""
    names, holdout = prepared.cells.region_names, study.settings.holdout
    moved = attribution(members, {v: e.fold for v, e in own.items()})
    if make is None:
        nothing = pd.DataFrame(columns=LEFT_OUT_COLUMNS), pd.DataFrame(columns=PREDICTION_COLUMNS), pd.DataFrame(columns=COVERAGE_COLUMNS)
        return dict(zip(LEFT_OUT_TABLES, (*nothing, moved), strict=True)), pd.DataFrame()
    predicted = left_out_predictions(members, make, names)
    found = left_out_table(members, make, holdout, names), predicted, left_out_coverage(predicted), moved
    return dict(zip(LEFT_OUT_TABLES, found, strict=True)), changed_target_rows(members, make, holdout, names)


def left_out_years(study: Study, out: Path, make: Maker | None) -> pd.DataFrame:
    """The table `left_out_years.csv`; empty where no year was left out."""
    holdout = study.settings.holdout
    if not holdout.each_year or make is None:
        return pd.DataFrame(columns=list(YEAR_COLUMNS))
    index = None if holdout.index is None else index_of_year(read_index(study.root / holdout.index.path, holdout.index.variable))
    return left_out_years_table(pd.read_csv(out / MEMBERS_OF_YEARS, keep_default_na=False), make, index)


def tower_rows(study: Study, out: Path, prepared: Prepared, predictions: pd.DataFrame, own: dict[str, Ensemble]) -> pd.DataFrame:
    """Rows of `summary.csv`: coverage at left-out towers, of variants that are trained on towers."""
    spread = {v: site_spread(out / "models", v) for v in own if study.settings.variants[v].towers}
    return tower_coverage(predictions, own, spread, tower_constraint(prepared), study.settings.tower_term.degrees_of_freedom)


def land_shares(out: Path, prepared: Prepared) -> pd.DataFrame:
    """The table `land.csv`."""
    shares = pd.read_csv(out / "prepared/land_shares.csv", index_col=0, keep_default_na=False)
    return land_table(shares, pd.read_csv(out / "prepared/predictors_filled.csv"), similarity(prepared), prepared.cells)


def twin_case(study: Study, prepared: Prepared) -> Case:
    """The study of a synthetic world beside its truth."""
    s = study.settings
    make = regional_maker(study, prepared)
    if make is None or prepared.target is None or prepared.observations.empty:
        raise InputError("truth: the scores of a synthetic world compare towers and inversions; give both or remove the key `truth`")
    regional = make(None, None)
    cover = next((p.name for p in s.predictors if p.kind == "fractions" and p.at_towers == "site"), None)
    own = {p.name: p.site_column or p.name for p in s.predictors if p.at_towers == "site" and p.kind == "dynamic"}
    towers = prepared.sites[["lat", "lon"]].to_numpy(dtype=float)
    return Case(study.root / str(s.truth), prepared.cells, prepared.cube, regional, prepared.target, s.fitted, cover, own, towers)


def truth_scores(study: Study, out: Path, prepared: Prepared) -> pd.DataFrame:
    """Rows of summary.csv: variants, rescaled rivals and the inversions' mean against the truth of a synthetic world, if it is one."""
    if study.settings.truth is None:
        return pd.DataFrame()
    products: dict[str, Path] = {v: out / "products" / v / "nee_monthly.nc" for v in study.settings.variants}
    return compare(twin_case(study, prepared), products, load_models(out / "models")[0])


TABLES = ("site_classes", "site_differences", "taylor", "figure_regions", "independent", "budget_terms")


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
        taylor_table(predictions, regional, step),
        shown,
        pd.concat([pd.DataFrame(columns=columns), *annual])[columns],
        pd.concat([pd.DataFrame(columns=TERM_COLUMNS), *(b.terms for b in budgets)]),
    )
    return dict(zip(TABLES, tables, strict=True)), budget_summary(budgets, regional)


def site_groupings(study: Study, prepared: Prepared) -> pd.DataFrame:
    """Classes of the sites: igbp, the dominant class of the site's cell in each other fractions predictor, distance to training sites."""
    sites, cube = prepared.sites, prepared.cube
    if sites.empty:
        return pd.DataFrame(index=sites.index)
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
    land, regions = read_land(s.land_fraction, s.regions, study.root, prepared.cells.grid)
    terms = read_adjustments(s.adjustments, study.root, prepared.cells.grid, regions, land, months)
    # NBE contains fire, so of the terms only fire stays in targets that contain it too
    taken = [t for t in terms if s.target == "tower_nee" or (s.target == "stock_change" and t.name != "fire")]
    monthly = {t.name: t.integral.sel(region="global").to_numpy() for t in taken}
    return read_budgets(s.independent, study.root, annual_adjustments(monthly, months))

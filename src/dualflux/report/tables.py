"""Tables of the report: tidy numbers of a run, wide and marked, as cells that are read and sorted."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dualflux.report.by_part import is_by_part, parts_shown
from dualflux.report.contents import Contents
from dualflux.report.drawing import finest
from dualflux.report.style import fixed, number, pretty_unit
from dualflux.report.verdict import default_verdict, marks

_MARKED = {"better": "good", "best": "good", "met": "good", "yes": "good", "worse": "bad", "worst": "bad", "not met": "bad", "no": "bad"}


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is read, what is sorted by, and a small word beside it (best, a unit)."""

    text: str
    key: str = ""
    mark: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Table:
    """A sortable table."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]


_GROUPS = (
    ("", "Verdict"),
    ("truth: ", "Against the known truth of this synthetic world"),
    ("without ", "Left out once more, and scored on what was left out"),
)
_MEAN = "inversions' mean"  # what the column target holds in rows against a truth
_DECIMALS = {"PgC yr-1": 2, "R": 2}


def headline_table(contents: Contents) -> Table:
    """The short verdict; its column target is called what it holds."""
    table = verdict_table(default_verdict(contents), contents.judged)
    return replace(table, columns=[contents.against if c == "target" else c for c in table.columns])


def verdict_tables(verdict: pd.DataFrame, variants: list[str]) -> list[Table]:
    """The verdict, and apart from it the rows against a known truth and those of what was left out."""
    if "quantity" not in verdict:
        return [verdict_table(verdict, variants)]
    words = verdict["quantity"].astype(str)
    group = [next((p for p, _ in _GROUPS[1:] if w.startswith(p)), "") for w in words]
    tables = []
    for prefix, title in _GROUPS:
        rows = verdict.loc[[g == prefix for g in group]]
        if prefix == "truth: ":
            rows = rows.assign(quantity=rows["quantity"].str.removeprefix(prefix)).rename(columns={"target": _MEAN})
        if len(rows):
            tables.append(verdict_table(rows, [*variants, _MEAN, *(["climatology"] if prefix == "without " else [])], title))
    return tables


def verdict_table(verdict: pd.DataFrame, scored: list[str], title: str = "Verdict") -> Table:
    """A table with marks: by its column `goal`, or by words such as better, worse, met, not met in its cells.

    Units stand beside the quantities, columns without any number are left out.
    """
    products = [v for v in scored if v in verdict]
    columns = [str(c) for c in verdict.columns if c not in ("goal", "unit") and (c == "quantity" or verdict[c].notna().any())]
    rows = []
    for _, row in verdict.iterrows():
        found = marks(row, products) if "goal" in verdict else {}
        unit = str(row["unit"]) if "unit" in verdict else None
        rows.append([_verdict_cell(row[c], c, unit, found.get(c, "")) for c in columns])
    return Table(title, columns, rows)


def _verdict_cell(value: Any, column: str, unit: str | None, mark: str) -> Cell:
    if column == "quantity" and unit is not None:
        return Cell(str(value), str(value), pretty_unit(unit))
    if unit is not None and isinstance(value, float) and not math.isnan(value):
        return _marked(Cell(fixed(value, _DECIMALS.get(unit, 3)), repr(value)), mark)
    return _marked(_cell(value, column), mark)


def _marked(cell: Cell, mark: str) -> Cell:
    tone = _MARKED.get(mark or cell.text.lower(), "") or next((_MARKED[w] for w in ("better", "worse") if cell.text.endswith(f") {w}")), "")
    return Cell(cell.text, cell.key, mark, tone)


def _cell(value: Any, column: str) -> Cell:
    if isinstance(value, str):
        return Cell(pretty_unit(value) if column == "unit" else value, value)
    if isinstance(value, np.integer | np.floating):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return Cell("–", "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value), str(value))
    return Cell(str(value) if isinstance(value, int) else number(float(value)), repr(float(value)))


def _table(caption: str, data: pd.DataFrame) -> Table:
    records = data.astype(object).to_dict("records")
    return Table(caption, [str(c) for c in data.columns], [[_cell(r[c], str(c)) for c in data.columns] for r in records])


def _wide(rows: pd.DataFrame, index: list[str], names: str) -> pd.DataFrame:
    """Tidy rows to one column per metric with its unit in the heading, in the order of the table; no rows, no columns."""
    if rows.empty:
        return pd.DataFrame()
    units = rows.drop_duplicates(names).set_index(names)["unit"]
    order = list(units.index)
    wide = rows.pivot_table(index=index, columns=names, values="value", sort=False, dropna=False)
    wide = wide.dropna(how="all").reindex(columns=order).reset_index()
    return wide.rename(columns={m: f"{m} [{pretty_unit(u)}]" if pretty_unit(u) else m for m, u in units.items()})


def study_tables(contents: Contents) -> list[Table]:
    """What stands below the figures, in order."""
    makers = (
        summary_table, comparison_table, budget_table, sites_table, classes_table, differences_table, left_out_table,
        left_out_years_table, series_table, coverage_table, attribution_table, far_table, flags_table, prior_table, truth_table,
        truth_parts_table,
    )  # fmt: skip
    return [make(contents) for make in makers]


def summary_table(contents: Contents) -> Table:
    """Products and regions on their own and against the target."""
    metric = contents.summary["metric"].str
    other = metric.contains("_vs_") | metric.startswith(("left_out_", "truth_")) | ~contents.summary["region"].isin(contents.regions)
    own = contents.summary[~other]
    return _table("Regions: products on their own and against the target", _wide(own, ["region", "product"], "metric"))


def comparison_table(contents: Contents) -> Table:
    """Products against each inversion and reference."""
    rows = contents.summary[contents.summary["metric"].str.contains("_vs_")]
    parts = rows["metric"].str.split("_vs_", n=1)
    tidy = rows.assign(metric=parts.str[0], against=parts.str[1])
    return _table(
        "Regions: products against each inversion, reference and independent estimate",
        _wide(tidy, ["region", "product", "against"], "metric"),
    )


def left_out_table(contents: Contents) -> Table:
    """Scores of the experiments on what they did not use."""
    rows = contents.left_out.assign(unit="")
    return _table("Left out once more: scores on what was left out", _wide(rows, ["experiment", "region", "product"], "metric"))


def left_out_years_table(contents: Contents) -> Table:
    """Scores of the years that were left out one by one."""
    rows = contents.summary[contents.summary["metric"].str.startswith("left_out_years_")]
    tidy = rows.assign(metric=rows["metric"].str.removeprefix("left_out_years_"))
    return _table("Years left out, one by one: scores of the annual fluxes", _wide(tidy, ["region", "product"], "metric"))


def series_table(contents: Contents) -> Table:
    """Predictors of time alone: how strongly they act, and whether permuted years would have done as well."""
    return _table("Predictors of time alone: flux per standard deviation [gC m⁻² d⁻¹], gain on left-out years and its p", contents.series)


def far_table(contents: Contents) -> Table:
    """Land and exchange far from towers."""
    words = {"distance_km": "no tower within [km]", "share_of_area": "share of land", "share_of_flux": "share of exchange"}
    return _table(
        "Far from data: share of land, and of the sizes of lasting fluxes, where no tower is near", contents.far.rename(columns=words)
    )


def flags_table(contents: Contents) -> Table:
    """What is beyond the data."""
    words = {"kind": "limit from", "value": "flux [gC m⁻² yr⁻¹]", "limit": "limit [gC m⁻² yr⁻¹]"}
    shown = contents.flags.assign(kind=contents.flags["kind"].str.replace("_", " ")) if len(contents.flags) else contents.flags
    return _table("Flags: boxes and regions whose lasting flux per area is beyond what data show", shown.rename(columns=words))


def prior_table(contents: Contents) -> Table:
    """Draws of the priors beside the data."""
    words = {"lower": "5 %", "upper": "95 %", "fitted": "fitted product"}
    return _table(
        "What the priors say before the data: quantiles of draws, beside data and fitted product", contents.priors.rename(columns=words)
    )


_EFFECTS = {
    "readout": "readout of the network",
    "spatial_lasting": "u, lasting patterns of the landscape",
    "spatial_seasonal": "u, seasonal patterns of the landscape",
    "spatial_shape": "u, waves of half and a third of a year",
    "series": "predictors of time alone",
    "representativeness_mean": "g, its mean: what towers have in common",
    "representativeness": "g, its slopes",
    "anomaly": "regional anomalies that no predictor carries",
    "common_share": "k, share of error that all inversions have in common: never updated",
}


def identifiability_table(contents: Contents) -> Table:
    """How far the data decide each effect."""
    caption = (
        "What the data decide: standard deviation of each effect before the data and after. A ratio of variances near 0: the data know it; "
        "near 1: they say nothing, and the prior decides"
    )
    table = contents.identifiability
    shown = pd.DataFrame({
        "variant": table["variant"], "effect": table["effect"].map(lambda name: _EFFECTS.get(name, str(name).replace("_", " "))),
        "unknowns": table["unknowns"], "sd before": np.sqrt(table["prior_variance"].astype(float)),
        "sd after": np.sqrt(table["posterior_variance"].astype(float)), "ratio of variances": table["ratio"],
    })  # fmt: skip
    return _table(caption, shown)


def coverage_table(contents: Contents) -> Table:
    """Coverage of left-out inversions by the intervals of what was predicted without them."""
    rows = contents.left_out_coverage.assign(
        metric=lambda t: (100 * t["level"].astype(float)).round().astype(int).astype(str) + " %", unit=""
    )
    named = rows.rename(columns={"coverage": "value", "n": "values", "cases": "effective cases"})
    wide = _wide(named, ["product", "part", "region", "values", "effective cases"], "metric")
    return _table("Left-out inversions: share of their values inside central predictive intervals", wide)


def attribution_table(contents: Contents) -> Table:
    """How the answer moves without a source."""
    rows = contents.attribution
    columns = ["region", "product", "left_out", "metric", "value", "sd", "unit"]
    return _table("Who moves the answer: without an inversion or a fold of towers, less with it", rows[columns])


def truth_table(contents: Contents) -> Table:
    """Scores against a synthetic world's truth but those by part."""
    metric = contents.summary["metric"]
    rows = contents.summary[metric.str.startswith("truth_") & ~is_by_part(metric)]
    tidy = rows.assign(metric=rows["metric"].str.removeprefix("truth_"))
    return _table("Scores against the known truth", _wide(tidy, ["region", "product"], "metric"))


def truth_parts_table(contents: Contents) -> Table:
    """Coverage, sharpness and slope of each part against a synthetic world's truth."""
    caption = "Truth: by part. Share of true values inside central intervals, with the number of cases that these are worth"
    return _table(caption, parts_shown(contents.summary))


def sites_table(contents: Contents) -> Table:
    """Pooled, median and 90th percentile skill at towers."""
    rows = contents.sites[contents.sites["site"].isin(["pooled", "median", "q90"])].rename(columns={"site": "over sites"})
    return _table("Left-out towers: skill by time scale", _wide(rows, ["product", "prediction", "scale", "over sites"], "metric"))


def classes_table(contents: Contents) -> Table:
    """Skill by class of site at the study's time step, with intervals."""
    table = contents.classes
    rows = table[(table["scale"] == finest(contents)) & (table["prediction"] == "tower_like") & (table["statistic"] == "pooled")]
    rows = rows[rows["metric"].isin(["nse", "rmse", "bias"])]
    columns = ["grouping", "class", "product", "metric", "value", "lower", "upper", "unit", "sites", "groups", "n"]
    return _table("Left-out towers: skill of f + g by class of site, 95 % intervals over groups of sites", rows[columns])


def differences_table(contents: Contents) -> Table:
    """Paired differences between the variants at all scales."""
    table = contents.differences
    rows = table[(table["statistic"] != "median") & (table["metric"] == "nse")]
    columns = ["first", "second", "prediction", "scale", "statistic", "value", "lower", "upper", "sites", "groups"]
    return _table("Left-out towers: NSE of the first minus that of the second, 95 % paired bootstrap over groups of sites", rows[columns])


def budget_table(contents: Contents) -> Table:
    """What stands between an independent estimate and the target, term by term."""
    columns = ["product", "term", "coefficient", "mean_annual", "contribution", "unit", "source"]
    return _table("Independent estimates made like with like: their terms", contents.budget_terms[columns])


def provenance_tables(provenance: dict[str, Any]) -> list[Table]:
    """Inputs with their hashes, stages with time and memory, versions."""
    inputs = pd.DataFrame(provenance.get("inputs", []), columns=["path", "bytes", "sha256"])
    stages = pd.DataFrame(provenance.get("stages", []), columns=["name", "seconds", "peak_memory_gb"])
    versions = pd.DataFrame(list((provenance.get("versions") or {}).items()), columns=["software", "version"])
    named = stages.rename(columns={"name": "stage", "seconds": "time [s]", "peak_memory_gb": "peak memory [GB]"})
    return [_table("Inputs", inputs), _table("Stages", named), _table("Versions", versions)]

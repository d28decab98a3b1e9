"""What a run has written, read for the report."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.evaluation.far_from_data import FAR_COLUMNS
from dualflux.evaluation.left_out import ATTRIBUTION_COLUMNS, COVERAGE_COLUMNS
from dualflux.evaluation.prior_predictive import COLUMNS as PRIOR_COLUMNS
from dualflux.metrics import annual_table, cycle_table
from dualflux.metrics.budget import TERM_COLUMNS
from dualflux.metrics.classes import CLASS_COLUMNS
from dualflux.metrics.diagrams import TAYLOR_COLUMNS
from dualflux.metrics.hot_spots import COLUMNS as FLAG_COLUMNS
from dualflux.metrics.left_out_years import COLUMNS as YEAR_COLUMNS
from dualflux.metrics.paired import DIFFERENCE_COLUMNS
from dualflux.variants import VARIANTS, ordered

_TABLES = {
    "regional_monthly": ["product", "member", "region", "time", "value", "std", "unit"],
    "site_metrics": ["product", "prediction", "site", "scale", "metric", "value", "n", "unit"],
    "summary": ["product", "region", "metric", "value", "unit"],
}
_FURTHER = {
    "left_out": ("left_out", ["experiment", "product", "region", "metric", "value"]),
    "left_out_coverage": ("left_out_coverage", COVERAGE_COLUMNS),
    "attribution": ("attribution", ATTRIBUTION_COLUMNS),
    "left_out_years": ("left_out_years", list(YEAR_COLUMNS)),
    "series": ("series", ["series", "zone", "prior_sd", "coefficient", "sd", "gain", "p_value"]),
    "identifiability": ("identifiability", ["variant", "effect", "unknowns", "prior_variance", "posterior_variance", "ratio"]),
    "classes": ("site_classes", CLASS_COLUMNS),
    "differences": ("site_differences", DIFFERENCE_COLUMNS),
    "taylor": ("taylor", TAYLOR_COLUMNS),
    "independent": ("independent", ["product", "region", "year", "value", "unit"]),
    "budget_terms": ("budget_terms", TERM_COLUMNS),
    "far": ("far_from_data", FAR_COLUMNS),
    "flags": ("flags", FLAG_COLUMNS),
    "priors": ("prior_predictive", PRIOR_COLUMNS),
}
_NUMBERS = {
    "lower": [""],
    "upper": [""],
    "r": [""],
    "sd_ratio": [""],
    "coverage": [""],
    "sd": [""],
    "nino": [""],
    "value": [""],
    "std": [""],
    "member": [""],
    "data": [""],
    "fitted": [""],
    "limit": [""],
    "share_of_area": [""],
    "share_of_flux": [""],
}


@dataclass(frozen=True, eq=False)
class Contents:
    """Tables, provenance and paths of one run folder.

    Attributes
    ----------
    regional, sites, summary : DataFrame
        The tables of the run.
    provenance : dict
    products : dict of str to Path
        Gridded product of each variant that has one.
    history : dict of str to DataFrame
        Training history of each variant that has one: `step`, optionally `member`, and one column per term.
    references : frozenset of str
        Products that are neither variants nor inversions.
    left_out, left_out_coverage, attribution, left_out_years, series, identifiability, classes, differences, taylor, independent,
    budget_terms, far, flags, priors, shown : DataFrame
        Further tables of the run (see `_FURTHER`); empty where the run has none. `shown` has the columns of `regional`.
    predictions : DataFrame
        product, site, observed, tower_like of left-out towers; empty where there are none.
    places : DataFrame
        Index site; lat, lon, igbp.
    weights : DataFrame
        weight, score, difference, standard_error, chosen: weights of the inversions that were tried.
    against : str
        What the plain metric names refer to.
    compared : Path or None
        Maps of a comparison of products.
    figure_regions : list of str
        Panels of the main figure, those the run has.
    """

    regional: pd.DataFrame
    sites: pd.DataFrame
    summary: pd.DataFrame
    provenance: dict[str, Any]
    products: dict[str, Path]
    history: dict[str, pd.DataFrame]
    references: frozenset[str]
    named_variants: tuple[str, ...]
    left_out: pd.DataFrame
    left_out_coverage: pd.DataFrame
    attribution: pd.DataFrame
    left_out_years: pd.DataFrame
    series: pd.DataFrame
    identifiability: pd.DataFrame
    classes: pd.DataFrame
    differences: pd.DataFrame
    taylor: pd.DataFrame
    independent: pd.DataFrame
    budget_terms: pd.DataFrame
    far: pd.DataFrame
    flags: pd.DataFrame
    priors: pd.DataFrame
    shown: pd.DataFrame
    predictions: pd.DataFrame
    places: pd.DataFrame
    weights: pd.DataFrame
    wanted_regions: tuple[str, ...] = ()
    against: str = "target"
    compared: Path | None = None

    @cached_property
    def figure_regions(self) -> list[str]:
        """Panels of the main figure: the regions the study names, as far as there are rows."""
        there = {*self.regional["region"], *self.shown["region"]}
        return [r for r in self.wanted_regions if r in there] or self.regions[:1]

    @cached_property
    def misfit(self) -> dict[str, float]:
        """Misfit of each variant to the inversions in units of R, mean over regions of the mean over its three parts."""
        rows = self.summary[self.summary["metric"].isin(["chi_square_offset", "chi_square_cycle", "chi_square_anomaly"])]
        return {str(p): float(v) for p, v in rows.groupby("product")["value"].mean().items()}

    @cached_property
    def _all(self) -> pd.DataFrame:
        return pd.concat([self.regional, self.shown], ignore_index=True) if len(self.shown) else self.regional

    @cached_property
    def regions(self) -> list[str]:
        """The globe first, then the parts in the table's order."""
        names = list(dict.fromkeys(self.regional["region"]))
        return [r for r in names if r == "global"] + [r for r in names if r != "global"]

    @cached_property
    def variants(self) -> list[str]:
        """The variants of this run in their usual order."""
        there = set(self.regional["product"])
        return [v for v in ordered(self.named_variants) if v in there]

    @cached_property
    def judged(self) -> list[str]:
        """What the verdict compares: the variants, or, without any, the other products but the reference."""
        there = dict.fromkeys(self.regional["product"])
        return self.variants or [p for p in there if p in self.references and p != self.against]

    @cached_property
    def inversions(self) -> list[str]:
        """The single inversions."""
        known = {*self.named_variants, "target", "truth", *self.references}
        return [p for p in dict.fromkeys(self.regional["product"]) if p not in known]

    @cached_property
    def drawn(self) -> list[str]:
        """All products in drawing order: inversions, references, target, truth, variants."""
        there = set(self._all["product"])
        return [*self.inversions, *sorted(self.references & there), *(p for p in ("target", "truth") if p in there), *self.variants]

    @cached_property
    def cycles(self) -> pd.DataFrame:
        """Mean seasonal cycles (see `cycle_table`); the spread of the target is that of the inversions."""
        return self._with_spread_of_target(cycle_table(self._all), "month")

    @cached_property
    def annual(self) -> pd.DataFrame:
        """Annual sums (see `annual_table`); the spread of the target is that of the inversions."""
        return self._with_spread_of_target(annual_table(self._all), "year")

    @cached_property
    def means(self) -> pd.DataFrame:
        """product, region, value, sd: mean annual flux [PgC yr-1] and its spread over members (target: over inversions)."""
        mean = self.summary[self.summary["metric"] == "mean_annual"].set_index(["product", "region"])["value"]
        sd = self.summary[self.summary["metric"] == "mean_annual_sd"].set_index(["product", "region"])["value"].rename("sd")
        table = mean.to_frame().join(sd).reset_index()
        truth = self.annual[self.annual["product"] == "truth"].groupby(["product", "region"])["value"].mean().reset_index()
        table = pd.concat([table, truth.assign(sd=np.nan)], ignore_index=True) if len(truth) else table
        over = table[table["product"].isin(self.inversions)].groupby("region")["value"].std(ddof=1)
        target = table["product"] == "target"
        return table.assign(sd=table["sd"].where(~target, table["region"].map(over)))

    def _with_spread_of_target(self, table: pd.DataFrame, period: str) -> pd.DataFrame:
        over = table[table["product"].isin(self.inversions)].groupby(["region", period])["value"].std(ddof=1).rename("over")
        joined = table.join(over, on=["region", period])
        return joined.assign(sd=joined["sd"].where(joined["product"] != "target", joined["over"])).drop(columns="over")


def read_contents(out: Path, study: Mapping[str, Any]) -> Contents:
    """Read a run folder.

    Parameters
    ----------
    out : Path
    study : dict
        The resolved settings; `references` names the products that are not inversions, `against` what all are compared with.

    Raises
    ------
    InputError
        Every table that is missing or lacks a column, and a missing or broken provenance.json.
    """
    problems = Problems()
    tables: dict[str, pd.DataFrame] = {}
    for name, columns in _TABLES.items():
        with problems.collect():
            tables[name] = _table(out / "tables" / f"{name}.csv", columns)
    provenance: dict[str, Any] = {}
    with problems.collect():
        provenance = _provenance(out / "provenance.json")
    problems.raise_if_any()
    named = tuple(study.get("variants") or VARIANTS)
    products = {v: out / f"products/{v}/nee_monthly.nc" for v in named}
    history = {v: out / f"models/{v}/history.csv" for v in named}
    references = frozenset(str(r["product"]) for r in study.get("references") or [] if r.get("product"))
    return Contents(
        regional=tables["regional_monthly"].assign(time=lambda t: pd.to_datetime(t["time"])),
        sites=tables["site_metrics"],
        summary=tables["summary"],
        provenance=provenance,
        products={v: p for v, p in products.items() if p.is_file()},
        history={v: pd.read_csv(p) for v, p in history.items() if p.is_file()},
        references=references,
        named_variants=named,
        shown=_optional(out / "tables/figure_regions.csv", _TABLES["regional_monthly"]).assign(time=lambda t: pd.to_datetime(t["time"])),
        predictions=_optional(out / "models/tower_predictions.csv", ["product", "site", "observed", "tower_like"]),
        places=_optional(out / "prepared/sites.csv", ["site", "lat", "lon", "igbp"]).set_index("site"),
        weights=_optional(out / "models/weight.csv", ["weight", "score", "difference", "standard_error", "chosen"]),
        against=str(study.get("against") or "target"),
        compared=out / "maps.nc" if (out / "maps.nc").is_file() else None,
        wanted_regions=tuple(study.get("figure_regions") or ()),
        **{name: _optional(out / f"tables/{file}.csv", columns) for name, (file, columns) in _FURTHER.items()},
    )


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is missing; run `dualflux evaluate` first")
    table = pd.read_csv(path, keep_default_na=False, na_values=_NUMBERS, dtype={"site": str})  # a region may be called NA
    missing = [c for c in columns if c not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; wanted {', '.join(columns)}")
    return table


def _optional(path: Path, columns: list[str]) -> pd.DataFrame:
    return _table(path, columns) if path.is_file() else pd.DataFrame(columns=columns)


def _provenance(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing; run the study first")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path}: no valid JSON ({error}); run the study again") from error

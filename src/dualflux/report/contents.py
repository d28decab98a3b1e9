"""What a run has written, read for the report."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.evaluation import VARIANTS, annual_table, cycle_table

_TABLES = {
    "regional_monthly": ["product", "member", "region", "time", "value", "std", "unit"],
    "site_metrics": ["product", "prediction", "site", "scale", "metric", "value", "n", "unit"],
    "summary": ["product", "region", "metric", "value", "unit"],
}
_NUMBERS = {"value": [""], "std": [""], "member": [""]}


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
    left_out : DataFrame
        experiment, product, region, metric, value; empty where nothing was left out once more.
    """

    regional: pd.DataFrame
    sites: pd.DataFrame
    summary: pd.DataFrame
    provenance: dict[str, Any]
    products: dict[str, Path]
    history: dict[str, pd.DataFrame]
    references: frozenset[str]
    left_out: pd.DataFrame

    @cached_property
    def regions(self) -> list[str]:
        """The globe first, then the parts in the table's order."""
        names = list(dict.fromkeys(self.regional["region"]))
        return [r for r in names if r == "global"] + [r for r in names if r != "global"]

    @cached_property
    def variants(self) -> list[str]:
        """The variants of this run in their usual order."""
        there = set(self.regional["product"])
        return [v for v in VARIANTS if v in there]

    @cached_property
    def inversions(self) -> list[str]:
        """The single inversions."""
        known = {*VARIANTS, "target", *self.references}
        return [p for p in dict.fromkeys(self.regional["product"]) if p not in known]

    @cached_property
    def drawn(self) -> list[str]:
        """All products in drawing order: inversions, references, target, variants."""
        there = set(self.regional["product"])
        return [*self.inversions, *sorted(self.references & there), *(["target"] if "target" in there else []), *self.variants]

    @cached_property
    def cycles(self) -> pd.DataFrame:
        """Mean seasonal cycles (see `cycle_table`); the spread of the target is that of the inversions."""
        return self._with_spread_of_target(cycle_table(self.regional), "month")

    @cached_property
    def annual(self) -> pd.DataFrame:
        """Annual sums (see `annual_table`); the spread of the target is that of the inversions."""
        return self._with_spread_of_target(annual_table(self.regional), "year")

    @cached_property
    def means(self) -> pd.DataFrame:
        """product, region, value, sd: mean annual flux [PgC yr-1] and its spread over members (target: over inversions)."""
        mean = self.summary[self.summary["metric"] == "mean_annual"].set_index(["product", "region"])["value"]
        sd = self.summary[self.summary["metric"] == "mean_annual_sd"].set_index(["product", "region"])["value"].rename("sd")
        table = mean.to_frame().join(sd).reset_index()
        over = table[table["product"].isin(self.inversions)].groupby("region")["value"].std(ddof=1)
        target = table["product"] == "target"
        return table.assign(sd=table["sd"].where(~target, table["region"].map(over)))

    def _with_spread_of_target(self, table: pd.DataFrame, period: str) -> pd.DataFrame:
        over = table[table["product"].isin(self.inversions)].groupby(["region", period])["value"].std(ddof=1).rename("over")
        joined = table.join(over, on=["region", period])
        return joined.assign(sd=joined["sd"].where(joined["product"] != "target", joined["over"])).drop(columns="over")


def read_contents(out: Path, study: dict[str, Any]) -> Contents:
    """Read a run folder.

    Parameters
    ----------
    out : Path
    study : dict
        The resolved settings; `references` names the products that are not inversions.

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
    products = {v: out / f"products/{v}/nee_monthly.nc" for v in VARIANTS}
    history = {v: out / f"models/{v}/history.csv" for v in VARIANTS}
    references = frozenset(str(r["name"]) for r in study.get("references") or [] if "name" in r)
    return Contents(
        regional=tables["regional_monthly"].assign(time=lambda t: pd.to_datetime(t["time"])),
        sites=tables["site_metrics"],
        summary=tables["summary"],
        provenance=provenance,
        products={v: p for v, p in products.items() if p.is_file()},
        history={v: pd.read_csv(p) for v, p in history.items() if p.is_file()},
        references=references,
        left_out=_left_out(out / "tables/left_out.csv"),
    )


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path} is missing; run `dualflux evaluate` first")
    table = pd.read_csv(path, keep_default_na=False, na_values=_NUMBERS)  # a region may be called NA
    missing = [c for c in columns if c not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; wanted {', '.join(columns)}")
    return table


def _left_out(path: Path) -> pd.DataFrame:
    columns = ["experiment", "product", "region", "metric", "value"]
    return _table(path, columns) if path.is_file() else pd.DataFrame(columns=columns)


def _provenance(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing; run the study first")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path}: no valid JSON ({error}); run the study again") from error

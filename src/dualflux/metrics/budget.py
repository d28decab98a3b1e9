"""Independent estimates of the global annual flux: budgets, made like with like term by term."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.metrics.regions import MINIMUM_YEARS, annual_comparison, complete_annual, trend, variability
from dualflux.sources.files.tables import few, read_table, to_numbers
from dualflux.units import require_units, split_factor

_TO_PGC = {"PgC yr-1": 1.0, "GtC yr-1": 1.0, "TgC yr-1": 1e-3}
_UNITS = {
    "mean_annual": "PgC yr-1", "trend": "PgC yr-2", "annual_sd_detrended": "PgC yr-1", "bias": "PgC yr-1", "rmse_annual": "PgC yr-1",
    "annual_r": "1", "annual_r_detrended": "1", "annual_sd_ratio": "1", "years": "1",
}  # fmt: skip
TERM_COLUMNS = ["product", "term", "coefficient", "mean_annual", "contribution", "unit", "source"]


class BudgetSettings(BaseModel):
    """An annual global estimate of NBE from a table with one row per year.

    ``NBE = sum of coefficient x column + sum of constants``, positive to the atmosphere; for example a budget's land sink,
    ``{land sink: -1, land-use change emissions: 1}`` with the constant ``{river uptake on land: -0.65}``, or the residual of the
    growth rate, ``{atmospheric growth: 1, fossil emissions excluding carbonation: -1, cement carbonation sink: 1, ocean sink: 1}``
    with the same constant. What the study's target leaves out (fire, lateral emissions) is subtracted like from the inversions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="what the tables and figures call it")
    path: str = Field(description="CSV file, relative to the data root")
    year: str = Field("Year", description="column of the year")
    units: str = Field("PgC yr-1", description="of all columns used and of the constants: PgC yr-1, GtC yr-1 or TgC yr-1")
    terms: dict[str, float] = Field(min_length=1, description="column of the file: its coefficient")
    constants: dict[str, float] = Field({}, description="term that the file lacks: its contribution in every year")
    source: str = Field("", description="citation")


@dataclass(frozen=True, eq=False)
class Budget:
    """An independent estimate of the global flux, like with like.

    Attributes
    ----------
    name : str
    annual : Series
        [PgC yr-1] by year.
    terms : DataFrame
        The sum it is: product, term, coefficient, mean_annual, contribution (coefficient x mean) [PgC yr-1], unit, source.
    """

    name: str
    annual: pd.Series
    terms: pd.DataFrame


def read_budgets(settings: Sequence[BudgetSettings], root: Path, adjustments: pd.DataFrame) -> list[Budget]:
    """Read all budgets and take from them what the study's target leaves out.

    Parameters
    ----------
    root : Path
        Folder that relative paths start from.
    adjustments : DataFrame
        Index year (complete years of the study); one column per subtracted term, global [PgC yr-1], positive to the atmosphere.

    Raises
    ------
    InputError
        A missing file or column, an unknown unit, no number, a year twice, a name twice, no year in common; all at once.
    """
    problems, found = Problems(), list[Budget]()
    names = [s.name for s in settings]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.add(f"independent: `{name}` stands twice; give each a name of its own")
    for one in settings:
        with problems.collect():
            found.append(_like_with_like(one, read_budget(one, root), adjustments))
    problems.raise_if_any()
    return found


def read_budget(settings: BudgetSettings, root: Path) -> pd.DataFrame:
    """The terms' columns [PgC yr-1], index year; rows without a number in any of them are dropped.

    Raises
    ------
    InputError
        See `read_budgets`.
    """
    path = root / settings.path
    what = f"independent `{settings.name}`: {settings.path}"
    if not path.is_file():
        raise InputError(f"{what}: no such file in {root}; correct `path`")
    table = read_table(path, comment="#")
    lacking = [c for c in (settings.year, *settings.terms) if c not in table]
    if lacking:
        raise InputError(f"{what}: no column {', '.join(lacking)}; it has {few(table.columns)}; correct `year` or `terms`")
    factor = _to_pgc(settings.units, what)
    used = dict.fromkeys((settings.year, *settings.terms))
    values = pd.DataFrame({name: to_numbers(table[name], f"{what}, column `{name}`") for name in used}).dropna()
    year = values[settings.year]
    if values.empty or (year % 1 != 0).any() or year.duplicated().any():
        raise InputError(f"{what}: column {settings.year} must hold whole years, each once, beside numbers; {len(values)} rows do")
    return values.set_index(year.astype(int))[list(settings.terms)] * factor


def _to_pgc(units: str, what: str) -> float:
    stated, ours = split_factor(require_units(units, tuple(_TO_PGC), what))
    return stated * _TO_PGC[ours]


def _like_with_like(settings: BudgetSettings, table: pd.DataFrame, adjustments: pd.DataFrame) -> Budget:
    years = table.index.intersection(adjustments.index)
    if years.empty:
        raise InputError(
            f"independent `{settings.name}`: its years {table.index.min()} to {table.index.max()} have none in common with the study's "
            f"{adjustments.index.min()} to {adjustments.index.max()}; give rows of those years"
        )
    factor, table, out = _to_pgc(settings.units, settings.name), table.loc[years], adjustments.loc[years]
    parts = [(term, c, float(table[term].mean()), settings.path) for term, c in settings.terms.items()]
    parts += [(term, 1.0, value * factor, "constant of the study file") for term, value in settings.constants.items()]
    parts += [(str(term), -1.0, float(out[term].mean()), "adjustments of the study") for term in out]
    rows = [(settings.name, term, c, mean, c * mean, "PgC yr-1", source) for term, c, mean, source in parts]
    total = sum(c * table[term] for term, c in settings.terms.items()) + factor * sum(settings.constants.values()) - out.sum(axis=1)
    annual = pd.Series(total, years, dtype=float, name="value")
    rows.append((settings.name, "sum", 1.0, float(annual.mean()), float(annual.mean()), "PgC yr-1", settings.source))
    return Budget(settings.name, annual, pd.DataFrame(rows, columns=TERM_COLUMNS))


def budget_summary(budgets: Sequence[Budget], regional: pd.DataFrame) -> pd.DataFrame:
    """Each budget on its own and each product against it, over complete years in common: rows of `summary.csv`, region `global`.

    Returns
    -------
    DataFrame
        product, region, metric, value, unit; metrics of a product against a budget end in ``_vs_NAME``.
    """
    mean = regional[(regional["region"] == "global") & (regional["member"].isna() | (regional["member"] == ""))]
    annual = {str(p): complete_annual(rows.set_index("time")["value"]) for p, rows in mean.groupby("product", sort=False)}
    rows: list[tuple[str, str, str, float]] = []
    for budget in budgets:
        own = {"mean_annual": budget.annual.mean(), "trend": trend(budget.annual), "annual_sd_detrended": variability(budget.annual)}
        rows += [(budget.name, "global", k, float(v)) for k, v in {**own, "years": len(budget.annual)}.items()]
        for product, values in annual.items():
            years = values.index.intersection(budget.annual.index)
            if len(years) >= MINIMUM_YEARS:
                scores = annual_comparison(values[years], budget.annual[years])
                rows += [(product, "global", f"{k}_vs_{budget.name}", v) for k, v in scores.items()]
    table = pd.DataFrame(rows, columns=["product", "region", "metric", "value"])
    return table.assign(unit=table["metric"].str.split("_vs_").str[0].map(_UNITS))


def annual_adjustments(monthly: dict[str, np.ndarray], months: pd.DatetimeIndex) -> pd.DataFrame:
    """Global monthly integrals of the subtracted terms [PgC month-1] as annual sums of complete years, one column per term."""
    whole = pd.Series(1.0, months).groupby(months.year).size()
    years = whole.index[whole == 12]
    columns = {name: complete_annual(pd.Series(values, months)).reindex(years) for name, values in monthly.items()}
    return pd.DataFrame(columns, index=years).dropna()

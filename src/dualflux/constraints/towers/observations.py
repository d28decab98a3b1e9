"""What towers saw: observations of NEE, how their errors hang together, and how many facts they are."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field


class TowerTermSettings(BaseModel):
    """What stands between a tower's flux and the landscape's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    representativeness: bool = Field(True, description="g: free intercept and ridge-penalised slopes in invariant predictors")
    representativeness_sd: float = Field(0.3, gt=0, description="prior sd of g's slopes [gC m-2 d-1 per standard deviation]")
    site_effects: bool = Field(True, description="b: one zero-mean effect per site, its variance estimated")
    degrees_of_freedom: float = Field(4.0, gt=2, description="of the Student-t error")


@dataclass(frozen=True, eq=False)
class TowerConstraint:
    """Point observations of NEE.

    Attributes
    ----------
    predictors : array float32, (row, column)
    site : array of int, (row,)
        Position in `sites`.
    observed : array float32, (row,)
        [gC m-2 d-1]
    uncertainty : array float32, (row,)
        Random or joint uncertainty [gC m-2 d-1]; 0 where the file has none (the fitted floor then covers it).
    weight : array float32, (row,)
        Effective number of data per datum, see `effective_weight`.
    sites : DataFrame
        Index site; lat, lon, igbp, cell, group.
    time : DatetimeIndex, (row,)
    """

    predictors: np.ndarray
    site: np.ndarray
    observed: np.ndarray
    uncertainty: np.ndarray
    weight: np.ndarray
    sites: pd.DataFrame
    time: pd.DatetimeIndex


@dataclass(frozen=True)
class ErrorStructure:
    """How a model's errors at a tower hang together, once the site's mean error is taken away.

    Attributes
    ----------
    autocorrelation : float
        Between neighbouring steps.
    recurrence : float
        Intra-class correlation within a site and calendar month: the part of the variance that returns every year.
    """

    autocorrelation: float
    recurrence: float


def check_lines(observations: pd.DataFrame) -> list[str]:
    """What a study has of towers, in words: sites, rows, years.

    Parameters
    ----------
    observations : DataFrame
        site, time; one row per observation in use.

    Examples
    --------
    >>> rows = {"site": ["A", "A", "B"], "time": pd.to_datetime(["2001-01-01", "2002-01-01", "2001-02-01"])}
    >>> check_lines(pd.DataFrame(rows))
    ['2 sites, 3 rows, 2001 to 2002; years of a site: 1 to 2']
    """
    year, own = observations["time"].dt.year, observations.groupby("site")["time"].agg(lambda time: time.dt.year.nunique())
    span = f"{year.min()} to {year.max()}; years of a site: {own.min()} to {own.max()}"
    return [f"{len(own)} sites, {len(observations)} rows, {span}"]


def held_out_linear_residual(predictors: np.ndarray, observed: np.ndarray, fold: np.ndarray, ridge: float = 300.0) -> np.ndarray:
    """Residuals (row,) of a ridge regression fitted without the row's fold: what a simple model gets wrong at unseen sites."""
    design = np.column_stack([np.ones(len(observed)), predictors]).astype(np.float64)
    penalty = np.diag([0.0] + [ridge] * predictors.shape[1])
    residual = np.empty(len(observed))
    for held in np.unique(fold):
        use = fold != held
        inside = design[use]
        slope = np.linalg.solve(inside.T @ inside + penalty, inside.T @ observed[use].astype(np.float64))
        residual[~use] = observed[~use] - design[~use] @ slope
    return residual


def error_structure(residual: np.ndarray, site: np.ndarray, time: pd.DatetimeIndex, time_step: str) -> ErrorStructure:
    """Lag-one autocorrelation, and intra-class correlation of (site, calendar month) by one-way analysis of variance.

    Years, not days, are the repetitions of a calendar month: daily residuals are averaged over each month first.
    """
    data = pd.DataFrame({"site": site, "time": time, "error": np.asarray(residual, dtype=np.float64)})
    data["error"] -= data.groupby("site").error.transform("mean")
    step = pd.DateOffset(months=1) if time_step == "monthly" else pd.DateOffset(days=1)
    pairs = data.merge(data.assign(time=data.time + step), on=["site", "time"], suffixes=("", "_before"))
    variance = float((data.error**2).mean())
    if len(pairs) < 2 or variance == 0:
        return ErrorStructure(0.0, 0.0)
    autocorrelation = float(np.clip((pairs.error * pairs.error_before).mean() / variance, 0.0, 0.98))
    months = data.groupby(["site", data.time.dt.year.rename("year"), data.time.dt.month.rename("month")]).error.mean().reset_index()
    return ErrorStructure(autocorrelation, _intraclass_correlation(months.error, [months.site, months.month]))


def _intraclass_correlation(values: pd.Series, keys: list[pd.Series]) -> float:
    """One-way random effects with unequal group sizes (Donner 1986, Int. Stat. Rev. 54, 67), groups of at least two."""
    size = values.groupby(keys).transform("size")
    values, keys = values[size >= 2], [k[size >= 2] for k in keys]
    groups = values.groupby(keys)
    count, number = len(values), groups.ngroups
    if number < 2 or count <= number:
        return 0.0
    mean = groups.transform("mean")
    within = float(((values - mean) ** 2).sum() / (count - number))
    between = float(((mean - values.mean()) ** 2).sum() / (number - 1))
    usual = (count - float((groups.size() ** 2).sum()) / count) / (number - 1)
    return float(np.clip((between - within) / (between + (usual - 1) * within), 0.0, 1.0)) if between + within > 0 else 0.0


def effective_weight(structure: ErrorStructure, site: np.ndarray, time: pd.DatetimeIndex) -> np.ndarray:
    """Effective number of data per datum, (row,): two thousand days are not two thousand facts.

    An AR(1) series of n values is worth n (1 - rho) / (1 + rho) independent ones for its mean (von Storch and Zwiers
    1999, Statistical Analysis in Climate Research, ch. 17.1); a cluster of m values of intra-class correlation c is worth
    m / (1 + (m - 1) c) (Kish 1965, Survey Sampling, ch. 5.4), here the years of a site's calendar month.
    """
    rows = pd.DataFrame({"site": site, "year": time.year, "month": time.month})
    years = rows.groupby(["site", "month"]).year.transform("nunique").to_numpy()
    rho = structure.autocorrelation
    return ((1 - rho) / (1 + rho) / (1 + (years - 1) * structure.recurrence)).astype(np.float32)


def from_towers(
    predictors: np.ndarray, observations: pd.DataFrame, sites: pd.DataFrame, time_step: str, fold: np.ndarray
) -> tuple[TowerConstraint, ErrorStructure]:
    """Make the tower constraint.

    Parameters
    ----------
    predictors : array, (row, column)
    observations : DataFrame
        site, time, nee, uncertainty; one row per row of `predictors`.
    sites : DataFrame
        Index site.
    fold : array of int, (site,)
        Folds of groups, for the residuals that tell how errors hang together.
    """
    site = sites.index.get_indexer(pd.Index(observations.site))
    time = pd.DatetimeIndex(observations.time)
    observed = observations.nee.to_numpy(np.float32)
    structure = error_structure(held_out_linear_residual(predictors, observed, fold[site]), site, time, time_step)
    weight = effective_weight(structure, site, time)
    uncertainty = observations.uncertainty.fillna(0.0).to_numpy(np.float32)
    return TowerConstraint(predictors, site, observed, uncertainty, weight, sites, time), structure

"""What towers saw: observations of NEE."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

LEAST_AMPLITUDE = 0.2  # of the median site's cycle: no site is without a season of its own


class TowerTermSettings(BaseModel):
    """What stands between a tower's flux and the landscape's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    representativeness: bool = Field(True, description="g: free intercept and ridge-penalised slopes in invariant predictors")
    representativeness_sd: float = Field(0.3, gt=0, description="prior sd of g's slopes [gC m-2 d-1 per standard deviation]")
    site_effects: bool = Field(
        True, description="b: what a site has of its own, its offset, cycle, trend and years; variances are estimated"
    )
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
    amplitude : array, (site,)
        Size of the cycle that predictors give a site [gC m-2 d-1], see `cycle_amplitude`.
    sites : DataFrame
        Index site; lat, lon, igbp, cell, group.
    time : DatetimeIndex, (row,)
    """

    predictors: np.ndarray
    site: np.ndarray
    observed: np.ndarray
    uncertainty: np.ndarray
    amplitude: np.ndarray
    sites: pd.DataFrame
    time: pd.DatetimeIndex


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


def cycle_amplitude(expected: np.ndarray, site: np.ndarray, sites: int) -> np.ndarray:
    """How far a site's expected flux swings, (site,) [gC m-2 d-1]: its sd over the site's rows, at least a fifth of the median site's."""
    count = np.maximum(np.bincount(site, minlength=sites), 1)
    mean = np.bincount(site, expected, minlength=sites) / count
    swing = np.sqrt(np.bincount(site, (expected - mean[site]) ** 2, minlength=sites) / count)
    usual = float(np.median(swing[np.unique(site)])) if len(site) else 0.0
    return np.asarray(np.maximum(swing, LEAST_AMPLITUDE * usual if usual > 0 else 1.0))


def from_towers(predictors: np.ndarray, observations: pd.DataFrame, sites: pd.DataFrame, fold: np.ndarray) -> TowerConstraint:
    """Make the tower constraint.

    Parameters
    ----------
    predictors : array, (row, column)
    observations : DataFrame
        site, time, nee, uncertainty; one row per row of `predictors`.
    sites : DataFrame
        Index site.
    fold : array of int, (site,)
        Folds of groups: what a simple model without a site's fold expects of it tells how far its flux swings.
    """
    site = sites.index.get_indexer(pd.Index(observations.site))
    time = pd.DatetimeIndex(observations.time)
    observed = observations.nee.to_numpy(np.float32)
    expected = observed - held_out_linear_residual(predictors, observed, fold[site])
    uncertainty = observations.uncertainty.fillna(0.0).to_numpy(np.float32)
    return TowerConstraint(predictors, site, observed, uncertainty, cycle_amplitude(expected, site, len(sites)), sites, time)

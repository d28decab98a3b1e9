"""How errors at left-out towers grow with the distance to the nearest training tower, and how they hang together between towers.

Of each part (what lasts, monthly anomalies) the residual r of a left-out site is N(0, m + near + slope h): m the members' own variance
there, `near` what a site has of its own (b), h the growth of `model.distance_effect`. Priors: `near` flat in its logarithm, slope
exponential, its mean a tenth of the prior variance of the spatial effect u: members hold that one and the pattern's already. A group of
co-located sites counts as one site. All folds leave out alike much, so less data does not look like distance: it adds to `near`.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.geometry.sphere import MEAN_RADIUS_KM, great_circle

COLUMNS = ["product", "part", "quantity", "distance", "value", "lower", "upper", "n", "unit"]
LEVEL = 0.9
CLASSES = {"0-50": (0.0, 50.0), "50-200": (50.0, 200.0), "200-": (200.0, np.inf)}  # of pairs [km]
FEWEST_PAIRS = 5
_GRID = 200, 80  # values of near, and of slope


class Slope(NamedTuple):
    """Posterior of the variances [(gC m-2 d-1)^2]: means, and the central 90 % interval of the slope."""

    near: float
    value: float
    lower: float
    upper: float


def fit_slope(square: np.ndarray, growth: np.ndarray, members: np.ndarray, weight: np.ndarray, prior: float) -> Slope:
    """Slope of the variance of residuals.

    Parameters
    ----------
    square : array, (site,)
        Squared residuals.
    growth, members : array, (site,)
        h, and the members' variance.
    weight : array, (site,)
        Of each site in the likelihood.
    prior : float
        Mean of the slope's prior.
    """
    size = max(float(np.average(square, weights=weight)), 1e-12)
    near, slope = size * np.geomspace(1e-2, 3, _GRID[0]), np.concatenate([[0.0], prior * np.geomspace(1e-3, 12, _GRID[1])])
    growing = members + slope[:, None] * growth
    log_density = np.stack([-0.5 * (np.log(growing + s) + square / (growing + s)) @ weight for s in near]) - slope / prior
    density = np.exp(log_density - log_density.max())
    step = np.gradient(slope)
    of_slope, of_near = density.sum(axis=0) * step, (density * step).sum(axis=1)
    below = np.cumsum(of_slope) / of_slope.sum()
    lower, upper = np.interp([(1 - LEVEL) / 2, (1 + LEVEL) / 2], below, slope)
    mean = lambda values, p: float((values * p).sum() / p.sum())  # noqa: E731
    return Slope(mean(near, of_near), mean(slope, of_slope), float(lower), float(upper))


def monthly_residuals(predictions: pd.DataFrame) -> pd.DataFrame:
    """Observed less predicted (f + g) of one product, (month, site), NaN where there are no data [gC m-2 d-1]."""
    residual = (predictions.observed - predictions.tower_like).groupby([predictions.time.dt.to_period("M"), predictions.site]).mean()
    return residual.unstack()


def anomalies(residual: pd.DataFrame) -> pd.DataFrame:
    """Residuals less each site's mean of the calendar month, of months seen twice, with the variance that this takes given back."""
    month = residual.groupby(pd.PeriodIndex(residual.index).month)
    count = month.transform("count")
    return ((residual - month.transform("mean")) * np.sqrt(count / (count - 1))).where(count > 1)


def pairs_by_distance(values: pd.DataFrame, sites: pd.DataFrame) -> pd.DataFrame:
    """Correlation of sites' values between pairs of sites, by their distance.

    Parameters
    ----------
    values : DataFrame, (time, site)
        With mean zero and variance 1.
    sites : DataFrame
        Index site; lat, lon [degrees].

    Returns
    -------
    DataFrame
        Index 0-50, 50-200, 200- [km]: correlation, distance (mean of the pairs [km]), pairs.
    """
    x, there = values.fillna(0).to_numpy(), values.notna().to_numpy(dtype=float)
    lat, lon = (sites[c].reindex(values.columns).to_numpy() for c in ("lat", "lon"))
    one, other = np.triu_indices(x.shape[1], k=1)
    away = MEAN_RADIUS_KM * great_circle(lat[one], lon[one], lat[other], lon[other])
    product, both = (x.T @ x)[one, other], (there.T @ there)[one, other]
    rows = []
    for name, (low, high) in CLASSES.items():
        inside = (away >= low) & (away < high) & (both > 0)
        mean = (product[inside].sum() / both[inside].sum(), away[inside].mean()) if inside.any() else (np.nan, np.nan)
        rows.append((name, *mean, int(inside.sum())))
    return pd.DataFrame(rows, columns=["class", "correlation", "distance", "pairs"]).set_index("class")


def independent_share(pairs: pd.DataFrame) -> float:
    """Share of the variance that a cell has of its own: what near pairs, who share a cell, have in common less what far ones have.

    Where fewer than five pairs are near, those to 200 km stand in for them; without these it is 0.
    """
    use = pairs[pairs.pairs >= FEWEST_PAIRS].correlation
    far = max(use.get("200-", 0.0), 0.0)
    near = next((use[name] for name in ("0-50", "50-200") if name in use.index), far)
    return max(float(near) - far, 0.0)


def correlation_length(pairs: pd.DataFrame) -> float:
    """E-folding distance [km] of the correlation above that of far pairs, from the two nearer classes; NaN where they do not fall."""
    near, next_, far = (pairs.loc[name] for name in ("0-50", "50-200", "200-"))
    above = [near.correlation - far.correlation, next_.correlation - far.correlation]
    if not (above[0] > above[1] > 0):
        return float("nan")
    return float((next_.distance - near.distance) / np.log(above[0] / above[1]))

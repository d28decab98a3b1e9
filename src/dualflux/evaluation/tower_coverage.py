"""How honest the predictive distribution at left-out towers is.

At a tower that training has not seen, NEE is f + g with the scatter of the members, a site effect with the sd that training
estimated, and an error whose scale is the datum's uncertainty and the fitted floor plus growth with the size of the flux,

    y ~ f + g + N(0, members^2 + site effect^2) + scale t(degrees of freedom).

The mean over a site's data has hardly any of the last: it tests the site effect and the members alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from dualflux.metrics.probability import LEVELS
from dualflux.model.ensemble import Ensemble

NODES = 20  # of Gauss-Hermite quadrature over the normal part


def probability_below(residual: np.ndarray, normal_sd: np.ndarray, scale: np.ndarray, freedom: float) -> np.ndarray:
    """Distribution function of N(0, normal_sd^2) + scale t(freedom) at residuals; arrays of one shape, scale above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from dualflux.evaluation.tower_coverage import probability_below
    >>> one = np.ones(1)
    >>> bool(np.isclose(probability_below(one, 0 * one, one, 4.0), 0.8130495, atol=1e-6)[0])
    True
    """
    node, weight = np.polynomial.hermite_e.hermegauss(NODES)
    found = np.zeros(np.shape(residual))
    for z, w in zip(node, weight / weight.sum(), strict=True):
        found += w * stats.t.cdf((residual - z * normal_sd) / scale, freedom)
    return found


def site_effect_sd(folder: Path, variant: str) -> pd.Series:
    """Sd of site effects at the chosen checkpoint [gC m-2 d-1], mean over members, indexed by fold."""
    history = pd.read_csv(folder / variant / "history.csv")
    return history[history.chosen].groupby("fold").site_effect_sd.mean()


def error_scale(ensemble: Ensemble, fold: np.ndarray, flux: np.ndarray, uncertainty: np.ndarray) -> np.ndarray:
    """Scale of the Student-t error [gC m-2 d-1], (row,), by the members that have not seen a row's fold."""
    tower = ensemble.model.own["towers"]
    floor, growth = (np.exp(np.asarray(a, np.float64)) for a in (tower.log_error_floor, tower.log_error_growth))
    mean = {k: [a[(ensemble.fold == k) | (ensemble.fold < 0)].mean() for a in (floor, growth)] for k in np.unique(fold)}
    own = np.array([mean[k] for k in fold])
    return np.hypot(uncertainty, own[:, 0] + own[:, 1] * np.abs(flux))


def tower_coverage(
    predictions: pd.DataFrame, ensembles: dict[str, Ensemble], effect_sd: dict[str, pd.Series], sites: pd.DataFrame,
    uncertainty: np.ndarray, freedom: float,
) -> pd.DataFrame:  # fmt: skip
    """Coverage of central intervals at left-out towers, for variants that were trained on towers.

    Parameters
    ----------
    predictions : DataFrame
        As `at_towers.tower_predictions` makes it: every product has all rows, in the order of `uncertainty`.
    effect_sd : dict of str to Series
        See `site_effect_sd`, by variant.
    sites : DataFrame
        Index site; fold.
    uncertainty : array, (row,)
        Of the data [gC m-2 d-1], 0 where unknown.

    Returns
    -------
    DataFrame
        product, region (`towers`), metric, value, unit: rows of `summary.csv`; coverage_50|68|90_tower_like of data and
        coverage_50|68|90_site_mean of means over a site's data.
    """
    rows = []
    for variant, sd in effect_sd.items():
        mine = predictions[predictions["product"] == variant]
        fold = sites.fold.reindex(mine.site).to_numpy()
        normal = np.hypot(mine["std"].to_numpy(), sd.reindex(fold).to_numpy())
        scale = error_scale(ensembles[variant], fold, mine.tower_like.to_numpy(), uncertainty)
        residual = (mine.observed - mine.tower_like).to_numpy()
        single = probability_below(residual, normal, scale, freedom)
        by_site = pd.DataFrame({"residual": residual, "variance": normal**2}).groupby(mine.site.to_numpy()).mean()
        means = stats.norm.cdf(by_site.residual / np.sqrt(by_site.variance))
        for level in LEVELS:
            for name, probability in (("tower_like", single), ("site_mean", means)):
                rows.append((variant, f"coverage_{round(100 * level)}_{name}", float(np.mean(np.abs(2 * probability - 1) <= level))))
    table = pd.DataFrame(rows, columns=["product", "metric", "value"])
    return table.assign(region="towers", unit="1")[["product", "region", "metric", "value", "unit"]]

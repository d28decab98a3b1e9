"""How honest the predictive distribution at left-out towers is.

At a tower that training has not seen, NEE is f + g with the scatter of the members, what sites have of their own (offset, cycle,
trend: b, with tails), its years, an error with memory, and one that happens once and has tails:

    y ~ f + g + N(0, members^2 + years^2 + memory^2 + b^2 / lambda) + scale t(degrees of freedom),

lambda of a site a chi-square of as many degrees of freedom over their number. The mean over a site's data has hardly any of the
last: it tests what lasts.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special, stats

from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.constraints.towers.records import OWN, Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.constraints.towers.site_spread import PARTS
from dualflux.metrics.probability import LEVELS
from dualflux.model.ensemble import Ensemble

NODES = 20  # of Gauss-Hermite quadrature over the normal part
SITE_NODES = 10  # of the distribution of a site's lambda: midpoints of as many classes of equal probability


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
        found += w * special.stdtr(freedom, (residual - z * normal_sd) / scale)
    return found


def site_weights(freedom: float) -> np.ndarray:
    """Equally probable values of a site's lambda, (node,)."""
    return np.asarray(stats.chi2.ppf((np.arange(SITE_NODES) + 0.5) / SITE_NODES, freedom) / freedom)


def site_spread(folder: Path, variant: str) -> pd.DataFrame:
    """Sds of what a site has of its own at the chosen checkpoint, columns `site_spread.PARTS`, mean over members, indexed by fold."""
    history = pd.read_csv(folder / variant / "history.csv")
    columns = {f"site_{part}_sd": part for part in PARTS}
    return history[history.chosen].rename(columns=columns).groupby("fold")[list(PARTS)].mean()


def error_sizes(ensemble: Ensemble, fold: np.ndarray) -> pd.DataFrame:
    """Floor and growth of the error's scale, share with memory and its days, as the members have them that have not seen a row's fold."""
    tower = ensemble.model.own["towers"]
    each = pd.DataFrame({
        "floor": np.exp(np.asarray(tower.log_error_floor, np.float64)), "growth": np.exp(np.asarray(tower.log_error_growth, np.float64)),
        "share": special.expit(np.asarray(tower.memory_logit, np.float64)), "days": np.exp(np.asarray(tower.log_memory_days, np.float64)),
    })  # fmt: skip
    mean = {k: each[(ensemble.fold == k) | (ensemble.fold < 0)].mean() for k in np.unique(fold)}
    return pd.DataFrame([mean[k] for k in fold])


def errors_at(
    records: Records, sizes: pd.DataFrame, spread: pd.DataFrame, amplitude: np.ndarray, flux: np.ndarray, uncertainty: np.ndarray
) -> RowErrors:  # fmt: skip
    """Errors of left-out rows, e with the variance of its Student-t's scale.

    Parameters
    ----------
    records : Records
    sizes, spread : DataFrame, (row,)
        See `error_sizes` and `site_spread`, of every row in the order of the data, like `flux` and `uncertainty` [gC m-2 d-1].
    amplitude : array, (site,)
        See `constraints.towers.observations.cycle_amplitude`.
    """
    order = records.order
    sizes, spread, flux, uncertainty = sizes.iloc[order], spread.iloc[order], flux[order], uncertainty[order]
    scale = (sizes.floor + sizes.growth * np.abs(flux)).to_numpy()
    share = sizes.share.to_numpy()
    size = np.where(np.array(OWN) == "cycle", amplitude[records.site][:, None], 1.0)
    own = records.own * spread[list(OWN)].to_numpy() * size
    lasting = np.concatenate([own, records.of_years() * (spread["year"].to_numpy() * scale)[:, None]], axis=1)
    white = uncertainty**2 + (1 - share) * scale**2
    return RowErrors.create(records, 1 / white, np.sqrt(share) * scale, float(sizes.days.median()), lasting)


def tower_coverage(
    predictions: pd.DataFrame, ensembles: dict[str, Ensemble], spread: dict[str, pd.DataFrame], towers: TowerConstraint | None,
    freedom: float,
) -> pd.DataFrame:  # fmt: skip
    """Coverage of central intervals at left-out towers, for variants that were trained on towers.

    Parameters
    ----------
    predictions : DataFrame
        As `at_towers.tower_predictions` makes it: every product has all rows, in the order of the towers' data.
    spread : dict of str to DataFrame
        See `site_spread`, by variant.
    towers : TowerConstraint or None
        None: no variant was.
    freedom : float
        Degrees of freedom of the Student-t error.

    Returns
    -------
    DataFrame
        product, region (`towers`), metric, value, unit: rows of `summary.csv`; coverage_50|68|90_tower_like of data and
        coverage_50|68|90_site_mean of means over a site's data.
    """
    rows: list[tuple[str, str, float]] = []
    for variant, own in spread.items():
        if towers is None:
            continue
        mine = predictions[predictions["product"] == variant]
        for name, probability in zip(("tower_like", "site_mean"), _below(mine, ensembles[variant], own, towers, freedom), strict=True):
            for level in LEVELS:
                rows.append((variant, f"coverage_{round(100 * level)}_{name}", float(np.mean(np.abs(2 * probability - 1) <= level))))
    table = pd.DataFrame(rows, columns=["product", "metric", "value"])
    return table.assign(region="towers", unit="1")[["product", "region", "metric", "value", "unit"]]


def _below(
    mine: pd.DataFrame, ensemble: Ensemble, spread: pd.DataFrame, towers: TowerConstraint, freedom: float
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Predictive probability below each datum, and below each site's mean."""
    records = Records.create(towers.site, towers.time, len(towers.sites))
    fold = towers.sites.fold.to_numpy()[towers.site]
    errors = errors_at(
        records, error_sizes(ensemble, fold), spread.loc[fold], towers.amplitude, mine.tower_like.to_numpy(), towers.uncertainty
    )  # fmt: skip
    residual, std = (a.to_numpy()[records.order] for a in (mine.observed - mine.tower_like, mine["std"]))
    normal = std**2 + errors.memory**2 + (errors.lasting[:, len(OWN) :] ** 2).sum(axis=1)
    b = (errors.lasting[:, : len(OWN)] ** 2).sum(axis=1)
    scale, weights = 1 / np.sqrt(errors.white), site_weights(freedom)
    single = np.mean([probability_below(residual, np.sqrt(normal + b / w), scale, freedom) for w in weights], axis=0)
    by_site = pd.DataFrame({"residual": residual, "variance": std**2}).groupby(records.site).mean()
    of_b, rest = (v[by_site.index, None] for v in variances_of_means(errors, freedom))
    sd = np.sqrt(by_site.variance.to_numpy()[:, None] + rest + of_b / weights)
    return single, stats.norm.cdf(by_site.residual.to_numpy()[:, None] / sd).mean(axis=1)


def variances_of_means(errors: RowErrors, freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Of each site's mean over its rows, (site,) [(gC m-2 d-1)^2]: b's squared scale, and the variance of all else, e a Student's t."""
    white, without = errors.white * (freedom - 2) / freedom, errors.lasting.copy()
    without[:, : len(OWN)] = 0
    both = [
        RowErrors.create(errors.records, white, errors.memory, errors.memory_days, columns).variance_of_means()
        for columns in (errors.lasting, without)
    ]
    return both[0] - both[1], both[1]

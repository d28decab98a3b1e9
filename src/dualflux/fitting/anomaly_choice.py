"""How large regional anomalies are that no predictor carries: estimated from years that members have not seen.

What short trials leave of the inversions' anomalies in years they were not given has the covariance of the prior of
`model.anomaly_effect` plus the inversions' own error R. Fitted years give too little: the fit has followed them. The sds of each region
and season, the autocorrelation and the common share maximise the likelihood of the residuals' scatter in a year, S, given the
means of the calendar months: with V the covariance of the effect, Y the years,

    -2 log p = (Y - 1) [log det (J V J' + A) + tr (J V J' + A)^-1 S] + sum of ((log sd - mean log sd) / tau)^2,

J the integral of a region, A the anomalies' covariance in R. The last term is the prior that sds of regions and seasons differ from each
other by a factor of about e^tau; their common size, the autocorrelation and the common share are free.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import linalg, optimize

from dualflux.constraints.inversions.equations import overlap_of
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.fitting.identifiability import COLUMNS as IDENTIFIABILITY
from dualflux.grid import LandCells
from dualflux.metrics.pairs import paired_variance
from dualflux.model.anomaly_effect import SEASON_OF_MONTH, SEASONS, AnomalyEffect, AnomalyPrior, days

SPREAD_OF_SDS = 0.7  # tau: two thirds of the sds within a factor of two about their mean
LARGEST = 0.95  # of the autocorrelation and of the common share
SMALLEST_SD = 1e-3  # gC m-2 d-1: nothing
TRIAL_MEMBERS = 2  # of each block of left-out years
LEAST_YEARS = 3  # of which some can be left out
COLUMNS = ["variant", "region", "season", "prior_sd", "posterior_sd", "error_sd", "autocorrelation", "common_share", "unit"]


class Scatter(NamedTuple):
    """What the estimate is made of.

    Attributes
    ----------
    second : array, (region x 12, region x 12)
        S, of residuals per day [(PgC d-1)^2].
    freedom : int
        Y - 1.
    error : array, (region x 12, region x 12)
        A, in the same unit.
    load : array, (region, region)
        Of `overlap_of`: J = load x 1.
    """

    second: np.ndarray
    freedom: int
    error: np.ndarray
    load: np.ndarray


def estimate_anomaly(residual: np.ndarray, full: RegionalConstraint, cells: LandCells, vegetated: np.ndarray) -> AnomalyPrior:
    """The prior of regional anomalies.

    Parameters
    ----------
    residual : array, (region, year, 12)
        Inversions minus what members predict who have not seen the year [PgC month-1].
    full : RegionalConstraint
        The inversions of all these years.
    cells : LandCells
    vegetated : array, (cell,)
        The vegetation scale.
    """
    return most_likely(scatter_of(residual, full.years, full.error.anomaly, overlap_of(cells, vegetated)))


def scatter_of(residual: np.ndarray, years: np.ndarray, error: np.ndarray, load: np.ndarray) -> Scatter:
    """Per day, about the means of the calendar months.

    Parameters
    ----------
    error : array, (region, 12, region, 12)
        Of one year's anomalies [(PgC month-1)^2].
    """
    rate = np.moveaxis(residual / days(years), 1, 0).reshape(len(years), -1)
    off = rate - rate.mean(axis=0)
    month = np.tile(days(years).mean(axis=0), len(residual))
    flat = error.reshape(len(month), -1) / np.outer(month, month)
    return Scatter(off.T @ off / (len(years) - 1), len(years) - 1, flat, load)


def most_likely(scatter: Scatter) -> AnomalyPrior:
    """Maximum of the penalised likelihood."""
    regions = len(scatter.load)
    start = np.concatenate([np.full(regions * len(SEASONS), np.log(_first_sd(scatter))), [0.3, 0.2]])
    bounds = [(np.log(SMALLEST_SD), np.log(100.0))] * (len(start) - 2) + [(0.0, LARGEST), (0.0, LARGEST)]
    found = optimize.minimize(_loss, start, (scatter,), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
    return _prior(found.x, regions)


def _first_sd(scatter: Scatter) -> float:
    """Where the search begins: sd of all residuals, as a flux per area."""
    area = np.repeat(np.diag(scatter.load), 12)
    return max(float(np.sqrt((np.diag(scatter.second) / area**2).mean())), 10 * SMALLEST_SD)


def _prior(parameters: np.ndarray, regions: int) -> AnomalyPrior:
    sd = np.exp(parameters[:-2]).reshape(regions, len(SEASONS))[:, SEASON_OF_MONTH]
    return AnomalyPrior(sd, float(parameters[-2]), float(parameters[-1]))


def _loss(parameters: np.ndarray, scatter: Scatter) -> tuple[float, np.ndarray]:
    """Negative log posterior density and its gradient."""
    regions = len(scatter.load)
    prior = _prior(parameters, regions)
    lag = np.abs(np.subtract.outer(np.arange(12), np.arange(12)))
    time, between = prior.autocorrelation**lag, prior.between_regions()
    sd = prior.sd.ravel()
    correlation = np.kron(between, time)
    covariance = sd[:, None] * correlation * sd
    load = np.kron(scatter.load, np.eye(12))
    factor = linalg.cho_factor(load @ covariance @ load.T + scatter.error)
    inverse = linalg.cho_solve(factor, np.eye(len(sd)))
    log_det = 2 * float(np.log(np.diag(factor[0])).sum())
    level = parameters[:-2] - parameters[:-2].mean()
    loss = scatter.freedom / 2 * (log_det + float((inverse * scatter.second).sum())) + float(level @ level) / (2 * SPREAD_OF_SDS**2)
    # d loss = sum of slope * d V
    slope = scatter.freedom / 2 * load.T @ (inverse - inverse @ scatter.second @ inverse) @ load
    of_month = 2 * (slope * covariance).sum(axis=1).reshape(regions, 12)
    of_sd = (
        np.stack([of_month[:, s == SEASON_OF_MONTH].sum(axis=1) for s in range(len(SEASONS))], axis=1).ravel() + level / SPREAD_OF_SDS**2
    )
    scaled = slope * np.outer(sd, sd)
    steeper = np.where(lag > 0, lag * prior.autocorrelation ** np.maximum(lag - 1, 0), 0.0)
    of_rho = float((scaled * np.kron(between, steeper)).sum())
    of_common = float((scaled * np.kron(1 - np.eye(regions), time)).sum())
    return loss, np.concatenate([of_sd, [of_rho, of_common]])


def anomaly_table(
    effects: dict[str, AnomalyEffect], full: RegionalConstraint, cells: LandCells, vegetated: np.ndarray
) -> pd.DataFrame:  # fmt: skip
    """What was estimated and what the data have told of it: `COLUMNS`, sds as root mean squares over the months of a season.

    `prior_sd` is that of a month before any data, `posterior_sd` that of the members' posterior draws in the fitted years, `error_sd` that
    of the inversions' mean (R); all [gC m-2 d-1]. `common_share` and `autocorrelation` are the same in all rows.
    """
    month = days(full.years).mean(axis=0)
    own_error = np.einsum("riri->ri", full.error.anomaly) / np.outer(np.diag(overlap_of(cells, vegetated)), month) ** 2
    rows = []
    for variant, effect in effects.items():
        posterior = paired_variance(effect.posterior).mean(axis=0)
        for region, name in enumerate(effect.regions):
            for season, label in enumerate(SEASONS):
                use = season == SEASON_OF_MONTH
                sds = (float(np.sqrt(v[region, use].mean())) for v in (effect.prior.sd**2, posterior, own_error))
                rows.append((variant, name, label, *sds, effect.prior.autocorrelation, effect.prior.common, "gC m-2 d-1"))
    return pd.DataFrame(rows, columns=COLUMNS)


def identifiability_rows(effects: dict[str, AnomalyEffect]) -> pd.DataFrame:
    """Regional anomalies of each variant as rows of `identifiability_table`: of members' posterior draws in the fitted years."""
    rows = []
    for variant, effect in effects.items():
        prior, posterior = float((effect.prior.sd**2).mean()), float(paired_variance(effect.posterior).mean())
        rows.append((variant, "anomaly", effect.posterior[0].size, prior, posterior, posterior / prior))
    return pd.DataFrame(rows, columns=IDENTIFIABILITY)


def said_of(prior: AnomalyPrior, names: Sequence[str]) -> str:
    """What was estimated, in words."""
    size = np.sqrt((prior.sd**2).mean(axis=1))
    least, most = int(size.argmin()), int(size.argmax())
    return (
        f"regional anomalies that no predictor carries: sd of a month {size[least]:.2g} ({names[least]}) to {size[most]:.2g} "
        f"({names[most]}) gC m-2 d-1, autocorrelation {prior.autocorrelation:.2f}, common share {prior.common:.2f}"
    )

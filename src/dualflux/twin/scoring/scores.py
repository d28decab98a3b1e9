"""Scores of regional integrals against the truth of a synthetic world, and what all scores of it are called.

Signs: product - truth, positive to the atmosphere.
"""

import numpy as np
from scipy.stats import norm

from dualflux.grid import LandCells
from dualflux.metrics import crps_gaussian
from dualflux.metrics.pairs import paired_std
from dualflux.metrics.probability import LEVELS

TROPICS = 23.5  # degrees
MINIMUM_YEARS = 3  # for a correlation or a ratio of standard deviations
DAYS_PER_YEAR = 365.25

UNITS = {
    "global_error": "PgC yr-1", "tropical_error": "PgC yr-1", "region_annual_rmse": "PgC yr-1", "region_cycle_rmse": "PgC month-1",
    "region_cycle_rmse_centred": "PgC month-1", "amplitude_ratio": "1", "phase_days": "d", "cell_month_nse": "1",
    "cell_month_nse_centred": "1", "map_rmse": "gC m-2 d-1", "map_r": "1", "map_fold_r": "1", "map_fold_sd": "gC m-2 d-1",
    "unseen_site_nse": "1", "unseen_site_flux_nse": "1", "variability_r": "1", "variability_sd_ratio": "1", "trend_error": "PgC yr-2",
    "variability_rmse": "PgC yr-1", "tropical_variability_rmse": "PgC yr-1",
    "tropical_variability_r": "1", "tropical_variability_sd_ratio": "1", "tropical_trend_error": "PgC yr-2",
    "coverage_50": "1", "coverage_68": "1", "coverage_90": "1", "coverage_cases": "1", "crps": "PgC month-1",
    "annual_error": "PgC yr-1", "cycle_rmse": "PgC month-1",
}  # fmt: skip
KEYS = (
    "global_error", "tropical_error", "region_annual_rmse", "region_cycle_rmse", "amplitude_ratio", "phase_days", "cell_month_nse",
    "cell_month_nse_centred", "map_rmse", "unseen_site_nse", "unseen_site_flux_nse", "variability_r", "variability_sd_ratio",
    "variability_rmse", "coverage_50", "coverage_68", "coverage_90", "crps",
)  # fmt: skip


def tropical_regions(cells: LandCells) -> np.ndarray:
    """Regions with more than half of their land within 23.5 degrees of the equator, bool (region,).

    Whole regions, not cells, so that inversions can be scored on the same land as fields.
    """
    inside = cells.region_area[:, np.abs(cells.lat()) <= TROPICS].sum(axis=1)
    return inside > 0.5 * cells.region_area.sum(axis=1)


def seasonal_shift(cycle: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Ratio of amplitudes and shift in phase [days] of a mean seasonal cycle (12,) against the true one.

    The amplitude is the highest less the lowest month; the phase is that of the annual harmonic, positive where the
    product is late. NaN where the truth has no cycle.
    """
    turn = np.exp(-2j * np.pi * np.arange(12) / 12)
    own, true = (np.asarray(cycle) @ turn), (np.asarray(truth) @ turn)
    amplitude = float(np.ptp(truth))
    if amplitude == 0 or abs(true) == 0:
        return float("nan"), float("nan")
    days = -np.angle(own / true) / (2 * np.pi) * DAYS_PER_YEAR if abs(own) > 0 else np.nan
    return float(np.ptp(cycle)) / amplitude, float(days)


def regional_scores(product: np.ndarray, truth: np.ndarray, tropical: np.ndarray) -> dict[str, float]:
    """Scores of regional integrals over whole years.

    Parameters
    ----------
    product, truth : array, (region + 1, year, 12)
        [PgC month-1]; the last region is the globe, which need not be the sum of the others.
    tropical : array of bool, (region,)

    Returns
    -------
    dict
        `global_error`, `tropical_error`: mean annual flux, product - truth, of the globe and of the tropical regions together
        [PgC yr-1]. `region_annual_rmse`: over regions, of mean annual fluxes [PgC yr-1]. `region_cycle_rmse`: over
        regions and calendar months, of mean seasonal cycles with their mean [PgC month-1]; `_centred` without.
        `amplitude_ratio`, `phase_days`: of the globe's mean seasonal cycle (`seasonal_shift`). `variability_r`,
        `variability_sd_ratio`, `variability_rmse` (of annual anomalies), `trend_error`: of the globe's annual fluxes (product / truth,
        not detrended); NaN below 3 years; the same beginning with `tropical_`: of the tropical regions together.
    """
    annual, annual_truth = product.sum(axis=-1), truth.sum(axis=-1)
    error = (annual - annual_truth).mean(axis=-1)
    off = (product - truth)[:-1].mean(axis=1)
    ratio, days = seasonal_shift(product[-1].mean(axis=0), truth[-1].mean(axis=0))
    return {
        "global_error": float(error[-1]),
        "tropical_error": float(error[:-1][tropical].sum()),
        "region_annual_rmse": _rms(error[:-1]),
        "region_cycle_rmse": _rms(off),
        "region_cycle_rmse_centred": _rms(off - off.mean(axis=1, keepdims=True)),
        "amplitude_ratio": ratio,
        "phase_days": days,
        **_variability(annual[-1], annual_truth[-1]),
        **{f"tropical_{k}": v for k, v in _variability(*(a[:-1][tropical].sum(axis=0) for a in (annual, annual_truth))).items()},
    }


def _variability(annual: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    if len(truth) < MINIMUM_YEARS or truth.std() == 0:
        return dict.fromkeys(("variability_r", "variability_sd_ratio", "variability_rmse", "trend_error"), float("nan"))
    year = np.arange(len(truth)) - (len(truth) - 1) / 2
    return {
        "variability_r": float(np.corrcoef(annual, truth)[0, 1]) if annual.std() > 0 else float("nan"),
        "variability_sd_ratio": float(annual.std() / truth.std()),
        "variability_rmse": float((annual - truth).std()),
        "trend_error": float(year @ (annual - truth) / (year @ year)),
    }


def each_region(product: np.ndarray, truth: np.ndarray) -> list[dict[str, float]]:
    """`annual_error`, `cycle_rmse`, `amplitude_ratio` and `phase_days` of each region; arrays (region, year, 12)."""
    rows = []
    for own, true in zip(product.mean(axis=1), truth.mean(axis=1), strict=True):
        ratio, days = seasonal_shift(own, true)
        error = {"annual_error": float((own - true).sum()), "cycle_rmse": _rms(own - true)}
        rows.append({**error, "amplitude_ratio": ratio, "phase_days": days})
    return rows


def interval_scores(truth: np.ndarray, mean: np.ndarray, std: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Coverage of central normal intervals and mean CRPS; arrays of one shape, `weight` may be broadcast to it.

    NaN where a standard deviation is 0 or missing: no interval was claimed.
    """
    if not (std > 0).all():
        return dict.fromkeys((*(f"coverage_{round(100 * p)}" for p in LEVELS), "crps"), float("nan"))
    share = np.broadcast_to(weight, truth.shape) / np.broadcast_to(weight, truth.shape).sum()
    distance = np.abs(truth - mean) / std
    inside = {f"coverage_{round(100 * p)}": float(share[distance <= norm.ppf((1 + p) / 2)].sum()) for p in LEVELS}
    return {**inside, "crps": float((share * crps_gaussian(truth, mean, std)).sum())}


def _spread(members: np.ndarray) -> np.ndarray:
    """Standard deviation over members, of which some (inversions) may have gaps."""
    return np.asarray(paired_std(members) if np.isfinite(members).all() else np.nanstd(members, axis=0, ddof=1))


def regional_interval_scores(members: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """How honest the members' spread is for regions.

    Intervals are normal, with the members' mean and standard deviation.

    Parameters
    ----------
    members : array, (member, region, year, 12)
        [PgC month-1]; the globe is not among the regions. NaN where a member (an inversion) has no data.
    truth : array, (region, year, 12)

    Returns
    -------
    dict
        `coverage_50`, `coverage_68`, `coverage_90`, `crps` [PgC month-1] of monthly integrals, every region and month counting
        once: they can be right because errors of two parts cancel (see `by_part`); `coverage_cases`, their effective number of cases
        (`effective_cases`).
    """
    if len(members) < 2:
        return {}
    one = np.ones(1)
    mean, std = np.nanmean(members, axis=0), _spread(members)
    scores = interval_scores(truth, mean, std, one)
    inside = np.abs(truth - mean) <= norm.ppf((1 + 0.68) / 2) * std
    scores["coverage_cases"] = effective_cases(inside.reshape(len(inside), -1), 0.68)
    return scores


def effective_cases(inside: np.ndarray, level: float) -> float:
    """Number of independent cases that would leave the coverage as uncertain as the spread between clusters does.

    ``level (1 - level) / (variance of the clusters' coverage / clusters)``, at least the number of clusters and at most that of
    cases: a region whose offset is wrong is wrong in every month.

    Parameters
    ----------
    inside : array of bool, (cluster, case)
    """
    clusters = len(inside)
    variance = float(inside.mean(axis=1).var(ddof=1)) / clusters if clusters > 1 else 0.0
    cases = level * (1 - level) / variance if variance > 0 else inside.size
    return float(np.clip(cases, clusters, inside.size))


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.asarray(values) ** 2)))

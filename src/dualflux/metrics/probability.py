"""How honest an uncertainty is: coverage of central intervals and the continuous ranked probability score."""

import numpy as np
import pandas as pd
from scipy.stats import norm

from dualflux.errors import InputError

LEVELS = (0.5, 0.68, 0.9)


def interval_coverage(observed: np.ndarray, members: np.ndarray, level: float) -> float:
    """Share of observations inside the central interval of an ensemble, ends included.

    The interval lies between the (1 - level) / 2 and (1 + level) / 2 quantiles of the members (linear interpolation), so a
    small ensemble covers less than `level` even where it is perfect.

    Parameters
    ----------
    observed : array, (...)
    members : array, (member, ...)
    level : float
        0 to 1.
    """
    low, high = np.quantile(np.asarray(members, dtype=np.float64), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(np.mean((observed >= low) & (observed <= high)))


def interval_coverage_gaussian(observed: np.ndarray, mean: np.ndarray, std: np.ndarray, level: float) -> float:
    """Share of observations inside the central interval of normal distributions; arrays of one shape."""
    return float(np.mean(np.abs(np.asarray(observed) - mean) <= norm.ppf((1 + level) / 2) * np.asarray(std)))


def crps_ensemble(observed: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of the members' empirical distribution, in the unit of the data.

    ``mean |x_i - y| - sum_ij |x_i - x_j| / (2 n^2)`` (Gneiting and Raftery 2007, eq. 20), by sorting: memory
    does not grow with the square of the members.

    Parameters
    ----------
    observed : array, (...)
    members : array, (member, ...)

    Returns
    -------
    array, (...)
    """
    ordered = np.sort(np.asarray(members, dtype=np.float64), axis=0)
    count = len(ordered)
    rank = (2 * np.arange(1, count + 1) - count - 1).reshape((-1,) + (1,) * (ordered.ndim - 1))
    return np.abs(ordered - observed).mean(axis=0) - (rank * ordered).sum(axis=0) / count**2


def crps_gaussian(observed: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Continuous ranked probability score of normal distributions (Gneiting and Raftery 2007, eq. 21); std above 0."""
    std = np.asarray(std, dtype=np.float64)
    if not (std > 0).all():
        raise ValueError("standard deviations must be above 0")
    z = (np.asarray(observed) - mean) / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def probability_summary(regional: pd.DataFrame, reference: str = "target") -> pd.DataFrame:
    """Coverage and score of monthly regional integrals: normal with a product's value and std, against a reference.

    Returns
    -------
    DataFrame
        product, region, metric, value, unit; metrics coverage_50, coverage_68, coverage_90 [1] and crps [PgC month-1], for
        each product and region with a std above 0 in all months it shares with the reference.

    Raises
    ------
    InputError
        The reference is not in the table.
    """
    if reference not in set(regional["product"]):
        raise InputError(f"regional table: no product `{reference}` to compare with; it has {sorted(regional['product'].unique())}")
    mean = regional[regional["member"].isna() | (regional["member"] == "")]
    truth = mean[mean["product"] == reference].set_index(["region", "time"])["value"].rename("observed")
    rows = []
    for (product, region), part in mean[mean["product"] != reference].groupby(["product", "region"], sort=False):
        both = part.join(truth, on=["region", "time"], how="inner")
        if both.empty or not (both["std"] > 0).all():
            continue
        observed, value, std = (both[c].to_numpy() for c in ("observed", "value", "std"))
        rows += [(product, region, f"coverage_{round(100 * p)}", interval_coverage_gaussian(observed, value, std, p), "1") for p in LEVELS]
        rows.append((product, region, "crps", float(crps_gaussian(observed, value, std).mean()), "PgC month-1"))
    return pd.DataFrame(rows, columns=["product", "region", "metric", "value", "unit"])

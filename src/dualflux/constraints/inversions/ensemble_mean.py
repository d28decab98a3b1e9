"""The mean of a few inversions, of which some begin late, end early or miss months; and their whole calendar years."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.covariance import CENTRE
from dualflux.errors import InputError

# A product's own cycle is known as well as if one year more without any had been seen: a record that meets the others in a year or
# two has its weather in its mean cycle, and the mean should not have that.
CYCLE_PRIOR_YEARS = 1.0


def ensemble_mean(products: np.ndarray) -> np.ndarray:
    """Mean over products, (region, year, 12), that does not jump where a product begins or ends.

    Least squares of x(product, year, month) = mean(year, month) + effect(product, month): a product's offset and its own mean
    cycle, each summing to zero over products, the cycle with a ridge of `CYCLE_PRIOR_YEARS`. Where all products have all
    months this is their plain mean. It is linear in the products, so the mean of a sum of regions is the sum of their means.

    Parameters
    ----------
    products : array, (product, region, year, 12)
        NaN where a product has no value.

    Raises
    ------
    InputError
        A month that no product has, or products that no chain of shared months connects.
    """
    if not np.isfinite(products).any(axis=0).all():
        raise InputError("inversions: a month of a whole year that no product has; change `period`, or add a product")
    return _mean_where_there(products)


def _mean_where_there(products: np.ndarray) -> np.ndarray:
    """`ensemble_mean`; NaN in months that no product has."""
    there = np.isfinite(products)
    count = np.maximum(there.sum(axis=0), 1)
    mean = np.where(there.any(axis=0), np.where(there, products, 0.0).sum(axis=0) / count, np.nan)
    if there.all() or len(products) == 1:
        return np.asarray(mean)
    effect = np.stack([_effects(products[:, r], mean[r], there[:, r], count[r]) for r in range(products.shape[1])], axis=1)
    return np.asarray(np.where(np.isfinite(mean), np.where(there, products - effect[:, :, None], 0.0).sum(axis=0) / count, np.nan))


def family_means(products: np.ndarray, families: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Products of one family as their mean, (family, region, year, 12), and the families in the order of their first products.

    Releases of one system share most of what they err: counted one by one they would look like agreement. Where no member of a family
    has a month there is none (NaN).
    """
    names = tuple(dict.fromkeys(families))
    of = np.array(families)
    return np.stack([_mean_where_there(products[of == name]) for name in names]), names


def _effects(products: np.ndarray, mean: np.ndarray, there: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Effects (product, 12) of one region: normal equations after the months' means are taken out."""
    mask = there.astype(float)  # product, year, month
    number = len(mask)
    laplacian = np.einsum("pym,pq->mpq", mask, np.eye(number)) - np.einsum("pym,qym->mpq", mask / count, mask)
    if np.linalg.matrix_rank(laplacian.sum(axis=0), tol=1e-8 * mask.sum()) < number - 1:
        raise InputError(
            f"inversions: of {number} products some share no month with the others, directly or through a third, so their offsets "
            "cannot be told apart from change; leave one group out (`products`) or change `period`"
        )
    normal = np.einsum("mpq,mn->pmqn", laplacian, np.eye(12)) + CYCLE_PRIOR_YEARS * np.einsum("pq,mn->pmqn", np.eye(number), CENTRE)
    right = np.where(there, products - mean, 0.0).sum(axis=1)
    size = 12 * number
    return np.asarray(np.linalg.pinv(normal.reshape(size, size), rcond=1e-10, hermitian=True) @ right.ravel()).reshape(number, 12)


def to_year_month(integral: xr.DataArray) -> tuple[np.ndarray, np.ndarray]:
    """(product, region, time) monthly values as (product, region, year, 12), and the years.

    Whole calendar years only, and only those that at least one product has without a gap in any region.
    """
    year, month = integral.time.dt.year.to_numpy(), integral.time.dt.month.to_numpy()
    years = np.array([y for y in np.unique(year) if set(month[year == y]) == set(range(1, 13))], dtype=int)
    values = integral.sel(time=np.isin(year, years)).transpose("product", "region", "time").to_numpy()
    values = values.reshape(*values.shape[:-1], len(years), 12)
    there = np.isfinite(values).all(axis=(1, 3)).any(axis=0)
    if not there.any():
        first, last = (pd.Timestamp(t).date() for t in integral.time.to_numpy()[[0, -1]])
        raise InputError(f"inversions: no whole calendar year that a product covers between {first} and {last}; widen `period`")
    return values[:, :, there], years[there]

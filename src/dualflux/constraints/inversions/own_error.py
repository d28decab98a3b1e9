"""What one inversion errs by itself: covariances between regions, from the spread of a few products and a prior of two numbers.

A part's covariance is (f C + v P) / (f + v): C the products' own scatter with f degrees of freedom, P a prior that counts as
v. P is what few products can tell: every patch of land errs alike (variance in proportion to area), independently but for
one factor common to all, so that the total has the products' own variance:

    P = D + t D 11' D / S,    D = c x diag(area),  S = 1' D 1,  1' P 1 = S (1 + t),  t > -1.

t > 0 is an error that regions share, t < 0 one that cancels between them. C and the variance of a total are the same
however regions are cut, and P nearly so: R does not change when a region is cut in two.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from dualflux.constraints.inversions.covariance import CENTRE, EnsembleError, assemble, spread_over_months
from dualflux.constraints.inversions.spread import PARTS, Spread, spread_of
from dualflux.errors import InputError

PRIOR_DEGREES_OF_FREEDOM = 3.0  # weight of the prior P against the products' own scatter
TOTAL_PRIOR_DEGREES_OF_FREEDOM = 1.0  # weight of independent regions against the products' own total, in P
LEAST_INDEPENDENT = 0.1  # of a region's pooled variance, at least this share is its own in P
SAME = 1e-12  # of a region's mean square: products that differ by less are the same up to the rounding of their files


@dataclass(frozen=True, eq=False)
class OwnError:
    """Of one product.

    Attributes
    ----------
    covariance : array, (part, region, region)
        Of `spread.PARTS` [(PgC month-1)^2].
    freedom : array, (part,)
        Degrees of freedom: of the estimate and of its prior.
    products : array, (part,)
        Products that the ensemble's mean is of.
    directions : array, (region, 2, 12)
        Of `Spread`.
    shape : array, (region, 12, 12)
        F of `Spread`.
    """

    covariance: np.ndarray
    freedom: np.ndarray
    products: np.ndarray
    directions: np.ndarray
    shape: np.ndarray

    def error(self, factor: np.ndarray | float = 1.0) -> EnsembleError:
        """R whose parts have `factor` (part,) times the variance of one product."""
        offset, cycle, amplitude, phase, annual, monthly = self.covariance * np.broadcast_to(factor, len(PARTS))[:, None, None]
        across = CENTRE - np.einsum("rdi,rdj->rij", self.directions, self.directions)
        found = assemble(offset, np.zeros_like(offset), monthly, self.shape)
        mean = found.mean + spread_over_months(cycle, across)
        for covariance, direction in zip((amplitude, phase), np.moveaxis(self.directions, 1, 0), strict=True):
            mean = mean + spread_over_months(covariance, direction[:, :, None])
        return EnsembleError(mean, found.anomaly + spread_over_months(annual, np.ones((len(annual), 12, 1))))


def estimate_own_error(
    products: np.ndarray, region_area: np.ndarray, minimum_spread: float | None = None, region_names: tuple[str, ...] = ()
) -> OwnError:
    """What one product errs about the ensemble's centre.

    Parameters
    ----------
    products : array, (product, region, year, 12)
        Monthly integrals [PgC month-1]; NaN where a product has none.
    region_area : array, (region,)
        Land area [m2].
    minimum_spread : float, optional
        Least sd [PgC yr-1] of each region: twelve times that of a month's value, in each part.
    region_names : tuple of str
        Named in what is refused.

    Raises
    ------
    InputError
        No two products that share two years; or, without `minimum_spread`, a region in which all products are the same.
    """
    spread = spread_of(products)
    differ = _differ(spread, products)
    needed = np.ones_like(differ)
    needed[[PARTS.index(part) for part in ("amplitude", "phase")]] = spread.directions.any(axis=2).T
    if minimum_spread is None and not differ[needed].all():
        raise InputError(_no_spread(differ | ~needed, region_names))
    floor = 0.0 if minimum_spread is None else (minimum_spread / 12) ** 2
    parts = zip(spread.scatter, spread.freedom, differ, strict=True)
    found = np.stack([_between(scatter, freedom, region_area, there, floor) for scatter, freedom, there in parts])
    return OwnError(found, spread.freedom + PRIOR_DEGREES_OF_FREEDOM, spread.products, spread.directions, spread.shape)


def _differ(spread: Spread, products: np.ndarray) -> np.ndarray:
    """Whether products differ by more than rounding, (part, region)."""
    size = np.nanmean(products**2, axis=(0, 2, 3))
    return np.asarray(np.einsum("krr->kr", spread.scatter) > SAME * size)


def _no_spread(differ: np.ndarray, names: tuple[str, ...]) -> str:
    """In words: which regions and parts have no spread, and the ways out."""
    same = [i for i in range(differ.shape[1]) if not differ[:, i].all()]
    said = [
        f"{names[i] if names else f'region {i + 1}'} ({', '.join(p for p, there in zip(PARTS, differ[:, i], strict=True) if not there)})"
        for i in same
    ]
    return (
        f"inversions: all products are the same in {'; '.join(said)}, so their error there cannot be told; is one record given twice, "
        "or a region outside of what they cover? Take the copy out, leave the region out of `regions`, or state the least sd of a region's "
        "annual flux, for example `inversion_term: {minimum_spread: 0.1}` [PgC yr-1]"
    )


def _between(scatter: np.ndarray, freedom: float, area: np.ndarray, differ: np.ndarray, floor: float) -> np.ndarray:
    """One part's covariance between regions; regions without spread have the floor alone and touch no other."""
    found, there = np.zeros_like(scatter), np.ix_(differ, differ)
    if differ.any():
        prior = prior_between(scatter[there], freedom, area[differ])
        found[there] = (freedom * scatter[there] + PRIOR_DEGREES_OF_FREEDOM * prior) / (freedom + PRIOR_DEGREES_OF_FREEDOM)
    return found + np.diag(np.maximum(floor - np.diag(found), 0.0))


def prior_between(scatter: np.ndarray, freedom: float, area: np.ndarray) -> np.ndarray:
    """P of regions that all have some spread, (region, region).

    The pooled variance per area is the geometric mean of the regions' (weighted by area, free of the bias that the logarithm of a
    chi-square has), so that one region with a large variance does not widen all others. c is such that P's variances are
    the pooled ones on average.
    """
    share = area / area.sum()
    bias = special.digamma(freedom / 2) - np.log(freedom / 2)
    pooled = float(np.exp(share @ (np.log(np.diag(scatter) / share) - bias)))  # of all land, were regions independent
    total = (freedom * scatter.sum() + TOTAL_PRIOR_DEGREES_OF_FREEDOM * pooled) / (freedom + TOTAL_PRIOR_DEGREES_OF_FREEDOM)
    concentration = float(share @ share)
    if len(area) == 1:
        return np.full((1, 1), pooled)
    own = max((pooled - concentration * total) / (1 - concentration), LEAST_INDEPENDENT * pooled)
    return np.asarray(np.diag(own * share) + (total - own) * np.outer(share, share))

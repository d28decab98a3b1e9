"""Few locations with fixed weights that stand for a region, the same in all months.

A location c of weight w_c >= 0 stands for w_c of land: I(f) is about the sum of w_c f(c, t), the weights sum to the region's area.

*Places.* A region's cells are clustered by k-means in the space of their predictors, by land area (Lloyd 1982). Each cluster
is represented by its cell nearest to the centre and stands for its area A_c. This quantises the region: the error of
the integral of a function that is smooth in the predictors is at most its slope times the mean distance to the chosen cells
(Pages 1998, J. Comput. Appl. Math. 89).

*Weights.* They move away from the areas so far as it helps a *library* of plausible fields f_j: networks trained on towers alone, each
on other sites, perturbed copies of them, and products that the user names. With every source's fields in units of their root mean
square, the weights

    minimise  mean over j of (sum of w_c f_j(c) - I(f_j))^2  +  NUGGET x sum of (w_c - A_c)^2     over w_c >= 0, sum of w_c = area:

the squared error expected for fields of the library with independent noise of variance NUGGET added in each cluster.

*Error.* It is measured on networks and years that the weights have not seen (on products in such years), and added to R.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy import optimize, sparse

from dualflux.constraints.areas import Locations
from dualflux.constraints.inversions.covariance import split_parts
from dualflux.constraints.inversions.integrals import RegionData, RepresentativeLocations
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.cube import Steps
from dualflux.errors import InputError

NUGGET = 0.1
ROUNDS = 20  # of k-means
MOVED = 2.0  # times the stated error: where members show more, the weights are fitted anew
_BLOCK = 20_000_000  # distances held at once


def region_areas(regions: RegionData) -> np.ndarray:
    """Land area of each region in each cell, (region, cell) [1e15 m2]."""
    weight = np.asarray(regions.walk.every.weight, np.float64)
    return np.moveaxis(weight, 0, 1).reshape(weight.shape[1], -1)[:, : regions.walk.cube.static.shape[0]]


def cluster(points: np.ndarray, area: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Representatives of `count` clusters (fewer where points coincide) and the areas they stand for.

    Parameters
    ----------
    points : array, (cell, feature)
        In an order in which neighbours are alike: evenly spaced ones are the first centres.
    area : array, (cell,)

    Returns
    -------
    chosen : array of int, (location,)
        Positions among the points.
    area : array, (location,)
    """
    cells = len(area)
    if count >= cells:
        return np.arange(cells), area
    centre = points[((np.arange(count) + 0.5) * cells / count).astype(int)]
    for _ in range(ROUNDS):
        members = sparse.csr_matrix((area, (_nearest(points, centre), np.arange(cells))), shape=(count, cells))
        total = np.asarray(members.sum(axis=1))
        centre = np.where(total > 0, members @ points / np.maximum(total, 1e-30), centre)
    of = _nearest(points, centre)
    order = np.lexsort((((points - centre[of]) ** 2).sum(axis=1), of))
    used, first = np.unique(of[order], return_index=True)
    return order[first], np.bincount(of, area, minlength=count)[used]


def _nearest(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    blocks = np.array_split(points, 1 + len(points) * len(centre) // _BLOCK)
    return np.concatenate([np.argmin((centre**2).sum(axis=1) - 2 * part @ centre.T, axis=1) for part in blocks])


def place(regions: RegionData, points: np.ndarray, counts: list[int]) -> Locations:
    """Clusters of all regions, each location with its cluster's area as weight."""
    areas, cells, weights = region_areas(regions), [], []
    for region, count in enumerate(counts):
        inside = np.asarray(regions.strata.cell[region])[: int((areas[region] > 0).sum())]
        chosen, own = cluster(points[inside], areas[region, inside], count)
        cells.append(inside[chosen])
        weights.append(np.outer(np.arange(len(counts)) == region, own))
    return Locations(jnp.asarray(np.concatenate(cells)), jnp.asarray(np.concatenate(weights, axis=1), jnp.float32))


class Span(NamedTuple):
    """When the library is sampled, and when its error is measured.

    Attributes
    ----------
    year, month : array of int, (time,)
        Positions of the months that weights are fitted in.
    step : array of int, (time,)
        A random step of each.
    held : array of int, (year,)
        Years the error is measured in.
    """

    year: np.ndarray
    month: np.ndarray
    step: np.ndarray
    held: np.ndarray


class Sample(NamedTuple):
    """Fields of the library at a few times.

    Attributes
    ----------
    field : array, (source, time, location)
        [gC m-2 d-1]
    integral : array, (source, region, time)
        Over all cells [PgC d-1].
    """

    field: np.ndarray
    integral: np.ndarray


def sample_products(products: np.ndarray, regions: RegionData, locations: Locations, span: Span) -> Sample:
    """Of products (product, year, 12, cell) in the span's months."""
    field = np.asarray(products[:, span.year, span.month], np.float64)
    return Sample(field[..., np.asarray(locations.cell)], np.moveaxis(field @ region_areas(regions).T, -1, 1))


def fit_weights(samples: Sequence[Sample], locations: Locations) -> Locations:
    """The same locations with weights fitted to the samples, starting from the weights they have."""
    field, total = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    weight = np.array(locations.weight, np.float64)
    for region, own in enumerate(weight > 0):
        prior = weight[region, own]
        size = np.sqrt(np.maximum((field[:, :, own] ** 2 @ prior).mean(axis=1) / prior.sum(), 1e-30))[:, None]
        rows, wanted = (field[:, :, own] / size[..., None]).reshape(-1, len(prior)), (total[:, region] / size).ravel()
        weight[region, own] = positive_weights(rows, wanted, prior)
    return Locations(locations.cell, jnp.asarray(weight, jnp.float32))


def positive_weights(field: np.ndarray, integral: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Non-negative weights (location,) near the areas, and of their sum, that integrate fields (row, location) to what is wanted (row,)."""
    count, firm = len(area), 1e3  # how firmly the sum is held before it is made exact
    matrix = np.vstack([field / np.sqrt(len(field)), np.sqrt(NUGGET) * np.eye(count), np.full((1, count), firm)])
    wanted = np.r_[integral / np.sqrt(len(field)), np.sqrt(NUGGET) * area, firm * area.sum()]
    weight = np.asarray(optimize.nnls(matrix, wanted, maxiter=30 * count)[0])
    return weight * (area.sum() / weight.sum())


def measure(error: np.ndarray, locations: Locations) -> RepresentativeLocations:
    """What the rule's errors (network, region, year, 12) say: the structure's bias and mean squares by part, of regions and their sum.

    A mean square has the bias in it: bias^2 + variance.
    """
    with_sum = np.concatenate([error, error.sum(axis=1, keepdims=True)], axis=1)
    offset, cycle, anomaly = split_parts(with_sum)
    years = error.shape[2]
    squares = [
        (offset**2).mean(axis=0),
        (cycle**2).sum(axis=-1).mean(axis=0) / 11,
        (anomaly**2).sum(axis=(2, 3)).mean(axis=0) / (12 * (years - 1)),
    ]
    return RepresentativeLocations(locations, jnp.asarray(offset.mean(axis=0)), jnp.asarray(np.stack(squares)))


def products_error(products: np.ndarray, regions: RegionData, locations: Locations) -> np.ndarray:
    """Of the rule on products (product, year, 12, cell), (product, region, year, 12) [PgC month-1]."""
    rule = -region_areas(regions)
    for weight, own in zip(np.asarray(locations.weight, np.float64), rule, strict=True):
        np.add.at(own, np.asarray(locations.cell), weight)
    return np.moveaxis(products @ rule.T, -1, 1) * np.asarray(regions.walk.month_days, np.float64)


def annual_error(structure: RepresentativeLocations) -> np.ndarray:
    """Root mean square error of annual integrals, (region + 1,) [PgC yr-1]: of their mean over years."""
    return 12 * np.sqrt(np.asarray(structure.variance[0], np.float64))


def has_moved(structure: RepresentativeLocations, error: np.ndarray) -> bool:
    """Whether errors (member, region, year, 12) of mean annual integrals are `MOVED` times the stated ones in any region."""
    found = 12 * np.sqrt((error.mean(axis=(2, 3)) ** 2).mean(axis=0))
    return bool((found > MOVED * annual_error(structure)[:-1] + 1e-6).any())


def structure_table(structure: RepresentativeLocations, regions: tuple[str, ...]) -> pd.DataFrame:
    """The structure's error by region: locations, bias, annual_rmse [PgC yr-1]; offset_rmse, cycle_rmse, anomaly_rmse [PgC month-1]."""
    used = np.asarray((structure.locations.weight > 0).sum(axis=1))
    parts = np.sqrt(np.asarray(structure.variance, np.float64))
    return pd.DataFrame({
        "region": [*regions, "global"], "locations": [*used, used.sum()], "bias": 12 * np.asarray(structure.bias, np.float64),
        "annual_rmse": 12 * parts[0], "offset_rmse": parts[0], "cycle_rmse": parts[1], "anomaly_rmse": parts[2],
    })  # fmt: skip


def products_in(regional: RegionalConstraint, steps: Steps, names: tuple[str, ...], library: np.ndarray) -> np.ndarray:
    """Products' fields in the fitted years, (product, year, 12, cell).

    Raises
    ------
    InputError
        A product without some of the months.
    """
    fields = library[:, regional.month]
    absent = ~np.isfinite(fields[..., 0])
    if absent.any():
        said = [
            f"{n}: {a.sum()} of {a.size} months, first {steps.months[regional.month[a][0]]:%Y-%m}"
            for n, a in zip(names, absent, strict=True)
            if a.any()
        ]
        raise InputError(
            f"inversion_term.library: a product covers every fitted month; without a value are {'; '.join(said)}; "
            "give the other files, narrow `fit_period`, or take the product out of the library"
        )
    return fields

"""Folds that are harder than random ones: whole continents or climates, or as far from the other towers as land is.

Left-out towers of random folds stand close to training towers, land does not. `distance` follows kNNDM (Linnenbrink, Mila, Ludwig and
Meyer 2024, Geosci. Model Dev. 17, 5897): of partitions from single groups to as many clusters as folds, that whose distances from left-out
sites to the nearest training site are most like those from land to the nearest tower (Wasserstein distance [km], land by its area).
"""

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats import wasserstein_distance

from dualflux.constraints.towers.folds import fold_of_groups
from dualflux.errors import InputError
from dualflux.geometry.sphere import MEAN_RADIUS_KM, great_circle, unit_vectors

PARTITIONS = 15  # numbers of clusters that are tried
LARGEST_FOLD = 0.5  # share of the sites: a fold that is most of them trains on too little


class Sites(NamedTuple):
    """Sites to divide, each array (site,).

    Attributes
    ----------
    lat, lon : array
        [degrees]
    group : array of int
        Of co-located sites, see `folds.site_groups`.
    weight : array
        For example the number of site-months.
    """

    lat: np.ndarray
    lon: np.ndarray
    group: np.ndarray
    weight: np.ndarray


class Land(NamedTuple):
    """Cells to be predicted, each array (cell,): latitude and longitude [degrees], area of land (any unit)."""

    lat: np.ndarray
    lon: np.ndarray
    area: np.ndarray


def by_cluster(sites: Sites, folds: int, seed: int) -> np.ndarray:
    """`continent`: as many clusters of groups as folds, each a fold (average linkage of great-circle distances), (site,).

    No map of continents is asked: clusters of towers are what a fold can leave out whole.
    """
    _require(np.unique(sites.group).size, folds, "groups of co-located sites")
    return fold_of_groups(clusters(sites, folds), sites.weight, folds, seed)


def by_class(sites: Sites, classes: np.ndarray, folds: int, seed: int, name: str) -> np.ndarray:
    """`climate`: whole classes in a fold, (site,); a group has the class that most of its sites have.

    Parameters
    ----------
    classes : array of int, (site,)
        Dominant class of each site's cell.
    name : str
        Of the predictor.
    """
    _, member = np.unique(sites.group, return_inverse=True)
    most = np.array([np.bincount(classes[member == g]).argmax() for g in range(member.max() + 1)])
    _require(np.unique(most).size, folds, f"classes of `{name}` with towers")
    return fold_of_groups(most[member], sites.weight, folds, seed)


def by_distance(sites: Sites, land: Land, folds: int, seed: int) -> np.ndarray:
    """`distance`: the partition that is most like prediction, (site,); single groups where none is nearer to it.

    Partitions with a fold of more than half of the sites are not taken.
    """
    groups = np.unique(sites.group).size
    _require(groups, folds, "groups of co-located sites")
    wanted = nearest_km(land.lat, land.lon, sites.lat, sites.lon)
    best = fold_of_groups(sites.group, sites.weight, folds, seed)
    least = mismatch(sites, best, wanted, land.area)
    for count in np.unique(np.geomspace(folds, groups, PARTITIONS).astype(int))[::-1]:
        fold = fold_of_groups(clusters(sites, count), sites.weight, folds, seed)
        found = mismatch(sites, fold, wanted, land.area)
        if found < least and np.bincount(fold).max() <= LARGEST_FOLD * len(fold):
            best, least = fold, found
    return best


def mismatch(sites: Sites, fold: np.ndarray, wanted: np.ndarray, area: np.ndarray) -> float:
    """Wasserstein distance [km] between left-out sites' distances to training sites and `wanted`, those of land (cell,) with its area."""
    return float(wasserstein_distance(held_out_km(sites.lat, sites.lon, fold), wanted, v_weights=area))


def held_out_km(lat: np.ndarray, lon: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Distance of each site to the nearest of another fold [km], (site,)."""
    found = np.empty(len(lat))
    for held in np.unique(fold):
        out = fold == held
        found[out] = nearest_km(lat[out], lon[out], lat[~out], lon[~out])
    return found


def nearest_km(lat: np.ndarray, lon: np.ndarray, to_lat: np.ndarray, to_lon: np.ndarray) -> np.ndarray:
    """Great-circle distance of each place to the nearest of others [km], (place,)."""
    nearest = (unit_vectors(lat, lon) @ unit_vectors(to_lat, to_lon).T).argmax(axis=1)
    return MEAN_RADIUS_KM * great_circle(lat, lon, to_lat[nearest], to_lon[nearest])


def clusters(sites: Sites, count: int) -> np.ndarray:
    """Label of each site's cluster, (site,): groups joined by average linkage of the great-circle distances of their middles."""
    _, member = np.unique(sites.group, return_inverse=True)
    place = unit_vectors(sites.lat, sites.lon)
    middle = np.stack([place[member == g].sum(axis=0) for g in range(member.max() + 1)])
    middle /= np.linalg.norm(middle, axis=1, keepdims=True)
    apart = np.arccos(np.clip(middle @ middle.T, -1, 1))
    np.fill_diagonal(apart, 0)
    label = fcluster(linkage(squareform(apart, checks=False), "average"), count, "maxclust")
    return np.asarray(label[member], dtype=np.int64)


def _require(found: int, folds: int, what: str) -> None:
    if found < folds:
        raise InputError(f"network.folds: {folds} folds of {found} {what}; ask for at most {found} folds, or divide sites `by: groups`")

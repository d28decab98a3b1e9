"""Who may see whom: groups of co-located sites, cross-validation folds, inner validation sites.

Sites of one group share weather, pixel and often the investigator, so a group never stands on two sides of a split.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from dualflux.errors import InputError
from dualflux.geometry.sphere import great_circle

LARGEST_INNER_SHARE = 0.5  # with more, the held-out groups of a member could be all there are


def site_groups(lat: np.ndarray, lon: np.ndarray, resolution_degrees: float) -> np.ndarray:
    """Connected components of sites within one grid cell of each other.

    Two sites are connected where both coordinates differ by at most one cell size, so sites of one cell always are,
    or where their great-circle distance is at most the north-south size of a cell, so that the narrow cells
    near the poles separate nobody; and through any chain of such sites.

    Parameters
    ----------
    lat, lon : array, (site,)
        Degrees; any longitude convention.
    resolution_degrees : float
        Cell size.

    Returns
    -------
    array of int, (site,)
        0, 1, ...; numbered by the first site of each group in order of latitude, then longitude, whatever the order given.
    """
    lat, lon = np.asarray(lat, dtype=float), np.asarray(lon, dtype=float) % 360
    if resolution_degrees <= 0 or not np.isfinite(lat + lon).all():
        raise InputError(f"site groups: resolution {resolution_degrees} degrees must be positive and all coordinates finite")
    near = sparse.csr_matrix(_near(lat, lon, resolution_degrees))
    component = connected_components(near, directed=False)[1]
    order = np.lexsort((lon, lat))
    first_seen = dict.fromkeys(component[order].tolist())
    number = {label: position for position, label in enumerate(first_seen)}
    return np.array([number[label] for label in component.tolist()], dtype=np.int64)


def _near(lat: np.ndarray, lon: np.ndarray, resolution: float) -> np.ndarray:
    tolerance = resolution * (1 + 1e-9)
    north_south = np.abs(lat[:, None] - lat)
    east_west = np.abs(lon[:, None] - lon)
    east_west = np.minimum(east_west, 360 - east_west)
    distance = np.degrees(great_circle(lat[:, None], lon[:, None], lat, lon))
    return ((north_south <= tolerance) & (east_west <= tolerance)) | (distance <= tolerance)


def fold_of_groups(groups: np.ndarray, weights: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Fold of each site: whole groups, folds of similar weight.

    Groups are taken from heavy to light, in an order shaken by `seed`, each into the lightest fold so far.
    The weights of two folds therefore differ by no more than the heaviest group.

    Parameters
    ----------
    groups : array of int, (site,)
    weights : array, (site,)
        For example the number of site-months.
    folds : int
        At least 2.
    seed : int

    Returns
    -------
    array of int, (site,)
        0 to folds - 1; none is empty.

    Raises
    ------
    InputError
        Fewer than two folds, or fewer groups than folds.
    """
    labels, member = np.unique(groups, return_inverse=True)
    if not 2 <= folds <= labels.size:
        raise InputError(
            f"{folds} folds for {labels.size} groups of co-located sites; allowed: 2 to {labels.size}; change `folds` or add towers"
        )
    total = np.bincount(member, weights=np.asarray(weights, dtype=float))
    shaken = total * np.exp(np.random.default_rng(seed).uniform(-0.5, 0.5, size=total.size))
    load, count = np.zeros(folds), np.zeros(folds, dtype=int)
    fold_of_label = np.empty(labels.size, dtype=np.int64)
    for label in np.argsort(-shaken, kind="stable"):
        fold = np.lexsort((count, load))[0]
        fold_of_label[label] = fold
        load[fold] += total[label]
        count[fold] += 1
    return fold_of_label[member]


def inner_validation(groups: np.ndarray, fold_of_site: np.ndarray, fold: int, member: int, share: float, seed: int) -> np.ndarray:
    """Sites that one member of one fold holds out of its training for stopping and other choices.

    The groups outside the outer fold are laid on a circle in an order drawn for the fold, each as long as its number of sites;
    member m takes those whose middle lies in the m-th arc of length `share`. Members with
    ``members * share >= 1`` together hold out every group; within one turn no group is held out twice
    (except where an arc would be empty: it takes the group that lies across its middle).

    Parameters
    ----------
    groups, fold_of_site : array of int, (site,)
    fold, member : int
        Fold -1: no outer fold is kept apart.
    share : float
        Part of the sites outside the fold to hold out, at most 0.5.
    seed : int

    Returns
    -------
    array of bool, (site,)
        Never a site of the outer fold, whole groups only, at least one group held out and one left.

    Raises
    ------
    InputError
        A share out of range, or fewer than two groups outside the fold.
    """
    if not 0 < share <= LARGEST_INNER_SHARE:
        raise InputError(f"inner validation: share {share}; allowed: above 0 and at most {LARGEST_INNER_SHARE}")
    groups, outside = np.asarray(groups), np.asarray(fold_of_site) != fold
    labels, size = np.unique(groups[outside], return_counts=True)
    if labels.size < 2:
        raise InputError(
            f"inner validation: {labels.size} groups of co-located sites outside fold {fold}; at least 2 are needed; add towers"
        )
    order = np.random.default_rng([seed, fold + 1]).permutation(labels.size)
    end = np.cumsum(size[order]) / size.sum()
    start = np.concatenate([[0.0], end[:-1]])
    low, high = member * share, (member + 1) * share
    middle = (start + end) / 2 + np.floor(low) + np.array([[0.0], [1.0]])
    held = ((middle >= low) & (middle < high)).any(axis=0)
    if not held.any():
        held[np.searchsorted(end, ((low + high) / 2) % 1, side="right").clip(max=labels.size - 1)] = True
    return outside & np.isin(groups, labels[order[held]])

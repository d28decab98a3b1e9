"""Smoothing of a predictor over land, so that what is constant inside a country does not print the country's borders."""

from functools import lru_cache

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from dualflux.errors import InputError, doubt
from dualflux.geometry.sphere import MEAN_RADIUS_KM, unit_vectors
from dualflux.grid import LandCells

CUT = 3.0  # standard deviations; beyond lies exp(-4.5), 1.1 %, of the weight of a Gaussian on the plane
MOST_WEIGHTS = 100_000_000  # of 12 bytes each
_BLOCK = 256  # fields smoothed at once


def smooth(values: np.ndarray, length: float, cells: LandCells, what: str) -> np.ndarray:
    """Gaussian mean over the land around each cell, in every field by itself.

    s_i = sum_j w_ij x_j / sum_j w_ij with w_ij = A_j exp(-d_ij^2 / 2 L^2) where d_ij <= 3 L, else 0; j runs over the cells
    that have a value.

    Parameters
    ----------
    values : array, (..., cell)
        NaN where missing, and so it stays; may be changed in place.
    length : float
        L, the standard deviation [km].
    cells : LandCells
        All land cells: their area of land [m2] is A.
    what : str
        File, variable and predictor, for messages.

    Returns
    -------
    array, (..., cell)

    Raises
    ------
    InputError
        So many cells within 3 L of each other that the weights would not fit into memory.
    """
    try:
        matrix = _weights(*(np.asarray(a, np.float64).tobytes() for a in (cells.lat(), cells.lon(), cells.land_area)), length)
    except InputError as error:
        raise InputError([f"{what}: {problem}" for problem in error.problems]) from error
    _doubt_short(length, cells, what)
    flat = values.reshape(-1, values.shape[-1])
    for start in range(0, len(flat), _BLOCK):
        block = flat[start : start + _BLOCK]
        known = np.isfinite(block)
        total = (matrix @ np.where(known, block, 0.0).T).T
        if not known.all():
            share = (matrix @ known.T.astype(np.float64)).T
            total = np.divide(total, share, out=np.full_like(total, np.nan), where=known)
        flat[start : start + _BLOCK] = total
    return flat.reshape(values.shape)


# The blocks of a record and several predictors share a matrix; of large ones no second is kept.
@lru_cache(maxsize=1)
def _weights(lat: bytes, lon: bytes, area: bytes, length: float) -> sparse.csr_matrix:
    return smoothing_matrix(np.frombuffer(lat), np.frombuffer(lon), np.frombuffer(area), length)


def smoothing_matrix(lat: np.ndarray, lon: np.ndarray, area: np.ndarray, length: float) -> sparse.csr_matrix:
    """Weights of `smooth` where every cell has a value; rows sum to 1.

    Parameters
    ----------
    lat, lon : array, (cell,)
        [degrees]
    area : array, (cell,)
        Of land [m2].
    length : float
        Standard deviation [km].

    Returns
    -------
    sparse matrix, (cell, cell)

    Raises
    ------
    InputError
        See `smooth`.
    """
    tree = cKDTree(unit_vectors(lat, lon))
    reach = 2 * np.sin(min(CUT * length / MEAN_RADIUS_KM, np.pi) / 2)  # chord of the unit sphere
    count = int(tree.count_neighbors(tree, reach))
    if count > MOST_WEIGHTS:
        raise InputError(
            f"`smooth: {length:g}` km over {len(lat)} land cells has {count / 1e6:.0f} million weights; allowed are "
            f"{MOST_WEIGHTS / 1e6:.0f} million ({12 * MOST_WEIGHTS / 1e9:.1f} GB); choose a coarser grid or a shorter `smooth`"
        )
    chord = tree.sparse_distance_matrix(tree, reach, output_type="coo_matrix").tocsr()
    distance = 2 * MEAN_RADIUS_KM * np.arcsin(np.clip(chord.data / 2, 0, 1))
    weight = np.exp(-0.5 * (distance / length) ** 2) * area[chord.indices]
    matrix = sparse.csr_matrix((weight, chord.indices, chord.indptr), shape=chord.shape)
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(matrix.sum(axis=1)).ravel()) @ matrix)


def _doubt_short(length: float, cells: LandCells, what: str) -> None:
    height = abs(cells.grid.lat[1] - cells.grid.lat[0]) * np.pi / 180 * MEAN_RADIUS_KM
    if length < height / 3:
        doubt(f"{what}: `smooth: {length:g}` km is less than a third of a cell's height ({height:.0f} km) and changes next to nothing")

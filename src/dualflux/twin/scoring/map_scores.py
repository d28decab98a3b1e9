"""Scores of the map of lasting fluxes where it is hardest: inside regions, on bare ground, and far from towers."""

import numpy as np

from dualflux.metrics.parts import COVERAGES, PartValues, calibration_slope, effective_cases
from dualflux.metrics.probability import LEVELS
from dualflux.units import DAYS_PER_MEAN_YEAR

BARE = 0.8  # fraction above which ground is bare
NEAR, FAR = 500.0, 1000.0  # km
CLASSES = ("near", "middle", "far")
PARTS = {"offset": "", "anomaly": "_anomaly"}  # to what stands before the class in a key: the lasting part has the short name
INSIDE = ("within_region_slope", "within_region_map_r", "within_region_sd_ratio", "within_region_sd_ratio_member")
DISTANCE_KEYS = tuple(f"cells_{name}{part}_{where}" for part in PARTS.values() for name in (*COVERAGES, "cases") for where in CLASSES)
MAP_KEYS = (*INSIDE, "barren_max", *DISTANCE_KEYS)
MAP_UNITS = {**dict.fromkeys(MAP_KEYS, "1"), "barren_max": "gC m-2 yr-1"}


def within_regions(members: np.ndarray, truth: np.ndarray, home: np.ndarray, area: np.ndarray) -> dict[str, float]:
    """Pattern of lasting fluxes inside regions: the area-weighted mean of each region is taken from both sides, cells count by area.

    Parameters
    ----------
    members : array, (member, cell)
    truth : array, (cell,)
    home : array of int, (cell,)
        Region that each cell belongs to.
    area : array, (cell,)

    Returns
    -------
    dict
        `within_region_slope`: least-squares slope of truth on the members' mean (below 1: the product's pattern is too strong; a best
        estimate has 1); `within_region_map_r`: their correlation; `within_region_sd_ratio`: sd of the mean over that of the truth (a best
        estimate of correlation r has r); `within_region_sd_ratio_member`: the same of single members, root mean square (a draw has 1).
    """
    off, true = (_less_regions(v, home, area) for v in (np.vstack([members.mean(axis=0), members]), truth[None]))
    share, reference = area / area.sum(), float(area @ true[0] ** 2 / area.sum())
    variance = off**2 @ share
    if reference == 0 or variance[0] == 0:
        return dict.fromkeys(INSIDE, float("nan"))
    together = float(share @ (off[0] * true[0]))
    return {
        "within_region_slope": calibration_slope(true[0], off[0], area),
        "within_region_map_r": together / float(np.sqrt(variance[0] * reference)),
        "within_region_sd_ratio": float(np.sqrt(variance[0] / reference)),
        "within_region_sd_ratio_member": float(np.sqrt(variance[1:].mean() / reference)),
    }


def _less_regions(values: np.ndarray, home: np.ndarray, area: np.ndarray) -> np.ndarray:
    total = np.bincount(home, area)
    mean = np.stack([np.bincount(home, area * v) for v in values]) / np.where(total > 0, total, 1.0)
    return np.asarray(values - mean[:, home])


def barren_max(lasting: np.ndarray, bare: np.ndarray) -> float:
    """Largest size of the lasting flux on bare ground [gC m-2 yr-1], of a mean map (cell,) [gC m-2 d-1].

    Bare are cells whose fraction `bare` is above `BARE`; in a world without such cells, those within 0.1 of its highest fraction.
    """
    limit = BARE if (bare > BARE).any() else float(bare.max()) - 0.1
    return float(np.abs(lasting[bare > limit]).max()) * DAYS_PER_MEAN_YEAR


def distance_class(distance: np.ndarray) -> np.ndarray:
    """Position in `CLASSES` of distances [km]: below 500, from 500 to 1000, above.

    >>> distance_class(np.array([0.0, 499.0, 500.0, 1000.0, np.inf])).tolist()
    [0, 0, 1, 1, 2]
    """
    return np.where(distance < NEAR, 0, np.where(distance <= FAR, 1, 2))


def coverage_by_distance(values: dict[str, PartValues], distance: np.ndarray) -> dict[str, float]:
    """Coverage of cells by part, near to towers and far, with the effective number of cases: see `DISTANCE_KEYS`.

    Parameters
    ----------
    values : dict of PartValues
        Of cells, see `by_part.cell_values`.
    distance : array, (cell,)
        To the nearest tower that was trained on [km].
    """
    found: dict[str, float] = {}
    for part, ending in PARTS.items():
        v = values[part]
        place = np.repeat(distance_class(distance), v.truth.size // len(distance))
        inside = np.stack([v.inside(level) for level in LEVELS])
        for code, where in enumerate(CLASSES):
            own = place == code
            if not own.any() or not v.claims():
                continue
            share = v.weight[own] / v.weight[own].sum()
            found |= {f"cells_{n}{ending}_{where}": float(share @ i[own]) for n, i in zip(COVERAGES, inside, strict=True)}
            found[f"cells_cases{ending}_{where}"] = effective_cases(inside[:, own], v.group[own], v.weight[own])
    return found

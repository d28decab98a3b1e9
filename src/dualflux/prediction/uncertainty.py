"""What stands beyond the spread of the members: distance to the towers, and the part of a cell no predictor sees."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from dualflux.cube import Cube
from dualflux.prepared import Prepared


@dataclass(frozen=True, eq=False)
class TowerReach:
    """How far the training towers reach in predictor space.

    The space is that of static predictors, means and seasonal ranges (Meyer and Pebesma 2021, Methods Ecol. Evol. 12,
    1620: area of applicability).

    Attributes
    ----------
    towers : array, (tower, feature)
        Their places, see `cube.Cube.mean_year`.
    apart : float
        A quantile of the distances of held-out towers to the nearest of the others.
    """

    towers: np.ndarray
    apart: float

    @classmethod
    def of(cls, towers: np.ndarray, fold: np.ndarray, quantile: float = 0.95) -> "TowerReach":
        """Of towers at `towers` (tower, feature) in some folds (tower,)."""
        return cls(towers, max(float(np.quantile(held_out_distance(towers, fold), quantile)), 1e-9))

    def applicability(self, place: np.ndarray) -> np.ndarray:
        """Distance of places (cell, feature) to the nearest tower over `apart`, (cell,).

        Above 1 a cell is less like the towers than held-out towers are like the others.
        """
        found: np.ndarray = cKDTree(self.towers).query(place)[0] / self.apart
        return found


def held_out_distance(towers: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Distance in predictors of each tower to the nearest of another fold, (tower,), of `towers` (tower, feature)."""
    apart = np.full(len(towers), np.nan)
    for held in np.unique(fold):
        apart[fold == held] = cKDTree(towers[fold != held]).query(towers[fold == held])[0]
    return apart


def applicability(cube: Cube, tower_cell: np.ndarray, fold: np.ndarray, quantile: float = 0.95) -> np.ndarray:
    """`TowerReach.applicability` of all cells of a cube in which the towers stand, (cell,)."""
    place = cube.mean_year()
    return TowerReach.of(place[tower_cell], fold, quantile).applicability(place)


def similarity(prepared: Prepared) -> np.ndarray | None:
    """Distance of each cell to the towers, see `applicability`, (cell,); None where the study has none."""
    sites = prepared.sites
    return applicability(prepared.cube, sites.cell.to_numpy(), sites.fold.to_numpy()) if len(sites) else None


def cell_scale_variance(site_residual: pd.Series, cell: pd.Series) -> tuple[float, float]:
    """Split the variance of site effects into a hectare's (nugget) and a cell's part [(gC m-2 d-1)^2].

    Sites in one cell share the cell's part, so half their mean squared difference is the nugget; the rest is the cell's.
    Without two sites in any cell the whole is taken as the cell's: the cautious side.

    Parameters
    ----------
    site_residual : Series, index site
        Mean of observed - predicted (f + g) at sites that were left out.
    cell : Series, index site
        Cell each site stands in.
    """
    values = pd.DataFrame({"residual": site_residual, "cell": cell.reindex(site_residual.index)})
    total = float((values.residual**2).mean())
    shared = values.groupby("cell").filter(lambda part: len(part) > 1).groupby("cell").residual
    if shared.ngroups == 0:
        return 0.0, total
    freedom = shared.size().sum() - shared.ngroups
    nugget = float(((shared.transform("mean") - values.residual.loc[shared.transform("mean").index]) ** 2).sum() / freedom)
    return min(nugget, total), max(total - nugget, 0.0)

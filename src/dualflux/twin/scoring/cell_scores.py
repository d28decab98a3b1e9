"""Scores of fields and sites against the truth of a synthetic world.

Fields come as iterators of months, so that nothing holds a global cube; one pass leaves a `Tally`, and every score
divides at the end. Signs: product - truth, positive to the atmosphere. All sums are float64, cells count by their land area.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.grid import LandCells
from dualflux.metrics import PairStatistics
from dualflux.metrics.statistics import correlation, nse, rmse

Months = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True, eq=False)
class PeriodTally:
    """Sums over the months of one period.

    Attributes
    ----------
    pairs : PairStatistics
        (truth, product) over months, fields (cell,).
    cycle : array, (member, 12, cell)
        Mean of each calendar month [gC m-2 d-1].
    """

    pairs: PairStatistics
    cycle: np.ndarray


@dataclass(frozen=True, eq=False)
class Tally:
    """What one pass over the months of a product leaves.

    Attributes
    ----------
    periods : dict
        PeriodTally by the period's name.
    integral : array, (member, region + 1, month)
        [PgC month-1]; the last region is the globe.
    true_integral : array, (region + 1, month)
    watched : array, (month, watched cell)
        Members' mean at chosen cells [gC m-2 d-1].
    sampled : array, (member, month, sampled cell)
        Each member at the cells that are scored by part [gC m-2 d-1].
    true_sampled : array, (month, sampled cell)
    """

    periods: dict[str, PeriodTally]
    integral: np.ndarray
    true_integral: np.ndarray
    watched: np.ndarray
    sampled: np.ndarray
    true_sampled: np.ndarray


def tally(
    product: Months,
    truth: Months,
    cells: LandCells,
    days: np.ndarray,
    periods: dict[str, np.ndarray],
    watch: np.ndarray,
    sample: np.ndarray,
) -> Tally:
    """Go once through the months.

    Parameters
    ----------
    product : callable
        Gives an iterator over months of (member, cell) [gC m-2 d-1].
    truth : callable
        The same of (cell,).
    days : array, (month,)
        Length of the months; the first is a January.
    periods : dict
        Name to the months that count, bool (month,); whole years.
    watch : array of int
        Cells whose fluxes are kept, the members' mean of them.
    sample : array of int
        Cells of which every member is kept.
    """
    operator = regional_operator(cells)
    found: dict[str, PeriodTally] = {}
    integral, true_integral, watched, sampled, true_sampled = [], [], [], [], []
    years = {name: use.sum() / 12 for name, use in periods.items()}
    for t, (members, true) in enumerate(zip(product(), truth(), strict=True)):
        sampled.append(members[:, sample])
        true_sampled.append(true[sample])
        members, true = members.astype(np.float64), true.astype(np.float64)
        mean = members.mean(axis=0)
        integral.append((operator @ members.T).T * days[t])
        true_integral.append(operator @ true * days[t])
        watched.append(mean[watch])
        for name in (n for n, use in periods.items() if use[t]):
            if name not in found:
                empty = PairStatistics.zero(true.shape)
                found[name] = PeriodTally(empty, np.zeros((len(members), 12, true.size)))
            so_far = found[name]
            so_far.cycle[:, t % 12] += members / years[name]
            nothing = np.zeros_like(true)
            pair = PairStatistics(nothing + 1, true, mean - true, nothing, nothing, nothing)
            found[name] = PeriodTally(so_far.pairs + pair, so_far.cycle)
    kept = np.stack(watched), np.stack(sampled, axis=1), np.stack(true_sampled)
    return Tally(found, np.stack(integral, axis=-1), np.stack(true_integral, axis=-1), *kept)


def cell_scores(pairs: PairStatistics, area: np.ndarray) -> dict[str, float]:
    """Scores of the field, cells by land area, months alike.

    Parameters
    ----------
    pairs : PairStatistics
        (truth, product) over months, fields (cell,).
    area : array, (cell,)
        [m2]

    Returns
    -------
    dict
        `cell_month_nse`: 1 - sum (p - o)^2 / sum (o - mean o)^2 over cells and months; `cell_month_nse_centred`: the same with
        each cell's mean taken from both sides; `map_rmse` [gC m-2 d-1], `map_r`: of the map of means over the period.
    """
    share = area / area.mean()
    nothing = np.zeros_like(pairs.mean_observed)
    maps = PairStatistics(nothing + 1, pairs.mean_observed, pairs.mean_error, nothing, nothing, nothing).combine(share)
    return {
        "cell_month_nse": float(nse(pairs.combine(share))),
        "cell_month_nse_centred": float(nse(pairs.centred().combine(share))),
        "map_rmse": float(rmse(maps)),
        "map_r": float(correlation(maps)),
    }


def map_robustness(maps: np.ndarray, fold: np.ndarray, area: np.ndarray) -> dict[str, float]:
    """How alike the maps of folds are, each trained without another group of towers.

    Parameters
    ----------
    maps : array, (member, cell)
        Mean map of each member.
    fold : array of int, (member,)

    Returns
    -------
    dict
        `map_fold_r`: mean correlation between the maps of two folds; `map_fold_sd` [gC m-2 d-1]: their standard deviation, root
        mean square over land. Empty with fewer than two folds.
    """
    names = np.unique(fold)
    if len(names) < 2:
        return {}
    means = np.stack([maps[fold == name].mean(axis=0) for name in names])
    weight = area / area.sum()
    off = means - (means @ weight)[:, None]
    shared = (off * weight) @ off.T
    r = shared / np.sqrt(np.outer(np.diag(shared), np.diag(shared)))
    upper = np.triu_indices(len(names), 1)
    return {"map_fold_r": float(r[upper].mean()), "map_fold_sd": float(np.sqrt(means.var(axis=0, ddof=1) @ weight))}


def site_scores(tower: np.ndarray, tower_like: np.ndarray | None, cell: np.ndarray, landscape: np.ndarray) -> dict[str, float]:
    """Scores at tower sites no data of which were used, all sites' months pooled.

    Parameters
    ----------
    tower, cell : array, (month, site)
        True monthly fluxes of the tower and of its cell [gC m-2 d-1].
    tower_like : array, (month, site), or None
        f + g with the tower's own predictors.
    landscape : array, (month, site)
        The product (f) in the tower's cell.

    Returns
    -------
    dict
        `unseen_site_nse`: f + g against the tower's true flux; `unseen_site_flux_nse`: f against the cell's true flux.
    """
    at_tower = float("nan") if tower_like is None else float(nse(PairStatistics.of(tower, tower_like)))
    return {"unseen_site_nse": at_tower, "unseen_site_flux_nse": float(nse(PairStatistics.of(cell, landscape)))}

"""Scores of fields and sites against the truth of a synthetic world.

Fields come as iterators of months, so that nothing holds a global cube; one pass leaves a `Tally`, and every score
divides at the end. Signs: product - truth, positive to the atmosphere. All sums are float64, cells count by their land area.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.locations import regional_operator
from dualflux.grid import LandCells
from dualflux.metrics import PairStatistics
from dualflux.metrics.pairs import paired_std, paired_variance
from dualflux.metrics.statistics import correlation, nse, rmse
from dualflux.twin.scoring.scores import interval_scores

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
    true_cycle : array, (12, cell)
    """

    pairs: PairStatistics
    cycle: np.ndarray
    true_cycle: np.ndarray


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
    """

    periods: dict[str, PeriodTally]
    integral: np.ndarray
    true_integral: np.ndarray
    watched: np.ndarray


def tally(product: Months, truth: Months, cells: LandCells, days: np.ndarray, periods: dict[str, np.ndarray], watch: np.ndarray) -> Tally:
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
        Cells whose fluxes are kept.
    """
    operator = regional_operator(cells)
    found: dict[str, PeriodTally] = {}
    integral, true_integral, watched = [], [], []
    years = {name: use.sum() / 12 for name, use in periods.items()}
    for t, (members, true) in enumerate(zip(product(), truth(), strict=True)):
        members, true = members.astype(np.float64), true.astype(np.float64)
        mean = members.mean(axis=0)
        integral.append((operator @ members.T).T * days[t])
        true_integral.append(operator @ true * days[t])
        watched.append(mean[watch])
        for name in (n for n, use in periods.items() if use[t]):
            if name not in found:
                empty = PairStatistics.zero(true.shape)
                found[name] = PeriodTally(empty, np.zeros((len(members), 12, true.size)), np.zeros((12, true.size)))
            so_far = found[name]
            so_far.cycle[:, t % 12] += members / years[name]
            so_far.true_cycle[t % 12] += true / years[name]
            nothing = np.zeros_like(true)
            pair = PairStatistics(nothing + 1, true, mean - true, nothing, nothing, nothing)
            found[name] = PeriodTally(so_far.pairs + pair, so_far.cycle, so_far.true_cycle)
    return Tally(found, np.stack(integral, axis=-1), np.stack(true_integral, axis=-1), np.stack(watched))


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


def cell_interval_scores(
    product: Months, truth: Months, found: dict[str, PeriodTally], periods: dict[str, np.ndarray], area: np.ndarray, extra: np.ndarray
) -> dict[str, dict[str, float]]:
    """How honest the members' spread is for cells: coverage and CRPS [gC m-2 d-1] per period, by land area, of the three parts.

    Names end in ``_offset`` (mean of a cell), ``_cycle`` (its mean seasonal cycle) and ``_anomaly`` (a month less its calendar
    month's mean). This is a second pass over the months: anomalies need the mean cycles first.

    Parameters
    ----------
    found : dict
        Of `tally`.
    extra : array, (cell,)
        Variance of a cell's flux beyond the members' [(gC m-2 d-1)^2]: no predictor sees it, it lasts, so it belongs to the offset.
    """
    scores: dict[str, dict[str, float]] = {}
    for name, sums in found.items():
        if len(sums.cycle) < 2:
            return {}
        scores[name] = {}
        offset, true = sums.cycle.mean(axis=1), sums.true_cycle.mean(axis=0)
        cycle, true_cycle = sums.cycle - offset[:, None], sums.true_cycle - true
        for part, own, exact, more in (("offset", offset, true, extra), ("cycle", cycle, true_cycle, 0.0)):
            values = interval_scores(exact, own.mean(axis=0), np.sqrt(paired_variance(own) + more), area)
            scores[name] |= {f"{k}_{part}": v for k, v in values.items()}
    months: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for t, (members, true) in enumerate(zip(product(), truth(), strict=True)):
        for name in (n for n in found if periods[n][t]):
            own = members.astype(np.float64) - found[name].cycle[:, t % 12]
            months[name].append(interval_scores(true - found[name].true_cycle[t % 12], own.mean(axis=0), paired_std(own), area))
    for name, each in months.items():
        scores[name] |= {f"{k}_anomaly": float(v) for k, v in pd.DataFrame(each).mean(skipna=False).items()}
    return scores


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

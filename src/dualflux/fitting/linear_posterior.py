"""The exact posterior of all linear parts of a member, given its hidden layers.

With the hidden layers h(x) of a trained network fixed, a tower's flux is linear in what is left,

    y = h(x) w + u(s, t) + g(x(s)) + b(s) + e,

readout w, spatial effect u, representativeness g and site effects b, and so is every regional integral. With Gaussian
priors and errors (Student-t errors by iterated weights) the posterior is Gaussian and its normal equations are small.
Parameters stand in the order readout, u (mean, cosine, sine), g's intercept, g's slopes, b. All in float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import linalg

from dualflux.constraints.inversions.constraint import RegionalConstraint
from dualflux.constraints.towers import TowerConstraint
from dualflux.cube import Cube
from dualflux.grid import LandCells
from dualflux.model.spatial_effect import HARMONICS, SpatialBasis, harmonics
from dualflux.units import PETAGRAM

READOUT_SD = 0.02  # prior sd of a readout weight about its trained value: the checkpoint was chosen at sites not trained on, and is to stay
INTERCEPT_SD = 3.0  # gC m-2 d-1: as good as flat
WEIGHT_ROUNDS = 4  # of the Student-t weights
VARIANCE_ROUNDS = 5  # of expectation maximisation per round of weights
PRIOR_SHARE = 0.5  # of the stated variances in the estimate of u's: the trained network has explained part of what u is for
SMALLEST_SLOPE_SD = 0.01  # gC m-2 d-1 per standard deviation: g is nothing


@dataclass(frozen=True)
class LinearData:
    """What all members share.

    Attributes
    ----------
    order : array of int, (row,)
        Tower rows by site and season.
    start : array of int, (group,)
        First row of each (site, season) in that order; what does not vary between years is constant in a group.
    group_site : array of int, (group,)
    constant : array, (group, 3 x bump + 1 + invariant)
        Columns of u, of g's intercept and of g's slopes.
    regional : array, (region, year, 12, 3 x bump)
        Integrals of u's columns [PgC month-1 per gC m-2 d-1].
    towers : TowerConstraint
    degrees_of_freedom : float
    """

    order: np.ndarray
    start: np.ndarray
    group_site: np.ndarray
    constant: np.ndarray
    regional: np.ndarray
    towers: TowerConstraint
    degrees_of_freedom: float

    @property
    def spatial(self) -> int:
        """Number of u's columns."""
        return int(self.regional.shape[-1])

    @classmethod
    def create(
        cls, towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells, basis: SpatialBasis, freedom: float
    ) -> "LinearData":
        """Put together what the posterior needs beside the hidden layers."""
        season, seasons = cube.steps.season[cube.steps.time.get_indexer(towers.time)], len(cube.seasonal)
        order = np.lexsort((season, towers.site))
        start = np.flatnonzero(np.r_[True, np.diff(towers.site[order] * seasons + season[order]) != 0])
        first = order[start]
        place = basis.at(towers.sites.lat.to_numpy(), towers.sites.lon.to_numpy())[towers.site[first]]
        wave = np.einsum("gh,gk->ghk", harmonics(season[first], seasons), place).reshape(len(first), -1)
        invariant = towers.predictors[first, : cube.columns.invariant].astype(np.float64)
        constant = np.column_stack([wave, np.ones(len(first)), invariant])
        return cls(order, start, towers.site[first], constant, spatial_integrals(regional, cube, cells, basis), towers, freedom)


def spatial_integrals(regional: RegionalConstraint, cube: Cube, cells: LandCells, basis: SpatialBasis) -> np.ndarray:
    """Integrals of u's columns, (region, year, 12, 3 x bump) [PgC month-1 per gC m-2 d-1]."""
    inside = cells.region_area @ basis.at(cells.lat(), cells.lon()) / PETAGRAM  # (region, bump)
    steps = cube.steps
    wave = np.add.reduceat(harmonics(steps.season, len(cube.seasonal)), steps.month_start) / steps.month_steps[:, None]
    wave = (wave * steps.month_days[:, None])[regional.month]
    return np.einsum("rk,yih->ryihk", inside, wave).reshape(len(inside), *regional.month.shape, HARMONICS * basis.size)


def expected_flux(data: LinearData, features: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Expected tower flux [gC m-2 d-1], (row,) in `data.order`, of features (row, feature) and parameters (parameter,)."""
    width, constant = features.shape[1], data.constant
    fixed = constant @ parameters[width : width + constant.shape[1]] + parameters[width + constant.shape[1] :][data.group_site]
    return features @ parameters[:width] + np.repeat(fixed, np.diff(np.r_[data.start, len(features)]))


class Normal(NamedTuple):
    """Part of the normal equations: matrix (parameter, parameter) and right-hand sides (parameter, 2).

    The right-hand sides are of the data as they are and of a draw of their errors.
    """

    matrix: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class MemberProblem:
    """One member's data.

    Attributes
    ----------
    data : LinearData
    features : array, (row, feature)
        Last hidden layer and bias at the towers, in `data.order`.
    trained : array, (parameter,)
        Solution that training ended with: where the first weights are taken, and the prior mean of the readout.
    prior_sd : array, (parameter,)
        0 switches a parameter off; those of u and of g's slopes are where their estimation starts.
    use : array, (row,)
        Effective number of data of each row, times the towers' weight; 0 leaves it out.
    scale : array, (row,)
        Of the Student-t error [gC m-2 d-1].
    regional : Normal
        Of the inversions, tempered; over readout and u only.
    noise : array, (row,)
        Standard normal draws of the towers' errors; with the next, what makes the member a draw.
    prior_noise : array, (parameter,)
        The same of the priors.
    """

    data: LinearData
    features: np.ndarray
    trained: np.ndarray
    prior_sd: np.ndarray
    use: np.ndarray
    scale: np.ndarray
    regional: Normal
    noise: np.ndarray
    prior_noise: np.ndarray

    def estimated(self) -> list[slice]:
        """Where the parameters whose sd is estimated stand: u's lasting part, u's seasonal part, g's slopes."""
        first, bumps = self.features.shape[1], self.data.spatial // HARMONICS
        slopes = first + self.data.spatial + 1
        return [slice(first, first + bumps), slice(first + bumps, slopes - 1), slice(slopes, first + self.data.constant.shape[1])]

    def towers(self, parameters: np.ndarray) -> Normal:
        """Normal equations of the towers with the Student-t weights at `parameters`."""
        observed, freedom = self.data.towers.observed[self.data.order].astype(np.float64), self.data.degrees_of_freedom
        distance = (observed - expected_flux(self.data, self.features, parameters)) / self.scale
        weight = self.use * (freedom + 1) / (freedom + distance**2) / self.scale**2
        return tower_normal(self.features, self.data, weight, np.column_stack([weight * observed, np.sqrt(weight) * self.noise]))


def tower_normal(features: np.ndarray, data: LinearData, weight: np.ndarray, values: np.ndarray) -> Normal:
    """X' W X and X' v of the towers' design X = [features | constant of the group | site].

    Only the features vary inside a (site, season): all else needs the groups' sums alone.

    Parameters
    ----------
    features : array, (row, feature)
    weight : array, (row,)
    values : array, (row, 2)
        v: weights times right-hand sides.
    """
    sites, constant = len(data.towers.sites), data.constant

    def by_group(rows: np.ndarray) -> np.ndarray:
        return np.add.reduceat(rows, data.start, axis=0)

    def by_site(groups: np.ndarray) -> np.ndarray:
        total = np.zeros((sites, groups.shape[1]))
        np.add.at(total, data.group_site, groups)
        return total

    weighted = features * weight[:, None]
    group_features, group_weight, group_values = by_group(weighted), by_group(weight[:, None]), by_group(values)
    matrix = np.block([
        [features.T @ weighted, group_features.T @ constant, by_site(group_features).T],
        [constant.T @ group_features, constant.T @ (group_weight * constant), by_site(group_weight * constant).T],
        [by_site(group_features), by_site(group_weight * constant), np.diag(by_site(group_weight)[:, 0])],
    ])  # fmt: skip
    return Normal(matrix, np.concatenate([features.T @ values, constant.T @ group_values, by_site(group_values)]))


def regional_normal(
    columns: np.ndarray, observed: np.ndarray, draw: np.ndarray, mean_precision: np.ndarray, anomaly_precision: np.ndarray
) -> Normal:
    """H' R^-1 H and H' R^-1 y of the inversions: the quadratic form of `covariance`, the total included.

    Parameters
    ----------
    columns : array, (region, year, 12, column)
        Integrals of the columns [PgC month-1].
    observed, draw : array, (region, year, 12)
        The inversions' mean, and a member's own draw about it.
    mean_precision, anomaly_precision : array, (region + 1, 12, 12)
        S and B, last those of the sum over regions.
    """
    design = np.concatenate([columns, observed[..., None], (draw - observed)[..., None]], axis=-1)
    design = np.concatenate([design, design.sum(axis=0, keepdims=True)])
    mean = design.mean(axis=1)
    anomaly = design - mean[:, None]
    # One region at a time, so that memory holds one region's columns twice.
    gram = np.einsum("rip,rij,rjq->pq", mean, mean_precision, mean, optimize=True)
    for own, precision in zip(anomaly, anomaly_precision, strict=True):
        gram += own.reshape(-1, own.shape[-1]).T @ (precision @ own).reshape(-1, own.shape[-1])
    return Normal(gram[:-2, :-2], gram[:-2, -2:])


def solve(problem: MemberProblem, towers: Normal, spread: np.ndarray, draw: bool) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean (or a draw of the posterior) and variances, (parameter,) each; parameters that are off are 0.

    Site effects stand last and meet each other nowhere, so they are eliminated first (Schur complement).

    Parameters
    ----------
    towers : Normal
    spread : array, (3,)
        Sd of u's lasting and seasonal part and of g's slopes; see `MemberProblem.estimated`.
    draw : bool
        Add the perturbation of data and priors.
    """
    sd = problem.prior_sd.copy()
    for part, value in zip(problem.estimated(), spread, strict=True):
        sd[part] = np.where(sd[part] > 0, value, 0.0)
    first = len(sd) - len(problem.data.towers.sites)
    other, site = np.flatnonzero(sd[:first] > 0), first + np.flatnonzero(sd[first:] > 0)
    precision = np.divide(1.0, sd**2, out=np.zeros(len(sd)), where=sd > 0)
    matrix, values = towers.matrix[:first, :first].copy(), towers.values[:, 0] + draw * towers.values[:, 1]
    inner, width = len(problem.regional.matrix), problem.features.shape[1]
    matrix[:inner, :inner] += problem.regional.matrix
    values[:inner] += problem.regional.values[:, 0] + draw * problem.regional.values[:, 1]
    values[:width] += problem.trained[:width] * precision[:width]
    values += draw * problem.prior_noise * np.sqrt(precision)
    return _eliminate(
        matrix[np.ix_(other, other)] + np.diag(precision[other]), towers.matrix[np.ix_(other, site)],
        towers.matrix.diagonal()[site] + precision[site], values, other, site,
    )  # fmt: skip


def _eliminate(
    matrix: np.ndarray, couple: np.ndarray, diagonal: np.ndarray, values: np.ndarray, other: np.ndarray, site: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solution and diagonal of the inverse of [[matrix, couple], [couple', diagonal]]; 0 at places of neither `other` nor `site`."""
    scaled = couple / diagonal
    factor, lower = linalg.cho_factor(matrix - scaled @ couple.T)
    triangle = np.triu(linalg.lapack.dpotri(factor, lower=lower)[0])
    inverse = triangle + np.triu(triangle, 1).T
    found, variance = np.zeros(len(values)), np.zeros(len(values))
    found[other] = linalg.cho_solve((factor, lower), values[other] - scaled @ values[site])
    found[site] = (values[site] - couple.T @ found[other]) / diagonal
    variance[other] = inverse.diagonal()
    variance[site] = 1 / diagonal + ((inverse @ scaled) * scaled).sum(axis=0)
    return found, variance


def estimate(problems: list[MemberProblem], centre: np.ndarray) -> tuple[np.ndarray, list[Normal]]:
    """Sds that all members of a family share, (3,) as in `solve`, and each member's tower equations at its solution.

    Those of u by expectation maximisation, sd^2 = mean over coefficients of (posterior mean^2 + variance), averaged with `centre`^2
    by `PRIOR_SHARE`. That of g's slopes by maximum marginal likelihood alone, so that g vanishes where towers are like
    their landscape: sd^2 = sum of mean^2 over the effective number of coefficients, sum of (1 - variance / sd^2) (MacKay 1992,
    Neural Computation 4, 415), which reaches zero where expectation maximisation only creeps. The Student-t weights follow the solution.
    """
    spread, solutions = centre, [p.trained for p in problems]
    lasting, season, slopes = problems[0].estimated()
    towers: list[Normal] = []
    for _ in range(WEIGHT_ROUNDS):
        towers = [p.towers(solution) for p, solution in zip(problems, solutions, strict=True)]
        for _ in range(VARIANCE_ROUNDS):
            found = [solve(p, t, spread, draw=False) for p, t in zip(problems, towers, strict=True)]
            square, variance = np.mean([mean**2 for mean, _ in found], axis=0), np.mean([v for _, v in found], axis=0)
            of_effect = [_maximise(square[part] + variance[part], c) for part, c in zip((lasting, season), centre[:2], strict=True)]
            spread = np.array([*of_effect, _slope_sd(square[slopes], variance[slopes], spread[2])])
        solutions = [mean for mean, _ in found]
    return spread, towers


def _maximise(square: np.ndarray, centre: float) -> float:
    return float(np.sqrt((1 - PRIOR_SHARE) * square.mean() + PRIOR_SHARE * centre**2))


def _slope_sd(square: np.ndarray, variance: np.ndarray, before: float) -> float:
    """0 stays 0: g is off. Without data nothing is learnt: what was stated stays."""
    if before == 0:
        return 0.0
    effective = float((1 - variance / before**2).sum())
    if effective < 1e-9 * len(variance):
        return before
    return max(float(np.sqrt(square.sum() / effective)), SMALLEST_SLOPE_SD)

"""The exact posterior of all linear parts of a member, given its hidden layers.

With the hidden layers h(x) of a trained network fixed, whatever a constraint observes is linear in what is left; at a tower, for example,

    y = h(x) w + u(s, t) + v(s, t) + g(x(s)) + e,

readout w, spatial effect u, effect v of predictors of time alone and representativeness g; what sites have of their own
is in the errors e. With Gaussian priors and errors (Student-t errors by their weights) the posterior is Gaussian and its
normal equations are small: a sum over constraints. The unknowns are those of all effects (`constraints.base.Effect`), in the
order of a `Layout`. All in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from dualflux.constraints.base import Draw, Effect, Equations, Layout, Normal
from dualflux.fitting.anomaly_elimination import AnomalyProblem, Eliminated
from dualflux.model.spatial_effect import HARMONICS, SpatialSettings
from dualflux.model.time_effect import ZONES

READOUT_SD = 0.02  # prior sd of a readout weight about its trained value: the checkpoint was chosen at sites not trained on, and is to stay
INTERCEPT_SD = 3.0  # gC m-2 d-1: as good as flat
WEIGHT_ROUNDS = 3  # of the Student-t weights
SWEEPS = 2  # of unknowns and Student-t weights before a draw counts
VARIANCE_ROUNDS = 5  # of expectation maximisation per round of weights
PRIOR_SHARE = 0.5  # of the stated variances in the estimate of u's: the trained network has explained part of what u is for
SHAPE = 0.5  # centre of the sd of u's shorter waves over that of its yearly one
SMALLEST_SLOPE_SD = 0.01  # gC m-2 d-1 per standard deviation: g is nothing


def effects_of_flux(
    width: int, places: int, invariant: int, spatial: SpatialSettings, series: int = 0, series_sd: float = 0.0
) -> tuple[Effect, ...]:  # fmt: skip
    """Readout, u, predictors of time alone and g: the effects that belong to the model, not to a constraint.

    Parameters
    ----------
    width : int
        Columns of the readout.
    places : int
        Basis functions of u.
    invariant : int
        Slopes of g.
    series : int
        Predictors of time alone.
    series_sd : float
        Prior sd of their coefficients [gC m-2 d-1], see `series_choice`; 0 leaves them out.
    """
    return (
        Effect("readout", "flux", width, READOUT_SD),
        Effect("spatial_lasting", "flux", places, spatial.mean_sd, "centred"),
        Effect("spatial_seasonal", "flux", 2 * places, spatial.season_sd, "centred"),
        Effect("spatial_shape", "flux", (HARMONICS - 3) * places, SHAPE * spatial.season_sd, "centred"),
        Effect("series", "flux", series * len(ZONES), series_sd),
        Effect("representativeness_mean", "tower_like", 1, INTERCEPT_SD),
        Effect("representativeness", "tower_like", invariant, estimate="marginal"),
    )


@dataclass(frozen=True)
class MemberProblem:
    """One member's data.

    Attributes
    ----------
    layout : Layout
    trained : array, (unknown,)
        Solution that training ended with: where the first weights are taken, and the prior mean of the readout.
    prior_sd : array, (unknown,)
        0 switches an unknown off; those that are estimated are where their estimation starts.
    equations : list
        Normal equations of each constraint at a solution.
    prior_noise : array, (unknown,)
        Standard normal draws of the priors; with the constraints' own, what makes the member a draw.
    sign : float
        Of its draw: antithetic pairs share all but this.
    anomaly : AnomalyProblem or None
        Regional anomalies that no predictor carries; they are no part of the layout and stand behind its unknowns in a solution.
    """

    layout: Layout
    trained: np.ndarray
    prior_sd: np.ndarray
    equations: Sequence[Equations]
    prior_noise: np.ndarray
    sign: float = 1.0
    anomaly: AnomalyProblem | None = None

    def estimated(self) -> list[Effect]:
        """Effects whose sd is estimated."""
        return [e for e in self.layout.effects if e.estimate is not None]

    def sds(self, spread: np.ndarray) -> np.ndarray:
        """Prior sds, (unknown,), with those of `estimated` effects as in `spread`, (effect,)."""
        sd = self.prior_sd.copy()
        for effect, value in zip(self.estimated(), spread, strict=True):
            part = self.layout.place(effect.name)
            sd[part] = np.where(sd[part] > 0, value, 0.0)
        return sd

    def normals(self, parameters: np.ndarray, draw: Draw | None = None) -> "Normals":
        """Normal equations of all constraints, heavy-tailed data weighted as at `parameters`, or weights and errors drawn given them."""
        return Normals.create([one(parameters, draw) for one in self.equations], len(self.trained), self.anomaly)

    def whole(self, normals: "Normals", solution: np.ndarray, draw: bool = False) -> np.ndarray:
        """A solution with the regional anomalies that go with it."""
        if normals.anomaly is None:
            return solution
        return np.concatenate([solution, normals.anomaly.anomalies(solution, draw)])


@dataclass(frozen=True)
class Normals:
    """Sum over constraints: matrix (unknown, unknown), and each one's right-hand sides (unknown, 2).

    Regional anomalies are eliminated: all others then meet each other, and what the data say of them alone is the last right-hand side.
    """

    matrix: np.ndarray
    values: list[np.ndarray]
    anomaly: Eliminated | None = None

    @classmethod
    def create(cls, parts: Sequence[Normal], size: int, anomaly: AnomalyProblem | None = None) -> "Normals":
        """Put the parts at their places."""
        matrix, values = np.zeros((size, size)), []
        for part in parts:
            matrix[np.ix_(part.place, part.place)] += part.matrix
            values.append(np.zeros((size, 2)))
            values[-1][part.place] = part.values
        if anomaly is None:
            return cls(matrix, values)
        found = anomaly.eliminate([(part.place, part.anomaly()) for part in parts if part.anomaly is not None], size)
        lost, of_values = found.reduction()
        return cls(matrix - lost, [*values, -of_values], found)


def solve(problem: MemberProblem, normals: Normals, spread: np.ndarray, draw: bool) -> tuple[np.ndarray, np.ndarray]:
    """Posterior mean (or a draw of the posterior) and variances, (unknown,) each; unknowns that are off are 0.

    Diagonal effects meet each other nowhere, so they are eliminated first (Schur complement), unless regional anomalies were: these they
    have in common.

    Parameters
    ----------
    normals : Normals
    spread : array, (effect,)
        Sds of `MemberProblem.estimated`.
    draw : bool
        Add the perturbation of data and priors.
    """
    sd, layout = problem.sds(spread), problem.layout
    diagonal = np.repeat([e.diagonal and normals.anomaly is None for e in layout.effects], [e.size for e in layout.effects])
    other, apart = np.flatnonzero((sd > 0) & ~diagonal), np.flatnonzero((sd > 0) & diagonal)
    precision = np.divide(1.0, sd**2, out=np.zeros(len(sd)), where=sd > 0)
    values = np.zeros(len(sd))
    for own in normals.values:
        values += own[:, 0] + draw * own[:, 1]
    readout = layout.place("readout")
    values[readout] += problem.trained[readout] * precision[readout]
    values += draw * problem.prior_noise * np.sqrt(precision)
    return _eliminate(
        normals.matrix[np.ix_(other, other)] + np.diag(precision[other]), normals.matrix[np.ix_(other, apart)],
        normals.matrix.diagonal()[apart] + precision[apart], values, other, apart,
    )  # fmt: skip


def _eliminate(
    matrix: np.ndarray, couple: np.ndarray, diagonal: np.ndarray, values: np.ndarray, other: np.ndarray, apart: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Solution and diagonal of the inverse of [[matrix, couple], [couple', diagonal]]; 0 at places of neither `other` nor `apart`."""
    scaled = couple / diagonal
    factor, lower = linalg.cho_factor(matrix - scaled @ couple.T)
    triangle = np.triu(linalg.lapack.dpotri(factor, lower=lower)[0])
    inverse = triangle + np.triu(triangle, 1).T
    found, variance = np.zeros(len(values)), np.zeros(len(values))
    found[other] = linalg.cho_solve((factor, lower), values[other] - scaled @ values[apart])
    found[apart] = (values[apart] - couple.T @ found[other]) / diagonal
    variance[other] = inverse.diagonal()
    variance[apart] = 1 / diagonal + ((inverse @ scaled) * scaled).sum(axis=0)
    return found, variance


def estimate(problems: list[MemberProblem], centre: np.ndarray) -> tuple[np.ndarray, list[Normals]]:
    """Sds that all members of a family share, (effect,) as in `solve`, and each member's normal equations at its solution.

    `centred` ones by expectation maximisation, sd^2 = mean over coefficients of (posterior mean^2 + variance), averaged with
    `centre`^2 by `PRIOR_SHARE`. `marginal` ones by maximum marginal likelihood alone, so that g vanishes where towers are like
    their landscape: sd^2 = sum of mean^2 over the effective number of coefficients, sum of (1 - variance / sd^2) (MacKay 1992,
    Neural Computation 4, 415), which reaches zero where expectation maximisation only creeps. The Student-t weights follow the solution.
    """
    spread, solutions = centre, [p.trained for p in problems]
    effects, layout = problems[0].estimated(), problems[0].layout
    normals: list[Normals] = []
    for left in reversed(range(WEIGHT_ROUNDS)):  # regional anomalies come in the last: weights and sds hardly know them
        mine = [replace(p, anomaly=None) for p in problems] if left else problems
        normals = [p.normals(solution) for p, solution in zip(mine, solutions, strict=True)]
        for _ in range(VARIANCE_ROUNDS):
            found = [solve(p, n, spread, draw=False) for p, n in zip(mine, normals, strict=True)]
            square, variance = np.mean([mean**2 for mean, _ in found], axis=0), np.mean([v for _, v in found], axis=0)
            places = [layout.place(e.name) for e in effects]
            spread = np.array([
                _new_sd(e, square[at], variance[at], before, start)
                for e, at, before, start in zip(effects, places, spread, centre, strict=True)
            ])  # fmt: skip
        solutions = [p.whole(n, mean) for p, n, (mean, _) in zip(mine, normals, found, strict=True)]
    return spread, normals


def draw_member(problem: MemberProblem, solution: np.ndarray, spread: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A draw of the posterior, like `solution`, its heavy-tailed data's weights drawn too: unknowns and weights in turns (Gibbs).

    Parameters
    ----------
    solution : array, (unknown,)
        Where the turns begin: the posterior mean with the weights expected there, regional anomalies behind it.
    spread : array, (effect,)
        See `estimate`.
    random : Generator
        The same of both members of an antithetic pair: their weights, too, are alike.
    """
    alone = None if problem.anomaly is None else replace(problem.anomaly, noise=problem.sign * problem.anomaly.noise)
    for _ in range(SWEEPS):
        fresh = replace(problem, prior_noise=random.standard_normal(len(problem.trained)), anomaly=alone)
        solution = _draw_at(fresh, fresh.normals(solution, Draw(random, 1.0)), spread)
    return _draw_at(problem, problem.normals(solution, Draw(random, problem.sign)), spread)


def _draw_at(problem: MemberProblem, normals: Normals, spread: np.ndarray) -> np.ndarray:
    return problem.whole(normals, solve(problem, normals, spread, draw=True)[0], draw=True)


def _new_sd(effect: Effect, square: np.ndarray, variance: np.ndarray, before: float, centre: float) -> float:
    return _marginal_sd(square, variance, before) if effect.estimate == "marginal" else _maximise(square + variance, centre)


def _maximise(square: np.ndarray, centre: float) -> float:
    return float(np.sqrt((1 - PRIOR_SHARE) * square.mean() + PRIOR_SHARE * centre**2))


def _marginal_sd(square: np.ndarray, variance: np.ndarray, before: float) -> float:
    """0 stays 0: the effect is off. Without data nothing is learnt: what was stated stays."""
    if before == 0:
        return 0.0
    effective = float((1 - variance / before**2).sum())
    if effective < 1e-9 * len(variance):
        return before
    return max(float(np.sqrt(square.sum() / effective)), SMALLEST_SLOPE_SD)

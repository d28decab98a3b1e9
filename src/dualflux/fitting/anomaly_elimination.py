"""Regional anomalies a eliminated from a member's normal equations, exactly, one year after the other.

With the other unknowns w, what is minimised is w' M w + 2 w' C' a + a' K a - 2 (w' v + a' z) subject to S a = 0 (see
`model.anomaly_effect`). K has a dense block for every year, and neighbouring years meet in January alone: its Cholesky factor
takes a block after the other. With
G = K^-1 - K^-1 S' (S K^-1 S')^-1 S K^-1, the inverse on the subspace,

    w:  (M - C' G C) w = v - C' G z,    a = G (z - C w).

K and C change neither with the towers' weights nor with the sds of other effects: a member's are taken apart once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import solve_triangular

from dualflux.constraints.base import AnomalyPart
from dualflux.model.anomaly_effect import OF_POSTERIOR, AnomalyPrior, days


@dataclass(frozen=True, eq=False)
class AnomalyProblem:
    """What of a member's anomalies does not change with weights.

    Attributes
    ----------
    prior : AnomalyPrior
    years : array of int, (year,)
        That the member is fitted to.
    blocks, corner : array
        Of `AnomalyPrior.precision`.
    noise : array, (year x region x 12,)
        The precision times a draw of the prior.
    once : dict
        What is the same at all solutions and draws of a member, from the first time it is asked for.
    """

    prior: AnomalyPrior
    years: np.ndarray
    blocks: np.ndarray
    corner: np.ndarray
    noise: np.ndarray
    once: dict[str, "Halved"] = field(default_factory=dict)

    @classmethod
    def create(cls, prior: AnomalyPrior, years: np.ndarray, seed: Sequence[int]) -> "AnomalyProblem":
        """Of a member whose draws have a seed; the last is their sign."""
        blocks, corner = prior.precision(years)
        drawn = seed[-1] * prior.draw(seed[:-1], OF_POSTERIOR, years, years).reshape(len(years), -1)
        return cls(prior, years, blocks, corner, _times(blocks, corner, drawn).ravel())

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return self.noise.size

    def eliminate(self, parts: Sequence[tuple[np.ndarray, AnomalyPart]], unknowns: int) -> "Eliminated":
        """Solve for a as a function of the other unknowns.

        Parameters
        ----------
        parts : sequence of (array of int, AnomalyPart)
            Positions of the unknowns that a constraint's part couples, and the part.
        unknowns : int
            Number of all others.
        """
        if "halved" not in self.once:
            self.once["halved"] = self._halved(parts, unknowns)
        halved = self.once["halved"]
        right = np.sum([part.values for _, part in parts], axis=0)
        right[:, -1] += self.noise
        return Eliminated(halved, halved.forward(right))

    def _halved(self, parts: Sequence[tuple[np.ndarray, AnomalyPart]], unknowns: int) -> "Halved":
        blocks, couple = self.blocks.copy(), np.zeros((self.size, unknowns))
        for place, part in parts:
            blocks += part.blocks
            couple[:, place] += part.couple
        factor = YearFactor.create(blocks, self.corner)
        sums = factor.forward(_constraint(self.years, blocks.shape[1] // 12))
        triangle = np.linalg.cholesky(sums.T @ sums)
        project = solve_triangular(triangle, sums.T, lower=True, check_finite=False)  # rows of unit length
        couple = factor.forward(couple)
        couple -= project.T @ (project @ couple)
        return Halved(factor, project, couple, couple.T @ couple)


@dataclass(frozen=True, eq=False)
class Halved:
    """What does not depend on data and draws.

    Attributes
    ----------
    factor : YearFactor
    project : array, (sum, anomaly)
        Directions of the constraint, half-solved, of unit length.
    couple : array, (anomaly, unknown)
        Half-solved, those directions projected out.
    lost : array, (unknown, unknown)
        C' G C.
    """

    factor: "YearFactor"
    project: np.ndarray
    couple: np.ndarray
    lost: np.ndarray

    def forward(self, right: np.ndarray) -> np.ndarray:
        """Right-hand sides (anomaly, column), half-solved, the constraint's directions projected out."""
        found = self.factor.forward(right)
        return np.asarray(found - self.project.T @ (self.project @ found))


@dataclass(frozen=True, eq=False)
class Eliminated:
    """a as a function of the other unknowns.

    Attributes
    ----------
    halved : Halved
    values : array, (anomaly, 2)
        z, half-solved.
    """

    halved: Halved
    values: np.ndarray

    def reduction(self) -> tuple[np.ndarray, np.ndarray]:
        """C' G C and C' G z: what the other unknowns' equations lose, (unknown, unknown) and (unknown, 2)."""
        return self.halved.lost, self.halved.couple.T @ self.values

    def anomalies(self, solution: np.ndarray, draw: bool) -> np.ndarray:
        """a of the other unknowns' solution, (year x region x 12,); `draw` as they were drawn."""
        half = self.values[:, 0] + draw * self.values[:, 1] - self.halved.couple @ solution
        return self.halved.factor.backward(half)


@dataclass(frozen=True, eq=False)
class YearFactor:
    """L of K = L L': lower triangular in a year, and what a year's January takes over from the year before.

    Attributes
    ----------
    diagonal : array, (year, n, n)
        n = region x 12.
    beside : array, (year - 1, region, n)
        Rows: January.
    """

    diagonal: np.ndarray
    beside: np.ndarray

    @classmethod
    def create(cls, blocks: np.ndarray, corner: np.ndarray) -> "YearFactor":
        """Factor a block-tridiagonal matrix.

        Parameters
        ----------
        blocks : array, (year, n, n)
        corner : array, (year - 1, region, region)
        """
        regions = blocks.shape[1] // 12
        january, december = np.arange(regions) * 12, np.arange(regions) * 12 + 11
        factors, beside = [np.linalg.cholesky(blocks[0])], []
        for block, link in zip(blocks[1:], corner, strict=True):
            last = np.zeros((block.shape[0], regions))
            last[december, range(regions)] = 1.0
            beside.append(link @ solve_triangular(factors[-1], last, lower=True, check_finite=False).T)
            rest = block.copy()
            rest[np.ix_(january, january)] -= beside[-1] @ beside[-1].T
            factors.append(np.linalg.cholesky(rest))
        return cls(np.stack(factors), np.array(beside).reshape(len(blocks) - 1, regions, -1))

    def forward(self, right: np.ndarray) -> np.ndarray:
        """L^-1 of columns (year x n, column)."""
        years, size = self.diagonal.shape[:2]
        found, january = right.reshape(years, size, -1).copy(), np.arange(size // 12) * 12
        for y in range(years):
            if y:
                found[y, january] -= self.beside[y - 1] @ found[y - 1]
            found[y] = solve_triangular(self.diagonal[y], found[y], lower=True, check_finite=False)
        return np.asarray(found.reshape(right.shape))

    def backward(self, right: np.ndarray) -> np.ndarray:
        """L'^-1 of one column (year x n,)."""
        years, size = self.diagonal.shape[:2]
        found, january = right.reshape(years, size).copy(), np.arange(size // 12) * 12
        for y in reversed(range(years)):
            if y + 1 < years:
                found[y] -= self.beside[y].T @ found[y + 1, january]
            found[y] = solve_triangular(self.diagonal[y], found[y], lower=True, trans="T", check_finite=False)
        return np.asarray(found.ravel())


def _constraint(years: np.ndarray, regions: int) -> np.ndarray:
    """S', (year x region x 12, region x 12)."""
    return np.concatenate([np.diag(np.tile(row, regions)) for row in days(years)])


def _times(blocks: np.ndarray, corner: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The block-tridiagonal matrix times values (year, n)."""
    found = np.einsum("yij,yj->yi", blocks, values)
    found[1:, 0::12] += np.einsum("yrs,ys->yr", corner, values[:-1, 11::12])
    found[:-1, 11::12] += np.einsum("yrs,yr->ys", corner, values[1:, 0::12])
    return np.asarray(found)

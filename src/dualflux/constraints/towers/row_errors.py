"""Errors of a tower's rows: what a site has of its own, whole years, memory, and what happens once.

    error = b + y + s + e

b is the site's effect and y one number per site and year, both linear in a few Gaussian unknowns of the site; s has memory: Gaussian,
its correlation between two rows of a site is exp(-days apart / memory); e happens once, with tails (a normal of precision `white`: of
Student-t errors that of the present weights). V, the covariance of all rows, falls apart by site. It is never formed: s is
Markov, so its precision is tridiagonal and (S + E)^-1 = T - T L (Q + L T L)^-1 L T needs one banded factor (Woodbury; Rue and Held
2005, Gaussian Markov Random Fields, ch. 2); b and y are a small matrix per site.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from dualflux.constraints.towers.records import Records

CLOSEST = 1 - 1e-9  # correlation of s between two rows: two data of one moment have the same s but for rounding


@dataclass(frozen=True, eq=False)
class RowErrors:
    """V of some rows.

    Attributes
    ----------
    records : Records
    white : array, (row,)
        Precision of e [(gC m-2 d-1)^-2]; 0 takes the row out.
    memory : array, (row,)
        Sd of s [gC m-2 d-1].
    memory_days : float
        Its e-folding time.
    decay : array, (row,)
        Correlation of s with the row before; 0 at the first of a site.
    lasting : array, (row, unknown)
        What a row sees of its site's unknowns, each of unit variance [gC m-2 d-1].
    factor : array, (2, row)
        Banded Cholesky factor of Q + L T L.
    small : array, (site, unknown, unknown)
        Cholesky factors of 1 + U' (S + E)^-1 U, U being `lasting`.
    """

    records: Records
    white: np.ndarray
    memory: np.ndarray
    memory_days: float
    decay: np.ndarray
    lasting: np.ndarray
    factor: np.ndarray
    small: np.ndarray

    @classmethod
    def create(
        cls, records: Records, white: np.ndarray, memory: np.ndarray, memory_days: float, lasting: np.ndarray
    ) -> "RowErrors":  # fmt: skip
        """Factorise; arrays as in the attributes, the memory's e-folding time in days."""
        decay = np.minimum(np.exp(-records.gap / memory_days), CLOSEST)
        diagonal, below = markov_precision(decay)
        factor = linalg.cholesky_banded(np.stack([diagonal + memory**2 * white, below]), lower=True, overwrite_ab=True)
        bare = cls(records, white, memory, memory_days, decay, lasting, factor, np.empty(0))
        inside = bare._of_sites(bare._short(lasting))
        return cls(records, white, memory, memory_days, decay, lasting, factor, np.linalg.cholesky(np.eye(lasting.shape[1]) + inside))

    def _of_sites(self, columns: np.ndarray) -> np.ndarray:
        """U' columns, (site, unknown, column)."""
        return self._site_products(self.lasting, columns)

    def _site_products(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.stack([left[rows].T @ right[rows] for rows in self.records.spans()])

    def _short(self, columns: np.ndarray) -> np.ndarray:
        """(S + E)^-1 columns."""
        weighted = columns * self.white[:, None]
        inner = linalg.cho_solve_banded((self.factor, True), weighted * self.memory[:, None])
        return np.asarray(weighted - inner * (self.memory * self.white)[:, None])

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """V^-1 columns, (row, column)."""
        found = self._short(columns)
        return np.asarray(found - self._short(self._spread(self._unknowns(self._of_sites(found)))))

    def _unknowns(self, right: np.ndarray) -> np.ndarray:
        half = np.linalg.solve(self.small, right)
        return np.asarray(np.linalg.solve(np.swapaxes(self.small, 1, 2), half))

    def _spread(self, unknowns: np.ndarray) -> np.ndarray:
        """U unknowns, (row, column), of (site, unknown, column)."""
        return np.concatenate([self.lasting[r] @ one for r, one in zip(self.records.spans(), unknowns, strict=True)])

    def gram(self, columns: np.ndarray) -> np.ndarray:
        """C' V^-1 C of each site, (site, column, column)."""
        found = self._short(columns)
        half = np.linalg.solve(self.small, self._of_sites(found))
        return np.asarray(self._site_products(columns, found) - np.swapaxes(half, 1, 2) @ half)

    def given(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A site's unknowns, (site, unknown), and e, (row,), as expected given residuals (row,) of V; e is 0 at rows that are out."""
        share = self.solve(residual[:, None])
        once = np.divide(share[:, 0], self.white, out=np.zeros(len(share)), where=self.white > 0)
        return self._of_sites(share)[:, :, 0], once

    def variance_of_unknowns(self) -> np.ndarray:
        """Of a site's unknowns given the data, (site, unknown); 1 where these say nothing."""
        half = np.linalg.solve(self.small, np.broadcast_to(np.eye(self.lasting.shape[1]), self.small.shape))
        return np.asarray((half**2).sum(axis=1))

    def variance_of_means(self) -> np.ndarray:
        """Variance of each site's mean error over its rows, (site,); NaN where a site has none that is in [(gC m-2 d-1)^2]."""
        there = (self.white > 0).astype(np.float64)
        count = self._site_products(there[:, None], there[:, None])[:, 0, 0]
        mean = np.divide(there, count[self.records.site], out=np.zeros(len(there)), where=there > 0)
        weight = (self.memory * mean)[:, None]
        diagonal, below = markov_precision(self.decay)
        once = np.divide(mean**2, self.white, out=np.zeros(len(mean)), where=there > 0)[:, None]
        factor = linalg.cholesky_banded(np.stack([diagonal, below]), lower=True)
        found = self._site_products(weight, linalg.cho_solve_banded((factor, True), weight))
        found = found + self._site_products(np.ones_like(once), once)
        found = found[:, 0, 0] + (self._of_sites(mean[:, None]) ** 2).sum(axis=(1, 2))
        return np.asarray(np.where(count > 0, found, np.nan))

    def draw(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """b + y + s and e, (row,) each, drawn; e is 0 at rows that are out."""
        state, own, once = self._drawn(random)
        return state + self._spread(own)[:, 0], once

    def _drawn(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = len(self.white)
        state = draw_markov(self.decay, random.standard_normal(rows))
        own = random.standard_normal((len(self.records.first) - 1, self.lasting.shape[1], 1))
        once = np.divide(random.standard_normal(rows), np.sqrt(self.white), out=np.zeros(rows), where=self.white > 0)
        return self.memory * state, own, once

    def draw_given(self, residual: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A site's unknowns and e drawn given residuals (row,) of V: a draw of all, corrected by what the residual expects beyond it."""
        state, own, once = self._drawn(random)
        further = self.given(residual - state - self._spread(own)[:, 0] - once)
        return own[:, :, 0] + further[0], once + further[1]


def markov_precision(decay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and subdiagonal, (row,) each, of the precision of a unit-variance Markov chain with correlations to the row before.

    The subdiagonal's last element stands for nothing.

    Examples
    --------
    >>> import numpy as np
    >>> diagonal, below = markov_precision(np.array([0.0, 0.5]))
    >>> np.linalg.inv(np.diag(diagonal) + np.diag(below[:-1], -1) + np.diag(below[:-1], 1)).round(12)
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    new = 1 / (1 - decay**2)
    after = np.r_[decay[1:], 0.0]
    return new + after**2 / (1 - after**2), -after / (1 - after**2)


def draw_markov(decay: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """A unit-variance Markov chain of standard normal noise, (row,)."""
    bands = np.stack([np.ones(len(decay)), np.r_[-decay[1:], 0.0]])
    return np.asarray(linalg.solve_banded((1, 0), bands, noise * np.sqrt(1 - decay**2)))

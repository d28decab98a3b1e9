"""How large sites' own effects and years are: estimated at sites that training has not seen.

Residuals of such a site are b + y + s + e. Given the sizes of s and e the unknowns of b and y have a Gaussian posterior, and their sds
follow by expectation maximisation; b has tails (a site's variance is the common one over a weight with a chi-square's
distribution: Student-t), so that a few odd sites do not rule (Lange, Little and Taylor 1989, J. Am. Stat. Assoc. 84, 881).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dualflux.constraints.towers.records import OWN, Records
from dualflux.constraints.towers.row_errors import RowErrors

PARTS = ("offset", "cycle", "trend", "year")
SMALLEST = 0.02  # of every sd: gC m-2 d-1; of a cycle's size; gC m-2 d-1 per decade; of the error's scale
ROUNDS = 10  # of expectation maximisation, each time the sds are asked for
REWEIGHTED = 2  # times that Student-t weights of e follow


class UnseenRows(NamedTuple):
    """Of one member.

    Attributes
    ----------
    records : Records
        Of its unseen sites.
    residual, scale, uncertainty : array, (row,)
        Observed less expected; scale of the error; the datum's own uncertainty [gC m-2 d-1].
    share, memory_days : float
        Of the error's variance that has memory, and how long.
    amplitude : array, (site,)
        Size of the cycle that predictors give a site [gC m-2 d-1].
    """

    records: Records
    residual: np.ndarray
    scale: np.ndarray
    uncertainty: np.ndarray
    share: float
    memory_days: float
    amplitude: np.ndarray


class Moments(NamedTuple):
    """What rows say of their site's unknowns [functions of b | years]: all sites that have rows.

    Attributes
    ----------
    precision : array, (site, unknown, unknown)
    right : array, (site, unknown)
    amplitude : array, (site,)
    """

    precision: np.ndarray
    right: np.ndarray
    amplitude: np.ndarray


def own_sd(sd: dict[str, float], amplitude: np.ndarray) -> np.ndarray:
    """Prior sd of every function of b, (site, function); that of the cycle is in proportion to its size (site,)."""
    size = {"offset": np.ones_like(amplitude), "cycle": amplitude, "trend": np.ones_like(amplitude)}
    return np.stack([sd[part] * size[part] for part in OWN], axis=1)


def lasting(records: Records, sd: np.ndarray, annual: np.ndarray) -> np.ndarray:
    """What rows see of their site's unknowns of unit variance, (row, unknown): b of sds (site, function), years of sds (row,)."""
    return np.concatenate([records.own * sd[records.site], records.of_years() * annual[:, None]], axis=1)


def spread_of_sites(members: Sequence[UnseenRows], sd: dict[str, float], freedom: float) -> dict[str, float]:
    """Sds of `PARTS` that members share: of b's offset, cycle (of its size) and trend (a decade), and of a year (of the error's scale).

    An sd of 0 stays 0: the part is off. Without unseen rows nothing is learnt.
    """
    there = [m for m in members if len(m.residual)]
    weights = [np.ones(len(m.residual)) for m in there]
    for _ in range(REWEIGHTED if there else 0):
        moments = [_moments(m, w) for m, w in zip(there, weights, strict=True)]
        for _ in range(ROUNDS):
            sd = _maximise([_posterior(m, sd, freedom) for m in moments], sd)
        weights = [_weights(m, w, sd, freedom) for m, w in zip(there, weights, strict=True)]
    return sd


def _errors(rows: UnseenRows, weight: np.ndarray, columns: np.ndarray) -> RowErrors:
    """s + e of the rows and what lasts, e with Student-t weights."""
    white = weight / (rows.uncertainty**2 + (1 - rows.share) * rows.scale**2)
    return RowErrors.create(rows.records, white, np.sqrt(rows.share) * rows.scale, rows.memory_days, columns)


def _moments(rows: UnseenRows, weight: np.ndarray) -> Moments:
    design = lasting(rows.records, np.ones((len(rows.amplitude), len(OWN))), rows.scale)
    nothing = np.zeros((len(weight), 1))
    found = _errors(rows, weight, nothing).gram(np.column_stack([design, rows.residual]))
    there = np.diff(rows.records.first) > 0
    return Moments(found[there, :-1, :-1], found[there, :-1, -1], rows.amplitude[there])


def _posterior(moments: Moments, sd: dict[str, float], freedom: float) -> tuple[np.ndarray, np.ndarray]:
    """Second moments of the unknowns over their sizes, (site, unknown), and 1 where a part is on and data say anything of it."""
    stated, size = own_sd(sd, moments.amplitude), own_sd(dict.fromkeys(PARTS, 1.0), moments.amplitude)
    own, weight = slice(len(OWN)), np.ones(len(stated))
    for _ in range(3):  # weights and unknowns of b follow each other
        prior = _prior_precision(moments, stated, sd["year"], weight)
        square = _second_moments(moments, prior)
        inside = (square[:, own] / np.where(stated > 0, stated, 1.0) ** 2).sum(axis=1)
        weight = (freedom + (stated > 0).sum(axis=1)) / (freedom + inside)
    square[:, own] *= weight[:, None] / size**2
    return square, (np.einsum("sii->si", moments.precision) > 0) & (prior > 0)


def _prior_precision(moments: Moments, own: np.ndarray, year: float, weight: np.ndarray) -> np.ndarray:
    """Of [functions of b | years], (site, unknown); 0 stands for a part that is off."""
    sd = np.concatenate([own, np.full((len(own), moments.right.shape[1] - len(OWN)), year)], axis=1)
    found = np.divide(1.0, sd**2, out=np.zeros_like(sd), where=sd > 0)
    found[:, : len(OWN)] *= weight[:, None]
    return found


def _second_moments(moments: Moments, prior: np.ndarray) -> np.ndarray:
    """Posterior mean squared plus variance of every unknown, (site, unknown); 0 where its part is off."""
    on = prior > 0
    precision = np.where(on[:, :, None] & on[:, None], moments.precision, 0.0)
    cover = np.linalg.inv(precision + np.where(on, prior, 1.0)[:, :, None] * np.eye(prior.shape[1]))
    mean = np.einsum("sij,sj->si", cover, np.where(on, moments.right, 0.0))
    return np.asarray(np.where(on, mean**2 + np.einsum("sii->si", cover), 0.0))


def _maximise(found: Sequence[tuple[np.ndarray, np.ndarray]], sd: dict[str, float]) -> dict[str, float]:
    """New sds: the mean second moment of each part's unknowns."""
    new = dict(sd)
    for part in (p for p in PARTS if sd[p] > 0):
        total = count = 0.0
        for square, known in found:
            of = [*OWN, *["year"] * (square.shape[1] - len(OWN))]
            mine = np.array([name == part for name in of])
            total, count = total + float((square * known)[:, mine].sum()), count + float(known[:, mine].sum())
        new[part] = max(float(np.sqrt(total / count)), SMALLEST) if count else sd[part]
    return new


def _weights(rows: UnseenRows, weight: np.ndarray, sd: dict[str, float], freedom: float) -> np.ndarray:
    """Student-t weights of e at what is expected of it."""
    columns = lasting(rows.records, own_sd(sd, rows.amplitude), sd["year"] * rows.scale)
    _, once = _errors(rows, weight, columns).given(rows.residual)
    square = once**2 / (rows.uncertainty**2 + (1 - rows.share) * rows.scale**2)
    return np.asarray((freedom + 1) / (freedom + square))

"""Elimination of regional anomalies against dense Gaussian conditioning."""

import numpy as np
import pytest

from dualflux.constraints.base import AnomalyPart, Effect, Layout, Normal
from dualflux.fitting.anomaly_elimination import AnomalyProblem
from dualflux.fitting.linear_posterior import MemberProblem, solve
from test_anomaly_effect import PRIOR, YEARS, sums

OTHERS, DATA = 7, 400
SIZE = 12 * 3 * len(YEARS)
PRIOR_SD = np.array([1.0, 0.5, 0.8, 2.0, 0.7, 0.3, 0.4])


class World:
    """Data y = X w + A a + e; every datum sees anomalies of one year."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.design = random.normal(size=(DATA, OTHERS))
        year = random.integers(0, len(YEARS), DATA)
        self.load = np.zeros((DATA, len(YEARS), 36))
        self.load[np.arange(DATA), year] = random.normal(size=(DATA, 36)) * (random.random((DATA, 36)) < 0.2)
        self.load = self.load.reshape(DATA, -1)
        self.precision = random.uniform(0.5, 2.0, DATA)
        self.observed, self.noise = random.normal(size=(2, DATA))

    def normal(self) -> Normal:
        weighted = self.precision[:, None] * self.load
        right = np.column_stack([self.precision * self.observed, np.sqrt(self.precision) * self.noise])
        gram = (self.load.T @ weighted).reshape(len(YEARS), 36, len(YEARS), 36)
        blocks = np.stack([gram[y, :, y] for y in range(len(YEARS))])
        part = AnomalyPart(weighted.T @ self.design, self.load.T @ right, blocks)
        design = self.precision[:, None] * self.design
        return Normal(np.arange(OTHERS), self.design.T @ design, self.design.T @ right, lambda: part)

    def problem(self, sign: float = 1.0) -> MemberProblem:
        layout = Layout((Effect("readout", "flux", 4), Effect("site_effect", "nuisance", 3, diagonal=True)))
        anomaly = AnomalyProblem.create(PRIOR, YEARS, (11, 1, sign))
        trained = np.zeros(OTHERS)
        return MemberProblem(layout, trained, PRIOR_SD, [lambda parameters, draw=None: self.normal()], np.zeros(OTHERS), sign, anomaly)

    def dense(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of (w, a) by conditioning on the data."""
        prior = np.zeros((OTHERS + SIZE,) * 2)
        prior[:OTHERS, :OTHERS], prior[OTHERS:, OTHERS:] = np.diag(PRIOR_SD**2), PRIOR.covariance(YEARS)
        all_columns = np.concatenate([self.design, self.load], axis=1)
        gain = np.linalg.solve(all_columns @ prior @ all_columns.T + np.diag(1 / self.precision), all_columns @ prior).T
        return gain @ self.observed, prior - gain @ all_columns @ prior


def test_posterior_mean_and_variance_are_those_of_dense_conditioning() -> None:
    world = World()
    problem, (mean, covariance) = world.problem(), world.dense()
    normals = problem.normals(problem.trained)
    found, variance = solve(problem, normals, np.empty(0), draw=False)
    assert np.allclose(problem.whole(normals, found), mean, atol=1e-9)
    assert np.allclose(variance, np.diag(covariance)[:OTHERS], atol=1e-10)


def test_anomalies_of_a_solution_sum_to_zero_also_when_they_are_drawn() -> None:
    problem = World().problem()
    normals = problem.normals(problem.trained)
    for draw in (False, True):
        whole = problem.whole(normals, solve(problem, normals, np.empty(0), draw)[0], draw)
        assert np.abs(sums(YEARS, 3) @ whole[OTHERS:]).max() < 1e-9


def test_draws_have_the_posterior_covariance() -> None:
    """Of 300 draws: the variances on average within 5 %, and those of the other unknowns' covariance within its sampling error."""
    world, deviations = World(), []
    random = np.random.default_rng(5)
    for k in range(300):
        world.noise = random.normal(size=DATA)
        base = world.problem()
        drawn = AnomalyProblem.create(PRIOR, YEARS, (3, k, 1.0))
        problem = MemberProblem(base.layout, base.trained, PRIOR_SD, base.equations, random.normal(size=OTHERS), anomaly=drawn)
        normals = problem.normals(problem.trained)
        deviations.append(problem.whole(normals, solve(problem, normals, np.empty(0), draw=True)[0], draw=True))
    mean, covariance = world.dense()
    off = np.array(deviations) - mean
    variance = np.diag(covariance)
    assert ((off**2).mean(axis=0) / variance).mean() == pytest.approx(1, abs=0.05)
    found, scale = off[:, :OTHERS].T @ off[:, :OTHERS] / len(off), np.sqrt(np.outer(variance, variance))[:OTHERS, :OTHERS]
    assert np.abs((found - covariance[:OTHERS, :OTHERS]) / scale).max() < 0.3  # at most some four standard errors


def test_a_pair_averages_to_the_posterior_mean() -> None:
    world = World()
    both = []
    for sign in (1.0, -1.0):
        world.noise = sign * np.abs(world.noise)
        problem = world.problem(sign)
        normals = problem.normals(problem.trained)
        both.append(problem.whole(normals, solve(problem, normals, np.empty(0), draw=True)[0], draw=True))
    assert np.allclose(np.mean(both, axis=0), world.dense()[0], atol=1e-9)

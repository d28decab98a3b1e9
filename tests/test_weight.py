"""The choice of the inversions' weight: a normalised density of what was not seen, candidates compared in pairs, an R that is wrong."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dualflux.constraints.inversions.covariance import EnsembleError, independent
from dualflux.constraints.inversions.held_out import contrasts, predictive_loss
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint, constraint_maker
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.fitting.ensembles import PRIORS
from dualflux.fitting.weight import CANDIDATE_WEIGHTS, best_weight, choose_weight, stated, variance_of_total
from dualflux.variants import VARIANTS
from small_world import (
    CELLS,
    NETWORK,
    TRAINING,
    WHOLE_PERIOD,
    make_cube,
    make_objective,
    make_target,
    make_towers,
    quick_compilation,
)

YEARS = 9
CUBE = make_cube(YEARS)
TOWERS = make_towers(CUBE)


@pytest.fixture(scope="module", autouse=True)
def _quickly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with quick_compilation(tmp_path_factory.mktemp("compiled")):
        yield


def weigh(constraint: RegionalConstraint, seed: int = 1) -> tuple[float, pd.DataFrame]:
    """The weight chosen for inversions of the small world."""

    def make(product: str | None, years: tuple[int, int] | None, emissions: dict[str, float] | None = None) -> RegionalConstraint:
        keep = np.ones(len(constraint.years), bool) if years is None else (constraint.years < years[0]) | (constraint.years > years[1])
        part = {"observed": constraint.observed[:, keep], "years": constraint.years[keep], "month": constraint.month[keep]}
        return dataclasses.replace(constraint, **part)

    objective = make_objective(CUBE, TOWERS, constraint, "exact")
    settings = (NETWORK, TowerTermSettings(), TRAINING, CUBE.columns)
    choice = choose_weight(objective, "inversions", make, VARIANTS["dual"], *settings, seed)
    return choice.weight, choice.trial


def inversions_of_noise(sd: float, stated: float, seed: int = 0) -> RegionalConstraint:
    """A cycle that all years have, and independent errors of `sd` about it in every month; R says a variance `stated` times that."""
    plain = constraint_maker(make_target(YEARS), CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)(None, None)
    random = np.random.default_rng(seed)
    observed = plain.observed.mean(axis=1, keepdims=True) + sd * random.normal(size=plain.observed.shape)
    variance = np.full(len(plain.regions), sd**2)
    error = independent(variance, variance, variance).scaled(stated)
    return dataclasses.replace(plain, observed=observed, error=error, drawn=None)


@pytest.mark.parametrize("stated", [1 / 30, 1.0, 30.0])
def test_an_r_that_is_wrong_by_a_factor_of_thirty_is_repaired(stated: float) -> None:
    """Inversions whose errors are far above what weather does: R / weight is the true R within a factor of 3."""
    weight, trial = weigh(inversions_of_noise(2.0, stated))
    assert 1 / 3 <= weight / stated <= 3, trial
    assert weight == pytest.approx(trial.weight[trial.chosen].iloc[0])


def test_a_stated_weight_is_taken_as_it_stands() -> None:
    choice = stated(0.3, TRAINING)
    assert choice.weight == 0.3 and choice.priors == PRIORS and choice.trial.empty and choice.of_priors.empty


def test_the_weight_is_chosen_by_what_was_held_out_also_of_a_short_record() -> None:
    """Four years: one is held out. Every candidate has a finite score; of those near the best the closest to 1 is taken."""
    make = constraint_maker(make_target(4), CUBE, CELLS, InversionTermSettings(), WHOLE_PERIOD)
    objective = make_objective(CUBE, TOWERS, make(None, None), years=3)
    settings = (NETWORK, TowerTermSettings(), TRAINING, CUBE.columns)
    weight, _, trial, _ = choose_weight(objective, "inversions", make, VARIANTS["dual"], *settings, 1)
    assert tuple(trial.weight) == CANDIDATE_WEIGHTS and np.isfinite(trial.drop(columns="chosen")).all(axis=None)
    assert trial.chosen.sum() == 1 and trial.weight[trial.chosen].iloc[0] == weight
    assert trial.difference.min() == 0 and trial.standard_error[trial.difference == 0].eq(0).all()
    near = trial[trial.difference <= trial.standard_error]
    assert abs(np.log(weight)) == np.abs(np.log(near.weight)).min()


def test_candidates_reach_a_factor_of_thirty_both_ways_in_steps_of_about_three() -> None:
    assert min(CANDIDATE_WEIGHTS) == pytest.approx(1 / 30) and max(CANDIDATE_WEIGHTS) == 30 and 1.0 in CANDIDATE_WEIGHTS
    assert np.diff(np.log(CANDIDATE_WEIGHTS)).max() < np.log(3.5)


def test_equal_candidates_keep_one() -> None:
    same = np.broadcast_to(np.random.default_rng(0).normal(size=(1, 3, 4)), (7, 3, 4))
    weight, trial = best_weight([same, same[..., :1]], CANDIDATE_WEIGHTS)
    assert weight == 1.0 and (trial.difference == 0).all() and (trial.standard_error == 0).all()


def test_what_all_candidates_share_does_not_count_in_the_error() -> None:
    """Years of very different scores, and a difference of .1 in each: unpaired the error is above 10, in pairs nearly zero."""
    random = np.random.default_rng(1)
    shared = 10 * random.normal(size=(1, 3, 6))
    gain = np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.0, -0.1])[:, None, None] + 1e-3 * random.normal(size=(7, 3, 6))
    weight, trial = best_weight([shared + gain], CANDIDATE_WEIGHTS)
    assert weight == 3.0
    np.testing.assert_allclose(trial.difference, [2.4, 1.8, 1.2, 0.6, 0, 0.6, 1.2], atol=0.02)
    assert trial.standard_error.max() < 0.02


def test_the_standard_error_is_the_sd_over_worlds() -> None:
    """Of 4000 drawn differences: years that all members share, or a number of each member."""
    random = np.random.default_rng(2)
    years = random.normal(size=(4000, 1, 5)) + 0.5 * random.normal(size=(4000, 3, 5))
    own = 2 * random.normal(size=(4000, 3, 1))
    for difference, wanted in ((years, 5 * (1 + 0.25 / 3)), (own, 4 / 3)):
        total = difference.mean(axis=1).sum(axis=1)
        assert total.var() == pytest.approx(wanted, rel=0.1)
        assert variance_of_total(difference).mean() == pytest.approx(wanted, rel=0.1)


# The density of unseen years


def correlated_error() -> EnsembleError:
    """A dense covariance of two regions."""
    factor = np.random.default_rng(3).normal(size=(24, 30))
    covariance = (factor @ factor.T).reshape(2, 12, 2, 12)
    return EnsembleError(covariance, covariance)


def test_the_density_of_unseen_years_is_that_of_a_dense_gaussian_with_an_unknown_mean() -> None:
    """p(all years) / p(seen years), with a mean of the years that is as good as unknown: a normal distribution by dense algebra."""
    error, weight, seen = correlated_error(), 0.3, np.array([True, False, True, True, False, True])
    residual = np.random.default_rng(4).normal(size=(2, 2, 6, 12))
    anomaly = error.anomaly.reshape(24, 24) / weight
    flat = np.moveaxis(residual, 2, 1).reshape(2, 6, 24)
    wide = 1e5 * np.eye(24)

    def log_density(years: np.ndarray, member: int) -> float:
        covariance = np.kron(np.eye(years.sum()), anomaly) + np.kron(np.ones((years.sum(), years.sum())), wide)
        return float(stats.multivariate_normal(np.zeros(24 * years.sum()), covariance).logpdf(flat[member][years].ravel()))

    found = predictive_loss(residual, seen, error.anomaly, np.full(2, weight))
    assert found.shape == (2, 2)
    for member in range(2):
        wanted = log_density(seen, member) - log_density(np.ones(6, bool), member)
        assert found[member].sum() == pytest.approx(wanted, rel=1e-3)


def test_one_unseen_year_is_told_by_region() -> None:
    error, seen = correlated_error(), np.array([True, True, False])
    residual = np.random.default_rng(5).normal(size=(1, 2, 3, 12))
    shift = residual[0, :, 2] - residual[0, :, :2].mean(axis=1)
    found = predictive_loss(residual, seen, error.anomaly, np.ones(1))
    wanted = -stats.multivariate_normal(np.zeros(24), 1.5 * error.anomaly.reshape(24, 24)).logpdf(shift.ravel())
    assert found.shape == (1, 2) and found.sum() == pytest.approx(wanted, rel=1e-9)


def test_what_all_years_share_does_not_count() -> None:
    """A wrong offset and cycle of the whole record are not held against a candidate."""
    residual, seen = np.random.default_rng(6).normal(size=(1, 2, 5, 12)), np.array([True, True, True, False, False])
    shifted = residual + 10 * np.random.default_rng(7).normal(size=(1, 2, 1, 12))
    np.testing.assert_allclose(contrasts(shifted, seen)[0], contrasts(residual, seen)[0], atol=1e-12)


def test_the_density_is_largest_where_r_is_as_large_as_the_residuals() -> None:
    """Residuals drawn from R x 7: of all claims that of a weight of 1/7 has the smallest loss, whatever units R is in."""
    error, seen = correlated_error(), np.arange(60) < 20
    draws = np.linalg.cholesky(7 * error.anomaly.reshape(24, 24)) @ np.random.default_rng(8).normal(size=(24, 60))
    weights = np.exp(np.linspace(np.log(1 / 30), np.log(30), 200))
    residual = np.broadcast_to(np.moveaxis(draws.reshape(2, 12, 60), 2, 1), (200, 2, 60, 12))
    loss = predictive_loss(residual, seen, error.anomaly, weights).sum(axis=1)
    assert weights[loss.argmin()] == pytest.approx(1 / 7, rel=0.15)

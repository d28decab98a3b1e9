"""Predictive distributions at left-out towers: limits by known distributions, coverage of data drawn from the stated model."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dualflux.constraints.towers.constraint import TowerParameters
from dualflux.evaluation.tower_coverage import error_scale, probability_below, tower_coverage
from test_results import constant_ensemble


@pytest.mark.parametrize("freedom", [2.5, 4.0, 30.0])
def test_the_limits_are_student_and_normal(freedom: float) -> None:
    at = np.linspace(-6, 6, 41)
    one, nothing = np.ones(41), np.full(41, 1e-9)
    np.testing.assert_allclose(probability_below(at, 0 * one, one, freedom), stats.t.cdf(at, freedom), atol=1e-12)
    found = probability_below(at, one, 0.4 * one, freedom)
    assert (np.diff(found) > 0).all() and (found > 0).all() and (found < 1).all()
    np.testing.assert_allclose(found + probability_below(-at, one, 0.4 * one, freedom), 1, atol=1e-12)
    assert np.isfinite(probability_below(at, one, nothing, freedom)).all()


@pytest.mark.parametrize("ratio", [0.2, 1.0, 3.0])
def test_a_sum_of_normal_and_student_is_that_of_draws(ratio: float) -> None:
    """400000 draws; standard error of a share at most 0.0008. The quadrature adds up to 0.003 where the normal part is the wider."""
    random = np.random.default_rng(1)
    draws = ratio * random.standard_normal(400000) + random.standard_t(4, 400000)
    at = np.linspace(-5, 5, 21)
    found = probability_below(at, np.full(21, ratio), np.ones(21), 4.0)
    np.testing.assert_allclose(found, [(draws <= q).mean() for q in at], atol=0.006)


def test_a_folds_error_is_that_of_the_members_that_have_not_seen_it() -> None:
    ensemble = constant_ensemble([1, 2, 3], [0, 1, 1])
    ensemble.model.own["towers"] = TowerParameters(np.zeros(0), np.log([0.5, 1.0, 2.0]), np.log([0.1, 0.2, 0.4]))  # type: ignore[arg-type]
    found = error_scale(ensemble, np.array([0, 1]), np.array([-2.0, 4.0]), np.array([0.3, 2.0]))
    np.testing.assert_allclose(found, [np.hypot(0.3, 0.7), np.hypot(2.0, 1.5 + 0.3 * 4)])


def test_coverage_of_what_the_model_says() -> None:
    """600 sites of 30 data: site effects of 0.8, error of scale 1 with 4 degrees of freedom, members that scatter by 0.6.

    Four standard errors of 600 sites. The mean over a site has, beside what is stated, an error of 0.26.
    """
    random, sites, each = np.random.default_rng(2), 600, 30
    name = np.repeat([f"S{i:03d}" for i in range(sites)], each)
    normal = np.repeat(np.hypot(0.8, 0.6) * random.standard_normal(sites), each)
    observed = 2.0 + normal + random.standard_t(4, sites * each)
    table = pd.DataFrame({"product": "dual", "site": name, "observed": observed, "tower_like": 2.0, "std": 0.6})
    ensemble = constant_ensemble([1.0, 1.0], [0, 1])
    ensemble.model.own["towers"] = TowerParameters(np.zeros(0), np.log([0.8, 0.8]), np.log([0.1, 0.1]))  # type: ignore[arg-type]
    table_of_sites = pd.DataFrame({"fold": np.arange(sites) % 2}, index=pd.Index(dict.fromkeys(name), name="site"))
    effect = pd.Series([0.8, 0.8], index=[0, 1])
    found = tower_coverage(table, {"dual": ensemble}, {"dual": effect}, table_of_sites, np.zeros(len(table)), 4.0)
    values = found.set_index("metric").value
    assert set(found["product"]) == {"dual"} and set(found.region) == {"towers"} and set(found.unit) == {"1"}
    for level in (0.5, 0.68, 0.9):
        error = 4 * np.sqrt(level * (1 - level) / sites)
        assert values[f"coverage_{round(100 * level)}_tower_like"] == pytest.approx(level, abs=error)
        assert values[f"coverage_{round(100 * level)}_site_mean"] == pytest.approx(level, abs=error + 0.03)

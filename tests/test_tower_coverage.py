"""Predictive distributions at left-out towers: limits by known distributions, coverage of data drawn from the stated model."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from dualflux.constraints.towers.members import TowerParameters
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.constraints.towers.records import Records
from dualflux.constraints.towers.row_errors import RowErrors
from dualflux.constraints.towers.site_spread import lasting, own_sd
from dualflux.evaluation.tower_coverage import error_sizes, errors_at, probability_below, site_spread, tower_coverage
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


def parameters(floor: list[float], growth: list[float], share: float = 0.0, days: float = 20.0) -> TowerParameters:
    """Of some members; nothing fitted to a site."""
    nothing, members = np.zeros((len(floor), 0)), len(floor)
    logit = np.full(members, special.logit(share) if share else -60.0)
    found = (nothing, nothing, np.log(floor), np.log(growth), logit, np.full(members, np.log(days)))
    return TowerParameters(*found)  # type: ignore[arg-type]


def test_a_folds_error_is_that_of_the_members_that_have_not_seen_it() -> None:
    """Floor and growth averaged over them; white variance beside the datum's own, memory, and what lasts, by hand."""
    ensemble = constant_ensemble([1, 2, 3], [0, 1, 1])
    ensemble.model.own["towers"] = parameters([0.5, 1.0, 2.0], [0.1, 0.2, 0.4], share=0.25)
    sizes = error_sizes(ensemble, np.array([0, 1]))
    np.testing.assert_allclose(sizes[["floor", "growth", "share", "days"]], [[0.5, 0.1, 0.25, 20], [1.5, 0.3, 0.25, 20]])
    records = Records.create(np.arange(2), pd.DatetimeIndex(["2001-07-02"] * 2), 2)
    spread = pd.DataFrame({"offset": [0.8, 0.4], "cycle": [0.0, 0.5], "trend": [1.0, 1.0], "year": [0.3, 0.6]})
    found = errors_at(records, sizes, spread, np.array([1.0, 2.0]), np.array([-2.0, 4.0]), np.array([0.3, 2.0]))
    scale = np.array([0.7, 2.7])
    np.testing.assert_allclose(1 / found.white, [0.3**2 + 0.75 * 0.7**2, 2.0**2 + 0.75 * 2.7**2])
    np.testing.assert_allclose(found.memory, 0.5 * scale)
    waves = (records.own[1, 1:5] ** 2).sum()  # one row alone is in the middle of its record: no trend
    lasts = [0.8**2 + (0.3 * 0.7) ** 2, 0.4**2 + (0.5 * 2.0) ** 2 * waves + (0.6 * 2.7) ** 2]
    np.testing.assert_allclose((found.lasting**2).sum(axis=1), lasts)


def test_coverage_of_what_the_model_says() -> None:
    """600 sites of 30 months: all parts of the error as stated, b's and e's with 4 degrees of freedom, members that scatter by 0.6.

    Four standard errors of 600 sites for means; data of a site hang together, so theirs is the same.
    """
    random, sites, each = np.random.default_rng(2), 600, 30
    site = np.repeat(np.arange(sites), each)
    time = pd.DatetimeIndex(np.tile(pd.date_range("2001-01-01", periods=each, freq="MS"), sites))
    records, amplitude = Records.create(site, time, sites), random.uniform(0.5, 2, sites)
    sd, scale, share, days = {"offset": 0.8, "cycle": 0.4, "trend": 0.5, "year": 0.5}, 0.9, 0.3, 40.0
    tails = np.sqrt(random.chisquare(4, sites) / 4)[:, None]
    columns = lasting(records, own_sd(sd, amplitude) / tails, np.full(len(site), sd["year"] * scale))
    white = (1 - share) * scale**2
    rows = np.ones(len(site))
    errors = RowErrors.create(records, rows / white, np.sqrt(share) * scale * rows, days, columns)
    scatter = np.repeat(0.6 * random.standard_normal(sites), each)
    observed = 2.0 + scatter + errors.draw(random)[0] + np.sqrt(white) * random.standard_t(4, len(site))
    table = pd.DataFrame({"product": "dual", "site": site, "observed": observed, "tower_like": 2.0, "std": 0.6})
    ensemble = constant_ensemble([1.0, 1.0], [0, 1])
    ensemble.model.own["towers"] = parameters([0.7, 0.7], [0.1, 0.1], share, days)  # 0.7 + 0.1 x 2
    of_sites = pd.DataFrame({"fold": np.arange(sites) % 2})
    nothing = np.zeros((len(site), 1), np.float32)
    towers = TowerConstraint(nothing, site, observed.astype(np.float32), nothing[:, 0], amplitude, of_sites, time)
    spread = pd.DataFrame([sd, sd])
    found = tower_coverage(table, {"dual": ensemble}, {"dual": spread}, towers, 4.0)
    values = found.set_index("metric").value
    assert set(found["product"]) == {"dual"} and set(found.region) == {"towers"} and set(found.unit) == {"1"}
    for level in (0.5, 0.68, 0.9):
        error = 4 * np.sqrt(level * (1 - level) / sites)
        assert values[f"coverage_{round(100 * level)}_tower_like"] == pytest.approx(level, abs=error)
        assert values[f"coverage_{round(100 * level)}_site_mean"] == pytest.approx(level, abs=error)


def test_the_sds_of_a_fold_are_those_of_its_chosen_checkpoint(tmp_path: Path) -> None:
    columns = {f"site_{part}_sd": np.arange(4.0) + i for i, part in enumerate(("offset", "cycle", "trend", "year"))}
    table = pd.DataFrame({"fold": [0, 0, 1, 1], "chosen": [False, True, True, False], **columns})
    (tmp_path / "dual").mkdir()
    table.to_csv(tmp_path / "dual/history.csv", index=False)
    found = site_spread(tmp_path, "dual")
    np.testing.assert_array_equal(found.loc[[0, 1], ["offset", "cycle", "trend", "year"]], [[1, 2, 3, 4], [2, 3, 4, 5]])

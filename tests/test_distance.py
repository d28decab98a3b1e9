"""Errors at a distance from towers: the slope is found, the field is what it is said to be, pairs tell what cells have of their own."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dualflux.metrics.pairs import paired_variance
from dualflux.model.distance_effect import DistanceEffect, TowerDistance
from dualflux.prediction.distance_error import anomalies, correlation_length, fit_slope, independent_share, pairs_by_distance
from dualflux.stages.distance import drawn_effect
from small_world import BASIS, CELLS, make_cube, make_sites

PRIOR = 0.04
CUBE, SITES = make_cube(2), make_sites(8)
PLACE = CUBE.mean_year()
TOWERS = TowerDistance(
    SITES.lat.to_numpy(), SITES.lon.to_numpy(), PLACE[SITES.cell.to_numpy()], BASIS.length, 0.3 * float(PLACE.std() * PLACE.shape[1] ** 0.5)
)
AT = (CELLS.lat(), CELLS.lon())
H = TOWERS.growth(*AT, PLACE)


def members(pairs: int) -> list[tuple[int, ...]]:
    return [(5, 7, place // 2, 1 - 2 * (place % 2)) for place in range(2 * pairs)]


def field(slope: float, pairs: int, closed: bool) -> np.ndarray:
    effect = drawn_effect(slope, TOWERS, BASIS, CELLS, PLACE, members(pairs), closed)
    return effect.field(*AT, PLACE, BASIS.at(*AT))


def test_a_slope_drawn_from_its_prior_is_inside_its_interval_as_often_as_stated() -> None:
    rng, inside = np.random.default_rng(1), []
    for _ in range(150):
        slope, h = rng.exponential(PRIOR), rng.uniform(0, 1, 60)
        known = rng.uniform(0, 0.02, 60)
        residual = rng.normal(size=60) * np.sqrt(known + 0.03 + slope * h)
        found = fit_slope(residual**2, h, known, np.ones(60), PRIOR)
        inside.append(found.lower <= slope <= found.upper)
    assert 0.9 - 0.07 < np.mean(inside) < 0.9 + 0.07


def test_a_wide_network_finds_the_slope_and_no_slope_where_there_is_none() -> None:
    rng = np.random.default_rng(2)
    h, noise = rng.uniform(0, 1, 5000), rng.normal(size=5000)
    for slope in (0.0, 0.1):
        found = fit_slope(noise**2 * (0.05 + slope * h), h, 0 * h, np.ones(len(h)), PRIOR)
        assert abs(found.value - slope) < 0.015 and abs(found.near - 0.05) < 0.01


def test_members_variance_is_not_counted_again() -> None:
    """Where members already spread as far as residuals do, the growth is theirs."""
    rng = np.random.default_rng(3)
    h = rng.uniform(0, 1, 5000)
    square = rng.normal(size=5000) ** 2 * (0.05 + 0.1 * h)
    assert fit_slope(square, h, 0.1 * h, np.ones(5000), PRIOR).value < 0.015
    assert fit_slope(square, h, 0 * h, np.ones(5000), PRIOR).value > 0.08


def test_sites_that_count_half_are_half_a_site() -> None:
    rng = np.random.default_rng(4)
    h, square = rng.uniform(0, 1, 30), rng.exponential(0.1, 30)
    one = fit_slope(square, h, 0 * h, np.ones(30), PRIOR)
    twice = fit_slope(np.tile(square, 2), np.tile(h, 2), np.zeros(60), np.full(60, 0.5), PRIOR)
    np.testing.assert_allclose(one, twice, rtol=1e-9)


def test_the_field_has_the_stated_sd_where_no_region_is_told() -> None:
    """Nothing at a tower, and sqrt(slope h) in every cell."""
    variance = paired_variance(field(0.09, 2000, closed=False))
    assert H.max() > 0.5 and H[SITES.cell].max() < 1e-6
    np.testing.assert_allclose(variance, 0.09 * H, rtol=0.2, atol=1e-12)


def test_the_field_moves_no_region_that_is_told_and_no_mean() -> None:
    closed, free = field(0.09, 200, closed=True), field(0.09, 200, closed=False)
    share = CELLS.region_area / CELLS.region_area.sum(axis=1, keepdims=True)
    assert np.abs(share @ closed.T).max() < 1e-9 < 0.01 < (share @ free.T).std(axis=1).min()
    assert np.abs(closed.mean(axis=0)).max() < 1e-12 and np.abs(free.mean(axis=0)).max() < 1e-12
    ratio = (paired_variance(closed) * CELLS.land_area).sum() / (0.09 * H * CELLS.land_area).sum()
    assert 0.3 < ratio < 1  # what integrals know is taken out, the pattern stays


def test_a_saved_field_is_the_same(tmp_path: Path) -> None:
    effect = drawn_effect(0.09, TOWERS, BASIS, CELLS, PLACE, members(3), closed=True)
    np.savez(tmp_path / "e.npz", **effect.arrays())
    with np.load(tmp_path / "e.npz", allow_pickle=False) as file:
        again = DistanceEffect.of_arrays(dict(file))
    assert np.array_equal(again.field(*AT, PLACE, BASIS.at(*AT)), effect.field(*AT, PLACE, BASIS.at(*AT)))
    assert np.array_equal(again.select(np.array([1])).coefficient, effect.coefficient[1:2])


def test_pairs_tell_the_share_and_the_length_of_what_neighbours_have_in_common() -> None:
    """Anomalies of variance 1: .2 that all have, .4 that falls e-fold within 100 km, the rest a site's own."""
    rng = np.random.default_rng(6)
    lat = np.concatenate([np.arange(40) * 3.0 - 60, np.arange(40) * 3.0 - 60 + 0.2, np.arange(40) * 3.0 - 60 + 1.0])
    sites = pd.DataFrame({"lat": lat, "lon": 0.0}, index=[f"S{i:03d}" for i in range(120)])
    away = 111.19 * np.abs(lat[:, None] - lat)
    covariance = 0.2 + 0.4 * np.exp(-away / 100) + 0.4 * np.eye(120)
    values = pd.DataFrame(rng.normal(size=(1500, 120)) @ np.linalg.cholesky(covariance).T, columns=sites.index)
    found = pairs_by_distance(values.mask(rng.random(values.shape) < 0.3), sites)
    expected = 0.2 + 0.4 * np.exp(-found.distance.to_numpy()[:2] / 100)
    np.testing.assert_allclose(found.correlation.to_numpy()[:2], expected, atol=0.06)
    assert abs(found.correlation["200-"] - 0.2) < 0.05
    assert abs(independent_share(found) - 0.4 * np.exp(-found.distance["0-50"] / 100)) < 0.06
    assert 70 < correlation_length(found) < 140


def test_without_near_pairs_a_cell_has_nothing_of_its_own_that_is_known() -> None:
    pairs = pd.DataFrame(
        {"correlation": [0.9, np.nan, 0.1], "distance": [10.0, np.nan, 900.0], "pairs": [2, 0, 99]}, ["0-50", "50-200", "200-"]
    )
    assert independent_share(pairs) == pytest.approx(0) and np.isnan(correlation_length(pairs))


def test_anomalies_keep_their_variance_without_the_cycle() -> None:
    rng = np.random.default_rng(7)
    months = pd.period_range("2001-01", "2005-12", freq="M")
    cycle = 3 * np.cos(2 * np.pi * months.month.to_numpy() / 12)[:, None]
    found = anomalies(pd.DataFrame(cycle + 1 + rng.normal(size=(60, 300)), months))
    assert abs(float((found**2).to_numpy().mean()) - 1) < 0.03

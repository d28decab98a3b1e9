"""The spatial effect: a random field of the same variance everywhere, correlated over a stated length, on a sphere without edges."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dualflux.geometry.sphere import MEAN_RADIUS_KM
from dualflux.model.spatial_effect import HARMONICS, SPACING, SpatialBasis, SpatialSettings, harmonics

LENGTH = 1500.0


def haversine(lat: float, lon: float, lats: np.ndarray, lons: np.ndarray) -> np.ndarray:
    """Great-circle distance [km] by another formula than the code's."""
    one, two, east = np.radians(lat), np.radians(lats), np.radians(lons - lon)
    half = np.sin((two - one) / 2) ** 2 + np.cos(one) * np.cos(two) * np.sin(east / 2) ** 2
    return 2 * MEAN_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def land(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Cells of two continents, one of them across the date line."""
    random = np.random.default_rng(seed)
    lat, lon = random.uniform(-60, 80, count), random.uniform(-40, 60, count)
    lon[: count // 3] = (random.uniform(150, 220, count // 3) + 180) % 360 - 180
    return lat, lon


BASIS = SpatialBasis.create(*land(), LENGTH)


# Basis functions


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 360)), min_size=1, max_size=30))
@settings(deadline=None)
def test_squares_of_the_bumps_sum_to_one_everywhere(places: list[tuple[float, float]]) -> None:
    lat, lon = np.array(places).T
    phi = BASIS.at(lat, lon)
    assert phi.shape == (len(places), BASIS.size) and (phi >= 0).all()
    np.testing.assert_allclose((phi**2).sum(axis=1), 1, rtol=1e-12)


def test_a_bump_is_a_gaussian_of_distance() -> None:
    """The ratio of two basis functions at a place is that of exp(-d^2 / (2 length^2))."""
    basis = SpatialBasis(np.array([[40.0, 10.0], [50.0, 30.0], [-30.0, 170.0]]), 2000.0)
    one, two, _ = basis.at(np.array([44.0]), np.array([15.0]))[0]
    apart = haversine(44.0, 15.0, *basis.centre.T)
    assert one / two == pytest.approx(np.exp(-(apart[0] ** 2 - apart[1] ** 2) / (2 * 2000.0**2)), rel=1e-9)


@given(st.integers(0, 999), st.floats(300, 8000), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_no_cell_is_far_from_a_bump_and_no_two_bumps_are_close(seed: int, length: float, count: int) -> None:
    """Basis functions stand on cells; every cell is within SPACING lengths of one, any two are farther apart than that."""
    lat, lon = land(seed, count)
    basis = SpatialBasis.create(lat, lon, length)
    assert {tuple(c) for c in basis.centre} <= set(zip(lat, lon, strict=True))
    apart = np.stack([haversine(a, o, *basis.centre.T) for a, o in zip(lat, lon, strict=True)])
    assert apart.min(axis=1).max() <= SPACING * length + 0.1
    between = np.stack([haversine(a, o, *basis.centre.T) for a, o in basis.centre])
    assert between[~np.eye(basis.size, dtype=bool)].min(initial=np.inf) > SPACING * length - 0.1


def test_the_date_line_and_the_poles_are_no_edges() -> None:
    """One place has one basis whatever its longitude is called, and neighbours across the line are neighbours."""
    lat = np.array([10.0, -55.0, 66.0])
    np.testing.assert_allclose(BASIS.at(lat, np.full(3, 180.0)), BASIS.at(lat, np.full(3, -180.0)), atol=1e-9)
    np.testing.assert_allclose(BASIS.at(lat, np.full(3, 359.0)), BASIS.at(lat, np.full(3, -1.0)), atol=1e-9)
    for pole in (90.0, -90.0):
        around = BASIS.at(np.full(8, pole), np.arange(-180.0, 180.0, 45.0))
        np.testing.assert_allclose(around, np.broadcast_to(around[0], around.shape), atol=1e-9)
    inland, across = (BASIS.at(np.full(2, 20.0), np.array(lon)) for lon in ([10.0, 10.2], [179.9, -179.9]))
    assert (inland[0] * inland[1]).sum() > 0.999 and (across[0] * across[1]).sum() > 0.999


# The year


@pytest.mark.parametrize("seasons", [12, 366])
def test_harmonics_are_orthonormal_over_the_mean_year(seasons: int) -> None:
    """Mean over the year of products of mean, cosine and sine: the identity; so a coefficient's variance is that of the flux."""
    wave = harmonics(np.arange(seasons), seasons)
    assert wave.shape == (seasons, HARMONICS)
    np.testing.assert_allclose(wave.T @ wave / seasons, np.eye(HARMONICS), atol=1e-12)


def test_a_month_and_the_days_of_its_middle_have_one_season() -> None:
    """July is part 6 of 12; its middle day, 16 July, is part 197 of 366 (0.5 days of 366 apart at the most)."""
    month, day = harmonics(np.array(6), 12), harmonics(np.array(197), 366)
    np.testing.assert_allclose(month, day, atol=np.sqrt(2) * 3 * 2 * np.pi * 1.5 / 366)
    assert month[1] < -1.3  # July is far from January


# The field


def test_the_fields_variance_is_that_of_its_coefficients() -> None:
    """Mean of sd 0.3, six waves of 0.2, 0.1, 0.05 in pairs: mean over the year of the variance anywhere; 4000 fields."""
    random, seasons = np.random.default_rng(0), np.arange(12)
    lat, lon = land(1, 25)
    sd = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])[:, None]
    fields = random.normal(size=(4000, HARMONICS, BASIS.size)) * sd
    u = BASIS.effect(fields, np.repeat(lat, 12), np.repeat(lon, 12), np.tile(harmonics(seasons, 12), (25, 1))).reshape(4000, 25, 12)
    wanted = 0.3**2 + 2 * (0.2**2 + 0.1**2 + 0.05**2)  # cos^2 + sin^2 = 1: the same in every month
    np.testing.assert_allclose((u**2).mean(axis=0), wanted, rtol=5 * np.sqrt(2 / 4000))
    np.testing.assert_allclose((u.mean(axis=-1) ** 2).mean(axis=0), 0.3**2, rtol=5 * np.sqrt(2 / 4000))


def test_correlation_falls_with_distance_from_one_to_nothing() -> None:
    """phi(s)' phi(s'): 1 at distance 0; means over pairs fall with distance; next to nothing from 5 lengths on."""
    lat, lon = land(2, 300)
    phi = BASIS.at(lat, lon)
    correlation = phi @ phi.T
    apart = np.stack([haversine(a, o, lat, lon) for a, o in zip(lat, lon, strict=True)]) / LENGTH
    np.testing.assert_allclose(np.diag(correlation), 1, rtol=1e-12)
    edges = np.arange(0, 5.1, 0.5)
    by_distance = [correlation[(apart >= low) & (apart < high)].mean() for low, high in pairwise(edges)]
    assert (np.diff(by_distance) < 0).all()
    assert by_distance[0] > 0.9 and 0.3 < by_distance[2] < 0.9
    assert correlation[apart >= 5].max() < 0.1 and correlation[apart >= 5].mean() < 0.002


def test_an_effect_is_the_sum_it_says() -> None:
    """u = sum over basis functions of phi_k [a_k + sqrt(2) sum over waves (b_k cos hw + c_k sin hw)], term by term."""
    random = np.random.default_rng(3)
    basis = SpatialBasis(np.array([[0.0, 0.0], [30.0, 40.0]]), 3000.0)
    coefficient = random.normal(size=(2, 7, 2))
    lat, lon, month = np.array([10.0, -5.0]), np.array([20.0, 50.0]), np.array([0, 7])
    found = basis.effect(coefficient, lat, lon, harmonics(month, 12))
    for m in range(2):
        for row in range(2):
            w, total = 2 * np.pi * (month[row] + 0.5) / 12, 0.0
            size = np.exp(-(haversine(lat[row], lon[row], *basis.centre.T) ** 2) / (2 * 3000.0**2))
            for k in range(2):
                a, *b = coefficient[m, :, k]
                waves = sum(b[2 * h - 2] * np.cos(h * w) + b[2 * h - 1] * np.sin(h * w) for h in (1, 2, 3))
                total += size[k] / np.sqrt((size**2).sum()) * (a + np.sqrt(2) * waves)
            assert found[m, row] == pytest.approx(total, rel=1e-9)


@given(st.permutations(range(24)), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    """Rows that share places, in any order: each has the effect it has when it stands alone."""
    random = np.random.default_rng(seed)
    lat, lon = land(seed, 5)
    place, month = np.arange(24) % 5, random.integers(0, 12, 24)
    coefficient = random.normal(size=(2, HARMONICS, BASIS.size))
    mixed = place[order]
    found = BASIS.effect(coefficient, lat[mixed], lon[mixed], harmonics(month[order], 12))
    alone = np.column_stack([BASIS.effect(coefficient, lat[[p]], lon[[p]], harmonics(month[[i]], 12)) for i, p in enumerate(place)])
    np.testing.assert_allclose(found, alone[:, order], atol=1e-12)


@pytest.mark.parametrize("wrong", [{"correlation_length": 50}, {"mean_sd": 0}, {"season_sd": -1}, {"length": 500}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        SpatialSettings.model_validate(wrong)

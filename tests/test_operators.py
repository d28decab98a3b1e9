"""Operators from a flux field to observations: adjoints, closure, and locations that stand for a region without bias."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.areas import Locations, every_location
from dualflux.constraints.inversions.locations import draw_locations, regional_operator, stratify
from dualflux.grid import Grid, LandCells, Regions
from dualflux.units import PETAGRAM
from small_world import CELLS

PLACE = np.random.default_rng(0).normal(size=(len(CELLS.index), 3))
STRATA = stratify(CELLS, PLACE)


def as_matrix(locations: Locations) -> np.ndarray:
    """Locations as an operator (region, cell)."""
    matrix = np.zeros((locations.weight.shape[0], len(CELLS.index)))
    np.add.at(matrix.T, np.asarray(locations.cell), np.asarray(locations.weight, dtype=np.float64).T)
    return matrix


def in_blocks() -> np.ndarray:
    """Sum of the blocks of `every_location`."""
    blocks = every_location(CELLS.region_area, 10)
    return sum((as_matrix(Locations(c, w)) for c, w in zip(blocks.cell, blocks.weight, strict=True)), np.zeros((2, len(CELLS.index))))


Matrix = Callable[[], object]
OPERATORS: dict[str, Matrix] = {
    "regional integral": lambda: regional_operator(CELLS),
    "all cells in blocks": in_blocks,
    "random locations": lambda: as_matrix(draw_locations(STRATA, jax.random.key(1), 4)),
}


@pytest.fixture(params=OPERATORS)
def operator(request: pytest.FixtureRequest) -> np.ndarray:
    """Each operator of the program in turn."""
    return OPERATORS[request.param]()  # type: ignore[return-value]


def test_adjoint(operator: np.ndarray) -> None:
    """<H f, v> = <f, H' v>."""
    rng = np.random.default_rng(1)
    flux, observed = rng.normal(size=operator.shape[1]), rng.normal(size=operator.shape[0])
    np.testing.assert_allclose((operator @ flux) @ observed, flux @ (operator.T @ observed), rtol=1e-10)


def test_linear(operator: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(2, operator.shape[1]))
    np.testing.assert_allclose(operator @ (2 * one - 3 * two), 2 * (operator @ one) - 3 * (operator @ two), rtol=1e-10, atol=1e-12)


def test_restriction_is_a_choice_of_rows(operator: np.ndarray) -> None:
    flux = np.random.default_rng(3).normal(size=operator.shape[1])
    np.testing.assert_allclose(operator[[1, 0]] @ flux, (operator @ flux)[[1, 0]])


def test_the_gradient_of_an_integral_is_the_adjoint() -> None:
    """What JAX pulls back through the sum over locations is H' v."""
    locations = draw_locations(STRATA, jax.random.key(1), 4)
    upstream = jnp.asarray([0.3, -1.2])
    _, pull = jax.vjp(lambda flux: locations.weight @ flux[locations.cell], jnp.ones(len(CELLS.index)))
    np.testing.assert_allclose(pull(upstream)[0], as_matrix(locations).T @ upstream, rtol=1e-5)


def test_a_uniform_flux_integrates_to_area_by_hand() -> None:
    """1 gC m-2 d-1 over the land of a half sphere of half land: pi R^2 1e-15 PgC/d."""
    grid = Grid.global_regular(30.0)
    halves = Regions(("north", "south"), np.stack([np.outer(grid.lat > 0, np.ones(12)), np.outer(grid.lat < 0, np.ones(12))]))
    cells = LandCells.build(grid, np.full(grid.shape, 0.5), halves)
    found = regional_operator(cells) @ np.ones(len(cells.index))
    np.testing.assert_allclose(found, np.array([1, 1, 2]) * np.pi * 6371007.2**2 * 1e-15, rtol=1e-12)


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_regions_that_cover_the_land_close_to_the_globe(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.global_regular(30.0)
    fraction = rng.dirichlet(np.ones(4), grid.shape).transpose(2, 0, 1)
    cells = LandCells.build(grid, rng.random(grid.shape) * (rng.random(grid.shape) < 0.7), Regions(tuple("abcd"), fraction))
    found = regional_operator(cells) @ rng.normal(size=len(cells.index))
    np.testing.assert_allclose(found[:-1].sum(), found[-1], rtol=1e-9, atol=1e-12)


def test_land_outside_all_regions_is_in_the_globe_only() -> None:
    flux = (CELLS.region_fraction.sum(axis=0) < 1e-9).astype(float)
    assert flux.any()
    found = regional_operator(CELLS) @ flux
    np.testing.assert_allclose(found, [0, 0, (CELLS.land_area * flux).sum() / PETAGRAM], rtol=1e-12)


@pytest.mark.parametrize("block", [1, 7, 72, 100])
def test_the_length_of_a_block_has_no_effect(block: int) -> None:
    flux = np.random.default_rng(0).normal(size=len(CELLS.index))
    blocks = every_location(CELLS.region_area, block)
    assert blocks.cell.shape == (-(-72 // block), block)
    found = np.einsum("brn,bn->r", np.asarray(blocks.weight, np.float64), flux[np.asarray(blocks.cell)])
    np.testing.assert_allclose(found, (regional_operator(CELLS) @ flux)[:-1], rtol=1e-6)


# Locations


def stratum_shares(count: int) -> np.ndarray:
    """Probability of each cell in each stratum, (region, stratum, cell): the overlap of its piece of the line of area."""
    share = np.asarray(STRATA.share, dtype=np.float64)
    shares = np.zeros((share.shape[0], count, len(CELLS.index)))
    for region, ends in enumerate(share):
        starts = np.r_[0.0, ends[:-1]]
        for k in range(count):
            overlap = np.clip(np.minimum(ends, (k + 1) / count) - np.maximum(starts, k / count), 0, None) * count
            np.add.at(shares[region, k], np.asarray(STRATA.cell)[region], overlap)
    return shares


@pytest.mark.parametrize("count", [1, 3, 16])
def test_strata_together_are_the_region(count: int) -> None:
    """The expectation over all draws, summed stratum by stratum, is the exact regional operator."""
    shares = stratum_shares(count)
    np.testing.assert_allclose(shares.sum(axis=2), 1, rtol=1e-5)
    expectation = shares.mean(axis=1) * np.asarray(STRATA.area)[:, None]
    np.testing.assert_allclose(expectation, CELLS.region_area / PETAGRAM, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("count", [1, 4])
def test_random_locations_integrate_without_bias(count: int) -> None:
    """Mean over 20 000 draws within four standard errors of the exact integral, variance as strata make it."""
    flux = np.random.default_rng(5).normal(size=len(CELLS.index)) - 1
    shares = stratum_shares(count)
    inside = shares @ flux**2 - (shares @ flux) ** 2
    variance = (inside.sum(axis=1) * (np.asarray(STRATA.area) / count) ** 2).ravel()
    exact = (regional_operator(CELLS) @ flux)[:-1]

    def one(key: jax.Array) -> jax.Array:
        locations = draw_locations(STRATA, key, count)
        return locations.weight @ jnp.asarray(flux)[locations.cell]

    found = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 20_000)), dtype=np.float64)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - exact), 4 * np.sqrt(variance / len(found)) + 1e-6)
    np.testing.assert_allclose(found.var(axis=0), variance, rtol=0.06)


def test_a_squared_sample_is_biased_by_its_variance_and_a_product_of_two_is_not() -> None:
    """Four equal cells with fluxes 16, 0, 0, 0 in units where the integral is 4: E[one^2] = 64, E[one x another] = 16."""
    cells = LandCells(Grid.global_regular(90.0), np.arange(4), np.full(4, 0.25 * PETAGRAM), ("all",), np.ones((1, 4)))
    strata = stratify(cells, np.arange(4.0)[:, None])
    flux = jnp.asarray([16.0, 0.0, 0.0, 0.0])

    def one(key: jax.Array) -> jax.Array:
        locations = draw_locations(strata, key, 1)
        return (locations.weight @ flux[locations.cell])[0]

    first, second = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 40_000))).reshape(2, -1)
    assert set(first) == {0.0, 16.0}
    assert (first**2).mean() == pytest.approx(64, abs=4 * 256 * np.sqrt(3 / 16 / 20_000))  # 256 x Bernoulli(1/4)
    assert (first * second).mean() == pytest.approx(16, abs=4 * 256 * np.sqrt(15 / 256 / 20_000))  # 256 x Bernoulli(1/16)


def test_every_cell_of_a_region_stands_in_the_line_once() -> None:
    for region, area in enumerate(CELLS.region_area):
        inside = np.flatnonzero(area > 0)
        np.testing.assert_array_equal(np.sort(np.asarray(STRATA.cell)[region, : len(inside)]), inside)
        assert STRATA.share[region, len(inside) - 1] == 1


def test_strata_gather_what_is_alike() -> None:
    """A field that is one of the predictors varies far less inside strata than over the region."""
    place = np.zeros((len(CELLS.index), 2))
    place[:, 0] = np.random.default_rng(6).permutation(len(CELLS.index))
    strata = stratify(CELLS, place)
    cell, share = np.asarray(strata.cell)[0], np.asarray(strata.share)[0]
    count = int((CELLS.region_area[0] > 0).sum())
    middle = np.floor((share[:count] - np.diff(np.r_[0, share[:count]]) / 2) * 4)
    value = place[cell[:count], 0]
    spread = sum(((value[middle == k] - value[middle == k].mean()) ** 2).sum() for k in range(4))
    assert spread < 0.15 * ((value - value.mean()) ** 2).sum()

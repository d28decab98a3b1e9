"""Groups of co-located sites, folds and inner validation: hand-drawn worlds and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.constraints.towers.folds import fold_of_groups, inner_validation, site_groups
from dualflux.errors import InputError

SITES = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=6, max_size=40)
CLUSTERED = st.lists(
    st.tuples(st.sampled_from([40.0, 40.6, 45, 52, 89, -33]), st.sampled_from([0.2, 0.9, 1.8, 9, 179.9, -179.8, 90])),
    min_size=8,
    max_size=40,
)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(((a[:, None] == a) == (b[:, None] == b)).all())


def test_a_chain_is_one_group_and_a_gap_divides() -> None:
    lat = np.array([50.0, 50.0, 50.0, 50.0, 10.0])
    lon = np.array([10.0, 10.9, 11.8, 15.0, 10.0])
    np.testing.assert_array_equal(site_groups(lat, lon, 1.0), [1, 1, 1, 2, 0])


def test_groups_reach_across_the_date_line() -> None:
    assert len(set(site_groups(np.array([65.0, 65.0]), np.array([179.7, -179.9]), 1.0))) == 1


def test_a_corner_touches_across_the_date_line_as_anywhere() -> None:
    """0.9 degrees north and 0.8 east are 1.2 degrees of arc, yet within a cell of each other in both coordinates."""
    for first, second in ((10.0, 10.8), (179.6, -179.6), (-0.4, 0.4)):
        assert len(set(site_groups(np.array([0.0, 0.9]), np.array([first, second]), 1.0))) == 1


def test_narrow_cells_near_the_pole_separate_nobody() -> None:
    # 20 degrees of longitude at 88 N are 77 km, less than the 111 km of a cell of one degree
    assert len(set(site_groups(np.array([88.0, 88.0]), np.array([0.0, 20.0]), 1.0))) == 1
    assert len(set(site_groups(np.array([0.0, 0.0]), np.array([0.0, 20.0]), 1.0))) == 2


@given(SITES, st.sampled_from([0.25, 1.0, 4.0]))
def test_sites_of_one_grid_cell_are_always_together(sites: list[tuple[float, float]], resolution: float) -> None:
    lat, lon = np.array(sites).T
    groups = site_groups(lat, lon, resolution)
    row, column = np.floor(lat / resolution), np.floor(lon / resolution)
    same_cell = (row[:, None] == row) & (column[:, None] == column)
    assert (groups[:, None] == groups)[same_cell].all()


@given(SITES, st.sampled_from([0.25, 1.0, 4.0]))
def test_sites_of_two_groups_are_more_than_a_cell_apart(sites: list[tuple[float, float]], resolution: float) -> None:
    lat, lon = np.radians(np.array(sites).T)
    point = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
    angle = np.degrees(np.arccos(np.clip(point @ point.T, -1, 1)))
    groups = site_groups(np.degrees(lat), np.degrees(lon), resolution)
    assert (angle[groups[:, None] != groups] > resolution * (1 - 1e-6)).all()


@given(CLUSTERED, st.integers(0, 5))
def test_order_of_sites_changes_nothing(sites: list[tuple[float, float]], seed: int) -> None:
    lat, lon = np.array(sites).T
    order = np.random.default_rng(seed + 100).permutation(len(sites))
    groups = site_groups(lat, lon, 1.0)
    np.testing.assert_array_equal(site_groups(lat[order], lon[order], 1.0), groups[order])
    if groups.max() >= 2:
        weights = 1.0 + np.arange(len(sites)) % 7
        folds = fold_of_groups(groups, weights, 2, seed)
        np.testing.assert_array_equal(fold_of_groups(groups[order], weights[order], 2, seed), folds[order])
        if len(set(groups[folds != 1])) >= 2:
            held = inner_validation(groups, folds, 1, 0, 0.3, seed)
            np.testing.assert_array_equal(inner_validation(groups[order], folds[order], 1, 0, 0.3, seed), held[order])


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 200)), min_size=12, max_size=120),
    st.integers(2, 5),
    st.integers(1, 12),
    st.integers(0, 9),
)
def test_no_group_stands_on_two_sides(sites: list[tuple[int, int]], folds: int, members: int, seed: int) -> None:
    groups, weights = np.array(sites).T
    size = np.bincount(groups)
    if (size > 0).sum() < folds + 1:
        with pytest.raises(InputError, match="groups of co-located sites"):
            fold_of_groups(groups, weights, int((size > 0).sum()) + 1, seed)
        return
    fold = fold_of_groups(groups, weights, folds, seed)
    assert same_partition(groups * 100 + fold, groups)
    load = np.bincount(fold, weights=weights, minlength=folds)
    assert np.bincount(fold, minlength=folds).min() > 0
    assert load.max() - load.min() <= np.bincount(groups, weights=weights).max()
    share = max(min(0.5, 1 / members), 0.1)
    for outer in range(folds):
        if len(set(groups[fold != outer])) < 2:
            continue
        held = np.stack([inner_validation(groups, fold, outer, m, share, seed) for m in range(members)])
        assert not held[:, fold == outer].any()
        for row in held:
            assert row.any() and (~row & (fold != outer)).any()
            assert not set(groups[row]) & set(groups[~row])
        if members * share >= 1:
            assert held.any(axis=0)[fold != outer].all()


def test_members_hold_out_different_groups_of_the_asked_share() -> None:
    groups, fold = np.arange(125), np.arange(125) % 5
    held = np.stack([inner_validation(groups, fold, 2, m, 0.2, seed=1) for m in range(5)])
    np.testing.assert_array_equal(held.sum(axis=1), 20)  # a fifth of the 100 sites outside the fold
    np.testing.assert_array_equal(held.sum(axis=0), fold != 2)  # each exactly once


def test_same_seed_same_split_other_seed_other_split() -> None:
    groups = np.repeat(np.arange(40), 3)
    weights = np.tile([10.0, 50.0, 90.0], 40)
    first, again, other = (fold_of_groups(groups, weights, 5, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not same_partition(first, other)


def test_folds_of_many_sites_have_nearly_equal_weight() -> None:
    weights = np.arange(1.0, 121.0)
    for seed in range(5):
        load = np.bincount(fold_of_groups(np.arange(120), weights, 5, seed), weights=weights)
        assert load.max() - load.min() < 0.02 * load.mean()


def test_refusals() -> None:
    groups = np.array([0, 0, 1])
    with pytest.raises(InputError, match=r"5 folds for 2 groups.*change `folds` or add towers"):
        fold_of_groups(groups, np.ones(3), 5, 0)
    with pytest.raises(InputError, match=r"share 0.7; allowed: above 0 and at most 0.5"):
        inner_validation(np.arange(4), np.arange(4), 0, 0, 0.7, 0)
    with pytest.raises(InputError, match="1 groups of co-located sites outside fold 0"):
        inner_validation(groups, groups, 0, 0, 0.2, 0)
    with pytest.raises(InputError, match="all coordinates finite"):
        site_groups(np.array([np.nan]), np.array([0.0]), 1.0)

"""Folds by continent, climate and distance on hand-drawn worlds."""

import numpy as np
import pytest

from dualflux.constraints.towers.fold_design import Land, Sites, by_class, by_cluster, by_distance, held_out_km, mismatch, nearest_km
from dualflux.constraints.towers.folds import fold_of_groups, site_groups
from dualflux.errors import InputError
from dualflux.model.flux_model import NetworkSettings
from dualflux.model.fold_settings import FoldSettings

LAT, LON = (v.ravel() for v in np.meshgrid(np.arange(-39.0, 40, 3), np.arange(-99.0, 100, 3), indexing="ij"))
LAND = Land(LAT, LON, np.cos(np.radians(LAT)))


def sites_at(lat: np.ndarray, lon: np.ndarray) -> Sites:
    return Sites(lat, lon, site_groups(lat, lon, 1.0), np.ones(len(lat)))


def in_clusters(seed: int = 0) -> Sites:
    """Five clusters of twelve towers, each a few hundred kilometres wide, far apart on wide land."""
    rng, middle = np.random.default_rng(seed), np.array([[30, -90], [-30, -60], [10, 0], [-30, 60], [30, 90]], dtype=float)
    place = np.repeat(middle, 12, axis=0) + rng.uniform(-4, 4, (60, 2))
    return sites_at(*place.T)


def all_over(seed: int = 0) -> Sites:
    """Towers drawn at random from all land."""
    cell = np.random.default_rng(seed).choice(len(LAT), 60, replace=False, p=LAND.area / LAND.area.sum())
    return sites_at(LAT[cell], LON[cell])


def apart_from_land(sites: Sites, fold: np.ndarray) -> float:
    return mismatch(sites, fold, nearest_km(LAND.lat, LAND.lon, sites.lat, sites.lon), LAND.area)


@pytest.mark.parametrize("seed", range(3))
def test_clustered_towers_are_left_out_as_far_away_as_land_is(seed: int) -> None:
    """Twelve places on wide land, each with five towers within some hundreds of kilometres: random folds stay beside a tower."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(rng.choice(len(LAT), 12, replace=False), 5)
    sites = sites_at(LAT[cell] + rng.uniform(-5, 5, 60), LON[cell] + rng.uniform(-5, 5, 60))
    random, designed = fold_of_groups(sites.group, sites.weight, 5, 1), by_distance(sites, LAND, 5, 1)
    assert apart_from_land(sites, designed) < 0.6 * apart_from_land(sites, random)
    for group in np.unique(sites.group):
        assert len(set(designed[sites.group == group])) == 1


def test_a_random_design_over_all_land_is_met_by_random_folds() -> None:
    """Nothing is to be gained: random folds are as far from land's distances as their fewer towers make them, and none is found nearer."""
    found = []
    for sites in (all_over(seed) for seed in range(6)):
        folds = fold_of_groups(sites.group, sites.weight, 5, 1), by_distance(sites, LAND, 5, 1)
        mean = nearest_km(LAND.lat, LAND.lon, sites.lat, sites.lon).mean()
        found.append([apart_from_land(sites, fold) / mean for fold in folds])
    random, designed = np.mean(found, axis=0)
    assert 0.9 * random < designed <= random < 0.25


def test_clusters_stay_whole() -> None:
    sites = in_clusters()
    fold = by_cluster(sites, 5, 1)
    assert [len(set(fold[i : i + 12])) for i in range(0, 60, 12)] == [1] * 5 and len(set(fold)) == 5
    assert held_out_km(sites.lat, sites.lon, fold).min() > 3000


def test_classes_stay_whole_and_groups_are_not_split() -> None:
    sites, classes = in_clusters(), np.repeat([3, 0, 4, 1, 2], 12)
    classes[0] = 2  # one site of a group in another class than its neighbours
    group = np.repeat(np.arange(30), 2)
    fold = by_class(sites._replace(group=group), classes, 5, 1, "climate")
    assert [len(set(fold[i : i + 12])) for i in range(12, 60, 12)] == [1] * 4
    assert all(len(set(fold[group == g])) == 1 for g in group)


def test_fewer_clusters_than_folds_are_refused() -> None:
    sites = in_clusters()
    with pytest.raises(InputError, match="5 folds of 4 classes of `zone` with towers; ask for at most 4 folds"):
        by_class(sites, np.repeat([0, 1, 2, 3, 3], 12), 5, 1, "zone")
    for design in (lambda s: by_cluster(s, 5, 1), lambda s: by_distance(s, LAND, 5, 1)):
        with pytest.raises(InputError, match="5 folds of 3 groups of co-located sites"):
            design(sites._replace(group=np.repeat([0, 1, 2], 20)))


def test_a_number_is_that_many_folds_of_groups() -> None:
    assert NetworkSettings(folds=7).splits == FoldSettings(count=7, by="groups") == NetworkSettings(folds={"count": 7}).splits

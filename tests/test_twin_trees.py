"""The boosted-tree rival: what it can learn, and whom it may see."""

import sys

import numpy as np
import pytest

from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.cube import Cube
from dualflux.errors import InputError
from dualflux.twin.scoring.boosted_trees import BoostedTrees, train_boosted_trees, tree_months
from small_world import make_cube, make_towers

sklearn = pytest.importorskip("sklearn", reason="boosted trees need scikit-learn")


@pytest.fixture(scope="module", name="cube")
def _cube() -> Cube:
    return make_cube()


def with_observed(towers: TowerConstraint, observed: np.ndarray) -> TowerConstraint:
    return TowerConstraint(
        towers.predictors, towers.site, observed.astype(np.float32), towers.uncertainty, towers.amplitude, towers.sites, towers.time
    )


def test_a_step_of_one_predictor_is_recovered_at_towers_that_were_left_out(cube: Cube) -> None:
    towers = make_towers(cube, every=1)
    column = towers.predictors[:, cube.columns.names.index("ta")]
    truth = np.where(column > 0.2, -3.0, 2.0)
    trees = train_boosted_trees(with_observed(towers, truth), folds=2, members=2, seed=1)
    blind = trees.fold[:, None] == towers.sites.fold.to_numpy()[towers.site]
    error = np.abs(trees.predict(towers.predictors) - truth)[blind]
    assert (error < 0.05).mean() > 0.98  # a split falls between two training values: rows between them may fall on either side


def test_members_see_nothing_of_their_own_fold(cube: Cube) -> None:
    towers = make_towers(cube)
    before = train_boosted_trees(towers, folds=2, members=2, seed=1)
    own = towers.sites.fold.to_numpy()[towers.site] == 0
    changed = with_observed(towers, np.where(own, 100.0 - towers.observed, towers.observed))
    after = train_boosted_trees(changed, folds=2, members=2, seed=1)
    assert before.fold.tolist() == [0, 0, 1, 1]
    same = [np.array_equal(*pair) for pair in zip(before.predict(towers.predictors), after.predict(towers.predictors), strict=True)]
    assert same == [True, True, False, False]


def test_members_of_a_fold_differ_by_the_sites_that_stop_them(cube: Cube) -> None:
    towers = make_towers(cube)
    first, second, *_ = train_boosted_trees(towers, folds=2, members=2, seed=1).predict(towers.predictors)
    assert not np.array_equal(first, second)


class Temperature:
    """Predicts the first dynamic predictor."""

    def __init__(self, column: int) -> None:
        self.column = column

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, self.column]


def test_months_are_means_over_their_days() -> None:
    daily = make_cube(1, "daily")
    trees = BoostedTrees((Temperature(daily.columns.names.index("ta")),), np.array([0]))
    found = np.concatenate(list(tree_months(trees, daily)()))
    days = daily.dynamic[..., daily.columns.dynamic.index("ta")]
    np.testing.assert_allclose(found[1], days[31:59].mean(axis=0), atol=1e-5)
    assert found.shape == (12, daily.dynamic.shape[1])
    monthly = make_cube(1)
    np.testing.assert_array_equal(np.concatenate(list(tree_months(trees, monthly)())), monthly.dynamic[..., 0])


def test_without_the_library_the_extra_is_named(cube: Cube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(InputError, match=r"scikit-learn 1\.7.*dualflux\[bench\]"):
        train_boosted_trees(make_towers(cube), folds=2, members=2, seed=1)

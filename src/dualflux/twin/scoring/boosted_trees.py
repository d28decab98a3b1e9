"""A tower-only rival that is no neural network: gradient-boosted trees in the manner of FLUXCOM-X.

FLUXCOM-X (Nelson, Walther et al. 2024, Biogeosciences 21, 5079) fits XGBoost to the half-hours of towers; here the
histogram trees of scikit-learn, the same algorithm, are fitted to the rows and folds of the variant `towers`.
"""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualflux.constraints.towers.constraint import INNER_SHARE
from dualflux.constraints.towers.folds import inner_validation
from dualflux.constraints.towers.observations import TowerConstraint
from dualflux.cube import Cube
from dualflux.errors import InputError
from dualflux.twin.scoring.cell_scores import Months

MOST_TREES = 1000  # inner validation sites stop long before
PATIENCE = 20  # trees without a gain at the inner validation sites
LEARNING_RATE = 0.05


@dataclass(frozen=True)
class BoostedTrees:
    """Fitted members.

    Attributes
    ----------
    models : tuple
        One regressor per member.
    fold : array of int, (member,)
        Fold of sites each member has not seen.
    """

    models: tuple[Any, ...]
    fold: np.ndarray

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """NEE [gC m-2 d-1], (member, row), at predictors (row, column)."""
        with _one_thread():
            return np.stack([model.predict(rows) for model in self.models]).astype(np.float32)


def train_boosted_trees(towers: TowerConstraint, folds: int, members: int, seed: int) -> BoostedTrees:
    """Fit `members` models per fold to the sites outside the fold, each stopped by inner validation sites of its own.

    Which sites a member sees, and which stop it, is as for the networks of `towers`. Every row counts the same and the error is
    squared, as in FLUXCOM-X; there is no g and no site effect.

    Parameters
    ----------
    towers : TowerConstraint
        Its sites have `group` and `fold`.

    Raises
    ------
    InputError
        scikit-learn is not installed.
    """
    regressor = _regressor()
    group, outer = (towers.sites[name].to_numpy() for name in ("group", "fold"))
    places = [(fold, member) for fold in range(folds) for member in range(members)]
    models = []
    for place, (fold, member) in enumerate(places):
        held = inner_validation(group, outer, fold, member, min(INNER_SHARE, 1 / members), seed)
        train, stop = ((outer != fold) & ~held)[towers.site], held[towers.site]
        model = regressor(
            max_iter=MOST_TREES, learning_rate=LEARNING_RATE, early_stopping=True, n_iter_no_change=PATIENCE, random_state=seed + place
        )
        x, y = towers.predictors, towers.observed
        with _one_thread():
            models.append(model.fit(x[train], y[train], X_val=x[stop], y_val=y[stop]))
    return BoostedTrees(tuple(models), np.array([fold for fold, _ in places]))


def _regressor() -> Any:
    try:
        return importlib.import_module("sklearn.ensemble").HistGradientBoostingRegressor
    except ImportError as error:
        raise InputError("boosted trees need scikit-learn 1.7 or newer; install it with `pip install 'dualflux[bench]'`") from error


def _one_thread() -> AbstractContextManager[Any]:
    """A tree of some thousand rows is grown in milliseconds: threads that wait for each other cost more, on a busy machine 30 times."""
    limits: AbstractContextManager[Any] = importlib.import_module("threadpoolctl").threadpool_limits(1, user_api="openmp")
    return limits


def tree_months(trees: BoostedTrees, cube: Cube) -> Months:
    """Mean flux of every month, (member, cell): computed once, kept in float32."""
    cells = np.arange(len(cube.static))
    steps = cube.steps
    fields = np.zeros((len(steps.months), len(trees.models), len(cells)), np.float32)
    for field, start, count in zip(fields, steps.month_start, steps.month_steps, strict=True):
        for step in range(start, start + count):  # one step at a time bounds memory
            field += trees.predict(cube.rows(np.full(len(cells), step), cells)) / count

    def months() -> Iterator[np.ndarray]:
        yield from fields

    return months

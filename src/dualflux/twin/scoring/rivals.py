"""What a sceptic would do instead, and the ceiling: rescaled tower-only fields and an oracle."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from dualflux.constraints.inversions.observations import InversionTermSettings
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.cube import Cube, DeviceCube, Steps
from dualflux.errors import InputError
from dualflux.fitting.ensembles import ALL_SITES, Run, stack_members
from dualflux.fitting.fit_ensembles import build_objective, landscape_of, train_all
from dualflux.fitting.training import TrainingSettings
from dualflux.grid import LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import NetworkSettings
from dualflux.model.spatial_effect import SpatialSettings
from dualflux.twin.scoring.cell_scores import Months
from dualflux.units import PETAGRAM
from dualflux.variants import Variant

ORACLE_ROWS = 60_000
ORACLE_PATIENCE = 3  # times the steps of a variant: a ceiling must not be one of impatience


def predicted_difference(difference: np.ndarray, months: pd.DatetimeIndex, fitted: np.ndarray) -> np.ndarray:
    """Differences (region, month): those given where `fitted`, else the mean of the same calendar month where it is.

    A rescaled field has nothing else to go by in years no inversion was fitted to. Differences are rates, so a month's
    length does not matter.
    """
    found = np.array(difference, dtype=np.float64)
    for month in range(1, 13):
        mine = months.month.to_numpy() == month
        found[:, mine & ~fitted] = found[:, mine & fitted].mean(axis=1, keepdims=True)
    return found


def regional_shift(difference: np.ndarray, cells: LandCells, activity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shift of a field that changes regional integrals by what is wanted.

    The shift in cell c is ``sum over regions r of coefficient[r] x (share of r in c) x activity[c]``. Regions may share
    cells, so the coefficients solve one small linear system; the integrals then hold exactly.

    Parameters
    ----------
    difference : array, (region, month)
        Wanted change of the integrals [PgC d-1].
    activity : array, (cell,)
        Where a region puts its shift; ones for a uniform one. Above 0 somewhere in every region.

    Returns
    -------
    coefficient : array, (month, region)
    pattern : array, (region, cell)
        ``coefficient[t] @ pattern`` is the shift of month t [gC m-2 d-1].
    """
    pattern = cells.region_fraction * activity
    matrix = cells.region_area @ pattern.T / PETAGRAM
    return np.linalg.solve(matrix, difference).T, pattern


def shifted(field: Months, coefficient: np.ndarray, pattern: np.ndarray) -> Months:
    """The members' mean of a field, shifted month by month; one member, (1, cell)."""

    def months() -> Iterator[np.ndarray]:
        for t, members in enumerate(field()):
            yield members.mean(axis=0, dtype=np.float64, keepdims=True) + coefficient[t] @ pattern

    return months


def activity_field(cube: Cube, greenness: str = "fapar", radiation: str = "sw_in") -> np.ndarray:
    """Mean over the year of greenness x radiation, the light that leaves absorb, (cell,): a sceptic's stand-in for GPP.

    It does not change with the season: in winter a region without any activity could not take up its shift.
    """
    names = cube.columns.seasonal
    seasons = []
    for name in (f"mean_season({greenness})", f"mean_season({radiation})"):
        if name not in names:
            raise InputError(f"rescaled_activity: no predictor `{name}` among {', '.join(names)}; add it to the study's predictors")
        column = len(cube.columns.static) + names.index(name)
        seasons.append(cube.seasonal[..., names.index(name)] * cube.scale[column] + cube.centre[column])
    light = np.maximum(seasons[0], 0.0) * np.maximum(seasons[1], 0.0)
    return light.mean(axis=0, dtype=np.float64)


def monthly_cube(cube: Cube) -> Cube:
    """Monthly means of daily predictors, standardised as they were; a monthly cube is returned as it is."""
    steps = cube.steps
    if (steps.month_steps == 1).all():
        return cube
    dynamic = [cube.dynamic[first : first + count].mean(axis=0) for first, count in zip(steps.month_start, steps.month_steps, strict=True)]
    month = pd.date_range("2000-01-01", "2000-12-31").month.to_numpy()  # a mean year has 366 days
    seasonal = [cube.seasonal[month == m].mean(axis=0) for m in range(1, 13)]
    whole = Steps.create(str(steps.time[0].date()), str(steps.time[-1].date()), "monthly")
    return replace(cube, seasonal=np.stack(seasonal), dynamic=np.stack(dynamic), steps=whole)


def oracle_constraint(
    truth: Months, cube: Cube, cells: LandCells, fitted: np.ndarray, seed: int, rows: int = ORACLE_ROWS
) -> TowerConstraint:
    """The truth as towers: true fluxes of cells in months of the fit period, drawn by land area, without error or site effect.

    Raises
    ------
    InputError
        Daily predictors: the truth's field is monthly.
    """
    if (cube.steps.month_steps > 1).any():
        raise InputError("oracle: the true field is monthly, the predictors are daily; give it their monthly means (`monthly_cube`)")
    random = np.random.default_rng([seed, 3])
    cell = random.choice(len(cells.index), rows, p=cells.land_area / cells.land_area.sum())
    step = np.sort(random.choice(np.flatnonzero(fitted), rows))
    observed = np.empty(rows, dtype=np.float32)
    for t, field in enumerate(truth()):
        observed[step == t] = field[cell[step == t]]
    count = np.arange(len(cells.index))
    sites = pd.DataFrame(
        {"lat": cells.lat(), "lon": cells.lon(), "cell": count, "group": count, "fold": 0}, index=pd.Index(count.astype(str), name="site")
    )
    return TowerConstraint(
        cube.rows(step, cell), cell, observed, np.zeros(rows, np.float32), np.ones(len(count)), sites, cube.steps.time[step]
    )


def train_oracle(
    truth: Months, cube: Cube, cells: LandCells, fitted: np.ndarray, network: NetworkSettings,
    training: TrainingSettings, seed: int,
) -> Ensemble:  # fmt: skip
    """The same network with the same training, fitted to the true field: what these predictors and this network can reach.

    No representativeness, no site effects, no inversions; `network.members` members of three times a variant's steps (a third of
    the members of a variant of three folds, at the same cost, reach further).
    """
    constraint = oracle_constraint(truth, cube, cells, fitted, seed)
    off = TowerTermSettings(representativeness=False, site_effects=False)
    device, terms = DeviceCube.of(cube), Variant(constraints=("towers",))
    objective = build_objective(constraint, None, cube, device, cells, network, off, InversionTermSettings(), training)
    longer = training.model_copy(update={"steps": ORACLE_PATIENCE * training.steps})
    run = Run("", "towers", terms, (ALL_SITES,), network.members)
    stack = stack_members(objective.constraints, [run], off, [{}], seed)
    landscape = landscape_of(cube, cells, SpatialSettings())
    return train_all(objective, stack, landscape, device, network, longer, SpatialSettings()).ensembles["", "towers"]

"""Every run's members trained, stopped, and their linear parts drawn from the posterior."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.base import Constraint, Landscape
from dualflux.constraints.inversions.constraint import Inversions
from dualflux.constraints.inversions.observations import InversionTermSettings, RegionalConstraint
from dualflux.constraints.inversions.representative import products_in
from dualflux.constraints.pattern import Pattern
from dualflux.constraints.towers.constraint import Towers
from dualflux.constraints.towers.observations import TowerConstraint, TowerTermSettings
from dualflux.cube import Columns, Cube, DeviceCube
from dualflux.errors import InputError
from dualflux.fitting.choose_locations import choose, refresh
from dualflux.fitting.ensembles import Stack
from dualflux.fitting.identifiability import identifiability_table
from dualflux.fitting.objective import Control, Member, Objective
from dualflux.fitting.posterior_draws import LinearStep, draw_posterior, renew_representativeness
from dualflux.fitting.training import Fit, TrainingSettings, fit
from dualflux.grid import LandCells
from dualflux.model.anomaly_effect import AnomalyEffect, AnomalyPrior
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis, SpatialSettings
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.vegetation import Vegetation


def objective_of(
    constraints: Sequence[Constraint], columns: Columns, network: NetworkSettings, training: TrainingSettings,
    vegetation: Vegetation | None = None,
) -> Objective:  # fmt: skip
    """The objective of some constraints."""
    widths = [len(columns.names), *network.hidden]
    return Objective(tuple(constraints), tuple(float(np.sqrt(2 / width)) * training.network_sd for width in widths), vegetation)


def build_objective(
    towers: TowerConstraint | None, regional: RegionalConstraint | None, cube: Cube, device: DeviceCube, cells: LandCells,
    network: NetworkSettings, tower_term: TowerTermSettings, inversion_term: InversionTermSettings, training: TrainingSettings,
    seed: int = 0, library: np.ndarray | None = None, pattern: bool = False,
) -> Objective:  # fmt: skip
    """Everything members share, on the device; a source that a study has not is None; `pattern`: with the prior of patterns inside regions.

    `seed` and `library`, products' fields (product, month, cell) [gC m-2 d-1], are those of the representative estimator.

    Raises
    ------
    InputError
        Neither towers nor inversions.
    """
    constraints: list[Constraint] = []
    if towers is not None:
        constraints.append(Towers.create(towers, tower_term, training.batch))
    if regional is not None:
        constraints.append(Inversions.create(regional, inversion_term, cube, device, cells))
    if not constraints:
        raise InputError("the study has neither towers nor inversions: nothing constrains the flux; give at least one of them")
    if pattern:
        constraints.append(Pattern.create(cube, cells))
    objective = objective_of(constraints, cube.columns, network, training, cube.vegetation)
    if regional is None or inversion_term.estimator != "representative":
        return objective
    if towers is None:
        raise InputError("inversion_term: estimator representative trains its library on towers; without towers use stratified or exact")
    nothing = np.empty((0, len(cube.steps.months), len(cells.index)), np.float32)
    products = products_in(regional, cube.steps, inversion_term.library, nothing if library is None else library)
    group = towers.sites.group.to_numpy()
    return choose(objective, cube.mean_year(), group, network, training, products, inversion_term.error_target, seed)


class Fitted(NamedTuple):
    """The chosen state of every ensemble.

    Attributes
    ----------
    ensembles : dict
        (run, variant) -> Ensemble.
    history : DataFrame
        run, variant, fold, step, criterion, what each constraint notes, sds of effects, chosen, and the sds that the linear step
        estimates.
    identifiability : DataFrame
        What the data say of each effect, see `identifiability`.
    """

    ensembles: dict[tuple[str, str], Ensemble]
    history: pd.DataFrame
    identifiability: pd.DataFrame


class Trained(NamedTuple):
    """Members as training left them, each at the checkpoint where its fold stops.

    Attributes
    ----------
    model : FluxModel
        Stacked; without spatial effect.
    sd : dict of str to array, (member,)
        Prior sds of effects, g's slopes as they were stated.
    history : DataFrame
        Of `Fitted`, without the sds that the linear step estimates.
    """

    model: FluxModel
    sd: dict[str, np.ndarray]
    history: pd.DataFrame


def train_all(
    objective: Objective, stack: Stack, landscape: Landscape, device: DeviceCube, network: NetworkSettings, training: TrainingSettings,
    spatial: SpatialSettings, report: Callable[[int, int], None] = lambda done, of: None, checkpoint: Checkpoint | None = None,
    series_sd: float = 0.0, anomaly: AnomalyPrior | None = None,
) -> Fitted:  # fmt: skip
    """Train every member in one compiled program, stop each fold of each ensemble by its own inner validation sites, and draw.

    Parameters
    ----------
    checkpoint : Checkpoint, optional
        Where an interrupted training goes on from; posterior draws are made again.
    series_sd : float
        Prior sd of the coefficients of predictors of time alone [gC m-2 d-1], see `series_choice`; 0 leaves them out.
    anomaly : AnomalyPrior, optional
        Of what no predictor carries of regions and months, see `anomaly_choice`; None leaves it out.
    """
    linear = linear_step(objective, stack, landscape, device, spatial, series_sd, anomaly)
    trained = train_members(objective, stack, linear, network, training, report, checkpoint)
    return draw_members(trained, stack, linear, network)


def landscape_of(cube: Cube, cells: LandCells, spatial: SpatialSettings) -> Landscape:
    """Cube and cells with the basis of the spatial effect."""
    return Landscape(cube, cells, SpatialBasis.create(cells.lat(), cells.lon(), spatial.correlation_length))


def linear_step(
    objective: Objective, stack: Stack, landscape: Landscape, device: DeviceCube, spatial: SpatialSettings, series_sd: float = 0.0,
    anomaly: AnomalyPrior | None = None,
) -> LinearStep:  # fmt: skip
    """What the members' linear parts are estimated from, whenever that is."""
    place = (landscape, objective.constraints, device, spatial)
    return LinearStep.create(*place, stack.plans, stack.family, stack.seeds, series_sd, anomaly)


def train_members(
    objective: Objective, stack: Stack, linear: LinearStep, network: NetworkSettings, training: TrainingSettings,
    report: Callable[[int, int], None] = lambda done, of: None, checkpoint: Checkpoint | None = None,
) -> Trained:  # fmt: skip
    """The first part of `train_all`: all but the posterior draws."""

    def renew(objective: Objective, model: FluxModel, control: Control, members: Member) -> tuple[Objective, Member]:
        sd = jnp.asarray(renew_representativeness(linear, model, members))
        return refresh(objective, model, control, members), members._replace(sd={**members.sd, "representativeness": sd})

    table, columns, members = stack.table, linear.landscape.cube.columns, stack.in_training(objective)
    inputs = len(columns.names)
    found = fit(objective, members, linear.family, network, training, inputs, columns.invariant, report, renew, checkpoint)
    history = pd.DataFrame(_history(objective, found, stack, linear.family))
    stop = history[history.chosen].set_index(["run", "variant", "fold"]).checkpoint
    at = stop.loc[list(zip(table.run, table.variant, table.fold, strict=True))].to_numpy()
    chosen: FluxModel = jax.tree.map(lambda *leaves: np.stack([leaves[c][i] for i, c in enumerate(at)]), *found.snapshots)
    sd = {n: np.array([found.sd[c][n][i] for i, c in enumerate(at)]) for n in found.sd[0] if n != "representativeness"}
    return Trained(chosen, sd, history)


def draw_members(trained: Trained, stack: Stack, linear: LinearStep, network: NetworkSettings) -> Fitted:
    """The second part of `train_all`: posterior draws, with exact integrals and R as it is."""
    table = stack.table
    members = stack.members._replace(sd={**stack.members.sd, **{n: jnp.asarray(a) for n, a in trained.sd.items()}})
    drawn, spread, anomalies, variances = draw_posterior(linear, trained.model, members)
    history = trained.history.merge(_spread_table(table, spread), on=["run", "variant", "fold"])
    names = linear.landscape.cube.columns.names
    whole = Ensemble(drawn, table.fold.to_numpy(), network, names, linear.landscape.basis)
    pairs = list(dict.fromkeys(zip(table.run, table.variant, strict=True)))
    of = {(r, v): np.flatnonzero((table.run == r) & (table.variant == v)) for r, v in pairs}
    known = identifiability_table(table, variances, linear.constraints, stack.plans)
    return Fitted({p: replace(whole.select(i), anomaly=_anomaly_of(i, stack, linear, anomalies)) for p, i in of.items()}, history, known)


def _anomaly_of(index: np.ndarray, stack: Stack, linear: LinearStep, anomalies: list[np.ndarray | None]) -> AnomalyEffect | None:
    """The anomalies of an ensemble's members; None where they have none."""
    years, mine = linear.anomaly_years(int(index[0])), [a for i in index if (a := anomalies[i]) is not None]
    if linear.anomaly is None or years is None:
        return None
    seeds = np.array([stack.seeds[i] for i in index], dtype=np.int64)
    return AnomalyEffect(linear.anomaly, linear.landscape.cells.region_names, years, seeds, np.stack(mine))


_SPREAD_COLUMNS = {"spatial_lasting": "spatial_mean_sd", "spatial_seasonal": "spatial_season_sd", "spatial_shape": "spatial_shape_sd"}


def _spread_table(table: pd.DataFrame, spread: dict[str, np.ndarray]) -> pd.DataFrame:
    """Estimated sds of the spatial effect and of g's slopes of each fold of each ensemble."""
    columns = {_SPREAD_COLUMNS.get(name, f"{name}_sd"): values for name, values in spread.items()}
    return table[["run", "variant", "fold"]].assign(**columns).drop_duplicates(["run", "variant", "fold"])


def _history(objective: Objective, found: Fit, stack: Stack, family: np.ndarray) -> Iterator[dict[str, object]]:
    """One row per fold of an ensemble and checkpoint; `chosen` has the smallest sum of the constraints' criteria."""
    parts = stack.members.parts
    for name in np.unique(family):
        index = np.flatnonzero(family == name)
        rows = []
        for checkpoint, (step, score, sd) in enumerate(zip(found.steps, found.scores, found.sd, strict=True)):
            mine = {n: jax.tree.map(lambda a: a[index], s) for n, s in score.constraints.items()}  # noqa: B023
            of = {n: jax.tree.map(lambda a: a[index], p) for n, p in parts.items()}  # noqa: B023
            notes: dict[str, float] = {}
            for constraint in objective.constraints:
                notes |= constraint.history(mine[constraint.name])
            rows.append({
                **stack.table.iloc[index[0]][["run", "variant", "fold"]].to_dict(), "checkpoint": checkpoint, "step": int(step),
                "criterion": sum(c.criterion(mine[c.name], of[c.name]) for c in objective.constraints), **notes,
                **{f"{n}_sd": float(np.mean(values[index])) for n, values in sd.items() if n != "representativeness"},
            })  # fmt: skip
        best = min(range(len(rows)), key=lambda i: rows[i]["criterion"])
        yield from ({**row, "chosen": i == best} for i, row in enumerate(rows))

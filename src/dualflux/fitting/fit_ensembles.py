"""Every run's members trained, stopped and closed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from dualflux.constraints.inversions.constraint import InversionTermSettings, RegionalConstraint
from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.inversions.integrals import RegionData
from dualflux.constraints.inversions.locations import every_location, stratify
from dualflux.constraints.inversions.spread import with_further_error
from dualflux.constraints.towers import TowerConstraint, TowerTermSettings
from dualflux.cube import Cube, DeviceCube, Steps
from dualflux.errors import InputError
from dualflux.fitting.ensembles import Stack
from dualflux.fitting.linear_posterior import LinearData
from dualflux.fitting.objective import Anchor, Member, Objective, TowerData
from dualflux.fitting.posterior_draws import LinearStep, close, renew_representativeness
from dualflux.fitting.representative import choose, refresh
from dualflux.fitting.training import Fit, TrainingSettings, fit
from dualflux.grid import LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis, SpatialSettings
from dualflux.run_folder.checkpoint import Checkpoint

LONGEST_BLOCK = 60_000  # rows (cells times steps of a month) of one block of exact integrals; each core holds one


def build_objective(
    towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells, network: NetworkSettings,
    tower_term: TowerTermSettings, inversion_term: InversionTermSettings, training: TrainingSettings, seed: int = 0,
    library: np.ndarray | None = None,
) -> Objective:  # fmt: skip
    """Everything members share, on the device.

    `seed` and `library`, products' fields (product, month, cell) [gC m-2 d-1], are those of the representative estimator.
    """
    data = TowerData(
        jnp.asarray(towers.predictors), jnp.asarray(towers.site), jnp.asarray(towers.observed), jnp.asarray(towers.uncertainty),
        jnp.asarray(towers.weight), tower_term.degrees_of_freedom,
    )  # fmt: skip
    steps = cube.steps
    blocks = -(-len(cells.index) * int(steps.month_steps.max()) // LONGEST_BLOCK)
    regions = RegionData(
        DeviceCube.of(cube), stratify(cells, cube.mean_year()), every_location(cells, -(-len(cells.index) // blocks)),
        jnp.asarray(steps.month_start[regional.month]), jnp.asarray(steps.month_steps[regional.month]),
        jnp.asarray(steps.month_days[regional.month], dtype=jnp.float32),
    )  # fmt: skip
    widths = [towers.predictors.shape[1], *network.hidden]
    prior = tuple(float(np.sqrt(2 / width)) * training.weight_sd for width in widths)
    term = inversion_term
    years = min(term.years, len(regional.years))
    objective = Objective(data, regions, prior, training.batch, term.estimator, term.locations, years)
    if term.estimator != "representative":
        return objective
    nothing = np.empty((0, len(steps.months), len(cells.index)), np.float32)
    products = products_in(regional, steps, term.library, nothing if library is None else library)
    return choose(objective, cube.mean_year(), towers.sites.group.to_numpy(), network, training, products, term.error_target, seed)


def products_in(regional: RegionalConstraint, steps: Steps, names: tuple[str, ...], library: np.ndarray) -> np.ndarray:
    """Products' fields in the fitted years, (product, year, 12, cell).

    Raises
    ------
    InputError
        A product without some of the months.
    """
    fields = library[:, regional.month]
    absent = ~np.isfinite(fields[..., 0])
    if absent.any():
        said = [
            f"{n}: {a.sum()} of {a.size} months, first {steps.months[regional.month[a][0]]:%Y-%m}"
            for n, a in zip(names, absent, strict=True)
            if a.any()
        ]
        raise InputError(
            f"inversion_term.library: a product covers every fitted month; without a value are {'; '.join(said)}; "
            "give the other files, narrow `fit_period`, or take the product out of the library"
        )
    return fields


def with_structure_error(stack: Stack, objective: Objective) -> Member:
    """Members for training: R has the error of representative locations in it. The closing step integrates exactly and goes without."""
    if objective.regions.structure is None:
        return stack.members
    widened = [error_in_training(e, objective).precisions() for e in stack.errors]
    mean, anomaly = (jnp.asarray(np.stack(p), jnp.float32) for p in zip(*widened, strict=True))
    return stack.members._replace(mean_precision=mean, anomaly_precision=anomaly)


def error_in_training(error: EnsembleError, objective: Objective) -> EnsembleError:
    """R of the inversions and, of representative locations, their own."""
    structure = objective.regions.structure
    return error if structure is None else with_further_error(error, np.asarray(structure.variance, np.float64))


class Fitted(NamedTuple):
    """The chosen state of every ensemble.

    Attributes
    ----------
    ensembles : dict
        (run, variant) -> Ensemble.
    history : DataFrame
        run, variant, fold, step, validation_loss, validation_rmse, region_misfit, site_effect_sd, chosen,
        spatial_mean_sd, spatial_season_sd, representativeness_sd.
    """

    ensembles: dict[tuple[str, str], Ensemble]
    history: pd.DataFrame


class Trained(NamedTuple):
    """Members as training left them, each at the checkpoint where its fold stops.

    Attributes
    ----------
    model : FluxModel
        Stacked; without spatial effect.
    site_effect_sd : array, (member,)
    history : DataFrame
        Of `Fitted`, without the sds that the closing step estimates.
    """

    model: FluxModel
    site_effect_sd: np.ndarray
    history: pd.DataFrame


def train_all(
    objective: Objective, stack: Stack, towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells,
    network: NetworkSettings, training: TrainingSettings, spatial: SpatialSettings,
    report: Callable[[int, int], None] = lambda done, of: None, checkpoint: Checkpoint | None = None,
) -> Fitted:  # fmt: skip
    """Train every member in one compiled program, stop each fold of each ensemble by its own inner validation sites, and close.

    Parameters
    ----------
    regional : RegionalConstraint
        The full one: it says which months are constrained.
    checkpoint : Checkpoint, optional
        Where an interrupted training goes on from; closing is done again.
    """
    linear = linear_step(objective, stack, towers, regional, cube, cells, spatial)
    trained = train_members(objective, stack, linear, network, training, cube.columns.invariant, report, checkpoint)
    return close_members(trained, stack, linear, network, cube.columns.names)


def linear_step(
    objective: Objective, stack: Stack, towers: TowerConstraint, regional: RegionalConstraint, cube: Cube, cells: LandCells,
    spatial: SpatialSettings,
) -> LinearStep:  # fmt: skip
    """What the members' linear parts are estimated from, whenever that is."""
    family = stack.table.groupby(["run", "variant", "fold"], sort=False).ngroup().to_numpy()
    basis = SpatialBasis.create(cells.lat(), cells.lon(), spatial.correlation_length)
    data = LinearData.create(towers, regional, cube, cells, basis, objective.towers.degrees_of_freedom)
    return LinearStep(basis, stack.observed, data, objective.regions, spatial, family, stack.seeds)


def train_members(
    objective: Objective, stack: Stack, linear: LinearStep, network: NetworkSettings, training: TrainingSettings, invariant: int,
    report: Callable[[int, int], None] = lambda done, of: None, checkpoint: Checkpoint | None = None,
) -> Trained:  # fmt: skip
    """The first part of `train_all`: all but the closing step."""

    def renew(objective: Objective, model: FluxModel, anchor: Anchor, members: Member) -> tuple[Objective, Member]:
        sd = renew_representativeness(linear, model, members)
        return refresh(objective, model, anchor, members), members._replace(representativeness_sd=jnp.asarray(sd))

    table = stack.table
    members = with_structure_error(stack, objective)
    found = fit(objective, members, linear.family, network, training, invariant, report, renew, checkpoint)
    history = pd.DataFrame(_history(found, stack, linear.family))
    stop = history[history.chosen].set_index(["run", "variant", "fold"]).checkpoint
    at = stop.loc[list(zip(table.run, table.variant, table.fold, strict=True))].to_numpy()
    chosen: FluxModel = jax.tree.map(lambda *leaves: np.stack([leaves[c][i] for i, c in enumerate(at)]), *found.snapshots)
    return Trained(chosen, found.site_effect_sd[at, np.arange(len(at))], history)


def close_members(trained: Trained, stack: Stack, linear: LinearStep, network: NetworkSettings, predictors: tuple[str, ...]) -> Fitted:
    """The second part of `train_all`: the closing step, with exact integrals and R as it is."""
    table = stack.table
    members = stack.members._replace(site_effect_sd=jnp.asarray(trained.site_effect_sd))
    closed, spread = close(linear, trained.model, members)
    history = trained.history.merge(_spread_table(table, spread), on=["run", "variant", "fold"])
    whole = Ensemble(closed, table.fold.to_numpy(), network, predictors, linear.basis)
    pairs = list(dict.fromkeys(zip(table.run, table.variant, strict=True)))
    of = {(r, v): np.flatnonzero((table.run == r) & (table.variant == v)) for r, v in pairs}
    return Fitted({pair: whole.select(index) for pair, index in of.items()}, history)


def _spread_table(table: pd.DataFrame, spread: np.ndarray) -> pd.DataFrame:
    """Estimated sds of the spatial effect and of g's slopes of each fold of each ensemble."""
    names = ("spatial_mean_sd", "spatial_season_sd", "representativeness_sd")
    found = table[["run", "variant", "fold"]].assign(**dict(zip(names, spread.T, strict=True)))
    return found.drop_duplicates(["run", "variant", "fold"])


def _history(found: Fit, stack: Stack, family: np.ndarray) -> Iterator[dict[str, object]]:
    """One row per fold of an ensemble and checkpoint; `chosen` has the smallest held-out loss plus misfit to the inversions.

    Towers enter with the negative log density of inner validation sites, inversions with weight / 2 x r' R^-1 r.
    """
    weight = np.asarray(stack.members.inversion_weight)
    for name in np.unique(family):
        index = np.flatnonzero(family == name)
        rows = []
        for checkpoint, (step, score) in enumerate(zip(found.steps, found.scores, strict=True)):
            held = float(score.validation_weight[index].sum())
            regional = float((weight[index] * score.region_misfit[index]).sum())
            rows.append({
                **stack.table.iloc[index[0]][["run", "variant", "fold"]].to_dict(), "checkpoint": checkpoint, "step": int(step),
                "criterion": float(score.validation_loss[index].sum()) + regional / 2,
                "validation_loss": float(score.validation_loss[index].sum()) / held if held else np.nan,
                "validation_rmse": float(np.sqrt(score.validation_square[index].sum() / held)) if held else np.nan,
                "region_misfit": float(np.mean(score.region_misfit[index])),
                "site_effect_sd": float(np.mean(found.site_effect_sd[checkpoint, index])),
            })  # fmt: skip
        best = min(range(len(rows)), key=lambda i: rows[i]["criterion"])
        yield from ({**row, "chosen": i == best} for i, row in enumerate(rows))

"""Whether predictors of time alone enter, and how strongly: chosen on years that members have not seen, against permuted years.

What a network without them leaves of the inversions' anomalies in years it was not given is regressed on the series, each year
predicted from all others. The prior sd of the coefficients with the smallest held-out misfit is taken, and only if the series of the right
years do better than series of permuted years, to which the same choice is given: a dozen years are explained by something soon enough.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from dualflux.constraints.areas import Areas
from dualflux.constraints.base import generator
from dualflux.constraints.inversions.constraint import Inversions
from dualflux.constraints.inversions.covariance import EnsembleError
from dualflux.constraints.inversions.equations import series_integrals
from dualflux.constraints.inversions.observations import Maker, RegionalConstraint
from dualflux.constraints.towers.observations import TowerTermSettings
from dualflux.cube import Cube
from dualflux.errors import InputError
from dualflux.fitting.ensembles import ALL_SITES, Run, stack_members
from dualflux.fitting.objective import Objective
from dualflux.fitting.posterior_draws import integrate_features
from dualflux.fitting.training import TrainingSettings, fit
from dualflux.grid import LandCells
from dualflux.metrics.pairs import paired_std
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.time_effect import ZONES
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.variants import Variant

CANDIDATE_SDS = (0.0, 0.03, 0.1, 0.3)  # gC m-2 d-1 per standard deviation of a series
BLOCKS = 4  # of neighbouring years, each left out once
PERMUTATIONS = 100
TRIAL_MEMBERS = 4  # of each block
LEVEL = 0.05
COLUMNS = ["series", "zone", "prior_sd", "coefficient", "sd", "gain", "p_value"]


class SeriesChoice(NamedTuple):
    """What was chosen.

    Attributes
    ----------
    prior_sd : float
        Of the coefficients [gC m-2 d-1 per standard deviation]; 0 leaves the series out.
    gain : float
        How much smaller the held-out misfit, r' R^-1 r of the anomalies, is than without series, for the best sd.
    p_value : float
        Share of permutations that gain as much, the true order among them.
    misfit : array, (candidate,)
        Held-out misfit for each of `CANDIDATE_SDS`.
    """

    prior_sd: float
    gain: float
    p_value: float
    misfit: np.ndarray


NOTHING = SeriesChoice(0.0, 0.0, 1.0, np.zeros(len(CANDIDATE_SDS)))


def choose_series(residual: np.ndarray, full: RegionalConstraint, cube: Cube, cells: LandCells, seed: int) -> SeriesChoice:
    """The prior sd of the coefficients of a cube's predictors of time alone.

    Parameters
    ----------
    residual : array, (region, year, 12)
        Of `left_out_residuals`.
    full : RegionalConstraint
        The inversions of all these years.
    """
    areas = Areas(cells.region_area, full.month.ravel())
    columns = series_integrals(areas, cube, cells)
    return choose_prior(residual, columns.reshape(*residual.shape, columns.shape[-1]), full.error, seed)


def left_out_residuals(
    objective: Objective, make: Maker, terms: Variant, cube: Cube, network: NetworkSettings, tower_term: TowerTermSettings,
    training: TrainingSettings, weight: float, seed: int, checkpoint: Checkpoint | None = None,
    count: int = TRIAL_MEMBERS,
) -> np.ndarray:  # fmt: skip
    """Inversions minus what members predict who have not seen the year, (region, year, 12) [PgC month-1].

    Blocks of neighbouring years are left out in turn; of each `count` members are trained half as long, on the data as they are.

    Parameters
    ----------
    objective : Objective
        With towers and inversions of all years, or inversions alone.
    make : callable
        ``make(None, years)`` gives the inversions without a span of years; ``make(None, None)`` all that may be used.
    terms : Variant
        That the trial's members are trained as.
    weight : float
        Tempering power of the inversions.
    """
    full = make(None, None)
    blocks = blocks_of(full.years)
    runs = [
        Run(f"series_{first}_{last}", "trial", terms, (ALL_SITES,), count, {"inversions": make(None, (first, last))})
        for first, last in ((int(b[0]), int(b[-1])) for b in blocks)
    ]
    stack = stack_members(objective.constraints, runs, tower_term, [{"inversions": weight}] * len(runs), seed, draw=False)
    short = training.model_copy(update={"steps": max(training.steps // 2, 10), "checkpoints": 2})
    family, columns = np.repeat(np.arange(len(runs)), count), cube.columns
    members = stack.in_training(objective)
    found = fit(objective, members, family, network, short, len(columns.names), columns.invariant, checkpoint=checkpoint)
    predicted = _mean_integrals(objective["inversions"], found.snapshots[-1], len(runs), full.years)
    unseen = np.stack([np.isin(full.years, block) for block in blocks])
    residual: np.ndarray = full.observed - np.einsum("bryi,by->ryi", predicted, unseen)
    return residual


def blocks_of(years: np.ndarray) -> list[np.ndarray]:
    """Neighbouring years that are left out together."""
    return [block for block in np.array_split(years, BLOCKS) if len(block)]


def can_leave_out(make: Maker) -> bool:
    """Whether the inversions of the other years suffice when a block is left out."""
    try:
        for block in blocks_of(make(None, None).years):
            make(None, (int(block[0]), int(block[-1])))
    except InputError:
        return False
    return True


def _mean_integrals(inversions: Inversions, models: FluxModel, blocks: int, years: np.ndarray) -> np.ndarray:
    """Exact integrals of the mean of each block's members in the years in use, (block, region, year, 12) [PgC month-1]."""
    features = integrate_features(models.network, inversions.regions.walk).astype(np.float64)
    each = np.einsum("mryif,mf->mryi", features, np.asarray(models.network.readout, np.float64))
    each = each[:, :, np.isin(inversions.data.years, years)]
    found: np.ndarray = each.reshape(blocks, -1, *each.shape[1:]).mean(axis=1)
    return found


def choose_prior(residual: np.ndarray, columns: np.ndarray, error: EnsembleError, seed: int) -> SeriesChoice:
    """The sd of the smallest held-out misfit, or 0 where permuted years do as well.

    Parameters
    ----------
    residual : array, (region, year, 12)
        [PgC month-1]
    columns : array, (region, year, 12, column)
        Integrals of the effect's columns [PgC month-1 per gC m-2 d-1].
    error : EnsembleError
        R, whose anomalies weigh regions, their sum and months.
    """
    years = residual.shape[1]
    gram = gram_of_years(np.concatenate([columns, residual[..., None]], axis=-1), error.precisions()[1])
    misfit = held_out_misfit(gram, np.arange(years))
    gain, random = float(misfit[0] - misfit.min()), generator((seed,), "series")
    # A permuted year takes the months of another: their lengths differ in leap years alone.
    others = [held_out_misfit(gram, random.permutation(years)) for _ in range(PERMUTATIONS)]
    as_good = sum(float(other[0] - other.min()) >= gain for other in others)
    p_value = (1 + as_good) / (1 + PERMUTATIONS)
    return SeriesChoice(CANDIDATE_SDS[int(misfit.argmin())] if p_value < LEVEL else 0.0, gain, p_value, misfit)


def gram_of_years(values: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Products of every year's values with every other's in the metric of R's anomalies, (year, year, column, column).

    Parameters
    ----------
    values : array, (region, year, 12, column)
    precision : array, (region, 12, region, 12)
    """
    size, years = 12 * len(values), values.shape[1]
    flat = np.moveaxis(values, 1, 0).reshape(years, size, -1)
    return np.einsum("yip,ziq->yzpq", flat, precision.reshape(size, size) @ flat, optimize=True)


def held_out_misfit(gram: np.ndarray, order: np.ndarray, sds: Sequence[float] = CANDIDATE_SDS) -> np.ndarray:
    """Sum over years of the squared error of each when predicted from all others, for each prior sd, (sd,).

    With the others' means taken out, coefficients w of prior sd s are (X' X + 1 / s^2)^-1 X' r over the other years.

    Parameters
    ----------
    gram : array, (year, year, column + 1, column + 1)
        Of the columns and, last, of what they are to predict.
    order : array of int, (year,)
        Which year's columns stand in a year's place.
    """
    columns, target, across = gram[np.ix_(order, order)][..., :-1, :-1], gram[..., -1, -1], gram[order][..., :-1, -1]
    years, size = len(order), columns.shape[-1]
    # Row t: a year minus the mean of the others; matrix t: the others about their mean.
    apart = np.eye(years) - (1 - np.eye(years)) / (years - 1)
    other = (1 - np.eye(years))[:, :, None] * (np.eye(years) - 1 / (years - 1)) * (1 - np.eye(years))[:, None]
    own = np.einsum("ty,tz->tyz", apart, apart)
    matrix, right = np.einsum("tyz,yzpq->tpq", other, columns, optimize=True), np.einsum("tyz,yzp->tp", other, across)
    held, cross, plain = (np.einsum(f"tyz,yz{rest}->t{rest}", own, part, optimize=True)
                          for rest, part in (("pq", columns), ("p", across), ("", target)))  # fmt: skip
    found = np.empty(len(sds))
    for place, sd in enumerate(sds):
        coefficient = np.zeros((years, size))
        if sd > 0:
            coefficient = np.linalg.solve(matrix + np.eye(size) / sd**2, right[..., None])[..., 0]
        misfit = plain - 2 * (coefficient * cross).sum(axis=1) + np.einsum("tp,tpq,tq->t", coefficient, held, coefficient)
        found[place] = misfit.sum()
    return found


def series_table(choice: SeriesChoice, names: Sequence[str], coefficient: np.ndarray) -> pd.DataFrame:
    """Rows series and zones: `COLUMNS`, coefficient and sd over members (member, series, zone) [gC m-2 d-1 per standard deviation]."""
    mean, sd = coefficient.mean(axis=0), paired_std(coefficient)
    rows = [
        (name, zone, choice.prior_sd, mean[k, j], sd[k, j], choice.gain, choice.p_value)
        for k, name in enumerate(names) for j, zone in enumerate(ZONES)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def said_of(choice: SeriesChoice, names: Sequence[str]) -> str:
    """What became of the series, in words."""
    chosen = f"prior sd {choice.prior_sd:g} gC m-2 d-1 per standard deviation"
    became = chosen if choice.prior_sd > 0 else f"left out, since permuted years gain as much in more than {LEVEL:.0%} of the cases"
    return f"series {', '.join(names)}: {became} (gain in left-out years {choice.gain:.3g}, p = {choice.p_value:.3g})"

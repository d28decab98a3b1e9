"""Memory, disk and time that a study will need.

The constants are fitted to whole runs on two cores of an AMD EPYC (the real monthly study, 116 networks: training 287 to 420 s,
upscaling 67 to 77 s, 1.4 GB; the demo, 44 networks: 82 s and 14 s; `demo --full`, 2 degrees daily over 17 years, 68 networks: 1085 s,
196 s, 8.3 GB).
"""

import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from dualflux.cube import Steps
from dualflux.errors import InputError
from dualflux.fitting.series_choice import BLOCKS
from dualflux.fitting.series_choice import TRIAL_MEMBERS as SERIES_MEMBERS
from dualflux.fitting.weight import TRIAL_MEMBERS, TRIAL_SHARE, candidates
from dualflux.run_folder.doctor import usable_cores, usable_memory
from dualflux.sources.land.read import Land
from dualflux.sources.predictors.settings import of_network, of_time
from dualflux.stages.left_out_years import FOLDS, MEMBERS
from dualflux.study.settings import Study

_FIXED_MEMORY_GB = 1.1  # interpreter, libraries and compiled programs
_COPIES_OF_CUBE = 3.0  # of the standardised predictors: `demo --full` has 2.76 GB of them and takes 8.3 GB
_NUMBER = 4.0  # bytes
# Parts of the speed of plain matrix products that are reached; what activations, sampling and the optimiser leave.
TRAINING, UPSCALING = 0.5, 0.3
_FIXED_SECONDS = 45.0  # reading, compiling, tables, figures
_POSTERIOR_PASSES = 1  # over all cells and steps, after training


def resources(study: Study, land: Land, observations: int, products: int) -> list[str]:
    """Lines with the memory, disk and time that a run will need.

    Parameters
    ----------
    observations : int
        Of all towers.
    products : int
        Inversions, each left out once where `holdout` says so.
    """
    cells = land.cells.index.size
    cube, disk = predicted_gigabytes(study, cells, land.cells.grid.shape[0] * land.cells.grid.shape[1])
    training, upscaling = predicted_operations(study, cells, len(land.cells.region_names), observations, products)
    speed = operations_per_second()
    minutes = (training / TRAINING / speed + upscaling / UPSCALING / speed + _FIXED_SECONDS) / 60
    return [
        f"memory: about {memory_of(cube):.1f} GB of {usable_memory() / 1e9:.1f} (standardised predictors {cube:.2f} GB)",
        f"disk: about {disk:.1f} GB of products before compression, {cube:.2f} GB of predictors",
        f"time: about {minutes:.0f} minutes on this machine's {usable_cores()} usable cores, to a factor of two: "
        f"{networks(study, products)} networks; a GPU is faster",
    ]


def memory_of(cube: float) -> float:
    """Memory that a run takes, of the size of its standardised predictors [1e9 bytes]."""
    return _FIXED_MEMORY_GB + _COPIES_OF_CUBE * cube


def require_memory(cube: float) -> None:
    """Raise InputError where a run will need more memory than this machine, or the job, has.

    Parameters
    ----------
    cube : float
        Standardised predictors [1e9 bytes].
    """
    need, have = memory_of(cube), usable_memory() / 1e9
    if need > have:
        raise InputError(
            f"memory: a run needs about {need:.1f} GB ({_COPIES_OF_CUBE:g} times the {cube:.1f} GB of standardised predictors, and "
            f"{_FIXED_MEMORY_GB} GB), this machine or job has {have:.1f} GB; use one with more, a coarser `grid.resolution`, a "
            "shorter `period`, `time_step: monthly`, fewer dynamic predictors, or `running_means: []` of those whose memory does not matter"
        )


def predicted_gigabytes(study: Study, cells: int, pixels: int) -> tuple[float, float]:
    """Size of the predictors in memory and of the products on disk before compression [1e9 bytes].

    Parameters
    ----------
    study : Study
    cells, pixels : int
        Land cells with a flux, and all cells of the grid.
    """
    cube = _NUMBER * cells * _steps(study) * sum(_dynamic_columns(study))
    product = _NUMBER * pixels * _months(study)
    members = [product * _members(study, variant) for variant in study.settings.variants]
    return cube / 1e9, sum(4 * product + (m if m <= 2e9 else 0) for m in members) / 1e9


def networks(study: Study, products: int) -> int:
    """Networks of all variants and experiments."""
    variants = study.settings.variants
    return sum(_members(study, v) for v in variants) + _left_out(study, products) * sum(v in variants for v in ("inversions", "dual"))


def predicted_operations(study: Study, cells: int, regions: int, observations: int, products: int) -> tuple[float, float]:
    """Multiplications and additions of training and of upscaling.

    A network of W weights needs 2 W for a value and 4 W more for its gradient (one backward pass).
    """
    s, term = study.settings, study.settings.inversion_term
    widths = [_input_columns(study), *s.network.hidden, 1]
    weights = sum(a * b for a, b in pairwise(widths))
    left_out, everywhere = _left_out(study, products), cells * _steps(study)
    trial = TRIAL_SHARE * TRIAL_MEMBERS * len(candidates(s.training)) if term.weight == "auto" else 0.0
    trial += 0.5 * SERIES_MEMBERS * BLOCKS if of_time(s.predictors) else 0.0  # of half the steps
    on_towers = sum(_members(study, v) for v in s.variants if s.variants[v].towers) + left_out * ("dual" in s.variants) + trial
    on_inversions = sum(_members(study, v) for v in s.variants if "inversions" in s.variants[v].constraints) + trial
    on_inversions += left_out * sum(v in s.variants for v in ("inversions", "dual"))
    samples = 1 if term.estimator == "representative" and s.time_step == "monthly" else 2
    sampled = samples * term.locations * regions * 12 * min(term.years, _months(study) // 12 or 1)
    region_rows = sampled if term.estimator != "exact" else 2 * everywhere
    passes = (s.training.anchors if term.estimator != "exact" else 0) + _POSTERIOR_PASSES
    training = 6.0 * s.training.steps * (s.training.batch * on_towers + region_rows * on_inversions)
    training += 2 * s.training.checkpoints * observations * on_towers + 2 * passes * everywhere * on_inversions
    return weights * training, 2.0 * weights * everywhere * networks(study, products)


def operations_per_second() -> float:
    """Multiplications and additions that all cores of this machine do on matrices of the size the network has.

    The best of many tries of microseconds each on one core, so that the load of others does not count.
    """
    a, b = np.ones((64, 64), np.float32), np.ones((64, 64), np.float32)
    out, best = np.empty_like(a), np.inf
    for _ in range(3000):
        started = time.perf_counter()
        np.matmul(a, b, out=out)
        best = min(best, time.perf_counter() - started)
    return float(2 * a.size * b.shape[1] / max(best, 1e-7)) * usable_cores()


def _members(study: Study, variant: str) -> int:
    """Networks of one variant; one without towers has no folds."""
    network = study.settings.network
    return network.members * (network.splits.count if study.settings.variants[variant].towers else 2)


def _left_out(study: Study, products: int) -> int:
    """Networks of one variant in all experiments."""
    holdout = study.settings.holdout
    count = (holdout.span is not None) + (products if holdout.inversions else 0) + (holdout.emissions is not None)
    each = FOLDS * MEMBERS * (_months(study) // 12) if holdout.each_year else 0
    return study.settings.network.members * count + each


def _steps(study: Study) -> int:
    s = study.settings
    return len(Steps.create(str(s.period[0]), str(s.period[1]), s.time_step).time)


def _months(study: Study) -> int:
    return len(pd.date_range(*study.settings.period, freq="MS"))


def _input_columns(study: Study) -> int:
    """Roughly: class fractions count as 17 (IGBP)."""
    predictors = of_network(study.settings.predictors)
    return sum(17 if one.kind == "fractions" else 1 for one in predictors if one.kind != "dynamic") + sum(_dynamic_columns(study))


def _dynamic_columns(study: Study) -> Iterator[int]:
    for one in of_network(study.settings.predictors):
        if one.kind == "dynamic":
            yield 1 + (3 if one.running_means is None else len(one.running_means))
        elif one.derived and one.name.startswith(("anomaly", "lag", "running_mean", "water_balance")):
            yield 1

"""The stage left_out_years: each fitted year predicted by a study that has never seen it.

Everything is made again without the year: mean seasons and standardisation of the predictors, the towers' rows, the inversions'
mean and R, the weight, the networks and their posterior. A readout whose prior was trained with the year would know it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from dualflux.constraints.towers.folds import fold_of_groups
from dualflux.cube import DeviceCube
from dualflux.errors import InputError, Problems
from dualflux.evaluation.left_out_years import MEMBER_COLUMNS, annual_integrals
from dualflux.fitting.ensembles import ALL_SITES, Run, is_fitted_again, stack_members
from dualflux.fitting.fit_ensembles import build_objective, landscape_of, train_all
from dualflux.fitting.without_year import cube_without_year, rows_without_year
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.engine import drawn_anomalies, integrate_month, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prepared import Prepared, load
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.run_folder.progress import progress_bar
from dualflux.sources.adjustments import Target
from dualflux.stages.observations import regional_maker, tower_constraint
from dualflux.stages.train import from_left_out_years, weight_and_priors
from dualflux.study.settings import Study, StudySettings
from dualflux.variants import Variant

FOLDS, MEMBERS = 3, 2  # networks of a variant and year are their product: a small ensemble of the study's kind
TABLE = "tables/left_out_years_members.csv"


def left_out_years(study: Study, out: Path, console: Console, checkpoint: Checkpoint) -> None:
    """Fit the study once for each fitted year, without it, and write the annual integrals of all members.

    Parameters
    ----------
    checkpoint : Checkpoint
        Has the years that are done; a killed run goes on after the last of them.

    Raises
    ------
    InputError
        A year without which too little is left, before any is fitted.
    """
    prepared = load(out / "prepared")
    years = fitted_years(study, prepared)
    require_enough(study, prepared, years)
    known = checkpoint.read()
    found = list(known[1]) if known is not None else []
    with progress_bar(console, f"fitting without each of {len(years)} years") as advance:
        for year in years[len(found) :]:
            advance(len(found), len(years))
            found.append(member_integrals(study, without_year(prepared, year, study.settings), year))
            checkpoint.write(len(found), found)
    place = out / TABLE
    place.parent.mkdir(parents=True, exist_ok=True)
    pd.concat([_rows(study, prepared, y, values) for y, values in zip(years, found, strict=True)]).to_csv(place, index=False)


def fitted_years(study: Study, prepared: Prepared) -> list[int]:
    """Whole years that the inversions constrain."""
    make = regional_maker(study, prepared)
    return [] if make is None else [int(year) for year in make(None, None).years]


def without_year(prepared: Prepared, year: int, settings: StudySettings) -> Prepared:
    """A prepared study as if the year had never been observed; its predictors are there, to predict it from."""
    cube, sites, target = prepared.cube, prepared.sites, prepared.target
    first, last = (pd.Timestamp(day) for day in settings.fitted)
    fitted = np.asarray((cube.steps.time >= first) & (cube.steps.time <= last))
    other = cube_without_year(cube, prepared.cells.land_area, fitted, year)
    keep = pd.DatetimeIndex(prepared.observations.time).year != year
    observations, rows = prepared.observations[keep].reset_index(drop=True), np.asarray(prepared.rows)[keep]
    if len(observations):
        step = cube.steps.time.get_indexer(pd.DatetimeIndex(observations.time))
        rows = rows_without_year(cube, other, rows, step, sites.cell.loc[observations.site].to_numpy())
        sites = sites_without_year(sites, prepared.observations, year, settings.seed)
    return replace(
        prepared, cube=other, observations=observations, sites=sites, rows=rows,
        target=None if target is None else target_without_year(target, year),
    )  # fmt: skip


def sites_without_year(sites: pd.DataFrame, observations: pd.DataFrame, year: int, seed: int) -> pd.DataFrame:
    """Sites that have other years too, in the few folds of these ensembles."""
    count = observations.site[pd.DatetimeIndex(observations.time).year != year].value_counts()
    sites = sites[sites.index.isin(count.index)]
    return sites.assign(fold=fold_of_groups(sites.group.to_numpy(), count[sites.index].to_numpy(), FOLDS, seed))


def target_without_year(target: Target, year: int) -> Target:
    """The inversions' target without one year's months."""
    keep = target.integral.time.dt.year != year
    return replace(target, integral=target.integral.sel(time=keep), adjustment_variance=target.adjustment_variance.sel(time=keep))


def require_enough(study: Study, prepared: Prepared, years: Sequence[int]) -> None:
    """Raise InputError for every year without which towers or inversions are too few."""
    problems, s = Problems(), study.settings
    make = regional_maker(study, prepared)
    for year in years:
        try:
            if len(prepared.observations):
                sites_without_year(prepared.sites, prepared.observations, year, s.seed)
            if make is not None:
                make(None, (year, year))
        except InputError as error:
            problems.add(f"holdout.years: each: without {year}: {error}")
    problems.raise_if_any()


def variants_of(study: Study) -> Mapping[str, Variant]:
    """Variants that are fitted again without each year."""
    return {name: variant for name, variant in study.settings.variants.items() if is_fitted_again(variant)}


def runs_without(study: Study, year: int) -> list[Run]:
    """Ensembles of one left-out year; without towers there are no folds."""
    return [
        Run(f"without_{year}", name, variant, tuple(range(FOLDS)), MEMBERS)
        if variant.towers
        else Run(f"without_{year}", name, variant, (ALL_SITES,), FOLDS * MEMBERS)
        for name, variant in variants_of(study).items()
    ]


def member_integrals(study: Study, prepared: Prepared, year: int) -> np.ndarray:
    """Fit without a year and predict all months: integrals [PgC month-1], (member of all variants, month, region + 1)."""
    s, device = study.settings, DeviceCube.of(prepared.cube)
    towers, make = tower_constraint(prepared), regional_maker(study, prepared)
    if make is None:
        raise InputError("holdout.years: each: the study has no inversions to leave years out of; remove the key")
    objective = build_objective(
        towers, make(None, None), prepared.cube, device, prepared.cells, s.network, s.tower_term, s.inversion_term, s.training,
        s.seed, prepared.library, pattern=True,
    )  # fmt: skip
    landscape = landscape_of(prepared.cube, prepared.cells, s.spatial_term)
    choice = weight_and_priors(s, objective, make, landscape, device, None)
    weight, runs = choice.weight, [replace(run, priors=choice.priors) for run in runs_without(study, year)]
    stack = stack_members(objective.constraints, runs, s.tower_term, [{"inversions": weight}] * len(runs), s.seed)
    series, anomaly = from_left_out_years(study, objective, make, prepared.cube, prepared.cells, weight, None)
    place = (landscape, device, s.network, s.training, s.spatial_term)
    fitted = train_all(objective, stack, *place, series_sd=series.prior_sd, anomaly=anomaly)
    return regional_integrals([fitted.ensembles[run.name, run.variant] for run in runs], prepared)


def regional_integrals(ensembles: list[Ensemble], prepared: Prepared) -> np.ndarray:
    """All members over all cells and months, (member, month, region + 1) [PgC month-1]."""
    cells, steps = prepared.cells, prepared.cube.steps
    place = ensembles[0].basis.at(cells.lat(), cells.lon())
    found = np.empty((sum(e.size for e in ensembles), len(steps.months), len(cells.region_names) + 1))
    alone = drawn_anomalies(ensembles, steps.months, cells)
    for month in monthly_fluxes(stack_ensembles(ensembles), prepared.cube, place, (cells.lat(), cells.lon()), alone):
        found[:, month.month] = integrate_month(month.landscape, cells, steps.month_days[month.month])
    return found


def _rows(study: Study, prepared: Prepared, year: int, integrals: np.ndarray) -> pd.DataFrame:
    """Of one left-out year, with the columns `MEMBER_COLUMNS`."""
    labels = [(run.variant, m) for run in runs_without(study, year) for m in range(len(run.folds) * run.members)]
    regions = [*prepared.cells.region_names, "global"]
    return annual_integrals(labels, integrals, prepared.cube.steps.months, regions).assign(left_out=year)[list(MEMBER_COLUMNS)]

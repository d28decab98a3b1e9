"""Sections of a check about what constrains: what each constraint has, and whether enough is left where something is left out."""

import numpy as np

from dualflux.constraints.inversions.observations import RegionalConstraint, from_inversions
from dualflux.cube import Steps
from dualflux.errors import InputError, Problems
from dualflux.fitting.library_networks import least_years
from dualflux.fitting.weight import held_in_trial
from dualflux.grid import LandCells
from dualflux.sources.adjustments import Target
from dualflux.study.settings import StudySettings

LEAST_YEARS = 4  # of which three stay: fewer give no correlation and hardly an error model


def check_constraints(settings: StudySettings, target: Target, cells: LandCells, steps: Steps) -> RegionalConstraint:
    """What the inversions say; InputError where they, or what an experiment or a trial leaves of them, cannot make a constraint."""
    area = cells.region_area.sum(axis=1)
    fixed = (target, steps, cells.region_names, area, settings.inversion_term, settings.fitted)
    full = from_inversions(*fixed)
    holdout, problems = settings.holdout, Problems()
    if holdout.emissions is not None and set(holdout.emissions.values) != set(cells.region_names):
        given, there = ", ".join(holdout.emissions.values), ", ".join(cells.region_names)
        problems.add(f"holdout.emissions: regions {given}; the mask has {there}; give one value for each")
    experiments: list[tuple[str, str, str | None, tuple[int, int] | None]] = []
    with problems.collect():
        _check_estimator(settings, full)
    if (span := holdout.span) is not None:
        experiments.append(("holdout.years", f"{span[0]} to {span[1]}", None, span))
    if holdout.each_year:
        with problems.collect():
            require_years(full.years)
        experiments += [("holdout.years", str(year), None, (int(year), int(year))) for year in full.years]
    if holdout.inversions and len(full.names) < 3:
        problems.add(
            f"holdout.inversions: {len(full.names)} inversions ({', '.join(full.names)}); leaving one out leaves 1, and two must remain; "
            "add products or remove the key"
        )
    elif holdout.inversions:
        experiments += [("holdout.inversions", name, name, None) for name in full.names]
    if settings.towers and settings.inversion_term.weight == "auto":
        held = held_in_trial(full.years)
        judged = " to ".join(map(str, dict.fromkeys(held)))
        experiments.append(("inversion_term.weight", f"the years that `auto` keeps to judge by ({judged})", None, held))
    for key, what, product, years in experiments:
        try:
            left = from_inversions(*fixed, product, years)
        except InputError as error:
            todo = "; state a number, for example `weight: 1.0`, and no years are kept" if key == "inversion_term.weight" else ""
            problems.add(f"{key}: without {what}: {error}{todo}")
            continue
        if years is not None and len(left.years) == len(full.years):
            problems.add(f"holdout.years: {what} has no year that is fitted ({full.years[0]} to {full.years[-1]}); choose years inside")
    problems.raise_if_any()
    return full


def require_years(years: np.ndarray) -> None:
    """Raise InputError where leaving each year out leaves too few to score or to fit."""
    if len(years) < LEAST_YEARS:
        raise InputError(
            f"holdout.years: each: the inversions have {len(years)} whole fitted years ({', '.join(map(str, years))}); at least "
            f"{LEAST_YEARS} are needed; widen `fit_period` or give a span of years"
        )


def _check_estimator(settings: StudySettings, full: RegionalConstraint) -> None:
    """Raise InputError where the estimator, or the years of a step, need more years than the inversions share."""
    term = settings.inversion_term
    if term.estimator == "representative":
        least_years(len(full.years))
    possible = settings.fitted[1].year - settings.fitted[0].year + 1  # more is said of the study file
    if term.states_years and len(full.years) < term.years <= possible:
        raise InputError(
            f"inversion_term.years: came {term.years}; the inversions have {len(full.years)} fitted years ({full.years[0]} to "
            f"{full.years[-1]}): use at most {len(full.years)}, or remove the key"
        )

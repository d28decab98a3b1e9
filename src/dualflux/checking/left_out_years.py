"""What a check says of years that are left out one by one: whether towers and an index suffice without each."""

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.metrics.left_out_years import index_of_year
from dualflux.sources.climate_index import read_index
from dualflux.stages.left_out_years import sites_without_year
from dualflux.study.settings import Study


def check_towers_without_years(study: Study, sites: pd.DataFrame, observations: pd.DataFrame) -> None:
    """Raise InputError for every fitted year without which the towers make no folds.

    Parameters
    ----------
    sites : DataFrame
        Index site; group.
    observations : DataFrame
        site, time.
    """
    problems, (first, last) = Problems(), study.settings.fitted
    for year in range(first.year, last.year + 1) if study.settings.holdout.each_year else ():
        try:
            sites_without_year(sites, observations, year, study.settings.seed)
        except InputError as error:
            problems.add(f"holdout.years: each: without {year}: {error}")
    problems.raise_if_any()


def check_index(study: Study) -> None:
    """Raise InputError where the index cannot be read, or lacks a fitted year."""
    index, (first, last) = study.settings.holdout.index, study.settings.fitted
    if index is None:
        return
    years = index_of_year(read_index(study.root / index.path, index.variable)).index
    if absent := [str(year) for year in range(first.year, last.year + 1) if year not in years]:
        raise InputError(
            f"holdout.index: {index.path} has no whole index of {', '.join(absent)} (the twelve months to August); give a longer series"
        )

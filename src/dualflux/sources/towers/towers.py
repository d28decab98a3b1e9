"""The checked observations of all towers of a study."""

from dataclasses import dataclass, field

import pandas as pd

from dualflux.sources.towers.flags import FLAG_COLUMNS

FACT_COLUMNS = ["lat", "lon", "igbp", "source", "variable", "uncertainty", "release", "utc_offset", "citation"]
EXCLUDED = "excluded by the study (`exclude`)"
SKIPPED_COLUMNS = ["file", "site", "reason"]
CANDIDATE_COLUMNS = ["site", "why", "rows", *FACT_COLUMNS, "note"]


def _empty(*columns: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(columns))


@dataclass(frozen=True)
class Towers:
    """Checked observations of all towers.

    Attributes
    ----------
    observations : DataFrame
        site, time (start of the step), nee and uncertainty [gC m-2 d-1, uncertainty NaN where unknown], then one float column per
        meteorological variable. Sorted by site and time, each pair once, no missing nee.
    sites : DataFrame
        Index site; lat, lon [degrees], igbp, source (file name), variable (column read), uncertainty (kind), release, utc_offset [h]
        and citation (the last three empty where unknown). Sites with observations only.
    dropped : DataFrame
        source, site, reason, count: every row of the files read that is in no observation, counted (days, of half-hourly files).
    candidates : DataFrame
        site, why (a release is not used, or nothing), rows (of the file), the columns of `sites`, note: one row per site and release.
    flags : DataFrame
        source, site, variable, kind, time, statistic, limit, rows, why, action: see `flags.consistency_flags`.
    skipped : DataFrame
        file, site, reason: files that were not read, such as reanalysis files, which hold no fluxes.
    """

    observations: pd.DataFrame
    sites: pd.DataFrame
    dropped: pd.DataFrame
    candidates: pd.DataFrame = field(default_factory=lambda: _empty(*CANDIDATE_COLUMNS))
    flags: pd.DataFrame = field(default_factory=lambda: _empty("source", *FLAG_COLUMNS, "action"))
    skipped: pd.DataFrame = field(default_factory=lambda: _empty(*SKIPPED_COLUMNS))

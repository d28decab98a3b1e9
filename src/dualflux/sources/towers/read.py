"""All tower sources of a study as one table."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from dualflux.errors import InputError, Problems
from dualflux.sources.towers.fluxnet import FluxnetSource, read_fluxnet
from dualflux.sources.towers.records import Records, TimeStep, to_time_step
from dualflux.sources.towers.table import TableSource, read_tower_table

TowerSource = Annotated[TableSource | FluxnetSource, Field(discriminator="format")]


@dataclass(frozen=True)
class Towers:
    """Checked observations of all towers.

    Attributes
    ----------
    observations : DataFrame
        site, time (start of the step), nee and uncertainty [gC m-2 d-1, uncertainty NaN where unknown], then one float column per
        meteorological variable. Sorted by site and time, each pair once, no missing nee.
    sites : DataFrame
        Index site; lat, lon [degrees], igbp, source (file name), variable (column read), uncertainty (kind). Sites with observations only.
    dropped : DataFrame
        source, site, reason, count: every row of the files that is in no observation, counted.
    """

    observations: pd.DataFrame
    sites: pd.DataFrame
    dropped: pd.DataFrame


def read_towers(sources: list[TableSource | FluxnetSource], root: Path, period: tuple[date, date], time_step: TimeStep) -> Towers:
    """Read, check and bring to the study's time step all tower sources.

    Parameters
    ----------
    sources : list of TableSource or FluxnetSource
    root : Path
        Folder that relative paths start from.
    period : (date, date)
        First and last day, both inside.
    time_step : "monthly" or "daily"
        Daily files in a monthly study are averaged, see `records.to_time_step`.

    Raises
    ------
    InputError
        Every problem of every file, see the readers; a site in two sources; no data left in the period.
    """
    problems, records = Problems(), []
    for source in sources:
        with problems.collect():
            records.append(_step_of_source(source, root, period, time_step))
    problems.raise_if_any()
    if not records:
        raise InputError("towers: no source given; list at least one file under `towers`")
    sites = pd.concat([towers.sites for towers in records])
    twice = sorted(sites.index[sites.index.duplicated()].unique())
    if twice:
        files = ", ".join(sorted(sites.loc[twice, "source"].unique()))
        raise InputError(f"towers: {', '.join(twice)} in more than one source ({files}); releases differ, take each site from one")
    observations = pd.concat([towers.observations for towers in records], ignore_index=True)
    dropped = pd.concat([towers.dropped for towers in records], ignore_index=True)
    return Towers(observations.sort_values(["site", "time"], ignore_index=True), sites.sort_index(), dropped)


def tower_summary(towers: Towers) -> pd.DataFrame:
    """One row per file: source, sites, observations, first, last, dropped (rows)."""
    source_of = towers.observations.assign(source=towers.sites["source"].reindex(towers.observations["site"]).to_numpy())
    table = source_of.groupby("source").agg(
        sites=("site", "nunique"), observations=("nee", "size"), first=("time", "min"), last=("time", "max")
    )
    dropped = towers.dropped.groupby("source")["count"].sum()
    return table.assign(dropped=dropped.reindex(table.index, fill_value=0)).reset_index()


def _step_of_source(source: TableSource | FluxnetSource, root: Path, period: tuple[date, date], time_step: TimeStep) -> Towers:
    records = [read_tower_table(source, root)] if isinstance(source, TableSource) else read_fluxnet(source, root, time_step)
    label = ", ".join(part.sites["source"].iloc[0] for part in records[:2]) + (", ..." if len(records) > 2 else "")
    sites = pd.concat([part.sites for part in records])
    stepped = [to_time_step(whole, period, time_step, source.quality_above, source.minimum_coverage, label) for whole in _by_step(records)]
    observations, dropped = (pd.concat(parts, ignore_index=True) for parts in zip(*stepped, strict=True))
    if observations.empty:
        raise InputError(f"{label}: no observation left for {period[0]} to {period[1]}: {_say_dropped(dropped, records)}")
    dropped.insert(0, "source", sites["source"].reindex(dropped["site"]).to_numpy())
    return Towers(observations, sites.loc[sites.index.isin(observations["site"].unique())], dropped)


def _by_step(records: list[Records]) -> list[Records]:
    """All records of one step as one, so that many files cost one pass."""
    groups = [[part for part in records if part.step == step] for step in ("monthly", "daily")]
    return [
        Records(pd.concat([p.rows for p in group], ignore_index=True), pd.concat([p.sites for p in group]), group[0].step)
        for group in groups
        if group
    ]


def _say_dropped(dropped: pd.DataFrame, records: list[Records]) -> str:
    first, last = min(p.rows["time"].min() for p in records), max(p.rows["time"].max() for p in records)
    reasons = dropped.groupby("reason", sort=False)["count"].sum()
    said = ", ".join(f"{count} rows {reason}" for reason, count in reasons.items())
    return (
        f"{said or 'no rows'}; the files cover {first:%Y-%m-%d} to {last:%Y-%m-%d}; change the period, the quality threshold or the files"
    )

"""All tower sources of a study as one table."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import Field

from dualflux.errors import InputError, Problems
from dualflux.sources.towers.flags import FLAG_COLUMNS
from dualflux.sources.towers.fluxnet import UNUSABLE_COLUMNS, Read, read_fluxnet
from dualflux.sources.towers.records import Records, TimeStep, to_time_step
from dualflux.sources.towers.releases import choose_releases
from dualflux.sources.towers.settings import FluxnetSource
from dualflux.sources.towers.table import TableSource, read_tower_table
from dualflux.sources.towers.towers import CANDIDATE_COLUMNS, EXCLUDED, FACT_COLUMNS, Towers

TowerSource = Annotated[TableSource | FluxnetSource, Field(discriminator="format")]


@dataclass(frozen=True)
class _Study:
    """What all sources are brought to."""

    period: tuple[date, date]
    time_step: TimeStep


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
        Every problem of every file, see the readers; a site of a table in another source, too; no data left in the period.
    """
    problems = Problems()
    tables, files = list[Towers](), list[Towers]()
    for source in sources:
        with problems.collect():
            if isinstance(source, TableSource):
                tables += _towers(source, _read_table(source, root), _Study(period, time_step))
            else:
                files += _towers(source, read_fluxnet(source, root, time_step), _Study(period, time_step))
    problems.raise_if_any()
    if not sources:
        raise InputError("towers: no source given; list at least one file under `towers`")
    parts = [*tables, *(choose_releases(files, time_step) if files else [])]
    _refuse_twice(parts)
    return _joined(parts)


def _read_table(source: TableSource, root: Path) -> Read:
    records, excluded = read_tower_table(source, root)
    about = {"source": str(records.sites["source"].iloc[0]), "release": "", "reason": EXCLUDED}
    out = pd.DataFrame({"site": excluded.index, "count": excluded.to_numpy()}).assign(**about)
    return Read([records], unusable=out.reindex(columns=UNUSABLE_COLUMNS))


def _towers(source: TableSource | FluxnetSource, read: Read, study: _Study) -> list[Towers]:
    """The source's sites; the second and further releases of a site stand in parts of their own."""
    rounds: dict[int, list[Records]] = {}
    seen: Counter[str] = Counter()
    for records in read.records:
        site = str(records.sites.index[0])
        rounds.setdefault(seen[site], []).append(records)
        seen[site] += 1
    parts = [_round(source, records, study) for records in rounds.values()]
    if all(part.observations.empty for part in parts):
        dropped = pd.concat([part.dropped for part in parts])
        label = ", ".join(records.sites["source"].iloc[0] for records in read.records[:2]) + (", ..." if len(read.records) > 2 else "")
        raise InputError(f"{label}: no observation left for {study.period[0]} to {study.period[1]}: {_say_dropped(dropped, read.records)}")
    return [_with_unread(parts[0], read), *parts[1:]]


def _with_unread(part: Towers, read: Read) -> Towers:
    """The part, with the files of its source that gave no rows."""
    if read.unusable.empty:
        return replace(part, skipped=read.skipped)
    candidates = read.unusable.rename(columns={"count": "rows"}).assign(why="").reindex(columns=CANDIDATE_COLUMNS)
    return replace(
        part,
        dropped=pd.concat([part.dropped, read.unusable[part.dropped.columns]], ignore_index=True),
        candidates=pd.concat([part.candidates, candidates], ignore_index=True),
        skipped=read.skipped,
    )


def _round(source: TableSource | FluxnetSource, records: list[Records], study: _Study) -> Towers:
    sites = pd.concat([part.sites for part in records])
    label = ", ".join(sites["source"].unique()[:2])
    stepped = [
        to_time_step(whole, study.period, study.time_step, source.quality_above, source.minimum_coverage, label)
        for whole in _by_step(records)
    ]
    observations, dropped = (pd.concat(parts, ignore_index=True) for parts in zip(*stepped, strict=True))
    dropped.insert(0, "source", sites["source"].reindex(dropped["site"]).to_numpy())
    rows = pd.concat([part.rows["site"] for part in records]).value_counts()
    candidates = sites.rename_axis("site").reset_index().assign(why="").reindex(columns=CANDIDATE_COLUMNS)
    candidates["rows"] = rows.reindex(candidates["site"]).to_numpy()
    flags = [part.flags for part in records if len(part.flags)]
    flagged = pd.concat(flags, ignore_index=True) if flags else pd.DataFrame(columns=FLAG_COLUMNS)
    flagged.insert(0, "source", sites["source"].reindex(flagged["site"]).to_numpy())
    flagged["action"] = "dropped" if isinstance(source, FluxnetSource) and source.consistency == "drop" else "reported"
    kept = sites.loc[sites.index.isin(observations["site"].unique())].reindex(columns=FACT_COLUMNS)
    return Towers(observations, kept, dropped, candidates, flagged)


def _by_step(records: list[Records]) -> list[Records]:
    """All records of one step as one, so that many files cost one pass."""
    groups = [[part for part in records if part.step == step] for step in ("monthly", "daily")]
    return [
        Records(pd.concat([p.rows for p in group], ignore_index=True), pd.concat([p.sites for p in group]), group[0].step)
        for group in groups
        if group
    ]


def _refuse_twice(parts: list[Towers]) -> None:
    """Raise InputError for a site of a table that is in another source, too: a table has no release to compare by."""
    sites = pd.concat([part.sites for part in parts])
    twice = sorted(sites.index[sites.index.duplicated()].unique())
    if twice:
        files = ", ".join(sorted(sites.loc[twice, "source"].unique()))
        raise InputError(f"towers: {', '.join(twice)} in more than one source ({files}); releases differ, take each site from one")


def _joined(parts: list[Towers]) -> Towers:
    observations = pd.concat([part.observations for part in parts if len(part.observations)], ignore_index=True)
    return Towers(
        observations.sort_values(["site", "time"], ignore_index=True),
        pd.concat([part.sites for part in parts if len(part.sites)]).sort_index(),
        pd.concat([part.dropped for part in parts], ignore_index=True),
        pd.concat([part.candidates for part in parts if len(part.candidates)], ignore_index=True),
        pd.concat([part.flags for part in parts if len(part.flags)] or [parts[0].flags], ignore_index=True),
        pd.concat([part.skipped for part in parts], ignore_index=True),
    )


def _say_dropped(dropped: pd.DataFrame, records: list[Records]) -> str:
    first, last = min(p.rows["time"].min() for p in records), max(p.rows["time"].max() for p in records)
    reasons = dropped.groupby("reason", sort=False)["count"].sum()
    said = ", ".join(f"{count} rows {reason}" for reason, count in reasons.items())
    return (
        f"{said or 'no rows'}; the files cover {first:%Y-%m-%d} to {last:%Y-%m-%d}; change the period, the quality threshold or the files"
    )

"""Sections of a check about towers: what each file gives, what is dropped and why, coverage by site, class, region and year."""

import numpy as np
import pandas as pd

from dualflux.checking.left_out_years import check_towers_without_years
from dualflux.checking.report import CheckReport, some
from dualflux.sources.land.read import Land
from dualflux.sources.towers import Towers, citations, read_towers, site_table, tower_summary
from dualflux.stages.consistency import place_sites, with_site_meteorology
from dualflux.study.settings import Study

_SITE_COLUMNS = ["site", "use", "why", "release", "first", "last", "observations", "dropped"]
_FLAG_COLUMNS = ["site", "variable", "kind", "time", "statistic", "limit", "rows", "why", "action"]
_NO_REGION = "no region"


def check_towers(study: Study, report: CheckReport) -> Towers:
    """Read all towers as a run does."""
    s = study.settings
    towers = with_site_meteorology(s.predictors, read_towers(s.towers, study.root, s.fitted, s.time_step))
    report.add("Towers", tower_summary(towers))
    sites = site_table(towers)
    title = f"Towers one by one: {len(towers.sites)} sites used, {(sites['use'] != 'kept').sum()} sites or releases not"
    report.add(title, _filled(sites[_SITE_COLUMNS]))
    if len(towers.dropped):
        known = towers.dropped.assign(source=_release(towers, towers.dropped))
        dropped = known.groupby(["source", "reason"]).agg(sites=("site", "nunique"), rows=("count", "sum"))
        report.add("Tower rows that are dropped", dropped.reset_index())
    _say(towers, sites, report)
    skipped = towers.skipped.groupby("reason", sort=False).agg(files=("file", "size")).reset_index()
    report.add("Tower files that are not read", skipped[["files", "reason"]])
    report.add("Flags of inconsistent tower records", towers.flags[_FLAG_COLUMNS])
    report.add("Towers by class", _count(towers, towers.observations["site"].map(towers.sites["igbp"]), "igbp"))
    report.add("Towers by year", _count(towers, towers.observations["time"].dt.year, "year"))
    report.add("To cite for the towers", citations(towers))
    return towers


def _say(towers: Towers, sites: pd.DataFrame, report: CheckReport) -> None:
    """Lines of the first screen: what is dropped and why in short, whom to cite."""
    lost = towers.dropped.groupby("reason")["count"].sum().sort_values(ascending=False)
    without = int((sites["use"] != "kept").sum())
    reasons = some([f"{count} {reason}" for reason, count in lost.items()], most=3)
    parts = [f"{int(lost.sum())} rows dropped ({reasons})"] if len(lost) else []
    parts += [f"{without} sites or releases not used"] if without else []
    parts += [f"{len(towers.skipped)} files not read"] if len(towers.skipped) else []
    parts += [f"{len(towers.flags)} flags of inconsistent records"] if len(towers.flags) else []
    if parts:
        report.say("towers, not used", "; ".join(parts))
    if cited := citations(towers):
        report.say("towers, to cite", f"{len(cited)} data sets; their citations: --all")


def check_places(study: Study, land: Land, towers: Towers, valid: np.ndarray | None, report: CheckReport) -> None:
    """Put the towers into cells and regions.

    Parameters
    ----------
    valid : array of bool, (cell,), optional
        Cells that no predictor's rule `drop` removes.
    """
    places = place_sites(study.settings, land.cells, towers, valid)
    check_towers_without_years(study, places, towers.observations)
    region = _region_of(land)[places["cell"].to_numpy()]
    key = towers.observations["site"].map(pd.Series(region, index=places.index))
    names = [*land.cells.region_names, *([_NO_REGION] if (key == _NO_REGION).any() else [])]
    found = _count(towers, key, "region").set_index("region")
    report.add("Towers by region", found.reindex(names, fill_value=0).reset_index())
    report.add("Sites with observations by year and region", _by_region_and_year(towers, key, names))
    moved = places[places["distance"] > 0]
    fold = places.groupby("fold").size()
    far = f"; {len(moved)} take the nearest land cell" if len(moved) else ""
    report.say("folds", f"{len(fold)} of {fold.min()} to {fold.max()} sites in {places['group'].nunique()} groups of co-located sites{far}")
    report.add(
        "Towers that take the nearest land cell",
        [f"{site}: {distance:.0f} km to the cell's centre" for site, distance in moved["distance"].items()],
    )


def _release(towers: Towers, rows: pd.DataFrame) -> np.ndarray:
    """Release of each row's file, or the file's name where it has none."""
    known = towers.candidates.drop_duplicates("source").set_index("source")["release"]
    release = rows["source"].map(known).astype("string").fillna("")
    return release.where(release != "", rows["source"]).to_numpy()


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Without columns of text in which nothing stands."""
    empty = [name for name in table if (table[name].isna() | (table[name] == "")).all()]
    return table.drop(columns=empty).assign(**{name: table[name].fillna("") for name in ("why", "release") if name not in empty})


def _count(towers: Towers, key: pd.Series, name: str) -> pd.DataFrame:
    """Sites and observations for each value of a key of the observations."""
    rows = towers.observations.assign(key=key.to_numpy())
    table = rows.groupby("key").agg(sites=("site", "nunique"), observations=("nee", "size"))
    return table.rename_axis(name).reset_index()


def _by_region_and_year(towers: Towers, region: pd.Series, names: list[str]) -> pd.DataFrame:
    rows = pd.DataFrame({"site": towers.observations["site"], "region": region, "year": towers.observations["time"].dt.year})
    table = rows.groupby(["year", "region"])["site"].nunique().unstack(fill_value=0)
    return table.reindex(columns=names, fill_value=0).rename_axis(columns=None).reset_index()


def _region_of(land: Land) -> np.ndarray:
    """Name of the region with the largest share of each cell, (cell,)."""
    share = land.cells.region_fraction
    names = np.array([*land.cells.region_names, _NO_REGION], dtype=object)
    return names[np.where(share.max(axis=0) > 0, share.argmax(axis=0), len(names) - 1)]

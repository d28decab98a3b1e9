"""Several releases of one site: one is used, by one rule; two are never mixed."""

from dataclasses import replace

import pandas as pd

from dualflux.sources.towers.find import JOINED
from dualflux.sources.towers.names import ProductName, parse_name
from dualflux.sources.towers.records import TimeStep
from dualflux.sources.towers.towers import Towers

REASON = "another release of the site is used"
SAME_RELEASE = "other files of the same release are used"


def choose_releases(towers: list[Towers], time_step: TimeStep) -> list[Towers]:
    """Keep each site's observations in one of the parts: where they cover the most days.

    Every part holds one release of each of its sites. Usable days are those of the observations that the study would use, after quality
    control and averaging: days, or the days of the months. Of equal ones the release with the latest observation is used, then the higher
    version number, then the later name.

    Parameters
    ----------
    towers : list of Towers
    time_step : "monthly" or "daily"

    Returns
    -------
    list of Towers
        The same parts; the rows of releases not used are in `dropped`, the comparison in `candidates`.
    """
    ranked = pd.concat([_rank(part, time_step).assign(part=i) for i, part in enumerate(towers)], ignore_index=True)
    ranked = ranked.sort_values(["site", "days", "last", "version", "source"], kind="stable")
    winners = ranked.drop_duplicates("site", keep="last").set_index("site")
    return [_without_losers(part, i, ranked[ranked["part"] == i].set_index("site"), winners) for i, part in enumerate(towers)]


def _rank(part: Towers, time_step: TimeStep) -> pd.DataFrame:
    time = part.observations["time"]
    days = time.dt.days_in_month if time_step == "monthly" else pd.Series(1, index=time.index)
    found = (
        pd.DataFrame({"site": part.observations["site"], "days": days, "last": time}).groupby("site").agg({"days": "sum", "last": "max"})
    )
    about = part.sites.loc[found.index]
    versions = [_version(parse_name(source.split(JOINED)[0].rpartition("/")[2])) for source in about["source"]]
    version = pd.Series(versions, index=found.index, dtype=object)
    return found.assign(source=about["source"], release=about["release"], version=version).reset_index()


def _version(name: ProductName | None) -> tuple[int, ...]:
    return name.version if name is not None else ()


def _without_losers(part: Towers, index: int, mine: pd.DataFrame, winners: pd.DataFrame) -> Towers:
    lost = mine[winners["part"].reindex(mine.index) != index]
    if lost.empty:
        return part
    used, days = winners["release"].reindex(lost.index), winners["days"].reindex(lost.index)
    why = used.astype(str) + " is used: " + days.astype(str) + " usable days against " + lost["days"].astype(str)
    here = part.candidates["source"].isin(lost["source"])
    losers = part.candidates[here]
    reason = (losers["release"] == losers["site"].map(used)).map({True: SAME_RELEASE, False: REASON})
    dropped = pd.DataFrame({"source": losers["source"], "site": losers["site"], "reason": reason, "count": losers["rows"].astype(int)})
    return replace(
        part,
        observations=part.observations[~part.observations["site"].isin(lost.index)],
        sites=part.sites.drop(index=lost.index),
        dropped=pd.concat([part.dropped[~part.dropped["source"].isin(lost["source"])], dropped], ignore_index=True),
        candidates=part.candidates.assign(why=part.candidates["why"].mask(here, part.candidates["site"].map(why))),
    )

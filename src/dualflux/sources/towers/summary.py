"""What was made of each site's files, as tables."""

import pandas as pd

from dualflux.sources.towers.towers import Towers

SITE_TABLE = (
    *("site", "use", "why", "release", "source", "first", "last", "observations", "rows", "dropped"),
    *("lat", "lon", "igbp", "utc_offset", "variable", "uncertainty", "flags", "note", "citation"),
)


def tower_summary(towers: Towers) -> pd.DataFrame:
    """One row per release (of tables: per file): source, sites, observations, first, last, dropped (rows)."""
    label = towers.candidates.drop_duplicates("source").set_index("source")["release"].astype("string").fillna("")
    label = label.where(label != "", label.index.to_series())
    used = towers.sites["source"].map(label)
    rows = towers.observations.assign(source=used.reindex(towers.observations["site"]).to_numpy())
    table = rows.groupby("source").agg(sites=("site", "nunique"), observations=("nee", "size"), first=("time", "min"), last=("time", "max"))
    dropped = towers.dropped.groupby(towers.dropped["source"].map(label))["count"].sum()
    return table.assign(dropped=dropped.reindex(table.index, fill_value=0)).reset_index()


def site_table(towers: Towers) -> pd.DataFrame:
    """One row per site and release: kept or dropped, why, and what it is.

    Returns
    -------
    DataFrame
        site, use (``kept`` or ``dropped``), why (of dropped rows, with their number; of a release not used, the comparison), release,
        source, first, last (time of the first and last observation), observations, rows (of the file), dropped (of these), lat, lon,
        igbp, utc_offset [h], variable, uncertainty, flags, note, citation; sorted by site, the kept release first.
    """
    table = towers.candidates.copy()
    kept = (towers.sites["source"].reindex(table["site"]).to_numpy() == table["source"].to_numpy()) & (table["why"] == "").to_numpy()
    seen = towers.observations.groupby("site")["time"].agg(["min", "max", "size"]).reindex(table["site"]).reset_index(drop=True)
    table["use"] = pd.Series(kept, index=table.index).map({True: "kept", False: "dropped"})
    table["first"], table["last"] = seen["min"].where(kept), seen["max"].where(kept)
    table["observations"] = seen["size"].where(kept).fillna(0).astype(int)
    key = pd.MultiIndex.from_frame(table[["source", "site"]])
    lost = towers.dropped.assign(words=towers.dropped["count"].astype(str) + " " + towers.dropped["reason"].astype(str))
    by_file = lost.groupby(["source", "site"])
    said = by_file["words"].agg("; ".join)
    table["dropped"] = by_file["count"].sum().reindex(key, fill_value=0).astype(int).to_numpy()
    table["why"] = table["why"].where(table["why"] != "", said.reindex(key).fillna("").to_numpy())
    table["flags"] = _flags(towers).reindex(key).fillna("").to_numpy()
    return table.sort_values(["site", "use", "release"], ascending=[True, False, True], ignore_index=True)[list(SITE_TABLE)]


def citations(towers: Towers) -> list[str]:
    """What to cite for the observations, one line per site used (once where sites share it)."""
    used = towers.sites["citation"].dropna() if "citation" in towers.sites else pd.Series(dtype=object)
    return sorted({text for text in used if text})


def _flags(towers: Towers) -> pd.Series:
    """Flags of each source and site in words."""
    flags = towers.flags
    if flags.empty:
        return pd.Series(dtype=object, index=pd.MultiIndex.from_arrays([[], []], names=["source", "site"]))
    when = pd.to_datetime(flags["time"]).dt.strftime(" %Y-%m-%d").fillna("")
    return (flags["variable"] + " " + flags["why"] + when).groupby([flags["source"], flags["site"]]).agg("; ".join)

"""Where a site stands, its class, its clock and whom to cite: from BIF and SITEINFO files, snapshots and plain tables."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.csv_lines import refuse_other_separators
from dualflux.sources.files.tables import parse_csv
from dualflux.sources.towers.archives import TowerFile
from dualflux.sources.towers.names import parse_name
from dualflux.sources.towers.records import SITE_COLUMNS, check_sites

FACTS = ["lat", "lon", "igbp", "utc_offset", "citation", "cited_release"]

_LONG = {"site_id", "variable", "datavalue"}
_SNAPSHOT = {"site_id": "site", "location_lat": "lat", "location_long": "lon", "product_citation": "citation"}
_BIF_VARIABLES = {
    "LOCATION_LAT": "lat",
    "LOCATION_LONG": "lon",
    "IGBP": "igbp",
    "UTC_OFFSET": "utc_offset",
    "DOI_CITATION": "citation",
    "PRODUCT_CITATION": "citation",
}
_DOI = ("DOI", "PRODUCT_DOI")

FLUXNET2015 = (
    "Pastorello et al. (2020), The FLUXNET2015 dataset and the ONEFlux processing pipeline, https://doi.org/10.1038/s41597-020-0534-3"
)
WARM_WINTER = (
    "Warm Winter 2020 Team and ICOS Ecosystem Thematic Centre (2022), Warm Winter 2020 ecosystem eddy covariance flux product for 73 "
    "stations, release 2022-1, https://doi.org/10.18160/2G60-ZHAK"
)


@dataclass(frozen=True)
class _Fact:
    """One variable of a BIF file; `since` is the date its group states, as text that sorts, or nothing."""

    site: str
    name: str
    value: str
    since: str


def read_sites(stated: Iterable[TowerFile], beside: Iterable[TowerFile], needed: set[str]) -> pd.DataFrame:
    """Facts of the needed sites; what the stated tables say goes before BIF and SITEINFO files beside the data.

    Parameters
    ----------
    stated, beside : iterable of TowerFile
        Each a table with ``site, lat, lon, igbp``, a snapshot of the FLUXNET shuttle, or a BIF or SITEINFO file: known by their
        columns, in any order.
    needed : set of str

    Returns
    -------
    DataFrame
        Index site; lat, lon [degrees], igbp, utc_offset [h], citation and cited_release (the last three may be missing).

    Raises
    ------
    InputError
        A site without coordinates or class, two of them in one table, values out of range; all at once.
    """
    problems, tables = Problems(), []
    for file in stated:
        with problems.collect():
            tables.append(read_site_facts(file, needed))
    for file in beside:
        with problems.collect():
            tables.append(read_site_facts(file, needed))
    problems.raise_if_any()
    facts = pd.DataFrame(index=pd.Index(sorted(needed), name="site"), columns=FACTS, dtype=object)
    for table in tables:
        facts = facts.combine_first(table.reindex(columns=FACTS))
    facts = facts.reindex(sorted(needed))[FACTS]
    without = facts.index[facts[["lat", "lon", "igbp"]].isna().any(axis=1)]
    where = ", ".join(dict.fromkeys(file.name for file in [*stated, *beside])) or "no `sites` table, BIF or SITEINFO file"
    if len(without):
        raise InputError(
            f"{where[:200]}: no row for {', '.join(without)}; add their lat, lon and igbp, or put the BIF or SITEINFO file "
            "of their download beside the data"
        )
    checked = check_sites(facts.reset_index()[SITE_COLUMNS], where[:200])
    return facts.assign(**checked, utc_offset=_offsets(facts["utc_offset"], where[:200]))


def read_site_facts(file: TowerFile, needed: set[str]) -> pd.DataFrame:
    """What one file says of the needed sites (index site).

    Raises
    ------
    InputError
        A file of no known layout; for plain tables see `check_sites`.
    """
    try:
        return _site_facts(file.read_text(), file.label, needed)
    except csv.Error as error:
        raise InputError(f"{file.label}: not a CSV table ({error}); get the file again") from error


def _site_facts(text: str, label: str, needed: set[str]) -> pd.DataFrame:
    header = [name.strip().lower() for name in next(csv.reader(io.StringIO(text, newline="")), [])]
    refuse_other_separators(text.lstrip().partition("\n")[0].encode(), label)
    if twice := sorted(name for name, count in Counter(header).items() if name and count > 1):
        raise InputError(f"{label}: column {', '.join(f'`{t}`' for t in twice)} stands twice; give each column a name of its own")
    if set(header) >= _LONG:
        return _from_bif(text, needed)
    if set(header) >= {"site_id", "location_lat", "location_long", "igbp"}:
        table = _parse(text, label).rename(columns=str.lower).rename(columns=_SNAPSHOT)
        return _from_snapshot(table.assign(site=table["site"].str.strip()), needed)
    if set(header) >= set(SITE_COLUMNS):
        table = _parse(text, label).rename(columns=str.lower)
        return _from_table(table.assign(site=table["site"].str.strip()), needed, label)
    missing = [name for name in SITE_COLUMNS if name not in header]
    raise InputError(
        f"{label}: no column {', '.join(f'`{m}`' for m in missing)}; allowed: a table with site, lat, lon and igbp, a BIF or SITEINFO "
        "file (SITE_ID, VARIABLE, DATAVALUE) or a snapshot (site_id, location_lat, location_long, igbp)"
    )


def citation_of(site: str, release: str, known: object, cited_release: object) -> str:
    """The citation that the site's facts give, unless it is another release's; else that of the release."""
    other = isinstance(cited_release, str) and cited_release != "" and cited_release.split()[1:3] != release.split()[1:3]
    if isinstance(known, str) and known and not other:
        return known
    if "FLUXNET2015" in release:
        return WARM_WINTER if "beta" in release else FLUXNET2015
    return f"{release}, site {site}: cite the DOI that the network gives for this site; processing: {FLUXNET2015}" if release else ""


def _parse(text: str, label: str) -> pd.DataFrame:
    return parse_csv(io.BytesIO(text.encode()), label, as_text=True)


def _from_table(table: pd.DataFrame, needed: set[str], label: str) -> pd.DataFrame:
    rows = table.loc[table["site"].isin(list(needed))]
    checked = check_sites(rows, label)
    once = rows.drop_duplicates("site").set_index("site")
    return once.assign(**checked).reindex(columns=FACTS)


def _from_snapshot(table: pd.DataFrame, needed: set[str]) -> pd.DataFrame:
    """A snapshot lists every product of a site: the one with the latest year counts."""
    rows = table.loc[table["site"].isin(list(needed))]
    if "last_year" in rows:
        rows = rows.loc[pd.to_numeric(rows["last_year"], errors="coerce").sort_values(kind="stable", na_position="first").index]
    rows = rows.drop_duplicates("site", keep="last").set_index("site")
    if "fluxnet_product_name" in rows:
        named = [parse_name(re.sub(r"\.zip$", ".csv", str(name))) for name in rows["fluxnet_product_name"]]
        rows = rows.assign(cited_release=[product.release if product else "" for product in named])
    return rows.reindex(columns=FACTS)


def _from_bif(text: str, needed: set[str]) -> pd.DataFrame:
    """Of several groups of a variable (a tower that moved) the one with the latest date, else the last in the file."""
    found: dict[str, dict[str, str]] = {}
    for fact in sorted(_facts(text, needed), key=lambda fact: fact.since):
        name = _BIF_VARIABLES.get(fact.name)
        if name is not None:
            found.setdefault(fact.site, {})[name] = fact.value
        elif fact.name in _DOI:
            found.setdefault(fact.site, {})["doi"] = fact.value
    for values in found.values():
        doi = values.pop("doi", None)
        if doi and "citation" not in values:
            values["citation"] = f"https://doi.org/{doi.removeprefix('https://doi.org/').removeprefix('doi:')}"
    return pd.DataFrame.from_dict(found, orient="index", columns=FACTS, dtype=object).rename_axis("site")


def _facts(text: str, needed: set[str]) -> list[_Fact]:
    """Rows of a long table; a line with too many fields (an unquoted comma) loses nothing but the words behind it."""
    rows = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(rows)]
    site, group, variable, value = (
        header.index(name) if name in header else -1 for name in ("site_id", "group_id", "variable", "datavalue")
    )
    wanted = {*_BIF_VARIABLES, *_DOI, "LOCATION_DATE_START", "IGBP_DATE_START", "UTC_OFFSET_DATE_START"}
    taken = [
        (row[site].strip(), row[group] if group >= 0 else "", row[variable].strip(), row[value].strip())
        for row in rows
        if len(row) >= len(header) and row[variable].strip() in wanted and row[site].strip() in needed and row[value].strip()
    ]
    since = {(where, number): date for where, number, name, date in taken if name.endswith("_DATE_START")}
    return [_Fact(where, name, said, since.get((where, number), "")) for where, number, name, said in taken]


def _offsets(column: pd.Series, where: str) -> pd.Series:
    hours = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = hours.index[(hours.isna() & column.notna()) | (hours.abs() > 14)]
    if len(wrong):
        raise InputError(f"{where}: UTC offset of {', '.join(wrong)} is no number of hours from -14 to 14; correct it")
    return hours.astype(np.float64)

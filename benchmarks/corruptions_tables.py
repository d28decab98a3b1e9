"""Corruptions of text tables and tower records, each with a word that its message must contain, and writings that must not matter."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from corruptions import Change, Corruption, content, copied, entry, several, study, table, where
from good_inputs import DAYS, STUDY, flux_name

_T, _I, _A, _Q, _S = "towers.csv", "inversions.csv", "fire.csv", "product.csv", "sites.csv"
ONE, TWO = flux_name("AA-One"), flux_name("BB-Two")
_F = f"flux/{ONE}"
BASE = b"# Site: AA-One\n# Version: 18-5\nTIMESTAMP_START,TIMESTAMP_END,FC\n200101010000,200101010030,1.5\n"
BASE_NAME = "AMF_AA-One_BASE_HH_18-5.csv"


# --- ways to write a table ---


def lines(name: str, edit: Callable[[list[list[str]]], list[str]]) -> Change:
    """The file written line by line from its fields, the header's first."""

    def change(folder: Path) -> None:
        rows = [line.split(",") for line in (folder / name).read_text("utf-8").splitlines()]
        (folder / name).write_bytes(("\n".join(edit(rows)) + "\n").encode())

    return change


def _with_decimal_comma(field: str) -> str:
    return field.replace(".", ",") if field.lstrip("-").replace(".", "", 1).isdigit() else field


def quoted_header_decimal_commas(rows: list[list[str]]) -> list[str]:
    """As `write.table(quote = TRUE, dec = ",")` of R writes it with commas between the columns."""
    return [",".join(f'"{name}"' for name in rows[0]), *(",".join(_with_decimal_comma(field) for field in row) for row in rows[1:])]


def quoted_decimal_commas(rows: list[list[str]]) -> list[str]:
    return [",".join(f'"{_with_decimal_comma(field)}"' for field in row) for row in rows]


def _value_last(rows: list[list[str]]) -> list[list[str]]:
    """Product, region, time, unit, value."""
    return [[*row[:3], row[4], row[3]] for row in rows]


def row_names(rows: list[list[str]]) -> list[str]:
    """As `write.table` of R: a first field more in each line than in the header."""
    return [",".join(f'"{name}"' for name in rows[0]), *(",".join([f'"{i}"', *row]) for i, row in enumerate(rows[1:], 1))]


def nameless_last_column(rows: list[list[str]]) -> list[str]:
    """Decimals of the last number in a column without a name."""
    return [",".join([*rows[0], ""]), *(",".join([*row[:-1], _with_decimal_comma(row[-1])]) for row in rows[1:])]


def separated_by(separator: str) -> Callable[[list[list[str]]], list[str]]:
    return lambda rows: [separator.join(row) for row in rows]


def short_line(rows: list[list[str]]) -> list[str]:
    return [",".join(row[:-1] if i == 9 else row) for i, row in enumerate(rows)]


def open_quote(rows: list[list[str]]) -> list[str]:
    return [('"' if i == 9 else "") + ",".join(row) for i, row in enumerate(rows)]


def swallowed(rows: list[list[str]]) -> list[str]:
    """Two quotes, forty lines apart, between which the rows are one text."""
    return [('"' if i == 5 else "") + row[0] + ('"' if i == 45 else "") + "," + ",".join(row[1:]) for i, row in enumerate(rows)]


def twice_quoted(rows: list[list[str]]) -> list[str]:
    return [",".join(f'"{name}"' for name in [*rows[0], rows[0][-1]]), *(",".join([*row, row[-1]]) for row in rows[1:])]


def nul_bytes(name: str) -> Change:
    """A block of a disk that was never written."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:300] + bytes(512)) and None


# --- ways to change a record ---


def of_site(site: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: pd.concat([t[t.site != site], edit(t[t.site == site])])


def every(days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.iloc[::days]


def at_months(t: pd.DataFrame) -> pd.DataFrame:
    return t[t.time.str.endswith("-01")]


def at_years(t: pd.DataFrame) -> pd.DataFrame:
    return t[t.time.str.endswith("-01-01")]


def of_years(t: pd.DataFrame) -> pd.DataFrame:
    return at_years(t).assign(time=lambda d: d.time.str[:4])


def stamped(ending: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(time=t.time + ending)


def times(factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda t: t.assign(nee=factor * t.nee)


def yearly(t: pd.DataFrame) -> pd.DataFrame:
    """The flux in gC m-2 yr-1, with fill values that would be plausible per day."""
    nee = t.nee * 365
    return t.assign(nee=nee.mask(np.arange(len(t)) % 50 == 0, -999), uncertainty=365 * t.uncertainty)


def _towers(**changes: Any) -> Change:
    return study(towers=[{**STUDY["towers"][0], **changes}])


def _only_base(folder: Path) -> None:
    (folder / "flux" / BASE_NAME).write_bytes(BASE)
    entry("towers_fluxnet", "towers", 0, path=f"flux/{BASE_NAME}")(folder)


def _base_archive(folder: Path) -> None:
    with zipfile.ZipFile(folder / "AMF_AA-One_BASE-BADM_18-5.zip", "w") as archive:
        archive.writestr(BASE_NAME, BASE)
    entry("towers_fluxnet", "towers", 0, path="AMF_AA-One_BASE-BADM_18-5.zip")(folder)


TABLES: dict[str, dict[str, tuple[Change, str]]] = {
    "towers_table": {
        "decimal commas behind a quoted header": (lines(_T, quoted_header_decimal_commas), "fields"),
        "quoted decimal commas": (lines(_T, quoted_decimal_commas), "decimal comma"),
        "row names without a name": (lines(_T, row_names), "row names"),
        "decimals in a column without a name": (lines(_T, nameless_last_column), "fields"),
        "tabs": (lines(_T, separated_by("\t")), "tabs"),
        "bars": (lines(_T, separated_by("|")), "bars"),
        "a short line": (lines(_T, short_line), "line 10"),
        "a quote that is not closed": (lines(_T, open_quote), "quote"),
        "a quote that swallows lines": (lines(_T, swallowed), "quote"),
        "a column twice in a quoted header": (lines(_T, twice_quoted), "twice"),
        "NUL bytes": (nul_bytes(_T), "NUL"),
        "an Excel sheet": (content(_T, b"PK\x03\x04\x14\0\6\0\10\0\0\0!\0"), "Excel"),
        "AmeriFlux BASE": (content(_T, BASE), "BASE"),
        "years as times": (table(_T, of_years), "per year"),
        "one row per year": (table(_T, at_years), "per year"),
        "one site with a row per year": (table(_T, of_site("CC-Thr", at_years)), "per year"),
        "rows of 8 days": (table(_T, of_site("BB-Two", every(8))), "8 days"),
        "weekly rows": (table(_T, every(7)), "7 days"),
        "months beside days": (table(_T, of_site("DD-Fou", at_months)), "mixed"),
        "days, then months": (table(_T, of_site("DD-Fou", lambda t: pd.concat([t.iloc[:365], at_months(t.iloc[365:])]))), "month"),
        "midnight of another zone": (table(_T, stamped("T23:00:00Z")), "within the day"),
        "stamps an instant before midnight": (table(_T, stamped("T23:59:59.999")), "within the day"),
        "a zone in words": (table(_T, stamped(" 00:00 CET")), "not a date"),
        "a constant record": (table(_T, of_site("AA-One", lambda t: t.assign(nee=-1.5))), "constant"),
        "a record that stops moving": (table(_T, where("nee", 0.0, slice(600, 700))), "constant"),
        "a flux of a hundred times": (table(_T, times(100)), "flux"),
        "monthly sums per day": (table(_T, times(30)), "ecosystem"),
        "fill values of -99": (table(_T, where("nee", -99, slice(5, 9))), "fill"),
        "fill values of a yearly flux": (several(_towers(units="gC m-2 yr-1"), table(_T, yearly)), "fill"),
        "fill values of the uncertainty": (table(_T, where("uncertainty", 9999, slice(5, 9))), "fill"),
        "an unknown site excluded": (_towers(exclude=["AA-0ne"]), "AA-One"),
    },
    "towers_fluxnet": {
        "decimal commas behind a quoted header": (lines(_F, quoted_header_decimal_commas), "fields"),
        "NUL bytes": (nul_bytes(_F), "NUL"),
        "fill values of -99": (table(_F, where("NEE_VUT_REF", -99, slice(5, 9))), "fill"),
        "fill values of the uncertainty": (table(_F, where("NEE_VUT_REF_RANDUNC", 999, slice(5, 9))), "fill"),
        "kelvin": (table(_F, lambda t: t.assign(TA_F=283.15)), "TA_F"),
        "a constant record": (table(_F, lambda t: t.assign(NEE_VUT_REF=0.0)), "constant"),
        "a flux of a hundred times": (table(_F, lambda t: t.assign(NEE_VUT_REF=100 * t.NEE_VUT_REF)), "flux"),
        "weekly rows": (table(_F, every(7)), "7 days"),
        "stamps with a zone": (table(_F, lambda t: t.assign(TIMESTAMP=DAYS.strftime("%Y-%m-%dT00:00:00Z"))), "TIMESTAMP"),
        "the same days under other years": (copied(_F, _F.replace("2001-2002", "2003-2004")), "repeat"),
        "AmeriFlux BASE": (_only_base, "AmeriFlux FLUXNET"),
        "an archive of AmeriFlux BASE": (_base_archive, "AmeriFlux FLUXNET"),
        "an unknown site excluded": (entry("towers_fluxnet", "towers", 0, exclude=["aa_one"]), "AA-One"),
        "site table with decimal commas": (lines(_S, quoted_header_decimal_commas), "fields"),
        "site table with semicolons": (lines(_S, separated_by(";")), "semicolons"),
        "site table with NUL bytes": (content(_S, b"site,lat,lon,igbp\nAA-One,45,\0\0\n"), "NUL"),
    },
    "inversions_table": {
        "decimal commas behind a quoted header": (lines(_I, lambda rows: quoted_header_decimal_commas(_value_last(rows))), "fields"),
        "quoted decimal commas": (lines(_I, quoted_decimal_commas), "decimal comma"),
        "row names without a name": (lines(_I, row_names), "row names"),
        "tabs": (lines(_I, separated_by("\t")), "tabs"),
        "a short line": (lines(_I, short_line), "line 10"),
        "NUL bytes": (nul_bytes(_I), "NUL"),
        "a column twice in a quoted header": (lines(_I, twice_quoted), "twice"),
    },
    "adjustments": {
        "fire with decimal commas behind a quoted header": (lines(_A, quoted_header_decimal_commas), "fields"),
        "fire with semicolons": (lines(_A, separated_by(";")), "semicolons"),
        "fire in an Excel sheet": (content(_A, b"PK\x03\x04\x14\0\6\0\10\0\0\0!\0"), "Excel"),
    },
    "references": {
        "table with decimal commas behind a quoted header": (lines(_Q, quoted_header_decimal_commas), "fields"),
        "table with a quote that is not closed": (lines(_Q, open_quote), "quote"),
        "table with tabs": (lines(_Q, separated_by("\t")), "tabs"),
    },
}  # fmt: skip


TABLE_CORRUPTIONS = [
    Corruption(f"{kind}: {name}", kind, change, cause) for kind, changes in TABLES.items() for name, (change, cause) in changes.items()
]


def _split_by_year(folder: Path) -> None:
    """One release in two files of years."""
    whole = pd.read_csv(folder / _F, dtype=str)
    (folder / _F).unlink()
    for year in ("2001", "2002"):
        name = _F.replace("2001-2002", f"{year}-{year}")
        whole[whole.TIMESTAMP.str.startswith(year)].to_csv(folder / name, index=False)


def _hidden_beside(folder: Path) -> None:
    (folder / "flux" / ".ipynb_checkpoints").mkdir()
    (folder / "flux" / ".ipynb_checkpoints" / ONE).write_bytes((folder / "flux" / TWO).read_bytes())
    (folder / "flux" / f"._{ONE}").write_bytes(b"\0\5\26\7Mac OS X")


def _summer_time(t: pd.DataFrame) -> pd.DataFrame:
    summer = t.time.str[5:7].between("04", "09")
    return t.assign(time=t.time + "T00:00:00+0" + summer.map({True: "2", False: "1"}) + ":00")


HARMLESS = [
    Corruption("towers: stamps with a zone", "towers_table", table(_T, stamped("T00:00:00Z"))),
    Corruption("towers: stamps with the zones of summer and winter", "towers_table", table(_T, _summer_time)),
    Corruption("towers: everything quoted, with row names", "towers_table", lines(_T, lambda rows: [
        ",".join(f'"{field}"' for field in ["" if i == 0 else str(i), *row]) for i, row in enumerate(rows)])),
    Corruption("towers: line ends of an old Macintosh", "towers_table", table(_T, lambda t: t, lineterminator="\r")),
    Corruption("towers: trailing separators", "towers_table", lines(_T, lambda rows: [",".join([*row, "", ""]) for row in rows])),
    Corruption("towers: blank lines", "towers_table", lines(_T, lambda rows: [",".join(row) + "\n" for row in rows])),
    Corruption("towers: a release in two files of years", "towers_fluxnet", _split_by_year),
    Corruption("towers: hidden files beside the data", "towers_fluxnet", _hidden_beside),
    Corruption("inversions: everything quoted", "inversions_table", lines(_I, lambda rows: [
        ",".join(f'"{field}"' for field in row) for row in rows])),
]  # fmt: skip

__all__ = ["HARMLESS", "TABLES", "TABLE_CORRUPTIONS"]

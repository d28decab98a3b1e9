"""Text tables: a line is judged by the fields the parser sees; what another program wrote is read right or named in one line."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dualflux.errors import InputError
from dualflux.metrics.budget import BudgetSettings, read_budget
from dualflux.sources.files.regional_table import load_table, parse_years
from dualflux.sources.files.tables import parse_csv, read_table, to_numbers, to_times
from dualflux.sources.towers.archives import TowerFile
from dualflux.sources.towers.metadata import read_sites

RIGHT = [["A", "-0.854", "x"], ["B", "1.5", "y"]]


def parsed(content: str | bytes, **how: Any) -> pd.DataFrame:
    return parse_csv(io.BytesIO(content if isinstance(content, bytes) else content.encode()), "t.csv", **how)


@pytest.mark.parametrize(
    "content",
    [
        "site,nee,note\nA,-0.854,x\nB,1.5,y\n",
        '"site","nee","note"\n"A",-0.854,"x"\n"B",1.5,"y"\n',
        '"","site","nee","note"\n"1","A",-0.854,"x"\n"2","B",1.5,"y"\n',  # write.csv of R: row names in a column without a name
        "\ufeffsite,nee,note\r\nA,-0.854,x\r\nB,1.5,y",
        '\ufeff"site","nee","note"\nA,-0.854,x\nB,1.5,y\n',
        "site,nee,note\rA,-0.854,x\rB,1.5,y\r",
        "site,nee,note\r\nA,-0.854,x\nB,1.5,y\r",
        "site,nee,note\r\r\nA,-0.854,x\r\r\nB,1.5,y\r\r\n",
        "site,nee,note,\nA,-0.854,x,\nB,1.5,y\n",
        "site,nee,note\nA,-0.854,x,,,\nB,1.5,y\n",
        " site , nee,note\n\nA,-0.854,x\n   \nB,1.5,y\n\n\n",
    ],
    ids=["plain", "quoted", "row names", "mark", "mark and quotes", "CR", "mixed", "CR CR LF", "trailing", "trailing in lines", "blanks"],
)
def test_the_same_table_as_other_programs_write_it(content: str) -> None:
    table = parsed(content)
    assert table.columns.tolist() == ["site", "nee", "note"] and table.astype(str).to_numpy().tolist() == RIGHT
    assert parsed(content, columns={"nee"})["nee"].tolist() == [-0.854, 1.5]


def test_a_quoted_text_keeps_its_commas_quotes_and_line_ends() -> None:
    table = parsed('site,note,nee\nA,"one, ""two""",1\nB,"over\ntwo lines",2\nC,5" pipe,bad\n')
    assert table["note"].tolist() == ['one, "two"', "over\ntwo lines", '5" pipe']
    with pytest.raises(InputError, match="first `bad` in line 5"):
        to_numbers(table["nee"], "nee")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('"site","nee"\n"A",-0,854\n', "line 2 has 3 fields, the header 2; a comma inside a number"),
        ('site,nee\n"A","1"\n"B",-0,854\n', "line 3 has 3 fields, the header 2"),
        ('site,"nee, daily"\nA,1\nB,2,5\n', "line 3 has 3 fields, the header 2"),
        ("site,nee,\nA,-0,854\n", "line 2 has 3 fields, the header 2"),  # the decimals would stand in the column without a name
        ('"site","nee"\n"1","A",0.5\n', "row names without a column name"),  # write.table of R
        ("site,nee,note\nA,1,x\nB,2\nC,3,z\n", "line 3 has 2 of 3 fields; correct the file, with a comma for each empty field"),
        ("site,nee,note\nA,1,x\nB,2", "cut short: the last line has 2 of 3 fields"),
        ('"site","nee","note"\n"A",1,"x"\n"B",2', "cut short: the last line has 2 of 3 fields"),
        ("site;nee\nA;-0,854\n", "semicolons separate the 2 columns"),
        ('"site";"nee"\n"A";-0.854\n', "semicolons separate the 2 columns"),
        ("site\tnee\nA\t-0.854\n", "tabs separate the 2 columns"),
        ("site,nee\nA,1\nB,\0\0\n", "NUL bytes, first in line 3"),
        (b"site,nee\nA,1\nB,2\n" + bytes(4096), "NUL bytes, first in line 4"),
        ("site,nee\nA,1\n".encode("utf-16"), "text in UTF-16"),
        ("site,nee\nA,1\n".encode("utf-16-le"), "NUL bytes, first in line 1: damaged, or text in UTF-16"),
        (b"PK\x03\x04\x14\0\x06", "a zip archive or an Excel sheet"),
        ('"site","nee","nee"\n"A",1,2\n', "column `nee` stands twice"),
        ('site,nee\nA,1\n"B,2\nC,3\n', "line 3: quotes that do not fit"),
        ('site,nee\nA,1\n"B,2\nC,3\nD",4\n', "a quoted text runs from line 3 to 5 over whole rows"),
        ('site,nee\nA,1\n"B" x,2\n', "line 3: quotes that do not fit"),
        ('site,"nee\nA,1\n', "a quote in the header is not closed"),
        ("site,nee\nÄ,1\n".encode("latin-1"), "not a CSV table in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_right_table_is_named_in_one_line(content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parsed(content)
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("value", ["-0,854", "1.234,5", "1,234.5", "2,5e-3"])
def test_a_quoted_decimal_comma_is_named_and_not_called_text(value: str) -> None:
    table = parsed(f'site,nee\nA,1\nB,"{value}"\n')
    with pytest.raises(InputError, match=rf"a decimal comma, or commas inside numbers: 1 of 2 rows, first `{value}` in line 3; write"):
        to_numbers(table["nee"], "nee")


def test_lines_in_messages_are_those_of_the_file() -> None:
    """Comments, blank lines, texts over several lines and rows that are left out do not shift them."""
    table = parsed('# one\n# two, "2"\nsite,nee,note\nA,1,\n\nB,2,"over\ntwo"\nA,3,\nB,bad,\n', comment="#")
    for rows in (table, table[table["site"] == "B"]):
        with pytest.raises(InputError, match="first `bad` in line 9"):
            to_numbers(rows["nee"], "nee")


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_header_of_very_many_columns_is_read(quote: str) -> None:
    """Looking for each of the 200,000 names among all others would take half an hour."""
    names = [f"{quote}c{i}{quote}" for i in range(200_000)]
    assert parsed(f"{','.join(names)}\n{','.join('1' * 200_000)}\n", columns={"c7"})["c7"].tolist() == [1]


STAMPS = [
    "2001-03-01T00:00:00Z",
    "2001-03-01T00:00:00+01:00",
    "2001-03-01 00:00:00-05:00",
    "2001-03-01T00:00:00.000000Z",
    "2001-03-01 00:00 UTC",
]


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_stamp_with_a_zone_is_the_local_time_as_it_stands(stamp: str) -> None:
    assert to_times(pd.Series([stamp, "2001-04-01"]), "time").tolist() == [pd.Timestamp("2001-03-01"), pd.Timestamp("2001-04-01")]


@pytest.mark.parametrize("stamp", ["2001-03-01 00:00 CEST", "2001.25", "01/03/2001"])
def test_what_is_no_date_is_named_with_its_value(stamp: str) -> None:
    with pytest.raises(InputError, match=r"not a date .* in line 3") as caught:
        to_times(pd.Series(["2001-03-01", stamp]), "time")
    assert f"`{stamp}`" in str(caught.value)


# --- every reader looks ---


def test_site_tables(tmp_path: Path) -> None:
    """A latitude with an unquoted decimal comma once moved the site: 51,08 became latitude 51, longitude 8."""
    good = '"site","lat","lon","igbp"\n"DE-Hai",51.08,10.45,"DBF"\n'

    def read(content: str) -> pd.DataFrame:
        (tmp_path / "sites.csv").write_text(content)
        return read_sites([TowerFile("sites.csv", tmp_path / "sites.csv")], [], {"DE-Hai"})

    assert read(good).loc["DE-Hai", ["lat", "lon"]].tolist() == [51.08, 10.45]
    for old, new, message in (
        ("51.08", "51,08", "line 2 has 5 fields, the header 4"),
        ('"DBF"', '"DBF",,,', ""),
        (",", ";", "semicolons separate the 4 columns"),
        ("DBF", "D\0F", "NUL bytes, first in line 2"),
    ):
        if message:
            with pytest.raises(InputError, match=message):
                read(good.replace(old, new))
        else:
            assert read(good.replace(old, new)).loc["DE-Hai", "igbp"] == "DBF"


def test_regional_tables_and_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "fire.csv"
    path.write_text('"region","year","value","unit"\n\n"north",2001,1.5,"PgC yr-1"\n"north",2001.5,1.5,"PgC yr-1"\n')
    with pytest.raises(InputError, match="1 years cannot be read, first in line 4"):
        parse_years(load_table(path, ["region", "year", "value", "unit"])["year"], path)
    path.write_text('"region","year","value","unit"\n"north",2001,1,5,"PgC yr-1"\n')
    with pytest.raises(InputError, match="line 2 has 5 fields, the header 4"):
        load_table(path, ["region", "year", "value", "unit"])


def test_annual_budgets(tmp_path: Path) -> None:
    """A number that is none was once a year left out without a word; with quotes in the header decimals were cut off."""
    settings = BudgetSettings(name="b", path="b.csv", units="GtC yr-1", year="year", terms={"land sink": -1.0}, source="drawn")
    (tmp_path / "b.csv").write_text('# a comment, with a comma\n"year","land sink"\n2001,1.5\n2002,\n2003,2.5\n')
    np.testing.assert_array_equal(read_budget(settings, tmp_path)["land sink"], [1.5, 2.5])
    for bad, message in (("2002,1,5", "line 4 has 3 fields"), ('2002,"1,5"', "a decimal comma"), ("2002,n/a", "`n/a` in line 4")):
        (tmp_path / "b.csv").write_text(f'# a comment, with a comma\n"year","land sink"\n2001,1.5\n{bad}\n')
        with pytest.raises(InputError, match=message):
            read_budget(settings, tmp_path)


def test_a_missing_column_is_named_beside_the_first_of_many(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",".join(f"c{i}" for i in range(50)) + "\n" + ",".join("1" * 50) + "\n")
    with pytest.raises(InputError, match=r"no column `nee`; it has c0, .*, c19 and 30 more$"):
        read_table(tmp_path / "t.csv", ["nee"])

"""Tower readers: hand-written files with hand-computed answers, every bad input, and the published files."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.sources.towers import FluxnetSource, TableSource, Towers, read_towers, tower_summary

PERIOD = (date(2001, 1, 1), date(2001, 12, 31))
HEAD = "site,lat,lon,igbp,time,nee"
SITES = "igbp,site,lon,lat,name\nDBF,DE-Hai,10.45,51.08,Hainich\nGRA,US-Var,239.05,38.41,Vaira\n,XX-Non,,,listed without a file\n"


def table(
    folder: Path, rows: list[str], head: str = HEAD, period: tuple[date, date] = PERIOD, step: Any = "monthly", **settings: Any
) -> Towers:
    (folder / "towers.csv").write_text("\n".join([head, *rows]) + "\n")
    return read_towers([TableSource(path="towers.csv", format="table", **settings)], folder, period, step)


def fluxnet_file(
    folder: Path, columns: dict[str, Any], name: str = "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", start: str = "2001-01-01"
) -> None:
    size = max(len(v) for v in columns.values() if not isinstance(v, float | int | str))
    monthly = "_MM_" in name
    time = pd.date_range(start, periods=size, freq="MS" if monthly else "D").strftime("%Y%m" if monthly else "%Y%m%d")
    pd.DataFrame({**columns, "TIMESTAMP": time}).to_csv(folder / name, index=False)
    (folder / "sites.csv").write_text(SITES)


def fluxnet(folder: Path, path: Any = "FLX*", step: Any = "monthly", period: tuple[date, date] = PERIOD, **settings: Any) -> Towers:
    return read_towers([FluxnetSource(path=path, format="fluxnet", sites="sites.csv", **settings)], folder, period, step)


# --- plain table ---


def test_monthly_table_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = [
        "B,10,200,WSA,2001-02-01,-1.5,20,x",
        "A,-5,-70.5,EBF,2001-03-01,0.5,-9999,y",
        "A,-5,-70.5,EBF,2001-01-01,-9999,25,y",
        "A,-5,-70.5,EBF,2000-12-01,9,25,y",
        "B,10,200,WSA,2001-01-01,2,21,x",
    ]
    towers = table(tmp_path, rows, HEAD + ",ta,remark")
    expected = pd.DataFrame(
        {
            "site": ["A", "B", "B"],
            "time": pd.to_datetime(["2001-03-01", "2001-01-01", "2001-02-01"]).as_unit("ns"),
            "nee": [0.5, 2, -1.5],
            "uncertainty": np.nan,
            "ta": [np.nan, 21, 20],
        }
    )
    pd.testing.assert_frame_equal(towers.observations, expected)
    assert towers.sites.loc["B", ["lat", "lon", "igbp", "source"]].tolist() == [10, -160, "WSA", "towers.csv"]
    assert towers.dropped.to_dict("records") == [
        {"source": "towers.csv", "site": "A", "reason": "outside the period", "count": 1},
        {"source": "towers.csv", "site": "A", "reason": "no value", "count": 1},
    ]


def test_units_of_value_and_uncertainty(tmp_path: Path) -> None:
    # 1 umolCO2 m-2 s-1 = 1e-6 * 86400 * 12.011 gC m-2 d-1 = 1.03775 gC m-2 d-1; an uncertainty of 0 is unknown
    towers = table(
        tmp_path, ["A,1,1,GRA,2001-01-01,-2,0.5", "A,1,1,GRA,2001-02-01,1,0"], HEAD + ",sd", units="umolCO2 m-2 s-1", uncertainty="sd"
    )
    np.testing.assert_allclose(towers.observations["nee"], [-2 * 1.0377504, 1.0377504], rtol=1e-7)
    np.testing.assert_allclose(towers.observations["uncertainty"], [0.5 * 1.0377504, np.nan], rtol=1e-7)


def test_yearly_rate_uses_the_days_of_its_year(tmp_path: Path) -> None:
    period = (date(2001, 1, 1), date(2004, 12, 31))
    towers = table(tmp_path, ["A,1,1,GRA,2001-02-01,365", "A,1,1,GRA,2004-02-01,366"], period=period, units="gC m-2 yr-1")
    np.testing.assert_allclose(towers.observations["nee"], 1.0, rtol=1e-14)


def test_quality_column_selects_rows(tmp_path: Path) -> None:
    rows = [f"A,1,1,GRA,2001-0{m}-01,{m},{q}" for m, q in ((1, "0.81"), (2, "0.8"), (3, ""))]
    towers = table(tmp_path, rows, HEAD + ",qc", quality="qc", quality_above=0.8)
    assert towers.observations["nee"].tolist() == [1]
    assert towers.dropped[["reason", "count"]].to_numpy().tolist() == [["quality unknown", 1], ["quality not above 0.8", 1]]
    with pytest.raises(ValueError, match="give both `quality`"):
        TableSource(path="x", format="table", quality="qc")


def test_daily_table_in_a_daily_and_a_monthly_study(tmp_path: Path) -> None:
    rows = [f"A,1,1,GRA,2001-01-{d:02d},{d},0.31,{d}" for d in range(1, 32)] + [f"A,1,1,GRA,2001-02-{d:02d},1,0.31,3" for d in range(1, 23)]
    daily = table(tmp_path, rows, HEAD + ",sd,ta", step="daily", uncertainty="sd")
    assert len(daily.observations) == 53 and daily.observations["uncertainty"].tolist() == [0.31] * 53
    # January: mean of 1..31; 31 independent errors of 0.31. February: 22 of 28 days are under 80 %
    month = table(tmp_path, rows, HEAD + ",sd,ta", uncertainty="sd")
    row = month.observations.iloc[0]
    assert len(month.observations) == 1 and row["time"] == pd.Timestamp("2001-01-01")
    np.testing.assert_allclose(row[["nee", "uncertainty", "ta"]].to_numpy(float), [16, 0.31 / np.sqrt(31), 16], rtol=1e-12)
    assert month.dropped["count"].tolist() == [22] and "under 80 %" in month.dropped["reason"].iloc[0]
    assert len(table(tmp_path, rows, HEAD + ",sd,ta", minimum_coverage=0.7).observations) == 2


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (["A,1,1,GRA,2001-01-01,abc"], {}, r"column `nee`: text among numbers: 1 of 1 rows, first `abc` in line 2"),
        (["A,1,1,GRA,2001-01-01,1", "A,1,1,GRA,2001-01-01,2"], {}, r"1 rows repeat a site and time, first A 2001-01-01"),
        (["A,91,1,GRA,2001-01-01,1"], {}, r"lat missing or outside -90..90 degrees at A"),
        (["A,1,-190,GRA,2001-01-01,1"], {}, r"lon missing or outside -180..360 degrees at A"),
        (["A,,1,GRA,2001-01-01,1"], {}, r"lat missing or outside"),
        (["A,1,1,GRA,2001-01-01,1", "A,1.1,1,GRA,2001-02-01,1"], {}, r"more than one latitude, longitude or IGBP class for A"),
        (["A,1,1,XYZ,2001-01-01,1"], {}, r"IGBP class missing or unknown \(A XYZ\); allowed: ENF"),
        (["A,1,1,,2001-01-01,1"], {}, r"IGBP class missing or unknown \(A missing\)"),
        ([",1,1,GRA,2001-01-01,1"], {}, r"1 rows without a site name"),
        (["A,1,1,GRA,January,1"], {}, r"column `time`: not a date .* first `January` in line 2"),
        (["A,1,1,GRA,2001-01-01 06:00,1"], {}, r"times within the day"),
        (["A,1,1,GRA,2001-01-15,1", "A,1,1,GRA,2001-02-15,1"], {}, r"not at the first day of the month"),
        (["A,1,1,GRA,1999-01-01,1"], {}, r"left for 2001-01-01 to 2001-12-31: 1 rows outside the period; the files cover 1999-01-01"),
        (["A,1,1,GRA,2001-01-01,inf"], {}, r"infinite value"),
        ([], {}, r"towers.csv: no rows"),
        (["A,1,1,GRA,2001-01-01,1"], {"units": "mg"}, r"unit `mg`; allowed: gC m-2 d-1"),
        (["A,1,1,GRA,2001-01-01,1"], {"variable": "fco2"}, r"no column `fco2`; it has site"),
        (["A,1,1,GRA,2001-01-01,1"], {"step": "daily"}, r"monthly values cannot feed a daily study"),
    ],
)
def test_bad_tables(tmp_path: Path, rows: list[str], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        table(tmp_path, rows, **settings)


def test_negative_uncertainty_and_text_in_meteorology(tmp_path: Path) -> None:
    rows = ["A,1,1,GRA,2001-01-01,1,-1", "A,1,1,GRA,2001-02-01,1,warm"]
    with pytest.raises(InputError, match=r"column `ta`: text among numbers: 1 of 2 rows, first `warm` in line 3"):
        table(tmp_path, rows, HEAD + ",ta")
    with pytest.raises(InputError, match="1 negative uncertainties"):
        table(tmp_path, rows[:1], HEAD + ",sd", uncertainty="sd")


def test_all_problems_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_towers([TableSource(path=p, format="table") for p in ("a.csv", "b/*.csv")], tmp_path, PERIOD, "monthly")
    assert [p.split(":")[0] for p in caught.value.problems] == ["a.csv", "b/*.csv"]
    with pytest.raises(InputError) as caught:
        table(tmp_path, ["A,91,1,XXX,2001-01-01,bad"], units="stones")
    assert len(caught.value.problems) == 4


def test_a_site_in_two_sources(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "\nA,1,1,GRA,2001-01-01,1\n")
    (tmp_path / "b.csv").write_text(HEAD + "\nA,1,1,GRA,2001-02-01,1\n")
    with pytest.raises(InputError, match=r"A in more than one source \(a.csv, b.csv\)"):
        read_towers([TableSource(path=f"{n}.csv", format="table") for n in "ab"], tmp_path, PERIOD, "monthly")
    with pytest.raises(InputError, match=r"2 files \(a.csv, b.csv"):
        read_towers([TableSource(path="*.csv", format="table")], tmp_path, PERIOD, "monthly")
    with pytest.raises(InputError, match="no source given"):
        read_towers([], tmp_path, PERIOD, "monthly")


# --- FLUXNET files ---


def test_month_is_the_mean_of_all_days_where_mean_quality_is_high(tmp_path: Path) -> None:
    # January: 25 days measured (1), 6 filled (0): mean quality 0.806. February: 22 of 28: 0.786. March: 20 of 31 days have values
    nee = np.r_[np.full(25, -1.0), np.full(6, 5.2), np.zeros(28), np.ones(20), np.full(11, -9999.0)]
    quality = np.r_[np.ones(25), np.zeros(6), np.ones(22), np.zeros(6), np.ones(20), np.full(11, -9999.0)]
    fluxnet_file(tmp_path, {"NEE_VUT_REF_QC": quality, "TA_F": np.arange(90.0), "NEE_VUT_REF": nee})
    towers = fluxnet(tmp_path)
    np.testing.assert_allclose(towers.observations[["nee", "TA_F"]], [[(-25 + 6 * 5.2) / 31, 15.0]], rtol=1e-12)
    assert towers.dropped.set_index("reason")["count"].to_dict() == {
        "no value": 11,
        "in a month with values on under 80 % of its days": 20,
        "in a month with mean quality not above 0.8": 28,
    }
    assert towers.sites.index.tolist() == ["DE-Hai"]
    daily = fluxnet(tmp_path, step="daily")
    assert len(daily.observations) == 25 + 22 + 20
    pd.testing.assert_frame_equal(
        tower_summary(daily)[["sites", "observations", "dropped"]], pd.DataFrame({"sites": [1], "observations": [67], "dropped": [23]})
    )


def test_monthly_files_are_taken_as_they_are_and_go_before_daily_ones(tmp_path: Path) -> None:
    fluxnet_file(tmp_path, {"NEE_VUT_REF": np.ones(31), "NEE_VUT_REF_QC": np.ones(31)})
    months = {"NEE_VUT_REF": np.arange(12.0), "NEE_VUT_REF_QC": np.r_[0.8, np.full(11, 0.81)], "NEE_VUT_REF_RANDUNC": np.full(12, 0.1)}
    fluxnet_file(tmp_path, months, "FLX_DE-Hai_FLUXNET2015_SUBSET_MM_2001-2001_1-4.csv")
    towers = fluxnet(tmp_path)
    assert towers.observations["nee"].tolist() == list(range(1, 12))
    assert towers.observations["uncertainty"].tolist() == [0.1] * 11
    assert fluxnet(tmp_path, step="daily").observations["nee"].tolist() == [1.0] * 31
    with pytest.raises(InputError, match=r"no DD or HH or HR flux file .*1 files: resolution MM is not read in a daily study"):
        fluxnet(tmp_path, path="FLX*_MM_*", step="daily")


def test_cut_replaces_vut_for_the_whole_site_with_its_own_quality(tmp_path: Path) -> None:
    columns = {
        "NEE_VUT_REF": np.full(31, -9999),
        "NEE_VUT_REF_QC": np.ones(31),
        "NEE_CUT_REF": np.full(31, 2.0),
        "NEE_CUT_REF_QC": np.r_[np.ones(30), 0],
        "NEE_CUT_REF_RANDUNC": np.full(31, 0.3),
        "NEE_VUT_REF_RANDUNC": np.full(31, 9.0),
    }
    fluxnet_file(tmp_path, columns)
    towers = fluxnet(tmp_path, step="daily")
    assert len(towers.observations) == 30 and set(towers.observations["uncertainty"]) == {0.3}
    assert towers.sites.loc["DE-Hai", ["variable", "uncertainty"]].tolist() == ["NEE_CUT_REF", "random"]
    # one good VUT day is enough: gaps of VUT are never patched with CUT
    fluxnet_file(tmp_path, columns | {"NEE_VUT_REF": np.r_[7.0, np.full(30, -9999)]})
    towers = fluxnet(tmp_path, step="daily")
    assert towers.observations["nee"].tolist() == [7.0] and towers.sites.loc["DE-Hai", "variable"] == "NEE_VUT_REF"


def test_joint_uncertainty(tmp_path: Path) -> None:
    base = {"NEE_VUT_REF": np.ones(30), "NEE_VUT_REF_QC": np.ones(30), "NEE_VUT_REF_RANDUNC": np.r_[0, np.full(29, 0.3)]}
    percentiles = {"NEE_VUT_84": np.full(30, 1.8), "NEE_VUT_16": np.full(30, 1.0)}
    april = "2001-04-01"
    # day: sqrt(0.3^2 + 0.4^2) = 0.5; month: sqrt(0.3^2 / 29 + 0.4^2), the threshold error being common to all days
    month = np.sqrt(0.09 / 29 + 0.16)
    fluxnet_file(tmp_path, base | percentiles, start=april)
    np.testing.assert_allclose(fluxnet(tmp_path, step="daily").observations["uncertainty"], [np.nan] + [0.5] * 29, rtol=1e-12)
    computed = fluxnet(tmp_path)
    np.testing.assert_allclose(computed.observations["uncertainty"], [np.sqrt(0.09 / 29 + 0.16)], rtol=1e-12)
    assert computed.sites["uncertainty"].tolist() == ["joint from percentiles"]
    fluxnet_file(tmp_path, base | {"NEE_VUT_REF_JOINTUNC": np.r_[-9999, np.full(29, 0.5)]}, start=april)
    stated = fluxnet(tmp_path)
    np.testing.assert_allclose(stated.observations["uncertainty"], [month], rtol=1e-12)
    assert stated.sites["uncertainty"].tolist() == ["joint"]
    np.testing.assert_allclose(fluxnet(tmp_path, uncertainty="random").observations["uncertainty"], [0.3 / np.sqrt(29)], rtol=1e-12)
    assert fluxnet(tmp_path, uncertainty=None).observations["uncertainty"].isna().all()


@pytest.mark.parametrize(
    "name",
    [
        "AMF_DE-Hai_FLUXNET_SUBSET_DD_1999-2001_3-5.csv",
        "ICOSETC_DE-Hai_FLUXNET_DD_L2.csv",
        "ICOSETC_DE-Hai_FLUXNET_DD_INTERIM_L2.csv",
        "FLX_DE-Hai_FLUXNET2015_FULLSET_DD_2000-2020_beta-3.csv",
        "TERN_DE-Hai_FLUXNET_FLUXMET_DD_2001-2001_v1.3_r1.csv",
    ],
)
def test_names_of_all_networks_are_found_among_the_other_files(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "unpacked" / "deep"
    folder.mkdir(parents=True)
    fluxnet_file(folder, {"NEE_VUT_REF": np.ones(31), "NEE_VUT_REF_QC": np.ones(31)}, name)
    (tmp_path / "sites.csv").write_text(SITES)
    for other in (
        "AMF_US-Var_FLUXNET_ERA5_DD_1981-2001_v1.3_r1.csv",
        "FLX_US-Var_FLUXNET2015_SUBSET_WW_2000-2014_1-4.csv",
        "AMF_US-Var_BIF_20240101.csv",
        "FLX_US-Var_FLUXNET2015_ERAI_DD_1989-2014_1-4.csv",
        "FLX_US-Var_FLUXNET2015_SUBSET_YY_2000-2014_1-4.csv",
    ):
        (folder / other).write_text("nothing that could be read\n")
    assert fluxnet(tmp_path, path="unpacked").observations["site"].unique().tolist() == ["DE-Hai"]
    absolute = str(tmp_path / "unpacked" / "*" / "*.csv")
    assert fluxnet(tmp_path, path=["unpacked/*/*.csv", "unpacked", absolute]).observations["site"].unique().tolist() == ["DE-Hai"]


def good(size: int = 31) -> dict[str, Any]:
    return {"NEE_VUT_REF": np.ones(size), "NEE_VUT_REF_QC": np.ones(size)}


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"NEE_VUT_REF": np.ones(31)}, {}, r"no values of `NEE_VUT_REF` with `NEE_VUT_REF_QC` or `NEE_CUT_REF` with .*quality_above: null"),
        (good() | {"NEE_VUT_REF_QC": np.full(31, 3.0)}, {}, r"`NEE_VUT_REF_QC` from 3 to 3; allowed: fractions from 0 to 1"),
        (good() | {"NEE_VUT_REF": ["1"] * 30 + ["?"]}, {}, r"`NEE_VUT_REF`: text among numbers: 1 of 31 rows, first `\?` in line 32"),
        (good(), {"variable": "NEE_VUT_USTAR50"}, r"no values of `NEE_VUT_USTAR50` with"),
        (good(), {"path": "AMF*"}, r"AMF\*: no file below .* matches"),
        (good(), {"path": "sites.csv"}, r"sites.csv: no flux file by its name"),
        (good(), {"path": "s*"}, r"no MM or DD or HH or HR flux file below .*1 files: not a flux file by its name"),
        (good(), {"path": "FLX_missing.csv"}, r"no such file"),
        (
            good(),
            {"period": (date(2010, 1, 1), date(2010, 12, 31))},
            r"31 rows outside the period; the files cover 2001-01-01 to 2001-01-31",
        ),
        (good() | {"NEE_VUT_REF_QC": np.zeros(31)}, {}, r"no observation left .* 31 rows in a month with mean quality not above 0.8"),
    ],
)
def test_bad_fluxnet_files(tmp_path: Path, columns: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    fluxnet_file(tmp_path, columns)
    with pytest.raises(InputError, match=message):
        fluxnet(tmp_path, **settings)


def test_missing_quality_is_accepted_where_the_study_says_so(tmp_path: Path) -> None:
    fluxnet_file(tmp_path, {"NEE_VUT_REF": np.ones(31)})
    assert fluxnet(tmp_path, quality_above=None).observations["nee"].tolist() == [1.0]


def test_unknown_sites_and_wrong_times(tmp_path: Path) -> None:
    fluxnet_file(tmp_path, good())
    fluxnet_file(tmp_path, good(), "AMF_XX-New_FLUXNET_SUBSET_DD_2001-2001_3-5.csv")
    with pytest.raises(InputError, match=r"sites.csv: no row for XX-New; add their lat, lon and igbp"):
        fluxnet(tmp_path, path="AMF*")
    (tmp_path / "AMF_US-Var_FLUXNET_SUBSET_DD_2001-2001_3-5.csv").write_text("TIMESTAMP,NEE_VUT_REF,NEE_VUT_REF_QC\n20010132,1,1\n")
    with pytest.raises(InputError, match=r"not a date \(%Y%m%d expected\): 1 of 1 rows, first `20010132` in line 2"):
        fluxnet(tmp_path, path="AMF_US-Var*")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_every_row_is_used_or_counted_and_file_order_changes_nothing(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time = pd.date_range("2000-11-15", "2002-02-10", freq="D")
    time = time[rng.uniform(size=len(time)) < rng.choice([0.7, 0.9, 1.0])]
    nee = np.where(rng.uniform(size=len(time)) < 0.05, -9999.0, rng.normal(size=len(time)))
    frame = pd.DataFrame(
        {"site": "A", "lat": 1, "lon": 2, "igbp": "GRA", "time": time, "nee": nee, "qc": rng.uniform(0.5, 1.1, len(time)).clip(0, 1)}
    )
    folder = tmp_path_factory.mktemp("towers")
    for step in ("daily", "monthly"):
        found = []
        for order in (np.arange(len(frame)), rng.permutation(len(frame))):
            frame.iloc[order].to_csv(folder / "t.csv", index=False)
            source = TableSource(path="t.csv", format="table", quality="qc", quality_above=0.75, minimum_coverage=0.6)
            found.append(read_towers([source], folder, PERIOD, step))  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(found[0].observations, found[1].observations)
        used = found[0].observations["time"]
        valid = frame[(frame["nee"] != -9999) & frame["time"].between("2001-01-01", "2001-12-31")]
        rows = len(used) if step == "daily" else valid["time"].dt.to_period("M").dt.to_timestamp().isin(used).sum()
        assert rows + found[0].dropped["count"].sum() == len(frame)


# --- published files ---


def test_months_of_the_published_daily_files_match_the_monthly_table(shared_data: Path) -> None:
    period = (date(1999, 1, 1), date(2020, 12, 31))
    daily = FluxnetSource(path="fluxnet_daily/FLX_*_DD_*.csv", format="fluxnet", sites="fluxnet_daily/sites.csv")
    ours = read_towers([daily], shared_data, period, "monthly")
    theirs = read_towers([TableSource(path="real/towers_monthly.csv", format="table")], shared_data, period, "monthly")
    assert (len(ours.sites), len(theirs.sites), len(theirs.observations)) == (13, 140, 9319)
    both = ours.observations.merge(theirs.observations, on=["site", "time"], suffixes=("", "_table"))
    assert both["site"].nunique() == 10 and len(both) > 700
    difference = (both["nee"] - both["nee_table"]).abs()
    assert np.corrcoef(both["nee"], both["nee_table"])[0, 1] > 0.999 and difference.median() < 0.02
    for site, rows in both.groupby("site"):
        assert rows["nee"].corr(rows["nee_table"]) > 0.998, site
        assert difference[rows.index].median() < 0.06, site


def test_computed_joint_uncertainty_is_that_of_the_published_file(shared_data: Path, tmp_path: Path) -> None:
    path = next((shared_data / "fluxnet_daily").glob("FLX_FI-Ken_*.csv"))
    period = (date(2018, 1, 1), date(2020, 12, 31))
    sites = str(shared_data / "fluxnet_daily" / "sites.csv")
    published = read_towers([FluxnetSource(path=str(path), format="fluxnet", sites=sites)], tmp_path, period, "daily")
    stripped = pd.read_csv(path).drop(columns=["NEE_VUT_REF_JOINTUNC"])
    stripped.to_csv(tmp_path / path.name, index=False)
    computed = read_towers([FluxnetSource(path=path.name, format="fluxnet", sites=sites)], tmp_path, period, "daily")
    assert computed.sites["uncertainty"].tolist() == ["joint from percentiles"]
    np.testing.assert_allclose(computed.observations["uncertainty"], published.observations["uncertainty"], atol=1e-5)

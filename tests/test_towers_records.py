"""What a row of a tower record means, what its numbers can be, which files make it, and which sites are left out."""

import shutil
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dualflux.errors import InputError
from dualflux.sources.towers import FluxnetSource, TableSource, Towers, read_towers, site_table
from dualflux.sources.towers.cadence import cadence
from dualflux.sources.towers.plausible import undeclared_fills

PERIOD = (date(2001, 1, 1), date(2002, 12, 31))
DAYS = pd.date_range("2001-01-01", "2002-12-31")
MONTHS = pd.date_range("2001-01-01", "2002-12-31", freq="MS")
PLACES = {"AA-One": (45.0, 10.0, "ENF"), "BB-Two": (-5.0, -60.0, "EBF"), "CC-Thr": (50.0, 5.0, "GRA")}


def drawn(size: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(-1, 2, size).round(4)


def frame(site: str = "AA-One", time: Any = DAYS, **columns: Any) -> pd.DataFrame:
    lat, lon, igbp = PLACES[site]
    time = time if isinstance(time, pd.DatetimeIndex) else list(time)
    return pd.DataFrame({"site": site, "lat": lat, "lon": lon, "igbp": igbp, "time": time, "nee": drawn(len(time)), **columns})


def table(folder: Path, *parts: pd.DataFrame, step: Any = "daily", **settings: Any) -> Towers:
    pd.concat(parts).to_csv(folder / "towers.csv", index=False, date_format="%Y-%m-%d")
    return read_towers([TableSource(path="towers.csv", format="table", **settings)], folder, PERIOD, step)


def put(folder: Path, name: str, size: int = 365, start: str = "2001-01-01", nee: Any = None, quality: Any = 1.0, **columns: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    time = pd.date_range(start, periods=size).strftime("%Y%m%d")
    values = drawn(size, seed=int(start[:4])) if nee is None else nee
    pd.DataFrame({"TIMESTAMP": time, "NEE_VUT_REF": values, "NEE_VUT_REF_QC": quality, **columns}).to_csv(folder / name, index=False)
    return folder / name


def fluxnet(folder: Path, path: Any = "data", step: Any = "daily", **settings: Any) -> Towers:
    (folder / "sites.csv").write_text("site,lat,lon,igbp\n" + "".join(f"{s},{a},{o},{c}\n" for s, (a, o, c) in PLACES.items()))
    return read_towers([FluxnetSource(path=path, format="fluxnet", sites="sites.csv", **settings)], folder, PERIOD, step)


def file_name(site: str = "AA-One", years: str = "2001-2001", step: str = "DD", version: str = "1-4") -> str:
    return f"FLX_{site}_FLUXNET2015_FULLSET_{step}_{years}_{version}.csv"


# --- when ---


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.strftime("%Y-%m-%dT00:00:00Z"),
        lambda t: t.strftime("%Y-%m-%d 00:00:00+01:00"),
        lambda t: [f"{d:%Y-%m-%d}T00:00:00+0{2 if 4 <= d.month <= 9 else 1}:00" for d in t],  # summer time
        lambda t: t.strftime("%Y-%m-%dT00:00:00.000-0500"),
        lambda t: t.strftime("%Y%m%d"),
    ],
    ids=["Z", "+01:00", "changing", "-0500", "basic"],
)
@pytest.mark.parametrize("step", ["daily", "monthly"])
def test_stamps_with_a_zone_are_the_local_day_as_it_stands(tmp_path: Path, write: Any, step: Any) -> None:
    right = table(tmp_path, frame(), step=step)
    found = table(tmp_path, frame(time=write(DAYS)), step=step)
    pd.testing.assert_frame_equal(found.observations, right.observations)


@pytest.mark.parametrize("write", ["%Y-%m-%dT23:00:00Z", "%Y-%m-%d 05:00:00+00:00", "%Y-%m-%dT23:59:59.999"])
def test_a_stamp_within_the_day_is_named_with_line_and_value(tmp_path: Path, write: str) -> None:
    """Midnight of another zone, or a rounding error before midnight: the day is not known."""
    stamps = DAYS.strftime("%Y-%m-%d").tolist()
    stamps[4] = DAYS[4].strftime(write)
    with pytest.raises(
        InputError,
        match=rf"towers.csv, column `time`: times within the day: 1 of 730 rows, first `{stamps[4]}` in line 6".replace("+", r"\+"),
    ):
        table(tmp_path, frame(time=stamps))


YEARS = pd.date_range("1995-01-01", "2004-01-01", freq="YS")
MODIS = pd.DatetimeIndex(np.concatenate([pd.date_range(f"{y}-01-01", f"{y}-12-31", freq="8D") for y in (2001, 2002)]))


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (["2001", "2002"], r"column `time`: one row per year, .*: 2 of \d+ rows, first `2001` in line 2"),
        (YEARS, "one row per year at AA-One"),
        (["2001-01-01", "2002-01-01"], "one row per year at AA-One"),
        (["2001-07-01", "2002-07-01"], "one row per year at AA-One"),
        (["2000-12-31", "2001-12-31", "2002-12-31"], "one row per year at AA-One"),
        (MODIS, "one row per 8 days at AA-One"),
        (pd.date_range("2001-01-01", "2002-12-31", freq="7D"), "one row per 7 days at AA-One"),
        (pd.date_range("2001-01-01", "2002-12-31", freq="16D"), "one row per 16 days at AA-One"),
        (pd.date_range("2001-01-01", "2002-12-31", freq="QS"), "one row per 3 months at AA-One"),
        (pd.date_range("2001-01-31", "2002-12-31", freq="ME"), "one row per month, not at its first day at AA-One"),
        (pd.date_range("2001-01-01", "2001-12-31").append(MONTHS[12:]), "one row per day, and rows of a month among them at AA-One"),
        (pd.date_range("2001-01-01", "2001-12-31").append(MODIS[46:]), "one row per day, and rows of a period of 8 days among them"),
    ],
)
@pytest.mark.parametrize("step", ["daily", "monthly"])
def test_rows_that_are_no_days_and_no_months_are_named(tmp_path: Path, time: Any, words: str, step: Any) -> None:
    with pytest.raises(InputError, match=words):
        table(tmp_path, frame(time=time), step=step)
    with pytest.raises(InputError, match=words):  # one site of two
        table(tmp_path, frame(time=time), frame("BB-Two"), step=step)


def test_days_of_one_site_beside_months_of_another_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mixed rows: one row is a day at AA-One; a month at BB-Two; give daily or monthly means"):
        table(tmp_path, frame(), frame("BB-Two", MONTHS))
    assert len(table(tmp_path, frame(), frame("BB-Two", MONTHS), exclude=["BB-Two"]).observations) == 730


def test_gaps_are_no_cadence(tmp_path: Path) -> None:
    """Good days only, summers only, and months of which some are missing stay what they are."""
    rng = np.random.default_rng(0)
    kept = DAYS[rng.random(DAYS.size) < 0.4]
    summers = DAYS[DAYS.month.isin([6, 7, 8])]
    assert len(table(tmp_path, frame(time=kept), frame("BB-Two", summers)).observations) == len(kept) + len(summers)
    months = MONTHS[[0, 1, 4, 9, 12, 23]]
    assert len(table(tmp_path, frame(time=months), frame("BB-Two", MONTHS[[3]]), step="monthly").observations) == 7
    # days of the week without Sundays; a measured day every second day
    assert len(table(tmp_path, frame(time=DAYS[DAYS.day_of_week < 6])).observations) == (DAYS.day_of_week < 6).sum()


def test_the_study_can_say_what_the_rows_are(tmp_path: Path) -> None:
    middle = MONTHS + pd.Timedelta(days=14)
    found = table(tmp_path, frame(time=middle), step="monthly", time_step="monthly")
    assert found.observations["time"].tolist() == MONTHS.tolist()
    assert len(table(tmp_path, frame(time=MODIS), time_step="daily").observations) == len(MODIS)


def test_spacing_of_known_records() -> None:
    assert cadence(pd.Series(DAYS)) == "day" and cadence(pd.Series(MONTHS[::-1])) == "month" and cadence(pd.Series(DAYS[:1])) is None


@pytest.mark.parametrize("step", ["daily", "monthly"])
def test_a_file_longer_than_the_study_gives_what_its_part_gives(tmp_path: Path, step: Any) -> None:
    long = frame(time=pd.date_range("1990-01-01", "2010-12-31"))
    inside = long[long["time"].between("2001-01-01", "2002-12-31")]
    whole, part = table(tmp_path, long, step=step), table(tmp_path, inside, step=step)
    pd.testing.assert_frame_equal(whole.observations, part.observations)
    assert whole.dropped.set_index("reason")["count"]["outside the period"] == len(long) - len(inside)


def half_hours(days: int = 3, minutes: int = 30) -> pd.DataFrame:
    start = pd.date_range("2001-01-01", periods=days * 24 * 60 // minutes, freq=f"{minutes}min")
    stamps = {"TIMESTAMP_START": start, "TIMESTAMP_END": start + pd.Timedelta(minutes=minutes)}
    nee = np.repeat([1.0, 2.0, 4.0], len(start) // days)
    return pd.DataFrame({k: v.strftime("%Y%m%d%H%M") for k, v in stamps.items()} | {"NEE_VUT_REF": nee, "NEE_VUT_REF_QC": 0})


@pytest.mark.parametrize("missing", ["TIMESTAMP_START", "TIMESTAMP_END"])
@pytest.mark.parametrize(("step", "minutes"), [("HH", 30), ("HR", 60)])
def test_half_hours_with_one_of_their_two_stamps(tmp_path: Path, missing: str, step: str, minutes: int) -> None:
    """TIMESTAMP_END is the end: midnight belongs to the day before."""
    (tmp_path / "data").mkdir()
    half_hours(minutes=minutes).drop(columns=missing).to_csv(tmp_path / "data" / file_name(step=step), index=False)
    found = fluxnet(tmp_path).observations["nee"].to_numpy() / (1e-6 * 86_400 * 12.011)
    np.testing.assert_allclose(found, [1, 2, 4], rtol=1e-12)
    half_hours(minutes=minutes).iloc[::2].drop(columns=missing).to_csv(tmp_path / "data" / file_name(step=step), index=False)
    with pytest.raises(InputError, match=f"rows {2 * minutes} minutes apart, not the {minutes} of {step}"):
        fluxnet(tmp_path)


@pytest.mark.parametrize(("rows", "words"), [(slice(None, None, 7), "7 days"), (slice(None, None, 8), "8 days")])
def test_a_daily_file_with_other_rows_is_named(tmp_path: Path, rows: slice, words: str) -> None:
    path = put(tmp_path / "data", file_name())
    pd.read_csv(path).iloc[rows].to_csv(path, index=False)
    with pytest.raises(InputError, match=f"one row per {words}, the name says one per day; correct the file or its name"):
        fluxnet(tmp_path)


def test_a_monthly_file_of_years_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    stamps = [f"{year}01" for year in range(1999, 2003)]
    years = pd.DataFrame({"TIMESTAMP": stamps, "NEE_VUT_REF": drawn(4), "NEE_VUT_REF_QC": 1.0})
    years.to_csv(tmp_path / "data" / file_name(step="MM"), index=False)
    with pytest.raises(InputError, match="one row per year, the name says one per month"):
        fluxnet(tmp_path, step="monthly")


def test_a_stamp_with_a_zone_in_a_network_file_is_named(tmp_path: Path) -> None:
    path = put(tmp_path / "data", file_name())
    path.write_text(path.read_text().replace("20010105,", "2001-01-05T00:00:00Z,"))
    with pytest.raises(
        InputError, match=r"column `TIMESTAMP`: not a date \(%Y%m%d expected\): 1 of 365 rows, first `2001-01-05T00:00:00Z` in line 6"
    ):
        fluxnet(tmp_path)


# --- what a number can be ---


@pytest.mark.parametrize("fill", [-999, -99, -6999, 9999, 999, 99, -99.99, 32767, 1e15])
@pytest.mark.parametrize("units", ["gC m-2 d-1", "gC m-2 yr-1"])
def test_an_undeclared_fill_value_of_the_flux_is_refused(tmp_path: Path, fill: float, units: str) -> None:
    """Also where the unit makes a plausible flux of it: -999 gC m-2 yr-1 are -2.7 gC m-2 d-1."""
    nee = drawn(730) * (1 if units.endswith("d-1") else 30)
    nee[[3, 7, 8]] = fill
    with pytest.raises(
        InputError, match=rf"column `nee`: {fill:.9g}, a fill value .* 3 of 730 rows, first `{float(fill)}` in line 5|3 fluxes beyond"
    ):
        table(tmp_path, frame(nee=nee), units=units)
    if abs(fill) <= 999 and units.endswith("yr-1"):
        assert len(table(tmp_path, frame(nee=nee), units=units, implausible="accept").observations) == 730


@pytest.mark.parametrize(("column", "fill"), [("sd", 9999), ("qc", 99), ("ta", -99), ("ta", -6999), ("precip", -99), ("pressure", 9999)])
def test_an_undeclared_fill_value_of_other_columns_is_refused(tmp_path: Path, column: str, fill: float) -> None:
    rng = np.random.default_rng(2)
    others = {
        "sd": rng.uniform(0.1, 0.5, 730).round(3),
        "qc": rng.uniform(0.8, 1, 730).round(3),
        "ta": rng.normal(10, 8, 730).round(2),
        "precip": rng.gamma(0.2, 9, 730).round(1),
        "pressure": rng.normal(1000, 9, 730).round(1),
    }
    settings: dict[str, Any] = {"uncertainty": "sd", "quality": "qc", "quality_above": 0.5}
    assert len(table(tmp_path, frame(**others), **settings).observations) == 730
    others[column][5] = fill
    with pytest.raises(
        InputError, match=rf"column `{column}`: {fill:g}, a fill value that is not declared: 1 of 730 rows, .* in line 7; write -9999"
    ):
        table(tmp_path, frame(**others), **settings)


def test_values_that_look_like_fills_stay() -> None:
    """A flux of -99 among others of its size, counts and codes, and annual sums in whole numbers."""
    assert undeclared_fills(np.r_[drawn(500) * 60, -99.0, 99.0]) == []
    assert undeclared_fills(np.arange(1.0, 366)) == [] and undeclared_fills(np.full(30, 99.0)) == []
    assert undeclared_fills(np.round(drawn(5000) * 60)) == []
    assert undeclared_fills(np.r_[drawn(50), -9999.9, np.nan]) == [-9999.9]
    assert undeclared_fills(np.r_[drawn(500) * 60, [-99.0] * 40]) == [-99.0], "repeated as no other value is"


@pytest.mark.parametrize("step", ["daily", "monthly"])
def test_a_record_that_stands_still_is_refused(tmp_path: Path, step: Any) -> None:
    time = DAYS if step == "daily" else MONTHS
    still = drawn(len(time))
    still[-len(time) // 2 :] = 0.0
    with pytest.raises(
        InputError, match=r"the flux is constant at AA-One \(AA-One: 0 in \d+ rows one after the other\).* `exclude: \[AA-One\]`"
    ):
        table(tmp_path, frame(time=time, nee=still), frame("BB-Two", time), step=step)
    for settings, sites in ({"exclude": ["AA-One"]}, ["BB-Two"]), ({"implausible": "accept"}, ["AA-One", "BB-Two"]):
        kept = table(tmp_path, frame(time=time, nee=still), frame("BB-Two", time), step=step, **settings)
        assert kept.sites.index.tolist() == sites
    with pytest.raises(InputError, match="constant at AA-One"):
        put(tmp_path / "data", file_name(), nee=np.full(365, -1.5))
        fluxnet(tmp_path)


@pytest.mark.parametrize("factor", [100, -100, 30, 1000])
def test_a_flux_of_a_hundred_times_the_plausible_is_refused(tmp_path: Path, factor: float) -> None:
    nee = drawn(730) * factor
    with pytest.raises(
        InputError, match=r"fluxes that no ecosystem has at AA-One \(AA-One: over [\d.]+ gC m-2 d-1|fluxes beyond \+-100 gC"
    ):
        table(tmp_path, frame(nee=nee), frame("BB-Two"))
    with pytest.raises(InputError, match=r"fluxes that no ecosystem has|fluxes beyond \+-100"):
        put(tmp_path / "data", file_name(), nee=nee[:365])
        fluxnet(tmp_path)


def test_large_real_fluxes_stay(tmp_path: Path) -> None:
    nee = drawn(730) * 4 + 6.3  # a drained peatland: +2300 gC m-2 a year, days beyond 30
    nee[100] = 60.0
    assert len(table(tmp_path, frame(nee=nee)).observations) == 730


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("TA_F", 283.15, "column `TA_F`: outside -95 to 95 degC: 365 of 365 rows, first `283.15` in line 2"),
        ("SW_IN_F", -99.0, "outside -50 to 1700 W m-2|a fill value"),
        ("P_F", -1.0, "column `P_F`: outside -0.01 to 2000 mm"),
        ("NEE_VUT_REF_RANDUNC", np.r_[np.linspace(0.1, 0.3, 364), 9999], "column `NEE_VUT_REF_RANDUNC`: 9999, a fill value"),
        ("TA_F", np.r_[np.linspace(-5, 25, 364), -99], "column `TA_F`: -99, a fill value that is not declared: 1 of 365 rows"),
    ],
)
def test_impossible_weather_of_network_files_is_refused(tmp_path: Path, column: str, values: Any, words: str) -> None:
    put(tmp_path / "data", file_name(), **{column: values})
    with pytest.raises(InputError, match=words):
        fluxnet(tmp_path)
    assert len(fluxnet(tmp_path, implausible="accept").observations) == 365


def test_a_fill_among_half_hours_does_not_vanish_in_the_mean_of_a_day(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = half_hours().assign(NEE_VUT_REF=drawn(144))
    rows.loc[20, "NEE_VUT_REF"] = -999
    rows.to_csv(tmp_path / "data" / file_name(step="HH"), index=False)
    with pytest.raises(InputError, match=r"column `NEE_VUT_REF`: -999, a fill value that is not declared: 1 of 144 rows, .* in line 22"):
        fluxnet(tmp_path)


# --- which files ---


def test_hidden_files_are_never_data(tmp_path: Path) -> None:
    put(tmp_path / "data", file_name())
    right = fluxnet(tmp_path).observations
    for hidden in (".ipynb_checkpoints", ".trash/deep"):
        put(tmp_path / "data" / hidden, file_name("BB-Two"))
    (tmp_path / "data" / f"._{file_name()}").write_bytes(b"\0\5\26\7Mac OS X")
    (tmp_path / "data" / ".hidden.csv").write_text("nothing")
    with zipfile.ZipFile(tmp_path / "data" / "one.zip", "w") as archive:
        archive.write(tmp_path / "data" / file_name(), file_name())
        archive.writestr(f"__MACOSX/._{file_name()}", b"\0\5\26\7Mac OS X")
        archive.writestr(f".ipynb_checkpoints/{file_name('CC-Thr')}", "nothing")
    for path in ("data", "data/*", "data/**/*.csv"):
        found = fluxnet(tmp_path, path)
        pd.testing.assert_frame_equal(found.observations, right)
        assert set(found.skipped["reason"]) <= {"the same file a second time"}
    named = fluxnet(tmp_path, "data/.ipynb_checkpoints/*.csv")
    assert named.sites.index.tolist() == ["BB-Two"], "a folder that the study names is meant"
    with pytest.raises(InputError, match=r"holds no \.csv or \.zip file"):
        shutil.rmtree(tmp_path / "data" / ".trash" / "deep")
        put(tmp_path / "only" / ".ipynb_checkpoints", file_name())
        fluxnet(tmp_path, "only")


def test_one_release_in_several_files_of_years_is_one_record(tmp_path: Path) -> None:
    put(tmp_path / "whole", file_name(years="2001-2002"), 730)
    whole = pd.read_csv(tmp_path / "whole" / file_name(years="2001-2002"), dtype=str)
    (tmp_path / "data").mkdir()
    whole.iloc[:365].to_csv(tmp_path / "data" / file_name(years="2001-2001"), index=False)
    whole.iloc[365:].to_csv(tmp_path / "data" / file_name(years="2002-2002"), index=False)
    parts, one = fluxnet(tmp_path), fluxnet(tmp_path, "whole")
    pd.testing.assert_frame_equal(parts.observations, one.observations)
    assert parts.sites.loc["AA-One", "source"] == f"{file_name(years='2001-2001')} + {file_name(years='2002-2002')}"
    assert len(parts.candidates) == 1 and parts.dropped["count"].sum() == 0
    put(tmp_path / "data", file_name(years="2002-2002"), 365, start="2001-07-01")
    with pytest.raises(InputError, match="184 rows repeat a site and time, first AA-One 2001-07-01"):
        fluxnet(tmp_path)


def test_the_flux_of_all_years_comes_from_one_variable(tmp_path: Path) -> None:
    """A year without VUT does not bring CUT into a record that has VUT."""
    put(tmp_path / "data", file_name(years="2001-2001"), NEE_CUT_REF=5.0, NEE_CUT_REF_QC=1.0)
    put(tmp_path / "data", file_name(years="2002-2002"), start="2002-01-01", nee=-9999, NEE_CUT_REF=5.0, NEE_CUT_REF_QC=1.0)
    found = fluxnet(tmp_path)
    assert found.sites.loc["AA-One", "variable"] == "NEE_VUT_REF" and len(found.observations) == 365
    assert found.dropped.set_index("reason")["count"]["no value"] == 365


def test_files_of_one_release_that_share_years_compete_and_the_reason_says_so(tmp_path: Path) -> None:
    put(tmp_path / "data", file_name(years="2001-2002"), 730)
    put(tmp_path / "data", file_name(years="2002-2002"), 200, start="2002-01-01")
    found = fluxnet(tmp_path)
    assert found.dropped[["reason", "count"]].to_numpy().tolist() == [["other files of the same release are used", 200]]
    put(tmp_path / "data", file_name(years="2001-2002", version="1-3"), 300)
    assert set(fluxnet(tmp_path).dropped["reason"]) == {"other files of the same release are used", "another release of the site is used"}


def test_reasons_of_files_and_rows_are_true(tmp_path: Path) -> None:
    put(tmp_path / "data", file_name())
    put(tmp_path / "same", file_name())
    put(tmp_path / "other", file_name(), nee=drawn(365, seed=99))
    put(tmp_path / "third", file_name("BB-Two"), quality=-9999)
    found = fluxnet(tmp_path, ["data", "same", "other", "third"])
    assert [reason.split(" (")[0] for reason in found.skipped["reason"]] == [
        "another file of the same release and years, with other content, is read",
        "the same file a second time",
    ]
    assert site_table(found).set_index("site").loc["BB-Two", "why"] == "365 values of the variable without a quality"
    quality = np.r_[np.ones(365), np.full(365, 0.1)]
    quality[:5] = np.nan
    rows = table(tmp_path, frame(quality=quality), quality="quality", quality_above=0.5)
    assert rows.dropped.set_index("reason")["count"].to_dict() == {"quality unknown": 5, "quality not above 0.5": 365}


# --- AmeriFlux BASE ---

BASE = "# Site: AA-One\n# Version: 18-5\nTIMESTAMP_START,TIMESTAMP_END,FC,TA\n200101010000,200101010030,1.5,3\n"


def test_ameriflux_base_is_another_product_and_the_message_says_where_ours_is(tmp_path: Path) -> None:
    words = "AmeriFlux BASE: another product .*choose `AmeriFlux FLUXNET` at https://ameriflux.lbl.gov"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "AMF_AA-One_BASE_HH_18-5.csv").write_text(BASE)
    for path in ("data", "data/*.csv", "data/AMF_AA-One_BASE_HH_18-5.csv"):
        with pytest.raises(InputError, match=words):
            fluxnet(tmp_path, path)
    with pytest.raises(InputError, match=words):
        read_towers([TableSource(path="data/AMF_AA-One_BASE_HH_18-5.csv", format="table")], tmp_path, PERIOD, "daily")
    with zipfile.ZipFile(tmp_path / "AMF_AA-One_BASE-BADM_18-5.zip", "w") as archive:
        archive.write(tmp_path / "data" / "AMF_AA-One_BASE_HH_18-5.csv", "AMF_AA-One_BASE_HH_18-5.csv")
    with pytest.raises(InputError, match=words):
        fluxnet(tmp_path, "AMF_AA-One_BASE-BADM_18-5.zip")
    put(tmp_path / "data", file_name())
    skipped = fluxnet(tmp_path).skipped
    assert skipped["file"].tolist() == ["AMF_AA-One_BASE_HH_18-5.csv"] and "AmeriFlux FLUXNET" in skipped["reason"].iloc[0]


# --- exclude ---


def test_excluded_sites_are_not_read_and_stand_in_the_tables(tmp_path: Path) -> None:
    found = table(tmp_path, frame(), frame("BB-Two", nee=np.nan, lat=99.0), exclude=["BB-Two"])
    assert found.sites.index.tolist() == ["AA-One"]
    assert found.dropped.to_dict("records") == [
        {"source": "towers.csv", "site": "BB-Two", "reason": "excluded by the study (`exclude`)", "count": 730}
    ]
    why = site_table(found).set_index("site").loc["BB-Two", ["use", "why"]].tolist()
    assert why == ["dropped", "730 excluded by the study (`exclude`)"]
    put(tmp_path / "data", file_name())
    put(tmp_path / "data", file_name("BB-Two")).write_text("no flux file at all")
    found = fluxnet(tmp_path, exclude=["BB-Two"])
    assert found.sites.index.tolist() == ["AA-One"]
    assert found.skipped.to_numpy().tolist() == [[file_name("BB-Two"), "BB-Two", "excluded by the study (`exclude`)"]]


@pytest.mark.parametrize(("name", "near"), [("AA-Onee", "AA-One"), ("aa-one", "AA-One"), ("BB_Two", "BB-Two")])
def test_an_excluded_site_that_is_not_there_is_an_error_with_near_names(tmp_path: Path, name: str, near: str) -> None:
    words = rf"exclude: no site {name}; near names: {near}.*\(2 sites\); correct or remove it"
    with pytest.raises(InputError, match=words):
        table(tmp_path, frame(), frame("BB-Two"), exclude=[name])
    put(tmp_path / "data", file_name())
    put(tmp_path / "data", file_name("BB-Two"))
    with pytest.raises(InputError, match=words):
        fluxnet(tmp_path, exclude=[name])


def test_to_exclude_every_site_is_an_error(tmp_path: Path) -> None:
    put(tmp_path / "data", file_name())
    for read in (lambda: table(tmp_path, frame(), exclude=["AA-One"]), lambda: fluxnet(tmp_path, exclude=["AA-One"])):
        with pytest.raises(InputError, match="`exclude` leaves no site"):
            read()

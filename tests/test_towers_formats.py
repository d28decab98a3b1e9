"""Files of the tower networks as they are published: names, resolutions, site facts, releases, flags; written here, read back."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.sources.predictors.settings import PredictorSettings
from dualflux.sources.towers import FluxnetSource, Towers, citations, read_towers, site_table
from dualflux.sources.towers.halfhours import good_half_hours
from dualflux.sources.towers.names import parse_name
from dualflux.stages.consistency import with_site_meteorology

PERIOD = (date(2001, 1, 1), date(2010, 12, 31))
UMOL = 1e-6 * 86_400 * 12.011  # gC m-2 d-1 per umolCO2 m-2 s-1
SITES = "site,lat,lon,igbp\nDE-Hai,51.08,10.45,DBF\nUS-Var,38.41,-120.95,GRA\n"


def daily(nee: Any, quality: Any = 1.0, start: str = "2001-01-01", **columns: Any) -> pd.DataFrame:
    time = pd.date_range(start, periods=len(nee)).strftime("%Y%m%d")
    return pd.DataFrame({"TIMESTAMP": time, "NEE_VUT_REF": nee, "NEE_VUT_REF_QC": quality, **columns})


def half_hourly(nee: Any, quality: Any = 0, minutes: int = 30, start: str = "2001-01-01", **columns: Any) -> pd.DataFrame:
    begin = pd.date_range(start, periods=len(nee), freq=f"{minutes}min")
    end = (begin + pd.Timedelta(minutes=minutes)).strftime("%Y%m%d%H%M")
    frame = pd.DataFrame({"TIMESTAMP_START": begin.strftime("%Y%m%d%H%M"), "TIMESTAMP_END": end, "NEE_VUT_REF": nee})
    return frame.assign(NEE_VUT_REF_QC=quality, **columns)


def put(folder: Path, name: str, frame: pd.DataFrame) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / name, index=False)


def read(folder: Path, path: Any = "data", step: Any = "daily", sites: Any = "sites.csv", period: Any = PERIOD, **keys: Any) -> Towers:
    if sites == "sites.csv":
        (folder / sites).write_text(SITES)
    drawn = {"implausible": "accept", **keys}  # records of one value
    return read_towers([FluxnetSource(path=path, format="fluxnet", sites=sites, **drawn)], folder, period, step)


# --- names ---


@pytest.mark.parametrize(
    ("name", "site", "kind", "step", "release", "years"),
    [
        ("FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2000-2012_1-4.csv", "DE-Hai", "flux", "DD", "FLX FLUXNET2015 1-4", (2000, 2012)),
        ("FLX_FI-Ken_FLUXNET2015_FULLSET_HH_2018-2020_beta-3.csv", "FI-Ken", "flux", "HH", "FLX FLUXNET2015 beta-3", (2018, 2020)),
        ("AMF_US-Ha1_FLUXNET_FULLSET_HR_1991-2020_3-5.csv", "US-Ha1", "flux", "HR", "AMF FLUXNET 3-5", (1991, 2020)),
        ("ICOSETC_BE-Bra_FLUXNET_MM_L2.csv", "BE-Bra", "flux", "MM", "ICOSETC FLUXNET L2", None),
        ("ICOSETC_BE-Bra_FLUXNET_DD_INTERIM_L2.csv", "BE-Bra", "flux", "DD", "ICOSETC FLUXNET INTERIM L2", None),
        ("TERN_AU-Lox_FLUXNET_FLUXMET_DD_2008-2009_v1.3_r1.csv", "AU-Lox", "flux", "DD", "TERN FLUXNET v1.3 r1", (2008, 2009)),
        ("AMF_US-Var_FLUXNET_ERA5_DD_1981-2023_v1.3_r1.csv", "US-Var", "reanalysis", "DD", "AMF FLUXNET ERA5 v1.3 r1", (1981, 2023)),
        ("FLX_DE-Hai_FLUXNET2015_ERAI_DD_1989-2014_1-4.csv", "DE-Hai", "reanalysis", "DD", "FLX FLUXNET2015 ERAI 1-4", (1989, 2014)),
        ("FLX_DE-Hai_FLUXNET2015_AUXNEE_2000-2012_1-4.csv", "DE-Hai", "other", "", "FLX FLUXNET2015 AUXNEE 1-4", (2000, 2012)),
        ("FLX_AA-Flx_BIF_DD_20200501.csv", "AA-Flx", "site facts", "DD", "FLX BIF 20200501", None),
        ("AMF_US-Var_FLUXNET_BIF_2000-2023_v1.3_r1.csv", "US-Var", "site facts", "", "AMF FLUXNET BIF v1.3 r1", (2000, 2023)),
        ("AMF_US-Var_FLUXNET_BIFVARINFO_DD_2000-2023_v1.3_r1.csv", "US-Var", "other", "DD", "AMF FLUXNET BIFVARINFO v1.3 r1", (2000, 2023)),
        ("ICOSETC_BE-Bra_SITEINFO_L2.csv", "BE-Bra", "site facts", "", "ICOSETC SITEINFO L2", None),
        ("ICOSETC_BE-Bra_FLUXES_L2.csv", "BE-Bra", "other", "", "ICOSETC FLUXES L2", None),
    ],
)
def test_names_of_the_published_products(name: str, site: str, kind: str, step: str, release: str, years: Any) -> None:
    found = parse_name(name)
    assert found is not None
    assert (found.site, found.kind, found.step, found.release, found.years) == (site, kind, step, release, years)


@pytest.mark.parametrize(
    "name", ["sites.csv", "README.txt", "FLX_DE-Hai.xlsx", "._FLX_DE-Hai_FLUXNET_DD_2001-2001_1-4.csv", "FLX.csv", "csv"]
)
def test_names_of_other_files(name: str) -> None:
    assert parse_name(name) is None


# --- half hours to days ---


def test_days_of_a_half_hourly_file(tmp_path: Path) -> None:
    # day 1: 40 measured of 2 and 8 poorly filled of 8: mean 3, quality 40/48 = 0.83. Day 2: 38 of 48 values (79 %): no value.
    # Day 3: 39 of 48 (81 %), 20 measured and 19 well filled. Day 4: all filled poorly but 38 (quality 0.79)
    nee = np.r_[np.full(40, 2.0), np.full(8, 8.0), np.full(38, 1.0), np.full(10, -9999), np.full(9, -9999), np.full(39, -4.0), np.ones(48)]
    quality = np.r_[np.zeros(40), np.full(8, 2), np.zeros(48), np.full(9, -9999), np.zeros(20), np.ones(19), np.zeros(38), np.full(10, 3)]
    weather = {"TA_F": np.tile(np.arange(48.0), 4), "P_F": 0.5, "SW_IN_F": np.r_[np.full(48, -9999), np.full(144, 100.0)]}
    errors = {"NEE_VUT_REF_RANDUNC": 0.6, "NEE_VUT_REF_JOINTUNC": 1.0}
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_FULLSET_HH_2001-2001_1-4.csv", half_hourly(nee, quality, **weather, **errors))
    towers = read(tmp_path)
    found = towers.observations
    assert found["time"].dt.strftime("%m-%d").tolist() == ["01-01", "01-03"]
    np.testing.assert_allclose(found["nee"], [3 * UMOL, -4 * UMOL], rtol=1e-12)
    # the random part of 0.6 shrinks with the half-hours, the systematic one, sqrt(1 - 0.36) = 0.8, does not
    np.testing.assert_allclose(found["uncertainty"], UMOL * np.sqrt(0.36 / 48 + 0.64), rtol=1e-12)
    np.testing.assert_allclose(found[["TA_F", "P_F", "SW_IN_F"]], [[23.5, 24, np.nan], [23.5, 24, 100]], rtol=1e-12)
    assert towers.dropped.set_index("reason")["count"].to_dict() == {
        "on a day with values in under 80 % of its intervals": 1,
        "quality not above 0.8": 1,
    }
    assert len(read(tmp_path, minimum_coverage=0.75).observations) == 2, "day 2 has its flux, but 38/48 is no quality above 0.8"
    assert len(read(tmp_path, minimum_coverage=0.75, quality_above=0.7).observations) == 4


def test_rows_that_are_not_in_the_file_count_as_missing(tmp_path: Path) -> None:
    frame = half_hourly(np.ones(96)).drop(index=range(50, 60))  # the second day lacks 10 of 48
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_FULLSET_HH_2001-2001_1-4.csv", frame)
    assert read(tmp_path).observations["time"].dt.day.tolist() == [1]


def test_hourly_files_and_months_of_half_hours(tmp_path: Path) -> None:
    put(tmp_path / "hh", "AMF_DE-Hai_FLUXNET_FULLSET_HH_2001-2001_3-5.csv", half_hourly(np.repeat(np.arange(31.0), 48)))
    put(tmp_path / "hr", "AMF_US-Var_FLUXNET_FULLSET_HR_2001-2001_3-5.csv", half_hourly(np.repeat(np.arange(31.0), 24), minutes=60))
    towers = read(tmp_path, ["hh", "hr"], step="monthly")
    np.testing.assert_allclose(towers.observations["nee"], 15 * UMOL, rtol=1e-12)
    assert towers.observations["site"].tolist() == ["DE-Hai", "US-Var"]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_hours_made_of_half_hours_give_the_same_days(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("towers")
    nee, gaps = rng.normal(size=24 * 5), rng.uniform(size=24 * 5) < 0.1
    hours = np.where(gaps, -9999, nee)
    quality = np.where(gaps, -9999, rng.choice([0, 1, 2, 3], p=[0.6, 0.3, 0.05, 0.05], size=24 * 5))
    half = half_hourly(np.repeat(hours, 2), np.repeat(quality, 2), TA_F=np.repeat(nee, 2))
    put(folder / "data", "FLX_DE-Hai_X_FULLSET_HH_2001-2001_1-4.csv", half.sample(frac=1, random_state=seed))
    put(folder / "data", "FLX_US-Var_X_FULLSET_HR_2001-2001_1-4.csv", half_hourly(hours, quality, minutes=60, TA_F=nee))
    found = read(folder, quality_above=0.5).observations
    mine, other = (found[found["site"] == site].drop(columns=["site", "uncertainty"]) for site in ("DE-Hai", "US-Var"))
    pd.testing.assert_frame_equal(mine.reset_index(drop=True), other.reset_index(drop=True), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"TIMESTAMP_END": "200101010000"}, r"intervals are not the 30 minutes of HH, first 2001-01-01 00:00:00 to .* in line 2"),
        ({"NEE_VUT_REF_QC": 0.5}, r"`NEE_VUT_REF_QC`: 48 flags other than 0, 1, 2 and 3, first 0.5"),
        ({"TIMESTAMP_START": "200101010000", "TIMESTAMP_END": "200101010030"}, r"47 rows repeat a time, first 2001-01-01 00:00:00"),
        ({"TIMESTAMP_START": "2001-01-01"}, r"`TIMESTAMP_START`: not a date \(%Y%m%d%H%M expected\): 48 of 48 rows"),
    ],
)
def test_bad_half_hours(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_X_FULLSET_HH_2001-2001_1-4.csv", half_hourly(np.ones(48)).assign(**change))
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_time_columns_must_be_there(tmp_path: Path) -> None:
    put(
        tmp_path / "data",
        "FLX_DE-Hai_X_FULLSET_HH_2001-2001_1-4.csv",
        half_hourly(np.ones(48)).drop(columns=["TIMESTAMP_START", "TIMESTAMP_END"]),
    )
    put(tmp_path / "data", "FLX_US-Var_X_FULLSET_DD_2001-2001_1-4.csv", daily(np.ones(3)).drop(columns="TIMESTAMP"))
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert [("no column `TIMESTAMP_START`, `TIMESTAMP_END`" in p, "no column `TIMESTAMP`" in p) for p in caught.value.problems] == [
        (True, False),
        (False, True),
    ]


# --- what a file may look like ---


@settings(max_examples=20, deadline=None)
@given(
    st.randoms(use_true_random=False), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["-9999", "-9999.0", "-9999.00000"])
)
def test_column_order_line_ends_byte_order_mark_and_fill_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, random: Any, end: str, mark: bool, fill: str
) -> None:
    folder = tmp_path_factory.mktemp("towers")
    nee = [repr(float(value)) for value in np.random.default_rng(1).normal(size=40)]
    nee[3] = nee[17] = fill
    frame = daily(nee, ["1"] * 39 + [fill], TA_F="12.5", GPP_DT_VUT_REF=fill, NEE_VUT_REF_RANDUNC="0.25")
    put(folder / "data", "FLX_DE-Hai_X_SUBSET_DD_2001-2001_1-4.csv", frame)
    expected = read(folder)
    names = list(frame.columns)
    random.shuffle(names)
    text = ("\ufeff" if mark else "") + frame[names].to_csv(index=False, lineterminator=end)
    (folder / "data" / "FLX_DE-Hai_X_SUBSET_DD_2001-2001_1-4.csv").write_bytes(text.encode())
    pd.testing.assert_frame_equal(read(folder).observations, expected.observations)
    assert len(expected.observations) == 37 and set(expected.observations["uncertainty"]) == {0.25}


@pytest.mark.parametrize("fill", [-999.0, -99999.0, 1e20, 9.96921e36, -6999.0])
def test_another_fill_value_or_unit_is_refused(tmp_path: Path, fill: float) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_X_SUBSET_DD_2001-2001_1-4.csv", daily(np.r_[np.ones(9), fill]))
    with pytest.raises(InputError, match=r"1 fluxes beyond \+-500 gC m-2 d-1, first .*; correct the unit, or the fill value to -9999"):
        read(tmp_path)


def test_a_large_flux_stays(tmp_path: Path) -> None:
    # +2300 gC m-2 yr-1 (a drained peatland under maize), and days of 40: both real
    put(tmp_path / "data", "AMF_DE-Hai_FLUXNET_FULLSET_DD_2001-2001_3-5.csv", daily(np.r_[np.full(364, 2300 / 365), 40.0]))
    towers = read(tmp_path, consistency="drop")
    assert len(towers.observations) == 365 and towers.observations["nee"].max() == 40


def test_japanflux_quality_is_refused(tmp_path: Path) -> None:
    # 0 is the best there: with the rule of the others the worst days would stay
    name = "FLX_DE-Hai_JapanFLUX2024_ALLVARS_DD_2001-2001_1-3.csv"
    put(tmp_path / "data", name, daily(np.ones(31), np.r_[np.zeros(15), np.ones(16)]))
    with pytest.raises(InputError, match=r"in JapanFlux files 0 is the best quality .*`quality_above: 0.8` would keep the worst days"):
        read(tmp_path)
    assert len(read(tmp_path, quality_above=None).observations) == 31
    (tmp_path / "data" / name).rename(tmp_path / "data" / "FLX_DE-Hai_X_ALLVARS_DD_2001-2001_1-3.csv")
    put(tmp_path / "data", "FLX_DE-Hai_X_ALLVARS_DD_2001-2001_1-3.csv", daily(np.ones(31), np.r_[np.zeros(15), np.full(16, 3)]))
    with pytest.raises(
        InputError, match=r"`NEE_VUT_REF_QC` from 0 to 3; allowed: fractions from 0 to 1, .* JapanFlux files, mean the opposite"
    ):
        read(tmp_path)


# --- site facts ---

BIF = """DATAVALUE,VARIABLE,SITE_ID,VARIABLE_GROUP,GROUP_ID
Vaira Ranch \xb5,SITE_NAME,US-Var,GRP_HEADER,1
38.5,LOCATION_LAT,US-Var,GRP_LOCATION,3
-121.5,LOCATION_LONG,US-Var,GRP_LOCATION,3
20100601,LOCATION_DATE_START,US-Var,GRP_LOCATION,3
38.41,LOCATION_LAT,US-Var,GRP_LOCATION,2
-120.95,LOCATION_LONG,US-Var,GRP_LOCATION,2
20001023,LOCATION_DATE_START,US-Var,GRP_LOCATION,2
GRA,IGBP,US-Var,GRP_IGBP,4
-8,UTC_OFFSET,US-Var,GRP_UTC_OFFSET,5
10.17190/AMF/1245984,DOI,US-Var,GRP_DOI,6
WET,IGBP,XX-Non,GRP_IGBP,7
"""
SITEINFO = """SITE_ID,GROUP_ID,VARIABLE,DATAVALUE
DE-Hai,1,SITE_DESC,old beech forest, never managed, with unquoted commas
DE-Hai,2,LOCATION_LAT,51.08
DE-Hai,2,LOCATION_LONG,10.45
DE-Hai,3,IGBP,DBF
DE-Hai,4,UTC_OFFSET,1
"""
SNAPSHOT = """data_hub,site_id,site_name,location_lat,location_long,igbp,first_year,last_year,fluxnet_product_name,product_citation
AmeriFlux,US-Var,"Vaira, old",1,1,CRO,1999,2005,AMF_US-Var_FLUXNET_1999-2005_v1.2_r1.zip,old
AmeriFlux,US-Var,"Vaira",38.41,-120.95,GRA,2000,2023,AMF_US-Var_FLUXNET_2000-2023_v1.3_r1.zip,"Ma, S. (2025), US-Var, https://doi.org/10.1/x"
ICOS,DE-Hai,Hainich,51.08,10.45,DBF,2000,2022,ICOSETC_DE-Hai_FLUXNET_2000-2022_v1.3_r1.zip,Knohl (2025)
TERN,XX-Non,no data here,,,,2000,2001,TERN_XX-Non_FLUXNET_2000-2001_v1.3_r1.zip,
"""


def two_sites(folder: Path, version: str = "v1.3_r1") -> None:
    for site, network in (("DE-Hai", "ICOSETC"), ("US-Var", "AMF")):
        put(folder / "data", f"{network}_{site}_FLUXNET_FLUXMET_DD_2001-2001_{version}.csv", daily(np.ones(365)))


def test_facts_from_bif_and_siteinfo_beside_the_data(tmp_path: Path) -> None:
    two_sites(tmp_path)
    (tmp_path / "data" / "AMF_US-Var_FLUXNET_BIF_2001-2001_v1.3_r1.csv").write_bytes(BIF.encode("cp1252"))
    (tmp_path / "data" / "ICOSETC_DE-Hai_SITEINFO_L2.csv").write_text(SITEINFO)
    towers = read(tmp_path, sites=None)
    # of the two places of US-Var the later one
    assert towers.sites.loc["US-Var", ["lat", "lon", "igbp", "utc_offset"]].tolist() == [38.5, -121.5, "GRA", -8]
    assert towers.sites.loc["DE-Hai", ["lat", "lon", "igbp", "utc_offset"]].tolist() == [51.08, 10.45, "DBF", 1]
    assert towers.sites.loc["US-Var", "citation"] == "https://doi.org/10.17190/AMF/1245984"
    assert "ICOSETC FLUXNET v1.3 r1, site DE-Hai: cite the DOI" in towers.sites.loc["DE-Hai", "citation"]
    assert citations(towers) == sorted(towers.sites["citation"])


def test_facts_from_a_snapshot(tmp_path: Path) -> None:
    two_sites(tmp_path)
    (tmp_path / "snapshot.csv").write_text(SNAPSHOT, encoding="utf-8-sig")
    towers = read(tmp_path, sites="snapshot.csv")
    assert towers.sites[["lat", "lon", "igbp"]].to_numpy().tolist() == [[51.08, 10.45, "DBF"], [38.41, -120.95, "GRA"]]
    assert citations(towers) == ["Knohl (2025)", "Ma, S. (2025), US-Var, https://doi.org/10.1/x"]


def test_a_snapshot_cites_its_own_release_only(tmp_path: Path) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.ones(365)))
    put(tmp_path / "data", "FLX_US-Var_FLUXNET2015_FULLSET_DD_2001-2001_beta-3.csv", daily(np.ones(365)))
    (tmp_path / "snapshot.csv").write_text(SNAPSHOT)
    cited = read(tmp_path, sites="snapshot.csv").sites["citation"]
    assert cited["DE-Hai"].endswith("https://doi.org/10.1038/s41597-020-0534-3") and cited["US-Var"].endswith("10.18160/2G60-ZHAK")


def test_a_table_goes_before_the_files_beside_the_data_and_is_completed_by_them(tmp_path: Path) -> None:
    two_sites(tmp_path)
    (tmp_path / "data" / "AMF_US-Var_FLUXNET_BIF_2001-2001_v1.3_r1.csv").write_bytes(BIF.encode("cp1252"))
    (tmp_path / "mine.csv").write_text("citation,igbp,lon,site,lat\nmy own,WSA,239,US-Var,38\nKnohl,DBF,10,DE-Hai,51\n")
    sites = read(tmp_path, sites=["mine.csv"]).sites
    assert sites.loc["US-Var", ["lat", "lon", "igbp", "utc_offset", "citation"]].tolist() == [38, -121, "WSA", -8, "my own"]
    (tmp_path / "mine.csv").write_text("site,lat,lon,igbp\nDE-Hai,51,10,DBF\n")
    assert read(tmp_path, sites="mine.csv").sites["lat"].tolist() == [51, 38.5]


@pytest.mark.parametrize(
    ("bif", "message"),
    [
        ("", r"no `sites` table, BIF or SITEINFO file: no row for DE-Hai; add their lat, lon and igbp, or put the BIF"),
        (SITEINFO.replace("51.08", "151"), r"lat missing or outside -90..90 degrees at DE-Hai"),
        (SITEINFO.replace("DBF", "UNK"), r"IGBP class missing or unknown \(DE-Hai UNK\)"),
        (SITEINFO.replace("UTC_OFFSET,1", "UTC_OFFSET,east"), r"UTC offset of DE-Hai is no number of hours from -14 to 14"),
        (SITEINFO.replace("IGBP", "CLASS"), r"no row for DE-Hai; add their lat, lon and igbp"),
        (SITEINFO.replace("DATAVALUE", "VALUE"), r"no column `site`, `lat`, `lon`, `igbp`; allowed: a table .* a BIF or SITEINFO file"),
    ],
)
def test_bad_site_facts(tmp_path: Path, bif: str, message: str) -> None:
    put(tmp_path / "data", "ICOSETC_DE-Hai_FLUXNET_DD_L2.csv", daily(np.ones(365)))
    if bif:
        (tmp_path / "data" / "ICOSETC_DE-Hai_SITEINFO_L2.csv").write_text(bif)
    with pytest.raises(InputError, match=message):
        read(tmp_path, sites=None)


# --- releases, resolutions, skipped files ---


def test_the_release_with_most_usable_days_is_used_whole(tmp_path: Path) -> None:
    # the newer release has more rows, but fewer of sufficient quality
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.full(200, 1.0)))
    newer = daily(np.full(300, 2.0), np.r_[np.ones(150), np.zeros(150)])
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_FULLSET_DD_2001-2001_beta-3.csv", newer)
    towers = read(tmp_path)
    assert towers.observations["nee"].tolist() == [1.0] * 200
    assert towers.dropped[["source", "reason", "count"]].to_numpy().tolist() == [
        ["FLX_DE-Hai_FLUXNET2015_FULLSET_DD_2001-2001_beta-3.csv", "another release of the site is used", 300]
    ]
    table = site_table(towers)
    assert table[["use", "release", "observations", "rows", "dropped"]].to_numpy().tolist() == [
        ["kept", "FLX FLUXNET2015 1-4", 200, 200, 0],
        ["dropped", "FLX FLUXNET2015 beta-3", 0, 300, 300],
    ]
    assert table["why"].tolist() == ["", "FLX FLUXNET2015 1-4 is used: 200 usable days against 150"]
    later = (date(2001, 6, 1), date(2001, 12, 31))
    assert site_table(read(tmp_path, period=later, quality_above=None))["release"].iloc[0] == "FLX FLUXNET2015 beta-3"


def test_of_equal_releases_the_newest_is_used_also_over_two_sources(tmp_path: Path) -> None:
    put(tmp_path / "a", "AMF_DE-Hai_FLUXNET_FLUXMET_DD_2001-2001_v1.3_r2.csv", daily(np.full(100, 1.0), start="2001-01-01"))
    put(tmp_path / "b", "AMF_DE-Hai_FLUXNET_FLUXMET_DD_2001-2001_v1.3_r1.csv", daily(np.full(100, 2.0), start="2001-01-01"))
    put(tmp_path / "b", "AMF_US-Var_FLUXNET_FULLSET_DD_2001-2001_3-5.csv", daily(np.full(100, 3.0), start="2001-01-01"))
    put(tmp_path / "c", "FLX_US-Var_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily(np.full(100, 4.0), start="2001-01-02"))
    (tmp_path / "sites.csv").write_text(SITES)
    sources = [FluxnetSource(path=folder, format="fluxnet", sites="sites.csv", implausible="accept") for folder in ("c", "b", "a")]
    for order in (sources, sources[::-1]):
        found = read_towers(order, tmp_path, PERIOD, "daily").observations  # type: ignore[arg-type]
        assert found.groupby("site")["nee"].unique().map(list).to_dict() == {"DE-Hai": [1.0], "US-Var": [4.0]}


def test_a_monthly_study_compares_months_of_different_resolutions_in_days(tmp_path: Path) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.full(31 + 28, 1.0)))
    months = pd.DataFrame({"TIMESTAMP": ["200101", "200103"], "NEE_VUT_REF": 2.0, "NEE_VUT_REF_QC": 1.0})
    put(tmp_path / "data", "AMF_DE-Hai_FLUXNET_FULLSET_MM_2001-2001_3-5.csv", months)
    towers = read(tmp_path, step="monthly")
    assert towers.observations["nee"].tolist() == [2.0, 2.0], "31 + 31 days against 31 + 28"
    assert site_table(towers)["why"].iloc[1] == "AMF FLUXNET 3-5 is used: 62 usable days against 59"


def test_one_file_of_a_release_is_read_and_the_others_are_listed(tmp_path: Path) -> None:
    stem = "AMF_DE-Hai_FLUXNET"
    put(tmp_path / "data", f"{stem}_FULLSET_DD_2001-2001_3-5.csv", daily(np.full(31, 1.0)))
    put(tmp_path / "data", f"{stem}_SUBSET_DD_2001-2001_3-5.csv", daily(np.full(31, 2.0)))
    put(tmp_path / "data", f"{stem}_FULLSET_HH_2001-2001_3-5.csv", half_hourly(np.full(48, 3.0)))
    put(tmp_path / "copy", f"{stem}_FULLSET_DD_2001-2001_3-5.csv", daily(np.full(31, 1.0)))
    for other in ("_ERA5_DD_1981-2001_3-5", "_FULLSET_YY_2001-2001_3-5", "_FULLSET_MM_2001-2001_3-5", "_BIFVARINFO_DD_2001-2001_3-5"):
        (tmp_path / "data" / f"{stem}{other}.csv").write_text("nothing that could be read\n")
    towers = read(tmp_path, ["data", "copy", "data/*DD*"])
    assert towers.observations["nee"].tolist() == [1.0] * 31
    assert sorted(towers.skipped["reason"]) == [
        "not a flux file by its name",
        "reanalysis file: holds no fluxes",
        "resolution DD of the same release is read",
        "resolution MM is not read in a daily study",
        "resolution YY is not read in a daily study",
        "the FULLSET of the same release is read",
        "the same file a second time",
    ]
    with pytest.raises(InputError, match=r"ERA5_DD_1981-2001_3-5.csv: no flux file by its name \(reanalysis file: holds no fluxes\)"):
        read(tmp_path, f"data/{stem}_ERA5_DD_1981-2001_3-5.csv")
    with pytest.raises(InputError, match=r"no DD or HH or HR flux file below .*\(1 files: reanalysis file: holds no fluxes\)"):
        read(tmp_path, "data/*ERA5*")


def test_a_site_without_usable_values_is_dropped_where_others_remain(tmp_path: Path) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.full(31, 1.0)))
    put(tmp_path / "data", "FLX_US-Var_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.full(31, -9999.0)))
    towers = read(tmp_path)
    table = site_table(towers).set_index("site")
    assert table["use"].to_dict() == {"DE-Hai": "kept", "US-Var": "dropped"}
    assert table.loc["US-Var", "why"] == "31 no usable value of the variable"
    assert table[["observations", "dropped", "rows"]].sum().tolist() == [31, 31, 62]
    with pytest.raises(InputError, match=r"no values of `NEE_VUT_REF` with"):
        read(tmp_path, "data/*US-Var*")


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000))
def test_every_row_of_every_release_is_an_observation_or_counted(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    rng = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("towers")
    rows = 0
    for site in ("DE-Hai", "US-Var"):
        for release in ("FLX_{}_FLUXNET2015_SUBSET_DD_2001-2004_1-4", "AMF_{}_FLUXNET_FLUXMET_DD_2001-2004_v1.3_r1"):
            n = int(rng.integers(400, 1500))
            nee = np.where(rng.uniform(size=n) < 0.1, -9999, rng.normal(size=n) + (np.arange(n) > n / 2) * rng.choice([0, 9]))
            put(folder / "data", release.format(site) + ".csv", daily(nee, rng.uniform(0.5, 1, n), start="2000-12-20"))
            rows += n
    towers = read(folder, quality_above=0.6, consistency="drop")
    assert len(towers.observations) + towers.dropped["count"].sum() == rows == site_table(towers)["rows"].sum()
    assert not towers.observations.duplicated(["site", "time"]).any()
    assert (towers.observations.groupby("site")["nee"].size() == site_table(towers).groupby("site")["observations"].max()).all()
    assert site_table(towers).groupby("site")["use"].apply(lambda use: (use == "kept").sum()).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"not a CSV table in UTF-8 \(No columns"),
        ("TIMESTAMP,NEE_VUT_REF,NEE_VUT_REF_QC\n", r"no rows; download the file again"),
        ("TIMESTAMP;NEE_VUT_REF;NEE_VUT_REF_QC\n20010101;1;1\n", r"semicolons separate the 3 columns; save the file with commas"),
        ("<!DOCTYPE html>\n<p>log in, please</p>\n", r"no column `TIMESTAMP`"),
        ("TIMESTAMP,NEE_VUT_REF,NEE_VUT_REF_QC\n20010101,1,1\n20010101,1,1\n", r"1 rows repeat a site and time, first DE-Hai 2001-01-01"),
    ],
)
def test_a_file_that_is_no_flux_table_is_an_error_also_among_good_ones(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path / "data", "FLX_US-Var_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.ones(31)))
    (tmp_path / "data" / "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_rows_without_the_weather_a_study_needs_are_in_the_site_table(tmp_path: Path) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.ones(31), TA_F=[1.0] * 30 + [-9999]))
    put(tmp_path / "data", "FLX_US-Var_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(np.ones(31)))
    keys = {"path": "x.nc", "variable": "t", "kind": "dynamic", "units": "degC"}
    predictor = PredictorSettings.model_validate({"name": "ta", "site_column": "TA_F", "at_towers": "site", **keys})
    table = site_table(with_site_meteorology([predictor], read(tmp_path)))
    assert table[["site", "use", "why", "observations", "dropped"]].to_numpy().tolist() == [
        ["DE-Hai", "kept", "1 no site value of TA_F", 30, 1],
        ["US-Var", "dropped", "31 no site value of TA_F", 0, 31],
    ]


def test_rows_that_end_before_the_years_of_the_name_are_noted(tmp_path: Path) -> None:
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2003_1-4.csv", daily(np.ones(400)))
    assert site_table(read(tmp_path))["note"].tolist() == ["the name says 2001-2003, the rows reach from 2001-01-01 to 2002-02-04"]


# --- flags ---


def seasonal(years: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    day = np.arange(365 * years)
    return -3 * np.sin(2 * np.pi * day / 365) + rng.normal(size=day.size)


def test_a_break_point_is_found_where_it_is_and_only_there(tmp_path: Path) -> None:
    nee = seasonal(8)
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2008_1-4.csv", daily(nee))
    assert read(tmp_path).flags.empty
    broken = nee + np.where(np.arange(nee.size) >= 365 * 5, 3.0, 0.0)  # from 2005-12-31 on: three standard deviations
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2008_1-4.csv", daily(broken))
    reported = read(tmp_path)
    assert reported.flags[["kind", "variable", "action"]].to_numpy().tolist() == [["break", "nee", "reported"]]
    assert abs(reported.flags["time"].iloc[0] - pd.Timestamp("2005-12-31")) <= pd.Timedelta(days=30)
    assert len(reported.observations) == nee.size and "break point" in site_table(reported)["flags"].iloc[0]
    dropped = read(tmp_path, consistency="drop")
    before = dropped.flags["time"].iloc[0]
    assert dropped.observations["time"].max() == before - pd.Timedelta(days=1), "the five years before it are the longest stretch"
    lost = nee.size - len(dropped.observations)
    assert dropped.flags["rows"].tolist() == [lost] and dropped.flags["action"].tolist() == ["dropped"]
    assert dropped.dropped.set_index("reason")["count"].to_dict() == {"beyond a break point of the flux": lost}
    assert read(tmp_path, consistency="off").flags.empty


def test_radiation_above_the_top_of_the_atmosphere_and_other_impossible_weather(tmp_path: Path) -> None:
    nee, n = seasonal(1), 365
    sun = 200 + 150 * np.sin(2 * np.pi * np.arange(n) / 365)
    good = {"SW_IN_POT": sun, "SW_IN_F": 0.7 * sun, "TA_F": 10.0, "VPD_F": 5.0, "P_F": 2.0}
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(nee, **good))
    assert read(tmp_path).flags.empty
    # 10 % of days 1.2 x potential; VPD in Pa (the saturation pressure at 10 degC is 12.3 hPa); 40 mm of rain a day is 14.6 m a year
    bad = {"SW_IN_F": np.where(np.arange(n) % 10 == 0, 1.2, 0.7) * sun, "VPD_F": 500.0, "P_F": 40.0}
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2001-2001_1-4.csv", daily(nee, **(good | bad)))
    flags = read(tmp_path).flags.set_index("variable")
    assert flags.index.tolist() == ["SW_IN_F", "VPD_F", "P_F"] and set(flags["rows"]) == {365}
    np.testing.assert_allclose(flags["statistic"].astype(float), [37 / 365, 1, 40], rtol=1e-12)
    dropped = read(tmp_path, consistency="drop").observations
    assert dropped[["SW_IN_F", "VPD_F", "P_F"]].isna().all().all() and (dropped["TA_F"] == 10).all() and len(dropped) == 365


def test_a_flux_below_its_own_threshold_uncertainty_is_flagged(tmp_path: Path) -> None:
    joint = {"NEE_VUT_REF_RANDUNC": 0.1, "NEE_VUT_REF_JOINTUNC": 9.0}
    put(tmp_path / "data", "FLX_DE-Hai_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily(seasonal(1), **joint))
    put(tmp_path / "data", "FLX_US-Var_FLUXNET2015_FULLSET_DD_2001-2001_1-4.csv", daily(seasonal(1)))
    towers = read(tmp_path)
    assert towers.flags[["site", "variable", "kind"]].to_numpy().tolist() == [["DE-Hai", "nee", "variable"]]
    np.testing.assert_allclose(towers.flags["statistic"].astype(float), np.sqrt(81 - 0.01), rtol=1e-12)
    dropped = read(tmp_path, consistency="drop")
    assert dropped.sites.index.tolist() == ["US-Var"]
    assert dropped.dropped.to_dict("records")[0] | {"source": ""} == {
        "source": "",
        "site": "DE-Hai",
        "reason": "flux flagged: threshold uncertainty above the spread of the flux",
        "count": 365,
    }


# --- published files ---


def test_the_published_daily_files_have_the_values_that_plain_pandas_counts(shared_data: Path) -> None:
    period = (date(2001, 1, 1), date(2019, 12, 31))
    source = FluxnetSource(path="fluxnet_daily", format="fluxnet", sites="fluxnet_daily/sites.csv")
    towers = read_towers([source], shared_data, period, "daily")
    found = towers.observations.groupby("site")["nee"].agg(["size", "sum"])
    expected = {}
    for path in sorted((shared_data / "fluxnet_daily").glob("FLX_*.csv")):
        table = pd.read_csv(path)
        day = table["TIMESTAMP"] // 10000
        family = "VUT" if (table["NEE_VUT_REF"] > -9000).any() else "CUT"
        use = day.between(2001, 2019) & (table[f"NEE_{family}_REF"] > -9000) & (table[f"NEE_{family}_REF_QC"] > 0.8)
        expected[path.name[4:10]] = [use.sum(), table.loc[use, f"NEE_{family}_REF"].sum()]
    np.testing.assert_allclose(found, pd.DataFrame(expected).T.loc[found.index], rtol=1e-12)
    assert len(found) == 13 and towers.skipped["file"].tolist() == ["sites.csv"]
    # sign and size: DE-Hai was published as a sink of 490 to 494 gC m-2 yr-1 (Knohl et al. 2003, other processing of two of the years)
    assert -700 < 365 * towers.observations.loc[towers.observations["site"] == "DE-Hai", "nee"].mean() < -300
    radiation = towers.observations.groupby("site")["SW_IN_F"].mean()
    assert radiation.between(70, 230).all(), "W m-2: annual means between the Arctic and the Mediterranean"


def test_weather_of_the_published_files_has_its_units(shared_data: Path) -> None:
    # an independent data set (ERA-Interim at the sites, other units for radiation) for the months both have
    towers = read_towers(
        [FluxnetSource(path="fluxnet_daily", format="fluxnet", sites="fluxnet_daily/sites.csv")],
        shared_data, (date(2001, 1, 1), date(2014, 12, 31)), "monthly",
    )  # fmt: skip
    other = pd.read_csv(shared_data / "real" / "towers_monthly.csv", parse_dates=["time"])
    both = towers.observations.merge(other, on=["site", "time"])
    assert len(both) > 600
    for ours, theirs, factor in (("TA_F", "ta", 1.0), ("SW_IN_F", "sw_in", 0.0864)):
        pair = both[[ours, theirs]].dropna()
        slope = np.polyfit(pair[ours] * factor, pair[theirs], 1)[0]
        assert 0.8 < slope < 1.2 and pair.corr().iloc[0, 1] > 0.9, ours


def test_measured_and_good_fill_count_medium_and_poor_do_not() -> None:
    """Flags of half-hours: 0 measured, 1 good, 2 medium, 3 poor fill; without a flag nothing is known to be good."""
    assert good_half_hours(pd.Series([0, 1, 2, 3, np.nan]), "drawn").tolist() == [1, 1, 0, 0, 0]

"""`check` says what a study uses before anything is computed, and one bad source does not hide the others."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dualflux.checking import CheckReport, check_study
from dualflux.checking.resources import TRAINING, UPSCALING, networks, predicted_gigabytes, predicted_operations
from dualflux.cli import main
from dualflux.errors import InputError
from dualflux.study.settings import load_study

EXAMPLE = Path(__file__).resolve().parents[1] / "examples/real_monthly/study.yaml"

STUDY = """\
name: drawn
period: [2001-01-01, 2002-12-31]
grid: {resolution: 30}
towers:
  - {path: towers.csv, format: table}
predictors:
  - {name: ta, path: predictors.nc, kind: dynamic, units: degC, running_means: [60]}
  - {name: height, path: predictors.nc, kind: static, units: m}
  - {name: anomaly(ta), derived: true}
land_fraction: {path: predictors.nc}
regions: {bands: {north: [0, 90], south: [-90, 0]}}
inversions:
  - {path: inversions.csv, format: table}
target: nbe
inversion_term: {weight: 1.0, minimum_spread: 0.1}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Six by twelve cells, all land; two northern towers of which one has a year too early, four southern ones; two inversions of
    -1 PgC/yr in each half."""
    lat, lon = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
    months = pd.date_range("2000-01-01", "2002-12-31", freq="MS")
    xr.Dataset(
        {
            "ta": (("time", "lat", "lon"), np.full((36, 6, 12), 10.0), {"units": "degC"}),
            "height": (("lat", "lon"), np.ones((6, 12)), {"units": "m"}),
            "land_fraction": (("lat", "lon"), np.ones((6, 12)), {"units": "1"}),
        },
        coords={"time": months, "lat": lat, "lon": lon},
    ).to_netcdf(tmp_path / "predictors.nc", engine="h5netcdf")
    rows = [("AA-One", 50.0, 10.0, "ENF", m, -1.0 - m.month / 100) for m in months] + [
        ("BB-Two", 20.0, 10.0, "GRA", m, 0.5 + m.month / 100) for m in months[12:]
    ]
    rows += [(f"CC-{lon}", -45.0, float(lon), "CRO", m, m.month / 100) for lon in (-150, -80, 60, 130) for m in months[12:]]
    pd.DataFrame(rows, columns=["site", "lat", "lon", "igbp", "time", "nee"]).to_csv(tmp_path / "towers.csv", index=False)
    parts = [(p, region, m, -1.0, "PgC yr-1") for p in ("one", "other") for region in ("north", "south") for m in months[12:]]
    pd.DataFrame(parts, columns=["product", "region", "time", "value", "unit"]).to_csv(tmp_path / "inversions.csv", index=False)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def section(report: CheckReport, title: str) -> pd.DataFrame:
    names = [name for name, _ in report.sections]
    found = [content for name, content in report.sections if (name == title if title in names else name.startswith(title))]
    assert len(found) == 1 and isinstance(found[0], pd.DataFrame)
    return found[0]


def test_tables_of_a_drawn_world(world: Path) -> None:
    report = check_study(load_study(world / "study.yaml"))
    assert report.problems == []
    dropped = section(report, "Tower rows that are dropped")
    assert dropped[["reason", "sites", "rows"]].to_numpy().tolist() == [["outside the period", 1, 12]]
    assert section(report, "Towers by region").to_numpy().tolist() == [["north", 2, 48], ["south", 4, 96]]
    assert section(report, "Towers by year").to_numpy().tolist() == [[2001, 6, 72], [2002, 6, 72]]
    assert section(report, "Towers by class").to_numpy().tolist() == [["CRO", 4, 96], ["ENF", 1, 24], ["GRA", 1, 24]]
    assert section(report, "Inversions")["mean_annual_global"].to_numpy() == pytest.approx([-2.0, -2.0])
    land = section(report, "Land and regions").set_index("region")["land [1e6 km2]"]
    assert land["global"] == pytest.approx(510.07, abs=0.01)  # surface of the Earth, 4 pi R^2


def test_problems_of_all_sources_at_once(world: Path) -> None:
    text = STUDY.replace("units: degC", "units: mm").replace("towers.csv", "tower.csv").replace("inversions.csv", "inversion.csv")
    (world / "study.yaml").write_text(text + "references:\n  - {format: table, path: reference.csv}\n")
    report = check_study(load_study(world / "study.yaml"))
    for name in ("tower.csv", "inversion.csv", "`mm`", "reference.csv"):
        assert sum(name in problem for problem in report.problems) == 1, report.problems
    assert next(title for title, _ in report.sections).startswith("Land and regions: 72 cells")
    with pytest.raises(InputError, match=r"tower\.csv"):
        report.raise_if_wrong()


def test_missing_mask_does_not_hide_the_towers_problem(world: Path) -> None:
    (world / "study.yaml").write_text(STUDY.replace("land_fraction: {path: predictors.nc}", "land_fraction: {path: mask.nc}"))
    (world / "towers.csv").write_text("site,lat\nAA-One,50\n")
    problems = check_study(load_study(world / "study.yaml")).problems
    assert len(problems) == 2 and "mask.nc" in problems[0] and "no column" in problems[1]


def test_each_missing_file_is_named_once(world: Path) -> None:
    for name in ("predictors.nc", "towers.csv", "inversions.csv"):
        (world / name).unlink()
    problems = check_study(load_study(world / "study.yaml")).problems
    assert [sum(name in problem for problem in problems) for name in ("predictors.nc", "towers.csv", "inversions.csv")] == [1, 1, 1]


def test_nan_predictor_without_a_rule_is_counted(world: Path) -> None:
    data = xr.load_dataset(world / "predictors.nc", engine="h5netcdf")
    data["height"][0, :3] = np.nan
    data.to_netcdf(world / "predictors.nc", engine="h5netcdf")
    [problem] = check_study(load_study(world / "study.yaml")).problems
    assert "height" in problem and "3 " in problem


def test_predicted_sizes(world: Path) -> None:
    study = load_study(world / "study.yaml")
    memory, disk = predicted_gigabytes(study, cells=1000, pixels=5000)
    # ta, its running mean and its anomaly: 3 columns of 24 months and 1000 cells, 4 bytes each
    assert memory * 1e9 == 4 * 3 * 24 * 1000
    # nee, nee_tower and two standard deviations of each of 4 variants, and the members: 4 x 5, of the inversions' variant 2 x 4
    assert disk * 1e9 == 4 * (4 * 4 + 3 * 20 + 8) * 24 * 5000


def test_predicted_networks_are_those_that_are_trained(world: Path) -> None:
    """3 x 4 x 5 + 2 x 4, and 4 each for two variants and three experiments: without years, without either product."""
    text = STUDY.replace("name: drawn", "name: drawn\nholdout: {years: [2002, 2002], inversions: true}")
    (world / "study.yaml").write_text(text)
    assert networks(load_study(world / "study.yaml"), products=2) == 68 + 2 * 3 * 4


def test_predicted_work_grows_with_the_ensemble(world: Path) -> None:
    text = STUDY.replace("name: drawn", "name: drawn\nnetwork: {members: MEMBERS}")
    found = []
    for members in ("4", "8"):
        (world / "study.yaml").write_text(text.replace("MEMBERS", members))
        found.append(predicted_operations(load_study(world / "study.yaml"), 100, 2, 48, 2))
    assert found[1] == pytest.approx(2 * np.array(found[0]))


def test_predicted_time_of_the_measured_run(shared_data: Path) -> None:
    """The real study on 1 degree, 17357 cells, took 287 s of training and 77 s of upscaling on cores of 93e9 operations a second."""
    study = load_study(EXAMPLE, data_root=shared_data / "real")
    training, upscaling = predicted_operations(study, 17357, 3, 7977, 4)
    assert networks(study, 4) == 116
    assert training / (TRAINING * 2 * 93e9) == pytest.approx(287, rel=0.3)
    assert upscaling / (UPSCALING * 2 * 93e9) == pytest.approx(77, rel=0.3)


def test_towers_one_by_one(world: Path) -> None:
    """Each site with what is used and dropped, and why; sites by year and region."""
    report = check_study(load_study(world / "study.yaml"))
    sites = section(report, "Towers one by one: 6 sites used, 0").set_index("site")
    assert sites.loc["AA-One", ["use", "why", "observations", "dropped"]].tolist() == ["kept", "12 outside the period", 24, 12]
    assert sites.loc["BB-Two", ["use", "why", "observations", "dropped"]].tolist() == ["kept", "", 24, 0]
    assert section(report, "Sites with observations by year and region").to_numpy().tolist() == [[2001, 2, 4], [2002, 2, 4]]


def test_what_became_of_network_files_is_kept_with_whom_to_cite(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One file per site, a reanalysis file beside them: listed by check and by the run, the sites' citation in provenance.json."""
    towers = pd.read_csv(world / "towers.csv").drop_duplicates("site")
    towers[["site", "lat", "lon", "igbp"]].assign(site=[f"AA-S{i}" for i in range(6)]).to_csv(world / "sites.csv", index=False)
    (world / "flux").mkdir()
    days = pd.date_range("2001-01-01", "2002-12-31").strftime("%Y%m%d")
    for i in range(6):
        table = pd.DataFrame({"TIMESTAMP": days, "NEE_VUT_REF": np.arange(len(days)) % 30 / 30, "NEE_VUT_REF_QC": 1.0})
        table.to_csv(world / f"flux/FLX_AA-S{i}_FLUXNET2015_SUBSET_DD_2001-2002_1-4.csv", index=False)
    (world / "flux/FLX_AA-S0_FLUXNET2015_ERAI_DD_1989-2014_1-4.csv").write_text("TIMESTAMP,TA_ERA\n")
    text = STUDY.replace("{path: towers.csv, format: table}", "{path: flux, format: fluxnet, sites: sites.csv}")
    (world / "study.yaml").write_text(text)
    report = check_study(load_study(world / "study.yaml"))
    assert section(report, "Tower files that are not read").to_numpy().tolist() == [[1, "reanalysis file: holds no fluxes"]]
    assert section(report, "Towers").to_numpy()[0, :3].tolist() == ["FLX FLUXNET2015 1-4", 6, 144]
    assert main(["prepare", str(world / "study.yaml")]) == 0
    out = world / "runs/drawn"
    assert pd.read_csv(out / "prepared/tower_sites.csv")[["use", "observations"]].to_numpy().tolist() == [["kept", 24]] * 6
    assert pd.read_csv(out / "prepared/tower_skipped.csv")["site"].tolist() == ["AA-S0"]
    citations = json.loads((out / "provenance.json").read_text())["citations"]
    assert [c for c in citations if "Pastorello" in c] == citations[1:] and len(citations) == 2


def test_units_and_signs_of_every_source(world: Path) -> None:
    """The file's own words beside the study's; a file that cannot be read has no row, its reader names the problem."""
    months = pd.date_range("2001-01-01", "2002-12-31", freq="MS")
    lat, lon = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
    flux = (("time", "lat", "lon"), np.full((24, 6, 12), 1e-8), {"units": "kgC m-2 s-1"})
    xr.Dataset({"nbe": flux}, {"time": months, "lat": lat, "lon": lon}).to_netcdf(world / "flux.nc", engine="h5netcdf")
    source = "{path: flux.nc, format: gridded, product: C, variable: nbe, per: area, sign: to_land}"
    gone = "{path: gone.nc, format: gridded, product: D, variable: nbe, per: area, sign: to_land}"
    text = STUDY.replace("inversions.csv, format: table}", f"inversions.csv, format: table}}\n  - {source}\n  - {gone}")
    (world / "study.yaml").write_text(text)
    report = check_study(load_study(world / "study.yaml"))
    found = section(report, "Units and signs").set_index(["kind", "variable"])
    assert found.loc[("inversions", "nbe"), ["source", "file_unit", "study_unit", "per", "sign"]].tolist() == [
        "flux.nc", "kgC m-2 s-1", "", "area", "to_land"
    ]  # fmt: skip
    assert found.loc[("inversions", "value"), ["file_unit", "per"]].tolist() == ["PgC yr-1", "region"]
    assert found.loc[("predictors", "ta"), ["file_unit", "study_unit"]].tolist() == ["degC", "degC"]
    assert found.loc[("towers", "nee"), "study_unit"] == "gC m-2 d-1"
    assert sum("gone.nc" in problem for problem in report.problems) == 1


def test_products_to_compare_with_are_scanned(world: Path) -> None:
    """1 gC m-2 d-1 everywhere is 4 pi R^2 x 365 days = 186.2 PgC/yr: implausible, and said so; its months are all counted."""
    months = pd.date_range("2001-01-01", "2002-06-30", freq="MS")
    lat, lon = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
    flux = (("time", "lat", "lon"), np.ones((18, 6, 12)), {"units": "gC m-2 d-1"})
    xr.Dataset({"nee": flux}, {"time": months, "lat": lat, "lon": lon}).to_netcdf(world / "product.nc", engine="h5netcdf")
    reference = "references:\n  - {format: gridded, product: X, path: product.nc, variable: nee}\n"
    (world / "study.yaml").write_text(STUDY + reference)
    report = check_study(load_study(world / "study.yaml"))
    assert section(report, "Products to compare with")[["product", "months"]].to_numpy().tolist() == [["X", 18]]
    assert "X 2001-01 to 2001-12: 186.17 PgC/yr, OUTSIDE -35..+5: check unit and sign" in report.text()


def test_independent_budget_beside_the_inversions(world: Path) -> None:
    """-(3 - 1) - 0.65 = -2.65 PgC/yr, the inversions' mean is -2: a difference of 0.65."""
    (world / "budget.csv").write_text("Year,land sink,land use\n2001,3,1\n2002,3,1\n2003,9,9\n")
    budget = "{name: b, path: budget.csv, terms: {land sink: -1, land use: 1}, constants: {river: -0.65}}"
    (world / "study.yaml").write_text(STUDY + f"independent:\n  - {budget}\n")
    said = check_study(load_study(world / "study.yaml")).text()
    assert "b 2001-2002: -2.65 PgC/yr, mean of the inversions -2.00, difference +0.65" in said


def test_the_starter_study_checks_up_to_its_files(tmp_path: Path) -> None:
    """What `dualflux init` writes is a right study; a check of it names each of its files as absent, and nothing else."""
    assert main(["init", str(tmp_path)]) == 0
    problems = check_study(load_study(tmp_path / "study.yaml")).problems
    files = ("towers.csv", "temperature.nc", "vegetation.nc", "masks.nc", "inversions.csv", "fire.csv")
    assert all(sum(name in problem for problem in problems) >= 1 for name in files)
    assert all("no such file" in problem for problem in problems)


def test_real_study(shared_data: Path) -> None:
    """Figures of the data's own description: 140 towers 2001-2014, target -3.89 PgC/yr (-2.05, -1.76, -0.08 by band)."""
    study = load_study(EXAMPLE, data_root=shared_data / "real")
    report = check_study(study)
    report.raise_if_wrong()
    assert "target NBE - fire 2001-2012 (north_of_30N -2.05, tropics -1.76, south_of_30S -0.08): -3.89 PgC/yr" in report.text()
    assert section(report, "Towers by region").set_index("region")["sites"].to_dict() == {
        "north_of_30N": 124, "tropics": 11, "south_of_30S": 0
    }  # fmt: skip

"""`check` says what a study uses before anything is computed, and one bad source does not hide the others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dualflux.check import CheckReport, check_study
from dualflux.check.resources import predicted_gigabytes, predicted_operations
from dualflux.errors import InputError
from dualflux.study import Study, load_study

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
    rows = [("AA-One", 50.0, 10.0, "ENF", m, -1.0) for m in months] + [("BB-Two", 20.0, 10.0, "GRA", m, 0.5) for m in months[12:]]
    rows += [(f"CC-{lon}", -45.0, float(lon), "CRO", m, 0.1) for lon in (-150, -80, 60, 130) for m in months[12:]]
    pd.DataFrame(rows, columns=["site", "lat", "lon", "igbp", "time", "nee"]).to_csv(tmp_path / "towers.csv", index=False)
    parts = [(p, region, m, -1.0, "PgC yr-1") for p in ("one", "other") for region in ("north", "south") for m in months[12:]]
    pd.DataFrame(parts, columns=["product", "region", "time", "value", "unit"]).to_csv(tmp_path / "inversions.csv", index=False)
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def section(report: CheckReport, title: str) -> pd.DataFrame:
    found = [content for name, content in report.sections if name.startswith(title)]
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
    # nee, nee_tower and two standard deviations, and 4 x 5 members, of each of the 4 variants
    assert disk * 1e9 == 4 * (4 + 20) * 4 * 24 * 5000


def test_predicted_work_grows_with_the_ensemble(world: Path) -> None:
    study = load_study(world / "study.yaml")
    settings = study.settings.model_copy(update={"network": study.settings.network.model_copy(update={"members": 8})})
    twice = Study(settings, study.file, study.root, study.out)
    assert predicted_operations(twice, 100, 2, 48) == pytest.approx(2 * predicted_operations(study, 100, 2, 48))


def test_real_study(shared_data: Path) -> None:
    """Figures of the data's own description: 140 towers 2001-2014, target -3.89 PgC/yr (-2.05, -1.76, -0.08 by band)."""
    study = load_study(EXAMPLE, data_root=shared_data / "real")
    report = check_study(study)
    report.raise_if_wrong()
    assert "target NBE - fire 2001-2012 (north_of_30N -2.05, tropics -1.76, south_of_30S -0.08): -3.89 PgC/yr" in report.text()
    assert section(report, "Towers by region").set_index("region")["sites"].to_dict() == {
        "north_of_30N": 124, "tropics": 11, "south_of_30S": 0
    }  # fmt: skip

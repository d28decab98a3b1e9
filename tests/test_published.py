"""The published set-up in examples/published: `check` passes on stub files of the providers' layouts, and reads what they say."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from dualflux.checking import CheckReport, check_study
from dualflux.cli import main
from dualflux.study.settings import load_study

FOLDER = Path(__file__).resolve().parents[1] / "examples/published"
STUDY = FOLDER / "study.yaml"


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("make_stub_files", FOLDER / "make_stub_files.py")
    if spec is None or spec.loader is None:
        pytest.fail(f"no builder of stub files in {FOLDER}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("published")
    module.write_stub_files(folder)
    return folder


@pytest.fixture(scope="module", name="report")
def _report(files: Path) -> CheckReport:
    return check_study(load_study(STUDY, data_root=files))


def table(report: CheckReport, title: str) -> pd.DataFrame:
    return next(content for name, content in report.sections if name.startswith(title) and isinstance(content, pd.DataFrame))


def test_the_command_says_that_the_study_can_run(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(STUDY), "--data-root", str(files)]) == 0
    assert capsys.readouterr().out.endswith("The study can run.\n")


def test_the_command_names_what_is_absent_and_what_to_do(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in files.iterdir():
        if file.name != "GCP2022_inversions_1x1_version1_2_20230428.nc":
            (tmp_path / file.name).symlink_to(file)
    assert main(["check", str(STUDY), "--data-root", str(tmp_path)]) == 2
    [problem] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dualflux: error:")]
    assert "GCP2022_inversions_1x1_version1_2_20230428.nc" in problem


def test_it_is_the_published_set_up(files: Path) -> None:
    """Upton et al. (2024): daily towers, 18 regions, 2001-2017, both sources on one flux model."""
    settings = load_study(STUDY, data_root=files).settings
    assert [str(day) for day in settings.period] == ["2001-01-01", "2017-12-31"]
    assert (settings.time_step, settings.regions, settings.target) == ("daily", "gcp18", "tower_nee")
    assert "plain" in settings.variants and [source.format for source in settings.inversions] == ["gcb"]


def test_layouts_are_read_as_they_were_written(report: CheckReport) -> None:
    """Members of -1.6, -1.28 and -1.92 PgC/yr, the last without 2001; fire 2, crops 1, biofuel 0.05, rivers 0.6."""
    inversions = table(report, "Inversions").set_index("product")
    assert inversions.mean_annual_global.to_dict() == pytest.approx({"CAMS": -1.6, "CarboScope": -1.28, "UoE": -1.92}, abs=0.02)
    assert [str(first)[:4] for first in inversions["first"]] == ["2001", "2001", "2002"]
    terms = table(report, "Target").set_index("term").mean_annual_global
    wanted = {"fire": 2.0, "crop_consumption": 1.0, "biofuel_consumption": 0.05, "river_evasion": 0.6}
    assert {name: terms[name] for name in wanted} == pytest.approx(wanted, rel=0.01)
    land = table(report, "Land and regions").set_index("region")
    assert land.loc["global", "land [1e6 km2]"] == pytest.approx(147, rel=0.01)


def test_towers_of_all_networks_are_read_and_what_lies_beside_them_is_not(report: CheckReport) -> None:
    towers = table(report, "Towers")
    assert towers.sites.sum() == 12 and not any("ERA5" in source or "BIF" in source for source in towers.source)
    dropped = table(report, "Tower rows that are dropped")
    assert dropped[dropped.reason == "no value"]["rows"].sum() == 31 * 12
    regions = table(report, "Towers by region").set_index("region").sites
    assert regions[regions > 0].to_dict() == {"USA": 2, "BRA": 1, "SSA": 1, "EU": 4, "SAF": 1, "RUS": 1, "CHN": 1, "OCE": 1}

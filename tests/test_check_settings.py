"""`check` finds what `run` would refuse: settings, years that are left, memory; in one round, in short, and each thing once."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from dualflux import pipeline
from dualflux.checking import check_study
from dualflux.checking.report import MOST_LINES, WIDEST, CheckReport, by_file
from dualflux.cli import main
from dualflux.constraints.base import Constraint
from dualflux.constraints.inversions.constraint import Inversions
from dualflux.constraints.inversions.covariance import independent
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.constraints.towers.constraint import Towers
from dualflux.errors import InputError
from dualflux.fitting.training import TrainingSettings
from dualflux.run_folder import doctor
from dualflux.study.settings import load_study, load_study_to_check

resources = import_module("dualflux.checking.resources")  # the room has a function of this name
LAT, LON = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
LAST = 2004
STUDY = {
    "name": "drawn",
    "period": ["2001-01-01", f"{LAST}-12-31"],
    "grid": {"resolution": 30},
    "towers": [{"path": "towers.csv", "format": "table"}],
    "predictors": [
        {"name": "ta", "path": "fields.nc", "kind": "dynamic", "units": "degC"},
        {"name": "height", "path": "fields.nc", "kind": "static", "units": "m"},
        {"name": "anomaly(ta)", "derived": True},
    ],
    "land_fraction": {"path": "fields.nc"},
    "regions": {"bands": {"north": [0, 90], "south": [-90, 0]}},
    "inversions": [{"path": "inversions.csv", "format": "table"}],
    "target": "nbe",
    "inversion_term": {"weight": 1.0},
    "figure_regions": ["global"],
}
Make = Callable[..., Path]


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six towers, three inversions of four years, predictors of five."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    record = pd.date_range("2000-01-01", f"{LAST}-12-31", freq="MS")
    months = record[12:]
    season = 10 + 5 * np.cos(2 * np.pi * record.month.to_numpy() / 12)
    fields = {
        "ta": (("time", "lat", "lon"), season[:, None, None] + rng.normal(size=(len(record), 6, 12)), {"units": "degC"}),
        "height": (("lat", "lon"), rng.uniform(0, 900, (6, 12)), {"units": "m"}),
        "land_fraction": (("lat", "lon"), np.ones((6, 12)), {"units": "1"}),
    }
    xr.Dataset(fields, {"time": record, "lat": LAT, "lon": LON}).to_netcdf(folder / "fields.nc", engine="h5netcdf")
    places = [(50.0, 10.0), (20.0, 100.0), (-45.0, -150.0), (-45.0, -80.0), (-45.0, 60.0), (-45.0, 130.0)]
    rows = [(f"AA-S{i}", *place, "ENF", m, round(rng.normal(), 3)) for i, place in enumerate(places) for m in months]
    pd.DataFrame(rows, columns=["site", "lat", "lon", "igbp", "time", "nee"]).to_csv(folder / "towers.csv", index=False)
    parts = [(p, r, m, round(rng.normal(-1, 0.5), 4), "PgC yr-1") for p in "ABC" for r in ("north", "south") for m in months]
    pd.DataFrame(parts, columns=["product", "region", "time", "value", "unit"]).to_csv(folder / "inversions.csv", index=False)
    return folder


@pytest.fixture
def make(tmp_path: Path, files: Path) -> Make:
    """The study with keys changed; None takes one away."""

    def made(**changes: object) -> Path:
        study = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study, "data_root": str(files)}, sort_keys=False))
        return tmp_path / "study.yaml"

    return made


def problems(file: Path) -> list[str]:
    study, found = load_study_to_check(file)
    return found if study is None else check_study(study, found).problems


WRONG = {
    "width of nothing": ({"network": {"hidden": [0]}}, "network.hidden[0]", "greater than or equal to 1"),
    "negative width": ({"network": {"hidden": [8, -8]}}, "network.hidden[1]", "greater than or equal to 1"),
    "width too large": ({"network": {"hidden": [5000]}}, "network.hidden[0]", "less than or equal to 4096"),
    "odd members": ({"network": {"members": 5}}, "network.members", "the next even number, 6"),
    "a single member": ({"network": {"members": 1}}, "network.members", "greater than or equal to 2"),
    "one fold": ({"network": {"folds": 1}}, "network.folds", "greater than or equal to 2"),
    "more folds than sites": ({"network": {"folds": 7}}, "7 folds", "allowed: 2 to 6"),
    "negative weight": ({"inversion_term": {"weight": -1.0}}, "inversion_term.weight", "greater than 0"),
    "weight of nothing": ({"inversion_term": {"weight": 0}}, "inversion_term.weight", "greater than 0"),
    "absurd weight": ({"inversion_term": {"weight": 1e6}}, "inversion_term.weight", "less than or equal to 1000"),
    "a block of no year": ({"inversion_term": {"resample_years": 0}}, "inversion_term.resample_years", "greater than or equal to 1"),
    "a block of all years": ({"inversion_term": {"resample_years": 40}}, "inversion_term.resample_years", "use a smaller number"),
    "fewer steps than checkpoints": ({"training": {"steps": 10, "checkpoints": 11}}, "training", "use at most 10 `checkpoints`"),
    "more anchors than checkpoints": ({"training": {"anchors": 6}}, "training", "use at most 5 `anchors`"),
    "absurd learning rate": ({"training": {"learning_rate": 0.51}}, "training.learning_rate", "less than or equal to 0.5"),
    "negative learning rate": ({"training": {"learning_rate": -1e-3}}, "training.learning_rate", "greater than 0"),
    "error target of no use": ({"inversion_term": {"error_target": 0.1}}, "inversion_term", "`error_target` is of use to representative"),
    "library of no use": ({"inversion_term": {"library": ["X"]}}, "inversion_term", "`library` is of use to"),
    "years of no use": ({"inversion_term": {"estimator": "exact", "years": 3}}, "inversion_term", "`years` is of use to stratified"),
    "years beyond the record": ({"inversion_term": {"weight": 1.0, "years": 5}}, "inversion_term.years", "use at most 4"),
    "years out of the record": ({"holdout": {"years": [2003, 2099]}}, "holdout.years", "2001 to 2004"),
    "years before the record": ({"holdout": {"years": [1990, 2001]}}, "holdout.years", "choose years inside"),
    "years that run backwards": ({"holdout": {"years": [2004, 2003]}}, "holdout.years", "runs backwards"),
    "years without inversions": ({"inversions": [], "holdout": {"years": [2002, 2002]}}, "holdout.years", "give `inversions`"),
    "each year of three": (
        {"holdout": {"years": "each"}, "fit_period": ["2001-01-01", "2003-12-31"]}, "holdout.years: each", "3 whole fitted years (2001, "
    ),
    "each year without inversions": ({"inversions": [], "holdout": {"years": "each"}}, "holdout.years", "give `inversions`"),
    "another word than each": ({"holdout": {"years": "all"}}, "holdout.years", "each"),
    "index of no use": ({"holdout": {"index": {"path": "x.csv", "variable": "x"}}}, "holdout", "`index` is of use with `years: each` only"),
    "no index": ({"holdout": {"years": "each", "index": {"path": "x.csv", "variable": "x"}}}, "holdout.index", "no such file"),
    "each without inversions": ({"inversions": [], "holdout": {"inversions": True}}, "holdout.inversions", "remove the key"),
    "library without towers": (
        {"towers": [], "inversion_term": {"estimator": "representative"}}, "inversion_term.estimator", "use `stratified` or `exact`"
    ),
    "truth without towers": ({"towers": [], "truth": "truth"}, "truth", "give both or remove the key"),
    "seed below 0": ({"seed": -1}, "seed", "greater than or equal to 0"),
    "no length": ({"spatial_term": {"correlation_length": 1e6}}, "correlation_length", "less than or equal to 20000"),
    "too few years left by auto": (
        {"inversion_term": {}, "fit_period": ["2001-01-01", "2002-12-31"]}, "inversion_term.weight", "(2002): inversions: 3 product(s), 1"
    ),
    "too few years left out": ({"holdout": {"years": [2002, 2004]}}, "holdout.years", "1 year(s) that at least two of them cover"),
    "too few products left": (
        {"holdout": {"inversions": True}, "inversions": [{"path": "inversions.csv", "format": "table", "products": ["A", "B"]}]},
        "holdout.inversions", "leaving one out leaves 1",
    ),
    "too few years for a library": (
        {"inversion_term": {"estimator": "representative", "weight": 1.0}, "fit_period": ["2001-01-01", "2002-12-31"]},
        "estimator representative", "three years",
    ),
    "no whole year for a season": (
        {"period": ["2001-01-01", "2001-06-30"], "inversions": [], "inversion_term": {}}, "anomaly(ta)", "one whole year"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_run_would_refuse(make: Make, case: str) -> None:
    """Those of the study file are found without its files; all in one round is another test."""
    changes, where, says = WRONG[case]
    study, found = load_study_to_check(make(**changes))
    if study is not None and not found:
        found = check_study(study).problems
    assert len(found) == 1 and where in found[0] and says in found[0], found


RIGHT = {
    "as it is": {},
    "weight chosen of four years": {"inversion_term": {}},
    "representative with its own keys": {"inversion_term": {"estimator": "representative", "error_target": 0.1, "weight": 1.0}},
    "default years in a shorter record": {"fit_period": ["2001-01-01", "2003-12-31"], "inversion_term": {"weight": 1.0}},
    "two years and a stated weight": {"fit_period": ["2001-01-01", "2002-12-31"]},
    "as many years as there are": {"inversion_term": {"weight": 1.0, "years": 3}, "fit_period": ["2001-01-01", "2003-12-31"]},
    "a step for each checkpoint": {"training": {"steps": 10, "checkpoints": 10}},
    "exact without keys of others": {"inversion_term": {"estimator": "exact", "weight": 2}},
    "holdout of all kinds": {"holdout": {"years": [2004, 2004], "inversions": True}},
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_run_would_do(make: Make, case: str) -> None:
    """And the resolved study, which states everything, is the same study again."""
    file = make(**RIGHT[case])
    assert problems(file) == []
    study = load_study(file)
    again = file.with_name("resolved.yaml")
    again.write_text(study.to_yaml())
    assert load_study(again).settings == study.settings.model_copy(update={"data_root": str(study.root)})


def test_all_problems_come_in_one_round_file_by_file(make: Make, files: Path, tmp_path: Path) -> None:
    """Settings that pydantic finds in several rounds, seven columns of one table, a file that four sources lack."""
    towers = pd.read_csv(files / "towers.csv").astype(object).assign(ta=5.0, gpp=1.0, rh=1.0)
    towers = towers.astype({"ta": object, "gpp": object, "rh": object})
    for row, (column, value) in enumerate(
        [("nee", "a"), ("time", "b"), ("lat", 99), ("igbp", "X"), ("ta", "c"), ("gpp", "d"), ("rh", "e")]
    ):
        towers.loc[row, column] = value
    towers.to_csv(tmp_path / "towers.csv", index=False)
    inversions = pd.read_csv(files / "inversions.csv").astype(object)
    for row, (column, value) in enumerate([("value", "a"), ("time", "b"), ("region", "mars"), ("unit", "lb")]):
        inversions.loc[row, column] = value
    inversions.to_csv(tmp_path / "inversions.csv", index=False)
    gone = [{"name": name, "path": "gone.nc", "kind": "dynamic"} for name in "abc"]
    file = make(
        towers=[{"path": str(tmp_path / "towers.csv"), "format": "table"}],
        inversions=[{"path": str(tmp_path / "inversions.csv"), "format": "table"}],
        predictors=gone,
        references=[{"format": "gridded", "product": "Z", "path": "gone.nc", "variable": "x"}],
        network={"hidden": [0], "members": 3},
        training={"steps": 10, "checkpoints": 20, "learning_rate": 3},
    )
    found = problems(file)
    names = [next(n for n in ("study.yaml", "towers.csv", "inversions.csv", "gone.nc") if n in problem) for problem in found]
    assert names == ["study.yaml"] * 4 + ["towers.csv"] * 7 + ["gone.nc"] + ["inversions.csv"] * 4, found


def test_a_first_screen_is_short_and_all_is_long(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    file = make()
    assert main(["check", str(file)]) == 0
    short = capsys.readouterr().out.splitlines()
    assert main(["check", "--all", str(file)]) == 0
    long = capsys.readouterr().out.splitlines()
    assert len(short) <= 25 < len(long) and short[-1] == long[-1] == "The study can run."
    assert "eddy covariance towers: 6 sites, 288 rows, 2001 to 2004; years of a site: 4 to 4" in short
    assert "atmospheric inversions: 3 products (A, B, C), 2 regions, 4 years 2001 to 2004" in short
    assert any(line.startswith("inversions: sd of the mean, sum of regions: offset ") for line in short)
    assert any(line.startswith("site ") for line in long) and not any(line.startswith("site ") for line in short)


def test_a_first_screen_stays_short_whatever_comes() -> None:
    report = CheckReport(summary=[("source", "x" * 1000)] * 100)
    lines = report.first_screen().splitlines()
    assert len(lines) == MOST_LINES and max(map(len, lines)) == WIDEST


def test_the_same_file_in_two_folders_is_not_the_same_thing() -> None:
    found = [
        "a/x.nc: no such file; put it there",
        "x.nc: no such file (a/x.nc)",
        "b/x.nc: no such file; put it there",
        "x.nc: bad",
        "seed: odd",
    ]
    assert by_file(found) == ["seed: odd", found[0], found[2], found[3]]


def test_constraints_say_what_they_have() -> None:
    """R of a region of 1 (PgC/month)^2 in each part: 12 PgC/yr of offset; of cycle 11 of 12 directions; independent regions add."""
    ones = np.ones(2)
    error = independent(ones, ones, ones)
    data = RegionalConstraint(
        np.zeros((2, 2, 3, 12)), ("P", "Q"), ("a", "b"), np.zeros((2, 3, 12)), error, np.array([2001, 2002, 2003]), np.zeros((3, 12), int)
    )
    first, a, b, total = Inversions.check_lines(data)
    assert first == "2 products (P, Q), 2 regions, 3 years 2001 to 2003"
    assert a == "sd of the mean, a: offset 12 PgC/yr, cycle 0.96, anomaly 1 PgC/month" and b == a.replace(" a:", " b:")
    assert total == "sd of the mean, sum of regions: offset 17 PgC/yr, cycle 1.4, anomaly 1.4 PgC/month"
    rows = pd.DataFrame({"site": ["A", "A", "B"], "time": pd.to_datetime(["2001-01-01", "2003-01-01", "2001-02-01"])})
    assert Towers.check_lines(rows) == ["2 sites, 3 rows, 2001 to 2003; years of a site: 1 to 2"]
    assert Constraint.check_lines(rows) == []


# --- memory ---


def test_more_memory_than_there_is_is_refused_by_check_and_run(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is needed, what is there and what to do."""
    file = make()
    monkeypatch.setattr(resources, "usable_memory", lambda: 10**9)
    for command in ("check", "run"):
        assert main([command, str(file), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "memory: a run needs about 1.1 GB" in said and "has 1.0 GB" in said and "coarser `grid.resolution`" in said


def test_cores_are_those_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "usable_cores", lambda: 1)
    alone = resources.operations_per_second()
    monkeypatch.setattr(resources, "usable_cores", lambda: 1000)
    assert resources.operations_per_second() > 50 * alone


@pytest.mark.parametrize("line", ["0::/slurm/job/step", "7:memory:/slurm/job/step"])
def test_a_limit_of_a_group_that_holds_ours_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    (tmp_path / "own").write_text(f"3:cpu:/\n{line}\n")
    limit = tmp_path / "memory.max"
    (tmp_path / "slurm/job").mkdir(parents=True)
    (tmp_path / "slurm/job/memory.max").write_text("1000000\n")
    monkeypatch.setattr(doctor, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(doctor, "_CGROUP_LIMITS", (limit, limit))
    assert doctor.usable_memory() == 1_000_000


# --- missing ---


def test_a_rule_of_the_study_for_missing_values(make: Make) -> None:
    """Each predictor's own wins; the resolved study says what each has; a rule that is none is named once."""
    predictors = [dict(one) for one in STUDY["predictors"]]  # type: ignore[attr-defined]
    predictors[1]["missing"] = "drop"
    study = load_study(make(missing={"value": 3}, predictors=predictors))
    assert [one.get("missing") for one in study.resolved()["predictors"]] == [{"value": 3.0}, "drop", "error"]
    with pytest.raises(InputError) as caught:
        load_study(make(missing="nearst", predictors=predictors))
    assert [problem.split(":")[0].split(", ")[1] for problem in caught.value.problems] == ["missing"]


def test_the_rule_of_the_study_is_used(make: Make, files: Path, tmp_path: Path) -> None:
    data = xr.load_dataset(files / "fields.nc", engine="h5netcdf")
    data["height"][0, :3] = np.nan
    data.to_netcdf(tmp_path / "fields.nc", engine="h5netcdf")
    predictors = [{**one, "path": str(tmp_path / "fields.nc")} if "path" in one else one for one in STUDY["predictors"]]  # type: ignore[attr-defined]
    [problem] = problems(make(predictors=predictors))
    assert "3 of 72 land cells" in problem
    assert problems(make(predictors=predictors, missing="nearest")) == []


def test_settings_made_in_python_are_checked_too() -> None:
    with pytest.raises(ValueError, match="20 checkpoints"):
        TrainingSettings(steps=10, checkpoints=20)


def test_a_machine_that_goes_on_needs_the_memory_too(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prepared where there was enough: training elsewhere is refused, and nothing is checked again."""
    file, out = make(), tmp_path / "out"
    assert main(["prepare", str(file), "--out", str(out)]) == 0
    monkeypatch.setattr(resources, "usable_memory", lambda: 10**9)
    with pytest.raises(InputError, match=r"memory: a run needs about 1\.1 GB"):
        pipeline.refuse_wrong_input(load_study(file), out)

"""What running means and lags see before the record: nothing without saying so, or the mean season, with known answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dualflux.checking import check_study
from dualflux.cube import Steps
from dualflux.derived.memory import default_windows
from dualflux.errors import InputError, doubts
from dualflux.features import build_cube
from dualflux.sources.land.read import land_cells
from dualflux.sources.predictors.settings import FROM_RECORD, Recipe
from dualflux.stages.prepare import read_cube
from dualflux.study.settings import load_study
from predict_world import GRID, made_twice, study_text, write_files
from test_features import AREA, LAT, dynamic, unscaled

FILLED = Recipe("mean_season", {})


def column(name: str, values: np.ndarray, first: str, last: str, time_step: str, recipe: Recipe = FILLED) -> np.ndarray:
    """A derived column of a record that begins with the study."""
    data = dynamic(np.repeat(values[:, None], 2, axis=1), first, "MS" if time_step == "monthly" else "D")
    return unscaled(build_cube(data, [name], LAT, AREA, Steps.create(first, last, time_step), {}, recipe), name)[:, 0]


def seasonal(time: pd.DatetimeIndex) -> np.ndarray:
    """The same in every year, each date by itself."""
    day = (time.month * 31 + time.day).to_numpy().astype(float)
    return 10 + 8 * np.cos(day / 60) + 3 * np.sin(day / 9)


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
@pytest.mark.parametrize("name", ["running_mean(x, 30)", "running_mean(x, 90)", "running_mean(x, 365)", "lag(x, 5)"])
def test_a_perfect_season_is_continued_into_the_past(name: str, time_step: str) -> None:
    """2002 and 2003 with a season that never changes: with the mean season in front every value is that of the long record."""
    freq = "MS" if time_step == "monthly" else "D"
    long = pd.date_range("2000-01-01", "2003-12-31", freq=freq)
    late = pd.date_range("2002-01-01", "2003-12-31", freq=freq)
    found = column(name, seasonal(late), "2002-01-01", "2003-12-31", time_step)
    data = dynamic(np.repeat(seasonal(long)[:, None], 2, axis=1), "2000-01-01", freq)
    steps = Steps.create("2002-01-01", "2003-12-31", time_step)
    true = unscaled(build_cube(data, [name], LAT, AREA, steps, {}, FROM_RECORD), name)[:, 0]
    np.testing.assert_allclose(found, true, atol=1e-4)


def test_a_step_change_has_a_known_mean() -> None:
    """Two years of 0, then 2: the mean season is 1 everywhere. The year's mean at month k of the first year is (11 - k) / 12."""
    values = np.r_[np.zeros(12), np.full(12, 2.0)]
    found = column("running_mean(x, 365)", values, "2001-01-01", "2002-12-31", "monthly")
    np.testing.assert_allclose(found[:12], (11 - np.arange(12)) / 12, atol=1e-6)
    np.testing.assert_allclose(found[12:], 2 * np.arange(1, 13) / 12, atol=1e-6)
    lagged = column("lag(x, 3)", values, "2001-01-01", "2002-12-31", "monthly")
    np.testing.assert_allclose(lagged, np.r_[1, 1, 1, values[:-3]], atol=1e-6)


def test_a_step_change_of_days_has_a_known_mean() -> None:
    """365 days of 0, then 365 of 2: on day k of the first year 29 - k of 30 days have the mean season's 1."""
    values = np.r_[np.zeros(365), np.full(365, 2.0)]
    found = column("running_mean(x, 30)", values, "2001-01-01", "2002-12-31", "daily")
    np.testing.assert_allclose(found[:365], np.maximum(29 - np.arange(365), 0) / 30, atol=1e-6)


def test_where_the_record_reaches_it_is_taken() -> None:
    """Two months of record before the study, which differ from any season: they count, and the mean season before them."""
    values = np.r_[[100.0, 100.0], np.zeros(12)]
    data = dynamic(np.repeat(values[:, None], 2, axis=1), "2000-11-01")
    steps = Steps.create("2001-01-01", "2001-12-31", "monthly")
    found = unscaled(build_cube(data, ["running_mean(x, 122)"], LAT, AREA, steps, {}, FILLED), "running_mean(x, 122)")[:, 0]
    np.testing.assert_allclose(found[:4], [50, 50, 25, 0], atol=1e-4)


def test_all_windows_are_made_with_the_mean_season() -> None:
    monthly, daily = (Steps.create("2001-01-01", "2001-12-31", t) for t in ("monthly", "daily"))
    assert default_windows({"x": None}, 0, monthly, "mean_season") == {"x": [90, 365]}
    assert default_windows({"x": None, "y": []}, 0, daily, "mean_season") == {"x": [30, 90, 365], "y": []}


# --- what is said ---

LINE = (
    "running mean of {} days of `ta`: the record begins 2001-01, it would hold from {}; it is not used; give earlier files or "
    "`spin_up: mean_season`"
)


def study_in(folder: Path, time_step: str = "monthly", **keys: Any) -> Any:
    """The drawn world with a record that begins with the period."""
    if not (folder / "ta.nc").exists():
        write_files(folder, time_step)
    text = study_text(time_step, "2000-01-01", "2002-12-31") | keys
    text["predictors"] = [p for p in text["predictors"] if p["name"] not in ("lag(ta, 1)", "wet", "anomaly(wet)")]
    (folder / "study.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    return load_study(folder / "study.yaml", out=folder / "run")


def test_check_says_from_when_each_mean_would_hold_and_run_repeats_it(tmp_path: Path) -> None:
    """Windows of three and of twelve months that end with the step hold from March and December of a record from January 2000 on."""
    study = study_in(tmp_path)
    report = check_study(study)
    said = dict(report.sections)["Running means and lags that the record is too short for"]
    lines = [LINE.format(d, m).replace("2001-01", "2000-01") for d, m in ((90, "2000-03"), (365, "2000-12"))]
    assert said == lines
    assert (
        "running means: not used of ta: 90 days from 2000-03, 365 days from 2000-12 would hold; the record begins 2000-01; give earlier"
        " files or `spin_up: mean_season`"
    ) in report.first_screen()
    land = land_cells(GRID, study.root, *(getattr(study.settings, k) for k in ("land_fraction", "regions", "no_flux", "predictors")))
    with doubts() as doubted:
        _, cube, _ = read_cube(study, land, Steps.create("2000-01-01", "2002-12-31", "monthly"))
    assert doubted == lines and cube.columns.dynamic == ("ta",)


def test_check_says_what_stands_in_and_all_windows_are_made(tmp_path: Path) -> None:
    study = study_in(tmp_path, spin_up="mean_season")
    report = check_study(study)
    assert (
        "running means: of ta: the record begins 2000-01; before it the mean season, without which 90 days from 2000-03, 365 days from"
        " 2000-12 would hold"
    ) in report.first_screen()
    land = land_cells(GRID, study.root, *(getattr(study.settings, k) for k in ("land_fraction", "regions", "no_flux", "predictors")))
    with doubts() as doubted:
        _, cube, _ = read_cube(study, land, Steps.create("2000-01-01", "2002-12-31", "monthly"))
    assert cube.columns.dynamic == ("ta", "running_mean(ta, 90)", "running_mean(ta, 365)") and not doubted


def test_nothing_is_said_where_the_record_is_long_enough(tmp_path: Path) -> None:
    study = study_in(tmp_path, period=["2001-01-01", "2002-12-31"])
    assert "running means" not in check_study(study).first_screen()


def test_windows_that_are_asked_for_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    study_in(tmp_path)
    text = yaml.safe_load((tmp_path / "study.yaml").read_text(encoding="utf-8"))
    text["predictors"][0]["running_means"] = [365]
    wanted = (
        r"predictor `running_mean\(ta, 365\)`: needs 11 steps before 2000-01-01, the record has 0; give earlier data, a shorter window, "
        r"a later period or `spin_up: mean_season`"
    )
    for spin_up in ("record", "mean_season"):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(text | {"spin_up": spin_up}), encoding="utf-8")
        problems = check_study(load_study(tmp_path / "study.yaml")).problems
        windows = [p for p in problems if "running_mean" in p]
        assert bool(windows) == (spin_up == "record")
        if windows:
            with pytest.raises(InputError, match=wanted):
                raise InputError(windows)


# --- elsewhere ---


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_predict_fills_as_training_does(tmp_path: Path, time_step: str) -> None:
    """The same columns, bit by bit: running means, lags, and what they are made from."""
    write_files(tmp_path, time_step, "2001-12-31")
    text = study_text(time_step, "2000-01-01", "2001-12-31") | {"spin_up": "mean_season"}
    text["predictors"] = [p for p in text["predictors"] if "(" not in p["name"] or p["name"].startswith("lag")]
    for trained, stored in made_twice(tmp_path, text):
        np.testing.assert_array_equal(trained, stored)


def test_predict_of_some_months_reads_the_season_of_training(tmp_path: Path) -> None:
    """March and April 2000 alone: their year's mean needs the mean season of 2000 to 2001, which is read for it."""
    write_files(tmp_path, "monthly", "2001-12-31")
    text = study_text("monthly", "2000-01-01", "2001-12-31") | {"spin_up": "mean_season"}
    text["predictors"] = [p for p in text["predictors"] if "(" not in p["name"] or p["name"].startswith("lag")]
    for trained, stored in made_twice(tmp_path, text, months=slice(2, 4)):
        np.testing.assert_array_equal(trained[2:4], stored)


def test_the_mean_season_needs_a_year() -> None:
    with pytest.raises(InputError, match=r"mean_season\(x\): the period holds no value for some part of the year"):
        column("running_mean(x, 90)", np.zeros(6), "2001-01-01", "2001-06-30", "monthly")

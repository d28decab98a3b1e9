"""A year that is left out leaves no trace, and is scored as it should be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from rich.console import Console

from dualflux.cube import Cube, Steps
from dualflux.errors import InputError
from dualflux.evaluation.left_out_years import annual_integrals, left_out_years_table
from dualflux.features import build_cube
from dualflux.fitting.without_year import cube_without_year, rows_without_year
from dualflux.metrics.left_out_years import index_of_year, regression_without, year_scores
from dualflux.prepared import Prepared, load
from dualflux.run_folder.checkpoint import Checkpoint
from dualflux.sources.climate_index import read_index
from dualflux.stages import left_out_years as stage
from dualflux.stages.observations import regional_maker, tower_constraint
from dualflux.study.settings import Study, load_study

AREA = np.array([1.0, 3.0, 2.0])
DERIVED = ["mean_season(ta)", "anomaly(ta)", "potential_radiation"]


def cube_of(ta: np.ndarray, steps: Steps) -> Cube:
    """Three cells with temperature, its season and anomaly, a running mean and a static predictor."""
    predictors = xr.Dataset(
        {"ta": (("time", "cell"), ta, {"kind": "dynamic"}), "height": (("cell",), np.array([0.0, 5.0, 9.0]), {"kind": "static"})},
        coords={"time": steps.time},
    )
    return build_cube(predictors, DERIVED, np.array([0.0, 30.0, 60.0]), AREA, steps, {"ta": []})


def weather(steps: Steps, seed: int = 0) -> np.ndarray:
    """A season and noise, (step, 3), float32."""
    season = 10 * np.cos(2 * np.pi * steps.time.day_of_year.to_numpy() / 365.25)[:, None]
    noise: np.ndarray = (season * [1, 2, 3] + np.random.default_rng(seed).normal(0, 3, (len(steps.time), 3))).astype(np.float32)
    return noise


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_columns_are_those_that_the_other_years_make(time_step: str) -> None:
    """Mean seasons, anomalies, centre and scale by hand, from the other years alone."""
    steps = Steps.create("2001-01-01", "2003-12-31", time_step)
    ta, keep = weather(steps), steps.time.year != 2002
    found = cube_without_year(cube_of(ta, steps), AREA, np.ones(len(steps.time), bool), 2002)
    raw = {name: found.dynamic[..., i] * found.scale[-2 + i] + found.centre[-2 + i] for i, name in enumerate(found.columns.dynamic)}
    season = pd.DataFrame(ta[keep].astype(float)).groupby([steps.time[keep].month, steps.time[keep].day]).mean()
    of_step = season.loc[list(zip(steps.time.month, steps.time.day, strict=True))].to_numpy()
    np.testing.assert_allclose(raw["ta"], ta, atol=2e-5)
    np.testing.assert_allclose(raw["anomaly(ta)"], ta - of_step, atol=2e-5)
    for name, values in (("ta", ta), ("anomaly(ta)", ta - of_step)):
        at = found.columns.names.index(name)
        mean = np.average(values[keep].mean(axis=0), weights=AREA)
        assert found.centre[at] == pytest.approx(mean, abs=1e-5)
        assert found.scale[at] == pytest.approx(np.sqrt(np.average(((values[keep] - mean) ** 2).mean(axis=0), weights=AREA)), rel=1e-5)


def test_what_the_year_was_leaves_no_trace() -> None:
    steps = Steps.create("2001-01-01", "2003-12-31", "monthly")
    ta, of_year = weather(steps), steps.time.year == 2002
    other = ta + 50 * of_year[:, None].astype(np.float32)
    one, two = (cube_without_year(cube_of(values, steps), AREA, np.ones(len(steps.time), bool), 2002) for values in (ta, other))
    np.testing.assert_allclose(one.centre, two.centre, atol=1e-4)
    np.testing.assert_allclose(one.scale, two.scale, rtol=1e-5)
    np.testing.assert_allclose(one.seasonal, two.seasonal, atol=1e-4)
    np.testing.assert_allclose(one.dynamic[~of_year], two.dynamic[~of_year], atol=1e-4)
    assert np.abs(one.dynamic[of_year] - two.dynamic[of_year]).min() > 1


def test_tower_rows_are_the_cells_but_for_what_is_the_sites_own() -> None:
    steps = Steps.create("2001-01-01", "2003-12-31", "monthly")
    cube = cube_of(weather(steps), steps)
    without = cube_without_year(cube, AREA, np.ones(len(steps.time), bool), 2002)
    step, cell = np.array([0, 14, 35]), np.array([2, 0, 1])
    rows = cube.rows(step, cell)
    np.testing.assert_allclose(rows_without_year(cube, without, rows, step, cell), without.rows(step, cell), atol=1e-5)
    at = cube.columns.names.index("ta")
    rows[:, at] += 1 / cube.scale[at]  # a site that is one degree warmer stays one degree warmer
    found = rows_without_year(cube, without, rows, step, cell)
    np.testing.assert_allclose((found - without.rows(step, cell))[:, at] * without.scale[at], 1.0, atol=1e-4)


@pytest.fixture(name="study")
def _study(copied_run: Path) -> Study:
    return load_study(copied_run / "study.yaml", out=copied_run)


def spoilt(prepared: Prepared, year: int) -> Prepared:
    """The same study with nonsense in one year's towers and inversions."""
    observations = prepared.observations.copy()
    observations.loc[pd.DatetimeIndex(observations.time).year == year, "nee"] = 99.0
    assert prepared.target is not None
    integral = prepared.target.integral
    integral = integral.where(integral.time.dt.year != year, 99.0)
    return replace(prepared, observations=observations, target=replace(prepared.target, integral=integral))


def test_a_fit_without_a_year_is_handed_nothing_of_it(study: Study) -> None:
    """Towers, effective numbers, the inversions' mean, R and years: equal to the last bit, whatever the year held."""
    prepared = load(study.out / "prepared")
    one, two = (stage.without_year(p, 2002, study.settings) for p in (prepared, spoilt(prepared, 2002)))
    towers = [tower_constraint(p) for p in (one, two)]
    makers = [regional_maker(study, p) for p in (one, two)]
    assert towers[0] is not None and towers[1] is not None and makers[0] is not None and makers[1] is not None
    assert 2002 not in set(towers[0].time.year) and len(towers[0].time)
    for name in ("predictors", "observed", "site"):
        np.testing.assert_array_equal(getattr(towers[0], name), getattr(towers[1], name))
    first, second = (make(None, None) for make in makers)
    assert list(first.years) == [2001, 2003]
    np.testing.assert_array_equal(first.observed, second.observed)
    for own, other in zip(first.error.marginals(), second.error.marginals(), strict=True):
        np.testing.assert_array_equal(own, other)


def test_a_killed_stage_goes_on_after_the_last_year(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the second year, it computes the second and third, not the first again; the table is that of a quiet run."""
    done: list[int] = []
    regions = len(load(study.out / "prepared").cells.region_names) + 1
    members = sum(len(run.folds) * run.members for run in stage.runs_without(study, 2001))

    def fit(study: Study, prepared: Prepared, year: int) -> np.ndarray:
        if len(done) == 1 and done[0] == 2001:
            done.append(0)
            raise KeyboardInterrupt
        done.append(year)
        return np.full((members, len(prepared.cube.steps.months), regions), year / 12)

    monkeypatch.setattr(stage, "member_integrals", fit)
    checkpoint = Checkpoint(study.out / "years.checkpoint", "x", lambda line: None)
    with pytest.raises(KeyboardInterrupt):
        stage.left_out_years(study, study.out, Console(quiet=True), checkpoint)
    stage.left_out_years(study, study.out, Console(quiet=True), checkpoint)
    assert done == [2001, 0, 2002, 2003]
    table = pd.read_csv(study.out / stage.TABLE)
    assert set(table.left_out) == {2001, 2002, 2003} and (table.value - table.left_out).abs().max() < 1e-9


def test_each_year_stands_beside_what_the_others_say(study: Study) -> None:
    """Observed: the target's own sum; climatology: mean of the other two years; predicted: mean over members."""
    prepared = load(study.out / "prepared")
    make = regional_maker(study, prepared)
    assert make is not None
    regions, months = [*prepared.cells.region_names, "global"], prepared.cube.steps.months
    labels = [("dual", m) for m in range(4)]
    values = np.ones((4, len(months), len(regions))) * np.array([1.0, 2.0, 3.0, 6.0])[:, None, None]
    members = pd.concat([annual_integrals(labels, values, months, regions).assign(left_out=y) for y in (2001, 2002, 2003)])
    table = left_out_years_table(members, make, None).set_index(["region", "year"]).loc["global"]
    annual = make(None, None).observed.sum(axis=(0, 2))
    np.testing.assert_allclose(table.observed, annual)
    np.testing.assert_allclose(table.climatology, [(annual.sum() - y) / 2 for y in annual])
    np.testing.assert_allclose(table.predicted, 12 * 3.0)
    assert table.nino.isna().all()


def test_an_index_is_the_mean_to_august() -> None:
    months = pd.date_range("2000-01-01", "2002-08-01", freq="MS")
    found = index_of_year(pd.Series(np.arange(len(months), dtype=float), months))
    assert found.to_dict() == {2001: np.arange(8, 20).mean(), 2002: np.arange(20, 32).mean()}  # 2000 lacks what comes before it


def test_a_regression_is_fitted_without_its_year() -> None:
    """On a line every year is met; a year off the line is predicted on it, whatever it was."""
    index = pd.Series([0.0, 1.0, 2.0, 5.0], [2001, 2002, 2003, 2004])
    np.testing.assert_allclose(regression_without(3 + 2 * index, index), 3 + 2 * index)
    observed = 3 + 2 * index
    observed[2004] += 100
    assert regression_without(observed, index)[2004] == pytest.approx(13.0)
    with pytest.raises(InputError, match="no whole index of 2004"):
        regression_without(observed, index.drop(2004))


def test_scores_by_hand() -> None:
    """Predicted half the anomaly: slope 2, r 1, half of climatology's error; an sd of half the error gives 2."""
    observed = np.array([1.0, -1.0, 2.0, -2.0])
    others = {"observed": observed, "climatology": 0.0, "nino": observed * 0.75, "sd": np.abs(observed) / 4}
    rows = pd.DataFrame({"predicted": observed / 2, **others})
    found = year_scores(rows)
    expected = {"rmse": np.sqrt(2.5) / 2, "rmse_over_climatology": 0.5, "rmse_over_nino": 2.0, "r": 1.0, "slope": 2.0, "error_over_sd": 2.0}
    assert {k: found[k] for k in expected} == pytest.approx(expected)


def test_the_interval_of_a_correlation_holds_the_true_one() -> None:
    """Twelve years of correlation .7: of 90 % intervals about nine in ten hold it."""
    random, inside = np.random.default_rng(1), 0
    for _ in range(400):
        x, noise = random.standard_normal((2, 12))
        y = 0.7 * x + np.sqrt(1 - 0.49) * noise
        found = year_scores(pd.DataFrame({"predicted": x, "observed": y, "climatology": 0.0, "nino": np.nan, "sd": 1.0}))
        inside += found["r_lower"] <= 0.7 <= found["r_upper"]
    assert 0.86 <= inside / 400 <= 0.94


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,Nino34\n2001-01-01,1\n2001-02-01,1\n2001-02-01,2\n", "2001-02.*twice"),
        ("time,Nino34\n2001-01-01,1\n2001-02-01,1\n2001-04-01,1\n", "no value in .* 2001-03"),
        ("time,Nino34\n2001-01-01,1\n2001-02-01,\n2001-03-01,1\n", "no value in .* 2001-02"),
        ("time,Nino4\n2001-01-01,1\n", "no column Nino34; it has time, Nino4"),
        ("time,Nino34\n2001-01-01,1\n2001-02-01,warm\n", "warm"),
    ],
)
def test_an_index_with_a_defect_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        read_index(tmp_path / "index.csv", "Nino34")

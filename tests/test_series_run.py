"""Predictors of time alone from a study file to products of other years: what is prepared, saved, declared and predicted."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import predict_world
from dualflux.checking import check_study
from dualflux.errors import InputError
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.engine import stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prepared import load
from dualflux.stages.plan import stage_plan
from dualflux.stages.predict_elsewhere import predict
from dualflux.study.settings import load_study_to_check
from small_world import quick_compilation

PERIOD = {"first": "2001-01-01", "last": "2004-12-31"}
SERIES = [
    {"name": "nino", "path": "nino.csv", "variable": "Nino34", "kind": "series", "units": "degC"},
    {"name": "lag(nino, 2)", "derived": True},
]


def index_of(months: pd.DatetimeIndex) -> np.ndarray:
    return np.random.default_rng(5).normal(size=len(months)) + months.month.to_numpy()


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Study, cube and cells of a finished run with a series that begins in November 2000."""
    folder, plain = tmp_path_factory.mktemp("with series"), predict_world.study_text
    months = pd.date_range("2000-11-01", "2004-12-01", freq="MS")
    pd.DataFrame({"time": months.strftime("%Y-%m"), "Nino34": index_of(months)}).to_csv(folder / "nino.csv", index=False)

    def with_series(*arguments: Any, **more: Any) -> dict[str, Any]:
        text = plain(*arguments, **more)
        return {**text, "predictors": [*text["predictors"], *SERIES], "missing": "nearest"}

    with pytest.MonkeyPatch.context() as patch, quick_compilation(folder / "compiled"):
        patch.setattr(predict_world, "study_text", with_series)
        return predict_world.finished_run(folder, "monthly", 3, **PERIOD)


def test_prepared_series_are_the_file_without_its_cycle(run: Any) -> None:
    """By hand: each month minus the mean of its calendar month, over the sd of all; the lag is the same of two months before."""
    cube = run[1]
    values = index_of(pd.date_range("2000-11-01", "2004-12-01", freq="MS"))
    for place, own in enumerate((values[2:], values[:-2])):
        left = own.reshape(4, 12) - own.reshape(4, 12).mean(axis=0)
        np.testing.assert_allclose(cube.series[:, place], (left / left.std()).ravel(), atol=1e-5)
    assert "nino" not in " ".join(cube.columns.names)
    again = load(run[0].out / "prepared").cube
    np.testing.assert_array_equal(again.series, cube.series)
    assert again.series_standard.names == ("nino", "lag(nino, 2)")
    np.testing.assert_array_equal(again.series_standard.cycle, cube.series_standard.cycle)


def test_other_years_have_the_series_of_these_years(run: Any, tmp_path: Path) -> None:
    """`predict` of two years through the store against the arrays in memory of the run, and it is no other without the series."""
    study, cube, cells = run
    predict(study, tmp_path, period=(date(2003, 1, 1), date(2004, 12, 31)))
    ensemble = Ensemble.load(study.out / "models/dual/weights.npz")
    model, place = stack_ensembles([ensemble]), ensemble.basis.at(cells.lat(), cells.lon())
    found = [m.landscape.mean(axis=0) for m in monthly_fluxes(model, cube, place, (cells.lat(), cells.lon()))][24:]
    with xr.open_zarr(tmp_path / "dual/nee_monthly.zarr", chunks=None) as data:
        nee = data.nee.to_numpy().reshape(24, -1)[:, cells.index]
    np.testing.assert_allclose(nee, found, rtol=1e-4, atol=1e-5)
    silent = replace(cube, series=np.zeros_like(cube.series))
    still = [m.landscape.mean(axis=0) for m in monthly_fluxes(model, silent, place, (cells.lat(), cells.lon()))][24:]
    assert np.abs(np.array(still) - found).max() > 0.1


def test_years_that_the_series_do_not_reach_are_refused(run: Any, tmp_path: Path) -> None:
    """The fields begin in 2000, the series in November of that year."""
    with pytest.raises(InputError, match=r"nino.csv: `Nino34` does not cover the period: .* no value for 2000-06 to 2000-10"):
        predict(run[0], tmp_path, period=(date(2000, 6, 1), date(2000, 12, 31)))


def test_folders_of_before_series_have_none(run: Any, tmp_path: Path) -> None:
    for path in (run[0].out / "prepared").iterdir():
        if path.name != "series.npy":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    about = json.loads((tmp_path / "about.json").read_text(encoding="utf-8"))
    del about["series"]
    (tmp_path / "about.json").write_text(json.dumps(about), encoding="utf-8")
    cube = load(tmp_path).cube
    assert cube.series.shape == (48, 0) and cube.series_standard.names == ()


def test_tables_of_series_are_declared_where_there_are_any(run: Any) -> None:
    for name in ("towers.csv", "inversions.csv"):
        (run[0].root / name).touch()
    stages = {stage.name: stage for stage in stage_plan(run[0])}
    assert "models/series.csv" in stages["train"].outputs and "tables/series.csv" in stages["evaluate"].outputs
    assert "prepared/series.npy" in stages["prepare"].outputs


def test_a_study_of_towers_alone_is_told_why_not(run: Any, tmp_path: Path) -> None:
    text = yaml.safe_load(run[0].file.read_text(encoding="utf-8"))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**text, "inversions": [], "variants": ["towers"]}), encoding="utf-8")
    _, problems = load_study_to_check(tmp_path / "study.yaml", run[0].root)
    assert any("nino, lag(nino, 2): how strongly series act is chosen on left-out years of inversions" in p for p in problems)


def test_check_lists_series(run: Any) -> None:
    """Beside the problems of a world that has no towers' file."""
    report = check_study(run[0])
    assert ("predictors of time alone", "nino, lag(nino, 2)") in report.summary
    table = next(content for title, content in report.sections if title.startswith("Predictors of time alone"))
    assert isinstance(table, pd.DataFrame)
    assert table.iloc[0][["cadence", "first", "last", "units"]].tolist() == ["monthly", "2000-11", "2004-12", "degC"]
    assert not any("nino" in problem for problem in report.problems)

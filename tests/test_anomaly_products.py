"""Regional anomalies in products: members of a prediction carry what they do not know, the analysis what the fitted years had."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import dualflux
import predict_world
from drawn_run import draw_run
from dualflux.errors import InputError
from dualflux.model.anomaly_effect import AnomalyEffect, AnomalyPrior
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.engine import drawn_anomalies, integrate_month, learnt_anomalies, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prediction.netcdf_product import ProductWriter, integrate_members
from dualflux.stages.predict_elsewhere import predict
from dualflux.stages.upscale import with_analyses
from dualflux.twin.scoring.comparison import Case, compare, headline
from small_world import quick_compilation
from test_products import TIMES, drawn, world
from test_twin_scores import _twin, random_ensemble  # noqa: F401

YEARS = np.array([2001, 2002])


def effect(members: int, regions: tuple[str, ...], years: np.ndarray = YEARS, sd: float = 0.5) -> AnomalyEffect:
    prior = AnomalyPrior(np.full((len(regions), 12), sd), 0.5, 0.2)
    seeds = np.array([[9, 4, k // 2, 1 - 2 * (k % 2)] for k in range(members)])
    learnt = np.random.default_rng(2).normal(size=(members, len(years), len(regions), 12))
    return AnomalyEffect(prior, regions, years, seeds, learnt)


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Study, cube and cells of a finished run whose networks have regional anomalies."""
    folder, plain = tmp_path_factory.mktemp("with anomalies"), predict_world.members

    def with_anomalies(cube: Any, basis: Any, count: int) -> Ensemble:
        return replace(plain(cube, basis, count), anomaly=effect(count, ("north", "south")) if count > 1 else None)

    with pytest.MonkeyPatch.context() as patch, quick_compilation(folder / "compiled"):
        patch.setattr(predict_world, "members", with_anomalies)
        yield predict_world.finished_run(folder, "monthly", 4)


def in_memory(run: Any, which: Any) -> np.ndarray:
    """(member, month, cell) with some anomalies."""
    study, cube, cells = run
    ensemble, at = Ensemble.load(study.out / "models/dual/weights.npz"), (cells.lat(), cells.lon())
    anomaly = None if which is None else which([ensemble], cube.steps.months, cells)
    found = monthly_fluxes(stack_ensembles([ensemble]), cube, ensemble.basis.at(*at), at, anomaly)
    return np.stack([m.landscape for m in found], axis=1).astype(np.float64)


def test_predict_gives_the_members_of_run_and_no_analysis(run: Any, tmp_path: Path) -> None:
    predict(run[0], tmp_path)
    wanted, plain = in_memory(run, drawn_anomalies), in_memory(run, None)
    with xr.open_zarr(tmp_path / "dual/nee_monthly.zarr", chunks=None) as data:
        assert "nee_analysis" not in data
        found = data["nee_member"].to_numpy().reshape(*wanted.shape[:2], -1)[..., run[2].index]
        nee = data["nee"].to_numpy().reshape(wanted.shape[1], -1)[:, run[2].index]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert np.abs(wanted - plain).max() > 0.5
    np.testing.assert_allclose(nee, plain.mean(axis=0), rtol=1e-4, atol=1e-5)  # what is not known cancels in pairs
    table = pd.read_csv(tmp_path / "tables/regional_monthly.csv", parse_dates=["time"])
    mine = table[(table["product"] == "dual") & (table.member == 2) & (table.region == "north")].set_index("time")["value"]
    months = [integrate_month(wanted[2, t], run[2], days)[0] for t, days in enumerate(run[1].steps.month_days)]
    np.testing.assert_allclose(mine, months, rtol=1e-4, atol=1e-6)


def test_a_month_elsewhere_in_time_is_the_same_draw(run: Any, tmp_path: Path) -> None:
    from datetime import date

    predict(run[0], tmp_path, period=(date(2002, 5, 1), date(2002, 7, 31)))
    with xr.open_zarr(tmp_path / "dual/nee_monthly.zarr", chunks=None) as data:
        found = data["nee_member"].to_numpy().reshape(4, 3, -1)[..., run[2].index]
    np.testing.assert_allclose(found, in_memory(run, drawn_anomalies)[:, 16:19], rtol=1e-4, atol=1e-5)


def test_other_regions_than_those_of_training_are_refused(run: Any) -> None:
    ensemble = Ensemble.load(run[0].out / "models/dual/weights.npz")
    other = replace(ensemble, anomaly=effect(4, ("north", "elsewhere")))
    with pytest.raises(InputError, match="trained with north, elsewhere; now there are north, south"):
        drawn_anomalies([other], run[1].steps.months, run[2])


def test_a_model_file_keeps_anomalies_and_one_of_before_has_none(run: Any, tmp_path: Path) -> None:
    own, path = Ensemble.load(run[0].out / "models/dual/weights.npz"), tmp_path / "weights.npz"
    assert own.anomaly is not None
    own.select(np.array([1, 3])).save(path)
    found = Ensemble.load(path)
    assert found.anomaly is not None
    np.testing.assert_array_equal(found.anomaly.posterior, own.anomaly.posterior[[1, 3]])
    np.testing.assert_array_equal(found.anomaly.seed, own.anomaly.seed[[1, 3]])
    replace(own, anomaly=None).save(path)
    assert Ensemble.load(path).anomaly is None


def test_the_analysis_is_written_in_fitted_months_and_missing_in_others(tmp_path: Path) -> None:
    members, (cells, area) = drawn(), world()
    with ProductWriter(tmp_path / "nee.nc", cells, TIMES, 4, {}, area, analysis=True) as out:
        for t in range(len(TIMES)):
            out.write(t, members[t], members[t], np.zeros(3), None if t == 1 else members[t] + 1.0)
    with xr.open_dataset(tmp_path / "nee.nc", engine="h5netcdf") as data:
        nee, analysis, std = (data[n].to_numpy() for n in ("nee", "nee_analysis", "nee_analysis_std"))
        assert "never a prediction" in data["nee_analysis"].attrs["comment"]
    assert np.isnan(analysis[1]).all() and np.isnan(std[1]).all()
    land = np.isin(np.arange(area.size), cells.index).reshape(area.shape)
    np.testing.assert_allclose(analysis[[0, 2]][:, land], nee[[0, 2]][:, land] + 1.0, rtol=1e-5)
    assert integrate_members(tmp_path / "nee.nc", cells) is not None


def test_analyses_are_variants_of_their_own_in_the_table_of_members() -> None:
    base = [("", "towers", 0), ("", "dual", 0), ("", "dual", 1), ("without_P1", "dual", 0)]

    class Few:
        def __init__(self, size: int, anomaly: object) -> None:
            self.size, self.anomaly = size, anomaly

    values = np.arange(2 * 4 * 3 * 2, dtype=float).reshape(2, 4, 3, 2)
    labels, found = with_analyses(base, [Few(1, None), Few(2, 1), Few(1, 1)], values)  # type: ignore[list-item]
    assert labels[4:] == [("", "dual_analysis", 0), ("", "dual_analysis", 1), ("without_P1", "dual_analysis", 0)]
    np.testing.assert_array_equal(found, np.concatenate([values[0], values[1, 1:]]))


def test_a_total_of_the_analysis_has_the_fitted_years_alone(tmp_path: Path) -> None:
    folder = draw_run(tmp_path / "run")
    path = folder / "tables/regional_monthly.csv"
    table = pd.read_csv(path)
    more = table[(table["product"] == "dual") & (table.time < "2002")].assign(product="dual_analysis")
    pd.concat([table, more.assign(value=2 * more.value)]).to_csv(path, index=False)
    opened = dualflux.open_run(folder)
    found, plain = opened.total("north", "dual_analysis"), opened.total("north")
    assert found["mean"].iloc[0] == pytest.approx(2 * plain["mean"].iloc[0]) and len(found["mean"].dropna()) == 1
    with pytest.raises(InputError, match="towers has no analysis"):
        opened.total("north", "towers_analysis")


def test_an_analysis_that_is_the_truth_is_scored_so_in_the_fitted_years(twin: Any, tmp_path: Path) -> None:
    """Members of the product are the truth less what data have told them, plus what they do not know: the analysis is the truth."""
    case: Case
    case, prepared = twin
    ensemble = replace(random_ensemble(case), anomaly=effect(2, case.cells.region_names, case.regional.years, 0.1))
    unknown, learnt = (draws([ensemble], case.months, case.cells) for draws in (drawn_anomalies, learnt_anomalies))
    change = unknown.flux - np.where(np.isfinite(learnt.flux), learnt.flux, 0.0)
    with ProductWriter(tmp_path / "nee_monthly.nc", case.cells, case.months, 2, {"title": "truth"}, prepared.land_area) as writer:
        for t, field in enumerate(case.true_field()):
            members = field + change[:, t] @ case.cells.region_fraction * case.cube.vegetated()
            writer.write(t, members, members, np.full(field.shape, 0.25))
    table = compare(case, {"dual": tmp_path / "nee_monthly.nc"}, {"dual": ensemble})
    product, analysis = (headline(table, name, ("cell_month_nse", "region_annual_rmse")) for name in ("dual", "dual_analysis"))
    assert analysis["cell_month_nse"] == pytest.approx(1, abs=1e-5) and analysis["region_annual_rmse"] == pytest.approx(0, abs=1e-4)
    assert product["cell_month_nse"] is not None and product["cell_month_nse"] < 0.99
    assert analysis["cell_month_nse_unseen_years"] is None and product["cell_month_nse_unseen_years"] is not None

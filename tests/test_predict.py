"""A finished run on its own grid, on others and in other years: the big path is the small path, and nothing wrong goes through."""

import dataclasses
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dualflux.cube import Cube
from dualflux.errors import InputError
from dualflux.evaluation.regional import regional_table
from dualflux.features import needs_mean_season
from dualflux.grid import LandCells
from dualflux.metrics.pairs import paired_std
from dualflux.model.ensemble import Ensemble
from dualflux.prediction import in_chunks, layout
from dualflux.prediction import tile_preparation as prepare
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import stack_ensembles
from dualflux.prediction.in_chunks import Plan, create_products, products, upscale_chunk
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.prediction.tile_store import PredictorStore
from dualflux.prepared import load
from dualflux.stages.predict_elsewhere import Execution, predict
from dualflux.stages.upscale import upscale
from dualflux.study.settings import Study, load_study
from dualflux.vegetation import Term, Vegetation
from predict_world import DROPPED, ICE, finish_stages, finished_run, is_land

Run = tuple[Study, Cube, LandCells]
NAMES = ("nee", "nee_tower", "nee_std", "nee_std_total")


@pytest.fixture(autouse=True, scope="module")
def _small_bands() -> Iterator[None]:
    """Bands of two or three rows, as a fine grid has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "BAND_CELLS", 40)
        yield


@pytest.fixture(scope="module", name="monthly")
def _monthly(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("monthly ä"), "monthly")


@pytest.fixture(scope="module", name="daily")
def _daily(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("daily"), "daily", first="2003-03-01", last="2004-04-30")


@pytest.fixture(scope="module", name="daily_out")
def _daily_out(daily: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("daily out")
    predict(daily[0], out, daily=True, form="netcdf")
    return out


def opened(path: Path) -> xr.Dataset:
    return xr.open_zarr(path, chunks=None)


def members_by_month(run: Run) -> np.ndarray:
    """Months of all members, (2, month, member, cell), by the path of `dualflux run`."""
    study, cube, cells = run
    ensemble = Ensemble.load(study.out / "models/dual/weights.npz")
    found = list(monthly_fluxes(stack_ensembles([ensemble]), cube, ensemble.basis.at(cells.lat(), cells.lon())))
    return np.stack([[m.landscape for m in found], [m.tower_like for m in found]]).astype(np.float64)


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and "lock" not in p.name}


@pytest.mark.parametrize("time_step", ["monthly", "daily"])
def test_the_big_path_is_the_small_path(time_step: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Files -> store -> kernel -> maps against the arrays in memory of `dualflux run`, to float32 rounding of sums over 14 inputs."""
    run: Run = request.getfixturevalue(time_step)
    out = tmp_path if time_step == "monthly" else request.getfixturevalue("daily_out")
    if time_step == "monthly":
        predict(run[0], out)
    landscape, tower = members_by_month(run)
    cells = run[2]
    with opened(out / "dual/nee_monthly.zarr") as data:
        taken = {n: data[n].to_numpy().reshape(data.sizes["time"], -1)[:, cells.index] for n in NAMES}
        np.testing.assert_allclose(taken["nee"], landscape.mean(axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(taken["nee_tower"], tower.mean(axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(taken["nee_std"], paired_std(np.moveaxis(landscape, 1, 0)), rtol=1e-3, atol=1e-5)
        assert np.median(taken["nee_std"]) > 0.01 and abs(taken["nee_tower"] - taken["nee"]).max() > 0.1


def test_the_store_holds_the_columns_of_training(monthly: Run, tmp_path: Path) -> None:
    """Every tile is the cube that `prepare` made for training, bit by bit, and nothing else stands in it."""
    predict(monthly[0], tmp_path)
    cube, store = monthly[1], PredictorStore(tmp_path / "predictors")
    assert len(store.layout.bands) > 3 and (store.layout.index == monthly[2].index).all()
    for band in store.layout.bands:
        for tile in band.tiles_range:
            cells = store.layout.cells_of(band, tile)
            count = cells.stop - cells.start
            static, seasonal = store.invariant(tile)
            np.testing.assert_array_equal(static[:, :count], cube.static[cells].T)
            np.testing.assert_array_equal(seasonal[:, 0, :, :count], cube.seasonal[:, cells].swapaxes(1, 2))
            dynamic = store.read(tile, slice(0, 36))
            np.testing.assert_array_equal(dynamic[:36, 0, :, :count], cube.dynamic[:, cells].swapaxes(1, 2))
            assert not dynamic[..., count:].any() and not static[..., count:].any()


def test_land_without_vegetation_has_no_flux_of_its_own_that_nobody_sees(monthly: Run, tmp_path: Path) -> None:
    """What a cell has beyond the members is scaled as its flux is: its variance by the square of the vegetation scale at its columns."""
    predict(monthly[0], tmp_path)
    cube = monthly[1]
    worker = in_chunks.Worker(Plan(tmp_path / "predictors", monthly[0].out / "models/dual/weights.npz", tmp_path, daily=False, unseen=0.25))
    band = max(worker.layout.bands, key=lambda b: b.cells.stop - b.cells.start)
    assert (worker.unseen(band.tiles_range) == np.full(band.cells.stop - band.cells.start, 0.25)).all()
    column = int(cube.static[band.cells].std(axis=0).argmax())
    own = cube.static[band.cells, column].astype(np.float64)
    slope = 0.6 / own.std()
    worker.vegetation = Vegetation((Term(0.5 - slope * own.mean(), ((column, slope),)),))
    wanted = np.clip(0.5 + slope * (own - own.mean()), 0, 1)
    assert 0 < wanted.mean() < 1
    np.testing.assert_allclose(worker.unseen(band.tiles_range), 0.25 * wanted**2, rtol=1e-4, atol=1e-6)


def test_sea_ice_and_cells_without_predictors(monthly: Run, tmp_path: Path) -> None:
    """The sea has no value; ice and a dropped cell are land without a flux, as in the products of a run."""
    predict(monthly[0], tmp_path)
    with opened(tmp_path / "dual/nee_monthly.zarr") as data:
        nee = data.nee.to_numpy()
        assert (np.isnan(nee) == ~is_land()).all()
        for row, column in (DROPPED, ICE):
            assert (nee[:, row, column] == 0).all() and data.land_area.to_numpy()[row, column] > 0
        assert (np.abs(nee[:, 8, 18]) > 0).all(), "a cell filled from its neighbour has a flux"


def test_days_average_to_months(daily: Run, daily_out: Path) -> None:
    """The mean of a month's days is the month, for f and f + g; files are named by the months that are no calendar year."""
    with (
        opened(daily_out / "dual/nee_monthly.zarr") as months,
        opened(daily_out / "dual/nee_daily_200303-200402.zarr") as first,
        opened(daily_out / "dual/nee_daily_200403-200404.zarr") as last,
    ):
        days = xr.concat([first, last], "time", data_vars="minimal", coords="minimal", compat="override", join="exact")
        assert (pd.DatetimeIndex(days.time.to_numpy()) == pd.date_range("2003-03-01", "2004-04-30")).all()
        for name in ("nee", "nee_tower"):
            mean = days[name].resample(time="MS").mean().to_numpy()
            np.testing.assert_allclose(mean, months[name].to_numpy(), rtol=1e-4, atol=1e-5)
        assert (first.nee_std.to_numpy()[:, 8, 18] > 0.01).all()


def test_a_day_is_the_model_on_that_day(daily: Run, daily_out: Path) -> None:
    """29 February 2004 and the days around it against the cube of training."""
    study, cube, cells = daily
    ensemble = Ensemble.load(study.out / "models/dual/weights.npz")
    with opened(daily_out / "dual/nee_daily_200303-200402.zarr") as data:
        for stamp in ("2003-03-01", "2004-02-28", "2004-02-29"):
            place = int(cube.steps.time.get_loc(stamp))
            rows = cube.rows(np.full(len(cells.index), place), np.arange(len(cells.index)))
            wave = np.repeat(wave_of(cube, cube.steps.time[[place]]), len(rows), axis=0)
            found = tower_fluxes(ensemble, rows, cells.lat(), cells.lon(), wave)[0]
            taken = data.nee.sel(time=stamp).to_numpy().ravel()[cells.index]
            np.testing.assert_allclose(taken, found.mean(axis=0), rtol=1e-4, atol=1e-5)


def test_other_years_are_counted_from_the_mean_season_of_training(monthly: Run, tmp_path: Path) -> None:
    """2003-2004 of a run of 2001-2003: the common year is unchanged, so anomalies keep their zero."""
    predict(monthly[0], tmp_path / "own")
    predict(monthly[0], tmp_path / "later", period=(date(2003, 1, 1), date(2004, 12, 31)))
    with opened(tmp_path / "own/dual/nee_monthly.zarr") as own, opened(tmp_path / "later/dual/nee_monthly.zarr") as later:
        np.testing.assert_array_equal(later.nee.sel(time="2003"), own.nee.sel(time="2003"))
        assert later.sizes["time"] == 24 and np.isfinite(later.nee.sel(time="2004").to_numpy()[:, is_land()]).all()


def test_a_finer_grid_splits_cells_into_equals(monthly: Run, tmp_path: Path) -> None:
    """At 5 degrees each cell's four quarters have its predictors; what differs between them is the spatial effect and the sun."""
    predict(monthly[0], tmp_path, resolution=5.0)
    store = PredictorStore(tmp_path / "predictors")
    coarse, cells = monthly[1], monthly[2]
    names, fine = store.layout.columns, store.layout.index
    parent = (fine // 72 // 2) * 36 + (fine % 72) // 2
    assert set(parent) == set(cells.index)
    band = next(b for b in store.layout.bands if b.rows.start >= 20 and b.tiles.stop > b.tiles.start)
    tile = band.tiles.start
    own = store.layout.cells_of(band, tile)
    count = own.stop - own.start
    place = np.searchsorted(cells.index, parent[own])
    np.testing.assert_allclose(store.read(tile, slice(0, 36))[:36, 0, :, :count], coarse.dynamic[:, place].swapaxes(1, 2), atol=1e-5)
    seasonal = store.invariant(tile)[1][:, 0, :, :count]
    sun = names.seasonal.index("potential_radiation")
    other = [i for i in range(len(names.seasonal)) if i != sun]
    np.testing.assert_allclose(seasonal[:, other], coarse.seasonal[:, place].swapaxes(1, 2)[:, other], atol=1e-5)
    assert np.abs(seasonal[:, sun] - coarse.seasonal[:, place, sun]).max() > 0.01


def test_netcdf_is_the_same_product(daily_out: Path) -> None:
    with (
        opened(daily_out / "dual/nee_monthly.zarr") as zarr,
        xr.open_dataset(daily_out / "dual/nee_monthly.nc", engine="h5netcdf") as netcdf,
    ):
        assert set(zarr.variables) == set(netcdf.variables) and zarr.attrs == netcdf.attrs
        for name in zarr.variables:
            np.testing.assert_array_equal(zarr[name].to_numpy(), netcdf[name].to_numpy())
            assert zarr[name].dims == netcdf[name].dims and zarr[name].attrs == netcdf[name].attrs


def test_cf_attributes(daily_out: Path) -> None:
    with xr.open_dataset(daily_out / "dual/nee_daily_200303-200402.nc", engine="h5netcdf", decode_cf=False) as data:
        assert data.attrs["Conventions"].startswith("CF-1.1") and "drawn" in data.attrs["history"]
        assert data.time_bounds.to_numpy()[:2].tolist() == [[0, 1], [1, 2]] and data.time.attrs["units"].startswith("days since 2003-03-01")
        for name in NAMES:
            assert data[name].attrs["units"] == "gC m-2 d-1" and "time: mean" in data[name].attrs["cell_methods"]
        assert set(data.nee.attrs["ancillary_variables"].split()) <= set(data.data_vars)
        assert data.land_area.attrs["units"] == "m2" and data.lat_bounds.to_numpy()[0].tolist() == [-90, -80]


# Going on, workers


@pytest.fixture(scope="module", name="on_dask")
def _on_dask(daily: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("distributed")
    out = tmp_path_factory.mktemp("dask")
    predict(daily[0], out, daily=True, form="netcdf", where=Execution(workers=2))
    return out


def test_dask_writes_the_same_bits(daily_out: Path, on_dask: Path) -> None:
    """All files of store and products, notes with checksums included."""
    one, two = files_of(daily_out), files_of(on_dask)
    for name in set(one) | set(two):
        if not name.endswith(".nc") and ".dualflux" not in name:  # HDF5 files hold their time of creation
            assert one.get(name) == two.get(name), name


def test_what_is_whole_stays_and_what_is_not_is_made_again(monthly: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk damaged, one cut, one lost, one without its note, a tile of predictors lost: these and no others are written again."""
    predict(monthly[0], tmp_path)
    before = files_of(tmp_path)
    product = tmp_path / "dual/nee_monthly.zarr"
    chunks = sorted(p for p in (product / "nee/c").rglob("*") if p.is_file())
    chunks[0].write_bytes(chunks[0].read_bytes()[:-1] + b"x")
    chunks[1].write_bytes(chunks[1].read_bytes()[:20])
    chunks[2].unlink()
    (tmp_path / "dual/.chunks/b00005_s000.json").unlink()
    next(p for p in (tmp_path / "predictors/dynamic/c/1").rglob("*") if p.is_file()).unlink()
    stamps = {p: p.stat().st_mtime_ns for p in sorted((product / "nee_tower/c").rglob("*")) if p.is_file()}
    predict(monthly[0], tmp_path)
    assert files_of(tmp_path) == before
    again = [p for p, stamp in stamps.items() if p.stat().st_mtime_ns != stamp]
    assert len(again) == 4 < len(stamps)


def test_a_damaged_predictor_store_is_named(monthly: Run, tmp_path: Path) -> None:
    predict(monthly[0], tmp_path)
    chunk = next(p for p in (tmp_path / "predictors/dynamic/c/0").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-40] + bytes(36) + chunk.read_bytes()[-4:])
    plan = Plan(tmp_path / "predictors", monthly[0].out / "models/dual/weights.npz", tmp_path / "other", daily=False, unseen=0.0)
    cube = layout.Layout.load(plan.predictors)
    create_products(plan, cube, products(plan, cube, {}, None))
    with pytest.raises(InputError, match="dynamic of tile 0 is damaged"):
        upscale_chunk(plan, next(t for t in cube.tasks() if t.band == 1))


def test_variants_share_the_predictors(monthly: Run, tmp_path: Path) -> None:
    """A second variant beside the first; one member has no spread."""
    predict(monthly[0], tmp_path)
    before = files_of(tmp_path / "predictors")
    predict(monthly[0], tmp_path, variant="towers")
    assert files_of(tmp_path / "predictors") == before
    with opened(tmp_path / "towers/nee_monthly.zarr") as data:
        assert np.isfinite(data.nee.to_numpy()[:, is_land()]).all()
        assert np.isnan(data.nee_std.to_numpy()[:, 8, 18]).all()


# Memory


def test_files_are_read_a_few_steps_at_a_time(monthly: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never more maps at once than allowed, each step of each file once."""
    seen: list[tuple[str, int]] = []
    read = prepare.read_predictor

    def spy(one: Any, root: Path, grid: Any, cells: Any, times: pd.DatetimeIndex, time_step: Any) -> xr.DataArray:
        seen.append((one.name, len(times) if one.kind == "dynamic" else 0))
        return read(one, root, grid, cells, times, time_step)

    monkeypatch.setattr(prepare, "read_predictor", spy)
    monkeypatch.setattr(prepare, "FIELD_BYTES", 5 * 8 * 18 * 36)
    predict(monthly[0], tmp_path)
    steps = {name: [n for other, n in seen if other == name] for name in ("ta", "wet")}
    assert all(max(n) == 5 and sum(n) == 48 for n in steps.values())  # 36 months and 12 to look back to
    with opened(tmp_path / "dual/nee_monthly.zarr") as data:
        landscape = members_by_month(monthly)[0]
        np.testing.assert_allclose(data.nee.to_numpy().reshape(36, -1)[:, monthly[2].index], landscape.mean(axis=1), rtol=1e-4, atol=1e-5)


# Wrong input


def refused(study: Study, out: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        predict(study, out, **options)
    return str(caught.value)


def test_wrong_input_is_named(monthly: Run, tmp_path: Path) -> None:
    study = monthly[0]
    assert "no variant `plain`; it has dual, towers" in refused(study, tmp_path, variant="plain")
    assert "the run's study is monthly" in refused(study, tmp_path, daily=True)
    assert "does not divide 180" in refused(study, tmp_path, resolution=0.7)
    assert "start on the first" in refused(study, tmp_path, period=(date(2003, 1, 1), date(2003, 12, 30)))
    assert "runs backwards" in refused(study, tmp_path, period=(date(2004, 1, 1), date(2003, 12, 31)))
    assert "no finished training here" in refused(dataclasses.replace(study, out=tmp_path / "nothing"), tmp_path / "a")
    late = refused(study, tmp_path / "b", period=(date(2005, 1, 1), date(2005, 12, 31)))
    assert late.count("covers 2000-01-01 to 2004-12-31") == 2, "both dynamic predictors at once"


def test_another_period_in_the_same_folder_is_refused(monthly: Run, tmp_path: Path) -> None:
    predict(monthly[0], tmp_path)
    assert "made with other settings or inputs (period)" in refused(monthly[0], tmp_path, period=(date(2002, 1, 1), date(2002, 12, 31)))


def test_predictors_of_another_training_are_refused(monthly: Run, tmp_path: Path) -> None:
    text = (monthly[0].out / "study.yaml").read_text(encoding="utf-8").replace("lag(ta, 1)", "lag(ta, 2)")
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    changed = dataclasses.replace(load_study(tmp_path / "study.yaml"), out=monthly[0].out)
    predictors = [p for p in changed.settings.predictors if p.name != "height"]
    changed = dataclasses.replace(changed, settings=changed.settings.model_copy(update={"predictors": predictors}))
    assert "height" in refused(changed, tmp_path / "out")


def test_without_dask_it_says_what_to_install(monthly: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    assert "python -m pip install 'dualflux[scale]'" in refused(monthly[0], tmp_path, where=Execution(workers=2))


def test_columns_that_look_at_a_mean_season(monthly: Run) -> None:
    columns = monthly[1].columns
    assert needs_mean_season(columns)
    plain = dataclasses.replace(columns, seasonal=("potential_radiation",), dynamic=("ta", "running_mean(ta, 90)"))
    assert not needs_mean_season(plain)


def test_a_flux_that_is_not_finite_is_never_written(monthly: Run, tmp_path: Path) -> None:
    """Nothing is there to be opened."""
    study = dataclasses.replace(monthly[0], out=tmp_path / "run")
    finish_stages(study, load(monthly[0].out / "prepared"), {"dual": 2}, broken=1)
    with pytest.raises(FloatingPointError, match=r"fluxes of rows \d+ to \d+ are not finite"):
        predict(study, tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "out/dual/nee_monthly.zarr")
    assert not (tmp_path / "out/tables").exists()


# The same product as that of a run


@pytest.fixture(scope="module", name="of_run")
def _of_run(monthly: Run) -> Path:
    """Products and integrals of the members as `dualflux run` makes them."""
    upscale(monthly[0], monthly[0].out)
    return monthly[0].out


@pytest.mark.parametrize("variant", ["dual", "towers"])
def test_the_product_is_that_of_the_run(monthly: Run, of_run: Path, tmp_path: Path, variant: str) -> None:
    """On the study's own grid and years: variables, coordinates and all attributes are the same, values within 1e-6 of the layer's size."""
    predict(monthly[0], tmp_path, variant=variant, form="netcdf")
    with (
        xr.open_dataset(of_run / f"products/{variant}/nee_monthly.nc", engine="h5netcdf") as wanted,
        xr.open_dataset(tmp_path / variant / "nee_monthly.nc", engine="h5netcdf") as netcdf,
        opened(tmp_path / variant / "nee_monthly.zarr") as store,
    ):
        assert {"nee_member", "nee_std_total", "applicability", "land_area", "member"} <= set(wanted.variables)
        for found in (netcdf, store):
            assert set(found.variables) == set(wanted.variables) and found.attrs == wanted.attrs
            for name, values in wanted.variables.items():
                assert found[name].dims == values.dims and found[name].attrs == values.attrs, name
                if name.startswith("time"):
                    np.testing.assert_array_equal(found[name].to_numpy(), values.to_numpy())
                else:
                    size = float(np.nanmax(np.abs(values.to_numpy()), initial=1.0))
                    np.testing.assert_allclose(found[name].to_numpy(), values.to_numpy(), rtol=1e-6, atol=1e-6 * size, err_msg=name)
        assert wanted.attrs["region_names"] == "north south" and "fire" in wanted.attrs["comment"]


def test_the_table_is_that_of_the_run(monthly: Run, of_run: Path, tmp_path: Path) -> None:
    """All variants that were predicted, members, inversions and their mean, to 1e-6; the globe is all land, not the sum of the regions."""
    for variant in ("towers", "dual"):
        predict(monthly[0], tmp_path, variant=variant)
    members = pd.read_csv(of_run / "tables/regional_members.csv", parse_dates=["time"], keep_default_na=False, na_values=["nan"])
    wanted = regional_table(members, load(of_run / "prepared"))
    found = pd.read_csv(tmp_path / "tables/regional_monthly.csv", parse_dates=["time"], dtype={"member": "Int64"})
    assert found.columns.tolist() == wanted.columns.tolist() and set(found["product"]) == {"towers", "dual", "target", "P0", "P1", "P2"}
    keys = ["product", "member", "region", "time"]
    one, two = (t.set_index(keys).sort_index() for t in (wanted, found))
    pd.testing.assert_frame_equal(one, two, rtol=1e-6, atol=1e-9, check_index_type=False)


def test_the_table_is_the_map_and_the_globe_is_all_land(monthly: Run, tmp_path: Path) -> None:
    """On a finer grid, with land that lies in no region: sums over cells of the written members, by hand."""
    regions = monthly[0].settings.regions.model_copy(update={"bands": {"north": (30.0, 90.0)}})  # type: ignore[union-attr]
    study = dataclasses.replace(monthly[0], settings=monthly[0].settings.model_copy(update={"regions": regions}))
    predict(study, tmp_path, resolution=5.0)
    table = pd.read_csv(tmp_path / "tables/regional_monthly.csv", parse_dates=["time"])
    table = table[(table["product"] == "dual") & table.member.notna()]
    with opened(tmp_path / "dual/nee_monthly.zarr") as data:
        days = data.time.dt.days_in_month
        density = (data.nee_member.fillna(0).astype(float) * data.land_area * days / 1e15).sum("lon")
        sums = {"global": density.sum("lat"), "north": density.sel(lat=slice(30, 90)).sum("lat")}
        assert abs(sums["global"] - sums["north"]).max() > 0.01
    for region, wanted in sums.items():
        wide = table[table.region == region].pivot(index="member", columns="time", values="value")
        np.testing.assert_allclose(wide.to_numpy(), wanted.to_numpy(), rtol=1e-5, atol=1e-7)


def test_a_product_that_is_too_large_has_no_members(monthly: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers without them are the same, and the table has the members all the same."""
    predict(monthly[0], tmp_path / "with")
    monkeypatch.setattr(in_chunks, "members_to_write", lambda *size: None)
    predict(monthly[0], tmp_path / "without")
    with opened(tmp_path / "with/dual/nee_monthly.zarr") as one, opened(tmp_path / "without/dual/nee_monthly.zarr") as other:
        assert "nee_member" in one and set(other.variables) == set(one.variables) - {"nee_member", "member"}
        np.testing.assert_array_equal(one.nee_std.to_numpy(), other.nee_std.to_numpy())
    tables = [(tmp_path / name / "tables/regional_monthly.csv").read_bytes() for name in ("with", "without")]
    assert tables[0] == tables[1]

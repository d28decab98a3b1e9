"""Parts of the scaled path: the kernel against plain rows, the cut of the grid, the calendar, and notes that cannot be fooled."""

import dataclasses
import re
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.cube import Columns, Steps, TimeStep, no_series
from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells
from dualflux.metrics.pairs import paired_std
from dualflux.model.flux_model import FluxModel, NetworkSettings
from dualflux.model.spatial_effect import harmonics
from dualflux.prediction import workers
from dualflux.prediction.engine import read_ahead
from dualflux.prediction.journal import Journal
from dualflux.prediction.kernel import (
    TILE,
    EnsembleKernel,
    Months,
    Shape,
    Tile,
    dynamic_to_months,
    months_of,
    seasonal_to_months,
)
from dualflux.prediction.layout import Layout
from dualflux.prediction.product import land_map
from dualflux.prediction.workers import Execution, run_tasks
from dualflux.vegetation import Term, Vegetation

COLUMNS = Columns(("a", "b"), ("p",), ("x", "y", "z"))


SCALE = Vegetation((Term(0.4, ((1, 0.7),)), Term(0.9, ((0, -0.3), (1, -0.2)))))


def model_of(count: int, network: NetworkSettings, vegetation: Vegetation | None = None) -> FluxModel:
    """Stacked members with every parameter away from its start."""

    def one(key: jax.Array) -> FluxModel:
        model = FluxModel.create(key, 6, 3, {}, network, vegetation)
        return jax.tree.map(lambda a: a + 0.3 * jax.random.normal(key, a.shape), model)

    return jax.vmap(one)(jax.random.split(jax.random.key(1), count))


def by_hand(model: FluxModel, tile: Tile, months: Months, length: TimeStep) -> tuple[np.ndarray, np.ndarray]:
    """f and f + g of every member, step and lane, (member, month, step, lane), from plain rows in the model's own order."""
    wave = np.zeros((12, tile.dynamic.shape[1], 7))
    wave[length.place()] = harmonics(np.arange(length.seasons), length.seasons)
    varying = np.concatenate([tile.seasonal[months.place], tile.dynamic], axis=2)
    fixed = np.broadcast_to(tile.static, (*varying.shape[:2], *tile.static.shape))
    rows = jnp.asarray(np.concatenate([fixed, varying], axis=2).swapaxes(2, 3))
    found = []
    for m in range(tile.field.shape[0]):
        one = jax.tree.map(lambda a, m=m: a[m], model)
        spatial = wave[months.place] @ tile.field[m] + tile.anomaly[:, m, None]
        found.append(one.fluxes(rows, jnp.asarray(spatial, jnp.float32)))
    return tuple(np.stack([np.asarray(f[k], np.float64) for f in found]) for k in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("count", "time_step", "hidden", "activation"),
    [(1, "daily", (5,), "relu"), (3, "daily", (7, 4), "tanh"), (2, "monthly", (5, 5, 3), "silu"), (4, "monthly", (6, 4), "gelu")],
)
def test_mean_and_spread_are_those_of_the_members(count: int, time_step: str, hidden: tuple[int, ...], activation: str) -> None:
    """Months and steps of the kernel against mean and sd over members of plain model calls, with and without a vegetation scale."""
    network = NetworkSettings(hidden=hidden, activation=activation)  # type: ignore[arg-type]
    model, daily = model_of(count, network, SCALE if count % 2 else None), time_step == "daily"
    steps = Steps.create("2004-01-01", "2004-03-31", time_step)
    shape = Shape(COLUMNS, 4, steps.length)
    rng = np.random.default_rng(0)
    tile = Tile(*(rng.normal(size=s.shape).astype(np.float32) for s in shape.tile(count, 0)))
    months = months_of(steps, slice(0, 3), 4, no_series(steps)[0])
    members, per_step = EnsembleKernel(model, shape, steps=True)(tile, months)
    landscape, tower = by_hand(model, tile, months, steps.length)
    assert per_step is not None
    for m, days in enumerate([31, 29, 31] if daily else [1, 1, 1]):
        np.testing.assert_allclose(members.landscape[m], landscape[:, m, :days].mean(axis=1), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(members.tower_like[m], tower[:, m, :days].mean(axis=1), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(per_step.nee[m, :days], landscape[:, m, :days].mean(axis=0), rtol=1e-4, atol=2e-5)
        np.testing.assert_allclose(per_step.nee_tower[m, :days], tower[:, m, :days].mean(axis=0), rtol=1e-4, atol=2e-5)
        if count > 1:
            np.testing.assert_allclose(per_step.nee_std[m, :days], paired_std(landscape[:, m, :days]), rtol=1e-3, atol=2e-5)
        else:
            assert np.isnan(per_step.nee_std[m]).all()
    for plain, alone in zip(members, EnsembleKernel(model, shape)(tile, months).months, strict=True):
        np.testing.assert_array_equal(plain[:3], alone[:3])


def test_one_program_gives_the_same_bits_wherever_a_cell_stands() -> None:
    """The same cell in another lane of another tile: a product does not depend on how the land is cut."""
    model, shape = model_of(2, NetworkSettings(hidden=(8, 8))), Shape(COLUMNS, 1, TimeStep.named("monthly"))
    kernel = EnsembleKernel(model, shape)
    rng = np.random.default_rng(0)
    tile = Tile(*(rng.normal(size=s.shape).astype(np.float32) for s in shape.tile(2, 0)))
    months = Months(np.array([5], np.int32), np.array([1], np.int32), np.zeros((1, 1, 0), np.float32))
    order = rng.permutation(TILE)
    one, other = kernel(tile, months).months, kernel(Tile(*(np.ascontiguousarray(a[..., order]) for a in tile)), months).months
    for plain, moved in zip(one, other, strict=True):
        np.testing.assert_array_equal(plain[..., order], moved)


@given(st.dates(pd.Timestamp("1901-01-01").date(), pd.Timestamp("2100-12-31").date()))
def test_every_date_has_its_place_in_the_mean_year(day: object) -> None:
    """Month and day of the mean year's part are the date's own; 29 February has a place of its own."""
    stamp = pd.Timestamp(str(day))
    daily = TimeStep.named("daily")
    month, step = daily.place()
    season = int(daily.season(pd.DatetimeIndex([stamp]))[0])
    assert (month[season] + 1, step[season] + 1) == (stamp.month, stamp.day)


@given(st.integers(1998, 2005), st.integers(1, 12), st.integers(1, 30))
@settings(max_examples=20, deadline=None)
def test_steps_stand_at_their_month_and_day(year: int, first_month: int, months: int) -> None:
    """Values that say their own date come to month, day and lane of that date; all else is zero."""
    first = pd.Timestamp(year, first_month, 1)
    last = first + pd.offsets.MonthEnd(months)
    steps = Steps.create(str(first.date()), str(last.date()), "daily")
    number = (steps.time.month * 100 + steps.time.day).to_numpy(np.float32)
    found = dynamic_to_months(np.stack([number, -number], axis=1)[:, None, :].repeat(3, axis=1), steps)
    for m, stamp in enumerate(steps.months):
        wanted = np.where(np.arange(31) < stamp.days_in_month, stamp.month * 100 + np.arange(31) + 1, 0)
        np.testing.assert_array_equal(found[m, :, 0, :3], np.repeat(wanted[:, None], 3, axis=1))
        np.testing.assert_array_equal(found[m, :, 1, :3], -np.repeat(wanted[:, None], 3, axis=1))
    assert (found[..., 3:] == 0).all()
    place = months_of(steps, slice(0, None), len(steps.months) + 2, no_series(steps)[0])
    assert place.count[-2:].tolist() == [0, 0] and (place.place[:-2] + 1 == steps.months.month).all()


def test_seasonal_columns_of_a_monthly_study() -> None:
    values = np.arange(12.0)[:, None, None] * np.ones((12, 2, 1))
    np.testing.assert_array_equal(seasonal_to_months(values, TimeStep.named("monthly"))[:, 0, 0, :2], values[..., 0])


def land_cells(grid: Grid, index: np.ndarray, area: np.ndarray) -> LandCells:
    """Cells of one region."""
    return LandCells(grid, index, area.ravel()[index], ("all",), np.ones((1, len(index))))


@given(st.integers(0, 10_000), st.floats(0.05, 1.0), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_bands_and_tiles_hold_every_cell_once(seed: int, share: float, rows: int) -> None:
    """Any land, any height of bands: cells in order, tiles of at most `TILE`, rows once, and tasks where there is land."""
    grid, rng = Grid.global_regular(10.0), np.random.default_rng(seed)
    area = np.where(rng.random(grid.shape) < share, 1.0, 0.0)
    area[0, 0] = 1.0
    index = np.flatnonzero(area)[:: 1 + seed % 2]
    steps = Steps.create("2001-01-01", "2002-02-28", "daily")
    layout = Layout(land_cells(grid, index, area), area, steps, COLUMNS, no_series(steps)[0], rows)
    assert np.concatenate([np.arange(grid.lat.size)[b.rows] for b in layout.bands]).tolist() == list(range(18))
    parts = [layout.cells_of(b, t) for b in layout.bands for t in range(b.tiles.start, b.tiles.stop)]
    assert np.concatenate([np.arange(len(index))[p] for p in parts]).tolist() == list(range(len(index)))
    assert len(parts) == layout.tiles and max(p.stop - p.start for p in parts) <= TILE
    assert [np.arange(14)[s].tolist() for s in layout.spans] == [list(range(12)), [12, 13]]
    land_rows = {int(r) for t in layout.tasks() for r in np.arange(18)[layout.bands[t.band].rows]}
    assert set((np.flatnonzero(area) // 36).tolist()) <= land_rows
    for band in layout.bands:
        found = land_map(layout.part(band.cells), area, index[band.cells].astype(np.float32), band.rows)
        own = area[band.rows] > 0
        assert (np.isnan(found) == ~own).all()
        whole = np.zeros(grid.lat.size * grid.lon.size)
        whole[index] = index
        np.testing.assert_array_equal(found[own], whole.reshape(grid.shape)[band.rows][own])


def test_bands_are_as_high_as_their_cells_allow(tmp_path: Path) -> None:
    """A quarter of a degree of nothing but land: 1440 cells a row, so five rows are a band; and it comes back from disk."""
    grid = Grid.global_regular(0.25)
    cells = land_cells(grid, np.arange(720 * 1440), grid.cell_area)
    steps = Steps.create("2001-01-01", "2001-12-31", "daily")
    layout = Layout.create(cells, grid.cell_area, steps, COLUMNS, np.arange(730, dtype=np.float32).reshape(365, 2))
    assert layout.band_rows == 5 and len(layout.bands) == 144 and layout.bands[7].rows == slice(35, 40)
    layout.save(tmp_path)
    again = Layout.load(tmp_path)
    assert (
        again.bands == layout.bands
        and again.columns == COLUMNS
        and (again.series == layout.series).all()
        and (again.index == layout.index).all()
    )
    assert again.shape == layout.shape and again.steps.time.equals(layout.steps.time)
    assert dataclasses.replace(again, band_rows=8).bands[1].rows == slice(8, 16)


# What is whole


def test_a_chunk_is_done_only_while_its_files_are_as_they_were(tmp_path: Path) -> None:
    journal, file = Journal(tmp_path), tmp_path / "c" / "0"
    file.parent.mkdir()
    file.write_bytes(b"flux" * 100)
    assert not journal.is_done("chunk")
    journal.mark("chunk", [file])
    assert journal.is_done("chunk")
    for damage in (b"flux" * 99, b"flux" * 99 + b"flus", b""):
        file.write_bytes(damage)
        assert not journal.is_done("chunk")
    file.unlink()
    assert not journal.is_done("chunk")
    file.write_bytes(b"flux" * 100)
    assert journal.is_done("chunk")
    note = tmp_path / ".chunks" / "chunk.json"
    note.write_text(note.read_text()[:-3])
    assert not journal.is_done("chunk")


def test_a_folder_made_from_something_else_is_refused(tmp_path: Path) -> None:
    Journal(tmp_path).begin({"weights": "a", "daily": False})
    Journal(tmp_path).begin({"weights": "a", "daily": False})
    with pytest.raises(InputError, match=r"made with other settings or inputs \(daily\); choose another folder"):
        Journal(tmp_path).begin({"weights": "a", "daily": True})


# Running tasks


def test_tasks_run_once_each_and_progress_ends_with_all() -> None:
    done: list[int] = []
    told: list[tuple[int, int]] = []
    run_tasks(done.append, range(50), Execution(), lambda *state: told.append(state))
    assert sorted(done) == list(range(50)) and told == [(n, 50) for n in range(1, 51)]


def test_the_first_error_stops_the_rest() -> None:
    done: list[int] = []

    def do(task: int) -> None:
        if task == 5:
            raise InputError("broken")
        done.append(task)

    with pytest.raises(InputError, match="broken"):
        run_tasks(do, range(1000), Execution(), lambda *state: None)
    assert len(done) < 100


def dask_cluster(**settings: Any) -> Any:
    distributed = pytest.importorskip("distributed")
    return distributed.LocalCluster(threads_per_worker=1, dashboard_address=None, host="127.0.0.1", protocol="tcp://", **settings)


def test_workers_that_come_late_are_used(tmp_path: Path) -> None:
    """One worker, four more after the fifth task: all of them have done some of the rest."""

    def do(task: int) -> None:
        from distributed import get_worker

        (tmp_path / get_worker().address.rpartition(":")[2]).touch()
        time.sleep(0.02)

    with dask_cluster(n_workers=1, processes=False) as cluster:
        where = Execution(scheduler=cluster.scheduler_address)
        run_tasks(do, range(150), where, lambda done, of: cluster.scale(5) if done == 5 else None)
    assert len(list(tmp_path.iterdir())) == 5


def test_that_no_worker_is_there_is_said_and_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the user's cluster workers may come later; processes of this machine that are gone do not come again."""
    monkeypatch.setattr(workers, "LOOK", 0.05)
    monkeypatch.setattr(workers, "PATIENCE", 0.1)
    said: list[str] = []

    def do(task: int) -> None:
        (tmp_path / str(task)).touch()

    with dask_cluster(n_workers=0, processes=False) as cluster:

        def say(text: str) -> None:
            said.append(text)
            cluster.scale(1)

        run_tasks(do, range(9), Execution(scheduler=cluster.scheduler_address, say=say), lambda *state: None)
        assert {path.name for path in tmp_path.iterdir()} == set("012345678")
        assert said and all(re.search(r"no worker for a minute; 4 tasks wait", text) for text in said)
        cluster.scale(0)
        monkeypatch.setattr("distributed.LocalCluster", lambda **_: cluster)
        with pytest.raises(InputError, match=r"--workers 2: none of the processes is left"):
            run_tasks(do, range(9), Execution(workers=2), lambda *state: None)


def test_a_killed_worker_costs_its_task_and_no_other(tmp_path: Path) -> None:
    """kill -9 in the middle of a task: it is done again, and at most those with it that nobody has heard of yet."""

    def do(task: int) -> None:
        import os
        import signal
        import time

        time.sleep(0.05)
        if task == 7 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (tmp_path / f"{task}").open("a") as file:
            file.write("done ")

    run_tasks(do, range(20), Execution(workers=2), lambda *state: None)
    assert (tmp_path / "killed").exists()
    times = [(tmp_path / f"{task}").read_text().count("done") for task in range(20)]
    assert min(times) == 1 and sum(times) <= 20 + workers.AHEAD


def test_reading_ahead_gives_each_item_what_was_read_for_it() -> None:
    assert list(read_ahead(lambda n: n * n, range(5))) == [(n, n * n) for n in range(5)]
    assert list(read_ahead(lambda n: n, [])) == []


def test_what_cannot_be_run_is_refused() -> None:
    with pytest.raises(InputError, match="--workers 0: give 1 or more"):
        Execution(workers=0)
    with pytest.raises(InputError, match="exclude each other"):
        Execution(workers=2, scheduler="tcp://127.0.0.1:8786")

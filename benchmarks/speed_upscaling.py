"""How fast a prepared cube becomes maps, next to what else predicts the same rows on the same cores.

    python benchmarks/speed_upscaling.py --quick

`speed.py` calls `measure` and writes the record. The cube: 20 predictors, 8 of them daily, 3 monthly climatologies, 9 static, smooth
in space and time with full-precision noise, in the Zarr layout of `dualflux predict`; further years are links to the first.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import xarray as xr
from scipy.ndimage import gaussian_filter

from dualflux.cube import Columns, Steps, no_series
from dualflux.features import Standard
from dualflux.fitting.parallel import cores
from dualflux.grid import Grid, LandCells
from dualflux.model.ensemble import Ensemble
from dualflux.model.flux_model import FluxModel, Network, NetworkSettings
from dualflux.model.spatial_effect import SpatialBasis
from dualflux.prediction import in_chunks as run
from dualflux.prediction.engine import stack_ensembles
from dualflux.prediction.kernel import TILE, EnsembleKernel, Shape, Tile, months_of
from dualflux.prediction.layout import Layout
from dualflux.prediction.tile_preparation import Sources, prepare_store
from dualflux.prediction.tile_store import PredictorStore, features
from dualflux.prediction.workers import Execution
from dualflux.run_folder.files import sha256
from dualflux.run_folder.memory import peak_memory_gb
from dualflux.sources.land.read import LandFractionSettings, NoFluxSettings
from dualflux.sources.land.region_masks import BandSettings
from dualflux.sources.predictors.settings import PredictorSettings

STATIC, SEASONAL, DYNAMIC = 9, 3, 8
INPUTS = STATIC + SEASONAL + DYNAMIC
WIDTH = 64
TREES, DEPTH = 500, 8
NETWORK = NetworkSettings(hidden=(WIDTH, WIDTH), members=2)
ATTRS = {"title": "benchmark"}
BANDS = BandSettings(bands={"north": (0, 90), "south": (-90, 0)})
ADVANCE = lambda done, of: None  # noqa: E731


def columns(dynamic: int = DYNAMIC) -> Columns:
    """Names of the cube's columns."""
    return Columns(*(tuple(f"{k}{i}" for i in range(n)) for k, n in (("static", STATIC), ("seasonal", SEASONAL), ("dynamic", dynamic))))


def land(resolution: float) -> tuple[Grid, np.ndarray, np.ndarray]:
    """A grid of which 30 % is land in continents: grid, positions of the land, land area."""
    grid = Grid.global_regular(resolution)
    height = gaussian_filter(np.random.default_rng(0).normal(size=grid.shape), 15 / resolution, mode=("nearest", "wrap"))
    area = np.where(height > np.quantile(height, 0.7), grid.cell_area, 0.0)
    return grid, np.flatnonzero(area), area


def make_cube(path: Path, resolution: float, dynamic: int = DYNAMIC) -> Layout:
    """Write one year of the cube."""
    grid, index, area = land(resolution)
    cells = LandCells(grid, index, area.ravel()[index], ("north", "south"), np.stack([index >= area.size / 2, index < area.size / 2]) * 1.0)
    layout = Layout.create(cells, area, Steps.create("2001-01-01", "2001-12-31", "daily"), columns(dynamic), np.zeros((365, 0), np.float32))
    PredictorStore.create(path, layout)
    store = PredictorStore(path)
    rng = np.random.default_rng(1)
    days = np.arange(372).reshape(12, 31, 1, 1)
    noise = gaussian_filter(rng.normal(size=(372, dynamic + SEASONAL, 4 * TILE)).astype(np.float32), (1.5, 0, 10), mode="wrap")
    noise = (noise / noise.std()).reshape(12, 31, dynamic + SEASONAL, 4 * TILE)

    def write(tile: int) -> None:
        own = np.random.default_rng(tile)
        field = np.roll(noise, own.integers(4 * TILE), axis=-1)[..., :TILE] + 0.01 * own.normal(size=TILE).astype(np.float32)
        cycle = np.cos(2 * np.pi * days / 372 + own.normal()).astype(np.float32)
        static = own.normal(size=(STATIC, TILE)).astype(np.float32)
        varying = cycle + 0.1 * field[:, :, :SEASONAL], (cycle + field[:, :, SEASONAL:]).astype(np.float32)
        store.write_tile(tile, static, *varying, np.zeros((features(layout.columns), TILE), np.float32))

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(write, range(layout.tiles)))
    return layout


def more_years(path: Path, source: Path, years: int) -> None:
    """A store of several years whose chunks are links to those of one year."""
    one = Layout.load(source)
    steps = Steps.create("2001-01-01", f"{2000 + years}-12-31", "daily")
    several = Layout.create(one.cells, one.land_area, steps, one.columns, np.zeros((len(steps.time), 0), np.float32))
    PredictorStore.create(path, several)
    for name in ("static", "seasonal", "mean_year"):
        (path / name / "c").symlink_to(source / name / "c")
    for tile in range(one.tiles):
        (path / "dynamic/c" / str(tile)).mkdir(parents=True)
        for year in range(years):
            (path / "dynamic/c" / str(tile) / str(year)).symlink_to(source / "dynamic/c" / str(tile) / "0")


def save_ensemble(path: Path, networks: Network, layout: Layout) -> Path:
    """Networks (stacked) with a spatial effect and a representativeness, as a run writes them."""
    members = len(networks.biases[0])
    cells = layout.cells
    some = np.random.default_rng(2).choice(len(layout.index), 80, replace=False)
    basis = SpatialBasis(np.column_stack([cells.lat()[some], cells.lon()[some]]), 1000.0)
    model = jax.vmap(lambda k: FluxModel.create(k, networks.weights[0].shape[1], STATIC + SEASONAL, {}, NETWORK))(
        jax.random.split(jax.random.key(0), members)
    )
    model = eqx.tree_at(lambda m: (m.network, m.spatial), model, (networks, 0.1 * jax.random.normal(jax.random.key(1), (members, 3, 80))))
    path.parent.mkdir(parents=True, exist_ok=True)
    Ensemble(model, np.full(members, -1), NETWORK, layout.columns.names, basis).save(path)
    return path


def random_networks(members: int, inputs: int = INPUTS) -> Network:
    """Untrained members: the time does not depend on the weights."""
    return jax.vmap(lambda k: Network.create(k, inputs, NETWORK))(jax.random.split(jax.random.key(3), members))


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Least wall time of some runs."""
    found = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def products(plan: run.Plan) -> list[run.Store]:
    """The empty products of a plan."""
    layout = Layout.load(plan.predictors)
    stores = run.products(plan, layout, ATTRS, None)
    run.create_products(plan, layout, stores)
    return stores


def end_to_end(store: Path, weights: Path, out: Path, where: Execution | None = None) -> float:
    """Seconds from Zarr to Zarr with a program that is compiled already."""
    shutil.rmtree(out, ignore_errors=True)
    plan = run.Plan(store, weights, out, daily=False, unseen=0.1, key=str(store))
    plan.journal.begin({"benchmark": True})
    stores = products(plan)
    if where is None:
        run._worker(plan)
    return seconds(lambda: run.upscale(plan, stores, where or Execution(), ADVANCE))


def one_and_ten(store: Path, one: Path, ten: Path, out: Path, pairs: int, cached: bool = False) -> tuple[float, float]:
    """Least seconds of one member, and what ten cost over the runs of one before and after them (median): a machine's pace drifts.

    A cube that was just made lies in the operating system's cache, where one of many years has no room: files leave it before each
    run, unless `cached`.
    """

    def timed(weights: Path) -> float:
        if not cached:
            leave_memory(store)
        return end_to_end(store, weights, out)

    singles, ratios = [timed(one)], []
    for _ in range(pairs):
        tenfold = timed(ten)
        singles.append(timed(one))
        ratios.append(2 * tenfold / sum(singles[-2:]))
    return min(singles), float(np.median(ratios))


def leave_memory(store: Path) -> None:
    """Take files out of the operating system's cache (Linux)."""
    os.sync()
    for path in (p for p in store.rglob("*") if p.is_file()):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def rows_of(layout: Layout) -> int:
    """Predictions of a store: cells times days."""
    return len(layout.index) * len(layout.steps.time)


def compute_only(weights: Path, layout: Layout, tiles: int) -> float:
    """Rows per second of the kernel on tiles in memory, one program per core."""
    ensemble = Ensemble.load(weights)
    shape = Shape(layout.columns, 12, layout.steps.length)
    kernel = EnsembleKernel(stack_ensembles([ensemble]), shape)
    rng = np.random.default_rng(4)
    data = [Tile(*(rng.normal(size=s.shape).astype(np.float32) for s in shape.tile(ensemble.size, 0))) for _ in range(4)]
    months = months_of(Steps.create("2001-01-01", "2001-12-31", "daily"), slice(0, 12), 12, layout.series)
    with ThreadPoolExecutor(cores()) as pool:
        work = lambda: list(pool.map(lambda i: kernel(data[i % 4], months), range(tiles)))  # noqa: E731
        work()
        return tiles * TILE * 365 / seconds(work, 3)


def matmul_bound(rows: int) -> float:
    """Rows per second of nothing but the three layers' products, the best of NumPy and JAX over ways to cut them."""
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=s).astype(np.float32) for s in ((INPUTS, WIDTH), (WIDTH, WIDTH), (WIDTH, 1))]
    best = 0.0
    for block in (256, 1024, 8192):
        x = rng.normal(size=(rows // block, block, INPUTS)).astype(np.float32)
        best = max(best, *(len(x) * block / t for t in (*_numpy_products(x, weights), *_jax_products(x, weights))))
    return best


def _numpy_products(x: np.ndarray, weights: list[np.ndarray]) -> Iterable[float]:
    from threadpoolctl import threadpool_limits

    def some(part: np.ndarray) -> None:
        space = [np.empty((x.shape[1], w.shape[1]), np.float32) for w in weights]
        for block in part:
            for w, out in zip(weights, space, strict=True):
                block = np.matmul(block, w, out=out)

    yield seconds(lambda: some(x), 3)
    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        yield seconds(lambda: list(pool.map(some, np.array_split(x, cores()))), 3)


def _jax_products(x: np.ndarray, weights: list[np.ndarray]) -> Iterable[float]:
    def products(x: jax.Array) -> jax.Array:
        return jax.lax.map(lambda block: block @ weights[0] @ weights[1] @ weights[2], x)

    def transposed(x: jax.Array) -> jax.Array:
        return jax.lax.map(lambda block: weights[2].T @ (weights[1].T @ (weights[0].T @ block)), x)

    for program, data in ((products, x), (transposed, x.swapaxes(1, 2))):
        whole = jnp.asarray(np.ascontiguousarray(data))
        shared = jax.jit(program).lower(whole).compile()
        shared(whole)
        yield seconds(lambda f=shared, d=whole: f(d).block_until_ready(), 3)  # type: ignore[misc]
        parts = [whole[i :: cores()][: len(x) // cores()] for i in range(cores())]
        alone = jax.jit(program).lower(parts[0]).compile(compiler_options={"xla_cpu_multi_thread_eigen": False})
        with ThreadPoolExecutor(cores()) as pool:
            each = lambda f=alone, p=parts: list(pool.map(lambda part: f(part).block_until_ready(), p))  # noqa: E731
            each()
            yield seconds(each, 3) * len(x) / (len(parts) * len(parts[0]))


def prepare_rate(folder: Path, resolution: float) -> float:
    """Rows per second from daily maps of 1.5 degrees, as users have them, to the prepared cube of a year."""
    source = Grid.global_regular(1.5)
    time_axis = pd.date_range("2000-01-01", "2001-12-31")
    rng = np.random.default_rng(10)
    root = folder / "files"
    root.mkdir()
    for place in range(DYNAMIC):
        values = rng.normal(size=(len(time_axis), *source.shape)).astype(np.float32)
        data = xr.DataArray(values, {"time": time_axis, "lat": source.lat, "lon": source.lon}, ("time", "lat", "lon"), attrs={"units": "1"})
        data.rename(f"dynamic{place}").to_dataset().to_zarr(root / f"dynamic{place}.zarr", zarr_format=2)
    grid, _, area = land(resolution)
    maps = {"lat": grid.lat, "lon": grid.lon}
    xr.Dataset({"land_fraction": xr.DataArray((area > 0).astype(float), maps, ("lat", "lon"))}).to_netcdf(
        root / "land.nc", engine="h5netcdf"
    )
    predictors = tuple(PredictorSettings(name=n, path=f"{n}.zarr", kind="dynamic") for n in columns().dynamic)
    sources = Sources(
        predictors, LandFractionSettings(path="land.nc"), NoFluxSettings(), BANDS, root, resolution, "2001-01-01", "2001-12-31", "daily"
    )
    derived = tuple(f"running_mean({n}, 30)" for n in columns().dynamic)
    wanted = Columns((), ("potential_radiation",), columns().dynamic + derived)
    standard = Standard(wanted, np.zeros(len(wanted.names)), np.ones(len(wanted.names)), sources.steps, no_series(sources.steps)[1])
    start = time.perf_counter()
    layout = prepare_store(sources, standard, folder / "prepared", Execution(), lambda text: ADVANCE)
    return rows_of(layout) / (time.perf_counter() - start)


# Rivals


def target(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A flux of the predictors, with noise: what networks and trees learn here."""
    light, warmth = np.tanh(x[:, 12]) + 1, np.exp(0.3 * x[:, 13])
    season = x[:, 9] * x[:, 0] + 0.5 * np.maximum(x[:, 10], 0) * x[:, 1]
    return (-light * (1 + 0.5 * x[:, 2]) + 0.7 * warmth + season + 0.3 * x[:, 14] * x[:, 3] + 0.5 * rng.normal(size=len(x))).astype(
        np.float32
    )


def store_rows(store: Path, rows: int) -> np.ndarray:
    """Rows of the cube as other programs want them, (row, column)."""
    opened, found, got = PredictorStore(store), [], 0
    for tile in range(opened.layout.tiles):
        static, seasonal = opened.invariant(tile)
        dynamic = opened.read(tile, slice(0, 12))
        varying = np.concatenate([seasonal, dynamic], axis=2)[:, :28].reshape(-1, SEASONAL + DYNAMIC, TILE).swapaxes(1, 2)
        fixed = np.broadcast_to(static.T, (len(varying), TILE, STATIC))
        found.append(np.concatenate([fixed, varying], axis=2).reshape(-1, INPUTS))
        got += len(found[-1])
        if got >= rows:
            break
    return np.ascontiguousarray(np.random.default_rng(6).permutation(np.concatenate(found))[:rows])


def train_network(x: np.ndarray, y: np.ndarray, steps: int) -> Network:
    """A network of the same shape on the same rows as the trees."""
    network = Network.create(jax.random.key(0), INPUTS, NETWORK)
    optimiser = optax.adam(optax.cosine_decay_schedule(4e-3, steps))

    @jax.jit
    def fit(network: Network, x: jax.Array, y: jax.Array) -> Network:
        def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
            params, state = carry
            rows = jax.random.randint(key, (2048,), 0, len(x))
            slope = jax.grad(lambda n: jnp.mean((n(x[rows]) - y[rows]) ** 2))(params)
            update, state = optimiser.update(slope, state)
            return (optax.apply_updates(params, update), state), None

        return jax.lax.scan(step, (network, optimiser.init(network)), jax.random.split(jax.random.key(1), steps))[0][0]

    fitted: Network = fit(network, jnp.asarray(x), jnp.asarray(y))
    return fitted


def skill(found: np.ndarray, y: np.ndarray) -> float:
    """Coefficient of determination."""
    return float(1 - np.mean((found - y) ** 2) / y.var())


def rivals(store: Path, quick: bool) -> tuple[dict[str, float], Network]:
    """Rows per second of the others on the same rows, and the network they are compared with at equal held-out skill."""
    import xgboost

    x = store_rows(store, 300_000 if quick else 1_000_000)
    y = target(x, np.random.default_rng(7))
    few, held = slice(0, 10_000 if quick else 200_000), slice(200_000, 250_000)
    network = train_network(x[few], y[few], 1000 if quick else 6000)
    ours = skill(np.asarray(network(jnp.asarray(x[held]))), y[held])
    trees = xgboost.XGBRegressor(
        n_estimators=TREES, max_depth=DEPTH, learning_rate=0.05, tree_method="hist", n_jobs=cores(), max_bin=64 if quick else 256
    ).fit(x[few], y[few])
    booster, some = trees.get_booster(), x[: 40_000 if quick else 200_000]
    sizes = [5, 10, 25, 50, 100, 200, 300, 400, TREES]
    skills = {n: skill(booster.inplace_predict(x[held], iteration_range=(0, n)), y[held]) for n in sizes}
    equal = next((n for n in sizes if skills[n] >= ours), TREES)
    rate = lambda n: len(some) / seconds(lambda: booster.inplace_predict(some, iteration_range=(0, n)), 2)  # noqa: E731
    found = {
        "xgboost_rows_per_s": rate(TREES),
        "xgboost_matched_rows_per_s": rate(equal),
        "xgboost_matched_trees": float(equal),
        "xgboost_skill": skills[TREES],
        "network_skill": ours,
        "sklearn_rows_per_s": sklearn_rate(x),
        "torch_rows_per_s": torch_rate(x, network),
    }
    return found, network


def sklearn_rate(x: np.ndarray) -> float:
    """scikit-learn's network of the same shape."""
    from sklearn.neural_network import MLPRegressor

    rival = MLPRegressor(hidden_layer_sizes=(WIDTH, WIDTH), batch_size=1000).partial_fit(x[:1000], x[:1000, 0])
    return len(x) / seconds(lambda: rival.predict(x), 2)


def torch_rate(x: np.ndarray, network: Network, chunk: int = 65_536) -> float:
    """Plain PyTorch in chunks, with our network's weights; its answers are ours."""
    import torch

    torch.set_num_threads(cores())
    layers: list[torch.nn.Module] = []
    for weight, bias in zip(network.weights, network.biases, strict=True):
        layer = torch.nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = torch.tensor(np.asarray(weight).T.copy()), torch.tensor(np.asarray(bias).copy())
        layers += [layer, torch.nn.ReLU()]
    rival, rows = torch.nn.Sequential(*layers[:-1]), torch.from_numpy(x)

    def predict() -> np.ndarray:
        with torch.inference_mode():
            return torch.cat([rival(part) for part in rows.split(chunk)])[:, 0].numpy()

    np.testing.assert_allclose(2 * predict()[:1000], np.asarray(network(jnp.asarray(x[:1000]))), rtol=1e-3, atol=1e-3)
    return len(x) / seconds(predict, 2)


# Memory, workers, kills: each in processes of their own


def child(store: Path, weights: Path, out: Path) -> subprocess.Popen[str]:
    """This file as a process that upscales a store."""
    command = [sys.executable, __file__, "--upscale", str(store), str(weights), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def peak_memory(store: Path, weights: Path, out: Path) -> float:
    """Peak resident memory [GB] of upscaling a store in a process of its own."""
    shutil.rmtree(out, ignore_errors=True)
    process = child(store, weights, out)
    text, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"upscaling {store} ended with {process.returncode}")
    return float(json.loads(text)["peak_memory_gb"])


def bind(core: int) -> None:
    """Put every thread of this process on one core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), {core})


def dask_seconds(workers: int, store: Path, weights: Path, out: Path) -> float:
    """Seconds on single-threaded Dask workers, each on one core of its own with one XLA thread."""
    from distributed import Client, LocalCluster

    plan = run.Plan(store, weights, out, daily=False, unseen=0.1, key=str(store))
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        for core, address in enumerate(client.scheduler_info()["workers"]):
            client.run(bind, core, workers=[address])
        shutil.rmtree(out, ignore_errors=True)
        plan.journal.begin({"benchmark": True})
        stores = products(plan)
        client.run(warm, plan)
        return seconds(lambda: run.upscale(plan, stores, Execution(scheduler=cluster.scheduler_address), ADVANCE))


def warm(plan: run.Plan) -> None:
    """Load the model and compile its program in a worker."""
    run._worker(plan)


def product_digest(out: Path) -> dict[str, str]:
    """Checksums of all files of a product."""
    store = run.monthly_path(out)
    return {p.relative_to(store).as_posix(): sha256(p) for p in sorted(store.rglob("*")) if p.is_file()}


def resume_identical(kills: int, store: Path, weights: Path, folder: Path) -> bool:
    """Whether runs that were killed at random points and started again write what an undisturbed run writes."""
    undisturbed = folder / "undisturbed"
    if child(store, weights, undisturbed).wait():
        raise RuntimeError("the undisturbed run failed")
    wanted, chunks = product_digest(undisturbed), len(Layout.load(store).tasks())
    rng = np.random.default_rng(8)
    for number in range(kills):
        out = folder / f"killed_{number}"
        process = child(store, weights, out)
        enough = int(rng.integers(0, max(1, chunks - 1)))
        while process.poll() is None and len(list((out / ".chunks").glob("b*.json"))) <= enough:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        if child(store, weights, out).wait() or product_digest(out) != wanted:
            return False
        shutil.rmtree(out)
    return True


# How cost grows


def exponent(sizes: list[float], times: list[float]) -> float:
    """Slope of log time over log size."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def growth(folder: Path) -> dict[str, float]:
    """Fitted exponents of end-to-end time in cells, years, members and daily predictors."""
    found = {}
    resolutions = [2.0, 1.0, 0.5]
    made = []
    for resolution in resolutions:
        layout = make_cube(folder / f"cells_{resolution}", resolution)
        weights = save_ensemble(folder / f"cells_{resolution}.npz", random_networks(1), layout)
        made.append((len(layout.index), end_to_end(folder / f"cells_{resolution}", weights, folder / "out")))
    found["exponent_cells"] = exponent(*map(list, zip(*made, strict=True)))
    store, last = folder / f"cells_{resolutions[-1]}", folder / f"cells_{resolutions[-1]}.npz"
    layout, made = Layout.load(store), []
    for years in (1, 2, 4):
        more_years(folder / f"years_{years}", store, years)
        made.append((years, end_to_end(folder / f"years_{years}", last, folder / "out")))
    found["exponent_years"] = exponent(*map(list, zip(*made, strict=True)))
    made = []
    for members in (2, 4, 8):
        weights = save_ensemble(folder / f"members_{members}.npz", random_networks(members), layout)
        made.append((members, end_to_end(store, weights, folder / "out")))
    found["exponent_members"] = exponent(*map(list, zip(*made, strict=True)))
    made = []
    for dynamic in (8, 16, 32):
        layout = make_cube(folder / f"features_{dynamic}", resolutions[-1], dynamic)
        weights = save_ensemble(folder / f"features_{dynamic}.npz", random_networks(1, STATIC + SEASONAL + dynamic), layout)
        made.append((STATIC + SEASONAL + dynamic, end_to_end(folder / f"features_{dynamic}", weights, folder / "out")))
        shutil.rmtree(folder / f"features_{dynamic}")
    found["exponent_features"] = exponent(*map(list, zip(*made, strict=True)))
    return found


def bandwidth(folder: Path, size: int = 256 * 2**20) -> dict[str, float]:
    """Copying in memory, and writing a file through to the disk [GB/s]."""
    data = np.random.default_rng(9).integers(0, 256, size, dtype=np.uint8)
    other = np.empty_like(data)

    def write() -> None:
        with open(folder / "bytes", "wb") as file:
            file.write(data)
            os.fsync(file.fileno())

    return {
        "memory_copy_gb_per_s": size / seconds(lambda: np.copyto(other, data), 3) / 1e9,
        "disk_write_gb_per_s": size / seconds(write) / 1e9,
    }


def measure(quick: bool, folder: Path) -> dict[str, float | bool]:
    """The upscaling side of the record of `speed.py`."""
    resolution = 1.0 if quick else 0.25
    layout = make_cube(folder / "cube", resolution)
    store, rows = folder / "cube", rows_of(layout)
    found, network = rivals(store, quick)
    one = save_ensemble(folder / "one.npz", jax.tree.map(lambda a: a[None], network), layout)
    ten = save_ensemble(folder / "ten.npz", random_networks(10), layout)
    cached, ratio_cached = one_and_ten(store, one, ten, folder / "out", 3, cached=True)
    single, ratio = one_and_ten(store, one, ten, folder / "out", 3)
    found |= {
        "upscale_rows_per_s": rows / single,
        "compute_rows_per_s": compute_only(one, layout, 64 if quick else 256),
        "matmul_bound_rows_per_s": matmul_bound(1_000_000 if quick else 4_000_000),
        "ten_member_cost_ratio": ratio,
        "upscale_cached_rows_per_s": rows / cached,
        "ten_member_cost_ratio_cached": ratio_cached,
        "prepare_rows_per_s": prepare_rate(folder, 2.0 if quick else 0.5),
        "store_gb": sum(p.stat().st_size for p in store.rglob("*") if p.is_file()) / 1e9,
        "rows": float(rows),
    }
    more_years(folder / "cube5", store, 5)
    found["peak_memory_gb_1y"] = peak_memory(store, one, folder / "out1")
    found["peak_memory_gb_5y"] = peak_memory(folder / "cube5", one, folder / "out5")
    several = folder / "cube5" if quick else store  # long enough to time
    alone, pair = (dask_seconds(n, several, one, folder / "dask") for n in (1, 2))
    found["dask_two_worker_speedup"] = alone / pair
    small = folder / "small"
    make_cube(small, 1.0 if quick else 0.5)
    more: dict[str, float | bool] = {"resume_identical": resume_identical(3 if quick else 20, small, one, folder)}
    return {**found, **bandwidth(folder), **({} if quick else growth(folder)), **more}


def main() -> None:
    """Print the upscaling side, or (`--upscale`) do the work of one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the cube; default: a temporary one")
    parser.add_argument("--upscale", nargs=3, type=Path, metavar=("STORE", "WEIGHTS", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upscale:
        store, weights, out = options.upscale
        plan = run.Plan(store, weights, out, daily=False, unseen=0.1)
        plan.journal.begin({"benchmark": True})
        run.upscale(plan, products(plan), Execution(), ADVANCE)
        print(json.dumps({"peak_memory_gb": peak_memory_gb()}))
        return
    with TemporaryDirectory(dir=options.folder) as folder:
        for name, value in measure(options.quick, Path(folder)).items():
            print(f"{name:28s} {value:.4g}" if not isinstance(value, bool) else f"{name:28s} {value}")


if __name__ == "__main__":
    main()

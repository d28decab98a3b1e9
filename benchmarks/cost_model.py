"""What upscaling costs at other sizes, from a record of `speed.py`; prints the table of docs/cost_model.md.

    python benchmarks/cost_model.py docs/speed.json
    python benchmarks/cost_model.py docs/speed.json --write docs/cost_model.md

Time and bytes are products of a count and a measured constant: upscaling is linear in cells, steps and members (the record
has the fitted exponents), and a row, one cell at one time step, costs the same wherever it lies.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

YEARS = 20
MEMBERS = 20
CLUSTER = 100
STEPS_PER_YEAR = {"daily": 365.25, "hourly": 8766.0}
RESOLUTIONS = (1.0, 0.25, 0.05)
LAND_SHARE = 0.268  # 17 357 of 64 800 cells of 1 degree have land in examples/real_monthly; finer grids have a little less
OUTPUT_BYTES = 12  # nee, nee_tower and nee_std of a cell and month, before compression


def land_cells(resolution: float) -> float:
    """Cells with land of a regular grid, Antarctica left out."""
    return LAND_SHARE * (180 / resolution) * (360 / resolution)


class Cost(NamedTuple):
    """Of all years.

    Attributes
    ----------
    rows : float
        Cells times steps.
    store_bytes, map_bytes : float
        The prepared cube, and monthly maps before compression.
    hours : float
        Upscaling, all members, two cores.
    prepare_hours : float
        Preparing the cube, two cores.
    cluster_hours : float
        Upscaling on `CLUSTER` single-threaded workers.
    cluster_read : float
        What these read together [bytes s-1].
    """

    rows: float
    store_bytes: float
    map_bytes: float
    hours: float
    prepare_hours: float
    cluster_hours: float
    cluster_read: float


def cost(record: dict[str, float], resolution: float, time_step: str) -> Cost:
    """Cost of `YEARS` years and `MEMBERS` members."""
    cells = land_cells(resolution)
    rows = cells * STEPS_PER_YEAR[time_step] * YEARS
    one = rows / record["upscale_rows_per_s"]
    # Reading is paid once, computing per member: between one and ten members the cost is a line.
    seconds = one * (1 + (record["ten_member_cost_ratio"] - 1) / 9 * (MEMBERS - 1))
    stored = record["store_gb"] * 1e9 / record["rows"] * rows
    worker = seconds * 2  # one core instead of two
    cluster = worker / (CLUSTER * min(1.0, record["dask_two_worker_speedup"] / 2))
    return Cost(
        rows,
        stored,
        cells * 12 * YEARS * OUTPUT_BYTES,
        seconds / 3600,
        rows / record["prepare_rows_per_s"] / 3600,
        cluster / 3600,
        stored / cluster,
    )


def table(record: dict[str, float]) -> str:
    """The costs as a Markdown table."""
    names = ["grid", "step", "rows", "prepared cube", "monthly maps", "preparing, 2 cores", "upscaling, 2 cores", "one GPU"]
    names += [f"upscaling, {CLUSTER} workers", "which read together"]
    lines = [_row(names), _row(["---"] * len(names))]
    for resolution in RESOLUTIONS:
        for time_step in STEPS_PER_YEAR:
            c = cost(record, resolution, time_step)
            sizes = [f"{c.rows:.1e}", _size(c.store_bytes), _size(c.map_bytes)]
            times = [_time(c.prepare_hours), _time(c.hours), "not measured", _time(c.cluster_hours), f"{_size(c.cluster_read)}/s"]
            lines.append(_row([f"{resolution:g} degree", time_step, *sizes, *times]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _size(count: float) -> str:
    power = min(4, int(np.log10(max(count, 1)) // 3))
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"


def _time(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.2g} s"
    return f"{hours * 60:.2g} min" if hours < 1.5 else f"{hours:.2g} h" if hours < 48 else f"{hours / 24:.2g} days"


CONSTANTS = {
    "upscale_rows_per_s": "rows per second end to end, Zarr on disk to Zarr on disk, one member",
    "upscale_cached_rows_per_s": "the same with the cube in the operating system's cache",
    "compute_rows_per_s": "the kernel alone",
    "matmul_bound_rows_per_s": "nothing but the products of the same layers (the better of NumPy and JAX)",
    "xgboost_rows_per_s": "XGBoost, 500 trees of depth 8, predicting only",
    "xgboost_matched_rows_per_s": "XGBoost with as many trees as give the network's held-out skill, or all",
    "torch_rows_per_s": "PyTorch, the same network in chunks",
    "sklearn_rows_per_s": "scikit-learn, a network of the same shape",
    "ten_member_cost_ratio": "mean and spread of ten members over one member, end to end from disk",
    "ten_member_cost_ratio_cached": "the same with the cube in the cache",
    "prepare_rows_per_s": "preparing: 8 daily fields regridded, 16 dynamic columns",
    "dask_two_worker_speedup": "two single-threaded Dask workers over one",
    "peak_memory_gb_1y": "peak memory of one year [GB]",
    "peak_memory_gb_5y": "of five years [GB]",
    "exponent_cells": "time grows as cells to the power of",
    "exponent_years": "as years to the power of",
    "exponent_members": "as members to the power of",
    "exponent_features": "as predictors to the power of",
    "train_50_networks_s": "training 50 networks, 200 sites x 5 years of days, 18 regions x 204 months [s]",
    "torch_train_ratio": "a PyTorch loop over the same networks, to the same held-out loss, over ours",
    "train_samples_per_s": "rows per second forward and back in training",
    "train_exponent_cells": "training time grows as cells to the power of",
    "train_exponent_years": "as years to the power of",
    "train_exponent_members": "as members to the power of",
    "train_exponent_features": "as predictors to the power of",
    "memory_copy_gb_per_s": "copying in memory [GB/s]",
    "disk_write_gb_per_s": "writing to disk [GB/s]",
}


def constants(record: dict[str, float]) -> str:
    """What was measured, as a Markdown table."""
    lines = [_row(["constant", "value"]), _row(["---", "---"])]
    return "\n".join(lines + [_row([text, f"{record[name]:.3g}"]) for name, text in CONSTANTS.items()])


def filled(page: str, record: dict[str, float]) -> str:
    """The page with its tables made from the record."""
    for name, text in (("constants", constants(record)), ("costs", table(record))):
        begin, end = f"<!-- {name} -->\n", f"\n<!-- end of {name} -->"
        before, rest = page.split(begin)
        page = before + begin + text + end + rest.split(end.strip("\n"), 1)[1]
    return page


def main() -> None:
    """Print the table, or put both tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("record", type=Path, help="JSON file of speed.py")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="the page to fill")
    options = parser.parse_args()
    record = json.loads(options.record.read_text(encoding="utf-8"))
    if options.write:
        options.write.write_text(filled(options.write.read_text(encoding="utf-8"), record), encoding="utf-8")
    else:
        print(table(record))


if __name__ == "__main__":
    main()

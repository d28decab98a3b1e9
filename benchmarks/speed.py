"""All of the speed benchmark: prints a table and writes one flat record.

    python benchmarks/speed.py --out speed.json           # 0.25 degrees, daily; needs 5 GB of disk
    python benchmarks/speed.py --out speed.json --quick   # small sizes, minutes

Rivals, bounds and our own runs are timed one after the other in the same process on the same cores and rows, so that
ratios hold even where times do not. Training is measured by `speed_training.py`, upscaling by `speed_upscaling.py`.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import speed_upscaling

from dualflux.run_folder.files import write_atomically

try:
    import speed_training
except ModuleNotFoundError as missing:
    if missing.name != "speed_training":
        raise
    speed_training = None

NAMES = (
    "upscale_rows_per_s", "compute_rows_per_s", "xgboost_rows_per_s", "sklearn_rows_per_s", "torch_rows_per_s",
    "matmul_bound_rows_per_s", "ten_member_cost_ratio", "train_50_networks_s", "torch_train_ratio", "peak_memory_gb_1y",
    "peak_memory_gb_5y", "dask_two_worker_speedup", "resume_identical",
)  # fmt: skip

Record = dict[str, float | bool | None]


def measure(quick: bool, folder: Path) -> Record:
    """Upscaling and training, the named values first."""
    found: Record = dict(speed_upscaling.measure(quick, folder))
    if speed_training is not None:
        found |= speed_training.measure(quick)
        found["resume_identical"] = bool(found["resume_identical"] and speed_training.resume_identical(3 if quick else 20))
    return {**{name: found.get(name) for name in NAMES}, **found}


def ratios(record: Record) -> dict[str, float]:
    """What the record means: ours over the others'."""
    value = {k: float(v) for k, v in record.items() if v is not None}
    ours = value["upscale_rows_per_s"]
    found = {
        "end to end / XGBoost": ours / value["xgboost_rows_per_s"],
        "end to end / XGBoost of equal skill": ours / value["xgboost_matched_rows_per_s"],
        "end to end / scikit-learn": ours / value["sklearn_rows_per_s"],
        "end to end / PyTorch": ours / value["torch_rows_per_s"],
        "end to end / compute only": ours / value["compute_rows_per_s"],
        "compute only / product bound": value["compute_rows_per_s"] / value["matmul_bound_rows_per_s"],
        "ten members / one": value["ten_member_cost_ratio"],
        "ten members / one, cube in the cache": value["ten_member_cost_ratio_cached"],
        "two Dask workers / one": value["dask_two_worker_speedup"],
    }
    if "torch_train_ratio" in value:
        found["training: PyTorch loop / ours"] = value["torch_train_ratio"]
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--out", type=Path, help="JSON file for the record")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="for the cube; default: the system's temporary folder")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as folder:
        record = measure(options.quick, Path(folder))
    for name, found in [*record.items(), *ratios(record).items()]:
        print(f"{name:36s} {'-' if found is None else found if isinstance(found, bool) else f'{found:.4g}'}")
    if options.out:
        write_atomically(options.out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

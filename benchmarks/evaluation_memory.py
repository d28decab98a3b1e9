"""Peak memory of comparing two daily products at 0.25 degrees over a year: it must stay under 2 GB.

    python benchmarks/evaluation_memory.py [--months 12] [--resolution 0.25] [--out evaluation_memory.json]

Writes two drawn products day by day (about 3 GB of numbers, less on disk), runs `dualflux evaluate` on them in a process of its own
and reports that process's largest resident memory. Exit status 1 where it is above the limit.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5netcdf
import numpy as np
import pandas as pd
import yaml

from dualflux.grid import Grid

LIMIT_GB = 2.0


def write_product(path: Path, grid: Grid, days: pd.DatetimeIndex, level: float) -> None:
    """NEE with a season by latitude, drawn day by day; the sea has no value."""
    land = land_of(grid)
    season = -np.sin(np.radians(grid.lat))[:, None] * np.where(land > 0, 1.0, np.nan)
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": len(days), "lat": grid.lat.size, "lon": grid.lon.size}
        time = file.create_variable("time", ("time",), np.int32, data=np.arange(len(days), dtype=np.int32))
        time.attrs.update({"units": f"days since {days[0]:%Y-%m-%d}", "calendar": "proleptic_gregorian"})
        for name, values in (("lat", grid.lat), ("lon", grid.lon)):
            file.create_variable(name, (name,), np.float64, data=values)
        chunk = {"chunks": (1, *grid.shape), "compression": "gzip", "compression_opts": 1}
        nee = file.create_variable("nee", ("time", "lat", "lon"), np.float32, **chunk)
        nee.attrs["units"] = "gC m-2 d-1"
        for t, day in enumerate(days):
            nee[t] = (level + season * np.cos(2 * np.pi * (day.day_of_year - 200) / 365.25)).astype(np.float32)


def land_of(grid: Grid) -> np.ndarray:
    """A third of all longitudes is land."""
    return np.broadcast_to((np.abs(grid.lon) % 90 < 30).astype(float), grid.shape)


def write_study(folder: Path, grid: Grid, days: pd.DatetimeIndex, resolution: float) -> Path:
    """Products, land and the comparison file."""
    for name, level in (("a", -0.2), ("b", -0.5)):
        write_product(folder / f"{name}.nc", grid, days, level)
    with h5netcdf.File(folder / "land.nc", "w") as file:
        file.dimensions = {"lat": grid.lat.size, "lon": grid.lon.size}
        for name, values in (("lat", grid.lat), ("lon", grid.lon)):
            file.create_variable(name, (name,), np.float64, data=values)
        file.create_variable("land", ("lat", "lon"), np.float64, data=land_of(grid)).attrs["units"] = "1"
    study = {
        "name": "memory", "period": [str(days[0].date()), str(days[-1].date())], "time_step": "daily", "grid": {"resolution": resolution},
        "land_fraction": {"path": "land.nc", "variable": "land"}, "regions": "gcp18",
        "products": [{"format": "gridded", "product": n, "path": f"{n}.nc", "variable": "nee", "missing": "zero"} for n in "ab"],
    }  # fmt: skip
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--resolution", type=float, default=0.25)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    grid = Grid.global_regular(options.resolution)
    days = pd.date_range("2001-01-01", pd.Timestamp("2001-01-01") + pd.DateOffset(months=options.months), inclusive="left")
    with tempfile.TemporaryDirectory() as place:
        path = write_study(Path(place), grid, days, options.resolution)
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dualflux.cli", "evaluate", str(path), "--out", f"{place}/out"], check=True)
        seconds = time.perf_counter() - started
        stages = json.loads(Path(place, "out/provenance.json").read_text())["stages"]
    peak = max(stage["peak_memory_gb"] for stage in stages)
    field_gb = 4 * grid.lat.size * grid.lon.size * len(days) / 1e9
    found = {"resolution": options.resolution, "days": len(days), "product_gb": field_gb, "peak_memory_gb": peak, "limit_gb": LIMIT_GB,
             "seconds": round(seconds, 1)}  # fmt: skip
    print(json.dumps(found))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    return int(peak > LIMIT_GB)


if __name__ == "__main__":
    sys.exit(main())

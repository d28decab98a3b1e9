"""Lasting fluxes where nobody looks, of a finished run: deserts, sources, evergreen forest, South China.

    python benchmarks/real_map.py RUN --out FILE [--variant dual] [--all]

Writes JSON: means [gC m-2 yr-1] and sums [PgC yr-1] over boxes and classes, by land area, each with the central 90 % of the members as
`NAME_90` (null where the run has not written its members). A cell belongs to a box that holds its centre. `sum_sources` adds up the cells
whose lasting flux, mean of the members, is above zero; its interval is that of the members over these same cells. `sum_evergreen` weights
cells by their fraction of evergreen broadleaf forest, `mean_bare` is over cells with a bare fraction above 0.8. With `--all` the same
of every variant stands under `variants`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from dualflux.evaluation.far_from_data import Classes, site_classes
from dualflux.evaluation.lasting_flux import grid_and_land, lasting_flux
from dualflux.prepared import load
from dualflux.units import PETAGRAM
from dualflux.variants import shown_variant

MEANS = {  # south, north, west, east [degrees]
    "mean_sahara": (18, 29, -12, 30),
    "mean_arabia": (18, 28, 42, 55),
    "mean_inner_australia": (-29, -21, 121, 138),
    "mean_kalahari": (-27, -20, 18, 25),
}
SUMS = {"south_china": (22, 32, 105, 120)}
EVERGREEN, BARE_CLASS, BARE = "EBF", "BSV", 0.8
Numbers = dict[str, Any]


def in_box(lat: np.ndarray, lon: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Cells (lat, lon) of a grid whose centres lie in a box."""
    south, north, west, east = box
    return np.outer((lat > south) & (lat < north), (lon > west) & (lon < east))


def weights_of(lat: np.ndarray, lon: np.ndarray, land: np.ndarray, lasting: np.ndarray, fraction: dict[str, np.ndarray]) -> Numbers:
    """Weights (lat, lon) whose product with a lasting flux [gC m-2 yr-1] sums to each number.

    Parameters
    ----------
    land : array, (lat, lon)
        [m2]
    lasting : array, (lat, lon)
        Mean of the members [gC m-2 yr-1].
    fraction : dict of array, (lat, lon)
        Of land cover classes by name; classes that the study has not are missing.
    """
    found = {name: _mean(land * in_box(lat, lon, box)) for name, box in MEANS.items()}
    if BARE_CLASS in fraction:
        found["mean_bare"] = _mean(land * (fraction[BARE_CLASS] > BARE))
    found["sum_sources"] = land * (np.nan_to_num(lasting) > 0) / PETAGRAM
    if EVERGREEN in fraction:
        found["sum_evergreen"] = land * fraction[EVERGREEN] / PETAGRAM
    return found | {name: land * in_box(lat, lon, box) / PETAGRAM for name, box in SUMS.items()}


def _mean(area: np.ndarray) -> np.ndarray | None:
    """Weights of a mean; None where there is no land."""
    return area / area.sum() if area.sum() > 0 else None


def numbers(weights: Numbers, lasting: np.ndarray, members: np.ndarray | None) -> Numbers:
    """Each number and its central 90 % over members; null where there is none.

    Parameters
    ----------
    lasting : array, (lat, lon)
    members : array, (member, lat, lon), or None
    """
    found: Numbers = {}
    for name in (*MEANS, "mean_bare", "sum_sources", "sum_evergreen", *SUMS):
        weight = weights.get(name)
        found[name] = found[f"{name}_90"] = None
        if weight is not None:
            found[name] = float(np.nansum(weight * lasting))
            if members is not None and len(members) > 1:
                found[f"{name}_90"] = np.quantile(np.nansum(weight * members, axis=(1, 2)), [0.05, 0.95]).tolist()
    return found


def of_variant(run: Path, variant: str, cover: Classes | None) -> Numbers:
    """The numbers of one variant of a run."""
    path = run / f"products/{variant}/nee_monthly.nc"
    grid, land = grid_and_land(path)
    with xr.open_dataset(path, engine="h5netcdf") as data:
        written = int(data.sizes["member"]) if "nee_member" in data else 0
    if not written:
        print(f"real_map: {path} holds no members (`nee_member`): there are no intervals", file=sys.stderr)
    lasting, members = lasting_flux(path), lasting_flux(path, "nee_member") if written else None
    cells = None if cover is None else load(run / "prepared").cells
    fraction = {} if cover is None or cells is None else dict(zip(cover.names, cells.to_map(cover.fraction.T, 0.0), strict=True))
    weights = weights_of(grid.lat, grid.lon, land, lasting, fraction)
    return {"variant": variant, "members": written, **numbers(weights, lasting, members)}


def land_cover(run: Path) -> Classes | None:
    """Classes of the predictor that sites have of their own; None without one."""
    settings = yaml.safe_load((run / "study.yaml").read_text(encoding="utf-8"))
    own = (p["name"] for p in settings.get("predictors", []) if p.get("kind") == "fractions" and p.get("at_towers") == "site")
    name = next(own, None)
    if name is None or not (run / "prepared/about.json").is_file():
        print("real_map: no land cover with classes of sites: no evergreen forest, no bare ground", file=sys.stderr)
        return None
    return site_classes(load(run / "prepared"), name)


def main() -> None:
    """Write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variant", help="default: dual, else the last")
    parser.add_argument("--all", action="store_true", help="every variant, under `variants`")
    options = parser.parse_args()
    there = sorted(p.parent.name for p in options.run.glob("products/*/nee_monthly.nc"))
    if not there or (options.variant or there[0]) not in there:
        parser.error(f"{options.run}: {options.variant or 'no variant'} has no product; there are: {', '.join(there) or 'none'}")
    shown, cover = options.variant or shown_variant(there), land_cover(options.run)
    found = {"run": str(options.run), **of_variant(options.run, shown, cover)}
    if options.all:
        found["variants"] = {v: of_variant(options.run, v, cover) for v in there}
    text = json.dumps(found, indent=1)
    options.out.write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""A run folder drawn by hand: 30 degrees, two years, two members, all numbers known."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from dualflux.grid import Grid, LandCells, Regions
from dualflux.metrics.pairs import paired_std
from dualflux.prediction.netcdf_product import ProductWriter
from dualflux.units import PETAGRAM

GRID = Grid.global_regular(30.0)
MONTHS = pd.date_range("2001-01-01", periods=24, freq="MS")
DAYS = MONTHS.days_in_month.to_numpy()
MEMBERS = np.array([1.0, 3.0])  # gC m-2 d-1 in January and every other month, everywhere
VARIANTS = ("towers", "dual")
LAND_FRACTION = np.where(np.arange(12) < 6, 1.0, 0.0) * np.ones(GRID.shape)  # land is west of Greenwich, sea east of it,
LAND_FRACTION[:, 5] = 0.5  # and the cells from 30 W to 0 are half land
LAND = LAND_FRACTION * GRID.cell_area
NORTH = (GRID.lat > 0)[:, None] * np.ones(GRID.shape)


def annual(land_area: float, year: int = 2001) -> np.ndarray:
    """What the members emit from an area in a year [PgC yr-1]."""
    return MEMBERS * land_area * (366 if year % 4 == 0 else 365) / PETAGRAM


def draw_run(folder: Path, variants: Sequence[str] = VARIANTS, members: int | None = 2, **provenance: Any) -> Path:
    """Write what a finished run has; `members` None: too large to be written."""
    regions = Regions(("north", "south"), np.stack([NORTH, 1 - NORTH]))
    cells = LandCells.build(GRID, LAND_FRACTION, regions)
    for variant in variants:
        with ProductWriter(folder / "products" / variant / "nee_monthly.nc", cells, MONTHS, members, {}, LAND) as writer:
            flux = MEMBERS[:, None] * np.ones(cells.index.size)
            for month in range(24):
                writer.write(month, flux, flux, np.zeros(cells.index.size))
    (folder / "tables").mkdir()
    _regional(variants).to_csv(folder / "tables/regional_monthly.csv", index=False, date_format="%Y-%m-%d")
    _sites(variants).to_csv(folder / "tables/site_metrics.csv", index=False)
    rows = [(v, r, "mean_annual", 1.0, "PgC yr-1") for v in variants for r in ("north", "south", "global")]
    pd.DataFrame(rows, columns=["product", "region", "metric", "value", "unit"]).to_csv(folder / "tables/summary.csv", index=False)
    settings = {"name": "drawn <b>", "period": ["2001-01-01", "2002-12-31"], "variants": list(variants)}
    (folder / "study.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    about = {"versions": {"dualflux": "0.1.0 0123456789abcdef"}, "seed": 1, "inputs": [], "stages": [], "citations": [], **provenance}
    (folder / "provenance.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def _regional(variants: Sequence[str]) -> pd.DataFrame:
    area = {"north": (LAND * NORTH).sum(), "south": (LAND * (1 - NORTH)).sum(), "global": LAND.sum()}
    rows = []
    for variant in variants:
        for region, land in area.items():
            for time, days in zip(MONTHS, DAYS, strict=True):
                values = MEMBERS * land * days / PETAGRAM
                rows.append((variant, "", region, time, values.mean(), paired_std(values), "PgC month-1"))
                rows += [(variant, m, region, time, value, "", "PgC month-1") for m, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["product", "member", "region", "time", "value", "std", "unit"])


def _sites(variants: Sequence[str]) -> pd.DataFrame:
    rows = [(v, "tower_like", s, "monthly", "nse", 0.5, 10, "1") for v in variants for s in ("007", "pooled", "median")]
    return pd.DataFrame(rows, columns=["product", "prediction", "site", "scale", "metric", "value", "n", "unit"])

"""What a study is compared with beyond its inversions: regions to be shown, a known truth, independent budgets."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.errors import InputError
from dualflux.grid import Grid, LandCells
from dualflux.metrics.pairs import paired_std
from dualflux.prediction.netcdf_product import integrate_members, integrate_product
from dualflux.prepared import Prepared
from dualflux.sources.land.region_masks import read_regions
from dualflux.study.settings import Study

COLUMNS = ["product", "member", "region", "time", "value", "std", "unit"]
_UNIT = "PgC month-1"


def shown_regions(study: Study, own: tuple[str, ...]) -> list[str]:
    """The study's `figure_regions` that are neither its own regions nor the globe: those of the packaged country mask.

    Raises
    ------
    InputError
        A name that is in neither.
    """
    extra = [r for r in study.settings.figure_regions if r not in (*own, "global")]
    if not extra:
        return []
    packaged = read_regions("gcp18", study.root, Grid.global_regular(study.settings.grid.resolution)).names
    unknown = [r for r in extra if r not in packaged]
    if unknown:
        raise InputError(
            f"figure_regions: {', '.join(unknown)}; allowed: the study's regions ({', '.join(own)}), global, "
            f"and those of the packaged mask ({', '.join(packaged)})"
        )
    return extra


def figure_table(study: Study, out: Path, prepared: Prepared) -> pd.DataFrame:
    """The table `figure_regions.csv`: what figures show beyond `regional_monthly.csv`, in the same columns.

    Gridded products of the variants over regions of the packaged mask (see `shown_regions`), and, in a synthetic world, its truth
    over the study's regions.
    """
    tables = [pd.DataFrame(columns=COLUMNS)]
    names = shown_regions(study, prepared.cells.region_names)
    if names:
        cells = packaged_cells(study, prepared, names)
        for variant in study.settings.variants:
            tables += _product_rows(variant, out / "products" / variant / "nee_monthly.nc", cells)
    if study.settings.truth is not None:
        path = study.root / study.settings.truth / "regional_monthly.csv"
        truth = pd.read_csv(path, keep_default_na=False, na_values={"value": [""], "std": [""], "member": [""]}, parse_dates=["time"])
        tables.append(truth[truth["region"].isin([*prepared.cells.region_names, "global"])][COLUMNS])
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)


def packaged_cells(study: Study, prepared: Prepared, names: list[str]) -> LandCells:
    """The study's cells with some regions of the packaged country mask."""
    mask, cells = read_regions("gcp18", study.root, prepared.cells.grid), prepared.cells
    land = prepared.land_area / cells.grid.cell_area
    chosen = [mask.names.index(name) for name in names]
    share = mask.share_of_land(land).reshape(len(mask.names), -1)[chosen][:, cells.index]
    return LandCells(cells.grid, cells.index, cells.land_area, tuple(names), share)


def _product_rows(variant: str, path: Path, cells: LandCells) -> Iterator[pd.DataFrame]:
    members = integrate_members(path, cells)
    mean = _rows(integrate_product(path, cells), variant)
    if members is None:
        yield mean
        return
    yield mean.assign(std=_rows(_spread(members), variant)["value"].to_numpy())
    for m in members["member"].to_numpy():
        yield _rows(members.sel(member=m, drop=True), variant).assign(member=str(m))


def _spread(members: xr.DataArray) -> xr.DataArray:
    """Standard deviation over antithetic pairs."""
    first = members.transpose("member", ...)
    return first.isel(member=0, drop=True).copy(data=paired_std(first.to_numpy()))


def _rows(integral: xr.DataArray, product: str) -> pd.DataFrame:
    """Rows of the regions but the globe, which stands in regional_monthly.csv."""
    parts = integral.sel(region=[r for r in integral["region"].to_numpy() if r != "global"]).transpose("region", "time")
    table = parts.rename("value").to_series().reset_index()
    return table.assign(product=product, member="", std=np.nan, unit=_UNIT)[COLUMNS]

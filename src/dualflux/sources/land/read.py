"""Where the land is, which of it has no flux, and which region it belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, LandCells, Regions, grid_of, normalise_coordinates
from dualflux.sources.files.cell_maps import Raster
from dualflux.sources.files.gridded import find_variable, open_gridded, read_values
from dualflux.sources.land.region_masks import RegionSettings, read_regions
from dualflux.sources.predictors.read import read_class_fractions
from dualflux.sources.predictors.regrid import ToGrid
from dualflux.sources.predictors.settings import PredictorSettings
from dualflux.sources.towers.cells import TOWER_REACH
from dualflux.units import convert_units

WATER_CLASSES = ("WAT",)
OUTSIDE = "outside_regions"
MOST_OUTSIDE, MOST_LEFT_OUT = 0.75, 0.1  # of the land: beyond that the regions are hardly meant so
ANTARCTIC = -60.0  # degrees north; no inversion's land regions hold Antarctica


class LandFractionSettings(BaseModel):
    """Where the land fraction stands, and what to do with towers whose cell has no land."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="NetCDF file or Zarr store, relative to the data root")
    variable: str = Field("land_fraction", description="Fraction of each cell that is land, 0 to 1 (or %); missing is sea")
    towers_at_sea: Literal["error", "nearest"] = Field("error", description=f"nearest: the nearest land cell within {TOWER_REACH} cells")
    outside_regions: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f"Largest share of the land north of {-ANTARCTIC:g} S that may lie in no region; more is an error. Default: "
        f"{MOST_OUTSIDE:g}, or {MOST_LEFT_OUT:g} where classes of the mask are taken for no region (such as ocean, or the flag 0)",
    )


class NoFluxSettings(BaseModel):
    """Land that is left out of the model because it exchanges nothing, such as ice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["zero", "model"] = Field("model", description="zero: the flux there is zero; model: it is modelled like any land")
    classes: tuple[str, ...] = Field(("SNO",), description="Classes of the fractions predictor that have no flux")
    above: float = Field(0.5, ge=0, lt=1, description="Share of the cell's land (classes other than water) from which the cell has no flux")
    predictor: str | None = Field(None, description="Name of the fractions predictor, where the study has several")


@dataclass(frozen=True, eq=False)
class Land:
    """The land of a study.

    Attributes
    ----------
    cells : LandCells
        Land with a flux; what is modelled.
    regions : Regions
        As the mask has them; `cells.region_fraction` holds the shares of the land.
    land_fraction : array, (lat, lon)
    land_area : array, (lat, lon)
        All land [m2], also that without a flux.
    shares : DataFrame
        Rows: the regions, `global`, and `outside_regions` (land that belongs to none); columns `land_area` [m2],
        `share_of_land` (of all land) and `no_flux_share` (of the row's own land).
    """

    cells: LandCells
    regions: Regions
    land_fraction: np.ndarray
    land_area: np.ndarray
    shares: pd.DataFrame


def land_cells(
    grid: Grid,
    root: Path,
    land_fraction: LandFractionSettings,
    regions: RegionSettings,
    no_flux: NoFluxSettings,
    predictors: Sequence[PredictorSettings] = (),
) -> Land:
    """Read land, regions and land without flux.

    Parameters
    ----------
    grid : Grid
        The study's grid; masks on other grids are brought to it conservatively.
    root : Path
        The data root.
    predictors : sequence of PredictorSettings
        Those of the study; one of kind `fractions` says where there is no flux.

    Raises
    ------
    InputError
        Everything found wrong with the settings and files, at once.
    """
    problems = Problems()
    fraction, parts, without = np.zeros(grid.shape), None, np.zeros(grid.shape, dtype=bool)
    with problems.collect():
        fraction, parts = read_land(land_fraction, regions, root, grid)
    if no_flux.rule == "zero":
        with problems.collect():
            without = no_flux_map(no_flux, predictors, root, grid)
    problems.raise_if_any()
    if parts is None or not (fraction > 0).any():
        raise InputError(f"{land_fraction.path}: `{land_fraction.variable}` has no land on this grid; correct `variable` or `grid`")
    check_outside(grid, fraction, parts, land_fraction.outside_regions)
    cells = LandCells.build(grid, fraction, parts, keep=~without)
    if cells.index.size == 0:
        raise InputError(f"no_flux: classes {list(no_flux.classes)} above {no_flux.above} leave no land; correct `classes` or `above`")
    empty = [name for name, area in zip(parts.names, cells.region_area.sum(axis=1), strict=True) if area == 0]
    if empty:
        raise InputError(f"regions {', '.join(empty)}: no land with a flux on this grid; use a finer `grid`, or a mask without them")
    return Land(cells, parts, fraction, grid.cell_area * fraction, _shares(grid, fraction, parts, without))


def read_land(land_fraction: LandFractionSettings, regions: RegionSettings, root: Path, grid: Grid) -> tuple[np.ndarray, Regions]:
    """Land fraction (lat, lon) and regions on a grid; the regions know both in the resolution of their files too.

    Raises
    ------
    InputError
        Everything found wrong with either file, at once.
    """
    problems = Problems()
    found: tuple[np.ndarray, Raster] | None = None
    parts: Regions | None = None
    with problems.collect():
        found = land_fractions(land_fraction, root, grid)
    with problems.collect():
        parts = read_regions(regions, root, grid)
    problems.raise_if_any()
    if found is None or parts is None:
        raise InputError("land or regions could not be read")
    return found[0], replace(parts, own_land=found[1])


def check_outside(grid: Grid, land_fraction: np.ndarray, regions: Regions, stated: float | None) -> None:
    """Raise InputError where more of the land than the study allows lies in no region."""
    most = (MOST_LEFT_OUT if regions.not_regions else MOST_OUTSIDE) if stated is None else stated
    area = grid.cell_area * land_fraction * (grid.lat > ANTARCTIC)[:, None]
    outside = float((area * _rest(regions.share_of_land(land_fraction))).sum())
    if outside <= (most + 1e-9) * area.sum():
        return
    share, classes = outside / area.sum(), ", ".join(regions.not_regions)
    name_them = f" (the classes {classes} are taken for none; name those that are regions as `classes`)" if classes else ""
    raise InputError(
        f"regions: {share:.1%} of the land north of {-ANTARCTIC:g} S ({outside / 1e12:.3g} million km2) lies in no region{name_them}; "
        f"towers alone would determine it; give regions that cover the land, or accept it with "
        f"`land_fraction: {{outside_regions: {min(np.ceil(100 * share) / 100, 1):.2g}}}` (now {most:g})"
    )


def _shares(grid: Grid, land_fraction: np.ndarray, regions: Regions, without: np.ndarray) -> pd.DataFrame:
    land_area = grid.cell_area * land_fraction
    inside = regions.share_of_land(land_fraction).reshape(len(regions.names), -1)
    rows = np.vstack([inside, np.ones(inside.shape[1]), _rest(inside)])
    area, bare = rows @ land_area.ravel(), rows @ (land_area * without).ravel()
    return pd.DataFrame(
        {
            "land_area": area,
            "share_of_land": area / land_area.sum(),
            "no_flux_share": np.divide(bare, area, out=np.zeros_like(area), where=area > 0),
        },
        index=pd.Index([*regions.names, "global", OUTSIDE], name="region"),
    )


def _rest(inside: np.ndarray) -> np.ndarray:
    rest = 1 - inside.sum(axis=0)
    return np.where(rest > 1e-9, rest, 0.0)


def read_land_fraction(settings: LandFractionSettings, root: Path, grid: Grid) -> np.ndarray:
    """Land fraction of each cell, (lat, lon); a missing value is sea.

    Raises
    ------
    InputError
        File or variable missing, other dimensions, or values outside 0..1.
    """
    return land_fractions(settings, root, grid)[0]


def land_fractions(settings: LandFractionSettings, root: Path, grid: Grid) -> tuple[np.ndarray, Raster]:
    """Land fraction of each cell of a grid, (lat, lon), and in the file's own resolution."""
    path = root / settings.path
    what = f"{settings.path}: `{settings.variable}`"
    with open_gridded(path) as file:
        data = find_variable(file, settings.variable, path)
        if data.ndim != 2:
            raise InputError(f"{what} has dimensions {list(data.dims)}; a land fraction has latitude and longitude only")
        if np.isinf(read_values(data, what)).any():
            raise InputError(f"{what}: infinite values; allowed: 0 to 1, missing is sea; correct the file")
        source = grid_of(normalise_coordinates(data, what), what)
        (own, own_valid), (mean, valid) = ToGrid(source, what)(data), ToGrid(grid, what)(data)
        unit = str(data.attrs.get("units", "1"))
    values, fine = (convert_units(np.nan_to_num(v) * part, unit, "1", what) for v, part in ((mean, valid), (own, own_valid)))
    if fine.min() < -1e-6 or fine.max() > 1 + 1e-6:
        raise InputError(f"{what}: land fractions from {fine.min():.4g} to {fine.max():.4g}; allowed: 0 to 1, or 0 to 100 with unit %")
    return np.clip(values, 0.0, 1.0), Raster.of(source, np.clip(fine, 0.0, 1.0))


def no_flux_map(settings: NoFluxSettings, predictors: Sequence[PredictorSettings], root: Path, grid: Grid) -> np.ndarray:
    """Cells whose land (classes other than water) is covered by the listed classes to more than `above`, bool (lat, lon).

    Raises
    ------
    InputError
        No, or more than one, fractions predictor to tell, or a class it does not have.
    """
    known = [p for p in predictors if p.kind == "fractions" and settings.predictor in (None, p.name)]
    if len(known) != 1:
        names = [p.name for p in predictors if p.kind == "fractions"]
        raise InputError(
            f"no_flux: `rule: zero` needs one fractions predictor; the study has {names}; name one as `predictor`, or say `rule: model`"
        )
    names, fraction = read_class_fractions(known[0], root, grid)
    unknown = [c for c in settings.classes if c not in names]
    if unknown:
        raise InputError(f"no_flux: predictor `{known[0].name}` has no class {', '.join(unknown)}; allowed: {', '.join(names)}")
    dry = np.nansum(fraction[[n not in WATER_CLASSES for n in names]], axis=0)
    listed = np.nansum(fraction[[n in settings.classes for n in names]], axis=0)
    return listed > settings.above * dry

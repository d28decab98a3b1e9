"""Any area as the part of each cell's land that lies in it: from a mask, from polygons."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dualflux.errors import InputError, Problems
from dualflux.grid import Grid, grid_of, normalise_coordinates, regrid
from dualflux.sources.land.region_polygons import area_inside, check_polygon, placed, shapely_module

_ALLOWED = (
    "a mask (xarray.DataArray of bool or fractions with lat and lon), a GeoJSON dict, a shapely or geopandas object, or the path of a file "
    "of polygons"
)


def land_inside(area: Any, grid: Grid, land_fraction: np.ndarray, follows_coast: bool) -> np.ndarray:
    """Part of each cell's land that lies in an area.

    Parameters
    ----------
    area : DataArray, mapping, path, or anything with `__geo_interface__`
        See `Run.aggregate`.
    grid : Grid
        Of the product.
    land_fraction : array, (lat, lon)
    follows_coast : bool
        False: the land of a cell lies evenly in it, so the part is the fraction F of the cell that is inside. True: the area is of
        land only, as outlines of countries are, so the part is F / max(F, land fraction).

    Returns
    -------
    array, (lat, lon)
        0 to 1.

    Raises
    ------
    InputError
        Not an area, an invalid one, or one without land.
    """
    fraction = _of_mask(area, grid) if isinstance(area, xr.DataArray) else _of_polygons(area, grid)
    if follows_coast:
        most = np.maximum(fraction, land_fraction)
        fraction = np.divide(fraction, most, out=np.zeros_like(fraction), where=most > 0)
    if not (fraction * land_fraction > 0).any():
        raise InputError("the area holds no land of the product; degrees of longitude and latitude are meant, in this order in polygons")
    return fraction


def _of_mask(mask: xr.DataArray, grid: Grid) -> np.ndarray:
    what = f"mask `{mask.name}`" if mask.name is not None else "mask"
    if mask.ndim != 2:
        raise InputError(f"{what}: dimensions {list(mask.dims)}; one area has latitude and longitude only: choose one, as in mask.sel(...)")
    if mask.dtype.kind not in "biuf":
        raise InputError(f"{what}: values of type {mask.dtype}; allowed: bool, or fractions from 0 to 1")
    mask = normalise_coordinates(mask.astype(float), what)
    values, source = np.nan_to_num(mask.to_numpy(), nan=0.0, posinf=np.inf, neginf=-np.inf), grid_of(mask, what)
    if values.min() < 0 or values.max() > 1 + 1e-6:
        raise InputError(
            f"{what}: values from {values.min():.4g} to {values.max():.4g}; allowed: bool, or fractions from 0 to 1 (missing: outside); "
            "of a mask of numbers take one, as in mask == 3"
        )
    if source.same_as(grid):
        return values
    mean, covered = regrid(values, source, grid)
    return np.nan_to_num(mean) * covered


def _of_polygons(area: Any, grid: Grid) -> np.ndarray:
    shapely = shapely_module()
    problems, shapes = Problems(), list[Any]()
    given = _shapes(area, shapely)
    for number, shape in enumerate(given, start=1):
        with problems.collect():
            check_polygon("area", shape, f"polygon {number}", "")
            shapes.append(placed(shape, f"polygon {number}", False, shapely))
    if not given:
        problems.add(f"no polygon in the area given; allowed: {_ALLOWED}")
    problems.raise_if_any()
    return np.clip(area_inside(shapely.union_all(shapes), grid) / grid.cell_area, 0, 1)


def _shapes(area: Any, shapely: Any) -> list[Any]:
    """The geometries of whatever was given."""
    if isinstance(area, str | Path):
        return _read_file(Path(area), shapely)
    if getattr(area, "crs", None) is not None and hasattr(area, "to_crs"):
        area = area.to_crs(4326)  # geopandas: other coordinates become degrees
    content = area if isinstance(area, Mapping) else getattr(area, "__geo_interface__", None)
    if not isinstance(content, Mapping):
        raise InputError(f"an area of type {type(area).__name__}; allowed: {_ALLOWED}")
    try:
        return [shapely.geometry.shape(geometry) for geometry in _geometries(content)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise InputError(f"the area is no valid GeoJSON ({error}); allowed: a geometry, a Feature or a FeatureCollection") from error


def _geometries(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    match content.get("type"):
        case "FeatureCollection":
            for feature in content["features"]:
                yield from _geometries(feature)
        case "Feature":
            yield from _geometries(content["geometry"])
        case "GeometryCollection":
            for geometry in content["geometries"]:
                yield from _geometries(geometry)
        case _:
            yield content


def _read_file(path: Path, shapely: Any) -> list[Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file of polygons; correct the path")
    if path.suffix.lower() in (".geojson", ".json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path}: not GeoJSON in UTF-8 ({error}); export it as such") from error
        return _shapes(content, shapely)
    if path.suffix.lower() in (".nc", ".nc4", ".zarr"):
        raise InputError(f"{path}: a file of polygons is meant here; open a mask with xarray and give the DataArray")
    return _read_vector(path, shapely)


def _read_vector(path: Path, shapely: Any) -> list[Any]:
    try:
        import pyogrio  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"{path.name}: formats other than GeoJSON need `pip install 'dualflux[regions]'`") from error
    try:
        geometry = pyogrio.raw.read(path, columns=[])[2]
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); allowed: GeoJSON, shapefile, GeoPackage") from error
    return list(shapely.from_wkb(geometry))

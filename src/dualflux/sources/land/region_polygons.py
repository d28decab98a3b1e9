"""Regions from polygons: the exact part of each cell's area on the sphere that lies inside."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dualflux.errors import InputError, Problems
from dualflux.grid import EARTH_RADIUS, Grid

_EXTRA = "pip install 'dualflux[regions]' (shapely, and pyogrio for formats other than GeoJSON)"


def read_polygons(path: Path, name: str, grid: Grid) -> tuple[list[str], np.ndarray]:
    """Names and fractions (region, lat, lon) from a GeoJSON file, or any vector file pyogrio reads, in degrees of longitude and latitude.

    Features with the same name are one region. Edges are straight in longitude and latitude, as GeoJSON defines them.

    Parameters
    ----------
    path : Path
    name : str
        The features' property with the region's name.
    grid : Grid

    Raises
    ------
    InputError
        The optional packages are missing, the file cannot be read, a feature has no name or no valid polygon.
    """
    shapely = shapely_module()
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct `path` (relative to the data root) or put the file there")
    geojson = path.suffix.lower() in (".geojson", ".json")
    features = _read_geojson(path, name, shapely) if geojson else _read_vector(path, name, shapely)
    by_name: dict[str, list[Any]] = {}
    problems = Problems()
    for number, (label, shape) in enumerate(features, start=1):
        with problems.collect():
            check_polygon(label, shape, f"{path.name}: feature {number}", name, shapely)
            by_name.setdefault(str(label).strip(), []).append(shape)
    if not features:
        problems.add(f"{path.name}: no features; give a file with one polygon or more per region")
    problems.raise_if_any()
    merged = {label: united(shapes, grid) for label, shapes in by_name.items()}
    return list(merged), np.stack([np.clip(area_inside(shape, grid) / grid.cell_area, 0, 1) for shape in merged.values()])


def shapely_module() -> ModuleType:
    """The optional package shapely, or InputError that says how to get it."""
    try:
        import shapely  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"regions from polygons need an optional package: {_EXTRA}") from error
    module: ModuleType = shapely
    return module


def _read_geojson(path: Path, name: str, shapely: ModuleType) -> list[tuple[Any, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"]
        return [((f.get("properties") or {}).get(name), shapely.from_geojson(json.dumps(f["geometry"]))) for f in features]
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise InputError(f"{path}: not a GeoJSON collection of features in UTF-8 ({error}); export it as such") from error


def _read_vector(path: Path, name: str, shapely: ModuleType) -> list[tuple[Any, Any]]:
    try:
        import pyogrio  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"{path.name}: formats other than GeoJSON need an optional package: {_EXTRA}") from error
    try:
        meta, _, geometry, fields = pyogrio.raw.read(path, columns=[name])
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); allowed: GeoJSON, shapefile, GeoPackage") from error
    labels = list(fields[0]) if name in list(meta["fields"]) else [None] * len(geometry)
    return list(zip(labels, shapely.from_wkb(geometry), strict=True))


def check_polygon(label: Any, shape: Any, what: str, name: str, shapely: ModuleType) -> None:
    """Raise InputError unless the feature has a name and a valid polygon in degrees."""
    if label is None or not str(label).strip():
        raise InputError(f"{what} has no property `{name}`; name each region by it, or correct `property`")
    if shape is None or shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon"):
        kind = "nothing" if shape is None or shape.is_empty else shape.geom_type
        raise InputError(f"{what} ({label}) is {kind}; allowed: Polygon, MultiPolygon")
    if not shape.is_valid:
        raise InputError(
            f"{what} ({label}): {shapely.is_valid_reason(shape)}; repair the polygon (shapely.make_valid, QGIS: fix geometries)"
        )
    west, south, east, north = shape.bounds
    if south < -90 - 1e-6 or north > 90 + 1e-6 or west < -360 or east > 360:
        raise InputError(
            f"{what} ({label}) reaches from {west:.6g}, {south:.6g} to {east:.6g}, {north:.6g}; "
            "needed: degrees of longitude and latitude; reproject it to EPSG:4326"
        )


def united(shapes: Sequence[Any], grid: Grid) -> Any:
    """Several polygons as one on the longitudes of the grid: what two of them cover counts once, also where one says 200 E, one 160 W."""
    shapely = shapely_module()
    west, east = grid.lon_edges[[0, -1]]
    window, parts = shapely.box(west, -90, east, 90), list[Any]()
    for shape in shapes:
        for shift in (-360.0, 0.0, 360.0):
            moved = shapely.transform(shape, lambda points, by=shift: np.add(points, (by, 0.0)))
            if moved.bounds[2] > west and moved.bounds[0] < east:
                inside = moved.bounds[0] >= west and moved.bounds[2] <= east
                parts.append(moved if inside else shapely.intersection(moved, window))
    return parts[0] if len(parts) == 1 else shapely.union_all(parts)


def area_inside(shape: Any, grid: Grid) -> np.ndarray:
    """Area [m2] of a polygon in each cell, (lat, lon); longitudes wrap around."""
    shapely = shapely_module()
    out = np.zeros(grid.shape)
    placed = united([shape], grid)
    if not placed.is_empty:
        _fill_rows(placed, grid, 0, grid.lat.size, out, shapely)
    return out


def _fill_rows(shape: Any, grid: Grid, first: int, last: int, out: np.ndarray, shapely: ModuleType) -> None:
    """Halve the rows until one is left, so that each cut works on few vertices."""
    west, east = grid.lon_edges[[0, -1]]
    south, north = grid.lat_edges[[first, last]]
    if shape.is_empty or shape.bounds[1] >= north or shape.bounds[3] <= south:
        return
    part = shapely.intersection(shape, shapely.box(west, south, east, north))
    if last - first > 1:
        middle = (first + last) // 2
        _fill_rows(part, grid, first, middle, out, shapely)
        _fill_rows(part, grid, middle, last, out, shapely)
        return
    edges = grid.lon_edges
    columns = np.flatnonzero((edges[:-1] < part.bounds[2]) & (edges[1:] > part.bounds[0])) if not part.is_empty else np.array([], dtype=int)
    boxes = shapely.box(edges[columns], south, edges[columns + 1], north)
    shapely.prepare(part)
    whole = shapely.covers(part, boxes)
    out[first, columns[whole]] += grid.cell_area[first, columns[whole]]
    cut = columns[~whole]
    out[first, cut] += [spherical_area(piece) for piece in shapely.intersection(part, boxes[~whole])]


def spherical_area(shape: Any) -> float:
    """Area on the sphere [m2] of a polygon whose edges are straight in longitude and latitude.

    Green's theorem: R^2 times the line integral of sin(latitude) over longitude; along a straight edge the mean of the sine is
    sin(middle) sin(half) / half, with half of the edge's difference in latitude.
    """
    shapely = shapely_module()
    polygons = [p for p in shapely.get_parts(shapely.get_parts(shape)) if p.geom_type == "Polygon"]
    rings = [(_ring(p.exterior, shapely), [_ring(i, shapely) for i in p.interiors]) for p in polygons]
    return EARTH_RADIUS**2 * float(sum(outer - sum(holes) for outer, holes in rings))


def _ring(ring: Any, shapely: ModuleType) -> float:
    lon, lat = np.radians(shapely.get_coordinates(ring)).T
    half = np.diff(lat) / 2
    sine = np.sin((lat[1:] + lat[:-1]) / 2) * np.sinc(half / np.pi)
    return abs(float((np.diff(lon) * sine).sum()))

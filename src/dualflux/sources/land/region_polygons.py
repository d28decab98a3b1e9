"""Regions from polygons: the exact part of each cell's area on the sphere that lies inside."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from dualflux.errors import InputError, Problems
from dualflux.grid import EARTH_RADIUS, CellEdges
from dualflux.sources.land.date_line import near, unwrap
from dualflux.sources.land.vector_files import EXTRA, read_features

OVERLAP_ALLOWED = 1e-4  # of the smaller region: slivers between borders that were drawn apart
_SAID = 5
_NO_EDGES = np.array([-90.0, 90.0]), np.array([-180.0, 180.0])


@dataclass(frozen=True, eq=False)
class PolygonMap:
    """Regions as polygons in -180..180 degrees; they have their exact part in any cells.

    Attributes
    ----------
    names : list of str
    shapes : list of shapely geometry
    """

    names: list[str]
    shapes: list[Any]
    lat_edges: np.ndarray
    lon_edges: np.ndarray

    def at(self, cells: CellEdges) -> np.ndarray:
        """Fractions (region, lat, lon) of the cells; slivers that belong to two regions are shared."""
        fraction = np.stack([np.clip(area_inside(shape, cells) / cells.cell_area, 0, 1) for shape in self.shapes])
        shared: np.ndarray = fraction / np.maximum(fraction.sum(axis=0), 1.0)
        return shared


def read_polygons(path: Path, name: str) -> PolygonMap:
    """Regions of a GeoJSON file, GeoPackage or shapefile in degrees of longitude and latitude.

    Features with the same name are one region. Edges are straight in longitude and latitude, as GeoJSON defines them; rings across 180
    degrees see `date_line.unwrap`.

    Parameters
    ----------
    path : Path
    name : str
        The features' property with the region's name.

    Raises
    ------
    InputError
        The optional packages are missing, the file cannot be read, a feature has no name or no valid polygon, regions overlap.
    """
    shapely = shapely_module()
    if not path.is_file():
        raise InputError(f"{path}: no such file; correct `path` (relative to the data root) or put the file there")
    kind, features = read_features(path, name, shapely)
    by_name: dict[str, list[Any]] = {}
    problems = Problems()
    for number, (label, shape) in enumerate(features, start=1):
        with problems.collect():
            what = f"{path.name}: feature {number}"
            check_polygon(label, shape, what, name)
            by_name.setdefault(str(label).strip(), []).append(placed(shape, f"{what} ({label})", kind == "shapefile", shapely))
    if not features:
        problems.add(f"{path.name}: no features; give a file with one polygon or more per region")
    problems.raise_if_any()
    merged = {label: shapely.union_all(shapes) for label, shapes in by_name.items()}
    _refuse_radians(list(merged.values()), path.name)
    return PolygonMap(list(merged), list(merged.values()), *_NO_EDGES)


def check_overlap(regions: PolygonMap, what: str) -> None:
    """Raise InputError with the pairs of regions that share an area, and that area."""
    shapely = shapely_module()
    area = [spherical_area(shape) for shape in regions.shapes]
    first, second = shapely.STRtree(regions.shapes).query(regions.shapes, predicate="intersects")
    shared = [
        (spherical_area(shapely.intersection(regions.shapes[i], regions.shapes[j])), i, j)
        for i, j in zip(first.tolist(), second.tolist(), strict=True)
        if i < j
    ]
    found = sorted(((s, i, j) for s, i, j in shared if s > OVERLAP_ALLOWED * min(area[i], area[j])), reverse=True)
    if found:
        names = regions.names
        pairs = [
            f"regions {names[i]} and {names[j]} overlap in {s / 1e6:.4g} km2 ({s / min(area[i], area[j]):.2g} of the smaller)"
            for s, i, j in found[:_SAID]
        ]
        more = f", and {len(found) - _SAID} pairs more" if len(found) > _SAID else ""
        raise InputError(f"{what}: {'; '.join(pairs)}{more}; give regions that share no area")


def shapely_module() -> ModuleType:
    """The optional package shapely, or InputError that says how to get it."""
    try:
        import shapely  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"regions from polygons need an optional package: {EXTRA}") from error
    module: ModuleType = shapely
    return module


def check_polygon(label: Any, shape: Any, what: str, name: str) -> None:
    """Raise InputError unless the feature has a name and a polygon in degrees."""
    if label is None or not str(label).strip():
        raise InputError(f"{what} has no property `{name}`; name each region by it, or correct `property`")
    if shape is None or shape.is_empty or shape.geom_type not in ("Polygon", "MultiPolygon"):
        kind = "nothing" if shape is None or shape.is_empty else shape.geom_type
        raise InputError(f"{what} ({label}) is {kind}; allowed: Polygon, MultiPolygon")
    west, south, east, north = shape.bounds
    if not all(np.isfinite([west, south, east, north])) or south < -90 - 1e-6 or north > 90 + 1e-6 or west < -360 or east > 360 + 1e-6:
        raise InputError(
            f"{what} ({label}) reaches from {west:.6g}, {south:.6g} to {east:.6g}, {north:.6g}; "
            "needed: degrees of longitude and latitude; reproject it to EPSG:4326"
        )


def placed(shape: Any, what: str, clockwise: bool, shapely: ModuleType) -> Any:
    """The shape with its rings the right way round the globe, cut into -180..180 degrees."""
    parts = []
    for polygon in shapely.get_parts(shape):
        outer = unwrap(shapely.get_coordinates(polygon.exterior), what, clockwise)
        holes = [near(unwrap(shapely.get_coordinates(hole), what, not clockwise), outer) for hole in polygon.interiors]
        parts.append(shapely.Polygon(outer, holes))
    whole = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    if not whole.is_valid:
        raise InputError(f"{what}: {shapely.is_valid_reason(whole)}; repair the polygon (shapely.make_valid, QGIS: fix geometries)")
    west, _, east, _ = whole.bounds
    if max(p.bounds[2] - p.bounds[0] for p in parts) > 360 + 1e-6:
        raise InputError(f"{what}: goes around the globe more than once, from longitude {west:g} to {east:g}; correct its corners")
    turns = range(int(np.floor((west + 180) / 360)), int(np.ceil((east - 180) / 360)) + 1)
    moved = [shapely.transform(whole, lambda points, by=360.0 * turn: np.subtract(points, (by, 0.0))) for turn in turns]
    world = shapely.box(-180, -90, 180, 90)
    return shapely.union_all([shapely.intersection(m, world) for m in moved])


def _refuse_radians(shapes: list[Any], what: str) -> None:
    west, south, east, north = np.array([s.bounds for s in shapes]).T
    if (
        max(-west.min(), east.max()) <= np.pi + 1e-6
        and max(-south.min(), north.max()) <= np.pi / 2 + 1e-6
        and (east.max() - west.min()) > 1
    ):
        raise InputError(
            f"{what}: all polygons lie between {west.min():.4g}, {south.min():.4g} and {east.max():.4g}, {north.max():.4g}, where there is "
            "no land: they are in radians; convert them to degrees"
        )


def area_inside(shape: Any, grid: CellEdges) -> np.ndarray:
    """Area [m2] of a polygon in each cell, (lat, lon); longitudes wrap around."""
    shapely = shapely_module()
    out = np.zeros(grid.shape)
    west, east = grid.lon_edges[[0, -1]]
    for shift in (-360.0, 0.0, 360.0):
        moved = shapely.transform(shape, lambda points, by=shift: np.add(points, (by, 0.0)))
        if moved.bounds[2] > west and moved.bounds[0] < east:
            _fill_rows(moved, grid, 0, grid.shape[0], out, shapely)
    return out


def _fill_rows(shape: Any, grid: CellEdges, first: int, last: int, out: np.ndarray, shapely: ModuleType) -> None:
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

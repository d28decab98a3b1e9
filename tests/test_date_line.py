"""Polygons across 180 degrees and around poles: the region that is meant or a named error, never the complement; and what is opened."""

import json
import shutil
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid
from dualflux.sources.land.region_masks import PolygonSettings, read_regions
from dualflux.sources.land.vector_files import side_files

GRID = Grid.global_regular(10.0)
SPHERE = 4 * np.pi * EARTH_RADIUS**2
Ring = list[list[float]]


def zone(west: float, south: float, east: float, north: float) -> float:
    """Area of a box [m2]."""
    return EARTH_RADIUS**2 * float(np.radians(east - west) * (np.sin(np.radians(north)) - np.sin(np.radians(south))))


def ring(west: float, south: float, east: float, north: float) -> Ring:
    """Counterclockwise, as GeoJSON wants outer rings."""
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def dense(corners: Ring, step: float = 1.0) -> Ring:
    """With corners a degree apart."""
    out: Ring = []
    for (a, b), (c, d) in pairwise(corners):
        count = max(1, round(max(abs(c - a), abs(d - b)) / step))
        out += [[a + (c - a) * i / count, b + (d - b) * i / count] for i in range(count)]
    return [*out, out[0]]


def west_east(corners: Ring) -> Ring:
    """Longitudes from -180 to 180, as most files have them: a ring across 180 then jumps."""
    return [[(x + 180) % 360 - 180, y] for x, y in corners]


def from_zero(corners: Ring) -> Ring:
    """Longitudes from 0 to 360: a ring across Greenwich then jumps."""
    return [[x % 360, y] for x, y in corners]


def area(folder: Path, *coordinates: Any, kind: str = "Polygon", grid: Grid = GRID) -> float:
    """Area of the region `a` that the coordinates of one or several features make [m2]."""
    features = [{"type": "Feature", "properties": {"n": "a"}, "geometry": {"type": kind, "coordinates": c}} for c in coordinates]
    (folder / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = read_regions(PolygonSettings(path="p.geojson", property="n"), folder, grid)
    return float((found.fraction[0] * grid.cell_area).sum())


# --- the region that is meant ---------------------------------------------------------------------------------------

PACIFIC, AFRICA = ring(150, -30, 210, 60), ring(-20, -35, 50, 37)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (west_east(PACIFIC), PACIFIC),
        (west_east(dense(PACIFIC)), PACIFIC),
        (PACIFIC, PACIFIC),
        (ring(-210, -30, -150, 60), PACIFIC),
        (from_zero(AFRICA), AFRICA),
        (from_zero(dense(AFRICA)), AFRICA),
        (from_zero(PACIFIC), PACIFIC),
        (west_east(ring(180, -30, 210, 60)), ring(180, -30, 210, 60)),
        (west_east(ring(95, -30, 265, 60)), ring(95, -30, 265, 60)),
    ],
)
def test_a_polygon_across_the_date_line_is_the_one_that_is_meant(tmp_path: Path, written: Ring, meant: Ring) -> None:
    box = meant[0][0], meant[0][1], meant[2][0], meant[2][1]
    assert area(tmp_path, [written]) == pytest.approx(zone(*box), rel=1e-9)


def test_the_cells_are_those_on_both_sides(tmp_path: Path) -> None:
    area(tmp_path, [west_east(ring(175, 0, 190, 10))])
    found = read_regions(PolygonSettings(path="p.geojson", property="n"), tmp_path, GRID).fraction[0]
    np.testing.assert_allclose(found[9, [34, 35, 0, 1]], [0, 0.5, 1, 0], atol=1e-12)


@settings(max_examples=12, deadline=None)
@given(
    west=st.integers(-1790, 1790),
    width=st.integers(10, 1790),
    south=st.integers(-890, 600),
    height=st.integers(10, 290),
    many=st.booleans(),
)
def test_any_box_up_to_half_the_globe(
    tmp_path_factory: pytest.TempPathFactory, west: int, width: int, south: int, height: int, many: bool
) -> None:
    """Wherever it lies and however its longitudes are written."""
    folder = tmp_path_factory.mktemp("box")
    edges = west / 10, south / 10, (west + width) / 10, (south + height) / 10
    corners = dense(ring(*edges)) if many else ring(*edges)
    for written in (corners, west_east(corners), from_zero(corners)):
        assert area(folder, [written], grid=Grid.global_regular(30.0)) == pytest.approx(zone(*edges), rel=1e-6)


def test_parts_and_holes_go_where_their_ring_is(tmp_path: Path) -> None:
    outer, hole = ring(160, -30, 220, 30), ring(175, -10, 195, 10)[::-1]
    expected = zone(160, -30, 220, 30) - zone(175, -10, 195, 10)
    assert area(tmp_path, [west_east(outer), west_east(hole)]) == pytest.approx(expected, rel=1e-9)
    eastern = ring(185, -10, 195, 10)[::-1]  # beyond 180 alone: written with negative longitudes, without a jump
    expected = zone(160, -30, 220, 30) - zone(185, -10, 195, 10)
    assert area(tmp_path, [west_east(outer), west_east(eastern)]) == pytest.approx(expected, rel=1e-9)
    parts = [[west_east(outer)], [ring(0, 0, 10, 10)], [west_east(ring(170, 40, 185, 50))]]
    expected = zone(160, -30, 220, 30) + zone(0, 0, 10, 10) + zone(170, 40, 185, 50)
    assert area(tmp_path, parts, kind="MultiPolygon") == pytest.approx(expected, rel=1e-9)


def test_features_of_one_region_that_overlap_count_once_also_across_the_date_line(tmp_path: Path) -> None:
    assert area(tmp_path, [ring(150, 0, 210, 10)], [ring(-180, 0, -140, 10)]) == pytest.approx(zone(150, 0, 220, 10), rel=1e-9)


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_corners_does_not_matter_where_nothing_jumps(tmp_path: Path, order: int) -> None:
    assert area(tmp_path, [ring(0, 0, 30, 30)[::order], ring(7, 7, 23, 23)[::order]]) == pytest.approx(
        zone(0, 0, 30, 30) - zone(7, 7, 23, 23), rel=1e-9
    )


def test_zones_around_the_globe_and_caps_with_their_pole(tmp_path: Path) -> None:
    assert area(tmp_path, [ring(-180, -90, 180, -30)]) == pytest.approx(zone(-180, -90, 180, -30), rel=1e-9)
    assert area(tmp_path, [ring(0, 20, 360, 30)]) == pytest.approx(zone(0, 20, 360, 30), rel=1e-9)
    coast = [[-180.0, -60.0], *([x, -60.0] for x in range(-170, 180, 10)), [180.0, -60.0]]
    antarctica = [*coast[::-1], [-180.0, -90.0], [180.0, -90.0], coast[-1]]
    assert area(tmp_path, [antarctica]) == pytest.approx(zone(-180, -90, 180, -60), rel=1e-9)


# --- what stays open is named ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written", [west_east(PACIFIC)[::-1], west_east(dense(PACIFIC))[::-1], from_zero(AFRICA)[::-1], ring(-150, -30, 150, 60)]
)
def test_where_the_order_of_corners_says_the_long_way_both_are_named(tmp_path: Path, written: Ring) -> None:
    with pytest.raises(InputError, match=r"feature 1 \(a\): its edge from longitude .* does not tell; cut the polygon at 180"):
        area(tmp_path, [written])


@pytest.mark.parametrize(
    "longitudes",
    [list(range(-180, 180, 30)), list(range(0, 360, 30)), list(range(-170, 190, 20)), list(range(-180, 181, 30)), list(range(0, 361, 30))],
)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("ragged", [0, 3])
def test_a_ring_around_a_pole_without_the_pole_is_named(tmp_path: Path, longitudes: list[int], order: int, ragged: int) -> None:
    corners = [[float(x), -60.0 + ragged * (i % 2)] for i, x in enumerate(longitudes)][::order]
    with pytest.raises(InputError, match=r"feature 1 \(a\): goes around a pole"):
        area(tmp_path, [[*corners, corners[0]]])


def test_polygons_around_the_globe_more_than_once_and_in_radians_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="goes around the globe more than once"):
        area(tmp_path, [dense(ring(-200, 0, 200, 10))])
    with pytest.raises(InputError, match="they are in radians"):
        area(tmp_path, [np.radians(ring(-120, -30, 100, 60)).tolist()])


def test_overlaps_are_named_with_pair_and_area_and_slivers_are_shared(tmp_path: Path) -> None:
    def features(*boxes: tuple[str, Ring]) -> None:
        items = [{"type": "Feature", "properties": {"n": n}, "geometry": {"type": "Polygon", "coordinates": [c]}} for n, c in boxes]
        (tmp_path / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": items}))

    features(("a", ring(0, 0, 30, 30)), ("b", ring(29, 0, 50, 30)), ("c", west_east(ring(170, 0, 190, 10))), ("d", ring(-175, 0, -160, 9)))
    first, second = zone(29, 0, 30, 30) / 1e6, zone(185, 0, 190, 9) / 1e6
    message = rf"regions c and d overlap in {second:.4g} km2 .*; regions a and b overlap in {first:.4g} km2".replace("+", r"\+")
    with pytest.raises(InputError, match=message):
        read_regions(PolygonSettings(path="p.geojson", property="n"), tmp_path, GRID)
    features(("a", ring(0, 0, 30, 30)), ("b", ring(29.999, 0, 50, 30)))
    found = read_regions(PolygonSettings(path="p.geojson", property="n"), tmp_path, GRID)
    assert (found.fraction.sum(axis=0) <= 1 + 1e-12).all()
    assert (found.fraction.sum(axis=0) * GRID.cell_area).sum() == pytest.approx(zone(0, 0, 50, 30), rel=1e-9)


# --- what is opened -------------------------------------------------------------------------------------------------


def write_vector(path: Path, driver: str, shapes: dict[str, Any]) -> None:
    pyogrio, shapely = pytest.importorskip("pyogrio"), pytest.importorskip("shapely")
    names = np.array(list(shapes), dtype=object)
    wkb = shapely.to_wkb(list(shapes.values()))
    pyogrio.raw.write(path, wkb, [names], ["n"], geometry_type="Polygon", crs="EPSG:4326", driver=driver)


def boxes() -> dict[str, Any]:
    shapely = pytest.importorskip("shapely")
    return {"a": shapely.box(0, 0, 33, 12), "b": shapely.box(-50, -20, -5, -3)}


def vector_areas(folder: Path, name: str) -> dict[str, float]:
    found = read_regions(PolygonSettings(path=name, property="n"), folder, GRID)
    return dict(zip(found.names, (found.fraction * GRID.cell_area).sum(axis=(1, 2)), strict=True))


EXPECTED = {"a": zone(0, 0, 33, 12), "b": zone(-50, -20, -5, -3)}


@pytest.mark.parametrize(("driver", "suffix"), [("ESRI Shapefile", ".shp"), ("GPKG", ".gpkg"), ("GeoJSON", ".geojson")])
@pytest.mark.parametrize("named", ["p", "p.json", "p.vrt"])
def test_the_content_says_what_a_file_is(tmp_path: Path, driver: str, suffix: str, named: str) -> None:
    write_vector(tmp_path / f"q{suffix}", driver, boxes())
    for part in tmp_path.glob("q.*"):
        part.rename(tmp_path / (named if part.suffix == suffix else f"p{part.suffix}"))
    assert vector_areas(tmp_path, named) == pytest.approx(EXPECTED, rel=1e-9)


def test_a_shapefile_across_180_in_its_own_order_of_corners(tmp_path: Path) -> None:
    """Outer rings of shapefiles are clockwise."""
    shapely = pytest.importorskip("shapely")
    write_vector(tmp_path / "p.shp", "ESRI Shapefile", {"a": shapely.Polygon(west_east(PACIFIC)[::-1])})
    try:
        assert vector_areas(tmp_path, "p.shp") == pytest.approx({"a": zone(150, -30, 210, 60)}, rel=1e-9)
    except InputError as error:
        assert "does not tell; cut the polygon at 180" in str(error)  # a driver may turn rings when it writes


def test_all_parts_of_a_shapefile_are_inputs(tmp_path: Path) -> None:
    write_vector(tmp_path / "p.shp", "ESRI Shapefile", boxes())
    assert {p.suffix for p in side_files(tmp_path / "p.shp")} == {".dbf", ".shx", ".prj", ".cpg"}
    (tmp_path / "p.dbf").rename(tmp_path / "p.DBF")
    assert "p.DBF" in {p.name for p in side_files(tmp_path / "p.shp")}
    (tmp_path / "p.DBF").unlink()
    with pytest.raises(InputError, match=r"a shapefile needs p\.dbf beside it"):
        vector_areas(tmp_path, "p.shp")
    (tmp_path / "p.geojson").write_text("{}")
    assert side_files(tmp_path / "p.geojson") == [] and side_files(tmp_path / "absent.shp") == []


VRT = """<OGRVRTDataSource><OGRVRTLayer name="q"><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"""


@pytest.mark.parametrize("named", ["p.vrt", "p.shp", "p.gpkg", "p.geojson", "p.json", "p"])
@pytest.mark.parametrize("source", ["q.gpkg", "/vsicurl/http://127.0.0.1:9/q.gpkg", "/vsizip/q.zip/q.shp"])
def test_no_file_leads_to_another(tmp_path: Path, named: str, source: str) -> None:
    """A virtual dataset is refused whatever its name, before any driver sees it."""
    write_vector(tmp_path / "q.gpkg", "GPKG", boxes())
    (tmp_path / named).write_text(VRT.format(source=tmp_path / source if source == "q.gpkg" else source))
    with pytest.raises(InputError, match="neither GeoJSON, GeoPackage nor shapefile"):
        vector_areas(tmp_path, named)


@pytest.mark.parametrize(
    "path", ["/vsicurl/http://127.0.0.1:9/q.gpkg", "/vsizip/q.zip/q.shp", "GPKG:q.gpkg", "http://127.0.0.1:9/q.geojson"]
)
def test_no_path_is_a_network_address(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_regions(PolygonSettings(path=path, property="n"), tmp_path, GRID)


def test_a_geopackage_whose_table_may_stand_elsewhere_or_is_being_written_is_named(tmp_path: Path) -> None:
    write_vector(tmp_path / "p.gpkg", "GPKG", boxes())
    shutil.copy(tmp_path / "p.gpkg", tmp_path / "other.gpkg")
    with sqlite3.connect(tmp_path / "other.gpkg") as base:
        base.execute("PRAGMA writable_schema = ON")
        sql = "CREATE VIRTUAL TABLE leads USING VirtualOGR('/vsicurl/http://127.0.0.1:9/q.gpkg')"
        base.execute("INSERT INTO sqlite_master VALUES ('table', 'leads', 'leads', 0, ?)", (sql,))
    base.close()
    with pytest.raises(InputError, match="table `leads` is made by `virtualogr`"):
        vector_areas(tmp_path, "other.gpkg")
    (tmp_path / "p.gpkg-wal").write_bytes(b"changes")
    with pytest.raises(InputError, match=r"still stand in p\.gpkg-wal"):
        vector_areas(tmp_path, "p.gpkg")
    (tmp_path / "p.gpkg-wal").unlink()
    (tmp_path / "p.gpkg").write_bytes((tmp_path / "p.gpkg").read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read"):
        vector_areas(tmp_path, "p.gpkg")

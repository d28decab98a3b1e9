"""Regions from numbered masks, TransCom, fractions, polygons and bands: areas known from geometry, overlaps and gaps named."""

import builtins
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, Regions
from dualflux.sources.land.region_masks import TRANSCOM, MaskSettings, PolygonSettings, RegionSettings, read_regions

GRID = Grid.global_regular(10.0)
SPHERE = 4 * np.pi * EARTH_RADIUS**2


def areas(regions: Regions, grid: Grid = GRID) -> dict[str, float]:
    """Area of each region [m2]."""
    return dict(zip(regions.names, (regions.fraction * grid.cell_area).sum(axis=(1, 2)), strict=True))


def box(west: float, south: float, east: float, north: float) -> float:
    return EARTH_RADIUS**2 * np.radians(east - west) * (np.sin(np.radians(north)) - np.sin(np.radians(south)))


# --- masks ----------------------------------------------------------------------------------------------------------


def mask_file(path: Path, values: Any, name: str = "mask", attrs: dict[str, Any] | None = None, engine: Any = "h5netcdf") -> None:
    """A mask of 10 degree cells, written north first and from 0 to 360 degrees."""
    data = xr.DataArray(values, {"latitude": GRID.lat, "longitude": GRID.lon}, ("latitude", "longitude"), name, attrs or {}).to_dataset()
    data = data.assign_coords(longitude=data.longitude % 360).sortby("longitude").sortby("latitude", ascending=False)
    data.to_netcdf(path, engine=engine)


def test_transcom_regions_as_carbontracker_publishes_them(tmp_path: Path) -> None:
    """Numbers 1 to 11 are land, 12 to 22 sea, 23 ice: each longitude column of 10 degrees holds one number here."""
    numbers = np.broadcast_to(1 + np.arange(36) % 23, GRID.shape)
    mask_file(tmp_path / "regions.nc", numbers.astype("int32"), "transcom_regions", engine="scipy")
    found = read_regions(MaskSettings(path="regions.nc", variable="transcom_regions"), tmp_path, GRID)
    assert found.names == tuple(TRANSCOM) and len(found.names) == 11
    for name, number in TRANSCOM.items():
        columns = 2 if number <= 13 else 1  # 36 columns: the first 13 numbers come twice
        assert areas(found)[name] == pytest.approx(columns * SPHERE / 36)
    assert (TRANSCOM["North_American_Boreal"], TRANSCOM["Australia"], TRANSCOM["Europe"]) == (1, 10, 11)


def test_any_numbered_mask_with_names_from_the_study(tmp_path: Path) -> None:
    """RECCAP2-like: numbers without flags, stored as floats with fill; two numbers make one region."""
    numbers = np.where(GRID.lat[:, None] > 50, 3.0, np.where(GRID.lat[:, None] > 0, 5.0, 7.0)) * np.ones(GRID.shape)
    numbers[:, :18] = np.nan  # the west belongs to nobody
    mask_file(tmp_path / "m.nc", numbers)
    found = read_regions(MaskSettings(path="m.nc", variable="mask", names={"north": [3, 5], "south": 7}), tmp_path, GRID)
    assert areas(found) == pytest.approx({"north": SPHERE / 4, "south": SPHERE / 4})


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), resolution=st.sampled_from([2.0, 7.5, 10.0, 30.0]))
def test_closure_on_any_grid(tmp_path_factory: pytest.TempPathFactory, seed: int, resolution: float) -> None:
    """The parts and what belongs to none make the sphere, whatever the study's grid, for numbers as for fractions."""
    folder, random = tmp_path_factory.mktemp("mask"), np.random.default_rng(seed)
    numbers = random.integers(0, 4, GRID.shape)
    mask_file(folder / "m.nc", numbers)
    grid = Grid.global_regular(resolution)
    found = read_regions(MaskSettings(path="m.nc", variable="mask", names={"a": 1, "b": 2, "c": 3}), folder, grid)
    own = {name: float(GRID.cell_area[numbers == i].sum()) for i, name in ((1, "a"), (2, "b"), (3, "c"))}
    assert areas(found, grid) == pytest.approx(own)
    rest = ((1 - found.fraction.sum(axis=0)) * grid.cell_area).sum()
    assert rest + sum(own.values()) == pytest.approx(SPHERE)


@pytest.mark.parametrize(
    ("attrs", "names", "message"),
    [
        ({}, None, "no attributes `flag_values` and `flag_meanings`.*or state `names`"),
        ({}, {"a": 1, "b": 1}, "`names` gives number 1 to several regions"),
        ({}, {"a": 1, "b": 9}, r"no cell with number 9; it has 1, 2"),
        ({"flag_values": [1, 2], "flag_meanings": "a"}, None, "2 flag_values but 1 flag_meanings"),
    ],
)
def test_wrong_numbers_are_named(tmp_path: Path, attrs: dict[str, Any], names: Any, message: str) -> None:
    mask_file(tmp_path / "m.nc", np.broadcast_to(1 + np.arange(36) % 2, GRID.shape), attrs=attrs)
    with pytest.raises(InputError, match=message):
        read_regions(MaskSettings(path="m.nc", variable="mask", names=names), tmp_path, GRID)


def test_overlapping_fractions_are_named_with_their_place(tmp_path: Path) -> None:
    fraction = np.zeros((3, *GRID.shape))
    fraction[0], fraction[1, 12, 20], fraction[2, 12, 20] = 0.6, 0.7, 0.1
    coords = {"region": ["everywhere", "one_cell", "little"], "lat": GRID.lat, "lon": GRID.lon}
    xr.Dataset({"part": (("region", "lat", "lon"), fraction)}, coords).to_netcdf(tmp_path / "m.nc", engine="h5netcdf")
    message = r"m\.nc: `part`: regions one_cell and everywhere overlap, summing to 1\.4 in a cell \(latitude 35, longitude 25\)"
    with pytest.raises(InputError, match=message):
        read_regions(MaskSettings(path="m.nc", variable="part"), tmp_path, GRID)
    with pytest.raises(InputError, match="`names` give the numbers of a mask"):
        read_regions(MaskSettings(path="m.nc", variable="part", names={"a": 1}), tmp_path, GRID)


# --- polygons -------------------------------------------------------------------------------------------------------


def geojson(path: Path, *features: tuple[str, str, Any]) -> None:
    """(name, type, coordinates) of each feature."""
    items = [{"type": "Feature", "properties": {"region": n}, "geometry": {"type": k, "coordinates": c}} for n, k, c in features]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def polygons(root: Path, grid: Grid = GRID, path: str = "p.geojson") -> Regions:
    return read_regions(PolygonSettings(path=path, property="region"), root, grid)


@given(west=st.floats(-170, 100), south=st.floats(-89, 60), width=st.floats(0.5, 70), height=st.floats(0.5, 29))
@settings(max_examples=25, deadline=None)
def test_boxes_have_the_area_of_their_zone(
    tmp_path_factory: pytest.TempPathFactory, west: float, south: float, width: float, height: float
) -> None:
    edges = west, south, west + width, south + height
    assume(max(map(abs, edges)) > 4)  # boxes in the Gulf of Guinea are taken for radians
    folder = tmp_path_factory.mktemp("polygons")
    geojson(folder / "p.geojson", ("a", "Polygon", [ring(*edges)]))
    for resolution in (5.0, 22.5):
        grid = Grid.global_regular(resolution)
        assert areas(polygons(folder, grid), grid)["a"] == pytest.approx(box(*edges), rel=1e-9)


def test_a_triangle_whose_area_is_known(tmp_path: Path) -> None:
    """Corners (0, 0), (90, 0), (0, 90): the integral of (pi/2 - lat) cos lat from 0 to pi/2 is 1, so the area is R^2."""
    geojson(tmp_path / "p.geojson", ("a", "Polygon", [[[0, 0], [90, 0], [0, 90], [0, 0]]]))
    for resolution in (1.0, 10.0, 45.0):
        grid = Grid.global_regular(resolution)
        assert areas(polygons(tmp_path, grid), grid)["a"] == pytest.approx(EARTH_RADIUS**2, rel=1e-10)


def test_holes_parts_neighbours_and_the_date_line(tmp_path: Path) -> None:
    """A ring with an island of another region in its hole; a region of two features, one written across 180 degrees."""
    geojson(
        tmp_path / "p.geojson",
        ("ring", "Polygon", [ring(0, 0, 30, 30), ring(7, 7, 23, 23)]),
        ("island", "MultiPolygon", [[ring(7, 7, 23, 23)]]),
        ("pacific", "Polygon", [ring(173, -12, 187, 3)]),
        ("pacific", "Polygon", [ring(-60, -40, -55, -33)]),
    )
    found = polygons(tmp_path)
    assert found.names == ("ring", "island", "pacific")
    expected = {
        "ring": box(0, 0, 30, 30) - box(7, 7, 23, 23),
        "island": box(7, 7, 23, 23),
        "pacific": box(173, -12, 187, 3) + box(-60, -40, -55, -33),
    }
    assert areas(found) == pytest.approx(expected, rel=1e-9)
    east, west = found.fraction[2, 8, 35], found.fraction[2, 8, 0]  # 10S to 0, either side of the date line
    np.testing.assert_allclose([east, west], 0.7, rtol=1e-9)
    np.testing.assert_allclose(found.fraction.sum(axis=0)[9:12, 18:21], 1.0, rtol=1e-9)  # ring and island close


def test_a_shapefile_reads_as_geojson_does(tmp_path: Path) -> None:
    pyogrio = pytest.importorskip("pyogrio")
    shapely = pytest.importorskip("shapely")
    shapes = [shapely.box(0, 0, 33, 12), shapely.box(-50, -20, -5, -3)]
    pyogrio.raw.write(
        tmp_path / "p.shp",
        shapely.to_wkb(shapes),
        [np.array(["a", "b"], dtype=object)],
        ["region"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    geojson(tmp_path / "p.geojson", ("a", "Polygon", [ring(0, 0, 33, 12)]), ("b", "Polygon", [ring(-50, -20, -5, -3)]))
    assert areas(polygons(tmp_path, path="p.shp")) == pytest.approx(areas(polygons(tmp_path)), rel=1e-12)
    with pytest.raises(InputError, match="feature 1 has no property `name`"):
        read_regions(PolygonSettings(path="p.shp", property="name"), tmp_path, GRID)
    with zipfile.ZipFile(tmp_path / "broken.shp", "w"):
        pass
    with pytest.raises(InputError, match=r"broken\.shp: cannot be read"):
        polygons(tmp_path, path="broken.shp")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [("a", "Polygon", [ring(0, 0, 30, 30)]), ("b", "Polygon", [ring(20, 0, 50, 30)])],
            r"regions a and b overlap in 3\.542e\+06 km2 \(0\.33 of the smaller\)",
        ),
        ([("a", "Polygon", [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]])], r"feature 1 \(a\): Self-intersection.*repair the polygon"),
        ([("a", "Point", [0, 0])], r"feature 1 \(a\) is Point; allowed: Polygon, MultiPolygon"),
        ([("", "Polygon", [ring(0, 0, 1, 1)])], "feature 1 has no property `region`"),
        ([("a", "Polygon", [ring(500000, 0, 600000, 4000000)])], "needed: degrees of longitude and latitude; reproject it to EPSG:4326"),
        ([], "no features; give a file with one polygon or more per region"),
    ],
)
def test_wrong_polygons_are_named(tmp_path: Path, features: Any, message: str) -> None:
    geojson(tmp_path / "p.geojson", *features)
    with pytest.raises(InputError, match=message):
        polygons(tmp_path)


def test_a_file_that_is_no_geojson_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p\.geojson: no such file"):
        polygons(tmp_path)
    (tmp_path / "p.geojson").write_text("<html>")
    with pytest.raises(InputError, match="neither GeoJSON, GeoPackage nor shapefile"):
        polygons(tmp_path)
    for text in ('{"type": "Topology"}', "[1, 2]"):
        (tmp_path / "p.geojson").write_text(text)
        with pytest.raises(InputError, match="not a GeoJSON collection of features"):
            polygons(tmp_path)


def test_without_shapely_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "shapely":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'dualflux\[regions\]'"):
        polygons(tmp_path)


def test_the_ways_to_name_regions_in_a_study() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(RegionSettings)
    assert adapter.validate_python({"path": "p.geojson", "property": "name"}) == PolygonSettings(path="p.geojson", property="name")
    numbered = adapter.validate_python({"path": "m.nc", "variable": "m", "names": {"a": 1, "b": [2, 3]}})
    assert numbered == MaskSettings(path="m.nc", variable="m", names={"a": 1, "b": [2, 3]})
    for wrong in ({"path": "p.geojson"}, {"path": "m.nc", "variable": "m", "names": {}}, {"path": "m", "variable": "m", "property": "n"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)

"""Where things are: coordinates in other units, corners of cells, regional sums in a product's own cells, classes that are no region."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import TypeAdapter

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.sources.adjustments import AdjustmentSettings, read_adjustments
from dualflux.sources.files.gridded import open_gridded
from dualflux.sources.inversions import InversionSource, read_inversions
from dualflux.sources.land.read import Land, LandFractionSettings, NoFluxSettings, land_cells, read_land_fraction
from dualflux.sources.land.region_masks import BandSettings, MaskSettings, PolygonSettings, RegionSettings, read_regions
from dualflux.sources.references import GriddedReference, read_references

FINE, STUDY = Grid.global_regular(1.0), Grid.global_regular(2.0)
TEN = Grid.global_regular(10.0)
MONTHS = pd.date_range("2001-01-01", periods=2, freq="MS")
DAYS = np.array([31.0, 28.0])
LAND = LandFractionSettings(path="land.nc")


def save(path: Path, grid: Grid, **variables: Any) -> None:
    xr.Dataset(variables, {"lat": grid.lat, "lon": grid.lon}).to_netcdf(path, engine="h5netcdf")


def mask(numbers: np.ndarray, names: str) -> Any:
    """Numbers from 1 in the order of the names."""
    values = np.arange(1, 1 + len(names.split()))
    return ("lat", "lon"), numbers.astype("i4"), {"flag_values": values.astype("i4"), "flag_meanings": names}


# --- regional sums over a product's own cells -----------------------------------------------------------------------


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Path:
    """Three regions of 1 degree with ragged borders, land in a part of the cells, and a rough flux of 1 degree."""
    random = np.random.default_rng(11)
    numbers = 1 + (FINE.lon[None, :] > random.integers(-60, 60, FINE.shape[0])[:, None]) + (FINE.lat[:, None] > 31)
    land = np.where(random.random(FINE.shape) < 0.4, random.uniform(0.1, 1, FINE.shape), 0.0)
    flux = random.normal(0, 1, (2, *FINE.shape)) * (land > 0)
    save(tmp_path / "mask.nc", FINE, region=mask(numbers, "a b c"))
    save(tmp_path / "land.nc", FINE, land_fraction=(("lat", "lon"), land, {"units": "1"}))
    units = {"units": "gC m-2 d-1"}
    coords = {"time": MONTHS, "lat": FINE.lat, "lon": FINE.lon}
    data = {"flux": (("time", "lat", "lon"), flux, units), "fire": (("time", "lat", "lon"), abs(flux), units)}
    xr.Dataset(data, coords).to_netcdf(tmp_path / "flux.nc", engine="h5netcdf")
    return tmp_path


def by_hand(folder: Path, variable: str, by_land: bool = False) -> np.ndarray:
    """Sums over the cells of each region [PgC month-1], (region, time): no cell of 1 degree is shared by two regions."""
    with xr.open_dataset(folder / "flux.nc") as f, xr.open_dataset(folder / "mask.nc") as m, xr.open_dataset(folder / "land.nc") as part:
        area = FINE.cell_area * (part.land_fraction.to_numpy() if by_land else 1.0)
        flux = f[variable].to_numpy() * area
        parts = [(flux * (m.region.to_numpy() == number)).sum(axis=(1, 2)) for number in (1, 2, 3)]
        return np.array([*parts, flux.sum(axis=(1, 2))]) * DAYS / 1e15


def study_land(folder: Path, grid: Grid = STUDY, regions: RegionSettings | None = None) -> Land:
    return land_cells(grid, folder, LAND, regions or MaskSettings(path="mask.nc", variable="region"), NoFluxSettings())


def inversion(folder: Path, land: Land) -> np.ndarray:
    source: Any = {"path": "flux.nc", "format": "gridded", "product": "P", "variable": "flux", "per": "area", "sign": "to_atmosphere"}
    parsed = TypeAdapter(InversionSource).validate_python(source)
    found = read_inversions([parsed], folder, land.cells.grid, land.regions, land.land_fraction, MONTHS)
    return found.integral.sel(product="P").to_numpy()


@pytest.mark.parametrize("resolution", [1.0, 2.0, 3.0, 5.0])
def test_regional_sums_do_not_depend_on_the_study_s_grid(world: Path, resolution: float) -> None:
    """A mask and a flux of 1 degree: each region is the sum over its own cells, however coarse the study is."""
    found = inversion(world, study_land(world, Grid.global_regular(resolution)))
    np.testing.assert_allclose(found, by_hand(world, "flux"), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found[:3].sum(axis=0), found[3], rtol=1e-9)


def test_adjustments_and_references_are_summed_over_their_own_cells(world: Path) -> None:
    land = study_land(world)
    place = (world, STUDY, land.regions, land.land_fraction, MONTHS)
    fire: Any = {
        "name": "fire",
        "path": "flux.nc",
        "format": "gridded",
        "variable": "fire",
        "per": "area",
        "sign": "to_atmosphere",
        "monthly_profile": "file",
    }
    term = read_adjustments([TypeAdapter(AdjustmentSettings).validate_python(fire)], *place)[0]
    np.testing.assert_allclose(term.integral.to_numpy(), by_hand(world, "fire"), rtol=1e-9)
    reference = GriddedReference(format="gridded", product="R", path="flux.nc", variable="flux")
    found = read_references([reference], *place).sel(product="R").to_numpy()
    np.testing.assert_allclose(found, by_hand(world, "flux", by_land=True), rtol=1e-9, atol=1e-12)


def test_a_coarse_cell_is_divided_by_the_land_of_the_fine_maps(tmp_path: Path) -> None:
    """A product cell of 4 degrees holds land 1 x 1 degree of `a` and 2 x 1 of `b` in one row; a study cell of 4 degrees knows only sums."""
    grid, product = Grid.global_regular(4.0), Grid.global_regular(4.0)
    land = np.zeros(FINE.shape)
    row, column = 92, 200  # 2.5 N, 20.5 E, in the cell from 0 to 4 N and 20 to 24 E
    land[row, column : column + 3] = 1.0
    numbers = np.where(FINE.lon > 21, 2, 1)[None, :] * np.ones(FINE.shape)
    save(tmp_path / "mask.nc", FINE, region=mask(numbers, "a b"))
    save(tmp_path / "land.nc", FINE, land_fraction=(("lat", "lon"), land))
    flux = np.zeros((2, *product.shape))
    r, c = (int(i[0]) for i in product.cell_of(np.array([2.5]), np.array([22.0])))
    flux[:, r, c] = 3.0
    coords = {"time": MONTHS, "lat": product.lat, "lon": product.lon}
    data = xr.Dataset({"flux": (("time", "lat", "lon"), flux, {"units": "gC m-2 d-1"})}, coords)
    data.to_netcdf(tmp_path / "flux.nc", engine="h5netcdf")
    found = inversion(tmp_path, study_land(tmp_path, grid))
    total = 3.0 * product.cell_area[r, c] * DAYS / 1e15
    np.testing.assert_allclose(found, [total / 3, 2 * total / 3, total], rtol=1e-9)


def test_polygons_divide_a_product_s_cells_exactly(world: Path) -> None:
    """A border at 0.25 degree east cuts cells of 1 degree: a quarter of their flux is the west's, in a study of 10 degrees."""
    boxes = {"west": [-180, 0.25], "east": [0.25, 180]}
    shapes = [
        {"type": "Feature", "properties": {"n": n}, "geometry": {"type": "Polygon", "coordinates": [ring(w, -90, e, 90)]}}
        for n, (w, e) in boxes.items()
    ]
    (world / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": shapes}))
    found = inversion(world, study_land(world, TEN, PolygonSettings(path="p.geojson", property="n")))
    with xr.open_dataset(world / "flux.nc") as f:
        flux = f.flux.to_numpy() * FINE.cell_area
    share = np.clip(0.25 - (FINE.lon - 0.5), 0, 1)
    west = (flux * share).sum(axis=(1, 2)) * DAYS / 1e15
    np.testing.assert_allclose(found[0], west, rtol=1e-7)
    np.testing.assert_allclose(found[:2].sum(axis=0), found[2], rtol=1e-9)


def test_bands_cut_a_product_s_cells(world: Path) -> None:
    land = study_land(world, TEN, BandSettings(bands={"south": (-90, 12.5), "north": (12.5, 90)}))
    found = inversion(world, land)
    with xr.open_dataset(world / "flux.nc") as f:
        flux = f.flux.to_numpy() * FINE.cell_area
    sines = np.sin(np.radians([12.0, 12.5, 13.0]))
    share = np.where(FINE.lat < 12, 1.0, 0.0) + (FINE.lat == 12.5) * (sines[1] - sines[0]) / (sines[2] - sines[0])
    np.testing.assert_allclose(found[0], (flux * share[:, None]).sum(axis=(1, 2)) * DAYS / 1e15, rtol=1e-9)
    np.testing.assert_allclose(found[:2].sum(axis=0), found[2], rtol=1e-9)


def ring(west: float, south: float, east: float, north: float) -> list[list[float]]:
    middle = (west + east) / 2
    return [[west, south], [middle, south], [east, south], [east, north], [middle, north], [west, north], [west, south]]


# --- coordinates ----------------------------------------------------------------------------------------------------

FIELD = np.add.outer(np.arange(18.0), np.arange(36.0) / 100) / 20


def land_file(folder: Path, lat: Any, lon: Any, field: np.ndarray = FIELD, **more: Any) -> np.ndarray:
    coords = {"lat": ("lat", *lat), "lon": ("lon", *lon)}
    xr.Dataset({"land_fraction": (("lat", "lon"), field), **more}, coords).to_netcdf(folder / "land.nc", engine="h5netcdf")
    return read_land_fraction(LAND, folder, TEN)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [
        ((TEN.lat, {"units": "degrees_north"}), (-TEN.lon, {"units": "degrees_west"})),
        ((TEN.lat, {"units": "degree_N"}), (-TEN.lon, {"units": "degree_W"})),
        ((-TEN.lat, {"units": "degrees_south"}), (TEN.lon, {"units": "degrees_east"})),
        ((np.radians(TEN.lat), {"units": "radians"}), (np.radians(TEN.lon), {"units": "radian"})),
        ((np.radians(TEN.lat), {"units": "rad"}), (np.radians(TEN.lon % 360), {"units": "rad"})),
        ((TEN.lat, {}), (TEN.lon, {"units": "degrees"})),
    ],
)
def test_coordinates_in_other_units_are_the_same_place(tmp_path: Path, lat: Any, lon: Any) -> None:
    np.testing.assert_allclose(land_file(tmp_path, lat, lon), FIELD)


@pytest.mark.parametrize(
    ("lat", "lon", "message"),
    [
        ((TEN.lat, {"units": "degrees_east"}), (TEN.lon, {"units": "degrees_north"}), "lat has unit `degrees_east`.*degrees_north"),
        ((TEN.lat, {"units": "m"}), (TEN.lon, {"units": "m"}), "lat has unit `m`"),
        ((np.radians(TEN.lat), {}), (np.radians(TEN.lon), {}), "radians"),
        ((np.radians(TEN.lat), {}), (np.radians(TEN.lon % 360), {}), "radians"),
        ((TEN.lat - 5, {}), (TEN.lon, {}), "18 latitudes from -90 to 80 are corners"),
        ((TEN.lat + 5, {}), (TEN.lon, {}), "18 latitudes from -80 to 90 are corners"),
    ],
)
def test_coordinates_that_cannot_be_told_are_named(tmp_path: Path, lat: Any, lon: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        land_file(tmp_path, lat, lon)


def bounds(edges: np.ndarray) -> np.ndarray:
    return np.stack([edges[:-1], edges[1:]], axis=1)


@pytest.mark.parametrize("corner", [-5.0, 5.0])
@pytest.mark.parametrize("east", [False, True])
def test_corners_are_moved_to_where_the_bounds_say_the_cells_are(tmp_path: Path, corner: float, east: bool) -> None:
    lon = TEN.lon % 360 if east else TEN.lon
    found = land_file(
        tmp_path,
        (TEN.lat + corner, {"bounds": "lat_edges"}),
        (lon + corner, {"bounds": "lon_edges"}),
        lat_edges=(("lat", "two"), bounds(TEN.lat_edges)),
        lon_edges=(("lon", "two"), np.stack([lon - 5, lon + 5], axis=1)),
    )
    np.testing.assert_allclose(found, FIELD)


def test_bounds_of_centres_and_of_half_cells_at_the_poles_change_nothing(tmp_path: Path) -> None:
    lat = np.linspace(-90, 90, 19)
    edges = np.concatenate([[-90], np.arange(-85.0, 90, 10), [90]])
    field = np.ones((19, 36)) * np.linspace(0, 1, 19)[:, None]
    stated = land_file(tmp_path, (lat, {"bounds": "lat_bnds"}), (TEN.lon, {}), field, lat_bnds=(("lat", "two"), bounds(edges)))
    np.testing.assert_array_equal(stated, land_file(tmp_path, (lat, {}), (TEN.lon, {}), field))


def test_bounds_elsewhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="outside their own bounds"):
        land_file(tmp_path, (TEN.lat, {"bounds": "b"}), (TEN.lon, {}), b=(("lat", "two"), bounds(TEN.lat_edges + 20)))


def test_a_wrapping_longitude_keeps_its_bounds(tmp_path: Path) -> None:
    """The cell around Greenwich in a file from 0 to 360 has bounds 355 and 5."""
    lon = np.arange(0.0, 360, 10)
    edges = np.stack([(lon - 5) % 360, lon + 5], axis=1)
    data = xr.Dataset({"x": (("lat", "lon"), FIELD), "lon_bnds": (("lon", "two"), edges)}, {"lat": TEN.lat, "lon": lon})
    data["lon"].attrs["bounds"] = "lon_bnds"
    data.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with open_gridded(tmp_path / "x.nc") as found:
        np.testing.assert_array_equal(found.lon, lon)


# --- classes that are no region -------------------------------------------------------------------------------------


def belts(folder: Path, values: list[int], names: str, numbers: np.ndarray | None = None) -> None:
    """Flags of a mask: 0 south of 60 S, 1 to 30 S, 2 beyond; land where the study has some."""
    belt = np.digitize(TEN.lat, [-60, 30])[:, None] * np.ones(TEN.shape) if numbers is None else numbers
    flags = {"flag_values": np.array(values, "i4"), "flag_meanings": names}
    save(folder / "m.nc", TEN, belt=(("lat", "lon"), belt.astype("i4"), flags))
    save(folder / "land.nc", TEN, land_fraction=(("lat", "lon"), np.full(TEN.shape, 0.5)))


def belt_mask(**more: Any) -> MaskSettings:
    return MaskSettings(path="m.nc", variable="belt", **more)


@pytest.mark.parametrize("name", ["none", "Ocean", "SEA", "outside", "missing", "no_data", "Oceans", "water"])
def test_a_class_called_so_is_no_region_unless_it_is_named(tmp_path: Path, name: str) -> None:
    belts(tmp_path, [3, 1, 2], f"{name} south north")
    found = read_regions(belt_mask(), tmp_path, TEN)
    assert found.names == ("south", "north") and found.not_regions == (name,)
    assert read_regions(belt_mask(classes="all"), tmp_path, TEN).names == (name, "south", "north")
    assert read_regions(belt_mask(classes=[name, "north"]), tmp_path, TEN).names == (name, "north")


def test_the_flag_0_is_no_region_unless_it_is_named(tmp_path: Path) -> None:
    belts(tmp_path, [0, 1, 2], "Africa south north")
    assert read_regions(belt_mask(), tmp_path, TEN).names == ("south", "north")
    assert read_regions(belt_mask(names={"Africa": 0, "rest": [1, 2]}), tmp_path, TEN).names == ("Africa", "rest")
    assert read_regions(belt_mask(classes=["Africa"]), tmp_path, TEN).names == ("Africa",)
    with pytest.raises(InputError, match="no class Asia; it has Africa, south, north; correct `classes`"):
        read_regions(belt_mask(classes=["Asia"]), tmp_path, TEN)


def test_southeast_asia_is_no_sea_by_accident(tmp_path: Path) -> None:
    belts(tmp_path, [3, 1, 2], "SEA RUS CHN")
    with pytest.raises(InputError, match=r"may be Southeast Asia or the sea.*`classes: all`"):
        read_regions(belt_mask(), tmp_path, TEN)
    assert "SEAS" in read_regions("gcp18", tmp_path, TEN).names


def test_fractions_and_polygons_leave_such_classes_out_too(tmp_path: Path) -> None:
    parts = np.stack([np.full(TEN.shape, 0.3), np.full(TEN.shape, 0.7)])
    coords = {"region": ["land", "ocean"], "lat": TEN.lat, "lon": TEN.lon}
    xr.Dataset({"part": (("region", "lat", "lon"), parts)}, coords).to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    assert read_regions(MaskSettings(path="f.nc", variable="part"), tmp_path, TEN).names == ("land",)
    features = [
        {"type": "Feature", "properties": {"n": n}, "geometry": {"type": "Polygon", "coordinates": [ring(w, 0, w + 10, 10)]}}
        for n, w in (("a", 0), ("None", 20))
    ]
    (tmp_path / "p.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    assert read_regions(PolygonSettings(path="p.geojson", property="n"), tmp_path, TEN).names == ("a",)


def test_land_in_no_region_beyond_the_stated_share_is_an_error(tmp_path: Path) -> None:
    """The class `none` from 60 S to 30 N holds half of the land north of 60 S and more."""
    belts(tmp_path, [1, 2], "none north")
    south, north = (np.sin(np.radians(30)) + np.sin(np.radians(60)), 1 - np.sin(np.radians(30)))
    share = south / (south + north)
    message = rf"regions: {100 * share:.1f}% of the land north of 60 S \(\d+ million km2\) lies in no region \(the classes none are taken"
    with pytest.raises(InputError, match=message + r".*name those that are regions as `classes`.*outside_regions: 0\.74"):
        land_cells(TEN, tmp_path, LAND, belt_mask(), NoFluxSettings())
    accepted = LandFractionSettings(path="land.nc", outside_regions=0.74)
    assert land_cells(TEN, tmp_path, accepted, belt_mask(), NoFluxSettings()).regions.names == ("north",)
    strict = LandFractionSettings(path="land.nc", outside_regions=0.0)
    land_cells(TEN, tmp_path, strict, belt_mask(classes="all"), NoFluxSettings())
    with pytest.raises(InputError, match=r"outside_regions: 0\.\d+"):
        land_cells(TEN, tmp_path, strict, BandSettings(bands={"north": (-50, 90)}), NoFluxSettings())

"""Areas, regridding and regions on the sphere, against what geometry says."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, LandCells, Overlap, Regions, grid_of, normalise_coordinates, overlap_matrix, regrid

SPHERE = 4 * np.pi * EARTH_RADIUS**2


def gaussian_latitudes(count: int) -> np.ndarray:
    """Latitudes of a Gaussian grid: arcsines of the roots of a Legendre polynomial."""
    return np.degrees(np.arcsin(np.polynomial.legendre.leggauss(count)[0]))


@st.composite
def files(draw: st.DrawFn) -> xr.DataArray:
    """A global field as some file may hold it: any of the latitude and longitude conventions."""
    rows, columns = draw(st.integers(4, 24)), draw(st.integers(3, 30))
    kind = draw(st.sampled_from(["centres", "poles", "gaussian"]))
    if kind == "centres":
        lat = (np.arange(rows) + 0.5) * 180 / rows - 90
    else:
        lat = np.linspace(-90, 90, rows) if kind == "poles" else gaussian_latitudes(rows)
    first = draw(st.sampled_from([-180.0, 0.0, 180 / columns, -180 + 180 / columns]))
    lon = first + np.arange(columns) * 360 / columns
    values = np.random.default_rng(draw(st.integers(0, 1000))).normal(size=(rows, columns))
    data = xr.DataArray(values, dims=("lat", "lon"), coords={"lat": lat, "lon": lon})
    if draw(st.booleans()):
        data = data.isel(lat=slice(None, None, -1))
    if draw(st.booleans()):
        data = data.assign_coords(lat=data.lat.astype(np.float32), lon=data.lon.astype(np.float32))
    return data.transpose("lon", "lat") if draw(st.booleans()) else data


def read(data: xr.DataArray) -> tuple[np.ndarray, Grid]:
    """Values and grid in our convention."""
    ours = normalise_coordinates(data, "file.nc: `x`")
    return ours.values, grid_of(ours, "file.nc: `x`")


@given(files())
def test_a_global_grid_covers_the_sphere(data: xr.DataArray) -> None:
    assert read(data)[1].cell_area.sum() == pytest.approx(SPHERE, rel=1e-6)


@given(files(), files())
def test_regridding_conserves_the_global_integral(first: xr.DataArray, second: xr.DataArray) -> None:
    values, source = read(first)
    target = read(second)[1]
    mean, valid = regrid(values, source, target)
    integral = (mean * valid * target.cell_area).sum()
    assert integral == pytest.approx((values * source.cell_area).sum(), abs=3e-6 * np.abs(values * source.cell_area).sum())


@given(files(), files())
def test_a_constant_stays_constant_and_all_of_it_valid(first: xr.DataArray, second: xr.DataArray) -> None:
    source, target = read(first)[1], read(second)[1]
    mean, valid = regrid(np.full(source.shape, 3.5), source, target)
    np.testing.assert_allclose(mean, 3.5)
    np.testing.assert_allclose(valid, 1, rtol=1e-5)


@given(files(), files(), st.integers(0, 99))
def test_missing_cells_carry_no_area_and_no_value(first: xr.DataArray, second: xr.DataArray, seed: int) -> None:
    values, source = read(first)
    target = read(second)[1]
    values = np.where(np.random.default_rng(seed).random(values.shape) < 0.4, np.nan, values)
    mean, valid = regrid(values, source, target)
    total = np.nansum(values * source.cell_area)
    assert np.nansum(mean * valid * target.cell_area) == pytest.approx(total, abs=3e-6 * np.nansum(np.abs(values * source.cell_area)))
    assert (valid * target.cell_area).sum() == pytest.approx(source.cell_area[np.isfinite(values)].sum(), rel=1e-5, abs=1e-6 * SPHERE)
    assert (np.isnan(mean) == (valid == 0)).all()


@given(st.sampled_from([1, 2, 3, 5]), st.integers(0, 99))
def test_to_finer_cells_and_back_is_the_identity(factor: int, seed: int) -> None:
    coarse, fine = Grid.global_regular(15.0), Grid.global_regular(15.0 / factor)
    values = np.random.default_rng(seed).normal(size=(2, *coarse.shape))
    there = regrid(values, coarse, fine)[0]
    np.testing.assert_allclose(regrid(there, fine, coarse)[0], values, atol=1e-12)


def test_the_factors_are_the_overlap_matrix() -> None:
    source, target = Grid.global_regular(20.0), Grid.global_regular(12.0)
    values = np.random.default_rng(1).normal(size=(3, *source.shape))
    dense = overlap_matrix(source, target).toarray()
    np.testing.assert_allclose(Overlap.between(source, target).apply(values).reshape(3, -1), values.reshape(3, -1) @ dense.T)
    np.testing.assert_allclose(dense.sum(axis=1), target.cell_area.ravel())
    np.testing.assert_allclose(dense.sum(axis=0), source.cell_area.ravel())


def test_weights_make_a_mean_over_land() -> None:
    """Two source cells of equal area in one target cell: land 1 and 0.25, values 2 and 7 -> (2 + 7/4) / (5/4) = 3."""
    source = Grid(np.array([-45.0, 45.0]), np.array([-135.0, -45.0, 45.0, 135.0]))
    target = Grid(np.array([-45.0, 45.0]), np.array([-90.0, 90.0]))
    values = np.array([[2.0, 7.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    weight = np.array([[1.0, 0.25, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    mean, valid = regrid(values, source, target, weight)
    np.testing.assert_allclose(mean, [[3.0, np.nan], [0.0, 0.0]])
    np.testing.assert_allclose(valid, [[0.625, 0.0], [1.0, 1.0]])


def test_areas_against_published_numbers() -> None:
    """A hemisphere, the zone 30S..30N (half the sphere), and a pole-centred grid's half cells."""
    grid = Grid.global_regular(2.0)
    area = grid.cell_area.sum(axis=1)
    assert pytest.approx(5.10066e14, rel=1e-5) == SPHERE  # m2, authalic sphere of WGS84
    assert area[grid.lat > 0].sum() == pytest.approx(SPHERE / 2)
    assert area[np.abs(grid.lat) < 30].sum() == pytest.approx(SPHERE / 2)
    polar = Grid(np.linspace(-90, 90, 73), np.arange(144) * 2.5 - 180)
    assert polar.cell_area[0, 0] == pytest.approx(EARTH_RADIUS**2 * np.radians(2.5) * (1 - np.cos(np.radians(1.25))))
    assert polar.lat_edges[[0, 1, -1]] == pytest.approx([-90, -88.75, 90])


@pytest.mark.parametrize("count", [32, 64, 96, 320])
def test_gaussian_grids_reach_the_poles(count: int) -> None:
    grid = Grid(gaussian_latitudes(count), np.arange(8) * 45.0 - 180)
    assert grid.lat_edges[[0, -1]] == pytest.approx([-90, 90])


def test_an_even_grid_does_not_grow_to_the_pole() -> None:
    assert Grid(np.array([-52.25, 23.25]), np.arange(8) * 45.0 - 180).lat_edges.tolist() == [-90, -14.5, 61]
    assert Grid(np.arange(60.0, 90.0, 1.0), np.arange(10.0)).lat_edges[-1] == 89.5


def test_single_precision_coordinates_give_no_slivers() -> None:
    """A valid cell of a 0.1 degree file must not lend its value to the missing neighbour's cell."""
    target = Grid(np.arange(50) * 0.1 - 89.95, np.arange(70) * 0.1 - 179.95)
    values = np.full((50, 70), np.nan)
    values[20, 30] = 1.0
    coordinates = {"lat": target.lat.astype(np.float32), "lon": target.lon.astype(np.float32)}
    ours, source = read(xr.DataArray(values, dims=("lat", "lon"), coords=coordinates))
    assert source.same_as(target)
    assert np.isfinite(regrid(ours, source, target)[0]).sum() == 1


@given(st.floats(-90, 90), st.floats(-360, 720), st.sampled_from([1.0, 2.5, 0.1]))
def test_a_point_lies_inside_its_cell(lat: float, lon: float, resolution: float) -> None:
    grid = Grid.global_regular(resolution)
    row, column = (int(i[0]) for i in grid.cell_of(np.array([lat]), np.array([lon])))
    assert grid.lat_edges[row] - 1e-9 <= lat <= grid.lat_edges[row + 1] + 1e-9
    east = (lon - grid.lon_edges[column] + 1e-9) % 360
    assert east <= resolution + 2e-9


def test_points_outside_a_regional_grid() -> None:
    grid = Grid(np.arange(30.5, 60), np.arange(0.5, 40))
    row, column = grid.cell_of(np.array([45.0, 90.0, 45.0, 29.9, np.nan, 60.0]), np.array([0.0, 5.0, 41.0, 5.0, 5.0, 40.0]))
    assert row.tolist() == [15, -1, -1, -1, -1, 29]
    assert column.tolist() == [0, -1, -1, -1, -1, 39]


@pytest.mark.parametrize("resolution", [0, -1, 0.7, 120, 180])
def test_a_resolution_that_does_not_divide_is_refused(resolution: float) -> None:
    with pytest.raises(InputError, match="does not divide 180"):
        Grid.global_regular(resolution)


def field(lat: list[float], lon: list[float]) -> xr.DataArray:
    """Zeros on the given coordinates."""
    return xr.DataArray(np.zeros((len(lat), len(lon))), dims=("lat", "lon"), coords={"lat": lat, "lon": lon})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (field([0, 1], [0, 1]).rename(lat="j"), "no lat coordinate among"),
        (field([0, 1], [0, 1]).drop_vars("lon"), "no lon coordinate among"),
        (field([0, 95], [0, 1]), "latitudes from 0.0 to 95.0; allowed: -90 to 90"),
        (field([0, 1], [0, 400]), "longitudes from 0.0 to 400.0; allowed"),
        (field([0, 1], [0, 180, 360]), "stands twice"),
        (field([0, 1], [-180, -90, 0, 90, 180]), "go around more than once"),
        (field([0, 1], [0, 1, 5]), "not evenly spaced"),
        (field([0], [0, 1]), "at least two of each"),
    ],
)
def test_bad_coordinates_are_named(data: xr.DataArray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(data)


def integer_mask(values: np.ndarray, **attributes: object) -> xr.DataArray:
    """A drawn world of 45 x 90 degree cells."""
    grid = Grid(np.array([-67.5, -22.5, 22.5, 67.5]), np.array([-135.0, -45.0, 45.0, 135.0]))
    attributes = {"flag_values": [1, 2], "flag_meanings": "west east", **attributes}
    return xr.DataArray(values, dims=("lat", "lon"), coords={"lat": grid.lat, "lon": grid.lon}, attrs=attributes)


WORLD = np.array([[0, 0, 0, 0], [1, 1, 2, 2], [1, 1, 2, 0], [0, 0, 0, 0]])


@given(st.sampled_from([1.0, 2.5, 12.0, 18.0]))
def test_region_areas_close_on_any_grid(resolution: float) -> None:
    target = Grid.global_regular(resolution)
    regions = Regions.from_integer_mask(integer_mask(WORLD), target, "mask.nc: `r`")
    quarter = EARTH_RADIUS**2 * np.pi / 2 * np.sin(np.radians(45))  # one cell of the drawn world beside the equator
    area = (regions.fraction * target.cell_area).sum(axis=(1, 2))
    np.testing.assert_allclose(area, [4 * quarter, 3 * quarter], rtol=1e-9)
    assert regions.names == ("west", "east")


def test_fractional_and_integer_masks_agree() -> None:
    mask = integer_mask(WORLD)
    parts = xr.concat([(mask == 1).astype(float), (mask == 2).astype(float)], dim="region")
    target = Grid.global_regular(12.0)
    first = Regions.from_integer_mask(mask, target, "x")
    second = Regions.from_fractions(parts, ["west", "east"], target, "x")
    np.testing.assert_allclose(first.fraction, second.fraction)


@pytest.mark.parametrize(
    ("names", "fraction", "message"),
    [
        (("a", "a"), [0.5, 0.5], "names must be unique"),
        (("a", "global"), [0.5, 0.5], "not `global`"),
        (("a", "b"), [0.7, 0.5], "summing to 1.2"),
        (("a", "b"), [-0.5, 0.5], "fractions from -0.5"),
        (("a", "b", "c"), [0.5, 0.5], "3 names for 2 fields"),
    ],
)
def test_bad_regions_are_refused(names: tuple[str, ...], fraction: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Regions(names, np.array(fraction)[:, None, None] * np.ones((1, 2, 2)))


def test_an_integer_mask_needs_names() -> None:
    grid = Grid.global_regular(45.0)
    unnamed = integer_mask(WORLD)
    del unnamed.attrs["flag_meanings"]
    with pytest.raises(InputError, match="no attributes `flag_values` and `flag_meanings`"):
        Regions.from_integer_mask(unnamed, grid, "x")
    with pytest.raises(InputError, match="2 flag_values but 3 flag_meanings"):
        Regions.from_integer_mask(integer_mask(WORLD, flag_meanings="a b c"), grid, "x")
    with pytest.raises(InputError, match="latitude and longitude only"):
        Regions.from_integer_mask(integer_mask(WORLD).expand_dims(level=2), grid, "x")


@pytest.mark.parametrize(
    ("parts", "land", "expected"),
    [
        ([1.0, 0.0], 0.3, [1.0, 0.0]),  # a mask of whole cells, or of land shares, on a coast
        ([0.3, 0.0], 0.3, [1.0, 0.0]),  # a mask of land only, same coast
        ([0.2, 0.1], 0.3, [2 / 3, 1 / 3]),  # two neighbours on a coast
        ([0.5, 0.0], 0.8, [0.625, 0.0]),  # land that belongs to no region stays outside
        ([0.0, 0.0], 0.8, [0.0, 0.0]),
        ([0.0, 0.0], 0.0, [0.0, 0.0]),
    ],
)
def test_the_land_of_a_cell_is_shared(parts: list[float], land: float, expected: list[float]) -> None:
    regions = Regions(("a", "b"), np.array(parts)[:, None, None] * np.ones((1, 2, 2)))
    np.testing.assert_allclose(regions.share_of_land(np.full((2, 2), land))[:, 0, 0], expected)


@settings(max_examples=20)
@given(st.integers(0, 99))
def test_land_cells_are_the_map_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.global_regular(30.0)
    land = rng.random(grid.shape) * (rng.random(grid.shape) < 0.5)
    land[0, 0] = 1.0
    regions = Regions(("a", "b"), np.stack([np.tile(grid.lat > 0, (12, 1)).T, np.tile(grid.lat <= 0, (12, 1)).T]).astype(float))
    cells = LandCells.build(grid, land, regions)
    assert cells.region_area.sum() == pytest.approx((grid.cell_area * land).sum())
    np.testing.assert_array_equal(cells.to_map(cells.land_area, fill=0.0), grid.cell_area * land)
    assert np.isnan(cells.to_map(np.ones((2, cells.index.size)))[:, land == 0]).all()
    row, column = grid.cell_of(cells.lat(), cells.lon())
    np.testing.assert_array_equal(row * grid.lon.size + column, cells.index)

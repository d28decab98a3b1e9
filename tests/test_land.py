"""Land, land without flux, regions and the cells of towers, on a world of 45 x 90 degree cells and on the real one."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, LandCells, Regions
from dualflux.sources.land.read import LandFractionSettings, NoFluxSettings, land_cells
from dualflux.sources.land.region_masks import BandSettings, MaskSettings, RegionSettings, read_regions
from dualflux.sources.predictors.read import read_predictors
from dualflux.sources.predictors.settings import PredictorSettings
from dualflux.sources.towers.cells import tower_cells

GRID = Grid(np.array([-67.5, -22.5, 22.5, 67.5]), np.array([-135.0, -45.0, 45.0, 135.0]))
POLAR, TROPICAL = (EARTH_RADIUS**2 * np.pi / 2 * part for part in (1 - np.sqrt(0.5), np.sqrt(0.5)))  # cell areas [m2]
LAND = np.array([[1, 1, 1, 1], [0, 0.5, 0, 0], [1, 0.5, 0, 0], [0, 0, 0, 0.2]])
MASK = np.array([[0, 0, 0, 0], [1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2]])
FRACTION = LandFractionSettings(path="land.nc")
COVER = PredictorSettings(name="cover", path="land.nc", variable="cover", kind="fractions")
REGIONS = MaskSettings(path="land.nc", variable="mask")


def write(folder: Path, **changes: Any) -> None:
    """The drawn world: ice in the south, 60 % of the land of one more cell."""
    ice = np.where(LAND == 1, [[1.0], [0], [0], [0]], 0.0)
    ice[1, 1] = 0.3
    parts = {"WAT": 1 - LAND, "SNO": ice, "GRA": LAND - ice}
    variables = {
        "land_fraction": (("lat", "lon"), LAND, {"units": "1"}),
        "mask": (("lat", "lon"), MASK, {"flag_values": [1, 2], "flag_meanings": "west east"}),
        "cover": (("igbp", "lat", "lon"), np.stack(list(parts.values())), {"units": "1"}),
        **changes,
    }
    coords = {"lat": GRID.lat, "lon": GRID.lon, "igbp": list(parts)}
    xr.Dataset(variables, coords).to_netcdf(folder / "land.nc", engine="h5netcdf")


def read(folder: Path, no_flux: NoFluxSettings | None = None, regions: RegionSettings = REGIONS, grid: Grid = GRID) -> Any:
    """The land of the drawn world."""
    return land_cells(grid, folder, FRACTION, regions, no_flux or NoFluxSettings(), [COVER])


def test_land_and_its_shares_by_hand(tmp_path: Path) -> None:
    """South 4 polar cells outside the regions; west 0.5 + 1 + 0.5 tropical cells; east 0.2 polar cells."""
    write(tmp_path)
    land = read(tmp_path)
    assert land.cells.index.tolist() == [0, 1, 2, 3, 5, 8, 9, 15]
    total = 4.2 * POLAR + 2 * TROPICAL
    assert land.shares.index.tolist() == ["west", "east", "global", "outside_regions"]
    np.testing.assert_allclose(land.shares["land_area"], [2 * TROPICAL, 0.2 * POLAR, total, 4 * POLAR])
    np.testing.assert_allclose(land.shares["share_of_land"], np.array([2 * TROPICAL, 0.2 * POLAR, total, 4 * POLAR]) / total)
    assert (land.shares["no_flux_share"] == 0).all()
    np.testing.assert_allclose(land.land_area.sum(), total)
    np.testing.assert_allclose(land.cells.region_area.sum(axis=1), [2 * TROPICAL, 0.2 * POLAR])


@pytest.mark.parametrize(("above", "left"), [(0.5, [8, 9, 15]), (0.6001, [5, 8, 9, 15])])
def test_land_without_flux_is_left_out_and_counted(tmp_path: Path, above: float, left: list[int]) -> None:
    """The south is ice; of cell 5 (half land) ice takes 0.3, which is 60 % of its land."""
    write(tmp_path)
    land = read(tmp_path, NoFluxSettings(rule="zero", above=above))
    assert land.cells.index.tolist() == left
    bare = 0.5 * TROPICAL if above == 0.5 else 0.0
    total = 4.2 * POLAR + 2 * TROPICAL
    np.testing.assert_allclose(land.shares["no_flux_share"], [bare / (2 * TROPICAL), 0, (4 * POLAR + bare) / total, 1], rtol=1e-6)
    np.testing.assert_allclose(land.land_area.sum(), total)


def test_modelled_is_the_default() -> None:
    assert NoFluxSettings().rule == "model"


@pytest.mark.parametrize(
    ("no_flux", "predictors", "message"),
    [
        (NoFluxSettings(rule="zero"), [], r"needs one fractions predictor; the study has \[\]"),
        (NoFluxSettings(rule="zero"), [COVER, COVER], "name one as `predictor`, or say `rule: model`"),
        (NoFluxSettings(rule="zero", classes=("ICE",)), [COVER], "has no class ICE; allowed: WAT, SNO, GRA"),
        (NoFluxSettings(rule="zero", classes=("SNO", "GRA")), [COVER], "leave no land"),
    ],
)
def test_land_without_flux_that_cannot_be_told(
    tmp_path: Path, no_flux: NoFluxSettings, predictors: list[PredictorSettings], message: str
) -> None:
    write(tmp_path)
    with pytest.raises(InputError, match=message):
        land_cells(GRID, tmp_path, FRACTION, REGIONS, no_flux, predictors)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"land_fraction": (("lat", "lon"), 100 * LAND)}, "100 in 8 cells, which no fraction can be"),
        ({"land_fraction": (("lat", "lon"), LAND, {"units": "km2"})}, "unit `km2`"),
        ({"land_fraction": (("lat", "lon"), np.full((4, 4), np.nan))}, "has no land on this grid"),
        ({"land_fraction": (("month", "lat", "lon"), np.ones((2, 4, 4)))}, "has latitude and longitude only"),
        ({"mask": (("lat", "lon"), MASK)}, "no attributes `flag_values`"),
        ({"mask": (("a", "b", "lat", "lon"), np.ones((2, 2, 4, 4)))}, "and a region dimension if it holds fractions"),
        ({"mask": (("r", "lat", "lon"), np.ones((2, 4, 4)))}, "no region names; add a variable `region_name`"),
        ({"mask": (("r", "lat", "lon"), np.ones((2, 4, 4)), {"flag_meanings": "a b"})}, "summing to 2 in a cell"),
    ],
)
def test_bad_land_files_are_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    write(tmp_path, **changed)
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_all_problems_with_the_land_come_at_once(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(InputError) as caught:
        land_cells(
            GRID,
            tmp_path,
            LandFractionSettings(path="none.nc"),
            MaskSettings(path="land.nc", variable="area"),
            NoFluxSettings(rule="zero", classes=("ICE",)),
            [COVER],
        )
    for expected, problem in zip(["none.nc: no such file", "no variable `area`", "no class ICE"], caught.value.problems, strict=True):
        assert expected in problem


def test_percent_and_missing_sea(tmp_path: Path) -> None:
    write(tmp_path, land_fraction=(("lat", "lon"), np.where(LAND > 0, 100 * LAND, np.nan), {"units": "%"}))
    np.testing.assert_allclose(read(tmp_path).land_fraction, LAND)


@pytest.mark.parametrize("resolution", [1.0, 9.0, 30.0])
def test_land_area_is_the_same_on_every_grid(tmp_path: Path, resolution: float) -> None:
    write(tmp_path)
    land = read(tmp_path, grid=Grid.global_regular(resolution))
    assert land.land_area.sum() == pytest.approx(4.2 * POLAR + 2 * TROPICAL)
    assert land.shares["land_area"].drop("global").sum() == pytest.approx(land.shares.loc["global", "land_area"])


def test_fractional_masks_name_their_regions_in_three_ways(tmp_path: Path) -> None:
    parts = np.stack([MASK == 1, MASK == 2]).astype(float)
    ways: list[dict[str, Any]] = [
        {"mask": (("r", "lat", "lon"), parts), "region_name": (("r",), ["west", "east"])},
        {"mask": (("r", "lat", "lon"), parts), "r": (("r",), ["west", "east"])},
        {"mask": (("r", "lat", "lon"), parts, {"flag_meanings": "west east"})},
    ]
    for way in ways:
        write(tmp_path, **way)
        found = read_regions(REGIONS, tmp_path, GRID)
        assert found.names == ("west", "east")
        np.testing.assert_array_equal(found.fraction, parts)


@given(st.floats(-89, 88), st.floats(1, 60), st.sampled_from([1.0, 2.5, 30.0]))
def test_latitude_bands_have_the_area_of_their_zone(south: float, width: float, resolution: float) -> None:
    north = min(south + width, 90.0)
    grid = Grid.global_regular(resolution)
    found = read_regions(BandSettings(bands={"below": (-90, south), "zone": (south, north)}), Path("."), grid)
    zone = 2 * np.pi * EARTH_RADIUS**2 * (np.sin(np.radians(north)) - np.sin(np.radians(south)))
    assert (found.fraction[1] * grid.cell_area).sum() == pytest.approx(zone, rel=1e-6)


def test_bands_that_overlap_or_run_backwards_are_refused() -> None:
    with pytest.raises(InputError, match=r"band `n` from 90.0 to 30.0; give the southern latitude first"):
        read_regions(BandSettings(bands={"n": (90, 30)}), Path("."), GRID)
    with pytest.raises(InputError, match="summing to 2 in a cell"):
        read_regions(BandSettings(bands={"a": (-90, 30), "b": (-90, 90)}), Path("."), GRID)


def test_the_three_ways_to_name_regions_in_a_study() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(RegionSettings)
    assert adapter.validate_python("gcp18") == "gcp18"
    assert adapter.validate_python({"bands": {"north": [30, 90]}}) == BandSettings(bands={"north": (30, 90)})
    assert adapter.validate_python({"path": "m.nc", "variable": "m"}) == MaskSettings(path="m.nc", variable="m")
    for wrong in ("gcp19", {"bands": {}}, {"bands": {"north": [30, 95]}}, {"path": "m.nc"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


@pytest.mark.parametrize("resolution", [1.0, 4.0])
def test_the_packaged_regions_hold_the_land_of_continents(resolution: float) -> None:
    """Land areas of countries that are regions of their own [million km2, CIA World Factbook total area], within 3 %."""
    grid = Grid.global_regular(resolution)
    regions = read_regions("gcp18", Path("."), grid)
    assert len(regions.names) == 18
    with xr.open_dataset(Path(__file__).resolve().parents[1] / "src/dualflux/data/gcp18.nc", engine="h5netcdf") as file:
        fine, fraction = Grid.global_regular(1.0), file.land_fraction.to_numpy()
    coarse = fraction if resolution == 1.0 else (fraction * fine.cell_area).reshape(45, 4, 90, 4).sum(axis=(1, 3)) / grid.cell_area
    area = dict(zip(regions.names, (regions.share_of_land(coarse) * coarse * grid.cell_area).sum(axis=(1, 2)) / 1e12, strict=True))
    assert area["BRA"] == pytest.approx(8.516, rel=0.03)
    assert area["RUS"] == pytest.approx(17.098, rel=0.03)


def places(**where: tuple[float, float]) -> pd.DataFrame:
    """Sites and their coordinates."""
    return pd.DataFrame.from_dict(where, orient="index", columns=["lat", "lon"]).rename_axis("site")


def island() -> LandCells:
    """A 10 degree world with land at 165W on the equator and at 5E 45N only."""
    grid = Grid.global_regular(10.0)
    land = np.zeros(grid.shape)
    land[9, 1] = land[13, 18] = 1.0
    return LandCells.build(grid, land, Regions(("r",), np.ones((1, *grid.shape))))


def test_towers_stand_in_their_own_cell() -> None:
    found = tower_cells(island(), places(a=(41.0, 9.9), b=(3.0, -165.0), c=(3.0, 195.0)))
    assert found["cell"].tolist() == [1, 0, 0]
    assert found["distance"].tolist() == [0, 0, 0]


def test_towers_without_land_are_all_named() -> None:
    sites = places(sea=(3.0, 175.0), far=(-60.0, 20.0), fine=(45.0, 5.0), lost=(np.nan, 5.0))
    with pytest.raises(InputError) as caught:
        tower_cells(island(), sites)
    said = [
        "tower sea (3.0, 175.0) has no land cell",
        "tower far (-60.0, 20.0) has no land cell",
        "tower lost (nan, 5.0) lies outside the grid",
    ]
    for expected, problem in zip(said, caught.value.problems, strict=True):
        assert expected in problem
    with pytest.raises(InputError, match=r"tower far \(-60.0, 20.0\) has no land cell within 2 cells"):
        tower_cells(island(), sites.loc[["sea", "far"]], "nearest")


def test_the_nearest_land_may_lie_across_the_date_line() -> None:
    """From 3N 175E to 5N 165W: a great circle of 19.98 + degrees, along the parallel 20 x cos."""
    found = tower_cells(island(), places(sea=(3.0, 175.0)), "nearest")
    assert found.loc["sea", "cell"] == 0
    lat, far = np.radians([3.0, 5.0]), np.radians(20.0)
    expected = 6371.0072 * np.arccos(np.sin(lat[0]) * np.sin(lat[1]) + np.cos(lat[0]) * np.cos(lat[1]) * np.cos(far))
    assert found.loc["sea", "distance"] == pytest.approx(expected)


def test_a_dropped_cell_is_no_home_for_a_tower() -> None:
    with pytest.raises(InputError, match="dropped for a missing predictor"):
        tower_cells(island(), places(a=(45.0, 5.0)), valid=np.array([True, False]))


def test_the_real_land(shared_data: Path) -> None:
    """Area as in the file; 140 towers all on land, 12 in a cell under half land, 11 in a cell with a missing layer: as its README says."""
    root = shared_data / "real"
    cover = PredictorSettings(name="cover", path="static_predictors_1deg.nc", variable="igbp_fraction", kind="fractions")
    place = (
        Grid.global_regular(1.0),
        root,
        LandFractionSettings(path="region_masks_1deg.nc"),
        MaskSettings(path="region_masks_1deg.nc", variable="lat_band"),
    )
    land = land_cells(*place, NoFluxSettings(), [cover])
    with xr.open_dataset(root / "region_masks_1deg.nc", engine="h5netcdf") as masks:
        expected = masks.land_fraction.to_numpy().astype(float) * masks.cell_area_m2.to_numpy()
        bands = masks.lat_band.to_numpy()
    np.testing.assert_allclose(land.land_area, expected, rtol=3e-6)  # the file's sphere has a radius of 6371.0 km
    np.testing.assert_allclose(land.shares["land_area"][:3], [expected[bands == b].sum() for b in (1, 2, 3)], rtol=3e-6)
    assert land.shares.loc["outside_regions", "land_area"] == 0
    sites = pd.read_csv(root / "towers_monthly.csv").drop_duplicates("site").set_index("site")
    home = tower_cells(land.cells, sites)["cell"].to_numpy()
    assert home.size == 140
    assert (land.land_fraction.ravel()[land.cells.index[home]] < 0.5).sum() == 12
    layers = ("t_opt_c", "t_mean_c", "ndvi_max", "fapar_max")
    chosen = [PredictorSettings(name=n, path="static_predictors_1deg.nc", kind="static", missing="drop") for n in layers]
    valid = read_predictors(chosen, root, land.cells.grid, land.cells, pd.DatetimeIndex(["2001-01-01"]), "monthly").valid.to_numpy()
    with pytest.raises(InputError) as caught:
        tower_cells(land.cells, sites, valid=valid)
    assert len(caught.value.problems) == 11
    ice = land_cells(*place, NoFluxSettings(rule="zero"), [cover])
    assert ice.shares.loc["global", "no_flux_share"] == pytest.approx(0.10, abs=0.01)  # ice sheets: 10 % of the Earth's land
    assert (tower_cells(ice.cells, sites)["distance"] == 0).all()


def test_a_region_without_land_is_named(tmp_path: Path) -> None:
    field = xr.DataArray(np.zeros((18, 36)), {"lat": np.arange(-85.0, 90, 10), "lon": np.arange(-175.0, 180, 10)}, ("lat", "lon"))
    field[:9] = 1.0
    field.to_dataset(name="land_fraction").to_netcdf(tmp_path / "land.nc", engine="h5netcdf")
    bands = BandSettings(bands={"south": (-90, 0), "north": (0, 90)})
    with pytest.raises(InputError, match="regions north: no land with a flux on this grid"):
        land_cells(Grid.global_regular(10.0), tmp_path, LandFractionSettings(path="land.nc"), bands, NoFluxSettings())

"""The packaged region mask against what is known of countries, and its builder."""

import csv
import importlib.util
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dualflux.grid import Grid
from dualflux.sources.land.region_masks import read_regions

NAMES = ["USA", "CAN", "CAM", "NSA", "BRA", "SSA", "EU", "NAF", "EQAF", "SAF", "RUS", "CAS", "MIDE", "CHN", "KAJ", "SAS", "SEAS", "OCE"]
# Surface area, million km2: UN Demographic Yearbook 2012, table 3 (China with Taiwan).
COUNTRY_AREA = {"USA": 9.63, "CAN": 9.98, "BRA": 8.51, "RUS": 17.10, "CHN": 9.63}
PLACES = [
    ("BRA", -3.1, -60.0), ("USA", 65.0, -150.0), ("USA", 40.0, -95.0), ("NSA", 4.0, -53.0), ("EU", 48.9, 2.3), ("EU", 49.0, 32.0),
    ("RUS", 62.0, 130.0), ("CAN", 55.0, -105.0), ("CAM", 23.0, -102.0), ("SSA", -35.0, -65.0), ("NAF", 23.0, 5.0), ("NAF", 9.0, 8.0),
    ("EQAF", 0.0, 23.0), ("SAF", -20.0, 24.0), ("CAS", 48.0, 68.0), ("CAS", 47.0, 104.0), ("MIDE", 24.0, 45.0), ("CHN", 35.0, 105.0),
    ("KAJ", 36.5, 138.5), ("SAS", 22.0, 79.0), ("SEAS", 0.0, 114.0), ("OCE", -25.0, 134.0), ("OCE", -6.0, 144.0),
]  # fmt: skip


@pytest.fixture(scope="module", name="mask")
def _mask() -> xr.Dataset:
    with as_file(files("dualflux") / "data" / "gcp18.nc") as path, xr.open_dataset(path, engine="h5netcdf") as data:
        return data.load()


def test_region_names(mask: xr.Dataset) -> None:
    assert list(mask.region_name.values) == NAMES
    assert mask.region_mask.attrs["flag_meanings"].split() == NAMES


@pytest.mark.parametrize(("name", "lat", "lon"), PLACES)
def test_places_lie_in_their_region(mask: xr.Dataset, name: str, lat: float, lon: float) -> None:
    here = mask.sel(lat=lat, lon=lon, method="nearest")
    assert NAMES[int(here.region_fraction.to_numpy().argmax())] == name
    assert int(here.region_mask) == NAMES.index(name) + 1


@pytest.mark.parametrize(("name", "area"), COUNTRY_AREA.items())
def test_countries_have_their_published_area(mask: xr.Dataset, name: str, area: float) -> None:
    share = mask.region_fraction.values[NAMES.index(name)] * mask.land_fraction.values
    found = (share * Grid.global_regular(1.0).cell_area).sum() / 1e12
    assert found == pytest.approx(area, rel=0.025)


def test_ice_free_land_is_closed(mask: xr.Dataset) -> None:
    land = mask.ice_free_land_fraction.values
    ice = mask.land_fraction.values - land
    total = mask.region_fraction.sum("region").values
    np.testing.assert_allclose(total[(land > 0) & (ice == 0)], 1.0, atol=1e-9)
    assert total.max() <= 1 + 1e-9
    assert mask.region_fraction.sel(lat=slice(-90, -61)).max() == 0
    # Land without Antarctica is 135 million km2, Greenland 2.2.
    assert (land * Grid.global_regular(1.0).cell_area).sum() / 1e12 == pytest.approx(133, rel=0.02)


def test_coarse_regions_keep_their_area(mask: xr.Dataset) -> None:
    coarse = Grid.global_regular(4.0)
    regions = read_regions("gcp18", Path(), coarse)
    fine = (mask.region_fraction.values * Grid.global_regular(1.0).cell_area).sum(axis=(1, 2))
    np.testing.assert_allclose((regions.fraction * coarse.cell_area).sum(axis=(1, 2)), fine, rtol=1e-9)


def test_same_land_as_the_natural_earth_land_polygons_but_for_lakes_and_islands(mask: xr.Dataset, shared_data: Path) -> None:
    with xr.open_dataset(shared_data / "real" / "region_masks_1deg.nc", engine="h5netcdf") as other:
        theirs = other.land_fraction.sortby("lat").sel(lat=slice(-60, 90))
    ours = mask.land_fraction.sel(lat=slice(-60, 90)).to_numpy()
    assert np.abs(ours - theirs.to_numpy()).mean() < 0.02


def test_country_table_gives_each_country_one_region() -> None:
    text = (files("dualflux") / "data" / "gcp18_countries.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    whole = [r["country"] for r in rows if not r["west"]]
    assert len(set(whole)) == len(whole) == 177  # countries of Natural Earth 1:110 m
    assert {r["region"] for r in rows} == {*NAMES, ""}
    assert [r["country"] for r in rows if not r["region"]] == ["Greenland", "Fr. S. Antarctic Lands", "Antarctica"]


def _builder():  # type: ignore[no-untyped-def]
    pytest.importorskip("pyogrio", reason="the builder of the mask needs pyogrio")
    pytest.importorskip("shapely", reason="the builder of the mask needs shapely")
    path = Path(__file__).resolve().parents[1] / "tools" / "build_regions.py"
    spec = importlib.util.spec_from_file_location("build_regions", path)
    if spec is None or spec.loader is None:
        pytest.fail(f"no builder at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@settings(deadline=None)  # the first call loads the builder
@given(arrays(int, (5, 3, 2), elements=st.integers(0, 100)))
def test_percents_sum_to_one_hundred_and_stay_within_one_of_the_share(counts: np.ndarray) -> None:
    percent = _builder().shares_in_percent(counts)
    total = counts.sum(axis=0)
    assert (percent.sum(axis=0) == np.where(total > 0, 100, 0)).all()
    assert np.abs(percent - 100 * counts / np.maximum(total, 1)).max() < 1


def test_box_takes_part_of_a_country_and_sea_takes_the_nearest_land(tmp_path: Path) -> None:
    builder, shapely = _builder(), pytest.importorskip("shapely")
    countries = [(shapely.box(0, 0, 1, 2), 3), (shapely.box(0, 0, 4, 2), 6)]
    counts = builder.count(builder.sample(countries))
    assert counts[3, 90, 180] == counts[6, 90, 181] == 100
    assert counts.sum() == 8 * 100
    land = counts.sum(axis=0) > 0
    wide = builder.extend_over_sea(builder.shares_in_percent(counts), land)
    assert wide[3, 90, 177] == 100  # west of the first box
    assert wide[6, 90, 186] == 100  # east of the second
    assert wide[:, 90, 200].sum() == 0  # beyond reach

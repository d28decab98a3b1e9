"""Each inversion format as its makers lay it out, written odd on purpose and read back to integrals known from geometry.

The drawn world: three latitude bands whose edges are cell edges, so that a flux constant in a band integrates to
flux x 2 pi R^2 (sin north - sin south).
"""

import calendar
import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import EARTH_RADIUS, Grid, Regions
from dualflux.sources.adjustments import Adjustment, check_target, make_target
from dualflux.sources.inversions import Inversions, InversionSource, contents, read_inversions

TIMES = pd.date_range("2003-01-01", "2004-12-01", freq="MS")  # an ordinary and a leap year
GRID = Grid.global_regular(10.0)
BANDS = {"south": (-90, -30), "tropics": (-30, 30), "north": (30, 90)}
REGIONS = Regions(
    tuple(BANDS),
    np.stack([np.broadcast_to(((GRID.lat > s) & (GRID.lat < n))[:, None], GRID.shape).astype(float) for s, n in BANDS.values()]),
)
AREA = np.array([2 * np.pi * EARTH_RADIUS**2 * (np.sin(np.radians(n)) - np.sin(np.radians(s))) for s, n in BANDS.values()])
DAYS = np.array([calendar.monthrange(t.year, t.month)[1] for t in TIMES], dtype=float)
YEAR = np.array([366.0 if calendar.isleap(t.year) else 365.0 for t in TIMES])
RATE = np.array([-1.5, 0.25, -3.0])[:, None] * (1 + 0.1 * np.arange(24))  # gC m-2 d-1, (band, month)
EXPECTED = RATE * AREA[:, None] * DAYS / 1e15  # PgC month-1


def read(root: Path, *sources: dict[str, Any], land: np.ndarray | None = None) -> Inversions:
    parsed = [TypeAdapter(InversionSource).validate_python({"implausible": "accept", **s}) for s in sources]
    return read_inversions(parsed, root, GRID, REGIONS, np.ones(GRID.shape) if land is None else land, TIMES)


def by_band(values: np.ndarray, grid: Grid) -> np.ndarray:
    """(band, step) values as fields (step, lat, lon)."""
    row = np.array([next(i for i, (s, n) in enumerate(BANDS.values()) if s <= lat <= n) for lat in grid.lat])
    return np.repeat(values[row].T[:, :, None], grid.lon.size, axis=2)


def odd(data: xr.Dataset) -> xr.Dataset:
    """Latitude descending, longitude 0..360."""
    lat, lon = next(n for n in (("latitude", "longitude"), ("lat", "lon")) if n[0] in data.dims)
    return data.assign_coords({lon: data[lon] % 360}).sortby(lon).sortby(lat, ascending=False)


def check(found: Inversions, product: str, expected: np.ndarray = EXPECTED, rtol: float = 1e-6) -> None:
    """Bands and globe to 1e-6, and each year's sum is the product's own."""
    got = found.integral.sel(product=product)
    np.testing.assert_allclose(got.sel(region=list(BANDS)), expected, rtol=rtol)
    np.testing.assert_allclose(got.sel(region="global"), expected.sum(axis=0), rtol=rtol)
    for year in (2003, 2004):
        own = expected.sum(axis=0)[TIMES.year == year].sum()
        assert float(got.sel(region="global", time=str(year)).sum()) == pytest.approx(own, rel=rtol)


# --- the Global Carbon Budget ---------------------------------------------------------------------------------------


LAND = "land_flux_only_fossil_cement_adjusted"


def gcb(path: Path, name: str = LAND, release: int = 2023) -> None:
    """Two members, the second from March 2003; names as characters, whole-number time, no unit attribute in the 2022 release."""
    rate = RATE * YEAR / 1e15  # PgC m-2 yr-1
    flux = np.stack([by_band(rate, GRID), by_band(2 * rate, GRID)])
    flux[1, :2] = np.nan
    names = np.array([list("CAMS     "), list("CarboSc\0\0")], dtype="S1")
    attributes = {} if release == 2022 else {"units": "PgC/m2/yr"}
    data = xr.Dataset(
        {
            name: (("ensemble_member", "time", "latitude", "longitude"), flux, attributes),
            "ensemble_member_name": (("ensemble_member", "nchar"), names),
            "fossil_fuel_emissions": (("time", "latitude", "longitude"), flux[0]),
            "cell_area": (("latitude", "longitude"), GRID.cell_area),
        },
        {"time": TIMES + pd.Timedelta(days=14), "latitude": GRID.lat, "longitude": GRID.lon},
    )
    odd(data).to_netcdf(path, engine="h5netcdf", encoding={"time": {"dtype": "int32", "units": "days since 1959-01-01"}})


@pytest.mark.parametrize("release", [2022, 2023, 2024])
def test_global_carbon_budget_releases(tmp_path: Path, release: int) -> None:
    gcb(tmp_path / "gcb.nc", release=release)
    found = read(tmp_path, {"format": "gcb", "path": "gcb.nc"})
    check(found, "CAMS")
    second = found.integral.sel(product="CarboSc", region="north")
    assert second[:2].isnull().all()
    np.testing.assert_allclose(second[2:], 2 * EXPECTED[2, 2:], rtol=1e-6)
    assert list(found.notes["first"]) == [TIMES[0], TIMES[2]]


def test_river_adjusted_and_other_variables_are_refused_with_the_reason(tmp_path: Path) -> None:
    name = "land_flux_fossil_cement_and_river_adjusted"
    gcb(tmp_path / "gcb.nc", name)
    source = {"format": "gcb", "path": "gcb.nc", "variable": name}
    found = read(tmp_path, source)
    with pytest.raises(InputError, match=r"CAMS, CarboSc has the river flux on land removed: a stock change"):
        make_target("tower_nee", found, [])
    with pytest.raises(InputError, match=r"gcb\.nc has the river flux on land removed"):
        check_target("tower_nee", [TypeAdapter(InversionSource).validate_python(source)], [])
    with pytest.raises(InputError, match=r"`fossil_fuel_emissions` is fossil fuel emissions, no land flux"):
        read(tmp_path, {**source, "variable": "fossil_fuel_emissions"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign_coords(time=[pd.NaT, *d.time.to_numpy()[1:]]), "1 of 24 time steps of .* have no date"),
        (lambda d: d.assign(cell_area=-d.cell_area), r"cell area `cell_area` sums to -5\.1"),
        (lambda d: d.assign(ensemble_member_name=d.ensemble_member_name.isel(ensemble_member=[0, 0])), "each member needs one of its own"),
        (lambda d: d.isel(time=slice(0, 0)), "no fields in .*give files with time steps"),
        (
            lambda d: d.assign({LAND: d[LAND].where(xr.DataArray([False, True], dims="ensemble_member"))}),
            "CAMS has no value in the study's months",
        ),
        (lambda d: d.assign_coords(latitude=d.latitude.where(d.latitude > -80)), "latitudes from nan"),
    ],
)
def test_a_damaged_global_carbon_budget_file_is_named(tmp_path: Path, change: Any, message: str) -> None:
    gcb(tmp_path / "good.nc")
    with xr.open_dataset(tmp_path / "good.nc", engine="h5netcdf") as data:
        change(data.load()).to_netcdf(tmp_path / "gcb.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=message):
        read(tmp_path, {"format": "gcb", "path": "gcb.nc"})


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["NetCDF-4", "classic"])
def test_files_cut_short_are_named(tmp_path: Path, kind: str, part: float) -> None:
    if kind == "classic":
        carboscope(tmp_path / "f.nc", "MS")
    else:
        gcb(tmp_path / "f.nc")
    whole = (tmp_path / "f.nc").read_bytes()
    (tmp_path / "f.nc").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(InputError, match=r"f\.nc(: neither NetCDF|: cannot be opened|: the file is empty|.*cannot be read)"):
        read(tmp_path, {"format": "carboscope" if kind == "classic" else "gcb", "path": "f.nc"})


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_damaged_headers_are_named(tmp_path: Path, seed: int) -> None:
    """Thirty bytes overwritten among the first 4000 of a NetCDF-4 file: the error names the file."""
    gcb(tmp_path / "f.nc")
    content, random = bytearray((tmp_path / "f.nc").read_bytes()), np.random.default_rng(seed)
    for i in random.integers(8, 4000, 30):
        content[i] ^= 0xFF
    (tmp_path / "f.nc").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"f\.nc"):
        read(tmp_path, {"format": "gcb", "path": "f.nc"})


# --- CAMS -----------------------------------------------------------------------------------------------------------

CAMS_NAMES = ["cams73_v23r1_co2_flux_surface_mm_{m}.nc", "z_cams_l_cams55_{m}_FT23r3_ra_sfc_mm_co2_flux.nc"]
POLES = Grid(np.linspace(-90, 90, 13), np.arange(-180.0, 180, 15))  # a grid with half cells on the poles, as LMDZ's


def cams(folder: Path, pattern: str, units: str = "kgC m-2 month-1", **change: Any) -> None:
    """One file per month, without time; land-sea fraction 0.5 everywhere, which must not be multiplied."""
    folder.mkdir(exist_ok=True)
    for i, time in enumerate(TIMES):
        monthly = by_band(RATE[:, [i]] * DAYS[i] / 1e3, POLES)[0]
        data = xr.Dataset(
            {
                "flux_apos_bio": (("latitude", "longitude"), monthly, {"units": units}),
                "area": (("latitude", "longitude"), POLES.cell_area, {"units": "m2"}),
                "lsf": (("latitude", "longitude"), np.full(POLES.shape, 0.5)),
                **change,
            },
            {"latitude": POLES.lat, "longitude": POLES.lon},
        )
        odd(data).to_netcdf(folder / pattern.format(m=f"{time:%Y%m}"), engine="scipy" if i % 2 else "h5netcdf")


@pytest.mark.parametrize("pattern", CAMS_NAMES)
def test_cams_monthly_files_in_both_namings(tmp_path: Path, pattern: str) -> None:
    cams(tmp_path / "cams", pattern)
    found = read(tmp_path, {"format": "cams", "path": "cams"})
    # the pole-to-pole rows at 30 N and S lie half in either band: only the globe is exact
    row = (POLES.cell_area * (np.abs(POLES.lat) == 30)[:, None]).sum()
    field = np.stack([by_band(RATE[:, [i]], POLES)[0] for i in range(24)])
    own = (field * POLES.cell_area).sum(axis=(1, 2)) * DAYS / 1e15
    assert row > 0
    np.testing.assert_allclose(found.integral.sel(product="CAMS", region="global"), own, rtol=1e-6)
    np.testing.assert_allclose(found.integral.sel(product="CAMS").sel(region=list(BANDS)).sum("region"), own, rtol=1e-6)
    assert float(found.integral.sel(region="global", time="2004").sum()) == pytest.approx(own[12:].sum(), rel=1e-6)
    assert found.notes["contents"][0] == "flux_apos_bio: fire included, without fossil"


def test_cams_mistakes_are_named(tmp_path: Path) -> None:
    cams(tmp_path / "a", "flux_{m}.nc")
    for time in TIMES:
        (tmp_path / "a" / f"flux_{time:%Y%m}.nc").rename(tmp_path / "a" / f"flux_{time.month}_{time.year - 2000}.nc")
    with pytest.raises(InputError, match="and no dates, its name 0 months; needed: one month per file, YYYYMM in its name"):
        read(tmp_path, {"format": "cams", "path": "a"})
    cams(tmp_path / "b", CAMS_NAMES[0])
    cams(tmp_path / "b", CAMS_NAMES[1])
    with pytest.raises(
        InputError, match=r"CAMS: 1 month, first 2003-01, also in cams73_v23r1_co2_flux_surface_mm_200301\.nc; give each month"
    ):
        read(tmp_path, {"format": "cams", "path": "b"})
    (tmp_path / "b" / CAMS_NAMES[0].format(m="200307")).unlink()
    with pytest.raises(InputError, match="CAMS has gaps inside its record: 1 month, first 2003-07"):
        read(tmp_path, {"format": "cams", "path": "b/cams73*.nc"})
    area = {"area": (("latitude", "longitude"), -POLES.cell_area)}
    cams(tmp_path / "c", CAMS_NAMES[0], **area)
    with pytest.raises(InputError, match=r"cell area `area` sums to -5\.1.*allowed: m2 within 2 %"):
        read(tmp_path, {"format": "cams", "path": "c"})
    cams(tmp_path / "d", CAMS_NAMES[0], units="kgC m-2 s-1")
    with pytest.raises(InputError, match="the file says unit `kgC m-2 s-1`, the study `kgC m-2 month-1`"):
        read(tmp_path, {"format": "cams", "path": "d", "units": "kgC m-2 month-1"})


def test_a_month_with_other_cells_than_the_rest_is_an_error_across_files(tmp_path: Path) -> None:
    cams(tmp_path / "cams", CAMS_NAMES[0])
    path = tmp_path / "cams" / CAMS_NAMES[0].format(m="200405")
    with xr.open_dataset(path, engine="h5netcdf") as data:
        changed = data.load()
    changed["flux_apos_bio"][3, 4] = np.nan
    changed.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputError, match="1 cells have a value in some months and none in others"):
        read(tmp_path, {"format": "cams", "path": "cams", "missing": "zero"})


# --- Jena CarboScope ------------------------------------------------------------------------------------------------


def carboscope(path: Path, step: str = "D", valid: tuple[int, int] = (2003, 2004), last: str = "2005-06-30", where: str = "global") -> None:
    """PgC yr-1 per cell, NetCDF-3, packed; half a year before and after the valid years holds nonsense, as spin-up does."""
    time = pd.date_range("2002-07-01", last, freq=step)
    month = np.clip((time.year - 2003) * 12 + time.month - 1, 0, 23)
    year = np.where(time.is_leap_year, 366.0, 365.0)
    rate = RATE[:, month] * (year / 1e15)  # PgC m-2 yr-1
    flux = by_band(rate, GRID) * GRID.cell_area
    flux[(time.year < 2003) | (time.year > 2004)] = 99.0
    bounds = {"yrfi_valid": np.int32(valid[0]), "yrfe_valid": np.int32(valid[1])}
    area = np.stack([GRID.cell_area, 0 * GRID.cell_area, GRID.cell_area])
    data = xr.Dataset(
        {"co2flux_land": (("mtime", "lat", "lon"), flux, {"units": "PgC/yr"}), "area": (("rt", "lat", "lon"), area, {"units": "m2"})},
        {"mtime": time + pd.Timedelta(hours=12), "lat": GRID.lat, "lon": GRID.lon, "rt": [0, 1, 2]},
    )
    if where == "global":
        data.attrs = bounds
    else:
        data["co2flux_land"].attrs |= bounds
    encoding = {"mtime": {"units": "seconds since 2000-01-01 00:00:00", "dtype": "float64"}}
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    odd(data).to_netcdf(plain, engine="scipy", encoding=encoding)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes(), 1))
        plain.unlink()


@pytest.mark.parametrize(
    ("step", "name", "where"), [("D", "s99oc_v2022_daily.nc.gz", "global"), ("MS", "nbetEXToc_v2024E.flux.nc", "variable")]
)
def test_carboscope_daily_and_monthly_in_its_valid_years(tmp_path: Path, step: str, name: str, where: str) -> None:
    carboscope(tmp_path / name, step, where=where)
    found = read(tmp_path, {"format": "carboscope", "path": name})
    check(found, "CarboScope")
    assert (found.notes["first"][0], found.notes["last"][0]) == (TIMES[0], TIMES[-1])


def test_carboscope_valid_years_end_a_record_and_incomplete_months_have_no_value(tmp_path: Path) -> None:
    carboscope(tmp_path / "a.nc", valid=(2003, 2003))
    assert read(tmp_path, {"format": "carboscope", "path": "a.nc"}).notes["last"][0] == TIMES[11]
    carboscope(tmp_path / "b.nc", last="2004-11-20")
    found = read(tmp_path, {"format": "carboscope", "path": "b.nc"})
    assert found.notes["last"][0] == TIMES[21]  # October: November has 20 days only
    np.testing.assert_allclose(found.integral.sel(region="global")[0, :22], EXPECTED.sum(axis=0)[:22], rtol=1e-6)


def test_carboscope_mistakes_are_named(tmp_path: Path) -> None:
    carboscope(tmp_path / "a.nc", "MS")
    with xr.open_dataset(tmp_path / "a.nc", engine="scipy") as data:
        bare = data.load()
    bare.attrs = {}
    bare.to_netcdf(tmp_path / "bare.nc", engine="scipy")
    with pytest.raises(InputError, match="no attribute yrfi_valid, yrfe_valid"):
        read(tmp_path, {"format": "carboscope", "path": "bare.nc"})
    bare.assign_attrs(yrfi_valid="two", yrfe_valid=2004).to_netcdf(tmp_path / "text.nc", engine="scipy")
    with pytest.raises(InputError, match="valid years two to 2004; needed: two years"):
        read(tmp_path, {"format": "carboscope", "path": "text.nc"})
    packed = gzip.compress((tmp_path / "a.nc").read_bytes())
    (tmp_path / "cut.nc.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"cut\.nc\.gz: cannot be unpacked .*download it again"):
        read(tmp_path, {"format": "carboscope", "path": "cut.nc.gz"})
    (tmp_path / "text.nc.gz").write_bytes(gzip.compress(b"<html>not found</html>"))
    with pytest.raises(InputError, match=r"text\.nc\.gz: neither NetCDF nor Zarr"):
        read(tmp_path, {"format": "carboscope", "path": "text.nc.gz"})
    first = int(np.flatnonzero(bare.mtime.dt.year == 2003)[0])
    twice = bare.isel(mtime=[first, *range(first, bare.sizes["mtime"])]).assign_attrs(yrfi_valid=2003, yrfe_valid=2004)
    twice.to_netcdf(tmp_path / "twice.nc", engine="scipy")
    with pytest.raises(InputError, match="time steps stand twice"):
        read(tmp_path, {"format": "carboscope", "path": "twice.nc"})


# --- CarbonTracker --------------------------------------------------------------------------------------------------

FIRE = np.array([0.1, 0.9, 0.3])[:, None] * np.ones(24)  # gC m-2 d-1


def carbontracker(path: Path, names: tuple[str, str] = ("bio_flux_opt", "fire_flux_imp"), split: bool = False, dated: bool = True) -> None:
    """Biosphere without fire, and the fire that the product imposes, mol m-2 s-1."""
    to_mol = 1 / (12.011 * 86400)
    fields = {n: by_band(v * to_mol, GRID) for n, v in zip(names, (RATE - FIRE, FIRE), strict=True)}
    time = "time" if "fire_flux_imp" in names else "date"
    data = xr.Dataset(
        {n: ((time, "latitude", "longitude"), v, {"units": "mol m-2 s-1"}) for n, v in fields.items()},
        {time: TIMES + pd.Timedelta(days=15), "latitude": GRID.lat, "longitude": GRID.lon},
    )
    data["ocn_flux_opt"] = data[names[0]] * 0
    if not split:
        odd(data).to_netcdf(path, engine="h5netcdf")
        return
    path.mkdir()
    for i, month in enumerate(TIMES):
        one = odd(data).isel({time: [i]})
        one = one if dated else one.drop_vars(time)
        one.to_netcdf(path / f"CT2022.flux1x1.{month:%Y%m}.nc", engine="scipy")


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("names", [("bio_flux_opt", "fire_flux_imp"), ("biosphere_flux_optimized", "fire_flux_imposed")])
def test_carbontracker_noaa_and_europe(tmp_path: Path, names: tuple[str, str], split: bool) -> None:
    carbontracker(tmp_path / "ct", names, split, dated=names[0] == "bio_flux_opt")
    found = read(tmp_path, {"format": "carbontracker", "path": "ct", "product": "CT2022"})
    check(found, "CT2022")  # biosphere and fire together
    assert found.own_fire is not None
    np.testing.assert_allclose(found.own_fire.sel(product="CT2022", region=list(BANDS)), FIRE * AREA[:, None] * DAYS / 1e15, rtol=1e-6)
    assert found.notes["own_fire"][0] and "its own in the file" in found.notes["contents"][0]


def constant_fire(annual: float) -> Adjustment:
    """Fire of `annual` PgC/yr in each band."""
    values = np.repeat(annual * DAYS / YEAR, 4).reshape(24, 4).T * np.array([1, 1, 1, 3])[:, None]
    integral = xr.DataArray(values, dims=("region", "time"), coords={"region": [*BANDS, "global"], "time": TIMES})
    return Adjustment("fire", integral, 0.5 * integral, "drawn")


def test_a_products_own_fire_is_preferred_to_the_adjustments(tmp_path: Path) -> None:
    """CarbonTracker's NEE is its biosphere flux; CAMS, which brings no fire, has the adjustment's taken off."""
    carbontracker(tmp_path / "ct.nc")
    gcb(tmp_path / "gcb.nc")
    sources = {"format": "carbontracker", "path": "ct.nc"}, {"format": "gcb", "path": "gcb.nc", "products": ["CAMS"]}
    target = make_target("tower_nee", read(tmp_path, *sources), [constant_fire(0.7)])
    biosphere = (RATE - FIRE) * AREA[:, None] * DAYS / 1e15
    np.testing.assert_allclose(target.integral.sel(product="CarbonTracker", region=list(BANDS)), biosphere, rtol=1e-6)
    np.testing.assert_allclose(target.integral.sel(product="CAMS", region=list(BANDS)), EXPECTED - 0.7 * DAYS / YEAR, rtol=1e-6)
    # only half of the products carry the adjustment's error
    np.testing.assert_allclose(target.adjustment_variance.sel(region="north"), (0.5 * 0.5 * 0.7 * DAYS / YEAR) ** 2, rtol=1e-6)
    status = target.terms.set_index("term")["status"]
    assert (status["own_fire"], status["fire"]) == ("each product's own, subtracted", "subtracted")
    assert target.name == "NBE - fire" and "fire" not in target.integral.attrs["missing_terms"].split(", ")


def test_own_fire_alone_needs_no_adjustment_and_belongs_to_nbe(tmp_path: Path) -> None:
    carbontracker(tmp_path / "ct.nc")
    found = read(tmp_path, {"format": "carbontracker", "path": "ct.nc"})
    assert make_target("tower_nee", found, []).name == "NBE - fire"
    np.testing.assert_allclose(make_target("nbe", found, []).integral.sel(region=list(BANDS))[0], EXPECTED, rtol=1e-6)
    unused = make_target("tower_nee", found, [constant_fire(0.7)])
    np.testing.assert_allclose(unused.integral.sel(region=list(BANDS))[0], (RATE - FIRE) * AREA[:, None] * DAYS / 1e15, rtol=1e-6)
    assert unused.terms.set_index("term").loc["fire", "status"] == "not used, products bring their own"
    assert (unused.adjustment_variance == 0).all()
    off = read(tmp_path, {"format": "carbontracker", "path": "ct.nc", "own_fire": False})
    same = make_target("tower_nee", off, [constant_fire(0.7)]).integral
    np.testing.assert_allclose(same.sel(region=list(BANDS))[0], EXPECTED - 0.7 * DAYS / YEAR, rtol=1e-6)


def test_own_fire_beside_products_that_keep_theirs_is_refused(tmp_path: Path) -> None:
    settings = [{"format": "carbontracker", "path": "ct.nc"}, {"format": "gcb", "path": "gcb.nc"}]
    sources = [TypeAdapter(InversionSource).validate_python(s) for s in settings]
    with pytest.raises(InputError, match=r"gcb\.nc include fire, ct\.nc have their own taken out; give a fire adjustment"):
        check_target("tower_nee", sources, [])
    check_target("nbe", sources, [])


def test_carbontracker_mistakes_are_named(tmp_path: Path) -> None:
    carbontracker(tmp_path / "a.nc", ("bio", "fire"))
    with pytest.raises(InputError, match=r"not a CarbonTracker flux file; needed: `bio_flux_opt` and `fire_flux_imp` or"):
        read(tmp_path, {"format": "carbontracker", "path": "a.nc"})
    carbontracker(tmp_path / "b.nc")
    with xr.open_dataset(tmp_path / "b.nc", engine="h5netcdf") as data:
        short = data.load()
    short["fire_flux_imp"] = short.fire_flux_imp.where(short.time < short.time[20])
    short.to_netcdf(tmp_path / "short.nc", engine="h5netcdf")
    with pytest.raises(InputError, match="flux and own fire cover different months: 4 months, first 2004-09"):
        read(tmp_path, {"format": "carbontracker", "path": "short.nc"})
    with pytest.raises(InputError, match="`ocn_flux_opt` is the exchange of the sea"):
        read(
            tmp_path,
            {"format": "gridded", "path": "b.nc", "variable": "ocn_flux_opt", "per": "area", "sign": "to_atmosphere", "product": "X"},
        )
    with pytest.raises(ValidationError, match="the file's own variables tell fire apart"):
        TypeAdapter(InversionSource).validate_python({"format": "carbontracker", "path": "b.nc", "includes_fire": True})


# --- OCO-2 MIP ------------------------------------------------------------------------------------------------------


def mip(path: Path, dates: str = "start", components: int = 3, **change: Any) -> None:
    """v10: `time` holds step numbers, `start_date` the dates; units in words."""
    data = xr.Dataset(
        {
            "land": (("time", "latitude", "longitude"), by_band(RATE * YEAR, GRID), {"units": "gC per m2 per year"}),
            "time": (("time",), np.arange(1, 25, dtype="int16")),
            **change,
        },
        {"latitude": GRID.lat, "longitude": GRID.lon},
    )
    if dates == "start":
        parts = np.stack([TIMES.year, TIMES.month, TIMES.day + 14, 0 * TIMES.day, 0 * TIMES.day, 0 * TIMES.day], axis=1)
        data["start_date"] = ("time", "date_component"), parts[:, :components].astype("int16")
    odd(data).to_netcdf(path, engine="h5netcdf")


@pytest.mark.parametrize("components", [3, 6])
def test_oco2_mip_v10(tmp_path: Path, components: int) -> None:
    (tmp_path / "mip").mkdir()
    for model in ("Baker", "CMS_FLUX"):
        mip(tmp_path / "mip" / f"{model}_gridded_fluxes_LNLGIS.nc4", components=components)
    found = read(tmp_path, {"format": "oco2mip", "path": "mip"})
    for product in ("Baker LNLGIS", "CMS FLUX LNLGIS"):
        check(found, product)
    assert list(read(tmp_path, {"format": "oco2mip", "path": "mip", "products": ["Baker LNLGIS"]}).notes["product"]) == ["Baker LNLGIS"]


def test_oco2_mip_without_dates_needs_its_first_month(tmp_path: Path) -> None:
    mip(tmp_path / "LoFI_gridded_fluxes_IS.nc4", dates="none")
    source = {"format": "oco2mip", "path": "LoFI_gridded_fluxes_IS.nc4", "product": "LoFI"}
    with pytest.raises(InputError, match="no `start_date` and no dates; state the file's first month"):
        read(tmp_path, source)
    check(read(tmp_path, {**source, "first": "2003-01"}), "LoFI")


def test_oco2_mip_v11_net_flux_leaves_the_sea_out(tmp_path: Path) -> None:
    """The east is sea with an exchange of its own; only the western half of each band is land."""
    west = np.broadcast_to(GRID.lon < 0, GRID.shape)
    field = np.where(west, by_band(RATE, GRID), -7.0)
    data = xr.Dataset(
        {"net_flux": (("time", "latitude", "longitude"), field, {"units": "g C m-2 day-1"})},
        {"time": TIMES, "latitude": GRID.lat, "longitude": GRID.lon},
    )
    odd(data).to_netcdf(tmp_path / "CT_gridded_fluxes_LNLGIS.nc4", engine="h5netcdf")
    found = read(tmp_path, {"format": "oco2mip", "path": "CT*.nc4", "variable": "net_flux", "product": "CT"}, land=west.astype(float))
    check(found, "CT", EXPECTED / 2)


def test_oco2_mip_mistakes_are_named(tmp_path: Path) -> None:
    mip(tmp_path / "EnsStd_gridded_fluxes_IS.nc4")
    with pytest.raises(InputError, match="the standard deviation between the models is no flux"):
        read(tmp_path, {"format": "oco2mip", "path": "EnsStd*.nc4"})
    wrong = np.full((24, 3), 13, dtype="int16")
    mip(tmp_path / "a_gridded_fluxes_IS.nc4", dates="none", start_date=(("time", "date_component"), wrong))
    with pytest.raises(InputError, match=r"`start_date` \[13, 13, 13\] of step 1 is no date"):
        read(tmp_path, {"format": "oco2mip", "path": "a_*.nc4"})
    with pytest.raises(InputError, match="its files are 2 products; remove `product`"):
        read(tmp_path, {"format": "oco2mip", "path": "*.nc4", "product": "X"})


# --- any gridded flux in many files ---------------------------------------------------------------------------------

SOURCE = {"format": "gridded", "path": "f_*.nc", "product": "P", "variable": "flux", "per": "area", "sign": "to_land"}


def yearly(folder: Path, fire: bool = False) -> None:
    fields = {"flux": -RATE} | ({"fire": -FIRE} if fire else {})
    for year in (2003, 2004):
        inside = TIMES.year == year
        data = xr.Dataset(
            {n: (("time", "lat", "lon"), by_band(v[:, inside], GRID), {"units": "g C m-2 day-1"}) for n, v in fields.items()},
            {"time": TIMES[inside], "lat": GRID.lat, "lon": GRID.lon},
        )
        odd(data).to_netcdf(folder / f"f_{year}.nc", engine="scipy" if year == 2003 else "h5netcdf")


def test_a_gridded_product_in_yearly_files(tmp_path: Path) -> None:
    yearly(tmp_path)
    found = read(tmp_path, SOURCE)
    check(found, "P")
    assert found.notes["source"][0] == "2 files, f_2003.nc to f_2004.nc"


@pytest.mark.parametrize("includes_fire", [True, False])
def test_a_gridded_products_own_fire(tmp_path: Path, includes_fire: bool) -> None:
    yearly(tmp_path, fire=True)
    found = read(tmp_path, {**SOURCE, "fire_variable": "fire", "includes_fire": includes_fire})
    with_fire = RATE if includes_fire else RATE + FIRE
    check(found, "P", with_fire * AREA[:, None] * DAYS / 1e15)
    target = make_target("tower_nee", found, [])
    np.testing.assert_allclose(target.integral.sel(region=list(BANDS))[0], (with_fire - FIRE) * AREA[:, None] * DAYS / 1e15, rtol=1e-6)


def test_contents_of_each_format() -> None:
    stated = {
        "carbontracker": ("own", "in"),
        "cams": ("in", "in"),
        "carboscope": ("in", "in"),
        "oco2mip": ("in", "in"),
        "gcb": ("in", "in"),
        "table": ("in", "in"),
    }
    for form, (fire, lateral) in stated.items():
        found = contents(TypeAdapter(InversionSource).validate_python({"format": form, "path": "x"}))
        assert (found.fire, found.lateral, found.fossil) == (fire, lateral, "out"), form
    bio = {"format": "gridded", "path": "x", "product": "X", "variable": "bio_flux_opt", "per": "area", "sign": "to_atmosphere"}
    assert contents(TypeAdapter(InversionSource).validate_python(bio)).fire == "out"
    assert contents(TypeAdapter(InversionSource).validate_python({**bio, "fire_variable": "fire_flux_imp"})).fire == "own"


# --- size -----------------------------------------------------------------------------------------------------------


def test_seventeen_years_of_one_degree_are_never_held_in_memory(tmp_path: Path) -> None:
    """204 months of 1 degree: 106 MB as float64. The field is 1 gC m-2 d-1 in even and 2 in odd months."""
    grid, times = Grid.global_regular(1.0), pd.date_range("2001-01-01", periods=204, freq="MS")
    with h5py.File(tmp_path / "f.nc", "w") as file:
        for name, values in (("time", (times - times[0]).days.to_numpy()), ("lat", grid.lat), ("lon", grid.lon)):
            file[name] = values
            file[name].make_scale(name)
        file["time"].attrs["units"] = "days since 2001-01-01"
        flux = file.create_dataset("flux", (204, 180, 360), "f4", chunks=(1, 180, 360), compression=1)
        flux.attrs["units"] = "gC m-2 d-1"
        for i, name in enumerate(("time", "lat", "lon")):
            flux.dims[i].attach_scale(file[name])
        for t in range(204):
            flux[t] = 1 + t % 2
    regions = Regions(("all",), np.ones((1, *grid.shape)))
    source = TypeAdapter(InversionSource).validate_python({**SOURCE, "path": "f.nc", "sign": "to_atmosphere", "implausible": "accept"})

    def peak(months: int) -> tuple[float, Inversions]:
        tracemalloc.start()
        found = read_inversions([source], tmp_path, grid, regions, np.ones(grid.shape), times[:months])
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest / 1e6, found

    peak(2)  # imports and caches first
    (some, _), (every, found) = peak(60), peak(204)
    expected = (1 + np.arange(204) % 2) * times.days_in_month * 4 * np.pi * EARTH_RADIUS**2 / 1e15
    np.testing.assert_allclose(found.integral[0, 1], expected, rtol=1e-6)
    assert every < some + 5, f"{some:.0f} MB for 5 years, {every:.0f} MB for 17"  # 12 more years are 75 MB as float64

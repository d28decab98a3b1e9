"""Adjustments and target: what stands between inversions and towers is taken off once, with its error, and said."""

import calendar
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dualflux.errors import InputError
from dualflux.grid import Grid, Regions
from dualflux.sources.adjustments import Adjustment, AdjustmentSettings, check_target, make_target, read_adjustments, sanity_lines
from dualflux.sources.inversions import Inversions, InversionSource, read_inversions

TIMES = pd.date_range("2003-01-01", "2004-12-01", freq="MS")
GRID = Grid.global_regular(10.0)
NORTH = np.broadcast_to(GRID.lat[:, None] > 0, GRID.shape)
REGIONS = Regions(("south", "north"), np.stack([~NORTH, NORTH]).astype(float))
HALF_EARTH = GRID.cell_area.sum() / 2
TABLE = {"name": "fire", "format": "table", "path": "a.csv"}
UNIFORM = {**TABLE, "monthly_profile": "uniform"}
GRIDDED = {"name": "fire", "format": "gridded", "path": "a.nc", "variable": "flux", "per": "area", "sign": "to_atmosphere"}


def parse(*given_settings: dict[str, Any]) -> list[Any]:
    return [TypeAdapter(AdjustmentSettings).validate_python(s) for s in given_settings]


def read(root: Path, *given_settings: dict[str, Any], times: pd.DatetimeIndex = TIMES) -> list[Adjustment]:
    return read_adjustments(parse(*given_settings), root, GRID, REGIONS, np.ones(GRID.shape), times)


def annual_rows(south: float = 1.0, north: float = 2.0, unit: str = "PgC yr-1", years: tuple[int, ...] = (2003, 2004)) -> pd.DataFrame:
    rows = [("GFED", region, year, value, unit) for year in years for region, value in (("south", south), ("north", north))]
    return pd.DataFrame(rows, columns=["product", "region", "year", "value", "unit"])


def write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path / "a.csv", index=False)


# --- tables ---------------------------------------------------------------------------------------------------------


def test_uniform_months_have_their_true_length_and_close_in_leap_years(tmp_path: Path) -> None:
    write(annual_rows(), tmp_path)
    (fire,) = read(tmp_path, UNIFORM)
    np.testing.assert_allclose(fire.integral.groupby("time.year").sum(), [[1, 1], [2, 2], [3, 3]])
    assert fire.integral.sel(region="north", time="2003-02-01").item() == pytest.approx(2 * 28 / 365)
    assert fire.integral.sel(region="north", time="2004-02-01").item() == pytest.approx(2 * 29 / 366)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    weights=st.lists(st.floats(0.01, 1), min_size=12, max_size=12),
    south=st.floats(0, 5),
    unit=st.sampled_from(["PgC yr-1", "TgC yr-1", "gC yr-1"]),
)
def test_any_profile_closes_the_year(tmp_path: Path, weights: list[float], south: float, unit: str) -> None:
    shares = np.array(weights) / sum(weights)
    factor = {"PgC yr-1": 1.0, "TgC yr-1": 1e3, "gC yr-1": 1e15}[unit]
    write(annual_rows(south * factor, 2 * factor, unit), tmp_path)
    (fire,) = read(tmp_path, {**TABLE, "monthly_profile": shares.tolist()})
    np.testing.assert_allclose(fire.integral.sel(region="south").groupby("time.year").sum(), south, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fire.integral.sel(region="north")[:12], 2 * shares, rtol=1e-9)


def test_a_monthly_table_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = [("GFED", r, f"{t:%Y-%m}", v * (i + 1), "TgC month-1") for r, v in (("south", 1), ("north", 2)) for i, t in enumerate(TIMES)]
    write(pd.DataFrame(rows, columns=["product", "region", "time", "value", "unit"]), tmp_path)
    (fire,) = read(tmp_path, {**TABLE, "monthly_profile": "file"})
    np.testing.assert_allclose(fire.integral.sel(region="global"), 3e-3 * np.arange(1, 25))
    with pytest.raises(InputError, match="fire is monthly, but the study states a monthly_profile"):
        read(tmp_path, UNIFORM)


def test_a_constant_lateral_term_needs_one_row_per_region(tmp_path: Path) -> None:
    constant = annual_rows(0.4, 0.6, years=(2003,)).drop(columns="year").assign(reference="sourced")
    write(constant, tmp_path)
    (term,) = read(tmp_path, {**UNIFORM, "name": "lateral_emissions"})
    write(annual_rows(0.4, 0.6), tmp_path)
    (each_year,) = read(tmp_path, {**UNIFORM, "name": "lateral_emissions"})
    xr.testing.assert_allclose(term.integral, each_year.integral)
    np.testing.assert_allclose(term.integral.sel(region="global").groupby("time.year").sum(), 1.0)


def test_uncertainty_is_relative_and_zero_where_none_is_stated(tmp_path: Path) -> None:
    write(annual_rows(), tmp_path)
    exact, half = read(tmp_path, UNIFORM, {**UNIFORM, "uncertainty": 0.5})
    assert (exact.uncertainty == 0).all()
    assert "uncertainty not stated" in exact.source
    np.testing.assert_allclose(half.uncertainty, 0.5 * half.integral)


def test_a_table_of_several_products_needs_a_choice(tmp_path: Path) -> None:
    write(pd.concat([annual_rows(), annual_rows(3.0).assign(product="GFAS")]), tmp_path)
    with pytest.raises(InputError, match=r"none chosen; it has GFED, GFAS; set `product` of adjustment fire"):
        read(tmp_path, UNIFORM)
    (fire,) = read(tmp_path, {**UNIFORM, "product": "GFAS"})
    assert fire.integral.sel(region="south").sum().item() == pytest.approx(6.0)


def test_years_that_the_file_lacks_are_missing_not_zero(tmp_path: Path) -> None:
    write(annual_rows(years=(2003,)), tmp_path)
    (fire,) = read(tmp_path, UNIFORM)
    assert fire.integral.sel(time="2003").notnull().all()
    assert fire.integral.sel(time="2004").isnull().all()


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        (annual_rows(), {"monthly_profile": None}, "fire is annual; state its months: `monthly_profile: uniform`"),
        (annual_rows(), {"monthly_profile": "file"}, "fire is annual; state its months"),
        (annual_rows(unit="PgC month-1"), {}, "unit `PgC month-1`; allowed: PgC yr-1"),
        (annual_rows(unit="acres"), {}, "unit `acres`; allowed: PgC yr-1"),
        (annual_rows().assign(region="Atlantis"), {}, "regions Atlantis are not in the mask; allowed: south, north"),
        (annual_rows().query("region == 'south'"), {}, "no rows for the mask's regions north"),
        (pd.concat([annual_rows(), annual_rows()]), {}, "GFED: 4 duplicated values, first south 2003"),
        (annual_rows().iloc[:3], {}, "no value for north in 12 months, first 2004-01"),
        (annual_rows(years=(1990,)), {}, "fire has no value in 2003-01 to 2004-12"),
        (annual_rows().drop(columns="value"), {}, "no column `value`"),
        (annual_rows().assign(year=2003.5), {}, "4 years cannot be read, first in line 2"),
        (annual_rows(south=-1.0), {}, "fire is an emission but below 0 in south (positive = to the atmosphere); correct `sign`"),
        (annual_rows(), {"name": "riversink"}, "river_uptake is a sink but above 0 in south, north, global"),
        (annual_rows(), {"product": "GFAS"}, "no product GFAS; it has GFED"),
        (annual_rows(), {"path": "absent.csv"}, "absent.csv: no such file"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, table: pd.DataFrame, change: dict[str, Any], message: str) -> None:
    write(table, tmp_path)
    with pytest.raises(InputError) as error:
        read(tmp_path, {**UNIFORM, **change})
    assert any(message in p for p in error.value.problems), error.value.problems


@pytest.mark.parametrize(
    "change",
    [
        {"monthly_profile": [0.5, 0.5]},
        {"monthly_profile": [0.1] * 12},
        {"monthly_profile": [-1.0, 2.0] + [0.0] * 10},
        {"name": "volcanoes"},
        {"sign": "up"},
        {"uncertainty": -0.1},
        {"path": "a.nc", "format": "gridded"},
    ],
)
def test_unknown_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse({**UNIFORM, **change})


# --- grids ----------------------------------------------------------------------------------------------------------


def flux(values: Any, times: Any, units: str, name: str = "flux") -> xr.Dataset:
    full = np.broadcast_to(np.asarray(values, dtype=float), (len(times), *GRID.shape))
    data = xr.DataArray(full, dims=("time", "lat", "lon"), coords={"time": times, "lat": GRID.lat, "lon": GRID.lon}, attrs={"units": units})
    return data.to_dataset(name=name)


def test_a_monthly_grid_integrates_to_the_analytic_values(tmp_path: Path) -> None:
    flux(np.where(NORTH, 2.0, 1.0), TIMES, "gC m-2 month-1").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (fire,) = read(tmp_path, {**GRIDDED, "monthly_profile": "file"})
    np.testing.assert_allclose(fire.integral.sel(region="north"), 2 * HALF_EARTH / 1e15)
    np.testing.assert_allclose(fire.integral.sel(region="global"), 3 * HALF_EARTH / 1e15)


@pytest.mark.parametrize(
    ("units", "per", "value", "annual"),
    [
        ("gC m-2 yr-1", "area", 10.0, 10.0 * HALF_EARTH / 1e15),
        ("gC m-2 d-1", "area", 0.1, None),  # days of the year times the daily rate
        ("PgC yr-1", "cell", 1e-3, 1e-3 * GRID.lat.size * GRID.lon.size / 2),
    ],
)
def test_annual_grids_keep_the_annual_total_under_any_profile(
    tmp_path: Path, units: str, per: str, value: float, annual: float | None
) -> None:
    stamps = pd.to_datetime(["2003-07-01", "2004-07-01"])
    flux(value, stamps, units).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    wanted = [annual if annual is not None else 0.1 * n * HALF_EARTH / 1e15 for n in (365, 366)]
    for profile in ("uniform", [1.0] + [0.0] * 11):
        (fire,) = read(tmp_path, {**GRIDDED, "per": per, "monthly_profile": profile})
        np.testing.assert_allclose(fire.integral.sel(region="south").groupby("time.year").sum(), wanted, rtol=1e-9)


@pytest.mark.parametrize(
    ("data", "profile", "message"),
    [
        (flux(1.0, TIMES, "gC m-2 yr-1"), None, "state its months: `monthly_profile: file`"),
        (flux(1.0, TIMES, "gC m-2 yr-1"), "uniform", "its 24 time steps (2003-01-01 to 2004-12-01) are monthly; allowed: annual"),
        (flux(1.0, TIMES[[0, 0, 1]], "gC m-2 yr-1"), "file", "3 fields from 2003-01 to 2003-02; allowed: one per month"),
        (flux(1.0, TIMES[[6]], "gC m-2 month-1"), "uniform", "unit `gC m-2 month-1`; allowed: gC m-2 d-1"),
        (flux(1.0, TIMES - pd.DateOffset(years=9), "gC m-2 d-1"), "file", "24 fields from 1994-01 to 1995-12"),
        (flux(-1.0, TIMES, "gC m-2 d-1"), "file", "fire is an emission but below 0"),
        (flux(1.0, TIMES, "gC m-2 d-1", name="other"), "file", "no variable `flux`; it has lat, lon, other, time"),
    ],
)
def test_a_wrong_grid_is_named(tmp_path: Path, data: xr.Dataset, profile: Any, message: str) -> None:
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    with pytest.raises(InputError) as error:
        read(tmp_path, {**GRIDDED, "monthly_profile": profile})
    assert any(message in p for p in error.value.problems), error.value.problems


def test_a_sinks_variable_is_a_sink_whatever_the_study_calls_it(tmp_path: Path) -> None:
    flux(-1.0, TIMES, "gC m-2 d-1", name="allcropsink").to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    disguised = {**GRIDDED, "name": "crop_consumption", "variable": "allcropsink", "monthly_profile": "file"}
    terms = read(tmp_path, disguised)
    assert [t.name for t in terms] == ["crop_harvest_uptake"]
    with pytest.raises(InputError, match="crop_harvest_uptake is a sink of lateral transport"):
        make_target("tower_nee", inversions(), terms)
    with pytest.raises(InputError, match="crop_harvest_uptake is a sink of lateral transport"):
        check_target("tower_nee", [], parse(disguised))


# --- the target -----------------------------------------------------------------------------------------------------


def inversions(fire: tuple[bool, ...] = (True, True), river: tuple[bool, ...] = (False, False), annual: float = -2.4) -> Inversions:
    """Products P0 and P1 with an NBE of `annual` and `annual` + 1.2 PgC/yr, one third of it in the north."""
    parts = np.array([2 / 3, 1 / 3, 1.0])
    values = np.stack([np.repeat((annual + 1.2 * i) / 12 * parts[:, None], len(TIMES), axis=1) for i in range(2)])
    names = ["P0", "P1"]
    coords = {"product": names, "region": ["south", "north", "global"], "time": TIMES}
    rows = [("f.csv", TIMES[0], TIMES[-1], annual + 1.2 * i, "drawn") for i in range(2)]
    notes = pd.DataFrame(rows, columns=["source", "first", "last", "mean_annual_global", "contents"])
    notes = notes.assign(product=names, includes_fire=fire, river_adjusted=river)
    return Inversions(xr.DataArray(values, dims=("product", "region", "time"), coords=coords), notes)


def term(name: str, south: float = 1.2, north: float = 2.4, relative: float = 0.5) -> Adjustment:
    """A term of `south` and `north` PgC/yr in equal months."""
    values = np.repeat(np.array([south, north, south + north])[:, None] / 12, len(TIMES), axis=1)
    integral = xr.DataArray(values, dims=("region", "time"), coords={"region": ["south", "north", "global"], "time": TIMES})
    return Adjustment(name, integral, relative * abs(integral), "drawn")


def mean_annual(target: Any, region: str = "global") -> list[float]:
    return (12 * target.integral.sel(region=region).mean("time")).to_numpy().tolist()


def test_tower_nee_is_nbe_minus_fire_minus_emissions() -> None:
    target = make_target("tower_nee", inversions(), [term("fire"), term("crop_consumption", 0.6, 0.6)])
    assert target.name == "NBE - fire - crop_consumption"
    assert mean_annual(target) == pytest.approx([-2.4 - 3.6 - 1.2, -1.2 - 3.6 - 1.2])
    assert mean_annual(target, "north") == pytest.approx([-0.8 - 2.4 - 0.6, -0.4 - 2.4 - 0.6])
    # errors of different terms are independent: 0.5^2 (0.2^2 + 0.05^2) PgC per month in the north
    np.testing.assert_allclose(target.adjustment_variance.sel(region="north"), 0.25 * (0.2**2 + 0.05**2))
    assert target.integral.attrs["missing_terms"] == "biofuel_consumption, wood_consumption, river_evasion"
    status = target.terms.set_index("term")["status"]
    assert status["crop_consumption"] == "subtracted"
    assert status["river_evasion"] == "missing"


def test_without_terms_the_target_says_what_is_missing() -> None:
    target = make_target("tower_nee", inversions(), [])
    assert target.name == "NBE"
    assert target.integral.attrs["missing_terms"].startswith("fire, crop_consumption")
    assert (target.adjustment_variance == 0).all()
    assert make_target("nbe", inversions(), []).integral.attrs["missing_terms"] == ""


def test_the_total_of_lateral_emissions_leaves_nothing_missing() -> None:
    target = make_target("tower_nee", inversions(), [term("fire"), term("lateral_emissions")])
    assert target.integral.attrs["missing_terms"] == ""


def test_fire_is_only_subtracted_where_a_product_has_it() -> None:
    target = make_target("tower_nee", inversions(fire=(True, False)), [term("fire")])
    assert mean_annual(target) == pytest.approx([-2.4 - 3.6, -1.2])
    # the ensemble mean carries half of the fire error
    np.testing.assert_allclose(target.adjustment_variance.sel(region="global"), (0.5 * 0.5 * 0.3) ** 2)
    assert make_target("tower_nee", inversions(fire=(False, False)), []).name == "NBE - fire"


def test_fire_is_added_for_nbe_where_a_product_lacks_it() -> None:
    target = make_target("nbe", inversions(fire=(True, False)), [term("fire")])
    assert target.name == "NBE"
    assert mean_annual(target) == pytest.approx([-2.4, -1.2 + 3.6])


def test_stock_change_takes_off_sinks_and_emissions_but_keeps_fire() -> None:
    # exported harvest: taken up here (-1), eaten elsewhere (+0.4): the land keeps 0.6 PgC/yr less than NBE says
    terms = [term("crop_harvest_uptake", -0.5, -0.5), term("crop_consumption", 0.2, 0.2)]
    target = make_target("stock_change", inversions(), terms)
    assert target.name == "NBE - crop_harvest_uptake - crop_consumption"
    assert mean_annual(target) == pytest.approx([-2.4 + 0.6, -1.2 + 0.6])
    river = make_target("stock_change", inversions(river=(True, True)), terms)
    assert river.name == "NBE - crop_harvest_uptake - crop_consumption - river_adjustment_land"
    assert "river" not in river.integral.attrs["missing_terms"]


@pytest.mark.parametrize(
    ("kind", "terms", "world", "message"),
    [
        ("tower_nee", ["river_uptake"], {}, "river_uptake is a sink of lateral transport: towers see this uptake"),
        ("tower_nee", ["river_adjustment_land"], {}, "river_adjustment_land is a sink of lateral transport"),
        ("tower_nee", ["wood_harvest_uptake"], {}, "or use target stock_change"),
        ("tower_nee", [], {"river": (True, True)}, "P0, P1 has the river flux on land removed: a stock change"),
        ("nbe", [], {"river": (True, True)}, "for target nbe use a variable without river adjustment"),
        ("stock_change", [], {"river": (True, False)}, "P0 has the river flux on land removed, P1 not; keep one kind only"),
        ("stock_change", ["river_uptake"], {"river": (True, True)}, "river_adjustment_land contains river_uptake"),
        ("stock_change", ["river_adjustment_land"], {"river": (True, True)}, "is given twice (P0, P1 has it removed already)"),
        ("tower_nee", ["fire", "fire"], {}, "fire is given twice"),
        ("tower_nee", ["lateral_emissions", "crop_consumption"], {}, "lateral_emissions contains crop_consumption"),
        ("tower_nee", ["fire"], {"fire": (False, False)}, "no product includes fire, so none is to be subtracted"),
        ("tower_nee", [], {"fire": (True, False)}, "P0 include fire, P1 do not; give a fire adjustment"),
        ("nbe", ["fire"], {}, "fire belongs to target nbe and all products include it"),
        ("nbe", ["crop_consumption"], {}, "crop_consumption are part of target nbe"),
        ("nbe", ["river_uptake"], {}, "river_uptake is part of target nbe"),
        ("stock_change", [], {"fire": (False, False)}, "P0, P1 lack fire, which belongs to target stock_change"),
        ("gpp", [], {}, "target: `gpp`; allowed: tower_nee, stock_change, nbe"),
    ],
)
def test_unlike_is_not_compared_with_unlike(kind: Any, terms: list[str], world: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        make_target(kind, inversions(**world), [term(t) for t in terms])
    assert any(message in p for p in error.value.problems), error.value.problems


@pytest.mark.parametrize("sink", ["allcropsink", "biofuelcropsink", "riversink", "woodsink", "river_adjustment_land_scaled"])
def test_sinks_are_refused_from_the_study_file_alone(sink: str) -> None:
    sources = [TypeAdapter(InversionSource).validate_python({"format": "table", "path": "t.csv"})]
    with pytest.raises(InputError, match="towers see this uptake"):
        check_target("tower_nee", sources, parse({**UNIFORM, "name": sink}))
    check_target("stock_change", sources, parse({**UNIFORM, "name": sink}))


def test_carbontracker_variables_are_known_to_lack_fire() -> None:
    bio = {"format": "gridded", "path": "ct.nc", "product": "CT", "variable": "bio_flux_opt", "per": "area", "sign": "to_atmosphere"}
    source = TypeAdapter(InversionSource).validate_python(bio)
    with pytest.raises(InputError, match="no product includes fire"):
        check_target("tower_nee", [source], parse(UNIFORM))
    stated = TypeAdapter(InversionSource).validate_python({**bio, "includes_fire": True})
    check_target("tower_nee", [stated], parse(UNIFORM))


def test_the_river_adjusted_field_is_refused_from_the_study_file_alone() -> None:
    name = "land_flux_fossil_cement_and_river_adjusted"
    source = TypeAdapter(InversionSource).validate_python({"format": "gcb", "path": "gcb.nc", "variable": name})
    with pytest.raises(InputError, match=r"gcb\.nc has the river flux on land removed"):
        check_target("tower_nee", [source], [])


def test_a_term_must_cover_the_months_of_the_inversions() -> None:
    fire = term("fire")
    short = Adjustment("fire", fire.integral.where(fire.integral.time < TIMES[12]), fire.uncertainty, "drawn")
    with pytest.raises(InputError, match=r"fire \(drawn\) has no value in 12 months, first 2004-01, years 2004 to 2004"):
        make_target("tower_nee", inversions(), [short])
    ends = inversions()
    ended = Inversions(ends.integral.where(ends.integral.time < TIMES[12]), ends.notes)
    target = make_target("tower_nee", ended, [short])
    assert target.integral.sel(time="2003").notnull().all()
    assert target.integral.sel(time="2004").isnull().all()


def test_sanity_lines_name_what_lies_outside_its_range() -> None:
    inside = sanity_lines(inversions(), make_target("tower_nee", inversions(), [term("fire")]))
    assert inside[0] == "P0 2003-2004: -2.40 PgC/yr, inside -6..+2"
    assert inside[2] == "fire: 3.60 PgC/yr, inside +1..+4.5"
    # P0 and P1 average to -1.8; the range moves with what is taken off
    assert inside[3].startswith("target NBE - fire 2003-2004 (south -2.40, north -3.00): -5.40 PgC/yr, inside -9.6..-1.6")
    assert inside[3].endswith("not accounted for: crop_consumption, biofuel_consumption, wood_consumption, river_evasion")
    flipped = inversions(annual=28.8)
    assert "OUTSIDE -6..+2: check unit and sign" in sanity_lines(flipped, make_target("nbe", flipped, []))[0]


def test_real_target(shared_data: Path) -> None:
    """NBE of four inversions minus GFED4.1s fire, 2001-2012: the figures stated with the data."""
    root = shared_data / "real"
    times = pd.date_range("2001-01-01", "2012-12-01", freq="MS")
    with xr.open_dataset(root / "region_masks_1deg.nc") as masks:
        grid = Grid.global_regular(1.0)
        regions = Regions.from_integer_mask(masks["lat_band"], grid, "mask")
        world = (root, grid, regions, masks["land_fraction"].to_numpy().astype(float), times)
    source = TypeAdapter(InversionSource).validate_python({"format": "table", "path": "inversions_latbands_monthly.csv"})
    fire = parse({"name": "fire", "format": "table", "path": "fire_latbands_annual.csv", "monthly_profile": "uniform"})
    target = make_target("tower_nee", read_inversions([source], *world), read_adjustments(fire, *world))
    mean = (target.integral.mean("product").sum("time") / 12).sel(region=["global", "north_of_30N", "tropics", "south_of_30S"])
    np.testing.assert_allclose(mean, [-3.89, -2.05, -1.76, -0.08], atol=0.005)
    assert target.name == "NBE - fire"


def test_days_of_the_calendar_are_the_standard_librarys(tmp_path: Path) -> None:
    times = pd.date_range("1899-01-01", "1904-12-01", freq="MS")  # 1900 is no leap year
    write(annual_rows(years=tuple(range(1899, 1905))), tmp_path)
    (fire,) = read(tmp_path, UNIFORM, times=times)
    for time, value in zip(times, fire.integral.sel(region="south").to_numpy(), strict=True):
        year = 366 if calendar.isleap(time.year) else 365
        assert value == pytest.approx(calendar.monthrange(time.year, time.month)[1] / year)

"""The synthetic world as a whole, and its files read back by the readers of real data."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pydantic import ValidationError

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.sources.adjustments import make_target, read_adjustments
from dualflux.sources.inversions import read_inversions
from dualflux.sources.land.read import Land, NoFluxSettings, land_cells
from dualflux.sources.predictors.read import read_predictors
from dualflux.sources.towers import read_towers
from dualflux.study.settings import Study, load_study
from dualflux.twin import World, WorldSettings, build_world, world_facts, write_world
from dualflux.twin.atmosphere import invert
from dualflux.twin.facts import monthly_integral
from dualflux.twin.landcover import BARE, draw_bare_flux, draw_hidden
from dualflux.twin.scoring.scores import seasonal_shift
from dualflux.twin.world import HARDNESS, monthly_means

SMALL = {"resolution": 6.0, "end": date(2006, 12, 31), "towers": 40, "unseen_towers": 15}
# Issue 3: the ranges a realistic world lies in [PgC per year, PgC per month, calendar month].
RANGES = {
    "gpp": (100, 150), "nee": (-4, -3), "nee_sd": (0.6, 1.2), "fire": (1.0, 2.5), "exchange": (-3, 0.5),
    "amplitude_global": (2.5, 4.5), "uptake_global": (-3.5, -2.0), "peak_month_global": (6, 7), "nee_EU": (-1.0, 0.2),
    "amplitude_EU": (0.35, 1.0), "uptake_EU": (-0.7, -0.25), "peak_month_EU": (5, 7), "nee_BRA": (-1.2, 0.4), "amplitude_BRA": (0.03, 0.35),
}  # fmt: skip


@pytest.fixture(scope="module", name="world")
def _world() -> World:
    return build_world(WorldSettings(**SMALL))


@pytest.fixture(scope="module", name="study")
def _study(world: World, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study(write_world(world, tmp_path_factory.mktemp("twin")))


@pytest.fixture(scope="module", name="land")
def _land(study: Study) -> Land:
    settings = study.settings
    grid = Grid.global_regular(settings.grid.resolution)
    return land_cells(grid, study.root, settings.land_fraction, settings.regions, NoFluxSettings())


def _months(study: Study) -> pd.DatetimeIndex:
    return pd.date_range(*study.settings.period, freq="MS")


@pytest.mark.parametrize("seed", [1, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3, 4, 5))])
def test_default_world_has_the_sizes_and_phases_of_the_real_one(seed: int) -> None:
    facts = world_facts(build_world(WorldSettings(seed=seed)))
    outside = {name: facts[name] for name, (low, high) in RANGES.items() if not low <= facts[name] <= high}
    assert not outside
    assert facts["tower_nee"] < facts["tower_cell_nee"] - 50  # vigorous sinks
    assert facts["tower_bias"] < -10  # night


def _cycle(series: pd.Series) -> np.ndarray:
    return series.groupby(series.index.month).mean().to_numpy()


def test_cycle_and_variability_are_those_of_four_real_inversions(shared_data: Path) -> None:
    """CAMS v20r1, CT2019B, CTE2018, CarboScope s99oc_v2020, 2001-2012: amplitude 3.2 to 4.1 PgC per month, sd 0.6 to 1.1 PgC per year."""
    table = pd.read_csv(shared_data / "real/inversions_latbands_monthly.csv", parse_dates=["time"])
    per_month = table.time.dt.days_in_month / np.where(table.time.dt.is_leap_year, 366, 365)
    real = table.assign(value=table.value * per_month).groupby(["product", "time"]).value.sum().unstack("product")
    world = build_world(WorldSettings())
    ours = pd.Series(monthly_integral(world, world.nee + world.emissions.total()), world.months)
    cycles = np.stack([_cycle(real[name]) for name in real])
    amplitude, spread = np.ptp(cycles, axis=1), [real[name].groupby(real.index.year).sum().std() for name in real]
    assert amplitude.min() < np.ptp(_cycle(ours)) < amplitude.max()
    assert 0.9 * min(spread) < ours.groupby(ours.index.year).sum().std() < 1.1 * max(spread)
    assert abs(seasonal_shift(_cycle(ours), cycles.mean(axis=0))[1]) < 20  # days
    assert np.corrcoef(_cycle(ours), cycles.mean(axis=0))[0, 1] > 0.95


def test_same_seed_same_world(world: World) -> None:
    again = build_world(WorldSettings(**SMALL))
    np.testing.assert_array_equal(world.nee, again.nee)
    np.testing.assert_array_equal(world.inversions.flux, again.inversions.flux)
    np.testing.assert_array_equal(world.records.nee, again.records.nee)


def test_kinds_share_the_climate_and_differ_in_hardness(world: World) -> None:
    fair, hostile = (build_world(WorldSettings(kind=kind, **SMALL)) for kind in ("no_tower_bias", "hostile"))
    np.testing.assert_array_equal(world.weather.ta, fair.weather.ta)
    facts, fair_facts, hostile_facts = (world_facts(w) for w in (world, fair, hostile))
    excess = [f["tower_nee"] - f["tower_cell_nee"] for f in (fair_facts, facts, hostile_facts)]
    assert abs(excess[0]) < 50 and excess[1] < -50 and excess[2] < 1.5 * excess[1]
    assert abs(fair_facts["tower_bias"]) < 5
    np.testing.assert_array_equal(fair.site_weather.ta, fair.weather.ta[:, fair.sites.cell])
    north = [(w.sites.table.lat > 30).mean() for w in (world, fair)]
    assert north[0] > 0.7 > north[1]


def test_hostile_is_the_default_at_twice_its_size() -> None:
    default, hostile = HARDNESS["default"], HARDNESS["hostile"]
    assert (hostile.hidden, hostile.inversions) == (2 * default.hidden, 2 * default.inversions)
    for trait in ("siting", "noise", "night_loss"):
        assert getattr(hostile.towers, trait) == 2 * getattr(default.towers, trait)
    assert hostile.towers.clustered and default.towers.clustered


def test_errors_of_inversions_and_what_is_hidden_grow_in_proportion(world: World) -> None:
    exchange, geography = world.nee + world.emissions.total(), world.geography
    none, one, two = (invert(geography, world.months, exchange, world.gpp, size, 1).flux for size in (0.0, 1.0, 2.0))
    np.testing.assert_allclose(two - none, 2 * (one - none), atol=2e-5)
    once, twice = (draw_hidden(geography, size, 1) for size in (1.0, 2.0))
    for name in ("vigour", "capacity"):
        np.testing.assert_allclose(np.log(getattr(twice, name)), 2 * np.log(getattr(once, name)), atol=1e-12)


def test_towers_stand_in_weather_of_their_own(world: World) -> None:
    """Relief and exposure: a lasting difference of 1 K and daily ones of 0.5 K."""
    difference = world.site_weather.ta - world.weather.ta[:, world.sites.cell]
    assert difference.mean(axis=0).std() == pytest.approx(1.0, abs=0.3)
    assert (difference - difference.mean(axis=0)).std() == pytest.approx(0.5, abs=0.01)


def test_towers_are_few_clustered_and_of_one_class(world: World) -> None:
    table = world.sites.table
    assert (~table.unseen).sum() == 40 and table.unseen.sum() == 15 and table.site.is_unique
    assert len(np.unique(world.sites.cell)) < 0.8 * len(table)
    assert (world.sites.cover.sum(axis=1) == 1).all()
    grid = world.geography.cells.grid
    row, column = grid.cell_of(table.lat.to_numpy(), table.lon.to_numpy())
    np.testing.assert_array_equal(row * grid.lon.size + column, world.geography.cells.index[world.sites.cell])


def test_truth_of_a_cell_is_mean_gpp_and_respiration_in_balance(world: World) -> None:
    """A world cannot respire more than it takes up for long: annual |NEE| stays below GPP in every vegetated cell."""
    annual, gpp = world.nee.mean(axis=0), world.gpp.mean(axis=0)
    assert (np.abs(annual) < 0.5 * gpp + 0.02).all()


def test_inversions_without_error_keep_the_global_integral_and_lose_detail(world: World) -> None:
    exchange = world.nee + world.emissions.total()
    exact = invert(world.geography, world.months, exchange, world.gpp, 0.0, 1)
    inside = world.geography.cells.region_fraction.sum(axis=0) > 1 - 1e-9
    area = world.geography.cells.land_area
    truth = exchange @ area
    outside = np.abs(exchange[:, ~inside]) @ area[~inside]
    assert (np.abs(exact.flux[0] @ area - truth) <= 1e-5 * np.abs(exchange) @ area + outside).all()
    assert exact.flux[0].std() < exchange.std()


def test_offsets_cancel_between_neighbours_and_periods_differ(world: World) -> None:
    exchange, area = world.nee + world.emissions.total(), world.geography.cells.region_area
    complete = [i for i, flux in enumerate(world.inversions.flux) if np.isfinite(flux).all()]
    assert len(complete) == 4 and np.isfinite(world.inversions.flux).any(axis=(1, 2)).all()
    error = np.stack([(world.inversions.flux[i] - exchange).mean(axis=0) @ area.T for i in complete]) * 365.25 / 1e15
    own = error - error.mean(axis=0)
    assert np.abs(own.sum(axis=1)).mean() < 0.4 * np.abs(own).sum(axis=1).mean()


def test_study_file_is_valid_and_complete(study: Study, world: World) -> None:
    settings = study.settings
    assert settings.regions == "gcp18" and settings.time_step == "monthly" and settings.grid.resolution == 6.0
    assert [str(day) for day in settings.period] == ["2001-01-01", "2006-12-31"]
    assert {p.name for p in settings.predictors} >= {"ta", "land_cover", "climate", "potential_radiation", "mean_season(ta)"}
    assert not any("truth" in str(p.path) for p in (*settings.predictors, *settings.inversions, *settings.adjustments, *settings.towers))
    assert world.settings.kind in settings.name


def test_land_and_regions_read_back(land: Land, world: World) -> None:
    np.testing.assert_array_equal(land.cells.index, world.geography.cells.index)
    np.testing.assert_allclose(land.cells.land_area, world.geography.cells.land_area, rtol=1e-6)
    np.testing.assert_allclose(land.cells.region_fraction, world.geography.cells.region_fraction, atol=1e-6)


def test_predictors_read_back(study: Study, land: Land, world: World) -> None:
    settings = study.settings
    data = read_predictors(settings.predictors, study.root, land.cells.grid, land.cells, _months(study), settings.time_step)
    assert data.time[0] == np.datetime64("2000-01-01")  # a year of warm-up
    np.testing.assert_allclose(data.ta, monthly_means(world.weather.ta, world.weather.time), atol=1e-4)
    np.testing.assert_allclose(data.land_cover.T, world.cover.fraction, atol=1e-6)
    np.testing.assert_allclose(data.climate.sum("climate_class"), 1, atol=1e-6)
    assert bool(data.valid.all())


def test_inversions_and_adjustments_read_back_as_the_worlds_integrals(study: Study, land: Land, world: World) -> None:
    settings = study.settings
    arguments = (study.root, land.cells.grid, land.regions, land.land_fraction, _months(study))
    inversions = read_inversions(settings.inversions, *arguments)
    assert list(inversions.integral["product"].values) == list(world.inversions.names)
    for region in ("global", "BRA", "RUS", "KAJ"):
        for i, flux in enumerate(world.inversions.flux):
            expected = monthly_integral(world, flux, region)
            np.testing.assert_allclose(inversions.integral.sel(region=region)[i], expected, rtol=1e-3, atol=1e-4)
    terms = read_adjustments(settings.adjustments, *arguments)
    published = world.published_emissions
    found = {t.name: t.integral.sel(region="global").to_numpy() for t in terms}
    np.testing.assert_allclose(found["fire"], monthly_integral(world, published.fire), rtol=1e-4)
    for name, density in published.lateral.items():
        expected = monthly_integral(world, np.tile(density, (len(world.months), 1)))
        np.testing.assert_allclose(found[name], expected, rtol=1e-4)
    target = make_target(settings.target, inversions, terms)
    assert target.integral.attrs["missing_terms"] == ""
    annual = float(target.integral.sel(region="global").mean("product").mean()) * 12
    assert annual == pytest.approx(world_facts(world)["nee"], abs=1.0)  # like with like, within the inversions' common error


def test_towers_read_back(study: Study, world: World) -> None:
    towers = read_towers(list(study.settings.towers), study.root, study.settings.period, "daily")
    table = world.sites.table
    seen = table[~table.unseen]
    assert set(towers.sites.index) == set(seen.site)
    assert set(towers.sites.variable) == {"NEE_VUT_REF", "NEE_CUT_REF"}
    pd.testing.assert_series_equal(towers.sites.igbp, seen.set_index("site").igbp.sort_index(), check_names=False)
    site = int(np.flatnonzero(~table.unseen)[0])
    rows = towers.observations[towers.observations.site == table.site[site]]
    days = pd.date_range(world.settings.start, world.settings.end)
    position = days.get_indexer(pd.DatetimeIndex(rows.time))
    np.testing.assert_allclose(rows.nee, world.records.nee[position, site], atol=1e-4)
    assert (world.records.quality[position, site] > 0.8 - 1e-4).all()


def test_monthly_study_finds_enough_tower_months(study: Study) -> None:
    towers = read_towers(list(study.settings.towers), study.root, study.settings.period, "monthly")
    assert len(towers.observations) > 40 * 12


def test_truth_table_is_the_truth_map(study: Study) -> None:
    table = pd.read_csv(study.root / "truth/regional_monthly.csv", parse_dates=["time"])
    assert list(table.columns) == ["product", "member", "region", "time", "value", "std", "unit"]
    assert set(table.unit) == {"PgC month-1"}
    with xr.open_dataset(study.root / "truth/nee_monthly.nc", engine="h5netcdf") as data:
        assert data.nee.attrs["units"] == "gC m-2 d-1"
        total = (data.nee * data.land_area * data.time.dt.days_in_month).sum(["lat", "lon"]) / 1e15
    np.testing.assert_allclose(table[table.region == "global"].value, total, atol=1e-6)
    parts = table[table.region != "global"].groupby("time").value.sum()
    np.testing.assert_allclose(parts, table[table.region == "global"].value, atol=0.03)


def test_tower_truth_has_unseen_sites_and_all_months(study: Study, world: World) -> None:
    table = pd.read_csv(study.root / "truth/tower_flux.csv", parse_dates=["time"])
    assert len(table) == 55 * 72 and table.groupby("site").unseen.first().sum() == 15
    sites = pd.read_csv(study.root / "truth/sites.csv")
    assert set(sites.columns) == {"site", "lat", "lon", "igbp", "region", "unseen"}
    one = table[table.site == world.sites.table.site[0]]
    cell = world.sites.cell[0]
    np.testing.assert_allclose(one.cell_flux, world.nee[:, cell], rtol=1e-3, atol=1e-4)
    assert not set(table[table.unseen].site) & {path.name.split("_")[1] for path in (study.root / "towers").glob("FLX_*.csv")}


def test_daily_world_writes_daily_predictors_and_16_day_greenness(tmp_path: Path) -> None:
    settings = WorldSettings(resolution=10.0, end=date(2002, 12, 31), towers=12, unseen_towers=2, time_step="daily")
    world = build_world(settings)
    study = load_study(write_world(world, tmp_path, name="daily_twin"))
    assert study.settings.name == "daily_twin" and study.settings.time_step == "daily"
    grid = Grid.global_regular(10.0)
    land = land_cells(grid, study.root, study.settings.land_fraction, study.settings.regions, NoFluxSettings())
    days = pd.date_range(*study.settings.period)
    data = read_predictors(study.settings.predictors, study.root, grid, land.cells, days, "daily")
    assert data.sizes["time"] == 366 + 730
    np.testing.assert_array_equal(data.sw_in, world.weather.sw_in)
    np.testing.assert_allclose(data.fapar, world.greenness.fapar[world.greenness.at_days(world.weather.time)], atol=1e-6)


def test_writing_again_replaces_the_towers_of_the_earlier_world(tmp_path: Path) -> None:
    settings = WorldSettings(resolution=10.0, end=date(2002, 12, 31), towers=14, unseen_towers=0)
    write_world(build_world(settings), tmp_path)
    write_world(build_world(settings.model_copy(update={"seed": 9, "towers": 11})), tmp_path)
    assert len(list((tmp_path / "towers").glob("FLX_*.csv"))) == 11


def test_a_folder_with_other_files_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds files but no world\.json.*name a new or empty folder"):
        write_world(world, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"start": date(2001, 2, 1)}, "start on 1 January"),
        ({"end": date(2001, 12, 31)}, "at least two years"),
        ({"kind": "easy"}, "no_tower_bias"),
        ({"resolution": 0.0}, "greater than 0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        WorldSettings(**wrong)


def test_bare_ground_has_a_flux_of_its_own_in_hostile_worlds_alone(world: World) -> None:
    """Sd over bare land as stated, sum zero, nothing where the world has none."""
    area = world.geography.cells.land_area * world.cover.fraction[:, BARE]
    assert HARDNESS["default"].bare == 0 and not draw_bare_flux(world.geography, world.cover, 0.0, 3).any()
    flux = draw_bare_flux(world.geography, world.cover, HARDNESS["hostile"].bare, 3)
    assert abs(flux @ area / area.sum()) < 1e-9 and np.sqrt(flux**2 @ area / area.sum()) == pytest.approx(15)

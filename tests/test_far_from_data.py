"""Shares far from towers, and boxes beyond what data show, on worlds drawn by hand."""

import json
import sys
from pathlib import Path

import matplotlib.axes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy.stats import t as student

from drawn_run import LAND, MEMBERS, draw_run
from dualflux.cube import Columns, Cube, Steps, no_series
from dualflux.evaluation.far_from_data import Classes, cell_classes, far_from_data, site_classes
from dualflux.evaluation.lasting_flux import lasting_flux
from dualflux.grid import Grid, LandCells, Regions
from dualflux.metrics.far_from_data import distance_to_towers, shares
from dualflux.metrics.hot_spots import Boxes, inversion_limits, prediction_interval, site_means, tower_limits, width
from dualflux.prepared import Prepared
from dualflux.report.far_from_data import NOT_YET, draw_flags, far_sentences, flag_sentences, outline
from dualflux.report.maps import equal_earth
from dualflux.sources.adjustments import Target
from dualflux.units import DAYS_PER_MEAN_YEAR, PETAGRAM

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
import real_map

DEGREE = np.pi / 180 * 6371.0072  # km along the equator


def test_a_line_of_cells_and_one_tower() -> None:
    """Cells every degree on the equator: the nearest of two towers counts, across the date line too."""
    lon = np.arange(-180.0, 180.0)
    found = distance_to_towers(np.zeros(360), lon, np.zeros(2), np.array([170.0, 0.0]))
    apart = np.minimum(np.abs(lon), np.minimum(np.abs(lon - 170), np.abs(lon + 190)))
    np.testing.assert_allclose(found, DEGREE * apart, atol=1e-3)
    assert np.isinf(distance_to_towers(np.zeros(3), np.zeros(3), np.zeros(0), np.zeros(0))).all()


def test_shares_are_of_land_and_of_the_sizes_of_fluxes() -> None:
    """Half of the land is far; a source of 3 there and a sink of -5 near: 3 of 8 of the exchange, though the total is -2."""
    area, flux = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), np.array([3.0, -5.0, 0.0, 0.0])
    of_area, of_flux, net = shares(np.array([1.0, 0.0, 1.0, 0.0]), area, flux)
    np.testing.assert_allclose(of_area, [0.5, 0.5])
    np.testing.assert_allclose(of_flux, [3 / 8, 3 / 8])
    np.testing.assert_allclose(net, [3.0, 3.0])
    assert np.isnan(shares(np.ones(4), area, np.zeros(4))[1]).all()


def test_boxes_are_nearly_equal_and_hold_their_cells() -> None:
    grid = Grid.global_regular(1.0)
    lat, lon = (v.ravel() for v in np.meshgrid(grid.lat, grid.lon, indexing="ij"))
    boxes = Boxes.of(lat, lon)
    assert (np.abs(lat - boxes.lat[boxes.of_cell]) < 5).all()
    off = (lon - boxes.lon[boxes.of_cell] + 180) % 360 - 180
    assert (np.abs(off) <= width(boxes.lat[boxes.of_cell]) / 2 + 1e-6).all()
    area = boxes.sums(grid.cell_area.ravel())[np.abs(boxes.lat) < 80]
    assert area.min() > 0.75 * area.mean() and area.max() < 1.25 * area.mean()


def test_a_site_needs_all_twelve_months_and_each_counts_once() -> None:
    """January seen three times at 12, other months once at 0: the mean is 1, not 36/14. A site without a December has none."""
    months = [pd.Timestamp(2001, m, 1) for m in range(1, 13)]
    whole = pd.DataFrame({"site": "a", "time": [*months, months[0], months[0]], "nee": [12.0, *[0.0] * 11, 12.0, 12.0]})
    short = pd.DataFrame({"site": "b", "time": months[:11], "nee": 1.0})
    assert site_means(pd.concat([whole, short])).to_dict() == {"a": 1.0}


def test_limits_hold_one_more_site_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    inside = []
    for values in random.normal(-200, 100, (2000, 7)):
        low, high = prediction_interval(values[:6])
        inside.append(low <= values[6] <= high)
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_a_climate_of_few_sites_takes_the_limits_of_all() -> None:
    means = pd.Series([*np.linspace(-2, 2, 5), 30.0], index=list("abcdef"))
    found = tower_limits(means, pd.Series([*["dry"] * 5, "wet"], index=means.index), ["dry", "wet"])
    half = student.ppf(0.95, 4) * np.std(means[:5], ddof=1) * np.sqrt(6 / 5)
    assert found.loc["dry", ["lower", "upper"]].tolist() == pytest.approx([-half, half])
    assert found["kind"].to_dict() == {"dry": "towers_of_climate", "wet": "towers"}
    assert found.loc["wet", "upper"] == pytest.approx(prediction_interval(means.to_numpy())[1])
    assert tower_limits(means[:4], pd.Series("dry", means.index), ["dry"]).empty


def test_inversions_limit_where_there_are_two() -> None:
    density = np.array([[0.0, 5.0], [2.0, np.nan]])
    lower, upper = inversion_limits(density)
    assert (lower[0], upper[0]) == pytest.approx((-np.sqrt(2), 2 + np.sqrt(2)))
    assert np.isnan(lower[1]) and np.isnan(upper[1])


GRID = Grid.global_regular(10.0)
MONTHS = pd.date_range("2001-01-01", periods=12, freq="MS")


def drawn_world() -> tuple[Prepared, np.ndarray]:
    """Land everywhere, two halves, eight towers around 0 N 0 E with means of -100 -+ 60 gC m-2 yr-1; the flux is -100 everywhere."""
    half = np.broadcast_to(GRID.lat[:, None] > 0, GRID.shape)
    cells = LandCells.build(GRID, np.ones(GRID.shape), Regions(("north", "south"), np.stack([half, ~half]).astype(float)))
    count = len(cells.index)
    cover = np.zeros((count, 2))
    cover[:, 0] = cells.lon() < 0
    cover[:, 1] = 1 - cover[:, 0]
    steps = Steps.create("2001-01-01", "2001-12-01", "monthly")
    columns = Columns(("cover_GRA", "cover_BSV", "climate_dry"), (), ())
    static = np.column_stack([cover - 0.5, np.zeros(count)]).astype(np.float32)  # standardised: centre 0.5, and 1 for the climate
    empty = np.zeros((12, count, 0), np.float32)
    cube = Cube(static, empty, empty, steps, columns, np.array([0.5, 0.5, 1.0]), np.ones(3), *no_series(steps))
    names = [f"s{i}" for i in range(8)]
    at = int(np.argmin(np.abs(cells.lat() - 5) + np.abs(cells.lon() - 5)))
    sites = pd.DataFrame({"lat": 5.0, "lon": 5.0, "igbp": "GRA", "cell": at}, index=pd.Index(names, name="site"))
    level = np.linspace(-160, -40, 8) / DAYS_PER_MEAN_YEAR
    rows = pd.DataFrame({"site": np.repeat(names, 12), "time": np.tile(MONTHS, 8), "nee": np.repeat(level, 12)})
    area = cells.region_area.sum(axis=1)
    annual = np.array([[-110.0, -110.0], [-90.0, -90.0]]) * area / PETAGRAM
    regions = np.concatenate([annual, annual.sum(axis=1, keepdims=True)], axis=1)
    integral = xr.DataArray(
        np.repeat(regions[:, :, None] / 12, 12, axis=2), dims=("product", "region", "time"),
        coords={"product": ["A", "B"], "region": ["north", "south", "global"], "time": MONTHS},
    )  # fmt: skip
    target = Target("drawn", "nbe", integral, xr.zeros_like(integral), pd.DataFrame())
    nothing = np.zeros((0, 0), np.float32)
    prepared = Prepared(cells, GRID.cell_area, cube, rows, sites, nothing, target, None, nothing)
    return prepared, np.full(count, -100.0)


def test_a_planted_box_is_flagged_and_nothing_else() -> None:
    prepared, flux = drawn_world()
    cells = prepared.cells
    cover, climate = site_classes(prepared, "cover"), cell_classes(prepared, "climate")
    tables, summary = far_from_data(prepared, {"dual": flux}, "dual", cover, climate)
    assert tables["flags"].empty and set(summary["value"][summary["metric"] == "hot_spots"]) == {0.0}
    level = np.linspace(-160, -40, 8)
    low = prediction_interval(level)[0]
    planted = flux.copy()
    planted[(cells.lat() == 5) & (cells.lon() == 105)] = low - 1
    tables, summary = far_from_data(prepared, {"dual": planted, "plain": flux}, "dual", cover, climate)
    (flag,) = tables["flags"].itertuples()
    assert (flag.kind, flag.region, flag.lat, flag.lon) == ("towers_of_climate", "north", 5.0, 105.0)
    assert (flag.value, flag.limit) == (pytest.approx(low - 1), pytest.approx(low))
    counts = summary[summary["metric"] == "hot_spots"].set_index(["product", "region"])["value"]
    assert counts["dual"].to_dict() == {"north": 1.0, "south": 0.0, "global": 1.0} and counts["plain"].sum() == 0
    planted[(cells.lat() == 5) & (cells.lon() == 105)] = low + 1
    assert far_from_data(prepared, {"dual": planted}, "dual", cover, climate)[0]["flags"].empty


def test_a_region_beyond_every_inversion_is_flagged() -> None:
    """Inversions of -110 and -90 with a spread of 14: -120 is inside, -130 is not; boxes stay inside what towers show."""
    prepared, flux = drawn_world()
    climate, south = cell_classes(prepared, "climate"), prepared.cells.lat() < 0
    assert far_from_data(prepared, {"dual": np.where(south, -120.0, flux)}, "dual", None, climate)[0]["flags"].empty
    (flag,) = far_from_data(prepared, {"dual": np.where(south, -130.0, flux)}, "dual", None, climate)[0]["flags"].itertuples()
    assert (flag.kind, flag.region, flag.lat) == ("inversions", "south", pytest.approx(-90))
    assert flag.limit == pytest.approx(-110 - np.sqrt(200))


def test_known_shares_of_a_drawn_world() -> None:
    """One place of towers: far are the cells outside the circle; the class of the eastern half has no tower."""
    prepared, flux = drawn_world()
    cells = prepared.cells
    flux = np.where(cells.lon() > 0, 300.0, flux)
    tables, summary = far_from_data(prepared, {"dual": flux}, "dual", site_classes(prepared, "cover"), None)
    table = tables["far_from_data"].set_index(["region", "distance_km"])
    near = (cells.lat() == 5) & (cells.lon() == 5)  # the next centres are 1100 km away
    area = cells.land_area
    assert list(tables["far_from_data"]) == ["region", "distance_km", "share_of_area", "share_of_flux"]
    assert table.loc[("global", 1000), "share_of_area"] == pytest.approx(1 - area[near].sum() / area.sum())
    assert table.loc[("south", 1000)].tolist() == [1.0, 1.0]
    assert table.loc[("global", 500), "share_of_flux"] == pytest.approx(1 - 300 * area[near].sum() / (np.abs(flux) @ area))
    found = summary.set_index(["region", "metric"])["value"]
    assert found["global", "share_far_1000km"] == pytest.approx(table.loc[("global", 1000), "share_of_flux"])
    assert found["global", "share_unseen_classes"] == pytest.approx(0.75)  # 300 of 300 + 100
    assert found["south", "flux_far_500km"] == pytest.approx(0.5 * area.sum() * 100.0 / PETAGRAM)


def test_unseen_classes_are_shares_of_what_the_classes_cover() -> None:
    """Of a cell with 0.2 seen, 0.2 unseen and 0.6 of no class at all a half is unseen; one of no class has nothing unseen."""
    classes = Classes(("GRA", "BSV"), np.array([[0.2, 0.2], [0.0, 0.0]]), pd.Series(["GRA", None]))
    np.testing.assert_allclose(classes.unseen(), [0.5, 0.0])


def test_sentences_say_what_the_tables_hold(tmp_path: Path) -> None:
    out = draw_run(tmp_path)
    rows = pd.read_csv(out / "tables/summary.csv")
    numbers = {"mean_annual_sd": 0.1, "share_far_1000km": 0.28, "flux_far_1000km": -1.1, "share_unseen_classes": 0.0}
    more = pd.DataFrame([("dual", "global", m, v, "1") for m, v in numbers.items()], columns=rows.columns)
    pd.concat([rows, more]).to_csv(out / "tables/summary.csv", index=False)
    assert far_sentences(out) == [NOT_YET]
    pd.DataFrame([("global", 1000, 0.6, 0.28)], columns=["region", "distance_km", "share_of_area", "share_of_flux"]).to_csv(
        out / "tables/far_from_data.csv", index=False
    )
    columns = ["kind", "region", "lat", "lon", "value", "limit"]
    flags = [("towers", "north", 5, 5, -9, -8), ("towers", "NA", 5, 15, -9, -8), ("inversions", "NA", 0, 0, 3, 2)]
    pd.DataFrame(flags, columns=columns).to_csv(out / "tables/flags.csv", index=False)
    first, second, third = (line.replace("\u00a0", " ") for line in far_sentences(out))
    assert first.startswith("28 % of the exchange") and "within 1000 km, on 60 % of the land; net it is −1.10 of the globe's 1.00" in first
    assert second.startswith("2 boxes of about 1100 km take up more per area than a tower")
    assert third == "The flux per area of NA is higher than that of any inversion."
    assert flag_sentences("dual", pd.DataFrame(columns=columns))[0].startswith("No flux per area of “dual”")


def test_marks_lie_on_their_boxes() -> None:
    """Outline and triangle of a box on a map that is centred on the date line."""
    lat, lon = outline(5.0, -175.0, 180.0)
    assert (lat.min(), lat.max(), lon.min(), lon.max()) == (0.0, 10.0, 0.0, 10.0)
    ax: matplotlib.axes.Axes = Figure().add_subplot()
    flag = pd.DataFrame([("towers", "r", 5.0, -175.0, -9.0, -8.0)], columns=["kind", "region", "lat", "lon", "value", "limit"])
    draw_flags(ax, flag, equal_earth, 180.0)
    mark, _ = ax.lines
    x, y = equal_earth(np.array([5.0]), np.array([5.0]))
    assert (mark.get_marker(), mark.get_xydata().tolist()) == ("v", [[x[0], y[0]]])


def test_the_real_map_adds_up_a_drawn_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Members of 1 and 3 gC m-2 d-1 everywhere: all land is a source; boxes without land, classes without a predictor are null."""
    out, file = draw_run(tmp_path), tmp_path / "map.json"
    np.testing.assert_allclose(np.unique(lasting_flux(out / "products/dual/nee_monthly.nc")[:, :5]), 2 * DAYS_PER_MEAN_YEAR)
    monkeypatch.setattr(sys, "argv", ["real_map.py", str(out), "--out", str(file), "--all"])
    real_map.main()
    found = json.loads(file.read_text())
    each = MEMBERS * LAND.sum() * DAYS_PER_MEAN_YEAR / PETAGRAM
    assert (found["variant"], found["members"], set(found["variants"])) == ("dual", 2, {"dual", "towers"})
    assert found["sum_sources"] == pytest.approx(each.mean(), rel=1e-6)
    assert found["sum_sources_90"] == pytest.approx(np.quantile(each, [0.05, 0.95]), rel=1e-6)
    assert found["mean_arabia"] is None and found["sum_evergreen"] is None and found["south_china"] == 0.0
    assert "no land cover" in capsys.readouterr().err
    inside = real_map.in_box(GRID.lat, GRID.lon, (0, 20, -10, 20))
    assert [GRID.lat[i] for i in np.flatnonzero(inside.any(axis=1))] == [5, 15]
    assert [GRID.lon[i] for i in np.flatnonzero(inside.any(axis=0))] == [-5, 5, 15]


def test_means_count_land_and_classes_their_fraction() -> None:
    lat, lon = np.array([20.0, 25.0]), np.array([0.0])
    land, flux = np.array([[1.0], [3.0]]), np.array([[4.0], [-8.0]])
    fraction = {"EBF": np.array([[0.5], [0.25]]), "BSV": np.array([[0.9], [0.1]])}
    found = real_map.numbers(real_map.weights_of(lat, lon, land, flux, fraction), flux, np.stack([flux - 1, flux + 1]))
    assert found["mean_sahara"] == -5 and found["mean_bare"] == 4
    assert found["sum_sources"] == pytest.approx(4e-15) and found["sum_evergreen"] == pytest.approx(-4e-15)
    assert found["mean_sahara_90"] == pytest.approx([-5.9, -4.1])

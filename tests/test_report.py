"""The report of a small drawn run: everything is there, nothing leaves the file, numbers are those of the tables."""

import base64
import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dualflux import metrics as evaluation
from dualflux import report
from dualflux.errors import InputError
from dualflux.evaluation.left_out import ATTRIBUTION_COLUMNS
from dualflux.grid import EARTH_RADIUS, Grid, LandCells, Regions
from dualflux.prediction.netcdf_product import ProductWriter, regional_integrals
from dualflux.report import by_part, default_verdict, document, figures, maps, notes, read_contents, study_notes, tables, write_report
from dualflux.report.style import RC, number
from dualflux.report.text import methods
from dualflux.report.verdict import marks

REGIONS = ("north", "tropics", "NA")  # pandas reads NA as missing where it is let
NOTES = ["Lateral terms <missing> here."]
VARIANTS = ("towers", "inversions", "plain", "dual")
OFFSET = {"towers": -0.25, "inversions": 0.0, "plain": 0.03, "dual": 0.01}  # gC m-2 d-1
STUDY: dict[str, Any] = {
    "name": "drawn <b>world</b>",
    "period": ["2001-01-01", "2003-12-31"],
    "time_step": "monthly",
    "grid": {"resolution": 15.0},
    "predictors": [{"name": "ta", "running_means": [90, 365]}, {"name": "fapar"}],
    "target": "tower_nee",
    "adjustments": [{"name": "fire"}],
    "network": {"hidden": [64, 64], "activation": "relu", "members": 4, "folds": 5},
    "tower_term": {"representativeness": True, "site_effects": True},
    "inversion_term": {"estimator": "stratified", "weight": "auto"},
    "variants": list(VARIANTS),
    "references": [{"product": "X-BASE"}],
}


def drawn_land(grid: Grid) -> np.ndarray:
    """Two round continents of land fraction 0 to 1."""
    lat, lon = np.meshgrid(grid.lat, grid.lon, indexing="ij")
    far = np.minimum(np.hypot((lat - 30) / 40, (lon + 90) / 45), np.hypot((lat - 5) / 55, (lon - 60) / 60))
    return np.clip(3 - 2.6 * far, 0, 1)


def drawn_run(
    out: Path, land: np.ndarray | None = None, resolution: float = 15.0, years: int = 3, names: tuple[str, ...] = REGIONS
) -> Path:
    """A run folder as the design fixes it, drawn from a formula with noise."""
    grid = Grid.global_regular(resolution)
    land = drawn_land(grid) if land is None else land
    band = np.digitize(grid.lat, [-23, 23])[:, None]
    fraction = np.stack([np.broadcast_to(band == k, grid.shape) for k in (2, 1, 0)]).astype(float)
    cells = LandCells.build(grid, land, Regions(names, fraction))
    times = pd.date_range("2001-01-01", periods=12 * years, freq="MS")
    rng = np.random.default_rng(0)
    swing = np.sin(np.radians(cells.lat())) * 1.5
    level = -0.15 - 0.25 * np.cos(np.radians(2 * cells.lat())) * np.sin(np.radians(3 * cells.lon()))
    weather = np.repeat(rng.normal(0, 0.05, years), 12)[:, None]
    truth = level + swing * np.cos((times.month.to_numpy() - 1) * np.pi / 6)[:, None] + weather
    tables = []
    for variant in VARIANTS:
        field = truth + OFFSET[variant] + rng.normal(0, 0.02, len(times))[:, None]
        members = field + rng.normal(0, 0.06, (4, 1, 1)) + rng.normal(0, 0.05, (4, *truth.shape))
        area = grid.cell_area * land
        with ProductWriter(out / f"products/{variant}/nee_monthly.nc", cells, times, None, {"title": variant}, area) as writer:
            for t in range(len(times)):
                writer.write(t, members[:, t], members[:, t], np.full(cells.index.size, 0.01))
        integral = regional_integrals(members, cells, times)
        tables.append(tidy(variant, integral.mean(axis=0), times, names, std=integral.std(axis=0, ddof=1)))
        tables += [tidy(variant, integral[m], times, names, member=str(m)) for m in range(4)]
    inversions = [regional_integrals(truth + o + rng.normal(0, 0.03, len(times))[:, None], cells, times) for o in (-0.03, 0.0, 0.04)]
    tables += [tidy(f"inversion {i}", x, times, names) for i, x in enumerate(inversions)]
    tables += [tidy("target", np.mean(inversions, axis=0), times, names), tidy("X-BASE", inversions[0] * 1.3, times, names)]
    save_tables(out, pd.concat(tables, ignore_index=True), drawn_predictions(years))
    return out


def tidy(
    product: str, integral: np.ndarray, times: pd.DatetimeIndex, names: tuple[str, ...], member: str = "", std: np.ndarray | None = None
) -> pd.DataFrame:
    parts = []
    for r, region in enumerate((*names, "global")):
        spread = np.nan if std is None else std[:, r]
        parts.append(
            pd.DataFrame({"product": product, "member": member, "region": region, "time": times, "value": integral[:, r], "std": spread})
        )
    return pd.concat(parts).assign(unit="PgC month-1")


def drawn_predictions(years: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    times = pd.date_range("2001-01-01", periods=12 * years, freq="MS")
    skill = {"towers": 1.0, "inversions": 1.6, "plain": 1.2, "dual": 0.9}
    parts = []
    for s in range(24):
        level, swing = rng.normal(-0.5, 1), rng.uniform(0.5, 3)
        observed = level + swing * np.cos((times.month.to_numpy() - 1) * np.pi / 6) + rng.normal(0, 0.5, len(times))
        for product in VARIANTS:
            off = rng.normal(0, skill[product] * 0.7)
            landscape = level + 0.8 * swing * np.cos((times.month.to_numpy() - 1) * np.pi / 6) + off + rng.normal(0, 0.3, len(times))
            columns = {"observed": observed, "landscape": landscape + 0.3, "tower_like": landscape, "site_effect": np.nan}
            parts.append(pd.DataFrame({"product": product, "site": f"S{s:02d}", "group": s, "time": times, **columns}))
    return pd.concat(parts, ignore_index=True)


def save_tables(out: Path, regional: pd.DataFrame, predictions: pd.DataFrame) -> None:
    (out / "tables").mkdir(parents=True, exist_ok=True)
    regional.to_csv(out / "tables/regional_monthly.csv", index=False)
    evaluation.site_metrics(predictions, "monthly").to_csv(out / "tables/site_metrics.csv", index=False)
    summary = evaluation.regional_summary(regional.assign(member=regional["member"].replace("", np.nan)))
    pd.concat([summary, evaluation.probability_summary(regional)]).to_csv(out / "tables/summary.csv", index=False)
    for i, variant in enumerate(("plain", "dual")):
        steps = np.arange(0, 1001, 50)
        terms = {"step": steps, "member": 0, "towers": 2 + 3 * np.exp(-steps / (150 + 50 * i)), "inversions": 40 * np.exp(-steps / 200) + 1}
        (out / f"models/{variant}").mkdir(parents=True, exist_ok=True)
        pd.DataFrame(terms).to_csv(out / f"models/{variant}/history.csv", index=False)
    known = {"unknowns": [3, 1], "prior_variance": [0.25, 0.18], "posterior_variance": [0.01, 0.18], "ratio": [0.04, 1.0]}
    effects = pd.DataFrame({"variant": "dual", "effect": ["spatial_lasting", "common_share"], **known})
    effects.to_csv(out / "tables/identifiability.csv", index=False)
    inputs = [{"path": "towers & <script>alert(1)</script>.csv", "bytes": 12345, "sha256": "ab" * 32}]
    stages = [{"name": "train", "seconds": 61.2, "peak_memory_gb": 1.25}]
    provenance = {"versions": {"numpy": "2.0"}, "seed": 7, "inputs": inputs, "stages": stages, "citations": ["Upton et al. 2024"]}
    (out / "provenance.json").write_text(json.dumps(provenance))


class Page(HTMLParser):
    """Tags with attributes, and the text of table cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.tags if t == tag]


@pytest.fixture(scope="module", autouse=True)
def coarse_figures() -> Iterator[None]:
    """Fewer dots: drawing takes less time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "DOTS_PER_INCH", 30)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = drawn_run(tmp_path_factory.mktemp("run"))
    write_report(out, STUDY, notes=NOTES)
    return out


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def test_every_figure_is_written_embedded_and_captioned(run: Path, html: str) -> None:
    names = {p.stem for p in (run / "figures").glob("*.png")}
    cycles = {f"seasonal_cycle_{r}" for r in ("global", *REGIONS)}
    maps_ = {"mean_maps", "difference_maps", "spread_maps"}
    assert names == cycles | maps_ | {
        "main_cycles",
        "seasonal_cycles",
        "annual_anomalies",
        "regional_means",
        "skill_by_scale",
        "site_scatter",
        "training_history",
    }
    page = Page(html)
    embedded = {base64.b64decode(str(a["src"]).split(",", 1)[1]) for a in page.all("img")}
    assert embedded == {p.read_bytes() for p in (run / "figures").glob("*.png")}
    assert len(page.all("figure")) == len(page.all("figcaption")) == len(names) and all(a["alt"] for a in page.all("img"))


def test_nothing_leaves_the_file(html: str) -> None:
    page = Page(html)
    for _, attrs in page.tags:
        for name in ("src", "href", "action", "srcset", "data"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:", "#", "figures/")), value
    assert "@import" not in html and "fetch(" not in html and "url(" not in html
    assert any("default-src 'none'" in str(a.get("content")) for a in page.all("meta")) and len(html.encode()) < 15e6


def test_text_from_files_is_escaped(html: str) -> None:
    assert "<script>alert(1)" not in html and "&lt;script&gt;alert(1)" in html
    assert "<b>world</b>" not in html and "drawn &lt;b&gt;world&lt;/b&gt;" in html
    assert "Lateral terms &lt;missing&gt; here." in html


def test_what_the_data_decide_stands_beside_the_diagnostics(html: str) -> None:
    """Standard deviations are roots of the table's variances; how to read the ratio is said."""
    section = html[html.index("<h2>Diagnostics</h2>") : html.index('<section id="tables">')]
    table = section[section.index("<table") :]
    assert "near 1: they say nothing, and the prior decides" in table and "u, lasting patterns of the landscape" in table
    keys = [float(a["data-key"] or "nan") for a in Page(table).all("td")]
    np.testing.assert_allclose(keys, [3, 0.5, 0.1, 0.04, 1, 0.18**0.5, 0.18**0.5, 1.0])


def test_regions_can_be_picked_and_tables_sorted(html: str) -> None:
    page = Page(html)
    picks = [a["data-region"] for a in page.all("figure") if "data-region" in a]
    assert picks == [a["value"] for a in page.all("option")] == ["global", *REGIONS]
    assert len([a for a in page.all("table") if a["class"] == "sortable"]) == len(page.all("table")) == len(page.all("caption")) > 5
    identifiers = [a["id"] for _, a in page.tags if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_a_region_called_na_is_a_region(run: Path) -> None:
    assert read_contents(run, STUDY).regions == ["global", *REGIONS]


def test_groups_of_products(run: Path) -> None:
    contents = read_contents(run, STUDY)
    assert contents.variants == list(VARIANTS) and contents.inversions == ["inversion 0", "inversion 1", "inversion 2"]
    assert contents.drawn == ["inversion 0", "inversion 1", "inversion 2", "X-BASE", "target", *VARIANTS]


def test_spread_of_the_target_is_that_of_the_inversions(run: Path) -> None:
    contents = read_contents(run, STUDY)
    means = contents.means.set_index(["product", "region"])
    single = [means["value"][f"inversion {i}", "global"] for i in range(3)]
    assert means["sd"]["target", "global"] == pytest.approx(np.std(single, ddof=1))
    assert means["sd"]["dual", "global"] > 0


def test_cycle_figure_shows_the_table(run: Path) -> None:
    """The lines of the figure are the means of the table's months, the target's line the mean of its own."""
    contents = read_contents(run, STUDY)
    with mpl.rc_context(RC):
        (ax,) = figures.seasonal_cycle(contents, "tropics").axes
    table = pd.read_csv(run / "tables/regional_monthly.csv", keep_default_na=False, parse_dates=["time"])
    rows = table[(table["product"] == "target") & (table["region"] == "tropics")]
    wanted = rows["value"].astype(float).groupby(rows["time"].dt.month).mean()
    assert any(len(line.get_ydata()) == 12 and np.allclose(line.get_ydata(), wanted) for line in ax.lines)


def test_anomalies_have_no_mean(run: Path) -> None:
    contents = read_contents(run, STUDY)
    with mpl.rc_context(RC):
        figure = figures.annual_anomalies(contents)
    lines = [np.asarray(line.get_ydata(), dtype=float) for ax in figure.axes for line in ax.lines if len(line.get_ydata()) == 3]
    assert len(lines) == 4 * 9 and all(abs(y.mean()) < 1e-12 for y in lines)


def test_map_is_the_mean_of_the_product(run: Path) -> None:
    """The map's area integral is the table's mean annual flux (365.2425 days to 365 in these three years)."""
    product = maps.read_map(run / "products/dual/nee_monthly.nc")
    area = product.grid.cell_area * product.land_fraction
    summary = pd.read_csv(run / "tables/summary.csv", keep_default_na=False)
    row = summary[(summary["product"] == "dual") & (summary["region"] == "global") & (summary["metric"] == "mean_annual")]
    assert np.nansum(product.nee * area) / 1e15 == pytest.approx(float(row["value"].iloc[0]) * 365.2425 / 365, rel=1e-5)


def test_projection_is_equal_in_area() -> None:
    """Equal Earth keeps area: the shoelace area of a projected cell is that on the unit sphere."""
    for south, west in ((-80.0, -170.0), (0.0, 10.0), (55.0, 120.0)):
        side = np.linspace(0, 1, 2000)
        lat = south + np.concatenate([0 * side, side, 0 * side + 1, 1 - side])
        lon = west + np.concatenate([side, 0 * side + 1, 1 - side, 0 * side])
        x, y = maps.equal_earth(lat, lon)
        area = 0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        wanted = Grid(np.array([south + 0.5, south + 1.5]), np.array([west + 0.5, west + 1.5])).cell_area[0, 0] / EARTH_RADIUS**2
        assert area == pytest.approx(wanted, rel=1e-4)


def test_verdict_marks_by_goal() -> None:
    row = {"target": -4.0, "towers": -20.0, "plain": -4.3, "dual": -3.9}
    products = ["towers", "plain", "dual"]
    assert marks(pd.Series({**row, "goal": "target"}), products) == {"dual": "best", "towers": "worst"}
    assert marks(pd.Series({**row, "goal": "high"}), products) == {"dual": "best", "towers": "worst"}
    assert marks(pd.Series({**row, "goal": "low"}), products) == {"towers": "best", "dual": "worst"}
    assert marks(pd.Series({**row, "goal": ""}), products) == {}
    assert marks(pd.Series({"target": np.nan, "towers": np.nan, "plain": 1.0, "dual": 1.0, "goal": "high"}), products) == {}


def test_default_verdict_has_the_numbers_of_the_tables(run: Path) -> None:
    contents = read_contents(run, STUDY)
    verdict = default_verdict(contents).set_index("quantity")
    means = contents.means.set_index(["product", "region"])["value"]
    assert verdict.loc["mean annual flux, global", "dual"] == means["dual", "global"]
    assert verdict.loc["mean annual flux, global", "target"] == means["target", "global"]
    nse = contents.sites.query(
        "metric == 'nse' and scale == 'monthly' and site == 'pooled' and prediction == 'tower_like' and product == 'dual'"
    )
    assert verdict.loc["left-out towers, monthly NSE of f + g, pooled", "dual"] == nse["value"].iloc[0]


def test_a_given_verdict_is_shown_with_its_words_coloured(run: Path) -> None:
    verdict = pd.DataFrame({"question": ["global mean within 0.3 of the target"], "dual": [-3.912345], "answer": ["met"]})
    table = tables.verdict_table(verdict, list(VARIANTS))
    assert table.columns == ["question", "dual", "answer"]
    assert [c.text for c in table.rows[0]] == ["global mean within 0.3 of the target", "−3.91", "met"]
    assert table.rows[0][2].tone == "good" and table.rows[0][1].key == "-3.912345"


def test_a_map_of_g_ends_where_no_tower_is_alike(tmp_path: Path) -> None:
    """g of 0.5 gC m-2 d-1 in each of two months is 182.6 gC m-2 yr-1, where applicability is at most 1; without g there is no map."""
    grid = Grid.global_regular(30.0)
    cells = LandCells.build(grid, np.ones(grid.shape), Regions(("all",), np.ones((1, *grid.shape))))
    times, similar = pd.date_range("2001-01-01", periods=2, freq="MS"), np.linspace(0, 2, len(cells.index))
    for name, g in (("with", 0.5), ("without", 0.0)):
        with ProductWriter(tmp_path / f"{name}.nc", cells, times, None, {}, grid.cell_area, similar) as writer:
            for t in range(2):
                flux = np.full((2, len(cells.index)), -1.0 + t)
                writer.write(t, flux, flux + g, np.zeros(len(cells.index)))
    found = maps.read_map(tmp_path / "with.nc").representativeness
    assert found is not None
    np.testing.assert_allclose(found.ravel()[similar <= 1], 0.5 * 365.2425, rtol=1e-5)
    assert np.isnan(found.ravel()[similar > 1]).all()
    assert maps.read_map(tmp_path / "without.nc").representativeness is None
    figure = maps.representativeness_maps({"dual": maps.read_map(tmp_path / "with.nc")})
    assert figure.axes[-1].get_xlabel().startswith("tower-like less landscape flux")


def test_tables_of_what_was_left_out(run: Path) -> None:
    """Levels of coverage side by side; attribution row by row; a run without them has tables without rows."""
    contents = read_contents(run, STUDY)
    coverage = pd.DataFrame({
        "product": "dual", "part": ["cycle", "cycle", "mean_annual"], "level": [0.5, 0.9, 0.5], "coverage": [0.48, 0.9, 0.6],
        "n": [24, 24, 2], "cases": [5.5, 5.5, 2.0], "region": "all",
    })  # fmt: skip
    moved = pd.DataFrame([("dual", "without_A", "global", "mean_annual", 0.25, 0.1, "PgC yr-1")], columns=ATTRIBUTION_COLUMNS)
    shown = tables.coverage_table(dataclasses.replace(contents, left_out_coverage=coverage))
    assert shown.columns == ["product", "part", "region", "values", "effective cases", "50 %", "90 %"]
    assert [[c.text for c in row] for row in shown.rows] == [
        ["dual", "cycle", "all", "24", "5.5", "0.48", "0.9"],
        ["dual", "mean_annual", "all", "2", "2", "0.6", "–"],
    ]
    row = tables.attribution_table(dataclasses.replace(contents, attribution=moved)).rows[0]
    assert [c.text for c in row] == ["global", "dual", "without_A", "mean_annual", "0.25", "0.1", "PgC yr⁻¹"]
    for make in (tables.coverage_table, tables.attribution_table):
        assert make(contents).rows == []


def test_scores_by_part_stand_apart_and_in_order(run: Path) -> None:
    """Regions before cells, fitted before unseen years, offset before anomaly; not in the table of the other scores, nor single regions."""
    contents = read_contents(run, STUDY)
    rows = [
        ("dual", "cells", "truth_cells_coverage_50_offset", 0.4), ("dual", "global", "truth_coverage_90_annual_unseen_years", 0.7),
        ("dual", "global", "truth_coverage_50_anomaly", 0.3), ("dual", "global", "truth_coverage_50_offset", 0.6),
        ("dual", "global", "truth_cases_offset", 17.0), ("dual", "north", "truth_coverage_50_offset", 1.0),
        ("dual", "global", "truth_coverage_50", 0.5), ("dual", "north", "truth_cells_share", 0.2),
    ]  # fmt: skip
    summary = pd.DataFrame(rows, columns=["product", "region", "metric", "value"]).assign(unit="1")
    found = dataclasses.replace(contents, summary=summary)
    shown = tables.truth_parts_table(found)
    assert [[c.text for c in row[:6]] for row in shown.rows] == [
        ["dual", "regions", "fitted", "offset", "0.6", "–"],
        ["dual", "regions", "fitted", "anomaly", "0.3", "–"],
        ["dual", "regions", "unseen", "annual", "–", "–"],
        ["dual", "cells", "fitted", "offset", "0.4", "–"],
    ]
    assert shown.rows[0][shown.columns.index("effective cases")].text == "17"
    other = tables.truth_table(found)
    assert other.columns == ["region", "product", "coverage_50"] and len(other.rows) == 1
    figure = by_part.reliability(found)
    assert [len(ax.lines) for ax in figure.axes] == [2, 1, 1, 2, 1, 2, 1, 1, 1, 1], "the line of honesty, and dual where it has a score"
    assert tables.truth_parts_table(contents).rows == []


def test_a_verdict_is_rounded_and_falls_into_its_groups() -> None:
    """Two decimals for PgC yr-1, three for skill; the inversions' mean is scored against a truth, climatology on what was left out."""
    nothing = np.nan
    rows = [
        ("mean annual flux, global", "PgC yr-1", "target", -3.4573, -15.707, -3.5344, nothing),
        ("misfit", "R", "", nothing, 306.48, 0.7042, nothing),
        ("truth: map, RMSE", "gC m-2 d-1", "low", 0.1, 0.4471, 0.2063, nothing),
        ("without A: cycle RMSE", "", "low", nothing, 0.2, 0.1, 0.05),
    ]
    columns = ["quantity", "unit", "goal", "target", "towers", "dual", "climatology"]
    main, truth, left_out = tables.verdict_tables(pd.DataFrame(rows, columns=columns), ["towers", "dual"])
    assert main.columns == ["quantity", "target", "towers", "dual"] and left_out.columns == ["quantity", "towers", "dual", "climatology"]
    assert [c.text for c in main.rows[0]] == ["mean annual flux, global", "−3.46", "−15.71", "−3.53"]
    assert main.rows[0][0].mark == "PgC yr⁻¹" and [c.text for c in main.rows[1]] == ["misfit", "–", "306", "0.70"]
    assert truth.columns == ["quantity", "inversions' mean", "towers", "dual"]
    assert [(c.text, c.mark) for c in truth.rows[0]] == [("map, RMSE", "gC m⁻² d⁻¹"), ("0.100", "best"), ("0.447", "worst"), ("0.206", "")]
    assert [c.mark for c in left_out.rows[0]] == ["", "worst", "", "best"]


def test_notes_say_what_is_missing_filled_and_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    folder.mkdir()
    columns = [["height"], ["mean_season(ta)"], ["ta", "anomaly(ta)", "running_mean(ta, 90)"]]
    about = {"target": ["NBE - fire", "tower_nee", {"missing_terms": "crop_consumption, river_evasion"}], "columns": columns}
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "land_shares.csv").write_text("region,no_flux_share\nnorth,0.0\nsouth,0.701\nglobal,0.1006\noutside_regions,0.0\n")
    (folder / "predictors_filled.csv").write_text("predictor,filled_share,dropped_share\nta,0.0,0.0\nwind,0.033,0.0\n")
    (folder / "observations.csv").write_text("site,time,nee\nA,2001-01-01,1\nA,2001-02-01,1\nB,2001-01-01,1\n")
    (folder / "towers_dropped.csv").write_text("source,site,reason,count\nx,A,outside the period,24\nx,C,outside the period,1200\n")
    target, variability, scale, land, towers = (note.replace("\u00a0", " ") for note in study_notes(tmp_path))
    assert "“NBE - fire”" in target and "Not accounted for: crop consumption and river evasion." in target
    assert variability.startswith(
        "Only 1 predictor of this study varies between years (ta): trend and most of the year-to-year variability"
    )
    assert scale.startswith("No vegetation scale")
    assert land.startswith("Land: 10.1 % of the land has no flux and counts as zero (south 70.1 %); ")
    assert land.endswith("land without a value and filled, by predictor: wind 3.3 %.")
    assert towers == "Towers: 2 sites with 3 values. Dropped: 1 224 rows of 2 sites outside the period. Nothing is left of 1 site."
    assert notes.variability_note(["a", "b", "c"]) == "" and "No predictor varies" in notes.variability_note([])
    assert study_notes(tmp_path / "nothing") == []
    (folder / "about.json").write_text(json.dumps({**about, "vegetation": [[1.0, []]]}))
    shares = "region,no_flux_share,without_vegetation_share\nglobal,0.1006,0.211\noutside_regions,0.0,0.0\n"
    (folder / "land_shares.csv").write_text(shares)
    said = " ".join(study_notes(tmp_path)).replace("\u00a0", " ")
    assert "No vegetation scale" not in said and "21.1 % of it carries no flux for want of vegetation" in said


def test_land_unlike_any_tower_is_counted(tmp_path: Path) -> None:
    """Of three modelled cells of 1, 2 and 1 areas the second is beyond the towers; sea and land without flux do not count."""
    field = {"applicability": (("lat", "lon"), [[0.5, 1.5, 0.9, np.nan]]), "land_area": (("lat", "lon"), [[1.0, 2.0, 1.0, 3.0]])}
    xr.Dataset(field).to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    assert notes.applicability_note(tmp_path / "x.nc").startswith("50.0\u00a0% of the modelled land")


def test_methods_follow_the_settings() -> None:
    text = " ".join(methods(STUDY))
    for words in (
        "2001-01-01 to 2003-12-31",
        "15 degrees",
        "running means over 90 and 365 days",
        "Subtracted: fire",
        "ensemble of 20",
        "`stratified`",
    ):
        assert words in text
    assert "Lateral terms" in text and "are missing" in text
    assert "Lateral" not in " ".join(methods({**STUDY, "target": "nbe", "adjustments": []}))
    unseen = " ".join(methods({**STUDY, "fit_period": ["2001-01-01", "2002-12-31"]}))
    assert "constrain 2001-01-01 to 2002-12-31 only" in unseen and "only;" not in text
    assert methods({}) == ["Net ecosystem exchange (NEE, positive to the atmosphere) was estimated."]


def test_figures_beyond_the_limit_are_linked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_ROOM_FOR_TEXT", document.LARGEST - 60_000)
    pictures = [document.Picture(p.stem, p.stem, "", p.stem, p, region=p.stem) for p in sorted((run / "figures").glob("*.png"))]
    contents = read_contents(run, STUDY)
    html = document.render(contents, STUDY, default_verdict(contents), [], pictures)
    links = re.findall(r'href="figures/([^"]+)"', html)
    assert 0 < len(links) < len(pictures) and all((run / "figures" / name).is_file() for name in links) and "stays below 15 MB" in html


def test_a_figure_that_no_section_lists_is_an_error(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be drawn and vanish from the report without a word."""
    monkeypatch.setitem(document._SECTIONS, "Diagnostics", ())
    lost = [document.Picture(name, "t", "c", "a", run / "none.png") for name in ("main_cycles", "taylor", "trade_off")]
    with pytest.raises(ValueError, match="no section of the report lists the figure taylor, trade_off; add it to _SECTIONS"):
        document._sections(lost)
    assert [[p.name for p in part] for _, part in document._sections(lost[:1])] == [["main_cycles"]]


def test_same_run_same_bytes(run: Path) -> None:
    first = (run / "report.html").read_bytes()
    assert write_report(run, STUDY, notes=NOTES).read_bytes() == first


def test_a_run_without_products_or_history_has_a_report(tmp_path: Path, run: Path) -> None:
    (tmp_path / "tables").mkdir()
    for path in [*(run / "tables").iterdir(), run / "provenance.json"]:
        target = tmp_path / path.relative_to(run)
        target.write_bytes(path.read_bytes())
    html = write_report(tmp_path, {}).read_text(encoding="utf-8")
    assert "<h2>Maps</h2>" not in html and "<h2>Training</h2>" not in html and "<h2>Verdict</h2>" in html


def test_odd_region_names_get_their_own_files(tmp_path: Path) -> None:
    """Slashes, dollars and names that differ only in odd characters."""
    out = drawn_run(tmp_path, names=("a/b $x$", "a b $x$", "<i>"))
    write_report(out, STUDY)
    assert len(list((out / "figures").glob("seasonal_cycle_*.png"))) == 4
    assert "<i>" not in (out / "report.html").read_text(encoding="utf-8")


def test_what_is_missing_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/summary.csv").write_text("product,region\n")
    (tmp_path / "provenance.json").write_text("{")
    with pytest.raises(InputError) as error:
        write_report(tmp_path, STUDY)
    text = str(error.value)
    assert "regional_monthly.csv is missing" in text and "site_metrics.csv is missing" in text
    assert "summary.csv: no column metric, value, unit" in text and "no valid JSON" in text


def test_numbers_for_readers() -> None:
    assert [number(x) for x in (0.00001234, 123456.0, -0.0425, 2.0)] == ["1.23e−05", "123456", "−0.0425", "2"]

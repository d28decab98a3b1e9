"""`dualflux compare`: integrals, cells and towers of drawn products, by hand; products by free names."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import dualflux
from drawn_run import LAND_FRACTION, draw_run
from dualflux import report
from dualflux.cli import main
from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.stages import compare_products
from dualflux.stages.compare_products import is_comparison, load_comparison

GRID = Grid.global_regular(30.0)
DAYS = pd.date_range("2001-01-01", "2001-12-31")
MONTHS = pd.date_range("2001-01-01", periods=12, freq="MS")
SEASON = np.cos(2 * np.pi * np.arange(12) / 12)


def field(values: np.ndarray, path: Path, time: pd.DatetimeIndex) -> None:
    """A file of NEE, the same in every cell, in the unit and with the sign of the study."""
    data = values[:, None, None] * np.ones(GRID.shape)
    coords = {"time": time, "lat": GRID.lat, "lon": GRID.lon}
    xr.DataArray(data, coords, ("time", "lat", "lon"), "nee", {"units": "gC m-2 d-1"}).to_netcdf(path, engine="h5netcdf")


def world(folder: Path, **changes: Any) -> Path:
    """A: the season; B: A + 1; C: -A. All land; an inversion table; two towers that see B."""
    land = xr.DataArray(np.ones(GRID.shape), {"lat": GRID.lat, "lon": GRID.lon}, ("lat", "lon"), "land", {"units": "1"})
    land.to_netcdf(folder / "land.nc", engine="h5netcdf")
    for name, values in (("a", SEASON), ("b", SEASON + 1), ("c", -SEASON)):
        field(values, folder / f"{name}.nc", MONTHS)
    rows = [
        f"T{i},{lat},{lon},ENF,{t:%Y-%m-%d},{v}"
        for i, (lat, lon) in enumerate([(15, 15), (-45, 75)])
        for t, v in zip(MONTHS, SEASON + 1, strict=True)
    ]
    (folder / "towers.csv").write_text("site,lat,lon,igbp,time,nee\n" + "\n".join(rows) + "\n")
    inverse = [f"I{k},{r},{t:%Y-%m},{(k - 4) / 2},PgC yr-1" for k in (0, 1) for r in ("north", "south") for t in MONTHS]
    (folder / "inversions.csv").write_text("product,region,time,value,unit\n" + "\n".join(inverse) + "\n")
    settings: dict[str, Any] = {
        "name": "drawn",
        "period": ["2001-01-01", "2001-12-31"],
        "grid": {"resolution": 30.0},
        "land_fraction": {"path": "land.nc", "variable": "land"},
        "regions": {"bands": {"north": [0, 90], "south": [-90, 0]}},
        "products": [{"format": "gridded", "product": n.upper(), "path": f"{n}.nc", "variable": "nee"} for n in "abc"],
        "towers": [{"path": "towers.csv", "format": "table", "variable": "nee", "units": "gC m-2 d-1"}],
    }
    path = folder / "comparison.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in {**settings, **changes}.items() if v is not None}))
    return path


@pytest.fixture(autouse=True)
def coarse_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "DOTS_PER_INCH", 20)


@pytest.fixture(name="no_figures")
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes longer than what is tested."""

    def write(out: Path, *_: object) -> None:
        for name in ("figures/main_cycles.png", "report.html"):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text("")

    monkeypatch.setattr(compare_products, "write_report", write)


def run(path: Path) -> Path:
    assert main(["compare", str(path)]) == 0
    return path.parent / "runs/drawn"


def test_products_alone_are_compared_by_hand(tmp_path: Path) -> None:
    """B is 1 gC m-2 d-1 above A over all land; C is A upside down."""
    out = run(world(tmp_path))
    summary = pd.read_csv(out / "tables/summary.csv").set_index(["product", "region", "metric"])["value"]
    area = GRID.cell_area.sum()
    assert summary["B", "global", "bias"] == pytest.approx(365 * area / 1e15, rel=1e-6)
    assert summary["B", "north", "mean_annual"] - summary["A", "north", "mean_annual"] == pytest.approx(365 * area / 2e15, rel=1e-6)
    assert summary["C", "global", "cycle_r"] < -0.98 < 0.999 < summary["B", "global", "cycle_r"]
    with xr.open_dataset(out / "maps.nc", engine="h5netcdf") as maps:
        np.testing.assert_allclose(maps.r.sel(product="B"), 1, rtol=1e-6)
        np.testing.assert_allclose(maps.r.sel(product="C"), -1, rtol=1e-6)
        np.testing.assert_allclose(maps.bias.sel(product="B"), 1, rtol=1e-6)
        np.testing.assert_allclose(maps.rmse.sel(product="C"), np.sqrt(np.mean((2 * SEASON) ** 2)), rtol=1e-6)
        np.testing.assert_allclose(maps.nee.sel(product="A"), (SEASON @ MONTHS.days_in_month.to_numpy()) / 365, atol=1e-7)
    sites = pd.read_csv(out / "tables/site_metrics.csv").query("scale == 'monthly' and site == 'pooled' and prediction == 'landscape'")
    value = sites.set_index(["product", "metric"])["value"]
    assert value["B", "nse"] == pytest.approx(1) and value["A", "bias"] == pytest.approx(-1) and value["B", "rmse"] == pytest.approx(0)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "of the products was compared" in html and "Agreement in time" in html


def test_inversions_are_the_reference_where_there_are_some(tmp_path: Path) -> None:
    """Inversions of -2 and -1.5 PgC/yr per region: the target is -1.75 each, -3.5 for the globe."""
    out = run(world(tmp_path, inversions=[{"path": "inversions.csv", "format": "table"}], towers=None))
    summary = pd.read_csv(out / "tables/summary.csv").set_index(["product", "region", "metric"])["value"]
    assert summary["target", "global", "mean_annual"] == pytest.approx(-3.5)
    assert summary["A", "global", "bias"] == pytest.approx(summary["A", "global", "mean_annual"] + 3.5)
    assert summary["A", "global", "bias_vs_I0"] == pytest.approx(summary["A", "global", "mean_annual"] + 4)


def test_daily_products_are_compared_day_by_day(tmp_path: Path) -> None:
    """Daily noise that the months do not see: correlation of days 0.5 by construction, of months as that of the season."""
    path = world(tmp_path, time_step="daily", towers=None)
    one, noise = np.random.default_rng(0).normal(size=(2, 365))
    noise -= noise.mean() + (one - one.mean()) * ((one - one.mean()) @ noise) / ((one - one.mean()) @ (one - one.mean()))
    two = one + np.sqrt(3) * noise * one.std() / noise.std()
    for name, values in (("a", one), ("b", two), ("c", one * 2)):
        field(values, tmp_path / f"{name}.nc", DAYS)
    with xr.open_dataset(run(path) / "maps.nc", engine="h5netcdf") as maps:
        np.testing.assert_allclose(maps.r.sel(product="B"), 0.5, atol=1e-6)
        assert (maps["count"].sel(product="B") == 365).all()
    regional = pd.read_csv(tmp_path / "runs/drawn/tables/regional_monthly.csv").query("product == 'A' and region == 'global'")
    month = pd.Series(one, DAYS).groupby(DAYS.month).sum().to_numpy()
    np.testing.assert_allclose(regional["value"], month * GRID.cell_area.sum() / 1e15, rtol=1e-6)


def test_monthly_products_are_refused_as_daily(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(world(tmp_path, time_step="daily", towers=None))]) == 2
    assert "it has no daily values; say `time_step: monthly`" in capsys.readouterr().err


def test_what_is_done_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = world(tmp_path, towers=None)
    run(path)
    capsys.readouterr()
    run(path)
    said = capsys.readouterr().out
    assert "evaluate: kept" in said and "report: kept" in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": "D"}, r"against: no product `D`; allowed: A, B, C"),
        ({"products": []}, "products"),
        ({"variants": ["dual"]}, "variants"),
        ({"period": ["2001-01-15", "2001-12-31"]}, "start on the first and end on the last day"),
        ({"products": [{"format": "gridded", "product": n, "path": "no.nc", "variable": "nee"} for n in "AB"]}, "no.nc"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(world(tmp_path, **changes))]) == 2
    assert pd.Series([capsys.readouterr().err]).str.contains(message).all()


def test_one_product_is_no_comparison(tmp_path: Path) -> None:
    one = [{"format": "gridded", "product": "A", "path": "a.nc", "variable": "nee"}]
    with pytest.raises(InputError, match="one product alone is no comparison"):
        load_comparison(world(tmp_path, products=one, towers=None))


def test_a_study_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("name: x\nvariants: [dual]\n")
    assert not is_comparison(tmp_path / "study.yaml") and not is_comparison(tmp_path / "none.yaml") and is_comparison(world(tmp_path))


def test_evaluate_of_such_a_file_works_and_says_its_new_name(tmp_path: Path, capsys: pytest.CaptureFixture[str], no_figures: None) -> None:
    path = world(tmp_path, towers=None)
    assert main(["evaluate", str(path)]) == 0
    assert f"is compared by `dualflux compare {path}`" in capsys.readouterr().err
    assert (tmp_path / "runs/drawn/tables/summary.csv").is_file()


def study(folder: Path) -> Path:
    """A study of the drawn world: of what a model needs it names files that are not there, for nothing reads them."""
    settings = yaml.safe_load(world(folder).read_text())
    settings.pop("products")
    settings["predictors"] = [{"name": "ta", "path": "none.nc", "variable": "ta", "kind": "dynamic"}]
    settings["inversions"], settings["target"] = [{"path": "inversions.csv", "format": "table"}], "nbe"
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_products_are_compared_by_free_names_with_a_studys_inversions_and_towers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None
) -> None:
    """The same numbers as of a file that lists them; towers see B."""
    monkeypatch.chdir(tmp_path)
    file = study(tmp_path)
    assert main(["compare", "flat=b.nc", "turned=c.nc", "--study", str(file), "--against", "flat", "--out", "out"]) == 0
    summary = pd.read_csv("out/tables/summary.csv").set_index(["product", "region", "metric"])["value"]
    area = GRID.cell_area.sum()
    assert summary["turned", "global", "bias"] == pytest.approx(
        -365 * area / 1e15 - 2 * SEASON @ MONTHS.days_in_month * area / 1e15, rel=1e-5
    )
    assert summary["target", "global", "mean_annual"] == pytest.approx(-3.5)
    sites = pd.read_csv("out/tables/site_metrics.csv").query("scale == 'monthly' and site == 'pooled' and prediction == 'landscape'")
    assert sites.set_index(["product", "metric"])["value"]["flat", "nse"] == pytest.approx(1)


def test_in_python_runs_tables_and_files_stand_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None) -> None:
    """A run is its product of `dual`; its study says on what land; a table of one product keeps its free name."""
    monkeypatch.chdir(tmp_path)
    run = dualflux.open_run(draw_run(tmp_path / "mine"))
    shutil.copy(study(tmp_path), tmp_path / "mine/study.yaml")
    settings = yaml.safe_load((tmp_path / "mine/study.yaml").read_text())
    settings.update(data_root=str(tmp_path), variants=["towers", "dual"])
    (tmp_path / "mine/study.yaml").write_text(yaml.safe_dump(settings))
    land = xr.DataArray(LAND_FRACTION, {"lat": GRID.lat, "lon": GRID.lon}, ("lat", "lon"), "land", {"units": "1"})
    land.to_netcdf(tmp_path / "land.nc", engine="h5netcdf")
    towers = tmp_path / "towers.csv"
    towers.write_text(towers.read_text().replace("15,15,", "15,-105,").replace("-45,75,", "-45,-105,"))
    rows = [f"any,{r},{t:%Y-%m},12,PgC yr-1" for r in ("north", "south") for t in MONTHS]
    (tmp_path / "one.csv").write_text("product,region,time,value,unit\n" + "\n".join(rows) + "\n")
    found = dualflux.compare([run, "B=mine/products/towers/nee_monthly.nc", "table=one.csv"], against="mine")
    assert found.products == ["mine", "B", "table"] and found.against == "mine" and found.folder == tmp_path / "runs/compare_mine_B_table"
    summary = found.table("summary").set_index(["product", "region", "metric"])["value"]
    np.testing.assert_allclose(summary["mine", "north", "mean_annual"], run.total("north")["mean"].iloc[0], rtol=1e-6)
    assert summary["B", "global", "bias"] == pytest.approx(0, abs=1e-9) and summary["table", "north", "mean_annual"] == pytest.approx(12)
    assert f"{run.total('north')['mean'].iloc[0]:.2f}" in found._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A=a.nc", "A=b.nc", "--study", "study.yaml"], "two products are called `A`"),
        (["a.nc", "b.nc"], "no run among the products, so no land and no regions; name a study file with --study"),
        (["dual=a.nc", "b.nc", "--study", "study.yaml"], "`dual` is a name of ours"),
        (["I0=a.nc", "b.nc", "--study", "study.yaml"], "I0: a product and an inversion have this name"),
        (["A=land.nc", "b.nc", "--study", "study.yaml"], "A: .*land.nc has no variable `nee`, it has land; .*`products`"),
        (["A=inversions.csv", "b.nc", "--study", "study.yaml"], "A: .*inversions.csv has the products I0, I1"),
        (["A=none.nc", "b.nc", "--study", "study.yaml"], "none.nc: no such"),
        (["A=.", "b.nc", "--study", "study.yaml"], "no run folder; it has a.nc"),
        (["study.yaml"], "lists no `products`; a study is run by `dualflux run`"),
        (["comparison.yaml", "--against", "A"], "such a file says itself"),
        (["none.yaml"], "none.yaml: no such"),
        (["A=a.nc", "b.nc", "--study", "study.yaml", "--against", "C"], "against: no product `C`; allowed: A, b"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study(tmp_path)
    assert main(["compare", *arguments]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and "Traceback" not in said


def test_a_list_is_compared(tmp_path: Path) -> None:
    for wrong, message in (("a.nc", "give a list of products"), ([], "no product given"), ([3], "a int came")):
        with pytest.raises(InputError, match=message):
            dualflux.compare(wrong)  # type: ignore[arg-type]

"""`import dualflux`: the public names, and a run read in Python against a run drawn by hand."""

import importlib
import json
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from matplotlib.figure import Figure

import dualflux
from drawn_run import DAYS, GRID, LAND, MEMBERS, MONTHS, NORTH, annual, draw_run
from dualflux.checking import CheckReport
from dualflux.grid import Grid
from dualflux.run_folder.run_folder import RunFolder, Stage
from dualflux.units import PETAGRAM

shapely = pytest.importorskip("shapely")


@pytest.fixture(scope="module", name="run")
def _run(tmp_path_factory: pytest.TempPathFactory) -> dualflux.Run:
    return dualflux.open_run(draw_run(tmp_path_factory.mktemp("drawn run")))


def fraction(values: np.ndarray, grid: Grid = GRID) -> xr.DataArray:
    return xr.DataArray(values, {"lat": grid.lat, "lon": grid.lon}, ("lat", "lon"), "area")


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}


def of(table: pd.DataFrame, year: int = 2001) -> np.ndarray:
    """The members of one year."""
    return table.loc[f"{year}-12-31", ["member_0", "member_1"]].to_numpy(dtype=float)


# The public names


def test_importing_the_package_imports_nothing_slow() -> None:
    code = "import sys, dualflux; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"jax", "xarray", "pandas", "numpy", "pydantic", "matplotlib"} & set(loaded) == set()
    assert [name for name in loaded if name.startswith("dualflux.")] == []


def test_opening_a_run_needs_neither_jax_nor_matplotlib(run: dualflux.Run) -> None:
    code = f"import sys, dualflux; dualflux.open_run({str(run.folder)!r}).total('global'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"jax", "equinox", "matplotlib"} & set(loaded) == set()


def test_each_public_name_is_still_what_it_was_after_every_module_was_imported() -> None:
    """A module called like a public function would take its place."""
    for module in pkgutil.walk_packages(dualflux.__path__, "dualflux."):
        if not module.name.endswith("__main__"):  # runs when it is imported
            importlib.import_module(module.name)
    names = {name: getattr(dualflux, name) for name in dualflux.__all__}
    assert [name for name, found in names.items() if not callable(found) or not (found.__doc__ or "").strip()] == []
    assert {"load_study", "check", "run", "open_run", "compare", "Run"} <= set(names)


def test_every_public_name_stands_on_the_first_page_of_the_api() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs/api/python.md").read_text(encoding="utf-8")
    lacking = [name for name in dualflux.__all__ if f"dualflux.{name}\n" not in page]
    assert lacking == []


def test_an_unknown_name_is_an_attribute_error_that_names_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'opne_run'; it has .*open_run"):
        _ = dualflux.opne_run
    assert {"open_run", "__version__"} <= set(dir(dualflux)) and not hasattr(dualflux, "nothing")


# A run and its tables


def test_a_run_says_what_it_has(run: dualflux.Run) -> None:
    assert run.variants == ["towers", "dual"]
    assert run.regions == ["global", "north", "south"]
    assert run.tables == ["regional_monthly", "site_metrics", "summary"]
    assert run.version == "0.1.0" and "drawn" in repr(run)


def test_what_came_from_files_is_escaped_in_a_notebook(run: dualflux.Run) -> None:
    html = run._repr_html_()
    assert "drawn &lt;b&gt;" in html and "<b>" not in html and "mean annual flux" in html


def test_a_product_is_opened_and_not_read(run: dualflux.Run) -> None:
    with run.product("dual") as product:
        assert not product["nee_member"].variable._in_memory
        assert product["nee_member"].dims == ("member", "time", "lat", "lon")


def test_text_stays_text_and_numbers_are_numbers(run: dualflux.Run, tmp_path: Path) -> None:
    assert list(run.table("site_metrics")["site"].unique()) == ["007", "pooled", "median"]
    regional = run.table("regional_monthly")
    assert regional["member"].dtype == "Int64" and regional["member"].isna().sum() == len(regional) / 3
    assert regional["time"].dtype.kind == "M" and regional["value"].dtype == float
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    (folder / "tables/empty.csv").write_text("region,value\n")
    (folder / "tables/names.csv").write_text("region,value\nNA,\n2001,-1.5\n")
    copy = dualflux.open_run(folder)
    assert copy.table("empty").empty and copy.table("empty")["value"].dtype == float
    assert copy.table("names")["region"].tolist() == ["NA", "2001"] and copy.table("names")["value"].tolist()[1] == -1.5


def test_a_total_is_the_sum_of_the_tables_months(run: dualflux.Run) -> None:
    found = run.total("north")
    assert list(found.columns) == ["mean", "std", "member_0", "member_1"] and found.index.name == "time"
    assert found.attrs == {"unit": "PgC yr-1", "region": "north", "variant": "dual"}
    table = run.table("regional_monthly").query("product == 'dual' and region == 'north'")
    mean = table[table["member"].isna()].groupby(table["time"].dt.year)["value"].sum()
    np.testing.assert_allclose(found["mean"], mean)
    np.testing.assert_allclose(of(found, 2002), annual(float((LAND * NORTH).sum()), 2002))
    np.testing.assert_allclose(found["std"], np.abs(found["member_0"] - found["member_1"]) / 2, rtol=1e-9)


def test_months_and_quarters_are_summed_too_and_a_broken_one_has_no_value(run: dualflux.Run) -> None:
    months = run.total("global", freq="MS")
    table = run.table("regional_monthly").query("product == 'dual' and region == 'global'")
    mean = table[table["member"].isna()].set_index("time")
    np.testing.assert_allclose(months["mean"], mean["value"])
    assert list(months.index) == list(mean.index)
    np.testing.assert_allclose(months["std"], mean["std"].to_numpy(dtype=float))
    seasons = run.total("global", freq="QE-NOV")
    assert months.attrs["unit"] == "PgC month-1" and seasons.attrs["unit"] == "PgC quarter-1"
    assert np.isnan(seasons["mean"].iloc[0]) and np.isnan(seasons["mean"].iloc[-1])  # January and February; December
    np.testing.assert_allclose(seasons["mean"].iloc[1], months["mean"].iloc[2:5].sum())


# Any area


def test_the_area_of_the_whole_world_is_the_globe(run: dualflux.Run) -> None:
    found = run.aggregate(fraction(np.ones(GRID.shape, dtype=bool)))
    pd.testing.assert_frame_equal(found, run.total("global"), rtol=1e-6, check_freq=False)
    assert found.attrs["land_area"] == pytest.approx(LAND.sum())


def test_a_bool_mask_of_a_region_is_the_region(run: dualflux.Run) -> None:
    found = run.aggregate(fraction(NORTH > 0), "towers", "MS")
    pd.testing.assert_frame_equal(found, run.total("north", "towers", "MS"), rtol=1e-6, check_freq=False)


def test_a_mask_on_another_grid_from_east_to_west_is_brought_to_the_products(run: dualflux.Run) -> None:
    """20 degrees do not divide 30: the rows from 20 S to 0 are a third of the cells' sines, not two thirds of their area."""
    fine = Grid.global_regular(10.0)
    mask = fraction(((fine.lat > -20) & (fine.lat < 0))[:, None] * np.ones(fine.shape), fine).assign_coords(lon=fine.lon + 180)
    mask = mask.rename(lat="latitude", lon="longitude").sortby("latitude", ascending=False)
    share = np.sin(np.radians(20)) / np.sin(np.radians(30))
    np.testing.assert_allclose(of(run.aggregate(mask)), annual(share * float(LAND[2].sum())), rtol=1e-6)


def test_a_mask_of_a_part_of_the_world_covers_no_more_than_its_cells(run: dualflux.Run) -> None:
    """Four cells of 10 degrees in one of 30: two ninths of its longitudes by the sines of latitude."""
    fine = Grid(np.array([5.0, 15.0]), np.array([-115.0, -105.0]))
    share = 2 / 3 * np.sin(np.radians(20)) / np.sin(np.radians(30))
    np.testing.assert_allclose(of(run.aggregate(fraction(np.ones((2, 2)), fine))), annual(share * float(LAND[3, 2])), rtol=1e-6)


def test_missing_values_and_places_outside_a_mask_are_outside(run: dualflux.Run) -> None:
    mask = fraction(np.where(NORTH > 0, 1.0, np.nan)).isel(lat=slice(2, 6), lon=slice(0, 3))
    np.testing.assert_allclose(of(run.aggregate(mask)), annual(float((LAND * NORTH)[:, :3].sum())), rtol=1e-6)


def test_polygons_take_their_part_of_each_cells_land(run: dualflux.Run) -> None:
    """From 105 to 75 W: half of two columns; north of 45 N: by the sine of latitude."""
    north = (1 - np.sin(np.radians(45))) / (1 - np.sin(np.radians(30)))  # of the cells from 30 to 60 and 60 to 90 N together
    wanted = annual(0.5 * north * float(LAND[4:, 2:4].sum()))
    geometry = box(-105, 45, -75, 90)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    for area in (geometry, feature, {"type": "FeatureCollection", "features": [feature]}, shapely.geometry.shape(geometry)):
        np.testing.assert_allclose(of(run.aggregate(area)), wanted, rtol=1e-6)


def test_a_file_of_polygons_is_one_area_counted_once(run: dualflux.Run, tmp_path: Path) -> None:
    """Two boxes that overlap, the second of them in longitudes from 0 to 360; both cover a part of each cell."""
    features = [{"type": "Feature", "properties": {}, "geometry": box(*b)} for b in ((-180, 0, -120, 15), (210, 0, 270, 15))]
    wanted = annual(float(LAND[3, :3].sum() * np.sin(np.radians(15)) / np.sin(np.radians(30))))
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    np.testing.assert_allclose(of(run.aggregate(path)), wanted, rtol=1e-6)
    pyogrio = pytest.importorskip("pyogrio")
    shapes = shapely.to_wkb([shapely.geometry.shape(f["geometry"]) for f in features])
    pyogrio.raw.write(tmp_path / "area.gpkg", shapes, [], [], geometry_type="Polygon", crs="EPSG:4326")
    np.testing.assert_allclose(of(run.aggregate(str(tmp_path / "area.gpkg"))), wanted, rtol=1e-6)


def test_an_object_of_geopandas_is_brought_to_degrees(run: dualflux.Run) -> None:
    """What it must have: `crs`, `to_crs` and `__geo_interface__`."""
    degrees = SimpleNamespace(
        __geo_interface__={"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": box(-90, 0, 0, 90)}]}
    )
    metres = SimpleNamespace(crs="EPSG:3857", to_crs={4326: degrees}.__getitem__)
    np.testing.assert_allclose(of(run.aggregate(metres)), annual(float((LAND * NORTH)[:, 3:].sum())), rtol=1e-6)


def test_the_parts_of_an_area_sum_to_the_whole(run: dualflux.Run) -> None:
    """Also where the cut goes through a cell that is half sea."""
    whole, west, east = (of(run.aggregate(box(*b))) for b in ((-60, 0, 30, 60), (-60, 0, -10, 60), (-10, 0, 30, 60)))
    np.testing.assert_allclose(west + east, whole, rtol=1e-6)


def test_an_outline_of_land_alone_takes_all_land_of_coastal_cells(run: dualflux.Run) -> None:
    """The land of the cells from 30 W to 0 is their western half: an outline along the coast holds all of it."""
    outline, land = box(-60, 0, -15, 30), float(LAND[3, 4:].sum())
    np.testing.assert_allclose(of(run.aggregate(outline, follows_coast=True)), annual(land), rtol=1e-6)
    np.testing.assert_allclose(of(run.aggregate(outline)), annual(float(LAND[3, 4] + 0.5 * LAND[3, 5])), rtol=1e-6)
    np.testing.assert_allclose(of(run.aggregate(box(-60, 0, 30, 30), follows_coast=True)), annual(land), rtol=1e-6)  # and no more than all


def test_a_product_without_members_has_a_mean_and_no_spread(tmp_path: Path) -> None:
    found = dualflux.open_run(draw_run(tmp_path / "run", members=None)).aggregate(fraction(NORTH))
    assert list(found.columns) == ["mean", "std"] and found["std"].isna().all()
    np.testing.assert_allclose(found["mean"].iloc[0], annual(float((LAND * NORTH).sum())).mean(), rtol=1e-6)


def test_land_without_a_value_is_no_part_of_a_sum(run: dualflux.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    path = folder / "products/dual/nee_monthly.nc"
    with xr.open_dataset(path, engine="h5netcdf") as data:
        broken = data.load()
    broken["nee_member"][1, 7, 4, 2] = np.nan
    broken.to_netcdf(path, engine="h5netcdf")
    broken_run = dualflux.open_run(folder)
    with pytest.raises(dualflux.InputError, match="nee_member lacks values in 2001-08"):
        broken_run.aggregate(fraction(NORTH))
    broken_run.aggregate(fraction(1 - NORTH))


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (3, "an area of type int; allowed: a mask"),
        (np.ones(GRID.shape), "an area of type ndarray"),
        (fraction(NORTH * 3), r"values from 0 to 3; allowed: bool, or fractions .* mask == 3"),
        (fraction(NORTH).expand_dims(region=["a", "b"]), r"dimensions \['region', 'lat', 'lon'\]; one area"),
        (xr.DataArray(NORTH, dims=("lat", "lon")), "no lat coordinate"),
        (fraction(NORTH).astype(str), "values of type"),
        (fraction(NORTH * 0), "holds no land"),
        (box(40, 10, 50, 20), "holds no land"),
        (box(0, 0, 500000, 400000), "degrees of longitude and latitude"),
        ({"type": "Point", "coordinates": [0, 0]}, "is Point; allowed: Polygon"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}, "Self-intersection"),
        ({"type": "FeatureCollection", "features": []}, "no polygon"),
        ({"type": "Feature", "geometry": None}, "no valid GeoJSON"),
        ({}, "no valid GeoJSON"),
        ("nowhere.geojson", "nowhere.geojson: no such file"),
    ],
)
def test_what_is_no_area_is_refused(run: dualflux.Run, area: Any, message: str) -> None:
    with pytest.raises(dualflux.InputError, match=message):
        run.aggregate(area)


def test_a_mask_in_a_file_is_opened_first(run: dualflux.Run, tmp_path: Path) -> None:
    fraction(NORTH).to_netcdf(tmp_path / "mask.nc", engine="h5netcdf")
    with pytest.raises(dualflux.InputError, match="open a mask with xarray"):
        run.aggregate(tmp_path / "mask.nc")


# Figures


def test_figures_are_drawn_by_the_report_and_their_axes_come_back(run: dualflux.Run) -> None:
    """The line of `dual` in the cycle: its monthly means by hand."""
    axes = run.plot.seasonal_cycle("north")
    wanted = MEMBERS.mean() * float((LAND * NORTH).sum()) * (DAYS[:12] + DAYS[12:]) / 2 / PETAGRAM
    assert any(np.allclose(line.get_ydata(), wanted) for line in axes.lines if len(line.get_ydata()) == 12)
    own = Figure().subplots()
    assert run.plot.seasonal_cycle("north", ax=own) is own and run.plot.annual(ax=own) is own
    assert "global" in run.plot.annual().get_title(loc="left")
    assert isinstance(run.plot.map("towers").figure, Figure)


# Bad input


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda run: run.total("west"), "no region `west`; it has global, north, south"),
        (lambda run: run.total("north", "plain"), "no variant `plain`; it has towers, dual"),
        (lambda run: run.total("north", freq="D"), "freq 'D': allowed: MS or ME"),
        (lambda run: run.total("north", freq="2YE"), "freq '2YE': allowed"),
        (lambda run: run.total("north", freq="yearly"), "freq 'yearly': unknown; allowed"),
        (lambda run: run.aggregate(fraction(NORTH), "plain"), "no variant `plain`; it has towers, dual"),
        (lambda run: run.product("plain"), "no variant `plain`; it has towers, dual"),
        (lambda run: run.table("totals"), "no table `totals`; it has regional_monthly, site_metrics, summary"),
        (lambda run: run.table("../study"), "no table"),
        (lambda run: run.plot.seasonal_cycle("west"), "no region `west`; it has global, north, south"),
        (lambda run: run.plot.annual("west"), "no region `west`"),
        (lambda run: run.plot.map("plain"), "no variant `plain`; it has towers, dual"),
        (lambda run: run.plot.sites("plain"), "no variant `plain`"),
        (lambda run: run.plot.sites("dual"), "no scores at towers of dual"),  # no places of sites in this folder
    ],
)
def test_unknown_names_are_answered_with_those_there_are(run: dualflux.Run, ask: Any, message: str) -> None:
    with pytest.raises(dualflux.InputError, match=message):
        ask(run)


def test_a_folder_that_is_no_run_says_what_is_there(run: dualflux.Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(dualflux.InputError, match=r"no run folder; it has data/, notes.txt, .*give the folder that `dualflux run` wrote"):
        dualflux.open_run(tmp_path)
    with pytest.raises(dualflux.InputError, match="a file, no run folder"):
        dualflux.open_run(tmp_path / "notes.txt")
    with pytest.raises(dualflux.InputError, match="no such folder"):
        dualflux.open_run(tmp_path / "nothing")
    shutil.copytree(run.folder, tmp_path / "data/mine")
    with pytest.raises(dualflux.InputError, match="runs are in its folders mine"):
        dualflux.open_run(tmp_path / "data")


@pytest.mark.parametrize("lost", ["products/dual/nee_monthly.nc", "tables/summary.csv", "tables/regional_monthly.csv"])
def test_a_run_that_lacks_a_file_names_it(run: dualflux.Run, tmp_path: Path, lost: str) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    (folder / lost).unlink()
    with pytest.raises(dualflux.InputError, match=f"half done; there: .*missing: {lost}; `dualflux run .*` goes on"):
        dualflux.open_run(folder)


def staged(folder: Path, *names: str, text: str = "1") -> None:
    """Do stages of a run, each writing one file."""
    after: list[str] = []
    with RunFolder(folder, 1, say=lambda line: None) as work:
        for name in ("prepare", "train", "upscale", "evaluate"):
            if name in names:
                stage = Stage(name, {"text": text}, outputs=[f"{name}.txt"], after=list(after))
                work.stage(stage, lambda place=folder, name=name: (place / f"{name}.txt").write_text(text))  # type: ignore[misc]
            after.append(name)


def test_a_run_half_done_says_which_stages_are_done_and_which_are_not(run: dualflux.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    staged(folder, "prepare", "train")
    about = json.loads((run.folder / "provenance.json").read_text())
    (folder / "provenance.json").write_text(json.dumps(about))
    with pytest.raises(dualflux.InputError, match="there: the results of prepare, train; missing: stage upscale; stage evaluate; "):
        dualflux.open_run(folder)
    (folder / ".dualflux/begun_upscale.json").write_text("{}")
    with pytest.raises(dualflux.InputError, match=r"missing: stage upscale \(begun, not finished\); stage evaluate"):
        dualflux.open_run(folder)
    staged(folder, "prepare", "train", "upscale", "evaluate")
    assert dualflux.open_run(folder).variants == ["towers", "dual"]
    staged(folder, "prepare", "train", text="2")
    with pytest.raises(dualflux.InputError, match=r"stage upscale \(what is there was made before prepare, train was done again\)"):
        dualflux.open_run(folder)


def test_a_run_that_has_only_begun_is_half_done(tmp_path: Path) -> None:
    (tmp_path / ".dualflux").mkdir()
    (tmp_path / "study.yaml").write_text("name: x\nvariants: [dual]\n")
    with pytest.raises(dualflux.InputError, match=r"half done; there: no finished stage; missing: provenance.json"):
        dualflux.open_run(tmp_path)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"format": 3}, "format 3, made by version 0.1.0 of dualflux; .* reads format 1 and 2; install that version, or run again"),
        ({"format": "new"}, "format new, made by version 0.1.0"),
        ({"versions": None}, "not what a run writes"),
    ],
)
def test_a_folder_of_another_format_names_its_version(tmp_path: Path, about: dict[str, Any], message: str) -> None:
    with pytest.raises(dualflux.InputError, match=message):
        dualflux.open_run(draw_run(tmp_path / "run", **about))


def test_folders_of_formats_1_and_2_are_read(tmp_path: Path) -> None:
    for name, about in (("first", {}), ("second", {"format": 2})):
        assert dualflux.open_run(draw_run(tmp_path / name, variants=["dual"], **about)).total("global")["mean"].notna().all()


def test_variants_of_ones_own_are_read(tmp_path: Path) -> None:
    """A later study file may define them: `variants: {name: {...}}`."""
    folder = draw_run(tmp_path / "run", variants=["mine"])
    settings = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump({**settings, "variants": {"mine": {"constraints": ["towers"]}}}))
    run = dualflux.open_run(folder)
    assert run.variants == ["mine"] and run.total("north", "mine")["mean"].notna().all()
    with pytest.raises(dualflux.InputError, match="no variant `dual`; it has mine"):
        run.total("north")


@pytest.mark.parametrize(
    ("damage", "ask", "message"),
    [
        (
            ("tables/regional_monthly.csv", b"product,region\n"),
            lambda run: run.total("north"),
            "no column member, time, value; .* run again",
        ),
        (("tables/summary.csv", b"\xff\xfe\x00"), lambda run: run.table("summary"), "summary.csv: cannot be read as a table"),
        (("tables/summary.csv", b""), lambda run: run.table("summary"), "cannot be read as a table"),
        (("products/dual/nee_monthly.nc", b"CDF"), lambda run: run.product(), "cannot be opened .*run again"),
        (("study.yaml", b"name: x\n"), lambda run: run.variants, "names no study or no `variants`; .*made by version 0.1.0"),
        (("study.yaml", b"name: [\n"), lambda run: run.variants, "study.yaml"),
        (("provenance.json", b"{"), lambda run: run.variants, "provenance.json: not what a run writes"),
        (("provenance.json", b"[]"), lambda run: run.variants, "provenance.json: not what a run writes"),
    ],
)
def test_damaged_files_are_no_traceback(run: dualflux.Run, tmp_path: Path, damage: tuple[str, bytes], ask: Any, message: str) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    (folder / damage[0]).write_bytes(damage[1])
    with pytest.raises(dualflux.InputError, match=message):
        ask(dualflux.open_run(folder))


def test_a_product_of_another_layout_is_of_another_version(run: dualflux.Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    xr.Dataset({"flux": ("time", np.zeros(24))}, {"time": MONTHS}).to_netcdf(folder / "products/dual/nee_monthly.nc", engine="h5netcdf")
    with pytest.raises(dualflux.InputError, match=r"has no variable nee, land_area, lat, lon; .*made by version 0.1.0.*run again"):
        dualflux.open_run(folder).product("dual")


def test_a_study_is_read_before_it_is_run_or_checked() -> None:
    for function in (dualflux.run, dualflux.check):
        with pytest.raises(dualflux.InputError, match=r"a str came; give what `dualflux.load_study\(path\)` returns"):
            function("study.yaml")  # type: ignore[operator]


def test_a_study_is_run_where_it_is_said_and_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself is tested elsewhere: here a drawn one takes its place."""
    ran = list[Path]()

    def drawn(study: dualflux.Study, out: Path) -> None:
        assert study.out == out
        ran.append(draw_run(out))

    monkeypatch.setattr("dualflux.pipeline.run", drawn)
    study = dualflux.Study(cast(Any, None), tmp_path / "study.yaml", tmp_path, tmp_path / "its own")
    assert dualflux.run(study).folder == tmp_path / "its own"
    assert dualflux.run(study, tmp_path / "another").folder == tmp_path / "another"
    assert ran == [tmp_path / "its own", tmp_path / "another"]


def test_a_check_says_whether_the_study_can_run_with_every_problem() -> None:
    report = CheckReport([("Towers <2>", ["a line"])])
    assert "The study can run." in repr(report)
    report.problems = ["a.nc: no such file", "b & c"]
    assert repr(report).endswith("The study cannot run; problems: 2\n- a.nc: no such file\n- b & c")
    assert "Towers &lt;2&gt;" in report._repr_html_() and "b &amp; c" in report._repr_html_()

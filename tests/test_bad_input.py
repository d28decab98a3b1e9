"""Wrong input as users meet it: named, counted, with what to do, exit status 2, found by `check` before anything is computed."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from dualflux.cli import main

LAT, LON = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
RECORD = pd.date_range("2000-01-01", "2004-12-31", freq="MS")  # a year of warm-up and one after the study
MONTHS = pd.date_range("2001-01-01", "2003-12-31", freq="MS")
PLACES = [(45, -135), (45, -45), (45, 45), (-45, -105), (-45, -15), (-45, 75), (45, 75), (-45, 45)]  # the last two have a neighbour
SITES = {f"AA-{k:03d}": (float(lat), float(lon), "ENF" if k % 2 else "GRA") for k, (lat, lon) in enumerate(PLACES)}

STUDY: dict[str, Any] = {
    "name": "drawn",
    "period": ["2001-01-01", "2003-12-31"],
    "grid": {"resolution": 30},
    "towers": [{"path": "towers.csv", "format": "table"}],
    "predictors": [
        {"name": "ta", "path": "weather.nc", "kind": "dynamic", "units": "degC", "running_means": [90]},
        {"name": "height", "path": "static.nc", "kind": "static", "units": "m"},
        {"name": "cover", "path": "static.nc", "kind": "fractions", "at_towers": "site"},
    ],
    "land_fraction": {"path": "masks.nc"},
    "regions": {"path": "masks.nc", "variable": "band"},
    "inversions": [{"path": "inversions.csv", "format": "table"}],
    "target": "tower_nee",
    "adjustments": [{"name": "fire", "path": "fire.csv", "format": "table", "monthly_profile": "uniform"}],
    "network": {"members": 2, "folds": 2},
}


def write_world(folder: Path) -> None:
    """72 cells, sea east of 120E; eight towers of five years, two regions, two inversions, fire."""
    random = np.random.default_rng(0)
    place = {"lat": LAT, "lon": LON}
    field = random.normal(10, 5, (len(RECORD), 6, 12)).astype(np.float32)
    xr.Dataset({"ta": (("time", "lat", "lon"), field, {"units": "degC"})}, {"time": RECORD, **place}).to_netcdf(folder / "weather.nc")
    share = random.uniform(0, 1, (6, 12))
    static = {
        "height": (("lat", "lon"), random.uniform(0, 2000, (6, 12)), {"units": "m"}),
        "cover": (("class", "lat", "lon"), np.stack([share, 1 - share]), {"units": "1"}),
    }
    xr.Dataset(static, {"class": ["ENF", "GRA"], **place}).to_netcdf(folder / "static.nc")
    meaning = {"flag_values": np.array([1, 2], np.int32), "flag_meanings": "north south"}
    masks = {
        "land_fraction": (("lat", "lon"), np.where(LON > 120, 0.0, 1.0) * np.ones((6, 1)), {"units": "1"}),
        "band": (("lat", "lon"), np.where(LAT > 0, 1, 2)[:, None] * np.ones((1, 12), np.int32), meaning),
    }
    xr.Dataset(masks, place).to_netcdf(folder / "masks.nc")
    towers = [(site, *about, month, random.normal(-1, 1)) for site, about in SITES.items() for month in RECORD]
    pd.DataFrame(towers, columns=["site", "lat", "lon", "igbp", "time", "nee"]).to_csv(folder / "towers.csv", index=False)
    inversions = [(p, r, m, random.normal(-0.1, 0.05), "PgC month-1") for p in ("A", "B") for r in ("north", "south") for m in MONTHS]
    pd.DataFrame(inversions, columns=["product", "region", "time", "value", "unit"]).to_csv(folder / "inversions.csv", index=False)
    fire = [(r, year, 1.0, "PgC yr-1") for r in ("north", "south") for year in (2001, 2002, 2003)]
    pd.DataFrame(fire, columns=["region", "year", "value", "unit"]).to_csv(folder / "fire.csv", index=False)


def edit_table(name: str, edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[Path], None]:
    """Change a CSV file of the world."""
    return lambda folder: edit(pd.read_csv(folder / name)).to_csv(folder / name, index=False)


def edit_fields(name: str, edit: Callable[[xr.Dataset], xr.Dataset]) -> Callable[[Path], None]:
    """Change a NetCDF file of the world."""

    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / name)
        (folder / name).unlink()
        edit(data).to_netcdf(folder / name)

    return change


def with_gap(variable: str, **where: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    """The variable without values at some places."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        data[variable][where] = np.nan
        return data

    return edit


def set_units(variable: str, units: str) -> Callable[[xr.Dataset], xr.Dataset]:
    """The variable with another unit attribute."""
    return lambda data: data.assign({variable: data[variable].assign_attrs(units=units)})


class Case(NamedTuple):
    """A fault in the files or the study, and what its one line must say."""

    says: tuple[str, ...]
    spoil: Callable[[Path], None] = lambda folder: None
    study: dict[str, Any] = {}


def predictor(position: int, **changes: Any) -> dict[str, Any]:
    """The study's predictors with one changed."""
    found = [dict(p) for p in STUDY["predictors"]]
    found[position].update(changes)
    return {"predictors": found}


def adjustment(**changes: Any) -> dict[str, Any]:
    """The study's adjustments and one more."""
    more = {"path": "fire.csv", "format": "table", "monthly_profile": "uniform", **changes}
    return {"adjustments": [*STUDY["adjustments"], more]}


def gone(name: str) -> Callable[[Path], None]:
    """Remove a file."""
    return lambda folder: (folder / name).unlink()


CASES = {
    "missing towers": Case((r"towers\.csv", "no such file", "correct"), gone("towers.csv")),
    "missing FLUXNET files": Case(
        (r"flux/\*\.csv", "no file", "correct the pattern"),
        study={"towers": [{"path": "flux/*.csv", "format": "fluxnet", "sites": "towers.csv"}]},
    ),
    "missing predictor": Case((r"weather\.nc", "no such file", "correct"), gone("weather.nc")),
    "missing land fraction": Case((r"land\.nc", "no such file", "correct"), study={"land_fraction": {"path": "land.nc"}}),
    "missing inversions": Case((r"inversions\.csv", "no such file"), gone("inversions.csv")),
    "missing fire": Case((r"fire\.csv", "no such file"), gone("fire.csv")),
    "missing reference": Case((r"xbase\.csv", "no such file"), study={"references": [{"path": "xbase.csv", "format": "table"}]}),
    "tower column": Case(
        (r"towers\.csv", "no column `igbp`", "it has site, lat"), edit_table("towers.csv", lambda t: t.drop(columns="igbp"))
    ),
    "tower flux column": Case(
        (r"towers\.csv", "no column `NEE`", "nee"), study={"towers": [{"path": "towers.csv", "format": "table", "variable": "NEE"}]}
    ),
    "inversion column": Case(
        (r"inversions\.csv", "no column `unit`", "needed"), edit_table("inversions.csv", lambda t: t.drop(columns="unit"))
    ),
    "fire column": Case((r"fire\.csv", "no column `value`"), edit_table("fire.csv", lambda t: t.drop(columns="value"))),
    "predictor variable": Case((r"weather\.nc", "no variable `t2m`", "it has", "ta"), study=predictor(0, variable="t2m")),
    "mask variable": Case((r"masks\.nc", "no variable `zone`", "band"), study={"regions": {"path": "masks.nc", "variable": "zone"}}),
    "land fraction variable": Case((r"masks\.nc", "no variable `land`"), study={"land_fraction": {"path": "masks.nc", "variable": "land"}}),
    "unknown key": Case(("line", "sed: unknown key", "did you mean `seed`"), study={"sed": 1}),
    "unknown nested key": Case(("grid.res: unknown key", "resolution"), study={"grid": {"res": 30, "resolution": 30}}),
    "tower unit": Case(
        (r"towers\.csv", "`g/m2`", "allowed: .*gC m-2 d-1"), study={"towers": [{"path": "towers.csv", "format": "table", "units": "g/m2"}]}
    ),
    "predictor unit in the file": Case((r"weather\.nc", "furlongs", "degC"), edit_fields("weather.nc", set_units("ta", "furlongs"))),
    "predictor unit in the study": Case((r"weather\.nc", "`mm`", "degC"), study=predictor(0, units="mm")),
    "inversion unit": Case(
        (r"inversions\.csv", "`t/yr`", "allowed: .*PgC yr-1"), edit_table("inversions.csv", lambda t: t.assign(unit="t/yr"))
    ),
    "fire unit": Case((r"fire\.csv", "`PgC month-1`", "PgC yr-1"), edit_table("fire.csv", lambda t: t.assign(unit="PgC month-1"))),
    "region the mask lacks": Case(
        (r"inversions\.csv", "regions tropics are not in the mask", "allowed: north, south", "rename"),
        edit_table("inversions.csv", lambda t: pd.concat([t, t[t.region == "north"].assign(region="tropics")])),
    ),
    "region the table lacks": Case(
        (r"fire\.csv", "no rows for the mask's regions south", "add them"), edit_table("fire.csv", lambda t: t[t.region == "north"])
    ),
    "member of other years": Case(
        (r"inversions\.csv", "C has 2015-01 to 2017-12", "none of the study's months 2001-01 to 2003-12", "`products`"),
        edit_table(
            "inversions.csv",
            lambda t: pd.concat(
                [
                    t,
                    t[t["product"] == "A"].assign(
                        product="C", time=lambda a: (pd.to_datetime(a.time) + pd.DateOffset(years=14)).dt.strftime("%Y-%m-%d")
                    ),
                ]
            ),
        ),
    ),
    "member with gaps": Case(
        (r"inversions\.csv", "B has gaps", "1 month", "2002-05", "fill them"),
        edit_table("inversions.csv", lambda t: t[~((t["product"] == "B") & (t.time == "2002-05-01"))]),
    ),
    "predictor of other years": Case(
        (r"weather\.nc", "covers 2010-01-01 to 2014-12-31", "needs 2001-01-01 to 2003-12-31", "shorten `period`"),
        edit_fields("weather.nc", lambda d: d.assign_coords(time=pd.date_range("2010-01-01", periods=60, freq="MS"))),
    ),
    "towers of other years": Case(
        (r"towers\.csv", "no observation left for 2001-01-01 to 2003-12-31", "480 rows outside the period", "change the period"),
        edit_table("towers.csv", lambda t: t.assign(time=t.time.str.replace("200", "199"))),
    ),
    "fire of other years": Case(
        (r"fire\.csv", "fire has no value in 2001-01 to 2003-12", "give a file"),
        edit_table("fire.csv", lambda t: t.assign(year=t.year + 20)),
    ),
    "towers off the Earth": Case(
        (r"towers\.csv", "lat missing or outside", "AA-000", "correct the coordinates"),
        edit_table("towers.csv", lambda t: t.assign(lat=t.lat.where(t.site != "AA-000", 123.0))),
    ),
    "tower in the sea": Case(
        ("AA-003", "no land cell", "`towers_at_sea: nearest`"),
        edit_table("towers.csv", lambda t: t.assign(lon=t.lon.where(t.site != "AA-003", 150.0))),
    ),
    "static gap": Case(
        (r"static\.nc", "`height`", "3 of 60 land cells", "`missing: nearest`"),
        edit_fields("static.nc", with_gap("height", lat=2, lon=[0, 1, 2])),
    ),
    "dynamic gap in one month": Case(
        (r"weather\.nc", "`ta`", "1 of 60 land cells", "`missing: nearest`"),
        edit_fields("weather.nc", with_gap("ta", time=29, lat=1, lon=4)),
    ),
    "sink subtracted": Case(
        ("wood_harvest_uptake is a sink", "towers see this uptake", "stock_change"), study=adjustment(name="wood_harvest_uptake")
    ),
    "one inversion": Case(
        ("1 product", "two products", "add products"),
        study={"inversions": [{"path": "inversions.csv", "format": "table", "products": ["A"]}]},
    ),
    "left-out inversion of two": Case(("holdout", "leaves 1", "two"), study={"holdout": {"inversions": True}}),
    "left-out years are all": Case(("holdout", "2001", "2003"), study={"holdout": {"years": [2001, 2003]}}),
    "more folds than groups": Case(("99 folds", "allowed: 2 to", "`folds`"), study={"network": {"members": 2, "folds": 99}}),
    "no such site meteorology": Case(("`ta`", "no column `ta`", "site_column"), study=predictor(0, at_towers="site")),
    "window longer than the record": Case(("running_mean", "ta", "2001", "shorter window"), study=predictor(0, running_means=[900])),
    "class the predictor lacks": Case(
        ("AA-002", "WET", "cover", "igbp"), edit_table("towers.csv", lambda t: t.assign(igbp=t.igbp.where(t.site != "AA-002", "WET")))
    ),
    "fit period without a whole year": Case(("no whole year", "fit_period"), study={"fit_period": ["2001-02-01", "2001-11-30"]}),
    "file cut short": Case(
        (r"weather\.nc", "cannot be opened"), lambda f: (f / "weather.nc").write_bytes((f / "weather.nc").read_bytes()[:3000])
    ),
    "a picture for a table": Case((r"fire\.csv", "not a CSV table"), lambda f: (f / "fire.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")),
    "emissions of other regions": Case(
        (r"holdout\.emissions", "regions east; the mask has north, south", "one value for each"),
        study={"holdout": {"emissions": {"name": "lateral", "values": {"east": 0.5}, "source": "a table"}}},
    ),
    "tower in a dropped cell": Case(
        ("AA-000", "dropped for a missing predictor", "leave it out"),
        edit_fields("static.nc", with_gap("height", lat=4, lon=1)),
        study=predictor(1, missing="drop"),
    ),
    "truth that is not there": Case(("truth", "no such"), study={"truth": "nowhere"}),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    write_world(folder)
    return folder


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Path:
    """A folder with a blank and an accent in its name."""
    return shutil.copytree(template, tmp_path / "my données")


def write_study(folder: Path, **changes: Any) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder / "study.yaml"


def problems_of(text: str) -> list[str]:
    assert "Traceback" not in text
    return [line.removeprefix("dualflux: error: ") for line in text.splitlines() if line.startswith("dualflux: error: ")]


def check_case(case: Case, command: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case.spoil(world)
    assert main([command, str(write_study(world, **case.study))]) == 2
    found = problems_of(capsys.readouterr().err)
    assert len(found) == 1, found
    for words in case.says:
        assert re.search(words, found[0]), f"{words!r} not in {found[0]!r}"
    assert not (world / "runs").exists()


@pytest.mark.parametrize("name", CASES)
def test_check_names_it_with_what_to_do(name: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_case(CASES[name], "check", world, capsys)


@pytest.mark.parametrize(
    "name", ["missing fire", "unknown key", "tower in the sea", "dynamic gap in one month", "more folds than groups", "one inversion"]
)
def test_run_says_the_same_before_it_makes_anything(name: str, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_case(CASES[name], "run", world, capsys)


def test_right_input_passes(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(world)
    assert main(["check", str(study)]) == 0
    assert "The study can run." in capsys.readouterr().out
    assert main(["prepare", str(study)]) == 0


def test_site_months_outside_the_period_are_counted(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight towers of five years in a study of three: 8 x 24 months are dropped, and both commands say so."""
    study = write_study(world)
    assert main(["check", str(study)]) == 0
    assert "towers, not used: 192 rows dropped (192 outside the period)" in capsys.readouterr().out
    assert main(["check", "--all", str(study)]) == 0
    assert re.search(r"towers\.csv +outside the period +8 +192\b", capsys.readouterr().out)
    assert main(["prepare", str(study)]) == 0
    dropped = pd.read_csv(world / "runs/drawn/prepared/towers_dropped.csv")
    assert dropped["reason"].tolist() == ["outside the period"] * 8 and dropped["count"].sum() == 192
    assert len(pd.read_csv(world / "runs/drawn/prepared/observations.csv")) == 8 * 36


def test_rows_without_site_meteorology_are_counted(world: Path) -> None:
    """A tower's own temperature is missing in five of its months: those rows cannot train, and are counted."""
    edit_table(
        "towers.csv", lambda t: t.assign(ta=np.where((t.site == "AA-001") & t.time.between("2002-01-01", "2002-05-01"), np.nan, 9.0))
    )(world)
    assert main(["prepare", str(write_study(world, **predictor(0, at_towers="site")))]) == 0
    dropped = pd.read_csv(world / "runs/drawn/prepared/towers_dropped.csv").set_index(["site", "reason"])["count"]
    assert dropped["AA-001", "no site value of ta"] == 5
    assert len(pd.read_csv(world / "runs/drawn/prepared/observations.csv")) == 8 * 36 - 5


def test_all_problems_at_once(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One fault in each kind of source: one line for each, none hides another."""
    for name in ("missing fire", "tower column", "static gap", "region the mask lacks", "predictor of other years"):
        CASES[name].spoil(world)
    study = write_study(world)
    for command in ("check", "run"):
        assert main([command, str(study)]) == 2
        found = problems_of(capsys.readouterr().err)
        names = sorted(re.findall(r"(\w+\.(?:csv|nc))", " ".join(line.split(":")[0] for line in found)))
        assert names == ["fire.csv", "inversions.csv", "static.nc", "towers.csv", "weather.nc"], found

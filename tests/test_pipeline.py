"""A whole study on a tiny synthetic world: two runs give the same, done stages are kept, the folder conforms."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

import dualflux
from conftest import SHARED
from dualflux import pipeline
from dualflux.constraints.inversions.observations import constraint_maker
from dualflux.grid import Grid
from dualflux.prediction.netcdf_product import integrate_product
from dualflux.prepared import load
from dualflux.study.settings import load_study

RESULTS = (
    "products/dual/nee_monthly.nc",
    "products/towers/nee_monthly.nc",
    "models/dual/weights.npz",
    "tables/regional_monthly.csv",
    "tables/summary.csv",
)


@pytest.fixture(name="study_file")
def _study_file(tiny_run: Path) -> Path:
    """A study with 2003 left out once."""
    return tiny_run / "world/study.yaml"


def _digests(out: Path) -> dict[str, str]:
    return {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in RESULTS}


def test_two_runs_give_identical_products(study_file: Path, tiny_run: Path, tmp_path: Path) -> None:
    pipeline.run(load_study(study_file, out=tmp_path), tmp_path, ["evaluate"])
    assert _digests(tmp_path) == _digests(tiny_run)


def test_done_stages_are_kept_and_a_lost_output_is_made_again(
    study_file: Path, copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _digests(copied_run)
    (copied_run / "products/towers/nee_monthly.nc").unlink()
    pipeline.run(load_study(study_file, out=copied_run), copied_run)
    said = capsys.readouterr().err
    assert "train: kept" in said and "upscale: its output" in said
    assert _digests(copied_run) == before


def test_table_is_the_map(tiny_run: Path) -> None:
    table = pd.read_csv(tiny_run / "tables/regional_monthly.csv", parse_dates=["time"])
    own = table[table.member.isna() & (table["product"] == "dual")].pivot(index="region", columns="time", values="value")
    found = integrate_product(tiny_run / "products/dual/nee_monthly.nc", load(tiny_run / "prepared").cells)
    assert abs(found.to_pandas().loc[own.index] - own).to_numpy().max() < 1e-5 * own.abs().to_numpy().max()


def test_left_out_years_are_not_in_the_constraint(study_file: Path, tiny_run: Path) -> None:
    study = load_study(study_file)
    prepared = load(tiny_run / "prepared")
    assert pd.DatetimeIndex(prepared.observations.time).year.max() == 2003
    make = constraint_maker(prepared.target, prepared.cube, prepared.cells, study.settings.inversion_term, study.settings.fitted)
    assert make(None, None).years.tolist() == [2001, 2002, 2003]
    assert make(None, (2003, 2003)).years.tolist() == [2001, 2002]


def test_a_product_of_an_earlier_run_joins_the_library_of_representative_locations(
    study_file: Path, tiny_run: Path, tmp_path: Path
) -> None:
    """Its fields are those of its file on the land cells, and with it weights are fitted."""
    settings = yaml.safe_load(study_file.read_text(encoding="utf-8"))
    path = str(tiny_run / "products/dual/nee_monthly.nc")
    settings["data_root"] = str(study_file.parent)
    settings["references"] = [{"format": "gridded", "product": "earlier", "path": path, "variable": "nee", "missing": "zero"}]
    settings["inversion_term"] = {"estimator": "representative", "locations": 4, "years": 2, "weight": 1.0, "library": ["earlier"]}
    settings.update(variants=["dual"], holdout={})
    changed = tmp_path / "study.yaml"
    changed.write_text(yaml.safe_dump(settings), encoding="utf-8")
    out = tmp_path / "run"
    pipeline.run(load_study(changed, out=out), out, ["train"])
    prepared = load(out / "prepared")
    with xr.open_dataset(path, engine="h5netcdf") as product:
        wanted = product["nee"].to_numpy().reshape(len(product["time"]), -1)[:, prepared.cells.index]
    np.testing.assert_allclose(prepared.library, wanted[None], rtol=1e-5, atol=1e-6)
    assert pd.read_csv(out / "models/structure.csv").locations.iloc[-1] > 0


@pytest.mark.parametrize("region", ["global", "BRA", "EU"])
def test_in_python_a_total_is_the_table_and_an_area_of_the_studys_mask_the_total(tiny_run: Path, region: str) -> None:
    run = dualflux.open_run(tiny_run)
    total, shares = run.total(region), run.land_shares
    rows = pd.read_csv(tiny_run / "tables/regional_monthly.csv", parse_dates=["time"], keep_default_na=False)
    rows = rows[(rows["product"] == "dual") & (rows.region == region)]
    annual = rows.groupby(["member", rows.time.dt.year])["value"].sum()
    for member, name in (("", "mean"), *((str(m), f"member_{m}") for m in range(4))):
        np.testing.assert_allclose(total[name], annual[member])
    mask = xr.ones_like(shares[0]) if region == "global" else shares.sel(region=region)
    pd.testing.assert_frame_equal(run.aggregate(mask), total, rtol=1e-6)


def test_in_python_figures_of_a_run_are_those_of_its_report(tiny_run: Path) -> None:
    run = dualflux.open_run(tiny_run)
    assert run.plot.sites("towers").figure.axes and run.plot.map().figure.axes
    assert "EU" in run.plot.seasonal_cycle("EU").get_title(loc="left")
    assert "dual" in run._repr_html_() and "traceback" not in run._repr_html_()


def test_grid_of_the_product_is_the_study_grid(tiny_run: Path) -> None:
    assert load(tiny_run / "prepared").cells.grid.same_as(Grid.global_regular(10.0))


def test_resolved_study_is_the_same_study(study_file: Path, tiny_run: Path) -> None:
    written = yaml.safe_load((tiny_run / "study.yaml").read_text(encoding="utf-8"))
    assert written["training"]["steps"] == 20 and written["fit_period"] == ["2001-01-01", "2003-12-31"]


def test_folder_conforms(tiny_run: Path) -> None:
    if not (SHARED / "conformance.py").is_file():
        pytest.skip(f"conformance check absent: {SHARED}")
    done = subprocess.run([sys.executable, str(SHARED / "conformance.py"), str(tiny_run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

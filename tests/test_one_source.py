"""Studies of towers alone and of inversions alone run to their report; a source that is not there changes nothing of the other."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from dualflux import pipeline
from dualflux.study.settings import load_study

pytestmark = pytest.mark.slow


def run_without(source: str, tiny_run: Path, folder: Path) -> Path:
    """The run folder of the tiny study without its inversions or its towers."""
    world = shutil.copytree(tiny_run / "world", folder / "world")
    settings: dict[str, Any] = yaml.safe_load((world / "study.yaml").read_text())
    kept = {key: value for key, value in settings.items() if key not in ("truth", "adjustments", "variants", "holdout")}
    (world / "study.yaml").write_text(yaml.safe_dump({**kept, source: []}))
    out = folder / "run"
    pipeline.run(load_study(world / "study.yaml", out=out), out)
    return out


def test_towers_alone_give_the_networks_of_the_tower_only_variant(tiny_run: Path, tmp_path: Path) -> None:
    """To rounding: random draws belong to the name of a constraint, so inversions that are not there change none of a tower's."""
    out = run_without("inversions", tiny_run, tmp_path)
    assert [path.name for path in (out / "products").iterdir()] == ["towers"] and (out / "report.html").is_file()
    with np.load(out / "models/towers/weights.npz") as mine, np.load(tiny_run / "models/towers/weights.npz") as theirs:
        assert set(mine.files) == set(theirs.files)
        for name in (n for n in mine.files if mine[n].dtype.kind == "f"):
            np.testing.assert_allclose(mine[name], theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_inversions_alone_give_a_product_that_knows_no_tower(tiny_run: Path, tmp_path: Path) -> None:
    """What only towers tell has no value: how far a cell is from their kind, and what no predictor sees of it."""
    out = run_without("towers", tiny_run, tmp_path)
    assert [path.name for path in (out / "products").iterdir()] == ["inversions"] and (out / "report.html").is_file()
    with xr.open_dataset(out / "products/inversions/nee_monthly.nc", engine="h5netcdf") as product:
        land = product.land_area.to_numpy() > 0
        assert np.isfinite(product.nee.to_numpy()[:, land]).all()
        assert "applicability" not in product and np.isnan(product.nee_std_total).all()

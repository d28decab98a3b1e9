"""What the stage upscale says of its products, and the tables it writes: all by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from dualflux import __version__
from dualflux.cube import Columns, Cube, Steps, no_series
from dualflux.prediction.at_towers import PREDICTIONS
from dualflux.prediction.uncertainty import TowerReach, applicability
from dualflux.stages.upscale import product_attributes, unseen_cell_variance, write_members
from dualflux.study.settings import Study, load_study
from predict_world import study_text


@pytest.fixture(name="study")
def _study(tmp_path: Path) -> Study:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**study_text("monthly"), "seed": 7}), encoding="utf-8")
    return load_study(tmp_path / "study.yaml")


def prepared(**parts: Any) -> Any:
    """As much of it as is asked for."""
    cells = SimpleNamespace(region_names=("north", "far south"))
    return SimpleNamespace(cells=cells, **parts)


def target(missing: str | None) -> SimpleNamespace:
    attrs = {} if missing is None else {"missing_terms": missing}
    return SimpleNamespace(kind="tower_nee", name="NEE", integral=SimpleNamespace(attrs=attrs))


def test_what_a_product_says_of_itself(study: Study) -> None:
    found = product_attributes(study, prepared(target=target("fire, rivers")), "dual")
    assert found["title"] == "dualflux net ecosystem exchange, variant dual, study drawn"
    assert found["target"] == "tower_nee: NEE" and found["comment"] == "Terms not accounted for: fire, rivers"
    assert found["history"] == f"upscaled by dualflux {__version__}, study drawn, seed 7"
    assert found["source"].endswith("towers and inversions") and "doi:10.5194/acp-24-2555-2024" in found["references"]
    assert found["references"] in found["citation"] and "provenance.json" in found["citation"]
    assert found["region_names"].startswith("north ")


def test_a_target_without_missing_terms_has_no_comment(study: Study) -> None:
    found = product_attributes(study, prepared(target=target(None)), "towers")
    assert found["comment"] == "" and found["source"].endswith("trained on towers")


def test_members_by_hand(tmp_path: Path) -> None:
    """Two members, two months, a region and the globe: each number in its row, to the last digit; no partial file is left."""
    steps = Steps.create("2001-01-01", "2001-02-28", "monthly")
    cells = SimpleNamespace(region_names=("north",))
    values = np.array([[[0.1, 0.2], [0.3, 0.4]], [[1 / 3, 2.0], [3.0, -4e-9]]])  # (member, month, region)
    path = tmp_path / "tables/regional_members.csv"
    labels = [("", "dual", 0), ("without A", "towers", 1)]
    write_members(path, labels, values, SimpleNamespace(cells=cells, cube=SimpleNamespace(steps=steps)))  # type: ignore[arg-type]
    found = pd.read_csv(path, keep_default_na=False)
    assert found.columns.tolist() == ["run", "variant", "member", "time", "region", "value"] and len(found) == 8
    found = found.set_index(["run", "variant", "member", "time", "region"])["value"].astype(float)
    assert found["", "dual", 0, "2001-02-01", "north"] == 0.3 and found["without A", "towers", 1, "2001-01-01", "north"] == 1 / 3
    assert found["without A", "towers", 1, "2001-02-01", "global"] == -4e-9 and found["", "dual", 0, "2001-01-01", "global"] == 0.2
    assert [p.name for p in path.parent.iterdir()] == ["regional_members.csv"]


def test_what_no_predictor_sees_by_hand(tmp_path: Path) -> None:
    """Residuals (observed less f + g) of a 1, 3 (mean 2), of b 4, in one cell, of c 0: nugget 2, total 20 / 3, the cell's part 14 / 3.

    In the other variant all residuals are twice as large; what the landscape alone leaves does not count.
    """
    (tmp_path / "models").mkdir()
    rows = pd.DataFrame({"site": ["a", "a", "b", "c"], "group": 0, "time": "2001-01-01", "observed": [1.0, 3.0, 4.0, 0.0]})
    one = rows.assign(product="dual", tower_like=0.0, landscape=99.0, std=0.0, site_effect=np.nan)
    two = one.assign(product="towers", tower_like=-one.observed)
    pd.concat([one, two]).to_csv(tmp_path / "models" / PREDICTIONS, index=False)
    cells = pd.DataFrame({"cell": [5, 5, 8]}, index=["a", "b", "c"])
    found = unseen_cell_variance(tmp_path, prepared(sites=cells))
    assert found == {"dual": pytest.approx(14 / 3), "towers": pytest.approx(4 * 14 / 3)}


def test_the_applicability_quantile_by_hand() -> None:
    """A tower at 0 in one fold, towers at 1 to 20 in the other: held-out distances 1, 1, 2, ..., 20, their 95 % quantile 19."""
    place = np.r_[0.0, np.arange(1.0, 21), -19.0, 58.0, 7.5]
    empty = np.zeros((12, len(place), 0), np.float32)
    steps = Steps.create("2001-01-01", "2001-12-31", "monthly")
    cube = Cube(place[:, None].astype(np.float32), empty, empty, steps, Columns(("x",), (), ()), np.zeros(1), np.ones(1), *no_series(steps))
    fold = np.r_[0, np.ones(20, int)]
    found = applicability(cube, np.arange(21), fold)
    np.testing.assert_allclose(found, np.r_[np.zeros(21), 1.0, 2.0, 0.5 / 19], rtol=1e-6)
    reach = TowerReach.of(cube.mean_year()[:21], fold)
    assert reach.apart == pytest.approx(19.0)
    np.testing.assert_array_equal(reach.applicability(cube.mean_year()[[22]]), found[[22]])

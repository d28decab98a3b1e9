"""What only shows in processes of their own: kills, memory; and that the page on costs is what the record gives."""

import json
import sys
from pathlib import Path

import pytest
import zarr

REPOSITORY = Path(__file__).resolve().parents[1]
RECORD_FILE = REPOSITORY / "docs/speed.json"
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

import cost_model  # noqa: E402
import speed_upscaling as speed  # noqa: E402


@pytest.fixture(scope="module", name="cube")
def _cube(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A year of days on 4 degrees, and one network."""
    folder = tmp_path_factory.mktemp("cube")
    layout = speed.make_cube(folder / "store", 4.0)
    return folder / "store", speed.save_ensemble(folder / "one.npz", speed.random_networks(1), layout)


def test_a_killed_run_goes_on_to_the_same_bits(cube: tuple[Path, Path], tmp_path: Path) -> None:
    assert speed.resume_identical(1, *cube, tmp_path)


def test_memory_does_not_grow_with_years(cube: tuple[Path, Path], tmp_path: Path) -> None:
    """Peak memory of 1 and of 30 years: the further years of predictors are hundreds of MB, of which not a quarter is held."""
    speed.more_years(tmp_path / "years", cube[0], 30)
    dynamic = zarr.open_group(tmp_path / "years", mode="r")["dynamic"]
    more = 29 / 30 * dynamic.nbytes / 1e9  # type: ignore[union-attr]
    assert more > 0.2
    one = speed.peak_memory(*cube, tmp_path / "one")
    assert speed.peak_memory(tmp_path / "years", cube[1], tmp_path / "thirty") - one < more / 4


def test_rivals_answer_the_same_question(cube: tuple[Path, Path]) -> None:
    """Rows for the others are the store's own: static and dynamic columns of some cell and day."""
    rows = speed.store_rows(cube[0], 5000)
    static, _ = speed.PredictorStore(cube[0]).invariant(0)
    assert rows.shape == (5000, speed.INPUTS) and {tuple(r) for r in rows[:, : speed.STATIC]} <= {tuple(c) for c in static.T}


# The page on costs

RECORD = {
    "upscale_rows_per_s": 1e7, "ten_member_cost_ratio": 10.0, "prepare_rows_per_s": 1e6, "store_gb": 3.0, "rows": 1e8,
    "dask_two_worker_speedup": 2.0,
}  # fmt: skip


def test_costs_by_hand() -> None:
    """0.25 degree daily: 0.268 x 720 x 1440 cells x 365.25 x 20 rows; each member costs what the first does; 100 cores are 50 machines."""
    rows = 0.268 * 720 * 1440 * 365.25 * 20
    found = cost_model.cost(RECORD, 0.25, "daily")
    assert found.rows == pytest.approx(rows)
    assert found.store_bytes == pytest.approx(30 * rows)
    assert found.hours == pytest.approx(20 * rows / 1e7 / 3600)
    assert found.prepare_hours == pytest.approx(rows / 1e6 / 3600)
    assert found.cluster_hours == pytest.approx(found.hours / 50)
    assert found.cluster_read == pytest.approx(30 * rows / (found.cluster_hours * 3600))
    assert found.map_bytes == pytest.approx(0.268 * 720 * 1440 * 240 * 12)


def test_the_page_shows_what_the_record_gives() -> None:
    """`python benchmarks/cost_model.py docs/speed.json --write docs/cost_model.md` makes it true again."""
    page = (REPOSITORY / "docs/cost_model.md").read_text(encoding="utf-8")
    if RECORD_FILE.is_file():
        assert page == cost_model.filled(page, json.loads(RECORD_FILE.read_text(encoding="utf-8")))
    else:  # without a record the page shows no number
        assert "<!-- constants -->\n<!-- end of constants -->" in page and "<!-- costs -->\n<!-- end of costs -->" in page

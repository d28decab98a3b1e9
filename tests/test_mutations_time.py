"""Corruptions of when and of which files are named by their cause; other ways to write the same change nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from corruptions import Corruption
from corruptions_time import HARMLESS_TIME, TIME_CORRUPTIONS, WHEN
from good_inputs import write_good
from mutations import Result, result_of, same, sweep


@pytest.fixture(scope="module", name="good")
def _good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    found = {}
    for kind in {c.source for c in HARMLESS_TIME}:
        folder = tmp_path_factory.mktemp(kind)
        write_good(folder, kind)
        found[kind] = result_of(folder / "study.yaml", folder / "prepared")
    return found


@pytest.mark.parametrize("harmless", HARMLESS_TIME, ids=[c.name for c in HARMLESS_TIME])
def test_other_ways_to_write_the_same_change_nothing(harmless: Corruption, good: dict[str, Result], tmp_path: Path) -> None:
    write_good(tmp_path, harmless.source)
    harmless.change(tmp_path)
    assert same(good[harmless.source], result_of(tmp_path / "study.yaml", tmp_path / "prepared")) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", WHEN)
def test_each_message_holds_its_cause(kind: str, tmp_path: Path) -> None:
    chosen = [c for c in TIME_CORRUPTIONS if c.source == kind]
    records = list(sweep(tmp_path, chosen))
    assert [r for r, c in zip(records, chosen, strict=True) if r["outcome"] != "error" or c.cause not in r["message"]] == []

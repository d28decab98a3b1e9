"""Text tables and tower records, corrupted one by one: the message names the cause; other writings of the same change nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from corruptions_tables import HARMLESS, TABLE_CORRUPTIONS, TABLES
from good_inputs import write_good
from mutations import result_of, same, sweep


def test_names_are_unique_and_each_has_a_cause() -> None:
    assert len({c.name for c in TABLE_CORRUPTIONS}) == len(TABLE_CORRUPTIONS) >= 20 and all(c.cause for c in TABLE_CORRUPTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", TABLES)
def test_each_is_an_error_that_names_its_cause(kind: str, tmp_path: Path) -> None:
    chosen = [c for c in TABLE_CORRUPTIONS if c.source == kind]
    records = list(sweep(tmp_path, chosen))
    assert [r for r in records if r["outcome"] != "error" or "\n" in r["message"]] == []
    assert [(c.name, c.cause, r["message"]) for c, r in zip(chosen, records, strict=True) if c.cause not in r["message"]] == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted({c.source for c in HARMLESS}))
def test_other_writings_change_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    write_good(tmp_path / "good", kind)
    right = result_of(tmp_path / "good" / "study.yaml", tmp_path / "right")
    for number, harmless in enumerate(c for c in HARMLESS if c.source == kind):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_good(folder, kind)
        harmless.change(folder)
        found = result_of(folder / "study.yaml", tmp_path / f"prepared{number}")
        assert same(right, found) == "" and len(found.rows) == len(right.rows), harmless.name
        assert found.dropped.sum() == right.dropped.sum() and found.skipped == right.skipped, harmless.name

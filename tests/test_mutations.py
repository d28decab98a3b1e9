"""Corrupted inputs are named or counted, other ways to write good ones change nothing: the sweep of benchmarks/mutations.py."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from corruptions import CORRUPTIONS, HARMLESS, KINDS, Corruption
from corruptions_place import WORDS
from good_inputs import write_good
from mutations import Result, as_text, judge, result_of, same, sweep

OUTCOMES = ("error", "counted_drop")


def test_names_are_unique_and_each_kind_has_five() -> None:
    assert len({c.name for c in CORRUPTIONS}) == len(CORRUPTIONS) >= 60
    assert min(len(changes) for changes in KINDS.values()) >= 5


@pytest.mark.parametrize("kind", KINDS)
def test_corruptions_are_named_or_counted(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = list(sweep(tmp_path, [c for c in CORRUPTIONS if c.source == kind]))
    with capsys.disabled():
        print(f"\n{as_text(records)}")
    assert [r for r in records if r["outcome"] not in OUTCOMES] == []
    assert all(r["message"] and "\n" not in r["message"] for r in records)
    assert [r for r in records if WORDS.get(r["name"], "") not in r["message"]] == []


@pytest.fixture(scope="module", name="good")
def _good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    found = {}
    for kind in {c.source for c in HARMLESS}:
        folder = tmp_path_factory.mktemp(kind)
        write_good(folder, kind)
        found[kind] = result_of(folder / "study.yaml", folder / "prepared")
    return found


@pytest.mark.parametrize("harmless", HARMLESS, ids=[c.name for c in HARMLESS])
def test_other_ways_to_write_the_same_change_nothing(harmless: Corruption, good: dict[str, Result], tmp_path: Path) -> None:
    write_good(tmp_path, harmless.source)
    harmless.change(tmp_path)
    found, expected = result_of(tmp_path / "study.yaml", tmp_path / "prepared"), good[harmless.source]
    assert same(expected, found, relative=1e-4) == ""  # a temperature in kelvin has 3e-5 K of rounding in single precision
    assert len(found.rows) == len(expected.rows) and found.dropped.sum() == expected.dropped.sum()


def test_what_the_sweep_calls_a_defect(good: dict[str, Result]) -> None:
    """A changed value, a row that vanishes uncounted and a corruption that is taken as good are defects; a counted row is none."""
    right = good["towers_table"]
    changed = Result({**right.arrays, "target": right.arrays["target"] + 1}, right.rows, right.dropped, right.skipped)
    assert judge(right, changed) == ("defect", "changed without a word: target")
    shorter = Result(right.arrays, right.rows.iloc[3:], right.dropped, right.skipped)
    assert judge(right, shorter) == ("defect", "3 observations are gone, 0 are counted")
    assert judge(right, right) == ("defect", "taken as good")
    dropped = right.dropped.add(shorter.dropped, fill_value=0)
    dropped.loc["AA-One", "no value"] = 3
    counted = Result(right.arrays, right.rows.iloc[3:], dropped, right.skipped)
    assert judge(right, counted) == ("counted_drop", "3 rows: no value")

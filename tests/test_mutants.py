"""benchmarks/mutants.py: its list names 30 lines that stand in the package, and it tells a caught error from a missed one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from mutants import ROOT, Mutant, place_of, plant, read_mutants, try_mutant


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda m: f"{m.number}")
def test_every_line_of_the_list_stands_in_the_package_once(mutant: Mutant) -> None:
    place = place_of(mutant, ROOT)
    assert isinstance(place, Path), f"{mutant.file}: {mutant.before}: {place}"
    assert mutant.before != mutant.after and all((ROOT / test).is_file() for test in mutant.tests)


def test_there_are_thirty() -> None:
    assert len(read_mutants()) >= 30


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    """A package of one function, and a test that looks at one of its two lines."""
    (tmp_path / "src/dualflux/sub").mkdir(parents=True)
    (tmp_path / "src/dualflux/__init__.py").write_text("def double(x):\n    seen = 2 * x\n    unseen = 3\n    return seen\n")
    (tmp_path / "test_double.py").write_text("import dualflux\n\n\ndef test_double():\n    assert dualflux.double(2) == 4\n")
    return tmp_path


def test_caught_missed_gone_and_broken_are_told_apart(repository: Path) -> None:
    def outcome(before: str, after: str, tests: str = "test_double.py") -> tuple[str, str]:
        record = try_mutant(Mutant(1, "src/dualflux/__init__.py", before, after, (tests,)), repository)
        return record.outcome, record.by

    assert outcome("seen = 2 * x", "seen = 3 * x") == ("caught", "test_double.py::test_double")
    assert outcome("unseen = 3", "unseen = 4")[0] == "missed"
    assert outcome("unseen = 5", "unseen = 4") == ("gone", "the line is gone: plant another error")
    assert outcome("unseen = 3", "unseen = 4", "test_half.py") == ("broken", "no such test file: test_half.py")
    assert outcome("seen = 2 * x", "seen = 3 * * x")[0] == "broken"
    assert "2 * x" in (repository / "src/dualflux/__init__.py").read_text()


def test_a_line_that_moved_is_found(repository: Path) -> None:
    moved = repository / "src/dualflux/sub/part.py"
    moved.write_text("def half(x):\n        found = x / 2\n        return found\n")
    mutant = Mutant(1, "src/dualflux/__init__.py", "found = x / 2", "found = x / 3", ("test_double.py",))
    assert place_of(mutant, repository) == moved
    plant(mutant, moved)
    assert moved.read_text() == "def half(x):\n        found = x / 3\n        return found\n"
    (repository / "src/dualflux/other.py").write_text("found = x / 3\n")
    twice = place_of(Mutant(1, "gone.py", "found = x / 3", "", ()), repository)
    assert isinstance(twice, str) and "several places (src/dualflux/other.py, src/dualflux/sub/part.py)" in twice

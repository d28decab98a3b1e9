"""Plant known errors in the package, one at a time, and see that the tests fail.

    python benchmarks/mutants.py --out mutants.json            # all of benchmarks/mutants.txt
    python benchmarks/mutants.py --only 7                      # the seventh, counted from 1

Each error is planted in a copy of ``src``, and the test files that stand beside it run against the copy with ``pytest -x -q``. The tests
are to pass on the unchanged sources: what is asked here is whether they fail for the right to fail.

Writes JSON: `mutants` (number planted), `caught` and `missed` (numbers), and `records`, one per error: number, file, before, after,
outcome, and the first test that failed. Outcomes: `caught`; `missed`: all tests pass; `gone`: the line stands nowhere, or in several
places; `broken`: the tests could not be run. Exit status 1 where one is not caught.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = Path(__file__).with_suffix(".txt")
TESTS_FAILED, TESTS_PASSED = 1, 0


@dataclass(frozen=True)
class Mutant:
    """One planted error: a line of a file becomes another; indentation is kept."""

    number: int
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What became of it; `by`: the test that caught it, or why it could not be tried."""

    number: int
    file: str
    before: str
    after: str
    outcome: str
    by: str


def read_mutants(path: Path = LIST) -> list[Mutant]:
    """The list; lines that begin with # are comments.

    Raises
    ------
    SystemExit
        A block without its four parts.
    """
    found: list[Mutant] = []
    blocks = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).split("\n\n")
    for block in (b.strip() for b in blocks if b.strip()):
        parts = re.fullmatch(r"file: (\S+)\n- (.+)\n\+ (.+)\ntests: (.+)", block)
        if parts is None:
            raise SystemExit(f"{path}: needed are lines `file: `, `- `, `+ ` and `tests: `; found:\n{block}")
        found.append(Mutant(len(found) + 1, parts[1], parts[2], parts[3], tuple(parts[4].split())))
    return found


def place_of(mutant: Mutant, root: Path) -> Path | str:
    """The file that holds the line once: the one named, else the only other of the package; or why there is none."""
    named = root / mutant.file
    counts = {path: _lines(path).count(mutant.before) for path in sorted((root / "src").rglob("*.py"))}
    if counts.get(named, 0) == 1:
        return named
    elsewhere = [path for path, count in counts.items() if count]
    if len(elsewhere) == 1 and counts[elsewhere[0]] == 1:
        return elsewhere[0]
    where = ", ".join(str(path.relative_to(root)) for path in elsewhere)
    return f"the line stands in several places ({where}): write a longer one" if where else "the line is gone: plant another error"


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]


def plant(mutant: Mutant, path: Path) -> None:
    """Change the line in a file."""
    text = path.read_text(encoding="utf-8")
    changed = re.sub(rf"^([ \t]*){re.escape(mutant.before)}$", lambda m: m[1] + mutant.after, text, flags=re.MULTILINE)
    path.write_text(changed, encoding="utf-8")


def try_mutant(mutant: Mutant, root: Path = ROOT) -> Record:
    """Plant it in a copy of the sources and run its tests."""
    record = Record(mutant.number, mutant.file, mutant.before, mutant.after, "gone", "")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(root / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        place = place_of(mutant, copy)
        if isinstance(place, str):
            return replace(record, by=place)
        plant(mutant, place)
        record = replace(record, file=place.relative_to(copy).as_posix())
        absent = [test for test in mutant.tests if not (root / test).is_file()]
        if absent:
            return replace(record, outcome="broken", by=f"no such test file: {', '.join(absent)}")
        return _judge(record, _run(mutant, copy, root))


def _run(mutant: Mutant, copy: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
    # Bytecode is not written: a file changed within a second of its copy could be taken for the old one.
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    ask = "import importlib.util; print(importlib.util.find_spec('dualflux').origin)"
    where = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True).stdout.strip()
    if not where.startswith(str(copy)):
        raise SystemExit(f"the tests would import {where}, not the copy; run from the repository's environment")
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)


def _judge(record: Record, done: subprocess.CompletedProcess[str]) -> Record:
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", done.stdout, flags=re.MULTILINE)
    if done.returncode == TESTS_FAILED and failed:
        return replace(record, outcome="caught", by=failed[1])
    if done.returncode == TESTS_PASSED:
        return replace(record, outcome="missed", by="all tests pass")
    return replace(record, outcome="broken", by="\n".join((done.stdout + done.stderr).splitlines()[-15:]))


def main() -> int:
    """Try, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, metavar="N", help="the Nth of the list")
    parser.add_argument("--out", type=Path, default=Path("mutants.json"))
    options = parser.parse_args()
    mutants = read_mutants()
    if options.only is not None and not 1 <= options.only <= len(mutants):
        parser.error(f"--only {options.only}: allowed are 1 to {len(mutants)}")
    records = []
    for mutant in mutants if options.only is None else [mutants[options.only - 1]]:
        records.append(try_mutant(mutant))
        r = records[-1]
        print(f"{r.number:2d} {r.outcome:7s} {r.file}: {r.after}\n           {r.by}", flush=True)
    caught = sum(r.outcome == "caught" for r in records)
    found = {"mutants": len(records), "caught": caught, "missed": len(records) - caught, "records": [asdict(r) for r in records]}
    options.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{caught} of {len(records)} caught")
    return 0 if caught == len(records) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Kills a command with kill -9 at random moments and gives it again; what it writes must be the same bytes as undisturbed.

    python benchmarks/kills.py --command run --stage any --kills 60 --out kills.json
    python benchmarks/kills.py --command run --stage train --kills 20 --out kills_train.json
    python benchmarks/kills.py --command predict --stage any --kills 20 --out kills_predict.json

A small study is run once in quiet, in a folder beside FILE. Each kill then strikes a fresh run (with `--stage train` one in which all
before training is done) at a moment drawn uniformly from the time it took; the command is given again until it ends, and every file but the
times of day is compared. FILE holds `kills` and `same_bytes`, how many of them left the same files with the same bytes, and one record
for each. This command may be killed itself: with `--resume` it goes on. Exit status 1 where bytes differ.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from fault_study import TIMED, Done, Process, Study, files, marker

from dualflux.run_folder.files import write_atomically

PREDICT = ("--resolution", "5", "--period", "2001-01-01", "2001-12-31")


class Case(NamedTuple):
    """What is killed.

    Attributes
    ----------
    fresh : callable
        Makes a folder to begin in.
    start : callable
        Gives the command in a folder.
    begins : callable
        Whether the time has come from which a moment is drawn.
    seconds : float
        How long it takes from then on.
    wanted : Path
        The folder of the undisturbed command.
    """

    fresh: Callable[[], Path]
    start: Callable[[Path], Process]
    begins: Callable[[Path], bool]
    seconds: float
    wanted: Path


def run_case(study: Study, stage: str) -> Case:
    """`dualflux run` as a whole, or in its training."""
    if stage == "train":
        seconds = float(marker(study.finished, "train")["seconds"])
        begins = lambda out: (out / ".dualflux/workshop_train").is_dir()  # noqa: E731
        return Case(lambda: study.done_before("train"), study.start, begins, seconds, study.finished)
    seconds = sum(float(marker(study.finished, name)["seconds"]) for name in ("prepare", "train", "upscale", "evaluate", "report"))
    return Case(
        lambda: study.work / f"{time.time_ns()} fresh", study.start, lambda out: (out / ".dualflux").is_dir(), seconds, study.finished
    )


def predict_case(study: Study) -> Case:
    """`dualflux predict` from the finished run."""
    arguments = [sys.executable, "-m", "dualflux.cli", "predict", str(study.finished)]

    def start(out: Path) -> Process:
        return Process([*arguments, str(out), *PREDICT], study.env, study.work / f"{time.time_ns()}.log")

    wanted, began = study.work.parent / "predicted", time.perf_counter()
    note = study.work.parent / "predict_seconds.json"
    if not note.exists():
        shutil.rmtree(wanted, ignore_errors=True)
        done = start(wanted).end()
        if done.status:
            raise RuntimeError(f"the undisturbed predict failed:\n{done.said}")
        write_atomically(note, json.dumps(time.perf_counter() - began))
    begins = lambda out: (out / ".dualflux").is_dir()  # noqa: E731
    return Case(lambda: study.work / f"{time.time_ns()} predict", start, begins, float(json.loads(note.read_text())), wanted)


def kill_once(case: Case, moment: float) -> dict[str, object]:
    """Kill one fresh command at a part of its time, let it go on to its end, and compare."""
    out = case.fresh()
    process = case.start(out)
    process.until(lambda: case.begins(out))
    time.sleep(moment * case.seconds)
    process.process.kill()
    struck = process.end()
    again = case.start(out).end()
    differ = differences(case.wanted, out)
    record = {"moment": round(moment, 4), "killed": struck.status == -9, "status": again.status, "differ": differ, "said": _last(again)}
    shutil.rmtree(out)
    return record


def differences(wanted: Path, found: Path) -> list[str]:
    """Names of files that only one folder has, or that differ."""
    one, other = ({p.relative_to(top).as_posix(): p for p in files(top) if p.name not in TIMED} for top in (wanted, found))
    names = sorted({*one, *other})
    return [n for n in names if n not in one or n not in other or one[n].read_bytes() != other[n].read_bytes()]


def _last(done: Done) -> str:
    return "" if done.status == 0 else done.problem or done.said[-300:]


def the_study(folder: Path) -> Study:
    """The undisturbed study, made once; one that is not whole (this command was killed) is made again."""
    if (folder / "study.json").exists():
        return Study.reopen(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    study = Study.create(folder, notes=False)
    write_atomically(folder / "study.json", "{}")
    return study


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=("run", "predict"), required=True)
    parser.add_argument("--stage", choices=("any", "train"), default="any")
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true", help="go on where this command was killed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "predict" and arguments.stage != "any":
        parser.error("--stage train: only `run` trains")
    records = json.loads(arguments.out.read_text())["cases"] if arguments.resume and arguments.out.exists() else []
    study = the_study(arguments.out.absolute().with_suffix(".work"))
    case = predict_case(study) if arguments.command == "predict" else run_case(study, arguments.stage)
    moments = np.random.default_rng(arguments.seed).uniform(0, 1, arguments.kills)
    for number in range(len(records), arguments.kills):
        records.append(kill_once(case, float(moments[number])))
        same = sum(r["status"] == 0 and not r["differ"] for r in records)
        found = {"command": arguments.command, "stage": arguments.stage, "kills": len(records), "same_bytes": same, "cases": records}
        write_atomically(arguments.out, json.dumps(found, indent=1) + "\n")
        print(f"kill {len(records)} of {arguments.kills} at {moments[number]:.0%}: {records[-1]['differ'] or 'same bytes'}", flush=True)
    shutil.rmtree(study.work.parent)
    return 0 if all(r["status"] == 0 and not r["differ"] for r in records) else 1


if __name__ == "__main__":
    sys.exit(run())

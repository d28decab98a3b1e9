"""Gives damaged and hostile files to every reader: a refusal in words or a right reading; a crash, a hang or anything else is a defect.

    python benchmarks/fuzz.py --minutes 10 --out fuzz.json

`fuzzing.py` holds the readers, the changes and what a right reading is. Readers run in a process of their own, so that a crash
of a C library is counted and does not end the sweep. One record per reader: `target, tried, refused, read, defects`, and each
defect with the numbers that repeat it: ``python benchmarks/fuzz.py --repeat "NetCDF flux" 17``. Exit status 1 where there is one.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from fuzzing import TARGETS, attempt, prepare, seeds

HANG = 60.0  # seconds for one attempt
MEMORY = 8 * 2**30  # bytes a reader may take


def worker(name: str, folder: str, first: int, pipe: Connection) -> None:
    """Attempts from `first` on, one outcome each, until the other side hangs up."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    good = prepare(name, Path(folder))
    index = first
    while True:
        pipe.send(("begin", index, ""))
        try:
            pipe.send((attempt(TARGETS[name], Path(folder), good, seeds(name, index)), index, ""))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001  (what is looked for)
            where = traceback.extract_tb(error.__traceback__)
            ours = [f for f in where if "/dualflux/" in f.filename or f.filename.endswith("fuzzing.py")][-1]
            text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            pipe.send(("defect", index, f"{Path(ours.filename).name}:{ours.lineno} {text}"))
        index += 1


def sweep(name: str, folder: Path, seconds: float, first: int = 0) -> dict[str, Any]:
    """Attempts at one reader for a time."""
    record: dict[str, Any] = {"target": name, "tried": 0, "refused": 0, "read": 0, "defects": []}
    end, process, pipe, busy = np.inf, None, None, first
    while time.monotonic() < end or process is None:
        if process is None or pipe is None:
            place = Path(tempfile.mkdtemp(dir=folder))
            pipe, theirs = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(target=worker, args=(name, str(place), busy, theirs), daemon=True)
            process.start()
            theirs.close()
            if not pipe.poll(300):
                raise RuntimeError(f"{name}: the reader did not start")
            end = min(end, time.monotonic() + seconds)
        ended = not pipe.poll(HANG)
        try:
            outcome, index, text = ("hang", busy, f"no end after {HANG:g} s") if ended else pipe.recv()
        except EOFError:
            process.join()
            outcome, index, text = "crash", busy, f"the process ended with status {process.exitcode}"
        busy = index
        if outcome == "begin":
            continue
        record["tried"] += 1
        if outcome in ("refused", "read"):
            record[outcome] += 1
        else:
            record["defects"].append({"index": index, "outcome": outcome, "what": text})
        if outcome in ("crash", "hang"):
            process.kill()
            process, busy = None, busy + 1
    process.kill()
    process.join()
    return record


def distinct(defects: list[dict[str, Any]]) -> dict[str, list[int]]:
    """Defects by what happened."""
    found: dict[str, list[int]] = {}
    for one in defects:
        found.setdefault(one["what"][:90], []).append(one["index"])
    return found


def repeat(name: str, index: int) -> int:
    """One attempt again, with its traceback."""
    with tempfile.TemporaryDirectory() as folder:
        good = prepare(name, Path(folder))
        print(attempt(TARGETS[name], Path(folder), good, seeds(name, index)))
    return 0


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("fuzz.json"))
    parser.add_argument("--minutes", type=float, default=10.0, help="for all readers together")
    parser.add_argument("--only", default="", help="readers whose name holds this")
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt: another stretch of the same sequence")
    parser.add_argument("--repeat", nargs=2, metavar=("READER", "NUMBER"))
    arguments = parser.parse_args()
    if arguments.repeat:
        return repeat(arguments.repeat[0], int(arguments.repeat[1]))
    names = [name for name in TARGETS if arguments.only in name]
    records = []
    print(f"{'reader':<28} {'tried':>7} {'refused':>8} {'read':>7} {'defects':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            r = sweep(name, Path(folder), 60 * arguments.minutes / len(names), arguments.first)
            records.append(r)
            print(f"{name:<28} {r['tried']:>7} {r['refused']:>8} {r['read']:>7} {len(r['defects']):>8}", flush=True)
            for what, where in distinct(r["defects"]).items():
                print(f"    {len(where)} x {what} (first: {where[0]})", flush=True)
    tried, defects = sum(r["tried"] for r in records), sum(len(r["defects"]) for r in records)
    print(f"{tried} inputs fuzzed, {defects} defects")
    arguments.out.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(run())

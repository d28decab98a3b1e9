"""Corrupts good inputs one by one: each must give a named error or a counted drop, never a traceback or another result.

    python benchmarks/mutations.py --out mutations.json

The modules `corruptions*.py` list them, `good_inputs.py` writes the small world they start from. Each corrupted study
goes through ``dualflux check``. Exit status 2 with one line per problem is an `error`. Where the check passes, the study is prepared
and compared with the good one: the outcome is `counted_drop` where the only difference is tower rows that stand, counted, in
`towers_dropped.csv`, or files listed in `tower_skipped.csv`. Anything else is a `defect`.

The file counts `tried`, `silent` (another result without a word), `traceback` and `misleading` (the message lacks the word of the cause
that stands beside the corruption), and lists the `cases`. Exit status 1 where one of the three is not zero.
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
from corruptions import CORRUPTIONS, Corruption
from corruptions_tables import TABLE_CORRUPTIONS
from corruptions_time import TIME_CORRUPTIONS
from corruptions_values import VALUE_CORRUPTIONS
from good_inputs import CHANGES, write_good

from dualflux.cli import INPUT_WRONG, main
from dualflux.prepared import load
from dualflux.stages.prepare import prepare
from dualflux.study.settings import load_study

_PREFIX = "dualflux: error: "


@dataclass(frozen=True)
class Result:
    """What a prepared study holds.

    Attributes
    ----------
    arrays : dict
        Everything but the towers.
    rows : DataFrame
        Index site and time: flux, uncertainty and predictors of each observation.
    dropped : Series
        Rows dropped, by site and reason.
    skipped : int
        Files that are not read.
    """

    arrays: dict[str, np.ndarray]
    rows: pd.DataFrame
    dropped: pd.Series
    skipped: int


def result_of(study: Path, folder: Path) -> Result:
    """Prepare a study and read back what training would use."""
    prepare(load_study(study), folder)
    found = load(folder)
    cube, cells, target = found.cube, found.cells, found.target
    arrays = {
        "static": cube.static, "seasonal": cube.seasonal, "dynamic": np.asarray(cube.dynamic), "land": found.land_area,
        "cells": cells.index, "regions": cells.region_fraction, "target": target.integral.to_numpy(),
        "variance": target.adjustment_variance.to_numpy(),
    }  # fmt: skip
    if found.references is not None:
        arrays["references"] = found.references.to_numpy()
    rows = found.observations.set_index(["site", "time"]).join(
        pd.DataFrame(found.rows, pd.MultiIndex.from_frame(found.observations[["site", "time"]]))
    )
    dropped = pd.read_csv(folder / "towers_dropped.csv").groupby(["site", "reason"])["count"].sum()
    skipped = folder / "tower_skipped.csv"
    return Result(arrays, rows, dropped, len(pd.read_csv(skipped)) if skipped.exists() else 0)


def same(good: Result, found: Result, relative: float = 1e-5) -> str:
    """What differs by more than `relative`, besides observations that are gone; nothing where they are the same."""
    changed = [n for n in {**good.arrays, **found.arrays} if not _equal(good.arrays.get(n), found.arrays.get(n), relative)]
    kept = good.rows.reindex(found.rows.index)
    if len(found.rows.index.difference(good.rows.index)) or not _equal(kept.to_numpy(float), found.rows.to_numpy(float), relative):
        changed.append("observations")
    return ", ".join(changed)


def _equal(first: np.ndarray | None, second: np.ndarray | None, relative: float) -> bool:
    if first is None or second is None or first.shape != second.shape:
        return False
    smallest = relative / 10 * max(float(np.nanmax(np.abs(first), initial=0)), 1e-30)
    return bool(np.allclose(first, second, rtol=relative, atol=smallest, equal_nan=True))


def judge(good: Result, found: Result) -> tuple[str, str]:
    """Outcome and message of a study that can run."""
    if changed := same(good, found):
        return "defect", f"changed without a word: {changed}"
    more = found.dropped.sub(good.dropped, fill_value=0)
    more = more[more > 0].groupby("reason").sum()
    said = "; ".join(f"{int(count)} rows: {reason}" for reason, count in more.items())
    lost, skipped = len(good.rows) - len(found.rows), found.skipped - good.skipped
    if lost == 0 and skipped > 0 and not said:
        return "counted_drop", f"{skipped} file not read"
    if lost > int(more.sum()):
        return "defect", f"{lost} observations are gone, {int(more.sum())} are counted"
    return ("counted_drop", said) if said else ("defect", "taken as good")


def outcome_of(study: Path, good: Result, folder: Path) -> tuple[str, str]:
    """What becomes of one corrupted study."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            status = main(["check", str(study)])
            if status == 0:
                return judge(good, result_of(study, folder))
    except Exception as error:  # noqa: BLE001  (a traceback is what is looked for)
        return "defect", f"traceback: {''.join(traceback.format_exception_only(error)).strip()}"
    lines = [line.removeprefix(_PREFIX) for line in said.getvalue().splitlines() if line.startswith(_PREFIX)]
    if status == INPUT_WRONG and lines and "Traceback" not in said.getvalue():
        return "error", "; ".join(lines)
    return "defect", f"exit status {status}: {said.getvalue().strip()}"


def sweep(folder: Path, chosen: Iterable[Corruption] = CORRUPTIONS) -> Iterator[dict[str, str]]:
    """One record per corruption: name, source, outcome, message."""
    good: dict[str, Result] = {}
    for number, corruption in enumerate(chosen):
        kind = corruption.source
        template = folder / kind
        if kind not in good:
            template.mkdir(parents=True)
            write_good(template, kind)
            good[kind] = result_of(template / "study.yaml", folder / f"{kind}_prepared")
        work = Path(shutil.copytree(template, folder / f"work{number}"))
        corruption.change(work)
        outcome, message = outcome_of(work / "study.yaml", good[kind], folder / f"prepared{number}")
        yield {"name": corruption.name, "source": kind, "outcome": outcome, "message": message.replace(f"{work}/", "")}
        shutil.rmtree(work)


def as_text(records: list[dict[str, str]], width: int = 150) -> str:
    """The records as a table."""
    lines = [f"{r['name']:<58} {r['outcome']:<13} {r['message']}" for r in records]
    return "\n".join(line if len(line) <= width else line[: width - 3] + "..." for line in lines)


def verdict(record: dict[str, str], cause: str) -> str:
    """named, counted, misleading (the message lacks the cause that stands beside the case), silent or traceback."""
    if record["outcome"] == "error":
        return "named" if cause in record["message"] else "misleading"
    if record["outcome"] != "defect":
        return "counted"
    return "traceback" if record["message"].startswith(("traceback", "exit status")) else "silent"


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("mutations.json"))
    parser.add_argument("--only", nargs="+", choices=sorted(CHANGES), default=sorted(CHANGES), help="kinds of source")
    arguments = parser.parse_args()
    every = [*CORRUPTIONS, *TABLE_CORRUPTIONS, *TIME_CORRUPTIONS, *VALUE_CORRUPTIONS]
    chosen = [c for c in every if c.source in arguments.only]
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        for corruption, record in zip(chosen, sweep(Path(folder), chosen), strict=True):
            cases.append({"name": record["name"], "kind": record["source"], "verdict": verdict(record, corruption.cause), **record})
            print(as_text([record]), flush=True)
    counts = pd.Series([case["verdict"] for case in cases]).value_counts()
    print(f"{len(cases)} corruptions: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    wrong = {name: int(counts.get(name, 0)) for name in ("silent", "traceback", "misleading")}
    found = {"tried": len(cases), **wrong, "cases": cases}
    arguments.out.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(run())

"""The run folder: its stages one after the other, who is working in it, and what it says of where its results come from.

The marker of a stage is written last and atomically, so a stage that was killed, ran out of disk or was interrupted is simply not done
(`stage.reason_to_redo`). Which files are whose: `own_files`.
"""

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from dualflux.errors import InputError
from dualflux.run_folder.citations import CITATIONS
from dualflux.run_folder.files import checksum, remove_unfinished, write_sealed
from dualflux.run_folder.lock import hold_lock
from dualflux.run_folder.log import RunLog
from dualflux.run_folder.memory import peak_memory_gb
from dualflux.run_folder.own_files import clear, publish, refuse_foreign, workshop, write_own, written
from dualflux.run_folder.program import whole_program
from dualflux.run_folder.pulse import Manner, pulse
from dualflux.run_folder.stage import (
    MARKERS,
    NOT_DONE,
    Stage,
    differences,
    is_done,
    made_from,
    marker_path,
    read_marker,
    reason_to_redo,
    states,
)

__all__ = ["CITATIONS", "MARKERS", "RunFolder", "Stage", "digest", "is_done", "reason_to_redo", "states"]

FORMAT = 2  # of provenance.json and of the notes in MARKERS
_REPORTED = ("jax", "equinox", "optax", "numpy", "scipy", "xarray", "pandas", "h5netcdf", "h5py", "zarr", "pydantic")


class RunFolder:
    """A locked run folder; use as ``with RunFolder(out, seed) as run:``.

    Parameters
    ----------
    out : Path
        Made where it does not exist.
    seed : int
    citations : sequence of str
        Written to provenance.json.
    say : callable
        Receives one line per event; the log of the run folder gets it too.
    manner : Manner
        Whether the lock of another computer is taken over, and what is said between events.

    Raises
    ------
    InputError
        On entering, where another run works in the folder or it cannot be written.
    """

    def __init__(
        self, out: Path, seed: int, citations: Sequence[str] = (), say: Callable[[str], None] = print, manner: Manner | None = None
    ) -> None:
        self.out = out
        self.seed, self.citations, self.manner = seed, list(citations), manner or Manner()
        self._say, self._log, self._held = say, RunLog(out), ExitStack()
        self._locked = False

    def __enter__(self) -> "RunFolder":
        with ExitStack() as held:
            held.enter_context(hold_lock(self.out / MARKERS, self.out, self._say, self.manner.take_over))
            held.enter_context(self._log.open(self.manner.catch_noise))
            for folder in (self.out, self.out / MARKERS):
                remove_unfinished(folder)
            for left in (self.out / MARKERS).glob("workshop_*"):
                shutil.rmtree(left, ignore_errors=True)
            self._held = held.pop_all()
        self._locked = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._log.write(f"ended by {type(error).__name__}: {' '.join(str(error).split())}")
        self._locked = False
        self._held.close()

    def say(self, line: str) -> None:
        """Say a line and log it."""
        if not self.manner.quiet:
            self._say(line)
        self._log.write(line)

    def detail(self, line: str) -> None:
        """Log a line; say it only where the user wants to know more."""
        if self.manner.verbose:
            self._say(line)
        self._log.write(line)

    def refuse_foreign(self, stages: Sequence[Stage]) -> None:
        """Raise InputError for files of the user's under the names of these stages' results."""
        refuse_foreign(self.out, stages)

    def stage(self, stage: Stage, action: Callable[[Path], None]) -> bool:
        """Run the action unless the stage is done; return whether it ran.

        Parameters
        ----------
        action : callable
            Gets a folder that holds the results of the stages before, and writes its own there. They go to the run folder when it
            returns; what an earlier run of the stage wrote is removed before it begins.

        Raises
        ------
        InputError
            An input is missing, or was changed while the stage ran; a file of the user's has the name of a result.
        """
        if not self._locked:
            raise RuntimeError("RunFolder.stage needs the lock: use `with RunFolder(...) as run:`")
        reason = reason_to_redo(self.out, stage)
        if reason is None:
            self.say(f"{stage.name}: kept, nothing has changed")
            self.write_provenance()
            return False
        self.say(f"{stage.name}: starts" if reason == NOT_DONE else f"{stage.name}: {reason}; starts again")
        refuse_foreign(self.out, [stage])
        before = made_from(self.out, stage, remember=True)
        for one in before["inputs"]:
            self.detail(f"{stage.name}: reads {one['path']} ({one['bytes']} bytes)")
        clear(self.out, stage)
        started = time.perf_counter()
        with workshop(self.out, stage) as place:
            with pulse(self.out / MARKERS, stage.name, self.say, self.manner):
                action(place)
            seconds = time.perf_counter() - started
            changed = differences(before, made_from(self.out, stage, remember=True))
            if changed:
                raise InputError(f"stage {stage.name}: {changed} while the stage ran; leave the files alone and run again")
            self._keep(stage, place, before, seconds)
        self.write_provenance()
        self.say(f"{stage.name}: done in {seconds:.1f} s, at most {peak_memory_gb():.1f} GB so far")
        return True

    def _keep(self, stage: Stage, place: Path, before: dict[str, Any], seconds: float) -> None:
        """Put what a stage wrote to its place, and mark it done."""
        names = written(place, stage)
        outputs = [{**checksum(place / name), "path": name} for name in names]
        publish(self.out, stage, place, {one["path"]: one["sha256"] for one in outputs})
        for one in outputs:
            self.detail(f"{stage.name}: wrote {one['path']} ({one['bytes']} bytes)")
        marker = {
            "format": FORMAT,
            "name": stage.name,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "peak_memory_gb": round(peak_memory_gb(), 3),
            "made_from": before,
            "outputs": outputs,
        }
        write_sealed(marker_path(self.out, stage.name), marker)

    def cite(self, citations: Sequence[str]) -> None:
        """Add what a stage found to cite, and write provenance.json again."""
        self.citations = list(dict.fromkeys([*self.citations, *citations]))
        self.write_provenance()

    def write(self, name: str, text: str) -> None:
        """Write a text file beside the results; InputError where the user's own lies there."""
        write_own(self.out, name, text)

    def write_provenance(self) -> None:
        """Write provenance.json from the markers of all stages done so far."""
        names = [p.stem.removeprefix("stage_") for p in (self.out / MARKERS).glob("stage_*.json")]
        found = {name: marker for name in names if (marker := read_marker(self.out, name))}
        markers = sorted(found.values(), key=lambda m: (_depth(m["name"], found), m["name"]))  # no clock: it may have been set back
        inputs = {i["path"]: i for m in markers for i in m["made_from"]["inputs"]}
        provenance = {
            "format": FORMAT,
            "versions": _versions(),
            "seed": self.seed,
            "inputs": [inputs[path] for path in sorted(inputs)],
            "stages": [{k: m[k] for k in ("name", "seconds", "peak_memory_gb", "finished")} for m in markers],
            "citations": self.citations,
        }
        self.write("provenance.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def digest(out: Path, stage: Stage) -> str:
    """SHA-256 of all that decides a stage's result to the last digit: what it is made from, and the versions of the libraries."""
    versions = {name: version for name, version in _versions().items() if name not in ("platform", "dualflux")}
    content = {**made_from(out, stage, remember=False), "versions": versions}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _depth(name: str, markers: Mapping[str, dict[str, Any]]) -> int:
    """Stages that a stage stands on, one on the other."""
    before = markers[name]["made_from"]["after"] if name in markers else {}
    return max((1 + _depth(other, markers) for other in before), default=0)


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _REPORTED}
    return {"dualflux": whole_program(), "python": platform.python_version(), "platform": platform.platform(), **packages}

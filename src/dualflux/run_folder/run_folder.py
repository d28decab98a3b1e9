"""The run folder: which stages are done, what they were made from, and who is working in it.

A stage is done when its marker exists, everything it was made from is as it was (settings, program,
input files, outputs of the stages before it) and each file it wrote still has its checksum:
`reason_to_redo` is the only place that decides this. The marker is written last and atomically, so a
stage that was killed, ran out of disk or was interrupted is simply not done; what it left is removed
before it is done again. Files of the user's own in the run folder are neither counted nor removed.
"""

import hashlib
import importlib.metadata
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import dualflux
from dualflux.errors import InputError, Problems
from dualflux.run_folder.files import checksum, read_sealed, remove_unfinished, sha256, stamp, write_atomically, write_sealed
from dualflux.run_folder.lock import hold_lock

MARKERS = ".dualflux"  # folder inside the run folder: lock, stage markers, input checksums
_REPORTED = ("jax", "equinox", "optax", "numpy", "scipy", "xarray", "pandas", "h5netcdf", "h5py", "zarr", "pydantic")


@dataclass(frozen=True)
class Stage:
    """What a stage depends on and what it writes.

    Attributes
    ----------
    name : str
    settings : mapping
        Everything in the study that can change the result; must be JSON.
    inputs : sequence of Path
        Files (or folders, such as a Zarr store) it reads.
    outputs : sequence of str
        Files and folders it writes, relative to the run folder.
    after : sequence of str
        Stages whose outputs it reads; it is redone when these change.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: Sequence[Path] = ()
    outputs: Sequence[str] = ()
    after: Sequence[str] = ()


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
        Receives one line per event.

    Raises
    ------
    InputError
        On entering, where another run works in the folder or it cannot be written.
    """

    def __init__(self, out: Path, seed: int, citations: Sequence[str] = (), say: Callable[[str], None] = print) -> None:
        self.out = out
        self.seed, self.citations, self.say = seed, list(citations), say
        self._lock: AbstractContextManager[None] | None = None

    def __enter__(self) -> "RunFolder":
        lock = hold_lock(self.out / MARKERS, self.out, self.say)
        lock.__enter__()
        self._lock = lock
        for folder in (self.out, self.out / MARKERS):
            remove_unfinished(folder)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.__exit__(kind, error, trace)
            self._lock = None

    def stage(self, stage: Stage, action: Callable[[], None]) -> bool:
        """Run the action unless the stage is done; return whether it ran.

        Files that an earlier, outdated run of the stage wrote are removed first, so that nothing of it
        (a variant no longer asked for) is left among the results.

        Raises
        ------
        InputError
            An input is missing, or was changed while the stage ran.
        """
        if self._lock is None:
            raise RuntimeError("RunFolder.stage needs the lock: use `with RunFolder(...) as run:`")
        reason = reason_to_redo(self.out, stage)
        if reason is None:
            self.say(f"{stage.name}: kept, nothing has changed")
            self.write_provenance()
            return False
        self.say(f"{stage.name}: {reason}")
        made_from = _made_from(self.out, stage, remember=True)
        foreign = self._clear(stage)
        started = time.perf_counter()
        action()
        seconds = time.perf_counter() - started
        changed = _differences(made_from, _made_from(self.out, stage, remember=True))
        if changed:
            raise InputError(f"stage {stage.name}: {changed} while the stage ran; leave the files alone and run again")
        self._mark_done(stage, made_from, seconds, foreign)
        self.write_provenance()
        self.say(f"{stage.name}: done in {seconds:.1f} s")
        return True

    def _clear(self, stage: Stage) -> dict[str, Any]:
        """Remove what earlier runs of the stage wrote, whether they came to their end or not; return what else is there.

        Which files are not the stage's is noted before it writes anything: after a kill all others are its own.
        """
        there, marker, begun = _files(self.out, stage), _read_marker(self.out, stage.name), read_sealed(_begun_path(self.out, stage.name))
        own = {record["path"] for record in _outputs_of(marker)}
        if begun is not None:
            own |= set(there) - set(begun["foreign"])
        foreign = {path: found for path, found in there.items() if path not in own}
        write_sealed(_begun_path(self.out, stage.name), {"foreign": sorted(foreign)})
        _marker_path(self.out, stage.name).unlink(missing_ok=True)
        for path in sorted(own):
            (self.out / path).unlink(missing_ok=True)
        return foreign

    def _mark_done(self, stage: Stage, made_from: dict[str, Any], seconds: float, foreign: dict[str, Any]) -> None:
        marker = {
            "name": stage.name,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 3),
            "peak_memory_gb": round(peak_memory_gb(), 3),
            "made_from": made_from,
            "outputs": _checksums_of_outputs(self.out, stage, foreign),
        }
        write_sealed(_marker_path(self.out, stage.name), marker)
        _begun_path(self.out, stage.name).unlink(missing_ok=True)

    def cite(self, citations: Sequence[str]) -> None:
        """Add what a stage found to cite, and write provenance.json again."""
        self.citations = list(dict.fromkeys([*self.citations, *citations]))
        self.write_provenance()

    def write_provenance(self) -> None:
        """Write provenance.json from the markers of all stages done so far."""
        names = [p.stem.removeprefix("stage_") for p in (self.out / MARKERS).glob("stage_*.json")]
        found = {name: marker for name in names if (marker := _read_marker(self.out, name))}
        markers = sorted(found.values(), key=lambda m: (_depth(m["name"], found), m["name"]))  # no clock: it may have been set back
        inputs = {i["path"]: i for m in markers for i in m["made_from"]["inputs"]}
        provenance = {
            "versions": _versions(),
            "seed": self.seed,
            "inputs": [inputs[path] for path in sorted(inputs)],
            "stages": [{k: m[k] for k in ("name", "seconds", "peak_memory_gb", "finished")} for m in markers],
            "citations": self.citations,
        }
        write_atomically(self.out / "provenance.json", json.dumps(provenance, indent=2, ensure_ascii=False) + "\n")


def reason_to_redo(out: Path, stage: Stage) -> str | None:
    """Why a stage is not done, or None where it is done.

    Raises
    ------
    InputError
        An input of the stage is missing.
    """
    marker = _read_marker(out, stage.name)
    if marker is None:
        return "not done yet"
    changed = _differences(marker["made_from"], _made_from(out, stage, remember=False))
    if changed:
        return changed
    for record in marker["outputs"]:
        path = out / record["path"]
        if not path.is_file():
            return f"its output {record['path']} is missing"
        if path.stat().st_size != record["bytes"] or sha256(path) != record["sha256"]:
            return f"its output {record['path']} was changed or is corrupt"
    return None


def is_done(out: Path, stage: Stage) -> bool:
    """True where `reason_to_redo` finds no reason."""
    return reason_to_redo(out, stage) is None


def digest(out: Path, stage: Stage) -> str:
    """SHA-256 of all that decides a stage's result to the last digit: what it is made from, and the versions of the libraries."""
    versions = {name: version for name, version in _versions().items() if name != "platform"}
    made_from = {**_made_from(out, stage, remember=False), "versions": versions}
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def states(out: Path, stages: Iterable[Stage]) -> dict[str, str | None]:
    """For each stage, in order, why it has to be done, or None; a stage after an undone one waits for it."""
    found: dict[str, str | None] = {}
    for stage in stages:
        waits = [name for name in stage.after if found.get(name)]
        found[stage.name] = f"waits for {', '.join(waits)}" if waits else reason_to_redo(out, stage)
    return found


def peak_memory_gb() -> float:
    """Largest resident memory [1e9 bytes] of this process since it started (`getrusage` counts that of its parent before)."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _made_from(out: Path, stage: Stage, remember: bool) -> dict[str, Any]:
    """What a stage would be made from now; only who holds the lock writes the checksums down."""
    cached = out / MARKERS / "checksums.json"
    known = read_sealed(cached) or {}
    before = dict(known)
    problems, inputs = Problems(), []
    for path in stage.inputs:
        with problems.collect():
            inputs.append(checksum(path, known))
    problems.raise_if_any()
    if remember and known != before:
        write_sealed(cached, known)
    earlier = {name: _outputs_of(_read_marker(out, name)) for name in stage.after}
    made_from = {"settings": dict(stage.settings), "program": _program(), "inputs": inputs, "after": earlier}
    plain: dict[str, Any] = json.loads(json.dumps(made_from))
    return plain


def _differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What changed, in words; empty where nothing did. Input files count by content, not by place."""
    changed = []
    keys = [k for k in {**then["settings"], **now["settings"]} if then["settings"].get(k) != now["settings"].get(k)]
    if keys:
        changed.append(f"settings changed ({', '.join(keys)})")
    if then["program"] != now["program"]:
        changed.append("the program changed")
    if [i["sha256"] for i in then["inputs"]] != [i["sha256"] for i in now["inputs"]]:
        old = {i["sha256"] for i in then["inputs"]}
        names = [Path(i["path"]).name for i in now["inputs"] if i["sha256"] not in old]
        changed.append(f"inputs changed ({', '.join(names) or 'fewer files, or another order'})")
    stages = [name for name in now["after"] if then["after"].get(name) != now["after"][name]]
    if stages:
        changed.append(f"made from an earlier result of {', '.join(stages)}")
    return ", ".join(changed)


def _checksums_of_outputs(out: Path, stage: Stage, foreign: dict[str, Any]) -> list[dict[str, Any]]:
    own = [path for path, found in _files(out, stage).items() if foreign.get(path) != found]
    for name in stage.outputs:
        if not any(path == name or path.startswith(f"{name}/") for path in own):
            raise RuntimeError(f"stage {stage.name} did not write {name}")
    return [{**checksum(out / path), "path": path} for path in own]


def _files(out: Path, stage: Stage) -> dict[str, dict[str, int]]:
    """Files in the places where a stage writes, with their stamps; hidden ones are no results."""
    found = {}
    for name in stage.outputs:
        top = out / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
            if path.is_file() and not hidden:
                found[path.relative_to(out).as_posix()] = stamp(path)
    return found


def _depth(name: str, markers: Mapping[str, dict[str, Any]]) -> int:
    """Stages that a stage stands on, one on the other."""
    before = markers[name]["made_from"]["after"] if name in markers else {}
    return max((1 + _depth(other, markers) for other in before), default=0)


def _begun_path(out: Path, name: str) -> Path:
    return out / MARKERS / f"begun_{name}.json"


def _marker_path(out: Path, name: str) -> Path:
    return out / MARKERS / f"stage_{name}.json"


def _outputs_of(marker: dict[str, Any] | None) -> list[dict[str, Any]]:
    return [] if marker is None else marker["outputs"]


def _read_marker(out: Path, name: str) -> dict[str, Any] | None:
    """The marker of a stage; None where it is absent or was changed since it was written."""
    return read_sealed(_marker_path(out, name))


@cache
def _program() -> str:
    """Version and checksum of the package's source files: a result of other code is not kept."""
    package = Path(dualflux.__file__).parent
    parts = "".join(f"{p.relative_to(package).as_posix()} {sha256(p)}\n" for p in sorted(package.rglob("*.py")))
    return f"{dualflux.__version__} {hashlib.sha256(parts.encode()).hexdigest()[:16]}"


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _REPORTED}
    return {"dualflux": _program(), "python": platform.python_version(), "platform": platform.platform(), **packages}


CITATIONS = (
    "Upton, S., et al. (2024): Constraining biospheric carbon dioxide fluxes by combined top-down and bottom-up approaches, "
    "Atmos. Chem. Phys. 24, 2555-2582, doi:10.5194/acp-24-2555-2024",
)

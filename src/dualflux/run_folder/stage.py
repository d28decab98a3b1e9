"""A stage: what it was made from, what it wrote, and whether it has to be done again.

A stage is done when its marker exists, everything it was made from is as it was (settings, program,
input files, outputs of the stages before it) and each file it wrote still has its checksum:
`reason_to_redo` is the only place that decides this.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dualflux.errors import Problems
from dualflux.run_folder.files import checksum, read_sealed, sha256, write_sealed
from dualflux.run_folder.program import program_of

MARKERS = ".dualflux"  # folder inside the run folder: lock, stage markers, input checksums
NOT_DONE = "not done yet"
_SHOWN = 3  # names of changed files in a reason


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
        Names of the files it writes, relative to the run folder; ``*`` stands for names that only the data know.
    optional : sequence of str
        As `outputs`, of files that some data give and others do not.
    after : sequence of str
        Stages whose outputs it reads, and no others; it is redone when these change.
    modules : sequence of str
        Where its code begins (``stages.train``): it is redone when this or anything it imports changes.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: Sequence[Path] = ()
    outputs: Sequence[str] = ()
    optional: Sequence[str] = ()
    after: Sequence[str] = ()
    modules: Sequence[str] = ()

    def may_write(self, name: str) -> bool:
        """Whether a file name, relative to the run folder, is one of the stage's."""
        return any(matches(name, pattern) for pattern in (*self.outputs, *self.optional))


def matches(name: str, pattern: str) -> bool:
    """Whether a name is of a pattern; ``*`` stands for any part of one folder's or file's name.

    >>> matches("models/dual/weights.npz", "models/*/weights.npz"), matches("models/a/b/weights.npz", "models/*/weights.npz")
    (True, False)
    """
    parts, wanted = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(wanted) and all(_is_like(p, w) for p, w in zip(parts, wanted, strict=True))


def _is_like(part: str, wanted: str) -> bool:
    before, star, after = wanted.partition("*")  # brackets and question marks of names are letters here
    if not star:
        return part == wanted
    return part.startswith(before) and part.endswith(after) and len(part) >= len(before) + len(after)


def reason_to_redo(out: Path, stage: Stage) -> str | None:
    """Why a stage is not done, or None where it is done.

    Raises
    ------
    InputError
        An input of the stage is missing.
    """
    marker = read_marker(out, stage.name)
    if marker is None:
        return "its notes are damaged, or of another version of dualflux" if marker_path(out, stage.name).exists() else NOT_DONE
    changed = differences(marker["made_from"], made_from(out, stage, remember=False))
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


def states(out: Path, stages: Iterable[Stage]) -> dict[str, str | None]:
    """For each stage, in order, why it has to be done, or None; a stage after an undone one waits for it.

    Raises
    ------
    InputError
        See `reason_to_redo`.
    """
    found: dict[str, str | None] = {}
    for stage in stages:
        waits = [name for name in stage.after if found.get(name)]
        found[stage.name] = f"waits for {', '.join(waits)}" if waits else reason_to_redo(out, stage)
    return found


def made_from(out: Path, stage: Stage, remember: bool) -> dict[str, Any]:
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
    earlier = {name: outputs_of(read_marker(out, name)) for name in stage.after}
    found = {"settings": dict(stage.settings), "program": program_of(stage.modules), "inputs": inputs, "after": earlier}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What changed, in words; empty where nothing did. Input files count by content, not by place."""
    changed = []
    keys = [k for k in {**then["settings"], **now["settings"]} if then["settings"].get(k) != now["settings"].get(k)]
    if not isinstance(then["program"], dict):
        return f"made by an earlier version of dualflux ({str(then['program']).partition(' ')[0]})"
    if keys:
        changed.append(f"settings changed ({', '.join(keys)})")
    files = [f for f in sorted({**then["program"], **now["program"]}) if then["program"].get(f) != now["program"].get(f)]
    if files:
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        changed.append(f"the program changed ({', '.join(files[:_SHOWN])}{more})")
    if [i["sha256"] for i in then["inputs"]] != [i["sha256"] for i in now["inputs"]]:
        old = {i["sha256"] for i in then["inputs"]}
        names = [Path(i["path"]).name for i in now["inputs"] if i["sha256"] not in old]
        changed.append(f"inputs changed ({', '.join(names) or 'fewer files, or another order'})")
    stages = [name for name in now["after"] if then["after"].get(name) != now["after"][name]]
    if stages:
        changed.append(f"made from an earlier result of {', '.join(stages)}")
    return ", ".join(changed)


def marker_path(out: Path, name: str) -> Path:
    """Where a stage's marker lies."""
    return out / MARKERS / f"stage_{name}.json"


def read_marker(out: Path, name: str) -> dict[str, Any] | None:
    """The marker of a stage; None where it is absent, was changed since it was written, or is none that this version knows."""
    found = read_sealed(marker_path(out, name))
    whole = found is not None and {"name", "made_from", "outputs"} <= found.keys() and isinstance(found["made_from"], dict)
    return found if found is not None and whole and {"settings", "program", "inputs", "after"} <= found["made_from"].keys() else None


def outputs_of(marker: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Path, size [bytes] and SHA-256 of each file that a stage wrote; none without a marker."""
    return [] if marker is None else marker["outputs"]

"""Whose a file in the run folder is: ours is what a note names, all others are the user's and are never written, moved or removed.

A stage writes into a workshop, a hidden folder of its own in which the results it may read are links. When it has come to its end the
names of its files are noted, and only then the files go to their places. So no name is ever inferred from what lies in a folder, and a
file that the user puts among the results, whenever it comes, stays what it is.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from dualflux.errors import InputError, Problems
from dualflux.run_folder.files import read_sealed, sha256, write_atomically, write_sealed
from dualflux.run_folder.stage import MARKERS, Stage, marker_path, matches, outputs_of, read_marker

_SEEN_BY_STAGES = ("provenance.json",)  # what a stage may read beside the results of the stages before it
_MADE_AGAIN = ("provenance.json",)  # where it was damaged; any other of these files, once changed, is the user's


def ours(out: Path, stage: str) -> dict[str, str]:
    """Files that a stage is noted to have written, whether it came to its end or not, and the SHA-256 that they had.

    Of a stage that did not come to its end, a file with other content is not ours: it came after a crash, where ours never got to.
    """
    done = {record["path"]: record["sha256"] for record in outputs_of(read_marker(out, stage))}
    begun = (read_sealed(_begun_path(out, stage)) or {}).get("files", {})
    left = {name: digest for name, digest in begun.items() if name not in done and _inside(name)}
    return {n: d for n, d in done.items() if _inside(n)} | {n: d for n, d in left.items() if _has(out / n, d)}


def _inside(name: str) -> bool:
    """Notes lie in the folder, where anybody may write them: none leads out of it."""
    return not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _has(path: Path, digest: str) -> bool:
    return not os.path.lexists(path) or (path.is_file() and sha256(path) == digest)


def refuse_foreign(out: Path, stages: Iterable[Stage]) -> None:
    """Raise InputError for files of the user's that lie where these stages write, all at once.

    Names with ``*`` count in a folder where the stage was never begun: later, what is like them may well be the user's own.
    """
    problems = dict[str, None]()
    for stage in stages:
        begun = marker_path(out, stage.name).exists() or _begun_path(out, stage.name).exists()
        own = ours(out, stage.name)
        for name in (*stage.outputs, *stage.optional):
            for found in _at(out, name) if "*" not in name or not begun else ():
                if found not in own:
                    problems[_foreign(out, found, stage.name)] = None
    if problems:
        raise InputError(problems)


def _foreign(out: Path, name: str, stage: str) -> str:
    return (
        f"{out / name}: dualflux did not write this, and the results of stage {stage} go there; nothing was overwritten: move it away, "
        "or choose another --out"
    )


def _at(out: Path, pattern: str) -> Iterator[str]:
    """What lies where a file of this name would go: itself, or something that is no folder on the way to it."""
    folders = PurePosixPath(pattern).parts[:-1]
    for depth in range(1, len(folders) + 1):
        above = "/".join(folders[:depth])
        if "*" not in above and os.path.lexists(out / above) and not (out / above).is_dir():
            yield above
            return
    if "*" not in pattern:
        yield from [pattern] if os.path.lexists(out / pattern) else []
        return
    top = out / pattern.partition("*")[0].rpartition("/")[0]
    for folder, folder_names, names in os.walk(top):
        for one in (*names, *folder_names):
            name = (Path(folder) / one).relative_to(out).as_posix()
            if matches(name, pattern):
                yield name


def clear(out: Path, stage: Stage) -> None:
    """Remove what earlier runs of a stage wrote, whether they came to their end or not."""
    files = ours(out, stage.name)
    write_sealed(_begun_path(out, stage.name), {"files": files})
    marker_path(out, stage.name).unlink(missing_ok=True)
    for name in sorted(files):
        (out / name).unlink(missing_ok=True)
    write_sealed(_begun_path(out, stage.name), {"files": {}})


@contextmanager
def workshop(out: Path, stage: Stage) -> Iterator[Path]:
    """A folder for a stage to work in, with links to what it may read; gone afterwards."""
    place = out / MARKERS / f"workshop_{stage.name}"
    shutil.rmtree(place, ignore_errors=True)
    for name in (*_readable(out, stage), *_SEEN_BY_STAGES):
        if (out / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).symlink_to((out / name).absolute())
    place.mkdir(parents=True, exist_ok=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _readable(out: Path, stage: Stage) -> Iterator[str]:
    for earlier in stage.after:
        yield from sorted(ours(out, earlier))


def written(place: Path, stage: Stage) -> list[str]:
    """Names of what a stage wrote in its workshop; hidden files and links are none.

    Raises
    ------
    RuntimeError
        A file that the stage does not declare, or one that it declares and did not write: a defect of ours.
    """
    names = []
    for folder, folders, files in os.walk(place):
        folders[:] = [one for one in folders if not one.startswith(".")]
        paths = [Path(folder) / one for one in files if not one.startswith(".")]
        names += [path.relative_to(place).as_posix() for path in paths if not path.is_symlink()]
    if undeclared := sorted(name for name in names if not stage.may_write(name)):
        raise RuntimeError(f"stage {stage.name} wrote {', '.join(undeclared)}, which its plan does not name")
    if missing := [wanted for wanted in stage.outputs if not any(matches(name, wanted) for name in names)]:
        raise RuntimeError(f"stage {stage.name} did not write {', '.join(missing)}")
    return sorted(names)


def publish(out: Path, stage: Stage, place: Path, files: dict[str, str]) -> None:
    """Note the names (and SHA-256) of what a stage wrote, then put the files there.

    The note stays when the marker has come, which says the same: without it, a damaged marker would make strangers of all results.

    Raises
    ------
    InputError
        Something of the user's has come there meanwhile.
    """
    problems = Problems()
    for name in files:
        for found in _at(out, name):
            problems.add(_foreign(out, found, stage.name))
    problems.raise_if_any()
    write_sealed(_begun_path(out, stage.name), {"files": files})
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        _move(place / name, out / name)


def _move(source: Path, target: Path) -> None:
    """Move a file, also into a folder that the user has led to another disk."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            shutil.copyfile(source, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def _begun_path(out: Path, stage: str) -> Path:
    return out / MARKERS / f"begun_{stage}.json"


def write_own(out: Path, name: str, text: str) -> None:
    """Write a text file of the run folder itself, unless the user's own lies there.

    Raises
    ------
    InputError
        See `refuse_own`.
    """
    refuse_own(out, name, text)
    notes = out / MARKERS / "written.json"
    known, new = _known(out), _digest(text.encode())
    before = [digest for digest in known.get(name, ()) if digest != new]
    if known.get(name) != [*before[-1:], new]:
        write_sealed(notes, {**known, name: [*before[-1:], new]})  # the one before too: a kill may come between this note and the file
    if not (out / name).is_file() or (out / name).read_bytes() != text.encode():
        write_atomically(out / name, text)


def refuse_own(out: Path, name: str, text: str, read: Path | None = None) -> None:
    """Raise InputError where a file has the name of one of ours, and is neither what we would write nor what we wrote.

    Parameters
    ----------
    out : Path
    name : str
    text : str
        What we would write.
    read : Path, optional
        The file that the user gave: it is ours only where a note says so.
    """
    path = out / name
    if not os.path.lexists(path):
        return
    given = read is not None and read.exists() and path.samefile(read)
    if _is_ours(out, name, text) and not (given and not _known(out).get(name) and path.read_bytes() != text.encode()):
        return
    if given:
        raise InputError(
            f"{path}: this is the study file, and a run writes its own {name} into its folder; it was not overwritten: choose another "
            "--out (without one it is runs/NAME beside the study file)"
        )
    raise InputError(
        f"{path}: dualflux did not write this, or it was changed since, and a run writes its own {name} there; nothing was overwritten: "
        "choose another --out, or move it away"
    )


def _is_ours(out: Path, name: str, text: str) -> bool:
    path = out / name
    if not path.is_file() or path.is_symlink():
        return False
    content, known = path.read_bytes(), _known(out)
    return content == text.encode() or (name in known and (name in _MADE_AGAIN or not known[name] or _digest(content) in known[name]))


def _known(out: Path) -> dict[str, list[str]]:
    """Checksums of each of our own files as we wrote it last; none of a file that an earlier version wrote, which kept no such notes."""
    found = read_sealed(out / MARKERS / "written.json")
    if found is None and any((out / MARKERS).glob("stage_*.json")):
        return {"study.yaml": [], "provenance.json": []}
    return found or {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

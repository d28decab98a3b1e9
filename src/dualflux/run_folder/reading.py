"""A finished run that another command reads: nobody works in it meanwhile, and its parts belong together."""

import fcntl
import hashlib
import json
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualflux.errors import InputError, Problems
from dualflux.run_folder.files import checksum, read_json, read_sealed
from dualflux.run_folder.run_folder import MARKERS


@contextmanager
def share_lock(out: Path) -> Iterator[None]:
    """Let no run work in a folder inside the block; others may read it too.

    Raises
    ------
    InputError
        A run works there, perhaps on another host, or the file system cannot lock.
    """
    path = out / MARKERS / "lock"
    if not path.is_file():
        raise InputError(f"{out}: no run has worked here (no {MARKERS}/lock); give the folder of a finished run")
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{out}: a run is working in this folder; wait until it ends") from error
        except OSError as error:
            raise InputError(f"{out}: this file system cannot lock files ({error.strerror}); copy the run elsewhere") from error
        left = read_json(path, required=("pid", "host"))
        if left and left["host"] != socket.gethostname():
            raise InputError(
                f"{out}: a run on {left['host']} has not released this folder; wait until it ends, or delete {path} if it no longer runs"
            )
        yield


def require_whole(out: Path, stages: Sequence[str], needed: Sequence[str], known: dict[str, Any]) -> str:
    """Check that stages of a run are done, each made from the others' present results, and that what is needed of them is as it was.

    Parameters
    ----------
    out : Path
        The run folder.
    stages : sequence of str
        In their order.
    needed : sequence of str
        Files, or folders whose files are all needed, relative to `out`.
    known : dict
        Checksums of earlier calls, see `files.checksum`.

    Returns
    -------
    str
        Changes with what is needed.

    Raises
    ------
    InputError
        All that does not hold.
    """
    markers = {name: read_sealed(out / MARKERS / f"stage_{name}.json") for name in stages}
    undone = [name for name, marker in markers.items() if marker is None]
    if undone:
        raise InputError(f"{out}: {' and '.join(undone)} {'is' if len(undone) == 1 else 'are'} not done; `dualflux run` first")
    done = {name: marker for name, marker in markers.items() if marker is not None}
    for name, marker in done.items():
        for earlier, outputs in marker["made_from"]["after"].items():
            if earlier in done and outputs != done[earlier]["outputs"]:
                raise InputError(f"{out}: {name} was made from an earlier {earlier}, which has changed since; `dualflux run` first")
    records = [r for marker in done.values() for r in marker["outputs"] if any(_inside(r["path"], place) for place in needed)]
    problems = Problems()
    for place in needed:
        if not any(_inside(r["path"], place) for r in records):
            problems.add(f"{out / place} was not made by {' or '.join(stages)}; `dualflux run` again")
    for record in records:
        with problems.collect():
            _require_unchanged(out / record["path"], record, known)
    problems.raise_if_any()
    return hashlib.sha256(json.dumps([[r["path"], r["sha256"]] for r in records]).encode()).hexdigest()


def _inside(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _require_unchanged(path: Path, record: dict[str, Any], known: dict[str, Any]) -> None:
    if not path.is_file():
        raise InputError(f"{path} is missing; `dualflux run` again")
    if checksum(path, known)["sha256"] != record["sha256"]:
        raise InputError(f"{path} was changed or is corrupt; `dualflux run` again")

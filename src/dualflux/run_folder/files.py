"""Writing files whole or not at all, and knowing whether they are still what they were."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualflux.errors import InputError

_SETTLED = 2_000_000_000  # nanoseconds: coarser than the clock of any file system in use


@contextmanager
def whole_or_nothing(path: Path) -> Iterator[Path]:
    """A name to write a file under: it becomes `path` where the block ends well; else it is removed and what was there before stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all; what was there before stays until then."""
    with whole_or_nothing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def remove_unfinished(folder: Path) -> None:
    """Remove what `whole_or_nothing` left in a folder when its process was killed."""
    for left in folder.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def read_json(path: Path, required: Sequence[str]) -> dict[str, Any] | None:
    """The content of one of our JSON files; None where it is absent or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and set(required) <= set(found) else None


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON with its own checksum, whole or not at all."""
    write_atomically(path, json.dumps({"content": content, "sha256": _seal(content)}, indent=1))


def read_sealed(path: Path) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None where it is absent or was changed since."""
    sealed = read_json(path, required=("content", "sha256"))
    whole = sealed is not None and isinstance(sealed["content"], dict) and sealed["sha256"] == _seal(sealed["content"])
    return sealed["content"] if sealed is not None and whole else None


def _seal(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checksum(path: Path, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Path, size [bytes] and SHA-256 of a file, or of a folder as the checksum over its files' names and checksums.

    Parameters
    ----------
    path : Path
    known : dict, optional
        Checksums of earlier calls by path; used where the file's stamp is the same, and added to. A file that was changed in
        the last seconds (or in the future, where a clock was set back) is not added: its stamp might not show the next change.

    Raises
    ------
    InputError
        Nothing is there.
    """
    known = {} if known is None else known
    if path.is_dir():
        parts = [(p.relative_to(path).as_posix(), checksum(p, known)) for p in sorted(path.rglob("*")) if p.is_file()]
        digest = hashlib.sha256("".join(f"{name}\0{part['sha256']}\n" for name, part in parts).encode()).hexdigest()
        return {"path": str(path), "bytes": sum(part["bytes"] for _, part in parts), "sha256": digest}
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path in the study file and the data root")
    now, key = stamp(path), str(path.resolve())
    if key in known and {k: known[key].get(k) for k in now} == now:
        return {"path": str(path), "bytes": now["bytes"], "sha256": known[key]["sha256"]}
    found = sha256(path)
    if max(now["mtime_ns"], now["ctime_ns"]) < time.time_ns() - _SETTLED:
        known[key] = {**now, "sha256": found}
    return {"path": str(path), "bytes": now["bytes"], "sha256": found}


def stamp(path: Path) -> dict[str, int]:
    """What changes when a file is written or replaced, whatever is done to its modification time."""
    found = path.stat()
    return {"bytes": found.st_size, "mtime_ns": found.st_mtime_ns, "ctime_ns": found.st_ctime_ns, "inode": found.st_ino}


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Writing files whole or not at all, and knowing whether they are still what they were."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dualflux.errors import InputError


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path, required: Sequence[str]) -> dict[str, Any] | None:
    """The content of one of our JSON files; None where it is absent or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) and set(required) <= set(found) else None


def checksum(path: Path, known: dict[str, Any] | None = None) -> dict[str, Any]:
    """Path, size [bytes] and SHA-256 of a file, or of a folder as the checksum over its files' names and checksums.

    Parameters
    ----------
    path : Path
    known : dict, optional
        Checksums of earlier calls by path; used where size and modification time are the same, and added to.

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
    stat = path.stat()
    stamp = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    key = str(path.resolve())
    if key not in known or {k: known[key].get(k) for k in stamp} != stamp:
        known[key] = {**stamp, "sha256": sha256(path)}
    return {"path": str(path), "bytes": stat.st_size, "sha256": known[key]["sha256"]}


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

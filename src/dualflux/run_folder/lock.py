"""One run at a time in a folder."""

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from dualflux.errors import InputError
from dualflux.run_folder.files import read_json


@contextmanager
def hold_lock(folder: Path, out: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold ``folder/lock`` inside the block; the kernel frees it when a process dies.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    out : Path
        What is locked, for messages.
    say : callable
        Told when the lock of a process that died is taken over.

    Raises
    ------
    InputError
        Another process holds it, another host left it, or the file system cannot lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder, out, say)
    try:
        yield
    finally:
        lock.truncate(0)
        lock.close()


def _acquire(folder: Path, out: Path, say: Callable[[str], None]) -> IO[str]:
    path = folder / "lock"
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held open on purpose)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(path)
        file.close()
        if isinstance(error, BlockingIOError):
            raise InputError(f"{out}: {holder} is working in this folder; wait until it ends, or choose another --out") from error
        raise InputError(f"{out}: this file system cannot lock files ({error.strerror}); choose an --out elsewhere") from error
    left = read_json(path, required=("pid", "host"))
    if left and left["host"] != socket.gethostname():
        file.close()
        raise InputError(f"{out}: {_holder(path)} has not released this folder; if it is no longer running, delete {path}")
    if left:
        say(f"{_holder(path)} ended before it was done; going on in its folder")
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}, file)
    file.flush()
    return file


def _holder(lock: Path) -> str:
    who = read_json(lock, required=("pid", "host", "since"))
    return f"another run (process {who['pid']} on {who['host']}, since {who['since']})" if who else "another run"

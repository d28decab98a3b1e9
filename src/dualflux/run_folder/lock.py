"""One run at a time in a folder."""

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from dualflux.errors import InputError
from dualflux.run_folder.files import read_json


@contextmanager
def hold_lock(folder: Path, out: Path, say: Callable[[str], None], take_over: bool = False) -> Iterator[None]:
    """Hold ``folder/lock`` inside the block; the kernel frees it when a process dies.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    out : Path
        What is locked, for messages.
    say : callable
        Told when the lock of a process that died is taken over.
    take_over : bool
        The user says that the run of another computer which left the lock has ended.

    Raises
    ------
    InputError
        Another process holds it, another host left it, or the file system cannot lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquire(folder, out, say, take_over)
    try:
        yield
    finally:
        lock.truncate(0)
        lock.close()


def _acquire(folder: Path, out: Path, say: Callable[[str], None], take_over: bool) -> IO[str]:
    path = folder / "lock"
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held open on purpose)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _words(read_holder(folder))
        file.close()
        if isinstance(error, BlockingIOError):
            raise InputError(f"{out}: {holder} is working in this folder; wait until it ends, or choose another --out") from error
        raise InputError(f"{out}: this file system cannot lock files ({error.strerror}); choose an --out elsewhere") from error
    left = read_json(path, required=("pid", "host"))
    if left and left["host"] != socket.gethostname() and not take_over:
        file.close()
        raise InputError(
            f"{out}: {_words(left)} has not released this folder, and from this computer ({socket.gethostname()}) nobody can see "
            "whether it is still running; if it has ended, give the command again with --take-over"
        )
    if left:
        say(f"{_words(left)} ended before it was done; going on in its folder")
    file.truncate(0)
    json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}, file)
    file.flush()
    return file


def read_holder(folder: Path) -> dict[str, Any] | None:
    """Process, host and start of the run that holds ``folder/lock``, or that ended without releasing it."""
    return read_json(folder / "lock", required=("pid", "host", "since"))


def is_running(holder: dict[str, Any]) -> bool | None:
    """Whether the process of a lock still runs; None where it is another computer's, which cannot be seen from here."""
    if holder["host"] != socket.gethostname():
        return None
    try:
        os.kill(int(holder["pid"]), 0)
    except PermissionError:  # another user's
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def _words(who: dict[str, Any] | None) -> str:
    if not who:
        return "another run"
    return f"another run (process {who['pid']} on {who['host']}, since {who.get('since', 'some time')})"

"""The log of a run folder: what was said there and when, and what compilers and libraries wrote past us."""

import os
import platform
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import dualflux
from dualflux.errors import InputError, printable

LOG = "dualflux.log"
_FIRST_LINE = "# log of dualflux, one line per event; times are UTC\n"
_STDERR = 2


class RunLog:
    """``OUT/dualflux.log``; every run adds to it.

    Parameters
    ----------
    out : Path
        The run folder.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / LOG
        self._file: IO[str] | None = None

    @contextmanager
    def open(self, catch_noise: bool) -> Iterator[None]:
        """Hold the log open; with `catch_noise` it also gets what is written to the standard error past Python.

        Raises
        ------
        InputError
            The user's own file has the name of the log.
        """
        self.require_ours()
        with self.path.open("a", encoding="utf-8", buffering=1) as file:
            if file.tell() == 0:
                file.write(_FIRST_LINE)
            self._file = file
            self.write(f"dualflux {dualflux.__version__}, process {os.getpid()} on {socket.gethostname()}, {platform.platform()}")
            try:
                with _error_output_into(file) if catch_noise else nullcontext():
                    yield
            finally:
                self._file = None

    def write(self, line: str) -> None:
        """Add a line; a full disk does not end a run here: what it cannot do without says so itself."""
        if self._file is not None:
            with suppress(OSError):
                self._file.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S} {printable(line)}\n")

    def require_ours(self) -> None:
        """Raise InputError where the user's own file has the name of the log."""
        if not os.path.lexists(self.path):
            return
        if self.path.is_file():
            with self.path.open("rb") as file:
                if file.read(len(_FIRST_LINE)) in (_FIRST_LINE.encode(), b""):
                    return
        raise InputError(f"{self.path}: dualflux did not write this, and a run logs there; move it away, or choose another --out")


@contextmanager
def _error_output_into(file: IO[str]) -> Iterator[None]:
    """Lead the process's standard error, as C and C++ know it, into a file; Python's own stream must be another copy of it."""
    kept = os.dup(_STDERR)
    os.dup2(file.fileno(), _STDERR)
    try:
        yield
    finally:
        os.dup2(kept, _STDERR)
        os.close(kept)

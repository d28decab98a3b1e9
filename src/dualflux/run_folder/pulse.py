"""A sign of life while a stage works: a line a minute where nobody watches a bar, and a note for `dualflux status`."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dualflux.run_folder.files import read_json, write_atomically
from dualflux.run_folder.memory import memory_gb

_NOTED = 10.0  # seconds between notes for `dualflux status`
_NOTE = "now.json"


@dataclass(frozen=True)
class Manner:
    """How a command goes about its work, beside what the study says.

    Attributes
    ----------
    take_over : bool
        The run of another computer that left its lock in the folder has ended: the user says so.
    quiet, verbose : bool
        Say nothing but errors; or also what is read and written.
    catch_noise : bool
        What libraries write to the standard error past Python goes to the log.
    every : float or None
        Seconds between lines on how far a stage is; None where a terminal shows a bar.
    """

    take_over: bool = False
    quiet: bool = False
    verbose: bool = False
    catch_noise: bool = False
    every: float | None = None


@dataclass
class Step:
    """How far the step is that is being worked on: `done` of `of`, from `first` on in this process."""

    text: str = ""
    done: int = 0
    of: int = 0
    first: int = 0
    started: float = field(default_factory=time.monotonic)

    def begin(self, text: str) -> None:
        """Another step begins."""
        self.text, self.done, self.of = text, 0, 0

    def advance(self, done: int, of: int) -> None:
        """It has come this far."""
        if self.of == 0:
            self.first, self.started = done, time.monotonic()
        self.done, self.of = done, of

    def words(self, now: float) -> str:
        """What is done, of how much, how fast, and how long it takes from here; empty where nothing counts.

        >>> Step("training 4 networks", 300, 1000, 100, started=0.0).words(now=50.0)
        'training 4 networks, 300 of 1000 (30 %), 4 per s, 2 min 55 s left'
        """
        if not self.of:
            return self.text
        words = f"{self.text}, {self.done} of {self.of} ({100 * self.done // self.of} %)"
        rate = (self.done - self.first) / max(now - self.started, 1e-3)
        if rate <= 0:
            return words
        often = f"{rate:.3g} per s" if rate >= 1 else f"{60 * rate:.3g} per min"
        return f"{words}, {often}, {duration((self.of - self.done) / rate)} left"


# One process works on one step at a time; whoever counts it need not know who tells of it.
STEP = Step()


def duration(seconds: float) -> str:
    """Words for a time.

    >>> duration(42), duration(175), duration(7260)
    ('42 s', '2 min 55 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def pulse(notes: Path | None, stage: str, say: Callable[[str], None], manner: Manner) -> Iterator[None]:
    """Tell of the work inside the block from a thread of its own.

    Parameters
    ----------
    notes : Path or None
        Folder that gets the note for `read_pulse`.
    stage : str
    say : callable
        Gets the lines.
    manner : Manner
    """
    STEP.begin("")
    since, started, ended = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic(), threading.Event()

    def beat() -> None:
        told = started
        while not ended.wait(min(_NOTED, manner.every or _NOTED)):
            now = time.monotonic()
            _note(notes, stage, since)
            if manner.every is not None and now - told >= manner.every:
                told = now
                say(f"{stage}: {', '.join(filter(None, [STEP.words(now), f'{duration(now - started)} so far', f'{memory_gb():.1f} GB']))}")

    _note(notes, stage, since)
    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if notes is not None:
            with suppress(OSError):
                (notes / _NOTE).unlink(missing_ok=True)


def _note(notes: Path | None, stage: str, since: str) -> None:
    if notes is None:
        return
    found = {
        "stage": stage, "since": since, "step": STEP.words(time.monotonic()), "memory_gb": round(memory_gb(), 2), "pid": os.getpid(),
        "host": socket.gethostname(), "noted": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    with suppress(OSError):  # a full disk ends the stage where it writes results, not here
        write_atomically(notes / _NOTE, json.dumps(found))


def read_pulse(notes: Path) -> dict[str, Any] | None:
    """What the running stage noted last: stage, since, step, memory_gb, pid, host, noted; None where none runs or it cannot be read."""
    return read_json(notes / _NOTE, required=("stage", "since", "step", "memory_gb", "pid", "host", "noted"))

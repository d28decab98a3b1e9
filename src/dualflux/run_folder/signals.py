"""Signals that ask a run to stop: it stops as at Ctrl-C, and the same command goes on later."""

import os
import signal
import sys
import threading
from types import FrameType

# What asks, in words. A batch system sends SIGUSR1 or SIGTERM some time before it kills, the kernel SIGXCPU when a limit on CPU time is
# reached; SIGHUP comes when a terminal is closed, and never reaches what was started with nohup, setsid or inside tmux.
ASK_TO_STOP = {
    "SIGTERM": "the batch system or `kill` asked to stop",
    "SIGHUP": "the terminal was closed; started with nohup or in tmux a run goes on",
    "SIGXCPU": "the limit on CPU time is reached",
    "SIGUSR1": "the batch system says that the time is nearly up",
}
_SOON = 0.01  # seconds
_asked: list[str] = []  # the command line's library swallows the interruption, and with it its words


def stop_when_asked() -> None:
    """Let each of these signals raise KeyboardInterrupt with its name; one that is ignored (`nohup`) stays ignored."""
    sys.unraisablehook = _again
    for name in ASK_TO_STOP:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    name = signal.Signals(number).name
    if name == "SIGXCPU":  # the kernel repeats it every second, also while the run puts itself in order
        signal.signal(number, signal.SIG_IGN)
    _asked.append(f"{name}: {ASK_TO_STOP[name]}")
    raise KeyboardInterrupt(_asked[-1])


def _again(lost: "sys.UnraisableHookArgs") -> None:
    """Ask once more where the interruption fell into code whose errors Python drops, such as the callback of a garbage collection."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    name = next((name for name in ASK_TO_STOP if str(lost.exc_value).startswith(name)), "SIGINT")
    number = getattr(signal, name)
    if name != "SIGINT":
        _asked.pop()
        signal.signal(number, _stop)
    threading.Timer(_SOON, os.kill, (os.getpid(), number)).start()  # from here it would be dropped again


def why_stopped() -> str:
    """Which signal asked this process to stop last, in words; empty where none did (Ctrl-C)."""
    return _asked[-1] if _asked else ""

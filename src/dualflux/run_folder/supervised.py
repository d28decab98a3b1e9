"""What a C library says when memory runs out under a limit: it aborts the process. Somebody must be left to tell the user."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType

from dualflux.run_folder.signals import ASK_TO_STOP

_ENDS = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL}


LEAST_ADDRESS_SPACE = 900_000_000  # bytes that the libraries take up when they are loaded


def no_room_for_libraries() -> str | None:
    """Why there is no use to begin, in words: with less, OpenBLAS may try for ever to set itself up; None where there is room."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= LEAST_ADDRESS_SPACE:
        return None
    return f"memory is limited to {limit / 1e9:.1f} GB, and the libraries alone take {LEAST_ADDRESS_SPACE / 1e9:.1f} GB"


def memory_limit() -> int | None:
    """The limit on this process's memory [bytes] that ``ulimit -v`` or a batch system has set; None without one."""
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    return min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=None)


def supervised(work: Callable[[], int], died: Callable[[int, str], int]) -> int:
    """Do the work; where memory is limited, in a process of its own that may be aborted.

    Parameters
    ----------
    work : callable
        Returns the exit status.
    died : callable
        Gets the limit [bytes] and the name of the signal that ended the process; returns the exit status.
    """
    limit = memory_limit()
    if limit is None:
        return work()
    numbers = {number for name in ("SIGINT", *ASK_TO_STOP) if signal.getsignal(number := getattr(signal, name)) is not signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)  # what comes now waits until it can be forwarded
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)  # signals come through the parent, each once
            signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
            status = work()
        finally:  # also at a defect of ours, which the interpreter would show: nothing may go on as a second parent
            kind, error, trace = sys.exc_info()
            if kind is not None and error is not None:
                sys.excepthook(kind, error, trace)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    for number in numbers:
        signal.signal(number, _forward_to(child))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) in _ENDS:
        return died(limit, signal.Signals(os.WTERMSIG(ended)).name)
    return os.waitstatus_to_exitcode(ended)


def _forward_to(child: int) -> Callable[[int, FrameType | None], None]:
    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    return forward

"""What a C library says when memory runs out under a limit: it aborts the process. Somebody must be left to tell the user."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType

from dualflux.run_folder.signals import ASK_TO_STOP

_ENDS = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL}


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
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setpgid(0, 0)  # signals come through the parent, each once
            status = work()
        finally:  # also at a defect of ours, which the interpreter would show: nothing may go on as a second parent
            kind, error, trace = sys.exc_info()
            if kind is not None and error is not None:
                sys.excepthook(kind, error, trace)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    for name in ("SIGINT", *ASK_TO_STOP):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _forward_to(child))
    _, ended = os.waitpid(child, 0)
    if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) in _ENDS:
        return died(limit, signal.Signals(os.WTERMSIG(ended)).name)
    return os.waitstatus_to_exitcode(ended)


def _forward_to(child: int) -> Callable[[int, FrameType | None], None]:
    def forward(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)

    return forward

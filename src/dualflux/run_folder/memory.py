"""Memory of this process."""

import resource
import sys
from pathlib import Path


def peak_memory_gb() -> float:
    """Largest resident memory [1e9 bytes] of this process since it started (`getrusage` counts that of its parent before)."""
    known = _in_status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9 if known is None else known


def memory_gb() -> float:
    """Resident memory [1e9 bytes] of this process now; where the system does not say, the largest so far."""
    known = _in_status("VmRSS")
    return peak_memory_gb() if known is None else known


def _in_status(key: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(text for text in status.read_text().splitlines() if text.startswith(key))
    return int(line.split()[1]) * 1024 / 1e9

"""What a full disk, a missing permission or too little memory says to the user: these are no defects of the program."""

import errno
import os
import re
from collections.abc import Iterator

_UNSAID = -1  # NumPy does not say why it could not write all
_DISK = {
    _UNSAID: "the disk is full, or the file would be larger than this disk or account allows",
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EFBIG: "the file would be larger than this disk or account allows",
}
_FILES = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EIO, errno.ESTALE, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.ENOTCONN, errno.EREMOTEIO,
}  # fmt: skip
_KEPT = "stages that were done are kept, and the same command goes on"
_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # NumPy
# JAX, C++, the dynamic linker, Python's threads (each needs a stack), NumPy, HDF5
_OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|bad_alloc|out of memory|cannot allocate memory|can't allocate|failed to allocate|unable to allocate"
    r"|failed to map segment|can't start new thread",
    re.IGNORECASE,
)
# What the command line catches to ask here; anything else is a defect.
MAY_BE_THE_MACHINE = (OSError, RuntimeError, MemoryError, ImportError, SystemError)


def machine_problem(error: BaseException) -> str | None:
    """One sentence on what the machine lacks, or None where the error is a defect of the program.

    >>> machine_problem(OSError(28, "No space left on device", "run/target.nc"))
    'run/target.nc: the disk is full; make room or choose another --out; stages that were done are kept, and the same command goes on'
    >>> machine_problem(ZeroDivisionError()) is None
    True
    """
    for one in _chain(error):
        if isinstance(one, MemoryError) or _OUT_OF_MEMORY.search(str(one)) or getattr(one, "errno", None) == errno.ENOMEM:
            return too_little_memory(str(one))
        number = _number(one)
        where = f"{one.filename}: " if isinstance(one, OSError) and one.filename else ""
        if number in _DISK:
            return f"{where}{_DISK[number]}; make room or choose another --out; {_KEPT}"
        if number in _FILES:
            return f"{where}{os.strerror(number)}; see that it is there and may be read and written, or choose another --out"
    return None


def too_little_memory(said: str) -> str:
    """The sentence on memory, with what a library said of it.

    >>> too_little_memory("")
    'not enough memory; `dualflux check` says what a run needs; stages that were done are kept, and the same command goes on'
    """
    words = " ".join(said.split())[:200]
    return f"not enough memory{f' ({words})' if words else ''}; `dualflux check` says what a run needs; {_KEPT}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from: libraries wrap what the system said."""
    seen: set[int] = set()
    one: BaseException | None = error
    while isinstance(one, MAY_BE_THE_MACHINE) and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__


def _number(error: BaseException) -> int:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, OSError) and _SHORT_WRITE.fullmatch(str(error)):
        return _UNSAID
    return 0

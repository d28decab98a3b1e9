"""Output that nobody reads any more (`dualflux run ... | head`, a closed terminal) does not end a week's run."""

import errno
import io
import os
import re
from typing import Any, TextIO

from dualflux.errors import printable

_PARTS, _LAYOUT = re.compile(r"([\n\t])"), ("\n", "\t")
_GONE = (errno.EPIPE, errno.EIO)  # a pipe without a reader, a terminal that was closed


class UnreadOutput:
    """A text stream that goes on in silence once its reader has gone, and escapes what its encoding cannot say.

    Everything else is the stream's own.

    Parameters
    ----------
    stream : text stream or None
        None where the process was started without one.
    plain : bool
        Write control characters as escapes: nothing of ours steers a terminal here, and the names of files may hold anything.
    """

    def __init__(self, stream: TextIO | None, plain: bool = False) -> None:
        self._plain = plain
        self._stream = stream if stream is not None else open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process)

    def write(self, text: str) -> int:
        """Write; where nobody reads, do as if."""
        encoding = self._stream.encoding or "utf-8"
        if self._plain:
            text = "".join(part if part in _LAYOUT else printable(part) for part in _PARTS.split(text))
        try:
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._silence(error)
            return len(text)

    def flush(self) -> None:
        """Flush; where nobody reads, do nothing."""
        try:
            self._stream.flush()
        except OSError as error:
            self._silence(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _silence(self, error: OSError) -> None:
        """Lead the stream's file into nothing: what it still holds is written at exit."""
        if error.errno not in _GONE:
            raise error
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)


def occupy_standard_files() -> None:
    """Open the standard streams' file numbers where a process starts without them: a product must not get the number of stderr."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def copy_of(stream: TextIO | None) -> TextIO | None:
    """A text stream to the same place through a file number of its own; the stream itself where it has none (in a test)."""
    try:
        number = os.dup(stream.fileno()) if stream is not None else None
    except (OSError, io.UnsupportedOperation):
        return stream
    if stream is None or number is None:
        return None
    return open(number, "w", encoding=stream.encoding, errors=stream.errors, buffering=1)

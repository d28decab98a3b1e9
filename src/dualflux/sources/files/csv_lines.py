"""Looks at the lines of a CSV file while it is read: pandas drops fields beyond the header's without a word."""

import io
from collections.abc import Collection
from typing import IO, Any

import numpy as np

from dualflux.errors import InputError

LONGEST_LINE = 2**20  # bytes; half-hourly files have lines of about 2,000
_COMMA, _END = ord(","), ord("\n")


class LineCheck(io.BufferedIOBase):
    """A binary stream that passes a CSV file on and refuses lines that hold more than the header names.

    A comma inside a number shifts all that follows in its line: the value would be read from another column. Empty fields
    at the end of lines are allowed, and lines with quotes are left to the parser.

    Parameters
    ----------
    stream : binary file
    name : str
        For messages.

    Raises
    ------
    InputError
        While it is read: a line with more fields than the header; a line longer than any table has.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self.stream, self.name = stream, name
        self.header: bytes | None = None
        self._rest, self._line = b"", 0

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Bytes of the file, looked at."""
        content = self.stream.read() if size is None or size < 0 else self.stream.read(size)
        self._look(content)
        return content

    def read1(self, size: int = -1) -> bytes:
        """As `read`."""
        return self.read(size if size >= 0 else 2**16)

    def readinto(self, buffer: Any) -> int:
        """As `read`, into a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def refuse_repeated_names(self, wanted: Collection[str] | None) -> None:
        """Raise InputError where a wanted column (any by default) stands twice in the header."""
        header = self.header if self.header is not None else self._rest
        if b'"' in header:
            return
        names = [part.strip() for part in header.decode("utf-8-sig", "replace").split(",")]
        twice = sorted({n for n in names if n and names.count(n) > 1 and (wanted is None or n in wanted)})
        if twice:
            raise InputError(f"{self.name}: column {', '.join(f'`{n}`' for n in twice)} stands twice; give each column a name of its own")

    def _look(self, content: bytes) -> None:
        text = self._rest + content if content else self._rest + b"\n"  # the end of the file ends its last line
        whole = text.rfind(b"\n") + 1
        self._rest = text[whole:] if content else b""
        if len(self._rest) > LONGEST_LINE:
            raise InputError(f"{self.name}: a line of over {LONGEST_LINE} bytes; it is no table, or was damaged: get it again")
        if self.header is None and whole:
            self.header = text[: text.index(b"\n")]
        if whole and self.header is not None and b"," in self.header and b'"' not in self.header:  # without a comma it is no table
            self._refuse_long_lines(text[:whole], self.header.count(b","))

    def _refuse_long_lines(self, text: bytes, most: int) -> None:
        data = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(data == _END)
        commas = np.diff(np.searchsorted(np.flatnonzero(data == _COMMA), ends), prepend=0)
        for line in np.flatnonzero(commas > most):
            found = text[ends[line - 1] + 1 if line else 0 : ends[line]]
            fields = found.rstrip(b"\r").split(b",")
            if b'"' not in found and any(field.strip() for field in fields[most + 1 :]):
                raise InputError(
                    f"{self.name}: line {self._line + int(line) + 1} has {len(fields)} fields, the header {most + 1}; a comma inside "
                    "a number or a text shifts what follows it: correct the file, with decimal points and quotes around such texts"
                )
        self._line += len(ends)

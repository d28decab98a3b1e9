"""Looks at the lines of a CSV file while it is read: pandas drops fields beyond the header's, and fills short lines, without a word."""

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator
from typing import IO

import numpy as np

from dualflux.errors import InputError

LONGEST_LINE = 2**24  # bytes; half-hourly files have lines of about 2,000, a header of a million columns about 10 million
_BLOCK = 2**20
_COMMA, _END = ord(","), ord("\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_OTHER_FILES = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a zip archive or an Excel sheet",
    b"\x1f\x8b": "packed by gzip",
}
_SHIFTS = "a comma inside a number or a text, or row names without a column name, shift what follows"

Gaps = tuple[tuple[int, int], ...]


def line_of(row: int, gaps: Gaps = ()) -> int:
    """Line of the file in which a row of its table begins.

    Parameters
    ----------
    row : int
        Counted from 0.
    gaps : tuple of (int, int)
        Rows before which lines stand that are no rows, and how many.

    Examples
    --------
    >>> line_of(0), line_of(7, ((3, 2),))
    (2, 11)
    """
    return row + 2 + sum(lines for before, lines in gaps if before <= row)


def split_fields(line: bytes, separator: str = ",") -> list[str]:
    """Fields of one line as the parser sees them."""
    try:
        fields = next(csv.reader([line.decode("utf-8", "replace")], delimiter=separator), [])
    except csv.Error:
        return []
    return [field.strip() for field in fields]


def refuse_other_separators(header: bytes, name: str) -> None:
    """Raise InputError for a header whose columns something else than commas separates."""
    for separator, words in _OTHER_SEPARATORS.items():
        found = len(split_fields(header, separator))
        if header.count(separator.encode()) and found > len(split_fields(header)):
            raise InputError(
                f"{name}: {words} separate the {found} columns; save the file with commas between the columns and points in the numbers"
            )


def refuse_bytes(content: bytes, name: str, line: int = 1) -> None:
    """Raise InputError for bytes that no text has, `line` being that of the first byte."""
    if line == 1:
        for start, words in _OTHER_FILES.items():
            if content.startswith(start):
                raise InputError(f"{name}: not a CSV table in UTF-8, but {words}; save it as one")
    at = content.find(b"\0")
    if at >= 0:
        where = line + content.count(b"\n", 0, at)
        raise InputError(f"{name}: NUL bytes, first in line {where}: damaged, or text in UTF-16; get the file again, or save it in UTF-8")


class LineCheck(io.BufferedIOBase):
    """A binary stream that passes a CSV file on and refuses lines that hold other fields than the header names.

    A comma inside a number shifts all that follows in its line: the value would be read from another column; a line that ends early
    would have missing values. Empty fields at the end of lines, beyond the last column with a name, are allowed. Fields are those the
    parser sees, quoted or not. Line ends of all kinds become ``\\n``, a byte-order mark is left out.

    Parameters
    ----------
    stream : binary file
    name : str
        For messages.
    comment : str, optional
        What follows it in a line is left out.

    Attributes
    ----------
    header : list of str or None
        Names of the columns, stripped of blanks, once they are read.
    gaps : list of (int, int)
        See `line_of`.

    Raises
    ------
    InputError
        While it is read: a line with more or fewer fields than the header; quotes that do not fit; another separator; NUL bytes; a line
        longer than any table has.
    """

    def __init__(self, stream: IO[bytes], name: str, comment: str | None = None) -> None:
        self.stream, self.name, self.comment = stream, name, None if comment is None else comment.encode()
        self.header: list[str] | None = None
        self.gaps: list[tuple[int, int]] = []
        self._columns = 1  # up to the last with a name
        self._line = self._row = 0  # lines and rows looked at
        self._blocks = self._looked_at()

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Whole lines of the file, looked at; of any length (all, where `size` is negative), none at its end."""
        return b"".join(self._blocks) if size is None or size < 0 else next(self._blocks, b"")

    def read1(self, size: int = -1) -> bytes:
        """As `read`, without reading all."""
        return self.read(abs(size))

    def refuse_repeated_names(self, wanted: Collection[str] | None) -> None:
        """Raise InputError where a wanted column (any by default) stands twice in the header."""
        counts = Counter(self.header or [])
        twice = sorted(n for n, count in counts.items() if n and count > 1 and (wanted is None or n in wanted))
        if twice:
            listed = ", ".join(f"`{n}`" for n in twice[:20])
            raise InputError(f"{self.name}: column {listed} stands twice; give each column a name of its own")

    def _looked_at(self) -> Iterator[bytes]:
        rest, ended = b"", False
        lines = self._plain_line_ends()
        while not ended:
            content = next(lines, b"")
            ended = not content
            text = rest + content
            # the last line is looked at as such: it waits for what comes behind
            whole = len(text) if ended else text.rfind(b"\n", 0, max(text.rfind(b"\n"), 0)) + 1
            text, rest = text[:whole], text[whole:]
            if ended and text and not text.endswith(b"\n"):
                text += b"\n"
            if self.comment is not None:
                text = _without_comments(text, self.comment)
            done = self._look(text, ended)
            text, rest = text[:done], text[done:] + rest
            if len(rest) > LONGEST_LINE:
                raise InputError(
                    f"{self.name}: a line of over {LONGEST_LINE} bytes from line {self._line + 1} on; it is no table, has a quote that is "
                    "not closed, or was damaged: get it again"
                )
            if text:
                yield text

    def _plain_line_ends(self) -> Iterator[bytes]:
        held, first, line = b"", True, 1
        while content := self.stream.read(_BLOCK):
            content = held + content
            refuse_bytes(content, self.name, line)
            held = b"\r" if content.endswith(b"\r") else b""  # the rest of this line end may stand in the next block
            content = content[: len(content) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            line += content.count(b"\n")
            if first:
                content, first = content.removeprefix(_BYTE_ORDER_MARK), False
            if content:
                yield content
        if held:
            yield b"\n"

    def _look(self, text: bytes, ended: bool) -> int:
        """Look at whole lines; returns the bytes of those whose fields are whole."""
        done = 0
        while self.header is None and done < len(text):
            end = text.index(b"\n", done) + 1
            done = self._look_at_header(text, done, end)
        body = text[done:]
        if self._columns == 1 or not body:  # without a comma it is no table
            return len(text)
        if b'"' in body:
            return done + self._look_at_records(body, ended)
        self._look_at_lines(body, ended)
        return len(text)

    def _look_at_header(self, text: bytes, start: int, end: int) -> int:
        line = text[start:end]
        self._line += 1
        if not line.strip():
            self._gap(1)
            return end
        if line.count(b'"') % 2:
            raise InputError(f"{self.name}: a quote in the header is not closed; correct it")
        refuse_other_separators(line, self.name)
        self.header = split_fields(line)
        self._columns = max((i + 1 for i, name in enumerate(self.header) if name), default=1)
        return end

    def _look_at_lines(self, text: bytes, ended: bool) -> None:
        """Lines without quotes, counted as a whole."""
        data = np.frombuffer(text, dtype=np.uint8)
        ends = np.flatnonzero(data == _END)
        commas = np.diff(np.searchsorted(np.flatnonzero(data == _COMMA), ends), prepend=0)
        first_row, blank = self._row, 0
        for line in np.flatnonzero(commas != self._columns - 1).tolist():
            found = text[ends[line - 1] + 1 if line else 0 : ends[line]]
            self._row = first_row + line - blank
            if not found.strip():
                self._gap(1)
                blank += 1
            else:
                last = ended and not text[ends[line] :].strip()
                self._judge([field.decode("latin-1") for field in found.split(b",")], self._line + line + 1, last)
        self._line, self._row = self._line + len(ends), first_row + len(ends) - blank

    def _look_at_records(self, text: bytes, ended: bool) -> int:
        """Lines among which are quotes; one that is not closed at the end waits for more."""
        lines = [line + b"\n" for line in text[:-1].split(b"\n")]
        reader = csv.reader((line.decode("latin-1") for line in lines), strict=True)
        done = 0
        try:
            for fields in reader:
                self._look_at_record(fields, lines[done : reader.line_num], ended and reader.line_num == len(lines))
                done = reader.line_num
        except csv.Error as error:
            if ended or "unexpected end" not in str(error):
                raise InputError(
                    f"{self.name}: line {self._line + 1}: quotes that do not fit ({error}); quote whole fields, and double a quote inside"
                ) from error
        return sum(map(len, lines[:done]))

    def _look_at_record(self, fields: list[str], lines: list[bytes], last: bool) -> None:
        if not b"".join(lines).strip():
            self._gap(1)
        else:
            self._judge(fields, self._line + 1, last)
            if any(b'"' not in line and line.count(b",") >= self._columns - 1 for line in lines[1:-1]):
                raise InputError(
                    f"{self.name}: a quoted text runs from line {self._line + 1} to {self._line + len(lines)} over whole rows; "
                    "a quote is not closed or stands alone: correct it"
                )
            self._row += 1
            if len(lines) > 1:
                self._gap(len(lines) - 1)
        self._line += len(lines)

    def _judge(self, fields: list[str], line: int, last: bool) -> None:
        if len(fields) < self._columns:
            if last:
                raise InputError(f"{self.name}: cut short: the last line has {len(fields)} of {self._columns} fields; download it again")
            raise InputError(
                f"{self.name}: line {line} has {len(fields)} of {self._columns} fields; correct the file, with a comma for each empty field"
            )
        if any(field.strip() for field in fields[self._columns :]):
            raise InputError(
                f"{self.name}: line {line} has {len(fields)} fields, the header {self._columns}; {_SHIFTS}: "
                "correct the file, with decimal points and quotes around such texts"
            )

    def _gap(self, lines: int) -> None:
        self.gaps.append((self._row, lines))


def _without_comments(text: bytes, comment: bytes) -> bytes:
    """Lines up to the comment; one that stands behind a quote is left to the parser."""
    return b"\n".join(_without_comment(line, comment) for line in text.split(b"\n"))


def _without_comment(line: bytes, comment: bytes) -> bytes:
    before = line.partition(comment)[0]
    return line if b'"' in before else before

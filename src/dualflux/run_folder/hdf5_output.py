"""HDF5 and NetCDF files on disks that can fill up.

The HDF5 library does not survive a write that fails: it crashes the process when the file is closed. Here it writes
into a file object that takes everything; what the disk refused is raised by us, once HDF5 is out of the way.
"""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5netcdf
import xarray as xr

from dualflux.run_folder.files import whole_or_nothing


class PatientFile(io.RawIOBase):
    """A new binary file that keeps the first error of writing instead of raising it, and what comes after it in memory.

    Parameters
    ----------
    path : Path
        Made, or emptied.

    Attributes
    ----------
    error : OSError or None
        What the disk said; `raise_error` raises it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.error = path, None
        self._file = path.open("w+b", buffering=0)
        self._position = self._size = 0
        self._kept: list[tuple[int, bytes]] = []

    error: OSError | None

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Position from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; the end is that of all that was written, wherever it is."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        return self._position

    def write(self, data: Any) -> int:
        """Take all bytes."""
        left = bytes(data)
        start, self._position = self._position, self._position + len(left)
        self._size = max(self._size, self._position)
        try:
            while self.error is None and left:
                written = os.pwrite(self._file.fileno(), left, start)
                start, left = start + written, left[written:]
        except OSError as error:
            self._remember(error)
        if left:
            self._kept.append((start, left))
        return len(bytes(data))

    def readinto(self, buffer: Any) -> int:
        """Give back what was written, zeros where nothing was."""
        view = memoryview(buffer).cast("B")
        count = max(min(len(view), self._size - self._position), 0)
        content = bytearray(os.pread(self._file.fileno(), count, self._position).ljust(count, b"\0"))
        for start, kept in self._kept:
            low, high = max(start, self._position), min(start + len(kept), self._position + count)
            if low < high:
                content[low - self._position : high - self._position] = kept[low - start : high - start]
        view[:count] = content
        self._position += count
        return count

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        self._size = self._position if size is None else size
        try:
            os.ftruncate(self._file.fileno(), self._size)
        except OSError as error:
            self._remember(error)
        return self._size

    def close(self) -> None:
        """Close; bytes that the disk refuses only now are kept as an error too."""
        if self.closed:
            return
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self._remember(error)
        super().close()

    def raise_error(self) -> None:
        """Raise what the disk refused so far, with the file's name."""
        if self.error is not None:
            raise self.error

    def _remember(self, error: OSError) -> None:
        if self.error is None:
            self.error = OSError(error.errno, error.strerror, str(self.path))


@contextmanager
def new_netcdf(path: Path) -> Iterator[tuple[h5netcdf.File, PatientFile]]:
    """A NetCDF-4 file to write into; OSError on leaving where the disk refused a part of it.

    Ask the second value's `raise_error` between steps of long writing.
    """
    target = PatientFile(path)
    try:
        with h5netcdf.File(target, "w") as file:
            yield file, target
    finally:
        target.close()
    target.raise_error()


def write_netcdf(data: xr.Dataset, path: Path, encoding: Mapping[str, Any] | None = None) -> None:
    """Write a small dataset as NetCDF-4, whole or not at all.

    Raises
    ------
    OSError
        The disk is full or cannot be written.
    """
    with whole_or_nothing(path) as partial, new_netcdf(partial) as (file, _):
        data.dump_to_store(xr.backends.H5NetCDFStore(file), encoding=None if encoding is None else dict(encoding))

"""The CSV files of a download: on disk, in zip archives, and in zip archives inside those; nothing is unpacked to disk."""

import errno
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import pandas as pd

from dualflux.errors import InputError, Problems
from dualflux.sources.files.csv_lines import refuse_bytes
from dualflux.sources.files.tables import find_files, parse_csv

SUFFIXES = (".csv", ".zip")
LARGEST_MEMBER = 4 * 2**30  # bytes, uncompressed: the largest half-hourly files have about 0.7e9
LARGEST_RATIO = 250  # uncompressed to compressed; tower files reach about 50
LARGEST_INNER_ARCHIVE = 2**30  # bytes: an archive in an archive is held in memory
_PIECE = 2**20  # bytes
_RATIO_FROM = 2**20  # bytes; a small member may be as repetitive as it likes


@dataclass(frozen=True)
class TowerFile:
    """A CSV file, wherever it lies.

    Attributes
    ----------
    name : str
        Without folders.
    path : Path
        On disk: the file itself, or the archive that holds it.
    members : tuple of str
        Names inside the archive, from the outermost; none for a file on disk.
    """

    name: str
    path: Path
    members: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For messages and tables: ``archive.zip/file.csv``."""
        return "/".join([self.path.name, *(PurePosixPath(member).name for member in self.members)])

    def read(self, columns: set[str] | None = None) -> pd.DataFrame:
        """Those of the named columns that the file has (all by default), unconverted.

        Raises
        ------
        InputError
            No CSV table in UTF-8; an archive that is damaged, encrypted or unpacks to more than it may; a file that was cut short.
        """
        with self.open() as stream:
            return parse_csv(stream, self.label, columns)

    def has_the_bytes_of(self, other: "TowerFile") -> bool:
        """Whether two files are the same, byte by byte."""
        with self.open() as mine, other.open() as others:
            while piece := mine.read(_PIECE):
                if others.read(len(piece)) != piece:
                    return False
            return not others.read(1)

    def read_text(self) -> str:
        """The whole text; Windows-1252 where it is not UTF-8, as in some BIF files (InputError as in `read`)."""
        with self.open() as stream:
            content = stream.read()
        refuse_bytes(content, self.label)
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return content.decode("cp1252", errors="replace")

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file's bytes; leaving it gives an archive's errors as InputError."""
        with _as_input_error(self.label):
            if not self.members:
                with self.path.open("rb") as stream:
                    yield stream
                return
            with _archive(self.path, self.members[:-1]) as archive:
                info = archive.getinfo(self.members[-1])
                _refuse(info, self.label, LARGEST_MEMBER)
                with archive.open(info) as member:
                    yield member


def tower_files(paths: str | Sequence[str], root: Path) -> list[TowerFile]:
    """CSV files behind paths, globs and folders, those inside zip archives included.

    Raises
    ------
    InputError
        No such file; an archive that is empty or damaged; all at once.
    """
    problems, found = Problems(), list[TowerFile]()
    for path in find_files(paths, root, SUFFIXES):
        with problems.collect():
            found += _members(path, ()) if path.suffix.lower() == ".zip" else [TowerFile(path.name, path)]
    problems.raise_if_any()
    return found


def _members(path: Path, inside: tuple[str, ...]) -> list[TowerFile]:
    label = "/".join([path.name, *inside])
    found: list[TowerFile] = []
    with _as_input_error(label), _archive(path, inside) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)]
        if not infos:
            raise InputError(f"{label}: the archive is empty; download it again, or remove it")
        for info in infos:
            path_inside = PurePosixPath(info.filename.replace("\\", "/"))
            name = path_inside.name
            if any(part.startswith(".") and part != ".." for part in path_inside.parts):
                continue  # hidden, as `__MACOSX/._name.csv`
            if name.lower().endswith(".csv"):
                found.append(TowerFile(name, path, (*inside, info.filename)))
            elif name.lower().endswith(".zip") and not inside:
                found += _members(path, (info.filename,))
    return found


@contextmanager
def _archive(path: Path, inside: tuple[str, ...]) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(path) as outer:
        if not inside:
            yield outer
            return
        info = outer.getinfo(inside[0])
        _refuse(info, f"{path.name}/{inside[0]}", LARGEST_INNER_ARCHIVE)
        with zipfile.ZipFile(io.BytesIO(outer.read(info))) as inner:
            yield inner


@contextmanager
def _as_input_error(label: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error, OverflowError) as error:
        raise InputError(f"{label}: damaged archive ({error}); download it again") from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # what bz2 says of damaged bytes, and what seeking to an impossible place gives
            raise
        raise InputError(f"{label}: damaged archive ({error}); download it again") from error
    except NotImplementedError as error:  # a compression that zipfile lacks
        raise InputError(f"{label}: cannot be unpacked ({error}); unpack it by hand and name the folder") from error


def _refuse(info: zipfile.ZipInfo, label: str, largest: int) -> None:
    """Raise InputError for encryption, and by the sizes that the archive states; zipfile never reads more than these."""
    if info.flag_bits & 1:
        raise InputError(f"{label}: encrypted; unpack it by hand and name the folder")
    if info.file_size > largest:
        raise InputError(
            f"{label}: {info.file_size / 2**30:.1f} GiB when unpacked; allowed: {largest / 2**30:g} GiB; unpack it by hand if it is right"
        )
    if info.file_size > max(_RATIO_FROM, LARGEST_RATIO * info.compress_size):
        ratio = info.file_size / max(info.compress_size, 1)
        raise InputError(f"{label}: unpacks to {ratio:.0f} times its size; allowed: {LARGEST_RATIO}; unpack it by hand if it is right")

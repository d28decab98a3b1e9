"""Files that hold gridded fields, opened safely: what format they are, that they unpack to no more than they may, that nothing leads out.

Paths in a study file are the user's own and are followed. Paths inside a data file are its author's: links to other HDF5
files, virtual datasets and raw data elsewhere are refused, never followed.
"""

import gzip
import os
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import h5py
import xarray as xr

from dualflux.errors import InputError
from dualflux.sources.files.foreign import HOW_TO_DECOMPRESS, is_zarr, unknown_filter, what_it_is, why_not_opened

LARGEST_RATIO = 250  # unpacked to packed; gzipped fields with wide seas reach about 30
LARGEST_AXIS = 10_000_000  # values of a coordinate, which is read whole
_RATIO_FROM = 2**24  # bytes; a small file may be as repetitive as it likes
_PIECE = 2**20
_HEAP, _HEAP_SEARCH = b"GCOL\x01\0\0\0", 2**26  # signature and version; bytes
_UNUSED_SCALE = b"This is a netCDF dimension but not a netCDF variable"


def engine_of(path: Path, what: Path) -> Literal["zarr", "scipy", "h5netcdf"]:
    """How xarray reads it; InputError where it is neither NetCDF nor Zarr."""
    if path.is_dir() and is_zarr(path):
        return "zarr"
    try:
        start = first_bytes(path)
        if start in (b"CDF\x01", b"CDF\x02"):
            return "scipy"
        if start == b"\x89HDF":
            return "h5netcdf"
        raise InputError(f"{what}: {what_it_is(path)}")
    except PermissionError as error:
        raise InputError(f"{what}: {why_not_opened(error, what)}") from error


def first_bytes(path: Path) -> bytes:
    """The first four bytes of a file; none of a folder."""
    if path.is_dir():
        return b""
    with path.open("rb") as file:
        return file.read(4)


def is_gzipped(path: Path) -> bool:
    """Whether the file's content is packed with gzip."""
    return not path.is_dir() and os.access(path, os.R_OK) and first_bytes(path)[:2] == b"\x1f\x8b"


def folder_to_unpack(path: Path) -> TemporaryDirectory[str]:
    """A temporary folder for the content of a packed file.

    Raises
    ------
    InputError
        No folder for temporary files can be written.
    """
    try:
        return TemporaryDirectory()
    except OSError as error:
        raise InputError(
            f"{path}: is packed with gzip, and there is no temporary folder to unpack it to ({error}); set the environment variable "
            f"TMPDIR to a folder that can be written and has room, or unpack it by hand: `gunzip {path.name}`"
        ) from error


def unpacked(path: Path, folder: Path) -> Path:
    """The file, or where it is gzipped its content in a folder.

    Raises
    ------
    InputError
        The archive is damaged, or unpacks to more than it may.
    """
    if not is_gzipped(path):
        return path
    target, size = folder / path.stem, 0
    largest = max(_RATIO_FROM, LARGEST_RATIO * path.stat().st_size)
    try:
        with gzip.open(path, "rb") as packed, target.open("wb") as file:
            while piece := packed.read(_PIECE):
                size += file.write(piece)
                if size > largest:
                    raise InputError(f"{path}: unpacks to over {LARGEST_RATIO} times its size; unpack it by hand if it is right")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: cannot be unpacked ({error}); download it again") from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be unpacked to {folder} ({error.strerror}); set the environment variable TMPDIR to a folder with room, or "
            f"unpack it by hand: `gunzip {path.name}`"
        ) from error
    return target


def groups_with(name: str, path: Path) -> list[str]:
    """Groups of an HDF5 file or Zarr store, other than the outermost, that hold a variable of that name."""
    found: list[str] = []
    if path.is_dir():
        return [str(p.parent.relative_to(path)) for p in sorted(path.rglob(name)) if p.is_dir() and is_zarr(p) and p.parent != path]
    if not h5py.is_hdf5(path):
        return found

    def look(inside: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and inside.rsplit("/", 1)[-1] == name and "/" in inside:
            found.append(inside.rsplit("/", 1)[0])

    with h5py.File(path, "r") as file:
        file.visititems(look)
    return found


def refuse_unknown_filter(variable: xr.DataArray, name: str, path: Path) -> None:
    """Raise InputError where a variable of an HDF5 file is compressed in a way that this installation cannot undo."""
    source = variable.encoding.get("source")
    if source is None or not h5py.is_hdf5(str(source)):
        return
    with h5py.File(str(source), "r") as file:
        data = file.get(name)
        filtered = unknown_filter(data) if isinstance(data, h5py.Dataset) else None
    if filtered is not None:
        raise InputError(f"{path}: `{name}` is compressed with {filtered}, which this HDF5 cannot read; {HOW_TO_DECOMPRESS}")


def visit_hdf5(path: Path, what: Path) -> None:
    """Look at every object of an HDF5 file: h5netcdf, when it meets a damaged one, leaves a half-made file behind that complains at exit.

    Raises
    ------
    InputError
        Something in it leads to another file, or a coordinate is impossibly long.
    """

    def look(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            _look_at_dataset(name, item, what)
        elif isinstance(item, h5py.Group):
            _look_at_links(name, item, what)

    _refuse_endless_heaps(path, what)
    with h5py.File(path, "r") as file:
        _look_at_links("", file, what)
        file.visititems(look)


def _refuse_endless_heaps(path: Path, what: Path) -> None:
    """Raise InputError for a damaged list of texts and references on which the HDF5 library never ends.

    A "global heap collection" holds objects one after the other (HDF5 file format specification, III.E); one of no size keeps
    the library in its place. Large files are searched where headers stand, at both ends.
    """
    size = path.stat().st_size
    parts = [(0, size)] if size <= 2 * _HEAP_SEARCH else [(0, _HEAP_SEARCH), (size - _HEAP_SEARCH, _HEAP_SEARCH)]
    with path.open("rb") as file:
        for start, length in parts:
            file.seek(start)
            content, at = file.read(length), -1
            while (at := content.find(_HEAP, at + 1)) >= 0:
                if _is_endless(content[at : at + int.from_bytes(content[at + 8 : at + 16], "little")]):
                    raise InputError(f"{what}: cannot be opened (a damaged heap at byte {start + at}); get the file again")


def _is_endless(heap: bytes) -> bool:
    at = 16
    while at + 16 <= len(heap):
        index, size = (int.from_bytes(heap[at + i : at + j], "little") for i, j in ((0, 2), (8, 16)))
        if index == 0:  # the free space behind the last object
            return size == 0
        at += 16 + -(-size // 8) * 8
    return False


def _look_at_links(name: str, group: h5py.Group, what: Path) -> None:
    for key in group:
        link = group.get(key, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            _refuse(f"{name}/{key}", link.filename, what)


def _look_at_dataset(name: str, data: h5py.Dataset, what: Path) -> None:
    if data.external:
        _refuse(name, data.external[0][0], what)
    if data.is_virtual:
        _refuse(name, data.virtual_sources()[0].file_name, what)
    if data.attrs.get("CLASS") == b"DIMENSION_SCALE" and (filtered := unknown_filter(data)) is not None:
        raise InputError(f"{what}: coordinate `{name}` is compressed with {filtered}, which this HDF5 cannot read; {HOW_TO_DECOMPRESS}")
    scale = data.attrs.get("CLASS") == b"DIMENSION_SCALE" and not bytes(data.attrs.get("NAME", b"")).startswith(_UNUSED_SCALE)
    if scale and data.size > LARGEST_AXIS:
        raise InputError(f"{what}: coordinate `{name}` has {data.size} values; allowed: {LARGEST_AXIS}; the file is damaged or no field")


def _refuse(name: str, target: str, what: Path) -> None:
    raise InputError(
        f"{what}: `{name.lstrip('/')}` stands in another file ({target}), and such links are not followed; "
        "copy the data into one file (h5repack, ncks)"
    )

"""Chunks of a Zarr store or HDF5 file that were never written: they read as the fill value, which may look like a number."""

from collections.abc import Iterable
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr
import zarr
from xarray.backends import BackendArray
from xarray.core import indexing

from dualflux.errors import InputError, doubt

UNWRITTEN = "never_written"  # name of the coordinate that says which values were not


class _Positions(BackendArray):
    """Which values stand in a chunk that was never written, made when asked for.

    Parameters
    ----------
    gone : array of bool, (chunk, ...)
    chunk : tuple of int
        Cells of a chunk along each dimension.
    shape : tuple of int
    """

    def __init__(self, gone: np.ndarray, chunk: tuple[int, ...], shape: tuple[int, ...]) -> None:
        self.gone, self.chunk, self.shape, self.dtype = gone, chunk, shape, np.dtype(bool)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        places = [np.arange(size)[k] // c for k, size, c in zip(key, self.shape, self.chunk, strict=True)]
        found = self.gone[np.ix_(*map(np.atleast_1d, places))]
        return found.reshape([p.size for p in places if p.ndim])


def with_unwritten(variable: xr.DataArray, name: str, path: Path) -> xr.DataArray:
    """The variable, and where chunks of it were never written the lazy coordinate `never_written` that says which values."""
    found = _zarr_chunks(path, name) if path.is_dir() else _hdf5_chunks(variable.encoding.get("source"), name)
    if found is None or not found[0].any() or found[0].ndim != variable.ndim:
        return variable
    gone, chunk = found
    lazy = indexing.LazilyIndexedArray(_Positions(gone, chunk, variable.shape))
    return variable.assign_coords({UNWRITTEN: (variable.dims, lazy, {"chunks": int(gone.size), "unwritten": int(gone.sum())})})


def say_unwritten(variable: xr.DataArray) -> str:
    """``3 of 24 chunks were never written``; nothing where all were."""
    if UNWRITTEN not in variable.coords:
        return ""
    known = variable.coords[UNWRITTEN].attrs
    return f"{known['unwritten']} of {known['chunks']} chunks were never written"


def require_written(variable: xr.DataArray, used: np.ndarray, what: str, todo: str) -> None:
    """Look for values that are used and stand in chunks that were never written.

    Parameters
    ----------
    used : array of bool
        Of the shape of the variable, or of its last dimensions.
    todo : str
        What restores the fill values of such chunks; empty where the study takes them as missing: then they are a doubt.

    Raises
    ------
    InputError
        There are such values, and the study says nothing of it.
    """
    if UNWRITTEN not in variable.coords or not (variable.coords[UNWRITTEN].to_numpy() & used).any():
        return
    if not todo:
        doubt(f"{what}: {say_unwritten(variable)}, also where values are used; they are taken as missing")
        return
    raise InputError(
        f"{what}: {say_unwritten(variable)}, also where values are used: the file is not complete; get it again or write it anew; if its "
        f"program leaves out chunks that hold nothing but the fill value, {todo}"
    )


def _chunk_counts(shape: tuple[int, ...], chunk: tuple[int, ...]) -> list[int]:
    return [max(1, ceil(size / part)) for size, part in zip(shape, chunk, strict=True)]


def _hdf5_chunks(source: object, name: str) -> tuple[np.ndarray, tuple[int, ...]] | None:
    if source is None or not h5py.is_hdf5(str(source)):
        return None
    with h5py.File(str(source), "r") as file:
        data = file[name]
        if not isinstance(data, h5py.Dataset) or not data.shape or data.size == 0:
            return None
        if data.chunks is None:  # in one piece, or within the header
            nothing = data.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS and data.id.get_storage_size() == 0
            return np.array(nothing).reshape((1,) * data.ndim), data.shape
        gone = np.ones(_chunk_counts(data.shape, data.chunks), dtype=bool)
        if data.id.get_num_chunks() == gone.size:
            return None
        data.id.chunk_iter(lambda stored: _written(gone, stored.chunk_offset, data.chunks))
        return gone, data.chunks


def _written(gone: np.ndarray, offset: Iterable[int], chunk: tuple[int, ...]) -> None:
    place = tuple(o // c for o, c in zip(offset, chunk, strict=True))
    if all(p < size for p, size in zip(place, gone.shape, strict=True)):
        gone[place] = False


def _zarr_chunks(path: Path, name: str) -> tuple[np.ndarray, tuple[int, ...]] | None:
    array = zarr.open_group(path, mode="r")[name]
    if not isinstance(array, zarr.Array) or not array.shape or array.size == 0:
        return None
    chunk = array.shards or array.chunks
    counts = _chunk_counts(array.shape, chunk)
    folder = path / name
    stored = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    gone = [array.metadata.encode_chunk_key(place) not in stored for place in product(*map(range, counts))]
    return np.array(gone).reshape(counts), chunk

"""A prepared predictor cube on disk: a Zarr group of arrays, land only, lanes last (see `layout` and `kernel.Tile`).

    static     (tile, static column, lane)
    seasonal   (tile, 12, step of month, seasonal column, lane)
    dynamic    (tile, month, step of month, dynamic column, lane), a chunk being one tile over one span
    mean_year  (tile, feature, lane), see `cube.Cube.mean_year`

Each chunk ends with a checksum that is verified when it is read. Chunks are decoded here, by the same codecs: reading through
zarr's event loop, which all threads share, took as long as computing (`benchmarks/speed_upscaling.py`).
"""

import shutil
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs import blosc
from zarr.codecs import BloscCodec, Crc32cCodec

from dualflux.cube import Columns
from dualflux.errors import InputError
from dualflux.prediction.kernel import TILE, Shape, aligned
from dualflux.prediction.layout import Layout

ARRAYS = ("static", "seasonal", "dynamic", "mean_year")


def features(columns: Columns) -> int:
    """Number of features that `cube.Cube.mean_year` makes of these columns."""
    return len(columns.static) + 2 * (len(columns.seasonal) + len(columns.dynamic))


class PredictorStore:
    """Opened store, the tiles that `predict` walks over; `create` makes one, `write_tile` fills it."""

    def __init__(self, path: Path) -> None:
        self.path, self.layout = path, Layout.load(path)
        group = zarr.open_group(path, mode="r+")
        self._arrays: dict[str, Any] = {name: group[name] for name in ARRAYS}

    @classmethod
    def create(cls, path: Path, layout: Layout) -> list[Path]:
        """Make an empty store in place of whatever is left of one; return the files that describe it."""
        for name in ARRAYS:
            shutil.rmtree(path / name, ignore_errors=True)
        (path / "zarr.json").unlink(missing_ok=True)
        group = zarr.create_group(path)
        shape, columns = layout.shape, layout.columns
        months, steps = len(layout.steps.months), shape.steps
        sizes = {
            "static": ((len(columns.static),), (len(columns.static),)),
            "seasonal": ((12, steps, len(columns.seasonal)),) * 2,
            "dynamic": ((months, steps, len(columns.dynamic)), (shape.months, steps, len(columns.dynamic))),
            "mean_year": ((features(columns),),) * 2,
        }
        for name, (size, chunk) in sizes.items():
            group.create_array(
                name, shape=(layout.tiles, *size, TILE), chunks=(1, *(max(1, n) for n in chunk), TILE), dtype="float32", fill_value=0.0,
                compressors=[BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()],
            )  # fmt: skip
        return [path / "zarr.json", *(path / name / "zarr.json" for name in ARRAYS), *layout.save(path)]

    @property
    def shape(self) -> Shape:
        """Of the layout."""
        return self.layout.shape

    @property
    def series(self) -> np.ndarray:
        """Of the layout."""
        return self.layout.series

    def tiles(self) -> list[slice]:
        """The cells of each tile."""
        return self.layout.all_tiles()

    def write_tile(self, tile: int, static: np.ndarray, seasonal: np.ndarray, dynamic: np.ndarray, mean_year: np.ndarray) -> list[Path]:
        """Write a tile over all months; return the files it is in."""
        for name, values in zip(ARRAYS, (static, seasonal, dynamic, mean_year), strict=True):
            if values.size:
                self._arrays[name][tile] = values
        return [p for name in ARRAYS for p in sorted((self.path / name / "c" / str(tile)).rglob("*")) if p.is_file()]

    def invariant(self, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Static and seasonal columns of a tile."""
        return self._read("static", tile), self._read("seasonal", tile)

    def read(self, tile: int, span: slice) -> np.ndarray:
        """Dynamic columns of a tile over a span of the layout, padded to the span's full length."""
        return self._read("dynamic", tile, span.start // self.layout.shape.months)

    def mean_year(self, tile: int) -> np.ndarray:
        """Features of a tile, (feature, lane)."""
        return self._read("mean_year", tile)

    def _read(self, name: str, tile: int, part: int = 0) -> np.ndarray:
        """A chunk; zero where there is no file, as zarr leaves out chunks that hold nothing else."""
        array = self._arrays[name]
        shape = tuple(map(min, array.chunks[1:], array.shape[1:]))
        place = (tile, part, *(0,) * (array.ndim - 2))
        path = self.path / name / array.metadata.chunk_key_encoding.encode_chunk_key(place)
        if not array.size or not path.exists():
            return np.zeros(shape, dtype=np.float32)
        content = np.frombuffer(path.read_bytes(), dtype=np.uint8)
        found = aligned(shape)
        try:
            if google_crc32c.value(content[:-4]) != int.from_bytes(content[-4:].tobytes(), "little"):
                raise ValueError("its checksum is another")
            blosc.decompress(content[:-4], found)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self.path}: {name} of tile {tile} is damaged ({error}); delete {self.path} and run again") from error
        return found

"""A prepared predictor cube on disk: a Zarr group of three arrays, land only, lanes last (see `layout` and `kernel.Tile`).

    static    (tile, static column, lane)
    seasonal  (tile, 12, step of month, seasonal column, lane)
    dynamic   (tile, month, step of month, dynamic column, lane), a chunk being one tile over one span

Each chunk ends with a checksum that is verified when it is read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from dualflux.errors import InputError
from dualflux.kernel import LANES
from dualflux.predict.layout import Layout

ARRAYS = ("static", "seasonal", "dynamic")


class PredictorStore:
    """Opened store; `create` makes one, `write_tile` fills it."""

    def __init__(self, path: Path) -> None:
        self.path, self.layout = path, Layout.load(path)
        group = zarr.open_group(path, mode="r+")
        self._arrays: dict[str, Any] = {name: group[name] for name in ARRAYS}

    @classmethod
    def create(cls, path: Path, layout: Layout) -> "PredictorStore":
        """Make an empty store."""
        shape, columns = layout.shape, layout.columns
        group = zarr.create_group(path, overwrite=False) if not (path / "zarr.json").exists() else zarr.open_group(path, mode="r+")
        months, steps = len(layout.steps.months), shape.steps
        sizes = {
            "static": ((len(columns.static),), (len(columns.static),)),
            "seasonal": ((12, steps, len(columns.seasonal)),) * 2,
            "dynamic": ((months, steps, len(columns.dynamic)), (shape.months, steps, len(columns.dynamic))),
        }
        for name, (size, chunk) in sizes.items():
            group.create_array(
                name, shape=(layout.tiles, *size, LANES), chunks=(1, *(max(1, n) for n in chunk), LANES), dtype="float32", fill_value=0.0,
                compressors=[BloscCodec(cname="zstd", clevel=1, shuffle="shuffle"), Crc32cCodec()], overwrite=True,
            )  # fmt: skip
        layout.save(path)
        return cls(path)

    def write_tile(self, tile: int, static: np.ndarray, seasonal: np.ndarray, dynamic: np.ndarray) -> list[Path]:
        """Write a tile over all months; return the files it is in."""
        for name, values in zip(ARRAYS, (static, seasonal, dynamic), strict=True):
            if values.size:
                self._arrays[name][tile] = values
        return [p for name in ARRAYS for p in sorted((self.path / name / "c" / str(tile)).rglob("*")) if p.is_file()]

    def invariant(self, tile: int) -> tuple[np.ndarray, np.ndarray]:
        """Static and seasonal columns of a tile."""
        return self._read("static", tile), self._read("seasonal", tile)

    def dynamic(self, tile: int, span: slice) -> np.ndarray:
        """Dynamic columns of a tile over a span, padded to the span's full length."""
        found = self._read("dynamic", tile, span)
        short = self.layout.shape.months - len(found)
        return np.concatenate([found, np.zeros((short, *found.shape[1:]), found.dtype)]) if short else found

    def _read(self, name: str, *place: int | slice) -> np.ndarray:
        try:
            return np.asarray(self._arrays[name][place])
        except (ValueError, RuntimeError) as error:  # the checksum of a chunk, or its compression
            raise InputError(f"{self.path}: {name} of tile {place[0]} is damaged ({error}); delete {self.path} and run again") from error

"""Products as CF maps in Zarr, written band by band, and as NetCDF copies of them; see `product`.

A store opens only when it is whole: its root, with all metadata in one file, is written last (`seal`), and removed before a
part is written again (`unseal`).
"""

import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from dualflux.prediction.netcdf_product import NetcdfFile
from dualflux.prediction.product import Product
from dualflux.run_folder.files import write_atomically

ROOT = "zarr.json"
TIME, ROW = -3, -2  # places of time and latitude among a layer's dimensions


class MapStore:
    """The layers of a product in a Zarr group; a chunk holds one band over some steps, all members together.

    Parameters
    ----------
    path : Path
        Of a store that `create` made.
    names : sequence of str
        The layers to be written.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self._layers: dict[str, Any] = {name: zarr.open_array(path / name, mode="r+") for name in names}

    @staticmethod
    def create(path: Path, product: Product, band_rows: int, chunk: int) -> list[Path]:
        """Make a store without fluxes, in place of whatever is left of one; return its files.

        Parameters
        ----------
        band_rows, chunk : int
            Rows and steps of a chunk.
        """
        path.mkdir(parents=True, exist_ok=True)
        unseal(path)
        layers = product.layers()
        fixed = [*product.coordinates(), *product.maps()]
        for name in [*layers, *(v.name for v in fixed)]:
            shutil.rmtree(path / name, ignore_errors=True)
        for variable in fixed:
            zarr.create_array(
                path / variable.name, data=variable.data, fill_value=_fill(variable.data.dtype), dimension_names=variable.dims,
                attributes=dict(variable.attrs),
            )  # fmt: skip
        for name, layer in layers.items():
            shape = tuple(product.sizes[d] for d in layer.dims)
            chunks = (*shape[:TIME], min(chunk, shape[TIME]), band_rows, shape[-1])
            zarr.create_array(
                path / name, shape=shape, chunks=chunks, dtype="float32", fill_value=float("nan"), dimension_names=layer.dims,
                attributes=dict(layer.attrs),
            )  # fmt: skip
        return [p for name in [*layers, *(v.name for v in fixed)] for p in sorted((path / name).rglob("*")) if p.is_file()]

    def write(self, band: int, rows: slice, time: slice, fields: Mapping[str, np.ndarray]) -> list[Path]:
        """Write a band over some steps, (..., time, row, lon) each; return the files (a chunk without any value has none)."""
        found = []
        for name, layer in self._layers.items():
            layer[..., time, rows, :] = fields[name]
            length, lead = layer.chunks[TIME], ["0"] * (layer.ndim + TIME)
            steps = range(time.start // length, -(-time.stop // length))
            found += [self.path.joinpath(name, "c", *lead, str(t), str(band), "0") for t in steps]
        return [path for path in found if path.is_file()]


def seal(path: Path, product: Product) -> list[Path]:
    """Make a store that is whole readable; return the files."""
    zarr.create_group(path, attributes=product.global_attributes, zarr_format=3, overwrite=False)
    with warnings.catch_warnings():
        # Zarr says that other programs may not know them; those that do open the store in one reading.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(path)
    _sort_members(path / ROOT)
    return [path / ROOT]


def _sort_members(root: Path) -> None:
    """The same store has the same bytes: some versions of Zarr list its arrays as the file system does, which is any order."""
    found = json.loads(root.read_text(encoding="utf-8"))
    members = found["consolidated_metadata"]["metadata"]
    found["consolidated_metadata"]["metadata"] = {name: members[name] for name in sorted(members)}
    write_atomically(root, json.dumps(found, indent=2))


def unseal(path: Path) -> None:
    """Let nobody read a store that is being changed."""
    (path / ROOT).unlink(missing_ok=True)


def _fill(dtype: np.dtype[Any]) -> Any:
    return np.nan if np.issubdtype(dtype, np.floating) else 0


def copy_to_netcdf(store: Path, product: Product, path: Path) -> None:
    """A product as one NetCDF file, chunk of steps by chunk of steps; the file appears when it is whole."""
    with NetcdfFile(path, product) as file:
        for name in product.layers():
            source: Any = zarr.open_array(store / name, mode="r")
            length = source.chunks[TIME]
            for first in range(0, len(product.times), length):
                values = source[..., first : first + length, :, :]
                for place in np.ndindex(*values.shape[:ROW]):
                    file.put(name, (*place[:-1], first + place[-1]), values[place])
        file.whole = True

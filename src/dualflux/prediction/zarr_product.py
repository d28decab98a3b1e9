"""Products as CF maps in Zarr, written band by band, and as NetCDF copies of them."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import zarr

from dualflux.prediction.layout import Band, Layout
from dualflux.prediction.netcdf_product import CONVENTIONS, FILL, LAND_AREA, LAYERS, axes
from dualflux.run_folder.hdf5_output import new_netcdf

NAMES = ("nee", "nee_tower", "nee_std")
CHUNK_DAYS = 31
_DIMS = ("time", "lat", "lon")
_COORDINATES = {**{n: (n,) for n in _DIMS}, **{f"{n}_bounds": (n, "nv") for n in _DIMS}, "land_area": ("lat", "lon")}


def array_of(group: zarr.Group, name: str) -> Any:
    """An array of a group (zarr's own type could also be a group)."""
    return group[name]


def layer_attributes(name: str) -> dict[str, Any]:
    """Attributes of a layer, without what points at layers that are not here."""
    attrs: dict[str, Any] = dict(LAYERS[name])
    if "ancillary_variables" in attrs:
        attrs["ancillary_variables"] = "nee_std"
    return attrs


class MapStore:
    """A Zarr group nee, nee_tower, nee_std (time, lat, lon) with coordinates and land area; a chunk holds one band.

    Parameters
    ----------
    path : Path
        Of a store that `create` made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        group = zarr.open_group(path, mode="r+")
        self._layers = {name: array_of(group, name) for name in NAMES}

    @staticmethod
    def create(path: Path, layout: Layout, times: pd.DatetimeIndex, ends: pd.DatetimeIndex, chunk: int, attrs: Mapping[str, str]) -> None:
        """Make an empty store; chunks that are there already stay.

        Parameters
        ----------
        times, ends : DatetimeIndex, (time,)
            First moment of each step, and of the one after it.
        chunk : int
            Steps of a chunk.
        attrs : mapping
            Of the whole store.
        """
        path.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(path, mode="a", zarr_format=3)
        root.attrs.put({**attrs, "Conventions": CONVENTIONS})
        if "land_area" in root:  # written last: all are there
            return
        grid = layout.grid
        for axis in axes(grid, times, ends):
            bounds = f"{axis.name}_bounds"
            root.create_array(axis.name, data=axis.centre, attributes=dict(axis.attrs), dimension_names=[axis.name], overwrite=True)
            root.create_array(bounds, data=axis.bounds, dimension_names=[axis.name, "nv"], overwrite=True)
        for name in NAMES:
            root.create_array(
                name, shape=(len(times), *grid.shape), chunks=(min(chunk, len(times)), layout.band_rows, len(grid.lon)), dtype="float32",
                fill_value=float("nan"), dimension_names=["time", "lat", "lon"],
                attributes=dict(layer_attributes(name)), overwrite=True,
            )  # fmt: skip
        root.create_array("land_area", data=layout.land_area, attributes=dict(LAND_AREA), dimension_names=["lat", "lon"], overwrite=True)
        with warnings.catch_warnings():
            # Zarr says that other programs may not know them; those that do open the store in one reading.
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(path)

    def write(self, band: int, rows: slice, time: slice, fields: Mapping[str, np.ndarray]) -> list[Path]:
        """Write a band over some steps, (time, row, lon) each; return the files (a chunk without any value has none)."""
        found = []
        for name, layer in self._layers.items():
            layer[time, rows] = fields[name]
            length = layer.chunks[0]
            found += [self.path / name / "c" / str(t) / str(band) / "0" for t in range(time.start // length, -(-time.stop // length))]
        return [path for path in found if path.is_file()]


def band_maps(layout: Layout, band: Band, values: np.ndarray) -> np.ndarray:
    """Values of a band's cells (..., cell) as rows of the grid (..., row, lon): 0 on land without a flux, NaN at sea."""
    land = layout.land_area[band.rows]
    out = np.full((*values.shape[:-1], land.size), np.nan, dtype=np.float32)
    out[..., land.ravel() > 0] = 0.0
    out[..., layout.index[band.cells] - band.rows.start * len(layout.grid.lon)] = values
    return out.reshape(*values.shape[:-1], *land.shape)


def copy_to_netcdf(store: Path, path: Path) -> None:
    """A product as one NetCDF file, chunk of steps by chunk of steps; the file appears when it is whole."""
    partial = path.with_name(f".{path.name}.partial")
    group = zarr.open_group(store, mode="r")
    try:
        with new_netcdf(partial) as (file, target):
            shape = dict(zip(_DIMS, array_of(group, "nee").shape, strict=True))
            file.dimensions = {**shape, "nv": 2}
            file.attrs.update(group.attrs.asdict())
            for name, dims in _COORDINATES.items():
                source = array_of(group, name)
                file.create_variable(name, dims, source.dtype, data=source[...]).attrs.update(source.attrs.asdict())
            chunks = (1, shape["lat"], shape["lon"])
            for name in NAMES:
                source = array_of(group, name)
                layer = file.create_variable(name, _DIMS, np.float32, chunks=chunks, compression="gzip", shuffle=True, fillvalue=FILL)
                layer.attrs.update(source.attrs.asdict())
                for first in range(0, shape["time"], source.chunks[0]):
                    values = source[first : first + source.chunks[0]]
                    layer[first : first + len(values)] = np.where(np.isfinite(values), values, FILL)
                    target.raise_error()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

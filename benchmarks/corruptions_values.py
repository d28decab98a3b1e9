"""Corruptions of what numbers can be, of units and of file formats, each with a word that its message must hold, and harmless writings."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import xarray as xr
from corruptions import Change, Corruption, as_words, content, entry, fields, several, study, table, units, where, with_value
from good_inputs import STUDY

_W, _S, _G, _M, _R, _B, _I, _L, _P = (
    "weather.nc", "static.nc", "flux.nc", "land.nc", "regions.nc", "gcb.nc", "inversions.csv", "lateral.nc", "product.nc",
)  # fmt: skip
_GCB = "land_flux_only_fossil_cement_adjusted"
_ATTRIBUTES = ("units", "flag_values", "flag_meanings")
Edit = Callable[[xr.Dataset], xr.Dataset]


def times(variable: str, factor: float, shift: float = 0.0, unit: str | None = None) -> Edit:
    """All values scaled and moved; the unit as it was, or another."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        attributes = {**data[variable].attrs, **({} if unit is None else {"units": unit})}
        return data.assign({variable: (data[variable] * factor + shift).assign_attrs(attributes)})

    return edit


def said(variable: str, **attributes: Any) -> Edit:
    return lambda d: d.assign({variable: d[variable].assign_attrs(attributes)})


def predictor(position: int, **changes: Any) -> Change:
    found = [dict(one) for one in STUDY["predictors"]]
    found[position].update(changes)
    return study(predictors=found)


def land(**changes: Any) -> Change:
    return study(land_fraction={"path": _M, **changes})


def unwritten(name: str, variable: str, kept: int) -> Change:
    """The variable anew in chunks along its first dimension, of which only the first ones are written."""

    def change(folder: Path) -> None:
        with h5py.File(folder / name, "r+") as file:
            old, attributes = file[variable][:], {k: v for k, v in file[variable].attrs.items() if k in _ATTRIBUTES}
            scales = [file[variable].dims[i][0].name for i in range(old.ndim)]
            del file[variable]
            new = file.create_dataset(variable, old.shape, old.dtype, chunks=(1, *old.shape[1:]))
            new[:kept] = old[:kept]
            new.attrs.update(attributes)
            for i, scale in enumerate(scales):
                new.dims[i].attach_scale(file[scale])

    return change


def filtered(name: str, variable: str, code: int) -> Change:
    """The variable as if it were compressed with a filter that nobody here has."""

    def change(folder: Path) -> None:
        with h5py.File(folder / name, "r+") as file:
            old, scales = file[variable], [file[variable].dims[i][0].name for i in range(file[variable].ndim)]
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_chunk(old.shape)
            plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (3,))
            kind, unit, packed = old.id.get_type(), old.attrs.get("units"), old[:].tobytes()
            space = h5py.h5s.create_simple(old.shape)
            del file[variable]
            h5py.h5d.create(file.id, variable.encode(), kind, space, plan)
            file[variable].id.write_direct_chunk((0,) * len(scales), packed)
            if unit is not None:
                file[variable].attrs["units"] = unit
            for i, scale in enumerate(scales):
                file[variable].dims[i].attach_scale(file[scale])

    return change


def grouped(name: str, group: str) -> Change:
    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / name, engine="h5netcdf").drop_encoding()
        (folder / name).unlink()
        data.to_netcdf(folder / name, group=group, engine="h5netcdf")

    return change


def zipped(name: str, inside: str) -> Change:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(inside, data)

    return change


def references(name: str) -> Change:
    refs = {"version": 1, "refs": {".zgroup": '{"zarr_format": 2}', "ta/0.0.0": ["s3://bucket/file.nc", 100, 200]}}
    return content(name, json.dumps(refs).encode())


_CELL = {"lat": 2, "lon": 5}
VALUES: dict[str, dict[str, tuple[Change, str]]] = {
    "predictors": {
        "-999 in a cell": (fields(_W, with_value("ta", -999.0, **_CELL)), "-999"),
        "-99 in a cell on one day": (fields(_W, with_value("ta", -99.0, time=500, **_CELL)), "-99"),
        "9999 in a cell": (fields(_W, with_value("ta", 9999.0, **_CELL)), "9999"),
        "32767 in a cell": (fields(_W, with_value("ta", 32767.0, **_CELL)), "32767"),
        "1e15 in a cell": (fields(_W, with_value("ta", 1e15, **_CELL)), "1e+15"),
        "-6999 in a cell of heights": (fields(_S, with_value("height", -6999.0, **_CELL)), "-6999"),
        "255 in a cell of classes": (fields(_S, with_value("cover", 255.0, **_CELL)), "255"),
        "below absolute zero": (fields(_W, with_value("ta", -280.0, time=500, **_CELL)), "temperature"),
        "kelvin labelled degC": (fields(_W, times("ta", 1, 273.15)), "file_units: K"),
        "degC labelled K": (fields(_W, units("ta", "K")), "temperature"),
        "outside the valid range": (fields(_W, said("ta", valid_range=np.array([-5.0, 60.0], "f4"))), "valid range"),
        "a valid maximum": (fields(_S, said("height", valid_max=1500.0)), "valid range"),
        "a valid range as text": (fields(_S, said("height", valid_range="0 to 9000")), "valid range as text"),
        "days never written": (unwritten(_W, "ta", 800), "never written"),
        "a field never written": (unwritten(_S, "height", 2), "never written"),
        "a factor in brackets": (fields(_W, units("ta", "degC (x 10)")), "degC (x 10)"),
        "a depth in brackets": (fields(_S, units("height", "m (0-7 cm)")), "m (0-7 cm)"),
        "a range that is none of a fraction": (fields(_S, units("cover", "(0 - 255)")), "(0 - 255)"),
        "a sum without its time": (several(
            predictor(0, units="W m-2"), fields(_W, times("ta", 1e4, 4e5, "J m-2"))), "per: hour"),
        "per day of a rate": (predictor(0, per="day"), "allowed: sums"),
        "a factor as text": (fields(_W, said("ta", scale_factor="0.1")), "scale_factor as text"),
        "a fill as text": (fields(_S, said("height", missing_value="-32768")), "missing_value as text"),
        "Zstandard without its filter": (filtered(_S, "height", 32015), "zstd"),
        "Blosc without its filter": (filtered(_S, "height", 32001), "Blosc"),
        "LZ4 without its filter": (filtered(_S, "cover", 32004), "LZ4"),
        "CDF-5": (content(_W, b"CDF\x05" + bytes(200)), "CDF-5"),
        "HDF4": (content(_W, b"\x0e\x03\x13\x01" + bytes(200)), "HDF4"),
        "GRIB": (content(_W, b"GRIB" + bytes(200)), "GRIB"),
        "kerchunk": (references(_W), "kerchunk"),
        "Zarr in a zip archive": (zipped(_W, "weather.zarr/zarr.json"), "unzip"),
        "NetCDF in a zip archive": (zipped(_W, "data_0.nc"), "zip archive"),
        "in a group": (grouped(_W, "forecast"), "group `forecast`"),
    },
    "land_fraction": {
        "-99 in a cell": (fields(_M, with_value("land_fraction", -99.0, **_CELL)), "-99"),
        "1.3 in a cell": (fields(_M, with_value("land_fraction", 1.3, **_CELL)), "1.3"),
        "percent labelled 1": (fields(_M, times("land_fraction", 100)), "units: '%'"),
        "fractions labelled percent": (fields(_M, units("land_fraction", "%")), "no percent"),
        "a unit of something else": (fields(_M, units("land_fraction", "m2")), "m2"),
        "never written": (unwritten(_M, "land_fraction", 3), "never written"),
        "words": (fields(_M, as_words("land_fraction")), "text"),
        "in a group": (grouped(_M, "static"), "group `static`"),
        "a web page": (content(_M, b"<html><body>Log in</body></html>"), "web page"),
    },
    "region_mask": {
        "a unit of whole numbers": (study(regions={"path": _R, "variable": "band", "units": "%"}), "remove `units`"),
        "never written": (unwritten(_R, "band", 3), "never written"),
        "CDF-5": (content(_R, b"CDF\x05" + bytes(200)), "CDF-5"),
    },
    "inversions_gridded": {
        "-999 in a cell": (fields(_G, with_value("nbe", -999.0, **_CELL)), "-999"),
        "a hundred times the plausible in a cell": (fields(_G, with_value("nbe", 800.0, time=3, **_CELL)), "net flux"),
        "ten times as large": (fields(_G, times("nbe", 10)), "global sum"),
        "the other sign of a large flux": (fields(_G, times("nbe", -3)), "global sum"),
        "months never written": (unwritten(_G, "nbe", 20), "C"),
        "a factor nobody knows": (several(
            entry("inversions_gridded", "inversions", 0, units=None), fields(_G, units("nbe", "gC m-2 d-1 (x 100)"))), "(x 100)"),
        "outside the valid range": (fields(_G, said("nbe", valid_min=-0.05)), "some months"),
    },
    "inversions_gcb": {
        "-99 in a cell": (fields(_B, with_value(_GCB, -99.0, latitude=2, longitude=5)), "-99"),
        "twelve times as large": (fields(_B, times(_GCB, 12)), "global sum"),
    },
    "inversions_table": {
        "-999 in a row": (table(_I, where("value", -999.0, 7)), "-999"),
        "petagrams labelled TgC": (table(_I, lambda t: t.assign(value=t.value * 1e3)), "global sum"),
        "a month a hundred times too large": (table(_I, where("value", -130.0, 7)), "region's month"),
    },
    "adjustments": {
        "-999 in a cell": (fields(_L, with_value("allcropsource", -999.0, **_CELL)), "-999"),
        "a field a thousand times too large": (fields(_L, times("allcropsource", 1e6)), "emission"),
        "fire of -99 in a row": (table("fire.csv", where("value", -99.0, 1)), "-99"),
    },
    "references": {
        "-999 in a cell": (fields(_P, with_value("nee", -999.0, **_CELL)), "-999"),
        "micrograms": (fields(_P, times("nee", 1e6)), "net flux"),
        "a table with -999": (table("product.csv", where("value", -999.0, 4)), "-999"),
    },
}  # fmt: skip
VALUE_CORRUPTIONS = [
    Corruption(f"{kind}: value: {name}", kind, change, cause)
    for kind, changes in VALUES.items()
    for name, (change, cause) in changes.items()
]


def _as_sums(data: xr.Dataset) -> xr.Dataset:
    """A flux in kg in a unit with a factor."""
    return data.assign(nbe=(data.nbe / 1e3).assign_attrs(units="1e3 gC/(m2 day)"))


HARMLESS_VALUES = [  # other ways to write the same: the result must be the same
    Corruption("land fraction: (0 - 1)", "land_fraction", fields(_M, units("land_fraction", "(0 - 1)"))),
    Corruption("land fraction: percent with its range", "land_fraction", fields(_M, times("land_fraction", 100, unit="% (0-100)"))),
    Corruption("land fraction: the study states percent", "land_fraction", several(
        land(units="%"), fields(_M, times("land_fraction", 100, unit="share")))),
    Corruption("land fraction: with a time of one step", "land_fraction", fields(_M, lambda d: d.expand_dims(time=[0]))),
    Corruption("region mask: with a time of one step", "region_mask", fields(
        _R, lambda d: d.expand_dims(time=[pd.Timestamp("2001-01-01")]))),
    Corruption("inversions: a unit with a factor", "inversions_gridded", several(
        entry("inversions_gridded", "inversions", 0, units=None), fields(_G, _as_sums))),
    Corruption("inversions: a level of size one", "inversions_gridded", fields(_G, lambda d: d.assign(nbe=d.nbe.expand_dims("level", 1)))),
    Corruption("predictors: tenths in the unit", "predictors", fields(_S, times("height", 100, unit="0.01 m"))),
    Corruption("predictors: file_units for kelvin without a word", "predictors", several(
        predictor(0, file_units="K"), fields(_W, lambda d: times("ta", 1, 273.15)(d.astype(float))))),
    Corruption("predictors: classes in percent, stated", "predictors", several(
        predictor(2, units="%"), fields(_S, times("cover", 100, unit="unknown")))),
]  # fmt: skip

__all__ = ["HARMLESS_VALUES", "VALUES", "VALUE_CORRUPTIONS"]

"""Corruptions of where things are: coordinates, polygons, classes of masks, and what stands beside a file.

Each has the word that its message must contain: the cause, so that a right refusal for a wrong reason is seen.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from good_inputs import LAT, LON, write_study

Change = Callable[[Path], None]
ZONES = {"regions": {"path": "zones.geojson", "property": "name"}}


def _fields(name: str, edit: Callable[[xr.Dataset], xr.Dataset]) -> Change:
    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / name, engine="h5netcdf")
        (folder / name).unlink()
        edit(data).to_netcdf(folder / name, engine="h5netcdf")

    return change


def _axes(name: str, **units: str) -> Change:
    """Other units of the coordinates, with the values as they are."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        for axis, unit in units.items():
            data[axis].attrs["units"] = unit
        return data

    return _fields(name, edit)


def _in_radians(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(lat=np.radians(data.lat), lon=np.radians(data.lon))


def _corners(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(lat=data.lat - 15, lon=data.lon - 15)


def _bounds_elsewhere(data: xr.Dataset) -> xr.Dataset:
    data["lat"].attrs["bounds"] = "lat_bnds"
    return data.assign(lat_bnds=(("lat", "two"), np.stack([LAT + 45, LAT + 75], axis=1)))


def _flags(values: list[int], names: str, edit: Callable[[np.ndarray], np.ndarray] = lambda band: band) -> Change:
    """The mask with other numbers and names of its classes."""

    def change(data: xr.Dataset) -> xr.Dataset:
        flags = {"flag_values": np.array(values, np.int32), "flag_meanings": names}
        return data.assign(band=(("lat", "lon"), edit(data.band.to_numpy()).astype("i4"), flags))

    return _fields("regions.nc", change)


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


NORTH, SOUTH = box(-180, 0, 180, 90), box(-180, -90, 180, 0)


def _zones(text: Callable[[str], str] = lambda text: text, **rings: Any) -> Change:
    """Regions from polygons, one or several rings each."""

    def change(folder: Path) -> None:
        shapes = {"north": [NORTH], "south": [SOUTH], **rings}
        features = [
            {"type": "Feature", "properties": {"name": n}, "geometry": {"type": "Polygon", "coordinates": c}} for n, c in shapes.items()
        ]
        content = json.dumps({"type": "FeatureCollection", "features": features})
        (folder / "zones.geojson").write_text(text(content))
        write_study(folder, ZONES)

    return change


def _geopackage(folder: Path) -> None:
    """A GeoPackage whose table leads to a network address."""
    with sqlite3.connect(folder / "zones.gpkg") as base:
        base.execute("PRAGMA application_id = 1196444487")  # GPKG
        base.execute("CREATE TABLE plain (id INTEGER)")
        base.execute("PRAGMA writable_schema = ON")
        sql = "CREATE VIRTUAL TABLE leads USING VirtualOGR('/vsicurl/http://127.0.0.1:9/q.gpkg')"
        base.execute("INSERT INTO sqlite_master VALUES ('table', 'leads', 'leads', 0, ?)", (sql,))
    base.close()
    write_study(folder, {"regions": {"path": "zones.gpkg", "property": "name"}})


def _vector(name: str, content: str | bytes) -> Change:
    """A file of another format under a name of ours."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        write_study(folder, {"regions": {"path": name, "property": "name"}})

    return change


_VRT = "<OGRVRTDataSource><OGRVRTLayer name='q'><SrcDataSource>{}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
_TURNED = box(150, 0, -150, 90)[::-1]
_TWICE = [[-360, 0], [0, 0], [300, 0], [300, 90], [0, 90], [-360, 90], [-360, 0]]


def _utf16(folder: Path) -> None:
    _zones()(folder)
    (folder / "zones.geojson").write_bytes((folder / "zones.geojson").read_text().encode("utf-16"))


# source: name: (change, the word that the message must contain)
PLACE: dict[str, dict[str, tuple[Change, str]]] = {
    "land_fraction": {
        "latitude and longitude units exchanged": (_axes("land.nc", lat="degrees_east", lon="degrees_north"), "degrees_east"),
        "coordinates in metres": (_axes("land.nc", lat="m", lon="m"), "unit `m`"),
        "radians without a unit": (_fields("land.nc", _in_radians), "radians"),
        "corners without bounds": (_fields("land.nc", _corners), "corners"),
        "bounds of other cells": (_fields("land.nc", _bounds_elsewhere), "bounds"),
    },
    "predictors": {
        "coordinates in kilometres": (_axes("weather.nc", lat="km", lon="km"), "unit `km`"),
        "radians without a unit": (_fields("static.nc", _in_radians), "radians"),
        "corners without bounds": (_fields("weather.nc", _corners), "corners"),
    },
    "inversions_gridded": {
        "latitude in metres": (_axes("flux.nc", lat="m"), "unit `m`"),
        "radians without a unit": (_fields("flux.nc", _in_radians), "radians"),
        "corners without bounds": (_fields("flux.nc", _corners), "corners"),
        "bounds of other cells": (_fields("flux.nc", _bounds_elsewhere), "bounds"),
    },
    "references": {
        "map with longitudes in metres": (_axes("product.nc", lon="metres"), "unit `metres`"),
        "map of corners without bounds": (_fields("product.nc", _corners), "corners"),
    },
    "region_mask": {
        "half of the land in a class called none": (_flags([1, 2], "none south"), "none"),
        "half of the land under the flag 0": (_flags([0, 2], "north south", lambda band: np.where(band == 1, 0, band)), "no region"),
        "all classes are sea": (_flags([1, 2], "sea ocean"), "classes"),
        "a code that may be the sea": (_flags([1, 2], "SEA RUS"), "SEA"),
        "a class that is not there": (
            lambda folder: write_study(folder, {"regions": {"path": "regions.nc", "variable": "band", "classes": ["north", "east"]}}),
            "no class east",
        ),
        "polygons that leave most of the land out": (_zones(north=[box(0, 0, 40, 40)], south=[box(0, -40, 40, 0)]), "outside_regions"),
        "polygons that overlap": (_zones(south=[box(-180, -90, 180, 5)]), "overlap in"),
        "a polygon across 180, corners clockwise": (_zones(north=[_TURNED]), "cut the polygon at 180"),
        "a ring around the pole without the pole": (
            _zones(south=[[*([float(x), -30.0] for x in range(-180, 180, 30)), [-180.0, -30.0]]]), "pole"
        ),
        "polygons in radians": (_zones(north=[np.radians(NORTH).tolist()], south=[np.radians(SOUTH).tolist()]), "radians"),
        "a polygon that is twice around": (_zones(north=[_TWICE]), "once"),
        "polygons in UTF-16": (_utf16, "cannot be read"),
        "a virtual dataset called GeoJSON": (_vector("zones.geojson", _VRT.format("/vsicurl/http://127.0.0.1:9/q.shp")), "neither GeoJSON"),
        "a virtual dataset called shapefile": (_vector("zones.shp", _VRT.format("/vsizip/q.zip/q.shp")), "neither GeoJSON"),
        "a shapefile without its parts": (_vector("zones.shp", b"\x00\x00\x27\x0a" + bytes(96)), "zones.dbf"),
        "a GeoPackage that leads away": (_geopackage, "another file"),
        "a network address": (
            lambda folder: write_study(folder, {"regions": {"path": "/vsicurl/http://127.0.0.1:9/q.shp", "property": "n"}}),
            "no such file",
        ),
    },
}  # fmt: skip
WORDS = {f"{source}: {name}": word for source, changes in PLACE.items() for name, (_, word) in changes.items()}


def _west(data: xr.Dataset) -> xr.Dataset:
    data = data.assign_coords(lon=-data.lon)
    data["lon"].attrs["units"] = "degrees_west"
    return data


def _radians(data: xr.Dataset) -> xr.Dataset:
    data = _in_radians(data)
    for axis in ("lat", "lon"):
        data[axis].attrs["units"] = "radians"
    return data


def _bounded_corners(data: xr.Dataset) -> xr.Dataset:
    for axis, centre in (("lat", LAT), ("lon", LON)):
        data[f"{axis}_bnds"] = (axis, "two"), np.stack([centre - 15, centre + 15], axis=1)
    data = _corners(data)
    for axis in ("lat", "lon"):
        data[axis].attrs["bounds"] = f"{axis}_bnds"
    return data


SAME_PLACE: dict[str, tuple[str, Change]] = {  # other ways to write the same, by name: source and change
    "land fraction: degrees west": ("land_fraction", _fields("land.nc", _west)),
    "land fraction: radians with their unit": ("land_fraction", _fields("land.nc", _radians)),
    "land fraction: corners with bounds": ("land_fraction", _fields("land.nc", _bounded_corners)),
    "predictors: degrees west": ("predictors", _fields("weather.nc", _west)),
    "inversions: corners with bounds": ("inversions_gridded", _fields("flux.nc", _bounded_corners)),
    "inversions: radians with their unit": ("inversions_gridded", _fields("flux.nc", _radians)),
    "region mask: polygons": ("region_mask", _zones()),
    "region mask: a third class called sea": ("region_mask", _flags([1, 2, 3], "north south sea")),
}

"""Features of a vector file: GeoJSON, GeoPackage or shapefile, known by content, and no other driver is ever asked."""

import json
import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from dualflux.errors import InputError

EXTRA = "pip install 'dualflux[regions]' (shapely, and pyogrio for formats other than GeoJSON)"
SIDE_FILES = (".dbf", ".shx", ".prj", ".cpg")  # what else a shapefile's content is made of
_NEEDED = (".dbf", ".shx")
_SHAPEFILE, _SQLITE, _GEOPACKAGE = b"\x00\x00\x27\x0a", b"SQLite format 3\x00", (b"GPKG", b"GP10", b"GP11")
_OWN_TABLES = ("rtree", "fts3", "fts4", "fts5")  # indexes that SQLite itself keeps
_DRIVERS = {"shapefile": "ESRI Shapefile", "GeoPackage": "GPKG"}


def kind_of(path: Path) -> str:
    """`GeoJSON`, `shapefile` or `GeoPackage`, by the file's first bytes.

    Raises
    ------
    InputError
        It is none of them.
    """
    with path.open("rb") as file:
        start = file.read(100)
    if start[:4] == _SHAPEFILE:
        return "shapefile"
    if start[:16] == _SQLITE and start[68:72] in _GEOPACKAGE:
        return "GeoPackage"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return "GeoJSON"
    raise InputError(
        f"{path}: cannot be read: neither GeoJSON, GeoPackage nor shapefile (it starts with {start[:12]!r}); "
        "convert it (ogr2ogr -f GPKG out.gpkg in); compressed files are unpacked first"
    )


def side_files(path: Path) -> list[Path]:
    """The other files that a shapefile's content stands in, where they exist; none of other files."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        if file.read(4) != _SHAPEFILE:
            return []
    return [p for suffix in SIDE_FILES if (p := _beside(path, suffix)) is not None]


def _beside(path: Path, suffix: str) -> Path | None:
    return next((p for p in (path.with_suffix(suffix), path.with_suffix(suffix.upper())) if p.is_file()), None)


def read_features(path: Path, name: str, shapely: ModuleType) -> tuple[str, list[tuple[Any, Any]]]:
    """The file's kind, and label (the property `name`) and geometry of each feature.

    Raises
    ------
    InputError
        The file cannot be read, is of another format, leads to other files, or pyogrio is missing.
    """
    kind = kind_of(path)
    if kind == "GeoJSON":
        return kind, _read_geojson(path, name, shapely)
    if kind == "GeoPackage":
        _look_inside(path)
    return kind, _read_with_driver(path, name, kind, shapely)


def _read_geojson(path: Path, name: str, shapely: ModuleType) -> list[tuple[Any, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        features = content["features"]
        return [((f.get("properties") or {}).get(name), shapely.from_geojson(json.dumps(f["geometry"]))) for f in features]
    except (
        UnicodeDecodeError,
        json.JSONDecodeError,
        RecursionError,
        KeyError,
        TypeError,
        AttributeError,
        shapely.errors.ShapelyError,
    ) as error:
        raise InputError(f"{path}: not a GeoJSON collection of features in UTF-8 ({error}); export it as such") from error


def _look_inside(path: Path) -> None:
    """Raise InputError for a GeoPackage that is being written, or whose tables may stand in other files."""
    wal = path.with_name(f"{path.name}-wal")
    if wal.is_file() and wal.stat().st_size:
        raise InputError(f"{path}: changes to it still stand in {wal.name}; close the program that has it open (QGIS) and try again")
    try:
        base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            base.execute("PRAGMA trusted_schema = OFF")
            tables = base.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        finally:
            base.close()
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot be read ({error}); the GeoPackage is damaged: get it again") from error
    for table, sql in tables:
        words = str(sql).lower().split()
        if words[:2] != ["create", "virtual"]:
            continue
        module = str(sql).lower().split(" using ", 1)[-1].split("(")[0].strip()
        if module not in _OWN_TABLES:
            raise InputError(
                f"{path}: table `{table}` is made by `{module}` and may stand in another file, which is not followed; export it anew"
            )


def _read_with_driver(path: Path, name: str, kind: str, shapely: ModuleType) -> list[tuple[Any, Any]]:
    try:
        import pyogrio  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(f"{path.name}: formats other than GeoJSON need an optional package: {EXTRA}") from error
    with TemporaryDirectory() as folder:  # under the driver's own suffix: the content decides, not the name
        try:
            plain = _linked(path, kind, Path(folder))
            found = pyogrio.read_info(plain)["driver"]
            if found != _DRIVERS[kind]:
                raise InputError(f"{path}: a {kind} that the driver {found} would read; convert it anew")
            meta, _, geometry, fields = pyogrio.raw.read(plain, columns=[name])
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, ValueError) as error:
            said = str(error).replace(folder, str(path.parent))
            raise InputError(f"{path}: cannot be read ({said}); allowed: whole GeoJSON, GeoPackage, shapefile; get it again") from error
    _refuse_projection(meta.get("crs"), path)
    labels = list(fields[0]) if name in list(meta["fields"]) else [None] * len(geometry)
    return list(zip(labels, shapely.from_wkb(geometry), strict=True))


def _linked(path: Path, kind: str, folder: Path) -> Path:
    if kind == "GeoPackage":
        (folder / "regions.gpkg").symlink_to(path.absolute())
        return folder / "regions.gpkg"
    absent = [suffix for suffix in _NEEDED if _beside(path, suffix) is None]
    if absent:
        raise InputError(
            f"{path}: a shapefile needs {' and '.join(path.with_suffix(s).name for s in absent)} beside it; copy all its parts, "
            f"{', '.join(('.shp', *SIDE_FILES))}"
        )
    (folder / "regions.shp").symlink_to(path.absolute())
    for suffix in SIDE_FILES:
        if (part := _beside(path, suffix)) is not None:
            (folder / f"regions{suffix}").symlink_to(part.absolute())
    return folder / "regions.shp"


def _refuse_projection(crs: object, path: Path) -> None:
    if isinstance(crs, str) and crs.upper().startswith(("PROJCS", "PROJCRS", "EPSG:3857", "EPSG:32")):
        raise InputError(
            f"{path}: projected coordinates ({crs[:60]}); needed: degrees of longitude and latitude; reproject it to EPSG:4326"
        )

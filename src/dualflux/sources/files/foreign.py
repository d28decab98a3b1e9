"""What a file is that cannot be read here, and what to do with it: users get many formats under the names of two."""

import errno
import json
import zipfile
from pathlib import Path

import h5py

_NCCOPY = "`nccopy -k nc4 -d 4 OLD NEW`"
_BY_START = (  # first bytes, what it is, what to do
    (b"CDF\x05", "NetCDF of the kind CDF-5 (64-bit data)", "convert it to NetCDF-4: `nccopy -k nc4 OLD NEW`"),
    (b"\x0e\x03\x13\x01", "HDF4, as MODIS comes", "convert it to NetCDF: `gdal_translate -of netCDF OLD NEW`, or `h4toh5 OLD NEW`"),
    (b"GRIB", "GRIB", "convert it to NetCDF: `cdo -f nc4 copy OLD NEW`, or `grib_to_netcdf`"),
    (b"II*\0", "a TIFF image (GeoTIFF)", "convert it to NetCDF: `gdal_translate -of netCDF OLD NEW`"),
    (b"MM\0*", "a TIFF image (GeoTIFF)", "convert it to NetCDF: `gdal_translate -of netCDF OLD NEW`"),
    (b"BZh", "packed with bzip2", "unpack it: `bunzip2 FILE`"),
    (b"\xfd7zX", "packed with xz", "unpack it: `unxz FILE`"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it: `unzstd FILE`"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it: `7z x FILE`"),
    (b"Rar!", "a RAR archive", "unpack it: `unrar x FILE`"),
    (b"PAR1", "a Parquet table", "give NetCDF or Zarr; of references (kerchunk) the files that they point to"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file: `git lfs pull`"),
)  # fmt: skip
_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
FILTERS = {  # of HDF5 beyond those of every installation
    307: "bzip2", 4: "szip", 32000: "LZF", 32001: "Blosc", 32004: "LZ4", 32008: "bitshuffle", 32013: "ZFP", 32015: "Zstandard (zstd)",
    32017: "SZ", 32018: "FCIDECOMP", 32019: "JPEG", 32023: "Granular BitRound", 32024: "SZ3", 32026: "Blosc2", 32028: "JPEG-LS",
}  # fmt: skip


def what_it_is(path: Path) -> str:
    """What a file or folder that is neither NetCDF nor Zarr is, and what to do: the end of a sentence that begins with its name."""
    if path.is_dir():
        return _folder(path)
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "the file is empty; get it again"
    if start[:4] == b"PK\x03\x04":
        return _archive(path)
    for first, kind, todo in _BY_START:
        if start.startswith(first):
            return f"{kind}, which is not read here; {todo}"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head")):
        return f"neither NetCDF nor Zarr but a web page (it starts with {start[:15]!r}); log in where it comes from and get the file again"
    if text.startswith(b"<?xml") or text.startswith(b"<netcdf"):
        return "neither NetCDF nor Zarr but XML (NcML, or a server's answer); give the files themselves"
    if text.startswith(b"{"):
        return _json(path)
    if len(set(start)) == 1 and start[:1] == b"\0":
        return "neither NetCDF nor Zarr: it starts with zeros, as a download that broke off leaves it; get it again"
    return f"neither NetCDF nor Zarr (it starts with {start[:4]!r}); convert it"


def is_zarr(path: Path) -> bool:
    """Whether a folder holds the metadata of a Zarr store."""
    return any((path / name).is_file() for name in _ZARR)


def _folder(path: Path) -> str:
    inside = sorted(p.name for p in path.iterdir())
    if any(name.endswith((".parq", ".parquet")) for name in [*inside, *(p.name for p in path.glob("*/*"))]):
        return (
            "a folder of references to other files (kerchunk, Parquet), which are not followed; give the files that they point to, "
            "or a copy as Zarr"
        )
    if {"snapshots", "manifests"} <= set(inside):
        return "an Icechunk repository, which is not read here; write its newest state as Zarr (xarray: `to_zarr`)"
    stores = [name for name in inside if is_zarr(path / name)]
    if stores:
        return f"a folder that holds Zarr stores ({', '.join(stores[:3])}) but is none; name one of them"
    found = ", ".join(inside[:3]) or "nothing"
    return f"a folder without the metadata of a Zarr store ({', '.join(_ZARR[:2])}); it holds {found}; copy the whole store, or name a file"


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        return f"a damaged zip archive ({error}); get it again"
    if any(name.rsplit("/", 1)[-1] in _ZARR for name in names):
        return "a Zarr store in a zip archive, which is not read here; unpack it into a folder: `unzip FILE -d NAME.zarr`, and name that"
    return f"a zip archive, not data (it holds {', '.join(names[:3]) or 'nothing'}); unpack it: `unzip FILE`"


def _json(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        content = {}
    keys = set(content) | set(content.get("refs", {}) if isinstance(content.get("refs"), dict) else ())
    if "refs" in keys or any(str(key).endswith((".zarray", ".zgroup")) for key in keys):
        return (
            "references to other files (kerchunk), which are not followed; give the files that they point to, or a copy as Zarr "
            "(xarray: `to_zarr`)"
        )
    if path.name in _ZARR:
        return "the metadata of a Zarr store; name the folder it stands in"
    return "neither NetCDF nor Zarr but JSON; give the data file"


def why_not_opened(error: BaseException, path: Path) -> str | None:
    """The cause of a failed opening that lies with the machine, and what to do; None where it lies with the file."""
    said, number = str(error).lower(), getattr(error, "errno", None)
    if "unable to lock file" in said or "file locking" in said:
        if number in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK) or "temporarily unavailable" in said:
            return (
                "another program holds a lock on it, as one that is writing it does; wait until it has closed the file; if none does, set "
                "the environment variable HDF5_USE_FILE_LOCKING=FALSE"
            )
        return "its file system has no file locks; set the environment variable HDF5_USE_FILE_LOCKING=FALSE and start again"
    if number in (errno.ENOLCK, errno.EOPNOTSUPP):
        return "its file system has no file locks; set the environment variable HDF5_USE_FILE_LOCKING=FALSE and start again"
    if isinstance(error, PermissionError):
        return f"may not be read by this account; `chmod u+r {path.name}`, or ask its owner"
    if "filter" in said or "plugin" in said:
        return f"is compressed with a filter that this HDF5 lacks; {HOW_TO_DECOMPRESS}"
    return None


HOW_TO_DECOMPRESS = f"install it (`pip install hdf5plugin`, nothing else is needed), or rewrite the file where it can be read: {_NCCOPY}"


def unknown_filter(data: h5py.Dataset) -> str | None:
    """The name of a compression that this HDF5 library cannot undo, None where it can read the data."""
    plan = data.id.get_create_plist()
    for position in range(plan.get_nfilters()):
        code = plan.get_filter(position)[0]
        if h5py.h5z.filter_avail(code) or _left_out(data, position):
            continue
        _load_plugins()
        if not h5py.h5z.filter_avail(code):
            return f"{FILTERS.get(code, 'an unknown compression')}, HDF5 filter {code}"
    return None


def _left_out(data: h5py.Dataset, position: int) -> bool:
    """Whether an optional filter was left out when the first chunk was written."""
    if data.chunks is None or data.id.get_num_chunks() == 0:
        return True
    return bool(data.id.get_chunk_info(0).filter_mask >> position & 1)


def _load_plugins() -> None:
    """Register the filters of the package hdf5plugin, where it is installed."""
    try:
        import hdf5plugin  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        return

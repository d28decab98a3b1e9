"""Corruptions of good inputs, by kind of source, and changes that must not matter."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from corruptions_place import PLACE, SAME_PLACE
from good_inputs import (
    CHANGES,
    DAYS,
    MONTHS,
    SITES,
    STUDY,
    archive_names,
    bif,
    cams_name,
    flux_file,
    flux_name,
    write_archive,
    write_study,
)

Change = Callable[[Path], None]
HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
ONE = flux_name("AA-One")
GCB = "land_flux_only_fossil_cement_adjusted"


class Corruption(NamedTuple):
    """A change of the good files of a kind of source; its message must hold the word `cause`."""

    name: str
    source: str
    change: Change
    cause: str = ""


# --- ways to change a file ---


def cut(name: str, part: float = 0.6) -> Change:
    """A download that broke off."""

    def change(folder: Path) -> None:
        whole = (folder / name).read_bytes()
        end = int(part * len(whole))
        while whole[end - 1 : end] in (b"\n", b","):
            end += 2  # in the middle of a line and of a field
        (folder / name).write_bytes(whole[:end])

    return change


def content(name: str, what: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(what) and None


def recode(name: str, encoding: str, old: str = "", new: str = "") -> Change:
    return lambda folder: (folder / name).write_bytes((folder / name).read_text("utf-8").replace(old, new).encode(encoding)) and None


def text(name: str, old: str, new: str, count: int = -1) -> Change:
    def change(folder: Path) -> None:
        found = (folder / name).read_text("utf-8")
        if old not in found:
            raise ValueError(f"{name} does not hold {old!r}")
        (folder / name).write_text(found.replace(old, new, count), "utf-8")

    return change


def table(name: str, edit: Callable[[pd.DataFrame], pd.DataFrame], **how: Any) -> Change:
    return lambda folder: edit(pd.read_csv(folder / name, dtype={"TIMESTAMP": str})).to_csv(folder / name, index=False, **how)


def fields(name: str, edit: Callable[[xr.Dataset], xr.Dataset], **how: Any) -> Change:
    def change(folder: Path) -> None:
        data = xr.load_dataset(folder / name, engine="h5netcdf")
        (folder / name).unlink()
        edit(data).to_netcdf(folder / name, **{"engine": "h5netcdf", **how})

    return change


def swapped(*columns: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    first, second = columns
    return lambda t: t.rename(columns={first: second, second: first})


def where(column: str, value: Any, chosen: slice | int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The table with another value in some rows of a column."""

    def edit(t: pd.DataFrame) -> pd.DataFrame:
        t = t.astype({column: object})
        t.loc[t.index[chosen], column] = value
        return t

    return edit


def with_value(variable: str, value: float, **at: Any) -> Callable[[xr.Dataset], xr.Dataset]:
    def edit(data: xr.Dataset) -> xr.Dataset:
        data[variable][at] = value
        return data

    return edit


def units(variable: str, unit: str | None) -> Callable[[xr.Dataset], xr.Dataset]:
    def edit(data: xr.Dataset) -> xr.Dataset:
        del data[variable].attrs["units"]
        return data if unit is None else data.assign({variable: data[variable].assign_attrs(units=unit)})

    return edit


def moved(data: xr.Dataset, years: int) -> xr.Dataset:
    return data.assign_coords(time=pd.DatetimeIndex(data["time"].to_numpy()) + pd.DateOffset(years=years))


def twice(step: int) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda d: d.isel(time=[*range(step + 1), *range(step, d.sizes["time"])])


def without(*steps: int) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda d: d.isel(time=[i for i in range(d.sizes["time"]) if i not in steps])


def undated(data: xr.Dataset) -> xr.Dataset:
    """Months counted from one, without a unit."""
    return data.assign_coords(time=np.arange(1, data.sizes["time"] + 1))


def as_words(variable: str) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda d: d.assign({variable: (d[variable].dims, np.full(d[variable].shape, "warm", dtype=object), d[variable].attrs)})


def study(**changes: Any) -> Change:
    """Another study file (of the kinds whose study is the plain one)."""
    return lambda folder: write_study(folder, changes)


def entry(kind: str, key: str, position: int, **changes: Any) -> Change:
    """The kind's study with one source changed."""
    found = [dict(one) for one in {**STUDY, **CHANGES[kind]}[key]]
    found[position].update(changes)
    return lambda folder: write_study(folder, {**CHANGES[kind], key: found})


def copied(old: str, new: str) -> Change:
    return lambda folder: shutil.copy(folder / old, folder / new) and None


def several(*changes: Change) -> Change:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


# --- towers ---

_T = "towers.csv"
TOWERS_TABLE = {
    "cut short": cut(_T),
    "empty": content(_T, b""),
    "header only": table(_T, lambda t: t.iloc[:0]),
    "a page not found": content(_T, HTML),
    "UTF-16": recode(_T, "utf-16"),
    "Latin-1": recode(_T, "latin-1", "AA-One", "ÄÄ-One"),
    "semicolons": table(_T, lambda t: t, sep=";"),
    "decimal commas": table(_T, lambda t: t, decimal=","),
    "days twice": table(_T, lambda t: pd.concat([t, t.iloc[10:20]])),
    "days twice with other values": table(_T, lambda t: pd.concat([t, t.iloc[10:20].assign(nee=3.0)])),
    "text in numbers": table(_T, where("nee", "bad", 100)),
    "infinite": table(_T, where("nee", "inf", 100)),
    "latitude and longitude swapped": table(_T, swapped("lat", "lon")),
    "flux and uncertainty swapped": table(_T, swapped("nee", "uncertainty")),
    "flux in mg": table(_T, lambda t: t.assign(nee=1000 * t.nee)),
    "fill value of another program": table(_T, where("nee", -99999, slice(5, 9))),
    "days first in dates": table(_T, lambda t: t.assign(time=pd.to_datetime(t.time).dt.strftime("%d/%m/%Y"))),
    "a day that is not": table(_T, where("time", "2001-02-30", 58)),
    "stamps at noon": table(_T, lambda t: t.assign(time=t.time + "T12:00")),
    "unknown class": table(_T, lambda t: t.assign(igbp=t.igbp.replace("GRA", "Grassland"))),
    "a site in two places": table(_T, where("lat", 46.0, slice(0, 100))),
    "shifted ten years": table(_T, lambda t: t.assign(time=t.time.str.replace("200", "199", n=1))),
    "fill values": table(_T, where("nee", -9999, slice(40, 71))),
    "one site shifted ten years": table(_T, lambda t: t.assign(time=t.time.where(t.site != "BB-Two", t.time.str.replace("200", "199")))),
    "blank fluxes": table(_T, where("nee", "", slice(700, 800))),
}

_F = f"flux/{ONE}"
TOWERS_FLUXNET = {
    "cut short": cut(_F),
    "empty": content(_F, b""),
    "header only": table(_F, lambda t: t.iloc[:0]),
    "a page not found": content(_F, HTML),
    "UTF-16": recode(_F, "utf-16"),
    "semicolons": table(_F, lambda t: t, sep=";"),
    "days twice": table(_F, lambda t: pd.concat([t, t.iloc[10:20]])),
    "text in numbers": table(_F, where("NEE_VUT_REF", "bad", 100)),
    "stamps with dashes": table(_F, lambda t: t.assign(TIMESTAMP=DAYS.strftime("%Y-%m-%d"))),
    "months for days": table(_F, lambda t: t.assign(TIMESTAMP=t.TIMESTAMP.str[:6])),
    "quality 0 to 3": table(_F, lambda t: t.assign(NEE_VUT_REF_QC=np.arange(len(t)) % 4)),
    "quality in percent": table(_F, lambda t: t.assign(NEE_VUT_REF_QC=95.0)),
    "flux and quality swapped": table(_F, swapped("NEE_VUT_REF", "NEE_VUT_REF_QC")),
    "flux in mg": table(_F, lambda t: t.assign(NEE_VUT_REF=1000 * t.NEE_VUT_REF)),
    "negative uncertainty": table(_F, where("NEE_VUT_REF_RANDUNC", -0.5, slice(0, 9))),
    "named half-hourly": lambda folder: (folder / _F).rename(folder / _F.replace("_DD_", "_HH_")) and None,
    "named JapanFlux": lambda folder: (
        (folder / _F).rename(folder / _F.replace("FLX_", "JPX_").replace("FLUXNET2015", "JapanFLUX")) and None
    ),
    "site without coordinates": table("sites.csv", lambda t: t.iloc[1:]),
    "latitude beyond the pole": table("sites.csv", where("lat", 145.0, 0)),
    "flux column renamed": table(_F, lambda t: t.rename(columns={"NEE_VUT_REF": "NEE"})),
    "all fill values": table(_F, lambda t: t.assign(NEE_VUT_REF=-9999)),
    "poor quality for a summer": table(_F, where("NEE_VUT_REF_QC", 0.4, slice(150, 240))),
    "fill values": table(_F, where("NEE_VUT_REF", -9999, slice(40, 71))),
    "an older release beside it": lambda folder: (
        flux_file(np.random.default_rng(1)).iloc[:300].to_csv(folder / "flux" / ONE.replace("1-4", "1-3"), index=False)
    ),
}

_Z, _ZF, _ZB = archive_names("AA-One")


def _rezip(flux: Callable[[str], str] | None = None, facts: Callable[[str], str] | None = None) -> Change:
    """The archive packed again with changed members."""

    def change(folder: Path) -> None:
        with zipfile.ZipFile(folder / "download" / _Z) as archive:
            inside = archive.read(_ZF).decode()
        same: Callable[[str], str] = lambda words: words  # noqa: E731
        write_archive(folder / "download", "AA-One", (flux or same)(inside), (facts or same)(bif("AA-One")))

    return change


def _bits(position: int, bits: int) -> Change:
    """The flag (at 6 and 8) or method (8 and 10) of the first member, in its own header and in the archive's list."""

    def change(folder: Path) -> None:
        found = bytearray((folder / "download" / _Z).read_bytes())
        directory = found.index(b"PK\x01\x02")
        found[position] |= bits
        found[directory + position + 2] |= bits
        (folder / "download" / _Z).write_bytes(bytes(found))

    return change


def _flipped(folder: Path) -> None:
    """Bytes changed in the packed data."""
    found = bytearray((folder / "download" / _Z).read_bytes())
    for i in range(400, 440):
        found[i] ^= 0xFF
    (folder / "download" / _Z).write_bytes(bytes(found))


TOWERS_ARCHIVE = {
    "nothing inside": lambda folder: zipfile.ZipFile(folder / "download" / _Z, "w").close(),
    "cut short": lambda folder: cut(f"download/{_Z}")(folder),
    "a page not found": content(f"download/{_Z}", HTML),
    "empty": content(f"download/{_Z}", b""),
    "packed bytes changed": _flipped,
    "encrypted": _bits(6, 1),
    "unknown compression": _bits(8, 93),
    "unpacks to a thousand times its size": _rezip(facts=lambda t: t + "x" * 2_000_000),
    "flux file cut short inside": _rezip(lambda t: t[: int(0.6 * len(t))].rsplit(",", 1)[0]),
    "flux file a page not found": _rezip(lambda t: HTML.decode()),
    "text in numbers": _rezip(lambda t: t.replace("1.0", "good", 1)),
    "no metadata": lambda folder: write_archive(folder / "download", "AA-One", flux_file(np.random.default_rng(1)).to_csv(), None),
    "metadata without a latitude": _rezip(facts=lambda t: t.replace("LOCATION_LAT", "LOCATION_ELEV")),
    "latitude in degrees and minutes": _rezip(facts=lambda t: t.replace("45.0", "45d0m N")),
    "clock in words": _rezip(facts=lambda t: t.replace("UTC_OFFSET,1", "UTC_OFFSET,CET")),
    "the same archive twice": copied(f"download/{_Z}", f"download/copy_{_Z}"),
    "all fill values": _rezip(lambda t: "\n".join(",".join([*r.split(",")[:2], "-9999", *r.split(",")[3:]]) if i else r
                                                 for i, r in enumerate(t.splitlines())) + "\n"),
}  # fmt: skip

# --- inversions ---

_I = "inversions.csv"
INVERSIONS_TABLE = {
    "cut short": cut(_I),
    "empty": content(_I, b""),
    "UTF-16": recode(_I, "utf-16"),
    "Latin-1": recode(_I, "latin-1", "A,north", "Ä,north"),
    "semicolons": table(_I, lambda t: t, sep=";"),
    "text in numbers": table(_I, where("value", "1.2 PgC", 3)),
    "infinite": table(_I, where("value", "-inf", 3)),
    "product and region swapped": table(_I, swapped("product", "region")),
    "value and unit swapped": table(_I, swapped("value", "unit")),
    "unit of an area": table(_I, lambda t: t.assign(unit="gC m-2 d-1")),
    "unit misspelt in one row": table(_I, where("unit", "PgC/mnth", 30)),
    "no unit in one row": table(_I, where("unit", "", 30)),
    "months twice": table(_I, lambda t: pd.concat([t, t.iloc[:3]])),
    "a month missing": table(_I, lambda t: t.drop(index=5)),
    "one region shifted a month": table(
        _I, lambda t: t.assign(time=t.time.where((t["product"] != "B") | (t.region != "south"), pd.Series(
            (pd.to_datetime(t.time) + pd.DateOffset(months=1)).dt.strftime("%Y-%m-%d"))))
    ),
    "shifted ten years": table(_I, lambda t: t.assign(time=t.time.str.replace("200", "199", n=1))),
    "months first in dates": table(_I, lambda t: t.assign(time=pd.to_datetime(t.time).dt.strftime("%m/%Y"))),
    "a member of fill values": table(_I, lambda t: t.assign(value=t.value.where(t["product"] != "B", -9999))),
    "a region missing": table(_I, lambda t: t[t.region != "south"]),
    "the globe among the regions": table(_I, lambda t: pd.concat([t, t[t.region == "north"].assign(region="global")])),
}  # fmt: skip

_G = "flux.nc"
INVERSIONS_GRIDDED = {
    "cut short": cut(_G),
    "a page not found": content(_G, HTML),
    "unit of another format": fields(_G, units("nbe", "kgC m-2 s-1")),
    "unit that is none, not in the study either": several(
        entry("inversions_gridded", "inversions", 0, units=None), fields(_G, units("nbe", "flux units"))
    ),
    "neither unit": several(
        entry("inversions_gridded", "inversions", 0, units=None), fields(_G, units("nbe", None))
    ),
    "variable renamed": fields(_G, lambda d: d.rename(nbe="flux")),
    "words for numbers": fields(_G, as_words("nbe")),
    "all missing": fields(_G, with_value("nbe", np.nan)),
    "one cell missing": fields(_G, with_value("nbe", np.nan, lat=4, lon=2)),
    "one cell missing in one month": fields(_G, with_value("nbe", np.nan, time=7, lat=4, lon=2)),
    "an undeclared fill value": fields(_G, with_value("nbe", 1e20, time=7, lat=4, lon=2)),
    "a month twice": fields(_G, twice(3)),
    "a month missing": fields(_G, without(6)),
    "shifted ten years": fields(_G, lambda d: moved(d, 10)),
    "months without a date": fields(_G, undated),
    "a step without a date": fields(_G, lambda d: d.assign_coords(time=[np.datetime64("NaT"), *d.time.to_numpy()[1:]])),
    "half the globe": fields(_G, lambda d: d.isel(lat=slice(3, None))),
    "latitude and longitude swapped": fields(_G, lambda d: d.rename(lat="lon", lon="lat")),
    "no latitude values": fields(_G, lambda d: d.drop_vars("lat")),
    "a latitude twice": fields(_G, lambda d: d.assign_coords(lat=[-75.0, -45, -15, 15, 15, 75])),
    "negative area": several(
        entry("inversions_gridded", "inversions", 0, area="area"), fields(_G, lambda d: d.assign(area=-d.area))
    ),
    "area of one cell negative": several(
        entry("inversions_gridded", "inversions", 0, area="area"), fields(_G, with_value("area", -1e11, lat=0, lon=0))
    ),
    "area in km2": several(
        entry("inversions_gridded", "inversions", 0, area="area"), fields(_G, lambda d: d.assign(area=d.area / 1e6))
    ),
    "per cell, said per area": fields(_G, lambda d: d.assign(nbe=(d.nbe * d.area * 365e-15).assign_attrs(units="PgC yr-1"))),
}  # fmt: skip

_B = "gcb.nc"
INVERSIONS_GCB = {
    "cut short": cut(_B),
    "a member all missing": fields(_B, with_value(GCB, np.nan, ensemble_member=1)),
    "a member missing in one month": fields(_B, with_value(GCB, np.nan, ensemble_member=1, time=8)),
    "members of one name": fields(
        _B, lambda d: d.assign(ensemble_member_name=d.ensemble_member_name.isel(ensemble_member=[0, 0]))
    ),
    "no names of members": fields(_B, lambda d: d.drop_vars("ensemble_member_name")),
    "no members": fields(_B, lambda d: d.isel(ensemble_member=0)),
    "fossil emissions for the land": entry("inversions_gcb", "inversions", 0, variable="fossil_fuel_emissions"),
    "negative area": fields(_B, lambda d: d.assign(cell_area=-d.cell_area)),
    "area of one cell negative": fields(_B, lambda d: with_value("cell_area", -1e11, latitude=0, longitude=0)(d)),
    "area missing in a cell": fields(_B, with_value("cell_area", np.nan, latitude=2, longitude=2)),
    "unit of an integral": fields(_B, units(GCB, "PgC/yr")),
    "units contradict": entry("inversions_gcb", "inversions", 0, units="gC m-2 d-1"),
    "a month twice": fields(_B, twice(3)),
    "a month missing": fields(_B, without(6)),
    "shifted ten years": fields(_B, lambda d: moved(d, 10)),
    "months without a date": fields(_B, undated),
}  # fmt: skip

_C = f"cams/{cams_name(MONTHS[4])}"
INVERSIONS_CAMS = {
    "one file cut short": cut(_C),
    "one file a page not found": content(_C, HTML),
    "a month missing": lambda folder: (folder / _C).unlink(),
    "a month twice": copied(_C, _C.replace("v23r1", "v23r2")),
    "no month in a name": lambda folder: (folder / _C).rename(folder / "cams/flux_may.nc") and None,
    "another unit in one file": fields(_C, units("flux_apos_bio", "kgC m-2 s-1")),
    "no area in one file": fields(_C, lambda d: d.drop_vars("area")),
    "negative area in one file": fields(_C, lambda d: d.assign(area=-d.area)),
    "all missing in one file": fields(_C, with_value("flux_apos_bio", np.nan)),
    "a cell missing in one file": fields(_C, with_value("flux_apos_bio", np.nan, latitude=3, longitude=3)),
    "the prior for the posterior": entry("inversions_cams", "inversions", 0, variable="flux_apri_bio"),
}

# --- the rest ---

_A, _L = "fire.csv", "lateral.nc"
ADJUSTMENTS = {
    "fire cut short": cut(_A),
    "fire in text": table(_A, where("value", "about 2", 0)),
    "fire UTF-16": recode(_A, "utf-16"),
    "fire without a region": table(_A, lambda t: t[t.region == "north"]),
    "fire of an unknown unit": table(_A, lambda t: t.assign(unit="Tg CO2")),
    "fire without its last year": table(_A, lambda t: t[t.year == 2001]),
    "fire of a year twice": table(_A, lambda t: pd.concat([t, t])),
    "fire of the other sign": table(_A, lambda t: t.assign(value=-t.value)),
    "fire of half a year": table(_A, lambda t: t.assign(year=t.year + 0.5)),
    "fire without a monthly profile": entry("adjustments", "adjustments", 0, monthly_profile=None),
    "a sink for an emission": entry("adjustments", "adjustments", 1, name="allcropsink"),
    "lateral cut short": cut(_L),
    "lateral without the variable": fields(_L, lambda d: d.rename(allcropsource="allcropsink")),
    "lateral all missing": fields(_L, with_value("allcropsource", np.nan)),
    "lateral of the other sign": fields(_L, lambda d: d.assign(allcropsource=(-d.allcropsource).assign_attrs(units="gC m-2 yr-1"))),
    "lateral unit of an integral": fields(_L, units("allcropsource", "PgC yr-1")),
    "lateral shifted ten years": fields(_L, lambda d: moved(d, -10)),
    "lateral a year twice": fields(_L, twice(1)),
}

_W, _S = "weather.nc", "static.nc"
PREDICTORS = {
    "cut short": cut(_W),
    "a page not found": content(_W, HTML),
    "another unit": fields(_W, units("ta", "mm d-1")),
    "no unit anywhere": several(
        study(predictors=[{k: v for k, v in STUDY["predictors"][0].items() if k != "units"}, *STUDY["predictors"][1:]]),
        fields(_W, units("ta", None)),
    ),
    "days twice": fields(_W, twice(500)),
    "days backwards": fields(_W, lambda d: d.isel(time=slice(None, None, -1))),
    "the last month missing": fields(_W, lambda d: d.isel(time=slice(None, -31))),
    "a month missing inside": fields(_W, without(*range(500, 530))),
    "days without a date": fields(_W, undated),
    "all missing": fields(_W, with_value("ta", np.nan)),
    "a cell missing on one day": fields(_W, with_value("ta", np.nan, time=600, lat=2, lon=2)),
    "fill values undeclared": fields(_W, with_value("ta", -9999, lat=2, lon=2)),
    "infinite": fields(_W, with_value("ta", np.inf, time=600, lat=2, lon=2)),
    "words for numbers": fields(_S, as_words("height")),
    "no longitude values": fields(_S, lambda d: d.drop_vars("lon")),
    "half the globe": fields(_S, lambda d: d.isel(lat=slice(3, None))),
    "classes in percent": fields(_S, lambda d: d.assign(cover=(100 * d.cover).assign_attrs(units="1"))),
    "a negative class": fields(_S, with_value("cover", -0.3, lat=2, lon=2)),
    "classes of one name": fields(_S, lambda d: d.assign_coords({"class": ["ENF", "ENF"]})),
    "a class that towers have missing": fields(_S, lambda d: d.assign_coords({"class": ["ENF", "CRO"]})),
}

_R = "regions.nc"
_FRACTIONS = study(regions={"path": _R, "variable": "share"})


def _shares(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[xr.Dataset], xr.Dataset]:
    """The mask as fractions of two regions."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        whole = np.stack([(data.band == number).to_numpy().astype(float) for number in (1, 2)])
        return data.assign(share=(("region", "lat", "lon"), change(whole))).assign_coords(region=["north", "south"])

    return edit


REGION_MASK = {
    "cut short": cut(_R),
    "a page not found": content(_R, HTML),
    "no names": fields(_R, lambda d: d.assign(band=d.band.drop_attrs())),
    "a name too many": fields(_R, lambda d: d.assign(band=d.band.assign_attrs(flag_meanings="north south east"))),
    "two regions of one name": fields(_R, lambda d: d.assign(band=d.band.assign_attrs(flag_meanings="north north"))),
    "a region named global": fields(_R, lambda d: d.assign(band=d.band.assign_attrs(flag_meanings="north global"))),
    "no cell of a region": fields(_R, lambda d: d.assign(band=(0 * d.band + 1).assign_attrs(d.band.attrs))),
    "all missing": fields(_R, lambda d: d.assign(band=(d.band * np.nan).assign_attrs(d.band.attrs))),
    "words for numbers": fields(_R, as_words("band")),
    "no latitude values": fields(_R, lambda d: d.drop_vars("lat")),
    "other regions than the inversions": fields(_R, lambda d: d.assign(band=d.band.assign_attrs(flag_meanings="boreal austral"))),
    "fractions that overlap": several(_FRACTIONS, fields(_R, _shares(lambda f: f + 0.2))),
    "fractions in percent": several(_FRACTIONS, fields(_R, _shares(lambda f: 100 * f))),
    "a negative fraction": several(_FRACTIONS, fields(_R, _shares(lambda f: f - 0.1))),
}

_M = "land.nc"
LAND_FRACTION = {
    "cut short": cut(_M),
    "a page not found": content(_M, HTML),
    "percent": fields(_M, lambda d: d.assign(land_fraction=(100 * d.land_fraction).assign_attrs(units="1"))),
    "negative": fields(_M, with_value("land_fraction", -0.5, lat=2, lon=2)),
    "unit of an area": fields(_M, units("land_fraction", "m2")),
    "all missing": fields(_M, with_value("land_fraction", np.nan)),
    "all sea": fields(_M, with_value("land_fraction", 0.0)),
    "with a time": fields(_M, lambda d: d.expand_dims(time=MONTHS[:2])),
    "words for numbers": fields(_M, as_words("land_fraction")),
    "no latitude values": fields(_M, lambda d: d.drop_vars("lat")),
    "latitudes beyond the poles": fields(_M, lambda d: d.assign_coords(lat=d.lat * 2)),
    "the south missing": fields(_M, lambda d: d.isel(lat=slice(3, None))),
    "infinite": fields(_M, with_value("land_fraction", np.inf, lat=2, lon=2)),
}

_P, _Q = "product.nc", "product.csv"
REFERENCES = {
    "map cut short": cut(_P),
    "map of another unit": fields(_P, units("nee", "kgC m-2 s-1")),
    "map without a month": fields(_P, lambda d: d.isel(time=slice(0, 0))),
    "map of a month twice": fields(_P, twice(3)),
    "map with a cell missing": fields(_P, with_value("nee", np.nan, lat=2, lon=2)),
    "map of other years": fields(_P, lambda d: moved(d, 10)),
    "map in words": fields(_P, as_words("nee")),
    "table cut short": cut(_Q),
    "table in text": table(_Q, where("value", "none", 3)),
    "table of an unknown region": table(_Q, lambda t: t.assign(region=t.region.replace("south", "austral"))),
    "table of an unknown unit": table(_Q, lambda t: t.assign(unit="ppm")),
    "table of months twice": table(_Q, lambda t: pd.concat([t, t.iloc[:3]])),
    "table named as one of ours": table(_Q, lambda t: t.assign(product="dual")),
}

_Y = "study.yaml"
STUDY_FILE = {
    "empty": content(_Y, b""),
    "cut short": cut(_Y, 0.5),
    "UTF-16": recode(_Y, "utf-16"),
    "a picture": content(_Y, b"\x89PNG\r\n\x1a\n\x00\x00\x00"),
    "a list": text(_Y, "name: drawn", "- name: drawn"),
    "a tab": text(_Y, "grid:\n  resolution", "grid:\n\tresolution"),
    "an unclosed bracket": text(_Y, "name: drawn", "name: [drawn"),
    "a key twice": text(_Y, "name: drawn", "name: drawn\nname: other"),
    "an unknown key": text(_Y, "target:", "taget:"),
    "an unknown target": text(_Y, "target: nbe", "target: nee"),
    "an unknown format": text(_Y, "format: table", "format: excel"),
    "a value that is no number": text(_Y, "resolution: 30", "resolution: fine"),
    "a number that is none": text(_Y, "resolution: 30", "resolution: .nan"),
    "a resolution that does not divide": text(_Y, "resolution: 30", "resolution: 7"),
    "the period backwards": text(_Y, "'2001-01-01'", "'2005-01-01'"),
    "half a month": text(_Y, "'2002-12-31'", "'2002-12-15'"),
    "a day that is not": text(_Y, "'2002-12-31'", "'2002-02-30'"),
    "an alias": text(_Y, "name: drawn", "name: &a drawn\ndata_root: *a"),
    "a tag": text(_Y, "name: drawn", "name: !!python/name:os.system drawn"),
    "no source": study(towers=[], inversions=[]),
    "a predictor twice": study(predictors=[*STUDY["predictors"], dict(STUDY["predictors"][1])]),
    "a file that is not": study(inversions=[{"path": "nowhere.csv", "format": "table"}]),
}

KINDS: dict[str, dict[str, Change]] = {
    "towers_table": TOWERS_TABLE, "towers_fluxnet": TOWERS_FLUXNET, "towers_archive": TOWERS_ARCHIVE,
    "inversions_table": INVERSIONS_TABLE, "inversions_gridded": INVERSIONS_GRIDDED, "inversions_gcb": INVERSIONS_GCB,
    "inversions_cams": INVERSIONS_CAMS, "adjustments": ADJUSTMENTS, "predictors": PREDICTORS, "region_mask": REGION_MASK,
    "land_fraction": LAND_FRACTION, "references": REFERENCES, "study_file": STUDY_FILE,
}  # fmt: skip
for _kind, _changes in PLACE.items():
    KINDS[_kind] |= {name: change for name, (change, _) in _changes.items()}
CORRUPTIONS = [Corruption(f"{kind}: {name}", kind, change) for kind, changes in KINDS.items() for name, change in changes.items()]


def _in_kelvin(data: xr.Dataset) -> xr.Dataset:
    return data.assign(ta=(data.ta.astype(float) + 273.15).assign_attrs(units="K"))


def _in_teragrams(t: pd.DataFrame) -> pd.DataFrame:
    return t.assign(value=1000 * t.value, unit="TgC yr-1")


def _wrapped(folder: Path) -> None:
    """The archive inside another one."""
    (folder / "download" / _Z).rename(folder / "inner.zip")
    with zipfile.ZipFile(folder / "download" / "all.zip", "w") as archive:
        archive.write(folder / "inner.zip", f"sites/{_Z}")


HARMLESS = [  # other ways to write the same: the result must be the same
    Corruption("towers: Windows line ends", "towers_table", table(_T, lambda t: t, lineterminator="\r\n")),
    Corruption("towers: byte-order mark", "towers_table", recode(_T, "utf-8-sig")),
    Corruption("towers: columns in another order", "towers_table", table(_T, lambda t: t[t.columns[::-1]])),
    Corruption("towers: rows in another order", "towers_table", table(_T, lambda t: t.iloc[::-1])),
    Corruption("towers: blanks in the header, a column of words", "towers_table", several(
        table(_T, lambda t: t.assign(remark="none")), text(_T, "site,lat,lon", "site, lat ,lon", 1))),
    Corruption("towers: FLUXNET file with Windows line ends", "towers_fluxnet", table(_F, lambda t: t, lineterminator="\r\n")),
    Corruption("towers: archive in a folder of the archive", "towers_archive", _wrapped),
    Corruption("inversions: Windows line ends", "inversions_table", table(_I, lambda t: t, lineterminator="\r\n")),
    Corruption("inversions: table in another unit", "inversions_table", table(_I, _in_teragrams)),
    Corruption("inversions: latitude descending, longitude from 0", "inversions_gridded", fields(
        _G, lambda d: d.assign_coords(lon=d.lon % 360).sortby("lon").sortby("lat", ascending=False))),
    Corruption("inversions: the study states the unit that the file cannot", "inversions_gridded", fields(_G, units("nbe", "flux units"))),
    Corruption("inversions: classic NetCDF", "inversions_gridded", fields(_G, lambda d: d, engine="scipy")),
    Corruption("inversions: stamps in the middle of the month", "inversions_gcb", fields(
        _B, lambda d: d.assign_coords(time=pd.DatetimeIndex(d.time.to_numpy()) + pd.Timedelta(days=14)))),
    Corruption("predictors: kelvin", "predictors", fields(_W, _in_kelvin)),
    Corruption("land fraction: percent with its unit", "land_fraction", fields(
        _M, lambda d: d.assign(land_fraction=(100 * d.land_fraction).assign_attrs(units="%")))),
    Corruption("region mask: fractions", "region_mask", several(_FRACTIONS, fields(_R, _shares(lambda f: f)))),
    Corruption("study file: Windows line ends", "study_file", lambda folder: (folder / _Y).write_bytes(
        (folder / _Y).read_bytes().replace(b"\n", b"\r\n")) and None),
]  # fmt: skip
HARMLESS += [Corruption(name, source, change) for name, (source, change) in SAME_PLACE.items()]

__all__ = ["CORRUPTIONS", "HARMLESS", "SITES", "Corruption"]

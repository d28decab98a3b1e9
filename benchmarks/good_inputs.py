"""A small drawn world in users' formats, one study per kind of source: what the mutation sweep corrupts."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
import yaml

LAT, LON = np.arange(-75.0, 90, 30), np.arange(-165.0, 180, 30)
PLACE = {"lat": LAT, "lon": LON}
RECORD = pd.date_range("2000-01-01", "2002-12-31")  # a year of warm-up
DAYS = pd.date_range("2001-01-01", "2002-12-31")
MONTHS = pd.date_range("2001-01-01", "2002-12-31", freq="MS")
SITES = {
    "AA-One": (45.0, -135.0, "ENF"), "BB-Two": (45.0, 105.0, "GRA"), "CC-Thr": (-45.0, -105.0, "ENF"), "DD-Fou": (-45.0, 75.0, "GRA"),
    "EE-Fiv": (15.0, -15.0, "ENF"), "FF-Six": (-15.0, 15.0, "GRA"),
}  # fmt: skip
CELL_AREA = (510.0656e12 * np.diff(np.sin(np.radians(np.arange(-90, 91, 30)))) / 2 / 12)[:, None] * np.ones((1, 12))

STUDY: dict[str, Any] = {
    "name": "drawn",
    "period": ["2001-01-01", "2002-12-31"],
    "time_step": "daily",
    "grid": {"resolution": 30},
    "towers": [{"path": "towers.csv", "format": "table", "uncertainty": "uncertainty"}],
    "predictors": [
        {"name": "ta", "path": "weather.nc", "kind": "dynamic", "units": "degC", "running_means": [90]},
        {"name": "height", "path": "static.nc", "kind": "static", "units": "m"},
        {"name": "cover", "path": "static.nc", "kind": "fractions", "at_towers": "site"},
    ],
    "land_fraction": {"path": "land.nc"},
    "regions": {"path": "regions.nc", "variable": "band"},
    "inversions": [{"path": "inversions.csv", "format": "table"}],
    "target": "nbe",
    "network": {"members": 2, "folds": 2},
    "inversion_term": {"weight": 1.0},  # two years are too few to choose it
}

_FLUXNET = {"format": "fluxnet", "consistency": "off"}
_GRIDDED = {"format": "gridded", "per": "area", "sign": "to_atmosphere", "variable": "nbe"}
CHANGES: dict[str, dict[str, Any]] = {  # of the study above, for each kind of source
    "towers_table": {},
    "towers_fluxnet": {"towers": [{"path": "flux/*.csv", "sites": "sites.csv", **_FLUXNET}]},
    "towers_archive": {"towers": [{"path": "download/*.zip", **_FLUXNET}]},
    "inversions_table": {},
    "inversions_gridded": {
        "inversions": [
            {"path": "flux.nc", "product": "C", "units": "gC m-2 d-1", **_GRIDDED},
            {"path": "inversions.csv", "format": "table"},
        ]
    },
    "inversions_gcb": {"inversions": [{"path": "gcb.nc", "format": "gcb"}]},
    "inversions_cams": {"inversions": [{"path": "cams", "format": "cams"}, {"path": "inversions.csv", "format": "table"}]},
    "adjustments": {
        "target": "tower_nee",
        "adjustments": [
            {"name": "fire", "path": "fire.csv", "format": "table", "monthly_profile": "uniform"},
            {"name": "crop_consumption", "path": "lateral.nc", "format": "lateral", "monthly_profile": "uniform"},
        ],
    },
    "predictors": {},
    "region_mask": {},
    "land_fraction": {},
    "references": {
        "references": [
            {"path": "product.nc", "format": "gridded", "product": "map", "variable": "nee", "units": "gC m-2 d-1"},
            {"path": "product.csv", "format": "table"},
        ]
    },
    "study_file": {},
}


def write_good(folder: Path, kind: str) -> None:
    """The files that the kind's study reads, and the study."""
    random = np.random.default_rng(7)
    _common(folder, random)
    writer = _WRITERS.get(kind)
    if writer is not None:
        writer(folder, random)
    write_study(folder, CHANGES[kind])


def write_study(folder: Path, changes: dict[str, Any]) -> None:
    text = yaml.safe_dump({**STUDY, **changes}, sort_keys=False, allow_unicode=True)
    (folder / "study.yaml").write_text(text, encoding="utf-8")


def _common(folder: Path, random: np.random.Generator) -> None:
    ta = random.normal(10, 5, (len(RECORD), 6, 12)).astype(np.float32)
    save(folder / "weather.nc", {"ta": (("time", "lat", "lon"), ta, {"units": "degC"})}, {"time": RECORD, **PLACE})
    share = random.uniform(0, 1, (6, 12))
    static = {
        "height": (("lat", "lon"), random.uniform(0, 2000, (6, 12)), {"units": "m"}),
        "cover": (("class", "lat", "lon"), np.stack([share, 1 - share]), {"units": "1"}),
    }
    save(folder / "static.nc", static, {"class": ["ENF", "GRA"], **PLACE})
    save(folder / "land.nc", {"land_fraction": (("lat", "lon"), np.full((6, 12), 0.75), {"units": "1"})}, PLACE)
    flags = {"flag_values": np.array([1, 2], np.int32), "flag_meanings": "north south"}
    band = np.where(LAT > 0, 1, 2)[:, None] * np.ones((1, 12), np.int32)
    save(folder / "regions.nc", {"band": (("lat", "lon"), band, flags)}, PLACE)
    towers = pd.concat([_tower(site, random) for site in SITES])
    towers.to_csv(folder / "towers.csv", index=False, date_format="%Y-%m-%d")
    parts = [(p, r, m, random.normal(-1, 0.5), "PgC yr-1") for p in ("A", "B") for r in ("north", "south") for m in MONTHS]
    _table(folder / "inversions.csv", parts, ["product", "region", "time", "value", "unit"])


def _tower(site: str, random: np.random.Generator) -> pd.DataFrame:
    lat, lon, igbp = SITES[site]
    nee, error = random.normal(-1, 1, len(DAYS)).round(4), random.uniform(0.1, 0.3, len(DAYS)).round(4)
    return pd.DataFrame({"site": site, "lat": lat, "lon": lon, "igbp": igbp, "time": DAYS, "uncertainty": error, "nee": nee})


def flux_file(random: np.random.Generator) -> pd.DataFrame:
    """Two years of a ONEFlux daily file."""
    nee = random.normal(-1, 1, len(DAYS)).round(4)
    columns = {"NEE_VUT_REF": nee, "NEE_VUT_REF_QC": 1.0, "NEE_VUT_REF_RANDUNC": random.uniform(0.1, 0.3, len(DAYS)).round(4)}
    return pd.DataFrame({"TIMESTAMP": DAYS.strftime("%Y%m%d"), "TA_F": 10.0, **columns})


def flux_name(site: str) -> str:
    return f"FLX_{site}_FLUXNET2015_FULLSET_DD_2001-2002_1-4.csv"


def _fluxnet(folder: Path, random: np.random.Generator) -> None:
    (folder / "flux").mkdir()
    for site in SITES:
        flux_file(random).to_csv(folder / "flux" / flux_name(site), index=False)
    pd.DataFrame([(s, *a) for s, a in SITES.items()], columns=["site", "lat", "lon", "igbp"]).to_csv(folder / "sites.csv", index=False)


def bif(site: str) -> str:
    """Metadata of one site as its network ships them."""
    lat, lon, igbp = SITES[site]
    facts = {"LOCATION_LAT": lat, "LOCATION_LONG": lon, "IGBP": igbp, "UTC_OFFSET": 1}
    return "SITE_ID,GROUP_ID,VARIABLE_GROUP,VARIABLE,DATAVALUE\n" + "".join(
        f"{site},{i},GRP,{name},{value}\n" for i, (name, value) in enumerate(facts.items())
    )


def archive_names(site: str) -> tuple[str, str, str]:
    """The archive, and the flux file and the metadata in it."""
    stem = f"AMF_{site}_FLUXNET"
    return f"{stem}_2001-2002_v1.3_r1.zip", f"{stem}_FLUXMET_DD_2001-2002_v1.3_r1.csv", f"{stem}_BIF_2001-2002_v1.3_r1.csv"


def write_archive(folder: Path, site: str, flux: str | None, facts: str | None) -> None:
    """One download: a flux file and metadata, either left out where None."""
    name, flux_member, facts_member = archive_names(site)
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in ((flux_member, flux), (facts_member, facts)):
            if text is not None:
                archive.writestr(member, text)


def _archives(folder: Path, random: np.random.Generator) -> None:
    (folder / "download").mkdir()
    for site in SITES:
        write_archive(folder / "download", site, flux_file(random).to_csv(index=False), bif(site))


def _gridded(folder: Path, random: np.random.Generator) -> None:
    fields = random.normal(-0.02, 0.1, (len(MONTHS), 6, 12))
    data = {"nbe": (("time", "lat", "lon"), fields, {"units": "gC m-2 d-1"}), "area": (("lat", "lon"), CELL_AREA, {"units": "m2"})}
    save(folder / "flux.nc", data, {"time": MONTHS, **PLACE})


def _global_carbon_budget(folder: Path, random: np.random.Generator) -> None:
    fields = random.normal(-1e-14, 1e-14, (2, len(MONTHS), 6, 12))
    names = np.array([list("CAMS    "), list("CarboSc ")], dtype="S1")
    data = {
        "land_flux_only_fossil_cement_adjusted": (
            ("ensemble_member", "time", "latitude", "longitude"), fields, {"units": "PgC/m2/yr"},
        ),
        "fossil_fuel_emissions": (("time", "latitude", "longitude"), fields[0], {"units": "PgC/m2/yr"}),
        "ensemble_member_name": (("ensemble_member", "nchar"), names),
        "cell_area": (("latitude", "longitude"), CELL_AREA, {"units": "m2"}),
    }  # fmt: skip
    save(folder / "gcb.nc", data, {"time": MONTHS, "latitude": LAT, "longitude": LON})


def cams_name(month: pd.Timestamp) -> str:
    return f"cams73_v23r1_co2_flux_surface_mm_{month:%Y%m}.nc"


def _cams(folder: Path, random: np.random.Generator) -> None:
    (folder / "cams").mkdir()
    for month in MONTHS:
        flux = random.normal(-4e-4, 4e-4, (6, 12))
        data = {
            "flux_apos_bio": (("latitude", "longitude"), flux, {"units": "kgC m-2 month-1"}),
            "area": (("latitude", "longitude"), CELL_AREA, {"units": "m2"}),
        }
        save(folder / "cams" / cams_name(month), data, {"latitude": LAT, "longitude": LON})


def _adjustments(folder: Path, random: np.random.Generator) -> None:
    rows = [(r, year, random.uniform(0.5, 1.5), "PgC yr-1") for r in ("north", "south") for year in (2001, 2002)]
    _table(folder / "fire.csv", rows, ["region", "year", "value", "unit"])
    fields = random.uniform(0, 5, (2, 6, 12))
    years = pd.to_datetime(["2001-01-01", "2002-01-01"])
    save(folder / "lateral.nc", {"allcropsource": (("time", "lat", "lon"), fields, {"units": "gC m-2 yr-1"})}, {"time": years, **PLACE})


def _references(folder: Path, random: np.random.Generator) -> None:
    fields = random.normal(-0.02, 0.1, (len(MONTHS), 6, 12))
    save(folder / "product.nc", {"nee": (("time", "lat", "lon"), fields, {"units": "gC m-2 d-1"})}, {"time": MONTHS, **PLACE})
    rows = [("table", r, m, random.normal(-0.1, 0.1), "PgC month-1") for r in ("north", "south") for m in MONTHS]
    _table(folder / "product.csv", rows, ["product", "region", "time", "value", "unit"])


_WRITERS: dict[str, Callable[[Path, np.random.Generator], None]] = {
    "towers_fluxnet": _fluxnet, "towers_archive": _archives, "inversions_gridded": _gridded, "inversions_gcb": _global_carbon_budget,
    "inversions_cams": _cams, "adjustments": _adjustments, "references": _references,
}  # fmt: skip


def save(path: Path, data: dict[str, Any], coords: dict[str, Any]) -> None:
    xr.Dataset(data, coords).to_netcdf(path, engine="h5netcdf")


def _table(path: Path, rows: list[tuple[Any, ...]], columns: list[str]) -> None:
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False, date_format="%Y-%m-%d")

"""Tiny stand-ins for the files that study.yaml names: their names and layouts are real, their numbers are drawn.

    python examples/published/make_stub_files.py FOLDER
    dualflux check examples/published/study.yaml --data-root FOLDER

They show what a reader expects of each provider's file, and that the study file fits them. Grids are 5 and 10 degrees,
so that everything takes a few megabytes; nothing that is trained on them means anything.
"""

import argparse
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

YEARS = ("2001-01-01", "2017-12-31")
EXCHANGE, FIRE, CROPS, BIOFUEL, RIVERS = -1.6, 2.0, 1.0, 0.05, 0.6  # PgC per year, positive to the atmosphere
CLASSES = ["WAT", "ENF", "EBF", "DNF", "DBF", "MF", "CSH", "OSH", "WSA", "SAV", "GRA", "WET", "CRO", "URB", "CVM", "SNO", "BSV"]
SITES = [  # site, latitude, longitude, IGBP class, file name
    ("DE-Hai", 51.0792, 10.4530, "DBF", "FLX_DE-Hai_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
    ("US-Var", 38.4133, -120.9507, "GRA", "FLX_US-Var_FLUXNET2015_FULLSET_DD_2003-2004_1-4.csv"),
    ("BR-Sa1", -2.8567, -54.9589, "EBF", "FLX_BR-Sa1_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
    ("RU-Fyo", 56.4615, 32.9221, "ENF", "FLX_RU-Fyo_FLUXNET2015_SUBSET_DD_2003-2004_2-4.csv"),
    ("ZA-Kru", -25.0197, 31.4969, "SAV", "FLX_ZA-Kru_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
    ("AU-How", -12.4943, 131.1523, "WSA", "FLX_AU-How_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
    ("CN-Cha", 42.4025, 128.0958, "MF", "FLX_CN-Cha_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
    ("FR-Pue", 43.7413, 3.5957, "EBF", "FLX_FR-Pue_FLUXNET2015_SUBSET_DD_2003-2004_2-4.csv"),
    ("FI-Hyy", 61.8474, 24.2948, "ENF", "FLX_FI-Hyy_FLUXNET2015_FULLSET_DD_2003-2004_beta-3.csv"),
    ("US-Ne1", 41.1651, -96.4766, "CRO", "AMF_US-Ne1_FLUXNET_FULLSET_DD_2003-2004_3-5.csv"),
    ("SE-Nor", 60.0865, 17.4795, "ENF", "ICOSETC_SE-Nor_FLUXNET_DD_L2.csv"),
    ("AR-Vir", -28.2395, -56.1886, "ENF", "FLX_AR-Vir_FLUXNET2015_SUBSET_DD_2003-2004_1-4.csv"),
]
CUT_ONLY = "ZA-Kru"  # one site in twenty has no variable-threshold NEE


def write_stub_files(folder: Path) -> None:
    """Write every file that study.yaml names below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    land = _land_fraction()
    coarse = land.coarsen(lat=5, lon=5).mean().rename(lat="latitude", lon="longitude")
    _write_towers(folder / "towers")
    _write_weather(folder / "era5_daily.nc")
    _write_vegetation(folder / "modis_8day.nc")
    _write_land(folder / "land.nc", land)
    _write_inversions(folder / "GCP2022_inversions_1x1_version1_2_20230428.nc", coarse)
    _write_fire(folder / "gfed4.1s_monthly.nc", coarse)
    _write_lateral(folder / "lateralfluxes_2021_v4.1_1d00.nc", coarse)


def _write_towers(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    table = pd.DataFrame([site[:4] for site in SITES], columns=["site", "lat", "lon", "igbp"])
    table.to_csv(folder / "sites.csv", index=False)
    for number, (site, lat, _, _, name) in enumerate(SITES):
        _tower_days(number, lat, "FULLSET" in name or "ICOS" in name, site == CUT_ONLY).to_csv(folder / name, index=False)
    # What lies beside them in the providers' archives and is passed over.
    (folder / "FLX_DE-Hai_FLUXNET2015_ERA5_DD_1989-2014_1-4.csv").write_text("TIMESTAMP,TA_ERA\n19890101,1.0\n")
    (folder / "AMF_US-Ne1_BIF_20230922.csv").write_text("SITE_ID,GROUP_ID,VARIABLE_GROUP,VARIABLE,DATAVALUE\n")


def _tower_days(number: int, lat: float, full: bool, cut_only: bool) -> pd.DataFrame:
    """Two years of one site in ONEFlux's columns; -9999 is missing, QC the share of measured or well-filled half-hours."""
    random = np.random.default_rng(number)
    time = pd.date_range("2003-01-01", "2004-12-31")
    season = _season(time, np.array([lat]))[:, 0]
    nee = f"NEE_{'CUT' if cut_only else 'VUT'}_REF"
    data = pd.DataFrame({
        "TIMESTAMP": time.strftime("%Y%m%d"), "TA_F": 12 + 10 * season, "TA_F_QC": 1.0, "SW_IN_F": 170 + 120 * season,
        "VPD_F": 6 + 4 * season, "P_F": random.gamma(0.3, 8, time.size), nee: 0.3 - 2 * season + random.normal(0, 0.5, time.size),
        f"{nee}_QC": random.choice([1.0, 0.9, 0.5], time.size, p=[0.6, 0.3, 0.1]), f"{nee}_RANDUNC": random.uniform(0.1, 0.5, time.size),
    })  # fmt: skip
    if full:
        data[f"{nee}_JOINTUNC"] = 1.2 * data[f"{nee}_RANDUNC"]
    data.loc[100:110, ["SW_IN_F", "VPD_F"]] = -9999
    data.loc[200:230, nee] = -9999
    return data.round(3)


def _write_weather(path: Path) -> None:
    """ERA5's grid: latitudes from 90 down to -90, longitudes from 0; half cells on the poles."""
    lat, lon, time = np.arange(90.0, -91, -10), np.arange(0.0, 360, 10), pd.date_range(*YEARS)
    season = _on_grid(_season(time, lat), lon)
    warm = 30 * np.cos(np.radians(lat))[:, None] ** 1.5
    fields = {
        "t2m": (273.15 - 10 + warm + 12 * season, "K"),
        "ssrd": (86400 * (20 + 180 * np.cos(np.radians(lat))[:, None] * (1 + 0.5 * season)), "J m-2 d-1"),
        "vpd": (200 + 10 * warm + 100 * season, "Pa"),
    }
    _write(path, fields, {"time": time, "latitude": lat, "longitude": lon})


def _write_vegetation(path: Path) -> None:
    """8-day composites that begin anew on 1 January; the winter's darkness has none."""
    days = pd.date_range(*YEARS)
    time = days[(days.day_of_year - 1) % 8 == 0]
    lat, lon = np.arange(85.0, -90, -10), np.arange(-175.0, 180, 10)
    season = _on_grid(_season(time, lat), lon)
    dark = season * np.abs(np.radians(lat))[:, None] < -1.0
    fields = {
        "evi": (np.where(dark, np.nan, 0.3 + 0.2 * season), "1"),
        "ndwi": (np.where(dark, np.nan, 0.1 + 0.1 * season), "1"),
        "lst_day": (np.where(dark, np.nan, 285 + 15 * season), "K"),
    }
    _write(path, fields, {"time": time, "lat": lat, "lon": lon})


def _write_land(path: Path, land: xr.DataArray) -> None:
    """One class in each band of latitude; ice where the packaged mask has it."""
    band = np.broadcast_to((np.arange(land.lat.size) // 12 % 13 + 1)[:, None], land.shape)
    number = np.where(land.ice_share > 0.5, CLASSES.index("SNO"), band)
    fraction = (number == np.arange(len(CLASSES))[:, None, None]) * land.to_numpy()
    fraction[0] = 1 - land.to_numpy()
    data = xr.Dataset(
        {
            "igbp_fraction": (("class", "lat", "lon"), fraction.astype(np.float32), {"units": "1"}),
            "land_fraction": (("lat", "lon"), land.to_numpy(), {"units": "1"}),
        },
        {"class": np.array(CLASSES, dtype=object), "lat": land.lat.to_numpy(), "lon": land.lon.to_numpy()},
    )
    data.to_netcdf(path, engine="h5netcdf")


def _write_inversions(path: Path, land: xr.DataArray) -> None:
    """The layout of a Global Carbon Budget release: a rate per year, names as characters, members that begin late."""
    time = pd.date_range(*YEARS, freq="MS") + pd.Timedelta(days=14)
    names = ["CAMS", "CarboScope", "UoE"]
    season = _on_grid(_season(time, land.latitude.to_numpy()), land.longitude.to_numpy())
    exchange = EXCHANGE * _spread(land) - 40e-15 * season * land.to_numpy()
    flux = np.stack([exchange * factor for factor in (1.0, 0.8, 1.2)])
    flux[2, :12] = np.nan
    characters = np.array([list(name.ljust(16).encode()) for name in names], dtype=np.uint8).view("S1")
    data = xr.Dataset(
        {
            "land_flux_only_fossil_cement_adjusted": (
                ("ensemble_member", "time", "latitude", "longitude"), flux.astype(np.float32), {"units": "PgC m-2 yr-1"},
            ),
            "ensemble_member_name": (("ensemble_member", "string_length"), characters),
            "cell_area": (("latitude", "longitude"), _cell_area(land), {"units": "m2"}),
        },
        {"time": time, "latitude": land.latitude.to_numpy(), "longitude": land.longitude.to_numpy()},
    )  # fmt: skip
    data.to_netcdf(path, engine="h5netcdf", encoding={"land_flux_only_fossil_cement_adjusted": {"zlib": True}})


def _write_fire(path: Path, land: xr.DataArray) -> None:
    time = pd.date_range(*YEARS, freq="MS")
    density = FIRE * 1e15 / 12 * _spread(land)
    _write(
        path,
        {"C": (np.tile(density, (time.size, 1, 1))[:, ::-1], "gC m-2 month-1")},
        {"time": time, "lat": land.latitude.to_numpy()[::-1], "lon": land.longitude.to_numpy()},
    )


def _write_lateral(path: Path, land: xr.DataArray) -> None:
    time = pd.date_range(*YEARS, freq="YS")
    density = np.tile(1e15 * _spread(land), (time.size, 1, 1))
    emissions = {"allcropsource": CROPS, "biofuelcropsource": BIOFUEL, "lakeriveremis": RIVERS}
    sinks = {"allcropsink": -CROPS, "biofuelcropsink": -BIOFUEL, "riversink": -RIVERS}
    fields = {name: (total * density, "gC m-2 yr-1") for name, total in {**emissions, **sinks}.items()}
    _write(path, fields, {"time": time, "latitude": land.latitude.to_numpy(), "longitude": land.longitude.to_numpy()})


def _write(path: Path, fields: dict[str, tuple[np.ndarray, str]], coordinates: dict[str, object]) -> None:
    variables = {name: (tuple(coordinates), values.astype(np.float32), {"units": units}) for name, (values, units) in fields.items()}
    data = xr.Dataset(variables, coordinates)
    data.to_netcdf(path, engine="h5netcdf", encoding={name: {"zlib": True, "complevel": 1} for name in fields})


def _season(time: pd.DatetimeIndex, lat: np.ndarray) -> np.ndarray:
    """-1 in winter to 1 in summer outside the tropics, (time, lat)."""
    return np.cos(2 * np.pi * (time.day_of_year.to_numpy()[:, None] - 200) / 365.25) * np.tanh(lat / 20)


def _on_grid(values: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], lon.size, axis=-1)


def _land_fraction() -> xr.DataArray:
    """Land fraction at 1 degree from the mask packaged with dualflux; coordinate `ice_share`: the part of the land that is ice."""
    with as_file(files("dualflux") / "data" / "gcp18.nc") as path, xr.open_dataset(path, engine="h5netcdf") as data:
        land, free = data.land_fraction.load(), data.ice_free_land_fraction.load()
    return land.assign_coords(ice_share=(land.dims, ((land - free) / np.maximum(land, 1e-9)).to_numpy()))


def _cell_area(land: xr.DataArray) -> np.ndarray:
    half = float(land.latitude[1] - land.latitude[0]) / 2
    bands = np.sin(np.radians(land.latitude + half)) - np.sin(np.radians(land.latitude - half))
    return np.repeat(6_371_007.2**2 * np.radians(2 * half) * bands.to_numpy()[:, None], land.longitude.size, axis=1)


def _spread(land: xr.DataArray) -> np.ndarray:
    """1 PgC evenly over the globe's land [PgC per m2 of the cell]."""
    return land.to_numpy() / float((land.to_numpy() * _cell_area(land)).sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to write; made if absent")
    write_stub_files(parser.parse_args().folder)

"""Writes the synthetic world in the formats real users have, the truth apart from them, and a study of it."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
import yaml

from dualflux.errors import InputError
from dualflux.run_folder.hdf5_output import write_netcdf
from dualflux.twin.ecosystem import CLASSES
from dualflux.twin.landcover import CLIMATES
from dualflux.twin.study_file import LATERAL_VARIABLES, twin_study
from dualflux.twin.truth import write_truth
from dualflux.twin.world import World, monthly_means
from dualflux.units import PETAGRAM, days_in_year

MARKER = "world.json"
_MISSING = -9999
CHUNK_STEPS = 32  # of a compressed field in its file
_DYNAMIC = {  # variable: unit, long name
    "ta": ("degC", "air temperature"),
    "sw_in": ("W m-2", "incoming shortwave radiation"),
    "vpd": ("hPa", "vapour pressure deficit"),
    "precip": ("mm d-1", "precipitation"),
    "soil_water": ("1", "relative water in the top metre of soil of a land-surface model with one soil"),
}


def write_world(world: World, folder: Path | str, **study_options: object) -> Path:
    """Write all files of the world.

    `towers/` FLUXNET daily files and `sites.csv`; `predictors/`, one NetCDF file per variable, at the world's time step;
    `static.nc` (land fraction, land cover, climate); `inversions.nc` in the layout of the Global Carbon Budget;
    `fire.nc` and `lateral.nc`; `truth/`, which no study reads; `study.yaml`; `world.json`, the world's settings.

    Parameters
    ----------
    folder : Path
        Made if absent. A folder with an earlier world is written anew.
    **study_options
        Keys of the study file that replace those of `twin_study`.

    Returns
    -------
    Path
        The study file.

    Raises
    ------
    InputError
        The folder holds files but no synthetic world.
    """
    folder = Path(folder)
    _prepare(folder, world)
    _write_towers(world, folder / "towers")
    _write_predictors(world, folder / "predictors")
    _write_static(world, folder / "static.nc")
    _write_inversions(world, folder / "inversions.nc")
    _write_emissions(world, folder)
    write_truth(world, folder / "truth")
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump({**twin_study(world.settings), **study_options}, sort_keys=False, width=120), encoding="utf-8")
    return study


def _prepare(folder: Path, world: World) -> None:
    """Make the folders; remove the towers of an earlier world, whose file names may differ."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise InputError(f"{folder}: holds files but no {MARKER}, so no synthetic world; name a new or empty folder")
    for part in ("towers", "predictors", "truth"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(json.dumps(world.settings.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
    for earlier in (folder / "towers").glob("FLX_*_FLUXNET2015_SUBSET_DD_*.csv"):
        earlier.unlink()


def _write_towers(world: World, folder: Path) -> None:
    table, records = world.sites.table, world.records
    use = world.weather.time >= pd.Timestamp(world.settings.start)
    days = world.weather.time[use]
    local = world.site_weather
    seen = ~table.unseen
    table.loc[seen, ["site", "lat", "lon", "igbp"]].to_csv(folder / "sites.csv", index=False)
    for i in np.flatnonzero(seen):
        rows = np.isfinite(records.nee[:, i])
        # One site in twenty offers only the constant-threshold variant, as in the real releases.
        name = "NEE_CUT_REF" if i % 20 == 7 else "NEE_VUT_REF"
        columns = {
            "TIMESTAMP": days[rows].strftime("%Y%m%d"),
            "TA_F": local.ta[use, i][rows],
            "SW_IN_F": local.sw_in[use, i][rows],
            "VPD_F": local.vpd[use, i][rows],
            "P_F": local.precip[use, i][rows],
            name: records.nee[rows, i],
            f"{name}_QC": records.quality[rows, i],
            f"{name}_RANDUNC": records.random_uncertainty[rows, i],
            f"{name}_JOINTUNC": records.joint_uncertainty[rows, i],
        }
        site, years = table.site[i], days[rows].year
        numbers = pd.DataFrame({k: v if k == "TIMESTAMP" else np.round(v.astype(float), 4) for k, v in columns.items()}).fillna(_MISSING)
        numbers.to_csv(folder / f"FLX_{site}_FLUXNET2015_SUBSET_DD_{years.min()}-{years.max()}_1-4.csv", index=False)


def _write_predictors(world: World, folder: Path) -> None:
    fields = {name: getattr(world.weather, name) for name in ("ta", "sw_in", "vpd", "precip")} | {"soil_water": world.soil_water}
    daily = world.settings.time_step == "daily"
    time = world.weather.time if daily else world.weather.time[world.weather.time.day == 1]
    for name, field in fields.items():
        values = field if daily else monthly_means(field, world.weather.time)
        unit, long_name = _DYNAMIC[name]
        attributes = {"units": unit, "long_name": long_name, "cell_methods": "area: mean where land time: mean"}
        _save(world, folder / f"{name}.nc", {name: (("time",), values, attributes)}, {"time": time})
    attributes = {"units": "1", "long_name": "fraction of absorbed photosynthetic radiation, gap-filled"}
    begin, end, values = world.greenness.begin, world.greenness.end, world.greenness.fapar
    if daily:
        _save(world, folder / "fapar.nc", {"fapar": (("time",), values, attributes)}, {"time": begin}, end)
    else:
        steps = world.greenness.at_days(world.weather.time)
        _save(
            world, folder / "fapar.nc", {"fapar": (("time",), monthly_means(values[steps], world.weather.time), attributes)}, {"time": time}
        )


def _write_static(world: World, path: Path) -> None:
    climate = np.eye(len(CLIMATES))[world.cover.climate].T
    fields = {
        "land_cover": (("land_cover_class",), world.cover.fraction.T, {"units": "1", "long_name": "land cover fraction (IGBP)"}),
        "climate": (("climate_class",), climate, {"units": "1", "long_name": "climate class"}),
    }
    names = {"land_cover_class": np.array(CLASSES, dtype=object), "climate_class": np.array(CLIMATES, dtype=object)}
    land = {"land_fraction": world.geography.land_fraction}
    _save(world, path, fields, names, maps=land)


def _write_inversions(world: World, path: Path) -> None:
    cells = world.geography.cells
    fraction = world.geography.land_fraction.ravel()[cells.index]
    rate = world.inversions.flux * (days_in_year(world.months)[:, None] * fraction / PETAGRAM)
    missing = np.isnan(rate[..., :1, None])
    field = np.where(missing, np.nan, cells.to_map(rate.astype(np.float32), fill=0.0))
    grid = cells.grid
    data = xr.Dataset(
        {
            "land_flux_only_fossil_cement_adjusted": (
                ("ensemble_member", "time", "latitude", "longitude"),
                field.astype(np.float32),
                {"units": "PgC m-2 yr-1", "long_name": "net land flux to the atmosphere per area of the cell, fire included"},
            ),
            "ensemble_member_name": (("ensemble_member",), np.array(world.inversions.names, dtype="S16")),
            "cell_area": (("latitude", "longitude"), grid.cell_area, {"units": "m2"}),
        },
        {"latitude": grid.lat, "longitude": grid.lon, "time": world.months + pd.Timedelta(days=14)},
        {"title": "synthetic inversions", "Conventions": "CF-1.11"},
    )
    _to_netcdf(data, path, ["land_flux_only_fossil_cement_adjusted"])


def _write_emissions(world: World, folder: Path) -> None:
    cells, published = world.geography.cells, world.published_emissions
    fraction = world.geography.land_fraction.ravel()[cells.index]
    attributes = {"units": "gC m-2 month-1", "long_name": "fire emissions per area of the cell"}
    fire = published.fire * fraction * world.months.days_in_month.to_numpy()[:, None]
    _save(world, folder / "fire.nc", {"fire": (("time",), fire, attributes)}, {"time": world.months}, fill=0.0)
    years = world.months[::12]
    fields = {
        LATERAL_VARIABLES[term]: (
            ("time",),
            density * fraction * days_in_year(years)[:, None],
            {"units": "gC m-2 yr-1", "long_name": f"{term.replace('_', ' ')}, emission per area of the cell"},
        )
        for term, density in published.lateral.items()
    }
    _save(world, folder / "lateral.nc", fields, {"time": years}, fill=0.0)


Field = tuple[tuple[str, ...], np.ndarray, dict[str, str]]


def _save(
    world: World,
    path: Path,
    fields: Mapping[str, Field],
    coordinates: Mapping[str, object],
    end: pd.DatetimeIndex | None = None,
    maps: dict[str, np.ndarray] | None = None,
    fill: float = np.nan,
) -> None:
    """Write (leading, cell) fields on the grid; `end` gives time bounds, `maps` are fields on the grid already."""
    cells = world.geography.cells
    data = xr.Dataset(
        {
            name: ((*dims, "lat", "lon"), cells.to_map(np.asarray(v, np.float32), fill), attributes)
            for name, (dims, v, attributes) in fields.items()
        },
        {**coordinates, "lat": cells.grid.lat, "lon": cells.grid.lon},
        {"Conventions": "CF-1.11", "title": "synthetic world", "source": f"dualflux twin, {world.settings.model_dump_json()}"},
    )
    data.lat.attrs |= {"units": "degrees_north", "standard_name": "latitude"}
    data.lon.attrs |= {"units": "degrees_east", "standard_name": "longitude"}
    for name, field in (maps or {}).items():
        data[name] = (("lat", "lon"), field, {"units": "1"})
    if end is not None:
        data["time_bounds"] = (("time", "bounds"), np.stack([data.time.to_numpy(), end.to_numpy()], axis=1))
        data.time.attrs["bounds"] = "time_bounds"
    _to_netcdf(data, path, list(fields))


def _to_netcdf(data: xr.Dataset, path: Path, packed: list[str]) -> None:
    encoding: dict[str, dict[str, object]] = {
        name: {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": _chunks(data[name].shape)} for name in packed
    }
    if "time" in data.coords:
        encoding["time"] = {"units": "days since 1900-01-01", "dtype": "int32"}
    write_netcdf(data, path, encoding)


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Whole maps, a month of days at a time: as fields are written and read."""
    return (*(1 for _ in shape[:-3]), *(min(n, CHUNK_STEPS) for n in shape[-3:-2]), *shape[-2:])

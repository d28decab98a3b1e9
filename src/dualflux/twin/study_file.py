"""The study of a synthetic world: what a user would write for these files."""

from typing import Any

from dualflux.twin.world import WorldSettings

LATERAL_VARIABLES = {
    "crop_consumption": "allcropsource",
    "biofuel_consumption": "biofuelcropsource",
    "wood_consumption": "woodsource",
    "river_evasion": "lakeriveremis",
}
_UNITS = {"ta": "degC", "sw_in": "W m-2", "vpd": "hPa", "precip": "mm d-1", "soil_water": "1", "fapar": "1"}


def twin_study(settings: WorldSettings) -> dict[str, Any]:
    """Keys and values of a study file (paths relative to the world's folder).

    Parameters
    ----------
    settings : WorldSettings
        The study takes over resolution, time step, years and seed.
    """
    predictors: list[dict[str, Any]] = [
        {"name": name, "path": f"predictors/{name}.nc", "variable": name, "kind": "dynamic", "units": units}
        for name, units in _UNITS.items()
    ]
    predictors += [
        {
            "name": "land_cover",
            "path": "static.nc",
            "variable": "land_cover",
            "kind": "fractions",
            "at_towers": "site",
            "site_column": "igbp",
        },
        {"name": "climate", "path": "static.nc", "variable": "climate", "kind": "fractions"},
        {"name": "potential_radiation", "derived": True},
        {"name": "potential_radiation_change", "derived": True},
        *({"name": f"mean_season({name})", "derived": True} for name in _UNITS),
    ]
    return {
        "name": f"twin_{settings.kind}",
        "period": [settings.start, settings.end],
        "time_step": settings.time_step,
        "grid": {"resolution": settings.resolution},
        "seed": settings.seed,
        "data_root": ".",
        "towers": [{"path": "towers/FLX_*.csv", "format": "fluxnet", "sites": "towers/sites.csv"}],
        "predictors": predictors,
        "land_fraction": {"path": "static.nc", "variable": "land_fraction"},
        "regions": "gcp18",
        "vegetation": {"land_cover": "land_cover", "bare": ["BSV"]},
        "inversions": [{"path": "inversions.nc", "format": "gcb"}],
        "target": "tower_nee",
        "adjustments": _adjustments(),
        "variants": ["towers", "inversions", "plain", "dual"],
    }


def _adjustments() -> list[dict[str, Any]]:
    gridded = {"format": "gridded", "per": "area", "sign": "to_atmosphere", "uncertainty": 0.15}
    fire = {"name": "fire", "path": "fire.nc", "variable": "fire", "monthly_profile": "file", **gridded}
    lateral = [
        {"name": name, "path": "lateral.nc", "variable": variable, "monthly_profile": "uniform", **gridded}
        for name, variable in LATERAL_VARIABLES.items()
    ]
    return [fire, *lateral]

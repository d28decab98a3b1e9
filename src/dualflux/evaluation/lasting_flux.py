"""What lasts of a product: the mean of its months, cell by cell."""

from pathlib import Path

import numpy as np
import xarray as xr

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.units import DAYS_PER_MEAN_YEAR, days_in_month


def lasting_flux(path: Path, variable: str = "nee") -> np.ndarray:
    """Mean over time, weighted by days, of the flux of a product file [gC m-2 yr-1], (..., lat, lon); one month is in memory at a time.

    Parameters
    ----------
    path : Path
    variable : str
        `nee` (lat, lon) or `nee_member` (member, lat, lon).

    Raises
    ------
    InputError
        There is no such variable.
    """
    with xr.open_dataset(path, engine="h5netcdf") as data:
        if variable not in data:
            raise InputError(f"{path}: no variable `{variable}`; it has {', '.join(sorted(map(str, data.data_vars)))}")
        days = days_in_month(data.time.to_numpy())
        total = sum(n * data[variable].isel(time=t).to_numpy().astype(np.float64) for t, n in enumerate(days))
    return np.asarray(total / days.sum() * DAYS_PER_MEAN_YEAR)


def grid_and_land(path: Path) -> tuple[Grid, np.ndarray]:
    """Grid and land area [m2], (lat, lon), of a product file."""
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return Grid(data.lat.to_numpy().astype(float), data.lon.to_numpy().astype(float)), data["land_area"].to_numpy().astype(float)

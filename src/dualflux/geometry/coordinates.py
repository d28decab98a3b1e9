"""What a file's latitudes and longitudes say: their unit and direction, and whether they are centres or corners of cells."""

import numpy as np
import xarray as xr

from dualflux.errors import InputError


def in_degrees(coordinate: xr.DataArray, name: str, what: str) -> xr.DataArray:
    """Latitude or longitude in degrees north or east, whatever its `units` attribute says: west and south turn, radians are converted.

    Raises
    ------
    InputError
        A unit of another axis, or no unit of an angle.
    """
    unit = str(coordinate.attrs.get("units", "")).strip().lower().replace(" ", "_").rstrip(".")
    values = coordinate.astype(float)
    positive, negative = ("north", "south") if name == "lat" else ("east", "west")
    if unit in ("rad", "radian", "radians"):
        return (values * (180 / np.pi)).rename(coordinate.name).assign_attrs(units=f"degrees_{positive}")
    side = unit.removeprefix("degrees").removeprefix("degree").removeprefix("deg").removeprefix("°").strip("_")
    if (unit.startswith(("deg", "°")) and side in ("", positive, positive[0])) or unit in ("", "1", "-", "none"):
        return values
    if unit.startswith(("deg", "°")) and side in (negative, negative[0]):
        return (-values).rename(coordinate.name).assign_attrs(units=f"degrees_{positive}")
    raise InputError(
        f"{what}: {name} has unit `{coordinate.attrs['units']}`; allowed: degrees_{positive}, degrees_{negative}, degrees, radians; "
        "bring the file to degrees, or correct the attribute"
    )


def refuse_radians(lat: np.ndarray, lon: np.ndarray, what: str) -> None:
    """Raise InputError for radians without a unit: a globe of them would be a speck of sea in the Gulf of Guinea."""
    small = np.abs(lat).max() <= np.pi / 2 + 1e-6 and lon.min() >= -np.pi - 1e-6 and lon.max() <= 2 * np.pi + 1e-6
    if small and np.ptp(lat) > 2 and np.ptp(lon) > 3:
        raise InputError(
            f"{what}: latitudes from {lat.min():.4g} to {lat.max():.4g}, longitudes from {lon.min():.4g} to {lon.max():.4g}, which are "
            "radians; write degrees, or give the coordinates the attribute units: radians"
        )


def refuse_corners(lat: np.ndarray, what: str) -> None:
    """Raise InputError for as many rows as fill 180 degrees, the first on a pole: corners of cells; centres would need a row more."""
    step = np.diff(lat)
    if lat.size < 3 or np.ptp(step) > 1e-3 * step.mean() or abs(lat.size * step.mean() - 180) > 0.01 * step.mean():
        return
    if abs(abs(lat[0]) - 90) < 0.01 * step[0] or abs(abs(lat[-1]) - 90) < 0.01 * step[0]:
        raise InputError(
            f"{what}: {lat.size} latitudes from {lat[0]:g} to {lat[-1]:g} are corners of cells, half a cell off; write the centres "
            "of the cells, or add the bounds of the coordinates (CF attribute `bounds`), which say where the cells are"
        )


def centres_from_bounds(coordinate: np.ndarray, bounds: np.ndarray, around: bool, what: str) -> np.ndarray:
    """Cell centres where a coordinate holds corners and its bounds say so; the coordinate itself where it holds centres.

    Parameters
    ----------
    coordinate : array, (cell,)
    bounds : array, (cell, 2)
    around : bool
        The coordinate goes around (a longitude in degrees).

    Raises
    ------
    InputError
        A coordinate outside its own bounds.
    """
    first, second = bounds.astype(float).T
    if around:
        first, second = (coordinate + (edge - coordinate + 180) % 360 - 180 for edge in (first, second))
        second = np.where((second == first) | (np.abs(second - first) > 180), second + 360 * np.sign(first - second), second)
    low, high, size = np.minimum(first, second), np.maximum(first, second), np.abs(second - first)
    if (
        not (np.isfinite(size).all() and (size > 0).all())
        or (coordinate < low - 0.01 * size).any()
        or (coordinate > high + 0.01 * size).any()
    ):
        raise InputError(
            f"{what}: coordinates outside their own bounds; correct the bounds, or remove them where the coordinate holds centres"
        )
    centre = (low + high) / 2
    inner = slice(1, -1) if coordinate.size > 2 else slice(None)  # a row on the pole is a half cell
    return centre if (np.abs(centre - coordinate) > 0.1 * size)[inner].any() else coordinate

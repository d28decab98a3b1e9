"""Maps of the products in the Equal Earth projection; the coastline is the outline of their own land area."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.report.contents import Contents
from dualflux.report.style import number, style_of
from dualflux.units import DAYS_PER_MEAN_YEAR, days_in_month

_A = (1.340264, -0.081106, 0.000893, 0.003796)  # Savric, Patterson and Jenny (2019), equation 7
_UNIT = "gC m⁻² yr⁻¹"
SMALLEST_LAND = 0.25  # land fraction below which a cell is not drawn


@dataclass(frozen=True, eq=False)
class ProductMap:
    """Time means of one product, (lat, lon), NaN over the sea: nee [gC m-2 yr-1] and spread [gC m-2 d-1]."""

    grid: Grid
    land_fraction: np.ndarray
    nee: np.ndarray
    spread: np.ndarray


def equal_earth(lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal Earth coordinates on the unit sphere, equal in area (Savric, Patterson and Jenny 2019).

    Parameters
    ----------
    lat, lon : array, degrees

    Returns
    -------
    x, y : array

    Examples
    --------
    >>> x, y = equal_earth(np.array([0.0, 90.0]), np.array([180.0, 0.0]))
    >>> x.round(4).tolist(), y.round(4).tolist()
    ([2.7066, 0.0], [0.0, 1.3174])
    """
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(lat)))
    a1, a2, a3, a4 = _A
    y = theta * (a1 + a2 * theta**2 + a3 * theta**6 + a4 * theta**8)
    slope = a1 + 3 * a2 * theta**2 + 7 * a3 * theta**6 + 9 * a4 * theta**8
    x = 2 * np.sqrt(3) * np.radians(lon) * np.cos(theta) / (3 * slope)
    return x, y


def read_map(path: Path) -> ProductMap:
    """Time means of `nee` and `nee_std_total`, weighted by days; one month is in memory at a time.

    Raises
    ------
    InputError
        A variable is missing.
    """
    with xr.open_dataset(path, engine="h5netcdf") as data:
        missing = [n for n in ("nee", "nee_std_total", "land_area") if n not in data]
        if missing:
            raise InputError(f"{path}: no variable {', '.join(missing)}; it has {sorted(map(str, data.data_vars))}")
        grid = Grid(data.lat.to_numpy().astype(float), data.lon.to_numpy().astype(float))
        days = days_in_month(data.time.to_numpy())
        nee, spread = (_mean_over_time(data[n], days) for n in ("nee", "nee_std_total"))
        fraction = data.land_area.to_numpy() / grid.cell_area
    return ProductMap(grid, fraction, nee * DAYS_PER_MEAN_YEAR, spread)


def _mean_over_time(data: xr.DataArray, days: np.ndarray) -> np.ndarray:
    total = np.zeros(data.shape[1:])
    for t, length in enumerate(days):
        total += length * data[t].to_numpy().astype(np.float64)
    return total / days.sum()


def mean_maps(maps: dict[str, ProductMap], contents: Contents) -> Figure:
    """Mean NEE of each variant on one colour scale, green uptake and brown release."""
    means = contents.means.set_index(["product", "region"])["value"]
    titles = {v: f"{style_of(v).label}: {number(float(means.get((v, 'global'), np.nan)))} PgC yr⁻¹" for v in maps}
    return _grid_of_maps(
        {v: (m, m.nee) for v, m in maps.items()}, titles, f"mean net ecosystem exchange [{_UNIT}], negative = uptake", "BrBG_r", signed=True
    )


def spread_maps(maps: dict[str, ProductMap]) -> Figure:
    """Standard deviation of each variant: members and the part that no predictor sees, mean over months."""
    titles = {v: style_of(v).label for v in maps}
    return _grid_of_maps(
        {v: (m, m.spread) for v, m in maps.items()}, titles, "standard deviation of a monthly value [gC m⁻² d⁻¹]", "PuBu", signed=False
    )


def difference_maps(maps: dict[str, ProductMap]) -> Figure:
    """The last variant minus each other one."""
    best = list(maps)[-1]
    panels = {v: (m, maps[best].nee - m.nee) for v, m in maps.items() if v != best}
    return _grid_of_maps(
        panels, {v: f"{best} − {v}" for v in panels}, f"difference of mean net ecosystem exchange [{_UNIT}]", "PuOr_r", signed=True
    )


def _grid_of_maps(
    panels: dict[str, tuple[ProductMap, np.ndarray]], titles: dict[str, str], label: str, colours: str, signed: bool
) -> Figure:
    columns = len(panels) if len(panels) <= 3 else 2
    rows = ceil(len(panels) / columns)
    wide = {1: 7.6, 2: 5.2, 3: 4.2}[columns]
    south = _southernmost([(product.grid, values) for product, values in panels.values()])
    limit = _limit([values for _, values in panels.values()], signed)
    figure = Figure(figsize=(wide * columns, (0.47 * wide + 0.35) * rows + 0.7), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, (name, (product, values)) in zip(axes, panels.items(), strict=False):
        shown = draw_map(ax, product, values, south, colours, (-limit if signed else 0.0, limit))
        ax.set_title(titles[name], loc="center", fontsize=10.5)
    bar = figure.colorbar(shown, ax=axes, location="bottom", shrink=0.55, aspect=40, pad=0.03, extend="both" if signed else "max")
    bar.set_label(label)
    return figure


def _limit(fields: list[np.ndarray], signed: bool) -> float:
    """Colour limit of several fields, rounded up to one leading digit.

    Of fields of both signs the median of their 98th percentiles, at least half the largest: one extreme field does not
    bleach the others. Of standard deviations the largest: a field beyond the end of the scale would show nothing.
    """
    tops = [float(np.quantile(np.abs(f[np.isfinite(f)]), 0.98)) for f in fields if np.isfinite(f).any()]
    top = max(float(np.median(tops)) if signed else max(tops), max(tops) / 2) if tops else 0.0
    if top == 0:
        return 1.0
    size = 10.0 ** np.floor(np.log10(top))
    return float(np.ceil(top / size) * size)


def _southernmost(fields: list[tuple[Grid, np.ndarray]]) -> float:
    """A latitude below everything that has a value other than zero: an empty Antarctica takes no room."""
    edges = [grid.lat_edges[:-1][(np.nan_to_num(values) != 0).any(axis=1)] for grid, values in fields]
    lowest = min((e.min() for e in edges if e.size), default=-90.0)
    return max(float(lowest) - 5, float(min(grid.lat_edges[0] for grid, _ in fields)))


def draw_map(ax: Axes, product: ProductMap, values: np.ndarray, south: float, colours: str, limits: tuple[float, float]) -> QuadMesh:
    """Draw one field, (lat, lon), north of the latitude `south` with the outline of the product's own land."""
    grid = product.grid
    middle = (grid.lon_edges[0] + grid.lon_edges[-1]) / 2
    rows = grid.lat_edges[1:] > south
    edges = np.maximum(grid.lat_edges[np.append(False, rows) | np.append(rows, False)], south)
    values, land = values[rows], product.land_fraction[rows]
    _graticule(ax, grid, middle, south)
    x, y = equal_earth(*np.meshgrid(edges, grid.lon_edges - middle, indexing="ij"))
    drawn = np.ma.masked_where(~np.isfinite(values) | (land < SMALLEST_LAND), values)
    shown = ax.pcolormesh(x, y, drawn, cmap=colours, vmin=limits[0], vmax=limits[1], shading="flat", rasterized=True, zorder=2)
    x, y = equal_earth(*np.meshgrid(grid.lat[rows], grid.lon - middle, indexing="ij"))
    if land.min() < 0.5 < land.max():
        ax.contour(x, y, land, levels=[0.5], colors="#4a4a4a", linewidths=0.45, zorder=3)
    ax.set_aspect("equal")
    return shown


def _graticule(ax: Axes, grid: Grid, middle: float, south: float) -> None:
    north, half = grid.lat_edges[-1], (grid.lon_edges[-1] - grid.lon_edges[0]) / 2
    up, across = np.linspace(south, north, 181), np.linspace(-half, half, 181)
    for lon in np.arange(-180, 181, 60):
        if abs(lon - middle) < half:
            ax.plot(*equal_earth(up, np.full(181, lon - middle)), color="#dddddd", linewidth=0.5, zorder=1)
    for lat in np.arange(-60, 61, 30):
        if south < lat < north:
            ax.plot(*equal_earth(np.full(181, lat), across), color="#dddddd", linewidth=0.5, zorder=1)
    edge_lat = np.concatenate([up, np.full(181, north), up[::-1], np.full(181, south)])
    edge_lon = np.concatenate([np.full(181, -half), across, np.full(181, half), across[::-1]])
    ax.fill(*equal_earth(edge_lat, edge_lon), facecolor="#f4f7fa", edgecolor="#8a8a8a", linewidth=0.7, zorder=0, clip_on=False)

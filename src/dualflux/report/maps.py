"""Maps of the products in the Equal Earth projection; the coastline is the outline of their own land area."""

from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from dualflux.errors import InputError
from dualflux.grid import Grid
from dualflux.report.contents import Contents
from dualflux.report.drawing import finest
from dualflux.report.far_from_data import draw_flags
from dualflux.report.style import number, style_of
from dualflux.units import DAYS_PER_MEAN_YEAR, days_in_month
from dualflux.variants import shown_variant

_A = (1.340264, -0.081106, 0.000893, 0.003796)  # Savric, Patterson and Jenny (2019), equation 7
_UNIT = "gC m⁻² yr⁻¹"
SMALLEST_LAND = 0.25  # land fraction below which a cell is not drawn


@dataclass(frozen=True, eq=False)
class ProductMap:
    """Time means of one product, (lat, lon), NaN over the sea.

    Attributes
    ----------
    nee : array
        [gC m-2 yr-1]
    spread : array
        [gC m-2 d-1]
    applicability : array [1], or None
    representativeness : array, or None
        What towers would see beyond the landscape [gC m-2 yr-1], NaN where predictors are unlike those of any tower.
    """

    grid: Grid
    land_fraction: np.ndarray
    nee: np.ndarray
    spread: np.ndarray
    applicability: np.ndarray | None = None
    representativeness: np.ndarray | None = None


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
        similar = data["applicability"].to_numpy() if "applicability" in data else None
        beyond = _mean_over_time(data["nee_tower"], days) - nee if "nee_tower" in data and similar is not None else None
    if beyond is not None and similar is not None:
        beyond = np.where(similar <= 1, beyond, np.nan) * DAYS_PER_MEAN_YEAR if np.nanmax(np.abs(beyond), initial=0.0) > 0 else None
    return ProductMap(grid, fraction, nee * DAYS_PER_MEAN_YEAR, spread, similar, beyond)


def read_compared(path: Path) -> tuple[dict[str, ProductMap], dict[str, dict[str, np.ndarray]]]:
    """Mean maps of compared products, and `r` and `rmse` of those that have a gridded reference, by product."""
    with xr.open_dataset(path, engine="h5netcdf") as data:
        data.load()
    grid = Grid(data.lat.to_numpy().astype(float), data.lon.to_numpy().astype(float))
    fraction, names = data.land_area.to_numpy() / grid.cell_area, [str(p) for p in data["product"].to_numpy()]
    unknown = np.full(grid.shape, np.nan)
    fields = {n: ProductMap(grid, fraction, data.nee[i].to_numpy() * DAYS_PER_MEAN_YEAR, unknown) for i, n in enumerate(names)}
    agreement = {n: {k: data[k][i].to_numpy() for k in ("r", "rmse")} for i, n in enumerate(names) if (data["count"][i] > 0).any()}
    return fields, agreement


def agreement_maps(fields: dict[str, ProductMap], agreement: dict[str, dict[str, np.ndarray]], against: str, kind: str) -> Figure:
    """Correlation (`r`) in time with the reference, or root mean square difference (`rmse`), of each product."""
    panels = {n: (fields[n], values[kind]) for n, values in agreement.items()}
    titles = {n: f"{n} and {against}" for n in panels}
    if kind == "r":
        return _grid_of_maps(panels, titles, "correlation in time [1]", "PRGn", signed=True, limit=1.0)
    return _grid_of_maps(panels, titles, "root mean square difference [gC m⁻² d⁻¹]", "PuBu", signed=False)


def _mean_over_time(data: xr.DataArray, days: np.ndarray) -> np.ndarray:
    total = np.zeros(data.shape[1:])
    for t, length in enumerate(days):
        total += length * data[t].to_numpy().astype(np.float64)
    return total / days.sum()


def mean_maps(maps: dict[str, ProductMap], contents: Contents) -> Figure:
    """Mean NEE of each variant on one colour scale, green uptake and brown release; flags of the one they were computed for."""
    means = contents.means.set_index(["product", "region"])["value"]
    of = contents.references
    titles = {v: f"{style_of(v, of).label}: {number(float(means.get((v, 'global'), np.nan)))} PgC yr⁻¹" for v in maps}
    figure = _grid_of_maps(
        {v: (m, m.nee) for v, m in maps.items()}, titles, f"mean net ecosystem exchange [{_UNIT}], negative = uptake", "BrBG_r", signed=True
    )
    marked = shown_variant(maps)
    if len(contents.flags) and marked in contents.variants:
        grid = maps[marked].grid
        draw_flags(figure.axes[list(maps).index(marked)], contents.flags, equal_earth, (grid.lon_edges[0] + grid.lon_edges[-1]) / 2)
    return figure


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


def representativeness_maps(maps: dict[str, ProductMap]) -> Figure:
    """Where the tower network would see more or less than the landscape: f + g less f, inside the network's range of predictors only."""
    panels = {v: (m, m.representativeness) for v, m in maps.items() if m.representativeness is not None}
    label = f"tower-like less landscape flux [{_UNIT}], negative = towers see more uptake"
    return _grid_of_maps(panels, {v: style_of(v).label for v in panels}, label, "PuOr_r", signed=True)


def _grid_of_maps(
    panels: dict[str, tuple[ProductMap, np.ndarray]],
    titles: dict[str, str],
    label: str,
    colours: str,
    signed: bool,
    limit: float | None = None,
) -> Figure:
    columns = len(panels) if len(panels) <= 3 else 2
    rows = ceil(len(panels) / columns)
    wide = {1: 7.6, 2: 5.2, 3: 4.2}[columns]
    south = _southernmost([(product.grid, values) for product, values in panels.values()])
    limit = limit or _limit([values for _, values in panels.values()], signed)
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
    if product.applicability is not None:
        _hatch_outside(ax, x, y, np.where(land >= SMALLEST_LAND, np.nan_to_num(product.applicability[rows]), 0.0))
    ax.set_aspect("equal")
    return shown


def _hatch_outside(ax: Axes, x: np.ndarray, y: np.ndarray, distance: np.ndarray) -> None:
    """Hatch where predictors are unlike those of any tower (applicability above 1)."""
    if (distance > 1).any():
        hatched = ax.contourf(
            x, y, distance, levels=[1.0, max(float(distance.max()), 1.0) + 1], hatches=["////"], colors="none", zorder=2.5
        )
        hatched.set_edgecolor("#3a3a3a")
        hatched.set_linewidth(0.0)


def tower_map(background: ProductMap, contents: Contents, product: str) -> Figure:
    """Where the towers stand and how well the product predicts them when they are left out (NSE of f + g)."""
    table = contents.sites
    rows = table[(table["metric"] == "nse") & (table["product"] == product) & (table["prediction"] == "tower_like")]
    value = rows[rows["scale"] == finest(contents)].set_index("site")["value"]
    places = contents.places.join(value.rename("nse")).sort_values("nse", ascending=False, na_position="first")
    crowded = _densest(places)
    figure = Figure(figsize=(12.6 if crowded is not None else 9.6, 5.0), layout="compressed")
    axes = figure.subplots(1, 1 if crowded is None else 2, width_ratios=[1] if crowded is None else [2.05, 1], squeeze=False)[0]
    grid, plain = background.grid, replace(background, applicability=None)
    middle = (grid.lon_edges[0] + grid.lon_edges[-1]) / 2
    lon = (places["lon"].to_numpy(float) - middle + 180) % 360 - 180
    x, y = equal_earth(places["lat"].to_numpy(float), lon)
    for ax in axes:
        ax.set_axis_off()
        draw_map(ax, plain, np.full(grid.shape, np.nan), min(-57.0, float(places["lat"].min()) - 3), "Greys", (0, 1))
        look: dict[str, Any] = {"cmap": "PRGn", "vmin": -1, "vmax": 1, "edgecolors": "#222222", "linewidths": 0.6, "zorder": 5}
        shown = ax.scatter(x, y, c=places["nse"], s=34, plotnonfinite=True, **look)
    if crowded is not None:
        _zoom(axes[1], *crowded, middle)
    bar = figure.colorbar(shown, ax=list(axes), location="bottom", shrink=0.5, aspect=40, pad=0.03, extend="min")
    bar.set_label(f"Nash-Sutcliffe efficiency of {style_of(product, contents.references).label}, {finest(contents)} values [1]")
    return figure


_WINDOW = (9.0, 15.0)  # half size of the enlarged part [degrees]


def _densest(places: pd.DataFrame, fewest: int = 10) -> tuple[float, float] | None:
    """Centre (lat, lon) of the window around a site that holds most sites; None where it holds too few to enlarge."""
    lat, lon = (places[c].to_numpy(float) for c in ("lat", "lon"))
    near = (np.abs(lat[:, None] - lat) < _WINDOW[0]) & (np.abs(lon[:, None] - lon) < _WINDOW[1])
    most = int(near.sum(axis=1).argmax())
    return (float(lat[near[most]].mean()), float(lon[near[most]].mean())) if near[most].sum() >= fewest else None


def _zoom(ax: Axes, lat: float, lon: float, middle: float) -> None:
    x, y = equal_earth(np.array([lat, lat, lat - _WINDOW[0], lat + _WINDOW[0]]), lon - middle + np.array([-1, 1, 0, 0]) * _WINDOW[1])
    ax.set(xlim=(x[0], x[1]), ylim=(y[2], y[3]))
    for artist in (*ax.patches, *ax.lines):
        artist.set_clip_on(True)
    ax.set_axis_on()
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
    ax.set_title("enlarged", fontsize=10)


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

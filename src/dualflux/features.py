"""Predictors as the network sees them: derived, standardised, the same code in training and upscaling."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.cube import Columns, Cube, SeriesStandard, Steps, TimeStep, no_series
from dualflux.derived.memory import before_record, require_record, span
from dualflux.derived.radiation import potential_radiation
from dualflux.derived.water_balance import require_units, soil_water
from dualflux.errors import InputError, NumericalError
from dualflux.sources.predictors.settings import FROM_RECORD, Recipe, parse_derived


def build_cube(
    predictors: xr.Dataset,
    derived: list[str],
    lat: np.ndarray,
    area: np.ndarray,
    steps: Steps,
    memory: dict[str, list[int]],
    recipe: Recipe = FROM_RECORD,
) -> Cube:
    """Derive and standardise the predictors of all land cells.

    Parameters
    ----------
    predictors : Dataset
        Checked predictors on `cell` (see `sources.predictors`); dynamic ones may begin before the first step (warm-up).
    derived : list of str
        Names such as ``mean_season(ta)``.
    lat, area : array, (cell,)
        Latitude [degrees] and land area [m2] of the cells.
    steps : Steps
    memory : dict
        Windows of running means [days] of each dynamic predictor; a window the record is too short for is refused.
    recipe : Recipe
    """
    columns = _Columns(predictors, lat, steps, recipe)
    for name in predictors.data_vars:
        if name != "valid":
            columns.add_read(str(name))
    for name in derived:
        columns.add_derived(name)
    for name, windows in memory.items():
        for days in windows:
            columns.add_derived(f"running_mean({name}, {days})")
    return columns.finish(area, unscaled={f"{n}_{c}" for n in _fraction_names(predictors) for c in _classes(predictors, n)})


@dataclass(frozen=True, eq=False)
class Standard:
    """What a trained network expects of its predictors.

    Attributes
    ----------
    columns : Columns
    centre, scale : array, (column,)
        See `Cube`.
    steps : Steps
        The period that mean seasons were taken over, and anomalies are counted from.
    series : SeriesStandard
        Of predictors of time alone.
    """

    columns: Columns
    centre: np.ndarray
    scale: np.ndarray
    steps: Steps
    series: SeriesStandard


def build_cube_as_trained(predictors: xr.Dataset, lat: np.ndarray, steps: Steps, standard: Standard, recipe: Recipe = FROM_RECORD) -> Cube:
    """The columns of a trained network on other cells or steps, standardised as they were for training.

    Parameters
    ----------
    predictors : Dataset
        Checked predictors on `cell`; dynamic ones over all steps from the first to the last of those asked for, of those
        that derived columns look back to and, where a column needs a mean season, of `standard.steps`.
    lat : array, (cell,)
        [degrees]
    steps : Steps
    standard : Standard
    recipe : Recipe
        Of training.

    Raises
    ------
    InputError
        The predictors do not make these columns, or begin too late.
    """
    columns = _Columns(predictors, lat, steps, recipe, standard.steps)
    for name in predictors.data_vars:
        columns.add_read(str(name))
    for name in standard.columns.seasonal + standard.columns.dynamic:
        if name not in columns.seasonal and name not in columns.dynamic:
            columns.add_derived(name)
    made = columns.names()
    if made != standard.columns:
        more, less = (sorted(set(a.names) - set(b.names)) for a, b in ((made, standard.columns), (standard.columns, made)))
        raise InputError(
            "predictors: the network was trained on other columns, or in another order "
            f"(new: {', '.join(more) or 'none'}; missing: {', '.join(less) or 'none'}); use the predictors of its training"
        )
    return columns.stack(standard.centre, standard.scale)


def keeps_state(columns: Columns) -> bool:
    """Whether a column is made step after step from the beginning of the record on."""
    return any(name.startswith("water_balance(") for name in columns.names)


def needs_mean_season(columns: Columns) -> bool:
    """Whether a column is made from a mean season, which spans the whole period of training."""
    return any(name.startswith(("mean_season(", "anomaly(")) for name in columns.names)


def require_classes(site: np.ndarray, igbp: np.ndarray, known: Collection[str], land_cover: str) -> None:
    """Raise InputError for sites of a class that the class-fraction predictor `land_cover` lacks."""
    unknown = sorted({f"{s} ({c})" for s, c in zip(site, igbp, strict=True) if c not in known})
    if unknown:
        raise InputError(
            f"towers: class not among those of `{land_cover}` ({', '.join(sorted(known))}): {', '.join(unknown)}; correct the sites' igbp"
        )


def _fraction_names(predictors: xr.Dataset) -> list[str]:
    return [str(n) for n in predictors.data_vars if predictors[n].attrs.get("kind") == "fractions"]


def _classes(predictors: xr.Dataset, name: str) -> list[str]:
    return [str(c) for c in predictors[f"{name}_class"].to_numpy()]


class _Columns:
    """Gathers columns by kind; (season, cell) and (step, cell) arrays, one per column."""

    def __init__(self, predictors: xr.Dataset, lat: np.ndarray, steps: Steps, recipe: Recipe, climate: Steps | None = None) -> None:
        self.predictors, self.lat, self.steps, self.recipe = predictors, lat, steps, recipe
        self.climate = steps if climate is None else climate
        self.static: dict[str, np.ndarray] = {}
        self.seasonal: dict[str, np.ndarray] = {}
        self.dynamic: dict[str, np.ndarray] = {}

    def add_read(self, name: str) -> None:
        variable = self.predictors[name]
        if variable.attrs.get("kind") == "fractions":
            for label, part in zip(_classes(self.predictors, name), variable.transpose(f"{name}_class", "cell").to_numpy(), strict=True):
                self.static[f"{name}_{label}"] = part
        elif "time" in variable.dims:
            self.dynamic[name] = self._during(variable, self.steps)
        elif "month" in variable.dims:
            monthly = variable.sortby("month").transpose("month", "cell").to_numpy()
            self.seasonal[name] = monthly if self.steps.length.is_month else between_months(monthly, self.steps.length)
        else:
            self.static[name] = variable.to_numpy()

    def add_derived(self, name: str) -> None:
        function, variable, number, several = parse_derived(name, self.dynamic)
        if variable is None:
            radiation = self._radiation()
            self.seasonal[name] = (
                np.gradient(np.concatenate([radiation[-1:], radiation, radiation[:1]]), axis=0)[1:-1]
                if function.endswith("change")
                else radiation
            )
            return
        if function == "mean_season":
            self.seasonal[name] = self._mean_season(variable)
        elif function == "anomaly":
            self.dynamic[name] = self.dynamic[variable] - self._mean_season(variable)[self.steps.season]
        elif several:
            self.dynamic[name] = self._water(name, several)
        elif number is not None:
            self.dynamic[name] = self._remembered(name, function, variable, number)

    def _radiation(self) -> np.ndarray:
        daily = potential_radiation(self.lat, np.arange(1, 366))
        length = self.steps.length
        if length.is_month:
            month = pd.date_range("2001-01-01", periods=365).month.to_numpy()
            return np.stack([daily[month == m].mean(axis=0) for m in range(1, 13)]).astype(np.float32)
        every = np.insert(daily, _LEAP_DAY, daily[_LEAP_DAY - 1 : _LEAP_DAY + 1].mean(axis=0), axis=0)
        return every[length.year.day_of_year - 1].astype(np.float32)

    def _during(self, variable: xr.DataArray, steps: Steps) -> np.ndarray:
        return variable.sel(time=steps.time).transpose("time", "cell").to_numpy()

    def _mean_season(self, name: str) -> np.ndarray:
        return season_means(name, self._during(self.predictors[name], self.climate), self.climate.season, self.climate.length)

    def _remembered(self, name: str, function: str, variable: str, number: int) -> np.ndarray:
        """Lag by a number of steps, or mean over the window of days that ends with the step."""
        record = self.predictors[variable].transpose("time", "cell")
        times = pd.DatetimeIndex(record.time)
        first, values = int(times.searchsorted(self.steps.time[0])), record.to_numpy()
        width = span(function, number, self.steps)
        if self.recipe.spin_up == "record":
            require_record(name, function, number, first, self.steps)
        elif (missing := width - 1 - first) > 0:
            values, first = before_record(values, times[0], missing, self._mean_season(variable), self.steps), width - 1
        values = values[first - width + 1 : first + len(self.steps.time)]
        if function == "lag":
            return values[: len(self.steps.time)]
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
        return ((total[width:] - total[:-width]) / width).astype(np.float32)

    def _water(self, name: str, sources: tuple[str, ...]) -> np.ndarray:
        """Soil water [mm] at the end of each step, from the beginning of the record on."""
        require_units(name, sources, {source: str(self.predictors[source].attrs.get("units")) for source in sources})
        given = {source: self.predictors[source].transpose("time", "cell").to_numpy().astype(np.float64) for source in sources}
        times, length = pd.DatetimeIndex(self.predictors[sources[0]].time), self.steps.length
        days = times.days_in_month.to_numpy(np.float64) if length.is_month else np.ones(len(times))
        radiation = self._radiation()[length.season(times)]
        storage = soil_water(name, given, radiation, times, days, self.recipe.capacity[name])
        first = int(times.searchsorted(self.steps.time[0]))
        return storage[first : first + len(self.steps.time)].astype(np.float32)

    def names(self) -> Columns:
        return Columns(tuple(self.static), tuple(self.seasonal), tuple(self.dynamic))

    def finish(self, area: np.ndarray, unscaled: set[str]) -> Cube:
        each = [moments(a, area, name in unscaled) for part in (self.static, self.seasonal, self.dynamic) for name, a in part.items()]
        return self.stack(np.array([m[0] for m in each]), np.array([m[1] for m in each]))

    def stack(self, centre: np.ndarray, scale: np.ndarray) -> Cube:
        cells, at = len(self.lat), 0
        stacked = []
        for part, shape in (
            (self.static, (cells,)),
            (self.seasonal, (self.steps.length.seasons, cells)),
            (self.dynamic, (len(self.steps.time), cells)),
        ):
            block = np.empty((*shape, len(part)), dtype=np.float32)
            for position, values in enumerate(part.values()):
                block[..., position] = (values - centre[at]) / scale[at]
                at += 1
            stacked.append(block)
        return Cube(stacked[0], stacked[1], stacked[2], self.steps, self.names(), centre, scale, *no_series(self.steps))


def moments(values: np.ndarray, area: np.ndarray, unscaled: bool) -> tuple[float, float]:
    """Area-weighted mean and sd over cells and time; class fractions keep their scale, a constant column gets scale 1."""
    per_cell = values.reshape(-1, len(area)).mean(axis=0, dtype=np.float64)
    square = np.square(values.reshape(-1, len(area)), dtype=np.float64).mean(axis=0)
    mean = np.average(per_cell, weights=area)
    sd = float(np.sqrt(max(np.average(square, weights=area) - mean**2, 0.0)))
    return float(mean), 1.0 if unscaled or sd < 1e-6 * max(1.0, abs(mean)) else sd


def season_means(name: str, values: np.ndarray, season: np.ndarray, length: TimeStep) -> np.ndarray:
    """Mean of each part of the year, float32 (season, cell), of values (step, cell) whose part is `season`, (step,).

    Raises
    ------
    InputError
        A part of the year without a value; `name` is the predictor's.
    """
    total, count = np.zeros((length.seasons, values.shape[1])), np.bincount(season, minlength=length.seasons)
    np.add.at(total, season, values)
    if not length.is_month:
        _share_leap_day(total, count, length.seasons // len(_DAYS))
    if (count == 0).any():
        raise InputError(f"mean_season({name}): the period holds no value for some part of the year; give at least one whole year")
    return (total / count[:, None]).astype(np.float32)


_DAYS = np.arange(366)  # of the mean year
_LEAP_DAY = 59
_MIDDLE = np.array([15.5, 45.5, 75.5, 106, 136.5, 167, 197.5, 228.5, 259, 289.5, 320, 350.5])  # of months [days of the mean year]


def _share_leap_day(total: np.ndarray, count: np.ndarray, per_day: int) -> None:
    """Where there are few leap days, let 29 February share its neighbours' values, hour by hour; sums and counts are changed in place."""
    before, own, after = (slice((_LEAP_DAY + k) * per_day, (_LEAP_DAY + k + 1) * per_day) for k in (-1, 0, 1))
    if (count[own] < count[before]).any():
        total[own], count[own] = total[own] + total[before] + total[after], count[own] + count[before] + count[after]


def between_months(monthly: np.ndarray, length: TimeStep) -> np.ndarray:
    """Monthly climatology (12, ...) at the middle of months to all parts of the mean year, linear and periodic, (season, ...)."""
    days = len(_DAYS)
    middle = (np.arange(length.seasons) + 0.5) * (days / length.seasons)
    position = np.interp(middle, np.r_[_MIDDLE[-1] - days, _MIDDLE, _MIDDLE[0] + days], np.arange(-1, 13))
    low = np.floor(position).astype(int)
    part = (position - low)[:, None]
    return ((1 - part) * monthly[low % 12] + part * monthly[(low + 1) % 12]).astype(np.float32)


@dataclass(frozen=True)
class TowerRows:
    """Predictors at the towers' observations.

    Attributes
    ----------
    predictors : array float32, (row, column)
    shift : DataFrame
        For predictors taken from the site's own meteorology: mean of site minus cell, per site and predictor.
    """

    predictors: np.ndarray
    shift: pd.DataFrame


def tower_rows(
    cube: Cube, step: np.ndarray, cell: np.ndarray, site: np.ndarray, igbp: np.ndarray, land_cover: str | None, own: dict[str, np.ndarray]
) -> TowerRows:
    """Predictors of tower observations: those of the tower's cell, with the site's own class and, where asked, meteorology.

    Parameters
    ----------
    step, cell : array of int, (row,)
    site, igbp : array of str, (row,)
    land_cover : str or None
        Name of the class-fraction predictor; a site is wholly of its own class.
    own : dict
        Site values, (row,), of predictors taken from the site's meteorology. Their derived columns (anomalies, running
        means) stay those of the cell.
    """
    rows = cube.rows(step, cell)
    if land_cover is not None:
        _set_classes(rows, cube, igbp, site, land_cover)
    shifts = []
    for name, values in own.items():
        column = cube.columns.names.index(name)
        standard = ((values - cube.centre[column]) / cube.scale[column]).astype(np.float32)
        difference = pd.Series((standard - rows[:, column]) * cube.scale[column]).groupby(site).mean()
        shifts.append(pd.DataFrame({"site": difference.index, "predictor": name, "site_minus_cell": difference.to_numpy()}))
        rows[:, column] = standard
    empty = pd.DataFrame({"site": [], "predictor": [], "site_minus_cell": []})
    return TowerRows(rows, pd.concat(shifts, ignore_index=True) if shifts else empty)


def _set_classes(rows: np.ndarray, cube: Cube, igbp: np.ndarray, site: np.ndarray, land_cover: str) -> None:
    names = [n for n in cube.columns.static if n.startswith(f"{land_cover}_")]
    require_classes(site, igbp, {n[len(land_cover) + 1 :] for n in names}, land_cover)
    for name in names:
        column = cube.columns.static.index(name)
        rows[:, column] = (igbp == name[len(land_cover) + 1 :]) - cube.centre[column]


_BLOCK = 64  # steps looked at together


def require_finite_predictors(cube: Cube, lat: np.ndarray, lon: np.ndarray) -> None:
    """Raise NumericalError for the first standardised predictor that is not finite, with column, place and time.

    Parameters
    ----------
    cube : Cube
    lat, lon : array, (cell,)
        [degrees]
    """
    arrays = {"static": cube.static[None], "seasonal": cube.seasonal, "dynamic": cube.dynamic}
    for kind, values in arrays.items():
        for start in range(0, len(values), _BLOCK):
            bad = ~np.isfinite(values[start : start + _BLOCK])
            if bad.any():
                step, cell, column = (int(i) for i in np.argwhere(bad)[0])
                position = {"static": "", "seasonal": f", position {start + step} of the mean year"}
                time = position[kind] if kind in position else f" on {cube.steps.time[start + step]:%Y-%m-%d}"
                raise NumericalError(
                    f"predictor `{getattr(cube.columns, kind)[column]}` is not finite at latitude {lat[cell]:g}, "
                    f"longitude {lon[cell]:g}{time} "
                    f"({int(bad.sum())} values there and after); it is too large for its variance in single precision, "
                    "or the file has an undeclared fill value: correct the file or leave the predictor out"
                )

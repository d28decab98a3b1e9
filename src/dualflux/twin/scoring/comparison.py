"""A whole study of a synthetic world against its truth: its products, rescaled rivals, the inversions' mean, an oracle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dualflux.constraints.inversions.ensemble_mean import ensemble_mean, to_year_month
from dualflux.constraints.inversions.observations import RegionalConstraint
from dualflux.cube import Cube
from dualflux.errors import InputError
from dualflux.features import tower_rows
from dualflux.grid import Grid, LandCells
from dualflux.metrics.far_from_data import distance_to_towers
from dualflux.model.ensemble import Ensemble
from dualflux.prediction.at_towers import tower_fluxes, wave_of
from dualflux.prediction.engine import RegionalAnomalies, drawn_anomalies, learnt_anomalies, stack_ensembles
from dualflux.prediction.in_memory import monthly_fluxes
from dualflux.sources.adjustments import Target
from dualflux.sources.towers.cells import tower_cells
from dualflux.twin.scoring.boosted_trees import BoostedTrees, tree_months
from dualflux.twin.scoring.by_part import Scores, cell_parts, cell_values, home_regions, part_unit, regional_parts, sampled_cells
from dualflux.twin.scoring.cell_scores import Months, Tally, cell_scores, map_robustness, site_scores, tally
from dualflux.twin.scoring.map_scores import MAP_UNITS, barren_max, coverage_by_distance, within_regions
from dualflux.twin.scoring.rivals import activity_field, monthly_cube, predicted_difference, regional_shift, shifted
from dualflux.twin.scoring.scores import UNITS, each_region, regional_interval_scores, regional_scores, tropical_regions
from dualflux.variants import ANALYSIS

UNSEEN_YEARS = "_unseen_years"
BARE_CLASS = "BSV"  # of land cover: barren or sparsely vegetated
RESCALED = ("rescaled_uniform", "rescaled_activity")
COLUMNS = ["product", "region", "metric", "value", "unit"]


@dataclass(frozen=True)
class Case:
    """A study of a synthetic world, and where its truth lies.

    Attributes
    ----------
    truth : Path
        Folder with nee_monthly.nc, sites.csv and tower_flux.csv.
    cells, cube, regional, target : as prepared
    fit_period : tuple of date
        Scores of the months outside it end in ``_unseen_years``.
    land_cover : str or None
        Predictor whose class is the tower's own.
    site_columns : dict
        Predictors taken from the site's meteorology to their column in the tower files.
    towers : array, (tower, 2)
        Latitude and longitude of the towers that were trained on [degrees].
    """

    truth: Path
    cells: LandCells
    cube: Cube
    regional: RegionalConstraint
    target: Target
    fit_period: tuple[date, date]
    land_cover: str | None
    site_columns: dict[str, str]
    towers: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @cached_property
    def months(self) -> pd.DatetimeIndex:
        """Of the study."""
        months = self.cube.steps.months
        if months[0].month != 1 or months[-1].month != 12:
            raise InputError(f"truth: {months[0]:%Y-%m} to {months[-1]:%Y-%m} are no whole years; set `period` to whole calendar years")
        return months

    @cached_property
    def fitted(self) -> np.ndarray:
        """Months of whole years inside the fit period, bool (month,)."""
        year = self.months.year.to_numpy()
        return np.array([date(y, 1, 1) >= self.fit_period[0] and date(y, 12, 31) <= self.fit_period[1] for y in year])

    @cached_property
    def periods(self) -> dict[str, np.ndarray]:
        """Ending of the metrics' names to the months that count."""
        return {name: use for name, use in (("", self.fitted), (UNSEEN_YEARS, ~self.fitted)) if use.any()}

    @cached_property
    def true_field(self) -> Months:
        """Month by month, (cell,)."""
        return field_months(self.truth / "nee_monthly.nc", "nee", self.cells, self.months)

    @cached_property
    def sites(self) -> pd.DataFrame:
        """Unseen towers: index site; lat, lon, igbp, cell."""
        table = pd.read_csv(self.truth / "sites.csv", keep_default_na=False).set_index("site")
        table = table[table.unseen.astype(str) == "True"]
        return table.assign(cell=tower_cells(self.cells, table, "nearest").cell)

    @cached_property
    def tower_truth(self) -> pd.DataFrame:
        """True fluxes and meteorology of unseen towers, site after site, at the study's steps (finer ones averaged to its months)."""
        table, steps = pd.read_csv(self.truth / "tower_flux.csv", parse_dates=["time"]), self.cube.steps
        table = table[table.site.isin(self.sites.index)].drop(columns="unseen")
        if (steps.month_steps == 1).all():
            month = table.time.dt.to_period("M").dt.to_timestamp()
            table = table.assign(time=month).groupby(["site", "time"], sort=False, as_index=False).mean()
        return table[table.time.isin(steps.time)].reset_index(drop=True)

    @cached_property
    def distance(self) -> np.ndarray:
        """Of each cell to the nearest tower that was trained on [km], (cell,); infinite where there is none."""
        return distance_to_towers(self.cells.lat(), self.cells.lon(), *self.towers.T)

    @cached_property
    def bare(self) -> np.ndarray | None:
        """Fraction of bare ground of each cell, (cell,); None where no predictor shows it."""
        name, cube = f"{self.land_cover}_{BARE_CLASS}", self.cube
        if name not in cube.columns.static:
            return None
        place = cube.columns.static.index(name)
        return np.asarray(cube.static[:, place] * cube.scale[place] + cube.centre[place])

    def by_month(self) -> "Case":
        """The same with monthly means of its predictors: what an oracle is trained and scored on, for the true field is monthly."""
        return replace(self, cube=monthly_cube(self.cube))

    def monthly(self, values: np.ndarray) -> np.ndarray:
        """Monthly means (month, site) of values at the rows of `tower_truth`."""
        rows = self.tower_truth
        wide = pd.Series(np.asarray(values, dtype=np.float64)).groupby([rows.time.dt.to_period("M"), rows.site]).mean().unstack()
        return wide.reindex(columns=self.sites.index).to_numpy()

    def tower_predictors(self) -> np.ndarray:
        """Predictors at the rows of `tower_truth`, by the same code as in training."""
        rows = self.tower_truth
        known = self.sites.loc[rows.site]
        step = self.cube.steps.time.get_indexer(pd.DatetimeIndex(rows.time))
        own = {name: rows[column].to_numpy(float) for name, column in self.site_columns.items()}
        place = (step, known.cell.to_numpy(), rows.site.to_numpy(), known.igbp.to_numpy())
        return tower_rows(self.cube, *place, self.land_cover, own).predictors


@dataclass(frozen=True, eq=False)
class Candidate:
    """A product to score.

    Attributes
    ----------
    field : callable
        Month by month, (member, cell).
    extra : array, (cell,)
        Variance beyond the members' of what lasts [(gC m-2 d-1)^2].
    tower_like : array, (month, site)
        Monthly f + g at unseen towers.
    fold : array of int, (member,), or None
        Group of towers each member has not seen.
    passing : float
        Variance beyond the members' of a month's anomaly [(gC m-2 d-1)^2].
    """

    field: Months
    extra: np.ndarray
    tower_like: np.ndarray
    fold: np.ndarray | None
    passing: float = 0.0


def compare(case: Case, products: Mapping[str, Path], ensembles: Mapping[str, Ensemble]) -> pd.DataFrame:
    """Score a study's products, the two rescaled rivals (where `towers` is among the products) and the inversions' mean.

    Parameters
    ----------
    products : dict
        Variant to its nee_monthly.nc.
    ensembles : dict
        Variant to its models.

    Returns
    -------
    DataFrame
        product, region (``global``, ``cells``, ``towers``, or a region), metric (see `scores`; it begins with ``truth_``
        and ends in ``_unseen_years`` for years outside the fit period), value, unit.
    """
    rows, tables = case.tower_predictors(), [_inversion_mean(case)]
    for name, path in products.items():
        ensemble = ensembles[name]
        field, passing = field_months(path, "nee_member", case.cells, case.months), _passing_variance(path, name)
        extra = np.maximum(_unseen_variance(path, case.cells) - passing, 0.0)
        candidate = Candidate(field, extra, _at_towers(case, ensemble, rows), ensemble.fold, passing)
        found = _tally(case, candidate)
        tables.append(_score(case, name, candidate, found))
        if ensemble.anomaly is not None:
            analysis = _analysis(case, candidate, ensemble)
            tables.append(_score(case, f"{name}{ANALYSIS}", analysis, _tally(case, analysis), ("",)))
        if name == "towers":
            tables += [_score(case, rival, one, _tally(case, one)) for rival, one in _rescaled(case, candidate, found)]
    return pd.concat(tables, ignore_index=True)


def compare_oracle(case: Case, oracle: Ensemble) -> pd.DataFrame:
    """Scores of the oracle, as `compare` gives them for products; a daily case goes in `by_month`, as it was trained."""
    model, at = stack_ensembles([oracle]), (case.cells.lat(), case.cells.lon())
    place = oracle.basis.at(*at)
    at_towers = _at_towers(case, oracle, case.tower_predictors())
    return _score_fields(
        case, "oracle", lambda: (month.landscape for month in monthly_fluxes(model, case.cube, place, at)), at_towers, None
    )


def compare_boosted_trees(case: Case, trees: BoostedTrees) -> pd.DataFrame:
    """Scores of the boosted trees, as `compare` gives them for products; at a tower they predict what they predict anywhere."""
    at_towers = case.monthly(trees.predict(case.tower_predictors()).mean(axis=0, dtype=np.float64))
    return _score_fields(case, "boosted_trees", tree_months(trees, case.cube), at_towers, trees.fold)


def _analysis(case: Case, product: Candidate, ensemble: Ensemble) -> Candidate:
    """A product's analysis of the fitted years: members with what the months had in place of what they do not know; others as they are."""
    unknown, learnt = (draws([ensemble], case.months, case.cells) for draws in (drawn_anomalies, learnt_anomalies))
    there, scale = np.isfinite(learnt.flux), case.cube.vegetated()
    change = RegionalAnomalies(np.where(there, learnt.flux - unknown.flux, 0.0), unknown.share).times(scale)
    mean = RegionalAnomalies(np.where(there, learnt.flux, 0.0).mean(axis=0, keepdims=True), unknown.share).times(scale)
    at_cells = mean.at(slice(None), slice(None))[:, 0]

    def field() -> Iterator[np.ndarray]:
        for month, values in enumerate(product.field()):
            yield values + change.at(slice(None), slice(month, month + 1))[0]

    return Candidate(field, product.extra, product.tower_like + at_cells[:, case.sites.cell.to_numpy()], product.fold, product.passing)


def _score_fields(case: Case, name: str, field: Months, at_towers: np.ndarray, fold: np.ndarray | None) -> pd.DataFrame:
    candidate = Candidate(field, np.zeros(len(case.cells.index)), at_towers, fold)
    return _score(case, name, candidate, _tally(case, candidate))


def field_months(path: Path, variable: str, cells: LandCells, months: pd.DatetimeIndex) -> Months:
    """Months of a NetCDF variable at the land cells, (cell,) or (member, cell); one month is in memory at a time.

    Raises
    ------
    InputError
        On reading: no such variable, another grid, missing months, land without a value.
    """

    def read() -> Iterator[np.ndarray]:
        with xr.open_dataset(path, engine="h5netcdf") as data:
            if variable not in data:
                raise InputError(f"{path}: no variable `{variable}`, needed to score against the truth; it has {', '.join(map(str, data))}")
            place = data.get_index("time").get_indexer(months)
            if not Grid(data.lat.to_numpy(), data.lon.to_numpy()).same_as(cells.grid) or (place < 0).any():
                raise InputError(
                    f"{path}: not on the grid and the months of the study; build the world and the study from the same settings"
                )
            for t in place:
                values = data[variable].isel(time=int(t)).to_numpy()
                values = values.reshape(*values.shape[:-2], -1)[..., cells.index]
                if not np.isfinite(values).all():
                    missing = int((~np.isfinite(values)).sum())
                    raise InputError(
                        f"{path}: {variable} lacks {missing} values on the study's land; truth and study must share their land"
                    )
                yield values

    return read


def _unseen_variance(path: Path, cells: LandCells) -> np.ndarray:
    """What a product adds to the members' variance of a cell, the same in all months."""
    with xr.open_dataset(path, engine="h5netcdf") as data:
        members, total = (data[n].isel(time=0).to_numpy().astype(np.float64).ravel()[cells.index] for n in ("nee_std", "nee_std_total"))
    return np.maximum(total**2 - members**2, 0.0)


def _passing_variance(path: Path, name: str) -> float:
    """What of it is of a month's anomaly: the table beside the models, 0 in a run of before there was one."""
    table = path.parents[2] / "models/distance.csv"
    if not table.exists():
        return 0.0
    rows = pd.read_csv(table)
    return float(rows[(rows["product"] == name) & (rows.part == "anomaly") & (rows.quantity == "own_variance")].value.sum())


def _at_towers(case: Case, ensemble: Ensemble, rows: np.ndarray) -> np.ndarray:
    time, sites = pd.DatetimeIndex(case.tower_truth.time), case.sites.loc[case.tower_truth.site]
    return case.monthly(
        tower_fluxes(ensemble, rows, sites.lat.to_numpy(), sites.lon.to_numpy(), wave_of(case.cube, time))[1].mean(axis=0, dtype=np.float64)
    )


def _tally(case: Case, candidate: Candidate) -> Tally:
    days = case.cube.steps.month_days
    return tally(candidate.field, case.true_field, case.cells, days, case.periods, case.sites.cell.to_numpy(), sampled_cells(case.cells))


def _rescaled(case: Case, towers: Candidate, found: Tally) -> Iterator[tuple[str, Candidate]]:
    """The tower-only field, shifted to the inversions' mean in fitted months and by the calendar month's mean shift in others."""
    days = case.cube.steps.month_days
    own = found.integral.mean(axis=0)[:-1]
    wanted = own.copy()
    wanted[:, case.regional.month.ravel()] = case.regional.observed.reshape(len(own), -1)
    known = np.isin(np.arange(len(days)), case.regional.month)
    difference = predicted_difference((wanted - own) / days, case.months, known)
    for name, activity in zip(RESCALED, (np.ones(len(case.cells.index)), activity_field(case.cube)), strict=True):
        coefficient, pattern = regional_shift(difference, case.cells, activity)
        at_towers = coefficient @ pattern[:, case.sites.cell.to_numpy()]
        field = shifted(towers.field, coefficient, pattern)
        yield name, Candidate(field, np.zeros_like(activity), towers.tower_like + at_towers, None)


def _score(case: Case, name: str, candidate: Candidate, found: Tally, only: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Scores of a product in all periods, or `only` in some."""
    area, names = case.cells.land_area, case.cells.region_names
    tropical, mean = tropical_regions(case.cells), found.integral.mean(axis=0)
    sample, tables = sampled_cells(case.cells), []
    for period, use in ((p, u) for p, u in case.periods.items() if only is None or p in only):

        def years(integral: np.ndarray, use: np.ndarray = use) -> np.ndarray:
            return integral[..., use].reshape(*integral.shape[:-1], -1, 12)

        truth = years(found.true_integral)
        cells = cell_scores(found.periods[period].pairs, area)
        if candidate.fold is not None:
            cells |= map_robustness(found.periods[period].cycle.mean(axis=1), candidate.fold, area)
        if period == "":
            cells |= _map_scores(case, candidate, found, use)
        tower, cell = (case.monthly(case.tower_truth[c].to_numpy())[use] for c in ("tower_flux", "cell_flux"))
        tables += [
            _regional_rows(name, years(mean), truth, years(found.integral)[:, :-1], names, tropical, period),
            _rows(name, "cells", cells, period),
            _part_rows(
                name,
                cell_parts(found.sampled[:, use], found.true_sampled[use], case.cells, sample, candidate.extra, candidate.passing),
                period,
            ),
            _rows(name, "towers", site_scores(tower, candidate.tower_like[use], cell, found.watched[use]), period),
        ]
    return pd.concat(tables, ignore_index=True)


def _map_scores(case: Case, candidate: Candidate, found: Tally, use: np.ndarray) -> dict[str, float]:
    """Of the fitted years: what lasts does not differ in others."""
    lasting, truth = found.periods[""].cycle.mean(axis=1), found.periods[""].pairs.mean_observed
    sample = sampled_cells(case.cells)
    scores = within_regions(lasting, truth, home_regions(case.cells), case.cells.land_area)
    if case.bare is not None:
        scores["barren_max"] = barren_max(lasting.mean(axis=0), case.bare)
    if len(case.towers):
        values = cell_values(found.sampled[:, use], found.true_sampled[use], case.cells, sample, candidate.extra, candidate.passing)
        scores |= coverage_by_distance(values, case.distance[sample])
    return scores


def _regional_rows(
    name: str, product: np.ndarray, truth: np.ndarray, members: np.ndarray, names: tuple[str, ...], tropical: np.ndarray, period: str
) -> pd.DataFrame:
    scores = {**regional_scores(product, truth, tropical), **regional_interval_scores(members, truth[:-1])}
    tables = [_rows(name, "global", scores, period), _part_rows(name, regional_parts(members, truth[:-1], names), period)]
    tables += [_rows(name, r, s, period) for r, s in zip(names, each_region(product[:-1], truth[:-1]), strict=True)]
    return pd.concat(tables, ignore_index=True)


def _inversion_mean(case: Case) -> pd.DataFrame:
    """The inversions' mean and spread over products, made like with like; outside the fit period from data the study never used."""
    names = [*case.cells.region_names, "global"]
    products, years = to_year_month(case.target.integral.sel(region=names).transpose("product", "region", "time"))
    table = pd.read_csv(case.truth / "regional_monthly.csv", parse_dates=["time"], keep_default_na=False)
    true = table.pivot(index="region", columns="time", values="value").reindex(index=names, columns=case.months).to_numpy()
    tables = []
    for period, use in case.periods.items():
        wanted = np.unique(case.months.year[use])
        if not np.isin(wanted, years).all():
            continue
        chosen = products[:, :, np.isin(years, wanted)]
        chosen = chosen[np.isfinite(chosen).any(axis=(1, 2, 3))]
        truth = true[:, use].reshape(len(names), -1, 12)
        tropical = tropical_regions(case.cells)
        tables.append(_regional_rows("inversion_mean", ensemble_mean(chosen), truth, chosen[:, :-1], tuple(names[:-1]), tropical, period))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _rows(product: str, region: str, scores: dict[str, float], period: str) -> pd.DataFrame:
    rows = [
        (product, region, f"truth_{k}{period}", v, part_unit(k) or MAP_UNITS.get(k) or UNITS[k])
        for k, v in scores.items()
        if np.isfinite(v)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _part_rows(product: str, found: Scores, period: str) -> pd.DataFrame:
    tables = [_rows(product, region, scores, period) for region, scores in found.items()]
    return pd.concat([pd.DataFrame(columns=COLUMNS), *tables], ignore_index=True)


def headline(table: pd.DataFrame, product: str, keys: tuple[str, ...]) -> dict[str, float | None]:
    """The scores of one product by key, and by key + ``_unseen_years``; None where a score has no meaning."""
    mine = table[(table["product"] == product) & table.region.isin(["global", "cells", "towers"])]
    values = mine.set_index("metric").value
    found = {key + end: values.get(f"truth_{key}{end}") for end in ("", UNSEEN_YEARS) for key in keys}
    return {key: None if value is None else float(value) for key, value in found.items()}

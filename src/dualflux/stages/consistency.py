"""What must hold between the sources of a study before anything is computed from them."""

from dataclasses import replace

import numpy as np
import pandas as pd

from dualflux.constraints.towers.fold_design import Land, Sites, by_class, by_cluster, by_distance
from dualflux.constraints.towers.folds import fold_of_groups, inner_validation, site_groups
from dualflux.cube import Cube, Steps
from dualflux.derived.memory import Memory, require_record
from dualflux.derived.water_balance import require_units
from dualflux.errors import InputError, Problems
from dualflux.features import require_classes
from dualflux.grid import LandCells
from dualflux.sources.predictors.settings import PredictorSettings, of_network, parse_derived
from dualflux.sources.towers import Towers
from dualflux.sources.towers.cells import tower_cells
from dualflux.study.settings import StudySettings


def site_columns(predictors: list[PredictorSettings]) -> dict[str, str]:
    """Column of the tower files for each dynamic predictor that is taken from the sites' own meteorology."""
    return {p.name: p.site_column or p.name for p in predictors if p.at_towers == "site" and p.kind == "dynamic"}


def site_classes(predictors: list[PredictorSettings]) -> str | None:
    """The class-fraction predictor that is a site's own class at towers."""
    return next((p.name for p in predictors if p.kind == "fractions" and p.at_towers == "site"), None)


def with_site_meteorology(predictors: list[PredictorSettings], towers: Towers) -> Towers:
    """Towers whose rows have every value that the study takes from the sites' own meteorology; the others are dropped and counted.

    Raises
    ------
    InputError
        A column that the tower files lack, or no row left.
    """
    problems, data, dropped = Problems(), towers.observations, [towers.dropped]
    for name, column in site_columns(predictors).items():
        if column not in data:
            there = ", ".join(c for c in data.columns if c not in ("site", "time", "nee", "uncertainty")) or "none"
            problems.add(
                f"predictor `{name}`: the towers have no column `{column}`, but {there}; state `site_column` or use at_towers: cell"
            )
            continue
        lost = data[data[column].isna()].groupby("site").size()
        rows = {"source": towers.sites.source.reindex(lost.index).to_numpy(), "site": lost.index, "reason": f"no site value of {column}"}
        dropped.append(pd.DataFrame({**rows, "count": lost.to_numpy()}))
        data = data[data[column].notna()]
    problems.raise_if_any()
    if data.empty:
        raise InputError(f"towers: no row has all of {', '.join(site_columns(predictors).values())}; use at_towers: cell for some of them")
    sites = towers.sites[towers.sites.index.isin(data.site.unique())]
    return replace(towers, observations=data.reset_index(drop=True), sites=sites, dropped=pd.concat(dropped, ignore_index=True))


def place_sites(
    settings: StudySettings, cells: LandCells, towers: Towers, valid: np.ndarray | None = None, cube: Cube | None = None
) -> pd.DataFrame:
    """Cell, group and fold of each site, and the distance [km] to a cell that is not its own.

    Parameters
    ----------
    valid : array of bool, (cell,), optional
        Cells that the rule `drop` keeps.
    cube : Cube, optional
        Of the cells. Without it (a check reads no predictor of every cell) folds by climate are stood in for by those of groups.

    Raises
    ------
    InputError
        Towers without a land cell; too few groups of co-located sites for the folds.
    """
    places = tower_cells(cells, towers.sites, settings.land_fraction.towers_at_sea, valid)
    sites = towers.sites.assign(cell=places.cell, distance=places.distance)
    sites["group"] = site_groups(sites.lat.to_numpy(), sites.lon.to_numpy(), settings.grid.resolution)
    count = towers.observations.groupby("site").size().reindex(sites.index).to_numpy()
    sites["fold"] = _folds(settings, cells, sites, count, cube)
    if any(v.towers for v in settings.variants.values()):
        for fold in range(settings.network.splits.count):
            inner_validation(sites.group.to_numpy(), sites.fold.to_numpy(), fold, 0, 0.2, settings.seed)
    return sites


def _folds(settings: StudySettings, cells: LandCells, sites: pd.DataFrame, count: np.ndarray, cube: Cube | None) -> np.ndarray:
    """As the study asks for them, (site,)."""
    asked, seed = settings.network.splits, settings.seed
    own = Sites(sites.lat.to_numpy(), sites.lon.to_numpy(), sites.group.to_numpy(), count)
    name = climate_predictor(settings) if asked.by == "climate" else ""
    if asked.by == "continent":
        return by_cluster(own, asked.count, seed)
    if asked.by == "distance":
        return by_distance(own, Land(cells.lat(), cells.lon(), cells.land_area), asked.count, seed)
    if asked.by == "climate" and cube is not None:
        return by_class(own, dominant_class(cube, name)[sites.cell.to_numpy()], asked.count, seed, name)
    return fold_of_groups(own.group, own.weight, asked.count, seed)


def climate_predictor(settings: StudySettings) -> str:
    """The fractions predictor whose classes make folds by climate.

    Raises
    ------
    InputError
        The study has none, or not the named one.
    """
    asked = settings.network.splits.predictor
    known = [p.name for p in settings.predictors if p.kind == "fractions" and p.at_towers == "cell"]
    if not known or asked not in (None, *known):
        came = "" if asked is None else f" from `{asked}`"
        what = f"predictors of kind fractions with at_towers: cell: {', '.join(known) or 'none'}"
        raise InputError(
            f"network.folds: by: climate{came}; this study has as {what}; name one as `predictor`, add one, or divide `by: distance`"
        )
    return asked or known[0]


def dominant_class(cube: Cube, name: str) -> np.ndarray:
    """Place of the class with the largest share of each cell among the columns of a fractions predictor, (cell,)."""
    at = [i for i, column in enumerate(cube.columns.static) if column.startswith(f"{name}_")]
    return np.asarray((cube.static[:, at] * cube.scale[at] + cube.centre[at]).argmax(axis=1))


def check_site_classes(settings: StudySettings, towers: Towers, classes: dict[str, list[str]]) -> None:
    """Raise InputError for sites whose class the class-fraction predictor lacks.

    Parameters
    ----------
    classes : dict of str to list of str
        Class names of each `fractions` predictor.
    """
    name = site_classes(settings.predictors)
    if name is not None:
        require_classes(towers.sites.index.to_numpy(), towers.sites.igbp.to_numpy(), classes[name], name)


def check_windows(settings: StudySettings, first: pd.Timestamp | None, steps: Steps) -> Memory | None:
    """What lags and running means lack; InputError for those the study states that look back beyond the record, which nothing fills.

    Parameters
    ----------
    first : Timestamp or None
        First step at which every dynamic predictor has a value.
    """
    if first is None:
        return None
    predictors = of_network(settings.predictors)
    seasonal = [p.name for p in predictors if p.derived and p.name.startswith(("mean_season(", "anomaly("))]
    seasonal += ["spin_up: mean_season"] if settings.spin_up == "mean_season" else []
    if seasonal and len(steps.months) < 12:
        raise InputError(
            f"{', '.join(seasonal)}: the period has {len(steps.months)} months, a mean season needs one whole year; widen `period` or "
            "remove these predictors"
        )
    memory = Memory(predictors, first, steps, settings.spin_up)
    problems = Problems()
    for name, function, _, number in memory.asked() if settings.spin_up == "record" else []:
        with problems.collect():
            require_record(name, function, number, memory.before, steps)
    problems.raise_if_any()
    return memory


def check_water_balances(predictors: list[PredictorSettings], units: dict[str, str]) -> None:
    """Raise InputError for water balances whose predictors are in other units than theirs."""
    problems, dynamic = Problems(), [p.name for p in predictors if p.kind == "dynamic"]
    for one in (p for p in predictors if p.derived):
        sources = parse_derived(one.name, dynamic).several
        if sources:
            with problems.collect():
                require_units(one.name, sources, units)
    problems.raise_if_any()

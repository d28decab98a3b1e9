"""`dualflux check`: what a study would use, what it would drop and why, before anything is computed.

Towers, masks and inversions are read as a run reads them, and so are predictors, but of large ones some steps only, and of products to
compare with one year; then what must hold between them (see `consistency`). A source with a problem does not hide the problems of the
others.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualflux.checking.fluxes import check_independent, check_inversions, check_references, check_truth
from dualflux.checking.left_out_years import check_index
from dualflux.checking.report import CheckReport, by_file, some
from dualflux.checking.resources import predicted_gigabytes, require_memory, resources
from dualflux.checking.towers import check_places, check_towers
from dualflux.checking.units import units_table
from dualflux.constraints.base import Constraint
from dualflux.constraints.inversions.constraint import Inversions as InversionConstraint
from dualflux.constraints.towers.constraint import Towers as TowerConstraint
from dualflux.cube import Steps
from dualflux.errors import Problems, doubts
from dualflux.grid import Grid
from dualflux.sources.inversions import Inversions
from dualflux.sources.land.read import Land, land_cells
from dualflux.sources.predictors.read import PredictorScan, check_predictors
from dualflux.sources.predictors.series import read_series
from dualflux.sources.predictors.settings import of_network
from dualflux.sources.towers import Towers
from dualflux.stages.consistency import check_site_classes, check_water_balances, check_windows
from dualflux.stages.figure_regions import shown_regions
from dualflux.stages.prepare import series_standard
from dualflux.study.settings import Study
from dualflux.vegetation import NO_SCALE, require_bare_classes

__all__ = ["CheckReport", "check_study"]
CONSTRAINTS: tuple[type[Constraint], ...] = (TowerConstraint, InversionConstraint)


def check_study(study: Study, known: Sequence[str] = ()) -> CheckReport:
    """Read what is cheap to read of all sources and say what a run would make of them.

    Parameters
    ----------
    study : Study
    known : sequence of str
        Problems of the study file that have been found already.

    Returns
    -------
    CheckReport
        Lines and sections of the sources that are right, problems of all others.
    """
    report, problems = CheckReport(), Problems()
    s = study.settings
    variants = some([*s.variants])
    report.say(f"study {s.name}", f"{s.time_step}, {s.period[0]} to {s.period[1]}, {s.grid.resolution:g} degrees; variants {variants}")
    with doubts() as doubted, problems.collect():
        _check_sources(study, report)
    if doubted:
        report.say("doubted, taken as it is", some(doubted, most=1))
        report.add("Taken as it is, although it is doubted", doubted)
    report.problems = by_file([*known, *problems.found, *report.problems])
    return report


def _check_sources(study: Study, report: CheckReport) -> None:
    """Sections of all sources and of what must hold between them; every problem at once."""
    problems = Problems()
    land = towers = scan = inversions = regional = None
    with problems.collect():
        land = _check_land(study, report)
    if study.settings.towers:
        with problems.collect():
            towers = check_towers(study, report)
    if land is not None:
        with problems.collect():
            scan = _check_predictors(study, land, report)
        with problems.collect():
            _check_series(study, report)
        if study.settings.inversions:
            with problems.collect():
                inversions, regional = check_inversions(study, land, report)
        with problems.collect():
            shown_regions(study, land.regions.names)
        with problems.collect():
            _check_between(study, land, towers, scan, report)
    else:
        problems.found += [p for p in _missing_files(study) if not any(_same_file(p, known) for known in problems.found)]
    _say_constraints({"towers": None if towers is None else towers.observations, "inversions": regional}, report)
    with problems.collect():
        check_references(study, land, report, None if regional is None else regional.years)
    with problems.collect():
        check_independent(study, inversions, report)
    with problems.collect():
        check_truth(study)
    with problems.collect():
        check_index(study)
    report.add("Units and signs as files and study state them", units_table(study))
    if land is not None:
        with problems.collect():
            _check_resources(study, land, towers, inversions, report)
    problems.raise_if_any()


def _say_constraints(found: Mapping[str, Any], report: CheckReport) -> None:
    """What each constraint of the study has, in its own words."""
    for constraint in CONSTRAINTS:
        data = found.get(constraint.name)
        lines = [] if data is None else constraint.check_lines(data)
        if lines:
            report.say(constraint.label, lines[0])
            if len(lines) > 1:
                report.say(constraint.name, lines[-1])
            report.add(f"What constrains: {constraint.label}", lines)


def _check_between(study: Study, land: Land, towers: Towers | None, scan: PredictorScan | None, report: CheckReport) -> None:
    """What must hold between land, towers and predictors."""
    problems = Problems()
    if towers is not None:
        with problems.collect():
            check_places(study, land, towers, None if scan is None else scan.valid, report)
    if scan is not None:
        with problems.collect():
            memory = check_windows(study.settings, scan.first, _steps(study))
            if memory is not None and memory.summary():
                report.say("running means", memory.summary())
                report.add("Running means and lags that the record is too short for", memory.lines())
    if towers is not None and scan is not None:
        with problems.collect():
            check_site_classes(study.settings, towers, scan.classes)
    scale = study.settings.vegetation
    report.say("vegetation", NO_SCALE if scale is None else scale.in_words())
    if scale is not None and scale.land_cover is not None and scan is not None:
        with problems.collect():
            require_bare_classes(scale, scan.classes[scale.land_cover])
    problems.raise_if_any()


def _check_resources(study: Study, land: Land, towers: Towers | None, inversions: Inversions | None, report: CheckReport) -> None:
    observations = 0 if towers is None else len(towers.observations)
    products = len(study.settings.inversions) if inversions is None else len(inversions.notes)
    lines = resources(study, land, observations, products)
    report.add("Expected resources", lines)
    for line in lines:
        report.say(*line.split(": ", 1))
    pixels = land.cells.grid.lat.size * land.cells.grid.lon.size
    require_memory(predicted_gigabytes(study, land.cells.index.size, pixels)[0])


def _missing_files(study: Study) -> list[str]:
    """What can be said of sources that are not read because the land is not known."""
    missing = Problems()
    with missing.collect():
        study.input_files()
    return missing.found


def _same_file(first: str, second: str) -> bool:
    return Path(first.split(":", 1)[0]).name == Path(second.split(":", 1)[0]).name


def _check_land(study: Study, report: CheckReport) -> Land:
    s = study.settings
    grid = Grid.global_regular(s.grid.resolution)
    land = land_cells(grid, study.root, s.land_fraction, s.regions, s.no_flux, s.predictors)
    table = land.shares.assign(land_area=land.shares["land_area"] / 1e12).rename(columns={"land_area": "land [1e6 km2]"})
    report.add(f"Land and regions: {land.cells.index.size} cells of {s.grid.resolution:g} degrees with a flux", table.reset_index())
    outside = 100 * float(land.shares["share_of_land"].to_dict()["outside_regions"])
    regions = f"{len(land.cells.region_names)} regions ({some(land.cells.region_names)}), {outside:.1f} % of the land in none"
    report.say("land", f"{land.cells.index.size} cells of {s.grid.resolution:g} degrees with a flux; {regions}")
    if land.regions.not_regions:
        report.add("Classes that are taken for no region (`classes` of `regions` names those that are)", list(land.regions.not_regions))
    return land


def _check_predictors(study: Study, land: Land, report: CheckReport) -> PredictorScan:
    s = study.settings
    scan = check_predictors(s.predictors, study.root, land.cells.grid, land.cells, _steps(study).time, s.time_step)
    report.add("Predictors from files (shares of the land area)", scan.table)
    computed = [one.name for one in of_network(s.predictors) if one.derived]
    _say_predictors(scan, computed, report)
    report.add("Predictors that are computed", computed)
    check_water_balances(of_network(s.predictors), dict(zip(scan.table["predictor"], scan.table["units"], strict=True)))
    return scan


def _check_series(study: Study, report: CheckReport) -> None:
    """Read the predictors of time alone, all of them, and standardise them."""
    s, steps = study.settings, _steps(study)
    found = read_series(s.predictors, study.root, steps.time, s.time_step)
    series_standard(s, found, steps)
    if found.names:
        report.say("predictors of time alone", some(found.names))
        report.add("Predictors of time alone (series; they enter the linear step, by zones of latitude)", found.table)


def _say_predictors(scan: PredictorScan, derived: list[str], report: CheckReport) -> None:
    """Lines of the first screen: how many, and land that is filled or dropped."""
    table = scan.table
    report.say("predictors", f"{len(table)} from files ({some([*table['predictor']])}), {len(derived)} computed")
    shares = (("filled_share", "filled"), ("dropped_share", "dropped"))
    each = [(name, share, word) for key, word in shares for name, share in zip(table["predictor"], table[key], strict=True)]
    changed = [f"{name} {100 * share:.1f} % {word}" for name, share, word in each if share]
    if changed:
        report.say("predictors without a value, of the land", some(changed))


def _steps(study: Study) -> Steps:
    s = study.settings
    return Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)

"""`dualflux check`: what a study would use, what it would drop and why, before anything is computed.

Towers, masks and inversions are read as a run reads them, and so are predictors, but of large ones some steps only, and of products to
compare with one year; then what must hold between them (see `consistency`). A source with a problem does not hide the problems of the
others.
"""

from pathlib import Path

from dualflux.checking.fluxes import check_independent, check_inversions, check_references, check_truth
from dualflux.checking.report import CheckReport
from dualflux.checking.resources import resources
from dualflux.checking.towers import check_places, check_towers
from dualflux.checking.units import units_table
from dualflux.cube import Steps
from dualflux.errors import Problems
from dualflux.grid import Grid
from dualflux.sources.land.read import Land, land_cells
from dualflux.sources.predictors.read import PredictorScan, check_predictors
from dualflux.stages.consistency import check_site_classes, check_windows
from dualflux.stages.figure_regions import shown_regions
from dualflux.study.settings import Study

__all__ = ["CheckReport", "check_study"]


def check_study(study: Study) -> CheckReport:
    """Read what is cheap to read of all sources and say what a run would make of them.

    Returns
    -------
    CheckReport
        Sections of the sources that are right, problems of all others.
    """
    report, problems = CheckReport(), Problems()
    land = towers = scan = inversions = None
    with problems.collect():
        land = _check_land(study, report)
    if study.settings.towers:
        with problems.collect():
            towers = check_towers(study, report)
    if land is not None:
        with problems.collect():
            scan = _check_predictors(study, land, report)
        if study.settings.inversions:
            with problems.collect():
                inversions = check_inversions(study, land, report)
        with problems.collect():
            shown_regions(study, land.regions.names)
        if towers is not None:
            with problems.collect():
                check_places(study, land, towers, None if scan is None else scan.valid, report)
        if scan is not None:
            with problems.collect():
                check_windows(study.settings, scan.first, _steps(study))
        if towers is not None and scan is not None:
            with problems.collect():
                check_site_classes(study.settings, towers, scan.classes)
    else:
        problems.found += [p for p in _missing_files(study) if not any(_same_file(p, known) for known in problems.found)]
    with problems.collect():
        check_references(study, land, report)
    with problems.collect():
        check_independent(study, inversions, report)
    with problems.collect():
        check_truth(study)
    report.add("Units and signs as files and study state them", units_table(study))
    if land is not None:
        observations = 0 if towers is None else len(towers.observations)
        products = len(study.settings.inversions) if inversions is None else len(inversions.notes)
        report.add("Expected resources", resources(study, land, observations, products))
    report.problems = list(dict.fromkeys([*problems.found, *report.problems]))
    return report


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
    if land.regions.not_regions:
        report.add("Classes that are taken for no region (`classes` of `regions` names those that are)", list(land.regions.not_regions))
    return land


def _check_predictors(study: Study, land: Land, report: CheckReport) -> PredictorScan:
    s = study.settings
    scan = check_predictors(s.predictors, study.root, land.cells.grid, land.cells, _steps(study).time, s.time_step)
    report.add("Predictors from files (shares of the land area)", scan.table)
    report.add("Predictors that are computed", [one.name for one in s.predictors if one.derived])
    return scan


def _steps(study: Study) -> Steps:
    s = study.settings
    return Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)

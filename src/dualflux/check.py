"""`dualflux check`: what a study would use, what it would drop and why, before anything is computed.

Towers, masks and inversions are read as a run reads them, and so are predictors, but of large ones some steps only;
then what must hold between them (see `consistency`). A source with a problem does not hide the problems of the others.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from dualflux.consistency import check_constraints, check_site_classes, check_windows, place_sites, with_site_meteorology
from dualflux.errors import InputError, Problems
from dualflux.features import Steps
from dualflux.grid import Grid
from dualflux.sources.adjustments import make_target, read_adjustments, sanity_lines
from dualflux.sources.inversions import read_inversions
from dualflux.sources.land import Land, land_cells
from dualflux.sources.predictors import PredictorScan, check_predictors
from dualflux.sources.products import GriddedReference
from dualflux.sources.tables import find_files
from dualflux.sources.towers import Towers, read_towers, tower_summary
from dualflux.study import Study

_FIXED_MEMORY_GB = 0.7  # interpreter, libraries and compiled programs
_NUMBER = 4.0  # bytes
_EFFICIENCY = 0.3  # of plain matrix products: what activations, sampling and the optimiser leave


@dataclass
class CheckReport:
    """What was found.

    Attributes
    ----------
    sections : list of (title, table or lines)
    problems : list of str
        One sentence each; empty where the study can run.
    """

    sections: list[tuple[str, pd.DataFrame | list[str]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, title: str, content: pd.DataFrame | list[str]) -> None:
        """Append a section that has something to say."""
        if len(content):
            self.sections.append((title, content))

    def text(self) -> str:
        """All sections as plain text."""
        return "\n\n".join(f"{title}\n{_as_text(content)}" for title, content in self.sections)

    def raise_if_wrong(self) -> None:
        """Raise InputError with every problem."""
        if self.problems:
            raise InputError(self.problems)


def check_study(study: Study) -> CheckReport:
    """Read what is cheap to read of all sources and say what a run would make of them.

    Returns
    -------
    CheckReport
        Sections of the sources that are right, problems of all others.
    """
    report, problems = CheckReport(), Problems()
    land = towers = scan = None
    with problems.collect():
        land = _check_land(study, report)
    with problems.collect():
        towers = _check_towers(study, report)
    if land is not None:
        with problems.collect():
            scan = _check_predictors(study, land, report)
        with problems.collect():
            _check_inversions(study, land, report)
        if towers is not None:
            with problems.collect():
                _check_places(study, land, towers, None if scan is None else scan.valid, report)
        if scan is not None:
            with problems.collect():
                check_windows(study.settings, scan.first, _steps(study))
        if towers is not None and scan is not None:
            with problems.collect():
                check_site_classes(study.settings, towers, scan.classes)
        report.add("Expected resources", _resources(study, land, 0 if towers is None else len(towers.observations)))
    else:
        problems.found += [p for p in _missing_files(study) if not any(_same_file(p, known) for known in problems.found)]
    for check_files in (_check_references, _check_truth):
        with problems.collect():
            check_files(study)
    report.problems = list(dict.fromkeys(problems.found))
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
    return land


def _check_towers(study: Study, report: CheckReport) -> Towers:
    s = study.settings
    towers = with_site_meteorology(s.predictors, read_towers(s.towers, study.root, s.fitted, s.time_step))
    report.add("Towers", tower_summary(towers))
    if len(towers.dropped):
        dropped = towers.dropped.groupby(["source", "reason"]).agg(sites=("site", "nunique"), rows=("count", "sum"))
        report.add("Tower rows that are dropped", dropped.reset_index())
    report.add("Towers by class", _count(towers, towers.observations["site"].map(towers.sites["igbp"]), "igbp"))
    report.add("Towers by year", _count(towers, towers.observations["time"].dt.year, "year"))
    report.add("Towers one by one: first and last year, observations", _by_site(towers))
    return towers


def _by_site(towers: Towers, in_a_line: int = 4) -> list[str]:
    found = towers.observations.groupby("site")["time"].agg(["min", "max", "size"])
    cells = [f"{site:<8} {row['min']:%Y}-{row['max']:%Y} {row['size']:>5}" for site, row in found.iterrows()]
    return ["   ".join(cells[i : i + in_a_line]) for i in range(0, len(cells), in_a_line)]


def _count(towers: Towers, key: pd.Series, name: str) -> pd.DataFrame:
    """Sites and observations for each value of a key of the observations."""
    rows = towers.observations.assign(key=key.to_numpy())
    table = rows.groupby("key").agg(sites=("site", "nunique"), observations=("nee", "size"))
    return table.rename_axis(name).reset_index()


def _check_places(study: Study, land: Land, towers: Towers, valid: np.ndarray | None, report: CheckReport) -> None:
    places = place_sites(study.settings, land.cells, towers, valid)
    region = _region_of(land)[places["cell"].to_numpy()]
    key = towers.observations["site"].map(pd.Series(region, index=places.index))
    found = _count(towers, key, "region").set_index("region")
    names = [*land.cells.region_names, *([] if "no region" not in found.index else ["no region"])]
    report.add("Towers by region", found.reindex(names, fill_value=0).reset_index())
    moved = places[places["distance"] > 0]
    report.add(
        "Towers that take the nearest land cell",
        [f"{site}: {distance:.0f} km to the cell's centre" for site, distance in moved["distance"].items()],
    )


def _region_of(land: Land) -> np.ndarray:
    """Name of the region with the largest share of each cell, (cell,)."""
    share = land.cells.region_fraction
    names = np.array([*land.cells.region_names, "no region"], dtype=object)
    return names[np.where(share.max(axis=0) > 0, share.argmax(axis=0), len(names) - 1)]


def _check_predictors(study: Study, land: Land, report: CheckReport) -> PredictorScan:
    s = study.settings
    scan = check_predictors(s.predictors, study.root, land.cells.grid, land.cells, _steps(study).time, s.time_step)
    report.add("Predictors from files (shares of the land area)", scan.table)
    report.add("Predictors that are computed", [one.name for one in s.predictors if one.derived])
    return scan


def _check_inversions(study: Study, land: Land, report: CheckReport) -> None:
    s, problems = study.settings, Problems()
    place = (study.root, land.cells.grid, land.regions, land.land_fraction)
    months = pd.date_range(*s.period, freq="MS")
    inversions = adjustments = None
    with problems.collect():
        inversions = read_inversions(s.inversions, *place, months)
        report.add("Inversions [PgC yr-1, positive to the atmosphere]", inversions.notes)
    with problems.collect():
        adjustments = read_adjustments(s.adjustments, *place, months)
    if inversions is not None and adjustments is not None:
        with problems.collect():
            target = make_target(s.target, inversions, adjustments)
            report.add(f"Target {s.target}: {target.name}", target.terms)
            report.add("Are signs and units plausible?", sanity_lines(inversions, target))
            check_constraints(s, target, land.cells, _steps(study))
    problems.raise_if_any()


def _check_references(study: Study) -> None:
    problems = Problems()
    for source in study.settings.references:
        suffix = ".nc" if isinstance(source, GriddedReference) else ".csv"
        for path in [source.path] if isinstance(source.path, str) else source.path:
            if not path.endswith(".zarr") or not (study.root / path).is_dir():
                with problems.collect():
                    find_files(path, study.root, suffix)
    problems.raise_if_any()


def _check_truth(study: Study) -> None:
    truth = study.settings.truth
    if truth is not None and not (study.root / truth).is_dir():
        raise InputError(f"truth: {study.root / truth} is no such folder; only synthetic worlds have one, remove the key")


def _steps(study: Study) -> Steps:
    s = study.settings
    return Steps.create(str(s.period[0]), str(s.period[1]), s.time_step)


def _resources(study: Study, land: Land, observations: int) -> list[str]:
    cells = land.cells.index.size
    cube, products = predicted_gigabytes(study, cells, land.cells.grid.shape[0] * land.cells.grid.shape[1])
    minutes = predicted_operations(study, cells, len(land.cells.region_names), observations) / _operations_per_second() / 60
    return [
        f"memory: about {_FIXED_MEMORY_GB + 2 * cube:.1f} GB (standardised predictors {cube:.2f} GB, twice while they are made)",
        f"disk: about {products:.1f} GB of products before compression",
        f"time: about {max(minutes, 1):.0f} minutes of computing on this machine's processor, to a factor of two",
    ]


def predicted_gigabytes(study: Study, cells: int, pixels: int) -> tuple[float, float]:
    """Size of the predictors in memory and of the products on disk before compression [1e9 bytes].

    Parameters
    ----------
    study : Study
    cells, pixels : int
        Land cells with a flux, and all cells of the grid.
    """
    cube = _NUMBER * cells * len(_steps(study).time) * sum(_dynamic_columns(study))
    product = _NUMBER * pixels * len(pd.date_range(*study.settings.period, freq="MS"))
    members = product * _ensemble(study)
    return cube / 1e9, len(study.settings.variants) * (4 * product + (members if members <= 2e9 else 0)) / 1e9


def predicted_operations(study: Study, cells: int, regions: int, observations: int) -> float:
    """Multiplications and additions of training and upscaling.

    A network of W weights needs 2 W for a value and 4 W more for its gradient (one backward pass).
    """
    s = study.settings
    term, variants = s.inversion_term, s.variants
    widths = [_input_columns(study), *s.network.hidden, 1]
    weights = sum(a * b for a, b in pairwise(widths))
    months = len(pd.date_range(*s.period, freq="MS"))
    sampled = 2 * term.locations * regions * 12 * min(term.years, months // 12 or 1)
    region_rows = sampled if term.estimator == "stratified" else 2 * cells * len(_steps(study).time)
    per_step = s.training.batch * (len(variants) - ("inversions" in variants)) + region_rows * (len(variants) - ("towers" in variants))
    training = s.training.steps * 6 * per_step + s.training.checkpoints * 2 * observations * len(variants)
    upscaling = 2 * cells * len(_steps(study).time) * len(variants)
    return float(weights * _ensemble(study) * (training + upscaling))


def _operations_per_second() -> float:
    """What all cores of this machine do on matrices of the size the network has; processor time, so that others' load does not count."""
    a, b = np.ones((1024, 64), np.float32), np.ones((64, 64), np.float32)
    best = 0.0
    for _ in range(5):
        started = time.process_time()
        for _ in range(20):
            a @ b
        best = max(best, 20 * 2 * a.size * b.shape[1] / max(time.process_time() - started, 1e-6))
    return best * (os.cpu_count() or 1) * _EFFICIENCY


def _ensemble(study: Study) -> int:
    return study.settings.network.members * study.settings.network.folds


def _input_columns(study: Study) -> int:
    """Roughly: class fractions count as 17 (IGBP)."""
    predictors = study.settings.predictors
    return sum(17 if one.kind == "fractions" else 1 for one in predictors if one.kind != "dynamic") + sum(_dynamic_columns(study))


def _dynamic_columns(study: Study) -> Iterator[int]:
    for one in study.settings.predictors:
        if one.kind == "dynamic":
            yield 1 + (3 if one.running_means is None else len(one.running_means))
        elif one.derived and one.name.startswith(("anomaly", "lag", "running_mean")):
            yield 1


def _as_text(content: pd.DataFrame | list[str]) -> str:
    if isinstance(content, list):
        return "\n".join(f"  {line}" for line in content)
    dates = {c: content[c].dt.strftime("%Y-%m-%d") for c in content.columns if pd.api.types.is_datetime64_any_dtype(content[c])}
    return content.assign(**dates).to_string(index=False, float_format=_number, na_rep="-", justify="left")


def _number(value: float) -> str:
    return "0" if abs(value) < 1e-9 else f"{value:.3g}"
